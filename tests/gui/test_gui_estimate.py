"""The strip that tells what a study will take."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from cartl_gui.forms.estimate_strip import EstimateStrip, details, summary
from cartl_gui.main_window import MainWindow
from engine.api import ESTIMATING
from engine.events import RequestFailed, RunEstimate, StudyEstimated
from tests.gui.gui_helpers import drain, press, row
from tests.gui.scripted_session import ScriptedSession

RUNS = (RunEstimate("AT", 0, 120.0, 400_000_000, 7_000_000), RunEstimate("FDM", 0, 80.0, None, 5_000_000))
ESTIMATE = StudyEstimated(RUNS, "cpu", 8.0, 7_600_000_000, 10**11)


@pytest.fixture
def strip(qtbot: QtBot, themes: object) -> Iterator[EstimateStrip]:
    found = EstimateStrip()
    qtbot.addWidget(found)
    found.resize(384, 120)
    found.show()
    return found


def test_that_an_estimate_is_told_in_two_lines() -> None:
    noon = time.mktime((2026, 5, 12, 12, 0, 0, 0, 0, -1))
    told = summary(ESTIMATE, noon).replace("\N{NO-BREAK SPACE}", " ")
    assert told == "2 runs · about 3 min 20 s · ends 12:03\n400 MB of memory · 12.0 MB on disk"
    unknown = StudyEstimated(RUNS[1:], "cpu", 8.0, None, 10**11)
    assert "memory" not in summary(unknown, noon) and details(unknown)[-2] == "100 GB on disk are free."
    late = StudyEstimated((RunEstimate("AT", 0, 50_000.0, 10**9, 10**6),), "cuda", 8.0, None, 10**11)
    assert "ends tomorrow 01:53\n1.0 GB of memory" in summary(late, noon).replace("\N{NO-BREAK SPACE}", " ")
    assert summary(StudyEstimated((), "cpu", 0.0, None, 1)) == "Nothing to compute: all runs are finished"


def test_that_the_tooltip_has_a_line_for_each_run_and_names_doubts() -> None:
    doubted = StudyEstimated(
        RUNS, "cpu", 8.0, 7_600_000_000, 10**11, doubts=("CIFAR-10 is not on this disk yet.",)
    )
    assert details(doubted) == [
        "AT: 2 min, 400 MB of memory, 7.0 MB on disk",
        "FDM: 1 min 20 s, 5.0 MB on disk",
        "7.6 GB of memory and 100 GB on disk are free.",
        "Timed for 8 s on CPU.",
        "CIFAR-10 is not on this disk yet.",
    ]
    seeds = tuple(RunEstimate("AT", seed, 1.0, None, 1) for seed in range(30))
    lines = details(StudyEstimated(seeds, "cpu", 8.0, None, 1))
    assert lines[1].startswith("AT, seed 1: ") and lines[24] == "and 6 more runs"


def test_that_the_strip_goes_from_the_offer_to_the_figures_and_back(
    qtbot: QtBot, strip: EstimateStrip
) -> None:
    assert strip.button.text() == "Estimate" and "not estimated yet" in strip.summary.text()
    with qtbot.waitSignal(strip.estimate_asked):
        qtbot.mouseClick(strip.button, Qt.MouseButton.LeftButton)
    strip.show_busy()
    assert strip.button.text() == "Cancel" and "Timing" in strip.summary.text()
    strip.show_estimate(
        StudyEstimated(
            RUNS, "cpu", 8.0, None, 1, warnings=("FDM needs too much.",), doubts=("a.", "b.", "c.")
        )
    )
    assert "2\N{NO-BREAK SPACE}runs" in strip.summary.accessibleName()
    assert strip.warning.isVisible() and strip.warning.text() == "FDM needs too much."
    assert strip.doubt.text() == "a. b. And 1 more doubt: see the tooltip."
    strip.mark_stale()
    strip.show_estimate(ESTIMATE)
    assert strip.summary.text() == "Settings changed since: estimate again", "nobody waits for this answer"
    assert not strip.warning.isVisible() and not strip.doubt.isVisible() and not strip.summary.toolTip()
    with qtbot.waitSignal(strip.estimate_asked):
        qtbot.keyClick(strip.button, Qt.Key.Key_Space)
    strip.show_busy()
    with qtbot.waitSignal(strip.cancel_asked):
        qtbot.keyClick(strip.button, Qt.Key.Key_Space)
    assert strip.state == "stale", "the old estimate is stale still"
    strip.show_busy()
    with qtbot.waitSignal(strip.cancel_asked):
        strip.mark_stale()
    assert strip.state == "stale"
    strip.clear()
    assert "not estimated yet" in strip.summary.text()


def test_that_a_failure_is_told_until_the_settings_change(strip: EstimateStrip) -> None:
    strip.show_busy()
    strip.show_failure("There is no folder /data.")
    assert strip.warning.isVisible() and strip.warning.text() == "There is no folder /data."
    assert strip.button.text() == "Estimate" and strip.button.isEnabled()
    strip.mark_stale()
    assert not strip.warning.isVisible() and strip.state == "empty"


def test_that_a_form_with_problems_cannot_be_estimated_but_an_estimate_can_be_cancelled(
    strip: EstimateStrip,
) -> None:
    strip.set_can_estimate(False)
    assert not strip.button.isEnabled()
    strip.show_busy()
    assert strip.button.isEnabled()
    strip.clear()
    assert not strip.button.isEnabled()


def test_that_the_window_asks_for_an_estimate_shows_it_and_lets_it_go_stale(
    qtbot: QtBot, window: MainWindow, session: ScriptedSession
) -> None:
    press(window, "estimate")
    strip = window.setup.estimate
    assert strip.state == "busy" and strip.isVisible()
    drain(window)
    (asked,) = [call[1] for call in session.calls if call[0] == "estimate"]
    assert asked == window.setup.study()
    assert strip.summary.accessibleName().startswith("1\N{NO-BREAK SPACE}run")
    editor = row(window.setup.form, "pretraining.epochs").editor
    editor.setFocus()
    editor.selectAll()
    qtbot.keyClicks(editor, "30")
    assert strip.state == "stale"
    qtbot.mouseClick(strip.button, Qt.MouseButton.LeftButton)
    session.events.get()  # what the double answered at once
    session.events.put(RequestFailed(ESTIMATING, "There is no folder /data."))
    drain(window)
    assert strip.state == "failed" and strip.warning.text() == "There is no folder /data."
    assert not QApplication.activeModalWidget(), "a failed estimate is told in its strip alone"
