"""One row per data set, and what all of them share: subsets, held-out images, errors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from engine.config import DataConfig
from engine.config.data import DatasetName
from engine.data import Domain, ImageSet, LoadingCancelled, datasets, load_domain
from engine.data.base import Pool, Pools, fit
from engine.errors import BadFilesError, ConfigError, DataError
from tests.data.genuine import image_folder, write_cifar, write_gtsrb, write_mnist, write_stl10, write_svhn


@dataclass(frozen=True)
class Row:
    """A data set, how its files come to be in a folder, its classes, and the first pixels of its training set."""

    name: str
    title: str
    classes: int
    checksum: str
    place: Callable[[Path, pytest.MonkeyPatch], object] | None = None
    train: int = 40
    test: int = 20


ROWS = [
    Row("letters", "letters", 26, "8c4da81875c6bdd1"),
    Row("digits", "digits", 10, "7b9b0deef870e0d8"),
    Row(
        "cifar10", "CIFAR-10", 10, "cbb05bcf85326903", lambda root, patch: write_cifar(root, patch, "CIFAR10")
    ),
    Row(
        "cifar100",
        "CIFAR-100",
        100,
        "420e3f4e1c1635f7",
        lambda root, patch: write_cifar(root, patch, "CIFAR100"),
    ),
    Row("svhn", "SVHN", 10, "1abcf6802d1054a2", write_svhn),
    Row("mnist", "MNIST", 10, "742bc51283ac3dd6", lambda root, patch: write_mnist(root, "MNIST")),
    Row(
        "fashion_mnist",
        "Fashion-MNIST",
        10,
        "742bc51283ac3dd6",
        lambda root, patch: write_mnist(root, "FashionMNIST"),
    ),
    Row("gtsrb", "GTSRB", 43, "5de5bfd96a8bb8cc", write_gtsrb),
    Row("stl10", "STL-10", 10, "7c18f04c2cbac801", write_stl10),
    Row("folder", "photos", 3, "ad9fe08a0751c751", lambda root, patch: image_folder(root / "photos")),
]


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a data set that is on the disk must not use the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


def config_of(row: Row, root: Path, size: int = 16, **settings) -> DataConfig:
    if row.name == "folder":
        settings["path"] = str(root / "photos")
    if row.place is None:
        settings = {"train_size": row.train, "test_size": row.test} | settings
    return DataConfig(name=row.name, image_size=size, **settings)


def test_that_every_data_set_of_the_settings_has_a_row_and_is_registered():
    assert {row.name for row in ROWS} == set(get_args(DatasetName)) == set(datasets.names)
    assert all(entry.source for entry in datasets)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("size", [16, 32])
def test_that_a_data_set_gives_square_rgb_images_with_labels(row, size, tmp_path, monkeypatch, no_network):
    if row.place is not None:
        row.place(tmp_path, monkeypatch)
    domain = load_domain(config_of(row, tmp_path, size), data_root=tmp_path)
    assert (domain.name, domain.title) == (row.name, row.title)
    assert len(domain.class_names) == len(set(domain.class_names)) == row.classes
    for part, count in ((domain.train, row.train), (domain.validation, 0), (domain.test, row.test)):
        assert part.images.shape == (count, 3, size, size)
        assert part.images.dtype == torch.uint8
        assert part.labels.dtype == part.ids.dtype == torch.int64
        assert len(part) == len(part.labels) == len(part.ids) == count
        assert part.class_names == domain.class_names
        assert all(0 <= label < row.classes for label in part.labels.tolist())
    assert int(domain.train.images.max()) > 128 > int(domain.train.images.min())
    assert len(torch.unique(domain.train.labels)) > 1


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_that_the_pixels_and_labels_are_always_the_same(row, tmp_path, monkeypatch, no_network):
    if row.place is not None:
        row.place(tmp_path, monkeypatch)
    domain = load_domain(config_of(row, tmp_path), data_root=tmp_path)
    digest = hashlib.sha256(domain.train.images.numpy().tobytes() + domain.train.labels.numpy().tobytes())
    assert digest.hexdigest()[:16] == row.checksum


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_that_held_out_images_are_never_trained_on(row, tmp_path, monkeypatch, no_network):
    if row.place is not None:
        row.place(tmp_path, monkeypatch)
    domain = load_domain(config_of(row, tmp_path, train_size=20, validation_size=10), data_root=tmp_path)
    assert (len(domain.train), len(domain.validation)) == (20, 10)
    pixels = [
        {image.numpy().tobytes() for image in part.images} for part in (domain.train, domain.validation)
    ]
    assert len(pixels[0] | pixels[1]) == 30
    if row.place is not None:  # drawn sets number each split by itself
        assert not set(domain.train.ids.tolist()) & set(domain.validation.ids.tolist())


@pytest.fixture
def made(monkeypatch):
    """Register a data set of numbered images: 60 of class 0, 30 of class 1, 10 of class 2."""
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    images = np.zeros((100, 3, 8, 8), np.uint8)
    images[:, 0, 0, 0] = np.arange(100)

    def opener(loading):
        return Pools("made", ("a", "b", "c"), Pool.of_array(images, labels), Pool.of_array(images, labels))

    monkeypatch.setattr(datasets, "_entries", dict(datasets._entries))
    monkeypatch.delitem(datasets._entries, "mnist")
    datasets.register("mnist")(opener)

    def load(**settings) -> Domain:
        return load_domain(DataConfig(name="mnist", image_size=8, **settings), data_root=Path("unused"))

    return load


def test_that_ids_name_the_sample_in_the_original_split(made):
    domain = made(train_size=25, validation_size=9, test_size=12, seed=3)
    for part in (domain.train, domain.validation, domain.test):
        assert torch.equal(part.images[:, 0, 0, 0].long(), part.ids)
        assert torch.equal(part.ids, part.ids.sort().values)


@pytest.mark.parametrize("count", [3, 17, 30, 45, 100])
def test_that_a_subset_is_drawn_evenly_from_the_classes(made, count):
    found = torch.bincount(made(train_size=count).train.labels, minlength=3).tolist()
    assert sum(found) == count
    if count <= 30:
        assert max(found) - min(found) <= 1
    else:
        assert found[2] == 10
        assert found[1] == min(30, (count - 10) // 2 + (found[1] > found[0]))


def test_that_a_smaller_subset_is_part_of_a_larger_one(made):
    sets = [set(made(train_size=count, validation_size=6).train.ids.tolist()) for count in (10, 40, 80)]
    assert sets[0] < sets[1] < sets[2]


def test_that_held_out_images_stay_while_the_training_set_grows(made):
    held = [made(train_size=count, validation_size=10).validation.ids.tolist() for count in (5, 50, 0)]
    assert held[0] == held[1] == held[2]


def test_that_all_but_the_held_out_images_are_trained_on_by_default(made):
    domain = made(validation_size=15)
    assert sorted(domain.train.ids.tolist() + domain.validation.ids.tolist()) == list(range(100))
    assert len(domain.test) == 100


def test_that_the_seed_draws_the_subset(made):
    draw = {seed: made(train_size=30, seed=seed).train.ids.tolist() for seed in (0, 1)}
    assert draw[0] == made(train_size=30, seed=0).train.ids.tolist() != draw[1]


def test_that_drawing_leaves_global_randomness_alone(made):
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    made(train_size=10, validation_size=10)
    assert np.array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_size": 101}, "100 usable training images; 101 were asked for. Ask for 1 to 100"),
        ({"train_size": 91, "validation_size": 10}, "91 were asked for and 10 more.*at most 100 together"),
        ({"validation_size": 100}, "100 more are to be held out.*at least one left to train on"),
        ({"test_size": 500}, "100 usable test images; 500 were asked for. Ask for 1 to 100"),
    ],
)
def test_that_a_subset_larger_than_the_set_is_refused_with_the_valid_sizes(made, settings, message):
    with pytest.raises(DataError, match=message):
        made(**settings)


def test_that_an_unreadable_sample_is_replaced_only_with_consent(made):
    def opener(loading):
        images = np.zeros((20, 3, 8, 8), np.uint8)

        def read(ids):
            bad = {
                row: (Path(f"{number}.png"), "broken") for row, number in enumerate(ids) if number % 5 == 0
            }
            return images[ids], bad

        pool = Pool(np.arange(20) % 2, read)
        return Pools("holes", ("a", "b"), pool, Pool.of_array(images, np.arange(20) % 2))

    datasets._entries.pop("mnist")
    datasets.register("mnist")(opener)
    with pytest.raises(BadFilesError, match=r"0.png: broken[\s\S]*skip_bad_files"):
        made(train_size=12)
    domain = made(train_size=12, validation_size=3, skip_bad_files=True)
    assert (len(domain.train), len(domain.validation)) == (12, 3)
    assert all(number % 5 for number in domain.train.ids.tolist() + domain.validation.ids.tolist())
    assert all(reason == "broken" for _, reason in domain.skipped) and domain.skipped
    with pytest.raises(DataError, match="16 usable training images"):
        made(train_size=17, skip_bad_files=True)


def test_that_an_unknown_data_set_is_refused_with_the_known_ones():
    config = DataConfig.model_construct(name="imagenet")
    with pytest.raises(ConfigError, match="letters, digits"):
        load_domain(config, data_root=Path("unused"))


def test_that_mean_and_deviation_are_those_of_the_pixels():
    images = torch.randint(256, (300, 3, 9, 9), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images[:, 1] //= 3
    labels = torch.zeros(300, dtype=torch.int64)
    found = ImageSet(images, labels, ("a",), labels).mean_std()
    pixels = images.numpy().astype(np.float64) / 255
    for value, expected in zip(found, (pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))), strict=True):
        assert value.dtype == torch.float32
        assert np.array_equal(value.numpy(), expected.astype(np.float32))


def test_that_images_of_one_colour_have_a_usable_deviation():
    labels = torch.zeros(4, dtype=torch.int64)
    _, std = ImageSet(torch.full((4, 3, 8, 8), 51, dtype=torch.uint8), labels, ("a",), labels).mean_std()
    assert torch.equal(std, torch.full((3,), 1 / 255))


def test_that_an_empty_set_has_no_mean():
    none = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(DataError, match="empty"):
        ImageSet(torch.zeros(0, 3, 8, 8, dtype=torch.uint8), none, ("a",), none).mean_std()


def test_that_a_set_moves_to_a_device_with_all_its_parts():
    labels = torch.zeros(2, dtype=torch.int64)
    moved = ImageSet(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), labels, ("a",), labels).to("meta")
    assert {tensor.device.type for tensor in (moved.images, moved.labels, moved.ids)} == {"meta"}


def test_that_shrinking_takes_the_mean_and_an_equal_size_changes_nothing():
    pixels = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    assert np.array_equal(fit(image, 16), pixels)
    mean = pixels.astype(float).reshape(8, 2, 8, 2, 3).mean((1, 3))
    assert np.abs(fit(image, 8) - mean).max() <= 0.5
    assert fit(image, 24).shape == (24, 24, 3)


def test_that_loading_stops_when_asked(tmp_path):
    image_folder(tmp_path / "photos")
    config = DataConfig(name="folder", path=str(tmp_path / "photos"))
    with pytest.raises(LoadingCancelled):
        load_domain(config, data_root=tmp_path / "root", cancelled=lambda: True)
    assert not list((tmp_path / "root").rglob("*.npz"))
