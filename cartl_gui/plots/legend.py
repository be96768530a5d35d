"""The legend of a plot: a button for each curve, in rows that break where the width ends."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QPointF, QRect, QSize, Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QMouseEvent, QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QStyle, QStyleOptionToolButton, QStylePainter, QToolButton, QWidget

from cartl_gui import theme
from cartl_gui.plots.style import CurveStyle, draw_sample
from cartl_gui.theme import Scheme

#: Pixels around an entry, of its sample, between the parts of an entry, and between entries.
_MARGIN, _SAMPLE, _GAP, _BETWEEN = 4, 22, 6, 8
#: Letters that are left of a name that has to be shortened.
_LEAST_LETTERS = 5


class LegendEntry(QToolButton):
    """A button in the legend: sample of the line, name, value; pressing it hides or shows the curve."""

    #: This curve is to be shown alone, or all of them again.
    solo_asked = Signal()
    #: It needs more or less room than before.
    resized = Signal()

    def __init__(self, name: str, style: CurveStyle, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.style_of_curve = style
        self.value = ""
        self.name = ""
        #: Room for the widest value so far, so that nothing moves while values change.
        self._value_width = 0
        self._colours = theme.scheme()
        self.setCheckable(True)
        self.setChecked(True)
        self.setProperty("legend", "true")
        self.rename(name)

    def rename(self, name: str, full: str = "") -> None:
        """Call the curve something else; `full` is what its tooltip calls it, the name itself if left out."""
        if name != self.name:
            self.name = name
            self.updateGeometry()
            self.resized.emit()
            self.update()
        self.setAccessibleName(f"Show {full or name}")
        self.setToolTip(
            f"{full or name}\nClick to hide or show it, double-click or press Enter to show it alone"
        )

    def restyle(self, style: CurveStyle) -> None:
        """Show another sample."""
        self.style_of_curve = style
        self.update()

    def set_value(self, text: str) -> None:
        """Show the curve's value beside its name."""
        if text == self.value:
            return
        self.value = text
        width = self.fontMetrics().horizontalAdvance(text) if text else 0
        if width > self._value_width or not text:
            self._value_width = width
            self.updateGeometry()
            self.resized.emit()
        self.setAccessibleDescription(text)
        self.update()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Make room for larger letters."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "value") and self.value:
            self._value_width = self.fontMetrics().horizontalAdvance(self.value)
            self.updateGeometry()
            self.resized.emit()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Room for sample, name and value."""
        metrics = self.fontMetrics()
        width = 2 * _MARGIN + _SAMPLE + _GAP + metrics.horizontalAdvance(self.name)
        if self._value_width:
            width += _GAP + self._value_width
        return QSize(width, metrics.height() + 6)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Room for some letters of the name."""
        hint, metrics = self.sizeHint(), self.fontMetrics()
        cut = metrics.horizontalAdvance(self.name) - metrics.horizontalAdvance(
            f"{self.name[:_LEAST_LETTERS]}…"
        )
        return QSize(hint.width() - max(0, cut), hint.height())

    def recolour(self, colours: Scheme) -> None:
        """Draw the sample of the line anew."""
        self._colours = colours
        self.update()

    def paintEvent(self, _event: QEvent) -> None:  # noqa: N802
        """Draw sample, name and value; a hidden curve's name is struck out."""
        option = QStyleOptionToolButton()
        self.initStyleOption(option)
        option.text = ""
        painter = QStylePainter(self)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ToolButton, option)
        left, height = _MARGIN, self.height()
        painter.save()
        painter.setOpacity(1.0 if self.isChecked() else 0.35)
        draw_sample(painter, self.style_of_curve, self._colours, QPointF(left, height / 2))
        painter.restore()
        left += _SAMPLE + _GAP
        metrics, right = self.fontMetrics(), self.width() - _MARGIN
        room = right - left - (self._value_width + _GAP if self._value_width else 0)
        font = self.font()
        font.setStrikeOut(not self.isChecked())
        painter.setFont(font)
        painter.setPen(QColor(self._colours.text if self.isChecked() else self._colours.muted))
        flags = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        shown = self.name
        if metrics.horizontalAdvance(shown) > room:
            shown = metrics.elidedText(shown, Qt.TextElideMode.ElideRight, room)
        painter.drawText(QRect(left, 0, room + 1, height), int(flags), shown)
        font.setStrikeOut(False)
        painter.setFont(font)
        left += min(room, metrics.horizontalAdvance(shown)) + _GAP
        painter.drawText(QRect(left, 0, right - left + 1, height), int(flags), self.value)
        painter.end()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Show the curve alone with Alt held."""
        if event.modifiers() & Qt.KeyboardModifier.AltModifier:
            self.solo_asked.emit()
        else:
            super().mousePressEvent(event)

    def mouseDoubleClickEvent(self, _event: QMouseEvent) -> None:  # noqa: N802
        """Show the curve alone, or all again; its first click has hidden or shown it already."""
        self.solo_asked.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Show the curve alone with Enter."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.solo_asked.emit()
        else:
            super().keyPressEvent(event)


class Legend(QWidget):
    """Widgets beside and below each other. Names are shortened only where not even a row of its own is enough.

    Args:
        aside: one entry below the other, for a legend beside the plot.
    """

    def __init__(self, *, aside: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("clear")
        self._aside = aside
        self._items: list[QWidget] = []
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def insert(self, place: int, widget: QWidget) -> None:
        """Put a widget at a place among the others."""
        self._items.insert(place, widget)
        widget.setParent(self)
        widget.installEventFilter(self)
        if isinstance(widget, LegendEntry):
            widget.resized.connect(self.arrange)
            widget.solo_asked.connect(self._solo)
        widget.show()
        self.arrange()

    def add(self, widget: QWidget) -> None:
        """Put a widget behind the others."""
        self.insert(len(self._items), widget)

    def take(self, widget: QWidget) -> None:
        """Take a widget out."""
        self._items.remove(widget)
        widget.removeEventFilter(self)
        if isinstance(widget, LegendEntry):
            widget.resized.disconnect(self.arrange)
            widget.solo_asked.disconnect(self._solo)
        self.arrange()

    def entries(self) -> list[LegendEntry]:
        """The entries of curves that are there to be shown."""
        return [item for item in self._items if isinstance(item, LegendEntry) and not item.isHidden()]

    def _solo(self) -> None:
        """Show one curve alone; all, if it is alone already."""
        chosen = self.sender()
        others = [entry for entry in self.entries() if entry is not chosen]
        alone = not any(entry.isChecked() for entry in others)
        for entry in self.entries():
            entry.setChecked(alone or entry is chosen)

    def arrange(self) -> None:
        """Place everything anew."""
        height = self._place(max(1, self.width()))
        if height != self.minimumHeight():
            self.setMinimumHeight(height)
            self.setMaximumHeight(height)
        self.updateGeometry()

    def _place(self, width: int, *, is_trial: bool = False) -> int:
        """Place the widgets in rows of this width, and return the height that they need."""
        left = top = row_height = 0
        for item in self._items:
            if item.isHidden():
                continue
            hint = _wanted(item)
            wide = min(hint.width(), max(width, item.minimumSizeHint().width()))
            if left and (self._aside or left + wide > width):
                left, top, row_height = 0, top + row_height, 0
            if not is_trial:
                item.setGeometry(left, top, wide, hint.height())
            left += wide + _BETWEEN
            row_height = max(row_height, hint.height())
        return top + row_height

    def hasHeightForWidth(self) -> bool:  # noqa: N802
        """Rows break where the width ends."""
        return True

    def heightForWidth(self, width: int) -> int:  # noqa: N802
        """The height of all rows."""
        return self._place(width, is_trial=True)

    def sizeHint(self) -> QSize:  # noqa: N802
        """All in one row, or one below the other."""
        hints = [_wanted(item).width() for item in self._items if not item.isHidden()]
        wide = max(hints, default=0) if self._aside else sum(hints) + _BETWEEN * max(0, len(hints) - 1)
        return QSize(wide, self.heightForWidth(self.width()))

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """The widest entry, shortened."""
        hints = [item.minimumSizeHint().width() for item in self._items if not item.isHidden()]
        return QSize(max(hints, default=0), self.heightForWidth(self.width()))

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Break the rows anew."""
        super().resizeEvent(event)
        self.arrange()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Close the gap of an entry that is hidden, and make room for one that is shown."""
        if event.type() in (QEvent.Type.HideToParent, QEvent.Type.ShowToParent):
            self.arrange()
        return super().eventFilter(watched, event)


def _wanted(widget: QWidget) -> QSize:
    return widget.sizeHint().expandedTo(widget.minimumSize()).boundedTo(widget.maximumSize())
