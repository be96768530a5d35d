"""The set-up form of one run, built from the settings' classes: sections with switches, groups, rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QToolButton, QVBoxLayout, QWidget

from cartl_gui import theme, words
from cartl_gui.forms.fields import FieldRow, FieldSpec, specs_of
from cartl_gui.widgets import ElidedLabel, WrappedLabel
from engine.config import STAGES, RunConfig, Settings, problems_of
from engine.errors import Problem

#: Sections of the form: key, title, settings of the run that it holds.
SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("run", "Run", ("name", "seed", "start_from")),
    ("data", "Data and model", ("model", "source", "target")),
    ("pretraining", "1  Pre-training", ("pretraining",)),
    ("finetuning", "2  Transfer", ("finetuning",)),
    ("attack", "3  Attack", ("attack",)),
    ("machine", "Machine and measuring", ("machine", "inspection")),
)


class FieldGroup(QWidget):
    """The rows of one settings class, its groups below them, and a fold for advanced settings."""

    changed = Signal()

    def __init__(self, spec: FieldSpec | None, model: type[Settings], place: str, *, titled: bool) -> None:
        super().__init__()
        self.spec, self.model, self.place = spec, model, place
        self.relevant = True
        self.rows: dict[str, FieldRow] = {}
        self.groups: dict[str, FieldGroup] = {}
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
        for child in sorted(specs_of(model), key=lambda spec: spec.name != "method"):
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
        self._unfold(False)

    def all_rows(self) -> Iterator[FieldRow]:
        """This group's rows and those of the groups in it."""
        yield from self.rows.values()
        for group in self.groups.values():
            yield from group.all_rows()

    def set_values(self, values: Mapping[str, Any], baseline: Mapping[str, Any]) -> None:
        """Show values, with those to which "reset" goes back."""
        for name, row in self.rows.items():
            row.baseline = baseline.get(name, row.spec.default)
            row.set_value(values.get(name, row.baseline))
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
        self.refresh()
        self.changed.emit()

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


class ConfigForm(QWidget):
    """All settings of one run. `config()` is None while something cannot be used."""

    changed = Signal()
    focused = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.problems: list[Problem] = []
        self._config: RunConfig | None = None
        self._carried: dict[str, Any] = {}
        self._loading = False
        self.sections: dict[str, Section] = {}
        self.rows: dict[str, FieldRow] = {}
        self.groups: dict[str, FieldGroup] = {}
        specs = {spec.name: spec for spec in specs_of(RunConfig)}
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 2, 6, 6)
        column.setSpacing(2)
        self._general = WrappedLabel("error")
        self._general.hide()
        column.addWidget(self._general)
        for key, title, names in SECTIONS:
            section = self.sections[key] = Section(key, title, has_switch=key in STAGES)
            for name in names:
                self._add(section, specs[name], titled=len(names) > 1)
            column.addWidget(section)
        self._inherited = WrappedLabel("muted")
        self.sections["data"].content.insertWidget(0, self._inherited)
        column.addStretch(1)
        for stage in STAGES:
            switch = self.sections[stage].switch
            if switch is not None:
                switch.toggled.connect(self._edited)
        for row in self.all_rows():
            row.focused.connect(self.focused)
        self.sections["run"].set_open(True)

    def _add(self, section: Section, spec: FieldSpec, *, titled: bool) -> None:
        if spec.model is not None:
            group = self.groups[spec.name] = FieldGroup(spec, spec.model, spec.name, titled=titled)
            group.changed.connect(self._edited)
            section.content.addWidget(group)
            return
        row = self.rows[spec.name] = FieldRow(spec, spec.name)
        row.changed.connect(self._edited)
        section.content.addWidget(row)

    def all_rows(self) -> Iterator[FieldRow]:
        """Every row of the form."""
        yield from self.rows.values()
        for group in self.groups.values():
            yield from group.all_rows()

    def set_values(self, values: Mapping[str, Any], baseline: Mapping[str, Any] | None = None) -> None:
        """Show the settings of a run; "reset" goes back to `baseline`, else to these values."""
        base = values if baseline is None else baseline
        self._loading = True
        for name, row in self.rows.items():
            row.baseline = base.get(name, row.spec.default)
            row.set_value(values.get(name, row.baseline))
        for name, group in self.groups.items():
            fallback = base.get(name) or _defaults(group.model)
            group.set_values(values.get(name) or fallback, fallback)
        self._carried = {name: values.get(name) for name in ("model", "source", "target")}
        self._carried["start_from"] = values.get("start_from", "")
        for stage in STAGES:
            switch = self.sections[stage].switch
            if switch is not None:
                switch.setChecked(values.get(stage) is not None)
        self._loading = False
        self._edited()

    def values(self) -> dict[str, Any]:
        """What is typed, as a nested dictionary; may hold text that cannot be used."""
        found: dict[str, Any] = {name: row.value() for name, row in self.rows.items()}
        on = {stage: self._is_on(stage) for stage in STAGES}
        same_start = found["start_from"] == self._carried.get("start_from")
        if on["pretraining"]:
            found["start_from"] = ""
        for name in ("model", "source"):
            kept = self._carried.get(name) if same_start else None
            found[name] = self.groups[name].values() if on["pretraining"] else kept
        kept = self._carried.get("target") if not on["pretraining"] else None
        found["target"] = self.groups["target"].values() if on["finetuning"] else kept
        for stage in STAGES:
            found[stage] = self.groups[stage].values() if on[stage] else None
        for name in ("machine", "inspection"):
            found[name] = self.groups[name].values()
        return found

    def config(self) -> RunConfig | None:
        """The settings, or None while something cannot be used."""
        return self._config

    def set_varied(self, paths: Iterable[tuple[str, ...]]) -> None:
        """Leave these settings, or the tables at these places, to the grid."""
        varied = set(paths)
        for row in self.all_rows():
            keys = tuple(row.place.split("."))
            row.set_varied(any(keys[:depth] in varied for depth in range(1, len(keys) + 1)))

    def set_starts(self, names: list[tuple[str, str]]) -> None:
        """Offer runs to start from."""
        self.rows["start_from"].set_starts(names)

    def reveal(self, place: str) -> FieldRow | None:
        """Unfold the section of a setting and put the cursor there."""
        row = self._row_at(place)
        for key, _title, names in SECTIONS:
            if place.partition(".")[0] in names:
                self.sections[key].set_open(True)
        if row is not None:
            row.editor.setFocus(Qt.FocusReason.OtherFocusReason)
        return row

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_inherited"):
            for section in self.sections.values():
                section.set_open(section.header.isChecked())
            for group in self.findChildren(FieldGroup):
                group._unfold(group._fold.isChecked())

    def _is_on(self, stage: str) -> bool:
        switch = self.sections[stage].switch
        return switch is not None and switch.isChecked()

    def _edited(self) -> None:
        if self._loading:
            return
        pretrains, transfers = self._is_on("pretraining"), self._is_on("finetuning")
        self.rows["start_from"].relevant = not pretrains
        self.rows["start_from"].refresh_visibility()
        self.groups["model"].setVisible(pretrains)
        self.groups["source"].setVisible(pretrains)
        self.groups["target"].setVisible(transfers)
        for stage in STAGES:
            self.groups[stage].setEnabled(self._is_on(stage))
        self._inherited.setVisible(not pretrains)
        self._inherited.setText("Network and source data are those of the run it starts from.")
        self._check()
        self._summarise()
        self.changed.emit()

    def _check(self) -> None:
        problems: list[Problem] = []
        typed_wrong: set[str] = set()
        values = self.values()
        try:
            self._config = RunConfig.model_validate(values)
        except ValidationError as error:
            self._config = None
            problems = problems_of(error)
            typed_wrong = {
                ".".join(map(str, item["loc"])) for item in error.errors() if item["type"] != "value_error"
            }
        by_row: dict[str, str] = {}
        general: list[str] = []
        by_group: dict[str, str] = {}
        for problem in problems:
            row = self._row_at(problem.place)
            message = problem.message
            if row is not None and problem.place in typed_wrong or self._is_list_item(problem.place, row):
                assert row is not None
                typed = row.value()
                shown = f"got {typed!r}" if typed != "" else "the field is empty"
                message = f"expected {row.spec.expectation()}, {shown}"
            if row is not None and row.relevant:
                by_row.setdefault(row.place, message)
            elif problem.place.partition(".")[0] in self.groups:
                by_group.setdefault(problem.place.partition(".")[0], message)
            else:
                general.append(message)
        for row in self.all_rows():
            row.show_problem(_sentence(by_row.get(row.place, "")))
            row.refresh_visibility()
        for name, group in self.groups.items():
            group.show_problem(_sentence(by_group.get(name, "")))
        for group in self.groups.values():
            group.show_hints()
        for name, row in self.rows.items():
            row.show_hint(self._config.hints().get(name, "") if self._config is not None else "")
        self._general.setText("\n".join(map(_sentence, general)))
        self._general.setVisible(bool(general))
        self.problems = problems
        for key, _title, names in SECTIONS:
            places = {*by_row, *by_group}
            self.sections[key].show_problems(sum(place.partition(".")[0] in names for place in places))

    def _is_list_item(self, place: str, row: FieldRow | None) -> bool:
        return row is not None and row.spec.kind == "integers" and place != row.place

    def _row_at(self, place: str) -> FieldRow | None:
        found = next((row for row in self.all_rows() if row.place == place), None)
        if found is None and "." in place and place.rpartition(".")[2].isdigit():
            return self._row_at(place.rpartition(".")[0])
        return found

    def _summarise(self) -> None:
        config = self._config
        texts = dict.fromkeys(self.sections, "")
        if config is not None:
            texts["run"] = config.name
            data = [
                words.choice(part.name).partition(" (")[0] for part in (config.source, config.target) if part
            ]
            texts["data"] = ", ".join([" → ".join(data), *([config.model.title] if config.model else [])])
            for stage in ("pretraining", "finetuning"):
                part = getattr(config, stage)
                text = words.pretraining(config) if stage == "pretraining" else words.transfer(config)
                texts[stage] = f"{text}, {words.count(part.epochs, 'epoch')}" if part else "off"
            texts["attack"] = config.attack.title.partition(", 1")[0] if config.attack else "off"
            texts["machine"] = f"{words.choice(config.machine.device)}, {config.machine.precision}"
        for key, section in self.sections.items():
            section.summary.setText(texts[key])
            section.summary.setToolTip(texts[key])


def _defaults(model: type[Settings]) -> dict[str, Any]:
    return model().model_dump()


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] if text else ""
