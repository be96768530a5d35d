"""What every attack shares: restarts, per-sample noise, the certificate, and leaving the model as it came.

Shapes: B batch, images [B, 3, H, W] in [0, 1], labels [B].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from engine.attacks.projection import Ball
from engine.config import AttackConfig
from engine.errors import DivergedError
from engine.models.modes import evaluation
from engine.randomness import stream_seed
from engine.registry import Registry

#: Share of epsilon by which rounding may take an adversarial image out of the ball.
ROUNDING = 1e-5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an attack found on a batch; every field [B].

    Attributes:
        clean_prediction: class predicted for the clean image.
        adversarial_prediction: class predicted for the adversarial image that broke it, else for the last tried;
            that of the clean image where it was wrong already.
        robust: correct on the clean image and on every certified adversarial one.
        restart: restart that broke the image, -1 where none did or it was wrong already.
        adversarial: [B, 3, H, W], the image behind `adversarial_prediction`.
    """

    clean_prediction: Tensor
    adversarial_prediction: Tensor
    robust: Tensor
    restart: Tensor
    adversarial: Tensor


class Attack(ABC):
    """An attack with its settings. A new one is one file that registers a subclass with `run`."""

    ball: Ball

    def __init__(self, config: AttackConfig) -> None:
        self.config = config

    @abstractmethod
    def run(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        noise: Tensor | None,
        each_step: Callable[[], None],
    ) -> Tensor:
        """Make adversarial images in one restart.

        Args:
            model: in eval mode.
            images, labels: correctly classified images and their classes.
            noise: uniform in [-1, 1), of the images' shape; None where no random start is wanted.
            each_step: to be called before every iteration; may raise to end the attack.
        """

    @final
    def __call__(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, seed: int, sample_ids: Tensor,
        each_step: Callable[[], None] = lambda: None,
    ) -> Verdict:  # fmt: skip
        """Attack a batch: worst case over restarts, each run only on images that are still robust.

        Every adversarial image is certified (in the ball, in the box, finite) and predicted anew. The model's
        flags, buffers and gradients stay as they were, and so does torch's global random state.

        Args:
            model: maps images to logits.
            images, labels: float32 images and int64 labels on the model's device.
            seed: of the run; noise is drawn per (seed, sample, attack, restart), so that batch size, order and
                device change nothing.
            sample_ids: [B] numbers that name the samples.
            each_step: called before every iteration; may raise to end the attack.

        Raises:
            ValueError: an adversarial image left the ball or the box (an error in the attack itself).
            DivergedError: the network's outputs are not numbers.
        """
        with evaluation(model):
            with torch.no_grad():
                logits = model(images)
            if not bool(torch.isfinite(logits).all()):
                raise DivergedError(
                    "The outputs of the network are not numbers: its training has diverged. Train it again with a "
                    "lower learning rate, or go back to an earlier checkpoint."
                )
            clean_prediction = logits.argmax(1)
            robust = clean_prediction == labels
            verdict = Verdict(
                clean_prediction,
                clean_prediction.clone(),
                robust,
                torch.full_like(labels, -1),
                images.clone(),
            )
            for restart in range(self.config.restarts):
                alive = robust.nonzero().flatten()
                if len(alive) == 0:
                    break
                noise = self._noise(images, sample_ids[alive.cpu()], seed, restart)
                adversarial = self.run(model, images[alive], labels[alive], noise=noise, each_step=each_step)
                self._certify(adversarial, images[alive])
                with torch.no_grad():
                    prediction = model(adversarial).argmax(1)
                broken = prediction != labels[alive]
                verdict.adversarial[alive] = adversarial
                verdict.adversarial_prediction[alive] = prediction
                verdict.restart[alive[broken]] = restart
                robust[alive[broken]] = False
        return verdict

    def _noise(self, images: Tensor, sample_ids: Tensor, seed: int, restart: int) -> Tensor | None:
        if not self.config.random_start:
            return None
        drawn = []
        for sample in sample_ids.tolist():
            generator = torch.Generator().manual_seed(
                stream_seed(seed, "attack", self.config.name, restart, sample)
            )
            drawn.append(torch.rand(images.shape[1:], generator=generator))
        return (torch.stack(drawn) * 2 - 1).to(images)

    def _certify(self, adversarial: Tensor, images: Tensor) -> None:
        radius = self.ball.radius(adversarial - images)
        allowed = self.config.epsilon * (1 + ROUNDING) + ROUNDING * 1e-2
        inside = (
            (radius <= allowed)
            & (adversarial.flatten(1).amin(1) >= 0)
            & (adversarial.flatten(1).amax(1) <= 1)
        )
        if not bool(inside.all()):
            raise ValueError(
                f"{self.config.name} left the ball of {self.config.epsilon} or the box 0..1 on "
                f"{int((~inside).sum())} images (largest norm {float(radius.max())})"
            )


#: Attacks by their name in `AttackConfig`.
attacks: Registry[type[Attack]] = Registry("attack")
