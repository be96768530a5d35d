"""How a running stage is asked to end: a flag that it looks at before every attack step and every batch."""

from __future__ import annotations

import threading
from typing import Literal

Request = Literal["pause", "stop"]


class Interrupted(Exception):  # noqa: N818 - a request that was granted, not an error
    """Unwinds a stage that was asked to pause or stop; `request` says which."""

    def __init__(self, request: Request) -> None:
        self.request = request
        super().__init__(request)


class RunControl:
    """Shared by the thread that runs a stage and the threads that steer it."""

    def __init__(self) -> None:
        self._request: Request | None = None
        self._lock = threading.Lock()

    def request(self, request: Request) -> None:
        """Ask the running stage to end; a stop is not taken back by a later pause."""
        with self._lock:
            if self._request != "stop":
                self._request = request

    def clear(self) -> None:
        """Forget any request, before the next run begins."""
        with self._lock:
            self._request = None

    def check(self) -> None:
        """End the stage here if that was asked for.

        Raises:
            Interrupted: a pause or stop was asked for.
        """
        if self._request is not None:
            raise Interrupted(self._request)

    @property
    def requested(self) -> Request | None:
        """What was asked for and not yet cleared."""
        return self._request
