"""What commands do that no other journey presses."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QProcess
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QApplication, QFileDialog, QWidget
from pytestqt.qtbot import QtBot

from cartl_gui import theme
from cartl_gui.main_window import MainWindow
from cartl_gui.theme import Theme
from tests.gui.controls import activate
from tests.gui.gui_helpers import answer, drain, press
from tests.gui.scripted_session import ScriptedSession


def states(window: MainWindow) -> list[str]:
    return [info.state for info in window.bridge.runs.values()]


def copied() -> str:
    return QGuiApplication.clipboard().text()


def test_that_the_demo_is_started_stopped_gone_on_with_and_repeated(
    window: MainWindow, session: ScriptedSession
) -> None:
    press(window, "demo")
    drain(window)
    assert states(window) == ["created"] * 4
    session.step(12)
    drain(window)
    answer("Cancel")
    press(window, "stop_all")
    assert ("stop_all",) not in session.calls
    answer("Stop")
    press(window, "stop_all")
    drain(window)
    assert set(states(window)) == {"stopped"}

    first = next(iter(window.bridge.runs))
    window.runs.select(first)
    press(window, "resume_study")
    drain(window)
    assert set(states(window)) == {"created"}
    session.run_out()
    drain(window)
    window.runs.select(first)
    press(window, "repeat")
    assert session.calls[-1] == ("repeat", (first,), False)

    press(window, "page_welcome")
    press(window, "show_run")
    assert window.tabs.currentWidget() is window.live
    assert window.shown.data is not None
    assert window.shown.data.info.id == first
    press(window, "inspect_run")
    assert ("inspect", first) in [call[:2] for call in session.calls]
    session.cancel_inspection()
    drain(window)


def test_that_folders_are_shown_and_another_workspace_opens_in_a_process_of_its_own(
    window: MainWindow, session: ScriptedSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    press(window, "workspace")
    window.start_demo()
    drain(window)
    press(window, "open_folder")
    assert opened == [str(session.workspace), window.bridge.runs[window.runs.selected()].path]

    started: list[list[str]] = []
    monkeypatch.setattr(
        QProcess, "startDetached", lambda _program, arguments: (bool(started.append(arguments)) or True, 1)
    )
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_arguments: "")
    press(window, "other_workspace")
    assert started == []
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_arguments: str(tmp_path))
    press(window, "other_workspace")
    assert started == [["-m", "cartl_gui", "--workspace", str(tmp_path)]]


def test_that_the_look_of_the_window_is_changed_by_commands(
    finished_window: MainWindow, themes: Theme
) -> None:
    window, actions = finished_window, finished_window.commands.actions
    press(window, "theme_dark")
    assert theme.scheme() is theme.DARK
    assert actions["theme_dark"].isChecked()
    assert not actions["theme_light"].isChecked()
    press(window, "theme_system")
    assert (themes.choice, window.settings.theme) == ("system", "system")
    press(window, "theme_light")
    assert theme.scheme() is theme.LIGHT
    before = theme.scale()
    press(window, "larger")
    assert theme.scale() > before
    press(window, "smaller")
    assert theme.scale() == before


def test_that_panels_are_shown_and_hidden_and_the_keyboard_goes_from_part_to_part(
    finished_window: MainWindow,
) -> None:
    window = finished_window
    for name, dock in window.layout_of_docks.docks.items():
        there = dock.isVisible()
        press(window, f"panel_{name}")
        assert dock.isVisible() is not there
        press(window, f"panel_{name}")
        assert dock.isVisible() is there

    def part() -> QWidget:
        parts = [window.toolbar, window.tabs, *window.layout_of_docks.docks.values()]
        return next(part for part in parts if part.isAncestorOf(QApplication.focusWidget()))

    activate(window)
    press(window, "filter")
    assert QApplication.focusWidget() is window.runs.filter
    met = []
    for _ in range(4):
        met.append(part())
        press(window, "next_pane")
    assert len(set(map(id, met))) == 4
    assert part() is met[0]
    press(window, "previous_pane")
    assert part() is met[-1]


def test_that_commands_for_the_terminal_and_for_a_report_are_copied(
    window: MainWindow, session: ScriptedSession
) -> None:
    session.workspace.mkdir()
    window.start_demo()
    drain(window)
    for command in ("copy_form_command", "copy_study_command"):
        QGuiApplication.clipboard().clear()
        press(window, command)
        assert " run " in copied(), command
    press(window, "report")
    assert "Python" in copied()
    assert "copied" in window.notices.text()


def test_that_the_window_is_closed_by_its_command(qtbot: QtBot, window: MainWindow) -> None:
    press(window, "quit")
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=5000)
