"""How cells of the run list are painted and edited: progress as a bar, tags as chips, both typed over in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from PySide6.QtCore import QModelIndex, QObject, QPersistentModelIndex, QRect, QStringListModel, Qt
from PySide6.QtGui import QColor, QFontMetrics, QPainter
from PySide6.QtWidgets import (
    QApplication,
    QCompleter,
    QLineEdit,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from cartl_gui import theme
from cartl_gui.models.run_cells import PROGRESS_ROLE, TAGS_ROLE

Index = QModelIndex | QPersistentModelIndex


def paint_ground(painter: QPainter, option: QStyleOptionViewItem) -> None:
    """Paint a cell's background and selection without its text."""
    option.text = ""
    style = option.widget.style() if option.widget else QApplication.style()
    style.drawControl(QStyle.ControlElement.CE_ItemViewItem, option, painter, option.widget)


class ProgressDelegate(QStyledItemDelegate):
    """Paints the share that is done as a bar with the cell's text; a cell without a share as any other."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """Paint background and bar."""
        share = index.data(PROGRESS_ROLE)
        if share is None:
            super().paint(painter, option, index)
            return
        self.initStyleOption(option, index)
        text = option.text
        paint_ground(painter, option)
        colours = theme.scheme()
        frame = option.rect.adjusted(4, 5, -4, -5)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colours.border))
        painter.drawRoundedRect(frame, 3, 3)
        done = QRect(frame)
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


class TagsDelegate(QStyledItemDelegate):
    """Paints tags as chips, as many as there is room for and the number of the others; completes known ones."""

    def __init__(self, known: Callable[[], Iterable[str]], parent: QObject) -> None:
        super().__init__(parent)
        self._known = known

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        """Paint background and chips."""
        tags = index.data(TAGS_ROLE)
        if not tags:
            super().paint(painter, option, index)
            return
        self.initStyleOption(option, index)
        paint_ground(painter, option)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        is_selected = bool(option.state & QStyle.StateFlag.State_Selected)
        ground = theme.scheme().base if is_selected else theme.scheme().selection
        paint_chips(painter, option.rect.adjusted(4, 4, -4, -4), tags, option.fontMetrics, ground)
        painter.restore()

    def createEditor(self, parent: QWidget, _option: QStyleOptionViewItem, _index: Index) -> QWidget:  # noqa: N802
        """A line that completes the word being typed."""
        editor = TagsEdit(parent)
        editor.set_known(self._known())
        return editor


def paint_chips(
    painter: QPainter, area: QRect, tags: Iterable[str], metrics: QFontMetrics, ground: str
) -> None:
    """Paint tags side by side into an area; what does not fit is counted at its end."""
    colours, left, waiting = theme.scheme(), area.left(), list(tags)
    while waiting:
        rest = f"+{len(waiting) - 1}" if len(waiting) > 1 else ""
        reserved = metrics.horizontalAdvance(rest) + 8 if rest else 0
        room = area.right() - left - reserved - 12
        if room < metrics.horizontalAdvance("ab…"):
            break
        text = metrics.elidedText(waiting[0], Qt.TextElideMode.ElideRight, room)
        chip = QRect(left, area.top(), metrics.horizontalAdvance(text) + 12, area.height())
        painter.setPen(QColor(colours.border))
        painter.setBrush(QColor(ground))
        painter.drawRoundedRect(chip, chip.height() / 2, chip.height() / 2)
        painter.setPen(QColor(colours.text))
        painter.drawText(chip, Qt.AlignmentFlag.AlignCenter, text)
        left = chip.right() + 5
        waiting.pop(0)
    if waiting:
        painter.setPen(QColor(colours.muted))
        end = QRect(left, area.top(), area.right() - left, area.height())
        painter.drawText(end, Qt.AlignmentFlag.AlignVCenter, f"+{len(waiting)}")


class TagsEdit(QLineEdit):
    """A line for tags, with blanks between them; the word at the cursor is completed by known ones."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setPlaceholderText("Words, with blanks between them")
        self.setAccessibleName("Tags")
        self._words = QStringListModel(self)
        self._completer = QCompleter(self._words, self)
        self._completer.setWidget(self)
        self._completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self._completer.activated.connect(self._complete)
        self.textEdited.connect(self._propose)

    def set_known(self, tags: Iterable[str]) -> None:
        """What there is to complete with."""
        self._words.setStringList(sorted(set(tags), key=str.casefold))

    def _propose(self) -> None:
        word = self.text()[: self.cursorPosition()].rpartition(" ")[2]
        self._completer.setCompletionPrefix(word)
        if word and self._completer.completionCount() and self._completer.currentCompletion() != word:
            self._completer.complete()
        elif (popup := self._completer.popup()) is not None:
            popup.hide()

    def _complete(self, tag: str) -> None:
        before, blank, _word = self.text()[: self.cursorPosition()].rpartition(" ")
        after = self.text()[self.cursorPosition() :]
        self.setText(f"{before}{blank}{tag} {after.lstrip()}")
        self.setCursorPosition(len(before) + len(blank) + len(tag) + 1)
