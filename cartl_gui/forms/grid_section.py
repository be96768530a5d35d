"""The grid in the set-up form: seeds, and settings that take several values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
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
from cartl_gui.forms.groups import Section
from cartl_gui.forms.specs import FieldSpec, spec_of
from cartl_gui.widgets import QuietCombo, WrappedLabel
from engine.config import STAGE_TITLES, BatchNormPolicy, StudyConfig, axes_for, field_at

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
#: Most values that a range such as 1-5 may stand for.
MAX_RANGE = 1000


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


def read_values(text: str, spec: FieldSpec) -> list[Any]:
    """Read typed values: "1, 2, 5" or, for whole numbers, "0-4".

    Raises:
        ValueError: saying what was expected.
    """
    values: list[Any] = []
    for part in re.split(r"[,;\s]+", text.strip()):
        span = re.fullmatch(r"(\d+)(?:-|\.\.)(\d+)", part)
        try:
            if spec.kind == "integer" and span:
                first, last = int(span[1]), int(span[2])
                if not first <= last < first + MAX_RANGE:
                    raise ValueError(part)
                values += range(first, last + 1)
            elif spec.kind == "integer":
                values.append(int(part))
            elif spec.kind == "ratio" and "/" in part:
                values.append(part)
            else:
                values.append(float(part))
        except ValueError:
            example = (
                "whole numbers such as 1, 2, 5 or 0-4"
                if spec.kind == "integer"
                else "numbers such as 0.4, 0.6"
            )
            example = "numbers or ratios such as 4/255, 8/255" if spec.kind == "ratio" else example
            got = f"got {part!r}" if part else "the field is empty"
            raise ValueError(f"Expected {example}, {got}") from None
    return values


def write_values(values: Iterable[Any]) -> str:
    """Write values as they are typed."""
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


class AxisRow(QWidget):
    """One setting with its values. Never changes what was typed."""

    changed = Signal()
    removed = Signal()

    def __init__(self, name: str, values: Any, offered: list[str], *, shared: bool, many: bool) -> None:
        super().__init__()
        self.name = ""
        self._labelled: dict[str, Any] = {}
        self._boxes: list[QCheckBox] = []
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

    def values(self) -> list[Any] | dict[str, Any]:
        """The values to take: a list, or label -> value.

        Raises:
            ValueError: what was typed cannot be read.
        """
        if self._labelled:
            return {box.text(): self._labelled[box.text()] for box in self._boxes if box.isChecked()}
        if self._boxes:
            return [box.property("value") for box in self._boxes if box.isChecked()]
        return read_values(self.line.text(), spec_of(self.name))

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

    def _edit(self, name: str, values: Any) -> None:
        """Show the editor that fits a setting; without values everything is ticked, or nothing typed yet."""
        while (item := self._editor.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        self.name, self._boxes = name, []
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
            self.line = QLineEdit(write_values(values or []))
            self.line.setAccessibleName(f"Values of {axis_title(name)}")
            self.line.setPlaceholderText(
                "values with commas, such as 1, 3, 5" if spec.kind == "integer" else "values with commas"
            )
            self.line.textChanged.connect(self.changed)
            self._editor.addWidget(self.line)
            return
        holder = QWidget()
        grid = QGridLayout(holder)
        grid.setContentsMargins(2, 0, 0, 0)
        grid.setVerticalSpacing(2)
        ticked = list(self._labelled) if self._labelled else values
        for number, (text, value) in enumerate(choices.items()):
            box = QCheckBox(text)
            box.setProperty("value", value)
            box.setAccessibleName(f"{axis_title(name)}: {text}")
            box.setChecked(ticked is not None and value in ticked)
            box.toggled.connect(self.changed)
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

    changed = Signal()

    def __init__(self) -> None:
        super().__init__("grid", "Grid", has_switch=False)
        self.header.setToolTip(
            "Seeds, and settings that take several values: a run is made for each combination"
        )
        self.rows: list[AxisRow] = []
        self._offered: list[str] = []
        self._many = False
        self._loading = False
        self.seeds = QLineEdit()
        self.seeds.setPlaceholderText("as in each run; 0-4 makes five of each")
        self.seeds.setToolTip(
            "<p>Every run is made once for each of these seeds, such as 0, 1, 2 or 0-4. Results are means over them.</p>"
        )
        self.seeds.setAccessibleName("Seeds")
        self.seeds.textChanged.connect(self._edited)
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
        self.seeds.setText(write_seeds(seeds) if isinstance(seeds, list) else write_seeds(seeds.values()))
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
        self._edited()

    def axes(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
        """Axes of the study, those of the run in the form, and what cannot be read: "grid.k" -> reason."""
        shared: dict[str, Any] = {}
        own: dict[str, Any] = {}
        problems: dict[str, str] = {}
        if self.seeds.text().strip():
            try:
                shared["seed"] = read_values(self.seeds.text(), spec_of("seed"))
            except ValueError as error:
                problems["grid.seed"] = str(error)
        for row in self.rows:
            is_shared = bool(row.scope.currentData()) or not self._many
            axes, place = (shared, f"grid.{row.name}") if is_shared else (own, f"own.{row.name}")
            if row.name in axes or place in problems:
                problems[place] = "This setting stands twice; remove one"
                continue
            try:
                axes[row.name] = row.values()
            except ValueError as error:
                problems[place] = str(error)
        return shared, own, problems

    def show_problems_at(self, problems: Mapping[str, str]) -> None:
        """Show each problem at its row; places are "grid.NAME" and, for the run in the form, "own.NAME"."""
        seeds = problems.get("grid.seed", "")
        self._seeds_error.setText(_sentence(seeds))
        self._seeds_error.setVisible(bool(seeds))
        for row in self.rows:
            is_shared = bool(row.scope.currentData()) or not self._many
            here = f"{'grid' if is_shared else 'own'}.{row.name}"
            text = next((text for place, text in problems.items() if f"{place}.".startswith(f"{here}.")), "")
            row.show_problem(_sentence(text))
        self.show_problems(sum(bool(row.problem) for row in self.rows) + bool(seeds))
        if problems:
            self.set_open(True)

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
        row = AxisRow(name, values, self._offered, shared=shared, many=self._many)
        row.changed.connect(self._edited)
        row.removed.connect(self._remove)
        self.rows.append(row)
        self._axes.addWidget(row)
        return row

    def _remove(self) -> None:
        row = self.sender()
        if isinstance(row, AxisRow) and row in self.rows:
            self.rows.remove(row)
            self._drop(row)
            self._edited()

    def _drop(self, row: AxisRow) -> None:
        self._axes.removeWidget(row)
        row.hide()
        row.deleteLater()

    def _edited(self) -> None:
        if not self._loading:
            self.changed.emit()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "add_button"):
            self.add_button.setIcon(theme.icon("new"))
            self.set_open(self.header.isChecked())


def write_seeds(seeds: Iterable[int]) -> str:
    """Write seeds as they are typed: "0-4" where they follow each other, else "0, 2, 7"."""
    listed = list(seeds)
    if len(listed) > 2 and listed == [listed[0] + step for step in range(len(listed))]:
        return f"{listed[0]}-{listed[-1]}"
    return write_values(listed)


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
