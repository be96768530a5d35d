"""What is in the bin, in place of the list of runs: to bring back, or to delete for good."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from cartl_gui import words
from cartl_gui.models.run_list import RunListModel
from cartl_gui.pages.runs_table import RunDelegate, RunTable
from engine.events import RunInfo

#: What of a run is of no interest while it lies in the bin.
_LEFT_OUT = ("shown", "star", "progress", "queue")


class BinView(QWidget):
    """The list of runs in the bin."""

    restore_asked = Signal(list)
    empty_asked = Signal()
    left = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = RunListModel(self)
        self.model.set_shows_archived(True)
        self.table = RunTable(self.model)
        self.table.setAccessibleName("Runs in the bin")
        self.table.setDragEnabled(False)
        self.table.setItemDelegate(RunDelegate(tuple, self.table))
        for name in _LEFT_OUT:
            self.table.set_column_shown(name, on=False)
        self.table.chosen.connect(self._update)
        self._text = QLabel()
        self.restore = QPushButton("Restore")
        self.restore.setToolTip("Bring the selected runs back; all of them if none is selected")
        self.restore.clicked.connect(self._restore)
        self.empty = QPushButton("Empty bin…")
        self.empty.setToolTip("Delete everything in the bin for good")
        self.empty.clicked.connect(self.empty_asked)
        self.back = QPushButton("Back to the runs")
        self.back.clicked.connect(self.left)
        row = QHBoxLayout()
        row.addWidget(self._text, 1)
        for button in (self.restore, self.empty, self.back):
            row.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(self.table, 1)
        self._can_write = True
        self._update()

    def set_can_write(self, on: bool) -> None:
        """Whether anything may be changed."""
        self._can_write = on
        self._update()

    def set_runs(self, runs: Iterable[RunInfo]) -> None:
        """Show what is in the bin."""
        self.model.set_runs(runs)
        self._update()

    def _update(self) -> None:
        total = self.model.total()
        self._text.setText(f"{words.count(total, 'run')} in the bin" if total else "The bin is empty")
        self.restore.setText("Restore" if self.table.selected_ids() else "Restore all")
        for button in (self.restore, self.empty):
            button.setEnabled(bool(total) and self._can_write)

    def _restore(self) -> None:
        self.restore_asked.emit(self.table.selected_ids() or list(self.model.runs()))
