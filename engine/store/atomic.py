"""Whole files or none: write beside, fsync, rename, fsync the folder.

Without the first fsync a power loss can leave an empty file under the final name; without the second one it can
undo the rename.
"""

from __future__ import annotations

import itertools
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from engine.errors import StoreError
from engine.wording import format_bytes

#: How a size is written in messages.
#: Part of every temporary name; what carries it was never finished and may be removed.
TEMPORARY = ".tmp-"

_serial = itertools.count()


def temporary_path(path: Path) -> Path:
    """A name for an unfinished `path`: hidden, in the same folder, unique in this process."""
    return path.with_name(f"{TEMPORARY}{os.getpid()}-{next(_serial)}-{path.name[-60:]}")


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that takes the name `path` only when everything in it is on disk.

    Raises:
        StoreError: it could not be written; what `path` held before is unchanged.
    """
    temporary = temporary_path(path)
    try:
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            _remove(temporary)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise write_error(path, error) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file at once.

    Raises:
        StoreError: it could not be written; what `path` held before is unchanged.
    """
    with replacing(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file at once; see `write_bytes`. Half characters, as in odd file names, are escaped."""
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def sync_file(path: Path) -> None:
    """Bring a closed file to the disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> int:
    """Remove what earlier processes left unfinished in a folder; returns how many were removed.

    Call it only while no other process can be writing there (under the workspace's lock).
    """
    removed = 0
    for entry in folder.glob(f"{TEMPORARY}*"):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            _remove(entry)
        removed += not entry.exists()
    return removed


def regular_size(path: Path) -> int:
    """Size of a file in bytes; opening a pipe or a device instead could block or never end.

    Raises:
        StoreError: it is missing, may not be read, or is not a plain file.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"{path} is not a file")
        with open(path, "rb"):
            return status.st_size
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error


def free_bytes(path: Path) -> int:
    """Free space where `path` is or will be; asks the nearest folder that exists."""
    folder = path
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_space(path: Path, needed: int) -> None:
    """Check that `needed` bytes are free where `path` is or will be.

    Raises:
        StoreError: they are not.
    """
    try:
        free = free_bytes(path)
    except OSError as error:
        raise write_error(path, error) from error
    if free < needed:
        raise StoreError(
            f"no space in {path}: {format_bytes(free)} free, {format_bytes(needed)} needed; "
            "free some space or choose another workspace"
        )


def write_error(path: Path, error: OSError, needed: int | None = None) -> StoreError:
    """The message for a failed write: where, why, how much is free and needed."""
    reason = error.strerror or str(error)
    try:
        free = f", {format_bytes(free_bytes(path))} free"
    except OSError:
        free = ""
    wanted = f", {format_bytes(needed)} needed" if needed is not None else ""
    return StoreError(
        f"{path} could not be written: {reason}{free}{wanted}; check space, quota and permissions there"
    )


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        # Nothing is lost: leftovers are ignored by readers and removed at the next start.
        return
