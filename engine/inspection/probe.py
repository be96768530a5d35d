"""Looking at a training from outside: fixed images, a fixed attack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.attacks import Attack, Verdict
from engine.attacks.base import clean_logits
from engine.config import AttackConfig, RunConfig
from engine.control import RunControl
from engine.data.augment import to_unit
from engine.data.base import ImageSet
from engine.device import exact_float32

#: How far each step of the attack moves, relative to its radius.
STEP_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Probe:
    """Fixed images and a fixed attack that watch a training from outside.

    Attributes:
        images: held-out images, or training images where none are held out; on the device.
        held_out: whether they were never trained on.
        attack: the attack.
        seed: of its random starts; the same at every look, so that epochs can be compared.
        batch_size: images attacked at once.
    """

    images: ImageSet
    held_out: bool
    attack: Attack
    seed: int
    batch_size: int

    def look(self, model: nn.Module, control: RunControl) -> tuple[Tensor, Verdict]:
        """Attack the images; the model and all random streams stay as they were.

        Returns:
            The clean images [M, 3, H, W] in [0, 1], and the verdict on all of them.

        Raises:
            Interrupted: the run was asked to pause or stop.
        """
        clean, verdicts = [], []
        with exact_float32():
            for start in range(0, len(self.images), self.batch_size):
                part = slice(start, start + self.batch_size)
                clean.append(to_unit(self.images.images[part]))
                verdicts.append(
                    attack_all(
                        self.attack, model, clean[-1], self.images.labels[part], seed=self.seed,
                        sample_ids=self.images.ids[part].cpu(), each_step=control.check,
                    )
                )  # fmt: skip
        joined = (torch.cat([getattr(verdict, name) for verdict in verdicts]) for name in Verdict.__slots__)
        return torch.cat(clean), Verdict(*joined)


def attack_all(
    attack: Attack, model: nn.Module, images: Tensor, labels: Tensor, *, seed: int, sample_ids: Tensor,
    each_step: Callable[[], None] = lambda: None,
) -> Verdict:  # fmt: skip
    """Attack a batch, misclassified images too, so that features are compared on the same images at every look.

    An attack that looks for the nearest border leaves misclassified images as they are. For them the verdict's
    `adversarial_prediction` is that of the changed image. The arguments are those of `Attack.__call__`.
    """
    verdict = attack(model, images, labels, seed=seed, sample_ids=sample_ids, each_step=each_step)
    wrong = (verdict.clean_prediction != labels).nonzero().flatten()
    if len(wrong) and not attack.minimum_norm:
        found = attack.attempt(
            model, images[wrong], labels[wrong], logits=clean_logits(model, images[wrong]), seed=seed,
            sample_ids=sample_ids[wrong.cpu()], each_step=each_step,
        )  # fmt: skip
        verdict.adversarial[wrong] = found.adversarial
        verdict.adversarial_prediction[wrong] = found.prediction
    return verdict


def probe_attack(config: RunConfig, epsilon: float = 0.0) -> AttackConfig:
    """The attack that watches a run's training: PGD, with a step size of a quarter of its radius.

    Args:
        config: of the run.
        epsilon: radius; 0 takes what the settings ask for, else that trained for, else that evaluated with.
    """
    trained_for = next(
        (
            stage.attack
            for stage in (config.pretraining, config.finetuning)
            if stage and stage.applies("attack")
        ),
        None,
    )
    inspection = config.inspection
    radius = epsilon or inspection.probe_epsilon or (trained_for or config.attack or AttackConfig()).epsilon
    return AttackConfig(epsilon=radius, step_size=radius * STEP_SHARE, steps=inspection.probe_steps)
