"""What the areas of commands have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QMessageBox

from engine.events import RunInfo

if TYPE_CHECKING:
    from cartl_gui.main_window import MainWindow


class Area:
    """Commands of one kind, carried out on behalf of a window."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window

    def table(self) -> dict[str, Callable[[], object]]:
        """What each command does, by its id."""
        raise NotImplementedError

    def _selected(self) -> RunInfo | None:
        return self._window.selected_info()

    def _remember(self, path: Path) -> None:
        """Let the next file dialog begin in the folder of this file."""
        self._window.settings.folder = str(path.parent)

    def _sure(self, text: str, details: str, yes: str) -> bool:
        """Ask whether to go on; `yes` is what the button says that agrees."""
        box = QMessageBox(QMessageBox.Icon.Question, "CARTL Workbench", text, parent=self._window)
        box.setInformativeText(details)
        agree = box.addButton(yes, QMessageBox.ButtonRole.AcceptRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.exec()
        agreed = box.clickedButton() is agree
        box.deleteLater()
        return agreed


def file_stem(name: str) -> str:
    """A run's name as the beginning of a file name."""
    return "".join(letter if letter.isalnum() or letter in "-_=." else "_" for letter in name)
