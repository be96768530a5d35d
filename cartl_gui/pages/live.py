"""The plots of one run: a page for each stage, drawn from the same data whether the run is live or long ended."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import (
    QLabel,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from cartl_gui import theme, words
from cartl_gui.pages.attack_page import AttackPage
from cartl_gui.pages.run_head import RunHead
from cartl_gui.plots.accuracy import AccuracyPlot
from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.distance import DistancePlot
from cartl_gui.plots.loss import LossPlot
from cartl_gui.plots.spectral import SpectralPlot
from cartl_gui.run_data import RunData
from cartl_gui.widgets import WrappedLabel
from engine.config import STAGE_TITLES, STAGES, StageName


class LivePage(QWidget):
    """Header with run and stage, and the plots of the stage."""

    demo_asked = Signal()
    export_requested = Signal(object)
    stage_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.data: RunData | None = None
        self.stage: StageName = "pretraining"
        self._picked = False
        self._waiting: list[PlotPanel] = []
        self.accuracy, self.loss = AccuracyPlot(), LossPlot()
        self.distance, self.spectral = DistancePlot(), SpectralPlot()
        self.attack = AttackPage()
        self.training_panels: tuple[PlotPanel, ...] = (self.accuracy, self.distance, self.loss, self.spectral)
        self._build()
        for panel in (*self.training_panels, *self.attack.panels()):
            panel.export_requested.connect(self.export_requested)
            panel.maximise_toggled.connect(self._maximise)
            panel.epoch_hovered.connect(self._link)
        self.show_run(None)

    def _build(self) -> None:
        head = RunHead("Show stage")
        self._name, self._state, self._about = head.name, head.state, head.about
        self._stages, self.stage_buttons = head.stages, head.stage_buttons
        self._stages.buttonClicked.connect(self._pick)
        upper, lower = QSplitter(Qt.Orientation.Horizontal), QSplitter(Qt.Orientation.Horizontal)
        for splitter, panels in ((upper, self.training_panels[:2]), (lower, self.training_panels[2:])):
            for panel in panels:
                splitter.addWidget(panel)
            splitter.setSizes([1000, 1000])
            splitter.setChildrenCollapsible(False)
        self._grid = QSplitter(Qt.Orientation.Vertical)
        self._rows = (upper, lower)
        for splitter in self._rows:
            self._grid.addWidget(splitter)
        self._grid.setSizes([1000, 1000])
        self._grid.setChildrenCollapsible(False)
        self._empty_text = WrappedLabel("muted")
        self._empty_text.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._empty_text.setText(
            "Choose a run in the list below, or start one.\n"
            "Its accuracies, loss terms, feature distances and spectral norms are drawn here while it computes."
        )
        self.demo_button = QPushButton("Try the demo")
        self.demo_button.setProperty("main", "true")
        self.demo_button.clicked.connect(self.demo_asked)
        empty = QWidget()
        column = QVBoxLayout(empty)
        column.addStretch(2)
        picture = QLabel()
        picture.setPixmap(theme.icon("live", theme.scheme().neutral).pixmap(QSize(48, 48)))
        column.addWidget(picture, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addWidget(self._empty_text)
        column.addSpacing(8)
        column.addWidget(self.demo_button, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addStretch(3)
        self.stack = QStackedWidget()
        for page in (empty, self._grid, self.attack):
            self.stack.addWidget(page)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(8, 8, 8, 6)
        outer.setSpacing(6)
        outer.addWidget(head)
        outer.addWidget(self.stack, 1)

    def show_run(self, data: RunData | None) -> None:
        """Show a run from now on; None shows what will appear here."""
        changed = data is not self.data
        self.data = data
        if data is None:
            self.stack.setCurrentIndex(0)
        elif changed:
            self._picked = False
            self.stage = self._latest(data)
        self.refresh()

    def follow(self) -> None:
        """Go to the stage that runs now unless the user chose one."""
        if self.data is not None and not self._picked:
            self.stage = self._latest(self.data)

    def show_stage(self, stage: StageName) -> None:
        """Show a stage that was chosen elsewhere."""
        if self.data is not None and stage in self.data.stages():
            self.stage = stage
            self._picked = stage != self._latest(self.data)
            self.refresh()

    def refresh(self) -> None:
        """Draw what changed and is visible, at once."""
        self.begin_refresh()
        while self.draw_next():
            pass

    def draw_next(self) -> bool:
        """Draw one plot that waits since `begin_refresh`; False if none does."""
        if not self._waiting:
            return False
        panel = self._waiting.pop(0)
        if self.data is not None and panel.isVisibleTo(self):
            panel.show_run(self.data, self.stage)
        return True

    def all_drawn(self) -> bool:
        """Whether no plot waits to be drawn."""
        return not self._waiting

    def begin_refresh(self) -> None:
        """Write the header anew and let the visible plots wait for `draw_next`, so that none delays the window."""
        data = self.data
        self._waiting = []
        for widget in (self._name, self._state, self._about, *self.stage_buttons.values()):
            widget.setVisible(data is not None)
        if data is None:
            return
        info = data.info
        self._name.setText(info.name)
        self._state.setText(words.STATE_WORDS[info.state])
        layout = data.layouts.get(self.stage)
        about = [layout.title, layout.probe] if layout else [STAGE_TITLES[self.stage] + " has not begun"]
        self._about.setText("  ·  ".join(filter(None, about)))
        self._about.setToolTip("\n".join(filter(None, about)))
        begun = data.stages()
        for stage, button in self.stage_buttons.items():
            button.setVisible(stage in info.config.stages)
            button.setEnabled(stage in begun or stage == self.stage)
            button.setChecked(stage == self.stage)
        attacking = self.stage == "attack"
        self.stack.setCurrentIndex(2 if attacking else 1)
        self._waiting = list(self.panels())
        if attacking:
            self.attack.show_run(data)

    def panels(self) -> tuple[PlotPanel, ...]:
        """The plots of the stage that is shown."""
        if self.data is None:
            return ()
        return self.attack.panels() if self.stage == "attack" else self.training_panels

    def current_panel(self) -> PlotPanel | None:
        """The plot to export: the enlarged one, that under the focus, or the first that shows something."""
        shown = [panel for panel in self.panels() if panel.isVisibleTo(self) and not panel.is_empty()]
        focused = [panel for panel in shown if panel.isAncestorOf(self.focusWidget() or self)]
        return (focused or shown or [None])[0]

    def _latest(self, data: RunData) -> StageName:
        begun = data.stages()
        return begun[-1] if begun else (data.info.config.stages or STAGES)[0]

    def _pick(self, button: QPushButton) -> None:
        self.show_stage(button.property("stage"))
        self.stage_chosen.emit(self.stage)

    def _maximise(self, panel: PlotPanel, on: bool) -> None:
        if panel in self.training_panels:
            for other in self.training_panels:
                other.setVisible(not on or other is panel)
            for splitter in self._rows:
                splitter.setVisible(not on or splitter.isAncestorOf(panel))
        else:
            self.attack.maximise(panel, on=on)
        self.refresh()

    def _link(self, epoch: object) -> None:
        for panel in self.training_panels:
            if panel is not self.sender():
                panel.show_epoch(epoch if isinstance(epoch, float) else None)
