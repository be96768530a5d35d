"""The settings in which runs differ, as a table to look at and to copy."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from PySide6.QtGui import QGuiApplication, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import words
from cartl_gui.models.difference import DifferenceModel
from cartl_gui.widgets import WrappedLabel
from engine.events import RunInfo

#: Runs that are compared side by side at most; more columns than these are not read any more.
MOST_RUNS = 20


class ConfigDifference(QWidget):
    """One row for each setting in which the runs differ, one column for each run."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = DifferenceModel(self, short=True)
        self._title, self._about = WrappedLabel("heading"), WrappedLabel("muted")
        self.table = QTableView()
        self.table.setModel(self.model)
        self.table.setAccessibleName("Settings in which the selected runs differ")
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setShowGrid(False)
        self.table.setAlternatingRowColors(True)
        self.table.setTabKeyNavigation(False)
        self.table.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(26)
        self.table.setWordWrap(False)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self.copy = QPushButton("Copy as text")
        self.copy.setToolTip("Copy the table with blanks between its columns, to read")
        self.copy.clicked.connect(self._copy_text)
        self.copy_csv = QPushButton("Copy as CSV")
        self.copy_csv.setToolTip("Copy the table for a spreadsheet or a program")
        self.copy_csv.clicked.connect(self._copy_csv)
        row = QHBoxLayout()
        row.addWidget(self.copy)
        row.addWidget(self.copy_csv)
        row.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        for widget in (self._title, self._about, self.table):
            column.addWidget(widget)
        column.setStretch(2, 1)
        column.addLayout(row)

    def show_runs(self, runs: Sequence[RunInfo], known: Mapping[str, RunInfo]) -> None:
        """Compare runs; `known` are all of the workspace by id."""
        compared = list(runs[:MOST_RUNS])
        self.model.set_runs(compared, known)
        count = len(self.model.rows)
        more = f" The first {MOST_RUNS} are compared." if len(runs) > MOST_RUNS else ""
        self._title.setText(f"{words.count(len(runs), 'run')} selected")
        self._about.setText(
            f"They differ in {words.count(count, 'setting')}, those of earlier runs included.{more}"
            if count
            else f"They have the same settings and seed.{more}"
        )
        for widget in (self.table, self.copy, self.copy_csv):
            widget.setVisible(bool(count))
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Leave room for the values however narrow the table is."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.table.resizeColumnsToContents()
        most = max(110, self.width() * 2 // 5)
        for column in range(self.model.columnCount()):
            if self.table.columnWidth(column) > most:
                self.table.setColumnWidth(column, most)

    def rows(self) -> list[list[str]]:
        """The table with its header."""
        header = ["Setting", *(info.title for info in self.model.runs)]
        return [header, *([row.title, *row.values] for row in self.model.rows)]

    def _copy_text(self) -> None:
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = (
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
        QGuiApplication.clipboard().setText("\n".join(lines))

    def _copy_csv(self) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(self.rows())
        QGuiApplication.clipboard().setText(text.getvalue())
