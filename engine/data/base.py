"""What all data sets share: image sets, domains, and how subsets are drawn.

A data set is a function `opener(loading) -> Pools` in the `datasets` registry. It says which labels exist and
reads the images asked for; drawing the subset, holding out images and the errors are done here, once.

Shapes: M samples, H = W = S pixels (the image size), K classes. Images are RGB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from engine.config import DataConfig
from engine.errors import BadFilesError, DataError
from engine.randomness import stream_seed
from engine.registry import Registry

Bytes = npt.NDArray[np.uint8]
Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
#: What is being fetched or read, bytes done, bytes in all (0 if unknown).
Progress = Callable[[str, int, int], None]
#: A file or folder that was left out, and why.
Skipped = tuple[Path, str]


class LoadingCancelled(Exception):
    """Loading ended because the caller asked for it; nothing is wrong with the data."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """Images with their labels.

    Attributes:
        images: uint8 [M, 3, S, S], values 0..255.
        labels: int64 [M], index into `class_names`.
        class_names: the K classes.
        ids: int64 [M], index in the data set's original split, which names a sample whatever subset is drawn.
    """

    images: torch.Tensor
    labels: torch.Tensor
    class_names: tuple[str, ...]
    ids: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> ImageSet:
        """Return the same set with its tensors on `device`."""
        images, labels, ids = (tensor.to(device) for tensor in (self.images, self.labels, self.ids))
        return replace(self, images=images, labels=labels, ids=ids)

    def subset(self, positions: torch.Tensor) -> ImageSet:
        """Return the samples at these positions 0..M-1, in this order."""
        images, labels, ids = (tensor[positions] for tensor in (self.images, self.labels, self.ids))
        return replace(self, images=images, labels=labels, ids=ids)

    def mean_std(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of the pixels in [0, 1] over all images, per channel, on the CPU.

        Summed in whole numbers, so that the result is the same on every machine. The deviation is at least
        1/255, so that an image set of one colour can be divided by it.

        Returns:
            mean, std: float32 [3] each.

        Raises:
            DataError: the set is empty.
        """
        if len(self) == 0:
            raise DataError("An empty image set has no mean; use at least one training image.")
        values = torch.arange(256, dtype=torch.int64)
        mean, std = [], []
        for channel in range(3):
            counts = torch.zeros(256, dtype=torch.int64)
            for part in torch.split(self.images[:, channel], 4096):
                counts += torch.bincount(part.flatten().int(), minlength=256).cpu()
            number, first, second = (int((counts * values**power).sum()) for power in (0, 1, 2))
            mean.append(first / (255 * number))
            std.append(max(math.sqrt((number * second - first**2) / (255 * number) ** 2), 1 / 255))
        return torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """A data set ready for use: what is trained on, what is held out from it, and what the attack stage sees."""

    name: str
    title: str
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True, slots=True)
class Loading:
    """One call of `load_domain`, as a data set sees it."""

    config: DataConfig
    data_root: Path
    progress: Progress | None = None
    cancelled: Callable[[], bool] | None = None

    def report(self, what: str, done: int, total: int) -> None:
        """Tell how far it is, in bytes, and stop here if that was asked for.

        Raises:
            LoadingCancelled: the caller wants no more.
        """
        if self.cancelled is not None and self.cancelled():
            raise LoadingCancelled(f"{what} was cancelled.")
        if self.progress is not None:
            self.progress(what, done, total)


#: Images [n, 3, S, S] for n ids, and the reason for each position (0..n-1) that could not be read.
Read = Callable[[Ids], tuple[Bytes, Mapping[int, Skipped]]]


@dataclass(frozen=True, slots=True)
class Pool:
    """The samples of one split: int64 `labels` [M], and `read`, which returns the images of the ids it is given."""

    labels: Ids
    read: Read

    @staticmethod
    def of_array(images: Bytes, labels: npt.ArrayLike) -> Pool:
        """Make a pool of images [M, 3, S, S] that are in memory, or mapped into it."""
        return Pool(np.asarray(labels, dtype=np.int64), lambda ids: (images[ids], {}))


@dataclass(frozen=True, slots=True)
class Pools:
    """What a data set offers. `validation` is given by sets that draw images of their own for it."""

    title: str
    class_names: tuple[str, ...]
    train: Pool
    test: Pool
    validation: Pool | None = None
    skipped: Sequence[Skipped] = field(default=())


Opener = Callable[[Loading], Pools]
datasets: Registry[Opener] = Registry("data set")


def load_domain(
    config: DataConfig,
    *,
    data_root: Path,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Domain:
    """Load, bring to size and draw the subsets of one data set.

    Training images are drawn evenly from the classes by `config.seed`; so are the held-out images, from the
    same split and disjoint from them. A smaller subset is part of every larger one of the same seed, and the
    held-out images stay the same while the number of training images changes. Each set is ordered by id.

    Args:
        config: which data set, how many images, which size.
        data_root: folder for downloads and for the cache of decoded images.
        progress: called with a text and bytes done and in all while something is fetched or decoded.
        cancelled: asked now and then whether to give up.

    Raises:
        DataError: the data cannot be read, or a subset is larger than what exists.
        BadFilesError: some images of a folder are unreadable and `config.skip_bad_files` is off.
        DownloadError: the data is not there and could not be fetched.
        LoadingCancelled: `cancelled` said so.
    """
    loading = Loading(config, data_root, progress, cancelled)
    entry = datasets.entry(config.name)
    pools = entry.value(loading)
    skipped = list(pools.skipped)

    held_out = config.validation_size if pools.validation is None else 0
    drawn = _draw(pools.train, config.train_size, held_out, "training", pools.title, config, skipped)
    if pools.validation is not None:
        drawn[1:] = _draw(pools.validation, 0, 0, "validation", pools.title, config, skipped)[:1]
    drawn += _draw(pools.test, config.test_size, 0, "test", pools.title, config, skipped)[:1]

    if skipped and not config.skip_bad_files:
        raise BadFilesError(skipped, len(pools.train.labels) + len(pools.test.labels) + len(pools.skipped))

    train, validation, test = (
        ImageSet(torch.from_numpy(images), torch.from_numpy(labels), pools.class_names, torch.from_numpy(ids))
        for images, labels, ids in drawn
    )
    return Domain(config.name, pools.title, train, validation, test, pools.class_names, tuple(skipped))


def _draw(
    pool: Pool,
    wanted: int,
    held_out: int,
    split: str,
    title: str,
    config: DataConfig,
    skipped: list[Skipped],
) -> list[tuple[Bytes, Ids, Ids]]:
    """Draw `wanted` samples (0: all) and `held_out` others from a pool: images, labels and ids of both.

    Unreadable samples are added to `skipped`. With consent others take their places, drawn as if the
    unreadable ones had never existed.
    """
    labels = pool.labels
    keys = np.random.PCG64(stream_seed(config.seed, "subset", config.name, split)).random_raw(len(labels))
    usable = np.ones(len(labels), dtype=bool)
    row = np.full(len(labels), -1, dtype=np.int64)
    blocks: list[Bytes] = []
    while True:
        _check_sizes(int(usable.sum()), wanted, held_out, split, title)
        # From the far end of the drawing order, so that neither subset moves when the other one grows.
        second = _evenly(labels, ~keys, usable, held_out)
        rest = usable.copy()
        rest[second] = False
        first = _evenly(labels, keys, rest, wanted) if wanted else np.flatnonzero(rest)
        both = np.sort(np.concatenate([first, second]))
        new = both[row[both] < 0]
        block, bad = pool.read(new)
        row[new] = sum(map(len, blocks)) + np.arange(len(new))
        blocks.append(block)
        skipped.extend(bad[position] for position in sorted(bad))
        usable[new[list(bad)]] = False
        if not bad or not config.skip_bad_files:
            break
    images = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return [(images[row[ids]], labels[ids], ids) for ids in (first, second)]


def _check_sizes(available: int, wanted: int, held_out: int, split: str, title: str) -> None:
    needed = max(wanted, int(split == "training")) + held_out
    if needed <= available:
        return
    asked = f"{wanted:,} were asked for" if wanted else "all the others were asked for"
    if held_out:
        asked += f" and {held_out:,} more are to be held out"
    advice = f"Ask for 1 to {available:,}" if available else "Add some"
    if held_out:
        advice = f"Ask for at most {available:,} together, with at least one left to train on"
    raise DataError(f"{title} has {available:,} usable {split} images; {asked}. {advice}.")


def _evenly(labels: Ids, keys: npt.NDArray[np.uint64], usable: Mask, count: int) -> Ids:
    """Take `count` ids, from each class in turn in the order of `keys`; the result is sorted."""
    ids = np.flatnonzero(usable)
    order = ids[np.argsort(keys[ids], kind="stable")]
    by_class = np.argsort(labels[order], kind="stable")
    sorted_labels = labels[order][by_class]
    turn = np.empty(len(order), dtype=np.int64)
    turn[by_class] = np.arange(len(order)) - np.searchsorted(sorted_labels, sorted_labels)
    return np.sort(order[np.argsort(turn, kind="stable")][:count])


def fit(image: Image.Image, size: int) -> Bytes:
    """Bring a picture to RGB and size x size pixels.

    Where both sides shrink, each new pixel is the mean of the area it covers (Pillow's BOX, as in downsampled
    ImageNet, Chrabaszcz et al. 2017); otherwise BICUBIC, which smooths when it enlarges. Sides are scaled
    independently, so nothing is cut off. A picture of that size is kept bit for bit.

    Returns:
        uint8 [size, size, 3].
    """
    picture = image if image.mode == "RGB" else image.convert("RGB")
    width, height = picture.size
    if width >= size and height >= size and width % size == height % size == 0:
        picture = picture.reduce(
            (width // size, height // size)
        )  # BOX without its rounding between two passes
    elif (width, height) != (size, size):
        shrinks = size <= width and size <= height
        picture = picture.resize((size, size), Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC)
    return np.asarray(picture)
