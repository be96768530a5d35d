"""Commands about the queue and the selected run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication

from cartl_gui import words
from cartl_gui.actions.area import Area
from engine.errors import CartlError
from engine.events import RESUMABLE, RunInfo


class RunsActions(Area):
    """Steer the queue, and do something with the selected run."""

    def table(self) -> dict[str, Callable[[], object]]:
        """What each command does, by its id."""
        return {
            "pause": self._window.session.pause,
            "resume": self.resume,
            "resume_study": self.resume_study_of_selected,
            "stop": self.stop,
            "stop_all": self.stop_all,
            "show_run": self.show_selected,
            "copy_command": self.copy_command,
            "open_folder": self.open_folder,
        }

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
            f"Stop “{info.name}”?", "What it measured is kept, and it can be resumed.", "Stop"
        ):
            self._window.session.stop(info.id)

    def stop_all(self) -> None:
        """Stop everything if the user is sure."""
        if self._sure("Stop all runs?", "The queue is emptied. What was measured is kept.", "Stop"):
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


def command_line(info: RunInfo, workspace: str) -> str:
    """The command that makes a run again in a terminal, from the settings saved beside it."""
    return f'cartl run "{Path(info.path) / "config.toml"}" --workspace "{workspace}"'
