"""Commands: each is explained, has its place, is reached by keyboard and is pressed by a test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QKeySequence, QShortcut
from PySide6.QtWidgets import QMenu

from cartl_gui.commands import COMMANDS
from cartl_gui.main_window import MainWindow
from tests.gui.command_coverage import RECORD, TABLE, short_name, written

IDS = [command.id for command in COMMANDS]


def actions_of(menu: QMenu) -> Iterator[QAction]:
    """The actions of a menu, without those of its submenus."""
    return (action for action in menu.actions() if not action.isSeparator())


def menus_of(window: MainWindow) -> list[QMenu]:
    """All menus of the menu bar, submenus too."""
    menus = {menu.menuAction(): menu for menu in window.findChildren(QMenu)}
    found = [menus[action] for action in window.menuBar().actions()]
    for menu in found:
        found += [menus[action] for action in menu.actions() if action in menus]
    return found


def mnemonic(text: str) -> str:
    """The letter that is underlined, in small; empty if there is none."""
    place = text.replace("&&", "").find("&")
    return text.replace("&&", "")[place + 1 : place + 2].lower() if place >= 0 else ""


def test_that_every_command_is_one_action_with_a_sentence_of_help(finished_window: MainWindow) -> None:
    assert len(IDS) == len(set(IDS))
    assert list(finished_window.commands.actions) == IDS
    for command in COMMANDS:
        assert command.help[0].isupper(), command.id
        assert command.help.endswith("."), command.id
        action = finished_window.commands.actions[command.id]
        assert action.statusTip() == command.help
        assert command.help in action.toolTip()


def test_that_every_action_of_menus_and_toolbar_is_a_command_or_turns_a_part_on_and_off(
    finished_window: MainWindow,
) -> None:
    bars = [action for menu in menus_of(finished_window) for action in actions_of(menu)]
    bars += [action for action in finished_window.toolbar.actions() if not action.isSeparator()]
    submenus = {menu.menuAction() for menu in menus_of(finished_window)}
    strange = [
        action.text()
        for action in bars
        if action.objectName() not in IDS and action not in submenus and not action.isCheckable()
    ]
    assert strange == []


def test_that_every_command_is_reached_through_a_menu_by_letters(finished_window: MainWindow) -> None:
    assert {action.objectName() for menu in menus_of(finished_window) for action in actions_of(menu)} >= set(
        IDS
    )
    missing, shared = [], []
    for menu in menus_of(finished_window):
        letters = Counter()
        for action in actions_of(menu):
            letter = mnemonic(action.text())
            letters[letter] += 1
            if not letter:
                missing.append(f"{menu.title()}: {action.text()}")
        shared += [f"{menu.title()}: {letter}" for letter, count in letters.items() if letter and count > 1]
    titles = Counter(mnemonic(action.text()) for action in finished_window.menuBar().actions())
    assert missing == []
    assert shared == []
    assert "" not in titles and max(titles.values()) == 1


def test_that_no_keys_stand_for_two_things(finished_window: MainWindow) -> None:
    keys = Counter(
        sequence.toString()
        for action in finished_window.findChildren(QAction)
        for sequence in action.shortcuts()
        if action.shortcutContext() != Qt.ShortcutContext.WidgetShortcut
    )
    keys.update(
        shortcut.key().toString()
        for shortcut in finished_window.findChildren(QShortcut)
        if shortcut.context() == Qt.ShortcutContext.WindowShortcut
    )
    assert {sequence: count for sequence, count in keys.items() if count > 1} == {}
    given = [command for command in COMMANDS if command.shortcut]
    assert len(given) > 10
    assert [command.id for command in given if QKeySequence(command.shortcut).isEmpty()] == []


# the table of who presses what --------------------------------------------------------------------------
def test_that_the_table_lists_every_command_with_tests_that_there_are() -> None:
    table = written(TABLE.read_text(encoding="utf-8"))
    again = "regenerate it with python -m tests.gui.command_coverage"
    assert list(table) == IDS, again
    assert [command for command, tests in table.items() if not tests] == [], "these commands have no test"
    for name in sorted(set().union(*table.values())):
        module, _, function = name.partition("::")
        source = Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
        assert f"def {function}(" in source, f"{name} is gone; {again}"


def test_that_a_command_is_noted_with_the_test_that_presses_it(finished_window: MainWindow) -> None:
    finished_window.commands.actions["page_live"].trigger()
    assert (
        "test_gui_commands::test_that_a_command_is_noted_with_the_test_that_presses_it"
        in RECORD.pressed["page_live"]
    )
    assert (
        short_name("tests/gui/test_gui_form.py::test_that_it_fits[a b] (call)")
        == "test_gui_form::test_that_it_fits"
    )


def test_that_every_command_is_pressed_by_the_tests_that_the_table_names(
    request: pytest.FixtureRequest,
) -> None:
    """Runs after all others of this folder (see conftest.py)."""
    there = {path.stem for path in Path(__file__).parent.glob("test_*.py")}
    ran = {item.path.stem for item in request.session.items}
    if not there <= ran or request.config.option.keyword:
        pytest.skip("tells something only where all tests of the window run")
    assert [command for command in IDS if not RECORD.pressed[command]] == [], "no test presses these commands"
    wrong = {
        command: tests - RECORD.pressed[command]
        for command, tests in written(TABLE.read_text(encoding="utf-8")).items()
        if tests - RECORD.pressed[command]
    }
    assert wrong == {}, "python -m tests.gui.command_coverage writes the table anew"
