"""Commands about single networks: analyse, import."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QFileDialog

from cartl_gui.actions.area import Area, file_stem
from cartl_gui.dialogs.import_dialog import ImportDialog
from cartl_gui.files import WEIGHTS, is_weights_file
from engine.config import StageName
from engine.events import InspectionProgress

if TYPE_CHECKING:
    from cartl_gui.main_window import MainWindow


class LayersActions(Area):
    """Analyse a network layer by layer, and import one."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._inspected = ""

    def table(self) -> dict[str, Callable[[], object]]:
        """What each command does, by its id."""
        return {
            "inspect_run": self.inspect_selected,
            "inspect_file": self.inspect_file,
            "import": self.import_checkpoint,
        }

    def inspect_selected(self) -> None:
        """Analyse the newest network of the selected run."""
        info = self._selected()
        if info is not None:
            self._inspect(info.id)

    def inspect_shown(self) -> None:
        """Analyse the network that the layers page shows, after the stage that it shows."""
        page = self._window.layers
        if page.data is not None:
            self._inspect(page.data.info.id, page.stage if page.stage in page.data.weights else None)

    def inspect_file(self) -> None:
        """Ask for a file with weights and analyse its network."""
        path, _kind = QFileDialog.getOpenFileName(
            self._window, "Inspect a checkpoint file", self._window.settings.folder, WEIGHTS
        )
        if path:
            self._remember(Path(path))
            self._inspect(path)

    def _inspect(self, target: str, stage: StageName | None = None) -> None:
        """Analyse a run or file; what a file does not say is taken from the form if that describes the file."""
        window = self._window
        self._inspected = target
        study = window.setup.study()
        run = next((run for run in study.runs if run.start_from == target), None) if study else None
        if run is None:
            window.session.inspect(target, stage=stage)
        else:
            window.session.inspect(target, stage=stage, checkpoint=run.checkpoint, data=run.evaluation_data)
        window.layers.show_progress(InspectionProgress("Waiting for its turn", 0.0))
        window.tabs.setCurrentWidget(window.layers)

    def is_inspecting_a_file(self) -> bool:
        """Whether the last analysis asked for is of a file, not of a run."""
        return is_weights_file(self._inspected)

    def export_layer_table(self, text: str) -> None:
        """Ask for a place and write the table of the layers page there, as CSV."""
        data = self._window.layers.data
        start = str(
            Path(self._window.settings.folder)
            / f"{file_stem(data.info.title if data else 'layers')}-layers.csv"
        )
        path, _kind = QFileDialog.getSaveFileName(self._window, "Save the table", start, "CSV (*.csv)")
        if not path:
            return
        target = Path(path) if Path(path).suffix else Path(path + ".csv")
        try:
            target.write_text(text, encoding="utf-8")
        except OSError as error:
            self._window.complain("The table could not be saved.", f"{target}: {error.strerror}")
            return
        self._remember(target)
        self._window.status.say(f"Wrote {target}")

    def import_checkpoint(self) -> None:
        """Import a checkpoint of the CARTL authors' code, and propose a run that starts from it if asked."""
        window = self._window
        dialog = ImportDialog(window.session, window.bridge, window, folder=window.settings.folder)
        dialog.exec()
        if dialog.written is not None:
            self._remember(dialog.written)
        if dialog.start_from:
            window.setup.start_from(dialog.start_from)
            window.show_form()
            window.status.say(f"The form starts from {dialog.start_from}")
        dialog.deleteLater()
