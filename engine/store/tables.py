"""The tables of a run in files of their own, for spreadsheets, viewers and other people's scripts."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from engine import __version__
from engine.config import dump_run
from engine.errors import StoreError
from engine.events import RunRecord, StageLayout
from engine.store.atomic import sync_folder, temporary_path, write_error, write_text
from engine.store.run_file import RunFile
from engine.store.schema import Column, tables_of


def write_tables(record: RunRecord, folder: Path) -> list[Path]:
    """Write one file `<stage>-<table>.csv` for each table that has rows.

    A column per block or layer becomes one CSV column each ("distance 3", "layer_spectral_norm blocks.3.conv1");
    images are left out.

    Raises:
        StoreError: there is nothing to write, or the folder cannot be written.
    """
    written = []
    for stage, layout in record.layouts.items():
        for table in tables_of(layout):
            columns = record.tables.get(stage, {}).get(table.name, {})
            shown = [column for column in table.columns if column.per != "image"]
            rows = len(columns[shown[0].name]) if columns else 0
            if not rows:
                continue
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow([title for column in shown for title in _titles(column, layout)])
            for row in range(rows):
                writer.writerow(
                    [
                        value
                        for column in shown
                        for value in columns[column.name][row : row + 1].reshape(-1).tolist()
                    ]
                )
            path = folder / f"{stage}-{table.name}.csv"
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"{folder} cannot be made: {error.strerror}") from error
            write_text(path, text.getvalue())
            written.append(path)
    if not written:
        raise StoreError("the run has measured nothing yet, so there are no tables to write")
    return written


def write_run_file(record: RunRecord, path: Path) -> None:
    """Write all tables into one HDF5 file that is like a run's own, and replaces what is there.

    Raises:
        StoreError: it could not be written, or the tables do not fit the layouts; what `path` held is unchanged.
    """
    temporary = temporary_path(path)
    try:
        RunFile.create(
            temporary,
            tuple(record.layouts.values()),
            title=record.run.name,
            config_toml=dump_run(record.run.config),
            program_version=__version__,
            carry_over=record.tables,
        ).close()
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    except StoreError as error:
        raise StoreError(str(error).replace(str(temporary), str(path))) from error
    finally:
        temporary.unlink(missing_ok=True)


def _titles(column: Column, layout: StageLayout) -> list[str]:
    if column.per == "block":
        return [f"{column.name} {number}" for number in range(1, len(layout.block_names) + 1)]
    if column.per == "layer":
        return [f"{column.name} {name}" for name in layout.layer_names]
    return [column.name]
