"""All that the window and the command line may ask of the engine.

A `Session` owns one workspace, the engine thread and the queue of runs. Every method returns at once; answers
come as events on `Session.events`. Importing this module loads neither torch nor h5py.
"""

from __future__ import annotations

import gc
import os
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
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
)
from engine.control import Interrupted, RunControl
from engine.errors import (
    CartlError,
    CheckpointError,
    ConfigError,
    DamagedFileError,
    StoreError,
    UntrustedFileError,
)
from engine.events import (
    RESUMABLE,
    EngineEvent,
    EngineReady,
    Exported,
    LogAdded,
    NetworkInspected,
    QueueEmpty,
    RequestFailed,
    RunChanged,
    RunInfo,
    RunLabel,
    RunOpened,
    RunRecord,
    RunsListed,
    RunState,
    WeightsRecognised,
)
from engine.machine import Sampler
from engine.references import References, RunKey
from engine.results import results_of, study_runs
from engine.store.run_folder import LogLevel, RunFolder
from engine.store.workspace import Workspace

if TYPE_CHECKING:
    from engine.report import StudySource
    from engine.report.inspection import Inspection
    from engine.runner import Runner


#: Names of requests that a caller tells apart by their `RequestFailed`.
RECOGNISING, IMPORTING = "recognise the checkpoint", "import the checkpoint"
INSPECTING, ATTACKING_EXAMPLES = "inspect the network", "attack the examples"
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
        self._control = RunControl()
        self._wake = threading.Condition()
        self._queue: deque[str] = deque()
        self._running: str | None = None
        self._runner: Runner | None = None
        self._paused = False
        self._closing = False
        self._engine = threading.Thread(target=self._work, name="engine", daemon=True)
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine-reader")
        self._inspector = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine-inspector")
        self._inspection, self._gallery = RunControl(), RunControl()
        self._sampler = Sampler(workspace, post=self.events.put, tell=self._tell_of_machine)
        # Held by what computes on the chosen device; whoever finds it taken computes on the CPU beside it.
        self._device_in_use = threading.Lock()

    def open(self, *, take_up: bool = False) -> None:
        """Take the workspace's lock, post `RunsListed`, start the threads; `EngineReady` follows once torch is in.

        A second instance opens read-only: it can look at runs but not start any.

        Raises:
            StoreError: the workspace cannot be read.
        """
        holder = self._workspace.lock()
        self.events.put(
            RunsListed(tuple(self._workspace.runs()), holder, questions=self._workspace.questions())
        )
        for problem in self._workspace.problems:
            self.events.put(RequestFailed("list the runs", problem))
        self._engine.start()
        self._sampler.start()

    def submit(self, study: StudyConfig, *, resume: bool = False) -> list[RunInfo]:
        """Create the runs of a study (state "created") and queue them in order.

        Args:
            study: the runs; `start_from` may name an earlier one, a run of the workspace, or a file or folder.
            resume: keep the runs of this workspace that have the same study title, name and settings (the seed is
                one) and start from runs that are kept: finished ones as they are, others go on where they stopped.
                Only what is missing is made.

        Raises:
            ConfigError: a run starts from something that does not exist or does not fit.
            StoreError: the workspace is read-only or cannot be written.
        """
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
            self.events.put(RunChanged(info))
        if study.comparisons:
            self._workspace.keep_questions(study.title, study.comparisons)
        with self._wake:
            queued = [info.id for info in made.values() if info.state != "finished"]
            self._queue.extend(run_id for run_id in queued if run_id not in {*self._queue, self._running})
            self._paused = False
            self._wake.notify_all()
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

    def pause(self) -> None:
        """Pause the queue: the running run saves a checkpoint within one attack step and frees its memory."""
        with self._wake:
            self._paused = True
            if self._running is not None:
                self._control.request("pause")
            else:
                self.events.put(QueueEmpty(paused=True))

    def resume(self, run_id: str | None = None) -> None:
        """Go on with the queue, first with `run_id` if given (any run that has not finished)."""
        if run_id is not None:
            try:
                self._require_lock()
                info = self._workspace.folder(run_id).info()
                if info.state not in RESUMABLE | {"created"}:
                    raise StoreError(f"{info.name} is {info.state}; there is nothing to go on with")
            except StoreError as error:
                self.events.put(RequestFailed("resume the run", str(error)))
                return
        with self._wake:
            if run_id is not None and run_id != self._running:
                if run_id in self._queue:
                    self._queue.remove(run_id)
                self._queue.appendleft(run_id)
            self._paused = False
            self._wake.notify_all()

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
        with self._wake:
            busy = {*self._queue, self._running}
            self._queue.extend(info.id for info in waiting if info.id not in busy)
            self._paused = False
            self._wake.notify_all()
        return waiting

    def queue_again(self, run_ids: Sequence[str]) -> None:
        """Go on with several runs that have not finished, in this order and before all others."""
        raise NotImplementedError

    def repeat(self, run_ids: Sequence[str], *, half_batch: bool = False) -> list[RunInfo]:
        """Make new runs with the settings of others and queue them."""
        raise NotImplementedError

    def move(self, run_ids: Sequence[str], before: str | None) -> None:
        """Put waiting runs before another, at the end if None; answers with `QueueChanged` or `RequestFailed`."""
        raise NotImplementedError

    def label(self, run_id: str, label: RunLabel) -> None:
        """Keep what a user wrote on a run; answers with `RunChanged` or `RequestFailed`."""
        raise NotImplementedError

    def bin(self, run_ids: Sequence[str]) -> None:
        """Move ended runs to the bin; answers with `RunsBinned`, and `RequestFailed` for those that have to stay."""
        raise NotImplementedError

    def restore(self, run_ids: Sequence[str]) -> None:
        """Bring runs back from the bin; answers with a `RunChanged` for each, or `RequestFailed`."""
        raise NotImplementedError

    def empty_bin(self) -> None:
        """Delete what is in the bin for good; answers with `BinEmptied` or `RequestFailed`."""
        raise NotImplementedError

    def stop(self, run_id: str, *, discard: bool = False) -> None:
        """Stop one run, or take it out of the queue; what it measured is kept and it can be resumed later."""
        with self._wake:
            if run_id == self._running:
                self._control.request("stop")
            elif run_id in self._queue:
                self._queue.remove(run_id)
                self._end(self._workspace.folder(run_id), "stopped", "taken out of the queue")

    def stop_all(self) -> None:
        """Stop the running run and empty the queue."""
        with self._wake:  # held throughout, so that none of those waiting is begun meanwhile
            for run_id in [*self._queue, self._running]:
                if run_id is not None:
                    self.stop(run_id)

    def open_run(self, run_id: str) -> None:
        """Read a run's files; answers with `RunOpened` or `RequestFailed`."""
        self._ask("open the run", lambda: RunOpened(self._record(run_id)))

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
                tell=self.events.put,
            )  # fmt: skip
            return NetworkInspected(record)

        self._inspection = self._ask_cancellable(
            INSPECTING, inspect, NetworkInspected(None), self._inspection
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

        self._gallery = self._ask_cancellable(ATTACKING_EXAMPLES, attack, None, self._gallery)

    def recognise_weights(self, path: Path) -> None:
        """Tell what a checkpoint of the CARTL authors' code is; answers with `WeightsRecognised` or `RequestFailed`."""

        def recognise() -> EngineEvent:
            from engine.importing import recognise_weights

            return WeightsRecognised(str(path), recognise_weights(path))

        self._ask(RECOGNISING, recognise)

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

        self._ask(IMPORTING, write)

    def export_weights(self, run_id: str, stage: StageName, destination: Path) -> None:
        """Write the weights after a training stage as .safetensors or .pt; their SHA-256 goes beside them."""

        def export() -> EngineEvent:
            from engine.store.checkpoints import load_weights, save_weights

            source = self._workspace.folder(run_id).weights_path(stage)
            if not source.exists():
                raise CheckpointError(f"there are no weights yet: the {stage} of this run has not finished")
            save_weights(destination, *load_weights(source))
            return Exported(str(destination))

        self._ask("export the weights", export)

    def export_tables(self, run_id: str, folder: Path) -> None:
        """Write every table of a run as CSV into a folder."""

        def export() -> EngineEvent:
            from engine.store.tables import write_tables

            write_tables(self._record(run_id), folder)
            return Exported(str(folder))

        self._ask("export the tables", export)

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

        self._ask("export the inspection", export)

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

        self._ask("write the report", export)

    def close(self, timeout: float = 10.0) -> bool:
        """Pause and save the running run, end the threads; False if they did not end in `timeout` seconds."""
        with self._wake:
            self._closing = True
            self._control.request("pause")
            self._wake.notify_all()
        self._inspection.request("stop")
        self._gallery.request("stop")
        for pool in (self._reader, self._inspector):
            pool.shutdown(wait=False, cancel_futures=True)
        if self._engine.ident is not None:
            self._engine.join(timeout)
        self._sampler.stop()
        self._workspace.unlock()
        return not self._engine.is_alive()

    def _tell_of_machine(self, text: str) -> None:
        self.events.put(LogAdded(None, time.time(), "info", text))

    def _require_lock(self) -> None:
        if not self._workspace.writable:
            raise StoreError("the workspace is open for reading only; another program writes to it")

    # Answering from the reader thread.

    def _ask(self, request: str, answer: Callable[[], EngineEvent]) -> None:
        self._reader.submit(self._answer, request, answer)

    def _answer(self, request: str, answer: Callable[[], EngineEvent]) -> None:
        try:
            self.events.put(answer())
        except Interrupted:
            raise
        except ConfigError as error:
            self.events.put(RequestFailed(request, str(error), problems=error.problems))
        except CartlError as error:
            self.events.put(RequestFailed(request, str(error)))
        except Exception as error:
            self.events.put(RequestFailed(request, _unexpected(error), traceback.format_exc()))

    def _ask_cancellable(
        self,
        request: str,
        answer: Callable[[RunControl, DeviceName], EngineEvent],
        cancelled: EngineEvent | None,
        before: RunControl,
    ) -> RunControl:
        """Ask for something that takes long, in place of what was asked `before`; returns what cancels it."""
        before.request("stop")
        control = RunControl()

        def work() -> None:
            from engine.device import beside_a_run

            is_free = self._device_in_use.acquire(blocking=False)
            try:
                control.check()
                with nullcontext() if is_free else beside_a_run():
                    self._answer(request, lambda: answer(control, "auto" if is_free else "cpu"))
            except Interrupted:
                if cancelled is not None:
                    self.events.put(cancelled)
            finally:
                if is_free:
                    self._device_in_use.release()

        self._inspector.submit(work)
        return control

    def _record(self, run_id: str) -> RunRecord:
        runner = self._runner
        if runner is not None and runner.info.id == run_id:
            return runner.record()
        from engine.store.run_reader import read_record

        return read_record(self._workspace.folder(run_id))

    # The engine thread.

    def _work(self) -> None:
        try:
            from engine import device

            self.events.put(EngineReady(device.report()))
        except Exception as error:
            message = f"The numerical library could not be loaded: {error}. Install the program again."
            self.events.put(RequestFailed("start the engine", message, traceback.format_exc()))
            return
        while True:
            with self._wake:
                self._running = None
                if not self._closing and (self._paused or not self._queue):
                    self.events.put(QueueEmpty(paused=self._paused))
                while not self._closing and (self._paused or not self._queue):
                    self._wake.wait()
                if self._closing:
                    return
                run_id = self._queue.popleft()
                self._running = run_id
                self._control.clear()
            with self._device_in_use:
                self._carry_out(run_id)

    def _carry_out(self, run_id: str) -> None:
        """Take one run as far as it goes; whatever happens, it ends with a state and a reason."""
        folder = self._workspace.folder(run_id)
        try:
            from engine.runner import Runner

            self._runner = Runner(
                folder, self._references.parent_weights(folder), surrogate_weights=self._references.surrogate_weights(folder),
                data_root=data_folder(), control=self._control, emit=self.events.put, machine=self._sampler.latest,
            )  # fmt: skip
            self._runner.run()
            self._end(folder, "finished")
        except Interrupted as interruption:
            if interruption.request == "stop":
                self._end(folder, "stopped", "stopped on request")
            else:
                self._put_back(run_id)
                self._end(folder, "paused")
        except (UntrustedFileError, DamagedFileError) as error:
            self._end(folder, "failed", str(error), level="error")
        except StoreError as error:
            # Most likely a full disk: nothing after it could be written either.
            self._put_back(run_id)
            self._end(folder, "paused", str(error), level="error")
        except CartlError as error:
            self._end(folder, "failed", str(error), level="error")
        except Exception as error:
            details = traceback.format_exc()
            self.events.put(RequestFailed(f"carry out {folder.config.name}", _unexpected(error), details))
            self._end(folder, "failed", _unexpected(error), level="error")
        finally:
            self._runner = None
            _free_memory()

    def _put_back(self, run_id: str) -> None:
        with self._wake:
            self._queue.appendleft(run_id)
            if not self._closing and self._control.requested is None:
                self._paused = True

    def _end(self, folder: RunFolder, state: RunState, reason: str = "", *, level: LogLevel = "info") -> None:
        runner = self._runner
        info = runner.info if runner is not None and runner.info.id == folder.id else folder.info()
        progress = 1.0 if state == "finished" else info.progress
        info = replace(info, state=state, reason=reason, seconds_left=None, progress=progress)
        try:
            folder.write_status(
                state, reason=reason, stage=info.stage, progress=progress, seconds=info.seconds,
                device=info.device, result=info.result,
            )  # fmt: skip
            folder.log(level, f"{state}{f': {reason}' if reason else ''}")
        except StoreError as error:
            self.events.put(RequestFailed("write the run's state", str(error)))
        self.events.put(
            LogAdded(
                folder.id,
                time.time(),
                level,
                f"{info.name}: {state}{f', {reason}' if reason else ''}",
            )
        )
        self.events.put(RunChanged(info))


def _free_memory() -> None:
    """Give back what a run that ended still holds."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _unexpected(error: Exception) -> str:
    return f"an error inside the program ({type(error).__name__}: {error}); please report it with its details"
