"""Adversarial training: cross-entropy on PGD examples (AT)."""

from __future__ import annotations

from torch import Tensor

from engine.attacks.pgd import training_examples
from engine.config import PretrainingConfig
from engine.models.base import BlockwiseModel
from engine.objective import Loss, StepContext, classification
from engine.pretraining.natural import Pretraining, pretraining_methods


@pretraining_methods.register("adversarial", title="adversarial training", source="Madry et al., ICLR 2018")
class AdversarialTraining(Pretraining):
    """Cross-entropy on adversarial images made with the model in eval mode."""

    def __init__(self, config: PretrainingConfig) -> None:
        super().__init__(config)
        self.attack, self.epsilon_ramp = config.attack, config.epsilon_ramp

    def loss(self, model: BlockwiseModel, images: Tensor, labels: Tensor, context: StepContext) -> Loss:
        """CE(f(x_adv), y)."""
        adversarial = self.examples(model, images, labels, context)
        cross_entropy, correct = classification(model(adversarial), labels)
        return Loss(cross_entropy, cross_entropy, correct, adversarial=adversarial)

    def examples(self, model: BlockwiseModel, images: Tensor, labels: Tensor, context: StepContext) -> Tensor:
        """The batch's adversarial images at the ramp's present strength."""
        return training_examples(
            model, images, labels, config=self.config.attack, scale=context.ramp,
            generator=context.generator, each_step=context.each_step,
        )  # fmt: skip
