"""The tables of a run: names, types, units and how viewers plot them. The one place that knows all columns.

Each table of a stage becomes one NXdata group of `metrics.h5` (the layers table two: distances and spectral
norms, sharing their axes). Shapes: T rows, N blocks, L weighted layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.config import StageName
from engine.events import TableName

#: Raised whenever a table, column or attribute changes; readers refuse newer files and migrate older ones.
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Column:
    """One column: numpy dtype, unit ("1" for a pure number), title, and what one row holds."""

    name: str
    dtype: Literal["i8", "f8", "f4", "u1"]
    unit: str
    title: str
    per: Literal["row", "block", "layer"] = "row"


@dataclass(frozen=True, slots=True)
class Plot:
    """How viewers plot a group by default: one signal, further signals beside it, and its axes."""

    group: str
    signal: str
    axes: tuple[str, ...]
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its columns, chunk length in rows, and its plots (the first is the default)."""

    name: TableName
    columns: tuple[Column, ...]
    plots: tuple[Plot, ...]
    chunk: int


STEPS = Table(
    "steps",
    (
        Column("step", "i8", "1", "step"),
        Column("epoch", "f8", "epochs", "epoch"),
        Column("learning_rate", "f4", "1", "learning rate"),
        Column("epsilon", "f4", "1", "epsilon of the training attack"),
        Column("loss", "f4", "1", "loss"),
        Column("cross_entropy", "f4", "1", "cross-entropy"),
        Column("feature_term", "f4", "1", "weighted feature distance in the loss"),
        Column("feature_distance", "f4", "1", "feature distance at k, mean over the batch"),
        Column("batch_accuracy", "f4", "1", "accuracy on the images trained on"),
        Column("images_per_second", "f4", "1/s", "images per second"),
    ),
    (Plot("loss", "loss", ("step",), ("cross_entropy", "feature_term")),),
    chunk=1024,
)

EPOCHS = Table(
    "epochs",
    (
        Column("epoch", "i8", "epochs", "epoch"),
        Column("step", "i8", "1", "step"),
        Column("seconds", "f8", "s", "seconds of computing so far"),
        Column("train_accuracy", "f4", "1", "accuracy on the images trained on"),
        Column("clean_accuracy", "f4", "1", "clean accuracy on held-out images"),
        Column("clean_accuracy_errors", "f4", "1", "half width of its 95 % interval"),
        Column("robust_accuracy", "f4", "1", "robust accuracy on held-out images"),
        Column("robust_accuracy_errors", "f4", "1", "half width of its 95 % interval"),
    ),
    (Plot("accuracy", "robust_accuracy", ("epoch",), ("clean_accuracy", "train_accuracy")),),
    chunk=128,
)

LAYERS = Table(
    "layers",
    (
        Column("step", "i8", "1", "step"),
        Column("epoch", "f8", "epochs", "epoch"),
        Column("distance", "f4", "1", "clean-adversarial feature distance (normalised L2)", "block"),
        Column("spectral_norm", "f4", "1", "largest spectral norm of the block's layers", "block"),
        Column("layer_spectral_norm", "f4", "1", "spectral norm of the reshaped weight", "layer"),
    ),
    (
        Plot("feature_distance", "distance", ("epoch", "block")),
        Plot("spectral_norm", "spectral_norm", ("epoch", "block")),
    ),
    chunk=128,
)

SAMPLES = Table(
    "samples",
    (
        Column("sample", "i8", "1", "test image"),
        Column("label", "i8", "1", "true class"),
        Column("clean_prediction", "i8", "1", "class predicted for the clean image"),
        Column("adversarial_prediction", "i8", "1", "class predicted for the adversarial image"),
        Column("clean_correct", "u1", "1", "clean image classified correctly"),
        Column("robust", "u1", "1", "correct on the clean and on every adversarial image"),
        Column("restart", "i8", "1", "restart that broke it, -1 for none"),
    ),
    (Plot("robustness", "robust", ("sample",), ("clean_correct",)),),
    chunk=1024,
)

#: Which tables each stage fills.
STAGE_TABLES: dict[StageName, tuple[Table, ...]] = {
    "pretraining": (EPOCHS, STEPS, LAYERS),
    "finetuning": (EPOCHS, STEPS, LAYERS),
    "attack": (SAMPLES,),
}
