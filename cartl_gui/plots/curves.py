"""One line of a plot: drawn thinned out, smoothed, on a logarithmic axis, and read at a place of the x axis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyqtgraph as pg

from cartl_gui.plots.legend import LegendEntry
from cartl_gui.plots.smoothing import Smoother
from cartl_gui.plots.style import CurveStyle, pen_of
from cartl_gui.run_data import MAX_POINTS, decimate
from cartl_gui.theme import Scheme

#: Opacity of a curve as it was measured, behind the smoothed one.
_PALE = 80
#: Most points that are marked with symbols.
_MOST_SYMBOLS = 40
#: Most points of a dashed line: dashes along more of them take long to draw, and are not to be told apart.
_MOST_DASHED = 400
#: Share of the axis within which a curve's only point counts as being at a place.
_NEAR = 0.02
#: Newest values among which the last number is looked for first.
_NEWEST = 1000
_NOTHING = np.empty(0)


class Curve:
    """One line of a plot. The drawn points are thinned out; `x` and `y` keep all that was measured, [T] each.

    With a smoothing above 0 the line is the moving average, and what was measured lies behind it, pale.

    Args:
        name: of what it shows.
        style: how it looks.
        plot: what it is drawn in.
        entry: its line in the legend.
    """

    def __init__(self, name: str, style: CurveStyle, plot: pg.PlotItem, entry: LegendEntry) -> None:
        self.name, self.style, self.entry = name, style, entry
        self.x = self.y = self.averaged = _NOTHING
        self.log = False
        self.smoothing = 0.0
        self._smoother = Smoother(0.0)
        self._plot = plot
        # The smallest and largest value in each of many short ranges, of all that was measured and of its average.
        self._thin_raw = self._thin = (_NOTHING, _NOTHING)
        self._window: tuple[float, float] | None = None
        self.item = self._new_item()
        self._raw: pg.PlotDataItem | None = None
        self._colours: tuple[Scheme, float] | None = None
        self.is_shown = True
        entry.toggled.connect(self.show)

    def _new_item(self) -> pg.PlotDataItem:
        item = pg.PlotDataItem(pen=None)
        if self.style.dashes:
            item.curve.setSegmentedLineMode("off")  # dashes would begin anew in each segment
        self._plot.addItem(item)
        return item

    def set(self, x: np.ndarray, y: np.ndarray) -> None:
        """Show new points, [T] and [T], with ascending x where the plot is pointed at."""
        self.x, self.y = np.asarray(x), np.asarray(y)
        if self.y.dtype.kind != "f":
            self.y = self.y.astype(float)
        self._average()
        self.draw()

    def set_smoothing(self, weight: float) -> None:
        """Show the moving average of this weight; 0 shows what was measured alone."""
        if weight != self.smoothing:
            self.smoothing, self._smoother = weight, Smoother(weight)
            self._average()
            self.draw()

    def _average(self) -> None:
        self._thin_raw = decimate(self.x, self.y, self._most_points())
        self.averaged, self._thin = self.y, self._thin_raw
        if self.smoothing:
            self.averaged = self._smoother.smooth(self.y)
            self._thin = decimate(self.x, self.averaged, self._most_points())

    def _most_points(self) -> int:
        return _MOST_DASHED if self.style.dashes else MAX_POINTS

    def restyle(self, style: CurveStyle) -> None:
        """Look different from now on."""
        if style == self.style:
            return
        self.style = style
        self.entry.restyle(style)
        for item in filter(None, (self.item, self._raw)):
            item.curve.setSegmentedLineMode("off" if style.dashes else "on")
        if self._colours is not None:
            self.recolour(*self._colours)
        self._average()
        self.draw()

    def set_window(self, window: tuple[float, float] | None) -> None:
        """Draw what lies between two places of the x axis in all detail; None is everything."""
        if window != self._window:
            self._window = window
            if len(self.x) > self._most_points():
                self.draw()

    def draw(self) -> None:
        """Draw the points; on a log axis values of 0 and less are gaps."""
        self._draw(self.item, self.averaged, self._thin)
        if self.style.symbol:
            self.item.setSymbol(self.style.symbol if self._is_marked() else None)
        if self.smoothing and self._raw is None:
            self._raw = self._new_item()
            self._raw.setZValue(-1)
            if self._colours is not None:
                self.recolour(*self._colours)
            self.show(self.is_shown)
        if self._raw is not None:
            self._draw(
                self._raw, *((self.y, self._thin_raw) if self.smoothing else (_NOTHING, (_NOTHING,) * 2))
            )

    def look(self) -> CurveStyle:
        """How it is drawn: without symbols where there are too many points for them."""
        return self.style if self._is_marked() else replace(self.style, symbol=None)

    def _is_marked(self) -> bool:
        return len(self.x) <= _MOST_SYMBOLS and not self.smoothing

    def _draw(self, item: pg.PlotDataItem, values: np.ndarray, thin: tuple[np.ndarray, ...]) -> None:
        x, y = thin
        if self._window is not None and len(values) > self._most_points():
            first, last = np.searchsorted(self.x, self._window)
            part = slice(max(0, first - 1), last + 1)
            x, y = decimate(self.x[part], values[part], self._most_points())
        y = np.where(y > 0, y, np.nan) if self.log else y
        if not np.isfinite(y).any():  # symbols without any place make pyqtgraph warn while it paints
            x = y = np.empty(0)
        item.setData(x, y, connect="finite")

    def show(self, on: bool) -> None:
        """Show or hide the line."""
        self.is_shown = on
        self.item.setVisible(on)
        if self._raw is not None:
            self._raw.setVisible(on)

    def has_values(self) -> bool:
        """Whether there is anything to see."""
        return bool(np.isfinite(self._thin_raw[1]).any())

    def extremes(self) -> np.ndarray:
        """[n] values with the smallest and the largest of all that can be drawn among them, NaN for gaps."""
        return self._thin_raw[1]

    def dropped(self) -> int:
        """How many values a logarithmic axis does not show."""
        return int(np.count_nonzero(self.y <= 0)) if self.log and self.is_shown else 0

    def last_value(self) -> float:
        """The newest value that the line shows; NaN if there is none."""
        for values in (self.averaged[-_NEWEST:], self.averaged):
            known = np.flatnonzero(np.isfinite(values))
            if len(known):
                return float(values[known[-1]])
        return float("nan")

    def value_at(self, position: float, width: float = 0.0) -> float:
        """The value of the point nearest to a place of the x axis; NaN where the curve has ended or not begun.

        Args:
            position: on the x axis.
            width: of what the axis shows, for curves of a single point.
        """
        index = self.nearest(position)
        if index is None:
            return float("nan")
        last = len(self.x) - 1
        room = _NEAR * width
        if last > 0 and index in (0, last):
            room = max(room, abs(float(self.x[index] - self.x[1 if index == 0 else last - 1])))
        inside = self.x[0] <= position <= self.x[-1]
        return (
            float(self.averaged[index]) if inside or abs(position - self.x[index]) <= room else float("nan")
        )

    def nearest(self, position: float) -> int | None:
        """The number of the point nearest to a place of the x axis, None without points."""
        count = len(self.x)
        index = int(np.searchsorted(self.x, position))
        if index == count or (index and position - self.x[index - 1] <= self.x[index] - position):
            index -= 1
        return index if count else None

    def recolour(self, colours: Scheme, scale: float = 1.0) -> None:
        """Put on the colours of a scheme."""
        self._colours = colours, scale
        self.item.setPen(pen_of(self.style, colours, scale))
        if self.style.symbol:
            self.item.setSymbolSize(6 * scale)
            self.item.setSymbolPen(None)
            self.item.setSymbolBrush(self.style.colour_in(colours))
        if self._raw is not None:
            pen = pen_of(self.style, colours, scale)
            pale = pen.color()
            pale.setAlpha(_PALE)
            pen.setColor(pale)
            self._raw.setPen(pen)
        self.entry.recolour(colours)
