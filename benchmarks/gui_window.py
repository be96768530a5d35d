"""A window to measure: opened, waited for, and closed."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEventLoop, QSettings, QTimer
from PySide6.QtWidgets import QGraphicsView, QWidget

from cartl_gui.app import make_application
from cartl_gui.garbage import GarbageCollector
from cartl_gui.main_window import MainWindow
from cartl_gui.settings import WindowSettings
from cartl_gui.theme import Theme
from engine.config import StudyConfig

#: Pixels of the windows that are measured.
SIZE = (1920, 1080)
#: A page has fewer plots than this.
MOST_PLOTS = 50


@contextmanager
def opened(session: Any, presets: Mapping[str, StudyConfig]) -> Iterator[MainWindow]:
    """A window on a session, shown and complete; it is closed, and with it the session, at the end."""
    application = make_application()
    themes = Theme(application, "light")
    with tempfile.TemporaryDirectory() as folder:
        store = QSettings(str(Path(folder) / "window.ini"), QSettings.Format.IniFormat)
        window = MainWindow(session, presets, WindowSettings(store), themes)
        window.resize(*SIZE)
        window.show()
        window.start()
        collector = GarbageCollector(window)
        collector.start()
        collector.leave_out()
        window.bridge.engine_ready.connect(collector.leave_out)
        try:
            yield window
        finally:
            collector.stop()
            window.closer.may_close = lambda _running, _queued: True  # type: ignore[method-assign]
            window.close()
            until(lambda: not window.isVisible(), seconds=60)
            window.deleteLater()
            gc.unfreeze()


def wait(seconds: float) -> None:
    """Let the window live for a while; unlike `QTest.qWait` other threads run meanwhile."""
    loop = QEventLoop()
    QTimer.singleShot(round(1000 * seconds), loop.quit)
    loop.exec()


def until(condition: Callable[[], object], *, seconds: float = 120.0) -> float:
    """Let the window live until something is true; returns the seconds that it took.

    Raises:
        TimeoutError: it did not come true.
    """
    started = time.perf_counter()
    while not condition():
        if time.perf_counter() - started > seconds:
            raise TimeoutError(f"not true after {seconds:g} s")
        wait(0.005)
    return time.perf_counter() - started


def draw_all(window: MainWindow) -> None:
    """Draw every plot of the page that is open anew, and let the screen follow.

    Raises:
        TimeoutError: the page does not say that all of it is drawn.
    """
    page = window.tabs.currentWidget()
    window.shown.begin()
    window.shown.redraw()
    for _ in range(MOST_PLOTS):
        if page.all_drawn():
            break
        window.shown.redraw()
    else:
        raise TimeoutError(f"after {MOST_PLOTS} plots {type(page).__name__} is not drawn")
    repaint(page)


def repaint(part: QWidget) -> None:
    """Paint the plots of a part at once."""
    for view in part.findChildren(QGraphicsView):
        if view.isVisible():
            view.viewport().repaint()
