"""Clean, robust and training accuracy over the epochs, with 95 % intervals."""

from __future__ import annotations

import math

import numpy as np
import pyqtgraph as pg
from PySide6.QtWidgets import QWidget

from cartl_gui.plots.base import CurveStyle, PlotPanel, Series
from cartl_gui.plots.error_bars import ErrorBars
from cartl_gui.plots.marks import Errors, Mark, lines_of
from cartl_gui.run_data import RunData
from cartl_gui.theme import Scheme
from engine.config import StageName

#: column -> legend, style
_CURVES = {
    "clean_accuracy": ("clean", CurveStyle(0, symbol="o")),
    "robust_accuracy": ("robust", CurveStyle(1, symbol="s")),
    "train_accuracy": ("train", CurveStyle(2, dashes=(4, 3), width=1.3)),
}
_BARS = ("clean_accuracy", "robust_accuracy")
#: Most intervals of a curve that are drawn; more of them run into each other and take seconds.
MOST_BARS = 200


class AccuracyPlot(PlotPanel):
    """Accuracy in percent over epochs."""

    empty_text = "Clean and robust accuracy appear here after the first epoch."
    can_log = False
    can_smooth = True
    x_axis = "time"

    def __init__(self, parent: QWidget | None = None) -> None:
        self._bars: dict[str, ErrorBars] = {}
        self._one_in = 1
        self._columns: dict[str, np.ndarray] = {}
        self._place = np.empty(0)
        super().__init__("Accuracy", "epoch", "accuracy (%)", parent=parent)
        self._by_column = {column: self.add_curve(*entry) for column, entry in _CURVES.items()}
        for column in _BARS:
            self._bars[column] = ErrorBars(self._by_column[column])
            self.plot.addItem(self._bars[column])
        self.recolour(self.colours)

    def stamp(self, data: RunData, stage: StageName) -> object:
        """Nothing but the epochs table is shown."""
        return data.version_of(stage, ("epochs",))

    def consume(self, data: RunData, stage: StageName) -> None:
        """Draw the epochs table of a stage."""
        self._columns = data.columns(stage, "epochs")
        self._place = place = self.time_of(self._columns)
        self.name_time()
        rows, unknown = len(place), np.full(len(place), np.nan)
        for column, curve in self._by_column.items():
            curve.set(place, 100 * self._columns.get(column, unknown)[:rows].astype(float))
            curve.entry.setVisible(curve.has_values() or not len(place))
        self._draw_bars()

    def _draw_bars(self) -> None:
        """Draw the intervals in sight; where they are many, one in so many of them, as it was measured."""
        left, right = (-np.inf, np.inf) if self._following else self.view.viewRange()[0]
        self._one_in = 1
        for column, item in self._bars.items():
            curve = self._by_column[column]
            rows = len(curve.x)
            errors = 100 * self._columns.get(f"{column}_errors", np.full(rows, np.nan))[:rows].astype(float)
            known = np.flatnonzero(np.isfinite(errors) & np.isfinite(curve.y))
            inside = (curve.x[known] >= left) & (curve.x[known] <= right)
            one_in = max(1, math.ceil(np.count_nonzero(inside) / MOST_BARS))
            # Counted from the run's first, so that the same ones are drawn while the view is moved.
            drawn = known[::one_in][inside[::one_in]]
            item.setData(x=curve.x[drawn], y=curve.y[drawn], height=2 * errors[drawn])
            self._one_in = max(self._one_in, one_in)

    def _detail(self, *what: object) -> None:
        """Draw more intervals where a smaller part is shown."""
        super()._detail(*what)
        self._draw_bars()
        self._write_note()

    def caption(self) -> str:
        """How many of the intervals are drawn, where it is not all of them."""
        thinned = f"one in {self._one_in} intervals drawn" if self._one_in > 1 else ""
        return ", ".join(filter(None, (super().caption(), thinned)))

    def clear(self) -> None:
        """Show nothing."""
        super().clear()
        self._columns, self._place = {}, np.empty(0)
        for item in self._bars.values():
            item.setData(x=np.empty(0), y=np.empty(0), height=np.empty(0))

    def series(self) -> Series:
        """Time, accuracies in percent and half widths of their 95 % intervals, [T] each; averages if it is smoothed."""
        table = self.time_series(self._columns, self._place)
        for column, curve in self._by_column.items():
            if curve.has_values():
                table |= self.curve_series(f"{column} (%)", curve)
                if column in _BARS and f"{column}_errors" in self._columns:
                    table[f"{column} 95 % half width (%)"] = (
                        100.0 * self._columns[f"{column}_errors"][: len(self._place)]
                    )
        return table

    def marks(self) -> tuple[Mark, ...] | None:
        """The curves with their intervals."""
        table = self.series()
        lines = lines_of(self.curves, table)
        if lines is None:
            return None
        bars = tuple(
            Errors(line.x, line.y, line.look, half=line.y.replace(" (%)", " 95 % half width (%)"))
            for line in lines
            if line.y.replace(" (%)", " 95 % half width (%)") in table
        )
        return (*bars, *lines)

    def place_axes(self) -> tuple[float, float, float, float]:
        """All of the stage, 0 to 100 %."""
        end = self.end_of_time()
        return 0.0, end + 0.5 * end / self.epochs(), 0.0, 100.0

    def value_text(self, value: float) -> str:
        """Percent with one digit."""
        return f"{value:.1f} %" if np.isfinite(value) else "–"

    def recolour(self, colours: Scheme) -> None:
        """Put on the colours of a scheme."""
        super().recolour(colours)
        for column, item in self._bars.items():
            pen = pg.mkColor(colours.curves[_CURVES[column][1].colour])
            pen.setAlpha(120)
            item.setData(pen=pg.mkPen(pen, width=1.2 * self.scale))
