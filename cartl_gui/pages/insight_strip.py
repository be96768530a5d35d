"""A summary of a stage in a few sentences, each of which leads to what it speaks of."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme
from engine.insight import Insight

#: Pixels between two sentences.
_GAP = 3


class Sentence(QLabel):
    """One sentence as a link; shortened to one line, or wrapped."""

    def __init__(self, number: int, *, wraps: bool) -> None:
        super().__init__()
        self.number, self._wraps, self._sentence = number, wraps, ""
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.LinksAccessibleByMouse | Qt.TextInteractionFlag.LinksAccessibleByKeyboard
        )
        self.setWordWrap(wraps)
        policy = QSizePolicy.Policy
        self.setSizePolicy(policy.Preferred if wraps else policy.Ignored, policy.Minimum)

    def say(self, sentence: str) -> None:
        """Show a sentence."""
        self._sentence = sentence
        self.setToolTip("" if self._wraps else sentence)
        self.setAccessibleName(sentence)
        self._write()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Shorten the sentence to the new width."""
        super().resizeEvent(event)
        if not self._wraps:
            self._write()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Write the link in the colours of a new theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._write()

    def _write(self) -> None:
        shown = self._sentence
        if not self._wraps:
            shown = self.fontMetrics().elidedText(shown, Qt.TextElideMode.ElideRight, self.width() - 4)
        style = f"color: {theme.scheme().accent}; text-decoration: none"
        self.setText(f'<a href="{self.number}" style="{style}">{escape(shown)}</a>')


class InsightStrip(QFrame):
    """The first sentence in one line, or all of them."""

    #: The `Insight` that was chosen.
    chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", "true")
        self.insights: tuple[Insight, ...] = ()
        self._sentences: list[Sentence] = []
        self.toggle = QToolButton()
        self.toggle.setCheckable(True)
        self.toggle.setProperty("quiet", "true")
        self.toggle.setAutoRaise(True)
        self.toggle.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.toggle.toggled.connect(self._show_all)
        self._first = Sentence(0, wraps=False)
        self._first.linkActivated.connect(self._activated)
        inner = QWidget()
        inner.setObjectName("clear")
        inner.setMinimumSize(1, 1)  # else it is as high as its sentences would be in their narrowest form
        self._column = QVBoxLayout(inner)
        self._column.setContentsMargins(0, 0, 4, 0)
        self._column.setSpacing(_GAP)
        self._column.addStretch(1)
        self._room = 100
        self._scroll = QScrollArea()
        self._scroll.setWidget(inner)
        self._scroll.setWidgetResizable(True)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        row = QHBoxLayout(self)
        row.setContentsMargins(4, 2, 8, 2)
        row.setSpacing(6)
        row.addWidget(self.toggle, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self._first, 1)
        row.addWidget(self._scroll, 1)
        self._show_all(False)
        self.hide()

    def show_insights(self, insights: Sequence[Insight]) -> None:
        """Show these sentences; nothing at all if there is none."""
        if tuple(insights) == self.insights:
            return
        self.insights = tuple(insights)
        self.setVisible(bool(insights))
        while len(self._sentences) < len(insights):
            sentence = Sentence(len(self._sentences), wraps=True)
            sentence.linkActivated.connect(self._activated)
            self._sentences.append(sentence)
            self._column.insertWidget(sentence.number, sentence)
        for sentence, insight in zip(self._sentences, insights, strict=False):
            sentence.say(insight.text)
        for number, sentence in enumerate(self._sentences):
            sentence.setVisible(number < len(insights))
        if insights:
            self._first.say(insights[0].text)
        self._write_toggle()
        self._fit()

    def set_open(self, on: bool) -> None:
        """Show all sentences or the first."""
        self.toggle.setChecked(on)

    def set_room(self, pixels: int) -> None:
        """How high the sentences may be before they scroll."""
        self._room = pixels
        self._fit()

    def _show_all(self, on: bool) -> None:
        self._first.setVisible(not on)
        self._scroll.setVisible(on)
        self._write_toggle()
        self._fit()

    def _write_toggle(self) -> None:
        is_open, amount = self.toggle.isChecked(), len(self.insights)
        self.toggle.setIcon(theme.icon("down" if is_open else "right", theme.scheme().muted))
        self.toggle.setText("Findings" if is_open else f"1 of {amount}")
        self.toggle.setToolTip("Show the first finding alone" if is_open else f"Show all {amount} findings")
        self.toggle.setAccessibleName(self.toggle.toolTip())

    def _fit(self) -> None:
        """As high as the sentences at this width, up to a limit."""
        if not self.toggle.isChecked():
            return
        width = max(60, self.width() - self.toggle.sizeHint().width() - 36)
        wanted = self._column.heightForWidth(width) + 2 * self._scroll.frameWidth() + _GAP
        self._scroll.setFixedHeight(min(self._room, wanted))

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Fit the height to the new width."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Draw the arrow in the colours of a new theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._write_toggle()

    def _activated(self, link: str) -> None:
        self.chosen.emit(self.insights[int(link)])
