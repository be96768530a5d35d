"""What a page shows while there is nothing to see: a picture, what will appear here, and one thing to do."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from cartl_gui import theme
from cartl_gui.widgets import WrappedLabel

_SIZE = QSize(48, 48)


class EmptyPage(QWidget):
    """In the middle of a page.

    Args:
        picture: name of the icon above the words.
        text: what will appear here.
        action: what the button says.
    """

    pressed = Signal()

    def __init__(self, picture: str, text: str = "", action: str = "Try the demo") -> None:
        super().__init__()
        self._name = picture
        self._picture = QLabel()
        self.text = WrappedLabel("muted")
        self.text.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.button = QPushButton()
        self.button.setProperty("main", "true")
        self.button.clicked.connect(self.pressed)
        column = QVBoxLayout(self)
        column.addStretch(2)
        column.addWidget(self._picture, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addWidget(self.text)
        column.addSpacing(8)
        column.addWidget(self.button, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addStretch(3)
        self.say(text, action)
        self._draw()

    def say(self, text: str, action: str) -> None:
        """Show other words and another action; no action hides the button."""
        self.text.setText(text)
        self.button.setText(action)
        self.button.setVisible(bool(action))

    def _draw(self) -> None:
        self._picture.setPixmap(theme.icon(self._name, theme.scheme().neutral).pixmap(_SIZE))

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Draw the picture in the colours of a new theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_picture"):
            self._draw()
