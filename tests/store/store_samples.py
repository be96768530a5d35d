"""Layouts, rows and settings that the tests of the store share."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from engine.config import (
    AttackConfig,
    DataConfig,
    FinetuningConfig,
    ModelConfig,
    PretrainingConfig,
    RunConfig,
    StageName,
)
from engine.events import AttackPoint, StageLayout, TableName
from engine.store.schema import STAGE_TABLES, tail

BLOCKS = ("group 1, block 1", "final norm", "Klassifikator ä")
LAYERS = ("stem", "conv 1", "conv 2", "shortcut", "linear")
LAYER_BLOCKS = (0, 1, 1, 1, 3)


def layout(stage: StageName) -> StageLayout:
    if stage == "attack":
        return StageLayout(
            "attack",
            "Attack PGD-20",
            samples=50,
            points=(AttackPoint(0.1, 20, ("PGD-20",), (True,)),),
            block_names=BLOCKS,
            layer_names=LAYERS,
            layer_blocks=LAYER_BLOCKS,
            image_size=8,
        )
    return StageLayout(
        stage,
        f"{stage} on letters",
        epochs=3,
        steps_per_epoch=7,
        block_names=BLOCKS,
        layer_names=LAYERS,
        layer_blocks=LAYER_BLOCKS,
        layer_kinds=("conv", "conv", "conv", "conv", "linear"),
        layer_shapes=("3x3, 3 to 16", "3x3, 16 to 16", "3x3, 16 to 16", "1x1, 16 to 16", "16 to 10"),
        layer_parameters=(432, 2304, 2304, 256, 170),
        boundary=2,
        image_size=8,
        probe="PGD-7, Linf 8/255, on 128 held-out images",
    )


LAYOUTS = (layout("pretraining"), layout("finetuning"), layout("attack"))
TEXTS = {"title": "A rün", "config_toml": 'name = "ü"\n', "program_version": "1.2"}


def rows(stage: StageName, table: TableName, start: int, stop: int) -> dict[str, np.ndarray]:
    """Rows in which every number tells its row, so that a swapped or missing one is seen."""
    (found,) = (entry for entry in STAGE_TABLES[stage] if entry.name == table)
    columns = {}
    for column in found.columns:
        shape = tail(layout(stage), column)
        index = (np.arange(start, stop) + 1).reshape(-1, *[1] * len(shape))
        values = index * 100 + np.arange(math.prod(shape)).reshape(shape) if shape else index
        columns[column.name] = (values % 251 if column.dtype == "u1" else values).astype(column.dtype)
    return columns


def config(name: str = "Neft, k = 4") -> RunConfig:
    return RunConfig(
        name=name,
        model=ModelConfig(),
        source=DataConfig(),
        target=DataConfig(name="digits"),
        pretraining=PretrainingConfig(),
        finetuning=FinetuningConfig(),
        attack=AttackConfig(),
    )


def make_run_file(path: Path, count: int = 100) -> None:
    """Write a closed run file with `count` rows in some tables."""
    from engine.store.run_file import RunFile

    with RunFile.create(path, LAYOUTS, **TEXTS) as file:
        file.append("pretraining", "steps", rows("pretraining", "steps", 0, count))
        file.append("pretraining", "epochs", rows("pretraining", "epochs", 0, 3))
        file.append("finetuning", "layers", rows("finetuning", "layers", 0, 5))
        file.append("pretraining", "bounds", rows("pretraining", "bounds", 0, 4))
        file.append("pretraining", "probe", rows("pretraining", "probe", 0, 3))
        file.append("pretraining", "machine", rows("pretraining", "machine", 0, 3))
        file.append("attack", "samples", rows("attack", "samples", 0, count))
        file.append("attack", "attempts", rows("attack", "attempts", 0, count))
        file.append("attack", "examples", rows("attack", "examples", 0, 3))
