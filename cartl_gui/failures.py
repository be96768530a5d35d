"""Uncaught errors end up in the log page and in a file, and leave the window alive."""

from __future__ import annotations

import faulthandler
import logging
import sys
import threading
import time
import traceback
from logging.handlers import RotatingFileHandler
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Literal

from PySide6.QtCore import QMessageLogContext, QtMsgType, qInstallMessageHandler

from engine.events import EngineEvent, LogAdded, RequestFailed

#: Names of "requests" that nobody made: the window tells them apart by their `RequestFailed`.
UNEXPECTED, ENGINE_DIED = "show the window", "keep the engine going"
#: The thread without which no run goes on.
_ENGINE = "engine"

#: Said by Qt on ordinary occasions; nothing a user can act on.
_QUIET = ("This plugin does not support propagateSizeHints", "This plugin does not support raise")


class FailureWatch:
    """Sends errors that nobody caught to the queue of events and to `window.log` in a folder.

    The queue is the only way out of a foreign thread: no widget is touched here.
    """

    def __init__(self, folder: Path, events: SimpleQueue[EngineEvent]) -> None:
        self._events = events
        self._log = logging.getLogger("cartl_gui")
        self._handler: logging.Handler = logging.NullHandler()
        self._crash_file: IO[str] | None = None
        self.path = folder / "window.log"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._handler = RotatingFileHandler(
                self.path, maxBytes=1_000_000, backupCount=3, encoding="utf-8"
            )
            self._crash_file = open(folder / "crash.log", "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            self._post("warning", f"no log file: {error}")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def install(self) -> None:
        """Take over the hooks of Python and Qt."""
        self._log.addHandler(self._handler)
        self._log.setLevel(logging.INFO)
        if self._crash_file is not None:
            faulthandler.enable(self._crash_file)
        self._before = (sys.excepthook, threading.excepthook)
        sys.excepthook = self._caught
        threading.excepthook = self._caught_in_thread
        qInstallMessageHandler(self._said_by_qt)

    def remove(self) -> None:
        """Give the hooks back."""
        qInstallMessageHandler(None)
        sys.excepthook, threading.excepthook = self._before
        self._log.removeHandler(self._handler)
        self._handler.close()
        if self._crash_file is not None:
            faulthandler.disable()
            self._crash_file.close()

    def _caught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        text = "".join(traceback.format_exception(kind, error, trace)).rstrip()
        self._log.error(text)
        self._events.put(
            RequestFailed(UNEXPECTED, "The window met an error it did not expect, and goes on.", text)
        )

    def _caught_in_thread(self, hook: threading.ExceptHookArgs) -> None:
        if hook.exc_type is SystemExit:
            return
        name = hook.thread.name if hook.thread else "?"
        trace = traceback.format_exception(hook.exc_type, hook.exc_value, hook.exc_traceback)
        text = f"Thread {name} ended with an error.\n{''.join(trace).rstrip()}"
        self._log.error(text)
        if name == _ENGINE:
            message = (
                "The engine ended with an error, so no run goes on in this window. What was saved is safe: close the "
                "window and start it again, and the run can go on from its last checkpoint."
            )
            self._events.put(RequestFailed(ENGINE_DIED, message, text))
        else:
            self._events.put(
                RequestFailed(UNEXPECTED, f"A part of the program ended with an error ({name}).", text)
            )

    def _said_by_qt(self, kind: QtMsgType, _where: QMessageLogContext, text: str) -> None:
        if any(quiet in text for quiet in _QUIET):
            return
        self._log.warning("Qt: %s", text)
        if kind in (QtMsgType.QtCriticalMsg, QtMsgType.QtFatalMsg):
            self._post("error", f"Qt: {text}")

    def _post(self, level: Literal["warning", "error"], text: str) -> None:
        self._events.put(LogAdded(None, time.time(), level, text))
