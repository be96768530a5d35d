"""What the pages that draw plot by plot have in common."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRectF
from PySide6.QtWidgets import QWidget

from cartl_gui.pages.plot_grid import arrangement, current_of
from cartl_gui.plots.base import PlotPanel


class PlotPage(QWidget):
    """A page whose plots are drawn one at a time, so that none delays the window."""

    def begin_refresh(self) -> None:
        """Write texts anew and let what changed and is visible wait for `draw_next`."""
        raise NotImplementedError

    def draw_next(self) -> bool:
        """Draw one plot that waits since `begin_refresh`; False if none does."""
        raise NotImplementedError

    def all_drawn(self) -> bool:
        """Whether no plot waits to be drawn."""
        raise NotImplementedError

    def panels(self) -> Sequence[PlotPanel]:
        """The plots that are shown."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Draw what changed and is visible, at once."""
        self.begin_refresh()
        while self.draw_next():
            pass

    def current_panel(self) -> PlotPanel | None:
        """The plot to export: the enlarged one, that under the focus, or the first that shows something."""
        return current_of(self.panels(), self)

    def layout_of_panels(self) -> list[tuple[PlotPanel, QRectF]]:
        """The plots to be seen and where they stand, for a figure of the whole page."""
        return arrangement(self.panels(), self)
