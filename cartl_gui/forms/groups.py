"""Parts of a form: the rows of one settings class with its groups, and sections that fold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError
from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from cartl_gui import theme
from cartl_gui.forms.field_events import FieldEvents
from cartl_gui.forms.fields import FieldRow
from cartl_gui.forms.specs import FieldSpec, specs_of
from cartl_gui.widgets import ElidedLabel, WrappedLabel
from engine.config import Settings


class FieldGroup(QWidget):
    """The rows of one settings class, its groups below them, and a fold for advanced settings."""

    #: Comes with the row that was changed.
    changed = Signal(object)

    def __init__(
        self, spec: FieldSpec | None, model: type[Settings], place: str,
        *, titled: bool, events: FieldEvents | None = None, lazy: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.spec, self.model, self.place = spec, model, place
        self.relevant = True
        self.rows: dict[str, FieldRow] = {}
        self.groups: dict[str, FieldGroup] = {}
        self._usual: dict[str, Any] = {}
        self._following = False
        self._is_unfolded = False
        self._titled = titled
        self._fold: QToolButton | None = None
        self._error: WrappedLabel | None = None
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 2, 0, 2)
        self._column.setSpacing(1)
        prefix = f"{place}." if place else ""
        for child in sorted(specs_of(model), key=lambda spec: spec.name not in ("method", "name")):
            if child.kind == "group" and child.model is not None:
                self.groups[child.name] = FieldGroup(
                    child, child.model, prefix + child.name, titled=True, events=events, lazy=lazy
                )
            else:
                row = self.rows[child.name] = FieldRow(child, prefix + child.name, events=events, lazy=lazy)
                row.folded = child.advanced
                row.changed.connect(self._row_changed)
                self._column.addWidget(row)
        for group in self.groups.values():
            group.changed.connect(self.changed)
            self._column.addWidget(group)
        self._usual, self._following = self._usual_now(), True
        if not lazy:
            self.set_open(True)

    def set_open(self, on: bool) -> None:
        """Have everything there that is to be seen while the section is open."""
        if on and self._fold is None and any(row.spec.advanced for row in self.rows.values()):
            self._make_fold()
        if on and self._titled and self.spec is not None:
            self._titled = False
            title = QLabel(self.spec.title)
            title.setProperty("role", "heading")
            title.setToolTip(self.spec.help)
            title.setContentsMargins(0, 6, 0, 1)
            self._column.insertWidget(0, title)
        for row in self.rows.values():
            row.is_open = on
        for group in self.groups.values():
            group.set_open(on)
        self.refresh()

    def all_rows(self) -> Iterator[FieldRow]:
        """This group's rows and those of the groups in it."""
        yield from self.rows.values()
        for group in self.groups.values():
            yield from group.all_rows()

    def all_groups(self) -> Iterator[FieldGroup]:
        """This group and those in it."""
        yield self
        for group in self.groups.values():
            yield from group.all_groups()

    def set_values(self, values: Mapping[str, Any], baseline: Mapping[str, Any]) -> None:
        """Show values, with those to which "reset" goes back."""
        self._following = False
        for name, row in self.rows.items():
            base = baseline.get(name, row.spec.default)
            row.load(values.get(name, base), base)
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
        chosen = self._chosen()
        has_fold = False
        for row in self.rows.values():
            row.relevant = _applies(row.spec, chosen)
            row.folded = row.spec.advanced and not self._is_unfolded
            row.refresh_visibility()
            has_fold = has_fold or (row.spec.advanced and row.relevant and row.sought is None)
        if self._fold is not None:
            self._fold.setVisible(has_fold)
        for group in self.groups.values():
            group.relevant = group.spec is None or _applies(group.spec, chosen)
            group.refresh()
            group.setVisible(group.relevant and group.has_found())

    def has_found(self) -> bool:
        """Whether a search for settings leaves anything of the group; True while nothing is searched for."""
        return any(row.sought is not False and row.relevant for row in self.rows.values()) or any(
            group.relevant and group.has_found() for group in self.groups.values()
        )

    def show_hints(self, settings: Settings | None = None) -> None:
        """Show what follows from the settings beside those that can be used.

        Args:
            settings: those that are shown here, if they were checked already.
        """
        hints: dict[str, str] = {}
        if settings is None and self.model.hints is not Settings.hints:
            with suppress(ValidationError):
                settings = self.model.model_validate(self.values())
        if settings is not None:
            hints = settings.hints()
        for name, row in self.rows.items():
            if row.sweep_text is None:
                row.show_hint("" if row.problem else hints.get(name, ""))
        for name, group in self.groups.items():
            group.show_hints(getattr(settings, name, None))

    def show_problem(self, text: str) -> None:
        """Show a problem that belongs to no single row."""
        if self._error is None:
            if not text:
                return
            self._error = WrappedLabel("error")
            self._column.insertWidget(0, self._error)
        self._error.setText(text)
        self._error.setVisible(bool(text))

    def recolour(self) -> None:
        """Follow a change of the theme."""
        if self._fold is not None:
            self._fold.setIcon(theme.icon("down" if self._is_unfolded else "right", theme.scheme().muted))

    def _row_changed(self) -> None:
        if not self._following:
            return
        self._follow()
        self.refresh()
        self.changed.emit(self.sender())

    def _chosen(self) -> dict[str, list[Any]]:
        """The choices and switches on which other settings depend; several values where they are varied."""
        return {
            name: list(row.values or [row.value()])
            for name, row in self.rows.items()
            if row.spec.kind in ("choice", "switch")
        }

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
                if row.same(usual[name], before[name]) or row.sweep_text is not None:
                    continue
                if row.same(row.value(), before[name]):
                    row.set_value(usual[name])
                if row.same(row.baseline, before[name]):
                    row.set_baseline(usual[name])
        self._following = True

    def _make_fold(self) -> None:
        fold = self._fold = QToolButton()
        fold.setProperty("quiet", "true")
        fold.setText("More settings")
        fold.setAccessibleName(f"More settings of {self.spec.title if self.spec else 'the run'}")
        fold.setCheckable(True)
        fold.setIconSize(QSize(12, 12))
        fold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        fold.toggled.connect(self._unfold)
        self._column.insertWidget(len(self.rows), fold)
        self.recolour()

    def unfold(self) -> None:
        """Show the advanced settings too."""
        self.set_open(True)
        if self._fold is not None:
            self._fold.setChecked(True)

    def _unfold(self, on: bool) -> None:
        self._is_unfolded = on
        self.recolour()
        self.refresh()


def _applies(spec: FieldSpec, chosen: Mapping[str, list[Any]]) -> bool:
    return all(any(value in allowed for value in chosen[name]) for name, allowed in spec.shown_if.items())


class Section(QWidget):
    """A part of the form that folds: title, summary, number of problems and, for a stage, its switch."""

    #: It was unfolded (True) or folded.
    opened = Signal(bool)

    def __init__(self, key: str, title: str, *, has_switch: bool) -> None:
        super().__init__()
        self.key, self.title = key, title
        self._found: bool | None = None
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
        #: How many settings cannot be used, or were changed; made when there are any.
        self.count = QLabel()
        self.count.setProperty("role", "error")
        self.count.hide()
        self.changes = QLabel()
        self.changes.setProperty("role", "chip")
        self.changes.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Maximum)
        self.changes.hide()
        self.switch: QCheckBox | None = QCheckBox() if has_switch else None
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 2, 0)
        row.setSpacing(8)
        row.addWidget(self.header)
        row.addWidget(self.changes)
        row.addStretch(1)
        row.addWidget(self.summary, 100)
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
        self.body.hide()
        self.recolour()

    def is_open(self) -> bool:
        """Whether it is unfolded."""
        return self.header.isChecked()

    def set_open(self, on: bool) -> None:
        """Unfold or fold the section."""
        if self.header.isChecked() != on:
            self.header.setChecked(on)
            return
        self.recolour()
        self.opened.emit(on)
        self.body.setVisible(on)
        self._show_summary()

    def show_found(self, found: bool | None) -> None:
        """Have the body open for what a search found; None leaves it as it was before the search."""
        self._found = found
        on = self.is_open() if found is None else found
        self.recolour()
        self.opened.emit(on)
        self.body.setVisible(on)
        self._show_summary()

    def show_problems(self, amount: int) -> None:
        """Say how many settings of the section cannot be used."""
        self.count.setText(f"{amount} to mend")
        self.count.setVisible(amount > 0)
        self._show_summary()

    def _show_summary(self) -> None:
        """Sum up what is folded away; while it is open, or something has to be mended, that says it itself."""
        self.summary.setVisible(self.body.isHidden() and self.count.isHidden())

    def show_changes(self, amount: int) -> None:
        """Say how many settings of the section were changed."""
        self.changes.setText(f"{amount} changed")
        self.changes.setToolTip("Settings that differ from those the form was opened with")
        self.changes.setVisible(amount > 0)

    def recolour(self) -> None:
        """Follow a change of the theme."""
        on = self.is_open() if self._found is None else self._found
        picture = "down" if on else "right"
        self.header.setIcon(theme.icon(picture, theme.scheme().muted))

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "body"):
            self.recolour()
