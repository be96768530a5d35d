"""Natural training: cross-entropy on clean images."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.config import PretrainingConfig
from engine.models.base import BlockwiseModel
from engine.objective import Loss, Objective, StepContext, classification
from engine.registry import Registry


class Pretraining(Objective):
    """What all pre-training methods share: every parameter trains."""

    def __init__(self, config: PretrainingConfig) -> None:
        self.config = config

    def boundary(self, model: BlockwiseModel) -> int | None:
        """None: nothing is frozen."""
        return None

    def prepare(self, model: BlockwiseModel, generator: torch.Generator) -> None:
        """Let every parameter train."""
        model.requires_grad_(True)

    def set_mode(self, model: BlockwiseModel) -> None:
        """Train mode throughout."""
        model.train()


#: Pre-training methods by their name in `PretrainingConfig`.
pretraining_methods: Registry[type[Pretraining]] = Registry("pre-training method")


@pretraining_methods.register("natural", title="natural training", source="")
class NaturalTraining(Pretraining):
    """Cross-entropy on clean images."""

    def loss(self, model: BlockwiseModel, images: Tensor, labels: Tensor, context: StepContext) -> Loss:
        """CE(f(x), y)."""
        cross_entropy, correct = classification(model(images), labels)
        return Loss(cross_entropy, cross_entropy, correct)
