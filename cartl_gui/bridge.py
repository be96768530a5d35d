"""The only file that sees both worlds: it drains the engine's events in the window's thread and emits signals."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from PySide6.QtCore import QObject, QTimer, Signal

from cartl_gui.run_data import RunData
from engine.events import (
    ENDED,
    AttackProgress,
    BinEmptied,
    CheckpointSaved,
    Downloading,
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
    RunInfo,
    RunLabel,
    RunOpened,
    RunRecord,
    RunsBinned,
    RunsListed,
    StageStarted,
    StudyEstimated,
    WeightsRecognised,
)

#: Milliseconds between two looks into the queue.
DRAIN_MS = 40
#: Longest time in seconds that one look may take before the window gets its turn.
BUDGET = 0.010
#: Runs that are not running whose tables are kept in memory.
MAX_KEPT_RUNS = 12
#: Networks analysed on demand that are kept in memory.
MAX_KEPT_INSPECTIONS = 4


class EventSource(Protocol):
    """Anything with a queue of engine events."""

    events: SimpleQueue[EngineEvent]


class EngineBridge(QObject):
    """Lives in the window's thread; every slot connected to it must be a method of a QObject of that thread.

    Of `RunChanged` and `AttackProgress` only the latest of a drain is passed on, unless the state changed:
    states are never dropped.
    """

    engine_ready = Signal(object)
    runs_listed = Signal(object)
    run_changed = Signal(object)
    stage_started = Signal(str, object)
    data_changed = Signal(str)
    checkpoint_saved = Signal(object)
    log_added = Signal(object)
    downloading = Signal(object)
    run_opened = Signal(str)
    weights_recognised = Signal(object)
    weights_imported = Signal(object)
    exported = Signal(str)
    inspection_progress = Signal(object)
    #: What was found, as `RunData`; None if the analysis was cancelled.
    network_inspected = Signal(object)
    examples_attacked = Signal(object)
    request_failed = Signal(object)
    #: All that one look found in the queue was passed on.
    looked = Signal()
    queue_empty = Signal(bool)
    #: The waiting runs or whether they are held: see `queue` and `queue_paused`.
    queue_changed = Signal(object)
    #: The runs that were moved to the bin; they are out of `runs` and in `binned` by then.
    runs_binned = Signal(object)
    bin_emptied = Signal()
    machine_sampled = Signal(object)
    study_estimated = Signal(object)

    def __init__(self, source: EventSource, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._events = source.events
        self.runs: dict[str, RunInfo] = {}
        #: Runs in the bin, which are not among `runs`.
        self.binned: dict[str, RunInfo] = {}
        #: Ids of the waiting runs in order, and whether they are held.
        self.queue: tuple[str, ...] = ()
        self.queue_paused = False
        self.last_sample: MachineSample | None = None
        #: Networks analysed on demand, by the id of their run or the path of their file; the newest last.
        self.inspections: OrderedDict[str, RunData] = OrderedDict()
        self._data: OrderedDict[str, RunData] = OrderedDict()
        self._timer = QTimer(self)
        self._timer.setInterval(DRAIN_MS)
        self._timer.timeout.connect(self.drain)

    def start(self) -> None:
        """Begin to look into the queue."""
        self._timer.start()

    def stop(self) -> None:
        """End looking into the queue."""
        self._timer.stop()

    def data(self, run_id: str) -> RunData | None:
        """What is known about a run, None for an unknown one."""
        if run_id in self._data:
            self._data.move_to_end(run_id)
            return self._data[run_id]
        info = self.runs.get(run_id)
        return self._remember(RunData(info)) if info is not None else None

    def running(self) -> RunInfo | None:
        """The run that is computing now."""
        return next((info for info in self.runs.values() if info.state == "running"), None)

    def drain(self) -> None:
        """Pass on what is in the queue, for at most 10 ms; the rest comes with the next look."""
        if self._events.empty():
            return
        deadline = time.perf_counter() + BUDGET
        changed: dict[str, RunInfo] = {}
        touched: set[str] = set()
        while time.perf_counter() < deadline:
            try:
                event = self._events.get_nowait()
            except Empty:
                break
            self._take(event, changed, touched)
        self._flush(changed)
        for run_id in touched:
            self.data_changed.emit(run_id)
        self.looked.emit()

    def _take(self, event: EngineEvent, changed: dict[str, RunInfo], touched: set[str]) -> None:
        match event:
            case RunChanged(run=info):
                waiting = changed.get(info.id)
                if waiting is not None and waiting.state != info.state:
                    self._flush({info.id: changed.pop(info.id)})
                changed[info.id] = info
                touched.add(info.id)
            case RowsAdded(run_id=run_id):
                if (data := self._data_for(run_id, changed)) is not None:
                    data.add_rows(event)
                    touched.add(run_id)
            case AttackProgress(run_id=run_id):
                if (data := self._data_for(run_id, changed)) is not None:
                    data.set_attack(event)
                    touched.add(run_id)
            case StageStarted(run_id=run_id, layout=layout):
                if (data := self._data_for(run_id, changed)) is not None:
                    data.start_stage(layout)
                    touched.add(run_id)
                    self.stage_started.emit(run_id, layout)
            case RunsListed(runs=runs):
                self.runs.update({info.id: info for info in reversed(runs)})
                self.binned = {info.id: info for info in event.binned}
                self.runs_listed.emit(event)
            case RunsBinned(runs=runs):
                for info in runs:
                    changed.pop(info.id, None)
                    self._forget(info)
                self.runs_binned.emit(event)
            case RunOpened(record=record) if record.run.id not in self.binned:
                self._note(record.run)
                data = self.data(record.run.id)
                if data is not None:
                    data.absorb(record)
                    touched.add(record.run.id)
                    self.run_opened.emit(record.run.id)
            case _:
                self._pass_on(event)

    def _pass_on(self, event: EngineEvent) -> None:
        match event:
            case EngineReady(device=device):
                self.engine_ready.emit(device)
            case CheckpointSaved():
                self.checkpoint_saved.emit(event)
            case LogAdded():
                self.log_added.emit(event)
            case Downloading():
                self.downloading.emit(event)
            case WeightsRecognised():
                self.weights_recognised.emit(event)
            case Exported(path=path):
                self.exported.emit(path)
                if event.imported is not None:
                    self.weights_imported.emit(event)
            case InspectionProgress():
                self.inspection_progress.emit(event)
            case NetworkInspected(record=record):
                self.network_inspected.emit(None if record is None else self._keep_inspection(record))
            case ExamplesAttacked():
                self.examples_attacked.emit(event)
            case RequestFailed():
                self.request_failed.emit(event)
            case QueueEmpty(paused=paused):
                self.queue_empty.emit(paused)
            case QueueChanged(order=order, paused=paused):
                self.queue, self.queue_paused = order, paused
                self.queue_changed.emit(event)
            case BinEmptied():
                self.binned.clear()
                self.bin_emptied.emit()
            case MachineSample():
                self.last_sample = event
                self.machine_sampled.emit(event)
            case StudyEstimated():
                self.study_estimated.emit(event)

    def _data_for(self, run_id: str, changed: dict[str, RunInfo]) -> RunData | None:
        if run_id in changed:
            self._flush({run_id: changed.pop(run_id)})
        return self.data(run_id)

    def _flush(self, changed: dict[str, RunInfo]) -> None:
        for info in changed.values():
            self._note(info)
            self.run_changed.emit(info)

    def _note(self, info: RunInfo) -> None:
        self.binned.pop(info.id, None)
        self.runs[info.id] = info
        if info.id in self._data:
            self._data[info.id].update(info)

    def _forget(self, info: RunInfo) -> None:
        """Leave a run that went to the bin out of what is known."""
        self.runs.pop(info.id, None)
        self._data.pop(info.id, None)
        self.binned[info.id] = info

    def _keep_inspection(self, record: RunRecord) -> RunData:
        """Keep what was found under a name of its own, and forget the oldest."""
        key, run = record.run.id, self.runs.get(record.run.id)
        name = f"{run.title}, analysed" if run is not None else f"file: {Path(key).name}"
        data = RunData(replace(record.run, name=name, label=RunLabel()), is_inspection=True)
        data.absorb(replace(record, weights=()))  # they are the run's, whose gallery is another
        self.inspections.pop(key, None)
        self.inspections[key] = data
        while len(self.inspections) > MAX_KEPT_INSPECTIONS:
            self.inspections.popitem(last=False)
        return data

    def _remember(self, data: RunData) -> RunData:
        self._data[data.info.id] = data
        ended = [key for key, kept in self._data.items() if kept.info.state in ENDED]
        for key in ended[: max(0, len(ended) - MAX_KEPT_RUNS)]:
            if key != data.info.id:
                del self._data[key]
        return data
