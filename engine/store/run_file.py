"""`metrics.h5` of a run while it is written. The only HDF5 writer.

Everything a viewer needs is created before single-writer-multiple-reader mode starts; after that the file only
grows by rows, so that it can be read at any moment and opens after a crash at any moment. Objects made later
would break this, therefore there is no way to make any.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from engine.config import StageName
from engine.errors import StoreError
from engine.events import Columns, StageLayout, TableName
from engine.store.atomic import sync_file, sync_folder, temporary_path, write_error
from engine.store.safe_open import remember_abandoned, remember_own
from engine.store.schema import SCHEMA_VERSION, Column, Plot, Table, dump_layouts, tables_of, tail

FLUSH_SECONDS = 1.0
FLUSH_ROWS = 64
SYNC_SECONDS = 5.0
#: Readable by HDF5 1.10 and newer, which is what viewers have.
LIBRARY_VERSION = ("v110", "v110")

#: Handles of files whose write failed. HDF5 must never touch them again, so they are never released.
_abandoned: list[object] = []


class _Buffer:
    """All rows of one table in memory, of which the first `written` are in the file."""

    def __init__(self, table: Table, layout: StageLayout) -> None:
        self.table = table
        self.tails = {column.name: tail(layout, column) for column in table.columns}
        self.arrays = {
            column.name: np.empty(self._shape(column.name, table.chunk), dtype=column.dtype)
            for column in table.columns
        }
        self.count = 0
        self.written = 0

    def _shape(self, name: str, rows: int) -> tuple[int, ...]:
        return (rows, *self.tails[name])

    def append(self, columns: Columns, place: str) -> int:
        """Copy rows in; returns how many. Nothing is kept if anything does not fit."""
        if columns.keys() != self.arrays.keys():
            missing = sorted(self.arrays.keys() - columns.keys())
            unknown = sorted(columns.keys() - self.arrays.keys())
            raise StoreError(f"{place}: columns missing: {missing}, columns unknown: {unknown}")
        arrays = {name: np.asarray(values) for name, values in columns.items()}
        rows = arrays[self.table.columns[0].name].shape[:1]
        for name, values in arrays.items():
            expected = self._shape(name, rows[0]) if rows else ()
            if values.shape != expected or not rows:
                raise StoreError(f"{place}/{name}: expected an array of shape {expected}, got {values.shape}")
            if not np.can_cast(values.dtype, self.arrays[name].dtype, casting="same_kind"):
                raise StoreError(
                    f"{place}/{name}: expected {self.arrays[name].dtype} values, got {values.dtype}"
                )
        self._reserve(self.count + rows[0])
        for name, values in arrays.items():
            self.arrays[name][self.count : self.count + rows[0]] = values
        self.count += rows[0]
        return int(rows[0])

    def _reserve(self, rows: int) -> None:
        for name, array in self.arrays.items():
            if len(array) < rows:
                larger = np.empty(self._shape(name, max(rows, 2 * len(array))), dtype=array.dtype)
                larger[: self.count] = array[: self.count]
                self.arrays[name] = larger

    def rows(self) -> dict[str, np.ndarray]:
        """Copies of all rows."""
        return {name: array[: self.count].copy() for name, array in self.arrays.items()}


class RunFile:
    """The tables of one run, open for appending. Use it from one thread.

    All rows stay in memory until `close`, so that a full disk loses none: after a `StoreError` free some space
    and go on with `recreate`.
    """

    def __init__(
        self,
        path: Path,
        layouts: Sequence[StageLayout],
        *,
        title: str,
        config_toml: str,
        program_version: str,
    ) -> None:
        """Prepare the buffers; `create` makes the file."""
        self.path = path
        self._description = (tuple(layouts), title, config_toml, program_version)
        self._layouts_json = dump_layouts(layouts)
        self._buffers: dict[tuple[StageName, TableName], _Buffer] = {
            (layout.stage, table.name): _Buffer(table, layout)
            for layout in layouts
            for table in tables_of(layout)
        }
        self._datasets: dict[tuple[StageName, TableName], list[tuple[str, Any]]] = {}
        self._error: StoreError | None = None
        self._held: int | None = None
        self._closed = False
        self._pending = 0
        self._flushed = self._synced = time.monotonic()

    @classmethod
    def create(
        cls,
        path: Path,
        layouts: Sequence[StageLayout],
        *,
        title: str,
        config_toml: str,
        program_version: str,
        carry_over: Mapping[StageName, Mapping[TableName, Columns]] | None = None,
    ) -> RunFile:
        """Make a new file, which takes its name only when it can be opened by anyone.

        Args:
            path: where; a file already there is kept beside as `<stem>.previous<suffix>`.
            layouts: the stages of the run, in order.
            title: what viewers show.
            config_toml: the run's settings.
            program_version: version of this program.
            carry_over: rows to begin with, such as those before the checkpoint a run goes on from.

        Raises:
            StoreError: it could not be written, a layout contradicts itself, or rows do not fit.
        """
        run_file = cls(path, layouts, title=title, config_toml=config_toml, program_version=program_version)
        for stage, tables in (carry_over or {}).items():
            for name, columns in tables.items():
                run_file._buffer(stage, name).append(columns, f"{stage}/{name}")
        run_file._open()
        return run_file

    def recreate(self, carry_over: Mapping[StageName, Mapping[TableName, Columns]] | None = None) -> RunFile:
        """Write a new file under the same name with all rows appended so far, those never written included.

        Args:
            carry_over: other rows to begin with instead.

        Raises:
            StoreError: it could not be written; this object still has the rows.
        """
        layouts, title, config_toml, version = self._description
        if self._error is None and not self._closed:
            self.close()
        return RunFile.create(
            self.path,
            layouts,
            title=title,
            config_toml=config_toml,
            program_version=version,
            carry_over=self.rows() if carry_over is None else carry_over,
        )

    def append(self, stage: StageName, table: TableName, columns: Columns) -> None:
        """Add rows: every column of the table, each with T rows. NaN says that a quantity does not apply.

        Raises:
            StoreError: a column is missing, unknown or of another shape (nothing is added then), or the disk
                refused (the rows are kept in memory).
        """
        buffer = self._buffer(stage, table)
        if self._closed:
            raise StoreError(f"{self.path} is closed; no rows can be added")
        self._pending += buffer.append(columns, f"{stage}/{table}")
        if self._error is not None:
            raise self._error
        if self._pending >= FLUSH_ROWS:
            self.flush()
        else:
            self.flush_if_due()

    def flush_if_due(self) -> None:
        """Flush if rows have waited for a second; call it now and then while no rows come.

        Raises:
            StoreError: the disk refused; the rows are kept in memory.
        """
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self, *, sync: bool = False) -> None:
        """Make all rows visible to readers; every 5 s, or if `sync`, bring them to the disk as well.

        Raises:
            StoreError: the disk refused; the rows are kept in memory.
        """
        if self._error is not None:
            raise self._error
        if self._closed:
            return
        with self._failing_for_good():
            if self._pending:
                for key, buffer in self._buffers.items():
                    self._write_block(key, buffer)
                self._file.flush()
                self._pending = 0
            now = time.monotonic()
            self._flushed = now
            if sync or now - self._synced >= SYNC_SECONDS:
                os.fsync(self._descriptor)
                self._synced = now

    def rows(self) -> dict[StageName, dict[TableName, dict[str, np.ndarray]]]:
        """All rows so far, in the file or not: stage -> table -> column -> [T], [T, N] or [T, L]."""
        found: dict[StageName, dict[TableName, dict[str, np.ndarray]]] = {}
        for (stage, table), buffer in self._buffers.items():
            found.setdefault(stage, {})[table] = buffer.rows()
        return found

    def close(self) -> None:
        """Write what waits, close the file and bring it to the disk. Harmless after an error or a second time.

        Raises:
            StoreError: the disk refused; `rows` still has everything.
        """
        if self._closed or self._error is not None:
            return
        self.flush(sync=True)
        with self._failing_for_good():
            self._file.close()
            sync_file(self.path)
        self._closed = True
        self._datasets.clear()

    def __enter__(self) -> RunFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _buffer(self, stage: StageName, table: TableName) -> _Buffer:
        try:
            return self._buffers[stage, table]
        except KeyError:
            known = ", ".join("/".join(key) for key in self._buffers)
            raise StoreError(f"{self.path} has no table {stage}/{table}; it has {known}") from None

    def _open(self) -> None:
        temporary = temporary_path(self.path)
        try:
            self._file = h5py.File(temporary, "w", libver=LIBRARY_VERSION)
        except OSError as error:
            raise write_error(self.path, error) from error
        self._descriptor = int(self._file.id.get_vfd_handle())
        try:
            with self._failing_for_good():
                self._build()
                self._file.swmr_mode = True
                for key, buffer in self._buffers.items():
                    self._write_block(key, buffer)
                self._file.flush()
                os.fsync(self._descriptor)
                self._flushed = self._synced = time.monotonic()
                if self.path.exists():
                    _keep_aside(self.path)
                os.replace(temporary, self.path)
                sync_folder(self.path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
                if self._held is not None:
                    os.ftruncate(self._held, 0)
            raise
        remember_own(self.path)

    def _write_block(self, key: tuple[StageName, TableName], buffer: _Buffer) -> None:
        start, stop = buffer.written, buffer.count
        if start == stop:
            return
        for name, dataset in self._datasets[key]:
            dataset.resize(stop, axis=0)
            dataset[start:stop] = buffer.arrays[name][start:stop]
        buffer.written = stop

    @contextmanager
    def _failing_for_good(self) -> Iterator[None]:
        """After the first failed write no HDF5 call reaches the disk again."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            # HDF5 flushes its cache whenever a handle is freed and crashes the process if that fails again.
            # The handles are kept for ever, and what the library may still write at exit goes nowhere. The
            # second descriptor keeps the inode number taken: HDF5 would mix up a new file of that number with
            # this one.
            self._held = os.dup(self._descriptor)
            remember_abandoned(self._held)
            _abandoned.append((self._file, self._datasets))
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, self._descriptor)
            os.close(null)
            needed = sum(
                array[: b.count].nbytes for b in self._buffers.values() for array in b.arrays.values()
            )
            self._error = write_error(self.path, OSError(None, _reason(error)), needed)
            raise self._error from error

    def _build(self) -> None:
        layouts, title, config_toml, version = self._description
        root = self._file
        _describe(root, NX_class="NXroot", default="run", creator="CARTL Workbench", file_time=_now())
        root.attrs["schema_version"] = np.int64(SCHEMA_VERSION)
        run = root.create_group("run")
        _describe(run, NX_class="NXentry", default=layouts[0].stage)
        for name, text in (("title", title), ("start_time", _now()), ("program_name", "CARTL Workbench")):
            _put_text(run, name, text)
        _describe(run["program_name"], version=version)
        for name, kind, data in (
            ("config", "application/toml", config_toml.encode("utf-8")),
            ("layouts", "application/json", self._layouts_json),
        ):
            note = run.create_group(name)
            _describe(note, NX_class="NXnote", type=kind)
            _put_text(note, "data", data)
        for layout in layouts:
            self._build_stage(run.create_group(layout.stage), layout)

    def _build_stage(self, group: Any, layout: StageLayout) -> None:
        tables = tables_of(layout)
        _describe(group, NX_class="NXsubentry", default=tables[0].plots[0].group)
        _put_text(group, "title", layout.title)
        for table in tables:
            plots = {plot.group: _build_plot(group, plot, layout) for plot in table.plots}
            made = self._datasets.setdefault((layout.stage, table.name), [])
            for column in table.columns:
                home = plots[table.home(column).group]
                dataset = _build_column(home, column, table.chunk, tail(layout, column))
                made.append((column.name, dataset))
                for plot in table.plots:
                    if column.name in plot.axes and column.name not in plots[plot.group]:
                        plots[plot.group][column.name] = dataset


def abandoned_files() -> int:
    """How many files of this process were given up after a failed write."""
    return len(_abandoned)


def _build_plot(stage: Any, plot: Plot, layout: StageLayout) -> Any:
    group = stage.create_group(plot.group)
    _describe(group, NX_class="NXdata", signal=plot.signal, title=f"{layout.title}: {plot.signal}")
    _describe_list(group, "axes", plot.axes)
    if plot.beside:
        _describe_list(group, "auxiliary_signals", plot.beside)
    if plot.log:
        # silx reads the first and the last, h5web the second.
        scales = ["linear"] * (len(plot.axes) - 1) + ["log"]
        style = {"axes_scale_types": ["linear"] * len(plot.axes), "axes_scale_type": scales}
        _describe(group, SILX_style=json.dumps({**style, "signal_scale_type": "log"}))
    for kind, names in (("block", layout.block_names), ("layer", layout.layer_names)):
        if kind in plot.axes:
            numbers = np.arange(1, len(names) + 1, dtype="i8")
            # A unit of its own keeps silx from drawing both axes of the image to one scale.
            _describe(_put(group, kind, numbers), units=kind, long_name=kind)
            longest = max(len(name.encode("utf-8")) for name in names)
            encoded = np.array(
                [name.encode("utf-8") for name in names], dtype=h5py.string_dtype("utf-8", longest)
            )
            _put(group, f"{kind}_name", encoded)
    if "layer" in plot.axes:
        _put(group, "layer_block", np.array(layout.layer_blocks, dtype="i8"))
    return group


def _build_column(group: Any, column: Column, chunk: int, row: tuple[int, ...]) -> Any:
    # A stage of an older version does not know the size of its images, and chunks have no length of 0.
    room = tuple(max(1, length) for length in row)
    dataset = group.create_dataset(
        column.name,
        shape=(0, *row),
        maxshape=(None, *room),
        chunks=(chunk, *room),
        dtype=column.dtype,
        fletcher32=True,
        fillvalue=np.nan if column.dtype.startswith("f") else None,
    )
    _describe(dataset, units=column.unit, long_name=column.title)
    return dataset


def _put(group: Any, name: str, values: np.ndarray) -> Any:
    return group.create_dataset(name, data=values, chunks=values.shape, fletcher32=True)


def _put_text(group: Any, name: str, text: str | bytes) -> None:
    data = text.encode("utf-8") if isinstance(text, str) else text
    _put(group, name, np.array([data], dtype=h5py.string_dtype("utf-8", max(len(data), 1))))


def _describe(item: Any, **attributes: str) -> None:
    for name, text in attributes.items():
        data = text.encode("utf-8")
        item.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", max(len(data), 1)))


def _describe_list(item: Any, name: str, texts: Sequence[str]) -> None:
    longest = max(len(text) for text in texts)
    values = np.array([text.encode("utf-8") for text in texts], dtype=h5py.string_dtype("utf-8", longest))
    item.attrs.create(name, values)


def _keep_aside(path: Path) -> None:
    """Give a file a second name, so that what comes in its place never leaves a moment without it."""
    aside = path.with_name(f"{path.stem}.previous{path.suffix}")
    aside.unlink(missing_ok=True)
    try:
        os.link(path, aside)
    except OSError:
        # File systems without hard links.
        os.replace(path, aside)


def _reason(error: Exception) -> str:
    """The system's own words, which HDF5 hides in a long text."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    found = re.search(r"error message = '([^']+)'", str(error))
    return found.group(1) if found else str(error)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
