"""The radius of the attack on the examples: a slider, an exact field, and which images are shown."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QPushButton, QSlider, QWidget

from cartl_gui.examples_view import Radii, norm_title
from cartl_gui.widgets import ElidedLabel

#: Milliseconds after the last press of a key on the slider until its radius is asked for.
KEY_PAUSE_MS = 500


class EpsilonBar(QWidget):
    """Asks for a radius when the slider is let go or a number is entered; never changes what was typed."""

    epsilon_asked = Signal(float)
    recorded_asked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._radii: Radii | None = None
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setAccessibleName("Epsilon")
        self.slider.setTickPosition(QSlider.TickPosition.TicksBelow)
        self.slider.setMinimumWidth(120)
        self.field = QLineEdit()
        self.field.setAccessibleName("Epsilon, exactly")
        self.field.setFixedWidth(76)
        label = QLabel("&Epsilon")
        label.setBuddy(self.field)
        self._norm = QLabel()
        self._norm.setProperty("role", "muted")
        self.about = ElidedLabel()
        self.recorded_button = QPushButton("Show recorded")
        self.recorded_button.setToolTip("Back to the images as the run recorded them")
        row = QHBoxLayout(self)
        row.setContentsMargins(4, 0, 4, 0)
        row.setSpacing(8)
        row.addWidget(label)
        row.addWidget(self.slider, 2)
        row.addWidget(self.field)
        row.addWidget(self._norm)
        row.addWidget(self.about)
        row.addStretch(1)
        row.addWidget(self.recorded_button)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(KEY_PAUSE_MS)
        self._timer.timeout.connect(self._ask)
        self.slider.valueChanged.connect(self._moved)
        self.slider.sliderReleased.connect(self._ask)
        self.field.returnPressed.connect(self._entered)
        self.field.textEdited.connect(self._edited)
        self.recorded_button.clicked.connect(self.recorded_asked)

    def show_radii(self, radii: Radii, epsilon: float) -> None:
        """Offer radii, and stand at one of them."""
        self._timer.stop()
        self._radii = radii
        with QSignalBlocker(self.slider):
            self.slider.setRange(0, radii.count)
            self.slider.setPageStep(max(1, radii.count // 8))
            self.slider.setTickInterval(max(1, round(radii.count / 16)))
            self.slider.setValue(radii.position(epsilon))
        self._norm.setText(norm_title(radii))
        tip = (
            f"Radius of the attack in the {norm_title(radii)} norm, in input units; {radii.text(radii.recorded)} is "
            f"recorded. The slider goes up to {radii.text(radii.at(radii.count))}."
        )
        self.slider.setToolTip(tip)
        self.field.setToolTip(f"{tip} 8/255 may be typed; Enter asks for it.")
        self._write(epsilon)

    def show_state(self, text: str, role: str = "muted", *, enabled: bool, anew: bool) -> None:
        """Say which images are shown, or why no others can be made.

        Args:
            text: what to say.
            role: how to say it: "muted", "heading" or "error".
            enabled: whether another radius can be asked for.
            anew: whether there is a way back to the recorded images.
        """
        self.slider.setEnabled(enabled)
        self.field.setEnabled(enabled)
        self.recorded_button.setVisible(anew)
        self._say(text, role)

    def _say(self, text: str, role: str) -> None:
        self.about.setText(text)
        self.about.setToolTip(text)
        if self.about.property("role") != role:
            self.about.setProperty("role", role)
            self.about.style().unpolish(self.about)
            self.about.style().polish(self.about)

    def _moved(self, position: int) -> None:
        if self._radii is None:
            return
        self._write(self._radii.at(position))
        if not self.slider.isSliderDown():
            self._timer.start()

    def _ask(self) -> None:
        self._timer.stop()
        if self._radii is not None:
            self.epsilon_asked.emit(self._radii.at(self.slider.value()))

    def _entered(self) -> None:
        if self._radii is None:
            return
        self._timer.stop()
        try:
            epsilon = self._radii.parse(self.field.text())
        except ValueError as error:
            self._mark(bad=True)
            self._say(str(error), "error")
            return
        with QSignalBlocker(self.slider):
            self.slider.setValue(self._radii.position(epsilon))
        self.epsilon_asked.emit(epsilon)

    def _edited(self) -> None:
        self._timer.stop()
        self._mark(bad=False)

    def _write(self, epsilon: float) -> None:
        if self._radii is not None:
            self.field.setText(self._radii.text(epsilon))
            self._mark(bad=False)

    def _mark(self, *, bad: bool) -> None:
        self.field.setProperty("bad", "true" if bad else "false")
        self.field.style().unpolish(self.field)
        self.field.style().polish(self.field)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Ask for nothing any more once out of sight."""
        self._timer.stop()
        super().hideEvent(event)
