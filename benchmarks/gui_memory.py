"""How much memory, how many objects of Qt and how many items of plots the window has after many page changes and redraws."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from PySide6.QtCore import QObject
from PySide6.QtWidgets import QApplication, QGraphicsView

from cartl_gui.main_window import MainWindow

#: Samples taken while something is repeated.
SAMPLES = 8


@dataclass(frozen=True, slots=True)
class Count:
    """What there is at one moment: bytes of resident memory, objects below the window, items in its plots."""

    resident: int
    objects: int
    items: int


@dataclass(frozen=True, slots=True)
class Growth:
    """What each repetition left behind: bytes on average, and objects and items in all."""

    bytes_each: float
    objects: int
    items: int


def count(window: MainWindow) -> Count:
    """Count after everything that can go has gone."""
    QApplication.processEvents()
    gc.collect()
    views = window.findChildren(QGraphicsView)
    return Count(
        psutil.Process().memory_info().rss,
        len(window.findChildren(QObject)) + len(QApplication.topLevelWidgets()),
        sum(len(view.scene().items()) for view in views if view.scene() is not None),
    )


def change_page(window: MainWindow) -> None:
    """Turn to the next page and draw it."""
    window.tabs.setCurrentIndex((window.tabs.currentIndex() + 1) % window.tabs.count())
    for _ in range(2):
        redraw(window)


def redraw(window: MainWindow) -> None:
    """Draw the next plot of the page that is open, and all of them again once all are drawn."""
    window.shown.redraw()
    window.shown.begin()
    QApplication.processEvents()


def growth(window: MainWindow, step: Callable[[MainWindow], None], times: int, *, warm_up: int) -> Growth:
    """Repeat a step and find what it leaves behind: the slope of memory, the difference of counts.

    Args:
        window: the window, with runs in it.
        step: what is repeated.
        times: how often, after the warm-up; a multiple of `SAMPLES` times the number of pages gives equal states.
        warm_up: how often before, for caches to fill.
    """
    for _ in range(warm_up):
        step(window)
    counts = [count(window)]
    for _ in range(SAMPLES):
        for _ in range(times // SAMPLES):
            step(window)
        counts.append(count(window))
    done = np.arange(SAMPLES + 1) * (times // SAMPLES)
    slope = np.polyfit(done, [sample.resident for sample in counts], 1)[0]
    first, last = counts[0], counts[-1]
    return Growth(float(slope), last.objects - first.objects, last.items - first.items)


def after_a_demo(folder: Path, *, pages: int, redraws: int) -> dict[str, dict[str, float]]:
    """Growth over page changes and redraws in a window in which a demo has ended."""
    from benchmarks.gui_window import opened
    from tests.gui.gui_helpers import drain
    from tests.gui.scripted_session import ScriptedSession, demo_study

    session = ScriptedSession(folder)
    with opened(session, {"demo": demo_study()}) as window:
        window.start_demo()
        session.run_out()
        drain(window)
        turns = window.tabs.count()
        turned = growth(window, change_page, pages, warm_up=4 * turns)
        window.tabs.setCurrentWidget(window.live)
        drawn = growth(window, redraw, redraws, warm_up=200)
    return {f"{pages} page changes": asdict(turned), f"{redraws} redraws": asdict(drawn)}
