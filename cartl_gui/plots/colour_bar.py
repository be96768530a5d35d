"""The colour scale beside a heat map."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF
from PySide6.QtWidgets import QGraphicsGridLayout


class ColourBar(pg.GraphicsWidget):
    """A strip of colours with its axis to the right: what a plot of pyqtgraph is for, without its menus."""

    def __init__(self) -> None:
        super().__init__()
        self._view = pg.ViewBox(enableMouse=False, enableMenu=False)
        self._view.setDefaultPadding(0)
        self.axis = pg.AxisItem("right")
        self.axis.linkToView(self._view)
        self.axis.enableAutoSIPrefix(False)
        self.image = pg.ImageItem(np.linspace(0, 1, 256)[:, None])
        self._view.addItem(self.image)
        grid = QGraphicsGridLayout()
        grid.setContentsMargins(2, 1, 1, 1)
        grid.setSpacing(0)
        grid.addItem(self._view, 0, 0)
        grid.addItem(self.axis, 0, 1)
        self.setLayout(grid)

    def set_levels(self, low: float, high: float) -> None:
        """Reach from one value, as the scale places it, to another."""
        self.image.setRect(QRectF(0, low, 1, high - low))
        self._view.setRange(xRange=(0, 1), yRange=(low, high), padding=0)
