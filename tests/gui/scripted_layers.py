"""An invented network layer by layer: rows of the tables layers, bounds, profile, probe and examples that agree.

The numbers are those of a small WRN: distances grow with depth and shrink while it trains, constants of trained layers
drift, those of frozen ones stay, an upper bound lies a little above its estimate and the lower bound well below it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.config import AttackConfig, DataConfig, RunConfig, StageName
from engine.events import RunInfo, RunRecord, StageLayout, TableName

Rows = dict[str, np.ndarray]

BLOCKS = ("1.1", "1.2", "2.1", "2.2", "3.1", "3.2", "norm", "classifier")
#: Name, block (0 is the stem), kind, shape and parameters of each weighted layer.
LAYERS: tuple[tuple[str, int, str, str, int], ...] = (
    ("stem", 0, "conv", "3x3, 3 to 16", 432),
    ("1.1.conv1", 1, "conv", "3x3, 16 to 16", 2304),
    ("1.1.conv2", 1, "conv", "3x3, 16 to 16", 2304),
    ("1.2.conv1", 2, "conv", "3x3, 16 to 16", 2304),
    ("1.2.conv2", 2, "conv", "3x3, 16 to 16", 2304),
    ("2.1.conv1", 3, "conv", "3x3, 16 to 32, stride 2", 4608),
    ("2.1.conv2", 3, "conv", "3x3, 32 to 32", 9216),
    ("2.2.conv1", 4, "conv", "3x3, 32 to 32", 9216),
    ("2.2.conv2", 4, "conv", "3x3, 32 to 32", 9216),
    ("3.1.conv1", 5, "conv", "3x3, 32 to 64, stride 2", 18432),
    ("3.1.conv2", 5, "conv", "3x3, 64 to 64", 36864),
    ("3.2.conv1", 6, "conv", "3x3, 64 to 64", 36864),
    ("3.2.conv2", 6, "conv", "3x3, 64 to 64", 36864),
    ("classifier", 8, "linear", "64 to 10", 650),
)
NETWORK = {
    "block_names": BLOCKS,
    "layer_names": tuple(layer[0] for layer in LAYERS),
    "layer_blocks": tuple(layer[1] for layer in LAYERS),
    "layer_kinds": tuple(layer[2] for layer in LAYERS),
    "layer_shapes": tuple(layer[3] for layer in LAYERS),
    "layer_parameters": tuple(layer[4] for layer in LAYERS),
    "class_names": tuple("0123456789"),
}
CLASSES = 10
IMAGE_SIZE = 16
PROBE_IMAGES = 24
#: L2 size of a typical perturbation within epsilon 16/255.
INPUT_DISTANCE = 1.4
_SPREAD = 0.35


def trained(layout: StageLayout) -> np.ndarray:
    """[L] whether a stage changes each layer."""
    frozen = (layout.boundary or 0) if layout.stage == "finetuning" else 0
    return np.array(layout.layer_blocks) > frozen


def layer_rows(layout: StageLayout, epoch: float, random: np.random.Generator) -> Rows:
    """One row of the layers table."""
    blocks = np.arange(1, len(layout.block_names) + 1)
    progress = epoch / layout.epochs
    distance = 0.02 * 1.45**blocks * (1.4 - progress) * random.normal(1, 0.05, len(blocks))
    norms = (1.2 + 0.25 * blocks) * (1 + 0.6 * progress) * random.normal(1, 0.02, len(blocks))
    if layout.stage == "finetuning" and layout.boundary:
        norms[: layout.boundary] = 1.2 + 0.25 * blocks[: layout.boundary]
    if "NEFT" in layout.title:
        norms[layout.boundary :] = 0.4
    depth = np.linspace(0.4, 8, len(layout.layer_names))
    layer_distance = 0.02 * 1.45**depth * (1.4 - progress) * random.normal(1, 0.05, len(depth))
    rows = {
        "step": np.array([round(epoch * layout.steps_per_epoch)]),
        "epoch": np.array([float(epoch)]),
        **_with_spread("", distance),
        **_with_spread("layer_", layer_distance),
        "spectral_norm": norms,
        "layer_spectral_norm": _reshaped(layout, _constants(layout, progress)),
    }
    return {
        name: values if name in ("step", "epoch") else values[None].astype("f4")
        for name, values in rows.items()
    }


def bound_rows(layout: StageLayout, step: int, interval: int, random: np.random.Generator) -> Rows:
    """One row of the bounds table, `interval` steps after the one before."""
    progress = step / (layout.epochs * layout.steps_per_epoch)
    alone = _constants(layout, progress) * random.normal(1, 0.004, len(layout.layer_names))
    gain = np.where(np.array(layout.layer_kinds) == "conv", 0.7, 0.9)
    layer, unfolded = _band(alone * gain), _band(alone)
    block = _blocks(layout, layer)
    rows: Rows = {
        **{f"layer_{kind}": values for kind, values in layer.items()},
        **{f"layer_unfolded_{kind}": values for kind, values in unfolded.items()},
        "layer_sigma": np.where(trained(layout) & ("NEFT" in layout.title), 2.3 + progress, np.nan),
        "layer_reshaped": _reshaped(layout, alone),
        **{f"block_{kind}": values for kind, values in block.items()},
        "block_nominal": block["estimate"] / 1.6,
        "batch_distance": 0.03 * 1.4 ** np.arange(1, len(layout.block_names) + 1) * (1.4 - progress),
    }
    rows = {name: values[None].astype("f4") for name, values in rows.items()}
    for kind, values in block.items():
        total = np.log10(layer[kind][0]) + np.log10(values).sum()
        rows[f"log10_{kind}"] = np.array([total], "f4")
    numbers = {"step": step, "epoch": step / layout.steps_per_epoch, "interval": interval, "violations": 0}
    return {
        **{name: np.array([value]) for name, value in numbers.items()},
        "live_share": np.array([0.007], "f4"),
        **rows,
    }


def profile_rows(layers: Rows, bounds: Rows) -> Rows:
    """The profile table: what the last rows of the two tables say of each layer."""
    names = ("distance", "distance_errors", "relative_distance", "relative_distance_errors")
    count = layers["layer_distance"].shape[1]
    return {
        "layer_number": np.arange(1, count + 1),
        **{name: layers[f"layer_{name}"][-1] for name in names},
        **{kind: bounds[f"layer_{kind}"][-1] for kind in ("upper", "estimate", "lower")},
    }


def probe_rows(layout: StageLayout, layers: Rows, *, epsilon: float = 16 / 255, seed: int = 0) -> Rows:
    """The probe table: images whose mean distances are those of the last row of the layers table.

    Args:
        epsilon: radius; distances grow with it, and so does the number of images that are flipped.
    """
    random = np.random.default_rng(seed)
    strength = np.sort(random.lognormal(0, _SPREAD, PROBE_IMAGES))
    strength /= strength.mean()
    random.shuffle(strength)
    size = epsilon / (16 / 255)
    label = np.arange(PROBE_IMAGES) % CLASSES
    clean = np.where(np.arange(PROBE_IMAGES) % 9 == 7, (label + 3) % CLASSES, label)
    flipped = strength * size > 1.05
    names = ("distance", "relative_distance", "cosine", "amplification")
    columns: Rows = {
        "sample": 100 + 3 * np.arange(PROBE_IMAGES),
        "label": label,
        "clean_prediction": clean,
        "adversarial_prediction": np.where(flipped, (label + 7) % CLASSES, clean),
        "input_distance": (INPUT_DISTANCE * size * random.normal(1, 0.03, PROBE_IMAGES)).astype("f4"),
    }
    for prefix in ("", "layer_"):
        for name in names:
            mean = layers[prefix + name][-1]
            if name == "cosine":
                values = 1 - (1 - mean) * np.minimum(strength[:, None] * size, 1 / (1 - mean))
            elif name == "amplification":
                values = mean * strength[:, None]
            else:
                values = mean * strength[:, None] * size
            columns[prefix + name] = values.astype("f4")
    return columns


def example_rows(probe: Rows, *, epsilon: float = 16 / 255, size: int = IMAGE_SIZE) -> Rows:
    """The examples table: a bright figure on a dark ground for each probe image, and sign noise within epsilon."""
    random = np.random.default_rng(7)
    count = len(probe["sample"])
    clean = np.stack([_picture(int(label), size, random) for label in probe["label"]])
    noise = epsilon * np.sign(random.normal(size=clean.shape))
    adversarial = np.clip(clean + noise, 0, 1)
    flipped = probe["adversarial_prediction"] != probe["clean_prediction"]
    return {
        "sample": probe["sample"],
        "label": probe["label"],
        "clean_prediction": probe["clean_prediction"],
        "clean_confidence": random.uniform(0.7, 0.99, count).astype("f4"),
        "adversarial_prediction": probe["adversarial_prediction"],
        "adversarial_confidence": random.uniform(0.4, 0.9, count).astype("f4"),
        "robust": ((probe["clean_prediction"] == probe["label"]) & ~flipped).astype("u1"),
        "attempt": np.full(count, -1),
        "clean": clean.astype("f4"),
        "adversarial": adversarial.astype("f4"),
        "difference": (adversarial - clean).astype("f4"),
    }


def inspected(target: str, stage: StageName = "finetuning", *, seed: int = 5) -> RunRecord:
    """What a full analysis of a file or run answers: a finished network without a history."""
    name = Path(target).name
    layout = StageLayout(
        stage, f"Weights of {name}", boundary=4, image_size=IMAGE_SIZE,
        probe="PGD-20, Linf 16/255, on 256 test images of digits", **NETWORK,
    )  # fmt: skip
    random, end = np.random.default_rng(seed), replace(layout, epochs=1, steps_per_epoch=1)
    layers = layer_rows(end, 1, random) | {"step": np.array([0]), "epoch": np.array([0.0])}
    bounds = bound_rows(end, 1, 0, random) | {
        "step": np.array([0]), "epoch": np.array([0.0]), "live_share": np.array([np.nan]),
        "batch_distance": np.full((1, len(BLOCKS)), np.nan),
    }  # fmt: skip
    probe = probe_rows(layout, layers)
    tables: dict[TableName, Rows] = {
        "layers": layers,
        "bounds": bounds,
        "profile": profile_rows(layers, bounds),
        "probe": probe,
        "examples": example_rows(probe),
    }
    config = RunConfig(name=name, start_from=target, target=DataConfig(name="digits"), attack=AttackConfig())
    info = RunInfo(target, name, "", target, "finished", config)
    return RunRecord(info, {stage: layout}, {stage: tables})


def _with_spread(prefix: str, distance: np.ndarray) -> Rows:
    """Four distances with their spread, and CKA: all fall apart together."""
    means = {
        "distance": distance,
        "relative_distance": distance / (distance + 0.6),
        "cosine": 1 - 0.8 * distance / (distance + 0.6),
        "amplification": 3 * distance / INPUT_DISTANCE,
    }
    rows = {prefix + name: values for name, values in means.items()}
    rows |= {f"{prefix}{name}_errors": _SPREAD * values for name, values in means.items() if name != "cosine"}
    rows[f"{prefix}cosine_errors"] = _SPREAD * (1 - means["cosine"])
    rows[f"{prefix}cka"] = 1 - 0.9 * distance / (distance + 0.8)
    return rows


def _constants(layout: StageLayout, progress: float) -> np.ndarray:
    """[L] operator norms without batch norm: hills over depth; a constrained head shrinks, else it grows."""
    count = len(layout.layer_names)
    start = 2.2 + 1.2 * np.sin(np.arange(count) * 1.3) ** 2
    start[-1] = 8.0
    end = start * (1 + 0.5 * np.linspace(0.2, 1, count))
    if "NEFT" in layout.title:
        end = 0.4 * _ratio(count)
    return np.where(trained(layout), start + (end - start) * (1 - np.exp(-4 * progress)), start)


def _reshaped(layout: StageLayout, norms: np.ndarray) -> np.ndarray:
    """[L] norms of reshaped weights; those that are constrained keep to beta."""
    reshaped = norms / _ratio(len(norms))
    return np.where(trained(layout) & ("NEFT" in layout.title), np.minimum(reshaped, 0.4), reshaped)


def _ratio(count: int) -> np.ndarray:
    """[L] operator norm over norm of the reshaped weight; 1 for the linear layer at the end."""
    return np.append(np.full(count - 1, 1.5), 1.0)


def _band(estimate: np.ndarray) -> Rows:
    """Upper bound, estimate and lower bound, [L] each."""
    tightness = 0.35 + 0.3 * np.cos(np.arange(len(estimate))) ** 2
    return {"upper": estimate * 1.08, "estimate": estimate, "lower": estimate * tightness}


def _blocks(layout: StageLayout, layer: Rows) -> Rows:
    """Upper bound, estimate and lower bound of the blocks, [N] each: halved sums, 1.3 for the norm."""
    owner = np.array(layout.layer_blocks)
    found = {}
    for kind, values in layer.items():
        blocks = [float(np.prod(values[owner == number])) for number in range(1, len(layout.block_names) + 1)]
        inside = np.array(blocks[:-2])
        found[kind] = np.array([*(0.5 + 0.5 * inside), 1.3, blocks[-1]])
    found["lower"][-2] = 0.9
    return found


def _picture(label: int, size: int, random: np.random.Generator) -> np.ndarray:
    """[3, size, size] in 0..1: a ring, bar or cross whose shape and colour tell the class."""
    down, across = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    down, across = down + random.uniform(-0.15, 0.15), across + random.uniform(-0.15, 0.15)
    angle = np.pi * label / CLASSES
    along = across * np.cos(angle) + down * np.sin(angle)
    aside = -across * np.sin(angle) + down * np.cos(angle)
    shapes = (
        np.abs(np.hypot(across, down) - 0.55) < 0.2,
        (np.abs(aside) < 0.2) & (np.abs(along) < 0.8),
        (np.minimum(np.abs(aside), np.abs(along)) < 0.16) & (np.hypot(across, down) < 0.85),
    )
    colour = 0.6 + 0.35 * np.cos(2 * np.pi * (label / CLASSES + np.array([0, 1 / 3, 2 / 3])))
    figure = shapes[label % 3][None] * colour[:, None, None]
    ground = 0.12 + 0.05 * random.random((3, size, size))
    return np.clip(np.where(shapes[label % 3][None], figure, ground), 0, 1)
