"""Clean, robust and training accuracy over the epochs, with 95 % intervals."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtWidgets import QWidget

from cartl_gui.plots.base import CurveStyle, PlotPanel, Series
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


class AccuracyPlot(PlotPanel):
    """Accuracy in percent over epochs."""

    empty_text = "Clean and robust accuracy appear here after the first epoch."
    can_log = False
    can_smooth = True
    x_axis = "time"

    def __init__(self, parent: QWidget | None = None) -> None:
        self._bars: dict[str, pg.ErrorBarItem] = {}
        super().__init__("Accuracy", "epoch", "accuracy (%)", parent=parent)
        for column in _BARS:
            self._bars[column] = pg.ErrorBarItem(x=np.empty(0), y=np.empty(0), beam=0)
            self.plot.addItem(self._bars[column])
        self._by_column = {column: self.add_curve(*entry) for column, entry in _CURVES.items()}
        for column in _BARS:
            self._by_column[column].entry.toggled.connect(self._bars[column].setVisible)
        self._columns: dict[str, np.ndarray] = {}
        self._place = np.empty(0)
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
        for column, item in self._bars.items():
            errors = 100 * self._columns.get(f"{column}_errors", unknown)[:rows].astype(float)
            known = np.isfinite(errors) & np.isfinite(self._by_column[column].y)
            item.setData(x=place[known], y=self._by_column[column].y[known], height=2 * errors[known], beam=0)

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
