"""The batches of an epoch. Their order follows from seed, stage and epoch alone, so there is none to save."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from engine.data.base import ImageSet
from engine.randomness import generator


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some samples: uint8 `images` [B, 3, S, S], int64 `labels` [B] and int64 `positions` [B] in the image set."""

    images: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Return the number of batches per epoch: only full ones, or a single smaller one where there is no full one.

    An incomplete last batch is left out (other samples each epoch, since the order differs), because batch norm
    on a handful of images would disturb the running statistics, and fails on a single one.
    """
    return max(samples // batch_size, min(samples, 1))


def batches(
    images: ImageSet, batch_size: int, *, seed: int, stage: str, epoch: int, first: int = 0
) -> Iterator[Batch]:
    """Yield the batches of one epoch, on the device of `images`.

    Args:
        images: what to train on.
        batch_size: B, images per batch.
        seed: the run's seed.
        stage: name of the stage, so that two stages on one data set do not share their orders.
        epoch: number of the epoch.
        first: batches to leave out at the start, for a run that goes on in the middle of an epoch.
    """
    # Drawn on the CPU, so that a run on another device sees the same order.
    order = torch.randperm(len(images), generator=generator("cpu", seed, stage, "shuffle", epoch))
    order = order.to(images.labels.device)
    for step in range(first, steps_per_epoch(len(images), batch_size)):
        positions = order[step * batch_size : (step + 1) * batch_size]
        yield Batch(images.images[positions], images.labels[positions], positions)
