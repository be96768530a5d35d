"""What the window costs while nobody trains: another theme or scale, and its processor while it is left alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
from PySide6.QtWidgets import QApplication

from benchmarks.gui_window import opened, wait
from cartl_gui.main_window import MainWindow
from cartl_gui.theme import SCALES
from tests.gui.gui_helpers import drain
from tests.gui.scripted_session import ScriptedSession, demo_study

#: Pages are left alone so long before they are measured, in seconds.
SETTLE = 2.0


def looks(folder: Path, repeats: int) -> dict[str, float]:
    """Median milliseconds of the processor to change the scale, up and down, and the theme, when all pages were seen."""
    with _after_a_demo(folder) as window:
        for page in window.pages.values():
            window.tabs.setCurrentWidget(page)
            drain(window)
        window.tabs.setCurrentWidget(window.live)
        QApplication.processEvents()
        scales = [_busy(partial(window.themes.set_scale, scale)) for scale in SCALES[1::-1] * repeats]
        themes = [_busy(partial(window.themes.apply, theme)) for theme in ("dark", "light") * repeats]
        return {"scale": statistics.median(scales), "theme": statistics.median(themes)}


def idle(folder: Path, seconds: float) -> dict[str, float]:
    """Percent of one core that the process takes on each page with a finished run, and while the queue is held."""
    found = {}
    with _after_a_demo(folder) as window:
        for name, page in window.pages.items():
            window.tabs.setCurrentWidget(page)
            found[name] = _share(seconds)
        window.session.pause()
        window.tabs.setCurrentWidget(window.live)
        found["live, queue held"] = _share(seconds)
    return found


@contextmanager
def _after_a_demo(folder: Path) -> Iterator[MainWindow]:
    session = ScriptedSession(folder)
    with opened(session, {"demo": demo_study(epochs=3)}) as window:
        window.start_demo()
        session.run_out()
        drain(window)
        yield window


def _busy(deed: Callable[[], object]) -> float:
    """Milliseconds of the processor for a deed and for drawing what follows from it."""
    started = time.process_time()
    deed()
    QApplication.processEvents()
    return 1000 * (time.process_time() - started)


def _share(seconds: float) -> float:
    wait(SETTLE)
    process = psutil.Process()
    process.cpu_percent()
    wait(seconds)
    return float(process.cpu_percent())
