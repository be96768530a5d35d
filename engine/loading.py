"""One door for every network that can be attacked: our own weights, and what other programs write.

    .safetensors, .pt    weights of this program: all that is needed is inside
    .pt2                 a program that torch.export.save wrote
    .pt, .pth, .ts       a model that torch.jit.save wrote (TorchScript)
    .pt, .pth, ...       a state dict; `CheckpointConfig` says of which network

What a file is, is told from its content. None of them ever runs code of the file's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from torch import Tensor, nn

from engine.config import ArchitectureName, CheckpointConfig
from engine.errors import CheckpointError, UntrustedFileError
from engine.importing import authors_network
from engine.models.exported import ExportedNetwork
from engine.models.foreign import NormalisedNetwork, build_foreign
from engine.models.programs import ProgramNetwork
from engine.models.spec import METADATA_KEY, ModelSpec
from engine.models.state_dicts import Triple, normalisation_of, unwrap
from engine.models.torchscript import ScriptNetwork
from engine.store.checkpoints import load_weights
from engine.store.exported import is_exported, read_exported
from engine.store.safe_open import is_own, probe
from engine.store.tensor_files import check_file_type, sha256_of
from engine.store.torchscript import is_torchscript, read_torchscript

_AS_IT_IS = "The network gets its images as they are, in [0, 1]; it has no mean and std."


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """A classifier from a file.

    Attributes:
        module: takes images [B, 3, H, W] in [0, 1] and gives logits [B, K]; on the CPU, in eval mode.
        title: what it is, for people.
        num_classes: K, None if only a pass can tell.
        spec: what is known about a network of this program; None for others.
        sha256: the file's, in hex.
        notes: what should be known about it, one sentence or more each.
    """

    module: nn.Module
    title: str
    num_classes: int | None
    spec: ModelSpec | None
    sha256: str
    notes: tuple[str, ...] = ()


def load_network(path: Path, checkpoint: CheckpointConfig | None = None) -> LoadedNetwork:
    """Load a network to attack it.

    Args:
        path: the file.
        checkpoint: what the file cannot tell; None for weights of this program, and for programs that normalise by
            themselves.

    Raises:
        UntrustedFileError: it breaks a safety rule, which the message names; nothing in it was run.
        DamagedFileError, StoreError: it is damaged or cannot be read.
        CheckpointError: it does not fit what is said about it, or more has to be said; the message says what.
    """
    check_file_type(path)
    said = checkpoint or CheckpointConfig()
    if is_exported(path) or is_torchscript(path):
        return _program(path, said)
    tensors, metadata = load_weights(path)
    if METADATA_KEY in metadata:
        return _own(path, tensors, metadata, checkpoint)
    return _state_dict(path, tensors, said)


def _own(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str], checkpoint: CheckpointConfig | None
) -> LoadedNetwork:
    if checkpoint not in (None, CheckpointConfig()):
        raise CheckpointError(
            f"{path} is a weights file of this program and says all about its network; leave the checkpoint's "
            "architecture, mean and std out"
        )
    spec = ModelSpec.from_metadata(metadata)
    module = spec.build(tensors).eval()
    return LoadedNetwork(module, spec.config.title, len(spec.class_names), spec, sha256_of(path))


def _program(path: Path, said: CheckpointConfig) -> LoadedNetwork:
    if said.architecture:
        raise CheckpointError(
            f"{path} is a whole program; leave the architecture {said.architecture!r} out, it has its own"
        )
    if not is_own(path):
        probe(path)
    notes = []
    network: ProgramNetwork
    try:
        if is_exported(path):
            network = exported = ExportedNetwork(path, read_exported(path))
            title, classes = "exported program", exported.num_classes
            if exported.batch_size is not None:
                notes.append(
                    f"The program was exported for {exported.batch_size} images at once, so it is run in such parts, the "
                    "last filled up; exported with a dynamic batch dimension it may be faster."
                )
        else:
            network = script = ScriptNetwork(path, read_torchscript(path))
            title, classes = f"TorchScript model {script.title}", None
    except (UntrustedFileError, CheckpointError) as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error
    if network.dtype.itemsize != 4:
        notes.append(f"The program computes in {str(network.dtype).removeprefix('torch.')}, not in float32.")
    normalisation = _given(said)
    if normalisation is not None:
        notes.append(_normalised(normalisation, "as given"))
    module = NormalisedNetwork(network, *normalisation) if normalisation else network
    return LoadedNetwork(
        module.requires_grad_(False).eval(), title, classes, None, sha256_of(path), tuple(notes)
    )


def _state_dict(path: Path, tensors: dict[str, Tensor], said: CheckpointConfig) -> LoadedNetwork:
    if not said.architecture:
        raise CheckpointError(
            f"{path} holds weights ({', '.join(list(tensors)[:3])} ...), but does not say of which network; give the "
            f"architecture, one of: {', '.join(name for name in get_args(ArchitectureName) if name)}. Weights of the CARTL "
            "authors' code are cartl; `cartl import` makes a weights file of this program of them"
        )
    given = _given(said)
    if said.architecture == "cartl":
        authors, found = authors_network(path, tensors, given)
        used = given or normalisation_of({"mean": authors.mean, "std": authors.std})
        notes = (_normalised(used, "as given" if given else "from the file"),) if used else ()
        module: nn.Module = authors.requires_grad_(False).eval()
        title = f"{found.model.title} of the CARTL authors"
        return LoadedNetwork(module, title, found.num_classes, None, sha256_of(path), notes)
    try:
        weights, dropped = unwrap(tensors)
        network = build_foreign(said.architecture, weights)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    normalisation = given or normalisation_of(dropped)
    note = _AS_IT_IS
    module = network.module
    if normalisation is not None:
        note = _normalised(normalisation, "as given" if given else "from the file")
        module = NormalisedNetwork(module, *normalisation).eval()
    elif dropped:
        raise CheckpointError(
            f"{path}: the mean and std in the file ({', '.join(dropped)}) are not those of three channels in [0, 1]; give "
            "mean and std"
        )
    return LoadedNetwork(
        module, network.title, network.num_classes, None, sha256_of(path), (*network.notes, note)
    )


def _given(said: CheckpointConfig) -> tuple[Triple, Triple] | None:
    if said.mean is None or said.std is None:
        return None
    (red, green, blue), (red_std, green_std, blue_std) = said.mean, said.std
    return (red, green, blue), (red_std, green_std, blue_std)


def _normalised(normalisation: tuple[Triple, Triple], origin: str) -> str:
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in normalisation)
    return f"Pixels are normalised with mean {mean} and std {std}, {origin}."
