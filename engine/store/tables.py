"""The tables of a run as CSV, for spreadsheets and other people's scripts."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from engine.errors import StoreError
from engine.events import RunRecord, StageLayout
from engine.store.atomic import write_text
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


def _titles(column: Column, layout: StageLayout) -> list[str]:
    if column.per == "block":
        return [f"{column.name} {number}" for number in range(1, len(layout.block_names) + 1)]
    if column.per == "layer":
        return [f"{column.name} {name}" for name in layout.layer_names]
    return [column.name]
