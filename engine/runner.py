"""Takes one run through its stages, and writes and tells everything learned on the way.

Called on the engine thread.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import engine
from engine import device as devices
from engine.config import STAGE_TITLES, DataConfig, RunConfig, StageName, dump_run
from engine.control import RunControl
from engine.data import Domain, LoadingCancelled, load_domain
from engine.errors import OutOfMemoryError
from engine.evaluation.stage import AttackStage
from engine.events import (
    AttackResult,
    CheckpointSaved,
    Columns,
    Downloading,
    EngineEvent,
    LogAdded,
    MachineSample,
    RowsAdded,
    RunChanged,
    RunInfo,
    RunRecord,
    StageStarted,
    TableName,
)
from engine.memory import free_memory, is_out_of_memory
from engine.stages import Host, Stage
from engine.store.checkpoints import CheckpointFolder
from engine.store.run_file import RunFile
from engine.store.run_folder import LogLevel, RunFolder
from engine.store.run_reader import read_tables
from engine.store.schema import MACHINE
from engine.training.stage import TrainingStage
from engine.wording import format_bytes

#: Least time between two updates of the run's line and its heartbeat on disk.
UPDATE_SECONDS = 0.25
HEARTBEAT_SECONDS = 2.0
#: About so often what the machine is doing is written down.
MACHINE_SECONDS = 10.0
_SAMPLED = [column.name for column in MACHINE.columns if column.name != "seconds"]


class Runner:
    """One run on its way through its stages.

    Args:
        folder: the run's folder; what it already holds is gone on from.
        parent_weights: weights the run starts from; None if it pre-trains.
        surrogate_weights: of the network on which perturbations are made, for an attack that transfers them.
        data_root: folder for downloaded data.
        control: asks to pause or stop.
        emit: takes the events.
        machine: tells what the machine is doing; None if that is not known.
    """

    def __init__(
        self, folder: RunFolder, parent_weights: Path | None, *, data_root: Path, control: RunControl,
        emit: Callable[[EngineEvent], None], surrogate_weights: Path | None = None,
        machine: Callable[[], MachineSample | None] = lambda: None,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.config: RunConfig = folder.config
        self.parent_weights, self.surrogate_weights = parent_weights, surrogate_weights
        self.data_root, self.control, self.emit, self.machine = data_root, control, emit, machine
        self.checkpoints = CheckpointFolder(folder.checkpoints)
        self.info: RunInfo = folder.info()
        self.file: RunFile | None = None
        self._file_lock = threading.Lock()
        self._domains: dict[DataConfig, Domain] = {}
        self._stages: dict[StageName, Stage] = {}
        self._shown: dict[tuple[StageName, TableName], Columns] = {}
        self._shares: dict[StageName, float] = {}
        self._began = self._updated = self._beaten = self._sampled = time.monotonic()
        self._seconds_before = self.info.seconds
        self._cost_before = 0.0

    def run(self) -> None:
        """Carry the run to its end, from where it last stood.

        Raises:
            Interrupted: it was asked to pause or stop; it can go on from here.
            OutOfMemoryError: the device has too little memory; the message says what was tried.
            CartlError: it cannot go on; the message says why.
        """
        machine = self.config.machine
        threads = machine.threads or devices.default_threads()
        self.device = devices.choose(machine)
        self._note_machine(threads)
        self._update(state="running", reason="", device=str(self.device))
        with devices.cpu_threads(threads):
            try:
                self._prepare()
                for name, stage in self._stages.items():
                    if self._shares[name] < 1:
                        self._update(stage=name)
                        self.emit(StageStarted(self.info.id, stage.layout))
                        self.log("info", f"{stage.layout.title} begins")
                        self._sample(name)
                        result = stage.work(self)
                        if result is not None:
                            self._note_result(result)
                        self._sample(name)
                        self.advance(name, 1.0)
                        self.log("info", f"{stage.layout.title} is finished")
            except (MemoryError, RuntimeError) as error:
                if is_out_of_memory(error):
                    raise OutOfMemoryError(self._out_of_memory()) from error
                raise
            finally:
                if self.file is not None:
                    self.file.close()

    # What the stages report (`Recorder`).

    def rows(self, stage: StageName, table: TableName, columns: Columns) -> None:
        """Write new rows and tell about them."""
        with self._file_lock:
            if self.file is not None:
                self.file.append(stage, table, columns)
        self._shown.pop((stage, table), None)
        self.emit(RowsAdded(self.info.id, stage, table, columns))

    def show(self, stage: StageName, table: TableName, columns: Columns) -> None:
        """Tell about a whole table that will be replaced, without writing it."""
        self._shown[stage, table] = columns
        self.emit(RowsAdded(self.info.id, stage, table, columns))

    def checkpoint(self, stage: StageName, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint, after the rows that belong to it."""
        if self.file is not None:
            self.file.flush()
        path = self.checkpoints.save({"stage": stage, "state": state}, stage=stage, step=step)
        self.emit(CheckpointSaved(self.info.id, stage, step, str(path)))

    def record(self) -> RunRecord:
        """Everything measured so far, from memory; may be called from another thread."""
        with self._file_lock:
            tables = self.file.rows() if self.file is not None else {}
        for (stage, table), columns in self._shown.copy().items():
            tables[stage] = tables.get(stage, {}) | {table: dict(columns)}
        return RunRecord(
            run=self.info,
            layouts={name: stage.layout for name, stage in self._stages.items()},
            tables=tables,
            log=self.folder.read_log(),
            weights=tuple(name for name in self.config.stages if self.folder.weights_path(name).exists()),
        )

    def advance(self, stage: StageName, share: float) -> None:
        """Update progress and the expected end."""
        self._shares[stage] = share
        total = sum(part.cost for part in self._stages.values())
        done = sum(self._shares[name] * part.cost for name, part in self._stages.items())
        elapsed = time.monotonic() - self._began
        since = done - self._cost_before
        left = (total - done) * elapsed / since if since > 0 and elapsed > 1 else None
        self._update(
            progress=done / total,
            seconds=self._seconds_before + elapsed,
            seconds_left=left,
            force=share >= 1,
        )
        if time.monotonic() - self._sampled > MACHINE_SECONDS:
            self._sample(stage)

    def log(self, level: LogLevel, text: str) -> None:
        """Write a line to the run's log and tell about it."""
        self.folder.log(level, text)
        self.emit(LogAdded(self.info.id, time.time(), level, text))

    def _update(self, *, force: bool = True, **changes: Any) -> None:
        self.info = replace(self.info, **changes)
        now = time.monotonic()
        if force or now - self._updated > UPDATE_SECONDS:
            self._updated = now
            self.emit(RunChanged(self.info))
        if force or now - self._beaten > HEARTBEAT_SECONDS:
            self._beaten = now
            info = self.info
            self.folder.write_status(
                info.state, reason=info.reason, stage=info.stage, progress=info.progress,
                seconds=info.seconds, device=info.device, result=info.result,
            )  # fmt: skip

    def _sample(self, stage: StageName) -> None:
        """Write down what the machine is doing."""
        self._sampled = time.monotonic()
        sample = self.machine()
        if sample is not None:
            figures = {name: getattr(sample, name) for name in _SAMPLED}
            figures["seconds"] = self._seconds_before + self._sampled - self._began
            columns = {
                name: np.array([np.nan if value is None else float(value)]) for name, value in figures.items()
            }
            self.rows(stage, "machine", columns)

    def _note_result(self, result: AttackResult) -> None:
        self._update(result=result)
        clean, robust = 100 * result.clean_accuracy.value, 100 * result.robust_accuracy.value
        self.log(
            "info",
            f"Clean accuracy {clean:.1f} %, robust accuracy {robust:.1f} % "
            f"({result.attack}, {result.samples} test images of {result.data})",
        )

    def _out_of_memory(self) -> str:
        """What was tried, how much was free, and what to do."""
        name = "main memory" if self.device.type == "cpu" else f"the {self.device.type.upper()} device"
        stage = self.info.stage
        tried = "loading data and network"
        if stage is not None:
            tried = f"the {STAGE_TITLES[stage].lower()} with a batch size of {getattr(self.config, stage).batch_size}"
        free = free_memory(self.device)
        told = f"; {format_bytes(free)} were free when it failed" if free is not None else ""
        return (
            f"{name} did not suffice for {tried}{told}. Repeat the run with half the batch, take a smaller network, or "
            "close other programs that use it"
        )

    def _note_machine(self, threads: int) -> None:
        """Record what exact repetition depends on, and say so if it changed since the run began."""
        now = {"device": str(self.device), "threads": threads, "torch": torch.__version__}
        before = [entry for entry in self.folder.read_journal() if entry["kind"] == "machine"]
        versions = {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "program": engine.__version__,
        }
        self.folder.journal("machine", **now, **versions, system=platform.platform())
        changed = [key for key in now if before and before[0].get(key) != now[key]]
        if changed:
            parts = ", ".join(f"{key} {before[0].get(key)} -> {now[key]}" for key in changed)
            self.log(
                "warning",
                f"The run goes on with another machine set-up ({parts}); it is no longer bit-exact.",
            )

    # What the stages ask for (`Host`).

    def domain(self, data: DataConfig) -> Domain:
        """A data set, loaded once per run."""
        if data not in self._domains:
            self.log("info", f"Loading {data.name}")
            try:
                domain = load_domain(
                    data,
                    data_root=self.data_root,
                    progress=lambda name, done, total: self.emit(
                        Downloading(self.info.id, name, done, total)
                    ),
                    cancelled=lambda: self.control.requested is not None,
                )
            except LoadingCancelled:
                self.control.check()
                raise
            for path, reason in domain.skipped:
                self.log("warning", f"Left out {path}: {reason}")
            self._domains[data] = domain
        return self._domains[data]

    def latest_checkpoint(self, stage: StageName) -> dict[str, Any] | None:
        """The state to go on from, if the newest checkpoint belongs to this stage."""
        path = self.checkpoints.latest()
        if path is None:
            return None
        saved = self.checkpoints.load(path)
        return saved["state"] if saved["stage"] == stage else None

    def tables(self, stage: StageName) -> Mapping[TableName, Columns]:
        """All rows of a stage so far."""
        with self._file_lock:
            return self.file.rows().get(stage, {}) if self.file is not None else {}

    # The run's file.

    def _prepare(self) -> None:
        self._stages = stages_of(self)
        self._shares = dict.fromkeys(self._stages, 0.0)
        carry_over = self._tables_so_far()
        self._cost_before = sum(self._shares[name] * part.cost for name, part in self._stages.items())
        self.file = RunFile.create(
            self.folder.metrics_path,
            [stage.layout for stage in self._stages.values()],
            title=f"{self.config.name} ({self.info.study})",
            config_toml=dump_run(self.config),
            program_version=engine.__version__,
            carry_over=carry_over,
        )

    def _tables_so_far(self) -> dict[StageName, dict[TableName, Columns]]:
        """Rows of finished stages, and of the present one up to its checkpoint; sets each stage's share."""
        if not self.folder.metrics_path.exists():
            return {}
        _, tables = read_tables(self.folder.metrics_path)
        kept: dict[StageName, dict[TableName, Columns]] = {}
        for name, stage in self._stages.items():
            rows = tables.get(name, {})
            kept[name], self._shares[name] = stage.kept(self, rows)
            if "machine" in rows:  # what it took is no part of what is gone on from: all of it is kept
                kept[name]["machine"] = rows["machine"]
        return kept


def stages_of(host: Host) -> dict[StageName, Stage]:
    """Load the data and make the stages of a run ready.

    Raises:
        CartlError: data or weights cannot be read, or settings contradict them.
    """
    config = host.config
    ready: dict[StageName, Stage] = {}
    if config.pretraining is not None and config.source is not None:
        ready["pretraining"] = TrainingStage("pretraining", config.pretraining, config.source, host=host)
    if config.finetuning is not None and config.target is not None:
        ready["finetuning"] = TrainingStage("finetuning", config.finetuning, config.target, host=host)
    if config.attack is not None:
        ready["attack"] = AttackStage(config.attack, host)
    return ready
