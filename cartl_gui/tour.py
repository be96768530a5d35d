"""A short tour: the window dims, one part of it is bright, and a card beside it says what it is for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QObject, QPoint, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from cartl_gui import theme
from cartl_gui.widgets import WrappedLabel


@dataclass(frozen=True, slots=True)
class Step:
    """One stop of the tour.

    Attributes:
        title: what the part is called.
        text: what it is for, in two or three sentences.
        part: the part of the window; None if there is none now, and the step is left out.
        show: brings the part to light.
    """

    title: str
    text: str
    part: Callable[[], QWidget | None]
    show: Callable[[], object] | None = None


class Tour(QWidget):
    """Lies over the window until the last step, "Skip" or Esc; then `ended` is emitted and it is gone."""

    ended = Signal()

    def __init__(self, window: QWidget, steps: Sequence[Step]) -> None:
        super().__init__(window)
        self._window = window
        self._steps = [step for step in steps if step.part() is not None]
        self._place = 0
        self._spot = QRect()
        self.setAccessibleName("Tour of the window")
        self.card = QFrame(self)
        self.card.setProperty("card", "true")
        self.card.setFixedWidth(330)
        self._title, self._text, self._count = QLabel(), WrappedLabel(), QLabel()
        self._title.setProperty("role", "heading")
        self._count.setProperty("role", "muted")
        self.skip_button, self.back_button, self.next_button = (
            QPushButton("Skip"), QPushButton("Back"), QPushButton("Next")
        )  # fmt: skip
        self.next_button.setProperty("main", "true")
        for button, act in (
            (self.skip_button, self.end),
            (self.back_button, self._back),
            (self.next_button, self._next),
        ):
            button.clicked.connect(act)
            button.installEventFilter(self)
        #: Esc ends the tour, the arrows go on and back.
        self._keys = {
            Qt.Key.Key_Escape: self.end,
            Qt.Key.Key_Right: self._next,
            Qt.Key.Key_Left: self._back,
        }
        row = QHBoxLayout()
        row.setSpacing(6)
        row.addWidget(self._count)
        row.addStretch(1)
        for button in (self.skip_button, self.back_button, self.next_button):
            row.addWidget(button)
        column = QVBoxLayout(self.card)
        column.setContentsMargins(16, 14, 16, 14)
        column.setSpacing(8)
        column.addWidget(self._title)
        column.addWidget(self._text)
        column.addLayout(row)
        window.installEventFilter(self)
        self.setGeometry(window.rect())
        self.show()
        self.raise_()
        self._go_to(0)

    @property
    def step(self) -> Step:
        """The step that is shown."""
        return self._steps[self._place]

    def end(self) -> None:
        """Leave the tour."""
        self._window.removeEventFilter(self)
        self.hide()
        self.ended.emit()
        self.deleteLater()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Cover the window whatever its size, and what appears in it; let keys go on, back and out."""
        if watched is self._window:
            if event.type() in (QEvent.Type.Resize, QEvent.Type.LayoutRequest):
                self._fit()
        elif isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            act = self._keys.get(Qt.Key(event.key()))
            if act is not None:
                act()
                return True
        return super().eventFilter(watched, event)

    def focusNextPrevChild(self, forward: bool) -> bool:  # noqa: N802
        """Keep Tab inside the card."""
        buttons = [
            button for button in (self.skip_button, self.back_button, self.next_button) if button.isEnabled()
        ]
        now = next((place for place, button in enumerate(buttons) if button.hasFocus()), -1)
        buttons[(now + (1 if forward else -1)) % len(buttons)].setFocus(Qt.FocusReason.TabFocusReason)
        return True

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802
        """Dim all but the part that is spoken of, and draw a frame around it."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        shade, hole = QPainterPath(), QPainterPath()
        shade.addRect(QRectF(self.rect()))
        hole.addRoundedRect(QRectF(self._spot), theme.px(6), theme.px(6))
        painter.fillPath(shade - hole, QColor(0, 0, 0, 130))
        painter.setPen(QPen(QColor(theme.scheme().accent), theme.px(2)))
        painter.drawPath(hole)

    def _next(self) -> None:
        if self._place + 1 < len(self._steps):
            self._go_to(self._place + 1)
        else:
            self.end()

    def _back(self) -> None:
        if self._place > 0:
            self._go_to(self._place - 1)

    def _go_to(self, place: int) -> None:
        self._place = place
        step = self.step
        if step.show is not None:
            step.show()
        last = place + 1 == len(self._steps)
        self._title.setText(step.title)
        self._text.setText(step.text)
        self._count.setText(f"{place + 1} of {len(self._steps)}")
        self.back_button.setEnabled(place > 0)
        self.next_button.setText("Done" if last else "Next")
        self.skip_button.setVisible(not last)
        self.card.setAccessibleName(f"{step.title}, step {place + 1} of {len(self._steps)}")
        self.card.setAccessibleDescription(step.text)
        self.next_button.setAccessibleDescription(f"{step.title}. {step.text}")
        self._fit()
        self.raise_()
        self.next_button.setFocus()

    def _fit(self) -> None:
        """Find the part, and a place for the card beside it that hides as little of it as can be."""
        window = self._window
        self.setGeometry(window.rect())
        part = self.step.part()
        spot = QRect() if part is None else QRect(part.mapTo(window, QPoint(0, 0)), part.size())
        self._spot = spot.adjusted(-3, -3, 3, 3).intersected(self.rect().adjusted(2, 2, -2, -2))
        self.card.setFixedHeight(self.card.sizeHint().height())
        self.card.adjustSize()
        self.card.move(_beside(self._spot, self.card.size(), self.rect(), theme.px(12)))
        self.update()


def _beside(spot: QRect, size: QSize, room: QRect, gap: int) -> QPoint:
    """Where a card goes: right of, left of, below or above a spot, where it fits; else inside it, at its end."""
    top = min(max(spot.top(), gap), room.height() - size.height() - gap)
    left = min(max(spot.left(), gap), room.width() - size.width() - gap)
    if spot.right() + gap + size.width() + gap <= room.width():
        return QPoint(spot.right() + gap, top)
    if spot.left() - 2 * gap - size.width() >= 0:
        return QPoint(spot.left() - gap - size.width(), top)
    if spot.bottom() + gap + size.height() + gap <= room.height():
        return QPoint(left, spot.bottom() + gap)
    if spot.top() - 2 * gap - size.height() >= 0:
        return QPoint(left, spot.top() - gap - size.height())
    return QPoint(spot.right() - size.width() - gap, spot.bottom() - size.height() - gap)
