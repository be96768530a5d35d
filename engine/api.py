"""All that the window and the command line may ask of the engine.

A `Session` owns one workspace, the engine thread and the queue of runs. Every method returns at once; answers
come as events on `Session.events`. Importing this module loads neither torch nor h5py.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from engine.config import (
    AttackConfig,
    CheckpointConfig,
    ComparisonConfig,
    DataConfig,
    DeviceName,
    ImportConfig,
    StageName,
    StudyConfig,
    parse_study,
    require_usable,
)
from engine.control import RunControl
from engine.desk import Desk
from engine.errors import StoreError
from engine.events import (
    BinEmptied,
    EngineEvent,
    Exported,
    LogAdded,
    NetworkInspected,
    RequestFailed,
    RunChanged,
    RunInfo,
    RunLabel,
    RunOpened,
    RunRecord,
    RunsBinned,
    RunsListed,
    WeightsRecognised,
)
from engine.lineage import ancestry, removable
from engine.machine import Sampler
from engine.references import References, RunKey
from engine.results import results_of, study_runs
from engine.store.workspace import Workspace
from engine.worker import Worker

if TYPE_CHECKING:
    from engine.report import StudySource
    from engine.report.inspection import Inspection


#: Names of requests that a caller tells apart by their `RequestFailed`.
RECOGNISING, IMPORTING = "recognise the checkpoint", "import the checkpoint"
INSPECTING, ATTACKING_EXAMPLES = "inspect the network", "attack the examples"
EXPORTING_WEIGHTS, EXPORTING_TABLES = "export the weights", "export the tables"
EXPORTING_RUN, IMPORTING_RUN = "export the run", "take in the run"
WRITING_REPORT = "write the report"
ESTIMATING = "estimate the study"
MOVING, RESUMING = "move the runs", "resume the run"
LABELLING = "label the run"
BINNING, RESTORING, EMPTYING = "move the runs to the bin", "restore the runs", "empty the bin"
TAKING_UP = "take up the queue"


def default_workspace() -> Path:
    """The folder of runs used when none is named: $CARTL_WORKSPACE, else one in the user's data folder."""
    named = os.environ.get("CARTL_WORKSPACE")
    return Path(named) if named else platformdirs.user_data_path("cartl-workbench") / "workspace"


def data_folder() -> Path:
    """Where downloaded data sets are kept: $CARTL_DATA, else the user's cache folder."""
    named = os.environ.get("CARTL_DATA")
    return Path(named) if named else platformdirs.user_cache_path("cartl-workbench") / "data"


def presets() -> dict[str, StudyConfig]:
    """The studies that come with the program, by short name ("demo", ...)."""
    return {name: parse_study(text, origin=f"{name}.toml") for name, text in preset_texts().items()}


def preset_texts() -> dict[str, str]:
    """The settings files of these studies as they were written, with grids and comments."""
    found = sorted(files("engine").joinpath("presets").iterdir(), key=lambda item: item.name)
    return {
        item.name.removesuffix(".toml"): item.read_text(encoding="utf-8")
        for item in found
        if item.name.endswith(".toml")
    }


def import_destination(checkpoint: Path) -> Path:
    """Where an imported checkpoint goes unless a place is named: beside it, as .safetensors."""
    name = f"{checkpoint.stem}-imported" if checkpoint.suffix == ".safetensors" else checkpoint.stem
    return checkpoint.with_name(f"{name}.safetensors")


class Session:
    """One workspace, the engine thread and the queue of runs."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.events: queue.SimpleQueue[EngineEvent] = queue.SimpleQueue()
        self._workspace = Workspace(workspace)
        self._references = References(self._workspace)
        self._desk = Desk(self._tell)
        self._sampler = Sampler(workspace, post=self._tell, tell=self._tell_of_machine)
        self._worker = Worker(
            self._workspace, self._references, self._desk, data_root=data_folder(), tell=self._tell,
            machine=self._sampler.latest, discard=lambda run_id: self.bin([run_id]),
        )  # fmt: skip
        self._inspection, self._gallery, self._estimation = RunControl(), RunControl(), RunControl()
        # Labels changed while the session is open: what is told of a run carries the newest.
        self._labels: dict[str, RunLabel] = {}
        self._telling = threading.Lock()

    def open(self, *, take_up: bool = False) -> None:
        """Take the workspace's lock, post `RunsListed`, start the threads; `EngineReady` follows once torch is in.

        A second instance opens read-only: it can look at runs but not start any.

        Args:
            take_up: queue what the queue of an earlier process held and hold it, and keep this one for the next; without
                it the kept queue is left alone.

        Raises:
            StoreError: the workspace cannot be read.
        """
        holder = self._workspace.lock()
        runs = tuple(self._workspace.runs())
        problems = self._workspace.problems
        binned = tuple(self._workspace.binned())
        problems += self._workspace.problems
        self._tell(RunsListed(runs, holder, questions=self._workspace.questions(), binned=binned))
        for problem in problems:
            self._tell(RequestFailed("list the runs", problem))
        if take_up and self._workspace.writable:
            self._desk.attempt(TAKING_UP, self._worker.take_up)
        self._worker.tell_queue()
        self._worker.start()
        self._sampler.start()

    def submit(self, study: StudyConfig, *, resume: bool = False) -> list[RunInfo]:
        """Create the runs of a study (state "created") and queue them in order, in front if the queue was held.

        Args:
            study: the runs; `start_from` may name an earlier one, a run of the workspace, or a file or folder.
            resume: keep the runs of this workspace that have the same study title, name and settings (the seed is
                one) and start from runs that are kept: finished ones as they are, others go on where they stopped.
                Only what is missing is made.

        Raises:
            ConfigError: settings cannot be used, or a run starts from something that does not exist or does not fit.
            StoreError: the workspace is read-only or cannot be written.
        """
        require_usable(study.runs)
        parents = self._references.parents(study)
        earlier = self._references.earlier(study, parents) if resume else {}
        made: dict[RunKey, RunInfo] = {}
        for run in study.runs:
            key = (run.name, run.seed)
            info = earlier.get(key)
            if info is None:
                parent = parents.get(key, "")
                folder = self._workspace.create_run(
                    run, study.title, parent=parent if isinstance(parent, str) else made[parent].id
                )
                info = folder.info()
            made[key] = info
            self._tell(RunChanged(info))
        if study.comparisons:
            self._workspace.keep_questions(study.title, study.comparisons)
        self._desk.keep("keep the study", lambda: self._workspace.keep_study(study))
        self._worker.enqueue([info.id for info in made.values() if info.state != "finished"])
        return list(made.values())

    def planned(self, study: StudyConfig, *, resume: bool = False) -> list[RunInfo | None]:
        """For each run of a study what `submit` would go on with; None is made anew. Nothing is written.

        Raises:
            ConfigError: a run starts from something that does not exist or does not fit.
            StoreError: the workspace cannot be read.
        """
        parents = self._references.parents(study)
        earlier = self._references.earlier(study, parents) if resume else {}
        return [earlier.get((run.name, run.seed)) for run in study.runs]

    def repeat(self, run_ids: Sequence[str], *, half_batch: bool = False) -> list[RunInfo]:
        """Make new runs with the settings of others and queue them; those that start from one repeated too start anew.

        Args:
            run_ids: the runs, each after the one it starts from.
            half_batch: halve the batch sizes of training and attack; the new names say so.

        Raises:
            StoreError: there is no such run, or the workspace is read-only or cannot be written.
        """
        made: dict[str, RunInfo] = {}
        for run_id in run_ids:
            info = self._worker.info(run_id)
            parent = made.get(info.parent)
            config = info.config.with_half_batch() if half_batch else info.config
            if parent is not None:
                config = config.model_copy(update={"start_from": parent.name})
            folder = self._workspace.create_run(
                config, info.study, parent=parent.id if parent is not None else info.parent
            )
            made[run_id] = folder.info()
            self._tell(RunChanged(made[run_id]))
        self._worker.enqueue([info.id for info in made.values()])
        return list(made.values())

    def pause(self) -> None:
        """Pause the queue: the running run saves a checkpoint within one attack step and frees its memory."""
        self._worker.pause()

    def resume(self, run_id: str | None = None) -> None:
        """Go on with the queue, first with `run_id` if given (any run that has not finished)."""
        if run_id is None:
            self._worker.go_on()
        else:
            self.queue_again([run_id])

    def queue_again(self, run_ids: Sequence[str]) -> None:
        """Go on with the queue, first with several runs that have not finished, in this order."""
        self._desk.attempt(RESUMING, lambda: self._queue_again(run_ids))

    def _queue_again(self, run_ids: Sequence[str]) -> None:
        self._require_lock()
        for info in map(self._worker.info, run_ids):
            if info.state == "finished":
                raise StoreError(f"{info.title} is finished; there is nothing to go on with")
        self._worker.enqueue(run_ids, first=True)

    def resume_study(self, title: str) -> list[RunInfo]:
        """Queue every run of a study that has not finished, in the order in which they were made; returns them.

        Of runs with one name and seed it is the newest, and none if one with the same settings has finished.

        Raises:
            StoreError: the workspace is read-only.
        """
        self._require_lock()
        known = {info.id: info for info in self._workspace.runs()}
        waiting = sorted(
            results_of(study_runs(title, known), known).unfinished, key=lambda info: info.created
        )
        self._worker.enqueue([info.id for info in waiting])
        return waiting

    def kept_queue(self) -> tuple[str, ...]:
        """Ids of the runs in the queue that is kept for the next window, the running one first.

        Raises:
            DamagedFileError: the file cannot be read.
        """
        return self._workspace.queue()

    def move(self, run_ids: Sequence[str], before: str | None) -> None:
        """Put waiting runs before another, at the end if None; answers with `QueueChanged` or `RequestFailed`.

        A run never stands before a waiting one that it starts from: those two move together.
        """
        self._desk.attempt(MOVING, lambda: self._worker.move(run_ids, before))

    def stop(self, run_id: str, *, discard: bool = False) -> None:
        """Stop one run, or take it out of the queue; what it measured is kept and it can be resumed later.

        With `discard` it is moved to the bin once it has stopped.
        """
        self._worker.stop([run_id], discard=discard)

    def stop_all(self) -> None:
        """Stop the running run and empty the queue."""
        self._worker.stop_all()

    def label(self, run_id: str, label: RunLabel) -> None:
        """Keep what the user wrote on a run; answers with `RunChanged` or `RequestFailed`."""

        def write() -> None:
            self._require_lock()
            kept = self._workspace.folder(run_id).write_label(label)
            with self._telling:
                self._labels[run_id] = kept
            self._tell(RunChanged(self._worker.info(run_id)))

        self._desk.keep(LABELLING, write)

    def bin(self, run_ids: Sequence[str]) -> None:
        """Move runs to the bin; answers with `RunsBinned`, and `RequestFailed` for those that have to stay.

        Those have to stay that run or wait, and those from which a run outside the bin starts.
        """

        def move() -> None:
            self._require_lock()
            with self._worker.withheld(run_ids) as busy:
                movable, reasons = removable(run_ids, self._workspace.runs(), busy)
                moved = tuple(map(self._workspace.move_to_bin, movable))
            if moved:
                self._tell(RunsBinned(moved))
            if reasons:
                raise StoreError("; ".join(reasons))

        self._desk.keep(BINNING, move)

    def restore(self, run_ids: Sequence[str]) -> None:
        """Bring runs back from the bin, with those that they start from; answers `RunChanged` for each, or `RequestFailed`."""

        def bring_back() -> None:
            self._require_lock()
            binned = {info.id: info for info in self._workspace.binned()}
            chains = [ancestry(binned[run_id], binned) if run_id in binned else [] for run_id in run_ids]
            wanted = dict.fromkeys([*(info.id for chain in chains for info in reversed(chain)), *run_ids])
            for run_id in wanted:
                self._tell(RunChanged(self._workspace.restore(run_id)))

        self._desk.keep(RESTORING, bring_back)

    def empty_bin(self) -> None:
        """Delete what is in the bin for good; answers with `BinEmptied` or `RequestFailed`."""

        def empty() -> EngineEvent:
            self._workspace.empty_bin()
            return BinEmptied()

        self._desk.read(EMPTYING, empty)

    def open_run(self, run_id: str) -> None:
        """Read a run's files; answers with `RunOpened` or `RequestFailed`."""
        self._desk.read("open the run", lambda: RunOpened(self._record(run_id)))

    def inspect(
        self,
        target: str,
        *,
        stage: StageName | None = None,
        attack: AttackConfig | None = None,
        data: DataConfig | None = None,
        checkpoint: CheckpointConfig | None = None,
        images: int = 256,
    ) -> None:
        """Measure a network block by block and layer by layer, with care; one at a time.

        Posts `InspectionProgress`; answers with `NetworkInspected` or `RequestFailed`.

        Args:
            target: id or folder of a run, or a file with weights of this program or of another.
            stage: of a run, the training stage after which it is looked at; its newest weights if None.
            attack: makes the adversarial images; the run's own if None, else PGD with its defaults.
            data: the images; those the network was last trained on if None.
            checkpoint: what a file cannot tell about itself.
            images: how many test images.
        """

        def inspect(control: RunControl, device: DeviceName) -> EngineEvent:
            from engine.inspection.networks import Subject, inspect_network

            run_id = self._references.run_named(target)
            if run_id:
                folder = self._workspace.folder(run_id)
                path, info = self._references.weights_after(folder, stage), folder.info()
                subject = Subject(path, info, checkpoint or folder.config.checkpoint)
            else:
                subject = Subject(Path(target), None, checkpoint)
            record = inspect_network(
                subject, attack, data=data, count=images, data_root=data_folder(), device=device, control=control,
                tell=self._tell,
            )  # fmt: skip
            return NetworkInspected(record)

        self._inspection = self._desk.compute(
            INSPECTING, inspect, cancelled=NetworkInspected(None), before=self._inspection
        )

    def cancel_inspection(self) -> None:
        """End `inspect` early; it answers `NetworkInspected(None)`."""
        self._inspection.request("stop")

    def attack_examples(self, run_id: str, stage: StageName, epsilon: float) -> None:
        """Attack the images of a stage's gallery anew within another radius (input units).

        Answers with `ExamplesAttacked` or `RequestFailed`; a request that a newer one overtakes gets no answer.
        """

        def attack(control: RunControl, device: DeviceName) -> EngineEvent:
            from engine.inspection.networks import Subject, attack_examples

            folder = self._workspace.folder(run_id)
            path = self._references.weights_after(folder, stage)
            subject = Subject(path, folder.info(), folder.config.checkpoint)
            record = self._record(run_id)
            return attack_examples(subject, record, stage, epsilon=epsilon, device=device, control=control)

        self._gallery = self._desk.compute(ATTACKING_EXAMPLES, attack, cancelled=None, before=self._gallery)

    def estimate(self, study: StudyConfig, *, resume: bool = False) -> None:
        """Tell what a study will take, from a look at the pieces of its runs that takes up to 40 seconds.

        Answers with `StudyEstimated` or `RequestFailed`; a request that a newer one overtakes, or that is cancelled, gets
        no answer. A run that begins meanwhile ends it with `RequestFailed`.

        Args:
            study, resume: as of `submit`; runs that are finished cost nothing.
        """

        def look(control: RunControl, device: DeviceName) -> EngineEvent:
            from engine.estimate import estimate_study

            return estimate_study(
                self._references.plan(study, resume=resume), data_root=data_folder(), workspace=self.workspace,
                beside_run=device == "cpu", control=control,
            )  # fmt: skip

        self._estimation = self._desk.compute(
            ESTIMATING, look, cancelled=None, before=self._estimation,
            gave_way=RequestFailed(ESTIMATING, "A run was to begin, so the estimate was ended. Ask for it again."),
        )  # fmt: skip

    def cancel_estimate(self) -> None:
        """End `estimate` early; it gives no answer."""
        self._estimation.request("stop")

    def recognise_weights(self, path: Path) -> None:
        """Tell what a checkpoint of the CARTL authors' code is; answers with `WeightsRecognised` or `RequestFailed`."""

        def recognise() -> EngineEvent:
            from engine.importing import recognise_weights

            return WeightsRecognised(str(path), recognise_weights(path))

        self._desk.read(RECOGNISING, recognise)

    def import_weights(
        self, path: Path, config: ImportConfig, destination: Path, *, overwrite: bool = False
    ) -> None:
        """Import a checkpoint of the CARTL authors' code; answers with `Exported` or `RequestFailed`.

        Args:
            path: .pt, .pth or .safetensors, with their parameter names.
            config: what the file cannot tell.
            destination: ends in .safetensors or .pt; can be started from, attacked and inspected.
            overwrite: replace an existing file.
        """

        def write() -> EngineEvent:
            from engine.importing import import_weights

            imported = import_weights(path, config, destination, overwrite=overwrite)
            return Exported(str(destination), imported)

        self._desk.read(IMPORTING, write)

    def export_weights(self, run_id: str, stage: StageName, destination: Path) -> None:
        """Write the weights after a training stage as .safetensors or .pt, with where they come from.

        Run, stage, settings and hashes go into the file; settings and the file's SHA-256 beside it too.
        """

        def export() -> EngineEvent:
            from engine.store.exported_weights import export_weights

            export_weights(self._workspace.folder(run_id), stage, destination)
            return Exported(str(destination))

        self._desk.read(EXPORTING_WEIGHTS, export)

    def export_tables(self, run_id: str, folder: Path) -> None:
        """Write every table of a run as CSV into a folder."""

        def export() -> EngineEvent:
            from engine.store.tables import write_tables

            write_tables(self._record(run_id), folder)
            return Exported(str(folder))

        self._desk.read(EXPORTING_TABLES, export)

    def export_run(
        self, run_id: str, destination: Path, *, with_checkpoint: bool = True, overwrite: bool = False
    ) -> None:
        """Write a whole run to be given away; answers with `Exported` or `RequestFailed`.

        Args:
            run_id: the run, which may be under way.
            destination: a new or empty folder, or a file that ends in .zip.
            with_checkpoint: include the newest whole checkpoint, from which the run can go on.
            overwrite: replace a .zip file that is there.
        """

        def export() -> EngineEvent:
            from engine.store.run_package import export_run

            path = export_run(
                self._workspace.folder(run_id), destination, record=lambda: self._record(run_id),
                with_checkpoint=with_checkpoint, overwrite=overwrite,
            )  # fmt: skip
            return Exported(str(path))

        self._desk.read(EXPORTING_RUN, export)

    def import_run(self, path: Path) -> None:
        """Take a run that was written by `export_run` into the workspace, checked file by file.

        Answers with `RunChanged` and `RunOpened`, or with `RequestFailed`.
        """

        def take_in() -> EngineEvent:
            from engine.store.run_import import import_run

            record = import_run(self._workspace, path)
            self._tell(RunChanged(record.run))
            text = f"{record.run.title} was taken in from {path.name}"
            self._tell(LogAdded(record.run.id, time.time(), "info", text))
            return RunOpened(record)

        self._desk.read(IMPORTING_RUN, take_in)

    def export_inspection(
        self,
        inspection: Inspection,
        destination: Path,
        *,
        other: Inspection | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write the last look at a network, or its comparison with another; answers with `Exported` or `RequestFailed`.

        Args:
            inspection: the network.
            destination: a folder, or a file that ends in .json or .h5; a comparison goes to .json or .csv.
            other: the network to compare it with.
            overwrite: replace what is there.
        """

        def export() -> EngineEvent:
            from engine.report.inspection import write_inspection

            return Exported(str(write_inspection(inspection, destination, other=other, overwrite=overwrite)))

        self._desk.read("export the inspection", export)

    def export_report(
        self,
        study: str,
        destination: Path,
        *,
        source: StudySource | None = None,
        comparisons: Sequence[ComparisonConfig] | None = None,
    ) -> None:
        """Write the report of a study; answers with `Exported` or `RequestFailed`.

        Args:
            study: its title.
            destination: a folder for all files, or one that ends in .html, .csv, .json or .svg.
            source: how the study is made again; if left out, the preset of that title or the runs' own settings.
            comparisons: questions to answer; those that the study asked if left out.
        """

        def export() -> EngineEvent:
            from engine.report import StudySource, write_report

            known = source
            if known is None:
                for name, preset in presets().items():
                    if preset.title == study:
                        known = StudySource(preset, preset_texts()[name], (name,), f"{name}.toml")
            asked = comparisons
            if asked is None and known is None:
                asked = self._workspace.questions().get(study)
            runs = {run.id: run for run in self._workspace.runs()}
            return Exported(str(write_report(study, runs, destination, source=known, comparisons=asked)))

        self._desk.read(WRITING_REPORT, export)

    def close(self, timeout: float = 10.0) -> bool:
        """Pause and save the running run, end the threads; False if they did not end in `timeout` seconds."""
        for control in (self._inspection, self._gallery, self._estimation):
            control.request("stop")
        ended = self._worker.close(timeout)
        self._desk.close(timeout)
        self._desk.attempt("keep the queue", self._worker.keep_queue)
        self._sampler.stop()
        self._workspace.unlock()
        return ended

    def _tell(self, event: EngineEvent) -> None:
        """Post an event; the line of a run carries the label that it has now."""
        with self._telling:
            if isinstance(event, RunChanged) and event.run.id in self._labels:
                event = RunChanged(replace(event.run, label=self._labels[event.run.id]))
            self.events.put(event)

    def _tell_of_machine(self, text: str) -> None:
        self._tell(LogAdded(None, time.time(), "info", text))

    def _require_lock(self) -> None:
        if not self._workspace.writable:
            raise StoreError("the workspace is open for reading only; another program writes to it")

    def _record(self, run_id: str) -> RunRecord:
        record = self._worker.record(run_id)
        if record is not None:
            return record
        from engine.store.run_reader import read_record

        return read_record(self._workspace.folder(run_id))
