"""What storing costs: one JSON line per figure. Run as `python benchmarks/store.py [FOLDER]`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from engine.config import AttackConfig, DataConfig, ModelConfig, PretrainingConfig, RunConfig
from engine.events import StageLayout
from engine.store.checkpoints import CheckpointFolder
from engine.store.run_file import RunFile
from engine.store.run_reader import read_tables
from engine.store.schema import STAGE_TABLES, tail
from engine.store.tensor_files import sha256_of
from engine.store.workspace import Workspace

STEPS = 20_000
CHECKPOINT_BYTES = 40_000_000
RUNS = 1000


def main() -> None:
    """Measure everything in a folder on the disk that matters."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        folder = Path(name)
        measure_rows(folder / "metrics.h5")
        measure_checkpoints(folder / "checkpoints")
        measure_runs(folder / "workspace")


def report(name: str, value: float, unit: str, **conditions: float) -> None:
    """Print one figure."""
    print(json.dumps({"benchmark": name, "value": round(value, 3), "unit": unit, **conditions}), flush=True)


def measure_rows(path: Path) -> None:
    """Append step rows one by one, as training does; the file writes them in blocks of 64. Then read them."""
    layout = StageLayout(
        "pretraining",
        "benchmark",
        block_names=tuple(f"block {index}" for index in range(1, 18)),
        layer_names=tuple(f"layer {index}" for index in range(1, 38)),
        layer_blocks=(0,) * 37,
    )
    for name, count in (("steps", STEPS), ("layers", 1000)):
        (table,) = (entry for entry in STAGE_TABLES["pretraining"] if entry.name == name)
        row = {column.name: np.ones((1, *tail(layout, column)), column.dtype) for column in table.columns}
        with RunFile.create(path, [layout], title="t", config_toml="", program_version="0") as file:
            started = time.perf_counter()
            for _ in range(count):
                file.append("pretraining", table.name, row)
            seconds = time.perf_counter() - started
        report(f"append_{name}_row", 1e6 * seconds / count, "us per row", rows=count)
    started = time.perf_counter()
    read_tables(path.with_name("metrics.previous.h5"))
    report("read_step_rows_with_probe", time.perf_counter() - started, "s", rows=STEPS)


def measure_checkpoints(path: Path) -> None:
    """Save (write, sync, read back, prune), verify and load a checkpoint of 40 MB."""
    folder = CheckpointFolder(path)
    state = {str(index): torch.randn(CHECKPOINT_BYTES // 400) for index in range(100)}
    folder.save(state, stage="pretraining", step=0)
    seconds = []
    for step in range(1, 6):
        started = time.perf_counter()
        saved = folder.save(state, stage="pretraining", step=step)
        seconds.append(time.perf_counter() - started)
    report("save_checkpoint", float(np.median(seconds)), "s", bytes=CHECKPOINT_BYTES)
    started = time.perf_counter()
    sha256_of(saved)
    report("sha256_of_checkpoint", time.perf_counter() - started, "s", bytes=CHECKPOINT_BYTES)
    started = time.perf_counter()
    folder.load(saved)
    report("load_own_checkpoint", time.perf_counter() - started, "s", bytes=CHECKPOINT_BYTES)


def measure_runs(root: Path) -> None:
    """Create runs and list them, first and again."""
    workspace = Workspace(root)
    workspace.lock()
    config = RunConfig(
        model=ModelConfig(), source=DataConfig(), pretraining=PretrainingConfig(), attack=AttackConfig()
    )
    started = time.perf_counter()
    for _ in range(RUNS):
        workspace.create_run(config, "benchmark")
    report("create_run", 1e3 * (time.perf_counter() - started) / RUNS, "ms per run", runs=RUNS)
    workspace.unlock()
    workspace = Workspace(root)
    for name in ("list_runs_first", "list_runs_again"):
        started = time.perf_counter()
        workspace.runs()
        report(name, time.perf_counter() - started, "s", runs=RUNS)


if __name__ == "__main__":
    main()
