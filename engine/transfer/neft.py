"""Non-expansive fine-tuning (NEFT): bound what each trained layer can amplify."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.models.base import BlockwiseModel
from engine.models.spectral_norm import (
    INITIAL_ITERATIONS,
    advance_power_iteration,
    constrain,
    remove_constraints,
)
from engine.objective import Loss, StepContext
from engine.transfer.vanilla import Transfer, transfer_methods


@transfer_methods.register("neft", title="NEFT", source="Chen et al., ICML 2021, section 3.3")
class NonExpansiveFineTuning(Transfer):
    """Fine-tune the last k blocks with weights beta * W / sigma(W) and halved residual sums."""

    def prepare(self, model: BlockwiseModel, generator: torch.Generator) -> None:
        """Freeze the trunk, halve the head's residual sums, and constrain its convolutions and linear layers."""
        k = self.config.num_finetuned_blocks
        # The source may have halved sums of its own, which are part of what it computes.
        model.halve_residuals(max(k, model.num_halved))
        constrain(model.head(k), self.config.spectral_bound, generator, initial_iterations=INITIAL_ITERATIONS)
        super().prepare(model, generator)

    def loss(self, model: BlockwiseModel, images: Tensor, labels: Tensor, context: StepContext) -> Loss:
        """CE(f(x), y), after one power-iteration step on every constrained weight."""
        advance_power_iteration(model, self.config.power_iterations)
        return super().loss(model, images, labels, context)

    def finish(self, model: BlockwiseModel) -> None:
        """Write the normalised weights out as plain ones."""
        remove_constraints(model)
