"""How much memory a piece of work takes, as the device or the system tells."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from engine.memory import give_back

#: Seconds between two looks at the process's size.
PERIOD = 0.004


class Peak:
    """The most memory in use since a piece of work began, in bytes; None where it cannot be told."""

    bytes: int | None = None


@contextmanager
def measuring(device: torch.device) -> Iterator[Peak]:
    """Find the peak of the memory that what is done inside takes on top of what was in use before.

    On a CPU it is the growth of the process, which is told only where freed memory can be given back to the system
    first: else a second piece of work would seem to need nothing.
    """
    peak = Peak()
    can_tell = give_back()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_reserved(device)
        try:
            yield peak
        finally:
            peak.bytes = torch.cuda.max_memory_reserved(device) - before
    elif device.type == "cpu" and can_tell:
        with _growth() as grown:
            yield peak
        peak.bytes = grown[0]
    else:
        yield peak


@contextmanager
def _growth() -> Iterator[list[int]]:
    """A list of one number: by how many bytes the process has grown at most so far."""
    process = psutil.Process()
    before = process.memory_info().rss
    grown, over = [0], threading.Event()

    def look() -> None:
        while not over.is_set():
            grown[0] = max(grown[0], process.memory_info().rss - before)
            over.wait(PERIOD)

    thread = threading.Thread(target=look, name="engine-memory", daemon=True)
    thread.start()
    try:
        yield grown
    finally:
        over.set()
        thread.join()
        grown[0] = max(grown[0], process.memory_info().rss - before)
