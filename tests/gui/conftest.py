"""A window on a scripted session, and a watch that no test leaves a thread, timer or window behind."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QObject, QSettings, QTimer
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from cartl_gui.main_window import MainWindow
from cartl_gui.settings import WindowSettings
from cartl_gui.theme import LIGHT, Theme, palette_of, style_sheet
from tests.gui.gui_helpers import end
from tests.gui.scripted_session import ScriptedSession, demo_study


@pytest.fixture(scope="session")
def qapp_args() -> list[str]:
    return ["cartl-gui-tests"]


@pytest.fixture(scope="session")
def themes(qapp: QApplication) -> Theme:
    return Theme(qapp, "light")


@pytest.fixture(autouse=True)
def _light(qapp: QApplication, themes: Theme) -> None:
    if qapp.palette() != palette_of(LIGHT):
        qapp.setPalette(palette_of(LIGHT))
        qapp.setStyleSheet(style_sheet(LIGHT))


@pytest.fixture(autouse=True)
def _nothing_left_behind(qapp: QApplication) -> Iterator[None]:
    threads = set(threading.enumerate())
    yield
    for _ in range(3):
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        qapp.processEvents()
    gc.collect()
    left = [thread.name for thread in set(threading.enumerate()) - threads if thread.is_alive()]
    assert not left, f"threads left behind: {left}"
    windows = [widget for widget in qapp.topLevelWidgets() if widget.isVisible()]
    assert not windows, f"windows left behind: {windows}"
    ours = [
        timer.parent()
        for timer in qapp.findChildren(QTimer)
        if timer.isActive() and type(timer.parent() or QObject()).__module__.startswith("cartl_gui")
    ]
    assert not ours, f"timers left running: {ours}"


@pytest.fixture
def settings(tmp_path: Path) -> WindowSettings:
    return WindowSettings(QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat))


@pytest.fixture
def session(tmp_path: Path) -> ScriptedSession:
    return ScriptedSession(tmp_path / "workspace")


@pytest.fixture
def window(
    qtbot: QtBot, session: ScriptedSession, settings: WindowSettings, themes: Theme
) -> Iterator[MainWindow]:
    window = MainWindow(session, {"demo": demo_study(epochs=3)}, settings, themes)
    window.resize(1280, 800)
    window.show()
    window.start()
    window.bridge.drain()
    yield window
    end(qtbot, window)
