"""The loss and its terms over the optimiser steps."""

from __future__ import annotations

import numpy as np
from PySide6.QtWidgets import QWidget

from cartl_gui.plots.base import CurveStyle, PlotPanel, Series, nice_top
from cartl_gui.run_data import RunData
from engine.config import StageName

_CURVES = {
    "loss": ("total", CurveStyle(0, width=1.0)),
    "cross_entropy": ("cross-entropy", CurveStyle(1, width=1.0)),
    "penalty": ("penalty", CurveStyle(2, width=1.0)),
}


class LossPlot(PlotPanel):
    """Loss terms over steps, linear or logarithmic."""

    empty_text = "The loss and its terms appear here with the first training steps."
    can_smooth = True
    x_axis = "time"

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Loss terms", "optimiser step", "loss", parent=parent)
        self._by_column = {column: self.add_curve(*entry) for column, entry in _CURVES.items()}
        self._columns: dict[str, np.ndarray] = {}
        self._place = np.empty(0)

    def stamp(self, data: RunData, stage: StageName) -> object:
        """Steps are shown, and the epochs table tells when they were made."""
        return data.version_of(stage, ("steps", "epochs"))

    def consume(self, data: RunData, stage: StageName) -> None:
        """Draw the steps table of a stage; a term that is zero throughout is left out, and so is its sum."""
        self._columns = columns = data.columns(stage, "steps")
        layout = data.layouts.get(stage)
        self._place = place = self.time_of(columns)
        self.name_time()
        penalty = columns.get("penalty", np.empty(0))
        self._by_column["penalty"].entry.rename((layout and layout.penalty) or "penalty")
        has_penalty = bool(len(penalty)) and bool((np.isfinite(penalty) & (penalty != 0)).any())
        for column, curve in self._by_column.items():
            shown = column == "loss" or has_penalty
            values = columns.get(column, np.empty(0)) if shown else np.empty(0)
            curve.set(place[: len(values)], values[: len(place)])
            curve.entry.setVisible(shown)

    def clear(self) -> None:
        """Show nothing."""
        super().clear()
        self._columns, self._place = {}, np.empty(0)

    def series(self) -> Series:
        """Time and loss terms, [T] each, all rows; averages too if it is smoothed."""
        table = self.time_series(self._columns, self._place)
        for column, curve in self._by_column.items():
            if curve.has_values():
                table |= self.curve_series(column, curve)
        return table

    def place_axes(self) -> tuple[float, float, float, float]:
        """All of the stage; from 0 up to a round number, or the decades in use."""
        values, end = np.concatenate([curve.extremes() for curve in self.curves]), self.end_of_time()
        if self.log_button.isChecked():
            positive = values[np.isfinite(values) & (values > 0)]
            low = float(np.floor(np.log10(positive.min()) * 2) / 2) if len(positive) else -1.0
            high = float(np.ceil(np.log10(positive.max()) * 2) / 2) if len(positive) else 0.0
            return 0.0, end, low, max(high, low + 0.5)
        lowest = np.nanmin(values) if np.isfinite(values).any() else 0.0
        return 0.0, end, min(0.0, float(lowest)), nice_top(values)
