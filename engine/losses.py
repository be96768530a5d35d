"""The terms of the training losses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn import functional as F


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


def prediction_divergence(adversarial_logits: Tensor, clean_logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(f(x) || f(x_adv)) of the predicted distributions of each sample.

    Args:
        adversarial_logits, clean_logits: [B, K].

    Returns:
        Divergences [B], in nats.

    Source: Zhang et al., "Theoretically principled trade-off between robustness and accuracy" (TRADES), ICML 2019,
    equation 5, with the divergence that its released code uses.
    """
    clean, adversarial = F.log_softmax(clean_logits, 1), F.log_softmax(adversarial_logits, 1)
    divergence: Tensor = (clean.exp() * (clean - adversarial)).sum(1)
    return divergence


def lwf_distance(feature: Tensor, source_feature: Tensor) -> Tensor:
    """L1 distance ||g0(x) - g(x)||_1 of each sample's pooled feature to the source model's.

    Args:
        feature, source_feature: [B, d].

    Returns:
        Distances [B], in units of the feature.

    Source: Shafahi et al., "Adversarially robust transfer learning", ICLR 2020, equation 4, with the L1 norm that the
    CARTL authors use.
    """
    precise = torch.promote_types(feature.dtype, torch.float32)
    return (source_feature.to(precise) - feature.to(precise)).abs().flatten(1).sum(1)
