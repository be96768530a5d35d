"""Lipschitz bounds while a network trains, within the share of its time that looking at layers may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from engine.config import StageName
from engine.inspection.bounds import BoundsMeter
from engine.inspection.distances import mean_and_spread, measure_pairs
from engine.inspection.graph import trace
from engine.models.base import BlockwiseModel
from engine.randomness import generator

#: Pairs of images behind the lower bounds and the distances of a live sample, and how many are passed at once after
#: the last step.
PAIRS, BATCH = 16, 64


@dataclass(frozen=True, slots=True)
class Pairs:
    """Clean images and adversarial ones [M, 3, H, W] in 0..1; `are_trained_on` if the training's own attack made them."""

    images: Tensor
    adversarial: Tensor
    are_trained_on: bool = False

    def first(self, count: int) -> Pairs:
        """The first few of them."""
        return replace(self, images=self.images[:count], adversarial=self.adversarial[:count])


class LiveBounds:
    """Decides when bounds are measured, and measures them. The interval follows from what a sample costs here, so
    that distances and bounds together stay within a share of the time trained.

    Args:
        share: largest share 0..1 of the training time; 0 for none before the end.
        seed: of the run.
        stage: names the random numbers.
        check: called while bounds are measured; may raise to end it.
    """

    def __init__(
        self, share: float, *, seed: int, stage: StageName, check: Callable[[], None] = lambda: None
    ) -> None:
        self._share, self._seed, self._stage, self._check = share, seed, stage, check
        self._meter = BoundsMeter(generator("cpu", seed, stage, "bounds"))
        self._spent, self._aside, self._cost, self._step = 0.0, 0.0, 0.0, 0

    def add(self, seconds: float, *, aside: float) -> None:
        """Count what a look at the probe took.

        Args:
            seconds: for distances, which count within the share; the first guess at what bounds take.
            aside: for everything, the attack that gives the robust accuracy included; it is no time trained.
        """
        self._spent += seconds
        self._aside += aside
        self._cost = self._cost or seconds

    def is_due(self, seconds: float) -> bool:
        """Whether a sample fits into the share by now; `seconds` is the time since the training began."""
        return self._cost > 0 and self._spent + self._cost <= self._share * (seconds - self._aside)

    def sample(
        self, model: BlockwiseModel, pairs: Pairs, *, step: int, seconds: float
    ) -> dict[str, np.ndarray]:
        """Measure once. The model and all random streams of the training stay as they were.

        Args:
            model: on its device.
            pairs: at least one pair of images.
            step: steps taken so far.
            seconds: time since the training began. What is measured before the first step is not counted.

        Returns:
            One row of the table of bounds, but for step and epoch.
        """
        began = time.perf_counter()
        few = pairs.first(PAIRS)
        graph = trace(model, few.images[:1])
        row = self._meter.measure(
            model, graph, few.images, few.adversarial, batch_size=PAIRS,
            each_step=lambda share: self._check(),
        )  # fmt: skip
        distance = np.full(len(graph.blocks), np.nan)
        if few.are_trained_on:
            nodes = [block.end for block in graph.blocks]
            found = measure_pairs(model, few.images, few.adversarial, nodes=nodes, batch_size=PAIRS)
            distance = mean_and_spread(found.distance)[0]
        self._cost = time.perf_counter() - began
        self._spent += self._cost if step else 0.0
        return row | self._about(step, seconds) | {"batch_distance": distance[None]}

    def conclude(
        self, model: BlockwiseModel, pairs: Pairs, *, step: int, seconds: float
    ) -> dict[str, np.ndarray]:
        """Measure after the last step, with all pairs and as exactly as on demand; its time is not counted as live.

        It begins afresh, so that the result does not depend on when bounds were measured before.

        Args:
            model, pairs, step, seconds: as for `sample`.
        """
        meter = BoundsMeter(generator("cpu", self._seed, self._stage, "last bounds"))
        graph = trace(model, pairs.images[:1])
        row = meter.measure(
            model, graph, pairs.images, pairs.adversarial, batch_size=BATCH, care="closing",
            each_step=lambda share: self._check(),
        )  # fmt: skip
        return row | self._about(step, seconds) | {"batch_distance": np.full((1, len(graph.blocks)), np.nan)}

    def state(self) -> dict[str, Any]:
        """What a training that goes on needs: plain values."""
        return {"spent": self._spent, "aside": self._aside, "cost": self._cost, "step": self._step}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self._spent, self._aside = float(state["spent"]), float(state["aside"])
        self._cost, self._step = float(state["cost"]), int(state["step"])

    def _about(self, step: int, seconds: float) -> dict[str, np.ndarray]:
        interval, self._step = step - self._step, step
        trained = seconds - self._aside
        share = self._spent / trained if trained > 0 else 0.0
        return {"interval": np.array([interval]), "live_share": np.array([share])}
