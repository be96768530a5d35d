"""The set-up form of one run, built from the settings' classes: sections with switches, groups, rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from cartl_gui import words
from cartl_gui.files import is_weights_file
from cartl_gui.forms.fields import FieldRow
from cartl_gui.forms.groups import FieldGroup, Section
from cartl_gui.forms.specs import FieldSpec, specs_of
from cartl_gui.widgets import WrappedLabel
from engine.config import STAGES, RunConfig, Settings, problems_of
from engine.errors import Problem

#: Sections of the form: key, title, settings of the run that it holds.
SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("run", "Run", ("name", "seed", "start_from")),
    ("data", "Data and model", ("checkpoint", "model", "source", "target")),
    ("pretraining", "1  Pre-training", ("pretraining",)),
    ("finetuning", "2  Transfer", ("finetuning",)),
    ("attack", "3  Attack", ("attack",)),
    ("machine", "Machine and measuring", ("machine", "inspection")),
)


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
        self.foreign = QCheckBox("The file is of another program")
        self.foreign.setToolTip(specs["checkpoint"].help)
        self.foreign.toggled.connect(self._edited)
        for place, widget in enumerate((self._inherited, self.foreign)):
            self.sections["data"].content.insertWidget(place, widget)
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
        self.foreign.setChecked(values.get("checkpoint") is not None)
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
        foreign = self._is_foreign()
        found["checkpoint"] = self.groups["checkpoint"].values() if foreign else None
        if foreign:
            found["model"] = None
        kept = self._carried.get("target") if not on["pretraining"] else None
        found["target"] = self.groups["target"].values() if on["finetuning"] or foreign else kept
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

    def set_starts(self, names: list[tuple[str, str]], earlier: list[tuple[str, str]]) -> None:
        """Offer runs to start from, and earlier runs of the workspace on which perturbations may be made."""
        self.rows["start_from"].set_starts(names)
        self.groups["attack"].rows["surrogate"].set_starts(earlier)

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

    def _may_be_foreign(self) -> bool:
        """Whether the run does nothing but attack a file."""
        trains = self._is_on("pretraining") or self._is_on("finetuning")
        return not trains and is_weights_file(str(self.rows["start_from"].value()))

    def _is_foreign(self) -> bool:
        return self._may_be_foreign() and self.foreign.isChecked()

    def _edited(self) -> None:
        if self._loading:
            return
        pretrains, transfers = self._is_on("pretraining"), self._is_on("finetuning")
        foreign = self._is_foreign()
        self.rows["start_from"].relevant = not pretrains
        self.rows["start_from"].refresh_visibility()
        self.groups["model"].setVisible(pretrains)
        self.groups["source"].setVisible(pretrains)
        self.groups["target"].setVisible(transfers or foreign)
        self.groups["checkpoint"].setVisible(foreign)
        self.foreign.setVisible(self._may_be_foreign())
        for stage in STAGES:
            self.groups[stage].setEnabled(self._is_on(stage))
        self._inherited.setVisible(not pretrains and not foreign)
        start = "file" if is_weights_file(str(self.rows["start_from"].value())) else "run"
        inherited = "Network and source data" if transfers else "Network and data"
        self._inherited.setText(f"{inherited} are those of the {start} it starts from.")
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
            network = [config.model.title] if config.model else []
            if config.checkpoint and config.checkpoint.architecture:
                network = [words.choice(config.checkpoint.architecture).partition(" (")[0]]
            texts["data"] = ", ".join([*([" → ".join(data)] if data else []), *network])
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
