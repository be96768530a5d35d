"""A whole run to give away: a folder, or the same as one .zip file.

<run id>/README.txt        what is what, and how the run is made again
         config.toml       the settings
         status.json, journal.jsonl, run.log...
         environment.json  the machine and the versions that the run recorded
         metrics.h5        the tables
         weights/          the model after each training stage
         checkpoints/      the newest checkpoint, if it was asked for
         SHA256SUMS        of all files above, as `sha256sum -c` reads it
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from engine import __version__
from engine.errors import DamagedFileError, StoreError
from engine.events import ENDED, RunInfo, RunRecord
from engine.store.atomic import (
    free_bytes,
    replacing,
    sync_file,
    sync_folder,
    temporary_path,
    write_error,
)
from engine.store.checkpoints import CheckpointFolder
from engine.store.run_folder import CONFIG_FILE, STATUS_FILE, RunFolder, read_text
from engine.store.tables import write_run_file
from engine.wording import format_bytes

README, SUMS, ENVIRONMENT = "README.txt", "SHA256SUMS", "environment.json"
#: What the files of a run may be called; nothing else is written or taken in.
NAMES = re.compile(
    rf"{re.escape(README)}|{re.escape(ENVIRONMENT)}|config\.toml|status\.json|label\.json|journal\.jsonl|run\.log(\.[1-9])?"
    r"|metrics\.h5|weights/(pretraining|finetuning)\.safetensors(\.sha256)?"
    r"|checkpoints/(latest|\d{4,12}-(pretraining|finetuning|attack)-\d{8,15}\.pt(\.sha256)?)"
)
#: Files that hold text and are worth compressing.
_TEXT = re.compile(r".*\.(txt|toml|json|jsonl|log|log\.\d|sha256)|.*/latest")
_SPARE_BYTES = 16_000_000
_CHUNK = 1 << 20
#: A running run may drop an older checkpoint while it is being copied.
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class _Part:
    """A file of the package and where its bytes come from."""

    name: str
    source: Path | bytes

    def size(self) -> int:
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


class _Sink(Protocol):
    """Takes the files of a package."""

    def open(self, name: str, size: int) -> IO[bytes]:
        """A file of the package, to be written."""


@dataclass(frozen=True, slots=True)
class _FolderSink:
    root: Path

    def open(self, name: str, size: int) -> IO[bytes]:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        return open(path, "xb")


@dataclass(frozen=True, slots=True)
class _ZipSink:
    archive: zipfile.ZipFile
    root: str

    def open(self, name: str, size: int) -> IO[bytes]:
        # The same date for all: two packages of one run are the same, byte by byte.
        info = zipfile.ZipInfo(f"{self.root}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
        info.compress_type = zipfile.ZIP_DEFLATED if _TEXT.fullmatch(name) else zipfile.ZIP_STORED
        info.external_attr = 0o644 << 16
        info.create_system = 3
        info.file_size = size
        return self.archive.open(info, "w")


@dataclass(slots=True)
class _Package:
    """Files on their way into a sink, with their SHA-256."""

    sink: _Sink
    sums: dict[str, str] = field(default_factory=dict)

    def add(self, part: _Part) -> str:
        digest = hashlib.sha256()
        if isinstance(part.source, bytes):
            digest.update(part.source)
            with self.sink.open(part.name, len(part.source)) as target:
                target.write(part.source)
        else:
            with open(part.source, "rb") as source, self.sink.open(part.name, part.size()) as target:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    target.write(chunk)
        self.sums[part.name] = digest.hexdigest()
        return self.sums[part.name]

    def finish(self) -> None:
        lines = [f"{digest}  {name}\n" for name, digest in sorted(self.sums.items())]
        with self.sink.open(SUMS, sum(map(len, lines))) as target:
            target.write("".join(lines).encode())


def export_run(
    folder: RunFolder,
    destination: Path,
    *,
    record: Callable[[], RunRecord],
    with_checkpoint: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write a run as it is now, also while it is under way; it appears as a whole or not at all.

    Args:
        folder: the run.
        destination: a new or empty folder, or a file that ends in .zip.
        record: gives all that was measured, of a run that is under way.
        with_checkpoint: include the newest whole checkpoint, from which the run can go on.
        overwrite: replace a .zip file that is there; a folder is never replaced.

    Returns:
        `destination`.

    Raises:
        StoreError: it exists, there is no space, or something cannot be read or written.
    """
    as_zip = destination.suffix.lower() == ".zip"
    _require_free(destination, folder, as_zip=as_zip, overwrite=overwrite)
    with tempfile.TemporaryDirectory(prefix="cartl-export-") as scratch:
        info = folder.info()
        parts = list(_parts(folder, info, Path(scratch), record, with_checkpoint=with_checkpoint))
        size = sum(part.size() for part in parts)
        free = free_bytes(destination)
        if with_checkpoint and (path := CheckpointFolder(folder.checkpoints).latest()) is not None:
            size += path.stat().st_size
        if free < size + _SPARE_BYTES:
            raise StoreError(
                f"no space at {destination}: the run takes {format_bytes(size)}, {format_bytes(free)} are free; "
                "choose another place"
            )
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            with _zip(destination, folder.id) if as_zip else _new_folder(destination) as sink:
                package = _Package(sink)
                for part in sorted(parts, key=lambda part: part.name):
                    _add_checked(package, part)
                if with_checkpoint:
                    _add_checkpoint(package, CheckpointFolder(folder.checkpoints))
                package.finish()
        except OSError as error:
            raise write_error(destination, error, size) from error
    return destination


def _require_free(destination: Path, folder: RunFolder, *, as_zip: bool, overwrite: bool) -> None:
    place = destination.resolve()
    workspace = folder.path.resolve().parent
    if place.is_relative_to(workspace):
        raise StoreError(f"{destination} lies among the runs of the workspace; choose a place outside")
    if as_zip:
        if destination.is_dir() or (destination.exists() and not overwrite):
            raise StoreError(f"{destination} exists; choose another name, or say that it is to be replaced")
    elif destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise StoreError(f"{destination} exists and is not an empty folder; choose another name")


def _parts(
    folder: RunFolder, info: RunInfo, scratch: Path, record: Callable[[], RunRecord], *, with_checkpoint: bool
) -> Iterator[_Part]:
    """All files but the checkpoint and the list of hashes."""
    under_way = info.state not in ENDED
    yield _Part(CONFIG_FILE, read_text(folder.path / CONFIG_FILE).encode())
    yield _Part(STATUS_FILE, settled_status(read_text(folder.path / STATUS_FILE)).encode())
    yield _Part(ENVIRONMENT, _environment(folder).encode())
    yield _Part(README, _readme(info, with_checkpoint=with_checkpoint).encode())
    for path in sorted(folder.path.iterdir()):
        if path.is_file() and re.fullmatch(r"label\.json|journal\.jsonl|run\.log(\.[1-9])?", path.name):
            yield _Part(path.name, path.read_bytes())
    for path in sorted((folder.path / "weights").glob("*")):
        if NAMES.fullmatch(f"weights/{path.name}"):
            yield _Part(f"weights/{path.name}", path)
    if under_way and folder.metrics_path.exists():
        # Its writer may be in the middle of a row.
        tables = scratch / "metrics.h5"
        write_run_file(record(), tables)
        yield _Part(tables.name, tables)
    elif folder.metrics_path.exists():
        yield _Part(folder.metrics_path.name, folder.metrics_path)


def settled_status(text: str) -> str:
    """A status.json of a run that this program does not work on: none is under way, and no process has it.

    Raises:
        DamagedFileError: it holds no JSON object.
    """
    try:
        status = json.loads(text)
    except ValueError as error:
        raise DamagedFileError(f"{STATUS_FILE} is not valid JSON: {error}") from error
    if not isinstance(status, dict):
        raise DamagedFileError(f"{STATUS_FILE} does not hold a JSON object")
    if status.get("state") not in ENDED:
        status |= {"state": "interrupted", "reason": "exported before it had finished"}
    status["process"] = {}
    return json.dumps(status, indent=1, ensure_ascii=False) + "\n"


def _environment(folder: RunFolder) -> str:
    """The machine entries of the journal, oldest first: more than one if the run went on elsewhere."""
    machines = [
        {key: value for key, value in entry.items() if key not in ("time", "kind")}
        for entry in folder.read_journal()
        if entry.get("kind") == "machine"
    ]
    found = {"exported_with": f"CARTL Workbench {__version__}", "run_on": machines}
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _readme(info: RunInfo, *, with_checkpoint: bool) -> str:
    checkpoint = (
        "checkpoints/      the newest checkpoint, from which the run can go on"
        if with_checkpoint
        else "(without a checkpoint: the run can be looked at and started from, but not gone on with)"
    )
    command = "cartl run config.toml"
    if info.parent:
        command += f" --set start_from={info.parent}"
    lines = [
        f"{info.title}: a run of CARTL Workbench",
        "",
        f"Run {info.id}, of the study “{info.study}”, {_state(info)}.",
        "",
        f"{README}        this text",
        "config.toml       all settings, complete",
        "metrics.h5        everything measured (HDF5; silx view and h5web show it)",
        "weights/          the model after each training stage (safetensors)",
        checkpoint,
        "status.json       state and result",
        "journal.jsonl     every change of state",
        "run.log           what was told while it ran",
        "environment.json  the machine and the versions that it was made with",
        f"{SUMS}        SHA-256 of all of it; check with: sha256sum -c {SUMS}",
        "",
        "Take it into a workspace: drop it on the window, or cartl import-run FOLDER_OR_ZIP",
        f"Make it again: {command}",
    ]
    if info.parent:
        lines += ["It starts from the weights of another run, named there, which is not in this package."]
    elif info.config.start_from:
        lines += [f"It starts from {info.config.start_from}, which is not in this package."]
    return "\n".join(lines) + "\n"


def _state(info: RunInfo) -> str:
    return info.state if info.state in ENDED else "exported before it had finished"


def _add_checked(package: _Package, part: _Part) -> None:
    """Add a file; weights must be what their own list of hashes says."""
    digest = package.add(part)
    if not isinstance(part.source, Path):
        return
    beside = part.source.with_name(f"{part.source.name}.sha256")
    if beside.exists() and beside.read_text(encoding="ascii", errors="replace").split(" ")[0] != digest:
        raise DamagedFileError(f"{part.source} does not match its SHA-256 in {beside.name}; it is damaged")


def _add_checkpoint(package: _Package, checkpoints: CheckpointFolder) -> None:
    for attempt in range(_ATTEMPTS):
        path = checkpoints.latest()
        if path is None:
            return
        beside = path.with_name(f"{path.name}.sha256")
        try:
            digest = beside.read_bytes()
            _add_checked(package, _Part(f"checkpoints/{path.name}", path))
        except FileNotFoundError:
            if attempt + 1 == _ATTEMPTS:
                raise
            continue
        package.add(_Part(f"checkpoints/{beside.name}", digest))
        package.add(_Part("checkpoints/latest", f"{path.name}\n".encode()))
        return


@contextmanager
def _new_folder(destination: Path) -> Iterator[_Sink]:
    temporary = temporary_path(destination)
    temporary.mkdir()
    try:
        yield _FolderSink(temporary)
        for folder, _folders, names in os.walk(temporary):
            for name in names:
                sync_file(Path(folder) / name)
            sync_folder(Path(folder))
        if destination.exists():
            destination.rmdir()
        os.rename(temporary, destination)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(destination.parent)


@contextmanager
def _zip(destination: Path, root: str) -> Iterator[_Sink]:
    with replacing(destination) as file, zipfile.ZipFile(file, "w") as archive:
        yield _ZipSink(archive, root)
