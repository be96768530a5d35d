"""The window as a whole, on a scripted session."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QGuiApplication, QKeySequence
from PySide6.QtWidgets import (
    QApplication,
)
from pytestqt.qtbot import QtBot

from cartl_gui import theme, words
from cartl_gui.commands import COMMANDS, Situation
from cartl_gui.failures import FailureWatch
from cartl_gui.guard import reason_not_to_start
from cartl_gui.main_window import MainWindow
from cartl_gui.settings import WindowSettings, bring_onto_screen
from cartl_gui.theme import DARK, LIGHT, Theme
from engine.events import LogAdded, QueueEmpty
from tests.gui.gui_helpers import answer, drain, end, press
from tests.gui.scripted_session import ScriptedSession, demo_study

ROOT = Path(__file__).parents[2]


# commands -----------------------------------------------------------------------------------------------
def test_that_every_command_has_a_deed_and_shortcuts_are_unique(window: MainWindow) -> None:
    for command in COMMANDS:
        assert command.id in window.do.table
        assert command.help.endswith(".")
    keys = [command.shortcut for command in COMMANDS if command.shortcut]
    assert len(keys) == len(set(keys))
    assert all(not QKeySequence(key).isEmpty() for key in keys)


def test_that_nothing_that_needs_a_run_is_enabled_without_one(window: MainWindow) -> None:
    enabled = {name for name, action in window.commands.actions.items() if action.isEnabled()}
    assert not enabled & {
        "pause",
        "resume",
        "stop",
        "stop_all",
        "use_settings",
        "export_weights",
        "export",
    }
    assert {"new", "open", "run", "demo", "shortcuts"} <= enabled
    assert not Situation().running


def test_that_plots_only_hides_everything_else_and_comes_back(
    window: MainWindow, session: ScriptedSession
) -> None:
    window.start_demo()
    session.step(12)
    drain(window)
    press(window, "plots_only")
    assert not window.setup.isVisible()
    assert not window.toolbar.isVisible()
    assert window.live.accuracy.isVisible()
    press(window, "plots_only")
    assert window.setup.isVisible()
    assert window.toolbar.isVisible()


def test_that_an_enlarged_plot_stands_alone(window: MainWindow, session: ScriptedSession) -> None:
    window.start_demo()
    session.step(16)
    drain(window)
    window.live.distance.maximise_button.click()
    assert [slot.isVisible() for slot in window.live.grid.slots] == [False, True, False, False]
    assert window.live.current_panel() is window.live.distance
    window.live.distance.maximise_button.click()
    assert all(slot.isVisible() for slot in window.live.grid.slots)


def test_that_the_log_filters_escapes_and_counts_what_is_unread(
    window: MainWindow, session: ScriptedSession
) -> None:
    session.events.put(LogAdded(None, time.time(), "info", "all is <b>well</b>"))
    session.events.put(LogAdded("run-1", time.time(), "error", "the disk is full"))
    drain(window)
    assert window.tabs.tabText(window.tabs.indexOf(window.log)) == "Log (1)"
    press(window, "page_log")
    assert window.tabs.tabText(window.tabs.indexOf(window.log)) == "Log"
    assert "all is <b>well</b>" in window.log.text.toPlainText()
    window.log.only_problems.setChecked(True)
    assert "well" not in window.log.text.toPlainText()
    assert "error: the disk is full" in window.log.text.toPlainText()


# window -------------------------------------------------------------------------------------------------
def test_that_closing_while_a_run_computes_asks_first(
    qtbot: QtBot, session: ScriptedSession, settings: WindowSettings, themes: Theme
) -> None:
    window = MainWindow(session, {"demo": demo_study(epochs=2)}, settings, themes)
    window.show()
    window.start()
    window.start_demo()
    session.step(8)
    drain(window)
    answer("Cancel")
    window.close()
    assert window.isVisible()
    assert not window.closer.begun
    answer("Pause, save and quit")
    window.close()
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=5000)
    assert session.calls[-1] == ("close",)
    window.deleteLater()


def test_that_the_window_waits_for_a_slow_session_without_freezing(
    qtbot: QtBot, session: ScriptedSession, settings: WindowSettings, themes: Theme
) -> None:
    release = threading.Event()
    answers: Iterator[bool] = iter([False, True])

    def close(_timeout: float = 10.0) -> bool:
        release.wait(5)
        return next(answers)

    session.close = close  # type: ignore[method-assign]
    window = MainWindow(session, {}, settings, themes)
    window.show()
    window.start()
    before = time.perf_counter()
    window.close()
    assert time.perf_counter() - before < 1.0
    assert window.isVisible()
    release.set()
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=5000)
    window.deleteLater()


def test_that_the_layout_comes_back_after_a_restart(
    qtbot: QtBot, session: ScriptedSession, settings: WindowSettings, themes: Theme
) -> None:
    first = MainWindow(session, {}, settings, themes)
    first.show()
    first.complete()
    first.layout_of_docks.show_docks()
    first.layout_of_docks.docks["runs"].hide()
    end(qtbot, first)
    second = MainWindow(ScriptedSession(Path("w")), {}, settings, themes)
    second.show()
    second.complete()
    assert second.setup.isVisible()
    assert not second.runs.isVisible()
    press(second, "reset_layout")
    assert second.runs.isVisible()
    end(qtbot, second)


def test_that_leaving_the_first_page_brings_the_list_that_other_pages_speak_of(window: MainWindow) -> None:
    assert not window.runs.isVisible()
    press(window, "page_layers")
    assert window.runs.isVisible()
    for dock in window.layout_of_docks.docks.values():
        dock.hide()
    press(window, "page_live")
    assert not window.runs.isVisible(), "whoever hid them does not want them"


def test_that_a_window_off_screen_is_brought_back(window: MainWindow) -> None:
    window.move(20_000, 20_000)
    bring_onto_screen(window)
    screen = QGuiApplication.primaryScreen().availableGeometry()
    assert screen.intersects(window.geometry())


def test_that_every_part_whose_place_is_saved_has_a_name(window: MainWindow) -> None:
    names = [dock.objectName() for dock in window.layout_of_docks.docks.values()]
    names.append(window.toolbar.objectName())
    assert all(names)
    assert len(set(names)) == len(names)


def test_that_the_form_is_reached_by_keyboard(qtbot: QtBot, window: MainWindow) -> None:
    press(window, "new")
    QApplication.processEvents()
    for row in window.setup.form.all_rows():
        assert row.editor.focusPolicy() & Qt.FocusPolicy.TabFocus or row.editor.focusProxy() is not None


def test_that_the_theme_of_the_whole_window_changes_and_icons_with_it(
    window: MainWindow, qapp: QApplication, themes: Theme
) -> None:
    before = window.commands.actions["run"].icon().pixmap(16).toImage()
    themes.apply("dark")
    QApplication.processEvents()
    assert theme.scheme() is DARK
    assert window.live.accuracy.colours is DARK
    assert window.commands.actions["run"].icon().pixmap(16).toImage() != before
    themes.apply("light")
    QApplication.processEvents()
    assert theme.scheme() is LIGHT


def test_that_the_redraw_timer_rests_when_nothing_runs(window: MainWindow, session: ScriptedSession) -> None:
    window.start_demo()
    session.step(10)
    drain(window)
    assert window.shown._timer.isActive()
    session.run_out()
    drain(window)
    window.shown.redraw()
    assert not window.shown._timer.isActive()


def test_that_hidden_plots_are_not_drawn(window: MainWindow, session: ScriptedSession) -> None:
    window.start_demo()
    session.step(10)
    drain(window)
    press(window, "page_log")
    before = len(window.live.loss.series()["step"])
    session.step(10)
    drain(window)
    assert len(window.live.loss.series()["step"]) == before
    press(window, "page_live")
    drain(window)
    assert len(window.live.loss.series()["step"]) > before


# errors -------------------------------------------------------------------------------------------------
def test_that_uncaught_errors_reach_the_log_page_and_the_file(
    window: MainWindow, session: ScriptedSession, tmp_path: Path
) -> None:
    watch = FailureWatch(tmp_path / "logs", session.events)
    watch.install()
    try:
        sys.excepthook(ValueError, ValueError("a slot broke"), None)
        thread = threading.Thread(target=lambda: 1 / 0, name="worker")
        thread.start()
        thread.join()
    finally:
        watch.remove()
    drain(window)
    text = window.log.text.toPlainText()
    assert "a slot broke" in text
    assert "Thread worker ended with an error" in text
    assert "ZeroDivisionError" in watch.path.read_text()
    assert not logging.getLogger("cartl_gui").handlers


def test_that_a_folder_that_cannot_be_written_costs_only_the_file(
    session: ScriptedSession, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    watch = FailureWatch(blocked / "logs", session.events)
    watch.install()
    watch.remove()
    event = session.events.get_nowait()
    assert isinstance(event, LogAdded)
    assert "no log file" in event.text


# guard and imports --------------------------------------------------------------------------------------
HEALTHY = {"platform": "linux", "python": (3, 11), "environment": {"DISPLAY": ":0"}, "qt": lambda: (6, 10), "library": lambda _n: True}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words_in_it"),
    [
        ({"qt": lambda: None}, "needs PySide6"),
        ({"qt": lambda: (6, 12)}, "PySide6 6.12 aborts on Python 3.11"),
        ({"library": lambda name: "EGL" not in name}, "sudo apt install libegl1"),
        ({"library": lambda name: "cursor" not in name}, "sudo apt install libxcb-cursor0"),
        ({"environment": {}}, "run `cartl demo`"),
    ],
)
def test_that_a_broken_machine_is_told_in_one_sentence(change: dict[str, object], words_in_it: str) -> None:
    reason = reason_not_to_start(**{**HEALTHY, **change})  # type: ignore[arg-type]
    assert reason is not None
    assert words_in_it in reason
    assert "\n" not in reason
    assert reason.endswith(".")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"python": (3, 12), "qt": lambda: (6, 12)},
        {"environment": {"WAYLAND_DISPLAY": "wayland-0"}, "library": lambda name: "cursor" not in name},
        {"environment": {"QT_QPA_PLATFORM": "offscreen"}, "library": lambda name: "cursor" not in name},
        {"platform": "win32", "environment": {}, "library": lambda _name: False},
    ],
)
def test_that_a_healthy_machine_is_let_through(change: dict[str, object]) -> None:
    assert reason_not_to_start(**{**HEALTHY, **change}) is None  # type: ignore[arg-type]


def test_that_qt_calls_keep_the_reference_count_of_none() -> None:
    rectangle = QRectF(0, 0, 1, 1)
    before = sys.getrefcount(None)
    for number in range(1000):
        rectangle.setHeight(number)
    assert abs(sys.getrefcount(None) - before) < 100


def test_that_the_window_is_imported_without_torch_and_h5py() -> None:
    code = (
        "import sys, cartl_gui.app\n"
        "heavy = sorted(m for m in ('torch', 'torchvision', 'h5py', 'matplotlib', 'scipy') if m in sys.modules)\n"
        "print(heavy)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_that_the_guard_is_imported_without_qt() -> None:
    code = "import sys; sys.modules['PySide6'] = None; import cartl_gui.guard, cartl_gui.__main__"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


#: Parts of the engine that know neither torch nor files.
OPEN_MODULES = (
    "api", "commands", "config", "credits", "errors", "events", "insight", "lineage", "query", "report", "results",
    "statistics", "titles", "wording",
)  # fmt: skip


def test_that_the_engine_is_used_through_its_open_modules_only() -> None:
    for path in (ROOT / "cartl_gui").rglob("*.py"):
        for found in re.findall(r"^\s*(?:from|import) (engine[\w.]*)", path.read_text(), re.MULTILINE):
            assert found == "engine" or found.split(".")[1] in OPEN_MODULES, (path, found)


def test_that_engine_signals_reach_methods_only() -> None:
    for path in (ROOT / "cartl_gui").rglob("*.py"):
        for line in path.read_text().splitlines():
            if "bridge." in line and ".connect(" in line:
                assert "lambda" not in line
                assert re.search(r"\.connect\(self\.[\w.]+\)", line), line


def test_that_a_queue_that_ends_is_told(window: MainWindow, session: ScriptedSession) -> None:
    session.events.put(QueueEmpty())
    drain(window)
    assert window.status.currentMessage() == ""
    window.start_demo()
    session.run_out()
    drain(window)
    assert window.status.currentMessage() == "All runs have ended"
    assert window.status.text() == "Nothing runs"


# words --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (1500, "25 min"), (9660, "2 h 41 min"),
     (260_000, "3 days 0 h")],
)  # fmt: skip
def test_that_time_spans_are_said_shortly(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_that_days_near_today_are_named() -> None:
    noon = time.mktime((2026, 5, 12, 12, 0, 0, 0, 0, -1))
    assert words.clock(noon, noon) == "today 12:00"
    assert words.clock(noon - 86_400, noon) == "yesterday 12:00"
    assert words.clock(noon + 86_400, noon) == "tomorrow 12:00"
    assert words.clock(noon - 10 * 86_400, noon) == "2 May 2026"
    assert words.clock(0) == ""


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (1.2345, "1.23"), (12345.0, "1.23e+04"), (float("nan"), "–")]
)
def test_that_measured_numbers_have_three_digits(value: float, text: str) -> None:
    assert words.readable(value) == text


def test_that_all_runs_of_a_study_are_told_at_once(
    window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(window.welcome, "show_runs", lambda runs, _read_only: told.append(len(runs)))
    monkeypatch.setattr("cartl_gui.bridge.BUDGET", 60.0)
    window.submit(demo_study(epochs=3))
    assert told == [4]
    window.bridge.drain()
    assert told == [4]


@pytest.mark.parametrize("width", [860, 1280, 1600])
def test_that_docks_leave_the_pages_their_room(window: MainWindow, width: int) -> None:
    window.resize(width, 800)
    assert window.width() == width
    window.layout_of_docks.reset()
    docks = window.layout_of_docks.docks
    shown = {name for name, dock in docks.items() if dock.isVisible()}
    assert shown == {"runs", *(["setup"] if width > 900 else []), *(["inspector"] if width > 1500 else [])}
    assert window.width() == width and window.tabs.parentWidget().width() > width / 2
    window.show_form()
    assert docks["setup"].isVisible() and window.width() == width
