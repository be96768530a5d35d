"""What the list of runs and the panel of the selected run ask of the engine, and what they hear from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from engine.events import QueueChanged, RunsBinned, RunsListed

if TYPE_CHECKING:
    from cartl_gui.main_window import MainWindow


class Listed(QObject):
    """Keeps list and inspector at what the engine says."""

    #: Other runs are selected, in the queue or in the bin, or something can be undone: commands may make sense now.
    changed = Signal()
    #: Runs went to the bin: whoever lists runs has to be told.
    runs_left = Signal()

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window, self._bridge = window, window.bridge
        self._runs, self._inspector = window.runs, window.inspector
        session, do = window.session, window.do
        self._inspector.know(self._bridge.runs, window.presets)
        self._runs.restore(window.settings.run_list)
        for table in (self._runs.table, self._runs.bin.table):
            window.commands.listen_in(table, "runs")
        self._bridge.runs_listed.connect(self._listed)
        self._bridge.queue_changed.connect(self._queue_changed)
        self._bridge.runs_binned.connect(self._binned)
        self._bridge.bin_emptied.connect(self._runs.bin_emptied)
        self._bridge.bin_emptied.connect(self.changed)
        self._runs.selection_changed.connect(self._inspector.show_selection)
        self._runs.selection_changed.connect(self.changed)
        self._runs.edits.stack.indexChanged.connect(self.changed)
        self._runs.edits.label_asked.connect(session.label)
        self._runs.edits.bin_asked.connect(session.bin)
        self._runs.edits.restore_asked.connect(session.restore)
        self._runs.move_asked.connect(session.move)
        self._runs.empty_bin_asked.connect(do.runs.empty_bin)
        self._runs.go_on_asked.connect(do.runs.go_on)
        self._runs.demo_asked.connect(window.start_demo)
        self._inspector.label_changed.connect(self._runs.edits.change)
        self._inspector.run_asked.connect(window.show_run)
        self._inspector.command_asked.connect(do.run)

    def save(self) -> None:
        """Remember columns, order and groups of the list."""
        self._window.settings.run_list = self._runs.state()

    def _listed(self, event: RunsListed) -> None:
        can_write = not event.read_only
        self._runs.set_can_write(can_write)
        self._inspector.set_can_write(can_write)
        self._runs.set_runs(self._bridge.runs.values(), self._bridge.binned.values())
        self.changed.emit()

    def _queue_changed(self, event: QueueChanged) -> None:
        self._runs.set_queue(event)
        self._window.set_paused(event.paused)

    def _binned(self, event: RunsBinned) -> None:
        self._runs.runs_binned(event)
        self._inspector.forget(info.id for info in event.runs)
        self.runs_left.emit()
        self.changed.emit()
