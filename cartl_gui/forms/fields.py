"""One setting as a row of a form: label, editor, unit, reset button and, in red, what is wrong with it."""

from __future__ import annotations

import math
from typing import Any

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QToolButton,
    QWidget,
)

from cartl_gui import theme, words
from cartl_gui.files import WEIGHTS
from cartl_gui.forms.specs import FieldSpec
from cartl_gui.widgets import QuietCombo, WrappedLabel
from engine.config import format_ratio

LABEL_WIDTH = 142
UNIT_WIDTH = 72


class FieldRow(QWidget):
    """One setting: its editor and everything beside it. Never changes what was typed."""

    changed = Signal()
    focused = Signal(object)

    def __init__(self, spec: FieldSpec, place: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.spec, self.place = spec, place
        self.baseline: Any = spec.default
        self.relevant = True
        self.folded = False
        self.problem = self.hint = ""
        self._label = QLabel(spec.title)
        self._label.setWordWrap(True)
        self._label.setFixedWidth(LABEL_WIDTH)
        self.editor = self._make_editor()
        self.editor.setAccessibleName(spec.title)
        self.editor.setAccessibleDescription(spec.help)
        self._label.setBuddy(self.editor)
        unit = QLabel(spec.unit)
        unit.setProperty("role", "muted")
        self.reset_button = QToolButton()
        self.reset_button.setProperty("quiet", "true")
        self.reset_button.setObjectName("reset")
        self.reset_button.setIcon(theme.icon("reset"))
        self.reset_button.setIconSize(QSize(14, 14))
        self.reset_button.setAccessibleName(f"Reset {spec.title}")
        self.reset_button.clicked.connect(self.reset)
        policy = self.reset_button.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.reset_button.setSizePolicy(policy)
        self._error, self._hint = WrappedLabel("error"), WrappedLabel("hint")
        self._error.hide()
        self._hint.hide()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 1, 0, 1)
        grid.setHorizontalSpacing(6)
        grid.setVerticalSpacing(1)
        grid.addWidget(self._label, 0, 0)
        lists = spec.kind in ("integers", "numbers")
        wide = lists or (spec.kind in ("choice", "text", "path", "switch") and not spec.unit)
        if lists and (line := self._line()) is not None:
            line.setPlaceholderText("left out" if spec.optional else "none")
        grid.addWidget(self.editor, 0, 1, 1, 2 if wide else 1)
        if spec.kind == "start":
            grid.addWidget(self._browser("Choose a file with weights…"), 0, 2)
        elif not wide:
            unit.setFixedWidth(UNIT_WIDTH)
            grid.addWidget(unit, 0, 2)
        grid.addWidget(self.reset_button, 0, 3)
        grid.addWidget(self._error, 1, 0, 1, 4)
        grid.addWidget(self._hint, 2, 1, 1, 3)
        grid.setColumnStretch(1, 1)
        tip = f"<p>{spec.help}</p>" if spec.help else ""
        if spec.kind not in ("switch", "choice"):
            tip += f"<p>Expected: {spec.expectation()}.</p>"
        for widget in (self._label, self.editor):
            widget.setToolTip(tip)
        for widget in (self.editor, *self.editor.findChildren(QWidget)):
            widget.installEventFilter(self)
        self.set_value(spec.default)

    def _make_editor(self) -> QWidget:
        kind = self.spec.kind
        if kind == "switch":
            box = QCheckBox()
            box.toggled.connect(self._edited)
            return box
        if kind == "choice":
            combo = QuietCombo()
            for value in self.spec.choices:
                combo.addItem(words.choice(value), value)
            combo.currentIndexChanged.connect(self._edited)
            return combo
        if kind == "start":
            combo = QuietCombo()
            combo.setEditable(True)
            combo.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
            line = combo.lineEdit()
            assert line is not None
            line.setPlaceholderText("name of a run, or a checkpoint file")
            line.setAccessibleName(self.spec.title)
            combo.editTextChanged.connect(self._edited)
            return combo
        line = QLineEdit()
        line.setMinimumWidth(70)
        line.textChanged.connect(self._edited)
        if kind != "path":
            return line
        holder = QWidget()
        row = QHBoxLayout(holder)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        line.setAccessibleName(self.spec.title)
        row.addWidget(line, 1)
        row.addWidget(self._browser("Choose a folder…"))
        holder.setFocusProxy(line)
        return holder

    def _browser(self, text: str) -> QToolButton:
        button = QToolButton()
        button.setObjectName("folder")
        button.setIcon(theme.icon("folder"))
        button.setAccessibleName(f"Choose {self.spec.title}")
        button.setToolTip(text)
        button.clicked.connect(self._browse)
        return button

    def _line(self) -> QLineEdit | None:
        if isinstance(self.editor, QLineEdit):
            return self.editor
        if isinstance(self.editor, QComboBox):
            return self.editor.lineEdit()
        return self.editor.findChild(QLineEdit)

    def set_starts(self, names: list[tuple[str, str]]) -> None:
        """Offer runs to start from: pairs of the value and what it is."""
        if not isinstance(self.editor, QComboBox) or self.spec.kind != "start":
            return
        self.editor.blockSignals(True)
        text = self.editor.currentText()
        self.editor.clear()
        for value, about in names:
            self.editor.addItem(value)
            self.editor.setItemData(self.editor.count() - 1, about, Qt.ItemDataRole.ToolTipRole)
        self.editor.setEditText(text)
        self.editor.blockSignals(False)

    def set_value(self, value: Any) -> None:
        """Show a value, or text that could not be read as one."""
        if isinstance(self.editor, QCheckBox):
            self.editor.setChecked(bool(value))
        elif isinstance(self.editor, QComboBox) and self.spec.kind == "choice":
            self.editor.setCurrentIndex(max(0, self.editor.findData(value)))
        elif (line := self._line()) is not None:
            line.setText(self._text(value))
        self._show_reset()

    def value(self) -> Any:
        """The typed value; text that cannot be read as one stays text, for the settings' class to refuse."""
        if isinstance(self.editor, QCheckBox):
            return self.editor.isChecked()
        if isinstance(self.editor, QComboBox) and self.spec.kind == "choice":
            return self.editor.currentData()
        line = self._line()
        text = line.text().strip() if line is not None else ""
        if self.spec.optional and not text:
            return None
        if self.spec.kind == "numbers":
            return text.replace(",", " ").split()
        try:
            if self.spec.kind == "integer":
                return int(text)
            if self.spec.kind == "number":
                return float(text)
            if self.spec.kind == "integers":
                return [int(part) for part in text.replace(",", " ").split()]
        except ValueError:
            return text
        return text

    def is_changed(self) -> bool:
        """Whether the value differs from the one the form was opened with."""
        return not self.same(self.value(), self.baseline)

    def same(self, one: Any, other: Any) -> bool:
        """Whether two values of the setting are the same, in whatever way they are written."""
        return bool(one == other) or self._text(one) == self._text(other)

    def set_baseline(self, value: Any) -> None:
        """Let "reset" go back to another value than the form was opened with."""
        self.baseline = value
        self._show_reset()

    def reset(self) -> None:
        """Go back to the value the form was opened with."""
        self.set_value(self.baseline)
        self.editor.setFocus()

    def show_problem(self, text: str) -> None:
        """Show in red under the field why its value cannot be used; empty text removes that."""
        if text == self.problem:
            return
        self.problem = text
        self._error.setText(text)
        self._error.setVisible(bool(text))
        self._describe()
        line = self._line()
        if line is not None and isinstance(self.editor, QLineEdit):
            line.setProperty("bad", "true" if text else "false")
            line.style().unpolish(line)
            line.style().polish(line)

    def show_hint(self, text: str) -> None:
        """Show small under the field what follows from its value; empty text removes that."""
        if text != self.hint:
            self.hint = text
            self._hint.setText(text)
            self._hint.setVisible(bool(text))
            self._describe()

    def _describe(self) -> None:
        said = [f"{text}." for text in (self.problem, self.hint) if text]
        self.editor.setAccessibleDescription(" ".join([*said, self.spec.help]).strip())

    def set_varied(self, on: bool) -> None:
        """Leave the value to the grid, or take it from here."""
        self.editor.setEnabled(not on)
        self._label.setEnabled(not on)
        self.setToolTip("Varied in the grid" if on else "")

    def refresh_visibility(self) -> None:
        """Be there only if the setting has an effect and is not folded away."""
        self.setVisible(self.relevant and not (self.folded and not self.problem))

    def eventFilter(self, watched: object, event: QEvent) -> bool:  # noqa: N802
        """Tell the form which setting has the focus."""
        if event.type() == QEvent.Type.FocusIn:
            self.focused.emit(self)
        return super().eventFilter(watched, event)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "reset_button"):
            for button in self.findChildren(QToolButton):
                if button.objectName() in ("reset", "folder"):
                    button.setIcon(theme.icon(button.objectName()))

    def _text(self, value: Any) -> str:
        if isinstance(value, bool):
            return "on" if value else "off"
        if self.spec.kind == "choice":
            return words.choice(value)
        if value is None:
            return ""
        if isinstance(value, list | tuple):
            return ", ".join(map(self._text, value))
        if isinstance(value, float):
            return format_ratio(value) if math.isfinite(value) else str(value)
        return str(value)

    def _edited(self) -> None:
        self._show_reset()
        self.changed.emit()

    def _show_reset(self) -> None:
        self.reset_button.setVisible(self.is_changed())
        self.reset_button.setToolTip(f"Back to {self._text(self.baseline) or 'empty'}")

    def _browse(self) -> None:
        line = self._line()
        if line is None:
            return
        if self.spec.kind == "start":
            chosen, _kind = QFileDialog.getOpenFileName(self, self.spec.title, line.text(), WEIGHTS)
        else:
            chosen = QFileDialog.getExistingDirectory(self, self.spec.title, line.text())
        if chosen:
            line.setText(chosen)
