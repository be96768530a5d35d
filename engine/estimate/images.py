"""What is known about a data set before it is loaded: how many images there are, and of how many classes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine.config import DataConfig
from engine.data import Domain, ImageSet, datasets
from engine.data.base import Loading
from engine.data.torchvision_sets import SOURCES
from engine.errors import DataError
from engine.randomness import generator

#: Training images, test images and classes of the data sets that are downloaded.
COUNTS = {
    "cifar10": (50_000, 10_000, 10),
    "cifar100": (50_000, 10_000, 100),
    "svhn": (73_257, 26_032, 10),
    "mnist": (60_000, 10_000, 10),
    "fashion_mnist": (60_000, 10_000, 10),
    "gtsrb": (26_640, 12_630, 43),
    "stl10": (5_000, 8_000, 10),
}
#: Images that are drawn to see how long that takes.
DRAWN = 16


@dataclass(frozen=True, slots=True)
class Images:
    """The images of a domain as settings ask for them.

    Attributes:
        train, validation, test: how many.
        classes: K.
        size: width and height in pixels.
        seconds: what bringing them to memory takes, where that is known.
        missing: what is not on this disk yet; empty if nothing is missing.
    """

    train: int
    validation: int
    test: int
    classes: int
    size: int
    seconds: float = 0.0
    missing: str = ""


def known_images(data: DataConfig, data_root: Path) -> Images:
    """What can be told without loading images or asking a server.

    Raises:
        DataError: a folder is not there or not as it should be, or more images are asked for than there are.
    """
    missing, seconds = "", 0.0
    if data.name in COUNTS:
        train, test, classes = COUNTS[data.name]
        source = SOURCES[data.name][0]
        folder = Path(data.path).expanduser() if data.path else data_root
        if not all((folder / file.place).exists() for file in source.files()):
            missing = source.title
    else:
        pools = datasets.entry(data.name).value(Loading(data, data_root))
        train, test, classes = len(pools.train.labels), len(pools.test.labels), len(pools.class_names)
        if pools.validation is not None:  # it draws images of its own for it, all of them anew
            began = time.perf_counter()
            pools.train.read(np.arange(min(DRAWN, train)))
            each = (time.perf_counter() - began) / min(DRAWN, train)
            seconds = each * (train + data.validation_size + test)
            train += data.validation_size
    rest = train - data.validation_size
    if max(data.train_size, 1) > rest or data.test_size > test:
        raise DataError(
            f"{data.name} has {train:,} training and {test:,} test images, fewer than the settings ask for"
        )
    return Images(
        data.train_size or rest, data.validation_size, data.test_size or test, classes, data.image_size, seconds, missing
    )  # fmt: skip


def noise_images(count: int, size: int, classes: int) -> ImageSet:
    """Random images, which take no longer and no less to compute with than real ones."""
    draw = generator("cpu", "estimate", count)
    images = torch.randint(256, (count, 3, size, size), generator=draw, dtype=torch.uint8)
    labels = torch.randint(classes, (count,), generator=draw)
    return ImageSet(images, labels, tuple(map(str, range(classes))), torch.arange(count))


def noise_domain(images: Images, *, train: int, watched: int) -> Domain:
    """A domain of random images with the shapes of a real one.

    Args:
        images: the real one.
        train, watched: how many images to train on and to look at.
    """
    first, second, third = (noise_images(count, images.size, images.classes) for count in (train, watched, 1))
    return Domain("estimate", "random images", first, second, third, first.class_names)
