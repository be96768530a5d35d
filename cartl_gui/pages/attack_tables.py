"""The tables of the attack page: single attacks, and the points of the sweep."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QBrush, QColor
from PySide6.QtWidgets import (
    QFrame,
    QHeaderView,
    QLabel,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme
from cartl_gui.attack_view import AttackView, Step
from cartl_gui.models.run_cells import PROGRESS_ROLE
from cartl_gui.models.run_delegates import ProgressDelegate
from cartl_gui.widgets import read_only

ROW_HEIGHT = 26
MEMBER_HEADERS = ("Attack", "Images attacked", "Robust accuracy after it (95 %)", "At any step", "Time")
SWEEP_HEADERS = ("Epsilon", "Steps", "Accuracy (95 %)")
#: Column in which the progress of what computes now is drawn.
_ATTACKED, _ANY_STEP, _STEPS, _ACCURACY = 1, 3, 1, 2

Cells = tuple[Step, tuple[str, ...], float | None, bool]


class ResultTable(QTableWidget):
    """A short table that is as high as its rows; what is to come is in quiet text."""

    def __init__(self, headers: Sequence[str], bar_column: int, name: str) -> None:
        super().__init__(0, len(headers))
        self._bar_column = bar_column
        self.setAccessibleName(name)
        self.setHorizontalHeaderLabels(headers)
        self.setItemDelegateForColumn(bar_column, ProgressDelegate(self))
        read_only(self)
        self.setProperty("plain", "true")
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setStretchLastSection(True)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.horizontalScrollBar().rangeChanged.connect(self._range_changed)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_rows(self, rows: Sequence[Cells]) -> None:
        """Show rows: how far each is, its texts, the share of its progress, and whether it stands out."""
        grown = len(rows) != self.rowCount()
        self.setRowCount(len(rows))
        muted = QBrush(QColor(theme.scheme().muted))
        for number, (step, texts, done, stands_out) in enumerate(rows):
            for column, text in enumerate(texts):
                item = self.item(number, column)
                if item is None:
                    item = QTableWidgetItem()
                    self.setItem(number, column, item)
                if item.text() != text:
                    item.setText(text)
                    item.setToolTip(text)
                item.setForeground(muted if step == "waits" else QBrush())
                font = self.font()
                font.setBold(stands_out)
                item.setFont(font)
                item.setData(PROGRESS_ROLE, done if column == self._bar_column else None)
        if grown:
            self.updateGeometry()

    def _range_changed(self, _low: int, _high: int) -> None:
        self.updateGeometry()

    def sizeHint(self) -> QSize:  # noqa: N802
        """As high as the header and all rows."""
        bar = self.horizontalScrollBar()
        extra = bar.sizeHint().height() if bar.maximum() > 0 else 0
        height = self.horizontalHeader().sizeHint().height() + ROW_HEIGHT * self.rowCount() + 4
        return QSize(240, height + extra)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """All rows are always seen."""
        return QSize(120, self.sizeHint().height())


class TableCard(QFrame):
    """A titled card around a table."""

    def __init__(self, title: str, table: ResultTable, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", "true")
        self.table = table
        heading = QLabel(title)
        heading.setProperty("role", "heading")
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 8, 12, 8)
        column.setSpacing(4)
        column.addWidget(heading)
        column.addWidget(table)
        column.addStretch(1)


class MembersCard(TableCard):
    """The single attacks in order."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Single attacks", ResultTable(MEMBER_HEADERS, _ATTACKED, "Single attacks"), parent)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.table.model().setHeaderData(
            2,
            Qt.Orientation.Horizontal,
            "Share of all images that neither this attack nor one before it has broken",
            Qt.ItemDataRole.ToolTipRole,
        )

    def show_view(self, view: AttackView) -> None:
        """Show what each single attack left, and how far the one under way is."""
        self.table.show_rows(
            [
                (
                    line.step,
                    (line.title, line.attacked, line.robust, line.any_step, line.time),
                    line.done,
                    False,
                )
                for line in view.members
            ]
        )
        self.table.setColumnHidden(_ANY_STEP, not view.judged_twice)


class SweepCard(TableCard):
    """The points of the sweep."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Sweep", ResultTable(SWEEP_HEADERS, _ACCURACY, "Sweep"), parent)

    def show_view(self, view: AttackView) -> None:
        """Show the accuracy at each radius and number of steps; the headline's own stands out."""
        self.table.show_rows(
            [
                (line.step, (line.epsilon, line.steps, line.robust), line.done, line.is_headline)
                for line in view.sweep
            ]
        )
        self.table.setColumnHidden(_STEPS, len({line.steps for line in view.sweep if line.steps}) < 2)
