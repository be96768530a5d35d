"""A double of `engine.api.Session` that posts realistic events without torch, for fast tests of pages.

`step(n)` posts the next n events at once; `play()` posts them from a thread at a given pace.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from cartl_gui.run_data import ORDER
from engine.api import ATTACKING_EXAMPLES, BINNING, ESTIMATING, EXPORTING_RUN, INSPECTING, MOVING
from engine.config import (
    AttackConfig,
    AugmentationConfig,
    CheckpointConfig,
    DataConfig,
    FinetuningConfig,
    ModelConfig,
    PretrainingConfig,
    RunConfig,
    StageName,
    StudyConfig,
    format_ratio,
)
from engine.errors import QueueError
from engine.events import (
    ENDED,
    BinEmptied,
    CheckpointSaved,
    DeviceReport,
    EngineEvent,
    EngineReady,
    ExamplesAttacked,
    Exported,
    InspectionProgress,
    LogAdded,
    MachineSample,
    NetworkInspected,
    QueueChanged,
    QueueEmpty,
    RequestFailed,
    RowsAdded,
    RunChanged,
    RunEstimate,
    RunInfo,
    RunLabel,
    RunOpened,
    RunRecord,
    RunsBinned,
    RunsListed,
    StageLayout,
    StageStarted,
    StudyEstimated,
)
from engine.queue import QueuedRun, RunQueue
from tests.gui.scripted_attack import ScriptedAttack
from tests.gui.scripted_layers import (
    bound_rows,
    example_rows,
    inspected,
    layer_rows,
    probe_rows,
    profile_rows,
)
from tests.gui.scripted_training import STEPS_PER_EPOCH, epoch_rows, layout_of, step_rows

#: Epochs after which bounds are measured, beside the last: the interval grows to what the time allows.
BOUND_EPOCHS = (1, 2, 4, 7)
DEVICE = DeviceReport(
    chosen="cpu",
    name="Intel Xeon, 2 threads",
    tried=(
        ("cuda", "no NVIDIA driver found"),
        ("mps", "only on Apple computers"),
        ("cpu", "computes as expected"),
    ),
    bfloat16=False,
    threads=2,
    memory_gib=7.6,
)


def demo_study(epochs: int = 12) -> StudyConfig:
    """Two pre-trainings, and transfers from them by both methods."""
    model = ModelConfig(depth=16, widen_factor=1)
    letters = DataConfig(name="letters", train_size=4000, validation_size=256, test_size=1000)
    digits = letters.model_copy(update={"name": "digits"})
    attack = AttackConfig(epsilon=16 / 255, step_size=4 / 255, samples=500)
    training = {"epochs": epochs, "augmentation": AugmentationConfig(crop_padding=2)}
    pre = {
        method: PretrainingConfig(method=method, num_finetuned_blocks=4, **training)
        for method in ("adversarial", "fdm")
    }
    runs = [
        RunConfig(name="at", model=model, source=letters, pretraining=pre["adversarial"], attack=attack),
        RunConfig(name="fdm", model=model, source=letters, pretraining=pre["fdm"], attack=attack),
    ]
    for start, method in (("at", "vanilla"), ("fdm", "neft")):
        runs.append(
            RunConfig(
                name=f"{start}-{method}", start_from=start, model=model, source=letters, target=digits,
                finetuning=FinetuningConfig(method=method, **training), attack=attack,
            )
        )  # fmt: skip
    return StudyConfig(title="Letters to digits", description="Does CARTL keep robustness?", runs=runs)


class ScriptedSession:
    """Same face as `engine.api.Session`; runs are invented, deterministic and instant."""

    def __init__(self, workspace: Path, *, read_only: str = "") -> None:
        self.workspace = workspace
        self.events: SimpleQueue[EngineEvent] = SimpleQueue()
        self.calls: list[tuple[object, ...]] = []
        self.read_only = read_only
        self._runs: dict[str, RunInfo] = {}
        self._records: dict[str, RunRecord] = {}
        self._binned: dict[str, RunInfo] = {}
        self._queue = RunQueue()
        self._script: Iterator[EngineEvent] | None = None
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self._inspecting: tuple[str, StageName | None] | None = None
        self._lock = threading.RLock()

    # what the window calls ------------------------------------------------------------------------------
    def open(self, *, take_up: bool = False) -> None:
        """Tell what `add_earlier` put there; with `take_up` its waiting runs are queued and held."""
        self.calls.append(("open",))
        self.events.put(
            RunsListed(tuple(self._runs.values()), self.read_only, binned=tuple(self._binned.values()))
        )
        self.events.put(EngineReady(DEVICE))
        self.sample()
        waiting = [info for info in self._runs.values() if info.state == "created"]
        if take_up and waiting and not self.read_only:
            self._queue.held = True
            self._enqueue(waiting)
        self._tell_queue()

    def submit(self, study: StudyConfig) -> list[RunInfo]:
        self.calls.append(("submit", study))
        with self._lock:
            infos: list[RunInfo] = []
            for config in study.runs:
                start = study.parent_of(config)
                parent = next(
                    (info.id for info in infos if start and (info.name, info.config.seed) == (start.name, start.seed)), ""
                )  # fmt: skip
                infos.append(self._make(config, study.title, parent))
            held, self._queue.held = self._queue.held, False
            self._enqueue(infos, first=held)
            return infos

    def pause(self) -> None:
        self.calls.append(("pause",))
        with self._lock:
            self._queue.held = True
            if self._queue.running:
                self._change(replace(self._runs[self._queue.running], state="paused", seconds_left=None))
            self.events.put(QueueEmpty(paused=True))
            self._tell_queue()

    def resume(self, run_id: str | None = None) -> None:
        self.calls.append(("resume", run_id))
        self._go_on([run_id] if run_id else [])

    def queue_again(self, run_ids: Sequence[str]) -> None:
        self.calls.append(("queue_again", tuple(run_ids)))
        self._go_on(run_ids)

    def resume_study(self, title: str) -> list[RunInfo]:
        self.calls.append(("resume_study", title))
        waiting = [info for info in self._runs.values() if info.study == title and info.state != "finished"]
        self._go_on([info.id for info in waiting])
        return waiting

    def move(self, run_ids: Sequence[str], before: str | None) -> None:
        self.calls.append(("move", tuple(run_ids), before))
        with self._lock:
            try:
                self._queue.move(run_ids, before)
            except QueueError as error:
                self.events.put(RequestFailed(MOVING, str(error)))
            self._tell_queue()

    def repeat(self, run_ids: Sequence[str], *, half_batch: bool = False) -> list[RunInfo]:
        self.calls.append(("repeat", tuple(run_ids), half_batch))
        with self._lock:
            infos = []
            for run_id in run_ids:
                info = self._runs[run_id]
                config = info.config.with_half_batch() if half_batch else info.config
                infos.append(self._make(config, info.study, info.parent))
            held, self._queue.held = self._queue.held, False
            self._enqueue(infos, first=held)
            return infos

    def export_report(self, study: str, destination: Path) -> None:
        self.calls.append(("export_report", study, destination))
        self.events.put(Exported(str(destination)))

    def stop(self, run_id: str, *, discard: bool = False) -> None:
        self.calls.append(("stop", run_id))
        with self._lock:
            if run_id == self._queue.running:
                self._script = None
                self._queue.end()
            else:
                self._queue.remove(run_id)
            self._change(
                replace(self._runs[run_id], state="stopped", reason="stopped by the user", seconds_left=None)
            )
            self._tell_queue()
            if discard:
                self.bin([run_id])

    def stop_all(self) -> None:
        self.calls.append(("stop_all",))
        with self._lock:
            for run_id in self._queue.unfinished:
                self.stop(run_id)
            self.events.put(QueueEmpty())

    def label(self, run_id: str, label: RunLabel) -> None:
        self.calls.append(("label", run_id, label))
        self._runs[run_id] = replace(self._runs[run_id], label=label)
        self.events.put(RunChanged(self._runs[run_id]))

    def bin(self, run_ids: Sequence[str]) -> None:
        """Put ended runs into the bin; refuses those from which another run starts."""
        self.calls.append(("bin", tuple(run_ids)))
        needed = {info.parent for info in self._runs.values() if info.id not in run_ids}
        refused = [run_id for run_id in run_ids if run_id in needed or run_id in self._queue]
        if refused:
            names = ", ".join(self._runs[run_id].title for run_id in refused)
            self.events.put(
                RequestFailed(BINNING, f"{names}: other runs start from it, or it has not ended.")
            )
        moved = {run_id: self._runs.pop(run_id) for run_id in run_ids if run_id not in refused}
        self._binned |= moved
        if moved:
            self.events.put(RunsBinned(tuple(moved.values())))

    def restore(self, run_ids: Sequence[str]) -> None:
        self.calls.append(("restore", tuple(run_ids)))
        for run_id in run_ids:
            self._change(self._binned.pop(run_id))

    def empty_bin(self) -> None:
        self.calls.append(("empty_bin",))
        self._binned.clear()
        self.events.put(BinEmptied())

    def estimate(self, study: StudyConfig) -> None:
        """Answer at once with invented figures: 8 s an epoch, 12 MiB of memory for each image of a batch."""
        self.calls.append(("estimate", study))
        runs = []
        for config in study.runs:
            training = [part for part in (config.pretraining, config.finetuning) if part is not None]
            seconds = sum(8.0 * part.epochs for part in training) + (40.0 if config.attack else 0.0)
            images = max((part.batch_size for part in training), default=100)
            runs.append(
                RunEstimate(
                    config.name, config.seed, seconds, images * 12 * 2**20, 40_000_000 * len(training)
                )
            )
        if any(run.seconds > 1e7 for run in runs):
            self.events.put(
                RequestFailed(ESTIMATING, "The first step of the probe took longer than 40 seconds.")
            )
            return
        free = 6 * 2**30
        large = max((run.memory or 0 for run in runs), default=0)
        warnings = (f"{large / 2**30:.1f} GB of memory are needed and 6.0 GB are free; halve the batch size",)
        self.events.put(
            StudyEstimated(
                tuple(runs), DEVICE.name, 4.2, free, 50 * 10**9, warnings=warnings if large > free else ()
            )
        )

    def cancel_estimate(self) -> None:
        self.calls.append(("cancel_estimate",))

    def open_run(self, run_id: str) -> None:
        self.calls.append(("open_run", run_id))
        with self._lock:
            if run_id in self._records:
                self.events.put(RunOpened(replace(self._records[run_id], run=self._runs[run_id])))
            elif run_id in self._runs:
                self.events.put(RunOpened(RunRecord(self._runs[run_id])))
            else:
                self.events.put(RequestFailed(f"open {run_id}", f"There is no run {run_id}."))

    def export_weights(self, run_id: str, stage: StageName, destination: Path) -> None:
        self.calls.append(("export_weights", run_id, stage, destination))
        self.events.put(Exported(str(destination)))

    def export_tables(self, run_id: str, folder: Path) -> None:
        self.calls.append(("export_tables", run_id, folder))
        self.events.put(Exported(str(folder)))

    def export_run(
        self, run_id: str, destination: Path, *, with_checkpoint: bool = True, overwrite: bool = False
    ) -> None:
        """Write nothing; a path in a folder called "full" fails."""
        self.calls.append(("export_run", run_id, destination, with_checkpoint, overwrite))
        if destination.parent.name == "full":
            self.events.put(RequestFailed(EXPORTING_RUN, f"no space at {destination}: choose another place"))
        else:
            self.events.put(Exported(str(destination)))

    def import_run(self, path: Path) -> None:
        """Take in a run of an earlier session."""
        self.calls.append(("import_run", path))
        info, record = earlier_run()
        self.add_earlier(info, record)
        self.events.put(RunChanged(info))
        self.events.put(RunOpened(record))

    def inspect(
        self, target: str, *, stage: StageName | None = None, attack: AttackConfig | None = None,
        data: DataConfig | None = None, checkpoint: CheckpointConfig | None = None, images: int = 256,
    ) -> None:  # fmt: skip
        """Begin an analysis; `finish_inspection` or `cancel_inspection` answers it."""
        self.calls.append(("inspect", target, stage))
        self._inspecting = (target, stage)
        self.events.put(InspectionProgress("Distances on 256 images", 0.2))

    def cancel_inspection(self) -> None:
        self.calls.append(("cancel_inspection",))
        if self._inspecting is not None:
            self._inspecting = None
            self.events.put(NetworkInspected(None))

    def attack_examples(self, run_id: str, stage: StageName, epsilon: float) -> None:
        """Attack a gallery anew at once; a radius above 1 fails."""
        self.calls.append(("attack_examples", run_id, stage, epsilon))
        if not 0 <= epsilon <= 1:
            self.events.put(RequestFailed(ATTACKING_EXAMPLES, f"epsilon is 0 to 1; it is {epsilon:g}."))
            return
        layout = layout_of(self._runs[run_id].config, stage)
        network = layout_of(demo_study().runs[1], "pretraining")
        layers = layer_rows(network, network.epochs, np.random.default_rng(1))
        probe = probe_rows(layout, layers, epsilon=epsilon)
        examples = example_rows(probe, epsilon=epsilon)
        attack = f"PGD-7, Linf {format_ratio(epsilon)}"
        self.events.put(ExamplesAttacked(run_id, stage, attack, epsilon, examples, probe))

    def close(self, timeout: float = 10.0) -> bool:
        self.calls.append(("close",))
        self._over.set()
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    # what a test calls ----------------------------------------------------------------------------------
    def finish_inspection(self, record: RunRecord | None = None, *, failure: str = "") -> None:
        """Answer the analysis under way with a record, an invented one if none is given, or a failure."""
        assert self._inspecting is not None
        target, stage = self._inspecting
        self._inspecting = None
        if failure:
            self.events.put(RequestFailed(INSPECTING, failure))
            return
        self.events.put(InspectionProgress("Bounds of 14 layers", 1.0))
        self.events.put(NetworkInspected(record or inspected(target, stage or "finetuning")))

    def add_earlier(self, info: RunInfo, record: RunRecord | None = None) -> None:
        """Put a run into the workspace that an earlier session made."""
        self._runs[info.id] = info
        if record is not None:
            self._records[info.id] = record

    def sample(self, **changes: object) -> None:
        """Post one sample of the machine: a busy processor without accelerator, but for what is changed."""
        values = {
            "time": time.time(), "processor": 0.93, "memory": 3_100_000_000, "memory_total": 8_200_000_000,
            "temperature": 61.0, "disk_free": 52_000_000_000,
        }  # fmt: skip
        self.events.put(MachineSample(**(values | changes)))

    def fail(self, reason: str = "the loss is not a number", *, cause: str = "") -> None:
        """Let the running run fail; with cause "memory" as after too large a batch."""
        with self._lock:
            run_id = self._queue.running
            assert run_id is not None
            self._script = None
            self._queue.end()
            self._change(
                replace(self._runs[run_id], state="failed", reason=reason, cause=cause, seconds_left=None)
            )

    def step(self, count: int = 1) -> bool:
        """Post the next events; False once nothing is queued."""
        with self._lock:
            for _ in range(count):
                if self._queue.held:
                    return False
                if self._script is None:
                    run_id = self._queue.begin()
                    if run_id is None:
                        return False
                    self._tell_queue()
                    self._script = self._story(self._runs[run_id])
                event = next(self._script, None)
                if event is None:
                    self._script = None
                    self._queue.trained(str(self._queue.running))
                    self._queue.end()
                    self._tell_queue()
                    if not self._queue.ready:
                        self.events.put(QueueEmpty())
                elif isinstance(event, RunChanged):
                    self._change(event.run)
                else:
                    self.events.put(event)
            return True

    def run_out(self) -> None:
        """Post everything that is left."""
        while self.step(100):
            pass

    def play(self, pause: float = 0.02) -> None:
        """Post one event every `pause` seconds from a thread until closed."""
        self._thread = threading.Thread(
            target=self._play, args=(pause,), name="scripted-session", daemon=True
        )
        self._thread.start()

    def _play(self, pause: float) -> None:
        while not self._over.wait(pause):
            self.step()

    def _make(self, config: RunConfig, study: str, parent: str) -> RunInfo:
        number = len(self._runs) + len(self._binned)
        run_id = f"{number + 1:04d}-{config.name}"
        info = RunInfo(
            run_id, config.name, study, str(self.workspace / run_id), "created", config,
            created=1.79e9 + number, device="cpu", parent=parent,
        )  # fmt: skip
        self._change(info)
        return info

    def _go_on(self, run_ids: Sequence[str]) -> None:
        with self._lock:
            self._queue.held = False
            running = self._queue.running
            if running:
                self._change(replace(self._runs[running], state="running"))
            infos = [self._runs[run_id] for run_id in run_ids if run_id != running]
            for info in infos:
                self._change(replace(info, state="created", reason=""))
            self._enqueue(infos, first=True)

    def _enqueue(self, infos: Sequence[RunInfo], *, first: bool = False) -> None:
        runs = []
        for info in infos:
            parent = self._runs.get(info.parent)
            waits = parent is not None and parent.state != "finished"
            runs.append(QueuedRun(info.id, info.title, {parent.id: parent.title} if parent and waits else {}))
        self._queue.add(runs, first=first)
        self._tell_queue()

    def _tell_queue(self) -> None:
        """Post the order, and for whom each run waits."""
        held = self._queue.held
        for run_id in self._queue.order:
            titles = self._queue.waits_for(run_id)
            reason = f"waits for {', '.join(titles)}" if titles else ""
            if self._runs[run_id].state == "created" and self._runs[run_id].reason != reason:
                self._change(replace(self._runs[run_id], reason=reason))
        self.events.put(QueueChanged(self._queue.unfinished if held else self._queue.order, held))

    def _change(self, info: RunInfo) -> None:
        if info.id in self._runs:
            info = replace(info, label=self._runs[info.id].label)
        self._runs[info.id] = info
        self.events.put(RunChanged(info))

    def _story(self, info: RunInfo) -> Iterator[EngineEvent]:
        config, random = info.config, np.random.default_rng(sum(map(ord, info.name)))
        started = replace(info, state="running", reason="", stage=config.stages[0], seconds_left=200.0)
        yield RunChanged(started)
        yield LogAdded(info.id, time.time(), "info", f"{info.name} starts on the CPU with 2 threads")
        stages, done = config.stages, 0.0
        attack = ScriptedAttack(info.id, config.attack or AttackConfig(), sum(map(ord, info.name)))
        weights: tuple[StageName, ...] = ()
        for number, stage in enumerate(stages):
            running = replace(started, stage=stage)
            if stage == "attack":
                yield StageStarted(info.id, attack.layout)
                yield RunChanged(replace(running, progress=done, seconds_left=40.0))
                yield from attack.events()
            else:
                yield from self._training(running, stage, number / len(stages), 1 / len(stages), random)
                weights += (stage,)
            done = (number + 1) / len(stages)
        data = f"{config.evaluation_data.name} test images" if config.evaluation_data else "test images"
        result = attack.result(data) if config.attack else None
        finished = replace(
            self._runs[info.id], state="finished", progress=done, seconds_left=None, result=result
        )
        self._records[info.id] = RunRecord(finished, weights=weights)
        yield LogAdded(info.id, time.time(), "info", f"{info.name} finished")
        yield RunChanged(finished)
        yield RunOpened(RunRecord(finished, weights=weights))

    def _look(
        self, run_id: str, layout: StageLayout, epoch: int, layers: dict[str, np.ndarray]
    ) -> Iterator[EngineEvent]:
        """What is measured layer by layer: bounds at longer and longer intervals, and the probe after each epoch."""
        stage, last = layout.stage, layout.epochs
        if epoch in BOUND_EPOCHS or epoch == last:
            before = max((earlier for earlier in BOUND_EPOCHS if earlier < epoch), default=0)
            bounds = bound_rows(
                layout,
                epoch * STEPS_PER_EPOCH,
                (epoch - before) * STEPS_PER_EPOCH,
                np.random.default_rng(epoch),
            )
            yield RowsAdded(run_id, stage, "bounds", bounds)
            yield RowsAdded(run_id, stage, "profile", profile_rows(layers, bounds))
        probe = probe_rows(layout, layers)
        yield RowsAdded(run_id, stage, "probe", probe)
        yield RowsAdded(run_id, stage, "examples", example_rows(probe))

    def _training(
        self, info: RunInfo, stage: StageName, begin: float, share: float, random: np.random.Generator
    ) -> Iterator[EngineEvent]:
        layout = layout_of(info.config, stage)
        yield StageStarted(info.id, layout)
        for epoch in range(1, layout.epochs + 1):
            for part in range(4):
                first = (epoch - 1) * STEPS_PER_EPOCH + part * STEPS_PER_EPOCH // 4
                yield RowsAdded(
                    info.id, stage, "steps", step_rows(layout, first, STEPS_PER_EPOCH // 4, random)
                )
                progress = begin + share * (epoch - 1 + (part + 1) / 4) / layout.epochs
                yield RunChanged(
                    replace(
                        info, progress=progress, seconds=180 * progress, seconds_left=180 * (1 - progress)
                    )
                )
            yield RowsAdded(info.id, stage, "epochs", epoch_rows(layout, epoch, random))
            layers = layer_rows(layout, epoch, random)
            yield RowsAdded(info.id, stage, "layers", layers)
            yield from self._look(info.id, layout, epoch, layers)
            yield CheckpointSaved(info.id, stage, epoch * STEPS_PER_EPOCH, f"{info.path}/last.ckpt")
        yield LogAdded(info.id, time.time(), "info", f"{layout.title}: {layout.epochs} epochs done")


def earlier_run(name: str = "old-at", state: str = "finished") -> tuple[RunInfo, RunRecord]:
    """A run of an earlier session with all its tables."""
    session = ScriptedSession(Path("earlier"))
    study = demo_study()
    config = study.runs[1].model_copy(update={"name": name})
    info = session.submit(StudyConfig(title="Earlier study", runs=[config]))[0]
    session.run_out()
    tables: dict[str, dict[str, list[dict[str, np.ndarray]]]] = {}
    layouts, final, weights = {}, info, ()
    while not session.events.empty():
        event = session.events.get()
        if isinstance(event, StageStarted):
            layouts[event.layout.stage] = event.layout
        elif isinstance(event, RowsAdded):
            parts = tables.setdefault(event.stage, {}).setdefault(event.table, [])
            if not ORDER[event.table]:
                parts.clear()
            parts.append(dict(event.columns))
        elif isinstance(event, RunChanged):
            final = event.run
        elif isinstance(event, RunOpened):
            weights = event.record.weights
    final = replace(
        final, id="old", state=state, reason="" if state == "finished" else "the computer went off"
    )
    assert final.state in ENDED
    joined = {
        stage: {
            name: {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}
            for name, parts in by_name.items()
        }
        for stage, by_name in tables.items()
    }
    return final, RunRecord(final, layouts, joined, ("started", "finished"), weights)
