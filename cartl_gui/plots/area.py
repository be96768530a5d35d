"""The area between two curves, for bands."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF
from PySide6.QtGui import QPainterPath, QPolygonF

#: Most places at which the outline of an area is drawn.
MOST_PLACES = 1000


def area_between(x: np.ndarray, low: np.ndarray, high: np.ndarray, bar: float) -> QPainterPath:
    """The area over ascending places, in parts where there are gaps.

    Where there are more than `MOST_PLACES`, those that share a short range take its lowest and its highest end: an
    outline to and fro between all of them would take a hundred times as long to fill.

    Args:
        x: [T].
        low, high: as the axis places them, [T]; NaN for a gap.
        bar: half the width of what stands for a single point between gaps.
    """
    places, below, above = np.asarray(x, float), low, high
    if len(x) > MOST_PLACES:
        starts = np.linspace(0, len(x), MOST_PLACES, endpoint=False).astype(int)
        places = places[starts]
        below, above = np.fmin.reduceat(low, starts), np.fmax.reduceat(high, starts)
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
