"""The watch over tests of the window finds each kind of thing that may be left behind, and only that."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from PySide6.QtCore import QObject, QPropertyAnimation, QTimer
from PySide6.QtWidgets import QApplication, QWidget

from tests.gui.watch import Watch

HERE = "tests/gui/test_gui_leaks.py:"


@pytest.fixture
def here(watch: Watch) -> Iterator[Watch]:
    """The watch, in the state of a test that just began."""
    watch.begin()
    yield watch
    watch.begin()


def test_that_nothing_is_found_where_everything_is_put_away(here: Watch, qapp: QApplication) -> None:
    window = QWidget()
    window.show()
    timer = QTimer(window)
    timer.start(1000)
    animation = QPropertyAnimation(window, b"windowOpacity", window)
    animation.setDuration(60_000)
    animation.start()
    qapp.installEventFilter(window)
    qapp.removeEventFilter(window)
    thread = threading.Thread(target=len, args=("",))
    thread.start()
    thread.join()
    subprocess.run([sys.executable, "-c", ""], check=True)
    window.close()
    window.deleteLater()
    assert here.left() == []


def test_that_a_thread_is_found_with_the_place_of_its_start(here: Watch) -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait, name="forgotten")
    thread.start()
    try:
        (found,) = here.left()
        assert found.startswith(f"thread forgotten, started at {HERE}")
    finally:
        over.set()
        thread.join()
    assert here.left() == []


def test_that_a_process_is_found_with_its_command(here: Watch) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        (found,) = here.left()
        child.communicate(b"\n")
    assert found.endswith("-c input()")
    assert here.left() == []


@pytest.mark.parametrize("shown", [True, False])
def test_that_a_window_is_found_whether_it_is_shown_or_not(here: Watch, shown: bool) -> None:
    window = QWidget()
    window.setWindowTitle("Forgotten")
    window.setVisible(shown)
    (found,) = here.left()
    assert found.startswith("visible" if shown else "hidden")
    assert "“Forgotten”" in found
    window.close()
    window.deleteLater()
    assert here.left() == []


def test_that_timers_and_animations_are_found_while_they_run(here: Watch) -> None:
    owner = QObject()
    timer = QTimer(owner)
    timer.start(60_000)
    animation = QPropertyAnimation(owner, b"objectName", owner)
    animation.setDuration(60_000)
    animation.start()
    found = sorted(here.left())
    assert [text.split(" of ")[0] for text in found] == ["running QPropertyAnimation", "running QTimer"]
    assert all(f"started at {HERE}" in text for text in found)
    timer.stop()
    animation.stop()
    assert here.left() == []


def test_that_an_event_filter_on_the_application_is_found(here: Watch, qapp: QApplication) -> None:
    listener = QObject()
    qapp.installEventFilter(listener)
    (found,) = here.left()
    assert f"installed at {HERE}" in found
    qapp.removeEventFilter(listener)
    assert here.left() == []


def test_that_a_timer_of_a_window_that_was_there_before_is_not_the_tests_own(watch: Watch) -> None:
    window = QWidget()
    timer = QTimer(window)
    watch.begin()
    timer.start(60_000)
    assert watch.left() == []
    timer.stop()
    window.deleteLater()
