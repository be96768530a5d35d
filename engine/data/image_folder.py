"""Images from a folder of the user's: train/<class>/* and test/<class>/*.

The files are not trusted: only PNG, JPEG, WEBP and BMP are decoded, in bounded size, checked before they are
read and never completed when cut short. Links that lead out of the folder are not followed. Decoded images
are cached, so that the next start is quick; the cache may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import stat
import uuid
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from PIL import __version__ as pillow_version

from engine.data.base import Bytes, Ids, Loading, Pool, Pools, Skipped, datasets, fit
from engine.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
MAX_BYTES = 50 * 2**20
MAX_PIXELS = 50_000_000
#: Files per unit of work.
SLICE = 32
#: Cached selections of images kept per data folder; the longest unused go first.
CACHE_FILES = 8
#: Changes whenever decoding changes, so that no stale image is used.
CACHE_VERSION = 1


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image file: path below `root`, class index, size in bytes and time of change in nanoseconds."""

    root: Path
    name: str
    label: int
    size: int
    changed: int

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.root / self.name


@datasets.register(
    "folder", title="Image folder", source="train/<class>/* and test/<class>/* on this machine"
)
def open_folder(loading: Loading) -> Pools:
    """List a folder; its images are decoded when they are asked for.

    Raises:
        DataError: the folder, a split or its classes are missing, or do not match.
    """
    root = Path(loading.config.path).expanduser()
    if not root.is_dir():
        raise DataError(
            f"There is no folder {root}. Give the folder that holds train/<class>/* and test/<class>/*."
        )
    root = root.resolve()
    skipped: list[Skipped] = []
    folders = {split: _class_folders(root, split, skipped) for split in ("train", "test")}
    names = tuple(sorted(folders["train"]))
    strange = sorted(set(folders["test"]) - set(names))
    if strange:
        raise DataError(
            f"{root / 'test'} has classes that train has not: {', '.join(strange[:5])}. Add training images for "
            f"them or remove them; train has {', '.join(names[:8])}{'...' if len(names) > 8 else ''}."
        )
    pools = {}
    for split, by_name in folders.items():
        files = [
            file
            for label, name in enumerate(names)
            if name in by_name
            for file in _image_files(root, by_name[name], label, skipped)
        ]
        if not files and not skipped:
            raise DataError(
                f"{root / split} holds no images. Put PNG, JPEG, WEBP or BMP files in its class folders."
            )
        pools[split] = _pool(files, f"{root.name}/{split}", loading)
    return Pools(root.name, names, pools["train"], pools["test"], skipped=skipped)


def _class_folders(root: Path, split: str, skipped: list[Skipped]) -> dict[str, Path]:
    """Return the class folders of a split by name, without hidden ones."""
    folder = root / split
    if not folder.is_dir():
        raise DataError(f"{root} has no folder {split}. It must hold train/<class>/* and test/<class>/*.")
    if not folder.resolve().is_relative_to(root):
        raise DataError(
            f"{folder} is a link out of {root}, which is not followed. Put the images themselves there."
        )
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_dir():
            continue
        if path.resolve().is_relative_to(root):
            found[path.name] = path
        else:
            skipped.append((path, "is a link out of the folder, which is not followed"))
    if not found:
        raise DataError(
            f"{folder} holds no class folders. Put the images of each class in a folder of its name."
        )
    return found


def _image_files(root: Path, folder: Path, label: int, skipped: list[Skipped]) -> Iterator[ImageFile]:
    """Yield the image files of one class by name; hidden files are passed over, others go to `skipped`."""
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        path = Path(entry.path)
        if entry.name.startswith(".") or entry.name in {"Thumbs.db", "desktop.ini"}:
            continue
        try:
            if entry.is_symlink() and not path.resolve(strict=True).is_relative_to(root):
                skipped.append((path, "is a link out of the folder, which is not followed"))
                continue
            status = entry.stat()
        except (OSError, RuntimeError) as error:
            skipped.append((path, f"cannot be opened ({_short(error)})"))
            continue
        reason = ""
        if stat.S_ISDIR(status.st_mode):
            reason = "is a folder; images must lie directly in the folder of their class"
        elif not stat.S_ISREG(status.st_mode):
            reason = "is not a plain file"
        elif path.suffix.lower() not in SUFFIXES:
            reason = "is not a PNG, JPEG, WEBP or BMP file"
        elif status.st_size > MAX_BYTES:
            reason = f"is larger than {MAX_BYTES // 2**20} MB"
        if reason:
            skipped.append((path, reason))
        else:
            name = os.path.relpath(entry.path, root)
            yield ImageFile(root, name, label, status.st_size, status.st_mtime_ns)


def _pool(files: Sequence[ImageFile], title: str, loading: Loading) -> Pool:
    labels = np.array([file.label for file in files], dtype=np.int64)

    def read(ids: Ids) -> tuple[Bytes, Mapping[int, Skipped]]:
        return _read_cached([files[index] for index in ids], title, loading)

    return Pool(labels, read)


def decode(path: Path, size: int) -> Bytes:
    """Decode one image file and bring it to size; pictures are turned upright as their EXIF data says.

    Args:
        path: a plain file.
        size: S, pixels.

    Returns:
        uint8 [3, S, S].

    Raises:
        DataError: the file is not a whole image in one of `FORMATS`, or too large; the text is the reason.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DataError(f"is larger than {MAX_BYTES // 2**20} MB")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"has {image.width} x {image.height} pixels; at most {MAX_PIXELS // 10**6} million are read"
                )
            image.verify()
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):  # grey with 16 bits, which convert() would cut off at 255
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            elif "transparency" in upright.info:
                upright = upright.convert("RGBA")
            return np.ascontiguousarray(fit(upright, size).transpose(2, 0, 1))
    except DataError:
        raise
    except Exception as error:
        # A damaged file can make a decoder raise almost anything.
        raise DataError(_short(error)) from error


def _short(error: BaseException) -> str:
    text = str(error).partition("\n")[0].partition(" <_io.")[0].strip()
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    return text or type(error).__name__


def decode_all(
    files: Sequence[ImageFile], size: int, report: Callable[[int], None]
) -> tuple[Bytes, dict[int, str]]:
    """Decode many files on all cores.

    Args:
        files: what to decode.
        size: S, pixels.
        report: called with the number of files done; may raise to stop.

    Returns:
        images uint8 [n, 3, S, S], and the reason for each position that could not be read (its image is black).
    """
    images = np.zeros((len(files), 3, size, size), np.uint8)
    bad: dict[int, str] = {}

    def work(positions: range) -> int:
        for position in positions:
            try:
                images[position] = decode(files[position].path, size)
            except (DataError, OSError) as error:
                bad[position] = _short(error)
        return positions.stop

    # Slices, because handing over one small image costs as much as decoding it.
    slices = [range(start, min(start + SLICE, len(files))) for start in range(0, len(files), SLICE)]
    report(0)
    # What Pillow warns about (a picture larger than declared, damaged metadata) counts as damage.
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as workers:
        warnings.filterwarnings("error", module=r"PIL(\..*)?$")
        for done in workers.map(work, slices):
            report(done)
    return images, bad


def _read_cached(
    files: Sequence[ImageFile], title: str, loading: Loading
) -> tuple[Bytes, Mapping[int, Skipped]]:
    """Decode files, or take what an earlier start decoded of the very same files."""
    size = loading.config.image_size
    if not files:
        return np.zeros((0, 3, size, size), np.uint8), {}
    listing = [(file.name, file.size, file.changed) for file in files]
    key = json.dumps([CACHE_VERSION, pillow_version, size, str(files[0].root), listing])
    cache = loading.data_root / "cache" / f"folder-{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
    known = read_cache(cache, (len(files), 3, size, size))
    if known is None:
        sizes = np.cumsum([0] + [file.size for file in files])
        known = decode_all(files, size, lambda done: loading.report(title, int(sizes[done]), int(sizes[-1])))
        write_cache(cache, *known)
    images, bad = known
    return images, {position: (files[position].path, reason) for position, reason in bad.items()}


def read_cache(path: Path, shape: tuple[int, ...]) -> tuple[Bytes, dict[int, str]] | None:
    """Read a cache of images of this shape and the reasons for bad ones; None if it is missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            images = archive["images"]
            reasons = json.loads(archive["bad"].tobytes())
        os.utime(path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if images.dtype != np.uint8 or images.shape != shape or not isinstance(reasons, dict):
        return None
    return images, {int(position): str(reason) for position, reason in reasons.items()}


def write_cache(path: Path, images: Bytes, bad: Mapping[int, str]) -> None:
    """Write a cache whole or not at all, and drop the longest unused ones; a full disk is no error."""
    temporary = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, images=images, bad=np.frombuffer(json.dumps(bad).encode(), np.uint8))
        temporary.replace(path)
        by_use = sorted(path.parent.glob("*.npz"), key=lambda old: old.stat().st_mtime, reverse=True)
        for old in by_use[CACHE_FILES:]:
            old.unlink(missing_ok=True)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
