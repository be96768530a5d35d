"""The list of runs and the queue as a table: filtered, sorted and grouped, with one row's work for one run's news."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from PySide6.QtCore import (
    QAbstractTableModel,
    QMimeData,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
    QTimer,
    QUrl,
    Signal,
)
from PySide6.QtGui import QColor, QFont

from cartl_gui import theme, words
from cartl_gui.models.run_cells import cell_data
from cartl_gui.models.run_columns import COLUMNS, Column, ListedRun, setting_columns
from cartl_gui.models.run_groups import (
    Group,
    GroupFigures,
    batches,
    by_itself,
    figures_of,
    groups_of,
    in_order,
)
from engine.events import RunInfo, RunState
from engine.query import Query
from engine.titles import run_title, varied_studies

Index = QModelIndex | QPersistentModelIndex
#: What a header cell is about: the group, or None for a run.
GROUP_ROLE = Qt.ItemDataRole.UserRole + 3
RUNS_FORMAT = "application/x-cartl-runs"
#: More separate changes of rows than this are told as one reset.
FEW = 8


class Entry(NamedTuple):
    """A run's row: the first one, or with `number` from 1 another one under a further heading."""

    run_id: str
    number: int = 0


Row = Entry | Group


class Standing(NamedTuple):
    """All that the places of a run's rows depend on: while it is the same, they stay where they are."""

    accepted: bool
    by_itself: tuple[float, float, float]
    key: Any
    groups: tuple[Group, ...]
    archived: bool


class RunListModel(QAbstractTableModel):
    """One row per run that the filter accepts, one under each of its headings where they are several, and one per group.

    Runs without a chosen order stand by themselves: the running one, those that wait in the order of the queue, then
    the newest study first. News of a run that stays in its place touches one row; anything else is put in order once
    per turn of the event loop, however many runs changed.
    """

    #: A title was typed, or tags: id of the run and its new label.
    label_edited = Signal(str, object)
    #: The box of a run was clicked: id of the run.
    shown_toggled = Signal(str)
    #: Waiting runs were dropped: their ids, and the id of the one that they go before, or None.
    moved = Signal(list, object)
    #: Rows came, went or changed their places.
    arranged = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.columns: list[Column] = list(COLUMNS)
        self.grouping = ""
        self.sorted_by, self.descending = "", False
        self.shows_archived = False
        self._runs: dict[str, ListedRun] = {}
        self._infos: dict[str, RunInfo] = {}
        self._query: Query | None = None
        self._rows: list[Row] = []
        self._row_of: dict[Row, int] = {}
        self._standing: dict[str, Standing] = {}
        self._members: dict[Group, list[ListedRun]] = {}
        self._figures: dict[Group, GroupFigures] = {}
        self._closed: set[str] = set()
        self._matching = 0
        self._queue: tuple[str, ...] = ()
        self._varied: set[str] = set()
        self._is_stale = False
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.timeout.connect(self.arrange)

    # runs -----------------------------------------------------------------------------------------------
    def set_runs(self, runs: Iterable[RunInfo]) -> None:
        """List these runs and no others."""
        self.beginResetModel()
        before = self._runs
        self._infos = {info.id: info for info in runs}
        self._runs = {}
        for info in self._infos.values():
            self._add(info)
            if info.id in before:
                self._runs[info.id].shown = before[info.id].shown
        self._is_stale = True
        self._set_rows(self._arranged())
        self.endResetModel()
        self.arranged.emit()

    def update_run(self, info: RunInfo) -> None:
        """Take in a newer state of a run, or a new run."""
        self._infos[info.id] = info
        run = self._runs.get(info.id)
        if run is None:
            self._add(info)
            self._is_stale = True
            self._later.start()
            return
        run.follow(info)
        if self._standing_of(run) == self._standing.get(info.id):
            headings = groups_of(run, self.grouping, self._infos)
            for group in headings:
                self._figures.pop(group, None)
            self._tell([*self._rows_of(info.id), *headings])
        else:
            self._later.start()

    def remove_runs(self, run_ids: Iterable[str]) -> None:
        """Leave runs out, such as those that went to the bin."""
        for run_id in run_ids:
            self._runs.pop(run_id, None)
            self._infos.pop(run_id, None)
        self._is_stale = True
        self.arrange()

    def set_queue(self, order: Sequence[str]) -> None:
        """Say which runs wait, in order."""
        self._queue = tuple(order)
        self._is_stale = True
        self._later.start()

    @property
    def queue(self) -> tuple[str, ...]:
        """Ids of the waiting runs in order."""
        return self._queue

    def runs(self) -> Mapping[str, RunInfo]:
        """All runs by id, those that are filtered out included."""
        return self._infos

    def listed(self, run_ids: Iterable[str]) -> list[ListedRun]:
        """These runs, as far as there are any."""
        return [self._runs[run_id] for run_id in run_ids if run_id in self._runs]

    def title(self, info: RunInfo) -> str:
        """What the list calls a run, with its seed where names do not tell seeds apart."""
        return run_title(info, self._varied)

    def info(self, run_id: str) -> RunInfo | None:
        """A run by its id."""
        return self._infos.get(run_id)

    def state_of(self, run_id: str) -> RunState | None:
        """The state in which a run is listed, None for an unknown run."""
        info = self._infos.get(run_id)
        return None if info is None else info.state

    def matching(self) -> int:
        """How many runs the filter accepts, those in closed groups included."""
        return self._matching

    def total(self) -> int:
        """How many runs there are to filter: without archived ones unless these are asked for."""
        if self._shows_archived():
            return len(self._infos)
        return sum(not info.label.archived for info in self._infos.values())

    def shown_ids(self) -> list[str]:
        """Ids of the runs whose box is ticked, in the order of the list."""
        ticked = [run for run in self._runs.values() if run.shown]
        return [run.info.id for run in sorted(ticked, key=by_itself)]

    def set_shown(self, run_ids: Iterable[str], *, on: bool) -> None:
        """Tick the boxes of runs, or take the ticks away."""
        for run in self.listed(run_ids):
            run.shown = on
            self._tell(self._rows_of(run.info.id))
        if self.sorted_by == "shown":
            self._later.start()

    # rows -----------------------------------------------------------------------------------------------
    def row_of(self, run_id: str) -> int | None:
        """The first row of a run, None if it is not in the list as it is filtered."""
        if self._later.isActive():
            self.arrange()
        return next((self._row_of[row] for row in self._rows_of(run_id)), None)

    def ids_at(self, rows: Iterable[int]) -> list[str]:
        """Ids of the runs in these rows, each once; headings have none."""
        keys = (self._rows[row] for row in sorted(rows) if row < len(self._rows))
        return list(dict.fromkeys(key.run_id for key in keys if isinstance(key, Entry)))

    def accepted_ids(self) -> list[str]:
        """Ids of the runs in the list, in its order."""
        return self.ids_at(range(len(self._rows)))

    def column(self, name: str) -> int:
        """The number of a column by its id, -1 if there is none."""
        return next((number for number, column in enumerate(self.columns) if column.id == name), -1)

    def set_query(self, query: Query | None) -> None:
        """Keep the runs that a query chooses; None keeps all."""
        if query != self._query:
            self._query = query
            self.arrange()

    def set_shows_archived(self, on: bool) -> None:
        """List archived runs too, or leave them out unless the query asks for them."""
        self.shows_archived = on
        self.arrange()

    def set_grouping(self, grouping: str) -> None:
        """Put headings over runs that have something in common: a key of `GROUPINGS`."""
        self.grouping = grouping
        self._closed.clear()
        self.arrange()

    def toggle_group(self, row: int) -> None:
        """Fold a group or unfold it."""
        key = self._rows[row]
        if isinstance(key, Group):
            self._closed ^= {key.key}
            self.arrange()
            self._tell([key])

    def is_folded(self, group: Group) -> bool:
        """Whether the runs of a group are hidden."""
        return group.key in self._closed

    def set_setting_columns(self, places: Sequence[str]) -> None:
        """Show these settings as columns behind the accuracies, in place of those shown before."""
        wanted = setting_columns(places)
        start = self.column("robust") + 1
        old = [column for column in self.columns if column not in COLUMNS]
        if [column.id for column in old] == [column.id for column in wanted]:
            return
        if old:
            self.beginRemoveColumns(QModelIndex(), start, start + len(old) - 1)
            del self.columns[start : start + len(old)]
            self.endRemoveColumns()
        if wanted:
            self.beginInsertColumns(QModelIndex(), start, start + len(wanted) - 1)
            self.columns[start:start] = wanted
            self.endInsertColumns()
        if self.sorted_by and self.column(self.sorted_by) < 0:
            self.sort(-1)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; -1 is the order that the list has by itself."""
        self.sorted_by = self.columns[column].id if column >= 0 else ""
        self.descending = order == Qt.SortOrder.DescendingOrder
        self.arrange()

    def arrange(self) -> None:
        """Put rows where they belong now, telling as few changes as there are."""
        self._later.stop()
        self._apply(self._arranged())
        self.arranged.emit()

    # inside: order --------------------------------------------------------------------------------------
    def _add(self, info: RunInfo) -> None:
        self._runs[info.id] = ListedRun(info, self._infos)

    def _freshen(self) -> None:
        """Note what depends on several runs: what was queued together, where seeds vary, places in the queue."""
        self._is_stale = False
        starts = batches(self._infos.values())
        self._varied = varied_studies(self._infos.values())
        places = {run_id: number for number, run_id in enumerate(self._queue, start=1)}
        for run_id, run in self._runs.items():
            run.batch, run.place, run.varied = starts[run_id], places.get(run_id), self._varied

    def _shows_archived(self) -> bool:
        return self.shows_archived or (self._query is not None and self._query.asks_for_archived)

    def _accepts(self, run: ListedRun) -> bool:
        if run.info.label.archived and not self._shows_archived():
            return False
        return self._query is None or self._query.accepts(run.searched)

    def _sort_column(self) -> Column | None:
        number = self.column(self.sorted_by)
        return self.columns[number] if number >= 0 else None

    def _standing_of(self, run: ListedRun) -> Standing:
        column = self._sort_column()
        key = column.key(run) if column is not None else None
        groups = groups_of(run, self.grouping, self._infos)
        return Standing(self._accepts(run), by_itself(run), key, groups, run.info.label.archived)

    def _arranged(self) -> list[Row]:
        """The rows as they should be."""
        if self._is_stale:
            self._freshen()
        self._standing = {run_id: self._standing_of(run) for run_id, run in self._runs.items()}
        accepted = [self._runs[run_id] for run_id, standing in self._standing.items() if standing.accepted]
        self._matching = len(accepted)
        ordered = in_order(accepted, self._sort_column(), descending=self.descending)
        self._members, self._figures = {}, {}
        if not self.grouping:
            return [Entry(run.info.id) for run in ordered]
        entries: dict[Group, list[Entry]] = {}
        for run in ordered:
            for number, group in enumerate(groups_of(run, self.grouping, self._infos)):
                self._members.setdefault(group, []).append(run)
                entries.setdefault(group, []).append(Entry(run.info.id, number))
        rows: list[Row] = []
        for group, below in entries.items():
            rows += [group, *(below if group.key not in self._closed else ())]
        return rows

    def _rows_of(self, run_id: str) -> list[Entry]:
        """The rows of a run that are in the list, from the top."""
        run = self._runs.get(run_id)
        count = max(1, len(groups_of(run, self.grouping, self._infos))) if run is not None else 0
        rows = [Entry(run_id, number) for number in range(count)]
        return sorted(filter(self._row_of.__contains__, rows), key=self._row_of.__getitem__)

    def _set_rows(self, rows: list[Row]) -> None:
        self._rows = rows
        self._row_of = {key: row for row, key in enumerate(rows)}

    def _apply(self, rows: list[Row]) -> None:
        wanted, had = set(rows), set(self._rows)
        gone = list(_ranges([row for row, key in enumerate(self._rows) if key not in wanted]))
        new = list(_ranges([row for row, key in enumerate(rows) if key not in had]))
        if len(gone) + len(new) > FEW:
            self.beginResetModel()
            self._set_rows(rows)
            self.endResetModel()
            return
        for first, last in reversed(gone):
            self.beginRemoveRows(QModelIndex(), first, last)
            self._set_rows(self._rows[:first] + self._rows[last + 1 :])
            self.endRemoveRows()
        self._reorder([key for key in rows if key in had])
        for first, last in new:
            self.beginInsertRows(QModelIndex(), first, last)
            self._set_rows(self._rows[:first] + rows[first : last + 1] + self._rows[first:])
            self.endInsertRows()
        if self._rows:
            # Titles, places in the queue and means may have changed without their rows moving.
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._rows) - 1, len(self.columns) - 1))

    def _reorder(self, rows: list[Row]) -> None:
        if rows == self._rows:
            return
        self.layoutAboutToBeChanged.emit()
        before = self.persistentIndexList()
        keys = [self._rows[index.row()] for index in before]
        self._set_rows(rows)
        after = [
            self.index(self._row_of[key], index.column()) for key, index in zip(keys, before, strict=True)
        ]
        self.changePersistentIndexList(before, after)
        self.layoutChanged.emit()

    def _tell(self, keys: Iterable[Row]) -> None:
        """Let the view draw rows anew, those that are in the list."""
        for row in (self._row_of[key] for key in keys if key in self._row_of):
            self.dataChanged.emit(self.index(row, 0), self.index(row, len(self.columns) - 1))

    # what Qt asks ---------------------------------------------------------------------------------------
    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Number of rows."""
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Number of columns."""
        return 0 if parent.isValid() else len(self.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:  # noqa: N802
        """Titles of the columns."""
        if orientation != Qt.Orientation.Horizontal or section >= len(self.columns):
            return None
        column = self.columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.title
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            return column.tip or column.title
        if role == Qt.ItemDataRole.DecorationRole and not column.title:
            return theme.icon("star" if column.id == "star" else "eye", theme.scheme().muted)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if column.right else Qt.AlignmentFlag.AlignLeft
            return int(side | Qt.AlignmentFlag.AlignVCenter)
        return None

    def data(self, index: Index, role: int = 0) -> Any:
        """What a cell shows."""
        key, column = self._rows[index.row()], self.columns[index.column()]
        if role == Qt.ItemDataRole.TextAlignmentRole and column.right:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if isinstance(key, Group):
            return self._group_data(key, column, role)
        run = self._runs.get(key.run_id)
        return None if run is None else cell_data(run, column, role)

    def _group_data(self, group: Group, column: Column, role: int) -> Any:
        if role == GROUP_ROLE:
            return group
        if role == Qt.ItemDataRole.FontRole:
            bold = QFont()
            bold.setBold(True)
            return bold if column.id == "title" else None
        if role == Qt.ItemDataRole.BackgroundRole:
            return QColor(theme.scheme().grid)
        if role not in (
            Qt.ItemDataRole.DisplayRole,
            Qt.ItemDataRole.ToolTipRole,
            Qt.ItemDataRole.AccessibleTextRole,
        ):
            return None
        figures = self.figures(group)
        about = f"mean of {words.count(figures.measured, 'finished run')}"
        text = {
            "title": f"{'▸' if group.key in self._closed else '▾'} {group.title}, {words.count(figures.count, 'run')}",
            "state": figures.states,
            "clean": words.percent(figures.clean) if math.isfinite(figures.clean) else "",
            "robust": words.percent(figures.robust) if math.isfinite(figures.robust) else "",
        }.get(column.id, "")
        if role == Qt.ItemDataRole.DisplayRole:
            return text
        if column.id in ("clean", "robust") and text:
            return f"{column.title}: {text}, {about}"
        if role == Qt.ItemDataRole.AccessibleTextRole and column.id == "title":
            folded = "folded" if group.key in self._closed else "unfolded"
            return f"Group {group.title}, {words.count(figures.count, 'run')}, {folded}"
        return f"{column.title}: {text}" if text else None

    def figures(self, group: Group) -> GroupFigures:
        """Count and means of a group."""
        if group not in self._figures:
            self._figures[group] = figures_of(self._members.get(group, []))
        return self._figures[group]

    def flags(self, index: Index) -> Qt.ItemFlag:
        """Runs can be chosen, dragged, ticked and named; headings only be reached."""
        if not index.isValid():
            return Qt.ItemFlag.ItemIsDropEnabled
        key, column = self._rows[index.row()], self.columns[index.column()]
        if isinstance(key, Group):
            return Qt.ItemFlag.ItemIsEnabled
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsDragEnabled
        if column.id in ("title", "tags"):
            flags |= Qt.ItemFlag.ItemIsEditable
        return flags | Qt.ItemFlag.ItemIsUserCheckable if column.id == "shown" else flags

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:  # noqa: N802
        """Take in a typed title or tags, or a clicked box; the label itself changes by `label_edited`."""
        key, column = self._rows[index.row()], self.columns[index.column()]
        info = self._infos.get(key.run_id) if isinstance(key, Entry) else None
        if info is None:
            return False
        if column.id == "shown" and role == Qt.ItemDataRole.CheckStateRole:
            self.shown_toggled.emit(info.id)
            return True
        if role != Qt.ItemDataRole.EditRole:
            return False
        if column.id == "tags":
            label = replace(info.label, tags=tags_of(str(value)))
        else:
            title = " ".join(str(value).split())
            label = replace(info.label, title="" if title == info.name else title)
        if label != info.label:
            self.label_edited.emit(info.id, label)
        return True

    # dragging -------------------------------------------------------------------------------------------
    def supportedDragActions(self) -> Qt.DropAction:  # noqa: N802
        """Runs move in the queue, and are copied elsewhere."""
        return Qt.DropAction.MoveAction | Qt.DropAction.CopyAction

    def supportedDropActions(self) -> Qt.DropAction:  # noqa: N802
        """Waiting runs move."""
        return Qt.DropAction.MoveAction

    def mimeTypes(self) -> list[str]:  # noqa: N802
        """Runs."""
        return [RUNS_FORMAT]

    def mimeData(self, indexes: Sequence[QModelIndex]) -> QMimeData:  # noqa: N802
        """The ids of runs for the queue, and their settings files for whoever takes files."""
        run_ids = self.ids_at({index.row() for index in indexes})
        data = QMimeData()
        data.setData(RUNS_FORMAT, "\n".join(run_ids).encode())
        data.setUrls([QUrl.fromLocalFile(f"{self._infos[run_id].path}/config.toml") for run_id in run_ids])
        return data

    def can_move(self) -> bool:
        """Whether rows stand in the order of the queue, so that dropping says where a run goes."""
        return not (self.sorted_by or self.grouping)

    def canDropMimeData(  # noqa: N802
        self, data: QMimeData, _action: Qt.DropAction, row: int, _column: int, parent: Index
    ) -> bool:
        """Waiting runs may be dropped among those that wait."""
        if not data.hasFormat(RUNS_FORMAT) or not self.can_move():
            return False
        return self._drop_row(row, parent) is not None and not set(self._queue).isdisjoint(_dropped(data))

    def dropMimeData(  # noqa: N802
        self, data: QMimeData, action: Qt.DropAction, row: int, column: int, parent: Index
    ) -> bool:
        """Ask for the dropped runs to be moved in the queue; the rows follow when the queue has changed."""
        if self.canDropMimeData(data, action, row, column, parent):
            dropped = _dropped(data)
            behind = self.ids_at(range(self._drop_row(row, parent) or 0, len(self._rows)))
            before = next((key for key in behind if key in self._queue and key not in dropped), None)
            self.moved.emit([run_id for run_id in self._queue if run_id in dropped], before)
        return False

    def _drop_row(self, row: int, parent: Index) -> int | None:
        """The row before which something is dropped, None where no waiting run is near."""
        row = parent.row() if parent.isValid() else row
        waiting = [self._row_of[entry] for entry in map(Entry, self._queue) if entry in self._row_of]
        return row if waiting and min(waiting) <= row <= max(waiting) + 1 else None


def tags_of(text: str) -> tuple[str, ...]:
    """The tags in a typed text: words between commas or blanks, sorted, none twice."""
    return tuple(sorted(dict.fromkeys(text.replace(",", " ").split()), key=str.casefold))


def _dropped(data: QMimeData) -> set[str]:
    return set(bytes(data.data(RUNS_FORMAT).data()).decode().split("\n"))


def _ranges(rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of each stretch of neighbouring numbers."""
    start = 0
    for position in range(1, len(rows) + 1):
        if position == len(rows) or rows[position] != rows[position - 1] + 1:
            yield rows[start], rows[position - 1]
            start = position
