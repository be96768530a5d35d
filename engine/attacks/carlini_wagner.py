"""Carlini-Wagner: the distance and a weighted loss minimised together, the weight found by a binary search.

Source: Carlini & Wagner, S&P 2017, sections V and VI (the loss f6, the box by a tanh, a search over the weight).

Shapes: B batch, images [B, C, H, W] in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.base import Attack, Outcome, Task, attacks, usable
from engine.attacks.closest import Closest
from engine.attacks.criteria import margin, misclassified

#: Keeps black and white pixels off the ends of the tanh. Source: the authors' code.
WITHIN = 0.999999
#: By how much the weight grows until it first suffices. Source: the authors' code.
GROWTH = 10.0
#: Decay of Adam's two averages and the guard of its division. Source: Kingma & Ba, ICLR 2015.
DECAY, SQUARE_DECAY, ADAM_GUARD = 0.9, 0.999, 1e-8


@attacks.register("carlini_wagner")
class CarliniWagner(Attack):
    """Carlini-Wagner in L2. Each image has a search and an Adam of its own.

    `confidence` is by how much the wrong logit must lead for an iterate to count. No search is cut short. Cost: at most
    2 * searches * steps passes per image.
    """

    minimum_norm = True

    def run(self, task: Task) -> Outcome:
        """See `Attack.run`. Returns the closest images that are misclassified with the confidence asked for."""
        config, clean = self.config, task.images
        closest = Closest(
            task, ball=self.ball, epsilon=config.epsilon, most_steps=config.searches * config.steps
        )
        lower = torch.zeros(len(clean), dtype=clean.dtype, device=clean.device)
        upper, weight = torch.full_like(lower, torch.inf), torch.full_like(lower, config.initial_weight)
        everyone = torch.arange(len(clean), device=clean.device)
        for search in range(config.searches):
            at = everyone[~closest.done(everyone)]
            if not len(at):
                break
            suffices = self._minimise(task, at, weight[at], closest, steps_before=search * config.steps)
            upper[at] = torch.where(suffices, weight[at], upper[at])
            lower[at] = torch.where(suffices, lower[at], weight[at])
            weight = torch.where(upper.isinf(), GROWTH * weight, (lower + upper) / 2)
        return closest.outcome()

    def _minimise(
        self, task: Task, at: Tensor, weight: Tensor, closest: Closest, *, steps_before: int
    ) -> Tensor:
        """One search on the images `at` [N] with weights [N]; returns [N] whether it broke them."""
        config, labels = self.config, task.labels[at]
        start = torch.atanh((2 * task.images[at] - 1) * WITHIN)
        origin = _to_box(start)
        suffices = torch.zeros_like(labels, dtype=torch.bool)
        average, square = torch.zeros_like(start), torch.zeros_like(start)
        moved = start.requires_grad_(True)
        for step in range(1, config.steps + 1):
            task.each_step()
            images = _to_box(moved)
            logits = task.model(images)
            lead = margin(logits, labels) + config.confidence
            loss = (images - origin).square().flatten(1).sum(1) + weight * lead.clamp_min(0)
            (gradient,) = torch.autograd.grad(loss.sum(), moved)
            gradient = usable(gradient)
            with torch.no_grad():
                broken = misclassified(logits, labels) & (lead <= 0)
                suffices |= broken
                closest.offer(images, broken, at, step=steps_before + step)
                average = DECAY * average + (1 - DECAY) * gradient
                square = SQUARE_DECAY * square + (1 - SQUARE_DECAY) * gradient.square()
                scale = (square / (1 - SQUARE_DECAY**step)).sqrt_() + ADAM_GUARD
                moved = moved - config.learning_rate / (1 - DECAY**step) * average / scale
            moved.requires_grad_(True)
        return suffices


def _to_box(points: Tensor) -> Tensor:
    return (points.tanh() + 1) / 2
