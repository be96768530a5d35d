"""What is measured block by block: feature distances and the spectral norm that NEFT constrains.

Shapes: B probe images, N blocks, L weighted layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.losses import feature_distance
from engine.models.base import BlockwiseModel
from engine.models.modes import evaluation
from engine.models.spectral_norm import used_weight


@dataclass(frozen=True, slots=True)
class LayerMeasurement:
    """One look at a network.

    Attributes:
        distance: [N] normalised L2 distance between clean and adversarial output of each block, mean over images.
        spectral_norm: [N] largest spectral norm of each block's layers, NaN for a block without weights.
        layer_spectral_norm: [L] spectral norm of each weighted layer.
    """

    distance: np.ndarray
    spectral_norm: np.ndarray
    layer_spectral_norm: np.ndarray


def measure(
    model: BlockwiseModel, images: Tensor, adversarial: Tensor, *, batch_size: int
) -> LayerMeasurement:
    """Measure every block; the model's flags, buffers and gradients stay as they were.

    Args:
        model: a network on the images' device.
        images, adversarial: [B, 3, H, W], the same images clean and attacked.
        batch_size: images passed at once.
    """
    layer_norms = spectral_norms(model)
    blocks = np.array([layer.block for layer in model.weighted_layers()])
    by_block = np.full(model.num_blocks, np.nan, np.float32)
    for number in range(1, model.num_blocks + 1):
        if (blocks == number).any():
            by_block[number - 1] = layer_norms[blocks == number].max()
    distances = distances_by_block(model, images, adversarial, batch_size=batch_size)
    return LayerMeasurement(distances, by_block, layer_norms)


@torch.no_grad()
def distances_by_block(
    model: BlockwiseModel, images: Tensor, adversarial: Tensor, *, batch_size: int
) -> np.ndarray:
    """[N] mean over images of ||h_i(x_adv) - h_i(x)||_2 / sqrt(d), h_i the output of block i."""
    total = torch.zeros(model.num_blocks, device=images.device)
    with evaluation(model):
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            pairs = zip(model.features(adversarial[part]), model.features(images[part]), strict=True)
            sums = [feature_distance(attacked, clean).sum() for attacked, clean in pairs]
            total += torch.stack(sums[1:])
    distances: np.ndarray = (total / len(images)).cpu().numpy()
    return distances


@torch.no_grad()
def spectral_norms(model: BlockwiseModel) -> np.ndarray:
    """[L] exact largest singular value of each used weight, reshaped to (out, in*kh*kw).

    Taken from the eigenvalues of the smaller Gram matrix in float64 on the CPU. It is the quantity that NEFT
    bounds by beta, and no Lipschitz constant of a convolution.
    """
    norms = []
    for layer in model.weighted_layers():
        matrix = used_weight(layer.module).flatten(1).double().cpu()
        gram = matrix @ matrix.t() if matrix.shape[0] <= matrix.shape[1] else matrix.t() @ matrix
        norms.append(torch.linalg.eigvalsh(gram)[-1].clamp(min=0).sqrt())
    values: np.ndarray = torch.stack(norms).float().numpy()
    return values
