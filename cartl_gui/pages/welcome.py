"""The first page: what the program is, one big button for the demo, recent runs, and the machine."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme, words
from cartl_gui.files import dropped_file
from cartl_gui.widgets import ElidedLabel, WrappedLabel
from engine.config import StudyConfig
from engine.events import DeviceReport, RunInfo

RECENT = 5


class RecentRun(QPushButton):
    """A button with name, state and time of an earlier run."""

    chosen = Signal(str)

    def __init__(self, info: RunInfo, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.run_id = info.id
        self.setAccessibleName(f"Open run {info.name}, {words.STATE_WORDS[info.state]}")
        self.setMinimumHeight(40)
        name = ElidedLabel(info.name)
        name.setProperty("role", "heading")
        robust = f", robust {words.percent(info.result.robust_accuracy.value)}" if info.result else ""
        about = ElidedLabel(f"{words.STATE_WORDS[info.state]}{robust} · {words.clock(info.created)}")
        about.setProperty("role", "muted")
        about.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 4, 12, 4)
        row.addWidget(name, 2)
        row.addWidget(about, 3)
        for label in (name, about):
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.clicked.connect(self._choose)

    def _choose(self) -> None:
        self.chosen.emit(self.run_id)


class DropZone(QFrame):
    """Takes a settings file or a checkpoint that is dragged onto it."""

    dropped = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAcceptDrops(True)
        self.setMinimumHeight(56)
        label = QLabel("Drop a settings file (.toml) or a checkpoint here")
        label.setProperty("role", "muted")
        label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        QVBoxLayout(self).addWidget(label)
        self._mark("true")

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Accept one file that the window can open."""
        if dropped_file(event) is not None:
            event.acceptProposedAction()
            self._mark("active")

    def dragLeaveEvent(self, _event: QDragLeaveEvent) -> None:  # noqa: N802
        """Look as before."""
        self._mark("true")

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Tell the window which file was dropped."""
        self._mark("true")
        path = dropped_file(event)
        if path is not None:
            event.acceptProposedAction()
            self.dropped.emit(path)

    def _mark(self, value: str) -> None:
        self.setProperty("drop", value)
        self.style().unpolish(self)
        self.style().polish(self)


class WelcomePage(QScrollArea):
    """Calm start: the demo first, then own experiments and earlier runs."""

    demo_asked = Signal()
    new_asked = Signal()
    open_asked = Signal()
    file_dropped = Signal(str)
    run_chosen = Signal(str)

    def __init__(self, demo: StudyConfig | None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._demo = demo
        self.setWidgetResizable(True)
        self.setAccessibleName("Welcome")
        self._build()
        self._recolour()

    def _build(self) -> None:
        inner = QWidget()
        centre = QHBoxLayout(inner)
        centre.addStretch(1)
        column = QVBoxLayout()
        column.setContentsMargins(16, 24, 16, 24)
        column.setSpacing(14)
        centre.addLayout(column, 20)
        column.addStretch(1)
        centre.addStretch(1)
        head = QHBoxLayout()
        head.setSpacing(16)
        picture = QLabel()
        picture.setPixmap(theme.icon("app").pixmap(QSize(64, 64)))
        title = QLabel("CARTL Workbench")
        font = title.font()
        font.setPointSizeF(font.pointSizeF() * 1.9)
        font.setWeight(font.Weight.DemiBold)
        title.setFont(font)
        about = WrappedLabel("muted")
        about.setText(
            "See, layer by layer, why a transferred network keeps or loses its adversarial robustness."
        )
        words_column = QVBoxLayout()
        words_column.setSpacing(2)
        words_column.addStretch(1)
        words_column.addWidget(title)
        words_column.addWidget(about)
        words_column.addStretch(1)
        head.addWidget(picture)
        head.addLayout(words_column, 1)
        column.addLayout(head)
        grid = QGridLayout()
        grid.setSpacing(14)
        grid.addWidget(self._demo_card(), 0, 0)
        grid.addWidget(self._own_card(), 1, 0)
        grid.addWidget(self._machine_card(), 0, 1)
        grid.addWidget(self._recent_card(), 1, 1)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)
        grid.setColumnMinimumWidth(0, 250)
        grid.setColumnMinimumWidth(1, 250)
        column.addLayout(grid)
        column.addStretch(3)
        for label in inner.findChildren(WrappedLabel):
            label.setMinimumWidth(230)
        inner.setMaximumWidth(1060)
        holder = QWidget()
        row = QHBoxLayout(holder)
        row.setContentsMargins(0, 0, 0, 0)
        row.addStretch(1)
        row.addWidget(inner, 100)
        row.addStretch(1)
        self.setWidget(holder)

    def _card(self, title: str) -> tuple[QFrame, QVBoxLayout]:
        card = QFrame()
        card.setProperty("card", "true")
        column = QVBoxLayout(card)
        column.setContentsMargins(18, 14, 18, 16)
        column.setSpacing(8)
        label = QLabel(title)
        font = label.font()
        font.setPointSizeF(font.pointSizeF() * 1.15)
        font.setBold(True)
        label.setFont(font)
        column.addWidget(label)
        return card, column

    def _demo_card(self) -> QFrame:
        card, column = self._card("Start here")
        self._demo_text = WrappedLabel()
        self.demo_button = QPushButton("Try the demo")
        self.demo_button.setProperty("main", "true")
        self.demo_button.setMinimumHeight(44)
        self.demo_button.clicked.connect(self.demo_asked)
        self._demo_note = WrappedLabel("muted")
        column.addWidget(self._demo_text)
        column.addStretch(1)
        column.addWidget(self.demo_button)
        column.addWidget(self._demo_note)
        if self._demo is None:
            card.hide()
        else:
            self._demo_text.setText(" ".join((self._demo.description or self._demo.title).split()))
            self._demo_note.setText(f"{words.count(len(self._demo.runs), 'run')}. Nothing is downloaded.")
        return card

    def _own_card(self) -> QFrame:
        card, column = self._card("Your own experiment")
        self.new_button = QPushButton("New experiment")
        self.new_button.clicked.connect(self.new_asked)
        self.open_button = QPushButton("Open a settings file…")
        self.open_button.clicked.connect(self.open_asked)
        zone = DropZone()
        zone.dropped.connect(self.file_dropped)
        column.addWidget(self.new_button)
        column.addWidget(self.open_button)
        column.addWidget(zone)
        column.addStretch(1)
        return card

    def _machine_card(self) -> QFrame:
        card, column = self._card("This computer")
        self._device = WrappedLabel()
        self._tried = WrappedLabel("muted")
        self._device.setText("Looking at the devices…")
        column.addWidget(self._device)
        column.addWidget(self._tried)
        column.addStretch(1)
        return card

    def _recent_card(self) -> QFrame:
        card, column = self._card("Recent runs")
        self._recent = QVBoxLayout()
        self._recent.setSpacing(4)
        self._none = WrappedLabel("muted")
        self._none.setText("Runs of this workspace will be listed here; every one can be opened again.")
        column.addLayout(self._recent)
        column.addWidget(self._none)
        column.addStretch(1)
        return card

    def show_device(self, device: DeviceReport) -> None:
        """Say which device was chosen and what could not be tried."""
        precision = "bfloat16 available" if device.bfloat16 else "float32 only"
        self._device.setText(
            f"<b>{device.name}</b><br>Runs use {words.choice(device.chosen)}: "
            f"{words.count(device.threads, 'thread')}, {device.memory_gib:.1f} GiB memory, {precision}."
        )
        others = [
            f"{words.choice(name)}: {finding}" for name, finding in device.tried if name != device.chosen
        ]
        self._tried.setText("<br>".join(others))

    def show_runs(self, runs: list[RunInfo], read_only: str = "") -> None:
        """List the newest runs."""
        while (item := self._recent.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.deleteLater()
        newest = sorted(runs, key=lambda info: info.created, reverse=True)[:RECENT]
        for info in newest:
            button = RecentRun(info)
            button.chosen.connect(self.run_chosen)
            self._recent.addWidget(button)
        self._none.setVisible(not newest)
        self.demo_button.setEnabled(not read_only)
        self.demo_button.setToolTip(read_only)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Follow a change of the theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "open_button"):
            self._recolour()

    def _recolour(self) -> None:
        self.demo_button.setIcon(theme.icon("play", theme.scheme().on_accent))
        self.new_button.setIcon(theme.icon("new"))
        self.open_button.setIcon(theme.icon("open"))
