"""Keys of commands that text fields would take for themselves.

On X11 without a desktop's own settings Qt gives text fields the keys of Emacs: Ctrl+E goes to the end of the line and
Ctrl+D deletes. There the command with these keys would not be heard while a field has the focus.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QKeyEvent, QKeySequence
from PySide6.QtWidgets import QApplication, QWidget

from cartl_gui.commands import CommandSet

_Standard = QKeySequence.StandardKey
#: What fields do by a control key and a letter, beside what users know (copy, undo, select all).
_OF_EMACS = (
    _Standard.MoveToEndOfLine,
    _Standard.Delete,
    _Standard.DeleteEndOfLine,
    _Standard.DeleteCompleteLine,
)


class TextKeys(QObject):
    """Leaves such keys to the commands, in whatever field of the program has the focus."""

    def __init__(self, commands: CommandSet, parent: QObject) -> None:
        super().__init__(parent)
        self._commands = commands
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        application.focusChanged.connect(self._follow)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Refuse for a field the keys that a command has."""
        if (
            event.type() == QEvent.Type.ShortcutOverride
            and isinstance(event, QKeyEvent)
            and self._takes(event)
        ):
            event.ignore()
            return True
        return super().eventFilter(watched, event)

    def _follow(self, before: QWidget | None, now: QWidget | None) -> None:
        if before is not None:
            before.removeEventFilter(self)
        if now is not None:
            now.installEventFilter(self)

    def _takes(self, event: QKeyEvent) -> bool:
        is_letter = Qt.Key.Key_A <= event.key() <= Qt.Key.Key_Z
        return (
            is_letter
            and any(map(event.matches, _OF_EMACS))
            and self._commands.owner(QKeySequence(event.keyCombination())) is not None
        )
