"""Runs laid over each other: their courses over time, and their profiles over blocks at a moment."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent
from PySide6.QtGui import QColor, QFont, QFontMetrics
from PySide6.QtWidgets import QGraphicsPathItem, QWidget

from cartl_gui.comparison import BANDS, NO_COURSE, Course, Line, Spread, course_of, profile_of, row_at
from cartl_gui.plots.area import area_between
from cartl_gui.plots.base import PlotPanel, Series, nice_top
from cartl_gui.plots.layer_panel import scaled
from cartl_gui.plots.marks import Band, Mark, lines_of
from cartl_gui.plots.ticks import numbers
from cartl_gui.run_data import RunData
from cartl_gui.theme import Scheme
from cartl_gui.timeline import COLUMN_TITLES, TimeAxis, Timeline, tell
from cartl_gui.widgets import QuietCombo
from cartl_gui.words import number, readable
from engine.config import StageName
from engine.events import RunInfo, TableName

#: The choice of what is drawn stands in place of a title.
_AS_TITLE = (
    "QComboBox { border: 1px solid transparent; font-weight: 600; padding: 1px 2px; background: transparent; }"
    "QComboBox:hover { border: 1px solid palette(mid); } QComboBox:focus { border: 1px solid palette(highlight); }"
)
#: What a plot over blocks shows while nothing is pointed at.
NEWEST = "newest"
#: Opacity of bands.
_FAINT = 42


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """What is laid over each other.

    Attributes:
        lines: from the first to be drawn.
        data: what is known of each run so far, by id; runs whose files are not read yet are missing.
        stage: of which stage.
        spread: how seeds are shown.
    """

    lines: tuple[Line, ...] = ()
    data: Mapping[str, RunData] | None = None
    stage: StageName = "pretraining"
    spread: Spread = "each"

    def members(self, line: Line) -> list[RunData]:
        """What is known of a line's runs."""
        return [self.data[run.id] for run in line.runs if run.id in self.data] if self.data else []


@dataclass(frozen=True, slots=True)
class Measured:
    """A column that can be drawn.

    Attributes:
        title: of the plot.
        axis: of the y axis.
        table, column: where it stands.
        factor: what its values are multiplied by.
    """

    title: str
    axis: str
    table: TableName
    column: str
    factor: float = 1.0


class ComparedPlot(PlotPanel):
    """A curve for each line, with a band over its seeds. The page's list of lines is the legend of all its plots."""

    #: What can be drawn; the first is drawn at the beginning.
    choices: tuple[Measured, ...] = ()
    line_width = 1.6

    def __init__(self, x_title: str, parent: QWidget | None = None) -> None:
        self.measured = self.choices[0]
        self._overlay = Overlay()
        self._courses: list[Course] = []
        self._areas: list[QGraphicsPathItem] = []
        self._stamps: list[object] = []
        super().__init__(self.measured.title, x_title, self.measured.axis, parent=parent)
        self.legend.hide()
        self.legend_action.toggled.disconnect(self.legend.setVisible)
        self.legend_action.setVisible(False)
        self._heading.hide()
        self.choice = QuietCombo()
        self.choice.setAccessibleName("What is compared")
        self.choice.setStyleSheet(_AS_TITLE)
        for measured in self.choices:
            self.choice.addItem(measured.title)
        self.choice.activated.connect(self._chosen)
        self._head.insertWidget(0, self.choice)
        place = self._head.indexOf(self._pointed) + 1
        self._head.insertWidget(place, self._note)
        self._head.insertSpacing(place + 1, 6)
        self._fit_choice()

    def _fit_choice(self) -> None:
        """Give the title the width that it needs: style sheets make it bold, which the box does not reckon with."""
        font = QFont(self.choice.font())
        font.setWeight(QFont.Weight.DemiBold)
        metrics = QFontMetrics(font)
        arrow = 2 * metrics.height()
        self.choice.setFixedWidth(metrics.horizontalAdvance(f"  {self.measured.title}") + arrow)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Fit the title to another font, as at another scale."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "choice"):
            self._fit_choice()

    def _chosen(self, row: int) -> None:
        self.choose(self.choices[row])

    def choose(self, measured: Measured) -> None:
        """Draw another column."""
        self.measured = measured
        self.choice.setCurrentIndex(self.choices.index(measured))
        self._fit_choice()
        self.title = measured.title
        self.head()
        self.widget.setAccessibleName(measured.title)
        self.titles = (self.titles[0], measured.axis)
        self.name_axis("left", measured.axis)
        self.start_over()
        self.show_overlay(self._overlay)

    # what is shown -------------------------------------------------------------------------------------
    def show_overlay(self, overlay: Overlay) -> None:
        """Draw those lines anew that have changed."""
        before, self._overlay = self._overlay, overlay
        if _frame_of(before) != _frame_of(overlay):
            self.start_over()
        while len(self.curves) < len(overlay.lines):
            self._add_line()
        for place, curve in enumerate(self.curves):
            line = overlay.lines[place] if place < len(overlay.lines) else None
            curve.entry.setVisible(line is not None)
            if line is not None:
                curve.name = line.name
                curve.entry.rename(line.name, line.about())
                curve.restyle(replace(line.style, width=self.line_width))
            stamp = self._stamp(line)
            if stamp != self._stamps[place]:
                self._stamps[place] = stamp
                self._draw_line(place, line)
        self._colour_areas()
        self.name_place()
        self._after_draw()

    def _add_line(self) -> None:
        area = QGraphicsPathItem()
        area.setZValue(-5)
        area.setPen(pg.mkPen(None))
        self.plot.addItem(area, ignoreBounds=True)
        self._areas.append(area)
        self._courses.append(NO_COURSE)
        self._stamps.append(None)
        curve = self.add_curve("", self._overlay.lines[len(self.curves)].style)
        curve.log = self.log_button.isChecked()
        curve.entry.toggled.connect(area.setVisible)

    def _stamp(self, line: Line | None) -> object:
        """What changes with what is drawn of a line."""
        if line is None:
            return None
        overlay = self._overlay
        tables: tuple[TableName, ...] = (self.measured.table, "epochs")
        known = tuple((id(data), data.version_of(overlay.stage, tables)) for data in overlay.members(line))
        return known, self.measured, overlay.stage, overlay.spread, self.place_stamp(overlay.members(line))

    def _draw_line(self, number: int, line: Line | None) -> None:
        course = self.course_of(self._overlay.members(line)) if line is not None else NO_COURSE
        factor = self.measured.factor
        self._courses[number] = course = Course(
            course.place, factor * course.mean, factor * course.low, factor * course.high
        )
        self.curves[number].set(course.place, course.mean)
        self._draw_area(number)

    def _draw_area(self, number: int) -> None:
        course, log = self._courses[number], self.log_button.isChecked()
        low, high = scaled(course.low, log=log), scaled(course.high, log=log)
        bar = 0.004 * float(np.ptp(course.place)) if len(course.place) > 1 else 0.05
        self._areas[number].setPath(area_between(course.place, low, high, bar))

    @abstractmethod
    def course_of(self, members: Sequence[RunData]) -> Course:
        """What is drawn of a line."""

    def name_place(self) -> None:
        """Write below the x axis."""

    def place_stamp(self, _members: Sequence[RunData]) -> object:
        """What changes with the places along the x axis, or with the moment that is shown."""
        return self.time_axis

    def when(self) -> str:
        """The moment that is shown, in words, where there is one."""
        return ""

    def caption(self) -> str:
        """What is to be known about the plot on paper: what its bands say, its moment, what is left out."""
        has_bands = any(np.isfinite(course.low).any() for course in self._courses)
        bands = BANDS[self._overlay.spread] if has_bands else ""
        return ", ".join(filter(None, (self.when(), bands, self.gaps())))

    def _write_note(self) -> None:
        """The page's list of lines tells what the bands say."""
        smoothed = f"smoothed {number(self.smoothing)}" if self.smoothing else ""
        when = self.when()
        self.write_note(", ".join(filter(None, (smoothed, when if when != NEWEST else "", self.gaps()))))

    def show_same(self, other: PlotPanel) -> None:
        """Show what another plot of this kind shows."""
        if isinstance(other, ComparedPlot):
            self.choose(other.measured)
            self.show_overlay(other._overlay)

    def draw_again(self) -> None:
        """Draw all lines anew, as if they were shown for the first time."""
        self.start_over()
        self.show_overlay(self._overlay)

    def clear(self) -> None:
        """Show nothing."""
        self.show_overlay(Overlay())

    def set_log(self, on: bool) -> None:
        """Use a logarithmic y axis."""
        super().set_log(on)
        if self.log_button.isChecked() == on:
            for number in range(len(self._courses)):
                self._draw_area(number)

    # numbers -------------------------------------------------------------------------------------------
    def runs(self) -> tuple[RunInfo, ...]:
        """The runs that are drawn."""
        return tuple(data.info for line in self._overlay.lines for data in self._overlay.members(line))

    def series(self) -> Series:
        """For each line where it was measured, its values and the ends of its band, [T] each with gaps at the end."""
        length = max((len(course.place) for course in self._courses), default=0)
        table: Series = {}
        for curve, course in zip(self.curves, self._courses, strict=True):
            if not curve.has_values():
                continue
            name = f"{curve.name}: {self.measured.axis}"
            columns = {f"{curve.name}: {self.place_title()}": course.place} | self.curve_series(name, curve)
            if np.isfinite(course.low).any():
                columns |= {f"{name}, low": course.low, f"{name}, high": course.high}
            table |= {
                title: np.pad(values.astype(float), (0, length - len(values)), constant_values=np.nan)
                for title, values in columns.items()
            }
        return table

    def marks(self) -> tuple[Mark, ...] | None:
        """The curves, and the band around each that has one."""
        table = self.series()
        lines = lines_of(self.curves, table)
        if lines is None:
            return None
        bands = []
        for line in lines:
            low, high = (f"{line.name}: {self.measured.axis}, {end}" for end in ("low", "high"))
            if low in table:
                bands.append(Band(line.x, line.look, low, high))
        return (*bands, *lines)

    def place_title(self) -> str:
        """What the x axis counts, as a title of columns."""
        return self.titles[0]

    def heights(self) -> tuple[float, float]:
        """Bottom and top of the y axis: all means, and of their bands as much again at most."""
        means = self.extremes()
        means = means[np.isfinite(means)]
        low, high = float(means.min(initial=0.0)), float(means.max(initial=0.0))
        ends = [end for course in self._courses for end in (course.low, course.high)]
        bands = np.concatenate([np.empty(0), *ends])
        bands = np.clip(bands[np.isfinite(bands)], low - (high - low), high + (high - low))
        values = np.concatenate([means, bands])
        if self.log_button.isChecked():
            values = np.log10(values[values > 0])
            if not len(values):
                return -1.0, 0.0
            foot = float(np.floor(4 * values.min() - 0.2) / 4)
            return foot, max(foot + 0.5, float(np.ceil(4 * values.max() + 0.2) / 4))
        return min(0.0, float(values.min(initial=0.0))), nice_top(values)

    def extremes(self) -> np.ndarray:
        """[n] values with the smallest and the largest mean among them."""
        return np.concatenate([np.empty(0), *(curve.extremes() for curve in self.curves)])

    def recolour(self, colours: Scheme) -> None:
        """Put on the colours of a scheme."""
        super().recolour(colours)
        self._colour_areas()

    def _colour_areas(self) -> None:
        for area, curve in zip(self._areas, self.curves, strict=True):
            colour = QColor(curve.style.colour_in(self.colours))
            colour.setAlpha(_FAINT)
            area.setBrush(colour)


class ComparedCourses(ComparedPlot):
    """A column over epochs, steps or computing time."""

    x_axis = "time"
    can_smooth = True

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("epoch", parent)

    def course_of(self, members: Sequence[RunData]) -> Course:
        """Values over time."""
        overlay, measured = self._overlay, self.measured
        return course_of(
            members, overlay.stage, measured.table, measured.column, self.time_axis, overlay.spread
        )

    def show_overlay(self, overlay: Overlay) -> None:
        """Draw those lines anew that have changed; the axis is as long as the longest run."""
        lines = [Timeline.of(data, overlay.stage) for line in overlay.lines for data in overlay.members(line)]
        known = [line for line in lines if line.knows(self.time_axis)]
        self.timeline = max(known or lines, key=lambda line: line.end(self.time_axis), default=None)
        super().show_overlay(overlay)

    def name_place(self) -> None:
        """Write below the time axis."""
        self.name_time()

    def place_title(self) -> str:
        """The time axis as a title of columns."""
        return COLUMN_TITLES[self.time_axis]

    def place_axes(self) -> tuple[float, float, float, float]:
        """All of the longest run."""
        last = max((float(course.place[-1]) for course in self._courses if len(course.place)), default=0.0)
        return 0.0, 1.01 * max(self.end_of_time(), last), *self.heights()


class ComparedAccuracy(ComparedCourses):
    """Robust, clean or training accuracy over time."""

    choices = (
        Measured("Robust accuracy", "robust accuracy (%)", "epochs", "robust_accuracy", 100.0),
        Measured("Clean accuracy", "clean accuracy (%)", "epochs", "clean_accuracy", 100.0),
        Measured("Training accuracy", "training accuracy (%)", "epochs", "train_accuracy", 100.0),
    )
    empty_text = "The accuracies of the runs appear here after their first epoch."
    can_log = False

    def heights(self) -> tuple[float, float]:
        """0 to 100 %."""
        return 0.0, 100.0

    def value_text(self, value: float) -> str:
        """Percent with one digit."""
        return f"{value:.1f} %" if np.isfinite(value) else "–"


class ComparedLoss(ComparedCourses):
    """The loss over time, in all or its terms."""

    choices = (
        Measured("Loss", "loss", "steps", "loss"),
        Measured("Cross-entropy", "cross-entropy", "steps", "cross_entropy"),
    )
    line_width = 1.0
    empty_text = "The losses of the runs appear here with their first training steps."


class ComparedBlocks(ComparedPlot):
    """A column over the blocks, as last measured or at the moment that another plot points at."""

    x_axis = "block"

    def __init__(self, parent: QWidget | None = None) -> None:
        self._moment: float | None = None
        super().__init__("block", parent)
        self.view.sigResized.connect(self.settle)

    def moment(self) -> tuple[float, TimeAxis] | None:
        """The moment that is shown; None is the newest measurement."""
        return None if self._moment is None else (self._moment, self.time_axis)

    def place_stamp(self, members: Sequence[RunData]) -> object:
        """The measurements that are next to the moment."""
        stage, measured = self._overlay.stage, self.measured
        return [row_at(data, stage, measured.table, measured.column, self.moment()) for data in members]

    def course_of(self, members: Sequence[RunData]) -> Course:
        """Values over blocks."""
        overlay, measured = self._overlay, self.measured
        return profile_of(
            members, overlay.stage, measured.table, measured.column, self.moment(), overlay.spread
        )

    def show_moment(self, position: float | None) -> None:
        """Show what was measured at a moment that is pointed at in a plot over time; None is the newest."""
        if position == self._moment:
            return
        self._moment = position
        for place, line in enumerate(self._overlay.lines):
            stamp = self._stamp(line)
            if stamp != self._stamps[place]:
                self._stamps[place] = stamp
                self._draw_line(place, line)
        self._after_draw()

    def when(self) -> str:
        """When that was measured which is shown; the moment asked for if the runs were measured at several times."""
        if self._moment is None:
            return NEWEST
        stage, measured, moment, found = self._overlay.stage, self.measured, self.moment(), set()
        for data in self._members():
            row = row_at(data, stage, measured.table, measured.column, moment)
            if row is not None:
                columns = data.columns(stage, measured.table)
                place = Timeline.of(data, stage).positions(columns, self.time_axis)[row]
                found.add(tell(float(place), self.time_axis))
        return found.pop() if len(found) == 1 else f"next to {tell(self._moment, self.time_axis)}"

    def describe(self, position: float, _height: float) -> str:
        """The block pointed at, with its name where all runs call it the same."""
        block = round(position)
        layouts = (data.layouts.get(self._overlay.stage) for data in self._members())
        names = {layout.block_names[block - 1 : block] for layout in layouts if layout is not None}
        name = next(iter(names)) if len(names) == 1 else ()
        return f"block {block}" + (f" ({name[0]})" if name else "")

    def _members(self) -> list[RunData]:
        return [data for line in self._overlay.lines for data in self._overlay.members(line)]

    def extremes(self) -> np.ndarray:
        """Of all moments, so that the axis stays while the moment changes."""
        measured, stage = self.measured, self._overlay.stage
        found = [data.columns(stage, measured.table).get(measured.column) for data in self._members()]
        parts = [values.ravel().astype(float) for values in found if values is not None]
        return measured.factor * np.concatenate([np.empty(0), *parts])

    def _blocks(self) -> int:
        return max((len(course.place) for course in self._courses), default=1)

    def name_place(self) -> None:
        """Count blocks in whole numbers."""
        self.plot.getAxis("bottom").setTicks(numbers(max(1, self._blocks()), self.view.width() / self.scale))

    def settle(self) -> None:
        """Count as many blocks as there is room for."""
        self.name_place()

    def place_axes(self) -> tuple[float, float, float, float]:
        """All blocks of the deepest network."""
        return 0.6, max(1, self._blocks()) + 0.4, *self.heights()

    def value_text(self, value: float) -> str:
        """Three digits."""
        return readable(value)


class ComparedDistance(ComparedBlocks):
    """How far adversarial features are from clean ones in each block."""

    choices = (
        Measured("Feature distance", "distance, normalised L2", "layers", "distance"),
        Measured("Relative distance", "distance, relative L2", "layers", "relative_distance"),
    )
    empty_text = "How far features of the runs drift in each block appears here after their first epoch."


class ComparedNorms(ComparedBlocks):
    """How much each block can amplify: the norm that NEFT constrains, or a certified bound."""

    choices = (
        Measured("Spectral norm", "largest spectral norm", "layers", "spectral_norm"),
        Measured("Certified bound", "Lipschitz constant, upper bound", "bounds", "block_upper"),
    )
    empty_text = "Spectral norms and bounds of each block appear here after the first epoch of the runs."


def _frame_of(overlay: Overlay) -> tuple[object, ...]:
    """What has to change before all of the axes is shown again."""
    return [run.id for line in overlay.lines for run in line.runs], overlay.stage
