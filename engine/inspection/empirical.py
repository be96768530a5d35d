"""Lower bounds on a network's Lipschitz constant, found from images; they hold for anything that can be differentiated.

Shapes: B batch, K classes, images [B, C, H, W] in input units. All norms are L2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn import functional as F

from engine.attacks.base import loss_and_gradient
from engine.attacks.criteria import cross_entropy
from engine.attacks.projection import per_image
from engine.device import exact_float32
from engine.models.modes import evaluation

#: Root mean square change of a pixel between the images of a pair: one grey level. A pair bounds the constant whatever
#: its distance; this one is near enough that most activations keep their slope, and float32 rounds it by 2e-5 at most.
PIXEL_CHANGE = 1 / 255
#: Below this distance of prediction and label the gradient of the loss is too small to be divided by it.
LEAST_RESIDUAL = 1e-3


@torch.enable_grad()
def expanding_pairs(
    model: nn.Module,
    images: Tensor,
    *,
    steps: int,
    generator: torch.Generator,
    each_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """For each image x the image x + v whose logits differ most from those of x, of all that a power iteration tries.

    ||f(x + v) - f(x)|| / ||v|| is a lower bound on the Lipschitz constant of f; so is the same ratio for any part of
    the network, see `engine.inspection.distances.PairStatistics.gains`. From a random start, v <- J(x + v)^T (f(x + v)
    - f(x)), J being the Jacobian, brought back to the length sqrt(C H W) `PIXEL_CHANGE`; for a linear f that is the
    power iteration on J^T J. Pixels may leave 0..1, for bounds that hold everywhere.

    The model's flags, buffers and gradients stay as they were, and so does torch's global random state.

    Args:
        model: images -> logits [B, K], on the images' device.
        images: [B, C, H, W].
        steps: pairs tried for each image, a forward and a backward pass for each.
        generator: draws the starts.
        each_step: called before every iteration; may raise to end the search.

    Returns:
        [B, C, H, W]; the image itself where the logits are not numbers.
    """
    length = PIXEL_CHANGE * math.sqrt(images[0].numel())
    direction = torch.randn(images.shape, generator=generator, device=generator.device).to(images)
    best, largest = images, images.new_full((len(images),), -math.inf)
    with exact_float32(), evaluation(model):
        with torch.no_grad():
            logits = model(images)
        for _ in range(steps):
            each_step()
            moved = images + length * direction / per_image(_norm(direction), direction)
            # Without a slope the direction is no longer a number, and neither is any expansion after that.
            _, expansion, direction = loss_and_gradient(model, moved, partial(_distance, logits))
            better = expansion > largest
            best = torch.where(per_image(better, best), moved, best)
            largest = torch.where(better, expansion, largest)
    return best


@torch.enable_grad()
def gradient_bound(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """||grad_x CE|| / ||softmax(f(x)) - onehot(y)|| of each image: a lower bound on the Lipschitz constant of f.

    The gradient of the cross-entropy is J(x)^T times that residual, and no Jacobian's norm exceeds the constant. The
    model's flags, buffers and gradients stay as they were.

    Args:
        model: images -> logits [B, K].
        images, labels: [B, C, H, W], [B].

    Returns:
        [B]; NaN where the residual is below `LEAST_RESIDUAL`.
    """
    with exact_float32(), evaluation(model):
        logits, _, gradient = loss_and_gradient(
            model, images, partial(cross_entropy, labels=labels, targets=None)
        )
    residual = vector_norm(logits.softmax(1) - F.one_hot(labels, logits.shape[1]), dim=1)
    bound: Tensor = _norm(gradient) / residual
    return bound.masked_fill(residual < LEAST_RESIDUAL, math.nan)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """[B] between logits."""
    distance: Tensor = vector_norm(other - one, dim=1)
    return distance


def _norm(images: Tensor) -> Tensor:
    """[B] of each image."""
    norm: Tensor = vector_norm(images.flatten(1), dim=1)
    return norm
