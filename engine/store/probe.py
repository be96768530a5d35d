"""Reads a file that may be damaged or hostile and tells what it found: `python -m engine.store.probe PATH`.

Runs as a child with limits on memory and without the right to write files. Prints "ready" when its libraries are
loaded, then one line of JSON: {"verdict": "ok", "kind": ...}, or "refused", "damaged" or "newer" with a message.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import DamagedFileError, StoreError, UntrustedFileError
from engine.store.archives import refusal
from engine.store.exported import is_exported, read_exported
from engine.store.tensor_files import check_safetensors, read_checkpoint
from engine.store.torchscript import is_torchscript, read_torchscript
from engine.store.torn_chunks import read_rows
from engine.wording import format_bytes

MEMORY_BYTES = 4 * 2**30
MAX_DATASET_BYTES = 2**30
MAX_CHUNK_BYTES = 64 * 2**20
MAX_EXPANSION = 1000
MAX_ATTRIBUTES = 32
MAX_CHUNKS = 100_000
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: A file being written may be caught between two writes; it is read again this often.
LIVE_ATTEMPTS = 5


class _NewerError(StoreError):
    """The file was written by a newer version of the program."""


def main(argv: list[str]) -> int:
    """Read the file named in `argv` and print the verdict."""
    path = Path(argv[0])
    with open(path, "rb") as file:
        head = file.read(8)
    kind = (
        "run"
        if head == HDF5_SIGNATURE or path.suffix == ".h5"
        else "weights"
        if path.suffix == ".safetensors"
        else "checkpoint"
    )
    if kind == "run":
        import h5py  # noqa: F401
    elif kind == "checkpoint":
        import torch

        torch.set_num_threads(1)
    _limit_memory()
    _say("ready")
    try:
        answer: dict[str, Any] = {"verdict": "ok", "kind": kind}
        if kind == "run":
            answer["mode"] = _naming(path, check_run_file)
        elif kind == "weights":
            check_safetensors(path)
        elif is_exported(path):
            answer["kind"] = "program"
            read_exported(path)
        elif is_torchscript(path):
            answer["kind"] = "program"
            read_torchscript(path)
        else:
            read_checkpoint(path)
    except UntrustedFileError as error:
        answer = {"verdict": "refused", "message": str(error)}
    except MemoryError:
        message = f"{path} needs more than {format_bytes(MEMORY_BYTES)} of memory (rule: memory)"
        answer = {"verdict": "refused", "message": message}
    except _NewerError as error:
        answer = {"verdict": "newer", "message": str(error)}
    except StoreError as error:
        answer = {"verdict": "damaged", "message": str(error)}
    except (OSError, RuntimeError, LookupError, TypeError, ValueError) as error:
        # What h5py and torch raise where a file lacks something or fails a checksum.
        answer = {"verdict": "damaged", "message": f"{path} is damaged: {type(error).__name__}: {error}"}
    _say(json.dumps(answer))
    return 0


def _naming(path: Path, check: Callable[[Path], str]) -> str:
    """Put the file's name before what a check found."""
    try:
        return check(path)
    except UntrustedFileError as error:
        raise UntrustedFileError(f"{path} was not read: {error}") from error
    except _NewerError as error:
        raise _NewerError(f"{path} cannot be read: {error}") from error
    except DamagedFileError as error:
        raise DamagedFileError(f"{path} is damaged: {error}") from error


def check_run_file(path: Path) -> str:
    """Check a `metrics.h5` against the schema and read all of it once; returns how to open it, "r" or "swmr".

    Raises:
        UntrustedFileError: it breaks a rule, which the message names.
        DamagedFileError: it does not open, or something in it is missing or fails its checksum.
    """
    import h5py

    with open(path, "rb") as stream:
        if stream.read(8) != HDF5_SIGNATURE:
            raise DamagedFileError("it is not an HDF5 file, or its beginning is missing")
    try:
        with h5py.File(path, "r") as file:
            _RunFileCheck(file).check()
        return "r"
    except (OSError, RuntimeError) as error:
        reason = error
        if not _may_be_written(path):
            # Opening it as a live file would skip HDF5's check of the length, and may hang.
            raise DamagedFileError(f"it cannot be opened: {error}") from error
    for attempt in range(LIVE_ATTEMPTS):
        try:
            with h5py.File(path, "r", swmr=True) as file:
                _RunFileCheck(file).check()
            return "swmr"
        except (OSError, RuntimeError, KeyError, DamagedFileError):
            if attempt + 1 < LIVE_ATTEMPTS:
                time.sleep(0.05)
    raise DamagedFileError(f"it cannot be opened: {reason}")


def _may_be_written(path: Path) -> bool:
    """Whether a writer had the file open when its superblock was last written."""
    with open(path, "rb") as file:
        head = file.read(12)
    return len(head) == 12 and head[8] in (2, 3) and head[11] != 0


class _RunFileCheck:
    """Walks along the names that the schema knows, so that loops and deep trees have no effect."""

    def __init__(self, file: Any) -> None:
        import h5py

        self._h5py = h5py
        self._file = file
        self._size = os.path.getsize(file.filename)

    def check(self) -> None:
        """Raises UntrustedFileError, DamagedFileError or what h5py raises."""
        from engine.config import STAGES
        from engine.store.schema import parse_layouts, tables_of

        root = self._members(self._file["/"], {"run"}, "/")
        self._check_version()
        run = self._members(
            root["run"], {"title", "start_time", "program_name", "config", "layouts", *STAGES}, "/run"
        )
        for name in ("title", "start_time", "program_name"):
            self._text(run[name], f"/run/{name}")
        for name in ("config", "layouts"):
            note = self._members(run[name], {"data"}, f"/run/{name}")
            self._text(note["data"], f"/run/{name}/data")
        layouts = parse_layouts(bytes(run["layouts"]["data"][0]))
        if {layout.stage for layout in layouts} != set(run) & set(STAGES):
            raise DamagedFileError("the stages in it are not those that its layouts name")
        for layout in layouts:
            version = int(self._file.attrs["schema_version"])
            tables = tables_of(layout, version)
            groups = {plot.group for table in tables for plot in table.plots_in(version)}
            stage = self._members(run[layout.stage], groups | {"title"}, f"/run/{layout.stage}")
            self._text(stage["title"], f"/run/{layout.stage}/title")
            for table in tables:
                self._check_table(stage, layout, table)

    def _check_table(self, stage: Any, layout: Any, table: Any) -> None:
        from engine.store.schema import stored_name, tail

        version = int(self._file.attrs["schema_version"])
        for plot in table.plots_in(version):
            where = f"/run/{layout.stage}/{plot.group}"
            columns = [
                column
                for column in table.columns
                if column.since <= version and (table.home(column) == plot or column.name in plot.axes)
            ]
            axes = {
                kind: getattr(layout, f"{kind}_names") for kind in ("block", "layer") if kind in plot.axes
            }
            names = {stored_name(column, version) for column in columns}
            for kind in axes:
                names |= {kind, f"{kind}_name"} | ({"layer_block"} if kind == "layer" else set())
            group = self._members(stage[plot.group], names, where)
            for column in columns:
                name = stored_name(column, version)
                self._numbers(group[name], column.dtype, (None, *tail(layout, column)), f"{where}/{name}")
            for kind, labels in axes.items():
                self._numbers(group[kind], "i8", (len(labels),), f"{where}/{kind}")
                self._text(group[f"{kind}_name"], f"{where}/{kind}_name", count=len(labels))
                if kind == "layer":
                    self._numbers(group["layer_block"], "i8", (len(labels),), f"{where}/layer_block")

    def _check_version(self) -> None:
        from engine.store.schema import SCHEMA_VERSION

        h5a, h5t = self._h5py.h5a, self._h5py.h5t
        if not h5a.exists(self._file.id, b"schema_version"):
            raise refusal("our files only", "it names no schema version, so it is no run of this program")
        attribute = h5a.open(self._file.id, b"schema_version")
        if attribute.get_type().get_class() != h5t.INTEGER or attribute.shape != ():
            raise refusal("our files only", "its schema version is not a number")
        version = int(self._file.attrs["schema_version"])
        if version > SCHEMA_VERSION:
            raise _NewerError(
                f"it has schema version {version}, this program reads up to {SCHEMA_VERSION}; use a newer program"
            )
        if version < 1:
            raise refusal("our files only", f"there is no schema version {version}")

    def _members(self, group: Any, expected: set[str], where: str) -> Any:
        """Check a group's links and attributes before any of them is followed."""
        if not isinstance(group, self._h5py.Group):
            raise refusal("expected names", f"{where} is not a group")
        self._check_attributes(group, where)
        if group.id.get_num_objs() > len(expected):
            raise refusal(
                "expected names", f"{where} holds more than the {len(expected)} names of the schema"
            )
        for name in group:
            if name not in expected:
                raise refusal(
                    "expected names", f"{where} holds {name[:80]!r}, which the schema does not know"
                )
            if group.id.links.get_info(name.encode()).type != self._h5py.h5l.TYPE_HARD:
                raise refusal("no links", f"{where}/{name} points to another place or file")
        return group

    def _check_attributes(self, item: Any, where: str) -> None:
        if self._h5py.h5a.get_num_attrs(item.id) > MAX_ATTRIBUTES:
            raise refusal("number of attributes", f"{where} has more than {MAX_ATTRIBUTES} attributes")

    def _text(self, dataset: Any, where: str, *, count: int = 1) -> None:
        h5t = self._h5py.h5t
        self._check_storage(dataset, where)
        kind = dataset.id.get_type()
        if kind.get_class() != h5t.STRING or kind.is_variable_str():
            raise refusal("expected types", f"{where} is not a text of fixed length")
        self._read(dataset, (count,), where)

    def _numbers(self, dataset: Any, dtype: str, shape: tuple[int | None, ...], where: str) -> None:
        h5t = self._h5py.h5t
        self._check_storage(dataset, where)
        kind = dataset.id.get_type().get_class()
        if kind not in (h5t.INTEGER, h5t.FLOAT) or dataset.dtype.str.lstrip("<|") != dtype:
            raise refusal("expected types", f"{where} does not hold {dtype} numbers")
        self._read(dataset, shape, where)

    def _check_storage(self, dataset: Any, where: str) -> None:
        if not isinstance(dataset, self._h5py.Dataset):
            raise refusal("expected names", f"{where} is not a data set")
        self._check_attributes(dataset, where)
        plan = dataset.id.get_create_plist()
        if plan.get_layout() == self._h5py.h5d.VIRTUAL:
            raise refusal("no virtual data sets", f"{where} is put together from other files")
        if plan.get_external_count():
            raise refusal("no external storage", f"{where} keeps its bytes in another file")
        if plan.get_layout() != self._h5py.h5d.CHUNKED:
            raise refusal("checksums", f"{where} is not stored in chunks, so it has no checksum")
        filters = [plan.get_filter(index)[0] for index in range(plan.get_nfilters())]
        if filters != [self._h5py.h5z.FILTER_FLETCHER32]:
            raise refusal(
                "known filters", f"{where} has filters {filters}; expected a checksum and nothing else"
            )

    def _read(self, dataset: Any, shape: tuple[int | None, ...], where: str) -> None:
        if len(dataset.shape) != len(shape) or any(
            wanted not in (None, given) for wanted, given in zip(shape, dataset.shape, strict=False)
        ):
            raise refusal("expected shapes", f"{where} has shape {dataset.shape}, expected {shape}")
        size = dataset.dtype.itemsize
        claimed, chunk = size, size
        for length, chunk_length in zip(dataset.shape, dataset.chunks, strict=True):
            claimed *= length
            chunk *= chunk_length
        stored = dataset.id.get_storage_size()
        if claimed > min(MAX_DATASET_BYTES, MAX_EXPANSION * stored) or chunk > MAX_CHUNK_BYTES:
            raise refusal("size", f"{where} claims {claimed} bytes in chunks of {chunk}, but stores {stored}")
        if dataset.id.get_num_chunks() > MAX_CHUNKS:
            raise refusal("number of chunks", f"{where} has more than {MAX_CHUNKS} chunks")

        def inside(info: Any) -> None:
            # HDF5 reads zeros beyond the end of a file, and a checksum of zeros is zero.
            if info.byte_offset + info.size > self._size:
                raise DamagedFileError(f"the file is cut short: {where} should go on beyond its end")

        dataset.id.chunk_iter(inside)
        rows = max(1, MAX_CHUNK_BYTES // max(1, claimed // max(1, dataset.shape[0])))
        for start in range(0, dataset.shape[0], rows):
            read_rows(dataset, start, start + rows)


def _limit_memory() -> None:
    """Leave room for 4 GiB on top of what the libraries have mapped, and forbid writing files."""
    try:
        import resource
    except ImportError:
        # Windows has no such limits; the time limit of the parent still holds.
        return
    import psutil

    limit = psutil.Process().memory_info().vms + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
