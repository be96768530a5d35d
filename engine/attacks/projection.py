"""The geometry of an attack: everything in which one norm differs from another.

Shapes: images and perturbations [B, C, H, W]; everything in input units, pixels in 0..1.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from engine.attacks.noise import Noise

#: Guards divisions by a norm of zero.
TINY = 1e-12
#: Share of the pixels that a step in the L1 norm moves. Source: Tramer & Boneh, NeurIPS 2019 (SLIDE), appendix.
L1_SHARE = 0.01
#: Halvings of the interval that holds the multiplier of the L1 projection; float32 knows no finer.
L1_HALVINGS = 40


class Ball(Protocol):
    """The set of allowed perturbations around each image."""

    def random_start(self, noise: Noise, images: Tensor, epsilon: float) -> Tensor:
        """A perturbation drawn uniformly from the ball."""

    def random_direction(self, noise: Noise, images: Tensor) -> Tensor:
        """A perturbation of norm one, drawn uniformly."""

    def ascent_direction(self, gradient: Tensor, adversarial: Tensor) -> Tensor:
        """The direction of length one in which the loss grows fastest from where the gradient was taken."""

    def project(self, adversarial: Tensor, images: Tensor, epsilon: float) -> Tensor:
        """A close point that is in the ball and has all pixels in 0..1."""

    def radius(self, perturbation: Tensor) -> Tensor:
        """The norm [B] of each perturbation."""


class LinfBall:
    """Every pixel may change by at most epsilon."""

    def random_start(self, noise: Noise, images: Tensor, epsilon: float) -> Tensor:
        """Uniform in the cube of half width epsilon."""
        return (noise.rand(*images.shape[1:]) * 2 - 1) * epsilon

    def random_direction(self, noise: Noise, images: Tensor) -> Tensor:
        """A point of the cube, moved out to its surface."""
        drawn = self.random_start(noise, images, 1.0)
        return _of_norm_one(drawn, self.radius(drawn))

    def ascent_direction(self, gradient: Tensor, adversarial: Tensor) -> Tensor:
        """The sign of each gradient entry."""
        return gradient.sign()

    def project(self, adversarial: Tensor, images: Tensor, epsilon: float) -> Tensor:
        """Clip to the cube around the image, then to 0..1."""
        return torch.clamp(adversarial, images - epsilon, images + epsilon).clamp_(0.0, 1.0)

    def radius(self, perturbation: Tensor) -> Tensor:
        """Largest absolute change of each image, [B]."""
        return perturbation.abs().flatten(1).amax(1)


class L2Ball:
    """The Euclidean length of the perturbation is at most epsilon.

    Everything is calculated in the order of AutoAttack's reference implementation: over a hundred steps of Auto-PGD a
    different rounding grows to a tenth of epsilon.
    """

    def random_start(self, noise: Noise, images: Tensor, epsilon: float) -> Tensor:
        """Uniform in the ball: a normal direction, and a radius whose d-th power is uniform."""
        direction = self.random_direction(noise, images)
        radius: Tensor = epsilon * noise.rand() ** (1 / math.prod(images.shape[1:]))
        return direction * per_image(radius, images)

    def random_direction(self, noise: Noise, images: Tensor) -> Tensor:
        """A normal vector at length one."""
        drawn = noise.randn(*images.shape[1:])
        return _of_norm_one(drawn, self.radius(drawn))

    def ascent_direction(self, gradient: Tensor, adversarial: Tensor) -> Tensor:
        """The gradient at length one; zero stays zero."""
        return _of_norm_one(gradient, self.radius(gradient))

    def project(self, adversarial: Tensor, images: Tensor, epsilon: float) -> Tensor:
        """Shorten to epsilon, then clip to 0..1, which shortens further."""
        change = adversarial - images
        length = self.radius(change)
        inside = _of_norm_one(change, length).mul_(per_image(length.clamp_max(epsilon), change))
        return inside.add_(images).clamp_(0.0, 1.0)

    def radius(self, perturbation: Tensor) -> Tensor:
        """Euclidean length of each perturbation, [B]."""
        return perturbation.flatten(1).square().sum(1).sqrt()


class L1Ball:
    """The absolute changes of all pixels add up to at most epsilon."""

    def random_start(self, noise: Noise, images: Tensor, epsilon: float) -> Tensor:
        """Uniform in the cross-polytope: a direction, and a radius whose d-th power is uniform."""
        direction = self.random_direction(noise, images)
        radius: Tensor = epsilon * noise.rand() ** (1 / math.prod(images.shape[1:]))
        return direction * per_image(radius, images)

    def random_direction(self, noise: Noise, images: Tensor) -> Tensor:
        """Exponential lengths with drawn signs, at norm one."""
        lengths = noise.rand(*images.shape[1:]).clamp_min(TINY).log().neg()
        signs = noise.rand(*images.shape[1:]).sub(0.5).sign()
        return _of_norm_one(signs * lengths, lengths.flatten(1).sum(1))

    def ascent_direction(self, gradient: Tensor, adversarial: Tensor) -> Tensor:
        """The signs of the largest gradient entries, one in a hundred, sharing the length of one.

        Pixels that have no way to go are passed over: the step has so few that they would take it all.
        """
        stuck = ((adversarial <= 0) & (gradient < 0)) | ((adversarial >= 1) & (gradient > 0))
        flat = gradient.masked_fill(stuck, 0.0).flatten(1)
        count = max(1, int(L1_SHARE * flat.shape[1]))
        largest = flat.abs().topk(count, dim=1).indices
        return (
            torch.zeros_like(flat)
            .scatter_(1, largest, flat.gather(1, largest).sign() / count)
            .view_as(gradient)
        )

    def project(self, adversarial: Tensor, images: Tensor, epsilon: float) -> Tensor:
        """The nearest point of ball and box together: every change is shrunk by one multiplier, then clipped.

        Source: the optimality conditions of Croce & Hein, ICML 2021, proposition 2.1; the multiplier is found by
        halving.
        """
        change = (adversarial - images).flatten(1)
        low, high = -images.flatten(1), 1 - images.flatten(1)

        def shrunk(multiplier: Tensor) -> Tensor:
            soft = change.sign() * (change.abs() - multiplier[:, None]).clamp_min(0)
            return torch.minimum(torch.maximum(soft, low), high)

        lower = torch.zeros(len(change), device=change.device, dtype=change.dtype)
        upper = change.abs().amax(1)
        fits = shrunk(lower).abs().sum(1) <= epsilon
        for _ in range(L1_HALVINGS):
            middle = (lower + upper) / 2
            inside = shrunk(middle).abs().sum(1) <= epsilon
            lower, upper = torch.where(inside, lower, middle), torch.where(inside, middle, upper)
        found = shrunk(torch.where(fits, torch.zeros_like(upper), upper))
        return (images + found.view_as(images)).clamp_(0.0, 1.0)

    def radius(self, perturbation: Tensor) -> Tensor:
        """Sum of the absolute changes of each image, [B]."""
        return perturbation.abs().flatten(1).sum(1)


BALLS: dict[str, Ball] = {"linf": LinfBall(), "l2": L2Ball(), "l1": L1Ball()}


def per_image(values: Tensor, images: Tensor) -> Tensor:
    """One number per image [B] in a shape that multiplies images [B, C, H, W]."""
    return values.view(-1, *[1] * (images.dim() - 1))


def _of_norm_one(perturbation: Tensor, norm: Tensor) -> Tensor:
    """Each perturbation divided by its norm [B]; zero stays zero."""
    return perturbation / per_image(norm + TINY, perturbation)
