"""What a test may not leave behind, with the line that started it: threads, processes, widgets, timers, animations."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import shiboken6
from PySide6.QtCore import QAbstractAnimation, QCoreApplication, QEvent, QObject, QTimer
from PySide6.QtWidgets import QApplication, QWidget

ROOT = Path(__file__).parents[2]
#: Windows that Qt makes and keeps for itself.
OF_QT = {"QTipLabel", "QDesktopScreenWidget"}


class Watch:
    """Notes who starts what, from `install` on; `begin` and `left` enclose a test."""

    def __init__(self, application: QApplication) -> None:
        self._application = application
        self._started: list[tuple[weakref.ref[QObject], str]] = []
        self._filters: list[tuple[weakref.ref[QObject], str]] = []
        self._threads: weakref.WeakKeyDictionary[threading.Thread, str] = weakref.WeakKeyDictionary()
        self._before: tuple[set[threading.Thread], set[int], set[int]] = (set(), set(), set())

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Look over the shoulder of everything that starts something."""
        self._spy(patch, QTimer, "start", self._note_start)
        self._spy(patch, QAbstractAnimation, "start", self._note_start)
        self._spy(patch, QObject, "installEventFilter", self._note_filter)
        self._spy(patch, QObject, "removeEventFilter", self._forget_filter)
        self._spy(patch, threading.Thread, "start", self._note_thread)

    def begin(self) -> None:
        """A test begins: what is there now is not its own."""
        self._started.clear()
        self._filters.clear()
        self._before = set(threading.enumerate()), _children(), set(self._windows())

    def left(self) -> list[str]:
        """What the test left behind, after everything had the chance to go; a sentence each."""
        self._let_go()
        found = self._found()
        if found:  # what Python deleted last may have held something of Qt's
            self._let_go()
            found = self._found()
        return found

    def _found(self) -> list[str]:
        threads, processes, windows = self._before
        found = [
            f"thread {thread.name}, started at {self._threads.get(thread, 'an unknown place')}"
            for thread in set(threading.enumerate()) - threads
            if thread.is_alive()
        ]
        found += [f"process {' '.join(_command(number))}" for number in _children() - processes]
        found += [
            f"{'visible' if widget.isVisible() else 'hidden'} window {widget!r} with the title "
            f"“{widget.windowTitle()}”"
            for key, widget in self._windows().items()
            if key not in windows
        ]
        found += [
            f"running {type(runner).__name__} of {runner.parent()!r}, started at {place}"
            for runner, place in _alive(self._started)
            if _runs(runner) and _key(_root(runner)) not in windows
        ]
        found += [
            f"event filter {watcher!r} on the application, installed at {place}"
            for watcher, place in _alive(self._filters)
            if _key(_root(watcher)) not in windows
        ]
        return found

    def _let_go(self) -> None:
        """Let Qt delete what is to be deleted later, and Python what is in cycles."""
        for _ in range(3):
            QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
            self._application.processEvents()
        gc.collect()

    def _windows(self) -> dict[int, QWidget]:
        return {
            _key(widget): widget
            for widget in self._application.topLevelWidgets()
            if widget.parent() is None and widget.metaObject().className() not in OF_QT
        }

    @staticmethod
    def _spy(patch: pytest.MonkeyPatch, owner: type, name: str, note: Callable[..., None]) -> None:
        real = getattr(owner, name)

        def watched(self: Any, *arguments: Any, **named: Any) -> Any:
            note(self, *arguments)
            return real(self, *arguments, **named)

        patch.setattr(owner, name, watched)

    def _note_start(self, runner: QObject, *_arguments: object) -> None:
        if place := _place():
            self._started.append((weakref.ref(runner), place))

    def _note_thread(self, thread: threading.Thread) -> None:
        self._threads[thread] = _place() or "a place of others"

    def _note_filter(self, watched: QObject, watcher: QObject) -> None:
        if watched is self._application and (place := _place()):
            self._filters.append((weakref.ref(watcher), place))

    def _forget_filter(self, watched: QObject, watcher: QObject) -> None:
        if watched is self._application:
            self._filters = [entry for entry in self._filters if entry[0]() is not watcher]


def _place() -> str:
    """The line of this project that starts something; empty if others start it."""
    frame = sys._getframe(3)
    path = Path(frame.f_code.co_filename)
    return f"{path.relative_to(ROOT)}:{frame.f_lineno}" if path.is_relative_to(ROOT) else ""


def _alive(entries: list[tuple[weakref.ref[QObject], str]]) -> list[tuple[QObject, str]]:
    """Those that neither Python nor Qt has deleted, each once."""
    there = {id(item): (item, place) for reference, place in entries if (item := reference()) is not None}
    return [(item, place) for item, place in there.values() if shiboken6.isValid(item)]


def _runs(runner: QObject) -> bool:
    if isinstance(runner, QTimer):
        return runner.isActive()
    return isinstance(runner, QAbstractAnimation) and runner.state() == QAbstractAnimation.State.Running


def _root(item: QObject) -> QObject:
    while (parent := item.parent()) is not None:
        item = parent
    return item


def _key(item: QObject) -> int:
    """The same for every Python object that stands for one object of Qt."""
    return int(shiboken6.getCppPointer(item)[0])


def _children() -> set[int]:
    """Process numbers of all children, and theirs."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # by far the quickest way to see that there is none
        return set()
    return {child.pid for child in psutil.Process().children(recursive=True)}


def _command(number: int) -> list[str]:
    try:
        return psutil.Process(number).cmdline() or [str(number)]
    except psutil.NoSuchProcess:
        return [f"{number}, which has ended meanwhile"]
