"""The set-up dock: preset, the study's runs, the form of the chosen run, and the button that starts the study."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

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
from cartl_gui.forms.grid_section import GridSection, amount_of
from cartl_gui.forms.proposals import new_run, run_from
from cartl_gui.widgets import QuietCombo, WrappedLabel
from engine.config import StudyConfig, StudyDraft, dump_study
from engine.errors import ConfigError, Problem
from engine.events import RunInfo


class SetupPanel(QWidget):
    """Edits a study: a list of runs, one of which is in the form."""

    changed = Signal()
    submitted = Signal(object)
    open_asked = Signal()
    save_asked = Signal()

    def __init__(
        self,
        presets: Mapping[str, StudyConfig],
        texts: Mapping[str, str] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setMinimumWidth(384)
        self._presets, self._texts = dict(presets), dict(texts or {})
        self._draft = StudyDraft.of(StudyConfig(runs=[new_run()]))
        self._index = 0
        self._earlier: list[tuple[str, str]] = []
        self._can_submit = True
        self._first_problem: tuple[int, str] | None = None
        self._study: StudyConfig | None = None
        self._problem_count, self._problem_text = 0, ""
        self._loading = True
        self.grid = GridSection()
        self.grid.changed.connect(self._edited)
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
        inner = QWidget()
        both = QVBoxLayout(inner)
        both.setContentsMargins(0, 0, 0, 0)
        both.setSpacing(0)
        above = QVBoxLayout()
        above.setContentsMargins(6, 2, 6, 0)
        above.addWidget(self.grid)
        both.addLayout(above)
        both.addWidget(self.form, 1)
        self.scroll.setWidget(inner)
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
        """Show the settings of a study, every run of it; "reset" goes back to them."""
        self.set_draft(StudyDraft.of(study))

    def set_draft(self, draft: StudyDraft) -> None:
        """Show a study as its file says it, with its grids; "reset" goes back to it."""
        self._loading = True
        self._draft, self._index = draft, 0
        self.title.setText(str(draft.head.get("title", "")))
        self._fill_chooser()
        self._show_run()
        self.grid.set_open(bool(draft.grid or draft.runs[0].grid))

    def set_preset(self, name: str) -> None:
        """Show one of the studies that come with the program."""
        self.preset.setCurrentIndex(self.preset.findData(name))
        self._show_preset(name)

    def study(self) -> StudyConfig | None:
        """The study as typed, with every run that its grids make, or None while something cannot be used."""
        return self._study

    def text(self) -> str:
        """The study as typed, as TOML: with its grids, else every setting of every run in full."""
        if self._draft.is_grid or self._study is None:
            return self._draft.text()
        return dump_study(self._study)

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
        amount = len(self._draft.runs)
        for number, run in enumerate(self._draft.runs, start=1):
            self.chooser.addItem(self._label(number, run.values.get("name"), run.values.get("seed")))
        self.chooser.setCurrentIndex(self._index)
        self.chooser.blockSignals(False)
        self.remove_button.setEnabled(amount > 1)

    def _label(self, number: int, name: object, seed: object) -> str:
        """A run in the list of the study's runs, with its seed where they differ."""
        runs = self._draft.runs
        others = [run.values.get("seed") for place, run in enumerate(runs, start=1) if place != number]
        return f"{number} of {len(runs)}: {name}" + (
            f", seed {seed}" if any(other != seed for other in others) else ""
        )

    def _show_run(self) -> None:
        self._loading = True
        self._offer_starts()
        run = self._draft.runs[self._index]
        self.form.set_values(run.values, run.shown)
        self.grid.show_grid(self._draft.grid, run.grid, run.values, many=len(self._draft.runs) > 1)
        self._loading = False
        self._edited()

    def _offer_starts(self) -> None:
        names = dict.fromkeys(str(run.values.get("name")) for run in self._draft.runs[: self._index])
        before = [(name, "an earlier run of this study") for name in names]
        self.form.set_starts(before + self._earlier, self._earlier)

    def _choose(self, index: int) -> None:
        if 0 <= index < len(self._draft.runs) and index != self._index:
            self._take_form()
            self._index = index
            self._show_run()

    def _duplicate(self) -> None:
        self._take_form()
        twin = copy.deepcopy(self._draft.runs[self._index])
        taken = {run.values.get("name") for run in self._draft.runs}
        stem, number = str(twin.values.get("name")), 2
        while f"{stem}-{number}" in taken:
            number += 1
        for table in (twin.values, twin.shown, twin.written):
            table["name"] = f"{stem}-{number}"
        self._index += 1
        self._draft.runs.insert(self._index, twin)
        self._fill_chooser()
        self._show_run()

    def _remove(self) -> None:
        if len(self._draft.runs) < 2:
            return
        del self._draft.runs[self._index]
        self._index = min(self._index, len(self._draft.runs) - 1)
        self._fill_chooser()
        self._show_run()

    def _take_preset(self, index: int) -> None:
        name = self.preset.itemData(index)
        if name:
            self._show_preset(name)

    def _show_preset(self, name: str) -> None:
        if name in self._texts:
            self.set_draft(StudyDraft.parse(self._texts[name], origin=f"{name}.toml"))
        else:
            self.set_study(self._presets[name])

    def _take_form(self) -> dict[str, str]:
        """Put what is typed into the draft; returns what cannot be read in the grid, by place."""
        self._draft.head["title"] = self.title.text().strip()
        run = self._draft.runs[self._index]
        run.values = self.form.values()
        shared, own, unread = self.grid.axes()
        if not unread:
            self._draft.grid, run.grid = shared, own
        return unread

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
        wrong = self._take_form()
        problems = [Problem(place, text) for place, text in wrong.items()]
        if not problems:
            try:
                self._study = self._draft.study(drop_stale=True)
            except ConfigError as error:
                problems = list(error.problems)
        own = f"runs.{self._index}.grid."
        wrong = {problem.place.replace(own, "own."): problem.message for problem in reversed(problems)}
        self.grid.show_problems_at(
            {place: text for place, text in wrong.items() if place.startswith(("grid.", "own."))}
        )
        self.form.set_varied(self._draft.varied(self._index))
        self._tell_amount()
        self._problem_count = len(problems)
        for problem in problems[:1]:
            parts = problem.place.split(".")
            in_run = parts[0] == "runs" and len(parts) > 1 and parts[1].isdigit()
            run = int(parts[1]) if in_run else self._index
            self._first_problem = (run, ".".join(parts[2:]) if in_run else problem.place)
            self._problem_text = problem.message

    def _tell_amount(self) -> None:
        """Say what the grid amounts to, and which comparisons do not fit it any more."""
        if self._study is None:
            self.grid.show_amount("")
            self.grid.summary.setText("")
            return
        text = amount_of(self._study)
        makes_more = len(self._study.runs) > len(self._draft.runs)
        self.grid.summary.setText(words.count(len(self._study.runs), "run") if makes_more else "")
        self.grid.summary.setToolTip(text)
        lost = len(self._draft.head.get("comparisons", ())) - len(self._study.comparisons)
        if lost:
            text += f". {words.count(lost, 'comparison')} left out: the runs have other names now"
        self.grid.show_amount(text[:1].upper() + text[1:] + ".")

    def _tell(self) -> None:
        amount = len(self._study.runs if self._study else self._draft.runs)
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
        if place.startswith("grid."):
            self.grid.set_open(True)
            self.scroll.ensureWidgetVisible(self.grid)
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
