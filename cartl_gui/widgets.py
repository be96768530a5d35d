"""Small widgets that several parts of the window use."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QKeyEvent, QPainter, QPaintEvent, QResizeEvent, QWheelEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QLabel,
    QMenu,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QTableWidget,
    QToolButton,
    QWidget,
)

from cartl_gui import theme


class ElidedButton(QPushButton):
    """A button that shortens its text instead of forcing its parent wide."""

    def __init__(self, text: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._text = text
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setText(text)

    def full_text(self) -> str:
        """The text, however much of it is seen."""
        return self._text

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Show as much of the text as there is room for."""
        super().resizeEvent(event)
        room = self.width() - 2 * self.fontMetrics().averageCharWidth()
        self.setText(self.fontMetrics().elidedText(self._text, Qt.TextElideMode.ElideRight, room))

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Room for a few letters."""
        return QSize(30, super().minimumSizeHint().height())


class ElidedLabel(QLabel):
    """A label that shortens its text instead of forcing its parent wide."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setMinimumWidth(30)

    def paintEvent(self, _event: QEvent) -> None:  # noqa: N802
        """Draw as much of the text as there is room for."""
        painter = QPainter(self)
        room = self.contentsRect()
        text = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, room.width())
        painter.setPen(self.palette().color(self.foregroundRole()))
        painter.drawText(room, int(self.alignment()), text)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Room for a few letters."""
        return QSize(30, super().minimumSizeHint().height())


class QuietCombo(QComboBox):
    """A combo box that leaves the wheel to the form unless it has the focus."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        """Shorten a text that is too long, with dots at its end."""
        painter, option = QStylePainter(self), QStyleOptionComboBox()
        self.initStyleOption(option)
        room = self.style().subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        )
        option.currentText = self.fontMetrics().elidedText(
            self.currentText(), Qt.TextElideMode.ElideRight, room.width() - 4
        )
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        """Scroll the form instead of changing a setting by accident."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class QuietButton(QToolButton):
    """A small button with a picture alone; `name` is what screen readers say, and the tooltip unless there is a `tip`."""

    def __init__(self, picture: str, name: str, tip: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._picture = picture
        self.setIcon(theme.icon(picture))
        self.setProperty("quiet", True)
        self.setAccessibleName(name)
        self.setToolTip(tip or name)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)

    def set_picture(self, picture: str, colour: str | None = None) -> None:
        """Show another picture; in the colour of the text unless one is given."""
        self._picture = picture
        self.setIcon(theme.icon(picture, colour))

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Draw the picture in the colours of a new theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.setIcon(theme.icon(self._picture))


class Menu(QMenu):
    """A menu that has its letters to itself while it is open.

    The list of runs has commands on single letters; with the focus there, A for About would archive the run instead.
    """

    def event(self, event: QEvent) -> bool:
        """Let no command hear a key that is pressed alone."""
        alone = (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier)
        if (
            event.type() == QEvent.Type.ShortcutOverride
            and isinstance(event, QKeyEvent)
            and event.modifiers() in alone
        ):
            event.accept()
            return True
        return super().event(event)


class WrappedLabel(QLabel):
    """A label that wraps and takes the height it needs at its width."""

    def __init__(self, role: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self.setMinimumWidth(60)
        if role:
            self.setProperty("role", role)
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)


def read_only(table: QTableWidget) -> None:
    """Let a table only be read: whole rows are selected, nothing is edited, Tab leaves it."""
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setShowGrid(False)
    table.setWordWrap(False)
    table.setTabKeyNavigation(False)
    table.verticalHeader().hide()
