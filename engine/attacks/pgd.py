"""Projected gradient descent: the one loop, its use inside training, and the attacks that are settings of it.

Sources: Madry et al., ICLR 2018, section 2.1; Goodfellow et al., ICLR 2015 (one step); Dong et al., CVPR 2018
(momentum); Papernot et al., 2016 (made on another network).

Shapes: B batch, K classes, images [B, C, H, W] in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from engine.attacks.base import Attack, Network, Outcome, Task, attacks, loss_and_gradient, usable
from engine.attacks.criteria import LOSSES, Loss, cross_entropy, misclassified
from engine.attacks.noise import BatchNoise
from engine.attacks.projection import TINY, Ball, LinfBall, per_image
from engine.config import PgdConfig
from engine.models.modes import evaluation

#: Share of a batch that has to be broken before the rest goes on without it; smaller batches cost time to set up.
WORTH_COMPACTING = 1 / 32


def projected_gradient_descent(
    model: Network,
    images: Tensor,
    labels: Tensor,
    *,
    start: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    ball: Ball,
    loss: Loss = cross_entropy,
    targets: Tensor | None = None,
    momentum: float | None = None,
    passes: int = 1,
    watch: bool = False,
    stop_early: bool = False,
    each_step: Callable[[], None] = lambda: None,
) -> Outcome:
    """Raise the loss step by step inside the ball. The one PGD loop of the engine.

    Args:
        model: images [B, C, H, W] in [0, 1] -> logits [B, K], in eval mode.
        images, labels: clean images and their classes [B].
        start: first iterate, inside the ball and the box.
        epsilon, step_size: input units.
        steps: iterations.
        ball: geometry of the norm.
        loss: (logits, labels, targets) -> [B]; of each sample, so that no gradient shrinks with the batch size.
        targets: [B] classes to be reached, if any.
        momentum: decay of the sum of gradients, each at mean absolute value one; None follows the newest gradient.
        passes: over which each gradient is averaged.
        watch: note which images an iterate before the last one has broken.
        stop_early: return an image as it was first broken, and leave it alone from then on; implies `watch`.
        each_step: called before every iteration; may raise to end the attack.

    Returns:
        The last iterates (with `stop_early` the first that broke), detached, inside the ball and the box.
    """
    adversarial = start
    velocity: Tensor | None = None
    result = start.clone()
    taken = torch.full_like(labels, steps)
    on_the_way = torch.zeros_like(labels, dtype=torch.bool)
    at = torch.arange(len(labels), device=labels.device)
    for step in range(steps):
        each_step()
        true, aims = labels[at], None if targets is None else targets[at]
        logits, _, gradient = loss_and_gradient(
            model, adversarial, partial(loss, labels=true, targets=aims), passes=passes
        )
        gradient = usable(gradient)
        with torch.no_grad():
            if watch or stop_early:
                broken = misclassified(logits, true)
                fresh = broken & ~on_the_way[at]
                on_the_way[at[fresh]] = True
                taken[at[fresh]] = step
                if stop_early:
                    result[at[fresh]] = adversarial[fresh].detach()
                    if float(broken.sum()) >= WORTH_COMPACTING * len(at):
                        kept = ~on_the_way[at]
                        at, adversarial, gradient = at[kept], adversarial[kept], gradient[kept]
                        velocity = None if velocity is None else velocity[kept]
                        if not len(at):
                            break
            if momentum is not None:
                scaled = gradient / per_image(gradient.abs().flatten(1).mean(1).clamp_min(TINY), gradient)
                velocity = scaled if velocity is None else momentum * velocity + scaled
                gradient = velocity
            moved = adversarial + step_size * ball.ascent_direction(gradient, adversarial)
            adversarial = ball.project(moved, images[at], epsilon)
    last = ~on_the_way[at] if stop_early else torch.ones_like(at, dtype=torch.bool)
    result[at[last]] = adversarial[last].detach()
    return Outcome(result, taken, on_the_way if watch else None)


def training_examples(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    config: PgdConfig,
    scale: float,
    generator: torch.Generator,
    loss: Loss = cross_entropy,
    start_deviation: float | None = None,
    each_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Adversarial examples for one training batch, made with the model in eval mode.

    Args:
        model: left exactly as it came, every flag restored.
        images, labels: the batch.
        config: epsilon, step size, steps and random start at full strength.
        scale: 0..1, multiplies epsilon and step size (the ramp).
        generator: draws the start, on the images' device.
        loss: see `projected_gradient_descent`.
        start_deviation: begin at the image plus normal noise of this standard deviation, in input units, instead
            of as the settings say.
        each_step: see `projected_gradient_descent`.
    """
    ball, noise = LinfBall(), BatchNoise(images, generator)
    epsilon, step_size = config.epsilon * scale, config.step_size * scale
    start = images
    if start_deviation is not None:
        start = ball.project(images + start_deviation * noise.randn(*images.shape[1:]), images, epsilon)
    elif config.random_start:
        start = (images + ball.random_start(noise, images, epsilon)).clamp_(0.0, 1.0)
    with evaluation(model):
        return projected_gradient_descent(
            model, images, labels, start=start, epsilon=epsilon, step_size=step_size, steps=config.steps,
            ball=ball, loss=loss, each_step=each_step,
        ).adversarial  # fmt: skip


@attacks.register("pgd")
class ProjectedGradientDescent(Attack):
    """PGD. Cost: 2 * steps passes per image and restart."""

    momentum: float | None = None

    def run(self, task: Task) -> Outcome:
        """One restart; see `Attack.run`."""
        return self.descend(task, task.model)

    def descend(self, task: Task, network: Network) -> Outcome:
        """The loop with this attack's settings, on a network that need not be the attacked one."""
        config = self.config
        start = task.images
        if config.random_start:
            start = (start + self.ball.random_start(task.noise, start, config.epsilon)).clamp_(0.0, 1.0)
        own = network is task.model
        return projected_gradient_descent(
            network, task.images, task.labels, start=start, epsilon=config.epsilon, step_size=config.step_size,
            steps=config.steps, ball=self.ball, loss=LOSSES[config.loss], targets=task.targets, momentum=self.momentum,
            passes=config.eot if config.applies("eot") else 1, watch=own,
            stop_early=own and task.stop_early and config.judged_at == "any_step", each_step=task.each_step,
        )  # fmt: skip


@attacks.register("momentum_pgd")
class MomentumPgd(ProjectedGradientDescent):
    """PGD along the accumulated gradient (MI-FGSM). Cost: as PGD."""

    def run(self, task: Task) -> Outcome:
        """One restart; see `Attack.run`."""
        self.momentum = self.config.momentum
        return super().run(task)


@attacks.register("transfer")
class TransferPgd(ProjectedGradientDescent):
    """PGD made on another network: needs no gradient of the attacked one. Cost: 2 * steps passes of the other."""

    def run(self, task: Task) -> Outcome:
        """One restart; see `Attack.run`."""
        if task.surrogate is None:
            raise ValueError("a transfer attack needs the network on which the perturbations are made")
        return self.descend(task, task.surrogate)


@attacks.register("fgsm")
class FastGradientSign(Attack):
    """One step of the size of epsilon from the image. Cost: 2 passes per image."""

    def run(self, task: Task) -> Outcome:
        """See `Attack.run`."""
        return projected_gradient_descent(
            task.model, task.images, task.labels, start=task.images, epsilon=self.config.epsilon,
            step_size=self.config.epsilon, steps=1, ball=self.ball, loss=LOSSES[self.config.loss],
            each_step=task.each_step,
        )  # fmt: skip


@attacks.register("noise")
class RandomNoise(Attack):
    """A point drawn uniformly from the ball. Cost: 1 pass per image and restart."""

    def run(self, task: Task) -> Outcome:
        """See `Attack.run`."""
        task.each_step()
        drawn = self.ball.random_start(task.noise, task.images, self.config.epsilon)
        return Outcome((task.images + drawn).clamp(0.0, 1.0), torch.ones_like(task.labels))
