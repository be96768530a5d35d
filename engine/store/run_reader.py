"""Reading the tables of a run: finished, under way in another process, or left behind by a crash."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.config import StageName
from engine.errors import DamagedFileError
from engine.evaluation.ledger import progress_of
from engine.events import Columns, RunRecord, StageLayout, TableName
from engine.store.checkpoints import written_sha256
from engine.store.run_folder import RunFolder
from engine.store.safe_open import open_run_file
from engine.store.schema import Column, Table, parse_layouts, stored_name, tables_of, tail
from engine.store.torn_chunks import read_rows

Layouts = dict[StageName, StageLayout]
Tables = dict[StageName, dict[TableName, dict[str, np.ndarray]]]

#: A file being written may be caught between two writes of one chunk; it is read again this often.
ATTEMPTS = 5


def read_tables(path: Path) -> tuple[Layouts, Tables]:
    """Read a `metrics.h5`.

    All columns of a table have the same number of rows: rows that a writer had not finished are left out.

    Returns:
        The layouts by stage, and stage -> table -> column -> [T], [T, N] or [T, L].

    Raises:
        StoreError: the file is missing or from a newer version.
        UntrustedFileError: it breaks a safety rule.
        DamagedFileError: it is cut short or fails its checksums.
    """
    for attempt in range(ATTEMPTS):
        try:
            with open_run_file(path) as file:
                layouts: Layouts = {
                    layout.stage: layout for layout in parse_layouts(bytes(file["run/layouts/data"][0]))
                }
                version = int(file.attrs["schema_version"])
                return layouts, {
                    stage: {
                        table.name: _read_table(file[f"run/{stage}"], table, layout, version)
                        for table in tables_of(layout, version)
                    }
                    for stage, layout in layouts.items()
                }
        except (OSError, KeyError, RuntimeError) as error:
            if attempt + 1 == ATTEMPTS:
                raise DamagedFileError(f"{path} is damaged: {error}") from error
            time.sleep(0.05)
    raise DamagedFileError(f"{path} was not read")


def read_record(folder: RunFolder) -> RunRecord:
    """Everything measured in a run; without tables if it has none yet.

    Raises:
        StoreError, UntrustedFileError, DamagedFileError: as `read_tables`, or the settings are damaged.
    """
    layouts: Layouts = {}
    tables: Mapping[StageName, Mapping[TableName, Columns]] = {}
    if folder.metrics_path.exists():
        layouts, tables = read_tables(folder.metrics_path)
    weights = [stage for stage in folder.config.stages if folder.weights_path(stage).exists()]
    return RunRecord(
        run=folder.info(),
        layouts=layouts,
        tables=tables,
        attack=progress_of(folder.id, layouts.get("attack"), tables.get("attack", {})),
        log=folder.read_log(),
        weights=tuple(weights),
        weights_sha256={stage: written_sha256(folder.weights_path(stage)) for stage in weights},
    )


def _read_table(stage: Any, table: Table, layout: StageLayout, version: int) -> dict[str, np.ndarray]:
    datasets = {
        column.name: stage[table.home(column).group][stored_name(column, version)]
        for column in table.columns
        if column.since <= version
    }
    rows = min(dataset.shape[0] for dataset in datasets.values())
    known = {name: read_rows(dataset, 0, rows) for name, dataset in datasets.items()}
    unknown = {
        column.name: _unknown(column, (rows, *tail(layout, column)))
        for column in table.columns
        if column.since > version
    }
    return known | unknown


def _unknown(column: Column, shape: tuple[int, ...]) -> np.ndarray:
    """What stands for a column that was not measured yet when a file was written."""
    return np.full(shape, np.nan if column.dtype.startswith("f") else -1, column.dtype)
