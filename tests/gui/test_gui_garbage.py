"""Garbage that holds widgets is collected in the window's thread, whoever allocates and whatever the engine frees."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest
from PySide6.QtCore import QObject, Qt
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from cartl_gui.garbage import GarbageCollector
from engine.memory import give_back


@pytest.fixture
def collector() -> Iterator[GarbageCollector]:
    collector = GarbageCollector()
    collector.start()
    yield collector
    collector.stop()


class Cycle(QWidget):
    """Garbage as soon as nobody else holds it, but only a collection finds that."""

    def __init__(self, destroyed_in: list[threading.Thread]) -> None:
        super().__init__()
        self.itself = self
        self.destroyed.connect(
            lambda: destroyed_in.append(threading.current_thread()), Qt.ConnectionType.DirectConnection
        )


def allocate_much_and_free() -> None:
    """What an engine does: it makes far more objects than a collection waits for, and frees memory at the end."""
    kept = [[number] for number in range(100_000)]
    kept.clear()
    give_back()


def test_that_the_engine_destroys_no_widget_and_the_window_soon_does(
    qtbot: QtBot, collector: GarbageCollector
) -> None:
    destroyed_in: list[threading.Thread] = []
    Cycle(destroyed_in)
    engine = threading.Thread(target=allocate_much_and_free)
    engine.start()
    engine.join()
    assert destroyed_in == []
    kept = [QObject() for _ in range(2 * gc.get_threshold()[0])]
    qtbot.waitUntil(lambda: bool(destroyed_in), timeout=5000)
    assert destroyed_in == [threading.main_thread()]
    assert kept


@pytest.mark.parametrize("was_on", [True, False])
def test_that_it_is_left_to_python_again_as_before_once_the_window_is_gone(was_on: bool) -> None:
    if was_on:
        gc.enable()
    collector = GarbageCollector()
    collector.start()
    assert not gc.isenabled()
    collector.stop()
    assert gc.isenabled() is was_on
    gc.disable()  # as conftest.py does for all tests of the window


def test_that_what_is_left_out_is_not_collected_again(collector: GarbageCollector) -> None:
    before = gc.get_freeze_count()
    kept = [[] for _ in range(1000)]
    collector.leave_out()
    assert gc.get_freeze_count() >= before + len(kept)
    gc.unfreeze()
