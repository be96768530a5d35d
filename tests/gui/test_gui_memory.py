"""Memory stays flat while pages are turned and plots are drawn; benchmarks/gui.py memory takes longer over it."""

from __future__ import annotations

from PySide6.QtCore import QObject

from benchmarks.gui_memory import SAMPLES, Growth, change_page, growth, redraw
from cartl_gui.main_window import MainWindow

#: Bytes that a page change and a redraw may leave behind on average; the allocator alone keeps a few thousand.
PAGE_BYTES, REDRAW_BYTES = 30_000, 5_000


def test_that_turning_pages_leaves_nothing_behind(finished_window: MainWindow) -> None:
    pages = finished_window.tabs.count()
    found = growth(finished_window, change_page, SAMPLES * pages * 2, warm_up=3 * pages)
    assert found.objects <= 0
    assert found.items <= 0
    assert found.bytes_each < PAGE_BYTES


def test_that_drawing_leaves_nothing_behind(finished_window: MainWindow) -> None:
    finished_window.tabs.setCurrentWidget(finished_window.live)
    found = growth(finished_window, redraw, 400, warm_up=100)
    assert found.objects <= 0
    assert found.items <= 0
    assert found.bytes_each < REDRAW_BYTES


def test_that_what_is_left_behind_is_counted(finished_window: MainWindow) -> None:
    kept: list[bytes] = []

    def leak(window: MainWindow) -> None:
        QObject(window).setObjectName("leak")
        kept.append(b"x" * (1_000_000 + len(kept)))

    found = growth(finished_window, leak, 10 * SAMPLES, warm_up=8)
    for leaked in finished_window.findChildren(QObject, "leak"):
        leaked.deleteLater()
    assert isinstance(found, Growth)
    assert found.objects == 10 * SAMPLES
    assert found.bytes_each > PAGE_BYTES
