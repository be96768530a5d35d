"""The plots of a page that are pointed at and zoomed together, and the way back from a zoom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from cartl_gui.timeline import TimeAxis

if TYPE_CHECKING:
    from cartl_gui.plots.base import PlotPanel

#: Views that can be gone back to.
MOST_STEPS = 50
#: Seconds within which changes by the wheel are one step.
_ONE_STEP = 0.6


@dataclass(frozen=True, slots=True)
class View:
    """What a plot showed: left, right, bottom, top, and whether it followed new data."""

    span: tuple[float, float, float, float]
    following: bool


class PlotGroup:
    """Plots with the same `x_axis` share crosshair and zoom; all of them share the choice of the time axis."""

    def __init__(self, panels: Sequence[PlotPanel] = ()) -> None:
        self.panels: list[PlotPanel] = []
        self.time_axis: TimeAxis = "epoch"
        self._steps: list[dict[PlotPanel, View]] = []
        self._last: tuple[PlotPanel, float] | None = None
        for panel in panels:
            self.add(panel)

    def add(self, panel: PlotPanel) -> None:
        """Take in another plot."""
        self.panels.append(panel)
        panel.group = self

    def linked(self, panel: PlotPanel) -> list[PlotPanel]:
        """The other plots along the same x axis."""
        return [
            other
            for other in self.panels
            if other is not panel and panel.x_axis and other.x_axis == panel.x_axis
        ]

    def set_time_axis(self, axis: TimeAxis) -> None:
        """Let all plots over time run over epochs, steps or computing time."""
        if axis != self.time_axis:
            self.time_axis = axis
            self.forget()
            for panel in self.panels:
                panel.set_time_axis(axis)

    # pointing ------------------------------------------------------------------------------------------
    def point(self, panel: PlotPanel, position: float | None) -> None:
        """Show on all plots what is at a place of one's x axis; None ends that."""
        panel.point_at(position)
        linked = self.linked(panel)
        for other in self.panels:
            if other in linked:
                other.point_at(position)
            elif panel.x_axis == "time" and other is not panel:
                other.show_moment(position)
        panel.pointed_at.emit(panel)

    # zooming -------------------------------------------------------------------------------------------
    def zoomed(self, panel: PlotPanel, before: View) -> None:
        """Note that a plot was zoomed or moved by hand, and let the linked ones show the same part of the x axis."""
        linked, now = self.linked(panel), monotonic()
        if self._last is None or self._last[0] is not panel or now - self._last[1] > _ONE_STEP:
            self._steps.append({panel: before} | {other: other.view_now() for other in linked})
            del self._steps[:-MOST_STEPS]
        self._last = panel, now
        left, right = panel.view_now().span[:2]
        for other in linked:
            other.show_view(View((left, right, *other.view_now().span[2:]), following=False))
        self._show_buttons()

    def can_go_back(self, panel: PlotPanel) -> bool:
        """Whether a plot was zoomed."""
        return any(panel in step for step in self._steps)

    def back(self, panel: PlotPanel) -> None:
        """Go back to what a plot, and those linked to it, showed before the last zoom."""
        step = next((step for step in reversed(self._steps) if panel in step), None)
        if step is None:
            return
        self._steps.remove(step)
        self._last = None
        for other, view in step.items():
            other.show_view(view)
        self._show_buttons()

    def fit(self, panel: PlotPanel) -> None:
        """Show everything in a plot and in those linked to it."""
        self.forget(panel)
        for other in (panel, *self.linked(panel)):
            other.fit()

    def forget(self, panel: PlotPanel | None = None) -> None:
        """Forget the views before, of all plots or of those linked to one."""
        self._steps = [step for step in self._steps if panel is not None and panel not in step]
        self._last = None
        self._show_buttons()

    def _show_buttons(self) -> None:
        for panel in self.panels:
            panel.back_button.setVisible(self.can_go_back(panel))
