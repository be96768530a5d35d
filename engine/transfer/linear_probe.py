"""Linear probe: what the source model's features are worth as they are."""

from __future__ import annotations

from engine.config import BatchNormPolicy, FinetuningConfig
from engine.transfer.vanilla import Transfer, transfer_methods


@transfer_methods.register("linear_probe", title="linear probe", source="Alain and Bengio, 2016")
class LinearProbe(Transfer):
    """Train the classifier alone; everything before it stays the source model's, statistics too."""

    def __init__(self, config: FinetuningConfig) -> None:
        fixed = BatchNormPolicy(freeze_affine=True, keep_head_statistics=True, keep_trunk_statistics=True)
        super().__init__(config.model_copy(update={"num_finetuned_blocks": 1, "batch_norm": fixed}))
