"""Learning without forgetting (LwF): fine-tune all layers and hold the features near the source model's."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from engine.config import FinetuningConfig
from engine.losses import lwf_distance
from engine.models.base import BlockwiseModel
from engine.models.modes import batch_norms
from engine.objective import Loss, StepContext, classification
from engine.transfer.full import FullFineTuning
from engine.transfer.vanilla import transfer_methods


@transfer_methods.register("lwf", title="LwF", source="Shafahi et al., ICLR 2020, section 5")
class LearningWithoutForgetting(FullFineTuning):
    """CE(f(x), y) + lambda * mean_i ||g0(x_i) - g(x_i)||_1, g the pooled feature, g0 the frozen source model's.

    In the epochs of the warm start only the classifier trains, on features that stay the source model's.

    Attributes:
        source: the frozen copy of the source model, from `prepare` on.
    """

    penalty_title = "λ·distance to source"

    def __init__(self, config: FinetuningConfig) -> None:
        super().__init__(config)
        self.source: BlockwiseModel | None = None
        self._trained: frozenset[str] = frozenset()

    @property
    def passes(self) -> float:
        """The source model's pass comes on top."""
        return super().passes + 1.0

    def prepare(self, model: BlockwiseModel, generator: torch.Generator) -> None:
        """Keep a frozen copy of the source model, whose classifier is not used; let everything train."""
        self.source = copy.deepcopy(model).requires_grad_(False).eval()
        super().prepare(model, generator)
        self._trained = frozenset(name for name, value in model.named_parameters() if value.requires_grad)

    def begin_epoch(self, model: BlockwiseModel, epoch: int) -> None:
        """Train the classifier alone during the warm start, with batch norm as the source left it."""
        self.set_mode(model)
        warm = epoch < self.config.warm_start_epochs
        classifier = {id(parameter) for parameter in model.classifier.parameters()}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in self._trained and (not warm or id(parameter) in classifier))
        if warm:
            for layer in batch_norms([model]):
                layer.eval()

    def loss(self, model: BlockwiseModel, images: Tensor, labels: Tensor, context: StepContext) -> Loss:
        """The loss above; the gradient flows through the trained model's feature only."""
        if self.source is None:
            raise RuntimeError("prepare the model before asking for a loss: it keeps the source model's copy")
        logits, feature = model.forward_with_feature(images, 1)
        with torch.no_grad():
            _, source_feature = self.source.forward_with_feature(images, 1)
        cross_entropy, correct = classification(logits, labels)
        distance = lwf_distance(feature, source_feature).mean()
        penalty = self.config.feature_weight * distance
        return Loss(cross_entropy + penalty, cross_entropy, correct, penalty, distance)
