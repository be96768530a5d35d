"""A plot that answers a question about blocks or layers, beside showing a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PySide6.QtWidgets import QWidget

from cartl_gui.layers_view import History, Question, Source
from cartl_gui.plots.base import PlotPanel
from cartl_gui.run_data import RunData
from cartl_gui.timeline import Timeline
from engine.config import StageName

#: Epochs from which pyqtgraph finds whole numbers by itself.
_FEW_EPOCHS = 8


class LayerPanel(PlotPanel):
    """What is shown depends on a `Question` too. Its logarithmic scale is chosen for all of the page at once."""

    can_log = False
    #: The parts of a question that change what the axes show, so that all of it is shown again.
    framing: tuple[str, ...] = ("quantity", "per", "other")
    #: The parts of a question that change nothing here.
    ignored: tuple[str, ...] = ()

    question = Question()

    def __init__(self, title: str, x_title: str, y_title: str, *, parent: QWidget | None = None) -> None:
        super().__init__(title, x_title, y_title, parent=parent)
        self.view.sigResized.connect(self.settle)

    def say(self, text: str) -> None:
        """Tell what is pointed at in place of the title, so that the legend needs no room for it."""
        super().say(text)
        self._heading.setVisible(not text)

    def name_time(self, remark: str = "") -> None:
        """Write below the time axis; few epochs are counted in whole ones, and what was measured once needs none."""
        epochs, axis = self.measured_epochs(), self.plot.getAxis("bottom")
        if epochs <= 0:
            axis.setTicks([[]])
            axis.setScale(1.0)
            self.name_axis("bottom", ", ".join(filter(None, ("measured once", remark))))
            return
        few = self.time_axis == "epoch" and epochs < _FEW_EPOCHS
        axis.setTicks([[(epoch, str(epoch)) for epoch in range(int(epochs) + 1)]] if few else None)
        super().name_time(remark)

    def measured_epochs(self) -> float:
        """How many epochs the time axis is long; 0 for what was looked at once."""
        return self.timeline.epochs if self.timeline is not None else 1.0

    def places_of(self, history: History, timeline: Timeline | None) -> np.ndarray:
        """Where measurements lie on the time axis, [T]; empty while that is not known."""
        if timeline is None or self.time_axis == "epoch" or self.measured_epochs() <= 0:
            return history.epoch
        if not timeline.knows(self.time_axis):
            return np.empty(0)
        return (
            history.step.astype(float) if self.time_axis == "step" else timeline.place(history.epoch, "time")
        )

    def ask(self, question: Question) -> None:
        """Answer another question from the next `show_run` on."""
        question = replace(question, **{name: getattr(Question(), name) for name in self.ignored})
        if question == self.question:
            return
        before, self.question = self.question, question
        stays = self._frame_of(before) == self._frame_of(question)
        self._seen = (*self._seen[:2], None) if stays and self._seen is not None else None

    def _frame_of(self, question: Question) -> list[object]:
        """What has to change before everything is shown again; new measurements of the other run are no reason."""
        other = question.other and (question.other.data, question.other.stage)
        return [other if name == "other" else getattr(question, name) for name in self.framing]

    def show_same(self, other: PlotPanel) -> None:
        """Show what another plot of this kind shows."""
        if isinstance(other, LayerPanel):
            self.question = other.question
        super().show_same(other)

    def stamp(self, data: RunData, stage: StageName) -> object:
        """Rows of other tables, such as every step's, change nothing here; epochs tell the time."""
        return Source.of(data, stage), data.version_of(stage, ("epochs",)) if self.time_axis == "time" else ()

    def name(self, title: str, axis: str) -> None:
        """Call the plot and its y axis something else."""
        self.title = title
        self.head()
        self.widget.setAccessibleName(title)
        self.titles = (self.titles[0], axis)
        self.name_axis("left", axis)


def scaled(values: np.ndarray, *, log: bool) -> np.ndarray:
    """Values as an axis or colour scale places them; on a logarithmic one those of 0 and less are gaps."""
    known = np.isfinite(values) & (values > 0) if log else np.isfinite(values)
    kept = np.where(known, values, np.nan)
    return np.log10(kept) if log else kept
