"""Commands that write files: all of them open the export dialog, at what they are about."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from PySide6.QtCore import QRectF

from cartl_gui.actions.area import Area
from cartl_gui.dialogs.export_dialog import ExportDialog, Offer
from cartl_gui.dialogs.export_items import WeightsItem
from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.figure import Place
from engine.config import StageName

if TYPE_CHECKING:
    from cartl_gui.main_window import MainWindow


#: Height of a page as a share of its width, at least and at most, where it is proposed as a figure.
LEAST_ASPECT, MOST_ASPECT = 0.3, 1.3


@runtime_checkable
class Arranged(Protocol):
    """A page that tells how its plots are arranged."""

    def layout_of_panels(self) -> list[Place]:
        """The plots to be seen and where they stand, in shares of the page."""


class ExportActions(Area):
    """Write figures, numbers, weights, tables, whole runs and reports."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        #: The dialog while it is open.
        self.dialog: ExportDialog | None = None

    def table(self) -> dict[str, Callable[[], object]]:
        """What each command does, by its id."""
        return {
            "export": self.export,
            "export_weights": self.export_latest_weights,
            "export_tables": self.export_tables,
            "export_run": self.export_run,
            "export_report": self.export_report,
        }

    def export(self) -> None:
        """Export the plot that is looked at, or whatever else there is."""
        self._open(self._offer(self._window.shown.plot()), "plot")

    def export_plot(self, panel: object) -> None:
        """Export a plot by its button."""
        if isinstance(panel, PlotPanel) and not panel.is_empty():
            self._open(self._offer(panel), "plot")

    def export_latest_weights(self) -> None:
        """Export the weights after the selected run's last training stage."""
        self._open(self._offer(self._window.shown.plot()), "weights")

    def export_weights(self, stage: StageName) -> None:
        """Export the weights after a stage of the selected run."""
        self._open(self._offer(self._window.shown.plot()), "weights", stage=stage)

    def export_tables(self) -> None:
        """Export the selected run's tables."""
        self._open(self._offer(self._window.shown.plot()), "tables")

    def export_run(self) -> None:
        """Export the selected run as a whole."""
        self._open(self._offer(self._window.shown.plot()), "run")

    def export_report(self) -> None:
        """Write the report of the selected run's study."""
        self._open(self._offer(self._window.shown.plot()), "report")

    def write_report(self, title: str) -> None:
        """Write the report of a study."""
        self._open(self._offer(self._window.shown.plot(), study=title), "report")

    def tells(self, request: str) -> bool:
        """Whether the dialog is open and tells how a request went."""
        return self.dialog is not None and self.dialog.waits_for(request)

    def _offer(self, plot: PlotPanel | None, *, study: str = "") -> Offer:
        """All that can be exported now: of the page that is open, of the selected run and of its study."""
        window, run = self._window, self._selected()
        data = window.bridge.data(run.id) if run is not None else None
        page = window.tabs.currentWidget()
        arranged = page.layout_of_panels() if isinstance(page, Arranged) else []
        places = [(panel, share) for panel, share in arranged if not panel.is_empty()]
        whole = QRectF()
        for _panel, share in places:
            whole |= share
        aspect = whole.height() * page.height() / max(1.0, whole.width() * page.width())
        return Offer(
            plot=None if plot is None or plot.is_empty() else plot,
            page=[(panel, _within(share, whole)) for panel, share in places],
            page_title=window.tabs.tabText(window.tabs.currentIndex()),
            aspect=min(max(aspect, LEAST_ASPECT), MOST_ASPECT),
            run=run,
            weights=data.weights if data is not None else (),
            study=study or (run.study if run is not None else ""),
        )

    def _open(self, offer: Offer, start: str, *, stage: StageName | None = None) -> None:
        if offer.is_empty() or self.dialog is not None:
            return
        window = self._window
        self.dialog = ExportDialog(offer, window.session, window.bridge, window.settings, window, start=start)
        weights = self.dialog.items.get("weights")
        if stage is not None and isinstance(weights, WeightsItem):
            weights.choose_stage(stage)
        self.dialog.finished.connect(self._closed)
        self.dialog.open()

    def _closed(self) -> None:
        if self.dialog is None:
            return
        if self.dialog.written is not None:
            self._window.status.say(f"Wrote {self.dialog.written}")
        self.dialog.deleteLater()
        self.dialog = None


def _within(share: QRectF, whole: QRectF) -> QRectF:
    """A part of the page as a part of what its plots take together."""
    return QRectF(
        (share.x() - whole.x()) / whole.width(), (share.y() - whole.y()) / whole.height(),
        share.width() / whole.width(), share.height() / whole.height(),
    )  # fmt: skip
