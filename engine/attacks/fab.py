"""Fast adaptive boundary attack: the smallest perturbation, found along linearised decision boundaries.

Source: Croce & Hein, ICML 2020 (Minimally distorted adversarial examples with a fast adaptive boundary attack);
numbers and random start as in the reference implementation inside AutoAttack, which has no final search.

Shapes: B batch, images [B, C, H, W] in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.attacks.base import Attack, Outcome, Task, attacks
from engine.attacks.boundaries import nearest_boundary, step_to_plane
from engine.attacks.closest import Closest
from engine.attacks.criteria import misclassified
from engine.attacks.pgd import WORTH_COMPACTING
from engine.attacks.projection import per_image

#: Shortest length that a step is taken to have, so that two steps of length zero have a ratio.
SHORTEST = 1e-8
#: Share of epsilon at which restarts after the first begin.
START_SHARE = 0.5


@attacks.register("fab_t")
class FastAdaptiveBoundary(Attack):
    """FAB, towards one class after the other or, with `targets` 0, to whichever boundary is nearest.

    Epsilon decides what counts and where later restarts begin, not where the search goes. Cost per image and pass:
    3 * steps passes, without targets (K + 1) * steps.
    """

    minimum_norm = True

    def run(self, task: Task) -> Outcome:
        """One restart for one target; see `Attack.run`. Returns the closest misclassified images."""
        config = self.config
        closest = Closest(task, ball=self.ball, epsilon=config.epsilon, most_steps=config.steps)
        images, clean, labels, targets = self._start(task), task.images, task.labels, task.targets
        at = torch.arange(len(labels), device=labels.device)
        for step in range(config.steps):
            task.each_step()
            _, gap, normal = nearest_boundary(task.model, images, labels, targets, norm=config.norm)
            with torch.no_grad():
                images = self._move(images, clean, gap, normal)
                broken = misclassified(task.model(images), labels)
                closest.offer(images, broken, at, step=step + 1)
                back = clean + config.backward * (images - clean)
                images = torch.where(per_image(broken, images), back, images)
            left = ~closest.done(at)
            if float((~left).sum()) >= WORTH_COMPACTING * len(at):
                at, images, clean, labels = at[left], images[left], clean[left], labels[left]
                targets = None if targets is None else targets[left]
                if not len(at):
                    break
        return closest.outcome()

    def _start(self, task: Task) -> Tensor:
        """The image; from the second restart on a point half of epsilon away from it."""
        if task.restart == 0:
            return task.images
        away = START_SHARE * self.config.epsilon * self.ball.random_direction(task.noise, task.images)
        return (task.images + away).clamp_(0.0, 1.0)

    def _move(self, images: Tensor, clean: Tensor, gap: Tensor, normal: Tensor) -> Tensor:
        """Beyond the plane, from where the search is and a little also from the clean image."""
        config = self.config
        gap_of_clean = gap + (normal * (clean - images)).flatten(1).sum(1)
        ahead = step_to_plane(images, normal, gap, norm=config.norm)
        from_clean = step_to_plane(clean, normal, gap_of_clean, norm=config.norm)
        length = self.ball.radius(ahead).clamp_min(SHORTEST)
        other = self.ball.radius(from_clean).clamp_min(SHORTEST)
        share = per_image((length / (length + other)).clamp_max(config.alpha_max), images)
        moved = (1 - share) * (images + config.overshoot * ahead)
        return (moved + share * (clean + config.overshoot * from_clean)).clamp_(0.0, 1.0)
