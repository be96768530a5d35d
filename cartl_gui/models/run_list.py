"""The list of runs: table model, filter and the painted progress bar."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
)
from PySide6.QtGui import QColor, QPainter
from PySide6.QtWidgets import QApplication, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from cartl_gui import theme, words
from engine.config import STAGE_TITLES
from engine.events import RunInfo, RunState

Index = QModelIndex | QPersistentModelIndex
SORT_ROLE = Qt.ItemDataRole.UserRole
PROGRESS_ROLE = Qt.ItemDataRole.UserRole + 1
ID_ROLE = Qt.ItemDataRole.UserRole + 2

#: Runs of a study that were created within this many seconds of each other were queued at once.
TOGETHER = 60.0
HEADERS = ("Run", "State", "Progress", "Clean", "Robust", "Time", "Study", "Attack", "Created")
NAME, STATE, PROGRESS, CLEAN, ROBUST, TIME, STUDY, ATTACK, CREATED = range(9)
_RIGHT = {CLEAN, ROBUST}


def in_order(runs: list[RunInfo]) -> list[RunInfo]:
    """Newest study first, and within a study that was queued at once the runs in the order in which they are made."""
    batches: list[list[RunInfo]] = []
    for info in sorted(runs, key=lambda info: info.created):
        last = batches[-1][-1] if batches else None
        if last is not None and last.study == info.study and info.created - last.created <= TOGETHER:
            batches[-1].append(info)
        else:
            batches.append([info])
    return [info for batch in reversed(batches) for info in batch]


def varied_studies(runs: list[RunInfo]) -> set[str]:
    """The studies that have runs of several seeds, which their names do not tell apart."""
    seeds: dict[str, set[int]] = {}
    for info in runs:
        seeds.setdefault(info.study, set()).add(info.config.seed)
    return {study for study, found in seeds.items() if len(found) > 1}


class RunListModel(QAbstractTableModel):
    """One row per run, ordered by `in_order`; names have their seed beside them where a study has several."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._runs: list[RunInfo] = []
        self._varied: set[str] = set()

    def set_runs(self, runs: list[RunInfo]) -> None:
        """Show these runs."""
        self.beginResetModel()
        self._runs, self._varied = in_order(runs), varied_studies(runs)
        self.endResetModel()

    def update_run(self, info: RunInfo) -> None:
        """Show a newer state of a run, or a new run at the top."""
        for row, known in enumerate(self._runs):
            if known.id == info.id:
                self._runs[row] = info
                self.dataChanged.emit(self.index(row, 0), self.index(row, len(HEADERS) - 1))
                return
        ordered = in_order([*self._runs, info])
        row = ordered.index(info)
        self.beginInsertRows(QModelIndex(), row, row)
        self._runs = ordered
        self.endInsertRows()
        if varied_studies(ordered) != self._varied:
            self._varied = varied_studies(ordered)
            self.dataChanged.emit(self.index(0, NAME), self.index(len(ordered) - 1, NAME))

    def run_at(self, row: int) -> RunInfo:
        """The run of a row."""
        return self._runs[row]

    def row_of(self, run_id: str) -> int | None:
        """The row of a run."""
        return next((row for row, info in enumerate(self._runs) if info.id == run_id), None)

    def state_of(self, run_id: str) -> RunState | None:
        """The state in which a run is listed, None for an unknown run."""
        row = self.row_of(run_id)
        return None if row is None else self._runs[row].state

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Number of runs."""
        return 0 if parent.isValid() else len(self._runs)

    def columnCount(self, _parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        """Number of columns."""
        return len(HEADERS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:  # noqa: N802
        """Titles of the columns."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return HEADERS[section]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if section in _RIGHT else Qt.AlignmentFlag.AlignLeft
            return int(side | Qt.AlignmentFlag.AlignVCenter)
        return None

    def data(self, index: Index, role: int = 0) -> Any:
        """What a cell shows."""
        info, column = self._runs[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return self._shown(info, column)
        if role == SORT_ROLE:
            return _sort_key(info, column)
        if role == ID_ROLE:
            return info.id
        if role == PROGRESS_ROLE and column == PROGRESS:
            return info.progress
        if role == Qt.ItemDataRole.TextAlignmentRole and column in _RIGHT:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ToolTipRole:
            return _tip(info, column)
        if role == Qt.ItemDataRole.ForegroundRole and column == STATE:
            colours = theme.scheme()
            return QColor({"failed": colours.error, "finished": colours.good}.get(info.state, colours.text))
        if role == Qt.ItemDataRole.DecorationRole and column == ROBUST and words.doubts([info]):
            return theme.icon("warning", theme.scheme().warning)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            doubts = words.doubts([info]) if column == ROBUST else []
            return ", ".join([f"{HEADERS[column]}: {self._shown(info, column)}", *doubts])
        return None

    def _shown(self, info: RunInfo, column: int) -> str:
        text = _text(info, column)
        return f"{text}, seed {info.config.seed}" if column == NAME and info.study in self._varied else text


def _text(info: RunInfo, column: int) -> str:
    if column == STATE:
        word = words.STATE_WORDS[info.state]
        if info.state == "running" and info.stage:
            return f"{word}: {STAGE_TITLES[info.stage].lower()}"
        if info.state == "failed" and info.reason:
            return f"{word}: {info.reason.splitlines()[0]}"
        return word
    result = info.result
    return (
        info.name,
        "",
        f"{100 * info.progress:.0f} %",
        words.percent(result.clean_accuracy.value) if result else "",
        words.percent(result.robust_accuracy.value) if result else "",
        words.ending(info),
        info.study,
        result.attack if result else (info.config.attack.title if info.config.attack else ""),
        words.clock(info.created),
    )[column]


def _sort_key(info: RunInfo, column: int) -> Any:
    result = info.result
    return (
        f"{info.name.lower()} {info.config.seed:010}", words.STATE_WORDS[info.state], info.progress,
        result.clean_accuracy.value if result else -1.0, result.robust_accuracy.value if result else -1.0,
        info.seconds, info.study.lower(), _text(info, ATTACK), info.created,
    )[column]  # fmt: skip


def _tip(info: RunInfo, column: int) -> str:
    if column == STATE and info.reason:
        return info.reason
    if column in _RIGHT and info.result:
        share = info.result.clean_accuracy if column == CLEAN else info.result.robust_accuracy
        about = (
            f"{words.interval(share)}, 95 % interval, {info.result.samples:,} images, {info.result.attack}"
        )
        return "\n".join([about, *(words.doubts([info]) if column == ROBUST else [])])
    return f"{info.name}\n{info.id}\n{words.pretraining(info.config)}; {words.transfer(info.config)}"


class RunFilter(QSortFilterProxyModel):
    """Keeps the runs in which every typed word occurs: name, study, state, methods or attack."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._words: list[str] = []
        self.setSortRole(SORT_ROLE)

    def set_text(self, text: str) -> None:
        """Filter by the words of a text."""
        self.beginFilterChange()
        self._words = text.lower().split()
        self.endFilterChange()

    def filterAcceptsRow(self, row: int, _parent: Index) -> bool:  # noqa: N802
        """Whether all words occur in the run's description."""
        model = self.sourceModel()
        assert isinstance(model, RunListModel)
        info = model.run_at(row)
        about = " ".join(
            (info.name, f"seed {info.config.seed}", info.study, _text(info, STATE), words.pretraining(info.config), words.transfer(info.config),
             _text(info, ATTACK), info.id)
        ).lower()  # fmt: skip
        return all(word in about for word in self._words)


class ProgressDelegate(QStyledItemDelegate):
    """Paints the share that is done as a bar with the cell's text; a cell without a share as any other."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """Paint background and bar."""
        share = index.data(PROGRESS_ROLE)
        if share is None:
            super().paint(painter, option, index)
            return
        self.initStyleOption(option, index)
        text, option.text = option.text, ""
        style = option.widget.style() if option.widget else QApplication.style()
        style.drawControl(QStyle.ControlElement.CE_ItemViewItem, option, painter, option.widget)
        colours = theme.scheme()
        frame = option.rect.adjusted(4, 5, -4, -5)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colours.border))
        painter.drawRoundedRect(frame, 3, 3)
        done = frame.adjusted(0, 0, 0, 0)
        done.setWidth(round(frame.width() * min(1.0, max(0.0, float(share)))))
        painter.setBrush(QColor(colours.accent))
        if done.width() > 1:
            painter.drawRoundedRect(done, 3, 3)
        for clip, colour in (
            (done, colours.on_accent),
            (frame.adjusted(done.width(), 0, 0, 0), colours.text),
        ):
            painter.setClipRect(clip)
            painter.setPen(QColor(colour))
            painter.drawText(frame, Qt.AlignmentFlag.AlignCenter, text)
        painter.restore()
