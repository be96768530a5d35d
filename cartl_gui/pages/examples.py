"""The images of a run before and after the attack, and how far each moved in every block and layer."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import (
    QLabel,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import examples_view as view
from cartl_gui import theme, words
from cartl_gui.examples_view import FILTERS, Gallery
from cartl_gui.pages.epsilon_bar import EpsilonBar
from cartl_gui.pages.plot_page import PlotPage
from cartl_gui.pages.run_head import RunHead
from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.mosaic import MosaicPlot
from cartl_gui.plots.sample_distance import SampleDistancePlot
from cartl_gui.run_data import RunData
from cartl_gui.selection import Place, Selection
from cartl_gui.widgets import QuietCombo, WrappedLabel
from engine.config import STAGE_TITLES, StageName
from engine.events import ExamplesAttacked

NO_RUN = (
    "Choose a run in the list below, or start one.\n"
    "Its images appear here, clean and attacked, with what the network takes them for."
)


class ExamplesPage(PlotPage):
    """Mosaic, distances of the selected image over depth, and the radius of the attack."""

    #: Run, stage and radius within which its images are to be attacked anew.
    attack_asked = Signal(str, str, float)
    #: Another stage of the run was chosen.
    stage_chosen = Signal(str)
    demo_asked = Signal()
    live_asked = Signal()
    export_requested = Signal(object)

    def __init__(self, selection: Selection, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.selection = selection
        self.data: RunData | None = None
        self.stage: StageName = "pretraining"
        self._gallery: Gallery | None = None
        self._attacked: ExamplesAttacked | None = None
        self._asked: float | None = None
        self._failure = ""
        self._stamp: object = None
        self._is_new = False
        self._waiting: list[PlotPanel] = []
        self.mosaic, self.distance = MosaicPlot(), SampleDistancePlot()
        self.epsilon = EpsilonBar()
        self._build()
        for panel in self.panels():
            panel.export_requested.connect(self.export_requested)
            panel.maximise_toggled.connect(self._maximise)
        self.mosaic.sample_chosen.connect(selection.set_sample)
        self.distance.place_chosen.connect(selection.set_place)
        self.distance.measure_changed.connect(self._distance_changed)
        selection.sample_changed.connect(self._sample_changed)
        selection.place_changed.connect(self._place_changed)
        self.epsilon.epsilon_asked.connect(self._ask)
        self.epsilon.recorded_asked.connect(self.show_recorded)
        self.distance.select(selection.place)
        self.show_run(None, self.stage)

    def _build(self) -> None:
        self._head = head = RunHead("Show the images of stage")
        self._name, self._state, self._about = head.name, head.state, head.about
        self._stages, self.stage_buttons = head.stages, head.stage_buttons
        self.filter = QuietCombo()
        self.filter.setAccessibleName("Which images")
        for shown, title in FILTERS.items():
            self.filter.addItem(title, shown)
        self.sort = QuietCombo()
        self.sort.setAccessibleName("Order of the images")
        self.sort.setMinimumContentsLength(15)
        for by, title in (("number", "By number"), ("distance", ""), ("confidence", "By confidence lost")):
            self.sort.addItem(title, by)
        self.count = QLabel()
        self.count.setAccessibleName("Number of flipped images")
        self.mosaic.add_controls(self.filter, self.sort, self.count)
        self._stages.buttonClicked.connect(self._stage_picked)
        self._splitter = QSplitter(Qt.Orientation.Horizontal)
        for panel in self.panels():
            self._splitter.addWidget(panel)
        self._splitter.setSizes([1000, 660])
        self._splitter.setChildrenCollapsible(False)
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(self._splitter, 1)
        column.addWidget(self.epsilon)
        self.stack = QStackedWidget()
        self.stack.addWidget(self._build_empty())
        self.stack.addWidget(body)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(8, 8, 8, 6)
        outer.setSpacing(6)
        outer.addWidget(self._head)
        outer.addWidget(self.stack, 1)
        self.filter.currentIndexChanged.connect(self._sort_again)
        self.sort.currentIndexChanged.connect(self._sort_again)

    def _build_empty(self) -> QWidget:
        self.empty_text = WrappedLabel("muted")
        self.empty_text.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.demo_button, self.live_button = QPushButton("Try the demo"), QPushButton("Show the live plots")
        self.demo_button.clicked.connect(self.demo_asked)
        self.live_button.clicked.connect(self.live_asked)
        empty = QWidget()
        column = QVBoxLayout(empty)
        column.addStretch(2)
        picture = QLabel()
        picture.setPixmap(theme.icon("examples", theme.scheme().neutral).pixmap(QSize(48, 48)))
        column.addWidget(picture, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addWidget(self.empty_text)
        column.addSpacing(8)
        for button in (self.demo_button, self.live_button):
            button.setProperty("main", "true")
            column.addWidget(button, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addStretch(3)
        return empty

    # what is shown -------------------------------------------------------------------------------------
    def panels(self) -> tuple[PlotPanel, ...]:
        """The mosaic and the curve over depth."""
        return self.mosaic, self.distance

    def show_run(self, data: RunData | None, stage: StageName) -> None:
        """Show a stage of a run from now on; None shows what will appear here."""
        before, stage_before = self.data, self.stage
        self.data, self.stage = data, stage
        if data is not before or stage != stage_before:
            self._attacked = self._asked = self._stamp = None
            self._failure, self._is_new = "", True
        if data and before and view.images_of(data, stage) != view.images_of(before, stage_before):
            # The numbers of images mean others in another data set or split.
            self.selection.set_sample(None)
        self.begin_refresh()
        if self.isVisible():
            self.refresh()

    def begin_refresh(self) -> None:
        """Write the texts anew and let changed plots wait for `draw_next`, so that none delays the window."""
        data = self.data
        self._head.setVisible(data is not None)
        waits = data is not None and data.info.state in ("created", "running")
        self.demo_button.setVisible(not waits)
        self.live_button.setVisible(waits)
        if data is None:
            self._gallery = None
            self.empty_text.setText(NO_RUN)
            self.stack.setCurrentIndex(0)
            return
        self._name.setText(data.info.title)
        self._state.setText("full analysis" if data.is_inspection else words.STATE_WORDS[data.info.state])
        stamp = (
            data.info.id,
            self.stage,
            self._attacked and id(self._attacked),
            view.stamp_of(data, self.stage),
        )
        if stamp != self._stamp:
            self._stamp = stamp
            self._gallery = view.gallery_of(data, self.stage, self._attacked)
            self._waiting = list(self.panels())
            self._show_radii()
        self.stack.setCurrentIndex(0 if self._gallery is None else 1)
        self.empty_text.setText(view.no_images_text(data, self.stage))
        self._write()

    def draw_next(self) -> bool:
        """Draw one plot that waits since `begin_refresh`; False if none does."""
        if not self._waiting:
            return False
        panel = self._waiting.pop(0)
        if panel is self.mosaic:
            self._draw_mosaic()
        else:
            self._draw_distance()
        return True

    def all_drawn(self) -> bool:
        """Whether no plot waits to be drawn."""
        return not self._waiting

    # another radius ------------------------------------------------------------------------------------
    def show_attacked(self, event: ExamplesAttacked) -> None:
        """Show the images of another radius, if they belong to what is shown and are waited for."""
        data = self.data
        if data is None or (event.run_id, event.stage) != (data.info.id, self.stage) or self._asked is None:
            return
        if self._asked == event.epsilon:
            self._asked = None
        self._attacked, self._failure = event, ""
        self.refresh()

    def attack_failed(self, text: str) -> None:
        """Say why the images could not be attacked; those shown stay."""
        self._asked, self._failure = None, text
        self._write()

    def show_recorded(self) -> None:
        """Go back to the images that the run recorded."""
        self._attacked = self._asked = None
        self._failure = ""
        self.refresh()

    def _ask(self, epsilon: float) -> None:
        if self.data is not None:
            self._asked, self._failure = epsilon, ""
            self._write()
            self.attack_asked.emit(self.data.info.id, self.stage, epsilon)

    def _show_radii(self) -> None:
        if self.data is not None and self._asked is None:
            radii = view.radii_of(self.data, self.stage)
            self.epsilon.show_radii(radii, self._attacked.epsilon if self._attacked else radii.recorded)

    # drawing -------------------------------------------------------------------------------------------
    def _draw_mosaic(self) -> None:
        gallery = self._gallery
        shown, by = self.filter.currentData(), self.sort.currentData()
        if gallery is None:
            self.mosaic.clear()
            return
        rows = view.rows_in_order(
            gallery, shown, by, place=self.selection.place, measure=self.distance.measure
        )
        self.mosaic.say_empty(view.nothing_text(gallery, shown))
        self.mosaic.show_gallery(gallery, rows)
        if self._is_new:
            self._is_new = False
            self.mosaic.bar.setValue(0)
            self.mosaic.select(self.selection.sample)

    def _draw_distance(self) -> None:
        gallery = self._gallery
        self.distance.say_empty(view.no_distance_text(gallery))
        self.distance.show_sample(gallery, self.selection.sample)

    def _write(self) -> None:
        """Write count, order and what the radius bar says."""
        data, gallery = self.data, self._gallery
        if data is None:
            return
        layout = data.layouts.get(self.stage)
        about = layout.title if layout else f"{STAGE_TITLES[self.stage]} has not begun"
        self._about.setText(about)
        self._about.setToolTip(about)
        for stage, button in self.stage_buttons.items():
            button.setVisible(stage in data.info.config.stages and not data.is_inspection)
            button.setEnabled(stage in data.stages() or stage == self.stage)
            button.setChecked(stage == self.stage)
        has_images = gallery is not None and len(gallery) > 0
        for widget in (self.count, self.filter, self.sort):
            widget.setVisible(has_images)
        if gallery is None:
            return
        self.count.setText(view.count_text(gallery))
        place = view.place_to_sort_by(gallery, self.selection.place)
        self.sort.setItemText(1, f"By distance at {place.per} {place.index + 1}")
        self._write_radius(data, gallery)

    def _write_radius(self, data: RunData, gallery: Gallery) -> None:
        reason = view.why_not_attacked(data, self.stage)
        text, role = reason, "muted"
        if self._failure:
            text, role = self._failure, "error"
        elif self._asked is not None:
            text, role = "Computing…", "heading"
        elif not gallery.is_recorded:
            text, role = view.anew_text(gallery), "heading"
        elif not reason:
            text = f"Recorded: {gallery.attack}"
        self.epsilon.show_state(text, role, enabled=not reason, anew=not gallery.is_recorded)

    def _stage_picked(self, button: QPushButton) -> None:
        self.stage_chosen.emit(button.property("stage"))

    def _sort_again(self) -> None:
        if self._gallery is not None:
            self._draw_mosaic()
            self.mosaic.select(self.selection.sample)

    def _sample_changed(self, sample: int | None) -> None:
        self.mosaic.select(sample)
        self._draw_distance()
        self._write()

    def _place_changed(self, place: Place | None) -> None:
        self.distance.select(place)
        self._distance_changed()
        self._write()

    def _distance_changed(self) -> None:
        if self.sort.currentData() == "distance":
            self._sort_again()

    def _maximise(self, panel: PlotPanel, on: bool) -> None:
        for other in self.panels():
            other.setVisible(not on or other is panel)
