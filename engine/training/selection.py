"""Which weights of a training are kept: the last, the best by a rule, or a moving average; and when it ends early."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from engine.config import TrainingConfig
from engine.models.base import BlockwiseModel
from engine.models.spectral_norm import advance_power_iteration, constrained


class Selection:
    """Follows the epochs of one training and keeps the weights of the best, where the settings ask for it.

    Attributes:
        epoch: the best epoch so far, from 1; 0 before the first.
        last_epoch: the newest epoch.
        weights: the best epoch's weights on the CPU; None where the last ones are kept.
    """

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.epoch = self.last_epoch = 0
        self.score: tuple[float, float] = (-math.inf, -math.inf)
        self.weights: dict[str, Tensor] | None = None

    @property
    def exhausted(self) -> bool:
        """Whether as many epochs as patience allows have passed without a better one."""
        return bool(self.config.patience) and self.last_epoch - self.epoch >= self.config.patience

    def consider(
        self, *, epoch: int, robust: float, clean: float, training: float, model: BlockwiseModel
    ) -> None:
        """Look at a finished epoch.

        Args:
            epoch: counted from 1.
            robust, clean: accuracies 0..1 on held-out images; NaN where none are held out.
            training: accuracy on the images trained on; between equal epochs the held-out clean one, or else
                the earlier epoch, decides.
            model: the network measured.
        """
        self.last_epoch = epoch
        by_training = self.config.selection == "best_on_training_batches"
        score = (training, 0.0) if by_training else (robust, clean)
        if not score > self.score:
            return
        self.epoch, self.score = epoch, score
        if self.config.selection != "last":
            self.weights = {
                name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()
            }

    def describe(self) -> str:
        """What was chosen and why, for the log; empty if nothing had to be chosen."""
        if self.weights is None:
            return ""
        on = "training batches" if self.config.selection == "best_on_training_batches" else "held-out images"
        which = "accuracy" if self.config.selection == "best_on_training_batches" else "robust accuracy"
        return f"weights of epoch {self.epoch}, best by {which} on {on} ({100 * self.score[0]:.1f} %)"

    def state(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return {
            "epoch": self.epoch,
            "last_epoch": self.last_epoch,
            "score": list(self.score),
            "weights": self.weights,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.epoch, self.last_epoch = int(state["epoch"]), int(state["last_epoch"])
        first, second = state["score"]
        self.score = (float(first), float(second))
        self.weights = None if state["weights"] is None else dict(state["weights"])


class Averager:
    """A copy of the network whose weights and batch-norm statistics follow as an exponential moving average.

    The first updates weigh more, so that the start is soon forgotten: the decay at update t (from 0) is at most
    (1 + t) / (10 + t). The singular vectors of a spectral bound are not averaged; the copy iterates its own.

    Source: Izmailov et al., UAI 2018, for averaged weights; Rebuffi et al., NeurIPS 2021, for robust training.
    """

    def __init__(self, model: BlockwiseModel, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        vectors = {id(vector) for _, spectral, _ in constrained(self.model) for vector in spectral.buffers()}
        pairs = [
            (mine, theirs.detach())
            for mine, theirs in zip(
                [*self.model.parameters(), *self.model.buffers()],
                [*model.parameters(), *model.buffers()],
                strict=True,
            )
            if id(mine) not in vectors
        ]
        averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self._mine, self._theirs = [mine for mine, _ in averaged], [theirs for _, theirs in averaged]
        self._counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the network after optimiser update `step`, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._mine, self._theirs, 1 - decay)
        for mine, theirs in self._counters:
            mine.copy_(theirs)
        advance_power_iteration(self.model, 1)
