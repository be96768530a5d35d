"""State dicts that other programs wrote: what wraps a network, what normalises before it, and whether it fits."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from engine.errors import CheckpointError

Triple = tuple[float, float, float]

#: What wraps a network: DataParallel, torch.compile, a module that normalises first.
_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "1.")
#: Mean and std of a normalising layer in front of the network.
_NORMALISATION = re.compile(
    r"(?:(?:0|norm\w*|preprocess\w*)\.)?(?P<what>(?:new_)?(?:mean|std)|mu|sigma)", re.ASCII
)
_CALLED = {"mean": ("mean", "mu", "new_mean"), "std": ("std", "sigma", "new_std")}
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def unwrap(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The network's own entries without the prefixes of wrappers, and those of a normalising layer.

    Raises:
        CheckpointError: nothing of a network is left.
    """
    rest = dict(tensors)
    dropped: dict[str, Tensor] = {}
    while rest:
        normalising = {name for name in rest if _NORMALISATION.fullmatch(name)}
        dropped |= {name: rest.pop(name) for name in normalising}
        prefix = next(
            (wrapper for wrapper in _WRAPPERS if all(name.startswith(wrapper) for name in rest)), ""
        )
        if not rest or not prefix:
            break
        rest = {name.removeprefix(prefix): tensor for name, tensor in rest.items()}
    if not rest:
        raise CheckpointError("it holds no weights of a network")
    return rest, dict(sorted(dropped.items()))


def normalisation_of(dropped: Mapping[str, Tensor]) -> tuple[Triple, Triple] | None:
    """Mean and std of three channels from a normalising layer; None unless it has both and they can be used."""
    mean, std = (_triple(dropped, what) for what in ("mean", "std"))
    return (mean, std) if mean is not None and std is not None else None


def _triple(dropped: Mapping[str, Tensor], what: str) -> Triple | None:
    for name, tensor in dropped.items():
        called = name.rpartition(".")[2] in _CALLED[what]
        if called and tensor.numel() == 3 and tensor.is_floating_point():
            red, green, blue = tensor.flatten().tolist()
            low = 0.0 if what == "mean" else 1e-6
            if all(low <= value <= 1 for value in (red, green, blue)):
                return red, green, blue
    return None


def checked(name: str, tensor: Tensor) -> Tensor:
    """A weight as float32, a batch counter as it is.

    Raises:
        CheckpointError: it is of another type, not finite, or a negative variance.
    """
    if name.endswith("num_batches_tracked"):
        if tensor.dtype != torch.int64 or tensor.dim():
            raise CheckpointError(f"{name} should be one whole number (int64), got {described(tensor)}")
        return tensor
    if tensor.dtype not in _FLOATS:
        raise CheckpointError(f"{name} should hold floating-point numbers, got {described(tensor)}")
    plain = tensor.detach().float()
    if not bool(torch.isfinite(plain).all()):
        raise CheckpointError(f"{name} holds numbers that are not finite, so the network is of no use")
    if name.endswith("running_var") and bool((plain < 0).any()):
        raise CheckpointError(f"{name} holds negative numbers, but a variance has none")
    return plain


def described(tensor: Tensor) -> str:
    """Type and shape for people: "float32 (16, 3, 3, 3)"."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def missing_counters(
    weights: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], title: str
) -> list[str]:
    """Compare names and shapes with those of a network; returns the batch counters that an old version did not save.

    Args:
        weights: what the file holds.
        expected: shapes of what the network has, by name.
        title: the network, for the message.

    Raises:
        CheckpointError: naming what is missing, unknown or of another shape.
    """
    missing = [name for name in expected if name not in weights]
    counters = [name for name in missing if name.endswith("num_batches_tracked")]
    problems = {
        "missing": [name for name in missing if name not in counters],
        "unknown": [name for name in weights if name not in expected],
        "of another shape": [
            f"{name} {tuple(weights[name].shape)} instead of {shape}"
            for name, shape in expected.items()
            if name in weights and tuple(weights[name].shape) != shape
        ],
    }
    parts = [
        f"{what}: {', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
        for what, names in problems.items()
        if names
    ]
    if parts:
        raise CheckpointError(f"it does not fit a {title}; {'; '.join(parts)}")
    return counters
