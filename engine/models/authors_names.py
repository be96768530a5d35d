"""The CARTL authors' parameter names, and ours.

    theirs                                    ours
    conv1                                     stem
    block1.layer.0 ... block3.layer.n-1       blocks.1 ... blocks.3n        wide ResNet
    conv2_x.0 ... conv5_x.n-1                 blocks.1 ...                  ResNet
    bn1                                       blocks.3n+1.bn                wide ResNet
    fc                                        blocks.N
    convShortcut                              shortcut                      wide ResNet
    shortcut, residual_function               shortcut, branch              ResNet
    weight_orig, weight_u, weight_v           parametrizations.weight.original, .0.u, .0.v

Only names are read; nothing of their code is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from engine.errors import CheckpointError

_PLACE = re.compile(
    r"(?P<place>conv1|bn1|fc|block(?P<wide>[1-3])\.layer\.(?P<n>[0-9]{1,3})|conv(?P<stage>[2-5])_x\.(?P<m>[0-9]{1,3}))"
    r"\.(?P<rest>.+)"
)
_WIDE_PARTS = {"convShortcut": "shortcut"}
_RESNET_PARTS = {"residual_function": "branch"}
_PARAMETERS = {
    "weight_orig": "parametrizations.weight.original",
    "weight_u": "parametrizations.weight.0.u",
    "weight_v": "parametrizations.weight.0.v",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Which of the two networks a state belongs to, and its residual blocks per group (3) or stage (4)."""

    wide: bool
    counts: tuple[int, ...]

    @property
    def parts(self) -> dict[str, str]:
        """The modules within a residual block that are called otherwise: their name -> ours."""
        return _WIDE_PARTS if self.wide else _RESNET_PARTS

    def places(self) -> dict[str, str]:
        """The place of every module with parameters: their name -> ours."""
        form = "block{}.layer.{}" if self.wide else "conv{}_x.{}"
        first = 1 if self.wide else 2
        residual = [
            form.format(group, index)
            for group, count in enumerate(self.counts, start=first)
            for index in range(count)
        ]
        places = {"conv1": "stem"}
        places |= {place: f"blocks.{number}" for number, place in enumerate(residual, start=1)}
        if self.wide:
            places["bn1"] = f"blocks.{len(places)}.bn"
        places["fc"] = f"blocks.{len(places)}"
        return places


def layout_of(names: Iterable[str]) -> Layout:
    """Tell the network from its parameters' names.

    Raises:
        CheckpointError: a name belongs to neither network.
    """
    wide: dict[int, int] = {}
    stages: dict[int, int] = {}
    for name in names:
        found = _PLACE.fullmatch(name)
        if found is None:
            raise _unknown(name)
        if found["wide"]:
            wide[int(found["wide"])] = max(wide.get(int(found["wide"]), 0), int(found["n"]) + 1)
        elif found["stage"]:
            stages[int(found["stage"])] = max(stages.get(int(found["stage"]), 0), int(found["m"]) + 1)
    if wide:
        return Layout(True, tuple(wide.get(group, 0) for group in (1, 2, 3)))
    return Layout(False, tuple(stages.get(stage, 0) for stage in (2, 3, 4, 5)))


def translate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict of the authors' WRN or ResNet to `BlockwiseModel`'s names.

    Args:
        state: plain or spectrally normalised (`weight_orig`, `weight_u`, `weight_v`) parameters.

    Raises:
        CheckpointError: a name fits neither network.
    """
    layout = layout_of(state)
    places = layout.places()
    return {_our_name(name, layout, places): tensor for name, tensor in state.items()}


def their_name(name: str, layout: Layout) -> str:
    """Their name of a parameter of ours that is neither `mean` nor `std`."""
    for theirs, ours in layout.places().items():
        if name.startswith(ours + "."):
            words = {our: their for their, our in layout.parts.items()}
            rest = name.removeprefix(ours + ".").split(".")
            return ".".join([theirs, *(words.get(word, word) for word in rest)])
    return name


def _our_name(name: str, layout: Layout, places: Mapping[str, str]) -> str:
    found = _PLACE.fullmatch(name)
    if found is None or found["place"] not in places:
        raise _unknown(name)
    *parts, parameter = found["rest"].split(".")
    words = [layout.parts.get(part, part) for part in parts]
    return ".".join([places[found["place"]], *words, _PARAMETERS.get(parameter, parameter)])


def _unknown(name: str) -> CheckpointError:
    return CheckpointError(
        f"parameter {name[:80]!r} belongs to neither a wide ResNet nor a ResNet of the CARTL authors; export the "
        "weights with this program's names, or use one of those networks"
    )
