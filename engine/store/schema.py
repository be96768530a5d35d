"""The tables of a run: names, types, units and how viewers plot them. The one place that knows all columns.

Each plot of a table becomes one NXdata group of `metrics.h5`. A column lies in the group that plots it, and in
the first group of its table if none does; the groups of a table share their axes by hard links.

    /run/config, /run/layouts              settings (TOML) and stage layouts (JSON)
    /run/<stage>/<plot>/<column>           [T], [T, N], [T, L] or [T, 3, H, W]
    /run/<stage>/<plot>/block, block_name  number 1..N and name of each block, where the plot has blocks
    /run/<stage>/<plot>/layer, layer_name, layer_block

Shapes: T rows, N blocks, L weighted layers, H W image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from engine.config import STAGES, StageName
from engine.errors import DamagedFileError, StoreError
from engine.events import StageLayout, TableName

#: Raised whenever a table, column or attribute changes; readers refuse newer files and migrate older ones.
SCHEMA_VERSION = 5
#: What columns were called in older versions: version -> present name -> name then.
_OLD_NAMES: dict[int, dict[str, str]] = {
    1: {"penalty": "feature_term", "penalty_unweighted": "feature_distance"},
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: numpy dtype, unit ("1" for a pure number), title, what one row holds, and since which version."""

    name: str
    dtype: Literal["i8", "f8", "f4", "u1"]
    unit: str
    title: str
    per: Literal["row", "block", "layer", "image"] = "row"
    since: int = 1


@dataclass(frozen=True, slots=True)
class Plot:
    """How viewers plot a group by default: one signal, further signals beside it, its axes, a log scale or not.

    An axis "." has no values: it counts pixels or images. `since` is the version that has the group.
    """

    group: str
    signal: str
    axes: tuple[str, ...]
    beside: tuple[str, ...] = ()
    log: bool = False
    since: int = 1

    def shows(self, column: str) -> bool:
        """Whether a column is one of the plot's signals or the error of one."""
        return column.removesuffix("_errors") in (self.signal, *self.beside)


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its columns, chunk length in rows, its plots (the first is the default), and since which version."""

    name: TableName
    columns: tuple[Column, ...]
    plots: tuple[Plot, ...]
    chunk: int
    since: int = 1

    def home(self, column: Column) -> Plot:
        """The plot in whose group a column lies."""
        return next((plot for plot in self.plots if plot.shows(column.name)), self.plots[0])

    def plots_in(self, version: int) -> tuple[Plot, ...]:
        """The plots that files of a schema version have."""
        return tuple(plot for plot in self.plots if plot.since <= version)

    def needs_names(self) -> bool:
        """Whether it has a value for each block or layer."""
        return any(column.per in ("block", "layer") for column in self.columns)


STEPS = Table(
    "steps",
    (
        Column("step", "i8", "1", "step"),
        Column("epoch", "f8", "epochs", "epoch"),
        Column("learning_rate", "f4", "1", "learning rate"),
        Column("epsilon", "f4", "1", "epsilon of the training attack"),
        Column("loss", "f4", "1", "loss"),
        Column("cross_entropy", "f4", "1", "cross-entropy"),
        Column("penalty", "f4", "1", "what the method adds to the cross-entropy, weighted"),
        Column("penalty_unweighted", "f4", "1", "the same without its weight, mean over the batch"),
        Column("batch_accuracy", "f4", "1", "accuracy on the images trained on"),
        Column("images_per_second", "f4", "1/s", "images per second"),
    ),
    (Plot("loss", "loss", ("step",), ("cross_entropy", "penalty"), log=True),),
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

#: What tells clean from adversarial features, in each block and each weighted layer: column, unit and title. All but
#: the last have a spread over the images.
_DISTANCES = (
    ("distance", "feature distance (normalised L2)"),
    ("relative_distance", "feature distance relative to the clean feature (relative L2)"),
    ("cosine", "cosine of clean and adversarial feature, centred"),
    ("amplification", "feature distance over the distance of the images, both L2"),
    ("cka", "linear CKA of clean and adversarial features, debiased"),
)
_SPREAD = "its standard deviation over the images"


def _distances(per: Literal["block", "layer"], prefix: str) -> Iterator[Column]:
    for name, title in _DISTANCES:
        first = prefix + name == "distance"
        yield Column(prefix + name, "f4", "1", title, per, since=1 if first else 4)
        if name != "cka":
            yield Column(f"{prefix}{name}_errors", "f4", "1", _SPREAD, per, since=4)


LAYERS = Table(
    "layers",
    (
        Column("step", "i8", "1", "step"),
        Column("epoch", "f8", "epochs", "epoch"),
        *_distances("block", ""),
        *_distances("layer", "layer_"),
        Column("spectral_norm", "f4", "1", "largest spectral norm of the block's layers", "block"),
        Column("layer_spectral_norm", "f4", "1", "spectral norm of the reshaped weight", "layer"),
    ),
    (
        Plot("feature_distance", "distance", ("epoch", "block")),
        Plot("spectral_norm", "spectral_norm", ("epoch", "block")),
        Plot("layer_spectral_norm", "layer_spectral_norm", ("epoch", "layer")),
        *(Plot(name, name, ("epoch", "block"), since=4) for name, _ in _DISTANCES[1:]),
        *(Plot(f"layer_{name}", f"layer_{name}", ("epoch", "layer"), since=4) for name, _ in _DISTANCES),
    ),
    chunk=128,
)


def _bounds(per: Literal["block", "layer"], prefix: str, what: str) -> Iterator[Column]:
    yield Column(f"{prefix}_upper", "f4", "1", f"{what}: certified upper bound", per)
    yield Column(f"{prefix}_estimate", "f4", "1", f"{what}: estimate", per)
    yield Column(f"{prefix}_lower", "f4", "1", f"{what}: lower bound, from pairs of images", per)


#: Lipschitz constants (l2 to l2) in eval mode; see `engine.inspection.bounds` for how each is found.
BOUNDS = Table(
    "bounds",
    (
        Column("step", "i8", "1", "step"),
        Column("epoch", "f8", "epochs", "epoch"),
        Column("interval", "i8", "steps", "steps since the bounds were measured before"),
        Column("live_share", "f4", "1", "share of the training time spent on distances and bounds so far"),
        Column("violations", "i8", "1", "layers, blocks and networks whose bounds contradict each other"),
        Column("log10_upper", "f4", "1", "log10 of the whole network's certified upper bound"),
        Column("log10_estimate", "f4", "1", "the same product with estimates"),
        Column("log10_lower", "f4", "1", "log10 of the largest expansion of a pair of images"),
        *_bounds("layer", "layer", "Lipschitz constant of the layer with its batch norm"),
        *_bounds("layer", "layer_unfolded", "operator norm of the layer alone"),
        Column("layer_sigma", "f4", "1", "singular value that spectral normalisation divides by (u, v)", "layer"),
        Column("layer_reshaped", "f4", "1", "spectral norm of the reshaped weight", "layer"),
        *_bounds("block", "block", "Lipschitz constant of the block"),
        Column("block_nominal", "f4", "1", "the block's bound if reshaped norms were operator norms", "block"),
        Column("batch_distance", "f4", "1", "feature distance on images of the training attack", "block"),
    ),
    (
        Plot("network_bound", "log10_upper", ("epoch",), ("log10_estimate", "log10_lower")),
        Plot("layer_bound", "layer_upper", ("epoch", "layer"), ("layer_estimate", "layer_lower"), log=True),
        Plot(
            "layer_unfolded_bound", "layer_unfolded_upper", ("epoch", "layer"),
            ("layer_unfolded_estimate", "layer_unfolded_lower"), log=True,
        ),
        Plot("block_bound", "block_upper", ("epoch", "block"), ("block_estimate", "block_lower"), log=True),
    ),
    chunk=64,
    since=4,
)  # fmt: skip

#: The last look at a network, layer by layer, as curves over depth. It repeats what other tables end with.
PROFILE = Table(
    "profile",
    (
        Column("layer_number", "i8", "layers", "weighted layer, counted from the input"),
        Column("distance", "f4", "1", "feature distance (normalised L2), mean over the probe images"),
        Column("distance_errors", "f4", "1", _SPREAD),
        Column("relative_distance", "f4", "1", "relative L2 distance, mean over the probe images"),
        Column("relative_distance_errors", "f4", "1", _SPREAD),
        Column("upper", "f4", "1", "Lipschitz constant with batch norm: certified upper bound"),
        Column("estimate", "f4", "1", "Lipschitz constant with batch norm: estimate"),
        Column("lower", "f4", "1", "Lipschitz constant with batch norm: lower bound"),
    ),
    (
        Plot("distance_profile", "distance", ("layer_number",), ("relative_distance",)),
        Plot("bound_profile", "upper", ("layer_number",), ("estimate", "lower"), log=True),
    ),
    chunk=64,
    since=4,
)

#: The images on which clean and adversarial features are compared, one row each, as they were last looked at.
PROBE = Table(
    "probe",
    (
        Column("sample", "i8", "1", "image"),
        Column("label", "i8", "1", "true class"),
        Column("clean_prediction", "i8", "1", "class predicted for the clean image"),
        Column("adversarial_prediction", "i8", "1", "class predicted for the adversarial image"),
        Column("input_distance", "f4", "input units", "L2 distance of the images"),
        *(Column(name, "f4", "1", title, "block") for name, title in _DISTANCES[:-1]),
        *(Column(f"layer_{name}", "f4", "1", title, "layer") for name, title in _DISTANCES[:-1]),
    ),
    (
        Plot("probe", "distance", (".", "block")),
        Plot("layer_probe", "layer_distance", (".", "layer")),
    ),
    chunk=64,
    since=4,
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
        Column("attempt", "i8", "1", "row of the ledger that broke it, else that came closest; -1", since=3),
        Column("margin", "f4", "1", "smallest logit margin, negative where it was broken", since=3),
    ),
    (Plot("robustness", "robust", ("sample",), ("clean_correct",)),),
    chunk=1024,
)

#: Every clean image, looked at before any attack, in a drawn order.
CLEAN = Table(
    "clean",
    (
        Column("row", "i8", "1", "place in the order of attack, from 0"),
        Column("sample", "i8", "1", "test image"),
        Column("label", "i8", "1", "true class"),
        Column("prediction", "i8", "1", "class predicted for the clean image"),
        Column("correct", "u1", "1", "clean image classified correctly"),
        Column("confidence", "f4", "1", "softmax of the predicted class"),
        Column("margin", "f4", "1", "logit of the true class less the largest other"),
    ),
    (Plot("clean", "margin", ("row",), ("confidence",)),),
    chunk=1024,
    since=3,
)

#: The ledger: one row for each time that an attack tried one image, with restart, target and certificate.
ATTEMPTS = Table(
    "attempts",
    (
        Column("row", "i8", "1", "number of the attempt, from 0"),
        Column("sample", "i8", "1", "test image"),
        Column("point", "i8", "1", "0 for the headline, else which point of the sweep"),
        Column("member", "i8", "1", "which single attack of the point, from 0"),
        Column("restart", "i8", "1", "restart, from 0"),
        Column("target", "i8", "1", "class aimed at, -1 for none"),
        Column("broken", "u1", "1", "misclassified, with a valid certificate"),
        Column("broken_on_the_way", "u1", "1", "the same at any step"),
        Column("prediction", "i8", "1", "class predicted for the adversarial image"),
        Column("margin", "f4", "1", "logit of the true class less the largest other"),
        Column("steps", "i8", "steps", "iterations until it was broken, else all"),
        Column("seed", "i8", "1", "of the attempt's random numbers"),
        Column("norm", "f4", "input units", "size of the perturbation in the attack's norm"),
        Column("certified", "u1", "1", "in the ball, all pixels in 0..1, finite, predicted anew"),
    ),
    (Plot("attempts", "margin", ("row",), ("norm",)),),
    chunk=4096,
    since=3,
)

SWEEP = Table(
    "sweep",
    (
        Column("epsilon", "f8", "input units", "radius of the ball"),
        Column("steps", "i8", "steps", "iterations of the attack"),
        Column("robust_accuracy", "f4", "1", "robust accuracy"),
        Column("robust_accuracy_errors", "f4", "1", "half width of its 95 % interval"),
    ),
    (Plot("sweep", "robust_accuracy", ("epsilon",)),),
    chunk=64,
    since=3,
)

#: Images for the gallery: each as it was, as the attempt that decided made it, and the difference.
EXAMPLES = Table(
    "examples",
    (
        Column("sample", "i8", "1", "test image"),
        Column("label", "i8", "1", "true class"),
        Column("clean_prediction", "i8", "1", "class predicted for the clean image"),
        Column("clean_confidence", "f4", "1", "softmax of that class"),
        Column("adversarial_prediction", "i8", "1", "class predicted for the adversarial image"),
        Column("adversarial_confidence", "f4", "1", "softmax of that class"),
        Column("robust", "u1", "1", "whether nothing broke it"),
        Column("attempt", "i8", "1", "row of the ledger that made the adversarial image, -1 for none"),
        Column("clean", "f4", "1", "image, pixels 0..1", "image"),
        Column("adversarial", "f4", "1", "adversarial image, pixels 0..1", "image"),
        Column("difference", "f4", "1", "adversarial less clean image", "image"),
    ),
    (Plot("examples", "difference", ("sample", ".", ".", ".")),),
    chunk=8,
    since=3,
)

#: What the machine was doing while a stage was under way; NaN where that cannot be told. No part of the run's results.
MACHINE = Table(
    "machine",
    (
        Column("time", "f8", "s", "Unix time"),
        Column("seconds", "f8", "s", "seconds of computing so far"),
        Column("processor", "f4", "1", "share of all processor cores that is busy"),
        Column("memory", "f8", "bytes", "main memory in use by all programs"),
        Column("device_load", "f4", "1", "share of the time that the accelerator was computing"),
        Column("device_memory", "f8", "bytes", "memory of the accelerator in use by all programs"),
        Column("temperature", "f4", "degC", "temperature of the accelerator, else of the processor"),
        Column("disk_free", "f8", "bytes", "free on the disk of the workspace"),
    ),
    (
        Plot("load", "processor", ("time",), ("device_load",)),
        Plot("memory", "memory", ("time",), ("device_memory",)),
    ),
    chunk=64,
    since=5,
)

_TRAINING = (EPOCHS, STEPS, LAYERS, BOUNDS, PROFILE, PROBE, replace(EXAMPLES, since=4), MACHINE)
#: Which tables each stage fills.
STAGE_TABLES: dict[StageName, tuple[Table, ...]] = {
    "pretraining": _TRAINING,
    "finetuning": _TRAINING,
    "attack": (SAMPLES, CLEAN, ATTEMPTS, SWEEP, EXAMPLES, PROBE, MACHINE),
}

#: Limits on what a file may claim about a stage.
MAX_NAMES = 10_000
MAX_NAME_LENGTH = 200
MAX_IMAGE_SIZE = 4096

_layouts = TypeAdapter(tuple[StageLayout, ...])


def dump_layouts(layouts: Sequence[StageLayout]) -> bytes:
    """Write stage layouts as JSON, after checking that a table can be made from each.

    Raises:
        StoreError: a layout contradicts itself.
    """
    problem = _problem_of(layouts)
    if problem:
        raise StoreError(f"the run's stages cannot be stored: {problem}")
    return _layouts.dump_json(tuple(layouts))


def parse_layouts(text: bytes) -> tuple[StageLayout, ...]:
    """Read what `dump_layouts` wrote.

    Raises:
        DamagedFileError: it is no such text, or a layout contradicts itself.
    """
    try:
        layouts = _layouts.validate_json(text)
    except ValidationError as error:
        raise DamagedFileError(f"the stage layouts are unreadable: {error.errors()[0]['msg']}") from error
    problem = _problem_of(layouts)
    if problem:
        raise DamagedFileError(f"the stage layouts are not usable: {problem}")
    return layouts


def stored_name(column: Column, version: int) -> str:
    """What a column is called in a file of that schema version."""
    return _OLD_NAMES.get(version, {}).get(column.name, column.name)


def tables_of(layout: StageLayout, version: int = SCHEMA_VERSION) -> tuple[Table, ...]:
    """The tables that a stage has in files of a schema version; none of blocks and layers that have no names."""
    has_names = bool(layout.block_names and layout.layer_names)
    return tuple(
        table
        for table in STAGE_TABLES[layout.stage]
        if table.since <= version and (has_names or not table.needs_names())
    )


def tail(layout: StageLayout, column: Column) -> tuple[int, ...]:
    """Shape of one row of a column: () for a single number, (N,), (L,) or (3, H, W)."""
    shapes: dict[str, tuple[int, ...]] = {
        "row": (),
        "block": (len(layout.block_names),),
        "layer": (len(layout.layer_names),),
        "image": (3, layout.image_size, layout.image_size),
    }
    return shapes[column.per]


def _problem_of(layouts: Sequence[StageLayout]) -> str:
    stages = [layout.stage for layout in layouts]
    if not stages or stages != sorted(set(stages), key=STAGES.index):
        return (
            f"expected each stage once, in the order {', '.join(STAGES)}; got {', '.join(stages) or 'none'}"
        )
    for layout in layouts:
        names = (*layout.block_names, *layout.layer_names)
        if len(names) > MAX_NAMES or any(not name or len(name) > MAX_NAME_LENGTH for name in names):
            return (
                f"{layout.stage}: at most {MAX_NAMES} names of 1 to {MAX_NAME_LENGTH} characters are allowed"
            )
        if len(layout.layer_blocks) != len(layout.layer_names):
            return f"{layout.stage}: {len(layout.layer_names)} layers, but {len(layout.layer_blocks)} block numbers"
        for facts in (layout.layer_kinds, layout.layer_shapes, layout.layer_parameters):
            if facts and len(facts) != len(layout.layer_names):
                return f"{layout.stage}: {len(layout.layer_names)} layers, but {len(facts)} facts about them"
        if any(len(text) > MAX_NAME_LENGTH for text in (*layout.layer_kinds, *layout.layer_shapes)):
            return f"{layout.stage}: a kind or shape of a layer is longer than {MAX_NAME_LENGTH} characters"
        if any(not 0 <= block <= len(layout.block_names) for block in layout.layer_blocks):
            return f"{layout.stage}: a layer belongs to a block that does not exist"
        if not 0 <= layout.image_size <= MAX_IMAGE_SIZE:
            return (
                f"{layout.stage}: images of {layout.image_size} pixels; at most {MAX_IMAGE_SIZE} are allowed"
            )
        if layout.stage != "attack" and not (layout.block_names and layout.layer_names):
            return f"{layout.stage}: a training stage needs the names of its blocks and layers"
    return ""
