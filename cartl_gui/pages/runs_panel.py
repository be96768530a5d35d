"""The dock below the plots: the list of runs with its filter and context menu."""

from __future__ import annotations

from PySide6.QtCore import QItemSelection, QModelIndex, QPoint, Qt, Signal
from PySide6.QtGui import QAction, QKeyEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QMenu,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import words
from cartl_gui.models.run_list import ID_ROLE, PROGRESS, ProgressDelegate, RunFilter, RunListModel
from engine.events import RunInfo


class RunTable(QTableView):
    """A table whose rows are opened with Return."""

    opened = Signal()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Open the selected run with Return."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self.opened.emit()
        else:
            super().keyPressEvent(event)


class RunsPanel(QWidget):
    """Runs of the workspace, newest first."""

    run_selected = Signal(str)
    run_opened = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = RunListModel(self)
        self.proxy = RunFilter(self)
        self.proxy.setSourceModel(self.model)
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("Filter by name, study, state, method or attack")
        self.filter.setClearButtonEnabled(True)
        self.filter.setAccessibleName("Filter runs")
        self.filter.textChanged.connect(self._narrow)
        self._amount = QLabel()
        self._amount.setProperty("role", "muted")
        self.table = RunTable()
        self.table.setModel(self.proxy)
        self.table.setAccessibleName("Runs")
        self.table.setItemDelegateForColumn(PROGRESS, ProgressDelegate(self.table))
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setShowGrid(False)
        self.table.setWordWrap(False)
        self.table.setTabKeyNavigation(False)
        self.table.setAlternatingRowColors(True)
        self.table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.table.customContextMenuRequested.connect(self._menu_asked)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(26)
        header = self.table.horizontalHeader()
        header.setHighlightSections(False)
        header.setStretchLastSection(True)
        header.setSectionsMovable(True)
        for column, width in enumerate((210, 150, 110, 70, 84, 190, 116, 200, 110)):
            header.resizeSection(column, width)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self.table.setSortingEnabled(True)
        self.table.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        self.table.selectionModel().selectionChanged.connect(self._selected)
        self.table.doubleClicked.connect(self._opened)
        self.table.opened.connect(self._open_current)
        self._empty = QLabel(
            "Runs will be listed here with their state, progress and expected end.", self.table
        )
        self._empty.setProperty("role", "muted")
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._empty.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        centre = QVBoxLayout(self.table.viewport())
        centre.addWidget(self._empty)
        row = QHBoxLayout()
        row.addWidget(self.filter, 1)
        row.addWidget(self._amount)
        column_layout = QVBoxLayout(self)
        column_layout.setContentsMargins(8, 4, 8, 6)
        column_layout.setSpacing(4)
        column_layout.addLayout(row)
        column_layout.addWidget(self.table, 1)
        self.setMinimumHeight(120)
        self._menu: QMenu | None = None
        self._count()

    def set_menu_actions(self, actions: list[QAction | None]) -> None:
        """Fill the context menu; None is a separating line."""
        self._menu = QMenu(self)
        for action in actions:
            if action is None:
                self._menu.addSeparator()
            else:
                self._menu.addAction(action)

    def set_runs(self, runs: list[RunInfo]) -> None:
        """List these runs, keeping the selection."""
        chosen = self.selected()
        self.model.set_runs(runs)
        if chosen:
            self.select(chosen)
        self._count()

    def update_run(self, info: RunInfo) -> None:
        """Show a newer state of a run."""
        self.model.update_run(info)
        self._count()

    def select(self, run_id: str) -> None:
        """Select a run."""
        row = self.model.row_of(run_id)
        if row is None:
            return
        index = self.proxy.mapFromSource(self.model.index(row, 0))
        if index.isValid() and index.row() != self.table.currentIndex().row():
            self.table.selectRow(index.row())
            self.table.setCurrentIndex(index)
            self.table.scrollTo(index)

    def selected(self) -> str:
        """Id of the selected run, empty if there is none."""
        rows = self.table.selectionModel().selectedRows()
        return str(rows[0].data(ID_ROLE)) if rows else ""

    def _selected(self, _now: QItemSelection, _before: QItemSelection) -> None:
        run_id = self.selected()
        if run_id:
            self.run_selected.emit(run_id)

    def _opened(self, index: QModelIndex) -> None:
        self.run_opened.emit(str(index.data(ID_ROLE)))

    def _open_current(self) -> None:
        self._opened(self.table.currentIndex())

    def _narrow(self, text: str) -> None:
        self.proxy.set_text(text)
        self._count()

    def _count(self) -> None:
        total, shown = self.model.rowCount(), self.proxy.rowCount()
        self._amount.setText(words.count(total, "run") if shown == total else f"{shown} of {total:,} runs")
        self._empty.setVisible(shown == 0)
        self._empty.setText(
            "No run has all of these words."
            if total
            else "Runs will be listed here with their state, progress and expected end."
        )

    def _menu_asked(self, position: QPoint) -> None:
        if self._menu is not None and self.selected():
            self._menu.popup(self.table.viewport().mapToGlobal(position))
