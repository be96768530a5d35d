"""How fast attacks are: the pace of the one under way, and the batch size with which a network is fastest."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

#: Batch sizes that are tried, and how much slower than the fastest one may be to be taken for its lower memory.
TRIED_SIZES = (32, 64, 128, 256, 512, 1024)
NEARLY_AS_FAST = 1.05
TRIALS = 3
#: Least time between two reports from within a batch.
TELL_SECONDS = 0.5


class Pace:
    """How fast the single attack under way is, in this process, and when that was last told."""

    def __init__(self) -> None:
        self.steps = 0
        self._place: tuple[int, int] | None = None
        self._cost = self._seconds = 0.0
        self._began: float | None = None
        self._told = time.monotonic()

    def begin(self, place: tuple[int, int]) -> None:
        """A batch of a single attack begins."""
        if place != self._place:
            self._place, self._cost, self._seconds = place, 0.0, 0.0
        self._began, self.steps = time.monotonic(), 0

    def end(self, cost: float) -> float:
        """It ends after so many passes through the network; the seconds that it took."""
        seconds = time.monotonic() - (self._began or time.monotonic())
        self._cost, self._seconds, self._began = self._cost + cost, self._seconds + seconds, None
        return seconds

    def step(self) -> bool:
        """An iteration begins; whether it is time to tell how far the attack is."""
        self.steps += 1
        now = time.monotonic()
        if self._began is None or now - self._told < TELL_SECONDS:
            return False
        self._told = now
        return True

    def passes_per_second(self, cost_of_batch: float) -> float:
        """The pace so far, with what is done of a batch under way; 0 while nothing is known."""
        if self._began is None:
            return self._cost / self._seconds if self._seconds > 0 else 0.0
        seconds = self._seconds + time.monotonic() - self._began
        return (self._cost + cost_of_batch) / seconds if seconds > 0 else 0.0


def fastest_batch_size(network: nn.Module, images: Tensor, *, check: Callable[[], None]) -> int:
    """The smallest batch size that is nearly as fast per image as the fastest, by forward and backward passes.

    Args:
        network: in eval mode, on the images' device.
        images: [B, 3, H, W]; repeated as often as a size needs.
        check: raises if this is to end here.
    """
    pace: dict[int, float] = {}
    for size in TRIED_SIZES:
        batch = images.repeat(-(-size // len(images)), 1, 1, 1)[:size]
        try:
            times = [_seconds_of_a_pass(network, batch, check) for _ in range(TRIALS)]
        except torch.OutOfMemoryError:
            break
        pace[size] = min(times) / size
    if not pace:
        return 1
    best = min(pace.values())
    return next(size for size, each in pace.items() if each <= NEARLY_AS_FAST * best)


def _seconds_of_a_pass(network: nn.Module, images: Tensor, check: Callable[[], None]) -> float:
    check()
    images = images.clone().requires_grad_(True)
    started = time.monotonic()
    (gradient,) = torch.autograd.grad(network(images).sum(), images)
    float(gradient.sum())  # waits for the device
    return time.monotonic() - started
