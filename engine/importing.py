"""Import of checkpoints that the CARTL authors' released code wrote.

Architecture and number of classes are read from names and shapes; what a file cannot tell comes with
`ImportConfig`. The result is a weights file of this program.

Shapes: K classes, N blocks.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from engine.config import DataConfig, ImportConfig, ModelConfig
from engine.config.model import RESNET_STAGES
from engine.data import datasets
from engine.errors import CheckpointError, ConfigError, Problem, StoreError
from engine.events import ForeignWeights, ImportedWeights
from engine.models.authors_names import Layout, layout_of, their_name, translate
from engine.models.base import BlockwiseModel, build_model, build_skeleton
from engine.models.spec import METADATA_KEY, ModelSpec, load_state
from engine.models.state_dicts import (
    Triple,
    checked,
    described,
    missing_counters,
    normalisation_of,
    unwrap,
)
from engine.store.checkpoints import load_weights, save_weights

#: Mean and std with which the authors normalise images of a source domain, red, green and blue, in input units.
#: CIFAR-100's are in the reference figures of their code; of their other domains nothing certain is known.
KNOWN_NORMALISATION: dict[str, tuple[Triple, Triple]] = {
    "cifar100": (
        (0.5070751592371323, 0.48654887331495095, 0.4409178433670343),
        (0.2673342858792401, 0.2564384629170883, 0.27615047132568404),
    ),
}
#: Number of classes of the data sets that have a fixed one.
NUM_CLASSES: dict[str, int] = {
    "letters": 26, "digits": 10, "cifar10": 10, "cifar100": 100, "svhn": 10, "mnist": 10, "fashion_mnist": 10,
    "gtsrb": 43, "stl10": 10,
}  # fmt: skip

_SPECTRAL = ("weight_orig", "weight_u", "weight_v")


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """A checked checkpoint: its weights under the authors' names, float32, and what it tells."""

    path: Path
    weights: dict[str, Tensor]
    layout: Layout
    found: ForeignWeights


def recognise_weights(path: Path) -> ForeignWeights:
    """Tell what a checkpoint of the authors' code holds.

    Args:
        path: .pt, .pth or .safetensors; a state dict, or one under "state_dict", "model", "model_state_dict" or
            "net".

    Raises:
        UntrustedFileError, DamagedFileError, StoreError: the file breaks a safety rule or cannot be read.
        CheckpointError: it holds no network of theirs; the message names what does not fit.
    """
    return _open(path).found


def import_weights(
    path: Path, config: ImportConfig, destination: Path, *, overwrite: bool = False
) -> ImportedWeights:
    """Write a checkpoint of the authors' code as a weights file of this program.

    Args:
        path: see `recognise_weights`.
        config: what the file cannot tell.
        destination: ends in .safetensors or .pt.
        overwrite: replace an existing file.

    Raises:
        StoreError: the destination exists, or cannot be written; and see `recognise_weights`.
        ConfigError: something that the file cannot tell is missing or contradicts it.
        CheckpointError: see `recognise_weights`.
    """
    if destination.suffix not in (".safetensors", ".pt"):
        raise StoreError(f"weights are written as .safetensors or .pt, got {destination.name!r}")
    if destination.resolve() == path.resolve():
        raise StoreError(
            f"{destination} is the checkpoint itself; choose another name for the imported weights"
        )
    if destination.exists() and not overwrite:
        raise StoreError(
            f"{destination} exists and was not replaced; choose another name, or ask to replace it"
        )
    checkpoint = _open(path)
    found = checkpoint.found
    _check_consistent(config, found)
    mean, std, origin = _normalisation(config, found)
    notes: list[str] = []
    weights = translate(_fold(checkpoint, config.spectral_bound, notes))
    weights |= {
        name: torch.tensor(value).reshape(1, 3, 1, 1) for name, value in (("mean", mean), ("std", std))
    }
    spec = ModelSpec(
        config=found.model,
        class_names=_class_names(config.data, found.num_classes),
        data=config.data,
        num_halved=config.halved_blocks or 0,
        history=(f"imported from {path.name} (CARTL authors' checkpoint)",),
    )
    save_weights(destination, weights, spec.to_metadata())
    title = datasets.entry(config.data.name).title
    expected = NUM_CLASSES.get(config.data.name)
    if expected not in (None, found.num_classes):
        notes.append(
            f"The network tells {found.num_classes} classes apart, {title} has {expected}: it can be transferred, "
            "but not attacked on these images."
        )
    return ImportedWeights(found, title, spec.num_halved, mean, std, origin, tuple(notes))


def authors_network(
    path: Path, tensors: Mapping[str, Tensor], normalisation: tuple[Triple, Triple] | None
) -> tuple[BlockwiseModel, ForeignWeights]:
    """The network in a checkpoint of the authors' code, to be used without importing it.

    Args:
        path: the checkpoint, for messages.
        tensors: what it holds, as `load_weights` reads it.
        normalisation: mean and std; those in the file if None.

    Raises:
        CheckpointError: it holds no network of theirs, or more has to be said about it than its mean and std; the
            message has the command that imports it.
    """
    try:
        found = (checkpoint := _recognise(path, tensors)).found
    except CheckpointError as error:
        raise CheckpointError(f"{path} is no network of the CARTL authors: {error}") from error
    if normalisation is None and found.mean is not None and found.std is not None:
        normalisation = found.mean, found.std
    if normalisation is None or found.constrained_blocks:
        more = " --halved-blocks K --spectral-bound BETA" if found.constrained_blocks else ""
        raise CheckpointError(
            f"{path} does not say all that its network needs to be run; give its mean and std"
            + (", or import it first: " if not found.constrained_blocks else " while importing it: ")
            + f"cartl import {shlex.quote(str(path))} --data NAME{more} --mean R G B --std R G B"
        )
    model = build_model(found.model, found.num_classes, torch.Generator())
    weights = translate(checkpoint.weights)
    load_state(model, weights | {name: model.state_dict()[name] for name in ("mean", "std")})
    model.set_normalisation(*(torch.tensor(values) for values in normalisation))
    return model, found


def _open(path: Path) -> _Checkpoint:
    tensors, metadata = load_weights(path)
    if METADATA_KEY in metadata or any(name.startswith("blocks.") for name in tensors):
        raise CheckpointError(f"{path} is a weights file of this program already; use it as it is")
    try:
        return _recognise(path, tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{path} cannot be imported: {error}") from error


def _recognise(path: Path, tensors: Mapping[str, Tensor]) -> _Checkpoint:
    weights, normalisation = unwrap(tensors)
    layout = layout_of(weights)
    weights = {name: checked(name, tensor) for name, tensor in weights.items()}
    model = _architecture(layout, weights)
    classes = _shape(weights, "fc.bias", 1)[0]
    if classes < 2:
        raise CheckpointError(f"fc.bias has {classes} numbers, expected one for each of at least two classes")
    counters = _compare(weights, layout, model, classes)
    weights |= {name: torch.zeros((), dtype=torch.int64) for name in counters}
    constrained = {
        int(name.split(".")[1])
        for name in translate(weights)
        if name.startswith("blocks.") and name.endswith("parametrizations.weight.original")
    }
    mean, std = normalisation_of(normalisation) or (None, None)
    found = ForeignWeights(
        model=model,
        num_classes=classes,
        constrained_blocks=tuple(sorted(constrained)),
        mean=mean,
        std=std,
        dropped=tuple(normalisation),
    )
    return _Checkpoint(path, weights, layout, found)


def _architecture(layout: Layout, weights: Mapping[str, Tensor]) -> ModelConfig:
    if layout.wide:
        return _wide_resnet(layout.counts, weights)
    kernels = _shape(weights, "conv2_x.0.residual_function.0.weight", 4)[2:]
    bottleneck = kernels == (1, 1)
    for depth, stages in RESNET_STAGES.items():
        if stages == layout.counts and bottleneck == (depth >= 50):
            return ModelConfig(name="resnet", depth=depth)
    known = "; ".join(
        f"ResNet-{depth}: {_listed(stages)} {'bottleneck' if depth >= 50 else 'basic'} blocks"
        for depth, stages in RESNET_STAGES.items()
    )
    raise CheckpointError(
        f"it is a ResNet of {_listed(layout.counts)} {'bottleneck' if bottleneck else 'basic'} blocks per stage, which "
        f"this program does not have; expected one of {known}"
    )


def _wide_resnet(counts: tuple[int, ...], weights: Mapping[str, Tensor]) -> ModelConfig:
    channels = _shape(weights, "block1.layer.0.conv1.weight", 4)[0]
    if len(set(counts)) != 1:
        raise CheckpointError(
            f"it is a wide ResNet of {_listed(counts)} residual blocks per group; expected the same number in each"
        )
    if channels % 16 or not channels:
        raise CheckpointError(
            f"block1.layer.0.conv1.weight has {channels} channels; a wide ResNet's first group has 16 * widen factor"
        )
    try:
        return ModelConfig(depth=6 * counts[0] + 4, widen_factor=channels // 16)
    except ValidationError as error:
        raise CheckpointError(
            f"it is a WRN-{6 * counts[0] + 4}-{channels // 16}, which is larger than this program's networks (at most "
            "depth 106 and widen factor 20)"
        ) from error


def _listed(counts: tuple[int, ...]) -> str:
    return ", ".join(map(str, counts))


def _shape(weights: Mapping[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    """The shape of a weight, under its name or as `weight_orig`."""
    tensor = weights.get(name, weights.get(f"{name}_orig"))
    if tensor is None:
        raise CheckpointError(f"missing: {name}, which a WRN or ResNet of the CARTL authors has")
    if tensor.dim() != dimensions:
        raise CheckpointError(f"{name} should have {dimensions} dimensions, got {described(tensor)}")
    return tuple(tensor.shape)


def _compare(weights: Mapping[str, Tensor], layout: Layout, model: ModelConfig, classes: int) -> list[str]:
    """Compare names and shapes with those of the network; returns the counters that an old version did not save.

    Raises:
        CheckpointError: naming what is missing, unknown or of another shape.
    """
    expected: dict[str, tuple[int, ...]] = {}
    for own, tensor in build_skeleton(model, classes).state_dict().items():
        if own not in ("mean", "std"):
            name, shape = their_name(own, layout), tuple(tensor.shape)
            if f"{name}_orig" in weights and len(shape) > 1:
                rows, columns = shape[0], tensor[0].numel()
                expected |= {f"{name}_orig": shape, f"{name}_u": (rows,), f"{name}_v": (columns,)}
            else:
                expected[name] = shape
    return missing_counters(weights, expected, f"{model.title} with {classes} classes")


def _check_consistent(config: ImportConfig, found: ForeignWeights) -> None:
    """Refuse what contradicts the file, and ask for what it needs.

    Raises:
        ConfigError: all problems at once.
    """
    problems = []
    last = len(found.constrained_blocks)
    if found.constrained_blocks and config.spectral_bound is None:
        reason = (
            "the file holds spectrally normalised weights; give the beta that the network was fine-tuned with "
            "(the authors': 0.4 to 1.0)"
        )
        problems.append(Problem("spectral_bound", reason))
    if not found.constrained_blocks and config.spectral_bound is not None:
        problems.append(
            Problem("spectral_bound", "the file holds no spectrally normalised weights; leave it out")
        )
    if found.constrained_blocks and config.halved_blocks is None:
        first = min(found.constrained_blocks)
        reason = (
            f"the file holds spectrally normalised weights in {last} blocks, from block {first} on; give the number of "
            f"last blocks with halved residual sums, as it was fine-tuned (k, at least "
            f"{found.model.num_blocks - first + 1} here), or 0 if none was halved"
        )
        problems.append(Problem("halved_blocks", reason))
    if (config.halved_blocks or 0) > found.model.num_blocks:
        reason = f"{found.model.title} has {found.model.num_blocks} blocks, got {config.halved_blocks}"
        problems.append(Problem("halved_blocks", reason))
    if config.mean is None and found.mean is None and config.data.name not in KNOWN_NORMALISATION:
        reason = (
            "the file does not say how pixels are normalised; give the mean and std of the source domain that the "
            f"network was trained with. {_known_normalisation()}"
        )
        problems.append(Problem("mean", reason))
    if problems:
        raise ConfigError(problems)


def _known_normalisation() -> str:
    (name, (mean, std)), *_ = KNOWN_NORMALISATION.items()
    shown_mean, shown_std = (" ".join(f"{value:.10g}" for value in values) for values in (mean, std))
    return f"The authors' networks transferred from {datasets.entry(name).title} keep its: mean {shown_mean}, std {shown_std}"


def _normalisation(config: ImportConfig, found: ForeignWeights) -> tuple[Triple, Triple, str]:
    if config.mean is not None and config.std is not None:
        (red, green, blue), (red_std, green_std, blue_std) = config.mean, config.std
        return (red, green, blue), (red_std, green_std, blue_std), "as given"
    if found.mean is not None and found.std is not None:
        return found.mean, found.std, "from the file"
    title = datasets.entry(config.data.name).title
    return *KNOWN_NORMALISATION[config.data.name], f"the authors' for {title}"


def _fold(checkpoint: _Checkpoint, bound: float | None, notes: list[str]) -> dict[str, Tensor]:
    """Write spectrally normalised weights out as plain ones: beta * W / (u^T W v), u and v as stored.

    A network whose u and v never met their weight may have a negative sigma; it computes with that, so it is kept
    and noted.

    Raises:
        CheckpointError: a sigma is zero or not finite.
    """
    weights = checkpoint.weights
    if bound is None:
        return weights
    plain = {name: tensor for name, tensor in weights.items() if not name.endswith(_SPECTRAL)}
    for name, weight in weights.items():
        if name.endswith("weight_orig"):
            target = name.removesuffix("_orig")
            sigma = torch.dot(weights[f"{target}_u"], torch.mv(weight.flatten(1), weights[f"{target}_v"]))
            if not torch.isfinite(sigma) or not sigma:
                raise CheckpointError(
                    f"{checkpoint.path} cannot be imported: the spectral norm u^T W v of {target} is {float(sigma):g}, "
                    "by which nothing can be divided; the checkpoint is damaged"
                )
            if sigma < 0:
                notes.append(
                    f"The spectral norm u^T W v of {target} is {float(sigma):.3g}: its u and v were hardly trained."
                )
            plain[target] = bound * weight / sigma
    return plain


def _class_names(data: DataConfig, count: int) -> tuple[str, ...]:
    """The data set's class names where they are known without reading it, else "0", "1", ..."""
    if data.name == "letters" and count == NUM_CLASSES["letters"]:
        return tuple(chr(ord("A") + index) for index in range(count))
    return tuple(str(index) for index in range(count))
