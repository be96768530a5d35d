"""Commands about the queue and the selected runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QMessageBox

from cartl_gui import words
from cartl_gui.actions.area import Area
from cartl_gui.notice_bar import Notice
from engine.commands import command_of_run, command_of_study
from engine.errors import CartlError
from engine.events import ENDED, RESUMABLE, RunInfo


class RunsActions(Area):
    """Steer the queue, and do something with the selected runs."""

    def table(self) -> dict[str, Callable[[], object]]:
        """What each command does, by its id."""
        panel = self._window.runs
        return {
            "pause": self._window.session.pause,
            "resume": self.resume,
            "resume_study": self.resume_study_of_selected,
            "repeat": self.repeat,
            "retry_half": self.retry_with_half_the_batch,
            "stop": self.stop,
            "stop_all": self.stop_all,
            "move_first": panel.move_first,
            "move_up": panel.move_up,
            "move_down": panel.move_down,
            "move_last": panel.move_last,
            "show_run": self.show_selected,
            "draw_run": panel.toggle_shown,
            "rename": panel.rename,
            "star": panel.toggle_star,
            "tags": panel.edit_tags,
            "notes": self.edit_notes,
            "archive": panel.toggle_archived,
            "bin": panel.move_to_bin,
            "show_bin": self.show_bin,
            "empty_bin": self.empty_bin,
            "undo_runs": panel.edits.stack.undo,
            "redo_runs": panel.edits.stack.redo,
            "copy_command": self.copy_command,
            "copy_study_command": self.copy_study_command,
            "copy_error": self.copy_error,
            "open_folder": self.open_folder,
        }

    def situation(self) -> dict[str, bool]:
        """What the commands of this area depend on: fields of `Situation`."""
        panel = self._window.runs
        chosen, queue = panel.selected_infos(), set(panel.model.queue)
        return {
            "selected": bool(chosen),
            "selected_active": any(
                info.state in ("created", "running") or info.id in queue for info in chosen
            ),
            "selected_resumable": any(info.state in RESUMABLE for info in chosen),
            "selected_ended": bool(chosen)
            and all(info.state in ENDED and info.id not in queue for info in chosen),
            "selected_waiting": any(info.id in queue for info in chosen),
            "selected_failed": any(info.state == "failed" and info.reason for info in chosen),
            "selected_short_of_memory": any(info.cause == "memory" for info in chosen),
            "bin_filled": bool(self._window.bridge.binned),
            "can_undo_runs": panel.edits.stack.canUndo(),
            "can_redo_runs": panel.edits.stack.canRedo(),
        }

    # the queue ------------------------------------------------------------------------------------------
    def resume(self) -> None:
        """Go on with the selected runs that can be resumed, else with the queue."""
        self.go_on([info.id for info in self._chosen() if info.state in RESUMABLE])

    def go_on(self, run_ids: Sequence[str]) -> None:
        """Go on with the queue, first with these runs."""
        session = self._window.session
        if len(run_ids) > 1:
            session.queue_again(run_ids)
        else:
            session.resume(next(iter(run_ids), None))
        self._window.set_paused(False)

    def resume_study_of_selected(self) -> None:
        """Go on with the study of the selected run."""
        info = self._selected()
        if info is not None:
            self.resume_study(info.study)

    def resume_study(self, title: str) -> None:
        """Go on with every run of a study that has not finished."""
        self._queue("The study could not be resumed.", lambda: self._window.session.resume_study(title))

    def repeat(self) -> None:
        """Make the selected runs again."""
        self._repeat(self._chosen(), half_batch=False)

    def retry_with_half_the_batch(self) -> None:
        """Make those of the selected runs again for which memory did not suffice, with smaller batches."""
        self._repeat([info for info in self._chosen() if info.cause == "memory"], half_batch=True)

    def _repeat(self, infos: Sequence[RunInfo], *, half_batch: bool) -> None:
        run_ids = [info.id for info in sorted(infos, key=lambda info: info.created)]
        session = self._window.session
        self._queue("The runs could not be repeated.", lambda: session.repeat(run_ids, half_batch=half_batch))

    def _queue(self, complaint: str, ask: Callable[[], list[RunInfo]]) -> None:
        try:
            runs = ask()
        except CartlError as error:
            self._window.complain(complaint, str(error))
            return
        self.tell_queued(runs)

    def tell_queued(self, runs: Sequence[RunInfo]) -> None:
        """Say that runs were queued just now, and what goes on after them where the queue was held."""
        bridge, count = self._window.bridge, words.count(len(runs), "run")
        held = set(bridge.queue).difference(info.id for info in runs) if bridge.queue_paused else ()
        self._window.set_paused(False)
        self._window.status.say(f"Queued {count}")
        if runs and held:
            text = f"The queue goes on: {count} first, then the {len(held):,} that waited."
            self._window.notices.tell(Notice(text))

    def stop(self) -> None:
        """Stop the selected runs, and keep or discard what they measured, as the user says."""
        panel = self._window.runs
        active = [
            info
            for info in self._chosen()
            if info.state in ("created", "running") or info.id in panel.model.queue
        ]
        if not active:
            return
        what = f"“{panel.model.title(active[0])}”" if len(active) == 1 else words.count(len(active), "run")
        box = QMessageBox(QMessageBox.Icon.Question, "CARTL Workbench", f"Stop {what}?", parent=self._window)
        box.setInformativeText(
            "What was measured can be kept, so that the run can be resumed, or be moved to the bin."
        )
        keep = box.addButton("Stop and keep", QMessageBox.ButtonRole.AcceptRole)
        discard = box.addButton("Stop and discard", QMessageBox.ButtonRole.DestructiveRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.exec()
        answer = box.clickedButton()
        box.deleteLater()
        if answer in (keep, discard):
            for info in reversed(active):  # those that wait first, so that none of them begins meanwhile
                self._window.session.stop(info.id, discard=answer is discard)

    def stop_all(self) -> None:
        """Stop everything if the user is sure."""
        if self._sure("Stop all runs?", "The queue is emptied. What was measured is kept.", "Stop"):
            self._window.session.stop_all()

    # the list -------------------------------------------------------------------------------------------
    def show_selected(self) -> None:
        """Show the selected run in the plots."""
        if run_id := self._window.runs.selected():
            self._window.show_run(run_id)

    def edit_notes(self) -> None:
        """Put the cursor into the notes of the selected run."""
        if run_id := self._window.runs.selected():
            self._window.runs.select(run_id)
            self._window.layout_of_docks.docks["inspector"].show()
            self._window.inspector.edit_notes()

    def show_bin(self) -> None:
        """Show what is in the bin in place of the list."""
        self._window.layout_of_docks.docks["runs"].show()
        self._window.runs.open_bin()

    def empty_bin(self) -> None:
        """Delete what is in the bin for good if the user is sure."""
        count = len(self._window.bridge.binned)
        if count and self._sure(
            f"Delete {words.count(count, 'run')} for good?",
            "Settings, weights and measurements are deleted and cannot be brought back.",
            "Delete",
        ):
            self._window.session.empty_bin()

    # clipboard and files --------------------------------------------------------------------------------
    def copy_command(self) -> None:
        """Copy the command lines that make the selected runs again."""
        known, workspace = self._window.bridge.runs, self._window.session.workspace
        self._copy(lambda: "\n".join(command_of_run(info, known, workspace) for info in self._chosen()))

    def copy_study_command(self) -> None:
        """Copy the command line that makes the study of the selected run again."""
        info = self._selected()
        if info is not None:
            self._copy(lambda: command_of_study(info.study, self._window.session.workspace))

    def _copy(self, write: Callable[[], str]) -> None:
        try:
            text = write()
        except CartlError as error:
            self._window.complain("The command could not be made.", str(error))
            return
        QGuiApplication.clipboard().setText(text)
        self._window.status.say("Copied the command")

    def copy_error(self) -> None:
        """Copy why the selected runs failed."""
        failed = [info for info in self._chosen() if info.state == "failed" and info.reason]
        QGuiApplication.clipboard().setText("\n\n".join(f"{info.title}: {info.reason}" for info in failed))
        self._window.status.say("Copied the error")

    def open_folder(self) -> None:
        """Show the selected run's files in the file manager."""
        info = self._selected()
        if info is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(Path(info.path))))

    def _chosen(self) -> list[RunInfo]:
        return self._window.runs.selected_infos()
