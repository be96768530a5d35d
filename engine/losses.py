"""The terms of the training losses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import vector_norm


def feature_distance(adversarial: Tensor, clean: Tensor) -> Tensor:
    """Normalised L2 distance ||g(x_adv) - g(x)||_2 / sqrt(d) of each sample.

    Args:
        adversarial, clean: features [B, ...] of one shape, d numbers per sample.

    Returns:
        Distances [B], in units of the feature.

    Source: Chen et al., ICML 2021, equation 3 (FDM); the loss sums it over the batch.
    """
    # In bfloat16 the difference of two nearly equal features, and their sum over the batch, would be coarse.
    precise = torch.promote_types(adversarial.dtype, torch.float32)
    difference = (adversarial.to(precise) - clean.to(precise)).flatten(1)
    distance: Tensor = vector_norm(difference, dim=1) * difference.shape[1] ** -0.5
    return distance
