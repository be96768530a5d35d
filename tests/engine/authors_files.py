"""Checkpoints as the CARTL authors' code writes them: from reference arrays, or from networks of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from engine.models import BlockwiseModel


def arrays_of(kit: Mapping[str, np.ndarray], prefix: str) -> dict[str, Tensor]:
    """The reference arrays of one state, under the authors' own names."""
    return {
        key.removeprefix(prefix): torch.from_numpy(np.array(value))
        for key, value in kit.items()
        if key.startswith(prefix)
    }


def as_authors(model: BlockwiseModel, groups: tuple[int, ...]) -> dict[str, Tensor]:
    """A network's weights under the authors' names, written down independently of the program's own table.

    Args:
        model: a wide ResNet or ResNet.
        groups: residual blocks in each group (three: wide ResNet) or stage (four: ResNet).
    """
    wide = len(groups) == 3
    places = [(group, index) for group, count in enumerate(groups) for index in range(count)]
    renamed = {}
    for name, tensor in model.state_dict().items():
        if name in ("mean", "std"):
            continue
        if name.startswith("stem."):
            renamed["conv1." + name.removeprefix("stem.")] = tensor.clone()
            continue
        found = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
        assert found is not None
        number, rest = int(found[1]), found[2]
        if number == model.num_blocks:
            theirs = f"fc.{rest}"
        elif number > len(places):
            theirs = rest.replace("bn.", "bn1.")
        elif wide:
            group, index = places[number - 1]
            theirs = f"block{group + 1}.layer.{index}.{rest.replace('shortcut', 'convShortcut')}"
        else:
            group, index = places[number - 1]
            theirs = f"conv{group + 2}_x.{index}.{rest.replace('branch', 'residual_function')}"
        renamed[theirs] = tensor.clone()
    return renamed
