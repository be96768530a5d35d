"""Heat map of the clean-adversarial feature distance, epoch by block, with the frozen boundary."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QWidget

from cartl_gui.plots.base import PlotPanel, Series
from cartl_gui.run_data import RunData
from cartl_gui.theme import Scheme
from cartl_gui.words import readable
from engine.config import StageName

#: Columns that an uneven time axis is brought to.
_WIDTH = 1024


class DistancePlot(PlotPanel):
    """Feature distance [T, N]: epochs to the right, blocks from the input upwards."""

    empty_text = (
        "How far apart clean and adversarial features are in each block appears here after the first epoch."
    )

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Feature distance per block", "epoch", "block", parent=parent)
        self.log_button.setToolTip("Logarithmic colour scale")
        self.legend_button.setToolTip("Colour scale")
        self.image = pg.ImageItem()
        self.plot.addItem(self.image)
        self.image.setZValue(-10)
        self._map = pg.colormap.get("viridis")
        self.image.setLookupTable(self._map.getLookupTable(nPts=256))
        self._bar_image = pg.ImageItem(np.linspace(0, 1, 256)[:, None])
        self._bar_image.setLookupTable(self._map.getLookupTable(nPts=256))
        self._bar = pg.PlotItem(enableMenu=False)
        self._bar.hideButtons()
        self._bar.setMouseEnabled(False, False)
        self._bar.hideAxis("bottom")
        self._bar.hideAxis("left")
        self._bar.showAxis("right")
        self._bar.getViewBox().setDefaultPadding(0)
        self._bar.addItem(self._bar_image)
        self.widget.centralWidget.layout.addItem(self._bar, 2, 3)
        self._boundary = pg.InfiniteLine(angle=0, movable=False)
        self._shadow = pg.InfiniteLine(angle=0, movable=False)
        for item in (self._shadow, self._boundary):
            self.plot.addItem(item, ignoreBounds=True)
            item.hide()
        self.legend_button.toggled.connect(self._bar.setVisible)
        self._epochs = 1.0
        self._forget()
        self.recolour(self.colours)

    def _forget(self) -> None:
        self._epoch = np.empty(0)
        self._distance = np.empty((0, 0))
        self._names: tuple[str, ...] = ()
        self._border: int | None = None
        self._has_border = False
        self._is_source = False
        self._levels = (0.0, 1.0)

    def consume(self, data: RunData, stage: StageName) -> None:
        """Draw the distances of a stage."""
        columns = data.columns(stage, "layers")
        layout = data.layouts.get(stage)
        if "distance" not in columns:
            self.clear()
            self._epochs = float(layout.epochs) if layout else 1.0
            return
        self._epoch, self._distance = columns["epoch"].astype(float), columns["distance"].astype(float)
        self._epochs = max(float(layout.epochs) if layout else 1.0, float(self._epoch[-1]))
        self._names = layout.block_names if layout else ()
        self._border = layout.boundary if layout else None
        self._is_source = stage == "pretraining"
        self._draw()

    def clear(self) -> None:
        """Show nothing."""
        super().clear()
        self._forget()
        self.image.clear()
        self._shadow.hide()
        self._boundary.hide()

    def _draw(self) -> None:
        edges = column_edges(self._epoch)
        shown = self._scaled(self._distance)
        if len(edges) > 2 and np.ptp(np.diff(edges)) > 1e-6 * (edges[-1] - edges[0]):
            positions = np.linspace(edges[0], edges[-1], _WIDTH, endpoint=False)
            shown = shown[np.clip(np.searchsorted(edges, positions, side="right") - 1, 0, len(shown) - 1)]
        finite = shown[np.isfinite(shown)]
        self._levels = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        if self._levels[0] == self._levels[1]:
            self._levels = (self._levels[0], self._levels[0] + 1e-6)
        blocks = self._distance.shape[1]
        self.image.setImage(np.ascontiguousarray(shown.T), levels=self._levels)
        self.image.setRect(QRectF(edges[0], 0.5, edges[-1] - edges[0], blocks))
        low, high = self._levels
        self._bar_image.setRect(QRectF(0, low, 1, high - low))
        self._bar.getViewBox().setRange(xRange=(0, 1), yRange=self._levels, padding=0)
        step = max(1, -(-blocks // 18))
        self.plot.getAxis("left").setTicks([[(n, str(n)) for n in range(1, blocks + 1, step)]])
        self._has_border = self._border is not None and 0 < self._border < blocks
        for line in (self._shadow, self._boundary):
            line.setVisible(self._has_border)
            line.setPos((self._border or 0) + 0.5)
        self._say_border()

    def _say_border(self) -> None:
        if not self._has_border:
            self.say("")
            return
        blocks = f"blocks 1–{self._border}" if self._border != 1 else "block 1"
        self.say(f"dashed line: {blocks} {'will be' if self._is_source else 'are'} frozen")

    def _after_pointing(self) -> None:
        super()._after_pointing()
        self._say_border()

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        if not self.log_button.isChecked():
            return np.where(np.isfinite(values), values, np.nan)
        return np.log10(np.where(np.isfinite(values) & (values > 0), values, np.nan))

    def set_log(self, on: bool) -> None:
        """Use a logarithmic colour scale."""
        if self.log_button.isChecked() != on:
            self.log_button.setChecked(on)
            return
        self._bar.getAxis("right").setLogMode(on)
        if len(self._distance):
            self._draw()

    def is_empty(self) -> bool:
        """Whether no distance was measured yet."""
        return not np.isfinite(self._distance).any()

    def series(self) -> Series:
        """Epoch [T] and one column [T] of normalised L2 distances per block."""
        table: Series = {"epoch": self._epoch}
        for index in range(self._distance.shape[1]):
            name = f" {self._names[index]}" if index < len(self._names) else ""
            table[f"block {index + 1}{name}"] = self._distance[:, index]
        return table

    def place_axes(self) -> tuple[float, float, float, float]:
        """All epochs and all blocks."""
        left = column_edges(self._epoch)[0] if len(self._epoch) else 0.5
        return min(0.5, left), self._epochs + 0.5, 0.5, max(self._distance.shape[1], 1) + 0.5

    def describe(self, position: float, height: float) -> str:
        """Epoch, block and distance pointed at."""
        blocks, block = self._distance.shape[1], round(height)
        if not 1 <= block <= blocks:
            return ""
        row = int(np.argmin(np.abs(self._epoch - position)))
        name = f" ({self._names[block - 1]})" if block <= len(self._names) else ""
        return f"epoch {self._epoch[row]:g}, block {block}{name}: {readable(self._distance[row, block - 1])}"

    def recolour(self, colours: Scheme) -> None:
        """Put on the colours of a scheme."""
        super().recolour(colours)
        if not hasattr(self, "_boundary"):
            return
        self.style_axis(self._bar.getAxis("right"))
        self._bar.getAxis("right").setWidth(round(44 * self.scale))
        self._bar.setFixedWidth(round(58 * self.scale))
        self._shadow.setPen(pg.mkPen(QColor("#000000"), width=2 * self.scale))
        pen = pg.mkPen(QColor("#ffffff"), width=2 * self.scale)
        pen.setDashPattern([4, 3])
        self._boundary.setPen(pen)


def column_edges(positions: np.ndarray) -> np.ndarray:
    """Borders [T + 1] of the cells around ascending positions [T]: half way to each neighbour."""
    if len(positions) == 0:
        return np.array([0.5, 1.5])
    if len(positions) == 1:
        return np.array([positions[0] - 0.5, positions[0] + 0.5])
    middle = (positions[1:] + positions[:-1]) / 2
    first, last = positions[0] - (middle[0] - positions[0]), positions[-1] + (positions[-1] - middle[-1])
    return np.concatenate([[first], middle, [last]])
