"""Networks that other programs keep as a plain state dict, under the names that the field uses.

    wide_resnet     conv1, block1.layer.0.{bn1,conv1,bn2,conv2,convShortcut} ..., bn1, fc
    preact_resnet   conv1, layer1.0.{bn1,conv1,bn2,conv2,shortcut.0} ..., bn (some have none), linear
    resnet          conv1, bn1, layer1.0.{conv1,bn1,conv2,bn2[,conv3,bn3],shortcut.0,shortcut.1} ..., linear

Numbers of blocks and channels are read from names and shapes; strides are those of the papers. All take
images [B, 3, H, W] and average the last feature map over its pixels, whatever its size; the original code does so
for 32 x 32 pixels. Only names are taken from it.

Source: Zagoruyko & Komodakis, BMVC 2016 (wide ResNet); He et al., CVPR 2016 and ECCV 2016 (ResNet, pre-activation).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from engine.config import ArchitectureName
from engine.errors import CheckpointError
from engine.models.residual import PostActivationBlock, PreActivationBlock, ResidualNetwork
from engine.models.state_dicts import checked, described, missing_counters

State = Mapping[str, Tensor]

#: Blocks of the deep ResNets in four stages, for titles. Source: He et al., CVPR 2016, table 1.
_DEPTHS: dict[tuple[str, tuple[int, ...]], int] = {
    ("basic", (2, 2, 2, 2)): 18, ("basic", (3, 4, 6, 3)): 34, ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101, ("bottleneck", (3, 8, 36, 3)): 152,
}  # fmt: skip


class NormalisedNetwork(nn.Module):
    """(x - mean) / std in front of a network.

    Args:
        network: takes normalised images [B, 3, H, W].
        mean, std: three numbers each, in input units.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """What the network makes of images [B, 3, H, W] in [0, 1]."""
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


@dataclass(frozen=True, slots=True)
class ForeignNetwork:
    """A network built from a state dict: module on the CPU in eval mode, title, number of classes, and what to know."""

    module: nn.Module
    title: str
    num_classes: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to build a network, found in a state dict: `entries` are those that belong to it."""

    build: Callable[[], nn.Module]
    title: str
    num_classes: int
    entries: State
    notes: tuple[str, ...] = ()


def build_foreign(architecture: ArchitectureName, weights: State) -> ForeignNetwork:
    """Build a network of another program from its weights.

    Args:
        architecture: one of `ArchitectureName`, but neither "" nor "cartl".
        weights: its state dict, unwrapped.

    Raises:
        CheckpointError: the weights do not belong to it; the message says what is missing, unknown or of another
            shape, and which architectures there are.
    """
    try:
        state = {name: checked(name, tensor) for name, tensor in weights.items()}
        plan = _PLANS.get(architecture, partial(_torchvision, architecture))(state)
        with torch.device("meta"):
            module = plan.build()
        expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        counters = missing_counters(plan.entries, expected, plan.title)
    except CheckpointError as error:
        raise CheckpointError(
            f"the weights do not belong to the architecture {architecture!r}: {error}. There are: "
            + ", ".join(name for name in get_args(ArchitectureName) if name)
        ) from error
    entries = dict(plan.entries) | {name: torch.zeros((), dtype=torch.int64) for name in counters}
    module.load_state_dict(entries, assign=True)
    module.requires_grad_(False)
    return ForeignNetwork(module.eval(), plan.title, plan.num_classes, plan.notes)


def _wide_resnet(state: State) -> _Plan:
    """Source: the names of TRADES and RobustBench; `sub_block1` is in some of their files and never used."""
    entries = {name: tensor for name, tensor in state.items() if not name.startswith("sub_block1.")}
    dropped = len(state) - len(entries)
    notes = (f"{dropped} entries of sub_block1 left out, which the network never uses",) if dropped else ()
    found = _Stages(entries, "block{}.layer.{}", 3)
    channels = found.channels[0]
    widen = f"{channels / 16:g}"
    title = f"WRN-{6 * found.counts[0] + 4}-{widen} (ReLU)"
    if len(set(found.counts)) > 1:
        title = f"wide ResNet of {', '.join(map(str, found.counts))} blocks (ReLU)"

    def build() -> nn.Module:
        parts: dict[str, nn.Module] = {"conv1": found.stem()}
        for number, blocks in enumerate(found.pre_activation(raw_shortcut=False, wide=True), start=1):
            parts[f"block{number}"] = nn.Sequential(OrderedDict(layer=nn.Sequential(*blocks)))
        parts["bn1"] = nn.BatchNorm2d(found.channels[-1])
        parts["fc"] = found.classifier("fc")
        return ResidualNetwork(parts, stages=found.names("block{}"), norm="bn1", norm_first=False)

    return _Plan(build, title, found.num_classes("fc"), entries, notes)


def _preact_resnet(state: State, *, raw_shortcut: bool = False) -> _Plan:
    """Source: the names of pytorch-cifar and RobustBench, where the last batch norm is an option."""
    found = _Stages(state, "layer{}.{}", 4)
    norm = "bn" if "bn.weight" in state else ""
    title = found.title("PreActResNet", "basic")
    notes = (
        ()
        if norm or raw_shortcut
        else (
            "The file does not tell from where shortcuts start; they take the activated input of their block. If the "
            "clean accuracy is too low, try the architecture preact_resnet_raw_shortcut.",
        )
    )

    def build() -> nn.Module:
        parts: dict[str, nn.Module] = {"conv1": found.stem()}
        for number, blocks in enumerate(found.pre_activation(raw_shortcut=raw_shortcut, wide=False), start=1):
            parts[f"layer{number}"] = nn.Sequential(*blocks)
        if norm:
            parts[norm] = nn.BatchNorm2d(found.channels[-1])
        parts["linear"] = found.classifier("linear")
        return ResidualNetwork(parts, stages=found.names("layer{}"), norm=norm, norm_first=False)

    return _Plan(build, title, found.num_classes("linear"), state, notes)


def _resnet(state: State) -> _Plan:
    """Source: the names of pytorch-cifar and RobustBench."""
    found = _Stages(state, "layer{}.{}", 4)
    bottleneck = "layer1.0.conv3.weight" in state
    title = found.title("ResNet", "bottleneck" if bottleneck else "basic") + " with the CIFAR stem"

    def build() -> nn.Module:
        parts: dict[str, nn.Module] = {"conv1": found.stem()}
        parts["bn1"] = nn.BatchNorm2d(found.stem().out_channels)
        for number, blocks in enumerate(found.residual(bottleneck=bottleneck), start=1):
            parts[f"layer{number}"] = nn.Sequential(*blocks)
        parts["linear"] = found.classifier("linear")
        return ResidualNetwork(parts, stages=found.names("layer{}"), norm="bn1", norm_first=True)

    return _Plan(build, title, found.num_classes("linear"), state)


def _torchvision(architecture: str, state: State) -> _Plan:
    """A network of torchvision, under its own names; the classes are counted in its last parameter."""
    from torchvision.models import get_model

    with torch.device("meta"):
        last = list(get_model(architecture, weights=None).state_dict())[-1]
    classes = _shape(state, last)[0]
    return _Plan(
        lambda: get_model(architecture, weights=None, num_classes=classes),
        f"torchvision's {architecture}",
        classes,
        state,
    )


#: How the networks that are not torchvision's are found in a state dict.
_PLANS: dict[str, Callable[[State], _Plan]] = {
    "wide_resnet": _wide_resnet,
    "resnet": _resnet,
    "preact_resnet": _preact_resnet,
    "preact_resnet_raw_shortcut": partial(_preact_resnet, raw_shortcut=True),
}


class _Place(NamedTuple):
    """A block: its name, channels in and out, stride, and whether its shortcut has a convolution."""

    name: str
    inside: int
    outside: int
    stride: int
    projected: bool


class _Stages:
    """Blocks and channels of a residual network, read from names and shapes.

    Args:
        state: the weights.
        form: the name of a block, with places for its stage (from 1 on) and its number (from 0 on).
        stages: how many stages there are; each but the first begins with stride 2.
    """

    def __init__(self, state: State, form: str, stages: int) -> None:
        self._state, self._form = state, form
        pattern = re.compile(re.escape(form).replace(r"\{\}", "([0-9]{1,3})") + r"\..+", re.ASCII)
        found = [match for name in state if (match := pattern.fullmatch(name))]
        numbers = range(1, stages + 1)
        self.counts = tuple(
            1 + max((int(match[2]) for match in found if int(match[1]) == stage), default=-1)
            for stage in numbers
        )
        if not all(self.counts):
            empty = form.format(1 + self.counts.index(0), 0)
            raise CheckpointError(f"missing: {empty}, which begins a stage of the network")
        # The last convolution of a stage's first block says how many channels leave each block of the stage.
        last = 3 if f"{form.format(1, 0)}.conv3.weight" in state else 2
        self.channels = tuple(
            _shape(state, f"{form.format(stage, 0)}.conv{last}.weight", 4)[0] for stage in numbers
        )

    def stem(self) -> nn.Conv2d:
        """The first convolution, 3x3."""
        return nn.Conv2d(3, _shape(self._state, "conv1.weight", 4)[0], 3, 1, 1, bias=False)

    def classifier(self, name: str) -> nn.Linear:
        """The last linear map, with a bias if the file has one."""
        return nn.Linear(self.channels[-1], self.num_classes(name), bias=f"{name}.bias" in self._state)

    def num_classes(self, name: str) -> int:
        """K, the rows of the last linear map."""
        return _shape(self._state, f"{name}.weight", 2)[0]

    def names(self, form: str) -> tuple[str, ...]:
        """The stages' names."""
        return tuple(form.format(stage) for stage in range(1, len(self.counts) + 1))

    def title(self, family: str, kind: str) -> str:
        """The network's name, with its depth where it is one of the papers'."""
        depth = _DEPTHS.get((kind, self.counts))
        return (
            f"{family}-{depth}" if depth else f"{family} of {', '.join(map(str, self.counts))} {kind} blocks"
        )

    def pre_activation(self, *, raw_shortcut: bool, wide: bool) -> list[list[nn.Module]]:
        """The blocks of each stage of a pre-activation network."""
        return [
            [
                PreActivationBlock(
                    place.inside, place.outside, place.stride,
                    projected=place.projected, raw_shortcut=raw_shortcut, wide=wide,
                )
                for place in stage
            ]
            for stage in self._places("convShortcut" if wide else "shortcut.0")
        ]  # fmt: skip

    def residual(self, *, bottleneck: bool) -> list[list[nn.Module]]:
        """The blocks of each stage of a ResNet."""
        return [
            [
                PostActivationBlock(
                    place.inside, _shape(self._state, f"{place.name}.conv1.weight", 4)[0], place.outside,
                    place.stride, projected=place.projected, bottleneck=bottleneck,
                )
                for place in stage
            ]
            for stage in self._places("shortcut.0")
        ]  # fmt: skip

    def _places(self, shortcut: str) -> list[list[_Place]]:
        inside = self.stem().out_channels
        stages = []
        for stage, (count, outside) in enumerate(zip(self.counts, self.channels, strict=True), start=1):
            places = []
            for index in range(count):
                name = self._form.format(stage, index)
                stride = 2 if stage > 1 and index == 0 else 1
                projected = inside != outside or stride > 1 or f"{name}.{shortcut}.weight" in self._state
                places.append(_Place(name, inside, outside, stride, projected))
                inside = outside
            stages.append(places)
        return stages


def _shape(state: State, name: str, dimensions: int | None = None) -> tuple[int, ...]:
    if name not in state:
        raise CheckpointError(f"missing: {name}")
    tensor = state[name]
    if dimensions not in (None, tensor.dim()) or not tensor.numel():
        raise CheckpointError(f"{name} should have {dimensions} dimensions, got {described(tensor)}")
    return tuple(tensor.shape)
