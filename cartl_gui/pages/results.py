"""The results of a study in one table, for reading and for copying into a paper."""

from __future__ import annotations

import csv
import io

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QStackedWidget,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import words
from cartl_gui.widgets import QuietCombo, WrappedLabel
from engine.events import RunInfo

HEADERS = ("Run", "Pre-training", "Transfer", "k", "Clean", "Robust", "Attack", "State")
CSV_HEADERS = (
    "run", "id", "state", "pretraining", "transfer", "k", "data", "attack", "samples",
    "clean_accuracy", "clean_low", "clean_high", "robust_accuracy", "robust_low", "robust_high",
)  # fmt: skip


def csv_of(runs: list[RunInfo]) -> str:
    """The table as CSV; accuracies are shares 0..1, as they are stored."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_HEADERS)
    for info in runs:
        result = info.result
        figures: list[object] = [""] * 9
        if result is not None:
            figures = [result.data, result.attack, result.samples]
            for share in (result.clean_accuracy, result.robust_accuracy):
                figures += [share.value, share.low, share.high]
        writer.writerow(
            [info.name, info.id, info.state, words.pretraining(info.config), words.transfer(info.config),
             words.finetuned_blocks(info.config), *figures]
        )  # fmt: skip
    return out.getvalue()


class ResultsPage(QWidget):
    """Choose a study, read its table, copy it."""

    demo_asked = Signal()
    run_chosen = Signal(str)
    said = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._runs: list[RunInfo] = []
        self._shown: list[RunInfo] = []
        self.study = QuietCombo()
        self.study.setAccessibleName("Study")
        self.study.currentIndexChanged.connect(self._fill)
        label = QLabel("Study")
        label.setBuddy(self.study)
        self.copy_button = QPushButton("Copy as text")
        self.copy_button.setToolTip(
            "Copy the table with tabs between columns, for a spreadsheet or a document"
        )
        self.copy_button.clicked.connect(self._copy)
        self.save_button = QPushButton("Save as CSV…")
        self.save_button.clicked.connect(self._save)
        row = QHBoxLayout()
        row.addWidget(label)
        row.addWidget(self.study, 1)
        row.addStretch(1)
        row.addWidget(self.copy_button)
        row.addWidget(self.save_button)
        self.table = QTableWidget(0, len(HEADERS))
        self.table.setHorizontalHeaderLabels(HEADERS)
        self.table.setAccessibleName("Results of the study")
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setShowGrid(False)
        self.table.setAlternatingRowColors(True)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(30)
        self.table.setTabKeyNavigation(False)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setHighlightSections(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self.table.cellDoubleClicked.connect(self._open)
        note = WrappedLabel("muted")
        note.setText(
            "Shares are in percent of the attacked test images, with 95 % Wilson intervals in brackets."
        )
        filled = QWidget()
        column = QVBoxLayout(filled)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self.table, 1)
        column.addWidget(note)
        empty = QWidget()
        words_label = WrappedLabel("muted")
        words_label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        words_label.setText(
            "Here the runs of a study stand side by side: methods, k, clean and robust accuracy."
        )
        button = QPushButton("Try the demo")
        button.setProperty("main", "true")
        button.clicked.connect(self.demo_asked)
        centre = QVBoxLayout(empty)
        centre.addStretch(2)
        centre.addWidget(words_label)
        centre.addWidget(button, 0, Qt.AlignmentFlag.AlignHCenter)
        centre.addStretch(3)
        self.stack = QStackedWidget()
        self.stack.addWidget(empty)
        self.stack.addWidget(filled)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(8, 8, 8, 6)
        outer.addWidget(self.stack)

    def show_runs(self, runs: list[RunInfo], study: str | None = None) -> None:
        """Show the runs of the workspace, and turn to a study if one is named."""
        self._runs = runs
        newest: dict[str, float] = {}
        for info in runs:
            newest[info.study] = max(newest.get(info.study, 0.0), info.created)
        names = sorted(newest, key=lambda name: newest[name], reverse=True)
        wanted = study if study in newest else self.study.currentText()
        self.study.blockSignals(True)
        if [self.study.itemText(i) for i in range(self.study.count())] != names:
            self.study.clear()
            self.study.addItems(names)
        self.study.setCurrentIndex(max(0, self.study.findText(wanted)))
        self.study.blockSignals(False)
        self.stack.setCurrentIndex(1 if runs else 0)
        self._fill()

    def _fill(self) -> None:
        chosen = self.study.currentText()
        self._shown = sorted(
            (info for info in self._runs if info.study == chosen), key=lambda info: info.created
        )
        self.table.setRowCount(len(self._shown))
        for row, info in enumerate(self._shown):
            for column, text in enumerate(self._texts(info)):
                item = self.table.item(row, column)
                if item is None:
                    item = QTableWidgetItem()
                    self.table.setItem(row, column, item)
                if item.text() != text:
                    item.setText(text)

    def _texts(self, info: RunInfo) -> tuple[str, ...]:
        result = info.result
        planned = info.config.attack.title if info.config.attack else "no attack"
        return (
            info.name,
            words.pretraining(info.config),
            words.transfer(info.config),
            words.finetuned_blocks(info.config) or "–",
            words.interval(result.clean_accuracy) if result else "–",
            words.interval(result.robust_accuracy) if result else "–",
            result.attack if result else planned,
            words.STATE_WORDS[info.state],
        )

    def _copy(self) -> None:
        lines = ["\t".join(HEADERS), *("\t".join(self._texts(info)) for info in self._shown)]
        QGuiApplication.clipboard().setText("\n".join(lines))
        self.said.emit(f"Copied {words.count(len(self._shown), 'row')}")

    def _save(self) -> None:
        path, _kind = QFileDialog.getSaveFileName(self, "Save the table", "results.csv", "CSV (*.csv)")
        if path:
            self.save_csv(path)

    def save_csv(self, path: str) -> None:
        """Write the table shown as CSV."""
        try:
            with open(path, "w", encoding="utf-8", newline="") as file:
                file.write(csv_of(self._shown))
        except OSError as error:
            self.said.emit(f"Could not write {path}: {error.strerror}")
            return
        self.said.emit(f"Wrote {path}")

    def _open(self, row: int, _column: int) -> None:
        self.run_chosen.emit(self._shown[row].id)
