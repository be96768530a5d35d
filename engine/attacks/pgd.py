"""Projected gradient descent: the loop, its use inside training, and the attack of the evaluation.

Source: Madry et al., ICLR 2018, section 2.1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.attacks.base import Attack, attacks
from engine.attacks.projection import Ball, LinfBall
from engine.config import AttackConfig, PgdConfig
from engine.models.modes import evaluation


def sum_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy summed over the batch, so that no sample's gradient shrinks with the batch size."""
    return F.cross_entropy(logits, labels, reduction="sum")


def projected_gradient_descent(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    *,
    start: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    ball: Ball,
    loss: Callable[[Tensor, Tensor], Tensor] = sum_cross_entropy,
    each_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Raise the loss step by step inside the ball. The one PGD loop of the engine.

    Args:
        model: images [B, 3, H, W] in [0, 1] -> logits [B, K], in eval mode.
        images, labels: clean images and their classes [B].
        start: first iterate, inside the ball and the box.
        epsilon, step_size: input units.
        steps: iterations.
        ball: geometry of the norm.
        loss: (logits, labels) -> scalar, summed over the batch.
        each_step: called before every iteration; may raise to end the attack.

    Returns:
        The last iterate [B, 3, H, W], detached, inside the ball and the box.
    """
    adversarial = start
    for _ in range(steps):
        each_step()
        adversarial = adversarial.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(model(adversarial), labels), adversarial)
        with torch.no_grad():
            moved = adversarial + step_size * ball.ascent_direction(gradient)
            adversarial = ball.project(moved, images, epsilon)
    return adversarial.detach()


def training_examples(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    config: PgdConfig,
    scale: float,
    generator: torch.Generator,
    loss: Callable[[Tensor, Tensor], Tensor] = sum_cross_entropy,
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
    ball = LinfBall()
    epsilon, step_size = config.epsilon * scale, config.step_size * scale
    start = images
    if start_deviation is not None:
        noise = torch.randn(images.shape, generator=generator, device=images.device)
        start = ball.project(images + start_deviation * noise, images, epsilon)
    elif config.random_start:
        noise = torch.rand(images.shape, generator=generator, device=images.device) * 2 - 1
        start = (images + ball.random_start(noise, epsilon)).clamp_(0.0, 1.0)
    with evaluation(model):
        return projected_gradient_descent(
            model, images, labels, start=start, epsilon=epsilon, step_size=step_size, steps=config.steps,
            ball=ball, loss=loss, each_step=each_step,
        )  # fmt: skip


@attacks.register("pgd", title="PGD", source="Madry et al., ICLR 2018")
class ProjectedGradientDescent(Attack):
    """PGD on the cross-entropy; judged at its last iterate. Cost: 2 * steps passes per image and restart."""

    def __init__(self, config: AttackConfig) -> None:
        super().__init__(config)
        self.ball = LinfBall()

    def run(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        noise: Tensor | None,
        each_step: Callable[[], None],
    ) -> Tensor:
        """One restart; see `Attack.run`."""
        config = self.config
        start = images
        if noise is not None:
            start = (images + self.ball.random_start(noise, config.epsilon)).clamp_(0.0, 1.0)
        return projected_gradient_descent(
            model, images, labels, start=start, epsilon=config.epsilon, step_size=config.step_size,
            steps=config.steps, ball=self.ball, each_step=each_step,
        )  # fmt: skip
