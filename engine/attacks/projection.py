"""The geometry of an attack: everything in which one norm differs from another.

Shapes: images and perturbations [B, 3, H, W]; everything in input units, pixels in 0..1.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Ball(Protocol):
    """The set of allowed perturbations around each image."""

    def random_start(self, unit_noise: Tensor, epsilon: float) -> Tensor:
        """Turn noise drawn uniformly from [-1, 1) into a start inside the ball."""

    def ascent_direction(self, gradient: Tensor) -> Tensor:
        """The direction of length one in which the loss grows fastest."""

    def project(self, adversarial: Tensor, images: Tensor, epsilon: float) -> Tensor:
        """The nearest point that is in the ball and has all pixels in 0..1."""

    def radius(self, perturbation: Tensor) -> Tensor:
        """The norm [B] of each perturbation."""


class LinfBall:
    """Every pixel may change by at most epsilon."""

    def random_start(self, unit_noise: Tensor, epsilon: float) -> Tensor:
        """Uniform in the cube of half width epsilon."""
        return unit_noise * epsilon

    def ascent_direction(self, gradient: Tensor) -> Tensor:
        """The sign of each gradient entry."""
        return gradient.sign()

    def project(self, adversarial: Tensor, images: Tensor, epsilon: float) -> Tensor:
        """Clip to the cube around the image, then to 0..1."""
        inside = torch.minimum(torch.maximum(adversarial, images - epsilon), images + epsilon)
        return inside.clamp_(0.0, 1.0)

    def radius(self, perturbation: Tensor) -> Tensor:
        """Largest absolute change of each image, [B]."""
        return perturbation.abs().flatten(1).amax(1)
