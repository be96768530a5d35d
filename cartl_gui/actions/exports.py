"""Commands that write files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFileDialog

from cartl_gui.actions.area import Area, file_stem
from cartl_gui.dialogs.export_dialog import ExportDialog
from cartl_gui.plots.base import PlotPanel
from engine.config import StageName

if TYPE_CHECKING:
    from cartl_gui.main_window import MainWindow


class ExportActions(Area):
    """Write plots, weights, tables and reports."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._report: Path | None = None

    def table(self) -> dict[str, Callable[[], object]]:
        """What each command does, by its id."""
        return {
            "export_plot": self.export_shown_plot,
            "export_weights": self.export_latest_weights,
            "export_tables": self.export_tables,
        }

    def export_shown_plot(self) -> None:
        """Export the plot of the results, or the live plot that is enlarged or has the focus, or the first."""
        self.export_plot(self._window.shown.plot())

    def export_plot(self, panel: object) -> None:
        """Ask how to export a plot, and write it."""
        if not isinstance(panel, PlotPanel) or panel.is_empty():
            return
        dialog = ExportDialog(panel, self._window, folder=self._window.settings.folder)
        dialog.exec()
        if dialog.written is not None:
            self._remember(dialog.written)
            self._window.status.say(f"Wrote {dialog.written}")
        dialog.deleteLater()

    def write_report(self, title: str) -> None:
        """Ask for a folder, write the report of a study there and open it."""
        folder = QFileDialog.getExistingDirectory(
            self._window, "Folder for the report", self._window.settings.folder
        )
        if folder:
            self._window.settings.folder = folder
            self._report = Path(folder)
            self._window.session.export_report(title, self._report)

    def open_report(self, path: str) -> None:
        """Show a report that was just written, if `path` is the one that was asked for."""
        if self._report is not None and Path(path) == self._report:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._report / "report.html")))
            self._report = None

    def export_latest_weights(self) -> None:
        """Export the weights after the selected run's last training stage."""
        info = self._selected()
        data = self._window.bridge.data(info.id) if info else None
        if data is not None and data.weights:
            self.export_weights(data.weights[-1])

    def export_weights(self, stage: StageName) -> None:
        """Ask for a place and write the weights after a stage there."""
        info = self._selected()
        if info is None:
            return
        start = str(Path(self._window.settings.folder) / f"{file_stem(info.name)}-{stage}.safetensors")
        path, kind = QFileDialog.getSaveFileName(
            self._window, "Export weights", start, "safetensors (*.safetensors);;PyTorch state dict (*.pt)"
        )
        if not path:
            return
        target = Path(path)
        if target.suffix not in (".safetensors", ".pt"):
            target = target.with_name(target.name + (".pt" if "*.pt" in kind else ".safetensors"))
        self._remember(target)
        self._window.session.export_weights(info.id, stage, target)

    def export_tables(self) -> None:
        """Ask for a folder and write the selected run's tables there."""
        info = self._selected()
        if info is None:
            return
        folder = QFileDialog.getExistingDirectory(
            self._window, "Folder for the tables", self._window.settings.folder
        )
        if folder:
            self._window.settings.folder = folder
            self._window.session.export_tables(info.id, Path(folder))
