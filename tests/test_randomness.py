from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from engine.randomness import generator, stream_seed


def test_that_seeds_are_the_same_everywhere():
    assert stream_seed(0, "pretraining", "shuffle", 1) == 4647153585102787289
    assert 0 <= stream_seed("") < 2**63


def test_that_different_parts_give_different_seeds():
    names = [
        (0,),
        ("0",),
        (0, 0),
        ("00",),
        ("ab", "c"),
        ("a", "bc"),
        ("abc",),
        (-1,),
        (1, -1),
        (1, "-1"),
        ("a:b",),
    ]
    names += [
        (run, stage, step) for run in range(20) for stage in ("shuffle", "augment") for step in range(50)
    ]
    seeds = [stream_seed(*parts) for parts in names]
    assert len(set(seeds)) == len(names)


def test_that_numpy_integers_name_the_same_stream_as_python_ones():
    assert stream_seed(np.int64(3), "x") == stream_seed(3, "x")


def test_that_a_stream_without_a_name_is_refused():
    with pytest.raises(ValueError, match="at least one part"):
        stream_seed()


def test_that_a_stream_repeats_and_leaves_global_randomness_alone():
    before = torch.random.get_rng_state()
    first = torch.rand(8, generator=generator("cpu", 7, "attack", 12))
    again = torch.rand(8, generator=generator("cpu", 7, "attack", 12))
    other = torch.rand(8, generator=generator("cpu", 7, "attack", 13))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_that_streams_of_neighbouring_steps_are_uncorrelated():
    draws = torch.stack(
        [torch.rand(4000, generator=generator("cpu", 0, "augment", step)) for step in range(6)]
    )
    for a, b in itertools.combinations(draws, 2):
        assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 0.08
