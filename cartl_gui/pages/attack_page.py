"""The page of a run's attack: headline with warnings, single attacks, sweep, and the plots beside them."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QSize, Qt
from PySide6.QtWidgets import QApplication, QScrollArea, QSizePolicy, QSplitter, QVBoxLayout, QWidget

from cartl_gui.attack_view import AttackView, sample_text, view_of
from cartl_gui.pages.attack_card import AttackCard
from cartl_gui.pages.attack_tables import MembersCard, SweepCard
from cartl_gui.plots.base import PlotPanel
from cartl_gui.plots.classes import ClassesPlot
from cartl_gui.plots.sweep import SweepPlot
from cartl_gui.run_data import RunData
from cartl_gui.selection import Selection
from cartl_gui.widgets import WrappedLabel

#: Least height of the plots in pixels; below it the page scrolls.
PLOT_HEIGHT = 240


class Column(QWidget):
    """What scrolls: never higher than its contents need at the width that there is.

    A layout with texts that wrap would ask for the height that they need at their least width.
    """

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """As high as needed at the width of the page."""
        page, layout = self.parentWidget(), self.layout()
        if page is None or layout is None:
            return super().minimumSizeHint()
        return QSize(0, layout.minimumHeightForWidth(page.width()))


class AttackPage(QScrollArea):
    """Everything about one evaluation, from the figure down to its details."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Attack")
        self.card, self.members, self.sweep_card = AttackCard(), MembersCard(), SweepCard()
        self.classes, self.sweep = ClassesPlot(), SweepPlot()
        self.chosen = WrappedLabel()
        self.chosen.setIndent(18)
        self.chosen.setAccessibleName("Selected image")
        self._data: RunData | None = None
        self._selection: Selection | None = None
        self._view = AttackView("", (), "", "")
        self._alone: PlotPanel | None = None
        self._grounds = [panel.widget.viewport() for panel in self.panels()]
        for ground in self._grounds:
            ground.installEventFilter(self)
        self._sweep_row = QSplitter(Qt.Orientation.Horizontal)
        self._sweep_row.addWidget(self.sweep)
        self._sweep_row.addWidget(self.sweep_card)
        self._sweep_row.setSizes([600, 400])
        self._sweep_row.setChildrenCollapsible(False)
        for widget in (self._sweep_row, self.classes):
            widget.setMinimumHeight(PLOT_HEIGHT)
            # Plots take what is left: what they would like would make the page scroll.
            widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        inner = Column()
        inner.setObjectName("clear")
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.card)
        column.addWidget(self.chosen)
        column.addWidget(self.members)
        column.addWidget(self._sweep_row, 1)
        column.addWidget(self.classes, 1)
        self.setWidget(inner)

    def panels(self) -> tuple[PlotPanel, ...]:
        """The plots."""
        return self.sweep, self.classes

    def show_run(self, data: RunData) -> None:
        """Write the figures and tables of a run; the plots are drawn by themselves."""
        self._data = data
        self._view = view = view_of(data)
        self.card.show_view(view)
        self.members.show_view(view)
        self.sweep_card.show_view(view)
        self._arrange()

    def follow(self, selection: Selection) -> None:
        """Tell verdict and margin of the image that the window has selected."""
        self._selection = selection
        selection.sample_changed.connect(self._arrange)

    def maximise(self, panel: PlotPanel, *, on: bool) -> None:
        """Leave one plot alone on the page, or show everything again."""
        self._alone = panel if on else None
        self._arrange()

    def _arrange(self) -> None:
        """Show what there is something to say in, or the one plot that is enlarged."""
        alone, view = self._alone, self._view
        self.card.setVisible(alone is None)
        sample = self._selection.sample if self._selection is not None else None
        text = sample_text(self._data, sample) if self._data is not None else ""
        self.chosen.setText(text)
        self.chosen.setVisible(alone is None and bool(text))
        self.members.setVisible(alone is None and bool(view.members))
        self.sweep_card.setVisible(alone is None)
        self._sweep_row.setVisible(alone is self.sweep or (alone is None and bool(view.sweep)))
        self.classes.setVisible(alone in (None, self.classes))
        needed = self.sweep_card.sizeHint().height() if alone is None else 0
        self._sweep_row.setMinimumHeight(max(PLOT_HEIGHT, needed))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Let the wheel scroll the page, where it scrolls, instead of zooming the plot that passes by."""
        if event.type() == QEvent.Type.Wheel and watched in self._grounds:
            bar = self.verticalScrollBar()
            if bar.maximum() > 0:
                return QApplication.sendEvent(bar, event)
        return super().eventFilter(watched, event)
