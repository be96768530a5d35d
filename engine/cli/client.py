"""A session as the command line uses it: ask and wait for the answer, follow runs to their end, pause on Ctrl+C."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, TypeVar

from engine import api
from engine.cli.attacking import AttackDisplay
from engine.cli.progress import Display
from engine.config import (
    AttackConfig,
    CheckpointConfig,
    ComparisonConfig,
    DataConfig,
    ImportConfig,
    StageName,
    StudyConfig,
)
from engine.errors import CartlError, ConfigError
from engine.events import (
    ENDED,
    AttackProgress,
    BinEmptied,
    Downloading,
    EngineEvent,
    EngineReady,
    Exported,
    InspectionProgress,
    LogAdded,
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
    StageLayout,
    StageStarted,
    StudyEstimated,
)
from engine.titles import run_title, varied_studies
from engine.wording import duration, percent

if TYPE_CHECKING:
    from engine.report import StudySource
    from engine.report.inspection import Inspection

Answer = TypeVar("Answer", RunsListed, RunOpened, Exported, RunChanged, BinEmptied, StudyEstimated)

#: Seconds between two looks at whether Ctrl+C was pressed.
POLL = 0.1
#: Requests of the engine to itself without which nothing else can be done.
FATAL = ("start the engine",)


class Paused(Exception):
    """The user asked to stop; everything is saved. `number` is the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """While active, the first SIGINT or SIGTERM is kept in `number`; a second one ends the process at once."""

    def __init__(self) -> None:
        self.number = 0

    def __enter__(self) -> Signals:
        self._before = {kind: signal.signal(kind, self._receive) for kind in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            show_cursor = b"\x1b[?25h" if sys.stderr.isatty() else b""
            os.write(2, show_cursor + b"\nQuit at once; the last checkpoint is kept.\n")
            os._exit(128 + number)
        self.number = number


class Client:
    """An open session; `runs` holds what is known of every run of the workspace, newest first, `binned` those in the bin.

    While it is open, Ctrl+C makes the call that waits raise `Paused`, after the running run is saved. With `take_up`
    it works off the queue that the window left; without, it leaves that queue alone.
    """

    def __init__(
        self, workspace: Path, display: Display, *, verbose: bool = False, take_up: bool = False
    ) -> None:
        self.display = display
        self.runs: dict[str, RunInfo] = {}
        self.binned: dict[str, RunInfo] = {}
        self.questions: Mapping[str, tuple[ComparisonConfig, ...]] = {}
        self._verbose, self._take_up = verbose, take_up
        self._session = api.Session(workspace)
        self._attacks = AttackDisplay(display)
        self._layouts: dict[str, StageLayout] = {}
        self._notes: dict[str, str] = {}
        self._rates: dict[str, str] = {}
        self._download = ""
        # The request whose failure is raised, and so told by whoever catches it.
        self._asked = ""
        # What an inspection that has not begun yet is about.
        self._inspected = ""
        self._signals = Signals()

    def __enter__(self) -> Client:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._signals)
            self._session.open(take_up=self._take_up)
            stack.callback(self._close)
            self._wait(RunsListed, "open the workspace")
            while not isinstance(self._next(), QueueChanged):
                pass  # what could not be listed is told in between
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _close(self) -> None:
        if not self._session.close():
            self.display.line("The engine did not end in time; the last checkpoint is kept.")
            self.display.close()
            os._exit(1)

    def read(self, run_id: str) -> RunRecord:
        """Read everything measured in a run; raises CartlError if its files cannot be read."""
        self._session.open_run(run_id)
        return self._wait(RunOpened, "open the run").record

    def inspect(
        self,
        target: str,
        name: str,
        *,
        stage: StageName | None = None,
        attack: AttackConfig | None = None,
        data: DataConfig | None = None,
        checkpoint: CheckpointConfig | None = None,
        images: int,
    ) -> RunRecord:
        """Analyse a network and show how far that is.

        Args:
            target, stage, attack, data, checkpoint, images: as of `Session.inspect`.
            name: what is analysed, for people.

        Raises:
            CartlError: the network or the images cannot be read, or do not fit.
            Paused: Ctrl+C was pressed; the analysis ended before its time.
        """
        self._asked, self._inspected = api.INSPECTING, name
        self._session.inspect(
            target, stage=stage, attack=attack, data=data, checkpoint=checkpoint, images=images
        )
        cancelled = False
        while True:
            if self._signals.number and not cancelled:
                cancelled = True
                self.display.line("Ending the analysis. Press Ctrl+C again to quit at once.")
                self._session.cancel_inspection()
            event = self._next()
            if isinstance(event, NetworkInspected):
                if event.record is None:
                    raise Paused(self._signals.number)
                if not self._inspected:
                    self.display.advance(100)
                return event.record
            self._raise_if_failed(event)

    def estimate(self, study: StudyConfig, *, resume: bool = False) -> StudyEstimated:
        """Tell what a study will take; raises CartlError if a run cannot be made, and Paused for Ctrl+C."""
        self._session.estimate(study, resume=resume)
        try:
            return self._wait(StudyEstimated, api.ESTIMATING)
        except Paused:
            self._session.cancel_estimate()
            raise

    def export_inspection(
        self,
        inspection: Inspection,
        destination: Path,
        *,
        other: Inspection | None,
        overwrite: bool,
    ) -> str:
        """Write a look at a network and return the path; raises CartlError if it cannot be written."""
        self._session.export_inspection(inspection, destination, other=other, overwrite=overwrite)
        return self._wait(Exported, "export the inspection").path

    def import_weights(
        self, path: Path, config: ImportConfig, destination: Path, *, overwrite: bool
    ) -> Exported:
        """Import a checkpoint of the CARTL authors' code; raises CartlError if it cannot be read or written."""
        self._session.import_weights(path, config, destination, overwrite=overwrite)
        return self._wait(Exported, api.IMPORTING)

    def export_weights(self, run_id: str, stage: StageName, destination: Path) -> str:
        """Write weights and return the path of the file; raises CartlError if they cannot be written."""
        self._session.export_weights(run_id, stage, destination)
        return self._wait(Exported, api.EXPORTING_WEIGHTS).path

    def export_tables(self, run_id: str, folder: Path) -> str:
        """Write tables and return the path of the folder; raises CartlError if they cannot be written."""
        self._session.export_tables(run_id, folder)
        return self._wait(Exported, api.EXPORTING_TABLES).path

    def export_run(
        self, run_id: str, destination: Path, *, with_checkpoint: bool = True, overwrite: bool = False
    ) -> str:
        """Write a whole run and return the path; raises CartlError if it cannot be read or written."""
        self._session.export_run(run_id, destination, with_checkpoint=with_checkpoint, overwrite=overwrite)
        return self._wait(Exported, api.EXPORTING_RUN).path

    def import_run(self, path: Path) -> RunInfo:
        """Take an exported run into the workspace; raises CartlError if it is not taken."""
        self._session.import_run(path)
        return self._wait(RunOpened, api.IMPORTING_RUN).record.run

    def export_report(self, title: str, destination: Path, source: StudySource | None = None) -> str:
        """Write the report of a study and return its path; raises CartlError if it cannot be written."""
        self._session.export_report(title, destination, source=source)
        return self._wait(Exported, api.WRITING_REPORT).path

    def make(self, study: StudyConfig, *, resume: bool = False) -> list[RunInfo]:
        """Make the runs of a study, or go on with them, and follow them to their end.

        Raises:
            CartlError: as `Session.submit`.
            Paused: Ctrl+C was pressed; the running run is saved.
        """
        made = self._session.submit(study, resume=resume)
        self.runs = {run.id: run for run in reversed(made)} | self.runs
        varied = varied_studies(made)
        for run in made:
            if run.state == "finished":
                self.display.line(f"{run_title(run, varied)} ({run.id}): finished before")
        return self._follow([run.id for run in made])

    def resume(self, run_id: str) -> RunInfo:
        """Go on with a run and follow it to its end.

        Raises:
            CartlError: there is nothing to go on with, or another process writes to the workspace.
            Paused: Ctrl+C was pressed; the run is saved.
        """
        self._asked = api.RESUMING
        self._session.resume(run_id)
        return self._follow([run_id])[0]

    def repeat(self, run_id: str, *, half_batch: bool = False) -> RunInfo:
        """Make a run anew with the same settings, or half the batch, and follow it to its end.

        Raises:
            CartlError: as `Session.repeat`.
            Paused: Ctrl+C was pressed; the run is saved.
        """
        (made,) = self._session.repeat([run_id], half_batch=half_batch)
        self.runs = {made.id: made} | self.runs
        return self._follow([made.id])[0]

    def queue(self) -> tuple[str, ...]:
        """The runs in the window's queue, the running one first; raises CartlError if it cannot be read."""
        return tuple(run_id for run_id in self._session.kept_queue() if run_id in self.runs)

    def work_off(self) -> list[RunInfo]:
        """Go on with the queue that was taken up, to its end; see `resume`."""
        waiting = [run_id for run_id in self.queue() if self.runs[run_id].state != "finished"]
        self._asked = api.RESUMING
        self._session.resume()
        return self._follow(waiting)

    def label(self, run_id: str, label: RunLabel) -> RunInfo:
        """Write a label on a run; raises CartlError if that cannot be done."""
        self._session.label(run_id, label)
        return self._changed([run_id], api.LABELLING)[0]

    def bin(self, run_ids: Sequence[str]) -> tuple[tuple[RunInfo, ...], str]:
        """Move runs to the bin; returns those that were moved, and why others have to stay."""
        self._asked = api.BINNING
        self._session.bin(run_ids)
        moved: tuple[RunInfo, ...] = ()
        while len(moved) < len(run_ids):
            event = self._next()
            if isinstance(event, RunsBinned):
                moved = event.runs
            elif isinstance(event, RequestFailed) and event.request in (api.BINNING, *FATAL):
                return moved, event.message
        return moved, ""

    def restore(self, run_ids: Sequence[str]) -> list[RunInfo]:
        """Bring runs back from the bin; raises CartlError if that cannot be done."""
        self._session.restore(run_ids)
        return self._changed(run_ids, api.RESTORING)

    def empty_bin(self) -> None:
        """Delete what is in the bin for good; raises CartlError if that cannot be done."""
        self._session.empty_bin()
        self._wait(BinEmptied, api.EMPTYING)

    def _changed(self, run_ids: Sequence[str], request: str) -> list[RunInfo]:
        """Wait until each of these runs was told anew."""
        changed: dict[str, RunInfo] = {}
        while not changed.keys() >= set(run_ids):
            run = self._wait(RunChanged, request).run
            changed[run.id] = run
        return [changed[run_id] for run_id in run_ids]

    def _follow(self, run_ids: Sequence[str]) -> list[RunInfo]:
        """Show how queued runs get on until each has ended; some may begin as paused or failed."""
        before = {run_id: self.runs[run_id].state for run_id in run_ids}
        pending = {run_id for run_id, state in before.items() if state != "finished"}
        active: set[str] = set()
        # An empty queue means the end only if it was told after these runs had been queued.
        queued = pausing = False
        while pending:
            if self._signals.number and not pausing:
                pausing = True
                self.display.line("Pausing: the run is saved first. Press Ctrl+C again to quit at once.")
                self._session.pause()
            event = self._next()
            match event:
                case RunChanged(run=run) if run.id in pending:
                    if run.state not in ENDED:
                        active.add(run.id)
                    elif run.id in active or run.state != before[run.id]:
                        pending.discard(run.id)
                case QueueChanged(order=order, paused=False) if not pending.isdisjoint(order):
                    queued = True
                case QueueEmpty() if queued:
                    break
                case RequestFailed(request=request, message=message) if request in (api.RESUMING, *FATAL):
                    raise CartlError(message)
        if self._signals.number:
            raise Paused(self._signals.number)
        return [self.runs[run_id] for run_id in run_ids]

    def _wait(self, kind: type[Answer], request: str) -> Answer:
        self._asked = request
        while True:
            event = self._next()
            if isinstance(event, kind):
                return event
            self._raise_if_failed(event)
            if self._signals.number:
                raise Paused(self._signals.number)

    def _raise_if_failed(self, event: EngineEvent | None) -> None:
        """Raises CartlError: what was asked for could not be done."""
        if isinstance(event, RequestFailed) and event.request in (self._asked, *FATAL):
            raise ConfigError(event.problems) if event.problems else CartlError(event.message)

    def _next(self) -> EngineEvent | None:
        """Take the next event, keep and show what it says; None if there is none just now."""
        try:
            event = self._session.events.get(timeout=POLL)
        except queue.Empty:
            return None
        match event:
            case RunsListed(runs=runs, binned=binned):
                self.questions = event.questions
                self.runs = {run.id: run for run in runs}
                self.binned = {run.id: run for run in binned}
            case RunsBinned(runs=runs):
                self.binned |= {run.id: run for run in runs}
                self.runs = {run_id: run for run_id, run in self.runs.items() if run_id not in self.binned}
            case RunChanged(run=run):
                self._run_changed(run)
            case EngineReady(device=device) if self._verbose:
                self.display.line(f"Device: {device.name} ({device.chosen}), {device.threads} threads")
            case StageStarted(run_id=run_id, layout=layout) if layout.stage == "attack":
                self._attacks.started(layout, self.runs[run_id].config.attack)
            case StageStarted(run_id=run_id, layout=layout):
                self._layouts[run_id] = layout
                self._notes[run_id] = ""
                self.display.stage(layout.title, layout.epochs * layout.steps_per_epoch)
            case RowsAdded(run_id=run_id) if run_id in self._layouts:
                self._rows_added(event, self._layouts[run_id])
            case AttackProgress():
                self._attacks.show(event)
            case Downloading(name=name, done=done, total=total):
                if name != self._download:
                    self._download = name
                    self.display.stage(f"Loading {name}", total)
                self.display.advance(done, rate=f"{done / 1e6:.0f} MB")
            case InspectionProgress(title=title, share=share):
                if self._inspected:
                    self.display.stage(f"Inspecting {self._inspected}", 100)
                    self._inspected = ""
                self.display.advance(round(100 * share), note=title)
            case LogAdded(level=level, text=text) if level != "info" or self._verbose:
                self.display.line(f"{level}: {text}" if level != "info" else text)
            case RequestFailed(request=request, message=message, details=details):
                if request not in (self._asked, *FATAL):
                    self.display.line(f"Could not {request}: {message}")
                if details and self._verbose:
                    self.display.line(details.rstrip())
        return event

    def _run_changed(self, run: RunInfo) -> None:
        before = self.runs.get(run.id)
        self.runs[run.id] = run
        if before is None or before.state == run.state:
            return
        title = run_title(run, varied_studies(self.runs.values()))
        if run.state == "running":
            self.display.line(f"{title} ({run.id})")
        elif run.state == "finished":
            if run.result is not None:
                self._attacks.ended(run.result)
            self.display.line(f"{title}: finished in {duration(run.seconds)}")
        elif run.state in ENDED and not run.reason:
            self.display.line(f"{title}: {run.state}")

    def _rows_added(self, event: RowsAdded, layout: StageLayout) -> None:
        columns = event.columns
        if not len(next(iter(columns.values()), ())):
            return
        if event.table == "epochs":
            epoch, clean, robust = (
                columns[name][-1] for name in ("epoch", "clean_accuracy", "robust_accuracy")
            )
            self._notes[event.run_id] = (
                f"epoch {int(epoch)}/{layout.epochs}"
                + (f", clean {percent(float(clean))} %" if clean == clean else "")
                + (f", robust {percent(float(robust))} %" if robust == robust else "")
            )
        elif event.table == "steps":
            self._rates[event.run_id] = f"{float(columns['images_per_second'][-1]):.0f} images/s"
        else:
            return
        done = int(columns["step"][-1]) + (event.table == "steps")
        self.display.advance(done, rate=self._rates.get(event.run_id, ""), note=self._notes[event.run_id])
