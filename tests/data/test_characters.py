from __future__ import annotations

import hashlib
import string
import time
from pathlib import Path

import numpy as np
import pytest

from engine.config import DataConfig
from engine.data import characters, load_domain
from engine.data.characters import CONTRAST, LUMINANCE, draw

SETS = {"letters": string.ascii_uppercase, "digits": string.digits}


def first(name: str, count: int, size: int, *, seed: int = 0, split: str = "train") -> np.ndarray:
    return draw(SETS[name], np.arange(count), size, seed, split=split)


@pytest.mark.parametrize(
    ("name", "size", "checksum"),
    [
        ("letters", 16, "f2895e91f861a708d953a1416a9d432fac67d65d20b3c2214e6c3662428afedb"),
        ("letters", 32, "747d3b6dd9db46e0630247a7602be083c29506cbb6509443ef4d8ddf99b14d25"),
        ("digits", 16, "31b83dbd1d6dd5357dcffc5ef96b564c94429fa09fe522584639b83e55a0820a"),
        ("digits", 32, "24b0ac6fd9d6aefaf96da3e83c8eed88e3965ffa68b048fecac8dc4784c092f4"),
    ],
)
def test_that_every_machine_draws_the_same_pixels(name, size, checksum):
    assert hashlib.sha256(first(name, 200, size).tobytes()).hexdigest() == checksum


@pytest.mark.parametrize("name", SETS)
def test_that_a_larger_set_starts_with_the_smaller_one(name):
    def load(count):
        return load_domain(
            DataConfig(name=name, image_size=16, train_size=count), data_root=Path("unused")
        ).train

    small, large = load(60), load(700)
    assert np.array_equal(small.images, large.images[:60])
    assert np.array_equal(small.labels, large.labels[:60])
    assert np.array_equal(small.ids, np.arange(60))


def test_that_an_image_depends_only_on_its_number():
    whole = first("letters", 1200, 16)
    some = np.array([3, 511, 512, 513, 1199])
    assert np.array_equal(draw(SETS["letters"], some, 16, 0, split="train"), whole[some])
    assert draw(SETS["letters"], some[:0], 16, 0, split="train").shape == (0, 3, 16, 16)


def test_that_no_image_is_in_two_splits_or_seeds():
    sets = [
        first("digits", 300, 16, seed=seed, split=split)
        for seed in (0, 1)
        for split in ("train", "validation", "test")
    ]
    assert len({image.tobytes() for images in sets for image in images}) == 1800


def test_that_the_default_sizes_are_those_the_settings_promise():
    domain = load_domain(DataConfig(name="letters", image_size=8), data_root=Path("unused"))
    assert (len(domain.train), len(domain.validation), len(domain.test)) == (4000, 0, 1000)
    assert domain.class_names == tuple(string.ascii_uppercase)


@pytest.mark.parametrize("size", [8, 16, 17, 32, 64, 256])
def test_that_any_image_size_shows_the_same_picture(size):
    """A mean over the pixels of a fine image is close to the coarse image: same place, shape and colours."""
    few = first("letters", 26, size).astype(float)
    fine = first("letters", 26, size * (256 // size), seed=0).astype(float)
    factor = fine.shape[-1] // size
    coarse = fine.reshape(26, 3, size, factor, size, factor).mean((3, 5))
    assert few.shape == (26, 3, size, size)
    assert np.abs(few - coarse).mean() < 12


@pytest.mark.parametrize("name", SETS)
def test_that_characters_stand_out_from_their_background(name):
    """At the corners is background, and the character's darkest or lightest pixels differ from it."""
    images = np.tensordot(LUMINANCE, first(name, 260, 64).transpose(1, 0, 2, 3) / 255, axes=1)
    images = images.reshape(260, 16, 4, 16, 4).mean((2, 4))
    background = np.median(np.stack([images[:, y, x] for y in (0, -1) for x in (0, -1)]), axis=0)
    apart = np.abs(images - background[:, None, None]).max((1, 2))
    assert apart.min() > 0.5 * CONTRAST
    assert np.median(apart) > CONTRAST


@pytest.mark.parametrize("name", SETS)
def test_that_characters_are_learned_from_their_pixels_but_not_by_the_simplest_rule(name):
    """Nearest neighbour on normalised brightness does far better than chance and far worse than a network."""

    def features(split, count):
        grey = first(name, count, 16, split=split).mean(1).reshape(count, -1)
        grey = grey - np.median(grey, axis=1, keepdims=True)
        grey *= np.sign((grey**3).sum(1, keepdims=True))
        return grey / np.linalg.norm(grey, axis=1, keepdims=True)

    classes = len(SETS[name])
    train, test = features("train", 1300), features("test", 260)
    guess = (test @ train.T).argmax(1) % classes
    accuracy = (guess == np.arange(260) % classes).mean()
    assert 3 / classes < accuracy < 0.95


def test_that_both_polarities_and_many_colours_occur():
    images = first("digits", 400, 16) / 255
    corners = np.tensordot(LUMINANCE, images[:, :, 0, 0].T, axes=1)
    assert 0.3 < (corners < 0.5).mean() < 0.7
    assert images[:, :, 0, 0].std(0).min() > 0.2


def test_that_five_thousand_images_are_drawn_in_seconds():
    start = time.perf_counter()
    first("letters", 5000, 32)
    assert time.perf_counter() - start < 10


def test_that_drawing_leaves_global_randomness_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first("letters", 5, 16)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_that_distances_to_a_glyph_s_edge_are_exact():
    target = np.zeros((12, 12), dtype=bool)
    target[2, 3] = target[9, 9] = True
    rows, columns = np.mgrid[:12, :12]
    expected = np.minimum((rows - 2) ** 2 + (columns - 3) ** 2, (rows - 9) ** 2 + (columns - 9) ** 2)
    assert np.array_equal(characters._squared_distance(target), expected)
