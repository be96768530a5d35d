"""Clean, robust and training accuracy over the epochs, with 95 % intervals."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtWidgets import QWidget

from cartl_gui.plots.base import CurveStyle, PlotPanel, Series
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
        self._epochs = 1
        self.recolour(self.colours)

    def consume(self, data: RunData, stage: StageName) -> None:
        """Draw the epochs table of a stage."""
        self._columns = data.columns(stage, "epochs")
        layout = data.layouts.get(stage)
        epoch = self._columns.get("epoch", np.empty(0)).astype(float)
        self._epochs = max(layout.epochs if layout else 1, int(epoch[-1]) if len(epoch) else 1)
        for column, curve in self._by_column.items():
            curve.set(epoch, 100 * self._columns.get(column, np.full(len(epoch), np.nan)).astype(float))
            curve.entry.setVisible(curve.has_values() or not len(epoch))
        for column, item in self._bars.items():
            errors = 100 * self._columns.get(f"{column}_errors", np.full(len(epoch), np.nan)).astype(float)
            known = np.isfinite(errors) & np.isfinite(self._by_column[column].y)
            item.setData(x=epoch[known], y=self._by_column[column].y[known], height=2 * errors[known], beam=0)

    def clear(self) -> None:
        """Show nothing."""
        super().clear()
        self._columns = {}
        for item in self._bars.values():
            item.setData(x=np.empty(0), y=np.empty(0), height=np.empty(0))

    def series(self) -> Series:
        """Epoch, accuracies in percent and half widths of their 95 % intervals, [T] each."""
        epoch = self._columns.get("epoch", np.empty(0))
        table: Series = {"epoch": epoch}
        for column, curve in self._by_column.items():
            if curve.has_values():
                table[f"{column} (%)"] = curve.y
                if column in _BARS and f"{column}_errors" in self._columns:
                    table[f"{column} 95 % half width (%)"] = 100.0 * self._columns[f"{column}_errors"]
        return table

    def place_axes(self) -> tuple[float, float, float, float]:
        """All epochs of the stage, 0 to 100 %."""
        return 0.0, self._epochs + 0.5, 0.0, 100.0

    def value_text(self, value: float) -> str:
        """Percent with one digit."""
        return f"{value:.1f} %" if np.isfinite(value) else "–"

    def describe(self, position: float, _height: float) -> str:
        """The epoch pointed at."""
        return f"epoch {max(1, round(position))}"

    def recolour(self, colours: Scheme) -> None:
        """Put on the colours of a scheme."""
        super().recolour(colours)
        for column, item in self._bars.items():
            pen = pg.mkColor(colours.curves[_CURVES[column][1].colour])
            pen.setAlpha(120)
            item.setData(pen=pg.mkPen(pen, width=1.2 * self.scale))
