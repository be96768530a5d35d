"""The little window in which runs are chosen that are laid over each other."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import words
from engine.events import RunInfo


class RunChooser(QFrame):
    """A list of runs to tick, with a filter. Esc closes it; what is ticked counts at once."""

    #: Ids of the runs that are ticked.
    chosen = Signal(list)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("Filter by name, study or method")
        self.filter.setAccessibleName("Filter the runs to choose from")
        self.filter.setClearButtonEnabled(True)
        self.list = QListWidget()
        self.list.setAccessibleName("Runs to compare")
        self.list.setUniformItemSizes(True)
        self._amount = QLabel()
        self._amount.setProperty("role", "muted")
        self.none_button = QPushButton("None")
        self.none_button.setAccessibleName("Choose no run")
        foot = QHBoxLayout()
        foot.addWidget(self._amount, 1)
        foot.addWidget(self.none_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 8)
        column.addWidget(self.filter)
        column.addWidget(self.list, 1)
        column.addLayout(foot)
        self.filter.textChanged.connect(self._narrow)
        self.list.itemChanged.connect(self._ticked)
        self.none_button.clicked.connect(self._choose_none)

    def open_below(self, widget: QWidget, runs: Sequence[RunInfo], chosen: Collection[str]) -> None:
        """Show it below a button with these runs, those that are chosen first."""
        self.list.blockSignals(True)
        self.list.clear()
        for run in sorted(runs, key=lambda run: (run.id not in chosen, -run.created)):
            item = QListWidgetItem(f"{run.title}  ·  seed {run.config.seed}  ·  {run.study}")
            item.setData(Qt.ItemDataRole.UserRole, run.id)
            item.setToolTip(f"{words.pretraining(run.config)}; {words.transfer(run.config)}")
            item.setCheckState(Qt.CheckState.Checked if run.id in chosen else Qt.CheckState.Unchecked)
            self.list.addItem(item)
        self.list.blockSignals(False)
        self.filter.clear()
        self._count()
        self.resize(420, 320)
        corner = widget.mapToGlobal(QPoint(0, widget.height() + 2))
        screen = widget.screen().availableGeometry()
        corner.setX(max(screen.left(), min(corner.x(), screen.right() - self.width())))
        corner.setY(max(screen.top(), min(corner.y(), screen.bottom() - self.height())))
        self.move(corner)
        self.show()
        self.filter.setFocus(Qt.FocusReason.PopupFocusReason)

    def ticked(self) -> list[str]:
        """Ids of the runs that are ticked, from the top."""
        items = (self.list.item(row) for row in range(self.list.count()))
        return [
            item.data(Qt.ItemDataRole.UserRole)
            for item in items
            if item.checkState() == Qt.CheckState.Checked
        ]

    def _ticked(self) -> None:
        self._count()
        self.chosen.emit(self.ticked())

    def _choose_none(self) -> None:
        self.list.blockSignals(True)
        for row in range(self.list.count()):
            self.list.item(row).setCheckState(Qt.CheckState.Unchecked)
        self.list.blockSignals(False)
        self._ticked()

    def _count(self) -> None:
        self._amount.setText(f"{words.count(len(self.ticked()), 'run')} chosen")

    def _narrow(self, text: str) -> None:
        parts = text.lower().split()
        for row in range(self.list.count()):
            item = self.list.item(row)
            about = f"{item.text()} {item.toolTip()}".lower()
            item.setHidden(not all(part in about for part in parts))
