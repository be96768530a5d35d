"""Start the application: settings, theme, hooks for errors, session, window."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import platformdirs
from PySide6.QtCore import QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication

from cartl_gui import program, theme
from cartl_gui.failures import FailureWatch
from cartl_gui.garbage import GarbageCollector
from cartl_gui.main_window import MainWindow
from cartl_gui.settings import WindowSettings
from engine.api import Session, default_workspace, preset_texts, presets


def make_application() -> QApplication:
    """The one QApplication, named so that desktops find its icon."""
    existing = QApplication.instance()
    application = existing if isinstance(existing, QApplication) else QApplication(sys.argv[:1])
    application.setApplicationName(program.NAME)
    application.setApplicationVersion(program.version())
    QGuiApplication.setDesktopFileName("cartl-workbench")
    return application


class Starter(QTimer):
    """Opens the workspace as soon as the window stands, so that importing torch never delays it."""

    def __init__(
        self, window: MainWindow, collector: GarbageCollector, *, study: Path | None, demo: bool
    ) -> None:
        super().__init__(window)
        self._window, self._study, self._demo = window, study, demo
        self._collector = collector
        self.setSingleShot(True)
        self.setInterval(0)
        self.timeout.connect(self._go)

    def _go(self) -> None:
        self._window.start()
        if self._study is not None:
            self._window.do.settings.open_file(str(self._study))
        if self._demo:
            self._window.start_demo()
        self._collector.leave_out()
        self._window.bridge.engine_ready.connect(self._collector.leave_out)


def workspace_to_open(named: Path | None, settings: WindowSettings) -> Path:
    """The folder of runs to open: the one named, $CARTL_WORKSPACE, the one preferred, or the program's own."""
    if named is not None:
        return named
    if settings.workspace and not os.environ.get("CARTL_WORKSPACE"):
        return Path(settings.workspace)
    return default_workspace()


def run(workspace: Path | None = None, *, study: Path | None = None, demo: bool = False) -> int:
    """Show the window until it is closed; returns the exit code."""
    application = make_application()
    settings = WindowSettings()
    themes = theme.Theme(application, settings.theme, settings.scale)
    session = Session(workspace_to_open(workspace, settings))
    watch = FailureWatch(Path(platformdirs.user_log_dir("cartl-workbench", appauthor=False)), session.events)
    watch.install()
    window = MainWindow(session, presets(), settings, themes, preset_texts=preset_texts())
    window.show()
    collector = GarbageCollector(window)
    collector.start()
    starter = Starter(window, collector, study=study, demo=demo)
    starter.start()
    ending = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: window.close_at_once()) for number in ending}
    application.commitDataRequest.connect(window.close_at_once)
    try:
        return application.exec()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        collector.stop()
        watch.remove()
