"""The area between two curves, for bands."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF
from PySide6.QtGui import QPainterPath, QPolygonF

from cartl_gui.run_data import decimate


def area_between(x: np.ndarray, low: np.ndarray, high: np.ndarray, bar: float) -> QPainterPath:
    """The area over ascending places, in parts where there are gaps.

    Args:
        x: [T].
        low, high: as the axis places them, [T]; NaN for a gap.
        bar: half the width of what stands for a single point between gaps.
    """
    places, above = decimate(x, high)
    below = decimate(x, low)[1]
    known = np.isfinite(above) & np.isfinite(below)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]])))
    path = QPainterPath()
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        part = slice(int(first), int(last))
        across, up, down = places[part], above[part], below[part]
        if len(across) == 1:
            across, up, down = np.array([across[0] - bar, across[0] + bar]), up.repeat(2), down.repeat(2)
        around = (*zip(across, up, strict=True), *zip(across[::-1], down[::-1], strict=True))
        path.addPolygon(QPolygonF([QPointF(float(left), float(height)) for left, height in around]))
    return path
