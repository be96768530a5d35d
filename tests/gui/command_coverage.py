"""Which test presses which command: recorded while tests run, and written to commands.md by

    python -m tests.gui.command_coverage

in the root of the repository, which runs all tests of the window. Whenever the whole folder runs, its last test says
what is untested or outdated.
"""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest
from PySide6.QtCore import QObject
from PySide6.QtGui import QAction, QKeySequence

TABLE = Path(__file__).with_name("commands.md")
#: As many tests are named in the table for each command.
NAMED = 3
HEAD = """\
# Commands and the tests that press them

Written by `python -m tests.gui.command_coverage`, which records it while all tests of the window run.

| command | what it is called | keys | pressed by |
|---|---|---|---|
"""


class Record:
    """The commands that were pressed so far, each with the tests that did it."""

    def __init__(self) -> None:
        self.pressed: dict[str, set[str]] = defaultdict(set)
        self._listener: _Listener | None = None

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Listen to the actions of every set of commands that is made."""
        from cartl_gui.commands import CommandSet

        self._listener = _Listener(self)
        make = CommandSet.__init__

        def watched(commands: CommandSet, *arguments: object, **named: object) -> None:
            make(commands, *arguments, **named)  # type: ignore[arg-type]
            for action in commands.actions.values():
                action.triggered.connect(self._listener.note)

        patch.setattr(CommandSet, "__init__", watched)

    def table(self) -> str:
        """The page of commands.md."""
        from cartl_gui.commands import COMMANDS

        lines = []
        for command in COMMANDS:
            tests = sorted(self.pressed.get(command.id, ()))
            more = f" and {len(tests) - NAMED} more" if len(tests) > NAMED else ""
            keys = QKeySequence(command.shortcut).toString()
            title = command.text.replace("&", "").rstrip("…")
            named = "<br>".join(f"`{test}`" for test in tests[:NAMED])
            lines.append(
                f"| `{command.id}` | {command.menu}, {title} | {f'`{keys}`' if keys else ''} | {named}{more} |\n"
            )
        return HEAD + "".join(lines)


class _Listener(QObject):
    def __init__(self, record: Record) -> None:
        super().__init__()
        self._record = record

    def note(self) -> None:
        """Note the command and the test that is under way."""
        action, test = self.sender(), os.environ.get("PYTEST_CURRENT_TEST", "")
        if isinstance(action, QAction) and test.endswith("(call)"):
            self._record.pressed[action.objectName()].add(short_name(test))


def short_name(test: str) -> str:
    """The file and function of "tests/gui/test_gui_x.py::test_that_y[z] (call)": "test_gui_x::test_that_y"."""
    path, _, function = test.partition("::")
    return f"{Path(path).stem}::{re.split(r'[^a-zA-Z0-9_]', function)[0]}"


def written(text: str) -> Mapping[str, set[str]]:
    """The tests that a page of commands.md names for each command."""
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", text, re.MULTILINE)
    return {name: set(re.findall(r"`([^`]+)`", tests)) for name, tests in rows}


#: What the tests of this process pressed.
RECORD = Record()


class _Writer:
    def pytest_sessionfinish(self) -> None:
        TABLE.write_text(RECORD.table(), encoding="utf-8")


def main() -> int:
    """Run the tests of the window and write the table; returns the exit code of the tests."""
    folder = TABLE.parent.relative_to(Path.cwd())
    last = (
        f"{folder}/test_gui_commands.py::test_that_every_command_is_pressed_by_the_tests_that_the_table_names"
    )
    return int(pytest.main([str(folder), f"--deselect={last}"], [_Writer()]))


if __name__ == "__main__":
    from tests.gui import command_coverage  # the module that the tests know, of which this is another copy

    sys.exit(command_coverage.main())
