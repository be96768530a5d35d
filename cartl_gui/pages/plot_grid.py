"""Rows of plots that are pointed at, zoomed and enlarged together, each made when it is first drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QPoint, QRect, QRectF, Qt, Signal
from PySide6.QtWidgets import QSplitter, QVBoxLayout, QWidget

from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.frame import LEAST
from cartl_gui.plots.group import PlotGroup


class PanelSlot(QWidget):
    """The place of a plot. Making one takes longer than drawing it, so it is made when it is first asked for."""

    def __init__(self, make: Callable[[], PlotPanel], on_made: Callable[[PlotPanel], None]) -> None:
        super().__init__()
        self._make, self._on_made = make, on_made
        self._panel: PlotPanel | None = None
        self.setMinimumSize(*LEAST)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)

    @property
    def panel(self) -> PlotPanel:
        """The plot."""
        if self._panel is None:
            self._panel = self._make()
            self._panel.setMinimumSize(self.minimumSize())
            layout = self.layout()
            assert layout is not None
            layout.addWidget(self._panel)
            self._panel.show()
            self._on_made(self._panel)
        return self._panel

    def made(self) -> PlotPanel | None:
        """The plot if it was asked for already."""
        return self._panel


class PlotGrid(QSplitter):
    """Plots in rows of the same height.

    Args:
        rows: for each row what makes its plots, from the left.
        least: least width and height of a plot in pixels.
    """

    export_requested = Signal(object)
    #: A plot was enlarged, or all are shown again.
    arranged = Signal()
    #: A plot was made.
    made = Signal(object)

    def __init__(
        self, rows: Sequence[Sequence[Callable[[], PlotPanel]]], least: tuple[int, int] = LEAST
    ) -> None:
        super().__init__(Qt.Orientation.Vertical)
        self.group = PlotGroup()
        self._waiting: list[PanelSlot] = []
        self._draw: Callable[[PlotPanel], None] | None = None
        self._rows = []
        for makers in rows:
            row = QSplitter(Qt.Orientation.Horizontal)
            for make in makers:
                slot = PanelSlot(make, self._made)
                slot.setMinimumSize(*least)
                row.addWidget(slot)
            row.setSizes([1000] * len(makers))
            row.setChildrenCollapsible(False)
            self._rows.append(row)
            self.addWidget(row)
        self.setSizes([1000] * len(rows))
        self.setChildrenCollapsible(False)
        self.slots = tuple(slot for row in self._rows for slot in self._slots_of(row))

    def panels(self) -> tuple[PlotPanel, ...]:
        """All plots that are made, from the upper left."""
        return tuple(panel for slot in self.slots if (panel := slot.made()) is not None)

    # drawing -------------------------------------------------------------------------------------------
    def begin(self, draw: Callable[[PlotPanel], None]) -> None:
        """Let all plots that are to be seen wait to be drawn, so that none delays the window."""
        self._draw = draw
        self._waiting = [slot for slot in self.slots if slot.isVisibleTo(self)]

    def stop(self) -> None:
        """Draw nothing that waits."""
        self._waiting = []

    def draw_next(self) -> bool:
        """Draw one plot that waits; False if none does."""
        if not self._waiting or self._draw is None:
            return False
        self._draw(self._waiting.pop(0).panel)
        return True

    def all_drawn(self) -> bool:
        """Whether no plot waits to be drawn."""
        return not self._waiting

    # inside --------------------------------------------------------------------------------------------
    def _slots_of(self, row: QSplitter) -> list[PanelSlot]:
        widgets = (row.widget(place) for place in range(row.count()))
        return [widget for widget in widgets if isinstance(widget, PanelSlot)]

    def _made(self, panel: PlotPanel) -> None:
        self.group.add(panel)
        panel.export_requested.connect(self.export_requested)
        panel.maximise_toggled.connect(self._maximise)
        self.made.emit(panel)

    def _maximise(self, panel: PlotPanel, on: bool) -> None:
        for slot in self.slots:
            slot.setVisible(not on or slot.made() is panel)
        for row in self._rows:
            row.setVisible(not on or row.isAncestorOf(panel))
        self.arranged.emit()


def arrangement(panels: Sequence[PlotPanel], page: QWidget) -> list[tuple[PlotPanel, QRectF]]:
    """The plots of a page that show something, and where: shares 0..1 of the part of the page that they take together."""
    shown = [panel for panel in panels if panel.isVisibleTo(page) and not panel.is_empty()]
    boxes = [QRect(panel.mapTo(page, QPoint(0, 0)), panel.size()) for panel in shown]
    whole = QRect()
    for box in boxes:
        whole = whole.united(box)
    return [
        (
            panel,
            QRectF(
                (box.x() - whole.x()) / whole.width(), (box.y() - whole.y()) / whole.height(),
                box.width() / whole.width(), box.height() / whole.height(),
            ),
        )
        for panel, box in zip(shown, boxes, strict=True)
    ]  # fmt: skip


def current_of(panels: Sequence[PlotPanel], page: QWidget) -> PlotPanel | None:
    """The plot of a page to export: the enlarged one, that under the focus, or the first that shows something."""
    shown = [panel for panel in panels if panel.isVisibleTo(page) and not panel.is_empty()]
    focused = [panel for panel in shown if panel.isAncestorOf(page.focusWidget() or page)]
    return next(iter(focused or shown), None)
