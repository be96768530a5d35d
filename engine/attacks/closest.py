"""What attacks that look for the smallest perturbation keep while they search."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.base import Outcome, Task
from engine.attacks.projection import Ball


class Closest:
    """The closest misclassified image found so far for each of B images; the clean image until there is one.

    With `stop_early` an image inside the ball is kept as it was first found there, whatever comes later, so that
    nothing depends on when the rest of its batch goes on without it.
    """

    def __init__(self, task: Task, *, ball: Ball, epsilon: float, most_steps: int) -> None:
        """Take the pass, how distances are measured and the radius of the ball."""
        self._task, self._ball, self._epsilon = task, ball, epsilon
        self._images = task.images.clone()
        self._radius = torch.full_like(task.labels, torch.inf, dtype=task.images.dtype)
        self._steps = torch.full_like(task.labels, most_steps)

    def offer(self, images: Tensor, broken: Tensor, at: Tensor, *, step: int) -> None:
        """Keep what is closer than all before.

        Args:
            images: [N, C, H, W] in the box.
            broken: [N] whether they are misclassified.
            at: [N] which images of the pass they belong to, each at most once.
            step: iterations until here.
        """
        radius = self._ball.radius(images - self._task.images[at])
        before = self._radius[at]
        closer = broken & (radius < before) & ~self.done(at)
        entered = closer & (radius <= self._epsilon) & (before > self._epsilon)
        self._images[at[closer]], self._radius[at[closer]] = images[closer], radius[closer]
        self._steps[at[entered]] = step

    def done(self, at: Tensor) -> Tensor:
        """[N] which of these may be left alone: found inside the ball, if that is all that is asked for."""
        return (self._radius[at] <= self._epsilon) & self._task.stop_early

    def outcome(self) -> Outcome:
        """The closest images, and the steps after which they first were inside the ball."""
        return Outcome(self._images, self._steps)
