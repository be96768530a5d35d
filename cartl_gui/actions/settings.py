"""Commands about the settings in the form, and files that are opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog

from cartl_gui.actions.area import Area
from cartl_gui.files import OPENABLE, WEIGHTS, is_run, is_settings_file, is_weights_file, why_not
from cartl_gui.forms.proposals import attack_on, attack_on_file, settings_of
from cartl_gui.notice_bar import Notice
from engine.config import StudyConfig, StudyDraft
from engine.errors import CartlError, ConfigError
from engine.events import RunInfo


class SettingsActions(Area):
    """Fill the form, save what is in it, start it."""

    def table(self) -> dict[str, Callable[[], object]]:
        """What each command does, by its id."""
        return {
            "new": self.new,
            "demo": self._window.start_demo,
            "open": self.open,
            "save": self.save,
            "run": self._window.setup.submit,
            "estimate": self.estimate,
            "save_preset": self._window.setup.save_as_preset,
            "undo_settings": self._window.setup.undo,
            "redo_settings": self._window.setup.redo,
            "find_setting": self.find_setting,
            "copy_form_command": self.copy_form_command,
            "use_settings": self.use_settings,
            "attack_file": self.attack_file,
            "attack_run": self.attack_selected,
        }

    def new(self) -> None:
        """Put one run with the program's defaults into the form."""
        self._window.setup.new_experiment()
        self._window.show_form()

    def find_setting(self) -> None:
        """Put the cursor into the field that searches the form."""
        self._window.show_form()
        self._window.setup.find_setting()

    def copy_form_command(self) -> None:
        """Copy the command line that makes the study in the form."""
        try:
            command = self._window.setup.command(self._window.session.workspace)
        except CartlError as error:
            self._window.complain("There is no command for this study.", str(error))
            return
        QGuiApplication.clipboard().setText(command)
        self._window.status.say("Copied the command")

    def open(self) -> None:
        """Ask for a settings file and propose what it says."""
        folder = self._window.settings.folder
        path, _kind = QFileDialog.getOpenFileName(self._window, "Open", folder, OPENABLE)
        if path:
            self.open_files([path])

    def use_preset(self, name: str) -> None:
        """Put a preset into the form."""
        self._window.setup.set_preset(name)
        self._window.show_form()

    def open_files(self, paths: Sequence[str]) -> None:
        """Open what was dropped or chosen: take in runs, propose the first settings or weights; tell what is left."""
        proposed, left = "", []
        for path in paths:
            if is_run(path):
                self._window.session.import_run(Path(path))
            elif not (is_settings_file(path) or is_weights_file(path)):
                left.append(why_not(path))
            elif proposed:
                left.append(
                    f"{Path(path).name}: the form holds one file, and {Path(proposed).name} is in it."
                )
            else:
                proposed = path
                self.open_file(path)
        if left:
            self._window.notices.tell(Notice("\n".join(left), "warning"))

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
        name = Path(path).name
        self._window.setup.propose(draft, f"the file {name}", told=f"Settings of {name}.")
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

    def estimate(self) -> None:
        """Ask what the study in the form will take; the answer stands above the button that runs it."""
        study = self._window.setup.study()
        if study is not None:
            self._window.show_form()
            self._window.setup.estimate.show_busy()
            self._window.session.estimate(study)

    def use_settings(self) -> None:
        """Put the selected run's settings into the form."""
        info = self._selected()
        if info is not None:
            self._propose(info)

    def use_settings_of(self, run_ids: Sequence[str]) -> None:
        """Put the settings of dropped runs into the form: of the first, if they are several."""
        infos = [self._window.bridge.runs[run_id] for run_id in run_ids if run_id in self._window.bridge.runs]
        if infos:
            self._propose(infos[0])
        if len(infos) > 1:
            text = f"The form holds the settings of one run at a time; {infos[0].title} is in it."
            self._window.notices.tell(Notice(text))

    def _propose(self, info: RunInfo) -> None:
        study = StudyConfig(title=info.study or info.name, runs=[settings_of(info)])
        source = f"the settings of {info.title}"
        self._window.setup.propose(StudyDraft.of(study), source, told=f"Settings of {info.title}.")
        self._window.show_form()

    def attack_selected(self) -> None:
        """Put an attack on the selected run's network into the form."""
        info = self._selected()
        if info is not None:
            study = StudyConfig(title=info.study or info.name, runs=[attack_on(info)])
            self._show_attack(study, f"An attack on {info.title}")

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
        self._show_attack(study, f"An attack on {Path(path).name}")

    def _show_attack(self, study: StudyConfig, text: str) -> None:
        setup = self._window.setup
        setup.propose(StudyDraft.of(study), f"{text[:1].lower()}{text[1:]}", told=f"{text}.")
        self._window.show_form()
        setup.open_sections("run", "data", "attack")
