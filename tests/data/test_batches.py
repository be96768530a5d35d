from __future__ import annotations

import pytest
import torch

from engine.data import ImageSet, batches, steps_per_epoch


def numbered(count: int) -> ImageSet:
    ids = torch.arange(count)
    images = torch.zeros(count, 3, 8, 8, dtype=torch.uint8)
    images[:, 0, 0, 0] = ids.to(torch.uint8)
    return ImageSet(images, ids % 3, ("a", "b", "c"), ids + 1000)


def order(images: ImageSet, size: int = 10, **name) -> list[int]:
    named = {"seed": 0, "stage": "pretraining", "epoch": 1} | name
    return torch.cat([batch.positions for batch in batches(images, size, **named)]).tolist()


def test_that_an_epoch_shows_every_sample_once():
    assert sorted(order(numbered(50))) == list(range(50))


def test_that_images_and_labels_belong_to_their_positions():
    images = numbered(30)
    for batch in batches(images, 8, seed=0, stage="finetuning", epoch=3):
        assert torch.equal(batch.images[:, 0, 0, 0].long(), batch.positions)
        assert torch.equal(batch.labels, batch.positions % 3)
        assert batch.images.dtype == torch.uint8


def test_that_the_order_follows_from_seed_stage_and_epoch_alone():
    images = numbered(40)
    assert order(images) == order(images)
    others = [order(images, seed=1), order(images, stage="finetuning"), order(images, epoch=2)]
    assert all(other != order(images) for other in others)


def test_that_an_epoch_goes_on_where_it_was_left():
    images = numbered(47)
    whole = [batch.positions for batch in batches(images, 10, seed=3, stage="x", epoch=2)]
    rest = [batch.positions for batch in batches(images, 10, seed=3, stage="x", epoch=2, first=2)]
    assert len(whole) == 4
    assert all(torch.equal(a, b) for a, b in zip(whole[2:], rest, strict=True))


@pytest.mark.parametrize(
    ("samples", "size", "expected"),
    [
        (50, 10, [10] * 5),
        (51, 10, [10] * 5),
        (59, 10, [10] * 5),
        (10, 10, [10]),
        (9, 10, [9]),
        (1, 10, [1]),
        (0, 10, []),
    ],
)
def test_that_an_incomplete_last_batch_is_left_out_unless_it_is_all_there_is(samples, size, expected):
    found = [len(batch.labels) for batch in batches(numbered(samples), size, seed=0, stage="x", epoch=1)]
    assert found == expected
    assert steps_per_epoch(samples, size) == len(expected)


def test_that_other_samples_are_left_out_each_epoch():
    images = numbered(19)
    left = [set(range(19)) - set(order(images, epoch=epoch)) for epoch in range(1, 4)]
    assert len({frozenset(part) for part in left}) == 3


def test_that_shuffling_leaves_global_randomness_alone():
    before = torch.get_rng_state()
    order(numbered(20))
    assert torch.equal(torch.get_rng_state(), before)
