"""Runs laid over each other: what happens while they train, and what comes out of which settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QScrollArea,
    QSplitter,
    QStackedWidget,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme, words
from cartl_gui.comparison import BANDS, MOST_RUNS, SPREADS, Line, Spread, lines_of, stages_of
from cartl_gui.models.difference import ABSENT, DifferenceModel, short_titles
from cartl_gui.pages.empty_page import EmptyPage
from cartl_gui.pages.plot_grid import PanelSlot, PlotGrid
from cartl_gui.pages.plot_page import PlotPage
from cartl_gui.pages.run_chooser import RunChooser
from cartl_gui.pages.time_choice import TimeChoice
from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.compared import (
    ComparedAccuracy,
    ComparedDistance,
    ComparedLoss,
    ComparedNorms,
    ComparedPlot,
    Overlay,
)
from cartl_gui.plots.legend import Legend, LegendEntry
from cartl_gui.plots.trade_off import TradeOffPlot
from cartl_gui.run_data import RunData
from cartl_gui.timeline import TimeAxis
from cartl_gui.widgets import ElidedLabel, QuietCombo, WrappedLabel
from engine.config import STAGE_TITLES, STAGES, StageName
from engine.events import RunInfo
from engine.results import Evaluation, results_of

VIEWS = ("Training", "Outcome")
CHOOSE = (
    "Lay runs over each other: their accuracies and losses, and what happens in their blocks.\n"
    "Tick them in the list below, or press the button."
)
NO_RUNS = "Runs are laid over each other here: their accuracies and losses, and what happens in their blocks."


class ComparePage(PlotPage):
    """Choose runs, see them over each other, with one list of lines for all plots."""

    demo_asked = Signal()
    export_requested = Signal(object)
    time_axis_chosen = Signal(str)
    #: Ids of the runs that were chosen here.
    choice_changed = Signal(list)
    #: The files of a run, by its id, are to be read.
    run_needed = Signal(str)
    #: Plots wait for `draw_next`.
    redraw_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._known: Mapping[str, RunInfo] = {}
        self._chosen: list[str] = []
        self._data: dict[str, RunData] = {}
        self._asked: set[str] = set()
        self._suggested: list[RunInfo] = []
        self.stage: StageName = "pretraining"
        self._picked = False
        self.lines: list[Line] = []
        self._entries: list[LegendEntry] = []
        self._pointed: ComparedPlot | None = None
        self._made_of: object = None
        self._evaluations: tuple[Evaluation, ...] = ()
        self.grid = PlotGrid(
            ((ComparedAccuracy, ComparedDistance), (ComparedLoss, ComparedNorms)), (230, 150)
        )
        self.trade_off = PanelSlot(TradeOffPlot, self._trade_off_made)
        self.differences = DifferenceModel(self)
        self.empty = EmptyPage("compare")
        self.empty.pressed.connect(self._empty_pressed)
        self._chooser: RunChooser | None = None
        self._build()
        self.grid.export_requested.connect(self.export_requested)
        self.grid.arranged.connect(self.refresh)
        self.grid.made.connect(self._made)
        self.begin_refresh()

    # building ------------------------------------------------------------------------------------------
    def _build(self) -> None:
        self.stack = QStackedWidget()
        for page in (self.empty, self._build_training(), self._build_outcome()):
            self.stack.addWidget(page)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(8, 8, 8, 6)
        outer.setSpacing(6)
        outer.addWidget(self._build_head())
        outer.addWidget(self._note)
        outer.addWidget(self.stack, 1)

    def _build_head(self) -> QWidget:
        self._views = QButtonGroup(self)
        self.view_buttons: dict[str, QPushButton] = {}
        for view, tip in zip(
            VIEWS, ("What happens while the runs train", "Trade-off of the runs, and in which settings they differ"),
            strict=True,
        ):  # fmt: skip
            button = self.view_buttons[view] = QPushButton(view)
            button.setCheckable(True)
            button.setToolTip(tip)
            self._views.addButton(button)
        self.view_buttons["Training"].setChecked(True)
        self._views.buttonClicked.connect(self._look_changed)
        self.choose_button = QPushButton("Runs…")
        self.choose_button.setAccessibleName("Choose runs")
        self.choose_button.setToolTip("Tick the runs that are laid over each other")
        self.choose_button.clicked.connect(self._open_chooser)
        self._note = WrappedLabel("muted")
        self.colour_by, self.spread = QuietCombo(), QuietCombo()
        self.colour_by.setAccessibleName("Colour by")
        self.colour_by.setToolTip("Whether each line has a colour of its own, or each value of a setting")
        self.colour_by.setMinimumContentsLength(8)
        self.colour_by.view().setMinimumWidth(240)
        self.colour_by.addItem("Colour by run", "")
        self.spread.setAccessibleName("Seeds")
        self.spread.setToolTip(
            "Runs that differ only in their seed: each for itself, or their mean with a band"
        )
        self.spread.setMinimumContentsLength(6)
        for kind, text in SPREADS.items():
            self.spread.addItem(text, kind)
        for combo in (self.colour_by, self.spread):
            combo.activated.connect(self._look_changed)
        self.time_choice = TimeChoice()
        self.time_choice.chosen.connect(self.time_axis_chosen)
        self._stages = QButtonGroup(self)
        self.stage_buttons: dict[StageName, QPushButton] = {}
        for stage in STAGES[:2]:
            button = self.stage_buttons[stage] = QPushButton(STAGE_TITLES[stage])
            button.setCheckable(True)
            button.setProperty("stage", stage)
            button.setAccessibleName(f"Compare stage {STAGE_TITLES[stage]}")
            self._stages.addButton(button)
        self._stages.buttonClicked.connect(self._stage_picked)
        self._head = QWidget()
        row = QHBoxLayout(self._head)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        pair = QHBoxLayout()
        pair.setSpacing(0)
        for button in self.view_buttons.values():
            pair.addWidget(button)
        row.addLayout(pair)
        row.addWidget(self.choose_button)
        row.addStretch(1)
        for widget in (self.colour_by, self.spread, self.time_choice, *self.stage_buttons.values()):
            row.addWidget(widget)
        return self._head

    def _build_training(self) -> QWidget:
        card = QFrame()
        card.setProperty("card", "true")
        card.setMinimumWidth(150)
        self._amount = ElidedLabel()
        self._amount.setProperty("role", "heading")
        self._values_of = ElidedLabel()
        self._values_of.setProperty("role", "muted")
        self.legend = Legend(aside=True)
        scroll = QScrollArea()
        scroll.setWidget(self.legend)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setAccessibleName("Lines of all plots")
        column = QVBoxLayout(card)
        column.setContentsMargins(8, 6, 4, 6)
        column.setSpacing(2)
        column.addWidget(self._amount)
        column.addWidget(self._values_of)
        column.addWidget(scroll, 1)
        self._bands = WrappedLabel("hint")
        column.addWidget(self._bands)
        body = QSplitter(Qt.Orientation.Horizontal)
        body.addWidget(self.grid)
        body.addWidget(card)
        body.setSizes([640, 220])
        body.setStretchFactor(0, 1)
        body.setChildrenCollapsible(False)
        return body

    def _build_outcome(self) -> QWidget:
        self.evaluation = QuietCombo()
        self.evaluation.setAccessibleName("Attack and test images")
        self.evaluation.setToolTip("Attack and test images that the accuracies are from")
        self.evaluation.currentIndexChanged.connect(self._show_evaluation)
        self._left_out = ElidedLabel()
        self._left_out.setProperty("role", "muted")
        row = QHBoxLayout()
        row.addWidget(self.evaluation, 1)
        row.addWidget(self._left_out)
        upper = QWidget()
        above = QVBoxLayout(upper)
        above.setContentsMargins(0, 0, 0, 0)
        above.setSpacing(4)
        above.addLayout(row)
        above.addWidget(self.trade_off, 1)
        self.table = QTableView()
        self.table.setModel(self.differences)
        self.table.setAccessibleName("Settings in which the runs differ")
        self.table.setAlternatingRowColors(True)
        self.table.setShowGrid(False)
        self.table.setWordWrap(False)
        self.table.setTabKeyNavigation(False)
        self.table.verticalHeader().hide()
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self.table.horizontalHeader().setHighlightSections(False)
        self._same = QLabel("Settings in which they differ")
        self._same.setProperty("role", "heading")
        lower = QWidget()
        below = QVBoxLayout(lower)
        below.setContentsMargins(0, 0, 0, 0)
        below.setSpacing(4)
        below.addWidget(self._same)
        below.addWidget(self.table, 1)
        self._lower = lower
        body = QSplitter(Qt.Orientation.Vertical)
        body.addWidget(upper)
        body.addWidget(lower)
        body.setSizes([600, 400])
        body.setChildrenCollapsible(False)
        return body

    def _made(self, panel: PlotPanel) -> None:
        panel.pointed_at.connect(self._pointed_at)

    def _trade_off_made(self, panel: PlotPanel) -> None:
        panel.export_requested.connect(self.export_requested)
        panel.maximise_toggled.connect(self._trade_off_enlarged)

    # what the window calls -----------------------------------------------------------------------------
    def know_runs(self, known: Mapping[str, RunInfo], suggested: str = "") -> None:
        """Take over the runs of the workspace by id; runs of the study `suggested` are offered while none is chosen."""
        self._known = known
        self._suggested = [
            run for run in known.values() if run.study == suggested and run.state != "created"
        ][-MOST_RUNS:]
        self._chosen = [run_id for run_id in self._chosen if run_id in known]
        self._look_changed()

    def choose(self, run_ids: Sequence[str]) -> None:
        """Lay these runs over each other, at most `MOST_RUNS` of them."""
        self._chosen = [run_id for run_id in run_ids if run_id in self._known]
        kept = set(self.runs_drawn())
        self._data = {run_id: data for run_id, data in self._data.items() if run_id in kept}
        self._asked &= kept
        self._look_changed()

    def chosen(self) -> list[str]:
        """Ids of the chosen runs, also of those that are too many."""
        return list(self._chosen)

    def runs_drawn(self) -> list[str]:
        """Ids of the runs that are drawn."""
        return self._chosen[:MOST_RUNS]

    def add_data(self, data: RunData) -> None:
        """Take what is known of a run; it is drawn with the next refresh."""
        if data.info.id in self.runs_drawn():
            self._data[data.info.id] = data

    def set_time_axis(self, axis: TimeAxis) -> None:
        """Let the plots run over epochs, steps or computing time."""
        self.time_choice.show_axis(axis)
        self.grid.group.set_time_axis(axis)

    def begin_refresh(self) -> None:
        """Write the head anew and let the visible plots wait for `draw_next`, so that none delays the window."""
        self.grid.stop()
        drawn = self.runs_drawn()
        training = self.view_buttons["Training"].isChecked()
        self.stack.setCurrentIndex(0 if not drawn else 1 if training else 2)
        for widget in (*self.view_buttons.values(), self.spread):
            widget.setVisible(bool(drawn))
        for widget in (self.colour_by, self.time_choice):
            widget.setVisible(bool(drawn) and training)
        for run_id in drawn if self.isVisible() else ():
            if run_id not in self._data and run_id not in self._asked:
                self._asked.add(run_id)
                self.run_needed.emit(run_id)
        self._write_head(training=training)
        if not drawn:
            self._show_empty()
        if not self.isVisible():
            return
        if drawn and training:
            self._make_lines()
            self.grid.begin(self._draw)
        elif drawn:
            self._show_outcome()

    def draw_next(self) -> bool:
        """Draw one plot that waits since `begin_refresh`; False if none does."""
        drawn = self.grid.draw_next()
        if not drawn:
            self._write_values()
        return drawn

    def all_drawn(self) -> bool:
        """Whether no plot waits to be drawn."""
        return self.grid.all_drawn()

    def panels(self) -> tuple[PlotPanel, ...]:
        """The plots of the view that is shown, as far as they were drawn before."""
        if self.stack.currentIndex() == 1:
            return self.grid.panels()
        made = self.trade_off.made()
        return (made,) if self.stack.currentIndex() == 2 and made is not None else ()

    # writing -------------------------------------------------------------------------------------------
    def _runs(self) -> list[RunInfo]:
        return [self._known[run_id] for run_id in self.runs_drawn()]

    def _spread(self) -> Spread:
        kind: Spread = self.spread.currentData()
        return kind

    def _write_head(self, *, training: bool) -> None:
        runs = self._runs()
        stages = stages_of(runs)
        if stages and (self.stage not in stages or not self._picked):
            self.stage = stages[-1]
        for stage, button in self.stage_buttons.items():
            button.setVisible(training and len(stages) > 1)
            button.setChecked(stage == self.stage)
        few, many = len(runs), len(self._chosen)
        self._note.setText(
            f"{many} runs are chosen; the first {few} are shown, as more could not be told apart."
        )
        self._note.setVisible(many > few)
        reading = sum(run.id not in self._data for run in runs)
        self._amount.setText(words.count(few, "run") + (f", {reading} being read" if reading else ""))
        bands = BANDS[self._spread()]
        self._bands.setText(bands[:1].upper() + bands[1:])
        self._bands.setVisible(bool(self._bands.text()))

    def _show_empty(self) -> None:
        study = self._suggested[0].study if self._suggested else ""
        action = (
            f"Compare the runs of “{study}”" if study else "Choose runs…" if self._known else "Try the demo"
        )
        self.empty.say(CHOOSE if self._known else NO_RUNS, action)
        self.choose_button.setVisible(bool(self._known))

    def _make_lines(self) -> None:
        runs = self._runs()
        shown = [(run.id, run.title, run.parent, run.config) for run in runs]
        if (shown, self._spread(), self.colour_by.currentData()) == self._made_of:
            return
        self._offer_colours()
        self._made_of = shown, self._spread(), self.colour_by.currentData()
        self.lines = lines_of(runs, self._known, self._spread(), self.colour_by.currentData())
        while len(self._entries) < len(self.lines):
            entry = LegendEntry("", self.lines[len(self._entries)].style)
            entry.toggled.connect(self._toggled)
            self._entries.append(entry)
            self.legend.add(entry)
        for number, entry in enumerate(self._entries):
            entry.setVisible(number < len(self.lines))
            if number < len(self.lines):
                line = self.lines[number]
                entry.rename(line.name, f"{line.name}: {line.about()}")
                entry.restyle(line.style)
            entry.recolour(theme.scheme())

    def _offer_colours(self) -> None:
        """Settings in which the runs differ can have colours, but not their seeds alone."""
        self.differences.set_runs(self._runs(), self._known)
        rows = [row for row in self.differences.rows if row.place != "seed"]
        places = [row.place for row in rows if len(set(row.values) - {ABSENT}) > 1]
        titles = short_titles(places)
        offered = [("", "Colour by run"), *((place, f"Colour by {titles[place]}") for place in places)]
        found = [
            (self.colour_by.itemData(row), self.colour_by.itemText(row))
            for row in range(self.colour_by.count())
        ]
        if offered != found:
            kept = self.colour_by.currentData()
            self.colour_by.clear()
            for place, text in offered:
                self.colour_by.addItem(text, place)
            self.colour_by.setCurrentIndex(max(0, self.colour_by.findData(kept)))

    def _draw(self, panel: PlotPanel) -> None:
        if not isinstance(panel, ComparedPlot):
            return
        panel.show_overlay(Overlay(tuple(self.lines), self._data, self.stage, self._spread()))
        for entry, curve in zip(self._entries, panel.curves, strict=False):
            curve.entry.setChecked(entry.isChecked())

    def _toggled(self) -> None:
        for panel in self.grid.panels():
            for entry, curve in zip(self._entries, panel.curves, strict=False):
                curve.entry.setChecked(entry.isChecked())

    def _pointed_at(self, panel: object) -> None:
        self._pointed = panel if isinstance(panel, ComparedPlot) else None
        self._write_values()

    def _write_values(self) -> None:
        """Beside each line its value in the plot that is pointed at, or was last."""
        panels = self.grid.panels()
        panel = self._pointed or next((found for found in panels if isinstance(found, ComparedPlot)), None)
        if panel is None:
            return
        for line, entry, curve in zip(self.lines, self._entries, panel.curves, strict=False):
            trains = any(self.stage in run.config.stages for run in line.runs)
            entry.set_value(curve.entry.value if trains else f"no {STAGE_TITLES[self.stage].lower()}")
        at = panel.crosshair.position
        when = "newest" if at is None else panel.describe(at, panel.reading_height())
        self._values_of.setText(f"{panel.measured.title}, {when}")
        self._values_of.setToolTip(self._values_of.text())

    # outcome -------------------------------------------------------------------------------------------
    def _show_outcome(self) -> None:
        runs = self._runs()
        lines = lines_of(runs, self._known, self._spread())
        shown = [replace(line.runs[0], label=replace(line.runs[0].label, title=line.name)) for line in lines]
        self.differences.set_runs(shown, self._known)
        self.table.resizeColumnsToContents()
        differs = bool(self.differences.rows)
        self.table.setVisible(differs)
        self._same.setText(
            "Settings in which they differ" if differs else "There is no setting in which these runs differ."
            if len(runs) > 1 else "Choose a second run to see in which settings they differ."
        )  # fmt: skip
        named = [replace(run, name=line.name) for line in lines for run in line.runs]
        results = results_of(named, self._known, comparisons=())
        self._evaluations = results.evaluations
        titles = [evaluation.title for evaluation in self._evaluations]
        if [self.evaluation.itemText(row) for row in range(self.evaluation.count())] != titles:
            kept = self.evaluation.currentText()
            self.evaluation.blockSignals(True)
            self.evaluation.clear()
            self.evaluation.addItems(titles or ["None of these runs has been attacked yet"])
            self.evaluation.setCurrentIndex(max(0, self.evaluation.findText(kept)))
            self.evaluation.blockSignals(False)
        self.evaluation.setEnabled(bool(titles))
        self._show_evaluation()

    def _show_evaluation(self) -> None:
        index = self.evaluation.currentIndex()
        evaluation = self._evaluations[index] if 0 <= index < len(self._evaluations) else None
        panel = self.trade_off.panel
        assert isinstance(panel, TradeOffPlot)
        panel.show_evaluation(evaluation)
        shown = sum(len(cell.runs) for cell in evaluation.cells) if evaluation else 0
        missing = len(self._runs()) - shown
        self._left_out.setText(f"{words.count(missing, 'run')} without this result" if missing else "")

    def _trade_off_enlarged(self, _panel: object, on: bool) -> None:
        self._lower.setVisible(not on)

    # what the user does --------------------------------------------------------------------------------
    def _look_changed(self) -> None:
        self.begin_refresh()
        self.redraw_asked.emit()

    def _stage_picked(self, button: QPushButton) -> None:
        self.stage, self._picked = button.property("stage"), True
        self._look_changed()

    def _open_chooser(self) -> None:
        if self._chooser is None:
            self._chooser = RunChooser(self)
            self._chooser.chosen.connect(self._runs_chosen)
        self._chooser.open_below(self.choose_button, list(self._known.values()), self._chosen)

    def _runs_chosen(self, run_ids: list[str]) -> None:
        self.choose(run_ids)
        self.choice_changed.emit(run_ids)

    def _empty_pressed(self) -> None:
        if self._suggested:
            self._runs_chosen([run.id for run in self._suggested])
        elif self._known:
            self._open_chooser()
        else:
            self.demo_asked.emit()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Draw what changed while the page was out of sight."""
        super().showEvent(event)
        self.begin_refresh()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Draw the samples of lines in the colours of a new theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "stack"):
            self._made_of = None
            self.begin_refresh()
