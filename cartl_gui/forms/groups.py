"""Parts of a form: the rows of one settings class with its groups, and sections that fold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QToolButton, QVBoxLayout, QWidget

from cartl_gui import theme
from cartl_gui.forms.fields import FieldRow
from cartl_gui.forms.specs import FieldSpec, specs_of
from cartl_gui.widgets import ElidedLabel, WrappedLabel
from engine.config import Settings


class FieldGroup(QWidget):
    """The rows of one settings class, its groups below them, and a fold for advanced settings."""

    changed = Signal()

    def __init__(self, spec: FieldSpec | None, model: type[Settings], place: str, *, titled: bool) -> None:
        super().__init__()
        self.spec, self.model, self.place = spec, model, place
        self.relevant = True
        self.rows: dict[str, FieldRow] = {}
        self.groups: dict[str, FieldGroup] = {}
        self._usual: dict[str, Any] = {}
        self._following = False
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 2, 0, 2)
        self._column.setSpacing(1)
        if titled and spec is not None:
            title = QLabel(spec.title)
            title.setProperty("role", "heading")
            title.setToolTip(spec.help)
            title.setContentsMargins(0, 6, 0, 1)
            self._column.addWidget(title)
        self._error = WrappedLabel("error")
        self._error.hide()
        self._column.addWidget(self._error)
        prefix = f"{place}." if place else ""
        for child in sorted(specs_of(model), key=lambda spec: spec.name not in ("method", "name")):
            if child.kind == "group" and child.model is not None:
                self.groups[child.name] = FieldGroup(child, child.model, prefix + child.name, titled=True)
            else:
                row = self.rows[child.name] = FieldRow(child, prefix + child.name)
                row.folded = child.advanced
                row.changed.connect(self._row_changed)
                self._column.addWidget(row)
        self._fold = QToolButton()
        self._fold.setProperty("quiet", "true")
        self._fold.setText("More settings")
        self._fold.setAccessibleName(f"More settings of {spec.title if spec else 'the run'}")
        self._fold.setCheckable(True)
        self._fold.setIconSize(QSize(12, 12))
        self._fold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._fold.toggled.connect(self._unfold)
        self._column.addWidget(self._fold)
        for group in self.groups.values():
            group.changed.connect(self.changed)
            self._column.addWidget(group)
        self._usual, self._following = self._usual_now(), True
        self._unfold(False)

    def all_rows(self) -> Iterator[FieldRow]:
        """This group's rows and those of the groups in it."""
        yield from self.rows.values()
        for group in self.groups.values():
            yield from group.all_rows()

    def set_values(self, values: Mapping[str, Any], baseline: Mapping[str, Any]) -> None:
        """Show values, with those to which "reset" goes back."""
        self._following = False
        for name, row in self.rows.items():
            row.baseline = baseline.get(name, row.spec.default)
            row.set_value(values.get(name, row.baseline))
        self._usual, self._following = self._usual_now(), True
        for name, group in self.groups.items():
            base = baseline.get(name) or {}
            group.set_values(values.get(name) or base, base)
        self.refresh()

    def values(self) -> dict[str, Any]:
        """What is typed; settings without effect keep the value the form was opened with."""
        found: dict[str, Any] = {
            name: row.value() if row.relevant else row.baseline for name, row in self.rows.items()
        }
        for name, group in self.groups.items():
            found[name] = group.values() if group.relevant else group.baseline()
        return found

    def baseline(self) -> dict[str, Any]:
        """The values the form was opened with."""
        found: dict[str, Any] = {name: row.baseline for name, row in self.rows.items()}
        found.update({name: group.baseline() for name, group in self.groups.items()})
        return found

    def refresh(self) -> None:
        """Show the settings that have an effect with what is chosen now."""
        chosen = {name: row.value() for name, row in self.rows.items()}
        has_fold = False
        for row in self.rows.values():
            row.relevant = _applies(row.spec, chosen)
            row.folded = row.spec.advanced and not self._fold.isChecked()
            row.refresh_visibility()
            has_fold = has_fold or (row.spec.advanced and row.relevant)
        self._fold.setVisible(has_fold)
        for group in self.groups.values():
            group.relevant = group.spec is None or _applies(group.spec, chosen)
            group.setVisible(group.relevant)
            group.refresh()

    def show_hints(self) -> None:
        """Show what follows from the settings beside those that can be used."""
        try:
            hints = self.model.model_validate(self.values()).hints()
        except ValidationError:
            hints = {}
        for name, row in self.rows.items():
            row.show_hint("" if row.problem else hints.get(name, ""))
        for group in self.groups.values():
            group.show_hints()

    def show_problem(self, text: str) -> None:
        """Show a problem that belongs to no single row."""
        self._error.setText(text)
        self._error.setVisible(bool(text))

    def _row_changed(self) -> None:
        if not self._following:
            return
        self._follow()
        self.refresh()
        self.changed.emit()

    def _usual_now(self) -> dict[str, Any]:
        """What each setting is when left out, beside the choices made now."""
        chosen = {name: row.value() for name, row in self.rows.items() if row.spec.kind == "choice"}
        return {name: row.spec.default for name, row in self.rows.items()} | self.model.defaults(chosen)

    def _follow(self) -> None:
        """Let settings that still are as usual stay so when a choice changes what is usual."""
        self._following = False
        while (usual := self._usual_now()) != self._usual:
            before, self._usual = self._usual, usual
            for name, row in self.rows.items():
                if row.same(usual[name], before[name]):
                    continue
                if row.same(row.value(), before[name]):
                    row.set_value(usual[name])
                if row.same(row.baseline, before[name]):
                    row.set_baseline(usual[name])
        self._following = True

    def _unfold(self, on: bool) -> None:
        self._fold.setIcon(theme.icon("down" if on else "right", theme.scheme().muted))
        self.refresh()


def _applies(spec: FieldSpec, chosen: Mapping[str, Any]) -> bool:
    return all(chosen.get(name) in values for name, values in spec.shown_if.items())


class Section(QWidget):
    """A part of the form that folds: title, summary, number of problems and, for a stage, its switch."""

    def __init__(self, key: str, title: str, *, has_switch: bool) -> None:
        super().__init__()
        self.key = key
        self.header = QToolButton()
        self.header.setProperty("section", "true")
        self.header.setText(title)
        self.header.setCheckable(True)
        self.header.setAccessibleName(f"Section {title}")
        self.header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.header.setIconSize(QSize(14, 14))
        self.header.toggled.connect(self.set_open)
        self.summary = ElidedLabel()
        self.summary.setProperty("role", "muted")
        self.summary.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.count = QLabel()
        self.count.setProperty("role", "error")
        self.count.hide()
        self.switch: QCheckBox | None = QCheckBox() if has_switch else None
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 2, 0)
        row.setSpacing(8)
        row.addWidget(self.header)
        row.addWidget(self.summary, 1)
        row.addWidget(self.count)
        if self.switch is not None:
            self.switch.setAccessibleName(f"Stage {title}")
            self.switch.setToolTip("Whether the run has this stage")
            row.addWidget(self.switch)
        self.body = QWidget()
        self.content = QVBoxLayout(self.body)
        self.content.setContentsMargins(10, 0, 2, 8)
        self.content.setSpacing(2)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(row)
        column.addWidget(self.body)
        self.set_open(False)

    def set_open(self, on: bool) -> None:
        """Unfold or fold the section."""
        if self.header.isChecked() != on:
            self.header.setChecked(on)
            return
        self.header.setIcon(theme.icon("down" if on else "right", theme.scheme().muted))
        self.body.setVisible(on)

    def show_problems(self, amount: int) -> None:
        """Say how many settings of the section cannot be used."""
        self.count.setText(f"{amount} to mend")
        self.count.setVisible(amount > 0)
        if amount:
            self.summary.setText("")
