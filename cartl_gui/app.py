"""Start the application: settings, theme, hooks for errors, session, window."""

from __future__ import annotations

import gc
import signal
import sys
from importlib import metadata
from pathlib import Path

import platformdirs
from PySide6.QtCore import QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication

from cartl_gui import theme
from cartl_gui.failures import FailureWatch
from cartl_gui.main_window import MainWindow
from cartl_gui.settings import WindowSettings
from engine.api import Session, preset_texts, presets


def version() -> str:
    """Version of the installed program."""
    try:
        return metadata.version("cartl-workbench")
    except metadata.PackageNotFoundError:
        return "from source"


def make_application() -> QApplication:
    """The one QApplication, named so that desktops find its icon."""
    existing = QApplication.instance()
    application = existing if isinstance(existing, QApplication) else QApplication(sys.argv[:1])
    application.setApplicationName("CARTL Workbench")
    application.setApplicationVersion(version())
    QGuiApplication.setDesktopFileName("cartl-workbench")
    return application


class Starter(QTimer):
    """Opens the workspace as soon as the window stands, so that importing torch never delays it."""

    def __init__(self, window: MainWindow, *, study: Path | None, demo: bool) -> None:
        super().__init__(window)
        self._window, self._study, self._demo = window, study, demo
        self.setSingleShot(True)
        self.setInterval(0)
        self.timeout.connect(self._go)

    def _go(self) -> None:
        self._window.start()
        if self._study is not None:
            self._window.do.settings.open_file(str(self._study))
        if self._demo:
            self._window.start_demo()
        gc.freeze()


def run(workspace: Path, *, study: Path | None = None, demo: bool = False) -> int:
    """Show the window until it is closed; returns the exit code."""
    application = make_application()
    settings = WindowSettings()
    themes = theme.Theme(application, settings.theme)
    session = Session(workspace)
    watch = FailureWatch(Path(platformdirs.user_log_dir("cartl-workbench", appauthor=False)), session.events)
    watch.install()
    window = MainWindow(session, presets(), settings, themes, preset_texts=preset_texts())
    window.show()
    starter = Starter(window, study=study, demo=demo)
    starter.start()
    ending = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: window.close_at_once()) for number in ending}
    application.commitDataRequest.connect(window.close_at_once)
    try:
        return application.exec()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        watch.remove()
