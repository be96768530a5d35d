"""Auto-PGD: projected gradient ascent with momentum that finds its own step sizes.

Source: Croce & Hein, ICML 2020, section 3 and algorithm 1, with the reference implementation's constants.

Shapes: B batch, K classes, images [B, C, H, W] in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor

from engine.attacks.base import Attack, Network, Outcome, Task, attacks, loss_and_gradient, usable
from engine.attacks.criteria import Loss, cross_entropy, dlr, misclassified
from engine.attacks.pgd import WORTH_COMPACTING
from engine.attacks.projection import Ball, per_image

#: First step size, as a multiple of epsilon.
FIRST_STEP = 2.0
#: Weight of the gradient step; the rest is the last change carried on.
GRADIENT_SHARE = 0.75
#: As shares of all iterations: first window between two checks, by how much each next one is shorter, the shortest.
FIRST_WINDOW, SHORTER_BY, SHORTEST_WINDOW = 0.22, 0.03, 0.06

#: What each form of the attack raises.
_RAISED: dict[str, Loss] = {"apgd_ce": cross_entropy, "apgd_dlr": dlr, "apgd_t": dlr}


def check_points(steps: int) -> dict[int, int]:
    """After which iterations step sizes are looked at, and how many iterations each look takes in.

    100 steps give 22, 41, 57, 70, 80, 87, 93 and 99. Source: Croce & Hein, ICML 2020, section 3.1 (w_j).
    """
    window, shorter, shortest = (
        max(int(share * steps), 1) for share in (FIRST_WINDOW, SHORTER_BY, SHORTEST_WINDOW)
    )
    points, at = {}, window
    while at <= steps:
        points[at] = window
        window = max(window - shorter, shortest)
        at += window
    return points


@dataclass(slots=True)
class _Ascent:
    """Where each image is; every field has the images that are still attacked as its first axis.

    Attributes:
        images, labels, targets: what is attacked, and towards what.
        adversarial, previous: the newest two iterates.
        gradient, loss: at the newest iterate.
        best, best_gradient, best_loss: the point of the highest loss so far.
        step_size: [B] in input units.
        rises: [B] how many iterations since the last check raised the loss.
        checked_loss: [B] the highest loss at the last check.
        halved: [B] whether the last check halved the step; true before the first.
    """

    images: Tensor
    labels: Tensor
    targets: Tensor | None
    adversarial: Tensor
    previous: Tensor
    gradient: Tensor
    loss: Tensor
    best: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    step_size: Tensor
    rises: Tensor
    checked_loss: Tensor
    halved: Tensor

    @staticmethod
    def begin(task: Task, start: Tensor, epsilon: float) -> _Ascent:
        """At a start inside ball and box, with nothing known of the loss."""
        lowest = torch.full((len(start),), -torch.inf, device=start.device, dtype=start.dtype)
        return _Ascent(
            images=task.images, labels=task.labels, targets=task.targets, adversarial=start, previous=start,
            gradient=start, loss=-lowest, best=start, best_gradient=start, best_loss=lowest,
            step_size=torch.full_like(lowest, FIRST_STEP * epsilon), rises=torch.zeros_like(task.labels),
            checked_loss=lowest, halved=torch.ones_like(task.labels, dtype=torch.bool),
        )  # fmt: skip

    def keep(self, chosen: Tensor) -> None:
        """Go on with some of the images, given by their places."""
        for one in fields(self):
            value = getattr(self, one.name)
            setattr(self, one.name, None if value is None else value[chosen])

    def look(self, model: Network, loss: Loss, passes: int, *, for_gradient: bool) -> Tensor:
        """Evaluate the newest iterate, note it if it is the best; its logits [B, K]."""
        raised = partial(loss, labels=self.labels, targets=self.targets)
        if for_gradient:
            logits, values, gradient = loss_and_gradient(model, self.adversarial, raised, passes=passes)
            self.gradient = usable(gradient)
        else:
            with torch.no_grad():
                logits = torch.stack([model(self.adversarial) for _ in range(passes)]).mean(0)
            values = raised(logits)
        self.rises = self.rises + (values > self.loss)
        self.loss = values
        better = values > self.best_loss
        at = per_image(better, self.images)
        self.best = torch.where(at, self.adversarial, self.best)
        self.best_gradient = torch.where(at, self.gradient, self.best_gradient)
        self.best_loss = torch.where(better, values, self.best_loss)
        return logits

    def check(self, window: int, rho: float) -> None:
        """Halve the step of images that came no further, and go on from their best point.

        Either too few of the iterations raised the loss, or the best one is the same as at the last check, although
        that one did not halve the step. Source: Croce & Hein, ICML 2020, conditions 1 and 2.
        """
        stuck = ~self.halved & (self.checked_loss >= self.best_loss)
        self.halved = (self.rises <= rho * window) | stuck
        self.checked_loss, self.rises = self.best_loss, torch.zeros_like(self.rises)
        self.step_size = torch.where(self.halved, self.step_size / 2, self.step_size)
        at = per_image(self.halved, self.images)
        self.adversarial = torch.where(at, self.best, self.adversarial)
        self.gradient = torch.where(at, self.best_gradient, self.gradient)

    def move(self, ball: Ball, epsilon: float, share: float) -> None:
        """One step along the gradient, mixed with the change that led here. Source: as above, equations 3 and 4."""
        here = self.adversarial
        step = ball.ascent_direction(self.gradient, here).mul_(per_image(self.step_size, here))
        aim = ball.project(step.add_(here), self.images, epsilon)
        moved = aim.sub_(here).mul_(share).add_(here).add_((here - self.previous).mul_(1 - share))
        self.adversarial, self.previous = ball.project(moved, self.images, epsilon), here


@attacks.register("apgd_ce")
@attacks.register("apgd_dlr")
@attacks.register("apgd_t")
class AutoPgd(Attack):
    """Auto-PGD on the cross-entropy, the DLR loss, or the DLR loss towards one class after the other.

    Every image has its own step size, momentum and best point, so that none depends on those beside it. Cost:
    2 * steps passes per image, restart and target, less what is left alone once broken.
    """

    def run(self, task: Task) -> Outcome:
        """One restart and target.

        Returns:
            With `stop_early` the first misclassified iterate, and of an image that holds out the one of the highest
            loss, whose margin tells how close it came. Without, what the reference implementation returns: the last
            misclassified iterate, or else the clean image.
        """
        config, ball, images, loss = self.config, self.ball, task.images, _RAISED[self.config.name]
        start = (images + config.epsilon * ball.random_direction(task.noise, images)).clamp_(0.0, 1.0)
        now = _Ascent.begin(task, start, config.epsilon)
        checks = check_points(config.steps)
        result = images.clone()
        taken = torch.full_like(task.labels, config.steps)
        broken = torch.zeros_like(task.labels, dtype=torch.bool)
        at = torch.arange(len(images), device=images.device)
        for step in range(config.steps + 1):
            task.each_step()
            logits = now.look(task.model, loss, config.eot, for_gradient=step < config.steps)
            wrong = misclassified(logits, now.labels)
            fresh = wrong & ~broken[at]
            noted = fresh if task.stop_early else wrong
            if bool(noted.any()):
                result[at[noted]] = now.adversarial[noted]
                taken[at[fresh]] = step
                broken[at[fresh]] = True
                left = (~broken[at]).nonzero().flatten()
                if task.stop_early and len(left) <= (1 - WORTH_COMPACTING) * len(at):
                    now.keep(left)
                    at = at[left]
            if step == config.steps or not len(at):
                break
            if step == 0:  # the reference compares the first step's loss with memory that is still empty
                now.loss = torch.zeros_like(now.loss)
            if step in checks:
                now.check(checks[step], config.rho)
            now.move(ball, config.epsilon, GRADIENT_SHARE if step else 1.0)
        if task.stop_early:
            held = ~broken[at]
            result[at[held]] = now.best[held]
        return Outcome(result, taken)
