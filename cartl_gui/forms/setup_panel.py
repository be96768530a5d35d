"""The set-up dock: preset, the study's runs, the form of the chosen run, and the button that starts the study."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme, words
from cartl_gui.forms.config_form import ConfigForm
from cartl_gui.forms.fields import FieldRow
from cartl_gui.widgets import QuietCombo, WrappedLabel
from engine.config import (
    AttackConfig,
    DataConfig,
    FinetuningConfig,
    ModelConfig,
    PretrainingConfig,
    RunConfig,
    StudyConfig,
    validate,
)
from engine.errors import ConfigError
from engine.events import RunInfo


def new_run() -> RunConfig:
    """All three stages with the program's defaults, on images that need no download."""
    return RunConfig(
        name="experiment",
        model=ModelConfig(),
        source=DataConfig(name="letters", validation_size=256),
        target=DataConfig(name="digits", validation_size=256),
        pretraining=PretrainingConfig(),
        finetuning=FinetuningConfig(),
        attack=AttackConfig(),
    )


def run_from(weights: str) -> RunConfig:
    """A transfer and an attack with the program's defaults, starting from a weights file."""
    return RunConfig(
        name=f"from {Path(weights).stem}"[:80],
        start_from=weights,
        target=DataConfig(name="digits", validation_size=256),
        finetuning=FinetuningConfig(),
        attack=AttackConfig(),
    )


class SetupPanel(QWidget):
    """Edits a study: a list of runs, one of which is in the form."""

    changed = Signal()
    submitted = Signal(object)
    open_asked = Signal()
    save_asked = Signal()

    def __init__(self, presets: Mapping[str, StudyConfig], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMinimumWidth(384)
        self._presets = dict(presets)
        self._drafts: list[dict[str, Any]] = []
        self._baselines: list[dict[str, Any]] = []
        self._index = 0
        self._description = ""
        self._comparisons: list[dict[str, Any]] = []
        self._earlier: list[tuple[str, str]] = []
        self._can_submit = True
        self._first_problem: tuple[int, str] | None = None
        self._study: StudyConfig | None = None
        self._problem_count, self._problem_text = 0, ""
        self._loading = True
        self.form = ConfigForm()
        self.form.changed.connect(self._edited)
        self.form.focused.connect(self._explain)
        self._build()
        self.new_experiment()

    def _build(self) -> None:
        grid = QGridLayout()
        grid.setContentsMargins(8, 6, 8, 2)
        grid.setHorizontalSpacing(6)
        grid.setVerticalSpacing(4)
        self.preset = QuietCombo()
        self.preset.setToolTip("Studies that come with the program; choosing one replaces the settings below")
        self.preset.addItem("Choose…", "")
        for name, study in self._presets.items():
            self.preset.addItem(study.title, name)
            self.preset.setItemData(self.preset.count() - 1, study.description, Qt.ItemDataRole.ToolTipRole)
        self.preset.activated.connect(self._take_preset)
        self.title = QLineEdit()
        self.title.setToolTip("What the study is called in the list of runs")
        self.title.textChanged.connect(self._edited)
        self.chooser = QuietCombo()
        self.chooser.setToolTip("Runs of the study, made from top to bottom; the chosen one is in the form")
        self.chooser.currentIndexChanged.connect(self._choose)
        self.add_button = self._tool("copy", "Add a copy of this run")
        self.add_button.clicked.connect(self._duplicate)
        self.remove_button = self._tool("trash", "Remove this run from the study")
        self.remove_button.clicked.connect(self._remove)
        self.open_button = self._tool("open", "Open a settings file (TOML)…")
        self.open_button.clicked.connect(self.open_asked)
        self.save_button = self._tool("save", "Save the settings as TOML…")
        self.save_button.clicked.connect(self.save_asked)
        for row, (text, editor, buttons) in enumerate(
            (
                ("Preset", self.preset, (self.open_button, self.save_button)),
                ("Study", self.title, ()),
                ("Run", self.chooser, (self.add_button, self.remove_button)),
            )
        ):
            label = QLabel(text)
            label.setBuddy(editor)
            editor.setAccessibleName(text)
            grid.addWidget(label, row, 0)
            grid.addWidget(editor, row, 1, 1, 1 if buttons else 3)
            for column, button in enumerate(buttons):
                grid.addWidget(button, row, 2 + column)
        grid.setColumnStretch(1, 1)
        self.scroll = QScrollArea()
        self.scroll.setWidget(self.form)
        self.scroll.setWidgetResizable(True)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setAccessibleName("Settings of the run")
        self._help = WrappedLabel("muted")
        self._help.setMinimumHeight(52)
        self._help.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._help.setContentsMargins(10, 4, 8, 2)
        self._status = QPushButton()
        self._status.setAccessibleName("Settings that need mending")
        self._status.setVisible(False)
        self._status.setToolTip("Go to the first one")
        self._status.clicked.connect(self._go_to_problem)
        self.run_button = QPushButton("Run study")
        self.run_button.setProperty("main", "true")
        self.run_button.setAccessibleName("Run study")
        self.run_button.clicked.connect(self.submit)
        foot = QHBoxLayout()
        foot.setContentsMargins(8, 4, 8, 8)
        foot.addWidget(self._status)
        foot.addStretch(1)
        foot.addWidget(self.run_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(grid)
        column.addWidget(self.scroll, 1)
        column.addWidget(self._help)
        column.addLayout(foot)
        self._explain(None)

    def _tool(self, picture: str, text: str) -> QToolButton:
        button = QToolButton()
        button.setProperty("quiet", "true")
        button.setIcon(theme.icon(picture))
        button.setIconSize(QSize(18, 18))
        button.setObjectName(picture)
        button.setToolTip(text)
        button.setAccessibleName(text.rstrip("…"))
        return button

    # what the window calls ------------------------------------------------------------------------------
    def new_experiment(self) -> None:
        """Put one run with the program's defaults into the form."""
        self.set_study(StudyConfig(title="My experiment", runs=[new_run()]))

    def start_from(self, weights: str) -> None:
        """Put one run into the form that starts from a weights file."""
        self.set_study(StudyConfig(title="My experiment", runs=[run_from(weights)]))
        self.form.sections["run"].set_open(True)
        self.form.sections["finetuning"].set_open(True)

    def set_study(self, study: StudyConfig) -> None:
        """Show the settings of a study; "reset" goes back to them."""
        self._loading = True
        self._description = study.description
        self._comparisons = [comparison.model_dump() for comparison in study.comparisons]
        self._drafts = [run.model_dump() for run in study.runs]
        self._baselines = copy.deepcopy(self._drafts)
        self._index = 0
        self.title.setText(study.title)
        self._fill_chooser()
        self._show_draft()

    def set_preset(self, name: str) -> None:
        """Show one of the studies that come with the program."""
        self.preset.setCurrentIndex(self.preset.findData(name))
        self.set_study(self._presets[name])

    def study(self) -> StudyConfig | None:
        """The study as typed, or None while something cannot be used."""
        return self._study

    def values(self) -> dict[str, Any]:
        """The study as typed, in plain values."""
        self._drafts[self._index] = self.form.values()
        return {
            "title": self.title.text().strip(),
            "description": self._description,
            "runs": self._drafts,
            "comparisons": self._comparisons,
        }

    def set_earlier_runs(self, runs: Iterable[RunInfo]) -> None:
        """Offer finished runs that trained something as starting points."""
        self._earlier = [
            (info.id, f"{info.name}, {info.study}, {words.clock(info.created)}")
            for info in runs
            if info.state == "finished" and (info.config.pretraining or info.config.finetuning)
        ]
        self._offer_starts()

    def set_can_submit(self, on: bool) -> None:
        """Forbid starting while the workspace is read-only."""
        self._can_submit = on
        self._tell()

    def submit(self) -> None:
        """Hand the study over to be run, or go to the first setting that cannot be used."""
        if self._study is None:
            self._go_to_problem()
        elif self._can_submit:
            self.submitted.emit(self._study)

    def recolour(self) -> None:
        """Follow a change of the theme."""
        for button in (self.add_button, self.remove_button, self.open_button, self.save_button):
            button.setIcon(theme.icon(button.objectName()))

    # inside ---------------------------------------------------------------------------------------------
    def _fill_chooser(self) -> None:
        self.chooser.blockSignals(True)
        self.chooser.clear()
        amount = len(self._drafts)
        for number, draft in enumerate(self._drafts, start=1):
            self.chooser.addItem(self._label(number, draft.get("name"), draft.get("seed")))
        self.chooser.setCurrentIndex(self._index)
        self.chooser.blockSignals(False)
        self.remove_button.setEnabled(amount > 1)

    def _label(self, number: int, name: object, seed: object) -> str:
        """A run in the list of the study's runs, with its seed where they differ."""
        others = [draft.get("seed") for place, draft in enumerate(self._drafts, start=1) if place != number]
        return f"{number} of {len(self._drafts)}: {name}" + (
            f", seed {seed}" if any(other != seed for other in others) else ""
        )

    def _show_draft(self) -> None:
        self._loading = True
        self._offer_starts()
        self.form.set_values(self._drafts[self._index], self._baselines[self._index])
        self._loading = False
        self._edited()

    def _offer_starts(self) -> None:
        names = dict.fromkeys(str(draft.get("name")) for draft in self._drafts[: self._index])
        before = [(name, "an earlier run of this study") for name in names]
        self.form.set_starts(before + self._earlier)

    def _choose(self, index: int) -> None:
        if 0 <= index < len(self._drafts) and index != self._index:
            self._drafts[self._index] = self.form.values()
            self._index = index
            self._show_draft()

    def _duplicate(self) -> None:
        self._drafts[self._index] = self.form.values()
        twin = copy.deepcopy(self._drafts[self._index])
        taken = {draft.get("name") for draft in self._drafts}
        stem, number = str(twin.get("name")), 2
        while f"{stem}-{number}" in taken:
            number += 1
        twin["name"] = f"{stem}-{number}"
        self._index += 1
        self._drafts.insert(self._index, twin)
        self._baselines.insert(self._index, copy.deepcopy(twin))
        self._fill_chooser()
        self._show_draft()

    def _remove(self) -> None:
        if len(self._drafts) < 2:
            return
        del self._drafts[self._index], self._baselines[self._index]
        self._index = min(self._index, len(self._drafts) - 1)
        self._fill_chooser()
        self._show_draft()

    def _take_preset(self, index: int) -> None:
        name = self.preset.itemData(index)
        if name:
            self.set_study(self._presets[name])

    def _edited(self) -> None:
        if self._loading:
            return
        name, seed = (self.form.rows[field].value() for field in ("name", "seed"))
        text = self._label(self._index + 1, name, seed)
        if self.chooser.itemText(self._index) != text:
            self.chooser.setItemText(self._index, text)
        self._check()
        self._tell()
        self.changed.emit()

    def _check(self) -> None:
        self._first_problem, self._study, self._problem_count, self._problem_text = None, None, 0, ""
        try:
            self._study = self._validated()
        except ConfigError as error:
            self._problem_count = len(error.problems)
            for problem in error.problems[:1]:
                parts = problem.place.split(".")
                in_run = parts[0] == "runs" and len(parts) > 1 and parts[1].isdigit()
                run = int(parts[1]) if in_run else self._index
                self._first_problem = (run, ".".join(parts[2:]) if in_run else problem.place)
                self._problem_text = problem.message

    def _validated(self) -> StudyConfig:
        """The study as typed, without comparisons of runs that it no longer has; they are back when the names are."""
        values = self.values()
        try:
            return validate(StudyConfig, values)
        except ConfigError as error:
            if not all(problem.place.startswith("comparisons.") for problem in error.problems):
                raise
            gone = {int(problem.place.split(".")[1]) for problem in error.problems}
        kept = [item for number, item in enumerate(self._comparisons) if number not in gone]
        return validate(StudyConfig, values | {"comparisons": kept})

    def _tell(self) -> None:
        amount = len(self._study.runs if self._study else self._drafts)
        self.run_button.setText("Run study" if amount < 2 else f"Run study ({words.count(amount, 'run')})")
        self.run_button.setEnabled(self._study is not None and self._can_submit)
        self.run_button.setToolTip(
            "Queue every run of the study (Ctrl+R)"
            if self._can_submit
            else "Another program writes to this workspace; it can only be looked at"
        )
        self._status.setVisible(self._study is None)
        if self._first_problem is not None:
            run, place = self._first_problem
            here = "" if run == self._index else f" (run {run + 1})"
            plural = "setting needs" if self._problem_count == 1 else "settings need"
            self._status.setText(f"{self._problem_count} {plural} mending{here}")
            self._status.setIcon(theme.icon("warning", theme.scheme().error))
            if place in ("title", "runs"):
                self._help.setText(self._problem_text[:1].upper() + self._problem_text[1:])

    def _go_to_problem(self) -> None:
        if self._first_problem is None:
            return
        run, place = self._first_problem
        if run != self._index:
            self.chooser.setCurrentIndex(run)
        if place == "title":
            self.title.setFocus()
            return
        row = self.form.reveal(place)
        if row is not None:
            self.scroll.ensureWidgetVisible(row)

    def _explain(self, row: object) -> None:
        if isinstance(row, FieldRow) and row.spec.help:
            self._help.setText(row.spec.help)
        else:
            self._help.setText(
                "Click a setting to read what it does. Changed settings have a button that resets them."
            )
