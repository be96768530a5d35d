"""Opening files that may be damaged or hostile.

A file that this process did not write itself is first read by a child process with limits on time and memory
(`engine.store.probe`); the parent touches it only after the child vouched for it. HDF5 files of a crashed run
are opened in the first way that succeeds: as they are, as a file being written, or as a repaired copy.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from engine.errors import DamagedFileError, StoreError, UntrustedFileError
from engine.store.atomic import regular_size, write_error

#: Longest time for starting the child and importing its libraries.
START_SECONDS = 120.0
#: Longest time for reading, plus one second for each of `BYTES_PER_SECOND`.
PROBE_SECONDS = 10.0
BYTES_PER_SECOND = 50_000_000

#: How an HDF5 file is to be opened.
OpenMode = Literal["r", "swmr"]

_own: dict[str, int] = {}
_abandoned: set[tuple[int, int]] = set()


def remember_own(path: Path) -> None:
    """Note that this process wrote a file, so that it need not be probed."""
    _own[os.path.abspath(path)] = path.stat().st_ino


def remember_abandoned(descriptor: int) -> None:
    """Note an open file that HDF5 must not meet again in this process: it would reuse the broken handle."""
    status = os.fstat(descriptor)
    _abandoned.add((status.st_dev, status.st_ino))


def _is_abandoned(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return (status.st_dev, status.st_ino) in _abandoned


def is_own(path: Path) -> bool:
    """Whether a file is the very one that this process wrote under that name."""
    try:
        return _own.get(os.path.abspath(path)) == path.stat().st_ino
    except OSError:
        return False


def probe(path: Path, *, called: Path | None = None) -> dict[str, Any]:
    """Let a child process read a file; returns what it found, such as {"kind": "run", "mode": "swmr"}.

    Args:
        path: the file.
        called: the name for messages, if the file is a copy of another.

    Raises:
        StoreError: the file is missing or may not be read.
        UntrustedFileError: it breaks a safety rule, which the message names.
        DamagedFileError: it is cut short, fails a checksum, or was not read in time.
    """
    size = regular_size(path)
    package_root = Path(__file__).resolve().parents[2]
    child = subprocess.Popen(
        [sys.executable, "-m", "engine.store.probe", os.path.abspath(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=package_root,
        encoding="utf-8",
    )
    try:
        lines, collector = _lines_of(child)
        started = _next_line(lines, START_SECONDS)
        answer = _next_line(lines, PROBE_SECONDS + size / BYTES_PER_SECOND) if started == "ready" else started
    finally:
        child.kill()
        child.wait()
        collector.join()
    if answer is None:
        raise DamagedFileError(
            f"{path} was not read in time, so it was given up; it is damaged or made to harm"
        )
    if not answer:
        raise DamagedFileError(
            f"{path} broke the process that tried to read it (exit code {child.returncode}); it is damaged, made to "
            "harm, or needs more memory than there is"
        )
    found = json.loads(answer)
    if found["verdict"] != "ok":
        kind = {"refused": UntrustedFileError, "damaged": DamagedFileError, "newer": StoreError}[
            found["verdict"]
        ]
        raise kind(found["message"].replace(os.path.abspath(path), str(called or path)))
    return dict(found)


@contextmanager
def open_run_file(path: Path) -> Iterator[Any]:
    """Open a `metrics.h5` for reading, whoever wrote it and however its writer ended.

    Raises:
        StoreError, UntrustedFileError, DamagedFileError: see `probe`.
    """
    import h5py

    if _is_abandoned(path):
        with tempfile.TemporaryDirectory(prefix="cartl-copy-") as folder:
            copy = Path(folder) / "copy.h5"
            _copy(path, copy)
            with _open_foreign(copy, called=path) as file:
                yield file
    elif is_own(path):
        with h5py.File(path, "r") as file:
            yield file
    else:
        with _open_foreign(path, called=path) as file:
            yield file


@contextmanager
def _open_foreign(path: Path, *, called: Path) -> Iterator[Any]:
    try:
        mode = probe(path, called=called)["mode"]
    except DamagedFileError as error:
        with tempfile.TemporaryDirectory(prefix="cartl-repair-") as folder:
            copy = Path(folder) / "copy.h5"
            if not repair_copy(path, copy):
                raise
            try:
                mode = probe(copy, called=called)["mode"]
            except DamagedFileError:
                raise error from None
            with _open(copy, mode) as file:
                yield file
        return
    with _open(path, mode) as file:
        yield file


def _copy(path: Path, copy: Path) -> None:
    try:
        shutil.copyfile(path, copy)
    except OSError as error:
        raise write_error(copy, error) from error


def _open(path: Path, mode: OpenMode) -> Any:
    import h5py

    try:
        return h5py.File(path, "r", swmr=mode == "swmr")
    except OSError as error:
        raise DamagedFileError(f"{path} cannot be opened: {error}") from error


def repair_copy(path: Path, copy: Path) -> bool:
    """Write a copy whose superblock no longer says that a writer has the file open.

    The copy says that the file is as long as it really is; whether its content is whole is for the reader to
    find out. Source: HDF5 File Format Specification 3.0, section II.A, superblock versions 2 and 3.

    Returns:
        False if the file has no such superblock or it says nothing that could be mended.
    """
    data = bytearray(path.read_bytes())
    if data[:8] != b"\x89HDF\r\n\x1a\n" or len(data) < 48 or data[8] not in (2, 3) or data[9] != 8:
        return False
    if int.from_bytes(data[44:48], "little") != lookup3(bytes(data[:44])):
        return False
    if data[11] == 0:
        return False
    data[11] = 0
    data[28:36] = len(data).to_bytes(8, "little")
    data[44:48] = lookup3(bytes(data[:44])).to_bytes(4, "little")
    copy.write_bytes(data)
    return True


def lookup3(data: bytes) -> int:
    """The checksum of HDF5 metadata. Source: Bob Jenkins, lookup3.c, `hashlittle` with initial value 0."""
    mask = 0xFFFFFFFF

    def rotate(value: int, bits: int) -> int:
        return ((value << bits) | (value >> (32 - bits))) & mask

    a = b = c = (0xDEADBEEF + len(data)) & mask
    blocks, rest = divmod(len(data), 12)
    if rest == 0 and blocks:
        blocks, rest = blocks - 1, 12
    for index in range(blocks + 1):
        block = data[12 * index : 12 * index + 12].ljust(12, b"\0")
        a = (a + int.from_bytes(block[:4], "little")) & mask
        b = (b + int.from_bytes(block[4:8], "little")) & mask
        c = (c + int.from_bytes(block[8:], "little")) & mask
        if index < blocks:
            a = (a - c & mask) ^ rotate(c, 4)
            c = c + b & mask
            b = (b - a & mask) ^ rotate(a, 6)
            a = a + c & mask
            c = (c - b & mask) ^ rotate(b, 8)
            b = b + a & mask
            a = (a - c & mask) ^ rotate(c, 16)
            c = c + b & mask
            b = (b - a & mask) ^ rotate(a, 19)
            a = a + c & mask
            c = (c - b & mask) ^ rotate(b, 4)
            b = b + a & mask
    if not rest:
        return c
    c = (c ^ b) - rotate(b, 14) & mask
    a = (a ^ c) - rotate(c, 11) & mask
    b = (b ^ a) - rotate(a, 25) & mask
    c = (c ^ b) - rotate(b, 16) & mask
    a = (a ^ c) - rotate(c, 4) & mask
    b = (b ^ a) - rotate(a, 14) & mask
    return (c ^ b) - rotate(b, 24) & mask


def _lines_of(child: subprocess.Popen[str]) -> tuple[queue.SimpleQueue[str], threading.Thread]:
    """Collect a child's output in the background; "" stands for its end."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def collect() -> None:
        if child.stdout is not None:
            with child.stdout as stream:
                for line in stream:
                    lines.put(line.strip())
        lines.put("")

    collector = threading.Thread(target=collect, name="probe-output")
    collector.start()
    return lines, collector


def _next_line(lines: queue.SimpleQueue[str], timeout: float) -> str | None:
    try:
        return lines.get(timeout=timeout)
    except queue.Empty:
        return None
