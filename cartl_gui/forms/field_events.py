"""What keys and the mouse ask of the fields of a form: one event filter for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, QPoint, Qt, Signal
from PySide6.QtGui import QContextMenuEvent, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QWidget

if TYPE_CHECKING:
    from cartl_gui.forms.fields import FieldRow

_HELP = QKeySequence.StandardKey.HelpContents
_UNDO, _REDO = QKeySequence.StandardKey.Undo, QKeySequence.StandardKey.Redo
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

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Tell what is asked, and keep keys that the form itself answers from the editor and the window."""
        kind = event.type()
        if kind == QEvent.Type.FocusIn:
            self.focused.emit(watched.property("row"))
        elif kind == QEvent.Type.FocusOut:
            self.left.emit(watched.property("row"))
        elif kind == QEvent.Type.Resize:
            self.resized.emit(watched.property("row"))
        elif kind == QEvent.Type.ContextMenu and isinstance(event, QContextMenuEvent):
            self.menu_asked.emit(watched.property("row"), event.globalPos())
            return True
        elif kind in (QEvent.Type.ShortcutOverride, QEvent.Type.KeyPress) and isinstance(event, QKeyEvent):
            return self._key(watched, event, pressed=kind == QEvent.Type.KeyPress)
        return False

    def _key(self, watched: QObject, event: QKeyEvent, *, pressed: bool) -> bool:
        """Answer a key; before it is pressed only claim it, so that no shortcut of the window takes it."""
        row: FieldRow = watched.property("row")
        menu = event.key() == Qt.Key.Key_Down and event.modifiers() == Qt.KeyboardModifier.AltModifier
        if event.matches(_HELP):
            action = self.help_asked
        elif event.matches(_UNDO):
            action = self.undo_asked
        elif event.matches(_REDO) or QKeySequence(event.keyCombination()) == ALSO_REDO:
            action = self.redo_asked
        elif menu and row.has_line():
            action = self.menu_asked
        elif pressed and event.text() == "," and not row.has_line():
            return row.begin_sweep()
        else:
            return False
        event.accept()
        if pressed and action is self.menu_asked:
            self.menu_asked.emit(row, row.editor.mapToGlobal(row.editor.rect().bottomLeft()))
        elif pressed and action is self.help_asked:
            self.help_asked.emit(row)
        elif pressed:
            action.emit()
        return pressed
