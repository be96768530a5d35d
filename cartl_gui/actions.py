"""What the commands do: each method is one command of `commands.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QApplication, QFileDialog, QMessageBox

from cartl_gui import words
from cartl_gui.dialogs.export_dialog import ExportDialog
from cartl_gui.dialogs.import_dialog import ImportDialog
from cartl_gui.dialogs.shortcuts import AboutDialog, ShortcutsDialog
from cartl_gui.files import WEIGHTS, is_weights_file
from cartl_gui.forms.proposals import attack_on, attack_on_file
from cartl_gui.plots.base import PlotPanel
from engine.config import StageName, StudyConfig, StudyDraft
from engine.errors import CartlError, ConfigError
from engine.events import RESUMABLE, InspectionProgress, RunInfo

if TYPE_CHECKING:
    from cartl_gui.main_window import MainWindow

PAGES = ("page_welcome", "page_live", "page_layers", "page_examples", "page_results", "page_log")


class Actions:
    """Carries out commands on behalf of a window."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window
        self._report: Path | None = None
        self._inspected = ""
        self._table: dict[str, Callable[[], object]] = {
            "new": self.new,
            "demo": window.start_demo,
            "open": self.open,
            "save": self.save,
            "import": self.import_checkpoint,
            "attack_file": self.attack_file,
            "attack_run": self.attack_selected,
            "inspect_file": self.inspect_file,
            "inspect_run": self.inspect_selected,
            "export_plot": self.export_shown_plot,
            "workspace": self.open_workspace,
            "quit": window.close,
            "run": window.setup.submit,
            "pause": window.session.pause,
            "resume": self.resume,
            "resume_study": self.resume_study_of_selected,
            "stop": self.stop,
            "stop_all": self.stop_all,
            "show_run": self.show_selected,
            "use_settings": self.use_settings,
            "copy_command": self.copy_command,
            "export_weights": self.export_latest_weights,
            "export_tables": self.export_tables,
            "open_folder": self.open_folder,
            "filter": self.go_to_filter,
            "plots_only": self.plots_only,
            "reset_layout": self.reset_layout,
            "shortcuts": self.show_shortcuts,
            "about": self.show_about,
        }

    def run(self, name: str) -> None:
        """Do what a command says."""
        if name in PAGES:
            self._window.tabs.setCurrentIndex(PAGES.index(name))
        else:
            self._table[name]()

    # settings -------------------------------------------------------------------------------------------
    def new(self) -> None:
        """Put one run with the program's defaults into the form."""
        window = self._window
        window.setup.preset.setCurrentIndex(0)
        window.setup.new_experiment()
        window.show_form()

    def open(self) -> None:
        """Ask for a settings file and propose what it says."""
        folder = self._window.settings.folder
        path, _kind = QFileDialog.getOpenFileName(self._window, "Open study", folder, "Study (*.toml)")
        if path:
            self.open_file(path)

    def open_file(self, path: str) -> None:
        """Propose the settings of a TOML file in the form, or an attack on a file with weights."""
        if is_weights_file(path):
            self.propose_attack_on(path)
            return
        try:
            draft = StudyDraft.load(Path(path))
        except ConfigError as error:
            self._window.complain("The settings file could not be read.", str(error))
            return
        self._remember(Path(path))
        self._window.setup.set_draft(draft)
        self._window.results.know_study(draft.study())
        self._window.show_form()
        self._window.status.say(f"Opened {path}")

    def save(self) -> None:
        """Ask for a place and write the settings there."""
        if self._window.setup.study() is None:
            return
        start = str(Path(self._window.settings.folder) / "study.toml")
        path, _kind = QFileDialog.getSaveFileName(self._window, "Save as study", start, "Study (*.toml)")
        if not path:
            return
        target = Path(path) if Path(path).suffix else Path(path + ".toml")
        try:
            target.write_text(self._window.setup.text(), encoding="utf-8")
        except OSError as error:
            self._window.complain("The settings could not be saved.", f"{target}: {error.strerror}")
            return
        self._remember(target)
        self._window.status.say(f"Wrote {target}")

    def use_settings(self) -> None:
        """Put the selected run's settings into the form."""
        info = self._selected()
        if info is not None:
            self._window.setup.set_study(StudyConfig(title=info.study or info.name, runs=[info.config]))
            self._window.show_form()
            self._window.status.say(f"The form shows the settings of {info.name}")

    def attack_selected(self) -> None:
        """Put an attack on the selected run's network into the form."""
        info = self._selected()
        if info is not None:
            study = StudyConfig(title=info.study or info.name, runs=[attack_on(info)])
            self._show_attack(study, f"The form attacks {info.name}")

    def attack_file(self) -> None:
        """Ask for a file with weights and propose an attack on it."""
        path, _kind = QFileDialog.getOpenFileName(
            self._window, "Attack a checkpoint file", self._window.settings.folder, WEIGHTS
        )
        if path:
            self.propose_attack_on(path)

    def propose_attack_on(self, path: str) -> None:
        """Put an attack on a file with weights into the form."""
        self._remember(Path(path))
        study = StudyConfig(title="My experiment", runs=[attack_on_file(path)])
        self._show_attack(study, f"The form attacks {path}")

    def _show_attack(self, study: StudyConfig, text: str) -> None:
        window = self._window
        window.setup.preset.setCurrentIndex(0)
        window.setup.set_study(study)
        window.show_form()
        for key in ("run", "data", "attack"):
            window.setup.form.sections[key].set_open(True)
        window.status.say(text)

    # runs -----------------------------------------------------------------------------------------------
    def resume(self) -> None:
        """Go on with the selected run if it can be resumed, else with the queue."""
        info = self._selected()
        if info is not None and info.state in RESUMABLE:
            self._window.session.resume(info.id)
        else:
            self._window.session.resume()
        self._window.set_paused(False)

    def resume_study_of_selected(self) -> None:
        """Go on with the study of the selected run."""
        info = self._selected()
        if info is not None:
            self.resume_study(info.study)

    def resume_study(self, title: str) -> None:
        """Go on with every run of a study that has not finished."""
        try:
            runs = self._window.session.resume_study(title)
        except CartlError as error:
            self._window.complain("The study could not be resumed.", str(error))
            return
        self._window.set_paused(False)
        self._window.status.say(f"Queued {words.count(len(runs), 'run')} of “{title}”")

    def stop(self) -> None:
        """Stop the selected run if the user is sure."""
        info = self._selected()
        if info is not None and self._sure(
            f"Stop “{info.name}”?", "What it measured is kept, and it can be resumed."
        ):
            self._window.session.stop(info.id)

    def stop_all(self) -> None:
        """Stop everything if the user is sure."""
        if self._sure("Stop all runs?", "The queue is emptied. What was measured is kept."):
            self._window.session.stop_all()

    def show_selected(self) -> None:
        """Show the selected run in the plots."""
        if run_id := self._window.runs.selected():
            self._window.show_run(run_id)

    def copy_command(self) -> None:
        """Copy the command line that makes the selected run again."""
        info = self._selected()
        if info is not None:
            QGuiApplication.clipboard().setText(command_line(info, str(self._window.session.workspace)))
            self._window.status.say("Copied the command")

    def open_folder(self) -> None:
        """Show the selected run's files in the file manager."""
        info = self._selected()
        if info is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(info.path))

    def open_workspace(self) -> None:
        """Show the folder of runs in the file manager."""
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._window.session.workspace)))

    # layer by layer -------------------------------------------------------------------------------------
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
            / f"{file_stem(data.info.name if data else 'layers')}-layers.csv"
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

    # import ---------------------------------------------------------------------------------------------
    def import_checkpoint(self) -> None:
        """Import a checkpoint of the CARTL authors' code, and propose a run that starts from it if asked."""
        window = self._window
        dialog = ImportDialog(window.session, window.bridge, window, folder=window.settings.folder)
        dialog.exec()
        if dialog.written is not None:
            self._remember(dialog.written)
        if dialog.start_from:
            window.setup.preset.setCurrentIndex(0)
            window.setup.start_from(dialog.start_from)
            window.show_form()
            window.status.say(f"The form starts from {dialog.start_from}")
        dialog.deleteLater()

    # export ---------------------------------------------------------------------------------------------
    def export_shown_plot(self) -> None:
        """Export the plot of the results, or the live plot that is enlarged or has the focus, or the first."""
        self.export_plot(self._window.shown_plot())

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

    # view and help --------------------------------------------------------------------------------------
    def go_to_filter(self) -> None:
        """Put the cursor into the filter of the run list."""
        self._window.layout_of_docks.docks["runs"].show()
        self._window.runs.filter.setFocus()
        self._window.runs.filter.selectAll()

    def plots_only(self) -> None:
        """Hide everything but the plots, or show it again."""
        window = self._window
        if window.commands.actions["plots_only"].isChecked():
            window.show_plots()
            window.layout_of_docks.plots_only([window.toolbar, window.tabs.tabBar(), window.statusBar()])
        else:
            window.layout_of_docks.leave_plots_only()

    def reset_layout(self) -> None:
        """Put every part of the window back to its place."""
        self._window.settings.forget_layout()
        self._window.commands.actions["plots_only"].setChecked(False)
        self._window.layout_of_docks.reset()

    def show_shortcuts(self) -> None:
        """List every command with its shortcut."""
        dialog = ShortcutsDialog(self._window)
        dialog.exec()
        dialog.deleteLater()

    def show_about(self) -> None:
        """Say version, sources and licences."""
        dialog = AboutDialog(QApplication.applicationVersion(), self._window)
        dialog.exec()
        dialog.deleteLater()

    # inside ---------------------------------------------------------------------------------------------
    def _selected(self) -> RunInfo | None:
        return self._window.selected_info()

    def _remember(self, path: Path) -> None:
        self._window.settings.folder = str(path.parent)

    def _sure(self, text: str, details: str) -> bool:
        box = QMessageBox(QMessageBox.Icon.Question, "CARTL Workbench", text, parent=self._window)
        box.setInformativeText(details)
        yes = box.addButton("Stop", QMessageBox.ButtonRole.AcceptRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.exec()
        agreed = box.clickedButton() is yes
        box.deleteLater()
        return agreed


def command_line(info: RunInfo, workspace: str) -> str:
    """The command that makes a run again in a terminal, from the settings saved beside it."""
    return f'cartl run "{Path(info.path) / "config.toml"}" --workspace "{workspace}"'


def file_stem(name: str) -> str:
    """A run's name as the beginning of a file name."""
    return "".join(letter if letter.isalnum() or letter in "-_=." else "_" for letter in name)
