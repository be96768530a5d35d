"""The headline of the attack page: accuracies with their intervals, how far to trust them, and reasons for doubt."""

from __future__ import annotations

import math

from PySide6.QtCore import QEvent, QPoint, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QGuiApplication, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QToolButton,
    QToolTip,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme, words
from cartl_gui.attack_view import AttackView, Figure
from cartl_gui.widgets import WrappedLabel
from engine.events import AttackWarning, Interval

#: Most figures that the headline has: clean, robust, robust at any step.
FIGURES = 3


class IntervalBar(QWidget):
    """A share on a scale from 0 to 100 %, with its interval as a whisker."""

    def __init__(self, colour: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._colour = colour
        self._value: Interval | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Low and wide."""
        return QSize(200, 16)

    def set_value(self, value: Interval | None) -> None:
        """Show a share; None shows the empty scale."""
        self._value = value
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        """Paint scale, bar and whisker."""
        colours = theme.scheme()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        frame = QRectF(0, 3, self.width(), 10)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colours.border))
        painter.drawRoundedRect(frame, 3, 3)
        if self._value is None or not math.isfinite(self._value.value):
            return
        done = QRectF(frame)
        done.setWidth(frame.width() * self._value.value)
        painter.setBrush(QColor(colours.curves[self._colour]))
        painter.drawRoundedRect(done, 3, 3)
        left, right = frame.width() * self._value.low, frame.width() * self._value.high
        if right > left:
            painter.setBrush(QColor(colours.text))
            painter.drawRect(QRectF(left, 7.2, right - left, 1.6))
            for place in (left, right):
                painter.drawRect(QRectF(place - 0.8, 3, 1.6, 10))


class FigureRow:
    """One accuracy of the headline: what it is, its value, its interval in words and as a bar."""

    def __init__(self, grid: QGridLayout, row: int) -> None:
        self.title, self.definition = QLabel(), QLabel()
        self.definition.setProperty("role", "hint")
        names = QVBoxLayout()
        names.setSpacing(0)
        names.addStretch(1)
        names.addWidget(self.title)
        names.addWidget(self.definition)
        names.addStretch(1)
        self.value, self.interval = QLabel("–"), QLabel()
        font = self.value.font()
        font.setPointSizeF(font.pointSizeF() * 1.9)
        font.setBold(True)
        self.value.setFont(font)
        self.value.setMinimumWidth(124)
        self.interval.setProperty("role", "muted")
        self.bar = IntervalBar(min(row, 1))
        grid.addLayout(names, row, 0)
        for column, widget in enumerate((self.value, self.interval, self.bar), start=1):
            grid.addWidget(widget, row, column)

    def show_figure(self, figure: Figure | None) -> None:
        """Show a figure; None takes the row away."""
        for widget in (self.title, self.definition, self.value, self.interval, self.bar):
            widget.setVisible(figure is not None)
        if figure is None:
            return
        share = figure.share
        known = share.high > share.low
        self.title.setText(figure.title)
        self.definition.setText(figure.definition)
        self.definition.setVisible(bool(figure.definition))
        self.value.setText(f"{'≤ ' if figure.is_bound else ''}{words.percent(share.value)}")
        self.interval.setText(f"95 %: {100 * share.low:.1f} – {100 * share.high:.1f}" if known else "")
        self.bar.set_value(share)
        self.bar.setAccessibleName(", ".join(filter(None, (figure.title, figure.definition))))
        self.bar.setAccessibleDescription(words.interval(share) if known else words.percent(share.value))


class WarningRow(QFrame):
    """A reason for doubt: what it is, what it rests on, what to do; its text can be selected and copied."""

    def __init__(self, warning: AttackWarning, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.warning = warning
        self.setProperty("warning", "true")
        self._icon = QLabel()
        self._icon.setAccessibleName("Warning")
        title, evidence, advice = WrappedLabel("heading"), WrappedLabel(), WrappedLabel()
        self.labels = (title, evidence, advice)
        for label, text in zip(
            self.labels,
            (warning.title, warning.evidence, f"What to do: {warning.advice}"),
            strict=True,
        ):
            label.setText(text)
            label.setTextFormat(Qt.TextFormat.PlainText)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.copy_button = QToolButton()
        self.copy_button.setProperty("quiet", "true")
        self.copy_button.setIconSize(QSize(16, 16))
        self.copy_button.setToolTip("Copy this warning")
        self.copy_button.setAccessibleName(f"Copy the warning: {warning.title}")
        self.copy_button.clicked.connect(self._copy)
        texts = QVBoxLayout()
        texts.setSpacing(2)
        for label in self.labels:
            texts.addWidget(label)
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 7, 6, 7)
        row.setSpacing(10)
        row.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(texts, 1)
        row.addWidget(self.copy_button, 0, Qt.AlignmentFlag.AlignTop)
        self._draw_icons()

    def text(self) -> str:
        """All that it says, in lines."""
        return "\n".join(label.text() for label in self.labels)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "copy_button"):
            self._draw_icons()

    def _draw_icons(self) -> None:
        colours = theme.scheme()
        self._icon.setPixmap(theme.icon("warning", colours.warning).pixmap(QSize(18, 18)))
        self.copy_button.setIcon(theme.icon("copy", colours.muted))

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.text())
        below = self.copy_button.mapToGlobal(QPoint(0, self.copy_button.height()))
        QToolTip.showText(below, "Copied", self.copy_button)


class AttackCard(QFrame):
    """Big figures with intervals; while the attack computes, the figures so far and what they are worth."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", "true")
        self.title = WrappedLabel("heading")
        self.standing, self.about, self.notes = WrappedLabel(), WrappedLabel("muted"), WrappedLabel("muted")
        self.notes.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        grid = QGridLayout()
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(3, 1)
        self.rows = [FigureRow(grid, row) for row in range(FIGURES)]
        self.warnings: list[WarningRow] = []
        self._warnings = QVBoxLayout()
        self._warnings.setSpacing(6)
        column = QVBoxLayout(self)
        column.setContentsMargins(18, 12, 18, 14)
        column.setSpacing(8)
        column.addWidget(self.title)
        column.addLayout(grid)
        column.addWidget(self.standing)
        column.addLayout(self._warnings)
        column.addWidget(self.notes)
        column.addWidget(self.about)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    def show_view(self, view: AttackView) -> None:
        """Show what a run's attack found, or has found so far."""
        self.title.setText(view.title)
        for number, row in enumerate(self.rows):
            row.show_figure(view.figures[number] if number < len(view.figures) else None)
        for label, text in (
            (self.standing, view.standing),
            (self.about, view.about),
            (self.notes, "\n".join(f"Note: {note}" for note in view.notes)),
        ):
            label.setText(text)
            label.setVisible(bool(text))
        if tuple(row.warning for row in self.warnings) != view.warnings:
            self._show_warnings(view.warnings)

    def _show_warnings(self, warnings: tuple[AttackWarning, ...]) -> None:
        for row in self.warnings:
            self._warnings.removeWidget(row)
            row.hide()
            row.deleteLater()
        self.warnings = [WarningRow(warning) for warning in warnings]
        for row in self.warnings:
            self._warnings.addWidget(row)
