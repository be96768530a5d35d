"""TRADES: clean cross-entropy, and a penalty on how far an attack moves the prediction."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.pgd import training_examples
from engine.losses import prediction_divergence
from engine.models.base import BlockwiseModel
from engine.models.modes import evaluation
from engine.objective import Loss, StepContext, classification
from engine.pretraining.adversarial import AdversarialTraining
from engine.pretraining.natural import pretraining_methods

#: Standard deviation of the noise the attack starts from: at the image itself the divergence has no gradient.
START_DEVIATION = 0.001


@pretraining_methods.register("trades", title="TRADES", source="Zhang et al., ICML 2019, equation 5")
class Trades(AdversarialTraining):
    """CE(f(x), y) + (1/lambda) * mean_i KL(f(x_i) || f(x_adv_i))."""

    penalty_title = "divergence/λ"

    @property
    def passes(self) -> float:
        """The clean pass comes on top."""
        return super().passes + 3.0

    def loss(self, model: BlockwiseModel, images: Tensor, labels: Tensor, context: StepContext) -> Loss:
        """The clean pass comes first, the adversarial one second; the gradient flows through both.

        `Loss.correct` counts adversarial images.
        """
        adversarial = self.examples(model, images, labels, context)
        clean_logits, adversarial_logits = model(images), model(adversarial)
        cross_entropy, _ = classification(clean_logits, labels)
        correct = (adversarial_logits.detach().argmax(1) == labels).sum()
        divergence = prediction_divergence(adversarial_logits, clean_logits).mean()
        penalty = self.config.kl_weight * divergence
        return Loss(cross_entropy + penalty, cross_entropy, correct, penalty, divergence, adversarial)

    def examples(self, model: BlockwiseModel, images: Tensor, labels: Tensor, context: StepContext) -> Tensor:
        """Images of the batch whose prediction PGD has moved as far as it can from the clean one."""
        with evaluation(model), torch.no_grad():
            clean_logits = model(images)
        return training_examples(
            model, images, labels, config=self.config.attack, scale=context.ramp, generator=context.generator,
            loss=lambda logits, labels, targets: prediction_divergence(logits, clean_logits),
            start_deviation=START_DEVIATION, each_step=context.each_step,
        )  # fmt: skip
