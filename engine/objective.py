"""What a training minimises. The one training loop drives any `Objective`; a method is one of them.

Shapes: B batch, images [B, 3, H, W] in [0, 1], labels [B].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.config import PgdConfig
from engine.models.base import BlockwiseModel


@dataclass(frozen=True, slots=True)
class StepContext:
    """What an objective may use beside the batch.

    Attributes:
        ramp: 0..1, share of the full attack strength at this step.
        generator: the step's own random stream on the model's device.
        each_step: to be called before every attack iteration; raises when the run is asked to pause or stop.
    """

    ramp: float
    generator: torch.Generator
    each_step: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Loss:
    """Loss of one batch and its terms, scalar tensors on the device; None where a term does not apply.

    Attributes:
        total: what is minimised.
        cross_entropy: mean over the batch.
        correct: number of images, of those trained on, that are classified correctly.
        penalty: the method's second term as it enters `total`.
        penalty_unweighted: the same without its weight, mean over the batch.
        adversarial: [B, 3, H, W] the batch as the method's attack changed it, where it has one.
    """

    total: Tensor
    cross_entropy: Tensor
    correct: Tensor
    penalty: Tensor | None = None
    penalty_unweighted: Tensor | None = None
    adversarial: Tensor | None = None


class Objective(ABC):
    """One training method.

    Attributes:
        penalty_title: what `Loss.penalty` is, for people; empty for a method without one.
        attack: makes its training examples; None where it trains on clean images alone.
        epsilon_ramp: share of the training over which the attack rises to full strength.
        passes: cost of one training image in forward passes, a backward pass counting as two.
    """

    penalty_title: ClassVar[str] = ""
    attack: PgdConfig | None = None
    epsilon_ramp: float = 0.0

    @property
    def passes(self) -> float:
        """3 for the update, 2 for each step of the attack."""
        return 3.0 + 2.0 * (self.attack.steps if self.attack else 0)

    @abstractmethod
    def boundary(self, model: BlockwiseModel) -> int | None:
        """Number of blocks before the border between trunk and head, or None if the method has none."""

    @abstractmethod
    def prepare(self, model: BlockwiseModel, generator: torch.Generator) -> None:
        """Freeze and constrain parameters, before training and, in the same way, before a checkpoint is loaded."""

    @abstractmethod
    def set_mode(self, model: BlockwiseModel) -> None:
        """Set each module's train or eval mode for training steps."""

    def begin_epoch(self, model: BlockwiseModel, epoch: int) -> None:
        """Set modes, and which parameters train, for the steps of an epoch (from 0), or for the rest of it."""
        self.set_mode(model)

    @abstractmethod
    def loss(self, model: BlockwiseModel, images: Tensor, labels: Tensor, context: StepContext) -> Loss:
        """The loss of one batch, with a graph for the backward pass."""

    def finish(self, model: BlockwiseModel) -> None:  # noqa: B027 - most methods leave nothing behind
        """Turn what `prepare` put on the model into plain weights with the same outputs."""


def classification(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy, and the number of correct predictions, both scalar tensors."""
    return F.cross_entropy(logits, labels), (logits.detach().argmax(1) == labels).sum()
