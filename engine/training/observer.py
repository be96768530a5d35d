"""What is measured layer by layer while a network trains. Measuring never changes the training."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from engine.attacks import Verdict
from engine.config import InspectionConfig, StageName
from engine.control import RunControl
from engine.events import Columns, TableName
from engine.inspection.graph import trace
from engine.inspection.live import LiveBounds, Pairs
from engine.inspection.probe import Probe
from engine.inspection.rows import examples_table, layers_row, look, probe_table, profile_table
from engine.models.base import BlockwiseModel

Keep = Callable[[TableName, Columns], None]


class Observer:
    """Compares features of the probe, samples Lipschitz bounds within their share of the time, and writes both down.

    Args:
        stage: names the random numbers.
        probe: fixed images and the attack on them.
        inspection: settings.
        seed: of the run.
        control: asks to pause or stop.
        record: takes rows.
        show: takes whole tables that are not written down before the end.
    """

    def __init__(
        self, stage: StageName, probe: Probe, *, inspection: InspectionConfig, seed: int, control: RunControl,
        record: Keep, show: Keep,
    ) -> None:  # fmt: skip
        self.probe, self.inspection = probe, inspection
        self._control, self._record, self._show = control, record, show
        self._bounds = LiveBounds(
            inspection.live_share if inspection.bounds else 0.0, seed=seed, stage=stage, check=control.check
        )
        # What the training's attack, and that of the probe, changed last; and what was found on the probe's images.
        self._batch: Pairs | None = None
        self._pairs: Pairs | None = None
        self._layers: dict[str, np.ndarray] = {}
        self._images: dict[TableName, Columns] = {}
        self._concluded = False

    def take(self, images: Tensor, adversarial: Tensor | None) -> None:
        """Keep a batch that the training's own attack changed, to measure distances on it at no cost."""
        if adversarial is not None:
            self._batch = Pairs(images, adversarial.detach(), are_trained_on=True)

    def look(self, model: BlockwiseModel, step: int, epoch: float) -> Verdict:
        """Attack the probe and compare its features: one row of the table of layers.

        Raises:
            Interrupted: the run was asked to pause or stop; nothing is recorded then.
        """
        began = time.perf_counter()
        images, verdict = self.probe.look(model, self._control)
        attacked = time.perf_counter()
        self._compare(model, images, verdict)
        ended = time.perf_counter()
        self._bounds.add(ended - attacked, aside=ended - began)
        self._record("layers", _at(step, epoch) | self._layers)
        return verdict

    def begin(self, model: BlockwiseModel, step: int, epoch: float) -> None:
        """Measure the bounds before the first step, so that there is something to compare with.

        Raises:
            Interrupted: the run was asked to pause or stop; nothing is recorded then.
        """
        if self.inspection.bounds:
            row = self._bounds.sample(model, self._probed(model), step=step, seconds=0.0)
            self._record("bounds", _at(step, epoch) | row)

    def is_due(self, seconds: float) -> bool:
        """Whether bounds fit into their share of the time by now; `seconds` is the time since the training began."""
        return (self._batch or self._pairs) is not None and self._bounds.is_due(seconds)

    def sample(self, model: BlockwiseModel, step: int, epoch: float, *, seconds: float) -> None:
        """Measure Lipschitz bounds: one row of their table."""
        pairs = self._batch or self._pairs
        if pairs is not None:
            row = self._bounds.sample(model, pairs, step=step, seconds=seconds)
            self._record("bounds", _at(step, epoch) | row)

    def conclude(self, model: BlockwiseModel, step: int, epoch: float, *, seconds: float) -> None:
        """Measure the bounds of the trained network with more care, and write down what was only shown so far.

        Raises:
            Interrupted: the run was asked to pause or stop; nothing is recorded then.
        """
        if self._concluded:
            return
        pairs, row = self._probed(model), {}
        if self.inspection.bounds:
            row = self._bounds.conclude(model, pairs, step=step, seconds=seconds)
            self._record("bounds", _at(step, epoch) | row)
        self._record("profile", profile_table(self._layers, row))
        for table, columns in self._images.items():
            self._record(table, columns)
        self._concluded = True

    def state(self) -> dict[str, Any]:
        """What a training that goes on needs: plain values."""
        return {"bounds": self._bounds.state(), "concluded": self._concluded}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self._bounds.load_state(state["bounds"])
        self._concluded = bool(state["concluded"])

    def _probed(self, model: BlockwiseModel) -> Pairs:
        """The probe's images as they were attacked last; attacked now if the training went on since."""
        if self._pairs is None:
            self._compare(model, *self.probe.look(model, self._control))
        assert self._pairs is not None
        return self._pairs

    def _compare(self, model: BlockwiseModel, images: Tensor, verdict: Verdict) -> None:
        """Compare clean and adversarial features, and show the images behind the numbers."""
        few, shown = slice(self.inspection.probe_size), slice(self.inspection.examples)
        adversarial, labels = verdict.adversarial, self.probe.images.labels
        samples = self.probe.images.ids.cpu().numpy()
        self._pairs = Pairs(images[few], adversarial[few])
        graph = trace(model, images[:1])
        pairs = look(model, graph, images[few], adversarial[few])
        self._layers = layers_row(graph, pairs)
        self._images = {
            "probe": probe_table(
                graph, pairs, samples=samples[few], labels=labels[few],
                predictions=(verdict.clean_prediction[few], verdict.adversarial_prediction[few]),
            )
        }  # fmt: skip
        if self.inspection.examples:
            self._images["examples"] = examples_table(
                model, images[few][shown], adversarial[few][shown], samples=samples[few][shown],
                labels=labels[few][shown],
            )  # fmt: skip
        for table, columns in self._images.items():
            self._show(table, columns)


def _at(step: int, epoch: float) -> dict[str, np.ndarray]:
    return {"step": np.array([step]), "epoch": np.array([epoch])}
