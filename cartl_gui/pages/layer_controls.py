"""What is chosen on the layers page: the quantity, of layers or blocks, its scale, and what to compare with."""

from __future__ import annotations

from PySide6.QtWidgets import QButtonGroup, QCheckBox, QHBoxLayout, QPushButton, QWidget

from cartl_gui.layers_view import QUANTITIES
from cartl_gui.widgets import QuietCombo
from engine.insight import Per


class LayerControls(QWidget):
    """One row."""

    def __init__(self) -> None:
        super().__init__()
        self.quantity = QuietCombo()
        self.quantity.setAccessibleName("Quantity")
        self.quantity.setToolTip("What is shown of each layer")
        self.quantity.setMinimumContentsLength(22)
        self.quantity.setMaxVisibleItems(len(QUANTITIES))
        for quantity in QUANTITIES:
            self.quantity.addItem(quantity.title, quantity.key)
        self.quantity.view().setMinimumWidth(290)
        self.pers = QButtonGroup(self)
        self.per_buttons: dict[Per, QPushButton] = {}
        titles: dict[Per, str] = {"layer": "Layers", "block": "Blocks"}
        for per, text in titles.items():
            button = self.per_buttons[per] = QPushButton(text)
            button.setCheckable(True)
            button.setProperty("per", per)
            button.setAccessibleName(f"Per {per}")
            self.pers.addButton(button)
        self.log = QCheckBox("Log")
        self.log.setToolTip("Logarithmic scale of the map and the curve")
        self.log.setAccessibleName("Logarithmic scale")
        self.comparison = QuietCombo()
        self.comparison.setAccessibleName("Compare with")
        self.comparison.setToolTip("Another run beside this one")
        self.comparison.setMinimumContentsLength(13)
        self.comparison.setMaxVisibleItems(24)
        self.comparison.view().setMinimumWidth(220)
        self.comparison.addItem("Compare with…", "")
        self.mode = QuietCombo()
        self.mode.setAccessibleName("How to compare")
        self.mode.addItem("Side by side", False)
        self.mode.addItem("Difference", True)
        self.inspect_button = QPushButton("Analyse fully")
        self.inspect_button.setToolTip("Measure distances and bounds of this network now, with all care")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        row.addWidget(self.quantity, 2)
        pair = QHBoxLayout()
        pair.setSpacing(0)
        for button in self.per_buttons.values():
            pair.addWidget(button)
        row.addLayout(pair)
        row.addWidget(self.log)
        row.addWidget(self.comparison, 1)
        row.addWidget(self.mode)
        row.addStretch(1)
        row.addWidget(self.inspect_button)
