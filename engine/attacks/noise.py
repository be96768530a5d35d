"""Random numbers of an attack, drawn for each sample by itself, so that batch size and order change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from engine.randomness import stream_seed


class Noise(Protocol):
    """Where an attack's random numbers come from; B is the size of the batch it was made for."""

    def rand(self, *shape: int) -> Tensor:
        """[B, *shape] uniform in [0, 1), on the batch's device."""

    def randn(self, *shape: int) -> Tensor:
        """[B, *shape] normal, on the batch's device."""


class SampleNoise:
    """One stream per (seed, sample, attack, restart, target): what a sample draws does not depend on its batch.

    Drawn on the CPU, so that it is the same on every device.
    """

    def __init__(self, seeds: Sequence[int], like: Tensor) -> None:
        """Take one seed per sample and a tensor of the batch's device and dtype."""
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._like = like

    def rand(self, *shape: int) -> Tensor:
        """See `Noise.rand`."""
        drawn = [torch.rand(shape, generator=generator) for generator in self._generators]
        return torch.stack(drawn).to(self._like)

    def randn(self, *shape: int) -> Tensor:
        """See `Noise.randn`."""
        drawn = [torch.randn(shape, generator=generator) for generator in self._generators]
        return torch.stack(drawn).to(self._like)


class BatchNoise:
    """One stream for a whole batch, as training uses it: fast, and the same only for the same batch.

    Args:
        like: [B, ...] a tensor of the batch's size, device and dtype.
        generator: on that device; None takes torch's global one, as other people's implementations do.
    """

    def __init__(self, like: Tensor, generator: torch.Generator | None) -> None:
        self._like, self._generator = like, generator

    def rand(self, *shape: int) -> Tensor:
        """See `Noise.rand`."""
        size = (len(self._like), *shape)
        return torch.rand(size, generator=self._generator, device=self._like.device, dtype=self._like.dtype)

    def randn(self, *shape: int) -> Tensor:
        """See `Noise.randn`."""
        size = (len(self._like), *shape)
        return torch.randn(size, generator=self._generator, device=self._like.device, dtype=self._like.dtype)


def attempt_seed(seed: int, attack: str, restart: int, sample: int, *, target: int = -1) -> int:
    """The seed of one attempt on one sample; -1 stands for no target. See `stream_seed`."""
    aim: tuple[int, ...] = (target,) if target >= 0 else ()
    return stream_seed(seed, "attack", attack, restart, sample, *aim)
