"""The list of runs in the whole window: one journey by keys on a scripted session, one with the real engine."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QLineEdit, QScrollArea
from pytestqt.qtbot import QtBot

from cartl_gui.main_window import MainWindow
from cartl_gui.settings import WindowSettings
from cartl_gui.theme import Theme
from cartl_gui.widgets import Menu
from engine.api import Session
from engine.config import load_study, parse_study
from engine.events import RunInfo
from tests.gui.gui_helpers import answer, drain, end, press
from tests.gui.scripted_session import ScriptedSession, demo_study, earlier_run

TINY = """
title = "tiny"
[defaults]
model = { name = "wide_resnet", depth = 10, widen_factor = 1 }
source = { name = "letters", image_size = 8, train_size = 52, validation_size = 0, test_size = 26 }
machine = { device = "cpu", threads = 1 }
inspection = { probe_size = 8, bounds = false }
[[runs]]
name = "natural"
pretraining = { method = "natural", epochs = 1 }
"""
NONE, CONTROL, ALT = (
    Qt.KeyboardModifier.NoModifier,
    Qt.KeyboardModifier.ControlModifier,
    Qt.KeyboardModifier.AltModifier,
)


@pytest.fixture
def window(
    qtbot: QtBot, session: ScriptedSession, settings: WindowSettings, themes: Theme
) -> Iterator[MainWindow]:
    """A window on the demo's four waiting runs, an interrupted one, and one for which memory did not suffice."""
    session.workspace.mkdir()
    old, record = earlier_run(state="interrupted")
    session.add_earlier(replace(old, progress=0.45), record)
    failed = replace(
        old, id="lost", name="lost", state="failed", reason="Out of memory.\nTraceback", cause="memory"
    )
    session.add_earlier(failed)
    for config in demo_study(epochs=3).runs:
        session.add_earlier(
            replace(old, id=config.name, name=config.name, state="created", config=config, progress=0.0, created=1.8e9, reason="")
        )  # fmt: skip
    window = MainWindow(session, {"demo": demo_study(epochs=3)}, settings, themes)
    window.resize(1600, 900)
    window.show()
    window.start()
    drain(window)
    window.layout_of_docks.show_docks()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow, timeout=5000)  # only then are keys heard that belong to the list
    yield window
    end(qtbot, window)


def rows(window: MainWindow) -> list[str]:
    model = window.runs.model
    model.arrange()
    return [model.index(row, model.column("title")).data() for row in range(model.rowCount())]


def asked(session: ScriptedSession, name: str) -> tuple[object, ...]:
    return next(call for call in reversed(session.calls) if call[0] == name)


def test_that_letters_belong_to_an_open_menu_and_not_to_the_list_behind_it(
    qtbot: QtBot, window: MainWindow
) -> None:
    table = window.runs.table
    table.selectRow(0)
    table.setFocus()
    menu = next(action.menu() for action in window.menuBar().actions() if action.text() == "&Help")
    assert isinstance(menu, Menu)
    chosen: list[str] = []
    window.commands._run = chosen.append
    menu.popup(window.mapToGlobal(window.rect().center()))
    qtbot.keyClick(menu, Qt.Key.Key_A)
    assert chosen == ["about"], "A is Archive in the list"


def test_that_the_list_is_worked_with_by_keys_alone(
    qtbot: QtBot, window: MainWindow, session: ScriptedSession
) -> None:
    panel, table = window.runs, window.runs.table

    def strike(key: Qt.Key, modifier: Qt.KeyboardModifier = NONE) -> None:
        table.setFocus()
        qtbot.keyClick(table, key, modifier)
        drain(window)

    def type_in_cell(text: str) -> None:
        line = next(line for line in table.viewport().findChildren(QLineEdit) if line.isVisible())
        line.selectAll()
        qtbot.keyClicks(line, text)
        qtbot.keyClick(line, Qt.Key.Key_Return)
        qtbot.waitUntil(lambda: table.state() != table.State.EditingState, timeout=2000)
        drain(window)

    # What an earlier window left is offered, and waits until then.
    assert panel.go_on.text() == "1 run was interrupted and 4 are waiting."
    assert rows(window)[:4] == ["at", "fdm", "at-vanilla", "fdm-neft"]
    assert window.commands.actions["resume"].isEnabled()

    # The queue.
    panel.select("fdm")
    strike(Qt.Key.Key_Up, ALT)
    assert rows(window)[:2] == ["fdm", "at"]
    strike(Qt.Key.Key_End, ALT)
    assert rows(window)[3] == "fdm"
    strike(Qt.Key.Key_Home, ALT)
    strike(Qt.Key.Key_Down, ALT)
    assert rows(window)[:2] == ["at", "fdm"]
    assert not window.commands.actions["bin"].isEnabled()

    # Writing on a run, seen in the panel of the selected run too.
    panel.select("old")
    strike(Qt.Key.Key_F2)
    type_in_cell("Baseline")
    strike(Qt.Key.Key_S)
    strike(Qt.Key.Key_T)
    type_in_cell("paper")
    info = window.bridge.runs["old"]
    assert (info.title, info.label.star, info.label.tags) == ("Baseline", True, ("paper",))
    window.inspector.show()
    assert window.inspector.label.title.text() == "Baseline"
    for page, name in (("page_layers", window.layers._name), ("page_examples", window.examples._name)):
        press(window, page)
        drain(window)
        assert name.text() == "Baseline"
    strike(Qt.Key.Key_Z, CONTROL)
    strike(Qt.Key.Key_Z, CONTROL)
    assert (window.bridge.runs["old"].label.tags, window.bridge.runs["old"].label.star) == ((), False)
    strike(Qt.Key.Key_Y, CONTROL)
    assert window.bridge.runs["old"].label.star
    strike(Qt.Key.Key_N)
    assert window.layout_of_docks.docks["inspector"].isVisible()
    qtbot.keyClicks(window.inspector.label.notes, "look at seed 3")
    window.inspector.label.notes.flush()
    drain(window)
    assert window.bridge.runs["old"].label.notes == "look at seed 3"

    # Drawing beside others, archive and bin.
    drawn: list[list[str]] = []
    panel.shown_changed.connect(drawn.append)
    strike(Qt.Key.Key_Space)
    assert drawn == [["old"]]
    strike(Qt.Key.Key_A)
    assert "Baseline" not in rows(window)
    strike(Qt.Key.Key_Z, CONTROL)
    panel.select("lost")
    strike(Qt.Key.Key_Delete)
    assert "lost" in window.bridge.binned and panel.offer.text() == "1 run moved to the bin"
    strike(Qt.Key.Key_Z, CONTROL)
    assert "lost" in window.bridge.runs and "lost" in rows(window)


def test_that_a_new_study_goes_before_a_held_queue_which_is_told(
    window: MainWindow, session: ScriptedSession
) -> None:
    window.submit(parse_study(TINY))
    drain(window)
    assert rows(window)[:5] == ["natural", "at", "fdm", "at-vanilla", "fdm-neft"]
    assert window.notices.text() == "The queue goes on: 1 run first, then the 4 that waited."


def test_that_the_list_keeps_its_place_around_what_is_typed(qtbot: QtBot, window: MainWindow) -> None:
    panel, table = window.runs, window.runs.table
    window.resize(960, 620)
    panel.select("old")
    panel.edit_tags()
    assert table.horizontalScrollBar().value() > 0
    line = next(line for line in table.viewport().findChildren(QLineEdit) if line.isVisible())
    qtbot.keyClick(line, Qt.Key.Key_Escape)
    assert table.horizontalScrollBar().value() == 0, "the titles are in sight again"
    dock = window.layout_of_docks.docks["runs"].widget()
    assert isinstance(dock, QScrollArea)
    panel.go_on.buttons[1].click()
    panel.filter.setText("k =")
    qtbot.waitUntil(panel.reason.isVisible, timeout=2000)
    QApplication.processEvents()
    assert not dock.verticalScrollBar().isVisible()


def test_that_commands_reach_all_selected_runs(
    qtbot: QtBot, window: MainWindow, session: ScriptedSession
) -> None:
    panel, actions = window.runs, window.commands.actions
    panel.table.select(["old", "lost"])
    drain(window)
    assert window.inspector.difference.isVisible()
    assert actions["retry_half"].isEnabled() and actions["copy_error"].isEnabled()
    press(window, "copy_error")
    assert QGuiApplication.clipboard().text() == "lost: Out of memory.\nTraceback"
    press(window, "copy_command")
    lines = [shlex.split(line) for line in QGuiApplication.clipboard().text().splitlines()]
    made = [load_study(Path(words[words.index("run") + 1])).runs[-1].name for words in lines]
    assert made == [window.bridge.runs[run_id].config.name for run_id in panel.selected_ids()]
    press(window, "retry_half")
    drain(window)
    assert asked(session, "repeat") == ("repeat", ("lost",), True)
    assert any(info.name.endswith(", batch/2") for info in window.bridge.runs.values())
    press(window, "resume")
    assert set(asked(session, "queue_again")[1]) == {"old", "lost"}  # type: ignore[call-overload]
    drain(window)
    panel.table.select(["at", "fdm"])
    answer("Stop and discard")
    press(window, "stop")
    drain(window)
    assert set(window.bridge.binned) == {"at", "fdm"} and "at" not in rows(window)
    press(window, "show_bin")
    assert panel.bin.isVisible() and not actions["bin"].isEnabled()
    answer("Cancel")
    press(window, "empty_bin")
    assert window.bridge.binned
    answer("Delete")
    press(window, "empty_bin")
    drain(window)
    assert not window.bridge.binned and not actions["empty_bin"].isEnabled()


# the real engine ----------------------------------------------------------------------------------------
def test_that_queue_labels_and_bin_come_back_from_the_engine(
    qtbot: QtBot, tmp_path: Path, settings: WindowSettings, themes: Theme
) -> None:
    session, tiny = Session(tmp_path / "workspace"), parse_study(TINY)
    window = MainWindow(session, {}, settings, themes)
    window.resize(1600, 900)
    window.show()
    window.start()
    studies = [tiny.model_copy(update={"title": title}) for title in ("A", "B", "C")]
    first, second, third = (session.submit(study)[0].id for study in studies)
    session.pause()

    def known(run_id: str) -> RunInfo:
        return window.bridge.runs[run_id]

    qtbot.waitUntil(lambda: window.bridge.queue_paused and len(window.bridge.queue) == 3, timeout=30_000)
    window.runs.table.select([third])
    press(window, "move_first")
    qtbot.waitUntil(lambda: window.bridge.queue[0] == third, timeout=5000)
    assert window.runs.model.row_of(third) == 0
    press(window, "star")
    qtbot.waitUntil(lambda: known(third).label.star, timeout=5000)
    window.runs.table.select([second])
    answer("Stop and discard")
    press(window, "stop")
    qtbot.waitUntil(lambda: second in window.bridge.binned, timeout=5000)
    window.runs.edits.stack.undo()
    qtbot.waitUntil(lambda: second in window.bridge.runs, timeout=5000)
    window.do.runs.go_on([])
    qtbot.waitUntil(lambda: known(third).state == "finished", timeout=60_000)
    assert known(second).state == "stopped"
    window.runs.filter.setText("is:star state:finished")
    assert rows(window) == [known(third).title]
    end(qtbot, window)
