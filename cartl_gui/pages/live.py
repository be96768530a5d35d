"""The plots of one run: a page for each stage, drawn from the same data whether the run is live or long ended."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QPushButton, QStackedWidget, QVBoxLayout, QWidget

from cartl_gui import words
from cartl_gui.pages.attack_page import AttackPage
from cartl_gui.pages.empty_page import EmptyPage
from cartl_gui.pages.plot_grid import PlotGrid
from cartl_gui.pages.plot_page import PlotPage
from cartl_gui.pages.run_head import RunHead
from cartl_gui.pages.time_choice import TimeChoice
from cartl_gui.plots.accuracy import AccuracyPlot
from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.distance import DistancePlot
from cartl_gui.plots.loss import LossPlot
from cartl_gui.plots.spectral import SpectralPlot
from cartl_gui.run_data import RunData
from cartl_gui.selection import Selection
from cartl_gui.timeline import TimeAxis
from engine.config import STAGE_TITLES, STAGES, StageName

NO_RUN = (
    "Choose a run in the list below, or start one.\n"
    "Its accuracies, loss terms, feature distances and spectral norms are drawn here while it computes."
)


class LivePage(PlotPage):
    """Header with run and stage, and the plots of the stage."""

    demo_asked = Signal()
    export_requested = Signal(object)
    stage_chosen = Signal(str)
    time_axis_chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.data: RunData | None = None
        self.stage: StageName = "pretraining"
        self._picked = False
        self._waiting: list[PlotPanel] = []
        self.grid = PlotGrid(((AccuracyPlot, DistancePlot), (LossPlot, SpectralPlot)))
        self._attack: AttackPage | None = None
        self._selection: Selection | None = None
        self._build()
        self.grid.export_requested.connect(self.export_requested)
        self.grid.arranged.connect(self.refresh)
        self.show_run(None)

    @property
    def accuracy(self) -> AccuracyPlot:
        """The plot of accuracies."""
        return self.grid.slots[0].panel  # type: ignore[return-value]

    @property
    def distance(self) -> DistancePlot:
        """The map of feature distances."""
        return self.grid.slots[1].panel  # type: ignore[return-value]

    @property
    def loss(self) -> LossPlot:
        """The plot of loss terms."""
        return self.grid.slots[2].panel  # type: ignore[return-value]

    @property
    def spectral(self) -> SpectralPlot:
        """The bars of spectral norms."""
        return self.grid.slots[3].panel  # type: ignore[return-value]

    @property
    def attack(self) -> AttackPage:
        """The figures of an attack, made when they are first needed."""
        if self._attack is None:
            self._attack = AttackPage()
            if self._selection is not None:
                self._attack.follow(self._selection)
            for panel in self._attack.panels():
                panel.export_requested.connect(self.export_requested)
                panel.maximise_toggled.connect(self._maximise)
            self.stack.addWidget(self._attack)
        return self._attack

    def follow_selection(self, selection: Selection) -> None:
        """Tell of the image that the window has selected how its attack went."""
        self._selection = selection
        if self._attack is not None:
            self._attack.follow(selection)

    def _build(self) -> None:
        self.time_choice = TimeChoice()
        self.time_choice.chosen.connect(self.time_axis_chosen)
        head = RunHead("Show stage", self.time_choice)
        self._name, self._state, self._about = head.name, head.state, head.about
        self._stages, self.stage_buttons = head.stages, head.stage_buttons
        self._stages.buttonClicked.connect(self._pick)
        empty = EmptyPage("live", NO_RUN)
        empty.pressed.connect(self.demo_asked)
        self.stack = QStackedWidget()
        for page in (empty, self.grid):
            self.stack.addWidget(page)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(8, 8, 8, 6)
        outer.setSpacing(6)
        outer.addWidget(head)
        outer.addWidget(self.stack, 1)

    def show_run(self, data: RunData | None) -> None:
        """Show a run from now on, drawn by `draw_next`; None shows what will appear here."""
        changed = data is not self.data
        self.data = data
        if data is None:
            self.stack.setCurrentIndex(0)
        elif changed:
            self._picked = False
            self.stage = self._latest(data)
        self.begin_refresh()

    def follow(self) -> None:
        """Go to the stage that runs now unless the user chose one."""
        if self.data is not None and not self._picked:
            self.stage = self._latest(self.data)

    def show_stage(self, stage: StageName) -> None:
        """Show a stage that was chosen elsewhere."""
        if self.data is not None and stage in self.data.stages():
            self.stage = stage
            self._picked = stage != self._latest(self.data)
            self.begin_refresh()

    def set_time_axis(self, axis: TimeAxis) -> None:
        """Let the plots run over epochs, steps or computing time."""
        self.time_choice.show_axis(axis)
        self.grid.group.set_time_axis(axis)

    def draw_next(self) -> bool:
        """Draw one plot that waits since `begin_refresh`; False if none does."""
        if self.stage != "attack":
            return self.grid.draw_next()
        if not self._waiting:
            return False
        panel = self._waiting.pop(0)
        if panel.isVisibleTo(self):
            self._draw(panel)
        return True

    def _draw(self, panel: PlotPanel) -> None:
        panel.show_run(self.data, self.stage)

    def all_drawn(self) -> bool:
        """Whether no plot waits to be drawn."""
        return self.grid.all_drawn() and not self._waiting

    def begin_refresh(self) -> None:
        """Write the header anew and let the visible plots wait for `draw_next`, so that none delays the window."""
        data = self.data
        self._waiting = []
        self.grid.stop()
        for widget in (self._name, self._state, self._about, self.time_choice, *self.stage_buttons.values()):
            widget.setVisible(data is not None)
        if data is None:
            return
        info = data.info
        self._name.setText(info.title)
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
        self.time_choice.setVisible(not attacking)
        if not self.isVisible():
            return
        self.stack.setCurrentWidget(self.attack if attacking else self.grid)
        if attacking:
            self.attack.show_run(data)
            self._waiting = list(self.attack.panels())
        else:
            self.grid.begin(self._draw)

    def panels(self) -> tuple[PlotPanel, ...]:
        """The plots of the stage that is shown, as far as they were drawn before."""
        if self.data is None:
            return ()
        if self.stage != "attack":
            return self.grid.panels()
        return self._attack.panels() if self._attack is not None else ()

    def _latest(self, data: RunData) -> StageName:
        begun = data.stages()
        return begun[-1] if begun else (data.info.config.stages or STAGES)[0]

    def _pick(self, button: QPushButton) -> None:
        self.show_stage(button.property("stage"))
        self.stage_chosen.emit(self.stage)

    def _maximise(self, panel: PlotPanel, on: bool) -> None:
        self.attack.maximise(panel, on=on)
        self.refresh()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """Draw what changed while the page was out of sight."""
        super().showEvent(event)
        self.begin_refresh()
