"""What every plot can do: follow a run, be pointed at and zoomed, and wear the colours of the theme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QEvent, QObject, QPointF, Qt, Signal
from PySide6.QtGui import QFont, QKeyEvent
from PySide6.QtWidgets import QLabel, QWidget

from cartl_gui import theme
from cartl_gui.plots.crosshair import Crosshair
from cartl_gui.plots.curves import Curve
from cartl_gui.plots.frame import PlotFrame
from cartl_gui.plots.group import PlotGroup, View
from cartl_gui.plots.legend import LegendEntry
from cartl_gui.plots.marks import Mark, lines_of
from cartl_gui.plots.smoothing_popup import SmoothingPopup
from cartl_gui.plots.style import QUIET, CurveStyle, draw_sample
from cartl_gui.plots.ticks import ValueAxis
from cartl_gui.run_data import RunData
from cartl_gui.theme import Scheme
from cartl_gui.timeline import AXIS_TITLES, COLUMN_TITLES, TimeAxis, Timeline, tell, unit_of
from cartl_gui.words import count, number
from engine.config import StageName
from engine.events import Columns, RunInfo

__all__ = ["QUIET", "Curve", "CurveStyle", "PlotPanel", "Series", "draw_sample", "nice_top"]

pg.setConfigOptions(antialias=True, segmentedLineMode="on", imageAxisOrder="row-major")

Series = dict[str, np.ndarray]
#: Pixels to the right of the axes, into which the last number of an axis may reach.
_MARGIN = 12
#: What stands in place of a plot over computing time before there is any.
NO_TIME = "Computing times are known after the first epoch."


class PlotPanel(PlotFrame):
    """A plot with its frame. Subclasses fill it in `consume` and tell their numbers in `series`.

    Each can be made without arguments, for `twin` to copy it.
    """

    #: Words for the middle of an empty plot.
    empty_text = "Appears when a run has measured something."
    #: Whether the x axis places decimal logarithms.
    x_is_log = False
    #: What runs along the x axis, for plots that are pointed at and zoomed together: "time", "block", or "" for
    #: what no other plot shows.
    x_axis = ""

    #: Something is pointed at in this plot, or nothing any more.
    pointed_at = Signal(object)

    def __init__(
        self, title: str = "", x_title: str = "", y_title: str = "", *, parent: QWidget | None = None
    ) -> None:
        super().__init__(title, parent)
        self.titles = (x_title, y_title)
        self.curves: list[Curve] = []
        self.timeline: Timeline | None = None
        self.scale = 1.0
        #: Font and size in points where the plot is part of a figure on paper.
        self.figure_font: QFont | None = None
        self.group = PlotGroup()
        self._settled = View((0.0, 1.0, 0.0, 1.0), following=True)
        self._standing = ""
        self._empty_words = self.empty_text
        self._follows_theme = True
        self._source: tuple[RunData | None, StageName] = (None, "pretraining")
        self._seen: tuple[object, ...] | None = None
        self._following = True
        self._range: tuple[float, float, float, float] | None = None
        self._popup: SmoothingPopup | None = None
        self._build_plot(x_title, y_title)
        self.build_frame(self.widget)
        self.log_button.toggled.connect(self.set_log)
        self.smooth_button.clicked.connect(self._open_smoothing)
        self.back_button.clicked.connect(self._go_back)
        self.fit_action.triggered.connect(self._fit_all)
        self.grid_action.toggled.connect(self.set_grid)
        PlotGroup([self])
        self._show_empty(True)
        self.recolour(self.colours)

    # building ------------------------------------------------------------------------------------------
    def _build_plot(self, x_title: str, y_title: str) -> None:
        self.widget = pg.PlotWidget(
            parent=self, enableMenu=False, axisItems={"left": ValueAxis(orientation="left")}
        )
        self.widget.setAccessibleName(self._title)
        self.plot: pg.PlotItem = self.widget.getPlotItem()
        self.plot.hideButtons()
        self.view: pg.ViewBox = self.plot.getViewBox()
        self.view.setMouseMode(pg.ViewBox.RectMode)
        self.view.disableAutoRange()
        self.view.sigRangeChangedManually.connect(self._zoomed)
        self.view.sigRangeChanged.connect(self._detail)
        # Axes find their width while they are painted; what stood at their old place would remain in part.
        self.view.geometryChanged.connect(self.widget.viewport().update)
        self.view.geometryChanged.connect(self._fit_title)
        self.plot.setLabel("bottom", x_title)
        self.plot.setLabel("left", y_title)
        self.crosshair = Crosshair(self)
        self.widget.scene().sigMouseMoved.connect(self._mouse_moved)
        self._empty = QLabel(self.empty_text, self.widget)
        self._empty.setProperty("role", "muted")
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._empty.setWordWrap(True)
        self._empty.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.widget.installEventFilter(self)
        for axis in ("left", "bottom"):
            self.plot.getAxis(axis).enableAutoSIPrefix(False)

    def _show_empty(self, empty: bool) -> None:
        """Axes without data tell nothing: an empty plot shows its words alone."""
        self._empty.setVisible(empty)
        self.widget.centralWidget.setVisible(not empty)

    # for subclasses ------------------------------------------------------------------------------------
    def consume(self, data: RunData, stage: StageName) -> None:
        """Take what the plot shows from a run's data and draw it."""
        raise NotImplementedError

    def stamp(self, data: RunData, _stage: StageName) -> object:
        """Something that changes with what the plot shows of a run."""
        return data.version

    def series(self) -> Series:
        """The numbers shown, in columns of equal length [T], with units in their names."""
        raise NotImplementedError

    def marks(self) -> tuple[Mark, ...] | None:
        """How the columns of `series` are drawn; None if the plot cannot be drawn again from them alone."""
        return lines_of(self.curves, self.series())

    def describe(self, position: float, _height: float) -> str:
        """What the readout says about a place in the plot, beside the values of the curves."""
        return self.place_text(position)

    def place_text(self, position: float) -> str:
        """A place of the x axis in words, for plots over time: the measurement that is next to it."""
        return tell(self.crosshair.snapped(position), self.time_axis) if self.x_axis == "time" else ""

    def is_empty(self) -> bool:
        """Whether there is nothing to see."""
        return not any(curve.has_values() for curve in self.curves)

    def place_axes(self) -> tuple[float, float, float, float]:
        """Return left, right, bottom and top of the view that shows everything."""
        return 0.0, 1.0, 0.0, 1.0

    def places(self) -> list[np.ndarray]:
        """Where something is measured along the x axis, ascending, for each curve that is shown."""
        return [curve.x for curve in self.curves if curve.is_shown and curve.has_values()]

    def runs(self) -> tuple[RunInfo, ...]:
        """The runs of which something is shown."""
        data = self._source[0]
        return () if data is None or self.is_empty() else (data.info,)

    def settle(self) -> None:
        """Put in place what depends on the size of the plot in pixels."""
        self._fit_title()

    def add_curve(self, name: str, style: CurveStyle) -> Curve:
        """Add a line and its legend entry."""
        curve = Curve(name, style, self.plot, LegendEntry(name, style))
        self.curves.append(curve)
        self.entries.insert(len(self.curves) - 1, curve.entry)
        curve.entry.toggled.connect(self._write_note)
        curve.recolour(self.colours, self.scale)
        curve.set_smoothing(self.smoothing)
        return curve

    def value_text(self, value: float) -> str:
        """How the legend writes a value of a curve."""
        return f"{value:.3g}" if np.isfinite(value) else "–"

    def say_empty(self, text: str) -> None:
        """What the plot says while it is empty."""
        self._empty_words = text
        self._empty.setText(text)

    def note(self, text: str) -> None:
        """Say what is always to be known about the plot."""
        self._standing = text
        self._write_note()

    def caption(self) -> str:
        """What is to be known about the plot beside its axes, on paper too."""
        return ", ".join(filter(None, (self._standing, self.gaps())))

    def gaps(self) -> str:
        """How many values a logarithmic axis leaves out."""
        dropped = sum(curve.dropped() for curve in self.curves)
        return f"{count(dropped, 'value')} ≤ 0 not shown" if dropped else ""

    def _write_note(self) -> None:
        self.write_note(self.caption())

    def name_axis(self, side: Literal["left", "bottom"], text: str) -> None:
        """Write beside an axis; pyqtgraph puts a new text into the middle only when the axis is resized."""
        axis = self.plot.getAxis(side)
        if axis.labelText != text:
            self.plot.setLabel(side, text)
            axis.resizeEvent(None)
            self._fit_title()

    def _fit_title(self) -> None:
        """Leave the title of the y axis out where it is longer than the axis."""
        axis = self.plot.getAxis("left")
        fits = axis.label.boundingRect().width() <= self.view.height() + 12 * self.scale
        if axis.label.isVisible() != (fits and bool(axis.labelText)):
            axis.showLabel(fits and bool(axis.labelText))

    # time ----------------------------------------------------------------------------------------------
    @property
    def time_axis(self) -> TimeAxis:
        """What plots over time run over, chosen for all plots of a page."""
        return self.group.time_axis

    def set_time_axis(self, axis: TimeAxis) -> None:
        """Run over epochs, steps or computing time, if the plot is one over time."""
        if axis != self.group.time_axis:
            self.group.set_time_axis(axis)
        elif self.x_axis == "time":
            self.draw_again()

    def draw_again(self) -> None:
        """Draw what is shown anew, all of it, as if it were shown for the first time."""
        data, stage = self._source
        self._seen = None
        self.show_run(data, stage)

    def time_of(self, columns: Columns) -> np.ndarray:
        """Where the rows of a table lie on the time axis, [T]; empty while that is not known."""
        if self.timeline is None or not self.timeline.knows(self.time_axis):
            return np.empty(0)
        return self.timeline.positions(columns, self.time_axis)

    def time_series(self, columns: Columns, place: np.ndarray) -> Series:
        """The first columns of `series` for a plot over time: its axis, then epoch and step, [T] each."""
        table = {COLUMN_TITLES[self.time_axis]: place}
        return table | {name: columns[name][: len(place)] for name in ("epoch", "step") if name in columns}

    def curve_series(self, name: str, curve: Curve) -> Series:
        """The columns of `series` for a curve: what was measured, and its moving average if that is shown."""
        smoothed = {f"{name}, smoothed {number(self.smoothing)}": curve.averaged} if self.smoothing else {}
        return {name: curve.y, **smoothed}

    def epochs(self) -> float:
        """How many epochs the time axis is long."""
        return max(1.0, self.timeline.epochs) if self.timeline is not None else 1.0

    def end_of_time(self) -> float:
        """Where the time axis ends: the last epoch planned, or when that is expected to end."""
        if self.timeline is None:
            return 1.0
        end = self.timeline.end(self.time_axis)
        if not np.isfinite(end) or end <= 0:
            return 1.0
        is_over = self.timeline.epoch[-1] >= self.timeline.epochs
        return nice_top([end]) if self.time_axis == "time" and not is_over else end

    def name_time(self, remark: str = "") -> None:
        """Write below the time axis, with a remark beside."""
        title, axis = AXIS_TITLES[self.time_axis], self.plot.getAxis("bottom")
        scale = 1.0
        if self.time_axis == "time":
            unit, length = unit_of(self.end_of_time())
            title, scale = f"{title} ({unit})", 1 / length
        if axis.scale != scale:
            axis.setScale(scale)
        self.titles = (title, self.titles[1])
        self.name_axis("bottom", ", ".join(filter(None, (title, remark))))

    def show_moment(self, _position: float | None) -> None:
        """Show what was measured at a moment that is pointed at in a plot over time; None is the newest."""

    # for pages -----------------------------------------------------------------------------------------
    def show_run(self, data: RunData | None, stage: StageName) -> None:
        """Draw a run's stage if it changed since last drawn; None empties the plot."""
        key = (None,) if data is None else (data, stage, self.stamp(data, stage))
        if key == self._seen:
            return
        if self._seen is None or self._seen[:2] != key[:2]:
            self.start_over()
        self._seen = key
        self._source = (data, stage)
        self.timeline = Timeline.of(data, stage) if data is not None else None
        if data is None:
            self.clear()
        else:
            self.consume(data, stage)
        self._after_draw()

    def start_over(self) -> None:
        """Show everything again and follow new data, as something else is shown from now on."""
        self._following = True
        self._range = None
        self.group.forget(self)
        self.point_at(None)

    def show_same(self, other: PlotPanel) -> None:
        """Show what another plot of this kind shows."""
        self.show_run(*other._source)

    def clear(self) -> None:
        """Show nothing."""
        for curve in self.curves:
            curve.set(np.empty(0), np.empty(0))
        self.say("")
        self.note("")

    def _after_draw(self) -> None:
        empty = self.is_empty()
        late = self.x_axis == "time" and self.timeline is not None and not self.timeline.knows(self.time_axis)
        self._empty.setText(NO_TIME if late else self._empty_words)
        self._show_empty(empty)
        self.export_button.setEnabled(not empty)
        self._write_note()
        if self.crosshair.position is None:
            self._show_newest()
        else:
            self._show_values(self.crosshair.position)
        if self._following:
            self.fit()

    def fit(self) -> None:
        """Show everything and follow new data from now on."""
        self._following = True
        wanted = self.place_axes()
        if wanted != self._range:
            self._range = wanted
            left, right, bottom, top = wanted
            self.view.setRange(xRange=(left, right), yRange=(bottom, top), padding=0)
        self._settled = self.view_now()

    def has_plot_focus(self) -> bool:
        """Whether keys go to the plot."""
        return bool(self.widget.hasFocus())

    def view_now(self) -> View:
        """What the plot shows of its axes."""
        (left, right), (bottom, top) = self.view.viewRange()
        return View((left, right, bottom, top), self._following)

    def show_view(self, view: View) -> None:
        """Show a part of the axes, or everything where that was followed."""
        self._following, self._range = view.following, view.span
        left, right, bottom, top = view.span
        self.view.setRange(xRange=(left, right), yRange=(bottom, top), padding=0)
        if view.following:
            self.fit()
        self._settled = self.view_now()

    def set_log(self, on: bool) -> None:
        """Use a logarithmic y axis."""
        if self.log_button.isChecked() != on:
            self.log_button.setChecked(on)
            return
        for curve in self.curves:
            curve.log = on
            curve.draw()
        self.plot.setLogMode(False, on)
        self._write_note()
        self._range = None
        self.fit()

    def set_grid(self, on: bool) -> None:
        """Show grid lines."""
        if self.grid_action.isChecked() != on:
            self.grid_action.setChecked(on)
            return
        self.plot.showGrid(x=on, y=on, alpha=0.18)

    def set_smoothing(self, weight: float) -> None:
        """Show moving averages of this weight, from 0 (none) up to but without 1."""
        if weight == self.smoothing:
            return
        self.smoothing = weight
        for curve in self.curves:
            curve.set_smoothing(weight)
        self.smooth_button.setChecked(bool(weight))
        self.head()
        self._after_draw()

    def point_at(self, position: float | None) -> None:
        """Put the crosshair at a place of the x axis and tell the values there; None takes it away."""
        if self.is_empty():
            position = None
        self.crosshair.put(position)
        if position is None:
            self._after_pointing()
        else:
            self._show_values(position)

    def _after_pointing(self) -> None:
        self._show_newest()
        self.say("")

    def _show_values(self, position: float) -> None:
        left, right = self.view.viewRange()[0]
        for curve in self.curves:
            curve.entry.set_value(self.value_text(curve.value_at(position, right - left)))

    def _show_newest(self) -> None:
        for curve in self.curves:
            curve.entry.set_value(self.value_text(curve.last_value()) if curve.has_values() else "")

    def reading_height(self) -> float:
        """The place of the y axis that is read where keys, not the mouse, move the crosshair."""
        return float(sum(self.view.viewRange()[1]) / 2)

    def read_out(self, position: float) -> str:
        """A place of the x axis with the values of all curves that are shown, for those who cannot see them."""
        values = [
            f"{curve.entry.name} {curve.entry.value}"
            for curve in self.curves
            if curve.is_shown and curve.has_values() and curve.entry.value
        ]
        told = self.describe(position, self.reading_height())
        return ": ".join(filter(None, (told, ", ".join(values))))

    def style_axis(self, axis: pg.AxisItem) -> None:
        """Give an axis the colours and font of the plot."""
        font = self.font_of_plot()
        axis.setPen(pg.mkPen(self.colours.neutral, width=self.scale))
        axis.setTextPen(pg.mkPen(self.colours.muted))
        axis.setTickFont(font)
        axis.setStyle(
            tickLength=round(4 * self.scale),
            tickTextOffset=round(3 * self.scale),
            hideOverlappingLabels=round(_MARGIN * self.scale),
        )
        axis.label.setFont(font)
        axis.label.document().setDocumentMargin(4 * self.scale)  # else enlarged titles run into the numbers

    def recolour(self, colours: Scheme) -> None:
        """Put on the colours of a scheme."""
        self.colours = colours
        self.plot.layout.setContentsMargins(*(round(room * self.scale) for room in (4, 8, _MARGIN, 3)))
        self.widget.setBackground(colours.raised)
        for name in ("left", "bottom"):
            self.style_axis(self.plot.getAxis(name))
        self.crosshair.line.setPen(pg.mkPen(colours.muted, width=1))
        for curve in self.curves:
            curve.recolour(colours, self.scale)
        self.recolour_frame()

    def font_of_plot(self, *, bold: bool = False) -> QFont:
        """The font inside the plot: a little smaller than the window's, or that of the figure that it is part of."""
        if self.figure_font is not None:
            font = QFont(self.figure_font)
            font.setPixelSize(max(1, round(font.pointSizeF() * 96 / 72 * self.scale)))
        else:
            font = QFont(self.font())
            font.setPixelSize(max(8, round(self.fontInfo().pixelSize() * 0.88 * self.scale)))
        font.setBold(bold)
        return font

    def twin(self, scale: float = 1.0) -> PlotPanel:
        """Copy the plot as it is shown now, in print colours, `scale` times as large."""
        copy = type(self)()
        copy.scale = scale
        copy._follows_theme = False
        copy.group.time_axis = self.time_axis
        copy.recolour(theme.PRINT)
        copy.show_same(self)
        copy.log_button.setChecked(self.log_button.isChecked())
        copy.grid_action.setChecked(self.grid_action.isChecked())
        copy.legend_action.setChecked(self.legend_action.isChecked())
        copy.set_smoothing(self.smoothing)
        for curve, twin in zip(self.curves, copy.curves, strict=True):
            twin.entry.setChecked(curve.entry.isChecked())
        copy.show_view(replace(self.view_now(), following=False))
        return copy

    # events --------------------------------------------------------------------------------------------
    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of theme or scale."""
        super().changeEvent(event)
        if not getattr(self, "_follows_theme", False):
            return
        recoloured = event.type() == QEvent.Type.PaletteChange and self.colours.name != theme.scheme().name
        if recoloured or event.type() == QEvent.Type.FontChange:
            self.recolour(theme.scheme())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Keep the words of an empty plot in its middle, and let mouse and keys move the crosshair."""
        kind = event.type()
        if kind == QEvent.Type.Resize:
            self._empty.setGeometry(self.widget.rect().adjusted(20, 10, -20, -10))
        elif kind == QEvent.Type.Leave:
            self.group.point(self, None)
        elif kind in (QEvent.Type.FocusIn, QEvent.Type.FocusOut):
            self.update()
        elif kind == QEvent.Type.KeyPress and isinstance(event, QKeyEvent) and self._pressed(event.key()):
            return True
        return super().eventFilter(watched, event)

    def _pressed(self, key: int) -> bool:
        """Move the crosshair or change the view; False for a key without a meaning here."""
        if self.is_empty():
            return False
        if key in (Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_Home, Qt.Key.Key_End):
            position = self.crosshair.moved(key)
            if position is None:
                return False
            self.group.point(self, position)
            self.crosshair.put(position)
            self.say(self.describe(position, self.reading_height()))
            self.widget.setAccessibleDescription(self.read_out(position))
            return True
        if key == Qt.Key.Key_Escape and self.crosshair.position is not None:
            self.group.point(self, None)
            self.widget.setAccessibleDescription("")
            return True
        if key == Qt.Key.Key_Backspace and self.group.can_go_back(self):
            self._go_back()
            return True
        if key == Qt.Key.Key_F:
            self._fit_all()
            return True
        return False

    def _mouse_moved(self, position: QPointF) -> None:
        if self.is_empty() or not self.view.sceneBoundingRect().contains(position):
            return
        point = self.view.mapSceneToView(position)
        if self.x_axis:
            self.group.point(self, point.x())
        self.say(self.describe(point.x(), point.y()))

    def _zoomed(self, _axes: object) -> None:
        before, self._range = self._settled, None
        self._following = False
        self._settled = self.view_now()
        self._detail()
        self.group.zoomed(self, before)

    def _detail(self, *_what: object) -> None:
        """Draw long curves in all detail where only a part of them is shown."""
        left, right = self.view.viewRange()[0]
        for curve in self.curves:
            curve.set_window(None if self._following else (left, right))

    def _go_back(self) -> None:
        self.group.back(self)

    def _fit_all(self) -> None:
        self.group.fit(self)

    def _open_smoothing(self) -> None:
        if self._popup is None:
            self._popup = SmoothingPopup(self)
            self._popup.changed.connect(self.set_smoothing)
        self.smooth_button.setChecked(bool(self.smoothing))
        self._popup.open_below(self.smooth_button, self.smoothing)


def nice_top(values: Sequence[float] | np.ndarray, smallest: float = 1e-6) -> float:
    """A round number above all values, so that the axis seldom moves."""
    finite = np.asarray(values)[np.isfinite(values)]
    highest = max(float(finite.max()), smallest) if len(finite) else smallest
    magnitude = 10.0 ** np.floor(np.log10(highest))
    for factor in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10):
        if highest * 1.04 <= factor * magnitude:
            return float(factor * magnitude)
    return float(12 * magnitude)
