"""Carlini-Wagner: the distance and a weighted loss minimised together, the weight found by a binary search.

Source: Carlini & Wagner, S&P 2017, sections V and VI (the loss f6, the box by a tanh, a search over the weight).

Shapes: B batch, images [B, C, H, W] in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.base import Attack, Network, Outcome, Task, attacks
from engine.attacks.closest import Closest
from engine.attacks.criteria import margin, misclassified

#: Keeps black and white pixels off the ends of the tanh. Source: the authors' code.
WITHIN = 0.999999
#: By how much the weight grows until it first suffices. Source: the authors' code.
GROWTH = 10.0
#: A search ends once a tenth of its steps lowers the loss by less than this share of it. Source: the authors' code.
LEAST_PROGRESS = 1e-4
#: Decay of Adam's two averages and the guard of its division. Source: Kingma & Ba, ICLR 2015.
DECAY, SQUARE_DECAY, ADAM_GUARD = 0.9, 0.999, 1e-8


@attacks.register("carlini_wagner", title="Carlini-Wagner", source="Carlini & Wagner, S&P 2017")
class CarliniWagner(Attack):
    """Carlini-Wagner in L2. Each image has a search and an Adam of its own.

    `confidence` is by how much the wrong logit must lead for a step to count. Cost: at most 2 * searches * steps
    passes per image.
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
            suffices = self._minimise(task, at, weight, closest, steps_before=search * config.steps)
            upper, lower = torch.where(suffices, weight, upper), torch.where(suffices, lower, weight)
            weight = torch.where(upper.isinf(), GROWTH * weight, (lower + upper) / 2)
        return closest.outcome()

    def _minimise(
        self, task: Task, at: Tensor, weight: Tensor, closest: Closest, *, steps_before: int
    ) -> Tensor:
        """One search on the images `at`; returns [B] whether the weight suffices to break an image."""
        config = self.config
        suffices = torch.zeros_like(task.labels, dtype=torch.bool)
        start = torch.atanh((2 * task.images - 1) * WITHIN)
        moved, average = start[at], torch.zeros_like(start[at])
        square, loss_before = torch.zeros_like(average), torch.full_like(weight[at], torch.inf)
        tenth = max(1, config.steps // 10)
        for step in range(1, config.steps + 1):
            if not len(at):
                break
            task.each_step()
            images, logits, loss, gradient = _loss_and_gradient(
                task.model, moved, start[at], task.labels[at], weight[at], config.confidence
            )
            broken = misclassified(logits, task.labels[at]) & (
                margin(logits, task.labels[at]) <= -config.confidence
            )
            suffices[at] |= broken
            closest.offer(images, broken, at, step=steps_before + step)
            average = DECAY * average + (1 - DECAY) * gradient
            square = SQUARE_DECAY * square + (1 - SQUARE_DECAY) * gradient.square()
            scale = (square / (1 - SQUARE_DECAY**step)).sqrt_() + ADAM_GUARD
            moved = moved - config.learning_rate / (1 - DECAY**step) * average / scale
            if step % tenth == 0:
                left = (loss <= (1 - LEAST_PROGRESS) * loss_before) & ~closest.done(at)
                at, moved, average, square, loss_before = (
                    tensor[left] for tensor in (at, moved, average, square, loss)
                )
        return suffices


def _loss_and_gradient(
    model: Network, moved: Tensor, start: Tensor, labels: Tensor, weight: Tensor, confidence: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, logits, loss [B] and its gradient for points [B, C, H, W] of the space that the tanh maps to the box."""
    moved = moved.detach().requires_grad_(True)
    images = _to_box(moved)
    logits = model(images)
    lead = (margin(logits, labels) + confidence).clamp_min(0)
    loss = (images - _to_box(start)).square().flatten(1).sum(1) + weight * lead
    (gradient,) = torch.autograd.grad(loss.sum(), moved)
    return images.detach(), logits.detach(), loss.detach(), gradient


def _to_box(points: Tensor) -> Tensor:
    return (points.tanh() + 1) / 2
