"""Looking at a training from outside: fixed images, a fixed attack."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.attacks import Attack, Verdict
from engine.control import RunControl
from engine.data.augment import to_unit
from engine.data.base import ImageSet
from engine.device import exact_float32
from engine.models.base import BlockwiseModel


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

    def look(self, model: BlockwiseModel, control: RunControl) -> tuple[Tensor, Verdict]:
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
                    self.attack(
                        model, clean[-1], self.images.labels[part], seed=self.seed,
                        sample_ids=self.images.ids[part], each_step=control.check,
                    )
                )  # fmt: skip
        joined = (torch.cat([getattr(verdict, name) for verdict in verdicts]) for name in Verdict.__slots__)
        return torch.cat(clean), Verdict(*joined)
