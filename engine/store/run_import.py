"""Takes a run that `run_package` wrote, by whomever, into a workspace. Nothing in it is trusted.

Only files that a run has are taken, each with the SHA-256 that the package says. Its tables are read once by a
process of their own before the run appears, its weights and checkpoints whenever they are used.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from engine.errors import DamagedFileError, StoreError, UntrustedFileError, WorkspaceLockedError
from engine.events import RunRecord
from engine.store.archives import refusal
from engine.store.atomic import free_bytes, sync_folder, temporary_path, write_error, write_text
from engine.store.run_folder import CONFIG_FILE, MAX_TEXT_BYTES, STATUS_FILE, RunFolder, read_text
from engine.store.run_package import ENVIRONMENT, NAMES, README, SUMS, settled_status
from engine.store.run_reader import read_record
from engine.store.workspace import Workspace, slug
from engine.wording import format_bytes

MAX_FILES = 200
MAX_BYTES = 256 * 2**30
#: What file managers leave in folders and archives.
_JUNK = re.compile(r"(.*/)?(\.DS_Store|Thumbs\.db|desktop\.ini|\._.*)|__MACOSX/.*")
_SUM = re.compile(r"([0-9a-f]{64})  (\S.*)")
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_SPARE_BYTES = 64_000_000
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class _Package:
    """A package: sizes by name in bytes, what opens a file of it, and the id that it claims."""

    sizes: dict[str, int]
    open: Callable[[str], IO[bytes]]
    run_id: str


def import_run(workspace: Workspace, path: Path) -> RunRecord:
    """Take an exported run into a workspace that this process may write to.

    A run that was under way when it was exported arrives as interrupted. Where its id is taken, it gets another.

    Args:
        workspace: where it goes.
        path: a folder or .zip file that `export_run` wrote.

    Returns:
        The run as it is now in the workspace, with all that was measured.

    Raises:
        WorkspaceLockedError: another process writes to the workspace.
        UntrustedFileError: the package breaks a safety rule, which the message names.
        DamagedFileError: a file is missing, is not what its hash says, or holds no run.
        StoreError: it cannot be read, or the workspace has no space for it.
    """
    if not workspace.writable:
        raise WorkspaceLockedError(f"{workspace.root} is open for reading only; another process writes to it")
    with _opened(path) as package:
        sums = _read_sums(path, package)
        size = sum(package.sizes.values())
        if free_bytes(workspace.runs_path) < size + _SPARE_BYTES:
            raise StoreError(
                f"no space in {workspace.root}: the run takes {format_bytes(size)}, "
                f"{format_bytes(free_bytes(workspace.runs_path))} are free"
            )
        temporary = temporary_path(workspace.runs_path / "run")
        try:
            try:
                for folder in (temporary, temporary / "checkpoints", temporary / "weights"):
                    folder.mkdir()
                for name, digest in sums.items():
                    _take(path, package, name, digest=digest, target=temporary / name)
                for name in (README, ENVIRONMENT):
                    (temporary / name).unlink(missing_ok=True)
                record = _checked(path, RunFolder(temporary))
                RunFolder(temporary).journal("imported", source=path.name)
                final = workspace.runs_path / _free_id(workspace, package.run_id, record.run.config.name)
                sync_folder(temporary)
                os.rename(temporary, final)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            sync_folder(workspace.runs_path)
        except OSError as error:
            raise write_error(workspace.runs_path, error, size) from error
    return replace(record, run=workspace.folder(final.name).info())


@contextmanager
def _opened(path: Path) -> Iterator[_Package]:
    if path.is_dir():
        yield _of_folder(path)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            yield _of_zip(path, archive)
    except FileNotFoundError as error:
        raise StoreError(f"there is no file or folder {path}") from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        LookupError,
        NotImplementedError,
        struct.error,
    ) as error:
        raise DamagedFileError(
            f"{path} is no exported run, or is cut short: expected a folder or .zip file that "
            f"`cartl export RUN --run` wrote ({error})"
        ) from error


def _of_folder(path: Path) -> _Package:
    """The files of a folder; links are refused, for they can lead anywhere."""
    sizes: dict[str, int] = {}
    try:
        for base, folders, names in os.walk(path):
            for name in [*folders, *names]:
                entry = Path(base) / name
                inside = entry.relative_to(path).as_posix()
                mode = entry.lstat().st_mode
                if stat.S_ISDIR(mode) or _JUNK.fullmatch(inside):
                    continue
                if not stat.S_ISREG(mode):
                    raise refusal("no links", f"{path}: {inside} is a link or no plain file")
                sizes[inside] = entry.lstat().st_size
                if len(sizes) > MAX_FILES:
                    raise _too_many(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    _check_names(path, sizes)
    return _Package(sizes, lambda name: open(path / name, "rb"), path.resolve().name)


def _of_zip(path: Path, archive: zipfile.ZipFile) -> _Package:
    """The files of an archive below its one folder, or at its top."""
    members = [
        member
        for member in archive.infolist()
        if not member.is_dir() and not _JUNK.fullmatch(member.filename)
    ]
    if len(members) > MAX_FILES:
        raise _too_many(path)
    tops = {member.filename.partition("/")[0] for member in members}
    is_wrapped = len(tops) == 1 and all("/" in member.filename for member in members)
    root = f"{tops.pop()}/" if is_wrapped else ""
    sizes: dict[str, int] = {}
    for member in members:
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise refusal("no links", f"{path}: {member.filename[:80]!r} is a link or no plain file")
        if member.flag_bits & 1:
            raise refusal("no encryption", f"{path}: {member.filename[:80]!r} is encrypted")
        name = member.filename.removeprefix(root)
        if name in sizes:
            raise refusal("unique names", f"{path} holds two files named {name[:80]!r}")
        sizes[name] = member.file_size
    _check_names(path, sizes)
    return _Package(sizes, lambda name: archive.open(f"{root}{name}"), root.rstrip("/"))


def _check_names(path: Path, sizes: dict[str, int]) -> None:
    """Only names that a run has: none of them leads out of its folder."""
    strange = next((name for name in sizes if name != SUMS and not NAMES.fullmatch(name)), None)
    if strange is not None:
        raise refusal("file names", f"{path} holds {strange[:80]!r}, which no exported run has")
    if sum(sizes.values()) > MAX_BYTES:
        total, most = format_bytes(sum(sizes.values())), format_bytes(MAX_BYTES)
        raise refusal("size", f"{path} unpacks to {total}, at most {most} are taken")


def _too_many(path: Path) -> UntrustedFileError:
    return refusal("number of files", f"{path} holds more than {MAX_FILES} files, which no exported run does")


def _read_sums(path: Path, package: _Package) -> dict[str, str]:
    """SHA-256 by name, of every file of the package and of no other."""
    if SUMS not in package.sizes:
        raise DamagedFileError(
            f"{path} holds no {SUMS}: expected a folder or .zip file that `cartl export RUN --run` wrote"
        )
    with package.open(SUMS) as file:
        text = file.read(MAX_TEXT_BYTES).decode("utf-8", errors="replace")
    sums: dict[str, str] = {}
    for line in text.splitlines():
        match = _SUM.fullmatch(line)
        if match is None:
            raise DamagedFileError(f"{path}: {SUMS} has a line that is no hash and name: {line[:80]!r}")
        sums[match[2]] = match[1]
    listed, found = set(sums), set(package.sizes) - {SUMS}
    for names, problem in ((listed - found, "is missing"), (found - listed, f"is not in {SUMS}")):
        if names:
            raise DamagedFileError(f"{path}: {min(names)[:80]} {problem}; export the run again")
    for name in (CONFIG_FILE, STATUS_FILE):
        if name not in sums:
            raise DamagedFileError(f"{path} holds no {name}, so it is no whole run; export the run again")
    return sums


def _take(path: Path, package: _Package, name: str, *, digest: str, target: Path) -> None:
    """Copy a file that has the size and the hash that it should have."""
    found, left = hashlib.sha256(), package.sizes[name]
    with package.open(name) as source, open(target, "xb") as file:
        while chunk := source.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            found.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    if left or found.hexdigest() != digest:
        raise DamagedFileError(
            f"{path}: {name} does not match its SHA-256 in {SUMS}; it is damaged, export the run again"
        )


def _checked(path: Path, folder: RunFolder) -> RunRecord:
    """What a run holds, if it is one: its settings and tables are read."""
    try:
        write_text(folder.path / STATUS_FILE, settled_status(read_text(folder.path / STATUS_FILE)))
        return read_record(folder)
    except StoreError as error:
        raise type(error)(str(error).replace(str(folder.path), str(path))) from error


def _free_id(workspace: Workspace, wanted: str, name: str) -> str:
    """The id that the run had, or a new one if that is taken or none."""
    if _ID.fullmatch(wanted) and len(wanted) <= 80 and not _is_taken(workspace, wanted):
        return wanted
    return f"{slug(name)}-{secrets.token_hex(4)}"


def _is_taken(workspace: Workspace, run_id: str) -> bool:
    """Whether a run of the workspace, or one in its bin, has an id."""
    return any((parent / run_id).exists() for parent in (workspace.runs_path, workspace.bin_path))
