"""What surrounds the pages: palette, shortcuts, tour, preferences, notices, problems, welcome page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QFontInfo, QGuiApplication, QKeySequence
from PySide6.QtWidgets import QApplication, QLineEdit, QPushButton, QSystemTrayIcon, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from cartl_gui import program, scaling, theme
from cartl_gui.attention import Attention
from cartl_gui.commands import COMMANDS, CommandSet, Situation
from cartl_gui.dialogs.about import AboutDialog
from cartl_gui.dialogs.documentation import DocumentationDialog
from cartl_gui.dialogs.palette import Entry, Palette, find
from cartl_gui.dialogs.preferences import PreferencesDialog
from cartl_gui.dialogs.problem import ProblemDialog, Trouble
from cartl_gui.dialogs.shortcuts import ShortcutsDialog
from cartl_gui.failures import FailureWatch
from cartl_gui.fuzzy import match
from cartl_gui.main_window import MainWindow
from cartl_gui.notice_bar import Notice, NoticeBar
from cartl_gui.pages.welcome import PAPER, StudyButton, WelcomePage, recent_studies
from cartl_gui.settings import WindowSettings
from cartl_gui.theme import Theme
from cartl_gui.tour import Step, Tour
from engine.api import Session
from engine.config import DataConfig, ModelConfig, PretrainingConfig, RunConfig, StudyConfig
from engine.credits import Credit
from engine.events import RunChanged
from tests.gui.gui_helpers import answer, drain, end, press
from tests.gui.scripted_session import DEVICE, ScriptedSession, demo_study, earlier_run


@pytest.fixture
def commands(qapp: QApplication) -> Iterator[CommandSet]:
    holder = QObject()
    yield CommandSet(lambda _name: None, holder)
    holder.deleteLater()


def shown(qtbot: QtBot, fields: int) -> tuple[QWidget, list[QLineEdit]]:
    """A window with some fields that has the keyboard."""
    window = QWidget()
    qtbot.addWidget(window)
    column, lines = QVBoxLayout(window), [QLineEdit() for _ in range(fields)]
    for line in lines:
        column.addWidget(line)
    window.resize(900, 600)
    window.show()
    window.activateWindow()
    QApplication.processEvents()
    return window, lines


# finding ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("pattern", "better", "worse"),
    [
        ("exp", "Export plot", "Examples"),
        ("sr", "Stop run", "Shortcuts"),
        ("run stop", "Stop run", "Show run folder, stopped"),
        ("EPOCH", "Go to Epochs", "Help of each"),
    ],
)
def test_that_beginnings_of_words_and_letters_in_a_row_fit_best(
    pattern: str, better: str, worse: str
) -> None:
    good, bad = match(pattern, better), match(pattern, worse)
    assert good is not None
    assert bad is None or good.score > bad.score
    letters = [better[place].lower() for place in good.places]
    assert sorted(letters) == sorted(pattern.lower().replace(" ", ""))


def test_that_letters_in_another_order_do_not_fit() -> None:
    assert match("pots", "stop run") is None
    assert match("", "anything") is not None


def test_that_what_cannot_be_done_stands_behind_and_explanations_are_searched_too() -> None:
    entries = [
        Entry("Stop run", "Run", "Ends it.", int, missing="Select a run first."),
        Entry("Stop all", "Run", "Ends everything.", int, at_once=True),
        Entry("Pause", "Run", "Free the memory.", int),
    ]
    assert [entry.title for entry, _fit in find("stop", entries)] == ["Stop all", "Stop run"]
    assert [entry.title for entry, _fit in find("memory", entries)] == ["Pause"]
    assert [entry.title for entry, _fit in find(" ", entries)] == ["Stop all"]


def test_that_the_palette_is_used_by_keyboard_alone(qtbot: QtBot) -> None:
    window, (before,) = shown(qtbot, 1)
    before.setFocus()
    done: list[str] = []
    entries = [
        Entry(f"Show {name}", "Run", "A run.", lambda name=name: done.append(name), at_once=True)
        for name in ("at", "fdm", "neft")
    ]
    entries.append(Entry("Stop", "Run", "", int, missing="Nothing runs.", at_once=True))
    palette = Palette(window, entries)
    assert palette.field.hasFocus()
    qtbot.keyClicks(palette.field, "stop")
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert palette.isVisible()
    assert "Nothing runs." in palette.field.accessibleDescription()
    palette.field.clear()
    qtbot.keyClick(palette.field, Qt.Key.Key_Down)
    qtbot.keyClick(palette.field, Qt.Key.Key_Up)
    qtbot.keyClick(palette.field, Qt.Key.Key_Up)
    assert palette.chosen() is entries[-1]
    qtbot.keyClicks(palette.field, "nft")
    assert palette.titles() == ["Show neft"]
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert done == ["neft"]
    assert before.hasFocus()
    second = Palette(window, entries)
    qtbot.keyClicks(second.field, "zzz")
    assert second.note.isVisible()
    qtbot.keyClick(second.field, Qt.Key.Key_Escape)
    assert not second.isVisible()
    assert before.hasFocus()


# shortcuts ----------------------------------------------------------------------------------------------
def test_that_a_disabled_command_says_what_it_needs(commands: CommandSet) -> None:
    by_id = {command.id: command for command in COMMANDS}
    commands.update(Situation(can_write=False, study_is_valid=True))
    assert commands.missing(by_id["run"]).startswith("Another program writes")
    commands.update(Situation())
    assert commands.missing(by_id["stop"]) in commands.actions["stop"].toolTip()
    assert commands.missing(by_id["new"]) == ""
    silent = [command.id for command in COMMANDS if not command.enabled(Situation()) and not command.needs]
    assert silent == []


def test_that_shortcuts_are_searched_changed_taken_over_and_reset(qtbot: QtBot, commands: CommandSet) -> None:
    dialog = ShortcutsDialog(commands)
    qtbot.addWidget(dialog)
    ids = [command.id for command in COMMANDS]
    dialog.filter.setText("free the memory")
    shown = [ids[row] for row in range(len(ids)) if not dialog.table.isRowHidden(row)]
    assert shown == ["pause"]
    dialog.filter.clear()
    dialog.table.setCurrentCell(ids.index("pause"), 0)
    assert not dialog.set_button.isEnabled()
    dialog.keys.setKeySequence(QKeySequence("Ctrl+R"))
    assert "belongs to “Run study”" in dialog.note.text()
    assert dialog.set_button.text() == "Take over"
    dialog.set_button.click()
    assert commands.keys("pause") == QKeySequence("Ctrl+R")
    assert commands.keys("run").isEmpty()
    assert commands.own_keys() == {"pause": "Ctrl+R", "run": ""}
    assert "Ctrl+R" in commands.actions["pause"].toolTip()
    again = CommandSet(lambda _name: None, dialog, own_keys=commands.own_keys())
    assert again.keys("pause") == QKeySequence("Ctrl+R")
    assert again.keys("run").isEmpty()
    dialog.copy_button.click()
    assert "Pause: Save a checkpoint" in QGuiApplication.clipboard().text()
    dialog.reset_all_button.click()
    assert commands.own_keys() == {}
    assert not dialog.reset_all_button.isEnabled()


def test_that_preferences_and_keys_are_remembered_in_the_folder_for_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARTL_CONFIG", str(tmp_path / "own"))
    first = WindowSettings()
    assert (first.scale, first.notifies, first.holds_after_failure, first.has_seen_tour) == (
        1.0, True, False, False
    )  # fmt: skip
    first.scale, first.notifies, first.holds_after_failure = 1.5, False, True
    first.own_keys, first.used_commands = {"pause": "Ctrl+R", "run": ""}, ["run", "pause"]
    first._store.sync()
    assert [path.parent.name for path in tmp_path.rglob("*.conf")] == ["own"]
    second = WindowSettings()
    assert (second.scale, second.notifies, second.holds_after_failure) == (1.5, False, True)
    assert second.own_keys == {"pause": "Ctrl+R", "run": ""}
    assert second.used_commands == ["run", "pause"]
    second._store.setValue("scale", "huge")
    assert second.scale == 1.0


# preferences --------------------------------------------------------------------------------------------
def test_that_preferences_take_effect_at_once(
    qtbot: QtBot, settings: WindowSettings, themes: Theme, qapp: QApplication
) -> None:
    dialog = PreferencesDialog(settings, themes, "/runs")
    qtbot.addWidget(dialog)
    dialog.show()
    letters, button = QFontInfo(dialog.font()).pointSizeF(), dialog.choose_button.height()
    try:
        dialog.scale.setCurrentIndex(dialog.scale.findText("200 %"))
        qapp.processEvents()
        assert (settings.scale, theme.scale(), theme.px(10)) == (2.0, 2.0, 20)
        assert QFontInfo(dialog.font()).pointSizeF() == pytest.approx(2 * letters, rel=0.1)
        assert dialog.choose_button.height() > 1.6 * button
        dialog.theme.setCurrentIndex(dialog.theme.findText("Dark"))
        assert settings.theme == "dark"
        assert theme.scheme() is theme.DARK
    finally:
        themes.set_scale(1.0)
        themes.apply("light")
    qapp.processEvents()
    assert abs(dialog.choose_button.height() - button) <= 1
    dialog.notifies.click()
    dialog.after_failure.setCurrentIndex(1)
    assert (settings.notifies, settings.holds_after_failure) == (False, True)


def test_that_margins_icons_and_limits_grow_and_shrink_with_the_scale(
    qtbot: QtBot, themes: Theme, qapp: QApplication
) -> None:
    holder = QWidget()
    qtbot.addWidget(holder)
    column, button = QVBoxLayout(holder), QPushButton("Go")
    column.setContentsMargins(10, 10, 10, 10)
    button.setMinimumHeight(40)
    button.setIcon(theme.icon("play"))
    usual = button.iconSize().width()
    column.addWidget(button)
    holder.show()
    try:
        themes.set_scale(1.5)
        qapp.processEvents()
        assert column.contentsMargins().left() == 15
        assert button.minimumHeight() == 60
        assert button.iconSize().width() == round(1.5 * usual)
        late = QPushButton("Late")
        late.setMinimumHeight(40)
        column.addWidget(late)
        late.show()
        assert late.minimumHeight() == 60
    finally:
        themes.set_scale(1.0)
    qapp.processEvents()
    assert (column.contentsMargins().left(), button.minimumHeight(), late.minimumHeight()) == (10, 40, 40)


def test_that_another_theme_or_scale_polishes_no_widget_once_for_each_that_it_is_in(
    qtbot: QtBot, themes: Theme, monkeypatch: pytest.MonkeyPatch
) -> None:
    outermost = innermost = QWidget()
    qtbot.addWidget(outermost)
    for _ in range(10):
        innermost = QWidget(innermost)
    outermost.show()
    try:
        themes.set_scale(1.5)
        polished: list[QWidget] = []
        monkeypatch.setattr(scaling, "rescale", lambda widget, scale: polished.append(widget))
        for change in (lambda: themes.apply("light"), lambda: themes.set_scale(1.25)):
            polished.clear()
            change()
            assert 1 <= polished.count(innermost) == polished.count(outermost) <= 3
    finally:
        monkeypatch.undo()
        themes.set_scale(1.0)


# notices, problems, news --------------------------------------------------------------------------------
def test_that_a_notice_is_counted_acted_on_and_stays_if_it_has_to(qtbot: QtBot) -> None:
    bar, done = NoticeBar(), []
    qtbot.addWidget(bar)
    bar.tell(Notice("fdm failed: no memory", "error", "Show the run", lambda: done.append("shown")))
    bar.tell(Notice("fdm failed: no memory", "error", "Show the run", lambda: done.append("shown")))
    assert bar.text() == "fdm failed: no memory (2 times)"
    assert bar.accessibleDescription().startswith("Problem: fdm failed")
    bar.button.click()
    assert done == ["shown"]
    assert not bar.isVisible()
    bar.tell(Notice("The engine ended.", "error", lasting=True))
    bar.tell(Notice("Something small"))
    assert bar.text() == "The engine ended."
    bar.close_button.click()
    assert bar.text() == ""


def test_that_problems_share_one_dialog_and_are_copied_with_their_surroundings(qtbot: QtBot) -> None:
    dialog = ProblemDialog("CARTL Workbench 1.2.3")
    qtbot.addWidget(dialog)
    dialog.add(Trouble("The disk is full.", "Free some space.", "OSError: 28"))
    dialog.add(Trouble("The disk is full.", "Free some space.", "OSError: 28"))
    dialog.add(Trouble("The study could not be queued."))
    dialog.show()
    assert not dialog._scroll.verticalScrollBar().isVisible(), "there is room for so little"
    assert not dialog.details.isVisible()
    dialog.show_button.click()
    assert dialog.details.isVisible()
    dialog.copy_button.click()
    copied = QGuiApplication.clipboard().text()
    assert copied.count("The disk is full.") == 1
    for part in ("Free some space.", "OSError: 28", "could not be queued", "CARTL Workbench 1.2.3"):
        assert part in copied


def test_that_news_reach_who_looks_elsewhere_and_no_one_else(
    qtbot: QtBot, window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(QSystemTrayIcon, "isSystemTrayAvailable", staticmethod(lambda: True))
    monkeypatch.setattr(QSystemTrayIcon, "showMessage", lambda _icon, _title, text, *_rest: told.append(text))
    attention: Attention = window.attention
    monkeypatch.setattr(window, "isActiveWindow", lambda: True)
    attention.tell("All runs have ended")
    assert told == []
    monkeypatch.setattr(window, "isActiveWindow", lambda: False)
    attention.show_progress("62 % fdm, 3 waiting")
    attention.tell("All runs have ended")
    assert told == ["All runs have ended"]
    assert window.windowTitle() == "All runs have ended – 62 % fdm, 3 waiting – CARTL Workbench"
    attention.hide_window()
    assert not window.isVisible()
    attention.show_window()
    assert window.isVisible()


# about and documentation --------------------------------------------------------------------------------
def test_that_the_about_box_has_versions_licences_in_full_and_what_to_cite(qtbot: QtBot) -> None:
    dialog = AboutDialog([Credit("Attack", "PGD", "Madry et al., ICLR 2018")])
    qtbot.addWidget(dialog)
    names = [package.name for package in program.packages()]
    assert {"torch", "h5py", "numpy", "pyqtgraph", "PySide6-Essentials"} <= set(names)
    dialog.package.setCurrentRow(names.index("pyqtgraph"))
    assert "Permission is hereby granted" in dialog.licence.toPlainText()
    dialog.package.setCurrentRow(names.index("PySide6-Essentials"))
    assert "Lesser General Public License" in dialog.licence.toPlainText()
    for part in (program.version(), "@inproceedings{chen2021cartl", "PGD: Madry et al., ICLR 2018", "Qt 6"):
        assert part in dialog.text()


def test_that_the_readme_is_shown_with_its_headings(qtbot: QtBot) -> None:
    dialog = DocumentationDialog()
    qtbot.addWidget(dialog)
    found = [dialog.headings.item(row).text() for row in range(dialog.headings.count())]
    assert found[0] == "CARTL Workbench"
    dialog.headings.setCurrentRow(found.index("Studies"))
    assert dialog.browser.textCursor().block().text() == "Studies"


# welcome page -------------------------------------------------------------------------------------------
def test_that_the_welcome_page_begins_in_three_ways_and_tells_how_studies_stand(qtbot: QtBot) -> None:
    demo, paper = demo_study(), demo_study().model_copy(update={"title": "The paper's pair"})
    page = WelcomePage(demo, {"demo": demo, PAPER: paper}, first=True)
    qtbot.addWidget(page)
    page.resize(1200, 700)
    page.show()
    assert [page.preset.itemText(row) for row in range(page.preset.count())][0] == "The paper's pair"
    with qtbot.waitSignal(page.preset_asked) as asked:
        page.new_button.click()
    assert asked.args == [PAPER]
    page.preset.setCurrentIndex(page.preset.count() - 1)
    with qtbot.waitSignal(page.new_asked):
        page.new_button.click()
    with qtbot.waitSignal(page.tour_asked):
        page.tour_button.click()
    page.show_device(DEVICE)
    assert "this computer has 2 threads" in page._demo_note.text()
    info, _record = earlier_run()
    runs = [
        replace(info, id=str(number), study=demo.title, created=float(number), seconds=60.0)
        for number in range(len(demo.runs))
    ]
    page.show_runs(runs)
    assert "took 4 min on this computer" in page._demo_note.text()
    page.show_runs([replace(runs[0], state="running"), replace(runs[1], state="failed"), *runs[2:]])
    button = page.findChildren(StudyButton)[-1]
    assert "running, 2 of 4 finished, 1 failed" in button.accessibleName()
    with qtbot.waitSignal(page.run_chosen) as chosen:
        button.click()
    assert chosen.args == ["3"]
    demo_card = page.demo_button.parentWidget()
    assert demo_card.width() < 600
    page.resize(560, 700)
    QApplication.processEvents()
    assert page.new_button.parentWidget().y() > demo_card.y()
    assert recent_studies([replace(runs[0], label=replace(info.label, archived=True))]) == []


# tour ---------------------------------------------------------------------------------------------------
def test_that_the_tour_shows_parts_goes_back_and_ends_by_key(qtbot: QtBot) -> None:
    window, parts = shown(qtbot, 2)
    parts[1].hide()
    steps = [
        Step("First", "The first field.", lambda: parts[0]),
        Step("Missing", "There is none.", lambda: None),
        Step("Second", "The second field.", lambda: parts[1], parts[1].show),
    ]
    tour = Tour(window, steps)
    assert tour.next_button.hasFocus()
    assert tour._count.text() == "1 of 2"
    qtbot.keyClick(tour.next_button, Qt.Key.Key_Right)
    QApplication.processEvents()
    assert tour.step.title == "Second"
    assert parts[1].isVisible()
    assert tour._spot.contains(parts[1].geometry().center())
    assert not tour.card.geometry().contains(parts[1].geometry().center())
    assert "The second field." in tour.next_button.accessibleDescription()
    tour.back_button.click()
    assert tour.step.title == "First"
    with qtbot.waitSignal(tour.ended):
        qtbot.keyClick(tour.next_button, Qt.Key.Key_Escape)
    assert not tour.isVisible()


# the whole window ---------------------------------------------------------------------------------------
def test_that_commands_settings_and_runs_are_found_from_the_window(
    qtbot: QtBot, window: MainWindow, session: ScriptedSession
) -> None:
    window.activateWindow()
    window.start_demo()
    session.step(12)
    drain(window)
    assert QApplication.activeWindow() is window

    def choose(text: str) -> None:
        press(window, "palette")
        palette = next(found for found in window.findChildren(Palette) if found.isVisible())
        qtbot.keyClicks(palette.field, text)
        qtbot.keyClick(palette.field, Qt.Key.Key_Return)

    choose("log")
    assert window.tabs.currentWidget() is window.log
    assert window.commands.used[0] == "page_log"
    choose("show fdm-neft")
    assert window.runs.selected() == "0004-fdm-neft"
    choose("go to seed")
    assert QApplication.focusWidget() is window.setup.form.rows["seed"].editor
    press(window, "next_pane")
    assert not window.setup.isAncestorOf(QApplication.focusWidget())
    press(window, "previous_pane")
    assert window.setup.isAncestorOf(QApplication.focusWidget())
    press(window, "panel_setup")
    assert not window.setup.isVisible()
    press(window, "panel_setup")
    assert window.setup.isVisible()
    page = window.tabs.currentWidget()
    press(window, "tour")
    tour = window.findChild(Tour)
    assert tour is not None
    for _step in range(9):
        if tour.isVisible():
            tour.next_button.click()
    assert not tour.isVisible()
    assert window.tabs.currentWidget() is page
    assert window.settings.has_seen_tour


def test_that_a_failed_run_is_told_and_may_hold_the_queue(
    window: MainWindow, session: ScriptedSession, tmp_path: Path
) -> None:
    window.settings.holds_after_failure = True
    window.start_demo()
    session.step(12)
    drain(window)
    running = window.bridge.running()
    assert running is not None
    session.events.put(RunChanged(replace(running, state="failed", reason="Too little memory.\nMore.")))
    drain(window)
    assert window.notices.text() == "at failed: Too little memory. The queue is held."
    assert ("pause",) in session.calls
    watch = FailureWatch(tmp_path / "logs", session.events)
    watch.install()
    try:
        engine = threading.Thread(target=lambda: 1 / 0, name="engine")
        engine.start()
        engine.join()
    finally:
        watch.remove()
    drain(window)
    assert "no run goes on in this window" in window.notices.text()
    assert window.notices.button.text() == "Save and close"
    window.complain("The disk is full.", "Free some space.")
    window.complain("The report could not be written.")
    dialogs = [found for found in window.findChildren(ProblemDialog) if found.isVisible()]
    assert len(dialogs) == 1
    assert "ZeroDivisionError" in dialogs[0].text()
    dialogs[0].close_button.click()


def test_that_closing_may_keep_the_runs_going_out_of_sight(
    window: MainWindow, session: ScriptedSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    window.start_demo()
    session.step(12)
    drain(window)
    monkeypatch.setattr(QSystemTrayIcon, "isSystemTrayAvailable", staticmethod(lambda: True))
    window.closer.can_hide = True
    answer("Keep running, hidden")
    window.close()
    assert not window.isVisible()
    assert not window.closer.begun
    window.attention.show_window()


def test_that_a_run_that_cannot_be_carried_out_leaves_window_and_reason(
    qtbot: QtBot, settings: WindowSettings, themes: Theme, tmp_path: Path
) -> None:
    data = DataConfig(name="folder", path=str(tmp_path / "nothing"))
    training = PretrainingConfig(method="natural", epochs=1)
    run = RunConfig(name="broken", model=ModelConfig(depth=10), source=data, pretraining=training)
    window = MainWindow(Session(tmp_path / "workspace"), {}, settings, themes)
    window.show()
    window.start()
    window.submit(StudyConfig(title="Broken", runs=[run]))
    qtbot.waitUntil(lambda: window.notices.text() != "", timeout=60_000)
    (info,) = window.bridge.runs.values()
    assert info.state == "failed"
    assert window.notices.text().startswith(f"broken failed: {info.reason.splitlines()[0]}")
    assert window.commands.actions["new"].isEnabled()
    end(qtbot, window)
