"""The table of a study's results: one row a cell with means over seeds, or one row a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QBrush, QColor, QIcon, QKeyEvent
from PySide6.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from cartl_gui import theme, words
from cartl_gui.widgets import read_only
from engine.events import RunInfo
from engine.results import Cell, Evaluation, Results
from engine.wording import NOTHING

ROBUST = "Robust (%)"
CELL_HEADERS = (
    "Cell",
    "Pre-training",
    "Transfer",
    "k",
    "Seeds",
    "Clean (%)",
    ROBUST,
    "Pareto",
    "Not finished",
)
RUN_HEADERS = ("Run", "Seed", "Pre-training", "Transfer", "k", "Clean (%)", ROBUST, "Attack", "State")
DASH = "–"
#: Most letters of the two columns that may be long.
ROOM = 44


@dataclass(frozen=True)
class Row:
    """One row: its texts by column, the run that a double click opens, its cell, and what the tooltip says.

    `doubtful` says that an attack on one of its runs gave a warning.
    """

    texts: tuple[str, ...]
    run: str
    cell: str
    tip: str
    failed: bool = False
    doubtful: bool = False


def cell_rows(runs: Sequence[RunInfo], results: Results, evaluation: Evaluation | None) -> list[Row]:
    """A row for each cell of an evaluation, and for each that will belong to it, in the order of the runs."""
    cells = {cell.name: cell for cell in evaluation.cells} if evaluation else {}
    elsewhere = {cell.name for cell in results.cells} - set(cells)
    by_name: dict[str, list[RunInfo]] = {}
    for run in runs:
        by_name.setdefault(run.name, []).append(run)
    unfinished: dict[str, list[RunInfo]] = {}
    for run in results.unfinished:
        unfinished.setdefault(run.name, []).append(run)
    missing: dict[str, int] = {}
    for name, _seed in results.missing:
        missing[name] = missing.get(name, 0) + 1
    rows = []
    for name, made in by_name.items():
        late = unfinished.get(name, [])
        cell = cells.get(name)
        if cell is None and (name in elsewhere or not late or not _belongs(late[0], evaluation, results)):
            continue
        planned = len({run.config.seed for run in made}) + missing.get(name, 0)
        rows.append(_cell_row(name, cell, late or made, planned, evaluation))
    return rows


def _belongs(run: RunInfo, evaluation: Evaluation | None, results: Results) -> bool:
    """Whether a run without a result will be of this evaluation, as far as its settings tell."""
    if run.config.attack is None:
        return run.state == "failed"
    data = run.config.evaluation_data
    others = {item.data for item in results.evaluations}
    return evaluation is None or data is None or data.name == evaluation.data or data.name not in others


def _cell_row(
    name: str, cell: Cell | None, runs: Sequence[RunInfo], planned: int, evaluation: Evaluation | None
) -> Row:
    late = [run for run in runs if run.state != "finished"]
    failed = [run for run in late if run.state == "failed"]
    states = dict.fromkeys(run.state for run in late)
    waiting = [f"{sum(run.state == state for run in late)} {words.STATE_WORDS[state]}" for state in states]
    reasons = [f"seed {run.config.seed}: {run.reason.splitlines()[0]}" for run in failed if run.reason]
    about = ", ".join(waiting) + (f" ({reasons[0]})" if reasons else "")
    if cell is not None:
        on_front = evaluation is not None and cell.name in evaluation.front
        figures = (
            _known(cell.pretraining), _known(cell.transfer), str(cell.k or ""),
            f"{cell.robust.count} of {max(planned, cell.robust.count)}",
            words.bare(cell.clean), words.bare(cell.robust), "front" if on_front else "",
        )  # fmt: skip
        tip = [cell.name, words.sureness(cell.robust), f"seeds {', '.join(map(str, cell.seeds))}"]
    else:
        config = runs[0].config
        figures = (
            words.pretraining(config), words.transfer(config), words.finetuned_blocks(config), f"0 of {planned}",
            DASH, DASH, "",
        )  # fmt: skip
        tip = [name]
    doubts = words.doubts(cell.runs) if cell is not None else []
    tip += doubts
    tip += [f"seed {run.config.seed}: {words.STATE_WORDS[run.state]} {run.reason}".rstrip() for run in late]
    first = cell.runs[0] if cell else runs[0]
    return Row((name, *figures, about), first.id, name, "\n".join(tip), bool(failed), bool(doubts))


def run_rows(runs: Sequence[RunInfo]) -> list[Row]:
    """A row for each run, in the order in which they are made."""
    rows = []
    for info in runs:
        result = info.result
        planned = info.config.attack.title if info.config.attack else "no attack"
        state = words.STATE_WORDS[info.state]
        reason = info.reason.splitlines()[0] if info.state == "failed" and info.reason else ""
        texts = (
            info.name,
            str(info.config.seed),
            words.pretraining(info.config),
            words.transfer(info.config),
            words.finetuned_blocks(info.config) or DASH,
            words.bare(result.clean_accuracy) if result else DASH,
            words.bare(result.robust_accuracy) if result else DASH,
            result.attack if result else planned,
            f"{state}: {reason}" if reason else state,
        )
        doubts = words.doubts([info])
        tip = "\n".join([info.reason or info.name, *doubts])
        rows.append(Row(texts, info.id, info.name, tip, info.state == "failed", bool(doubts)))
    return rows


def _known(title: str) -> str:
    return DASH if title == NOTHING else title


class ResultsTable(QTableWidget):
    """Shows rows; a double click or Return opens the row's run."""

    run_opened = Signal(str)
    cell_selected = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(CELL_HEADERS), parent)
        self.rows: list[Row] = []
        self.setAccessibleName("Results of the study")
        read_only(self)
        self.setAlternatingRowColors(True)
        self.setMinimumHeight(90)
        self.verticalHeader().setDefaultSectionSize(26)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setStretchLastSection(True)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self.cellDoubleClicked.connect(self._open)
        self.itemSelectionChanged.connect(self._selected)
        self._headers: tuple[str, ...] = ()

    def show_rows(self, headers: tuple[str, ...], rows: list[Row]) -> None:
        """Show these rows, changing only what differs."""
        if headers != self._headers:
            self._headers = headers
            self.clearSelection()
            self.setHorizontalHeaderLabels(headers)
            self.rows = []
        grown = len(rows) != len(self.rows)
        self.setRowCount(len(rows))
        colours = theme.scheme()
        for number, row in enumerate(rows):
            for column, text in enumerate(row.texts):
                item = self.item(number, column)
                if item is None:
                    item = QTableWidgetItem()
                    self.setItem(number, column, item)
                if item.text() != text:
                    item.setText(text)
                if item.toolTip() != row.tip:
                    item.setToolTip(row.tip)
                is_doubtful = row.doubtful and headers[column] == ROBUST
                item.setIcon(theme.icon("warning", colours.warning) if is_doubtful else QIcon())
                is_bad = row.failed and column == len(row.texts) - 1
                item.setForeground(QColor(colours.error) if is_bad else QBrush())
        self.rows = rows
        if grown:
            self._fit_columns()

    def select_cell(self, name: str) -> None:
        """Select the first row of a cell."""
        for number, row in enumerate(self.rows):
            if row.cell == name:
                self.selectRow(number)
                self.scrollTo(self.model().index(number, 0))
                return

    def as_text(self) -> list[tuple[str, ...]]:
        """Titles of the columns and the rows, as shown."""
        return [self._headers, *(row.texts for row in self.rows)]

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Open the selected row with Return."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentRow() >= 0:
            self._open(self.currentRow(), 0)
        else:
            super().keyPressEvent(event)

    def _fit_columns(self) -> None:
        room = self.fontMetrics().averageCharWidth() * ROOM
        for column in range(self.columnCount() - 1):
            self.setColumnWidth(
                column, min(room, max(self.sizeHintForColumn(column), self._header_width(column)) + 4)
            )

    def _header_width(self, column: int) -> int:
        return self.horizontalHeader().sectionSizeHint(column)

    def _open(self, row: int, _column: int) -> None:
        self.run_opened.emit(self.rows[row].run)

    def _selected(self) -> None:
        rows = self.selectionModel().selectedRows()
        self.cell_selected.emit(
            self.rows[rows[0].row()].cell if rows and rows[0].row() < len(self.rows) else ""
        )
