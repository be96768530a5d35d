"""What keys and the mouse ask of the fields of a form: one event filter for all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QKeyCombination, QObject, QPoint, Qt, Signal
from PySide6.QtGui import QContextMenuEvent, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QWidget

if TYPE_CHECKING:
    from cartl_gui.forms.fields import FieldRow

_HELP = QKeySequence.StandardKey.HelpContents
_UNDO, _REDO = QKeySequence.StandardKey.Undo, QKeySequence.StandardKey.Redo
_MENU = QKeyCombination(Qt.KeyboardModifier.AltModifier, Qt.Key.Key_Down)
#: Where Ctrl+Y is not the desktop's own key for it, it does it all the same.
ALSO_REDO = QKeySequence("Ctrl+Y")


class FieldEvents(QObject):
    """Watches the editors of a form; each signal comes with the row that is meant."""

    focused = Signal(object)
    left = Signal(object)
    resized = Signal(object)
    help_asked = Signal(object)
    menu_asked = Signal(object, QPoint)
    undo_asked = Signal()
    redo_asked = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        #: Whether rows made widgets since this was last set to False.
        self.has_new = False

    def watch(self, row: FieldRow, *widgets: QWidget) -> None:
        """Watch widgets that a row made."""
        self.has_new = True
        for widget in widgets:
            widget.setProperty("row", row)
            widget.installEventFilter(self)

    def watch_undo(self, *lines: QWidget) -> None:
        """Let undo and redo in other lines be those of the form, and not of the line alone."""
        for line in lines:
            line.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Tell what is asked, and keep keys that the form itself answers from the editor and the window."""
        kind = event.type()
        row: FieldRow | None = watched.property("row")
        if kind in (QEvent.Type.ShortcutOverride, QEvent.Type.KeyPress) and isinstance(event, QKeyEvent):
            return self._key(row, event, pressed=kind == QEvent.Type.KeyPress)
        if row is None:
            return False
        if kind == QEvent.Type.FocusIn:
            self.focused.emit(row)
        elif kind == QEvent.Type.FocusOut:
            self.left.emit(row)
        elif kind == QEvent.Type.Resize:
            self.resized.emit(row)
        elif kind == QEvent.Type.ContextMenu and isinstance(event, QContextMenuEvent):
            self.menu_asked.emit(row, event.globalPos())
            return True
        return False

    def _key(self, row: FieldRow | None, event: QKeyEvent, *, pressed: bool) -> bool:
        """Answer a key; before it is pressed only claim it, so that no shortcut of the window takes it."""
        answer: Callable[[], object]
        if event.matches(_UNDO):
            answer = self.undo_asked.emit
        elif event.matches(_REDO) or QKeySequence(event.keyCombination()) == ALSO_REDO:
            answer = self.redo_asked.emit
        elif row is None:
            return False
        elif event.matches(_HELP):
            answer = partial(self.help_asked.emit, row)
        elif event.keyCombination() == _MENU and row.has_line():
            answer = partial(self._ask_menu, row)
        elif pressed and event.text() == "," and not row.has_line():
            return row.begin_sweep()
        else:
            return False
        event.accept()
        if pressed:
            answer()
        return pressed

    def _ask_menu(self, row: FieldRow) -> None:
        self.menu_asked.emit(row, row.editor.mapToGlobal(row.editor.rect().bottomLeft()))
