"""Square: random search with squares, an attack that only reads the network's outputs.

Source: Andriushchenko et al., ECCV 2020, algorithms 1 to 3; schedule, acceptance and order of the random draws as
in AutoAttack's reference implementation. There one square serves the whole batch; here each image has its own, so
that its perturbation does not depend on its batch.

Shapes: B batch, n images not broken yet, C channels, H W image, s side of the square.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from functools import cache
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.attacks.base import Attack, Outcome, Task, attacks
from engine.attacks.criteria import margin, misclassified
from engine.attacks.noise import Noise
from engine.attacks.projection import BALLS, TINY, per_image

#: The share of the image that squares change is halved after each of these queries. Source: Andriushchenko et al.,
#: section 3.1, for 10,000 queries; AutoAttack does not stretch it over another number of them.
HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
#: Tiles along each side of the first perturbation in L2; more where they would leave room, cut off at the border,
#: as in the reference. Source: Andriushchenko et al., section 3.3.
TILES = 5
#: Queries for which random numbers are drawn together; fewer cost time, more memory.
DRAWN_TOGETHER = 200


class Squares(Protocol):
    """The perturbations that are tried in one norm.

    Attributes:
        positions: random numbers of one proposal beside the sign of each channel.
    """

    positions: int

    def first(self, noise: Noise, images: Tensor, epsilon: float) -> Tensor:
        """The image [B, C, H, W] that is asked about first."""

    def side(self, share: float, height: int, width: int) -> int:
        """Length of the side, in pixels, of a square that covers this share of an image."""

    def propose(self, best: Tensor, images: Tensor, drawn: Tensor, *, side: int, epsilon: float) -> Tensor:
        """Change one square of the best images [n, C, H, W] by random numbers [n, positions + C] from 0 to 1."""


class LinfSquares:
    """Vertical stripes, then squares, every channel at one corner of the cube. Source: algorithm 2."""

    positions = 2

    def first(self, noise: Noise, images: Tensor, epsilon: float) -> Tensor:
        """See `Squares.first`."""
        _, channels, _, width = images.shape
        return (images + epsilon * _signs(noise.rand(channels, 1, width))).clamp_(0.0, 1.0)

    def side(self, share: float, height: int, width: int) -> int:
        """See `Squares.side`."""
        return min(max(round(math.sqrt(share * height * width)), 1), height, width)

    def propose(self, best: Tensor, images: Tensor, drawn: Tensor, *, side: int, epsilon: float) -> Tensor:
        """See `Squares.propose`."""
        window = _window(images, drawn, side)
        moved = best[window] + 2 * epsilon * _signs(drawn[:, None, None, self.positions :])
        proposal = best.clone()
        proposal[window] = BALLS["linf"].project(moved, images[window], epsilon)
        return proposal


class L2Squares:
    """Tiles, then squares that take over the length which another square gives up. Source: algorithm 3."""

    positions = 5

    def first(self, noise: Noise, images: Tensor, epsilon: float) -> Tensor:
        """See `Squares.first`."""
        count, channels, height, width = images.shape
        side = max(min(height, width) // TILES, 1)
        rows, columns, rim = height // side, width // side, (min(height, width) - TILES * side) // 2
        drawn = noise.rand(rows, columns, 1 + channels)
        tiles = _bumps(side, drawn[..., 0]).unsqueeze(3) * _signs(drawn[..., 1:, None, None])
        change = tiles.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, rows * side, columns * side)
        change = F.pad(change, (rim, width - rim - columns * side, rim, height - rim - rows * side))
        return _at_length(change, images, epsilon)

    def side(self, share: float, height: int, width: int) -> int:
        """See `Squares.side`: odd and at least 3."""
        return min(max(round(math.sqrt(share * height * width)), 3) | 1, height, width)

    def propose(self, best: Tensor, images: Tensor, drawn: Tensor, *, side: int, epsilon: float) -> Tensor:
        """See `Squares.propose`."""
        change = best - images
        spare = (epsilon**2 - change.square().sum((1, 2, 3))).clamp_min(0) / images.shape[1]
        to, source = _window(images, drawn, side), _window(images, drawn[:, 2:], side)
        old = change[to]
        change[to] = 0
        given_up = change[source]
        change[source] = 0
        length = (spare[:, None, None, None] + _energy(old) + _energy(given_up)).sqrt()
        bump = _bumps(side, drawn[:, 4]).unsqueeze(3) * _signs(drawn[:, None, None, self.positions :])
        new = bump + old / (_energy(old).sqrt() + TINY)
        change[to] = new * (length / (_energy(new).sqrt() + TINY))
        return _at_length(change, images, epsilon)


SQUARES: dict[str, Squares] = {"linf": LinfSquares(), "l2": L2Squares()}


@attacks.register("square")
class Square(Attack):
    """Random search on the margin. Cost: queries + 1 forward passes per image and restart until it is broken."""

    @torch.no_grad()
    def run(self, task: Task) -> Outcome:
        """One restart; see `Attack.run`. The best images come back, which are broken if any query was."""
        config, squares = self.config, SQUARES[self.config.norm]
        height, width = task.images.shape[2:]
        best = squares.first(task.noise, task.images, config.epsilon)
        task.each_step()
        logits = task.model(best)
        lowest, broken = margin(logits, task.labels), misclassified(logits, task.labels)
        steps = torch.where(broken, 1, config.queries + 1)
        at = torch.arange(len(best), device=best.device)
        images, labels, result = task.images, task.labels, best.clone()
        numbers = _numbers(task.noise, config.queries, squares.positions + images.shape[1])
        for query, drawn in enumerate(numbers):
            if task.stop_early and bool(broken.any()):
                result[at] = best
                at, images, labels = at[~broken], images[~broken], labels[~broken]
                best, lowest, broken = best[~broken], lowest[~broken], broken[~broken]
            if not len(at):
                break
            task.each_step()
            side = squares.side(changed_share(config.initial_share, query), height, width)
            proposal = squares.propose(best, images, drawn[at], side=side, epsilon=config.epsilon)
            logits = task.model(proposal)
            margins = margin(logits, labels)
            better = margins < lowest
            best = torch.where(per_image(better, best), proposal, best)
            lowest = torch.where(better, margins, lowest)
            fresh = misclassified(logits, labels) & ~broken
            steps[at[fresh]] = query + 2
            broken = broken | fresh
        result[at] = best
        return Outcome(result, steps)


def changed_share(initial: float, query: int) -> float:
    """Share of the image that the square of a query, counted from 0, changes."""
    return math.ldexp(initial, -bisect_left(HALVED_AFTER, query))


def _numbers(noise: Noise, queries: int, count: int) -> Iterator[Tensor]:
    """Random numbers [B, count] for one query after the other."""
    for first in range(0, queries, DRAWN_TOGETHER):
        yield from noise.rand(min(DRAWN_TOGETHER, queries - first), count).unbind(1)


def _signs(drawn: Tensor) -> Tensor:
    """-1 or 1 from numbers between 0 and 1."""
    return (2 * drawn - 1).sign()


def _window(images: Tensor, drawn: Tensor, side: int) -> tuple[Tensor, slice, Tensor, Tensor]:
    """Index of one square in each image, placed by its first two random numbers; gives [n, s, s, C].

    As in the reference, a square never touches the last row and column unless it is as large as the image.
    """
    height, width = images.shape[2:]
    pixels = torch.arange(side, device=images.device)
    rows = (drawn[:, 0] * (height - side)).long()[:, None] + pixels
    columns = (drawn[:, 1] * (width - side)).long()[:, None] + pixels
    image = torch.arange(len(images), device=images.device)[:, None, None]
    return image, slice(None), rows[:, :, None], columns[:, None, :]


def _bumps(side: int, drawn: Tensor) -> Tensor:
    """`_bump` for each random number [...], turned where it exceeds 0.5: [..., s, s]."""
    bump = _bump(side).to(drawn)
    return torch.where(drawn[..., None, None] > 0.5, bump.t(), bump)


@cache
def _bump(side: int) -> Tensor:
    """The pattern [s, s] of length one that squares add in L2: a positive and a negative half, highest in the middle.

    Source: Andriushchenko et al., equation 2.
    """
    halves = torch.cat([_half(side // 2, side), -_half(side - side // 2, side)])
    bump: Tensor = halves / halves.norm()
    return bump


def _half(rows: int, columns: int) -> Tensor:
    """Concentric rectangles that grow from the middle, the k-th adding 1 / k^2; of length one."""
    heights = torch.zeros(rows, columns)
    row, column = rows // 2, columns // 2
    for reach in range(max(row, column) + 1):
        top, left = max(row - reach, 0), max(column - reach, 0)
        heights[top : row + reach + 1, left : column + reach + 1] += 1 / (reach + 1) ** 2
    half: Tensor = heights / heights.norm().clamp_min(TINY)
    return half


def _energy(window: Tensor) -> Tensor:
    """Sum of squares of each channel of a square [n, s, s, C], as [n, 1, 1, C]."""
    return window.square().sum((1, 2), keepdim=True)


def _at_length(change: Tensor, images: Tensor, epsilon: float) -> Tensor:
    """The images with a change brought to the length epsilon, clipped to 0..1."""
    return (images + change * per_image(epsilon / (BALLS["l2"].radius(change) + TINY), change)).clamp_(
        0.0, 1.0
    )
