"""Adversarial pre-training with feature distance minimisation (FDM)."""

from __future__ import annotations

from torch import Tensor

from engine.losses import feature_distance
from engine.models.base import BlockwiseModel
from engine.objective import Loss, StepContext, classification
from engine.pretraining.adversarial import AdversarialTraining
from engine.pretraining.natural import pretraining_methods


@pretraining_methods.register("fdm", title="FDM", source="Chen et al., ICML 2021, section 3.2")
class FeatureDistanceMinimisation(AdversarialTraining):
    """Adversarial training whose features at k are drawn towards the clean ones."""

    penalty_title = "λ·feature distance"

    @property
    def passes(self) -> float:
        """The clean pass comes on top."""
        return super().passes + 3.0

    def boundary(self, model: BlockwiseModel) -> int | None:
        """N - k: the feature at k is the output of this block."""
        return model.num_blocks - self.config.num_finetuned_blocks

    def loss(self, model: BlockwiseModel, images: Tensor, labels: Tensor, context: StepContext) -> Loss:
        """CE(f(x_adv), y) + lambda * sum_i ||g(x_adv_i) - g(x_i)||_2 / sqrt(d).

        The adversarial pass comes first, the clean one second, and each moves the batch-norm statistics; the
        gradient flows through both features.
        """
        k = self.config.num_finetuned_blocks
        adversarial = self.examples(model, images, labels, context)
        logits, adversarial_feature = model.forward_with_feature(adversarial, k)
        _, clean_feature = model.forward_with_feature(images, k)
        cross_entropy, correct = classification(logits, labels)
        distances = feature_distance(adversarial_feature, clean_feature)
        penalty = self.config.feature_weight * distances.sum()
        return Loss(cross_entropy + penalty, cross_entropy, correct, penalty, distances.mean(), adversarial)
