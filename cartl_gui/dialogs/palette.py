"""The palette: find a command, run, preset or setting by a few letters, and do it, by keyboard alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PySide6.QtCore import (
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QRect,
    QSize,
    Qt,
)
from PySide6.QtGui import QColor, QFont, QFontMetrics, QIcon, QKeyEvent, QPainter
from PySide6.QtWidgets import (
    QApplication,
    QFrame,
    QLabel,
    QLineEdit,
    QListView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)
from shiboken6 import isValid

from cartl_gui import theme
from cartl_gui.fuzzy import Match, match

#: How many entries are listed at most, and how many are seen at once.
MOST, SEEN = 60, 8
#: What a word that stands only in the explanation is worth, beside the title.
EXPLAINED = 0.3
#: By how much what cannot be done now stands behind what can.
UNAVAILABLE = 3.0
_KEYS = {
    Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1, Qt.Key.Key_PageUp: -SEEN, Qt.Key.Key_PageDown: SEEN
}  # fmt: skip

_Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that can be done.

    Attributes:
        title: what is searched first.
        kind: where it belongs, such as the menu of a command or "Run".
        about: what it does or is, in one line.
        act: does it.
        keys: its shortcut, for people.
        missing: why it cannot be done now; empty if it can.
        icon: a file of assets/icons.
        at_once: whether it is listed before anything is typed.
    """

    title: str
    kind: str
    about: str
    act: Callable[[], object]
    keys: str = ""
    missing: str = ""
    icon: str = ""
    at_once: bool = False


def find(pattern: str, entries: Sequence[Entry]) -> list[tuple[Entry, Match]]:
    """The entries that fit a pattern, best first and in their own order among equals; those listed at once if empty."""
    if not pattern.strip():
        return [(entry, Match(0.0, ())) for entry in entries if entry.at_once][:MOST]
    found = []
    for entry in entries:
        fit = match(pattern, entry.title)
        if fit is None and (other := match(pattern, f"{entry.title} {entry.kind} {entry.about}")) is not None:
            fit = Match(EXPLAINED * other.score, ())
        if fit is not None:
            found.append((entry, fit))
    found.sort(key=lambda pair: -pair[1].score + (UNAVAILABLE if pair[0].missing else 0))
    return found[:MOST]


class _Found(QAbstractListModel):
    """The entries that fit."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.found: list[tuple[Entry, Match]] = []

    def show(self, found: list[tuple[Entry, Match]]) -> None:
        self.beginResetModel()
        self.found = found
        self.endResetModel()

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008, N802
        """How many there are."""
        return 0 if parent.isValid() else len(self.found)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """What a screen reader reads: title, keys, and what it does or needs."""
        entry = self.found[index.row()][0]
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{entry.title}, {entry.kind}, {entry.missing or entry.about} {entry.keys}".strip()
        return entry.title if role == Qt.ItemDataRole.DisplayRole else None


class _Row(QStyledItemDelegate):
    """Draws an entry in two lines: title and keys, then its kind and what it does or needs."""

    def sizeHint(self, option: QStyleOptionViewItem, _index: _Index) -> QSize:  # noqa: N802
        """Room for two lines."""
        return QSize(200, 2 * option.fontMetrics.height() + theme.px(12))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        """Draw title, keys and explanation; the letters that were met are bold."""
        model = index.model()
        assert isinstance(model, _Found)
        entry, fit = model.found[index.row()]
        colours, view = theme.scheme(), self.parent()
        assert isinstance(view, QListView)
        painter.save()
        if view.currentIndex() == index:
            painter.fillRect(option.rect, QColor(colours.selection))
        room = option.rect.adjusted(theme.px(10), theme.px(5), -theme.px(12), -theme.px(5))
        if entry.icon:
            mode = QIcon.Mode.Disabled if entry.missing else QIcon.Mode.Normal
            side = theme.px(16)
            theme.icon(entry.icon).paint(
                painter, QRect(room.left(), room.center().y() - side // 2, side, side), mode=mode
            )
        room.setLeft(room.left() + theme.px(28))
        line = QRect(room.left(), room.top(), room.width(), option.fontMetrics.height())
        quiet = QColor(colours.muted)
        painter.setPen(quiet)
        painter.drawText(line, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, entry.keys)
        below = line.translated(0, line.height() + theme.px(2))
        text = f"{entry.kind} · {entry.missing or entry.about}"
        text = option.fontMetrics.elidedText(text, Qt.TextElideMode.ElideRight, below.width())
        painter.drawText(below, Qt.AlignmentFlag.AlignVCenter, text)
        painter.setPen(quiet if entry.missing else QColor(colours.text))
        keys = option.fontMetrics.horizontalAdvance(entry.keys) + theme.px(16) if entry.keys else 0
        _draw_title(painter, option.font, line.adjusted(0, 0, -keys, 0), entry.title, frozenset(fit.places))
        painter.restore()


def _draw_title(painter: QPainter, font: QFont, room: QRect, title: str, bold: frozenset[int]) -> None:
    """Draw a title letter group by letter group, as much as there is room for."""
    strong = QFont(font)
    strong.setBold(True)
    fonts = {True: strong, False: font}
    left, start = room.left(), 0
    while start < len(title) and left < room.right():
        end = start + 1
        while end < len(title) and (end in bold) == (start in bold):
            end += 1
        chosen = fonts[start in bold]
        metrics, part = QFontMetrics(chosen), title[start:end]
        part = metrics.elidedText(part, Qt.TextElideMode.ElideRight, room.right() - left)
        painter.setFont(chosen)
        painter.drawText(
            QRect(left, room.top(), room.right() - left, room.height()), Qt.AlignmentFlag.AlignVCenter, part
        )
        left, start = left + metrics.horizontalAdvance(part), end


class Palette(QFrame):
    """A field over the window with what fits below it. Esc, or the focus going elsewhere, closes it."""

    def __init__(self, window: QWidget, entries: Sequence[Entry]) -> None:
        super().__init__(window)
        theme.mark_scaled(self)
        self._window, self._entries = window, entries
        self._focus_before = QApplication.focusWidget()
        self.setProperty("card", "true")
        self.setAccessibleName("Commands")
        self.field = QLineEdit()
        self.field.setPlaceholderText("Type a few letters of a command, run, preset or setting")
        self.field.setAccessibleName("Find a command, run, preset or setting")
        self.field.textChanged.connect(self._find)
        self.field.installEventFilter(self)
        self.list = QListView()
        self.list.setFrameShape(QFrame.Shape.NoFrame)
        self.list.setAccessibleName("What fits")
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setMouseTracking(True)
        theme.mark_scaled(self.list)
        self._found = _Found(self)
        self.list.setModel(self._found)
        self.list.setItemDelegate(_Row(self.list))
        self.list.clicked.connect(self._choose)
        self.note = QLabel("Nothing fits")
        self.note.setProperty("role", "muted")
        self.note.setContentsMargins(10, 6, 10, 8)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 8)
        column.setSpacing(6)
        column.addWidget(self.field)
        column.addWidget(self.list)
        column.addWidget(self.note)
        window.installEventFilter(self)
        self._find("")
        self.show()
        self.raise_()
        window.activateWindow()  # the keys may have been with a dock that floats
        self.field.setFocus()

    def chosen(self) -> Entry | None:
        """The entry that Return would do."""
        row = self.list.currentIndex().row()
        return self._found.found[row][0] if row >= 0 else None

    def titles(self) -> list[str]:
        """What is listed."""
        return [entry.title for entry, _fit in self._found.found]

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Let the keys of the field move in the list; stay in place when the window changes its size."""
        if watched is self._window and event.type() == QEvent.Type.Resize:
            self._place()
        elif watched is self.field and event.type() == QEvent.Type.FocusOut and self.isVisible():
            self.end(keep_focus=True)
        elif watched is self.field and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            return self._pressed(event.key())
        return super().eventFilter(watched, event)

    def end(self, *, keep_focus: bool = False) -> None:
        """Close, and give the focus back to where it was unless it is elsewhere already."""
        self._window.removeEventFilter(self)
        self.hide()
        before = self._focus_before
        if not keep_focus and before is not None and isValid(before):
            before.setFocus()
        self.deleteLater()

    def _pressed(self, key: int) -> bool:
        if key == Qt.Key.Key_Escape:
            self.end()
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._choose()
        elif key in (Qt.Key.Key_Tab, Qt.Key.Key_Backtab):
            self._move(1 if key == Qt.Key.Key_Tab else -1)
        elif key in _KEYS:
            self._move(_KEYS[Qt.Key(key)])
        else:
            return False
        return True

    def _move(self, by: int) -> None:
        count, row = self._found.rowCount(), self.list.currentIndex().row()
        if count:
            to = (row + by) % count if abs(by) == 1 else min(max(row + by, 0), count - 1)
            self._go_to(to)

    def _go_to(self, row: int) -> None:
        self.list.setCurrentIndex(self._found.index(row))
        self.list.viewport().update()
        entry = self.chosen()
        read = self._found.data(self._found.index(row), Qt.ItemDataRole.AccessibleTextRole) if entry else ""
        self.field.setAccessibleDescription(str(read))

    def _find(self, pattern: str) -> None:
        self._found.show(find(pattern, self._entries))
        rows = self._found.rowCount()
        self.list.setVisible(rows > 0)
        self.note.setVisible(not rows)
        if rows:
            self._go_to(0)
        self._place()

    def _choose(self) -> None:
        entry = self.chosen()
        if entry is None or entry.missing:
            return
        self.end()
        entry.act()

    def _place(self) -> None:
        """Below the top of the window, in its middle, as high as what fits needs."""
        window = self._window
        rows = min(SEEN, self._found.rowCount())
        height = self.list.sizeHintForRow(0) if rows else 0
        self.list.setFixedHeight(min(rows * height + 4, window.height() * 2 // 3))
        width = min(theme.px(640), window.width() - theme.px(40))
        self.setFixedWidth(width)
        self.adjustSize()
        self.move((window.width() - width) // 2, theme.px(64))
