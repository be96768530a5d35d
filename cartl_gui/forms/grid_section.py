"""The grid in the set-up form: seeds, and settings that take several values."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QEvent, QSize, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme, words
from cartl_gui.forms.field_events import FieldEvents
from cartl_gui.forms.groups import Section
from cartl_gui.forms.specs import spec_of
from cartl_gui.widgets import QuietCombo, WrappedLabel
from engine.config import STAGE_TITLES, BatchNormPolicy, StudyConfig, axes_for, field_at
from engine.config.sweeps import SweepError, parse_sweep, write_sweep

#: Axes that come first in the list, being those that papers vary.
COMMON = (
    "k", "finetuning.method", "pretraining.method", "finetuning.spectral_bound", "pretraining.feature_weight",
    "finetuning.feature_weight", "pretraining.kl_weight", "finetuning.batch_norm", "source.name", "target.name",
    "target.train_size", "attack.epsilon",
)  # fmt: skip
#: The two policies that the paper compares, as labelled values.
BATCH_NORM = "finetuning.batch_norm"
POLICIES = {
    "frozen BN": BatchNormPolicy().model_dump(),
    "free BN": dict.fromkeys(BatchNormPolicy.model_fields, False),
}
_PARTS = {"model": "Network", "source": "Source data", "target": "Target data", "machine": "Machine",
          "inspection": "Measuring", "training": "Training attack"}  # fmt: skip


@functools.cache
def axis_title(name: str) -> str:
    """What an axis is called in the form: "Transfer: Spectral bound (beta)"."""
    if name == "k":
        return "k, blocks to fine-tune"
    keys = name.split(".")
    parts = [
        {**STAGE_TITLES, **_PARTS}.get(keys[0], keys[0])
        if depth == 1
        else field_at(".".join(keys[:depth])).title
        for depth in range(1, len(keys))
    ]
    return ": ".join([*map(str, parts), str(field_at(name).title)])


class AxisRow(QWidget):
    """One setting with its values. Never changes what was typed."""

    changed = Signal()
    removed = Signal()

    def __init__(
        self, name: str, values: Any, offered: list[str], events: FieldEvents, *, shared: bool, many: bool
    ) -> None:
        super().__init__()
        self._events = events
        self.name = ""
        self._labelled: dict[str, Any] = {}
        self._boxes: list[QCheckBox] = []
        #: The values of a choice in the order typed, and what was typed in its field if that cannot be read.
        self._order: list[Any] = []
        self._unread = ""
        self.line = QLineEdit()
        self.setting = QuietCombo()
        self.setting.setAccessibleName("Setting to vary")
        self.setting.setMaxVisibleItems(24)
        for other in [*([name] if name not in offered else []), *offered]:
            self.setting.addItem(axis_title(other), other)
        self.setting.setCurrentIndex(self.setting.findData(name))
        self.setting.currentIndexChanged.connect(self._setting_chosen)
        self.scope = QuietCombo()
        self.scope.addItem("all runs", True)
        self.scope.addItem("this run", False)
        self.scope.setMinimumContentsLength(6)
        self.scope.setAccessibleName("Runs that it varies")
        self.scope.setToolTip(
            "Whether all runs of the study are varied, where the setting has an effect, or this one only"
        )
        self.scope.setCurrentIndex(0 if shared else 1)
        self.scope.setVisible(many)
        self.scope.currentIndexChanged.connect(self.changed)
        self.remove_button = QToolButton()
        self.remove_button.setProperty("quiet", "true")
        self.remove_button.setIcon(theme.icon("trash"))
        self.remove_button.setIconSize(QSize(16, 16))
        self.remove_button.setToolTip("Vary this setting no longer")
        self.remove_button.setAccessibleName("Remove this setting from the grid")
        self.remove_button.clicked.connect(self.removed)
        self._error = WrappedLabel("error")
        self._error.hide()
        top = QHBoxLayout()
        top.setContentsMargins(0, 0, 0, 0)
        top.setSpacing(4)
        top.addWidget(self.setting, 1)
        top.addWidget(self.scope)
        top.addWidget(self.remove_button)
        self._editor = QVBoxLayout()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 3, 0, 5)
        column.setSpacing(3)
        column.addLayout(top)
        column.addLayout(self._editor)
        column.addWidget(self._error)
        self._edit(name, values)

    def values(self) -> list[Any] | dict[str, Any] | str:
        """The values to take: a list, label -> value, or what was typed if that cannot be read."""
        if self._labelled:
            return {box.text(): self._labelled[box.text()] for box in self._boxes if box.isChecked()}
        if self._unread:
            return self._unread
        if self._boxes:
            ticked = [box.property("value") for box in self._boxes if box.isChecked()]
            return sorted(ticked, key=lambda value: self._order.index(value) if value in self._order else 99)
        try:
            return list(parse_sweep(self.line.text(), field_at(self.name)))
        except SweepError:
            return self.line.text()

    def text(self) -> str | None:
        """The values as they are typed in a field; None where they have labels."""
        values = self.values()
        if isinstance(values, str):
            return values
        if self._labelled or isinstance(values, dict):
            return None
        return write_sweep(values) if self._boxes else self.line.text()

    def put_text(self, text: str) -> None:
        """Take over what was typed in a field, without telling."""
        if not self._boxes:
            self.line.blockSignals(True)
            self.line.setText(text)
            self.line.blockSignals(False)
            return
        try:
            self._order, self._unread = list(parse_sweep(text, field_at(self.name))), ""
        except SweepError:
            self._unread = text
            return
        for box in self._boxes:
            box.blockSignals(True)
            box.setChecked(box.property("value") in self._order)
            box.blockSignals(False)

    def show_problem(self, text: str) -> None:
        """Show in red why the values cannot be used; empty text removes that."""
        self._error.setText(text)
        self._error.setVisible(bool(text))
        self.line.setProperty("bad", "true" if text else "false")
        self.line.style().unpolish(self.line)
        self.line.style().polish(self.line)

    @property
    def problem(self) -> str:
        """What is shown to be wrong."""
        return self._error.text()

    def _setting_chosen(self) -> None:
        self._edit(str(self.setting.currentData()), None)
        self.changed.emit()

    def _ticked(self) -> None:
        self._unread = ""
        self.changed.emit()

    def _edit(self, name: str, values: Any) -> None:
        """Show the editor that fits a setting; without values everything is ticked, or nothing typed yet."""
        while (item := self._editor.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        self.name, self._boxes, self._order, self._unread = name, [], [], ""
        spec = spec_of(name)
        if name == BATCH_NORM and values is None:
            values = POLICIES
        self._labelled = dict(values) if isinstance(values, dict) else {}
        if self._labelled:
            choices: dict[str, Any] = {label: label for label in self._labelled}
        elif spec.kind == "choice":
            choices = {words.choice(value).partition(" (")[0]: value for value in spec.choices}
        else:
            choices = {"on": True, "off": False} if spec.kind == "switch" else {}
        self.setting.setToolTip(f"<p>{spec.help}</p>")
        if not choices:
            self.line = QLineEdit(values if isinstance(values, str) else write_sweep(values or []))
            self.line.setAccessibleName(f"Values of {axis_title(name)}")
            self.line.setPlaceholderText(
                "such as 1, 3, 5 or 1..5"
                if spec.kind == "integer"
                else "such as 0.1, 0.2 or log(0.001, 0.1, 3)"
            )
            self.line.textChanged.connect(self.changed)
            self._events.watch_undo(self.line)
            self._editor.addWidget(self.line)
            return
        holder = QWidget()
        grid = QGridLayout(holder)
        grid.setContentsMargins(2, 0, 0, 0)
        grid.setVerticalSpacing(2)
        ticked = list(self._labelled) if self._labelled else values
        if isinstance(values, list):
            self._order = list(values)
        for number, (text, value) in enumerate(choices.items()):
            box = QCheckBox(text)
            box.setProperty("value", value)
            box.setAccessibleName(f"{axis_title(name)}: {text}")
            box.setChecked(ticked is not None and value in ticked)
            box.toggled.connect(self._ticked)
            grid.addWidget(box, number // 2, number % 2)
            self._boxes.append(box)
        self._editor.addWidget(holder)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "remove_button"):
            self.remove_button.setIcon(theme.icon("trash"))


class GridSection(Section):
    """Seeds of the study and the settings that are varied, with what that amounts to."""

    #: Comes with the name of the axis that was edited.
    changed = Signal(str)
    #: An axis has got widgets, which come last for the Tab key.
    grown = Signal()

    def __init__(self, events: FieldEvents) -> None:
        super().__init__("grid", "Grid", has_switch=False)
        self._events = events
        self.header.setToolTip(
            "Seeds, and settings that take several values: a run is made for each combination"
        )
        self.rows: list[AxisRow] = []
        self._offered: list[str] = []
        self._many = False
        self._loading = False
        self.seeds = QLineEdit()
        self.seeds.setPlaceholderText("as in each run; 0..4 makes five of each")
        self.seeds.setToolTip(
            "<p>Every run is made once for each of these seeds, such as 0, 1, 2 or 0..4. Results are means over them.</p>"
        )
        self.seeds.setAccessibleName("Seeds")
        self.seeds.textChanged.connect(self._seeds_edited)
        events.watch_undo(self.seeds)
        label = QLabel("Seeds")
        label.setBuddy(self.seeds)
        line = QHBoxLayout()
        line.addWidget(label)
        line.addWidget(self.seeds, 1)
        self._seeds_error = WrappedLabel("error")
        self._seeds_error.hide()
        self._axes = QVBoxLayout()
        self._axes.setSpacing(2)
        self.add_button = QPushButton("Vary a setting")
        self.add_button.setIcon(theme.icon("new"))
        self.add_button.clicked.connect(self.add_axis)
        foot = QHBoxLayout()
        foot.addWidget(self.add_button)
        foot.addStretch(1)
        self.amount = WrappedLabel("muted")
        self.content.addLayout(line)
        self.content.addWidget(self._seeds_error)
        self.content.addLayout(self._axes)
        self.content.addLayout(foot)
        self.content.addWidget(self.amount)

    def show_grid(
        self, shared: Mapping[str, Any], own: Mapping[str, Any], values: Mapping[str, Any], *, many: bool
    ) -> None:
        """Show the axes of the study and those of the run in the form.

        Args:
            shared: axes of all runs; the seeds are in here.
            own: axes of the run in the form.
            values: settings of that run, which say what can be varied.
            many: whether the study has several runs.
        """
        self._loading = True
        self._many = many
        self._offer(values)
        seeds = shared.get("seed", [])
        seeds = list(seeds.values()) if isinstance(seeds, dict) else seeds
        self.seeds.setText(seeds if isinstance(seeds, str) else write_sweep(seeds))
        for row in self.rows:
            self._drop(row)
        self.rows = []
        for axes, is_shared in ((shared, True), (own, False)):
            for name, taken in axes.items():
                if not (is_shared and name == "seed"):
                    self._append(name, taken, shared=is_shared)
        self._loading = False

    def add_axis(self) -> None:
        """Add a row for the first setting that is not varied yet."""
        taken = {row.name for row in self.rows}
        free = next((name for name in self._offered if name not in taken), "")
        if not free:
            return
        row = self._append(free, None, shared=not self._many)
        self.set_open(True)
        row.setting.setFocus()
        self._edited(row.name)

    def axes(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
        """Axes of the study, those of the run in the form, and which stand twice: "grid.k" -> reason.

        An axis is a list of values, label -> value, or the text typed if that cannot be read.
        """
        shared: dict[str, Any] = {}
        own: dict[str, Any] = {}
        problems: dict[str, str] = {}
        if text := self.seeds.text().strip():
            try:
                shared["seed"] = list(parse_sweep(text, field_at("seed")))
            except SweepError:
                shared["seed"] = text
        for row in self.rows:
            axes, place = (shared, "grid") if self._is_shared(row) else (own, "own")
            if row.name in axes:
                problems[f"{place}.{row.name}"] = "This setting stands twice; remove one"
                continue
            axes[row.name] = row.values()
        return shared, own, problems

    def texts(self) -> dict[str, str]:
        """The axes whose values can be typed in a field, by name."""
        found = {row.name: text for row in self.rows if (text := row.text()) is not None}
        return found | ({"seed": self.seeds.text()} if self.seeds.text().strip() else {})

    def names(self) -> set[str]:
        """The names of all axes."""
        return {row.name for row in self.rows} | ({"seed"} if self.seeds.text().strip() else set())

    def put(self, name: str, text: str) -> None:
        """Vary a setting over what was typed in its field, without telling; seeds for all runs, the rest for this one."""
        if name == "seed":
            self.seeds.blockSignals(True)
            self.seeds.setText(text)
            self.seeds.blockSignals(False)
            return
        row = next((row for row in self.rows if row.name == name), None)
        if row is None:
            row = self._append(name, [], shared=not self._many)
        row.put_text(text)

    def drop(self, name: str) -> None:
        """Vary a setting no longer, without telling."""
        if name == "seed":
            self.put("seed", "")
        for row in [row for row in self.rows if row.name == name]:
            self.rows.remove(row)
            self._drop(row)

    def _is_shared(self, row: AxisRow) -> bool:
        return bool(row.scope.currentData()) or not self._many

    def show_problems_at(self, problems: Mapping[str, str]) -> None:
        """Show each problem at its row; places are "grid.NAME" and, for the run in the form, "own.NAME"."""
        seeds = problems.get("grid.seed", "")
        self._seeds_error.setText(_sentence(seeds))
        self._seeds_error.setVisible(bool(seeds))
        for row in self.rows:
            here = f"{'grid' if self._is_shared(row) else 'own'}.{row.name}"
            text = next((text for place, text in problems.items() if f"{place}.".startswith(f"{here}.")), "")
            row.show_problem(_sentence(text))
        self.show_problems(sum(bool(row.problem) for row in self.rows) + bool(seeds))

    def show_amount(self, text: str) -> None:
        """Say how many runs there will be."""
        self.amount.setText(text)
        self.amount.setVisible(bool(text))

    def _offer(self, values: Mapping[str, Any]) -> None:
        possible = axes_for(values)
        if values.get("finetuning") is not None:
            possible.append(BATCH_NORM)
        first = [name for name in COMMON if name in possible]
        self._offered = first + [name for name in possible if name not in first]

    def _append(self, name: str, values: Any, *, shared: bool) -> AxisRow:
        row = AxisRow(name, values, self._offered, self._events, shared=shared, many=self._many)
        row.changed.connect(self._row_edited)
        row.removed.connect(self._remove)
        self.rows.append(row)
        self._axes.addWidget(row)
        self.grown.emit()
        return row

    def _remove(self) -> None:
        row = self.sender()
        if isinstance(row, AxisRow) and row in self.rows:
            self.rows.remove(row)
            self._drop(row)
            self._edited(row.name)

    def _drop(self, row: AxisRow) -> None:
        self._axes.removeWidget(row)
        row.hide()
        row.deleteLater()

    def _row_edited(self) -> None:
        row = self.sender()
        if isinstance(row, AxisRow):
            self._edited(row.name)

    def _seeds_edited(self) -> None:
        self._edited("seed")

    def _edited(self, name: str) -> None:
        if not self._loading:
            self.changed.emit(name)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "add_button"):
            self.add_button.setIcon(theme.icon("new"))


def amount_of(study: StudyConfig) -> str:
    """How much a study is: "105 runs in 21 cells, 5 seeds; 4 pre-trainings shared by 17 transfers"."""
    text = words.count(len(study.runs), "run")
    cells = study.cells
    if len(cells) < len(study.runs):
        seeds = len({run.seed for run in study.runs})
        text += f" in {words.count(len(cells), 'cell')}, {words.count(seeds, 'seed')}"
    starts: dict[tuple[str, int], int] = {}
    for run in study.runs:
        parent = study.parent_of(run)
        if parent is not None and parent.pretraining is not None:
            starts[(parent.name, parent.seed)] = starts.get((parent.name, parent.seed), 0) + 1
    shared = {key: amount for key, amount in starts.items() if amount > 1}
    if shared:
        text += f"; {words.count(len(shared), 'pre-training')} shared by {words.count(sum(shared.values()), 'transfer')}"
    return text


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] if text else ""
