"""The head of every page about one run: its name, its state, a line about it, and a button for each stage."""

from __future__ import annotations

from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QLabel, QPushButton, QWidget

from cartl_gui.widgets import ElidedLabel
from engine.config import STAGE_TITLES, STAGES, StageName


class RunHead(QWidget):
    """One row.

    Args:
        asked: what a stage's button does, for its accessible name, such as "Show the layers of stage".
        between: widgets to the left of these buttons.
    """

    def __init__(self, asked: str, *between: QWidget) -> None:
        super().__init__()
        self.name = QLabel()
        font = self.name.font()
        font.setPointSizeF(font.pointSizeF() * 1.2)
        font.setBold(True)
        self.name.setFont(font)
        self.state = QLabel()
        self.state.setProperty("role", "chip")
        self.about = ElidedLabel()
        self.about.setProperty("role", "muted")
        row = QHBoxLayout(self)
        row.setContentsMargins(4, 0, 4, 0)
        row.setSpacing(8)
        row.addWidget(self.name)
        row.addWidget(self.state)
        row.addWidget(self.about, 1)
        for widget in between:
            row.addWidget(widget)
        self.stages = QButtonGroup(self)
        self.stage_buttons: dict[StageName, QPushButton] = {}
        for stage in STAGES:
            button = self.stage_buttons[stage] = QPushButton(STAGE_TITLES[stage])
            button.setCheckable(True)
            button.setProperty("stage", stage)
            button.setAccessibleName(f"{asked} {STAGE_TITLES[stage]}")
            self.stages.addButton(button)
            row.addWidget(button)
