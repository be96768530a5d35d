"""Translation of the CARTL authors' parameter names into ours.

Their wide ResNets and ResNets are read parameter by parameter; nothing of their code is needed.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from engine.errors import CheckpointError

_RESNET_BRANCH = "residual_function"


def translate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict of the authors' WRN or ResNet to `BlockwiseModel`'s names.

    Args:
        state: plain or spectrally normalised (`weight_orig`, `weight_u`, `weight_v`) parameters.

    Raises:
        CheckpointError: a name fits neither network.
    """
    translated = {}
    counts = _blocks_per_group(state)
    firsts = {group: 1 + sum(counts[g] for g in counts if g < group) for group in counts}
    last = sum(counts.values()) + 1
    wide = any(name.startswith("block1.") for name in state)
    for name, tensor in state.items():
        translated[_translate_parameter(_translate_place(name, firsts, last, wide))] = tensor
    return translated


def _blocks_per_group(state: Mapping[str, Tensor]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for name in state:
        parts = name.split(".")
        if parts[0].startswith("block"):
            group, index = int(parts[0][5:]), int(parts[2])
        elif parts[0].startswith("conv") and parts[0].endswith("_x"):
            group, index = int(parts[0][4:-2]), int(parts[1])
        else:
            continue
        counts[group] = max(counts.get(group, 0), index + 1)
    return dict(sorted(counts.items()))


def _translate_place(name: str, firsts: Mapping[int, int], last: int, wide: bool) -> str:
    parts = name.split(".")
    top = parts[0]
    if top == "conv1":
        return ".".join(["stem", *parts[1:]])
    if top == "bn1" and wide:
        return ".".join(["blocks", str(last), "bn", *parts[1:]])
    if top == "fc":
        return ".".join(["blocks", str(last + wide), *parts[1:]])
    if top.startswith("block"):
        number = firsts[int(top[5:])] + int(parts[2])
        rest = ["shortcut" if part == "convShortcut" else part for part in parts[3:]]
        return ".".join(["blocks", str(number), *rest])
    if top.endswith("_x"):
        number = firsts[int(top[4:-2])] + int(parts[1])
        rest = ["branch" if part == _RESNET_BRANCH else part for part in parts[2:]]
        return ".".join(["blocks", str(number), *rest])
    raise CheckpointError(
        f"parameter {name!r} belongs to neither a wide ResNet nor a ResNet of the CARTL authors; export the "
        "weights with this program's names, or use one of those networks"
    )


def _translate_parameter(name: str) -> str:
    for theirs, ours in (
        ("weight_orig", "parametrizations.weight.original"),
        ("weight_u", "parametrizations.weight.0.u"),
        ("weight_v", "parametrizations.weight.0.v"),
    ):
        if name.endswith(theirs):
            return name[: -len(theirs)] + ours
    return name
