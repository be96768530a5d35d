"""Residual networks for CIFAR as the field writes them, with ReLU and under its parameter names.

Shapes: B batch, C H W feature map, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F


class PreActivationBlock(nn.Module):
    """BN, ReLU, 3x3 convolution, twice, and a 1x1 convolution as shortcut where the channels or the stride change.

    Args:
        inside, outside: channels.
        stride: of the first convolution and the shortcut.
        projected: whether there is such a shortcut.
        raw_shortcut: whether it takes the block's input rather than the activated one.
        wide: name the shortcut as wide ResNets do.
    """

    def __init__(
        self, inside: int, outside: int, stride: int, *, projected: bool, raw_shortcut: bool, wide: bool
    ) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self._raw_shortcut = raw_shortcut
        self._shortcut = ("convShortcut" if wide else "shortcut") if projected else ""
        if projected:
            convolution = nn.Conv2d(inside, outside, 1, stride, 0, bias=False)
            self.add_module(self._shortcut, convolution if wide else nn.Sequential(convolution))

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H/stride, W/stride]."""
        activated = F.relu(self.bn1(hidden))
        branch: Tensor = self.conv2(F.relu(self.bn2(self.conv1(activated))))
        if not self._shortcut:
            return hidden + branch
        shortcut: Tensor = self.get_submodule(self._shortcut)(hidden if self._raw_shortcut else activated)
        return shortcut + branch


class PostActivationBlock(nn.Module):
    """Convolutions with batch norm and ReLU between them (two 3x3, or 1x1, 3x3, 1x1), the residual sum, and ReLU."""

    def __init__(
        self, inside: int, width: int, outside: int, stride: int, *, projected: bool, bottleneck: bool
    ) -> None:
        super().__init__()
        channels = (inside, width, width, outside) if bottleneck else (inside, width, outside)
        kernels, strides = ((1, 3, 1), (1, stride, 1)) if bottleneck else ((3, 3), (stride, 1))
        self._depth = len(kernels)
        for index, (kernel, step) in enumerate(zip(kernels, strides, strict=True)):
            convolution = nn.Conv2d(
                channels[index], channels[index + 1], kernel, step, kernel // 2, bias=False
            )
            self.add_module(f"conv{index + 1}", convolution)
            self.add_module(f"bn{index + 1}", nn.BatchNorm2d(channels[index + 1]))
        self.shortcut = nn.Sequential()
        if projected:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, 0, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H/stride, W/stride]."""
        branch = hidden
        for number in range(1, self._depth + 1):
            branch = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(branch))
            if number < self._depth:
                branch = F.relu(branch)
        return F.relu(self.shortcut(hidden) + branch)


class ResidualNetwork(nn.Module):
    """A convolution, batch norm and ReLU where they belong, stages of blocks, pooling, and a linear map.

    The parts come with the names of the state dict: stem, stages and last, in this order; `norm_first` says that
    batch norm and ReLU follow the stem rather than the last stage. A `norm` of "" stands for none.
    """

    def __init__(
        self, parts: Mapping[str, nn.Module], *, stages: tuple[str, ...], norm: str, norm_first: bool
    ) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self._stages, self._norm, self._norm_first = stages, norm, norm_first
        self._stem, *_, self._classifier = parts

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] of images [B, 3, H, W]."""
        hidden = self.get_submodule(self._stem)(images)
        if self._norm and self._norm_first:
            hidden = F.relu(self.get_submodule(self._norm)(hidden))
        for stage in self._stages:
            hidden = self.get_submodule(stage)(hidden)
        if self._norm and not self._norm_first:
            hidden = F.relu(self.get_submodule(self._norm)(hidden))
        logits: Tensor = self.get_submodule(self._classifier)(hidden.mean((2, 3)))
        return logits
