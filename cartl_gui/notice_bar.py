"""A bar above the pages for what happened meanwhile: it says so, offers what to do, and never stands in the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QToolButton, QWidget

from cartl_gui import theme
from cartl_gui.widgets import WrappedLabel

_WORDS = {"info": "Note", "warning": "Warning", "error": "Problem"}
_PICTURES = {"info": "info", "warning": "warning", "error": "warning"}


@dataclass(frozen=True, slots=True)
class Notice:
    """One message.

    Attributes:
        text: one or two sentences.
        level: how bad it is; told in a word, not by the colour alone.
        action: what its button says; no button if empty.
        act: what its button does.
        lasting: whether it stays until it is closed, whatever happens after it.
    """

    text: str
    level: Literal["info", "warning", "error"] = "info"
    action: str = ""
    act: Callable[[], object] | None = None
    lasting: bool = False


class NoticeBar(QFrame):
    """Shows the newest notice; the same again is counted."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.notice: Notice | None = None
        self._count = 0
        self.setAccessibleName("Notice")
        self._icon = QLabel()
        self._word, self._text = QLabel(), WrappedLabel()
        self._word.setProperty("role", "heading")
        self._text.setTextFormat(Qt.TextFormat.PlainText)
        self.button = QPushButton()
        self.button.setAccessibleName("Act on the notice")
        self.button.setToolTip("Do what the notice offers")
        self.button.clicked.connect(self._act)
        self.close_button = QToolButton()
        self.close_button.setProperty("quiet", "true")
        self.close_button.setAccessibleName("Close the notice")
        self.close_button.setToolTip("Close the notice")
        self.close_button.clicked.connect(self.clear)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 5, 8, 5)
        row.setSpacing(8)
        row.addWidget(self._icon)
        row.addWidget(self._word)
        row.addWidget(self._text, 1)
        row.addWidget(self.button)
        row.addWidget(self.close_button)
        # A message never makes the window wider than the screen.
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.hide()

    def tell(self, notice: Notice) -> None:
        """Show a notice in place of the one before, unless that has to stay."""
        before = self.notice
        if before is not None and before.lasting and not notice.lasting:
            return
        same = before is not None and (before.text, before.level) == (notice.text, notice.level)
        self._count = self._count + 1 if same else 1
        self.notice = notice
        self._text.setText(f"{notice.text}{f' ({self._count} times)' if self._count > 1 else ''}")
        self._word.setText(_WORDS[notice.level])
        self.button.setText(notice.action)
        self.button.setAccessibleName(notice.action)
        self.button.setVisible(bool(notice.action))
        self.setAccessibleDescription(f"{_WORDS[notice.level]}: {self._text.text()}")
        self.setProperty("notice", notice.level)
        self.style().unpolish(self)
        self.style().polish(self)
        self._recolour()
        self.show()

    def text(self) -> str:
        """What is said now; empty if nothing is."""
        return self._text.text() if self.notice is not None else ""

    def clear(self) -> None:
        """Close the bar."""
        self.notice, self._count = None, 0
        self.hide()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and getattr(self, "notice", None) is not None:
            self._recolour()

    def _act(self) -> None:
        act = self.notice.act if self.notice is not None else None
        self.clear()
        if act is not None:
            act()

    def _recolour(self) -> None:
        assert self.notice is not None
        colours, side = theme.scheme(), theme.px(16)
        colour = {"info": colours.accent, "warning": colours.warning, "error": colours.error}[
            self.notice.level
        ]
        self._icon.setPixmap(theme.icon(_PICTURES[self.notice.level], colour).pixmap(QSize(side, side)))
        self.close_button.setIcon(theme.icon("close"))
