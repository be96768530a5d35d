"""The intervals around the points of a curve."""

from __future__ import annotations

import numpy as np
import pyqtgraph as pg

from cartl_gui.plots.curves import Curve


class ErrorBars(pg.ErrorBarItem):
    """Bars without ends that are hidden with their curve, whatever they are given meanwhile."""

    def __init__(self, curve: Curve) -> None:
        self._curve = curve
        super().__init__(x=np.empty(0), y=np.empty(0), beam=0)
        self.setZValue(-5)
        curve.entry.toggled.connect(self.setVisible)

    def setData(self, **options: object) -> None:  # noqa: N802
        """Take new places, lengths or another pen; pyqtgraph would show them too."""
        super().setData(**options)
        self.setVisible(self._curve.is_shown)
