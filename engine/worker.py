"""Carries out the queued runs of a workspace, one after another, on the engine thread."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.control import Interrupted, RunControl
from engine.desk import Desk, unexpected
from engine.errors import (
    CartlError,
    DamagedFileError,
    MissingRunError,
    OutOfMemoryError,
    StoreError,
    UntrustedFileError,
)
from engine.events import (
    RESUMABLE,
    EngineEvent,
    EngineReady,
    FailureCause,
    LogAdded,
    MachineSample,
    QueueChanged,
    QueueEmpty,
    RequestFailed,
    RunChanged,
    RunInfo,
    RunRecord,
    RunState,
)
from engine.queue import QueuedRun, RunQueue
from engine.references import References
from engine.store.run_folder import LogLevel, RunFolder
from engine.store.workspace import Workspace

if TYPE_CHECKING:
    from engine.runner import Runner


class Worker:
    """The engine thread and the queue that it works off; methods may be called from any thread and return at once.

    A lock guards the queue. Under it small files are read, but nothing is written and no run carried out, and what is
    told under it only goes into a queue of events: nobody waits long for it, and nobody who holds it waits for another.

    Args:
        workspace: whose runs.
        references: finds what runs start from.
        desk: makes small changes to the workspace.
        data_root: folder for downloaded data.
        tell: takes the events.
        machine: tells what the machine is doing.
        discard: takes the id of a run that is to be thrown away now that it has stopped.
    """

    def __init__(
        self,
        workspace: Workspace,
        references: References,
        desk: Desk,
        *,
        data_root: Path,
        tell: Callable[[EngineEvent], None],
        machine: Callable[[], MachineSample | None],
        discard: Callable[[str], None],
    ) -> None:
        self._workspace, self._references, self._desk = workspace, references, desk
        self._data_root, self._tell, self._machine, self._discard = data_root, tell, machine, discard
        self._lock = threading.Condition()
        self._queue = RunQueue()
        self._control = RunControl()
        self._runner: Runner | None = None
        # Of those that wait: as their files say, and as was last told.
        self._resting: dict[str, RunInfo] = {}
        self._told: dict[str, RunInfo] = {}
        self._begun: RunInfo | None = None
        self._to_discard: set[str] = set()
        self._keeping = False
        self._kept: tuple[str, ...] | None = None  # not known before it was written once
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        """Load the numerical library, tell `EngineReady`, and begin with what is queued."""
        self._thread.start()

    def take_up(self) -> None:
        """Hold the queue, queue what an earlier process left, and from now on keep the queue for the next one.

        Raises:
            DamagedFileError: the kept queue cannot be read; this one is empty.
        """
        self._keeping = True
        with self._lock:
            for run_id in self._workspace.queue():
                with suppress(MissingRunError, DamagedFileError):
                    info = self._workspace.folder(run_id).info()
                    if info.state in RESUMABLE | {"created"}:
                        self._queue.add([self._queued(info)])
            self._queue.held = bool(self._queue.order)

    def tell_queue(self) -> None:
        """Tell the queue as it is now."""
        with self._lock:
            self._changed()

    def enqueue(self, run_ids: Sequence[str], *, first: bool = False) -> None:
        """Queue runs that have not finished and go on with the queue: at the end, or in front.

        They go in front with `first`, and if the queue was held: what is asked for now goes before what was put off.

        Raises:
            StoreError: there is no such run, or its files cannot be read; then none is queued.
        """
        with self._lock:
            wanted = [run_id for run_id in run_ids if run_id != self._queue.running]
            infos = [self._workspace.folder(run_id).info() for run_id in wanted]
            self._queue.add([self._queued(info) for info in infos], first=first or self._queue.held)
            self._queue.held = False
            self._changed()

    def go_on(self) -> None:
        """No longer hold the queue."""
        with self._lock:
            self._queue.held = False
            self._changed()

    def pause(self) -> None:
        """Hold the queue; the running run saves a checkpoint and waits in front."""
        with self._lock:
            self._queue.held = True
            if self._queue.running is not None:
                self._control.request("pause")
            self._changed()

    def move(self, run_ids: Sequence[str], before: str | None) -> None:
        """Put waiting runs before another, at the end if None.

        Raises:
            QueueError: one of them does not wait, or it would stand before a run that it starts from.
        """
        with self._lock:
            self._queue.move(run_ids, before)
            self._changed()

    def stop(self, run_ids: Sequence[str], *, discard: bool = False) -> None:
        """Stop the running run, and take waiting ones out of the queue; with `discard` throw them away, too."""
        with self._lock:
            if discard:
                self._to_discard.update(run_ids)
            for run_id in run_ids:
                if run_id == self._queue.running:
                    self._control.request("stop")
                elif self._queue.remove(run_id):
                    # Its state is still to be written: until then it must not begin anew.
                    self._queue.withhold([run_id])
                    self._desk.keep("stop the run", partial(self._taken_out, run_id))
                else:
                    self._throw_away(run_id)
            self._changed()

    def stop_all(self) -> None:
        """Stop the running run and empty the queue."""
        with self._lock:
            self.stop(self._queue.unfinished)

    @contextmanager
    def withheld(self, run_ids: Sequence[str]) -> Iterator[set[str]]:
        """Keep runs from beginning meanwhile; gives those that run or wait, with which it is too late."""
        with self._lock:
            busy = {run_id for run_id in run_ids if run_id in self._queue}
            self._queue.withhold(run_ids)
        try:
            yield busy
        finally:
            with self._lock:
                self._queue.release(run_ids)
                self._lock.notify_all()

    def info(self, run_id: str) -> RunInfo:
        """The line of a run as it is just now, whether it runs, waits or rests.

        Raises:
            StoreError: there is no such run, or its files cannot be read.
        """
        runner = self._runner
        if runner is not None and runner.info.id == run_id:
            return runner.info
        info = self._workspace.folder(run_id).info()
        with self._lock:
            return self._as_waiting(info) if run_id in self._queue.order else info

    def record(self, run_id: str) -> RunRecord | None:
        """Everything that the running run has measured so far; None if it is another one."""
        runner = self._runner
        return runner.record() if runner is not None and runner.info.id == run_id else None

    def close(self, timeout: float) -> bool:
        """Pause and save the running run and end the thread; False if that took longer than `timeout` seconds."""
        with self._lock:
            self._closing = True
            self._control.request("pause")
            self._lock.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    # The queue; the lock is held.

    def _queued(self, info: RunInfo) -> QueuedRun:
        needs = self._references.untrained(self._workspace.folder(info.id))
        return QueuedRun(info.id, info.title, needs)

    def _as_waiting(self, info: RunInfo) -> RunInfo:
        """The line of a waiting run: for whom it waits; that it was paused or cut off as long as the queue is held."""
        if self._queue.held and info.state in ("paused", "interrupted"):
            return info
        titles = ", ".join(self._queue.waits_for(info.id))
        return replace(info, state="created", reason=f"waits for {titles}" if titles else "", cause="")

    def _changed(self) -> None:
        """Tell the order, and what is news about those that wait; keep the order for the next start."""
        resting, told = self._resting, self._told
        self._resting, self._told = {}, {}
        for run_id in self._queue.order:
            with suppress(StoreError):  # told when its turn comes
                info = resting.get(run_id) or self._workspace.folder(run_id).info()
                now = self._as_waiting(info)
                self._resting[run_id], self._told[run_id] = info, now
                if now != told.get(run_id, info):
                    self._tell(RunChanged(now))
        self._tell(QueueChanged(self._queue.order, self._queue.held))
        self._lock.notify_all()
        if self._keeping:
            self._desk.keep("keep the queue", self.keep_queue)

    # Small changes, made by the desk.

    def keep_queue(self) -> None:
        """Write the queue down, the running run first, if it is not kept like that already.

        Raises:
            StoreError: it cannot be written.
        """
        with self._lock:
            order = self._queue.unfinished
        if self._keeping and order != self._kept:
            self._workspace.keep_queue(order)
            self._kept = order

    def _taken_out(self, run_id: str) -> None:
        """Write down that a run was taken out of the queue."""
        try:
            self._end(self._workspace.folder(run_id), "stopped", "taken out of the queue")
        finally:
            with self._lock:
                self._queue.release([run_id])
                self._lock.notify_all()
        self._throw_away(run_id)

    def _throw_away(self, run_id: str) -> None:
        """Throw an ended run away if that was asked for."""
        with self._lock:
            wanted = run_id in self._to_discard
            self._to_discard.discard(run_id)
        if wanted:
            self._discard(run_id)

    # The engine thread.

    def _work(self) -> None:
        try:
            from engine import device

            self._tell(EngineReady(device.report()))
        except Exception as error:
            message = f"The numerical library could not be loaded: {error}. Install the program again."
            self._tell(RequestFailed("start the engine", message, traceback.format_exc()))
            return
        while (run_id := self._next()) is not None:
            again = False
            self._desk.make_way()
            with self._desk.device_in_use:
                try:
                    again = self._carry_out(run_id)
                except Exception as error:  # not even its end could be told: the others go on
                    self._tell(
                        RequestFailed(self._request(run_id), unexpected(error), traceback.format_exc())
                    )
            self._ended(run_id, again=again)

    def _next(self) -> str | None:
        """Wait for a run that can go, and make it the running one; None once the worker is to end."""
        with self._lock:
            told: bool | None = None
            while not self._closing and not self._queue.ready:
                if told != self._queue.held:
                    told = self._queue.held
                    self._tell(QueueEmpty(paused=told))
                self._lock.wait()
            if self._closing:
                return None
            run_id = self._queue.begin()
            if run_id is not None:
                self._begun = self._told.get(run_id)
            self._control.clear()
            self._changed()
            return run_id

    def _ended(self, run_id: str, *, again: bool) -> None:
        """Let the running run go, into the queue again if it was only interrupted."""
        with self._lock:
            stopped = again and self._control.requested == "stop"  # asked for while it was being paused
            with suppress(StoreError):
                if self._references.is_trained(self._workspace.folder(run_id)):
                    self._queue.trained(run_id)
            self._queue.end(again=again and not stopped)
            self._changed()
        if stopped:
            with suppress(StoreError):
                self._end(self._workspace.folder(run_id), "stopped", "stopped on request")
        if stopped or not again:
            self._throw_away(run_id)

    def _carry_out(self, run_id: str) -> bool:
        """Take one run as far as it goes; whatever happens, it ends with a state and a reason.

        Returns:
            Whether it waits in the queue again.
        """
        try:
            folder = self._workspace.folder(run_id)
        except MissingRunError as error:
            self._vanished(run_id, error)
            return False
        from engine.memory import give_back

        try:
            from engine.runner import Runner

            self._runner = Runner(
                folder, self._references.parent_weights(folder), surrogate_weights=self._references.surrogate_weights(folder),
                data_root=self._data_root, control=self._control, emit=self._tell, machine=self._machine,
            )  # fmt: skip
            self._runner.run()
            self._end(folder, "finished")
        except Interrupted as interruption:
            if interruption.request == "pause":
                self._end(folder, "paused")
                return True
            self._end(folder, "stopped", "stopped on request")
        except (UntrustedFileError, DamagedFileError) as error:
            self._end(folder, "failed", str(error), level="error")
        except StoreError as error:
            if not folder.path.is_dir():
                self._vanished(run_id, error)
                return False
            # Most likely a full disk: nothing after it could be written either.
            with self._lock:
                self._queue.held = self._queue.held or self._control.requested is None
            self._end(folder, "paused", str(error), level="error")
            return True
        except OutOfMemoryError as error:
            self._end(folder, "failed", str(error), level="error", cause="memory")
        except CartlError as error:
            self._end(folder, "failed", str(error), level="error")
        except Exception as error:
            details = traceback.format_exc()
            self._tell(RequestFailed(self._request(run_id), unexpected(error), details))
            self._end(folder, "failed", unexpected(error), level="error")
        finally:
            self._runner = None
            give_back()
        return False

    def _vanished(self, run_id: str, error: StoreError) -> None:
        """Tell that the folder of a run is gone, so that nothing can be written down there."""
        info = self._runner.info if self._runner is not None else self._begun
        if info is not None:
            self._tell(
                RunChanged(replace(info, state="failed", reason="its folder is gone", seconds_left=None))
            )
        self._tell(RequestFailed(self._request(run_id), str(error)))

    def _request(self, run_id: str) -> str:
        """What a failure of the run under way is a failure to do."""
        return f"carry out {self._begun.title if self._begun is not None else run_id}"

    def _end(
        self, folder: RunFolder, state: RunState, reason: str = "", *, level: LogLevel = "info", cause: FailureCause = "",
    ) -> None:  # fmt: skip
        """Write down and tell how a run ended.

        Raises:
            StoreError: its files are gone or cannot be read, and what was known of it is not at hand.
        """
        info = self._known(folder)
        progress = 1.0 if state == "finished" else info.progress
        info = replace(info, state=state, reason=reason, cause=cause, seconds_left=None, progress=progress)
        try:
            folder.write_status(
                state, reason=reason, stage=info.stage, progress=progress, seconds=info.seconds,
                device=info.device, result=info.result, cause=cause,
            )  # fmt: skip
            folder.log(level, f"{state}{f': {reason}' if reason else ''}")
        except StoreError as error:
            self._tell(RequestFailed("write the run's state", str(error)))
        text = f"{info.name}: {state}{f', {reason}' if reason else ''}"
        self._tell(LogAdded(folder.id, time.time(), level, text))
        self._tell(RunChanged(info))

    def _known(self, folder: RunFolder) -> RunInfo:
        """The line of a run that ended, also if its files can no longer be read."""
        runner, begun = self._runner, self._begun
        if runner is not None and runner.info.id == folder.id:
            return runner.info
        try:
            return folder.info()
        except StoreError:
            if begun is None or begun.id != folder.id:
                raise
            return begun
