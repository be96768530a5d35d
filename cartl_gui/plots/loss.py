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

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Loss terms", "optimiser step", "loss", parent=parent)
        self._by_column = {column: self.add_curve(*entry) for column, entry in _CURVES.items()}
        self._step = np.empty(0)
        self._steps = 1
        self._per_epoch = 0

    def consume(self, data: RunData, stage: StageName) -> None:
        """Draw the steps table of a stage; a term that is zero throughout is left out, and so is its sum."""
        columns = data.columns(stage, "steps")
        layout = data.layouts.get(stage)
        self._step = columns.get("step", np.empty(0))
        self._per_epoch = layout.steps_per_epoch if layout else 0
        planned = layout.epochs * layout.steps_per_epoch if layout else 1
        self._steps = max(planned, int(self._step[-1]) + 1 if len(self._step) else 1)
        penalty = columns.get("penalty", np.empty(0))
        self._by_column["penalty"].entry.rename((layout and layout.penalty) or "penalty")
        has_penalty = bool(len(penalty)) and bool((np.isfinite(penalty) & (penalty != 0)).any())
        for column, curve in self._by_column.items():
            shown = column == "loss" or has_penalty
            values = columns.get(column) if shown else None
            curve.set(self._step, values if values is not None else np.full(len(self._step), np.nan))
            curve.entry.setVisible(shown)

    def clear(self) -> None:
        """Show nothing."""
        super().clear()
        self._step = np.empty(0)

    def series(self) -> Series:
        """Step and loss terms, [T] each, all rows."""
        shown = {c: curve.y for c, curve in self._by_column.items() if curve.has_values()}
        return {"step": self._step, **shown}

    def place_axes(self) -> tuple[float, float, float, float]:
        """All steps of the stage; from 0 up to a round number, or the decades in use."""
        values = np.concatenate([curve.y for curve in self.curves])
        if self.log_button.isChecked():
            positive = values[np.isfinite(values) & (values > 0)]
            low = float(np.floor(np.log10(positive.min()) * 2) / 2) if len(positive) else -1.0
            high = float(np.ceil(np.log10(positive.max()) * 2) / 2) if len(positive) else 0.0
            return 0.0, float(self._steps), low, max(high, low + 0.5)
        lowest = np.nanmin(values) if np.isfinite(values).any() else 0.0
        return 0.0, float(self._steps), min(0.0, float(lowest)), nice_top(values)

    def position_of_epoch(self, epoch: float) -> float | None:
        """Steps are counted from 0."""
        return epoch * self._per_epoch if self._per_epoch else None

    def epoch_of_position(self, position: float) -> float | None:
        """The epoch a step lies in."""
        return position / self._per_epoch if self._per_epoch else None

    def describe(self, position: float, _height: float) -> str:
        """The step pointed at."""
        return f"step {max(0, round(position)):,}"
