"""The line that marks a place of a plot's x axis, by mouse in any of the linked plots or by keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt

if TYPE_CHECKING:
    from cartl_gui.plots.base import PlotPanel

#: Places that the arrow keys go through over the width of a plot, at most.
MOST_STEPS = 200


class Crosshair:
    """Knows where it stands (`position`, None while it is hidden) and where keys move it to."""

    def __init__(self, panel: PlotPanel) -> None:
        self._panel = panel
        self.position: float | None = None
        self.line = pg.InfiniteLine(angle=90, movable=False)
        self.line.hide()
        panel.plot.addItem(self.line, ignoreBounds=True)

    def put(self, position: float | None) -> None:
        """Put it at a place of the x axis; None hides it."""
        self.position = position
        if position is not None:
            self.line.setPos(position)
        self.line.setVisible(position is not None)

    def snapped(self, position: float) -> float:
        """The measured place next to another one, which itself is returned if there is none."""
        near = []
        for places in self._panel.places():
            if len(places):
                index = int(np.searchsorted(places, position))
                near += [float(places[max(0, index - 1)]), float(places[min(index, len(places) - 1)])]
        return min(near, key=lambda place: abs(place - position), default=position)

    def moved(self, key: int) -> float | None:
        """Where a key moves it: the measured place before or after, the first or the last that is in view."""
        left, right = self._panel.view.viewRange()[0]
        inside = [
            places[np.searchsorted(places, left) : np.searchsorted(places, right, side="right")]
            for places in self._panel.places()
        ]
        inside = [places for places in inside if len(places)]
        if not inside:
            return None
        first, last = float(min(places[0] for places in inside)), float(max(places[-1] for places in inside))
        at = self.position
        if key == Qt.Key.Key_Home or (at is None and key == Qt.Key.Key_Right):
            return first
        if key == Qt.Key.Key_End or at is None:
            return last
        step = (right - left) / MOST_STEPS * (1 - 1e-9)
        if key == Qt.Key.Key_Right:
            found = [(places, int(np.searchsorted(places, at + step))) for places in inside]
            return min((float(places[index]) for places, index in found if index < len(places)), default=last)
        found = [(places, int(np.searchsorted(places, at - step, side="right")) - 1) for places in inside]
        return max((float(places[index]) for places, index in found if index >= 0), default=first)
