"""What was changed in the form: setting by setting, as it was and as it is, each with a way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QToolButton, QVBoxLayout, QWidget

from cartl_gui import words
from cartl_gui.forms.grid_section import axis_title
from cartl_gui.forms.preset_bar import recolour, tool
from cartl_gui.widgets import QuietCombo, WrappedLabel
from engine.config import STAGE_TITLES, STAGES, format_ratio
from engine.config.changes import Change
from engine.config.sweeps import write_sweep

#: More changes than these are counted, not listed.
LISTED = 60
_HEAD = {"title": "Study", "description": "Description", "name": "Name", "seed": "Seed"}


def change_title(change: Change) -> str:
    """The setting of a change in words: "Transfer: Epochs", "Vary: Transfer: Epochs", "Run"."""
    head, _, name = change.place.partition(".")
    if head == "grid":
        return "Seeds" if name == "seed" else f"Vary: {axis_title(name)}"
    if not change.place:
        return "Run"
    if change.place in STAGES:
        return str(STAGE_TITLES[change.place])
    return _HEAD.get(change.place) or axis_title(change.place)


def change_text(change: Change) -> str:
    """What a change is from and to: "0.4 → 0.6", "added", "off → on"."""
    if not change.place:
        return "added" if change.before is None else "removed"
    if change.place in STAGES:
        return "off → on" if change.before is None else "on → off"
    varied = change.place.startswith("grid.")
    return f"{_shown(change.before, varied=varied)} → {_shown(change.after, varied=varied)}"


def _shown(value: Any, *, varied: bool) -> str:
    if value is None:
        return "not varied" if varied else "left out"
    if isinstance(value, dict):
        return ", ".join(value)
    if isinstance(value, list):
        return (
            write_sweep(value)
            if varied
            else ", ".join(_shown(item, varied=False) for item in value) or "none"
        )
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return format_ratio(value)
    text = str(value).strip()
    text = words.CHOICE_WORDS.get(text, text) if text else "empty"
    return text if len(text) <= 40 else f"{text[:39]}…"


class ChangesSection(QFrame):
    """The list of changes, from what the form was filled with or from what was run last."""

    #: A change is to be taken back.
    reset_asked = Signal(object)
    #: Something else is to be compared with: the key of `set_bases`.
    base_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("card", "true")
        self.setAccessibleName("Changed settings")
        self.changes: list[Change] = []
        title = QLabel("Changed from")
        title.setProperty("role", "heading")
        self.base = QuietCombo()
        self.base.setAccessibleName("Compare with")
        self.base.activated.connect(self._base_chosen)
        title.setBuddy(self.base)
        self.close_button = tool("close", "Hide the list of changes")
        self.close_button.clicked.connect(self.hide)
        head = QHBoxLayout()
        head.setSpacing(6)
        head.addWidget(title)
        head.addWidget(self.base, 1)
        head.addWidget(self.close_button)
        self._none = WrappedLabel("muted")
        self._none.setText("Nothing differs.")
        self._rows = QGridLayout()
        self._rows.setHorizontalSpacing(6)
        self._rows.setVerticalSpacing(1)
        self._rows.setColumnStretch(0, 3)
        self._rows.setColumnStretch(1, 2)
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 6, 6, 8)
        column.setSpacing(4)
        column.addLayout(head)
        column.addWidget(self._none)
        column.addLayout(self._rows)
        self.hide()

    def set_bases(self, bases: Sequence[tuple[str, str]], chosen: str) -> None:
        """Offer what to compare with: pairs of key and text."""
        self.base.clear()
        for key, text in bases:
            self.base.addItem(text, key)
            self.base.setItemData(self.base.count() - 1, text, Qt.ItemDataRole.ToolTipRole)
        self.base.setCurrentIndex(max(0, self.base.findData(chosen)))

    def show_changes(self, changes: Sequence[Change], *, many: bool) -> None:
        """List changes.

        Args:
            changes: all of them.
            many: whether the study has several runs, so that each has to be named.
        """
        if list(changes) == self.changes and self._rows.count():
            return
        self.changes = list(changes)
        while (item := self._rows.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        self._none.setVisible(not changes)
        line, name = 0, ""
        for number, change in enumerate(self.changes[:LISTED]):
            if many and change.name and change.name != name:
                name = change.name
                heading = QLabel(name)
                heading.setProperty("role", "muted")
                heading.setContentsMargins(0, 4 if line else 0, 0, 0)
                self._rows.addWidget(heading, line, 0, 1, 3)
                line += 1
            self._add(line, number, change)
            line += 1
        if len(self.changes) > LISTED:
            more = QLabel(f"and {words.count(len(self.changes) - LISTED, 'more change')}")
            more.setProperty("role", "muted")
            self._rows.addWidget(more, line, 0, 1, 3)

    def _add(self, line: int, number: int, change: Change) -> None:
        title, text = change_title(change), change_text(change)
        link = WrappedLabel()
        link.setText(title)
        what = WrappedLabel("muted")
        what.setText(text)
        self._rows.addWidget(link, line, 0)
        self._rows.addWidget(what, line, 1)
        if change.place:
            button = tool("reset", f"Back to {text.partition(' → ')[0]}")
            button.setAccessibleName(f"Reset {title}")
            button.setIconSize(QSize(14, 14))
            button.setProperty("number", number)
            button.clicked.connect(self._reset)
            self._rows.addWidget(button, line, 2)

    def _reset(self) -> None:
        button = self.sender()
        if isinstance(button, QToolButton):
            self.reset_asked.emit(self.changes[int(button.property("number"))])

    def _base_chosen(self, index: int) -> None:
        self.base_chosen.emit(str(self.base.itemData(index)))

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "close_button"):
            recolour(self)


class SettingsBar(QFrame):
    """Says whose settings the form was filled with, and offers the way back."""

    undo_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", "true")
        self.setAccessibleName("Where the settings come from")
        self.text = WrappedLabel()
        self.undo_button = QToolButton()
        self.undo_button.setText("Undo")
        self.undo_button.setToolTip("Put back what was in the form before")
        self.undo_button.clicked.connect(self.undo_asked)
        self.close_button = tool("close", "Close this note")
        self.close_button.clicked.connect(self.hide)
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 4, 6, 4)
        row.setSpacing(6)
        row.addWidget(self.text, 1)
        row.addWidget(self.undo_button)
        row.addWidget(self.close_button)
        self.hide()

    def say(self, text: str) -> None:
        """Show a sentence."""
        self.text.setText(text)
        self.show()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "close_button"):
            recolour(self)
