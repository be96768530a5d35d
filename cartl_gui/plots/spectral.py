"""Largest spectral norm of each block now, beside its value at the start and the bound that NEFT keeps."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QWidget

from cartl_gui.plots.base import CurveStyle, PlotPanel, Series, nice_top
from cartl_gui.plots.marks import Level, Mark, RowBars
from cartl_gui.run_data import RunData
from cartl_gui.theme import Scheme
from cartl_gui.words import number, readable
from engine.config import StageName


class SpectralPlot(PlotPanel):
    """Bars over the blocks: the latest measurement, or that of the epoch pointed at in another plot."""

    empty_text = "The largest spectral norm of each block appears here after the first epoch."
    x_axis = "block"

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Spectral norm per block", "block", "largest spectral norm", parent=parent)
        self._frozen = pg.BarGraphItem(x=[], height=[], width=0.7, pen=None)
        self._trained = pg.BarGraphItem(x=[], height=[], width=0.7, pen=None)
        self._first = pg.ScatterPlotItem(pxMode=True, size=14)
        self._first.setSymbol(_dash())
        self._bound = pg.InfiniteLine(angle=0, movable=False)
        self._bound_text = pg.TextItem(anchor=(0, 1))
        for item in (self._frozen, self._trained, self._first, self._bound, self._bound_text):
            self.plot.addItem(item)
        self._forget()
        self.recolour(self.colours)

    def stamp(self, data: RunData, stage: StageName) -> object:
        """Norms are shown, at the time that another plot points at."""
        return data.version_of(stage, ("layers", "epochs"))

    def _forget(self) -> None:
        self._epoch = np.empty(0)
        self._norms = np.empty((0, 0))
        self._names: tuple[str, ...] = ()
        self._border = 0
        self._beta: float | None = None
        self._row: int | None = None

    def consume(self, data: RunData, stage: StageName) -> None:
        """Draw the spectral norms of a stage."""
        columns = data.columns(stage, "layers")
        if "spectral_norm" not in columns:
            self.clear()
            return
        layout = data.layouts.get(stage)
        self._epoch, self._norms = columns["epoch"].astype(float), columns["spectral_norm"].astype(float)
        self._names = layout.block_names if layout else ()
        self._border = (layout.boundary or 0) if layout and stage == "finetuning" else 0
        tuning = data.info.config.finetuning
        bounded = stage == "finetuning" and tuning is not None and tuning.method == "neft"
        self._beta = tuning.spectral_bound if bounded and tuning is not None else None
        self._draw()

    def clear(self) -> None:
        """Show nothing."""
        super().clear()
        self._forget()
        for item in (self._frozen, self._trained):
            item.setOpts(x=[], height=[])
        self._first.setData([], [])
        self._bound.hide()
        self._bound_text.hide()

    def _draw(self) -> None:
        count, blocks = self._norms.shape
        row = count - 1 if self._row is None else min(self._row, count - 1)
        place = np.arange(1, blocks + 1)
        now, first = self._scaled(self._norms[row]), self._scaled(self._norms[0])
        floor = self._floor()
        for item, chosen in ((self._frozen, place <= self._border), (self._trained, place > self._border)):
            shown = chosen & np.isfinite(now)
            item.setOpts(x=place[shown], y0=floor, height=now[shown] - floor, width=0.7)
        seen = np.isfinite(first)
        self._first.setData(place[seen], first[seen])
        step = max(1, -(-blocks // 24))
        self.plot.getAxis("bottom").setTicks([[(n, str(n)) for n in range(1, blocks + 1, step)]])
        self._bound.setVisible(self._beta is not None)
        self._bound_text.setVisible(self._beta is not None)
        if self._beta is not None:
            height = np.log10(self._beta) if self.log_button.isChecked() else self._beta
            self._bound.setPos(height)
            self._bound_text.setText(f"bound β = {number(self._beta)}")
            self._bound_text.setPos(0.45, height)
        self._say_epoch(row)

    def _say_epoch(self, row: int) -> None:
        words = f"bars: epoch {self._epoch[row]:g}, marks: epoch {self._epoch[0]:g}"
        self.note(words + (", grey: frozen" if self._border else ""))

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        if not self.log_button.isChecked():
            return values
        return np.log10(np.where(np.isfinite(values) & (values > 0), values, np.nan))

    def _floor(self) -> float:
        if not self.log_button.isChecked():
            return 0.0
        values = self._norms[np.isfinite(self._norms) & (self._norms > 0)]
        lowest = min([float(values.min())] if len(values) else [0.1])
        return float(np.floor(np.log10(min(lowest, self._beta or lowest)) * 2 - 0.2) / 2)

    def set_log(self, on: bool) -> None:
        """Use a logarithmic axis."""
        if self.log_button.isChecked() != on:
            self.log_button.setChecked(on)
            return
        self.plot.getAxis("left").setLogMode(on)
        if len(self._norms):
            self._draw()
        self._range = None
        self.fit()

    def is_empty(self) -> bool:
        """Whether no norm was measured yet."""
        return not np.isfinite(self._norms).any()

    def series(self) -> Series:
        """Epoch [T] and one column [T] of spectral norms per block."""
        table: Series = {"epoch": self._epoch}
        for index in range(self._norms.shape[1]):
            name = f" {self._names[index]}" if index < len(self._names) else ""
            table[f"block {index + 1}{name}"] = self._norms[:, index]
        return table

    def marks(self) -> tuple[Mark, ...]:
        """Bars of one row of the table, marks of the first, and the bound."""
        if self.is_empty():
            return ()
        row = len(self._norms) - 1 if self._row is None else self._row
        bars = RowBars(tuple(self.series())[1:], row, 0, CurveStyle(0), self._border)
        if self._beta is None:
            return (bars,)
        return bars, Level(self._beta, f"bound β = {number(self._beta)}", CurveStyle(1))

    def place_axes(self) -> tuple[float, float, float, float]:
        """All blocks, from 0 or a round decade up."""
        blocks = max(self._norms.shape[1], 1)
        values = np.append(self._norms.ravel(), self._beta or np.nan)
        if not self.log_button.isChecked():
            return 0.4, blocks + 0.6, 0.0, nice_top(values) if len(values) else 1.0
        top = np.nanmax(self._scaled(values)) if np.isfinite(values).any() else 1.0
        return 0.4, blocks + 0.6, self._floor(), float(np.ceil(top * 4 + 0.2) / 4)

    def show_moment(self, position: float | None) -> None:
        """Let the bars show the epoch pointed at in another plot."""
        if not len(self._epoch) or self.timeline is None:
            return
        epoch = np.nan if position is None else self.timeline.epoch_at(position, self.time_axis)
        row = int(np.argmin(np.abs(self._epoch - epoch))) if np.isfinite(epoch) else None
        if row != self._row:
            self._row = row
            self._draw()

    def places(self) -> list[np.ndarray]:
        """The blocks."""
        return [np.arange(1.0, self._norms.shape[1] + 1)] if len(self._norms) else []

    def describe(self, position: float, _height: float) -> str:
        """Block pointed at and its norm."""
        block, count = round(position), len(self._norms)
        if not 1 <= block <= self._norms.shape[1]:
            return ""
        row = count - 1 if self._row is None else self._row
        name = f" ({self._names[block - 1]})" if block <= len(self._names) else ""
        return f"block {block}{name}: {readable(self._norms[row, block - 1])}"

    def recolour(self, colours: Scheme) -> None:
        """Put on the colours of a scheme."""
        super().recolour(colours)
        if not hasattr(self, "_bound_text"):
            return
        self._frozen.setOpts(brush=pg.mkBrush(colours.neutral))
        self._trained.setOpts(brush=pg.mkBrush(colours.curves[0]))
        self._first.setPen(pg.mkPen(colours.text, width=1.6 * self.scale))
        self._first.setSize(14 * self.scale)
        pen = pg.mkPen(colours.curves[1], width=1.8 * self.scale)
        pen.setDashPattern([5, 3])
        self._bound.setPen(pen)
        ground = QColor(colours.raised)
        ground.setAlpha(215)  # the text stands on bars too
        self._bound_text.fill = pg.mkBrush(ground)
        self._bound_text.setColor(QColor(colours.curves[1]))
        self._bound_text.setFont(self.font_of_plot(bold=True))


def _dash() -> pg.QtGui.QPainterPath:
    path = pg.QtGui.QPainterPath()
    path.moveTo(-0.5, 0)
    path.lineTo(0.5, 0)
    return path
