"""Ctrl+C saves and says how to go on; the same command with --resume does."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.cli.conftest import QUICK, Cartl

LONG = ("--set", "pretraining.epochs=8")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    study = folder / "tiny.toml"
    study.write_text(QUICK, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", "engine", "run", str(study), *LONG, *arguments],
        env={**os.environ, "CARTL_WORKSPACE": str(folder / "workspace")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_training(process: subprocess.Popen[str]) -> None:
    """Read the progress lines until the title of the first stage."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith("  FDM"):
            return
    raise AssertionError("ended before training: " + "".join(seen))


def pause(folder: Path, number: int) -> tuple[int, list[str]]:
    """Begin the study, send a signal while it trains; returns the exit code and the command that goes on."""
    process = start(folder)
    wait_for_training(process)
    time.sleep(0.2)
    process.send_signal(number)
    began = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 15
    assert out == "" and "Traceback" not in err
    assert "Paused and saved. Go on with: " in err
    return process.returncode, shlex.split(err.split("Go on with: ")[1].splitlines()[0])


def states(folder: Path) -> list[str]:
    return sorted(json.loads(path.read_text())["state"] for path in folder.rglob("status.json"))


def test_that_ctrl_c_pauses_the_study_and_resume_finishes_the_same_runs(tmp_path: Path) -> None:
    code, go_on = pause(tmp_path, signal.SIGINT)
    assert code == 130
    assert states(tmp_path) == ["created", "paused"]

    environment = {**os.environ, "CARTL_WORKSPACE": str(tmp_path / "workspace")}
    again = subprocess.run([*go_on, "--json"], env=environment, capture_output=True, text=True, timeout=100)
    assert again.returncode == 0, again.stderr
    assert [run["state"] for run in json.loads(again.stdout)["runs"]] == ["finished", "finished"]
    assert states(tmp_path) == ["finished", "finished"], "resume must not make new runs"


def test_that_termination_pauses_as_ctrl_c_does_and_one_run_can_go_on_alone(
    tmp_path: Path, cartl: Cartl
) -> None:
    code, _ = pause(tmp_path, signal.SIGTERM)
    assert code == 143
    assert states(tmp_path) == ["created", "paused"]

    workspace = ("--workspace", tmp_path / "workspace")
    answer = cartl("resume", "source", "--json", *workspace)
    assert answer.code == 0 and [run["state"] for run in answer.json["runs"]] == ["finished"]
    assert states(tmp_path) == ["created", "finished"]
    again = cartl("resume", "source", *workspace)
    assert again.code == 2 and "there is nothing to go on with" in again.err

    unfinished = cartl("run", tmp_path / "tiny.toml", *LONG, *workspace)
    assert unfinished.code == 0 and "1 unfinished with the same settings can go on: " in unfinished.err
