"""Kill an evaluation at random moments and resume it until it ends: the ledger must be that of a straight run.

    python -m benchmarks.kills WEIGHTS [--kills 20] [--samples 64] [--attack autoattack]

Every start is a process of its own, killed with SIGKILL. Prints one line for each kill and, last, whether every
column of every table is the same but for what the machine was doing.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from engine.store.run_reader import read_tables
from engine.store.workspace import Workspace

PROGRAM = [sys.executable, "-m", "engine"]
#: Seconds from the start of a process to its kill: from before the engine has begun to well into the attacks.
EARLIEST, LATEST = 2.0, 14.0


def main() -> int:
    """Make the straight run, then the killed one, and compare; returns 0 if they are the same."""
    options = _options()
    attack = [
        "attack", str(options.weights.resolve()), "--attack", options.attack, "--samples", str(options.samples),
        "--epsilon", options.epsilon, "--batch-size", "32", "--examples", "8",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        straight, killed = Path(folder) / "straight", Path(folder) / "killed"
        started = time.monotonic()
        subprocess.run([*PROGRAM, *attack, "--workspace", str(straight)], check=True, capture_output=True)
        print(f"straight run: {time.monotonic() - started:.0f} s")
        draw = random.Random(options.seed)
        for number in range(options.kills):
            rows = _start_and_kill(killed, attack, draw.uniform(EARLIEST, LATEST))
            print(f"kill {number + 1}: {rows} rows in the ledger", flush=True)
        _start(killed, attack).wait()
        ours, theirs = _tables(straight), _tables(killed)
    different = [
        f"{table}/{name}"
        for table, columns in ours.items()
        for name, values in columns.items()
        if not np.array_equal(values, theirs[table][name], equal_nan=True)
    ]
    print(f"{len(ours['attempts']['row'])} rows; different columns: {', '.join(different) or 'none'}")
    return 1 if different else 0


def _start(workspace: Path, attack: list[str]) -> subprocess.Popen[bytes]:
    """Begin the run, or go on with the one that is there."""
    runs = Workspace(workspace).runs() if workspace.exists() else []
    command = ["resume", runs[0].id] if runs else attack
    return subprocess.Popen(
        [*PROGRAM, *command, "--workspace", str(workspace)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _start_and_kill(workspace: Path, attack: list[str], seconds: float) -> int:
    child = _start(workspace, attack)
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
        child.wait()
    try:
        return len(_tables(workspace)["attempts"]["row"])
    except (IndexError, KeyError, FileNotFoundError):
        return 0


def _tables(workspace: Path) -> dict[str, dict[str, np.ndarray]]:
    (run,) = Workspace(workspace).runs()
    path = Workspace(workspace).folder(run.id).metrics_path
    if not path.exists():
        return {"attempts": {"row": np.empty(0)}}
    tables = read_tables(path)[1]["attack"]
    return {name: columns for name, columns in tables.items() if name != "machine"}  # type: ignore[misc]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--attack", default="autoattack")
    parser.add_argument("--epsilon", default="16/255")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
