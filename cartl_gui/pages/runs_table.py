"""The table of the run list: its keys and clicks, the menu of its header, and what it keeps when rows change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from PySide6.QtCore import (
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QPoint,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import QAction, QDragEnterEvent, QDropEvent, QKeyEvent, QPainter
from PySide6.QtWidgets import (
    QAbstractItemDelegate,
    QAbstractItemView,
    QHeaderView,
    QMenu,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from cartl_gui.models.run_cells import ID_ROLE, TAGS_ROLE
from cartl_gui.models.run_columns import COLUMNS
from cartl_gui.models.run_delegates import ProgressDelegate, TagsDelegate
from cartl_gui.models.run_groups import Group
from cartl_gui.models.run_list import GROUP_ROLE, RunListModel
from cartl_gui.scaling import SCALE
from cartl_gui.widgets import Menu

Index = QModelIndex | QPersistentModelIndex
ROW_HEIGHT = 26


class RunDelegate(ProgressDelegate):
    """Paints progress as bars and tags as chips."""

    def __init__(self, known_tags: Callable[[], Iterable[str]], parent: QWidget) -> None:
        super().__init__(parent)
        self._tags = TagsDelegate(known_tags, self)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """Paint a cell."""
        if index.data(TAGS_ROLE):
            self._tags.paint(painter, option, index)
        else:
            super().paint(painter, option, index)

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: Index) -> QWidget:  # noqa: N802
        """The editor of a title or of tags."""
        if index.data(TAGS_ROLE) is not None:
            return self._tags.createEditor(parent, option, index)
        return super().createEditor(parent, option, index)


class RunTable(QTableView):
    """Rows are opened with Return, groups folded by a click or Left and Right; the selection outlives every change."""

    opened = Signal()
    star_clicked = Signal(str)
    #: The runs that are selected are others than before.
    chosen = Signal()

    def __init__(self, model: RunListModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._runs = model
        self._kept: tuple[list[str], str, int] = ([], "", 0)
        self._is_restoring = False
        #: How far the list was scrolled to the right before a cell was typed over.
        self._across = 0
        self._hidden: set[str] = set()
        model.rowsAboutToBeRemoved.connect(self._keep_removed)  # heard before the selection forgets them
        self.setModel(model)
        self.setAccessibleName("Runs")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setDragDropMode(QAbstractItemView.DragDropMode.DragDrop)
        self.setDragDropOverwriteMode(False)
        self.setDefaultDropAction(Qt.DropAction.MoveAction)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setAlternatingRowColors(True)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        self.verticalHeader().setMinimumSectionSize(ROW_HEIGHT)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionsMovable(True)
        header.setMinimumSectionSize(24)
        header.setStretchLastSection(True)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setSortIndicatorClearable(True)
        header.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        header.customContextMenuRequested.connect(self._choose_columns)
        self.setSortingEnabled(True)
        self.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        model.modelAboutToBeReset.connect(self._keep)
        model.modelReset.connect(self._restore_rows)
        model.arranged.connect(self._restore_removed)
        model.columnsInserted.connect(self._dress_columns)
        model.arranged.connect(self._show_order)
        self.selectionModel().selectionChanged.connect(self._tell)
        self.clicked.connect(self._clicked)
        self.doubleClicked.connect(self._double_clicked)
        #: Whether the list stays at the selected run while others come and go: until the user scrolls.
        self._stays = False
        self.verticalScrollBar().actionTriggered.connect(self._scrolled)
        model.arranged.connect(self._stay)
        self.reset_columns()

    # selection ------------------------------------------------------------------------------------------
    def selected_ids(self) -> list[str]:
        """Ids of the selected runs in the order of the list."""
        rows: set[int] = set()
        for part in self.selectionModel().selection().toList():
            rows.update(range(part.top(), part.bottom() + 1))
        return self._runs.ids_at(rows)

    def current_id(self) -> str:
        """Id of the run that the keyboard is at, else of the first selected one; "" if none is selected."""
        selected = self.selected_ids()
        current = self.currentIndex().data(ID_ROLE) if self.currentIndex().isValid() else None
        return current if current in selected else next(iter(selected), "")

    def select(self, run_ids: Iterable[str], *, current: str = "") -> None:
        """Select these runs, as far as they are in the list, and scroll to the current one."""
        rows = sorted(row for run_id in run_ids if (row := self._runs.row_of(run_id)) is not None)
        if not rows:
            self.clearSelection()
            return
        last, selection = len(self._runs.columns) - 1, QItemSelection()
        for row in rows:
            selection.select(self._runs.index(row, 0), self._runs.index(row, last))
        at = self._runs.row_of(current) if current else rows[0]
        index = self._runs.index(rows[0] if at is None else at, self._runs.column("title"))
        model = self.selectionModel()
        model.setCurrentIndex(index, QItemSelectionModel.SelectionFlag.NoUpdate)
        model.select(selection, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        self._stays = True
        self.scrollTo(index)

    def _stay(self) -> None:
        if self._stays and self.currentIndex().isValid():
            self.scrollTo(self.currentIndex())

    def _scrolled(self, _action: int) -> None:
        self._stays = False

    def _tell(self) -> None:
        if not self._is_restoring:
            self.chosen.emit()

    def _keep(self) -> None:
        self._kept = (self.selected_ids(), self.current_id(), self.verticalScrollBar().value())

    def _restore_rows(self) -> None:
        selected, current, scroll = self._kept
        self._is_restoring = True
        self.select(selected, current=current)
        self._is_restoring = False
        self.verticalScrollBar().setValue(scroll)
        if self.selected_ids() != selected:
            self.chosen.emit()

    def _keep_removed(self) -> None:
        if not self._is_restoring:
            self._keep()
            self._is_restoring = True

    def _restore_removed(self) -> None:
        """Select runs again that lost the row under one heading but have another."""
        if not self._is_restoring:
            return
        before, current, _scroll = self._kept
        left = [run_id for run_id in before if self._runs.row_of(run_id) is not None]
        if set(left) - set(self.selected_ids()):
            self.select(left, current=current)
        self._is_restoring = False
        if self.selected_ids() != before:
            self.chosen.emit()

    # keys and clicks ------------------------------------------------------------------------------------
    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Open the selected run with Return; fold and unfold groups."""
        index = self.currentIndex()
        group = index.data(GROUP_ROLE) if index.isValid() else None
        keys = Qt.Key
        if event.key() in (keys.Key_Return, keys.Key_Enter, keys.Key_Space) and group is not None:
            self._runs.toggle_group(index.row())
        elif event.key() in (keys.Key_Left, keys.Key_Right) and group is not None:
            if self._runs.is_folded(group) == (event.key() == keys.Key_Right):
                self._runs.toggle_group(index.row())
        elif event.key() in (keys.Key_Return, keys.Key_Enter) and index.isValid():
            self.opened.emit()
        else:
            super().keyPressEvent(event)

    def moveCursor(  # noqa: N802
        self, action: QAbstractItemView.CursorAction, modifiers: Qt.KeyboardModifier
    ) -> QModelIndex:
        """Home and End go to the first and last row, as in other lists, not to the ends of one row."""
        ends = {self.CursorAction.MoveHome: 0, self.CursorAction.MoveEnd: self._runs.rowCount() - 1}
        if action in ends:
            return self._runs.index(ends[action], self._runs.column("title"))
        return super().moveCursor(action, modifiers)

    def _clicked(self, index: QModelIndex) -> None:
        if isinstance(index.data(GROUP_ROLE), Group):
            self._runs.toggle_group(index.row())
        elif self._runs.columns[index.column()].id == "star":
            self.star_clicked.emit(str(index.data(ID_ROLE)))

    def _double_clicked(self, index: QModelIndex) -> None:
        is_run = not isinstance(index.data(GROUP_ROLE), Group)
        if is_run and self._runs.columns[index.column()].id not in ("star", "shown"):
            self.opened.emit()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Keep runs that are dragged in the list from being taken by the window around it, as files dropped there."""
        super().dragEnterEvent(event)
        if event.source() is self:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Let the queue move what is dropped; no row is taken away for it."""
        super().dropEvent(event)
        event.setDropAction(Qt.DropAction.IgnoreAction)

    def edit_cell(self, run_id: str, column: str) -> None:
        """Type over a cell in its place, showing its column if it is hidden."""
        row, number = self._runs.row_of(run_id), self._runs.column(column)
        if self.currentIndex().data(ID_ROLE) == run_id:  # under several headings: where the keyboard is
            row = self.currentIndex().row()
        if row is not None:
            self.set_column_shown(column, on=True)
            index = self._runs.index(row, number)
            self._across = self.horizontalScrollBar().value()
            self.scrollTo(index)
            self.selectionModel().setCurrentIndex(index, QItemSelectionModel.SelectionFlag.NoUpdate)
            self.edit(index)

    def closeEditor(self, editor: QWidget, hint: QAbstractItemDelegate.EndEditHint) -> None:  # noqa: N802
        """End typing in a cell, and show again which run it is where its title was out of sight for that."""
        super().closeEditor(editor, hint)
        self.horizontalScrollBar().setValue(self._across)

    def sizeHint(self) -> QSize:  # noqa: N802
        """As little as there has to be: how many rows are seen is for the panel around it to say."""
        return self.minimumSizeHint()

    # columns --------------------------------------------------------------------------------------------
    def is_column_shown(self, name: str) -> bool:
        """Whether the user wants a column."""
        return name not in self._hidden

    def set_column_shown(self, name: str, *, on: bool) -> None:
        """Show a column or hide it; the title stays."""
        if name != "title":
            (self._hidden.discard if on else self._hidden.add)(name)
        self.horizontalHeader().setSectionHidden(self._runs.column(name), name in self._hidden)

    def reset_columns(self) -> None:
        """Give every column its first place and width, and show it."""
        header = self.horizontalHeader()
        self._hidden.clear()
        for number, column in enumerate(self._runs.columns):
            header.setSectionHidden(number, False)
            header.moveSection(header.visualIndex(number), number)
            header.resizeSection(number, round(column.width * self._scale()))

    def layout_of_columns(self) -> dict[str, Any]:
        """Order, widths and what is hidden, by the columns' ids."""
        header, columns = self.horizontalHeader(), self._runs.columns
        order = [columns[header.logicalIndex(place)].id for place in range(len(columns))]
        fixed = {column.id for column in COLUMNS}
        hidden = sorted(self._hidden)
        for name in hidden:
            header.setSectionHidden(self._runs.column(name), False)
        widths = {
            name: round(header.sectionSize(self._runs.column(name)) / self._scale())
            for name in order
            if name in fixed
        }
        for name in hidden:
            header.setSectionHidden(self._runs.column(name), True)
        return {"order": [name for name in order if name in fixed], "widths": widths, "hidden": hidden}

    def lay_out_columns(self, layout: Mapping[str, Any]) -> None:
        """Put columns where `layout_of_columns` says; names that are not known are left out."""
        self.reset_columns()
        header = self.horizontalHeader()
        known = [name for name in layout["order"] if self._runs.column(name) >= 0]
        for place, name in enumerate(known):
            header.moveSection(header.visualIndex(self._runs.column(name)), place)
            header.resizeSection(self._runs.column(name), round(layout["widths"][name] * self._scale()))
        for name in layout["hidden"]:
            if self._runs.column(name) >= 0:
                self.set_column_shown(name, on=False)

    def _show_order(self) -> None:
        """Mark the column that the list is sorted by, which is none once that column is gone."""
        header, section = self.horizontalHeader(), self._runs.column(self._runs.sorted_by)
        if header.sortIndicatorSection() != section:
            order = Qt.SortOrder.DescendingOrder if self._runs.descending else Qt.SortOrder.AscendingOrder
            header.blockSignals(True)
            header.setSortIndicator(section, order)
            header.blockSignals(False)

    def _scale(self) -> float:
        """For which scale of the window the header's widths are; see `cartl_gui.scaling`."""
        return float(self.horizontalHeader().property(SCALE) or 1.0)

    def _dress_columns(self, _parent: QModelIndex, first: int, last: int) -> None:
        for number in range(first, last + 1):
            width = round(self._runs.columns[number].width * self._scale())
            self.horizontalHeader().resizeSection(number, width)
        self._keep()
        self._restore_rows()  # what is selected is whole rows, the new columns included

    def column_menu(self, parent: QWidget) -> QMenu:
        """A menu of columns to show and hide."""
        menu = Menu("&Columns", parent)
        for column in COLUMNS:
            if column.id != "title":
                action = menu.addAction(column.title or column.tip)
                action.setCheckable(True)
                action.setChecked(self.is_column_shown(column.id))
                action.setData(column.id)
                action.toggled.connect(self._column_toggled)
        menu.addSeparator()
        menu.addAction("&Reset columns").triggered.connect(self.reset_columns)
        return menu

    def _column_toggled(self, on: bool) -> None:
        action = self.sender()
        if isinstance(action, QAction):
            self.set_column_shown(str(action.data()), on=on)

    def _choose_columns(self, position: QPoint) -> None:
        menu = self.column_menu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(self.horizontalHeader().mapToGlobal(position))
