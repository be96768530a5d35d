"""Well-known data sets through torchvision: downloaded on demand, checked, and brought to one form.

Files are fetched here, with progress and a way to stop; unpacking, reading and the MD5 checks are torchvision's.
A file that is already in the folder, wherever it came from, is used if its MD5 is right.
"""

from __future__ import annotations

import functools
import hashlib
import http.client
import pickle
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.data.base import Bytes, Ids, Loading, Pool, Pools, datasets, fit
from engine.data.image_folder import read_cache, write_cache
from engine.data.matlab import read_arrays
from engine.errors import DataError, DownloadError

PIECE = 2**18
#: Seconds without an answer after which a server counts as unreachable.
TIMEOUT = 20.0
GTSRB_URL = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/"
GTSRB_COUNTS = {True: 26_640, False: 12_630}
GTSRB_CLASSES = (
    "speed limit 20", "speed limit 30", "speed limit 50", "speed limit 60", "speed limit 70", "speed limit 80",
    "end of speed limit 80", "speed limit 100", "speed limit 120", "no overtaking", "no overtaking by lorries",
    "right of way at next crossing", "priority road", "give way", "stop", "no vehicles", "no lorries", "no entry",
    "danger", "bend to the left", "bend to the right", "double bend", "bumpy road", "slippery road",
    "road narrows on the right", "road works", "traffic lights", "pedestrians", "children", "bicycles",
    "ice or snow", "wild animals", "end of all limits", "turn right ahead", "turn left ahead", "ahead only",
    "straight or right", "straight or left", "keep right", "keep left", "roundabout", "end of no overtaking",
    "end of no overtaking by lorries",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to fetch: its MD5, its place below the data folder, and where it can be had, best first."""

    place: str
    md5: str
    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """One split as it was read: `images` uint8 [M, H, W, 3] or a list of pictures, labels [M], class names."""

    images: Bytes | Pictures
    labels: npt.ArrayLike
    class_names: tuple[str, ...]


class Pictures:
    """Pictures of different sizes, read one at a time."""

    def __init__(self, dataset: Any) -> None:
        """Take a torchvision data set whose items are (PIL image, label)."""
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Image.Image:
        picture: Image.Image = self.dataset[index][0]
        return picture


@dataclass(frozen=True, slots=True)
class Source:
    """How one data set is fetched and read.

    Attributes:
        title: for people.
        files: what to fetch, which torchvision unpacks where it must.
        read: `read(folder, train, unpack)` returns a split, or raises RuntimeError if it is not there; `unpack`
            allows torchvision to unpack what was fetched.
        slow: decoded images are worth a cache.
    """

    title: str
    files: Callable[[], tuple[RemoteFile, ...]]
    read: Callable[[Path, bool, bool], Split]
    slow: bool = False


def _cifar(class_name: str) -> Source:
    def dataset() -> Any:
        import torchvision.datasets  # here, since it takes a second

        return getattr(torchvision.datasets, class_name)

    def files() -> tuple[RemoteFile, ...]:
        cls = dataset()
        return (RemoteFile(cls.filename, cls.tgz_md5, (cls.url,)),)

    def read(folder: Path, train: bool, unpack: bool) -> Split:
        with warnings.catch_warnings():
            # The files were pickled by an old numpy, whose dtype arguments a newer one frowns on.
            warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
            found = dataset()(folder, train=train, download=unpack)
        return Split(found.data, found.targets, tuple(found.classes))

    return Source(class_name.replace("CIFAR", "CIFAR-"), files, read)


def _mnist(class_name: str, title: str) -> Source:
    def dataset() -> Any:
        import torchvision.datasets

        return getattr(torchvision.datasets, class_name)

    def files() -> tuple[RemoteFile, ...]:
        cls = dataset()
        return tuple(
            RemoteFile(f"{class_name}/raw/{name}", md5, tuple(mirror + name for mirror in cls.mirrors))
            for name, md5 in cls.resources
        )

    def read(folder: Path, train: bool, unpack: bool) -> Split:
        found = dataset()(folder, train=train, download=unpack)
        images = np.repeat(found.data.numpy()[..., None], 3, axis=3)
        return Split(
            images, found.targets.numpy(), tuple(name.rpartition(" - ")[2] for name in found.classes)
        )

    return Source(title, files, read)


def _svhn_files() -> tuple[RemoteFile, ...]:
    import torchvision.datasets

    splits = torchvision.datasets.SVHN.split_list
    return tuple(
        RemoteFile(splits[name][1], splits[name][2], (splits[name][0],)) for name in ("train", "test")
    )


def _read_svhn(folder: Path, train: bool, unpack: bool) -> Split:
    """Read SVHN's MATLAB file without scipy, which torchvision would need for it."""
    file = _svhn_files()[0 if train else 1]
    if not _matches(folder / file.place, file.md5):
        raise RuntimeError(f"{file.place} not found or corrupted")
    arrays = read_arrays(folder / file.place)
    labels = arrays["y"].astype(np.int64).ravel() % 10  # the file calls the digit zero 10
    images = arrays["X"].astype(np.uint8, copy=False).transpose(3, 0, 1, 2)
    return Split(images, labels, tuple("0123456789"))


def _stl10_files() -> tuple[RemoteFile, ...]:
    from torchvision.datasets import STL10

    return (RemoteFile(STL10.filename, STL10.tgz_md5, (STL10.url,)),)


def _read_stl10(folder: Path, train: bool, unpack: bool) -> Split:
    from torchvision.datasets import STL10

    found = STL10(folder, split="train" if train else "test", download=unpack)
    return Split(found.data.transpose(0, 2, 3, 1), found.labels.astype(np.int64), tuple(found.classes))


def _gtsrb_files() -> tuple[RemoteFile, ...]:
    archives = {
        "GTSRB-Training_fixed.zip": "513f3c79a4c5141765e10e952eaa2478",
        "GTSRB_Final_Test_Images.zip": "c7e4e6327067d32654124b0fe9e82185",
        "GTSRB_Final_Test_GT.zip": "fe31e9c9270bbcd7b84b7f21a9d9d9e5",
    }
    return tuple(RemoteFile(f"gtsrb/{name}", md5, (GTSRB_URL + name,)) for name, md5 in archives.items())


def _read_gtsrb(folder: Path, train: bool, unpack: bool) -> Split:
    from torchvision.datasets import GTSRB

    found = GTSRB(folder, split="train" if train else "test", download=unpack)
    # torchvision takes the folder's existence for completeness; unpacking may have been interrupted.
    if len(found) != GTSRB_COUNTS[train]:
        raise DataError(
            f"{folder / 'gtsrb'} holds {len(found):,} of {GTSRB_COUNTS[train]:,} images. Delete "
            f"{folder / 'gtsrb' / 'GTSRB'} and start again; what was downloaded is kept."
        )
    labels = [label for _, label in found._samples]
    return Split(Pictures(found), labels, GTSRB_CLASSES)


SOURCES: dict[str, tuple[Source, str]] = {
    "cifar10": (_cifar("CIFAR10"), "Krizhevsky 2009, Learning multiple layers of features from tiny images"),
    "cifar100": (
        _cifar("CIFAR100"),
        "Krizhevsky 2009, Learning multiple layers of features from tiny images",
    ),
    "svhn": (
        Source("SVHN", _svhn_files, _read_svhn),
        "Netzer et al. 2011, Reading digits in natural images with unsupervised feature learning",
    ),
    "mnist": (
        _mnist("MNIST", "MNIST"),
        "LeCun et al. 1998, Gradient-based learning applied to document recognition",
    ),
    "fashion_mnist": (_mnist("FashionMNIST", "Fashion-MNIST"), "Xiao et al. 2017, arXiv 1708.07747"),
    "gtsrb": (
        Source("GTSRB", _gtsrb_files, _read_gtsrb, slow=True),
        "Stallkamp et al. 2012, Man vs. computer, Neural Networks 32",
    ),
    "stl10": (
        Source("STL-10", _stl10_files, _read_stl10),
        "Coates et al. 2011, An analysis of single-layer networks in unsupervised feature learning",
    ),
}


def open_source(source: Source, loading: Loading) -> Pools:
    """Read both splits of a data set, fetching it first where it is missing.

    Raises:
        DownloadError: it is not in the folder and could not be fetched.
        DataError: what is in the folder cannot be read.
        LoadingCancelled: the caller gave up.
    """
    config = loading.config
    folder = Path(config.path).expanduser() if config.path else loading.data_root
    train = _read(source, folder, True, loading)
    test = _read(source, folder, False, loading)
    return Pools(
        source.title,
        train.class_names,
        _pool(train, "train", source, loading),
        _pool(test, "test", source, loading),
    )


def _read(source: Source, folder: Path, train: bool, loading: Loading) -> Split:
    try:
        try:
            return source.read(folder, train, False)
        except (RuntimeError, OSError):  # not there, or not whole
            for file in source.files():
                fetch(source.title, file, folder, loading)
            return source.read(folder, train, True)
    except (RuntimeError, OSError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise DataError(
            f"{source.title} in {folder} cannot be read ({error}). Delete its files there and start again, "
            "which downloads them anew."
        ) from error


def fetch(title: str, file: RemoteFile, folder: Path, loading: Loading) -> None:
    """Download one file unless it is there with the right MD5; it appears whole or not at all.

    Raises:
        DownloadError: no server gave the right file.
        LoadingCancelled: the caller gave up; nothing is left behind.
    """
    destination = folder / file.place
    if _matches(destination, file.md5):
        return
    reasons = []
    for url in file.urls:
        temporary = destination.with_name(destination.name + ".part")
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            if (
                _download(url, temporary, functools.partial(loading.report, f"{title}: {destination.name}"))
                == file.md5
            ):
                temporary.replace(destination)
                return
            reasons.append("what came is not the expected file")
        except urllib.error.HTTPError as error:
            reasons.append(str(error))
            error.close()
        except urllib.error.URLError as error:
            reasons.append(str(error.reason))
        except (OSError, http.client.HTTPException, ValueError) as error:
            reasons.append(str(error) or type(error).__name__)
        finally:
            temporary.unlink(missing_ok=True)
    raise DownloadError(
        f"{title} is not in {folder} and could not be downloaded ({'; '.join(dict.fromkeys(reasons))}). "
        f"Connect once, or put {destination.name} in {destination.parent}."
    )


def _download(url: str, destination: Path, report: Callable[[int, int], None]) -> str:
    """Write what a URL gives to a file, and return its MD5."""
    digest = hashlib.md5(usedforsecurity=False)
    request = urllib.request.Request(url, headers={"User-Agent": "cartl-workbench"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer, destination.open("wb") as file:
        total = int(answer.headers.get("Content-Length") or 0)
        done = 0
        while True:
            report(done, total)
            piece = answer.read(PIECE)
            if not piece:
                break
            file.write(piece)
            digest.update(piece)
            done += len(piece)
    if done < total:
        raise OSError(f"the connection ended after {done:,} of {total:,} bytes")
    return digest.hexdigest()


def _matches(path: Path, md5: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5


def _pool(split: Split, name: str, source: Source, loading: Loading) -> Pool:
    """Bring the images asked for to size, or take them from the cache of a slow set."""
    size = loading.config.image_size
    labels = np.asarray(split.labels, dtype=np.int64)
    what = f"{source.title} {name}"
    if not source.slow:
        return Pool(labels, lambda ids: (_resize(split.images, ids, size, what, loading), {}))
    every = np.arange(len(labels))
    cache = loading.data_root / "cache" / f"{loading.config.name}-{name}-{size}.npz"
    known = read_cache(cache, (len(labels), 3, size, size))
    if known is None:
        known = _resize(split.images, every, size, what, loading), {}
        write_cache(cache, *known)
    return Pool.of_array(known[0], labels)


def _resize(images: Bytes | Pictures, ids: Ids, size: int, what: str, loading: Loading) -> Bytes:
    """Bring images to [n, 3, S, S]."""
    if isinstance(images, np.ndarray) and images.shape[1:3] == (size, size):
        return np.ascontiguousarray(images[ids].transpose(0, 3, 1, 2))
    result = np.empty((len(ids), 3, size, size), np.uint8)
    for row, index in enumerate(ids):
        if row % 1000 == 0:
            loading.report(what, row * result[:1].nbytes, result.nbytes)
        picture = images[int(index)]
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        result[row] = fit(image, size).transpose(2, 0, 1)
    return result


def _register() -> Iterator[str]:
    for name, (source, paper) in SOURCES.items():
        datasets.register(name, title=source.title, source=paper)(functools.partial(open_source, source))
        yield name


NAMES = tuple(_register())
