"""Named random streams: each draw's seed follows from the run's seed and what it is for.

Nothing random has to be saved: a run that goes on after a pause asks for the same stream again, and measuring
uses a stream of its own, so it never changes training. Global generators are neither read nor seeded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream_seed(*parts: int | str) -> int:
    """Derive a seed in 0..2**63 - 1 from what names the stream, such as `(run_seed, "pretraining", "shuffle", 3)`.

    Any two different lists of parts give independent seeds; 1 and "1" differ, and so do ("ab", "c") and
    ("a", "bc"). The same parts give the same seed on every machine.

    Raises:
        ValueError: no parts are given.
    """
    if not parts:
        raise ValueError("A random stream needs at least one part that names it, such as the run's seed.")
    tagged = (f"s{part}" if isinstance(part, str) else f"i{int(part)}" for part in parts)
    text = "".join(f"{len(part)}:{part}" for part in tagged)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(device: torch.device | str, *parts: int | str) -> torch.Generator:
    """Return a new generator on `device` for the stream that `parts` name; see `stream_seed`.

    Streams repeat on one kind of device, not from one kind to another: CUDA draws other numbers than the CPU.
    """
    return torch.Generator(device=device).manual_seed(stream_seed(*parts))


@contextmanager
def own_stream(device: torch.device, seed: int) -> Iterator[None]:
    """Let networks that draw from torch's global generators draw from this seed; the generators are put back after."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed(seed)
        yield
