"""The set-up form of one run, built from the settings' classes: sections with switches, groups, rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from PySide6.QtCore import QCoreApplication, QEvent, Qt, Signal
from PySide6.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from cartl_gui import words
from cartl_gui.files import is_weights_file
from cartl_gui.forms.field_events import FieldEvents
from cartl_gui.forms.fields import FieldRow
from cartl_gui.forms.groups import FieldGroup, Section
from cartl_gui.forms.specs import FieldSpec, specs_of
from cartl_gui.widgets import WrappedLabel
from engine.config import STAGES, RunConfig, Settings, paths_of, problems_of
from engine.config.sweeps import write_sweep
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

#: So many of the values of a varied setting are told under it.
LISTED = 6
#: What stands in the section of a stage that is off.
_OFF = {
    "pretraining": "Off: the run takes the weights that it starts from.",
    "finetuning": "Off: the network is not transferred.",
    "attack": "Off: the network is not attacked.",
}


def section_of(place: str) -> str:
    """The key of the section that a setting stands in, empty if it stands in none."""
    first = place.partition(".")[0]
    return next((key for key, _title, names in SECTIONS if first in names), "")


class ConfigForm(QWidget):
    """All settings of one run. `config()` is None while something cannot be used.

    Args:
        judges: whether the form checks its settings itself; else whoever knows the whole study calls `show_judgement`.
    """

    #: Something was edited: the row, the place of a switch as text, or None for everything at once.
    edited = Signal(object)
    #: Everything that follows from an edit is shown.
    changed = Signal()
    #: Rows have made widgets, which come last for the Tab key.
    grown = Signal()

    def __init__(self, *, judges: bool = True) -> None:
        super().__init__()
        self.problems: list[Problem] = []
        self._config: RunConfig | None = None
        self._judges = judges
        self._carried: dict[str, Any] = {}
        self._loading = False
        self.events = FieldEvents(self)
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
            section.opened.connect(self._section_opened)
            column.addWidget(section)
        self._inherited = WrappedLabel("muted")
        self.foreign = QCheckBox("The file is of another program")
        self.foreign.setToolTip(specs["checkpoint"].help)
        self.foreign.toggled.connect(self._switched)
        for place, widget in enumerate((self._inherited, self.foreign)):
            self.sections["data"].content.insertWidget(place, widget)
        column.addStretch(1)
        self._off: dict[str, WrappedLabel] = {}
        for stage in STAGES:
            switch = self.sections[stage].switch
            if switch is not None:
                switch.setObjectName(stage)
                switch.toggled.connect(self._switched)
            self._off[stage] = WrappedLabel("muted")
            self._off[stage].setText(_OFF[stage])
            self.sections[stage].content.addWidget(self._off[stage])
        self.foreign.setObjectName("checkpoint")
        self._by_place = {row.place: row for row in self.all_rows()}
        self.events.left.connect(self._left)
        self.rows["start_from"].relevant = False
        self.sections["run"].set_open(True)

    def _add(self, section: Section, spec: FieldSpec, *, titled: bool) -> None:
        if spec.model is not None:
            group = self.groups[spec.name] = FieldGroup(
                spec, spec.model, spec.name, titled=titled, events=self.events, lazy=True
            )
            group.changed.connect(self._row_changed)
            section.content.addWidget(group)
            return
        row = self.rows[spec.name] = FieldRow(spec, spec.name, events=self.events, lazy=True)
        row.changed.connect(self._own_row_changed)
        section.content.addWidget(row)

    def all_rows(self) -> Iterator[FieldRow]:
        """Every row of the form."""
        yield from self.rows.values()
        for group in self.groups.values():
            yield from group.all_rows()

    def row_at(self, place: str) -> FieldRow | None:
        """The row of a setting by its dotted name, or of the list that an item with a number belongs to."""
        found = self._by_place.get(place)
        if found is None and "." in place and place.rpartition(".")[2].isdigit():
            return self.row_at(place.rpartition(".")[0])
        return found

    # values ---------------------------------------------------------------------------------------------
    def set_values(self, values: Mapping[str, Any], baseline: Mapping[str, Any] | None = None) -> None:
        """Show the settings of a run; "reset" goes back to `baseline`, else to these values."""
        base = values if baseline is None else baseline
        self._loading = True
        for name, row in self.rows.items():
            row.load(values.get(name, base.get(name, row.spec.default)), base.get(name, row.spec.default))
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
        self._edited(None)

    def values(self) -> dict[str, Any]:
        """What is typed, as a nested dictionary; may hold text that cannot be used."""
        found: dict[str, Any] = {name: row.value() for name, row in self.rows.items()}
        on = {stage: self.is_on(stage) for stage in STAGES}
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

    def set_varied(self, reasons: Mapping[tuple[str, ...], str]) -> None:
        """Leave these settings, or the tables at these places, to what varies them: place -> reason in words."""
        for row in self.all_rows():
            keys = tuple(row.place.split("."))
            found = (reasons.get(keys[:depth], "") for depth in range(1, len(keys) + 1))
            row.set_varied(next(filter(None, found), ""))

    def set_starts(self, names: list[tuple[str, str]], earlier: list[tuple[str, str]]) -> None:
        """Offer runs to start from, and earlier runs of the workspace on which perturbations may be made."""
        self.rows["start_from"].set_starts(names)
        self.groups["attack"].rows["surrogate"].set_starts(earlier)

    def refresh(self) -> None:
        """Show the settings that have an effect, after rows were filled without telling."""
        self._show_groups()

    def set_baseline_sweeps(self, axes: Mapping[str, Any]) -> None:
        """Let "reset" of varied settings go back to the values that the study came with: axis -> its values."""
        texts = {
            ".".join(path): write_sweep(values)
            for name, values in axes.items()
            if isinstance(values, list)
            for path in paths_of(name)
        }
        for row in self.all_rows():
            row.set_baseline_sweep(texts.get(row.place, ""))

    # finding --------------------------------------------------------------------------------------------
    def reveal(self, place: str) -> FieldRow | None:
        """Unfold the section of a setting and put the cursor there; everything then stands where it will stay."""
        row = self.row_at(place)
        if (key := section_of(place)) in self.sections:
            self.sections[key].set_open(True)
        if row is not None:
            if row.folded:
                group = self._group_of(row)
                if group is not None:
                    group.unfold()
            row.editor.setFocus(Qt.FocusReason.OtherFocusReason)
        QCoreApplication.sendPostedEvents(None, QEvent.Type.LayoutRequest)
        return row

    def seek(self, text: str) -> tuple[int, int]:
        """Show only the settings whose title, name or help has all the words; empty text shows all again.

        Returns:
            How many are shown, and how many more were found that have no effect with what is chosen now.
        """
        wanted = text.lower().split()
        shown = hidden = 0
        for row in self.all_rows():
            row.sought = None
            if wanted:
                about = f"{row.spec.title} {row.place} {row.spec.symbol} {row.spec.help}".lower()
                row.sought = all(word in about for word in wanted)
        for key, _title, names in SECTIONS:
            section = self.sections[key]
            has_any = False
            for name in names:
                group = self.groups.get(name)
                rows = list(group.all_rows()) if group is not None else [self.rows[name]]
                there = self._is_there(name)
                found = [row for row in rows if row.sought]
                visible = sum(there and self._has_effect(row) for row in found)
                shown, hidden = shown + visible, hidden + len(found) - visible
                has_any = has_any or visible > 0
            section.setVisible(has_any or not wanted)
            section.show_found(has_any if wanted else None)
        self._show_groups()
        return shown, hidden

    def _is_there(self, name: str) -> bool:
        """Whether a part of the run has an effect with the stages that are on."""
        if name in self.groups:
            return self._group_is_there(name)
        return self.rows[name].relevant

    def _has_effect(self, row: FieldRow) -> bool:
        group = self._group_of(row)
        while group is not None:
            if not group.relevant:
                return False
            outer = group.parentWidget()
            group = outer if isinstance(outer, FieldGroup) else None
        return row.relevant

    def _group_of(self, row: FieldRow) -> FieldGroup | None:
        holder = row.parentWidget()
        return holder if isinstance(holder, FieldGroup) else None

    # editing --------------------------------------------------------------------------------------------
    def _section_opened(self, on: bool) -> None:
        section = self.sender()
        assert isinstance(section, Section)
        for name in next(names for key, _title, names in SECTIONS if key == section.key):
            if name in self.groups:
                self.groups[name].set_open(on)
            else:
                self.rows[name].is_open = on
                self.rows[name].refresh_visibility()
        self._tell_grown()

    def _tell_grown(self) -> None:
        if self.events.has_new:
            self.events.has_new = False
            self.grown.emit()

    def _left(self, row: FieldRow) -> None:
        row.end_sweep()

    def _row_changed(self, row: FieldRow) -> None:
        self._edited(row)

    def _own_row_changed(self) -> None:
        self._edited(self.sender())

    def _switched(self) -> None:
        self._edited(self.sender().objectName())

    def is_on(self, stage: str) -> bool:
        """Whether the run has a stage."""
        switch = self.sections[stage].switch
        return switch is not None and switch.isChecked()

    def _may_be_foreign(self) -> bool:
        """Whether the run does nothing but attack a file."""
        trains = self.is_on("pretraining") or self.is_on("finetuning")
        return not trains and is_weights_file(str(self.rows["start_from"].value()))

    def _is_foreign(self) -> bool:
        return self._may_be_foreign() and self.foreign.isChecked()

    def _group_is_there(self, name: str) -> bool:
        pretrains, foreign = self.is_on("pretraining"), self._is_foreign()
        there = {
            "model": pretrains,
            "source": pretrains,
            "target": self.is_on("finetuning") or foreign,
            "checkpoint": foreign,
        }
        return self.is_on(name) if name in STAGES else there.get(name, True)

    def _show_groups(self) -> None:
        pretrains, foreign = self.is_on("pretraining"), self._is_foreign()
        self.rows["start_from"].relevant = not pretrains
        for row in self.rows.values():
            row.refresh_visibility()
        for name, group in self.groups.items():
            group.refresh()
            group.setVisible(self._group_is_there(name) and group.has_found())
        searching = self.rows["name"].sought is not None
        self.foreign.setVisible(self._may_be_foreign() and not searching)
        for stage in STAGES:
            self._off[stage].setVisible(not self.is_on(stage))
        self._inherited.setVisible(not pretrains and not foreign and not searching)
        start = "file" if is_weights_file(str(self.rows["start_from"].value())) else "run"
        inherited = "Network and source data" if self.is_on("finetuning") else "Network and data"
        self._inherited.setText(f"{inherited} are those of the {start} it starts from.")

    def _edited(self, source: object) -> None:
        if self._loading:
            return
        self._show_groups()
        if self._judges:
            try:
                self.show_judgement(RunConfig.model_validate(self.values()))
            except ValidationError as error:
                self.show_judgement(error)
        self.edited.emit(source)
        self._tell_grown()
        self.changed.emit()

    # what is wrong --------------------------------------------------------------------------------------
    def show_judgement(
        self,
        judged: RunConfig | ValidationError,
        beside: Sequence[Problem] = (),
        given: Iterable[tuple[str, ...]] = (),
    ) -> None:
        """Show beside each setting what is wrong with it, or what follows from it.

        Args:
            judged: the settings, or why they cannot be used.
            beside: what is wrong between settings that this kept from being compared.
            given: settings that the grid gives; what is wrong with those is told where they are varied.
        """
        self._config = judged if isinstance(judged, RunConfig) else None
        problems: list[tuple[Problem, bool]] = []
        if isinstance(judged, ValidationError):
            typed_wrong = {
                ".".join(map(str, item["loc"])) for item in judged.errors() if item["type"] != "value_error"
            }
            varied = {".".join(path) for path in given}
            problems = [
                (problem, problem.place in typed_wrong)
                for problem in [*problems_of(judged), *beside]
                if problem.place not in varied
            ]
        by_row: dict[str, str] = {}
        by_group: dict[str, str] = {}
        general: list[str] = []
        for problem, is_typed_wrong in problems:
            row = self.row_at(problem.place)
            message = problem.message
            if row is not None and (is_typed_wrong or _is_list_item(problem.place, row)):
                typed = row.typed().strip()
                shown = repr(typed) if isinstance(row.value(), str) else typed
                message = (
                    f"expected {row.spec.expectation()}, {f'got {shown}' if typed else 'the field is empty'}"
                )
            if row is not None and row.relevant:
                by_row.setdefault(row.place, message)
            elif problem.place.partition(".")[0] in self.groups:
                by_group.setdefault(problem.place.partition(".")[0], message)
            else:
                general.append(message)
        for row in self.all_rows():
            text = row.sweep_problem or by_row.get(row.place, "")
            if text:
                by_row.setdefault(row.place, text)
            row.show_problem(_sentence(text))
            row.refresh_visibility()
        for name, group in self.groups.items():
            group.show_problem(_sentence(by_group.get(name, "")))
            group.show_hints(getattr(self._config, name, None))
        hints = self._config.hints() if self._config is not None else {}
        for name, row in self.rows.items():
            if row.sweep_text is None:
                row.show_hint(hints.get(name, ""))
        self._general.setText("\n".join(map(_sentence, general)))
        self._general.setVisible(bool(general))
        self.problems = [problem for problem, _typed in problems]
        self._summarise()
        for key, _title, names in SECTIONS:
            places = {*by_row, *by_group}
            self.sections[key].show_problems(sum(place.partition(".")[0] in names for place in places))

    def show_sweeps(self, problems: Mapping[str, str], amount: str) -> None:
        """Say under each varied setting what its values are and what they make, or why they cannot be used.

        Args:
            problems: place of a setting -> what is wrong with its values.
            amount: what the study amounts to, such as "8 runs"; empty while that is not known.
        """
        for row in self.all_rows():
            if row.sweep_text is None:
                continue
            if row.place in problems:
                row.show_problem(_sentence(problems[row.place]))
            values = row.values or []
            shown = [row.shown(value).partition(" (")[0] for value in values[:LISTED]]
            listed = ", ".join(shown) + (", …" if len(values) > LISTED else "")
            row.show_hint(
                f"{words.count(len(values), 'value')}: {listed}{f' → {amount}' if amount else ''}"
                if values and not row.problem
                else ""
            )
            row.refresh_visibility()

    def show_changes(self, places: Sequence[str]) -> None:
        """Say in the head of each section how many of its settings were changed."""
        for key, section in self.sections.items():
            section.show_changes(sum(section_of(place) == key for place in places))

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
            if section.summary.text() != texts[key]:
                section.summary.setText(texts[key])
                section.summary.setToolTip(texts[key])


def _is_list_item(place: str, row: FieldRow) -> bool:
    return row.spec.kind == "integers" and place != row.place


def _defaults(model: type[Settings]) -> dict[str, Any]:
    return model().model_dump()


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] if text else ""
