from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from engine.device import cpu_threads


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Compute on one thread: fast for small networks on a busy machine, and the same bits every time."""
    with cpu_threads(1):
        yield


@pytest.fixture
def untouched_random_state() -> Iterator[None]:
    """Fail a test that draws from or seeds torch's global random state: neither does the engine."""
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(torch.random.get_rng_state(), before), "torch's global random state was touched"
