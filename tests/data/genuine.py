"""Small data sets in the very file formats of the real ones, written from numbers alone."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets as tv
from PIL import Image

from engine.data import torchvision_sets

TRAIN, TEST = 40, 20


def pixels(count: int, size: int, *, seed: int = 0) -> np.ndarray:
    """Images [count, size, size, 3], all different: a bright disc of its own place and colour on a gradient."""
    draws = np.random.PCG64(seed + 1000 * size).random_raw(count * 6).reshape(count, 6) % 1000 / 1000
    y, x = np.mgrid[:size, :size] / size
    disc = (y - draws[:, :1, None]) ** 2 + (x - draws[:, 1:2, None]) ** 2 < 0.09
    images = np.where(disc[..., None], draws[:, None, None, 3:], (x * draws[:, 2:3, None])[..., None])
    return np.floor(images * 255).astype(np.uint8)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


class OldDtype:
    """Pickles as an old numpy pickled uint8, with a number where a newer numpy wants a bool."""

    def __reduce__(self):
        return np.dtype, ("u1", 0, 1)


class OldArray:
    """Pickles as an array with an `OldDtype`."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __reduce__(self):
        content = self.array.tobytes()
        return np.ndarray, (self.array.shape, OldDtype(), content)


def write_cifar(root: Path, patch: pytest.MonkeyPatch, name: str) -> Path:
    """Write the archive, as it is downloaded, and make its sums the expected ones."""
    cls = getattr(tv, name)
    classes = 10 if name == "CIFAR10" else 100
    batches = len(cls.train_list)
    images = pixels(TRAIN + TEST, 32)
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    labels = (np.arange(TRAIN + TEST) * 7 % classes).tolist()
    each = TRAIN // batches
    cuts = [slice(number * each, (number + 1) * each) for number in range(batches)] + [slice(TRAIN, None)]
    key = "labels" if classes == 10 else "fine_labels"
    members = {}
    for (file, _), cut in zip([*cls.train_list, *cls.test_list], cuts, strict=True):
        members[file] = pickle.dumps({"data": OldArray(rows[cut]), key: labels[cut]}, protocol=2)
    names = {cls.meta["key"]: [f"class {number}" for number in range(classes)]}
    members[cls.meta["filename"]] = pickle.dumps(names, protocol=2)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for file, content in members.items():
            info = tarfile.TarInfo(f"{cls.base_folder}/{file}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    patch.setattr(cls, "tgz_md5", md5(archive.getvalue()))
    patch.setattr(cls, "train_list", [[file, md5(members[file])] for file, _ in cls.train_list])
    patch.setattr(cls, "test_list", [[file, md5(members[file])] for file, _ in cls.test_list])
    patch.setattr(cls, "meta", cls.meta | {"md5": md5(members[cls.meta["filename"]])})
    path = root / cls.filename
    path.write_bytes(archive.getvalue())
    return path


def write_mnist(root: Path, name: str) -> None:
    """Write the four unpacked files of MNIST or Fashion-MNIST."""
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for split, count, seed in (("train", TRAIN, 1), ("t10k", TEST, 2)):
        images = pixels(count, 28, seed=seed)[..., 0]
        labels = (np.arange(count) % 10).astype(np.uint8)
        header = struct.pack(">IIII", 0x803, count, 28, 28)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 0x801, count) + labels.tobytes()
        )


def matlab_file(arrays: dict[str, np.ndarray]) -> bytes:
    """A compressed level-5 MATLAB file of uint8 arrays."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)

    parts = [b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x100) + b"IM"]
    for name, array in arrays.items():
        body = element(6, struct.pack("<II", 9, 0)) + element(5, struct.pack(f"<{array.ndim}i", *array.shape))
        body += struct.pack("<HH", 1, len(name)) + name.encode().ljust(
            4, b"\0"
        )  # a short name sits in its tag
        body += element(2, array.tobytes(order="F"))
        packed = zlib.compress(element(14, body))
        parts.append(struct.pack("<II", 15, len(packed)) + packed)
    return b"".join(parts)


def write_svhn(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Write both MATLAB files; the digit 0 is called 10 in them."""
    splits = {}
    for split, count, seed in (("train", TRAIN, 1), ("test", TEST, 2)):
        labels = (np.arange(count) % 10 + 1).astype(np.uint8).reshape(-1, 1)
        images = pixels(count, 32, seed=seed).transpose(1, 2, 3, 0)
        content = matlab_file({"X": images, "y": labels})
        url, name, _ = tv.SVHN.split_list[split]
        (root / name).write_bytes(content)
        splits[split] = [url, name, md5(content)]
    patch.setattr(tv.SVHN, "split_list", splits)


def write_stl10(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Write the unpacked binary files, whose images are stored column by column."""
    folder = root / tv.STL10.base_folder
    folder.mkdir()
    files = {"unlabeled_X.bin": b""}
    for split, count, seed in (("train", TRAIN, 1), ("test", TEST, 2)):
        files[f"{split}_X.bin"] = pixels(count, 96, seed=seed).transpose(0, 3, 2, 1).tobytes()
        files[f"{split}_y.bin"] = (np.arange(count) % 10 + 1).astype(np.uint8).tobytes()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "class_names.txt").write_text("\n".join(f"kind {number}" for number in range(10)))
    for attribute in ("train_list", "test_list"):
        names = [name for name, _ in getattr(tv.STL10, attribute)]
        patch.setattr(tv.STL10, attribute, [[name, md5(files[name])] for name in names])


def write_gtsrb(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Write the unpacked pictures, each of its own size."""
    base = root / "gtsrb"
    patch.setattr(torchvision_sets, "GTSRB_COUNTS", {True: TRAIN, False: TEST})
    lines = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for count, training in ((TRAIN, True), (TEST, False)):
        for number in range(count):
            label = number % 4
            place = f"Training/{label:05d}" if training else "Final_Test/Images"
            folder = base / "GTSRB" / place
            folder.mkdir(parents=True, exist_ok=True)
            image = pixels(1, 20 + number, seed=number + 100 * training)[0]
            Image.fromarray(image).save(folder / f"{number:05d}.ppm")
            if not training:
                lines.append(f"{number:05d}.ppm;20;20;0;0;20;20;{label}")
    (base / "GT-final_test.csv").write_text("\n".join(lines) + "\n")


def image_folder(root: Path) -> Path:
    """Write PNG, WEBP (lossless) and BMP files of three classes, in several sizes."""
    suffixes = ("png", "webp", "bmp", "PNG")
    for split, count, seed in (("train", TRAIN, 1), ("test", TEST, 2)):
        for number in range(count):
            folder = root / split / ("cat", "dog", "emu")[number % 3]
            folder.mkdir(parents=True, exist_ok=True)
            suffix = suffixes[number % 4]
            options = {"lossless": True} if suffix == "webp" else {}
            image = pixels(1, 24 + number % 3 * 4, seed=number + 100 * seed)[0]
            Image.fromarray(image).save(folder / f"{number:03d}.{suffix}", **options)
    return root
