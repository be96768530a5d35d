"""The menu of a field: values that are usually taken or were used last, the default, and several values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QEvent, QPoint, QSize, Qt, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QLineEdit, QMenu, QToolButton, QWidget

from cartl_gui import theme
from cartl_gui.forms.fields import FieldRow

_SIZE = 16


class FieldMenu(QMenu):
    """What can be put into a field without typing. It deletes itself when it closes."""

    help_asked = Signal(object)

    def __init__(self, row: FieldRow, recent: Sequence[str], parent: QWidget) -> None:
        super().__init__(parent)
        self._row = row
        self.setAccessibleName(f"Values for {row.spec.title}")
        self.aboutToHide.connect(self.deleteLater)
        spec, now = row.spec, row.typed()
        proposed = [row.shown(value) for value in spec.proposed]
        if spec.kind not in ("choice", "switch"):
            self._values("Usual values", proposed)
        self._values("Used last", [text for text in recent if text != now and text not in proposed])
        self.addSeparator()
        if row.is_changed():
            back = row.baseline_sweep or row.shown(row.baseline)
            self._add(f"Back to {back or 'empty'}", row.reset)
        default = row.shown(spec.default)
        if spec.kind not in ("start", "path") and (default or spec.optional):
            self._add(f"Default: {default or 'left out'}", self._default, now != default)
        if spec.is_swept:
            self._sweeps(proposed)
        self._editing()
        self._add("About this setting", self._help).setShortcut("F1")

    def _values(self, title: str, texts: Sequence[str]) -> None:
        if not texts:
            return
        self.addSection(title)
        for text in texts:
            action = self._add(text, self._take)
            action.setData(text)
            if text == self._row.typed():
                action.setCheckable(True)
                action.setChecked(True)

    def _sweeps(self, proposed: Sequence[str]) -> None:
        self.addSeparator()
        row = self._row
        if row.spec.kind == "choice":
            self._add("Vary: type several values", self._begin_sweep, row.sweep_text is None)
            return
        several = "on, off" if row.spec.kind == "switch" else ", ".join(proposed)
        if "," in several:
            action = self._add(f"Vary over {several}", self._take, row.sweep_text != several)
            action.setData(several)

    def _editing(self) -> None:
        line = self._row.line() if self._row.has_line() else None
        if line is None:
            return
        self.addSeparator()
        chosen = line.hasSelectedText()
        for text, keys, action, on in (
            ("Cut", "Ctrl+X", line.cut, chosen and not line.isReadOnly()),
            ("Copy", "Ctrl+C", line.copy, chosen),
            ("Paste", "Ctrl+V", line.paste, not line.isReadOnly()),
            ("Select all", "Ctrl+A", line.selectAll, bool(line.text())),
        ):
            self._add(text, action, on).setShortcut(keys)
        self.addSeparator()

    def _add(self, text: str, slot: Callable[[], object], on: bool = True) -> QAction:
        action = self.addAction(text.replace("&", "&&"))
        action.setEnabled(on)
        action.triggered.connect(slot)
        return action

    def _take(self) -> None:
        action = self.sender()
        if isinstance(action, QAction):
            self._row.type_text(str(action.data()))
            self._row.editor.setFocus(Qt.FocusReason.OtherFocusReason)

    def _default(self) -> None:
        self._row.set_value(self._row.spec.default)

    def _begin_sweep(self) -> None:
        self._row.begin_sweep()

    def _help(self) -> None:
        self.help_asked.emit(self._row)


class MenuButton(QToolButton):
    """The quiet arrow in the field that has the keyboard; it opens the field's menu."""

    asked = Signal(object, QPoint)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._row: FieldRow | None = None
        self.setProperty("quiet", "true")
        self.setIconSize(QSize(10, 10))
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setAccessibleName("Values for the setting")
        self.setCursor(Qt.CursorShape.ArrowCursor)
        self.clicked.connect(self._pressed)
        self._draw()
        self.hide()

    def follow(self, row: FieldRow) -> None:
        """Stand at the end of a row's line; where a value is chosen, not typed, there is none."""
        line = row.line() if row.has_line() and row.spec.kind != "start" else None
        self.leave()
        if line is None:
            return
        self._row = row
        self.setAccessibleName(f"Values for {row.spec.title}")
        self.setToolTip(f"Values for {row.spec.title} (Alt+Down)")
        self.setParent(line)
        self.place()
        self.show()

    def place(self) -> None:
        """Stand where the line ends now."""
        line = self.parentWidget()
        if isinstance(line, QLineEdit):
            side = theme.px(_SIZE)
            line.setTextMargins(0, 0, side, 0)
            self.setGeometry(line.width() - side - 3, (line.height() - side) // 2, side, side)

    def leave(self) -> None:
        """Give the line its room back."""
        line = self.parentWidget()
        if isinstance(line, QLineEdit):
            line.setTextMargins(0, 0, 0, 0)
        self.hide()
        self._row = None

    def _pressed(self) -> None:
        if self._row is not None:
            self.asked.emit(self._row, self.mapToGlobal(self.rect().bottomLeft()))

    def _draw(self) -> None:
        self.setIcon(theme.icon("down", theme.scheme().muted))

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._draw()
