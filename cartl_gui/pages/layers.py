"""Layer by layer: how far features drift and how much each layer can amplify, over time, in a table, image by image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtGui import QResizeEvent, QStandardItemModel
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import layers_view as view
from cartl_gui import theme, words
from cartl_gui.layers_view import DISTANCE, LIPSCHITZ, QUANTITIES, Quantity, Question, Source
from cartl_gui.pages.empty_page import EmptyPage
from cartl_gui.pages.insight_strip import InsightStrip
from cartl_gui.pages.layer_controls import LayerControls
from cartl_gui.pages.layers_table import TableCard
from cartl_gui.pages.plot_page import PlotPage
from cartl_gui.pages.run_head import RunHead
from cartl_gui.pages.time_choice import TimeChoice
from cartl_gui.plots.band import BandPlot
from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.group import PlotGroup
from cartl_gui.plots.heat_map import HeatMap
from cartl_gui.plots.histogram import HistogramPlot
from cartl_gui.plots.layer_panel import LayerPanel
from cartl_gui.run_data import RunData
from cartl_gui.selection import Place, Selection
from cartl_gui.timeline import TimeAxis
from engine.config import STAGES, StageName
from engine.events import InspectionProgress
from engine.insight import Insight, Per, insights

#: Height in pixels from which all findings are shown unless the user says otherwise.
TALL = 640
NO_RUN = (
    "Choose a run in the list below, or start one.\n"
    "What happens in each of its layers appears here: feature distances, and bounds on how much they amplify."
)
NOT_YET = "The layers of this run appear here after the first look at its network."
READING = "The files of this run are being read."
NO_LAYERS = "This run has not looked at single layers; a full analysis does so now."


class LayersPage(PlotPage):
    """Heat map and course of one quantity, table of all layers, distances of single images. Follows a `Selection`."""

    demo_asked = Signal()
    live_asked = Signal()
    #: The network shown is to be analysed in full.
    inspect_asked = Signal()
    cancel_asked = Signal()
    #: What was analysed is not to be shown any more.
    back_asked = Signal()
    #: The key of what to compare with, "" for nothing.
    comparison_asked = Signal(str)
    stage_chosen = Signal(str)
    time_axis_chosen = Signal(str)
    export_requested = Signal(object)
    #: The table as text, to be written to a file.
    table_export_asked = Signal(str)
    said = Signal(str)

    def __init__(self, selection: Selection, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.selection = selection
        self.data: RunData | None = None
        self.stage: StageName = "pretraining"
        self.other: RunData | None = None
        self.question = Question()
        self._wanted = self.question.quantity
        self._picked = False
        self._is_writing = False
        self._can_inspect = False
        self._wants_insights: bool | None = None
        #: Whether the user wants a logarithmic scale, by quantity.
        self._log: dict[str, bool] = {}
        self._drawn: object = None
        self._told: object = None
        self._waiting: list[Callable[[], None]] = []
        self.map, self.second_map = HeatMap(), HeatMap()
        self.band, self.histogram = BandPlot(), HistogramPlot()
        self.table = TableCard()
        self.group = PlotGroup(self.panels_of_page())
        self.strip = InsightStrip()
        self._controls = controls = LayerControls()
        self.quantity, self.per_buttons, self.log = controls.quantity, controls.per_buttons, controls.log
        self.comparison, self.mode = controls.comparison, controls.mode
        self.inspect_button = controls.inspect_button
        self.empty = EmptyPage("layers")
        self.empty.pressed.connect(self._empty_pressed)
        self._empty_action = ""
        self._build()
        self._connect()
        self._apply_log()
        self.show_run(None)

    # building ------------------------------------------------------------------------------------------
    def _build(self) -> None:
        self.stack = QStackedWidget()
        self.stack.addWidget(self.empty)
        self.stack.addWidget(self._build_body())
        outer = QVBoxLayout(self)
        outer.setContentsMargins(8, 8, 8, 6)
        outer.setSpacing(5)
        outer.addWidget(self._build_head())
        outer.addWidget(self._build_progress())
        outer.addWidget(self.stack, 1)

    def _build_head(self) -> QWidget:
        self.back_button = QPushButton("Back to the run")
        self.back_button.clicked.connect(self.back_asked)
        self.time_choice = TimeChoice()
        self.time_choice.chosen.connect(self.time_axis_chosen)
        self._head = head = RunHead("Show the layers of stage", self.back_button, self.time_choice)
        self._name, self._state, self._about = head.name, head.state, head.about
        self._stages, self.stage_buttons = head.stages, head.stage_buttons
        return self._head

    def _build_progress(self) -> QWidget:
        self.progress = QProgressBar()
        self.progress.setAccessibleName("Progress of the analysis")
        self.progress.setRange(0, 100)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setAccessibleName("Cancel the analysis")
        self.cancel_button.clicked.connect(self._cancel)
        self.progress_row = QWidget()
        row = QHBoxLayout(self.progress_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        row.addWidget(self.progress, 1)
        row.addWidget(self.cancel_button)
        self.progress_row.hide()
        return self.progress_row

    def _build_body(self) -> QWidget:
        self.warning = QFrame()
        self.warning.setProperty("warning", "true")
        self._warning_text = QLabel()
        self._warning_text.setWordWrap(True)
        self._warning_text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._warning_icon = QLabel()
        row = QHBoxLayout(self.warning)
        row.setContentsMargins(8, 4, 8, 4)
        row.addWidget(self._warning_icon, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self._warning_text, 1)
        self.warning.hide()
        for panel in self.panels_of_page():
            panel.setMinimumSize(210, 110)
        self._rows: tuple[tuple[QSplitter, tuple[QWidget, ...]], ...] = (
            (QSplitter(Qt.Orientation.Horizontal), (self.map, self.second_map, self.table)),
            (QSplitter(Qt.Orientation.Horizontal), (self.band, self.histogram)),
        )
        grid = QSplitter(Qt.Orientation.Vertical)
        for splitter, parts in self._rows:
            for part in parts:
                splitter.addWidget(part)
            splitter.setSizes([1000] * len(parts))
            splitter.setChildrenCollapsible(False)
            grid.addWidget(splitter)
        self.second_map.hide()
        grid.setSizes([1000, 1000])
        grid.setChildrenCollapsible(False)
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        column.addWidget(self._controls)
        column.addWidget(self.warning)
        column.addWidget(self.strip)
        column.addWidget(grid, 1)
        return body

    def _connect(self) -> None:
        for panel in self.panels_of_page():
            panel.export_requested.connect(self.export_requested)
            panel.maximise_toggled.connect(self._maximise)
        for heat_map in (self.map, self.second_map):
            heat_map.index_chosen.connect(self._index_chosen)
        self.histogram.sample_chosen.connect(self.selection.set_sample)
        self.table.place_chosen.connect(self.selection.set_place)
        self.table.export_asked.connect(self.table_export_asked)
        self.table.said.connect(self.said)
        self.strip.chosen.connect(self.show_insight)
        self.strip.toggle.clicked.connect(self._strip_toggled)
        self.selection.place_changed.connect(self._place_changed)
        self.selection.sample_changed.connect(self._sample_changed)
        self._stages.buttonClicked.connect(self._stage_picked)
        self._controls.pers.buttonClicked.connect(self._per_picked)
        self.quantity.activated.connect(self._quantity_picked)
        self.log.toggled.connect(self._log_toggled)
        self.comparison.activated.connect(self._comparison_picked)
        self.mode.currentIndexChanged.connect(self._mode_picked)
        self.inspect_button.clicked.connect(self.inspect_asked)

    # what is shown -------------------------------------------------------------------------------------
    def show_run(self, data: RunData | None) -> None:
        """Show a run, or an analysed network, from now on; None shows what will appear here."""
        changed = data is not self.data
        self.data = data
        if changed and data is not None:
            self._picked = False
            self.stage = self._latest(data)
            if data is self.other:
                self._choose_comparison("")
        self.refresh()

    def show_stage(self, stage: StageName) -> None:
        """Show a stage that was chosen elsewhere."""
        if self.data is not None and stage in view.stages_of(self.data):
            self.stage = stage
            self._picked = stage != self._latest(self.data)
            self.refresh()

    def follow(self) -> None:
        """Go to the stage that runs now unless the user chose one."""
        if self.data is not None and not self._picked:
            self.stage = self._latest(self.data)

    def compare_with(self, data: RunData | None) -> None:
        """Show another run beside this one, or none any more."""
        self.other = data
        self.refresh()

    def set_comparisons(self, choices: Sequence[tuple[str, str]]) -> None:
        """Offer runs to compare with: key and title of each."""
        found = [
            (self.comparison.itemData(row), self.comparison.itemText(row))
            for row in range(1, self.comparison.count())
        ]
        if found == list(choices):
            return
        chosen = self.comparison.currentData()
        while self.comparison.count() > 1:
            self.comparison.removeItem(1)
        for key, title in choices:
            self.comparison.addItem(title, key)
        row = self.comparison.findData(chosen)
        self.comparison.setCurrentIndex(max(0, row))
        if chosen and row < 0:
            self.comparison_asked.emit("")

    def begin_refresh(self) -> None:
        """Write the header anew and let the changed parts wait for `draw_next`, so that none delays the window."""
        self._waiting = []
        data = self.data
        self.follow()
        self._head.setVisible(data is not None)
        source = Source.of(data, self.stage) if data is not None else None
        if data is None or source is None or not view.has_layers(source):
            self._show_empty(data)
            return
        self.stack.setCurrentIndex(1)
        self._write_head(data, source)
        self._frame_question(source)
        if self.isVisible():
            self._waiting = [self._tell, self._draw_table, *(self._drawer(panel) for panel in self.panels())]

    def draw_next(self) -> bool:
        """Draw one part that waits since `begin_refresh`; False if none does."""
        if not self._waiting:
            return False
        self._waiting.pop(0)()
        return True

    def all_drawn(self) -> bool:
        """Whether no part waits to be drawn."""
        return not self._waiting

    def panels_of_page(self) -> tuple[LayerPanel, ...]:
        """All plots, also those that are not shown now."""
        return self.map, self.second_map, self.band, self.histogram

    def panels(self) -> tuple[LayerPanel, ...]:
        """The plots that are shown."""
        return tuple(
            panel
            for panel in self.panels_of_page()
            if panel is not self.second_map or self._is_side_by_side()
        )

    def set_time_axis(self, axis: TimeAxis) -> None:
        """Let the map and the curve run over epochs, steps or computing time."""
        self.time_choice.show_axis(axis)
        self.group.set_time_axis(axis)

    # an analysis ---------------------------------------------------------------------------------------
    def set_can_inspect(self, on: bool) -> None:
        """Say whether the network shown can be analysed now."""
        self._can_inspect = on
        self._enable_inspecting()

    def is_inspecting(self) -> bool:
        """Whether an analysis is under way."""
        return not self.progress_row.isHidden()

    def show_progress(self, event: InspectionProgress) -> None:
        """Show how far an analysis is."""
        if self.progress_row.isHidden():
            self.cancel_button.setEnabled(True)
            self.progress_row.show()
        self.progress.setFormat(f"{event.title} – %p %")
        self.progress.setValue(round(100 * event.share))
        self._enable_inspecting()

    def end_progress(self) -> None:
        """The analysis has ended, in whichever way."""
        self.progress_row.hide()
        self._enable_inspecting()

    def _cancel(self) -> None:
        self.cancel_button.setEnabled(False)
        self.progress.setFormat("Cancelling…")
        self.cancel_asked.emit()

    def _enable_inspecting(self) -> None:
        possible = self._can_inspect and not self.is_inspecting()
        self.inspect_button.setEnabled(possible)
        if self._empty_action == "inspect":
            self.empty.button.setEnabled(possible)

    # writing -------------------------------------------------------------------------------------------
    def _show_empty(self, data: RunData | None) -> None:
        self.stack.setCurrentIndex(0)
        text, action, label = NO_RUN, "demo", "Try the demo"
        if data is not None:
            self._write_head(data, Source.of(data, self.stage))
            text, action, label = NO_LAYERS, "inspect", "Analyse fully"
            if data.info.state in ("created", "running"):
                text, action, label = NOT_YET, "live", "Show the live plots"
            elif not data.from_files:
                text, action, label = READING, "", ""
        self._empty_action = action
        self.empty.say(text, label)
        self.empty.button.setEnabled(True)
        self._enable_inspecting()

    def _empty_pressed(self) -> None:
        signals = {"demo": self.demo_asked, "live": self.live_asked, "inspect": self.inspect_asked}
        signals[self._empty_action].emit()

    def _write_head(self, data: RunData, source: Source) -> None:
        self._name.setText(data.info.title)
        self._state.setText("full analysis" if data.is_inspection else words.STATE_WORDS[data.info.state])
        layout = source.layout
        about = [view.pace(source), layout.probe or layout.title] if layout is not None else []
        self._about.setText("  ·  ".join(filter(None, about)))
        self._about.setToolTip("\n".join(filter(None, [layout.title if layout else "", *about])))
        self.back_button.setVisible(data.is_inspection)
        self.time_choice.setVisible(self.stage != "attack" and not data.is_inspection)
        stages = view.stages_of(data)
        planned = stages if data.is_inspection else data.info.config.stages
        for stage, button in self.stage_buttons.items():
            button.setVisible(stage in planned and not data.is_inspection)
            button.setEnabled(stage in stages)
            button.setChecked(stage == self.stage)

    def _frame_question(self, source: Source) -> None:
        """Fit the question to what the run knows, and the controls to the question."""
        other = None
        if self.other is not None:
            other = Source.of(self.other, view.stage_like(self.other, self.stage))
        question = replace(
            self.question,
            quantity=self._shown_quantity(),
            place=self._known_place(source),
            sample=self.selection.sample,
            other=other,
            as_difference=bool(self.mode.currentData()),
        )
        changed = question.quantity != self.question.quantity
        self.question = question
        if changed:
            self._apply_log()
        self._is_writing = True
        self.quantity.setCurrentIndex(QUANTITIES.index(question.quantity))
        model = self.quantity.model()
        for row, quantity in enumerate(QUANTITIES):
            if isinstance(model, QStandardItemModel):
                model.item(row).setEnabled(self._has(quantity))
        for per, button in self.per_buttons.items():
            button.setChecked(per == question.per)
        self.mode.setVisible(other is not None)
        self._is_writing = False
        self._arrange()

    def _has(self, quantity: Quantity) -> bool:
        """Whether there can be such a quantity of the blocks or layers of this stage."""
        return bool(quantity.column(self.question.per)) and (self.stage != "attack" or quantity.is_per_image)

    def _shown_quantity(self) -> Quantity:
        """The quantity that the user chose, or what there is instead."""
        return next(quantity for quantity in (self._wanted, LIPSCHITZ, DISTANCE) if self._has(quantity))

    def _known_place(self, source: Source) -> Place | None:
        place = self.selection.place
        if place is None or place.index >= len(view.names(source.layout, place.per)):
            return None
        return view.other_per(source.layout, place, self.question.per)

    def _is_side_by_side(self) -> bool:
        return self.question.other is not None and not self.question.as_difference

    def _arrange(self) -> None:
        """Show the parts that have something to show, or the one that is enlarged."""
        enlarged = next((panel for panel in self.panels_of_page() if panel.maximise_button.isChecked()), None)
        shown: list[QWidget] = [self.table, self.histogram]
        if self.stage != "attack":
            shown += [self.map, self.band]
            if self._is_side_by_side():
                shown.append(self.second_map)
        if enlarged in shown:
            shown = [enlarged]
        for splitter, parts in self._rows:
            for part in parts:
                part.setVisible(part in shown)
            splitter.setVisible(any(part in shown for part in parts))
        self.map.share_bar(self.second_map in shown and self.map in shown)

    # drawing -------------------------------------------------------------------------------------------
    def _tell(self) -> None:
        """Warn of contradictions, and say what was found."""
        if self.data is None:
            return
        source = Source.of(self.data, self.stage)
        if source == self._told or source.layout is None:
            return
        self._told = source
        text = view.contradictions(source)
        self._warning_text.setText(text)
        self._warning_icon.setPixmap(theme.icon("warning", theme.scheme().warning).pixmap(QSize(16, 16)))
        self.warning.setVisible(bool(text))
        self._fit()
        tables = {name: self.data.columns(self.stage, name) for name in view.TABLES}
        found = insights(source.layout, tables, self.data.info.config)
        self.strip.show_insights([insight for insight in found if insight.code != "contradiction"])
        self._open_strip()

    def _draw_table(self) -> None:
        if self.data is None or not self.table.isVisibleTo(self):
            return
        source, question = Source.of(self.data, self.stage), self.question
        key = source, question.quantity, question.per
        if key != self._drawn:
            self._drawn = key
            rows = view.rows(source, question.quantity, question.per)
            self.table.show_rows(rows, question.quantity, question.per, question.place)
        self.table.select(question.place)

    def _drawer(self, panel: LayerPanel) -> Callable[[], None]:
        def draw() -> None:
            if self.data is None or not panel.isVisibleTo(self):
                return
            question, data, stage = self.question, self.data, self.stage
            if panel is self.second_map and question.other is not None:
                data, stage = question.other.data, question.other.stage
                question = self._mirrored(question, question.other)
            panel.ask(question)
            panel.show_run(data, stage)

        return draw

    def _mirrored(self, question: Question, other: Source) -> Question:
        """The same question, asked of the other run."""
        assert self.data is not None
        own = Source.of(self.data, self.stage)
        return replace(question, other=own, place=view.partner(question.place, own, other))

    def _apply_log(self) -> None:
        quantity = self.question.quantity
        on = self._log.get(quantity.key, quantity.is_log)
        self._is_writing = True
        self.log.setChecked(on)
        self._is_writing = False
        for panel in (self.map, self.second_map, self.band):
            if panel.log_button.isChecked() != on:
                panel.set_log(on)

    # what the user does --------------------------------------------------------------------------------
    def show_insight(self, insight: Insight) -> None:
        """Go to what a sentence speaks of."""
        quantity = view.quantity_of(insight.quantity)
        per = insight.place.per if insight.place is not None else self.question.per
        if quantity is not None:
            self._wanted = quantity
            self.question = replace(self.question, per=per)
        self.selection.set_place(insight.place)
        self.refresh()

    def _place_changed(self, place: object) -> None:
        if isinstance(place, Place) and place.per != self.question.per:
            self.question = replace(self.question, per=place.per)
        if self.isVisible():
            self.refresh()

    def _sample_changed(self, _sample: object) -> None:
        if self.isVisible():
            self.refresh()

    def _index_chosen(self, index: int) -> None:
        place: Place | None = Place(self.question.per, index)
        if self.sender() is self.second_map and self.question.other is not None and self.data is not None:
            place = view.partner(place, self.question.other, Source.of(self.data, self.stage))
        if place is not None:
            self.selection.set_place(place)

    def _per_picked(self, button: QPushButton) -> None:
        per: Per = button.property("per")
        layout = self.data.layouts.get(self.stage) if self.data is not None else None
        self.question = replace(self.question, per=per)
        self.selection.set_place(view.other_per(layout, self.selection.place, per))
        self.refresh()

    def _quantity_picked(self, row: int) -> None:
        self._wanted = QUANTITIES[row]
        self.refresh()

    def _log_toggled(self, on: bool) -> None:
        if not self._is_writing:
            self._log[self.question.quantity.key] = on
            self._apply_log()

    def _comparison_picked(self, _row: int) -> None:
        self.comparison_asked.emit(self.comparison.currentData())

    def _choose_comparison(self, key: str) -> None:
        self.comparison.setCurrentIndex(max(0, self.comparison.findData(key)))
        self.comparison_asked.emit(key)

    def _mode_picked(self, _row: int) -> None:
        if not self._is_writing:
            self.refresh()

    def _stage_picked(self, button: QPushButton) -> None:
        self.show_stage(button.property("stage"))
        self.stage_chosen.emit(self.stage)

    def _latest(self, data: RunData) -> StageName:
        """The newest stage that trains, or what a run without one has."""
        stages = view.stages_of(data)
        training: list[StageName] = [stage for stage in stages if stage != "attack"]
        return (training or list(stages) or list(data.info.config.stages) or list(STAGES))[-1]

    def _maximise(self, _panel: PlotPanel, _on: bool) -> None:
        self.refresh()

    def _strip_toggled(self, on: bool) -> None:
        self._wants_insights = on

    def _open_strip(self) -> None:
        wanted = self._wants_insights
        self.strip.set_open(self.height() >= TALL if wanted is None else wanted)

    def _fit(self) -> None:
        """Give warning and findings the height that they need at this width; labels that wrap ask for too much."""
        self.strip.set_room(self.height() // (5 if self.height() >= TALL else 6))
        if self._warning_text.text():
            width = max(60, self.width() - 64)
            self._warning_text.setFixedHeight(self._warning_text.heightForWidth(width))

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Show all findings where there is room."""
        super().resizeEvent(event)
        self._open_strip()
        self._fit()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Draw icons in the colours of a new theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "stack"):
            self.table.recolour()
            self._told = None
            self.refresh()
