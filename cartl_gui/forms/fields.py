"""One setting as a row of a form: label, editor, unit, reset button and, in red, what is wrong with it.

A row knows its value without its widgets; they are made when it is first looked at, since a form has over a hundred.
"""

from __future__ import annotations

import math
from typing import Any

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtGui import QShowEvent
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
from cartl_gui.forms.field_events import FieldEvents
from cartl_gui.forms.specs import FieldSpec
from cartl_gui.widgets import QuietCombo, WrappedLabel
from engine.config import format_ratio
from engine.config.sweeps import SweepError, Value, is_sweep, parse_sweep

LABEL_WIDTH = 142
UNIT_WIDTH = 72
SIDE_WIDTH = 22


class FieldRow(QWidget):
    """One setting: its editor and everything beside it. Never changes what was typed.

    Args:
        spec: the setting.
        place: its dotted name.
        events: what watches the editors of the form; rows without one stand alone.
        lazy: whether the widgets are made when the row is first shown or asked for its editor.
    """

    changed = Signal()

    def __init__(
        self, spec: FieldSpec, place: str, *, events: FieldEvents | None = None, lazy: bool = False
    ) -> None:
        super().__init__()
        self.spec, self.place = spec, place
        self.baseline: Any = spec.default
        #: What is typed where the setting was varied from the start, "" where it was not.
        self.baseline_sweep = ""
        self.relevant = True
        self.folded = False
        #: Whether a search for settings found it; None while nothing is searched for.
        self.sought: bool | None = None
        #: Whether the section that it is in is open, so that it has to be there to be seen.
        self.is_open = not lazy
        self.problem = self.hint = ""
        #: The values typed in place of one, None while one is typed or they cannot be read.
        self.values: list[Value] | None = None
        self._sweep_problem = ""
        #: What is typed: a text, or the value of a choice or switch.
        self._state: Any = None
        #: What it was the last time that one value was typed or chosen.
        self._single: Any = None
        #: Several values of a choice or switch as text, None while it has one value.
        self._sweep_line_text: str | None = None
        self._starts: list[tuple[str, str]] = []
        self._varied_elsewhere = ""
        self._shown: bool | None = None
        self._events = events
        self._editor: QWidget | None = None
        self._sweep_line: QLineEdit | None = None
        self._reset_button: QToolButton | None = None
        self._error: WrappedLabel | None = None
        self._hint: WrappedLabel | None = None
        self.load(spec.default, spec.default)
        if not lazy:
            self.build()

    # widgets --------------------------------------------------------------------------------------------
    @property
    def editor(self) -> QWidget:
        """The widget in which the value is chosen or typed now."""
        self.build()
        assert self._editor is not None
        if self._sweep_line is not None and self._sweep_line_text is not None:
            return self._sweep_line
        return self._editor

    @property
    def reset_button(self) -> QToolButton:
        """The button that goes back to the value the form was opened with."""
        self.build()
        if self._reset_button is None:
            button = self._reset_button = QToolButton()
            button.setProperty("quiet", "true")
            button.setObjectName("reset")
            button.setIcon(theme.icon("reset"))
            button.setIconSize(QSize(14, 14))
            button.setAccessibleName(f"Reset {self.spec.title}")
            button.clicked.connect(self.reset)
            button.hide()
            self._side.addWidget(button)
            if self._events is not None:
                self._events.has_new = True
            self._show_reset()
        return self._reset_button

    def build(self) -> None:
        """Make the widgets if they are not there yet."""
        if self._editor is not None:
            return
        spec = self.spec
        self._label = QLabel(spec.title)
        self._label.setWordWrap(True)
        self._label.setFixedWidth(LABEL_WIDTH)
        editor = self._editor = self._make_editor()
        editor.setAccessibleName(spec.title)
        editor.setAccessibleDescription(spec.help)
        self._label.setBuddy(editor)
        holder = QWidget()
        holder.setFixedWidth(SIDE_WIDTH)
        self._side = QHBoxLayout(holder)
        self._side.setContentsMargins(0, 0, 0, 0)
        self._grid = grid = QGridLayout(self)
        grid.setContentsMargins(0, 1, 0, 1)
        grid.setHorizontalSpacing(6)
        grid.setVerticalSpacing(1)
        grid.addWidget(self._label, 0, 0)
        grid.addWidget(editor, 0, 1, 1, 2 if self._is_wide() else 1)
        if spec.kind == "start":
            grid.addWidget(self._browser("Choose a file with weights…"), 0, 2)
        elif not self._is_wide():
            unit = QLabel(spec.unit)
            unit.setProperty("role", "muted")
            unit.setFixedWidth(UNIT_WIDTH)
            grid.addWidget(unit, 0, 2)
        grid.addWidget(holder, 0, 3)
        grid.setColumnStretch(1, 1)
        for widget in (self._label, editor):
            widget.setToolTip(self._tip())
        self._watch(editor)
        if self._events is not None:
            self._events.watch(self, self._label)
        if self._sweep_line_text is not None:
            self._show_sweep_line()
        self._show_varied()
        self._show_reset()
        self._show_problem()
        self._show_hint()

    def _is_wide(self) -> bool:
        lists = self.spec.kind in ("integers", "numbers")
        return lists or (self.spec.kind in ("choice", "text", "path", "switch") and not self.spec.unit)

    def _tip(self) -> str:
        tip = f"<p>{self.spec.help}</p>" if self.spec.help else ""
        if self.spec.kind not in ("switch", "choice"):
            tip += f"<p>Expected: {self.spec.expectation()}.</p>"
        return tip + "<p>F1 tells more.</p>" if self._events else tip

    def _make_editor(self) -> QWidget:
        kind = self.spec.kind
        if kind == "switch":
            box = QCheckBox()
            box.setChecked(bool(self._state))
            box.toggled.connect(self._take)
            return box
        if kind == "choice":
            combo = QuietCombo()
            for value in self.spec.choices:
                combo.addItem(words.choice(value), value)
            combo.setCurrentIndex(max(0, self.spec.choices.index(self._state)))
            combo.currentIndexChanged.connect(self._take_choice)
            return combo
        if kind == "start":
            combo = QuietCombo()
            combo.setEditable(True)
            combo.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
            self._fill_starts(combo)
            line = combo.lineEdit()
            assert line is not None
            line.setPlaceholderText("name of a run, or a checkpoint file")
            line.setAccessibleName(self.spec.title)
            combo.editTextChanged.connect(self._take)
            return combo
        line = QLineEdit(self._state)
        line.setMinimumWidth(70)
        if kind in ("integers", "numbers"):
            line.setPlaceholderText("left out" if self.spec.optional else "none")
        line.textChanged.connect(self._take)
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

    def _watch(self, editor: QWidget) -> None:
        if self._events is not None:
            self._events.watch(self, editor, *(line for line in editor.findChildren(QLineEdit)))

    def _browser(self, text: str) -> QToolButton:
        button = QToolButton()
        button.setObjectName("folder")
        button.setIcon(theme.icon("folder"))
        button.setAccessibleName(f"Choose {self.spec.title}")
        button.setToolTip(text)
        button.clicked.connect(self._browse)
        return button

    def line(self) -> QLineEdit | None:
        """The line that is typed into; None for a choice or a switch with one value."""
        editor = self.editor
        if isinstance(editor, QLineEdit):
            return editor
        if isinstance(editor, QComboBox):
            return editor.lineEdit()
        return editor.findChild(QLineEdit)

    def has_line(self) -> bool:
        """Whether the value is typed now, and not chosen."""
        return self.spec.kind not in ("choice", "switch") or self._sweep_line_text is not None

    def set_starts(self, names: list[tuple[str, str]]) -> None:
        """Offer runs to start from: pairs of the value and what it is."""
        self._starts = names
        if isinstance(self._editor, QComboBox):
            self._fill_starts(self._editor)

    def _fill_starts(self, combo: QComboBox) -> None:
        combo.blockSignals(True)
        combo.clear()
        for value, about in self._starts:
            combo.addItem(value)
            combo.setItemData(combo.count() - 1, about, Qt.ItemDataRole.ToolTipRole)
        combo.setEditText(self._state)
        combo.blockSignals(False)

    # values ---------------------------------------------------------------------------------------------
    def load(self, value: Any, baseline: Any) -> None:
        """Show a value without telling, with the one to which "reset" goes back."""
        self.baseline = baseline
        self._set_state(self._state_of(value))

    def set_value(self, value: Any) -> None:
        """Show a value, or text that could not be read as one."""
        before = (self._state, self._sweep_line_text)
        self._set_state(self._state_of(value))
        if before != (self._state, self._sweep_line_text):
            self.changed.emit()

    def value(self) -> Any:
        """The typed value; text that cannot be read as one stays text, for the settings' class to refuse.

        Where several are typed it is the first of them, or the one the form was opened with if they cannot be read.
        """
        if self.sweep_text is not None:
            return self.values[0] if self.values else self.baseline
        if self.spec.kind in ("switch", "choice"):
            if self._sweep_line_text is None:
                return self._state
            return self.values[0] if self.values else self._sweep_line_text.strip()
        text = str(self._state).strip()
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

    def typed(self) -> str:
        """What is typed or chosen, as text that may be typed."""
        if self.sweep_text is not None:
            return self.sweep_text
        return self._text(self._state) if self.spec.kind == "switch" else str(self._state)

    def is_changed(self) -> bool:
        """Whether the value differs from the one the form was opened with."""
        if self.sweep_text is not None or self.baseline_sweep:
            return (self.sweep_text or "") != self.baseline_sweep
        return not self.same(self.value(), self.baseline)

    def same(self, one: Any, other: Any) -> bool:
        """Whether two values of the setting are the same, in whatever way they are written."""
        return bool(one == other) or self._text(one) == self._text(other)

    def set_baseline(self, value: Any) -> None:
        """Let "reset" go back to another value than the form was opened with."""
        self.baseline = value
        self._show_reset()

    def set_baseline_sweep(self, text: str) -> None:
        """Let "reset" go back to several values; empty if the form was opened with one."""
        if text != self.baseline_sweep:
            self.baseline_sweep = text
            self._show_reset()

    def reset(self) -> None:
        """Go back to the value the form was opened with."""
        if self.baseline_sweep:
            self.type_text(self.baseline_sweep)
        else:
            self.set_value(self.baseline)
        self.editor.setFocus()

    def type_text(self, text: str) -> None:
        """Put in a text as if it were typed: one value, or several."""
        if self.spec.kind in ("choice", "switch") and is_sweep(text, self.spec.field):
            self.show_sweep(text)
            self.changed.emit()
        elif self.spec.kind == "switch":
            self.set_value(text == "on")
        else:
            self.set_value(text)

    def _state_of(self, value: Any) -> Any:
        if self.spec.kind == "switch":
            return bool(value)
        if self.spec.kind == "choice":
            return value if value in self.spec.choices else self.spec.choices[0]
        return self._text(value)

    def _set_state(self, state: Any) -> None:
        """Take over a single value, in the editor too."""
        self._end_sweep_line()
        self._state = state
        self._read_sweep()
        if self._editor is not None:
            editor = self._editor
            editor.blockSignals(True)
            if isinstance(editor, QCheckBox):
                editor.setChecked(state)
            elif self.spec.kind == "choice" and isinstance(editor, QComboBox):
                editor.setCurrentIndex(self.spec.choices.index(state))
            elif isinstance(editor, QComboBox):
                editor.setEditText(state)
            elif (line := self.line()) is not None and line.text() != state:
                line.blockSignals(True)
                line.setText(state)
                line.blockSignals(False)
            editor.blockSignals(False)
            self._show_reset()

    def _take(self, state: Any) -> None:
        self._state = state
        self._read_sweep()
        self._show_reset()
        self.changed.emit()

    def _take_choice(self, index: int) -> None:
        self._take(self.spec.choices[index])

    # several values -------------------------------------------------------------------------------------
    @property
    def sweep_text(self) -> str | None:
        """What is typed where that is meant as several values, readable or not; None where one value is."""
        text = self._state if self._sweep_line_text is None else self._sweep_line_text
        return text.strip() if self._is_several else None

    @property
    def sweep_problem(self) -> str:
        """Why the values typed cannot be read; empty if they can or there is one."""
        return self._sweep_problem

    def show_sweep(self, text: str) -> None:
        """Show several values, given by an axis of the grid, without telling."""
        if self.spec.kind not in ("choice", "switch"):
            self._set_state(text)
            return
        self._sweep_line_text = text
        self._read_sweep()
        if self._editor is not None:
            self._show_sweep_line()
            self._show_reset()

    def begin_sweep(self) -> bool:
        """Let several values of a choice or switch be typed; False where that cannot be."""
        if not self.spec.is_swept or self._varied_elsewhere:
            return False
        self.show_sweep(f"{self.typed()}, ")
        line = self.line()
        assert line is not None
        line.setFocus(Qt.FocusReason.OtherFocusReason)
        line.end(False)
        self.changed.emit()
        return True

    def drop_sweep(self) -> None:
        """Go back to the one value there was before several were, without telling."""
        self._set_state(self._single)

    def end_sweep(self) -> None:
        """Go back from a line to the choice itself, if one value is left in it."""
        if self._sweep_line_text is not None and self.sweep_text is None and self.values:
            self._set_state(self.values[0])

    def _read_sweep(self) -> None:
        self.values, self._sweep_problem, self._is_several = None, "", False
        text = self._state if self._sweep_line_text is None else self._sweep_line_text
        is_chosen = self._sweep_line_text is None and self.spec.kind in ("choice", "switch")
        if self.spec.is_swept and not is_chosen:
            self._is_several = is_sweep(text, self.spec.field)
        if not self._is_several and self._sweep_line_text is None:
            self._single = self._state
        if self._is_several or self._sweep_line_text is not None:
            try:
                self.values = parse_sweep(text, self.spec.field)
            except SweepError as error:
                self._sweep_problem = str(error)

    def _take_sweep(self, text: str) -> None:
        self._sweep_line_text = text
        self._read_sweep()
        self._show_reset()
        self.changed.emit()

    def _show_sweep_line(self) -> None:
        assert self._editor is not None and self._sweep_line_text is not None
        if self._sweep_line is None:
            self._sweep_line = QLineEdit()
            self._sweep_line.setMinimumWidth(70)
            self._sweep_line.setAccessibleName(f"{self.spec.title}, several values")
            self._sweep_line.setToolTip(self._tip())
            self._sweep_line.textChanged.connect(self._take_sweep)
            self._grid.addWidget(self._sweep_line, 0, 1, 1, 2 if self._is_wide() else 1)
            self._watch(self._sweep_line)
        self._sweep_line.blockSignals(True)
        if self._sweep_line.text() != self._sweep_line_text:
            self._sweep_line.setText(self._sweep_line_text)
        self._sweep_line.blockSignals(False)
        self._sweep_line.show()
        self._editor.hide()
        self._label.setBuddy(self._sweep_line)

    def _end_sweep_line(self) -> None:
        self._sweep_line_text = None
        if self._sweep_line is not None and self._editor is not None:
            had_focus = self._sweep_line.hasFocus()
            self._editor.show()
            self._sweep_line.hide()
            self._label.setBuddy(self._editor)
            if had_focus:
                self._editor.setFocus(Qt.FocusReason.OtherFocusReason)

    # what stands under it -------------------------------------------------------------------------------
    def show_problem(self, text: str) -> None:
        """Show in red under the field why its value cannot be used; empty text removes that."""
        if text == self.problem:
            return
        self.problem = text
        if self._editor is not None:
            self._show_problem()

    def _show_problem(self) -> None:
        if self._error is None:
            if not self.problem:
                return
            self._error = WrappedLabel("error")
            self._grid.addWidget(self._error, 1, 1, 1, 3)
        self._error.setText(self.problem)
        self._error.setVisible(bool(self.problem))
        self._describe()
        line = self.line()
        bad = "true" if self.problem else "false"
        if line is not None and line is self.editor and line.property("bad") != bad:
            line.setProperty("bad", bad)
            line.style().unpolish(line)
            line.style().polish(line)

    def show_hint(self, text: str) -> None:
        """Show small under the field what follows from its value; empty text removes that."""
        if text == self.hint:
            return
        self.hint = text
        if self._editor is not None:
            self._show_hint()

    def _show_hint(self) -> None:
        if self._hint is None:
            if not self.hint:
                return
            self._hint = WrappedLabel("hint")
            self._grid.addWidget(self._hint, 2, 1, 1, 3)
        self._hint.setText(self.hint)
        self._hint.setVisible(bool(self.hint))
        self._describe()

    def _describe(self) -> None:
        said = [f"{text}." for text in (self.problem, self.hint) if text]
        self.editor.setAccessibleDescription(" ".join([*said, self.spec.help]).strip())

    def set_varied(self, reason: str) -> None:
        """Leave the value to what varies it elsewhere, which `reason` says; empty takes it from here."""
        if reason != self._varied_elsewhere:
            self._varied_elsewhere = reason
            if self._editor is not None:
                self._show_varied()

    def _show_varied(self) -> None:
        self.editor.setEnabled(not self._varied_elsewhere)
        self._label.setEnabled(not self._varied_elsewhere)
        self.setToolTip(self._varied_elsewhere)

    def _show_reset(self) -> None:
        if self._editor is None:
            return
        changed = self.is_changed()
        if changed or self._reset_button is not None:
            self.reset_button.setVisible(changed)
            back = self.baseline_sweep or self._text(self.baseline) or "empty"
            self.reset_button.setToolTip(f"Back to {back}")

    def refresh_visibility(self) -> None:
        """Be there only if the setting has an effect and is not folded away, or is what is searched for."""
        found = not (self.folded and not self.problem) if self.sought is None else self.sought
        shown = self.relevant and found
        if shown and self.is_open:
            self.build()
        if shown != self._shown:
            self._shown = shown
            self.setVisible(shown)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Be complete when seen."""
        self.build()
        super().showEvent(event)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and getattr(self, "_editor", None) is not None:
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

    def shown(self, value: Any) -> str:
        """A value of the setting as people read it: "NEFT (CARTL)", "8/255", "on"."""
        return self._text(value)

    def _browse(self) -> None:
        line = self.line()
        if line is None:
            return
        if self.spec.kind == "start":
            chosen, _kind = QFileDialog.getOpenFileName(self, self.spec.title, line.text(), WEIGHTS)
        else:
            chosen = QFileDialog.getExistingDirectory(self, self.spec.title, line.text())
        if chosen:
            line.setText(chosen)
