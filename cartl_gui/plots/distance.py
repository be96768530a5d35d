"""Heat map of the clean-adversarial feature distance, epoch by block, on the live page."""

from __future__ import annotations

from cartl_gui.layers_view import DISTANCE, Question, Source
from cartl_gui.plots.heat_map import HeatMap
from cartl_gui.run_data import RunData


class DistancePlot(HeatMap):
    """Feature distance [T, N]: epochs to the right, blocks from the input upwards."""

    empty_text = (
        "How far apart clean and adversarial features are in each block appears here after the first epoch."
    )
    can_log = True
    question = Question(DISTANCE, "block")

    def names_of(self, _data: RunData) -> tuple[str, str]:
        """The page shows no other quantity."""
        return "Feature distance per block", "block"

    def nothing_text(self, _source: Source) -> str:
        """What the plot says while it is empty."""
        return self.empty_text
