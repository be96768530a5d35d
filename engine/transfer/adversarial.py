"""Adversarial fine-tuning: the last k blocks on PGD examples of the target domain."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from engine.attacks.pgd import training_examples
from engine.config import FinetuningConfig
from engine.models.base import BlockwiseModel
from engine.objective import Loss, StepContext
from engine.transfer.vanilla import Transfer, transfer_methods


@transfer_methods.register("adversarial", title="adversarial fine-tuning", source="Madry et al., ICLR 2018")
class AdversarialFineTuning(Transfer):
    """Robustness learned anew on the target instead of inherited: the costly upper reference."""

    def __init__(self, config: FinetuningConfig) -> None:
        super().__init__(config)
        self.attack = config.attack

    def loss(self, model: BlockwiseModel, images: Tensor, labels: Tensor, context: StepContext) -> Loss:
        """CE(f(x_adv), y)."""
        adversarial = training_examples(
            model, images, labels, config=self.config.attack, scale=context.ramp,
            generator=context.generator, each_step=context.each_step,
        )  # fmt: skip
        return replace(super().loss(model, adversarial, labels, context), adversarial=adversarial)
