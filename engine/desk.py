"""Answers requests of a session on threads of its own, so that nobody who asks has to wait."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import nullcontext

from engine.config import DeviceName
from engine.control import Interrupted, RunControl
from engine.errors import CartlError, ConfigError
from engine.events import EngineEvent, RequestFailed


class Desk:
    """Three threads: one reads and writes large files, one computes, one makes small changes to the workspace.

    Args:
        tell: takes the answers.

    Attributes:
        device_in_use: held by what computes on the chosen device; whoever finds it taken computes on the CPU beside it.
    """

    def __init__(self, tell: Callable[[EngineEvent], None]) -> None:
        self._tell = tell
        self._reader, self._computer, self._keeper = (
            ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"engine-{name}")
            for name in ("reader", "inspector", "keeper")
        )
        self.device_in_use = threading.Lock()
        self._giving_way = RunControl()
        self._closed = False

    def read(self, request: str, answer: Callable[[], EngineEvent]) -> None:
        """Answer with what a function returns, or `RequestFailed`; it may take long."""
        self._reader.submit(self.attempt, request, lambda: self._tell(answer()))

    def keep(self, request: str, change: Callable[[], object]) -> None:
        """Change something small in the workspace, in the order asked for; `RequestFailed` if that cannot be done.

        Nothing is changed any more once the desk is closed.
        """
        if not self._closed:
            self._keeper.submit(self.attempt, request, change)

    def compute(
        self,
        request: str,
        answer: Callable[[RunControl, DeviceName], EngineEvent],
        *,
        cancelled: EngineEvent | None,
        before: RunControl,
        gave_way: EngineEvent | None = None,
    ) -> RunControl:
        """Compute something that takes long, in place of what was asked `before`; returns what cancels it.

        Args:
            request: what is asked for, as `RequestFailed` names it.
            answer: computes it on the device named.
            cancelled: told when it was cancelled, or overtaken by a newer request.
            before: of the request that this one overtakes.
            gave_way: told when it was ended because a run wanted the device; without it a run waits for the device.
        """
        before.request("stop")
        control = RunControl()
        if gave_way is not None:
            self._giving_way = control

        def work() -> None:
            from engine.device import beside_a_run

            is_free = self.device_in_use.acquire(blocking=False)
            try:
                control.check()
                with nullcontext() if is_free else beside_a_run():
                    self.attempt(request, lambda: self._tell(answer(control, "auto" if is_free else "cpu")))
            except Interrupted as interruption:
                told = gave_way if interruption.request == "pause" else cancelled
                if told is not None:
                    self._tell(told)
            finally:
                if is_free:
                    self.device_in_use.release()

        self._computer.submit(work)
        return control

    def make_way(self) -> None:
        """End what only computes while nothing else wants the device."""
        self._giving_way.request("pause")

    def attempt(self, request: str, deed: Callable[[], object]) -> None:
        """Do something here and now; tells `RequestFailed` if it cannot be done."""
        try:
            deed()
        except Interrupted:
            raise
        except ConfigError as error:
            self._tell(RequestFailed(request, str(error), problems=error.problems))
        except CartlError as error:
            self._tell(RequestFailed(request, str(error)))
        except Exception as error:
            self._tell(RequestFailed(request, unexpected(error), traceback.format_exc()))

    def close(self, timeout: float) -> None:
        """End the threads; small changes that were asked for are still made, within `timeout` seconds."""
        for pool in (self._reader, self._computer):
            pool.shutdown(wait=False, cancel_futures=True)
        if not self._closed:
            self._closed = True
            wait([self._keeper.submit(lambda: None)], timeout)
            self._keeper.shutdown(wait=False)


def unexpected(error: Exception) -> str:
    """The message for an error that nobody meant to raise."""
    return f"an error inside the program ({type(error).__name__}: {error}); please report it with its details"
