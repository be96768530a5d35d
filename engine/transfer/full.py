"""Full fine-tuning: every layer, the stem too, on clean target images."""

from __future__ import annotations

import torch

from engine.models.base import BlockwiseModel
from engine.models.modes import batch_norms
from engine.transfer.vanilla import Transfer, transfer_methods


@transfer_methods.register("full", title="full fine-tuning", source="Yosinski et al., NeurIPS 2014")
class FullFineTuning(Transfer):
    """Train all layers; the batch-norm policy's switches for the head hold for every layer."""

    def boundary(self, model: BlockwiseModel) -> int | None:
        """None: nothing is frozen."""
        return None

    def prepare(self, model: BlockwiseModel, generator: torch.Generator) -> None:
        """Let everything train, affine batch-norm parameters only if the policy says so."""
        model.requires_grad_(True)
        if self.config.batch_norm.freeze_affine:
            for layer in batch_norms([model]):
                layer.requires_grad_(False)

    def set_mode(self, model: BlockwiseModel) -> None:
        """Train mode, with eval mode for batch norm if the source's statistics are kept."""
        model.train()
        if self.config.batch_norm.keep_head_statistics:
            for layer in batch_norms([model]):
                layer.eval()
