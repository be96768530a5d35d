"""Zip archives that torch and its exporters write: their structure, and the tensors in them as plain bytes.

Read with Python's own zip module and nothing else, so that what was checked is what is read.
"""

from __future__ import annotations

import re
import struct
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import DamagedFileError, UntrustedFileError
from engine.wording import format_bytes

if TYPE_CHECKING:
    import torch

MAX_MEMBERS = 20_000
#: Most bytes of a compressed member after unpacking, and of all of them together.
MAX_UNPACKED_BYTES = 16_000_000
MAX_UNPACKED_TOTAL = 64_000_000
#: Most numbers of dimensions of a tensor.
MAX_DIMENSIONS = 16


def refusal(rule: str, message: str) -> UntrustedFileError:
    """The error for a file that breaks a safety rule."""
    return UntrustedFileError(f"{message} (rule: {rule})")


@contextmanager
def open_archive(
    path: Path, member: re.Pattern[str], *, what: str, compressed: re.Pattern[str] | None = None
) -> Iterator[Archive]:
    """Open a zip archive after checking its structure and every checksum; nothing in it is run.

    Args:
        path: the file.
        member: what the names of its members look like, below their one common folder.
        what: what the file is said to be, for messages ("checkpoint").
        compressed: which members may be compressed; none by default.

    Raises:
        UntrustedFileError: it breaks a rule, which the message names.
        DamagedFileError: it is cut short or a checksum is wrong.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive, member, what=what, compressed=compressed)
            broken = archive.testzip()
            if broken is not None:
                raise DamagedFileError(f"{path}: the checksum of {broken} is wrong")
            yield Archive(path, archive)
    except (
        zipfile.BadZipFile,
        EOFError,
        LookupError,
        ValueError,
        struct.error,
        OSError,
        RuntimeError,
    ) as error:
        raise DamagedFileError(f"{path} is cut short or damaged: {error}") from error


class Archive:
    """A checked archive; members go by their names below its folder."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive
        self._root = archive.namelist()[0].split("/")[0]
        self.names = tuple(name.partition("/")[2] for name in archive.namelist())

    def size(self, name: str) -> int:
        """Bytes of a member.

        Raises:
            DamagedFileError: there is none of that name.
        """
        return self._find(name).file_size

    def read(self, name: str, *, limit: int | None = None) -> bytes:
        """A member's bytes.

        Raises:
            DamagedFileError: there is none of that name.
            UntrustedFileError: it has more bytes than the limit.
        """
        info = self._find(name)
        if limit is not None and info.file_size > limit:
            raise refusal("size", f"{self.path}: {name} has {format_bytes(info.file_size)}")
        return self._archive.read(info)

    def require_byte_order(self) -> None:
        """Check that numbers are stored as this machine reads them.

        Raises:
            DamagedFileError: they are not.
        """
        if "byteorder" in self.names and self.read("byteorder", limit=64).decode("ascii") != sys.byteorder:
            raise DamagedFileError(f"{self.path} was written on a machine with another byte order")

    def _find(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._archive.getinfo(f"{self._root}/{name}")
        except KeyError:
            raise DamagedFileError(f"{self.path} holds no {name}") from None


def member_names(path: Path) -> tuple[str, ...]:
    """The names of a zip archive's members below its folder, to tell by what wrote it; () if it is no zip file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(name.partition("/")[2] for name in archive.namelist())
    except (zipfile.BadZipFile, LookupError, ValueError, struct.error, OSError, RuntimeError):
        return ()


def _check_members(
    path: Path,
    archive: zipfile.ZipFile,
    expected: re.Pattern[str],
    *,
    what: str,
    compressed: re.Pattern[str] | None,
) -> None:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise refusal(
            "number of members", f"{path} has {len(members)} members, at most {MAX_MEMBERS} are read"
        )
    names = [member.filename for member in members]
    if len(set(names)) != len(names):
        raise refusal("unique names", f"{path} holds two members of one name")
    unpacked = 0
    for member in members:
        folder, _, name = member.filename.partition("/")
        if not folder or "\\" in member.filename or ".." in member.filename.split("/"):
            raise refusal("member names", f"{path} holds {member.filename[:80]!r}, which no {what} has")
        if not expected.fullmatch(name):
            raise refusal("member names", f"{path} holds {member.filename[:80]!r}, which no {what} has")
        if member.flag_bits & 1:
            raise refusal("no encryption", f"{path}: {member.filename} is encrypted")
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            if compressed is None or not compressed.fullmatch(name):
                raise refusal(
                    "no compression",
                    f"{path}: {member.filename} is compressed; a {what} never has that compressed",
                )
            unpacked += member.file_size
            if member.file_size > MAX_UNPACKED_BYTES or unpacked > MAX_UNPACKED_TOTAL:
                raise refusal(
                    "unpacked size",
                    f"{path}: {member.filename} unpacks to {format_bytes(member.file_size)}, all to more than "
                    f"{format_bytes(unpacked)}",
                )
    if len({name.split("/")[0] for name in names}) != 1:
        raise refusal("member names", f"{path} holds more than one folder")
    ordered = sorted(members, key=lambda member: member.header_offset)
    ends = [member.header_offset for member in ordered[1:]] + [path.stat().st_size]
    for member, end in zip(ordered, ends, strict=True):
        if member.header_offset + member.compress_size > end:
            raise refusal("no overlap", f"{path}: {member.filename} shares bytes with another member")


class StoredTensors:
    """Makes tensors of bytes in an archive, and keeps count of what they claim together.

    Args:
        archive: where the bytes are.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._storages: dict[tuple[str, torch.dtype], torch.Tensor] = {}
        self._claimed = 0
        self._limit = 2 * archive.path.stat().st_size

    def tensor(
        self, member: str, dtype: torch.dtype, size: tuple[int, ...], stride: tuple[int, ...], offset: int
    ) -> torch.Tensor:
        """A tensor on the CPU; tensors of one member share its memory.

        Args:
            member: name of the member that holds its numbers.
            dtype: type of the numbers.
            size, stride: one number for each dimension.
            offset: of the first number.

        Raises:
            UntrustedFileError: it reaches beyond the member, or claims more numbers than are stored.
            DamagedFileError: there is no such member.
        """
        import torch

        numbers = (*size, *stride, offset)
        if len(size) != len(stride) or len(size) > MAX_DIMENSIONS or any(number < 0 for number in numbers):
            raise refusal("tensor bytes", f"{self._archive.path}: {member} has an impossible shape")
        storage = self._storages.get((member, dtype))
        if storage is None:
            data = bytearray(self._archive.read(member))
            if len(data) % dtype.itemsize:
                raise refusal("tensor bytes", f"{self._archive.path}: {member} ends within a number")
            storage = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            self._storages[member, dtype] = storage
        count, last = 1, offset
        for length, step in zip(size, stride, strict=True):
            count *= length
            last += (length - 1) * step
        self._claimed += count * dtype.itemsize
        if count and (last >= storage.numel() or count > storage.numel()):
            raise refusal(
                "tensor bytes",
                f"{self._archive.path}: a tensor claims {format_bytes(count * dtype.itemsize)} of {member}, which holds "
                f"{format_bytes(storage.nbytes)}",
            )
        if self._claimed > self._limit:
            raise refusal(
                "tensor bytes", f"{self._archive.path}: its tensors claim more than twice what the file holds"
            )
        return torch.as_strided(storage, size, stride, offset)
