"""The little window in which a plot's smoothing is chosen."""

from __future__ import annotations

from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtWidgets import QDoubleSpinBox, QFrame, QGridLayout, QLabel, QSlider, QWidget

#: Largest weight: 0.99 averages over some hundred values.
LARGEST = 0.99


class SmoothingPopup(QFrame):
    """A number and a slider for the weight of the moving average; 0 is off. Esc closes it."""

    changed = Signal(float)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.number = QDoubleSpinBox()
        self.number.setRange(0, LARGEST)
        self.number.setDecimals(2)
        self.number.setSingleStep(0.05)
        self.number.setAccessibleName("Smoothing")
        self.number.setSpecialValueText("off")
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, round(100 * LARGEST))
        self.slider.setAccessibleName("Smoothing in hundredths")
        self.slider.setMinimumWidth(150)
        about = QLabel("Moving average; what was measured stays behind it, pale.")
        about.setProperty("role", "muted")
        title = QLabel("Smoothing")
        title.setBuddy(self.number)
        grid = QGridLayout(self)
        grid.setContentsMargins(10, 8, 10, 8)
        grid.addWidget(title, 0, 0)
        grid.addWidget(self.slider, 0, 1)
        grid.addWidget(self.number, 0, 2)
        grid.addWidget(about, 1, 0, 1, 3)
        self.slider.valueChanged.connect(self._slid)
        self.number.valueChanged.connect(self._typed)

    def open_below(self, widget: QWidget, weight: float) -> None:
        """Show it below a button, with the present weight."""
        self.number.setValue(weight)
        self.adjustSize()
        corner = widget.mapToGlobal(QPoint(widget.width() - self.width(), widget.height() + 2))
        screen = widget.screen().availableGeometry()
        corner.setX(max(screen.left(), min(corner.x(), screen.right() - self.width())))
        corner.setY(min(corner.y(), screen.bottom() - self.height()))
        self.move(corner)
        self.show()
        self.number.setFocus(Qt.FocusReason.PopupFocusReason)
        self.number.selectAll()

    def _slid(self, hundredths: int) -> None:
        self.number.setValue(hundredths / 100)

    def _typed(self, weight: float) -> None:
        self.slider.setValue(round(100 * weight))
        self.changed.emit(round(weight, 2))
