"""DeepFool: step after step onto the nearest boundary of the linearised network.

Source: Moosavi-Dezfooli et al., CVPR 2016, algorithm 2; as in the authors' code the network is looked at beyond the
boundary by the overshoot, for an image exactly on it may never change class.

Shapes: B batch, images [B, C, H, W] in [0, 1].
"""

from __future__ import annotations

import torch

from engine.attacks.base import Attack, Outcome, Task, attacks
from engine.attacks.boundaries import nearest_boundary
from engine.attacks.closest import Closest
from engine.attacks.criteria import misclassified
from engine.attacks.projection import TINY, per_image

#: Added to every distance, so that steps do not die out before the boundary. Source: the authors' code.
LEAST_STEP = 1e-4


@attacks.register("deepfool")
class DeepFool(Attack):
    """DeepFool in L2 over all K classes, until an image is misclassified.

    The steps add up without a look at the box; what the network sees, and what is judged, is the image plus
    `overshoot` times their sum, clipped to 0..1. Cost: at most (K + 1) * steps passes per image.
    """

    minimum_norm = True

    def run(self, task: Task) -> Outcome:
        """See `Attack.run`. Returns the first misclassified images."""
        config = self.config
        closest = Closest(task, ball=self.ball, epsilon=config.epsilon, most_steps=config.steps)
        images, clean, labels = task.images, task.images, task.labels
        total = torch.zeros_like(clean)
        at = torch.arange(len(labels), device=labels.device)
        for step in range(config.steps):
            task.each_step()
            _, gap, normal = nearest_boundary(task.model, images, labels, None, norm=config.norm)
            with torch.no_grad():
                length = self.ball.radius(normal).clamp_min(TINY)
                distance = gap.abs() / length + LEAST_STEP
                total = total + per_image(distance / length, normal) * normal
                images = (clean + config.overshoot * total).clamp_(0.0, 1.0)
                broken = misclassified(task.model(images), labels)
            closest.offer(images, broken, at, step=step + 1)
            left = ~broken
            at, images, clean, labels, total = at[left], images[left], clean[left], labels[left], total[left]
            if not len(at):
                break
        return closest.outcome()
