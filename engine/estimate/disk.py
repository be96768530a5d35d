"""What a run leaves on disk: weights, checkpoints and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping

from engine.config import RunConfig
from engine.events import StageLayout, TableName
from engine.store.schema import tables_of, tail

#: Bytes of a run's small files, of a run file without rows, and of each of its columns and groups in it.
SMALL, EMPTY, COLUMN, GROUP = 5_000, 20_000, 900, 1_500


def table_bytes(layout: StageLayout, rows: Mapping[TableName, int]) -> int:
    """Bytes of a stage's tables in a run file, which grows by whole chunks of rows.

    Args:
        layout: of the stage.
        rows: how many each table will have; none if it is left out.
    """
    total = 0
    for table in tables_of(layout):
        chunks = math.ceil(rows.get(table.name, 0) / table.chunk)
        for column in table.columns:
            width = int(column.dtype[1:]) * math.prod(tail(layout, column))
            total += COLUMN + chunks * table.chunk * width
        total += GROUP * len(table.plots)
    return total


def training_rows(config: RunConfig, *, steps: int, epochs: int, layers: int) -> dict[TableName, int]:
    """Rows of a training stage's tables."""
    inspection = config.inspection
    looks = epochs + 1 + (steps // inspection.every_steps if inspection.every_steps else 0)
    return {
        "steps": steps, "epochs": epochs, "layers": looks, "bounds": 2 if inspection.bounds else 0, "profile": layers,
        "probe": inspection.probe_size, "examples": inspection.examples, "machine": 2,
    }  # fmt: skip


def attack_rows(config: RunConfig, *, samples: int, attempts: int) -> dict[TableName, int]:
    """Rows of the attack stage's tables."""
    examples = min(config.attack.examples, samples) if config.attack is not None else 0
    return {
        "samples": samples, "clean": samples, "attempts": attempts, "sweep": 1, "examples": examples, "probe": examples,
        "machine": 2,
    }  # fmt: skip
