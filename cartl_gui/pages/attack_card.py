"""The result of the attack stage: accuracies with their intervals, and everything a robust accuracy needs beside it."""

from __future__ import annotations

import math

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme, words
from cartl_gui.run_data import RunData
from cartl_gui.widgets import WrappedLabel
from engine.events import Interval


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


class AttackCard(QFrame):
    """Big figures with intervals; while the attack computes, the figures so far."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", "true")
        column = QVBoxLayout(self)
        column.setContentsMargins(18, 12, 18, 14)
        column.setSpacing(8)
        self.title = QLabel()
        self.title.setProperty("role", "heading")
        self.about = WrappedLabel("muted")
        self.progress = QProgressBar()
        self.progress.setAccessibleName("Images attacked")
        self.progress.setMaximumHeight(16)
        column.addWidget(self.title)
        grid = QGridLayout()
        grid.setHorizontalSpacing(16)
        self.values: dict[str, QLabel] = {}
        self.notes: dict[str, QLabel] = {}
        self.bars: dict[str, IntervalBar] = {}
        for row, (key, text) in enumerate((("clean", "Clean accuracy"), ("robust", "Robust accuracy"))):
            value = self.values[key] = QLabel("–")
            font = value.font()
            font.setPointSizeF(font.pointSizeF() * 1.9)
            font.setBold(True)
            value.setFont(font)
            value.setMinimumWidth(110)
            note = self.notes[key] = QLabel()
            note.setProperty("role", "muted")
            bar = self.bars[key] = IntervalBar(row)
            bar.setAccessibleName(text)
            grid.addWidget(QLabel(text), row, 0)
            grid.addWidget(value, row, 1)
            grid.addWidget(note, row, 2)
            grid.addWidget(bar, row, 3)
        grid.setColumnStretch(3, 1)
        column.addLayout(grid)
        foot = QHBoxLayout()
        foot.addWidget(self.about, 3)
        foot.addWidget(self.progress, 2)
        column.addLayout(foot)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    def show_run(self, data: RunData) -> None:
        """Show what a run's attack found."""
        config, result, progress = data.info.config.attack, data.info.result, data.attack
        self.title.setText(f"Attack: {result.attack if result else config.title if config else ''}")
        self.progress.setVisible(result is None)
        if result is not None:
            self._show("clean", result.clean_accuracy)
            self._show("robust", result.robust_accuracy)
            self.about.setText(
                f"{result.samples:,} images of {result.data}, {words.duration(result.seconds)}. "
                "Intervals are 95 % Wilson score intervals."
            )
            return
        layout = data.layouts.get("attack")
        total = progress.total if progress else layout.samples if layout else 0
        done = progress.done if progress else 0
        self.progress.setRange(0, max(1, total))
        self.progress.setValue(done)
        self.progress.setFormat(f"{done:,} of {total:,} images" if total else "")
        for key in self.values:
            share = getattr(progress, f"{key}_accuracy") if progress else math.nan
            self._show(key, Interval(share, share, share))
        self.about.setText("Figures over the images attacked so far.")

    def _show(self, key: str, share: Interval) -> None:
        self.values[key].setText(words.percent(share.value))
        known = share.high > share.low
        self.notes[key].setText(f"95 %: {100 * share.low:.1f} – {100 * share.high:.1f}" if known else "")
        self.bars[key].set_value(share)
        self.bars[key].setAccessibleDescription(
            words.interval(share) if known else words.percent(share.value)
        )
