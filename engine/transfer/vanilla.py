"""Vanilla transfer: fine-tune the last k blocks on clean target images."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.config import FinetuningConfig
from engine.models.base import BlockwiseModel
from engine.models.modes import freeze_for_transfer, set_transfer_mode
from engine.objective import Loss, Objective, StepContext, classification
from engine.registry import Registry


class Transfer(Objective):
    """What transfer methods share: only the head trains, batch norm follows its policy, on clean images."""

    def __init__(self, config: FinetuningConfig) -> None:
        self.config = config

    def boundary(self, model: BlockwiseModel) -> int | None:
        """N - k, the number of frozen blocks."""
        return model.num_blocks - self.config.num_finetuned_blocks

    def prepare(self, model: BlockwiseModel, generator: torch.Generator) -> None:
        """Freeze the trunk, and the head's affine batch-norm parameters if the policy says so."""
        freeze_for_transfer(model, self.config.num_finetuned_blocks, self.config.batch_norm)

    def set_mode(self, model: BlockwiseModel) -> None:
        """Train mode, with eval mode for the batch-norm layers that keep the source's statistics."""
        set_transfer_mode(model, self.config.num_finetuned_blocks, self.config.batch_norm)

    def loss(self, model: BlockwiseModel, images: Tensor, labels: Tensor, context: StepContext) -> Loss:
        """CE(f(x), y)."""
        cross_entropy, correct = classification(model(images), labels)
        return Loss(cross_entropy, cross_entropy, correct)


#: Transfer methods by their name in `FinetuningConfig`.
transfer_methods: Registry[type[Transfer]] = Registry("transfer method")


@transfer_methods.register("vanilla", title="vanilla transfer", source="Chen et al., ICML 2021, section 3.1")
class VanillaTransfer(Transfer):
    """Fine-tune the last k blocks as they are."""
