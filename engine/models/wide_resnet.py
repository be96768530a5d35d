"""Wide residual network WRN-d-w in the CARTL authors' variant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from engine.config import ModelConfig
from engine.models.base import BlockwiseModel, ResidualBlock, models

#: Negative slope of the LeakyReLU.
SLOPE = 0.1


class PreActivationBlock(ResidualBlock):
    """BN, LeakyReLU, 3x3 conv, BN, LeakyReLU, 3x3 conv; a 1x1 shortcut on the activated input where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.shortcut = (
            nn.Conv2d(in_channels, out_channels, 1, stride, 0, bias=False)
            if in_channels != out_channels or stride != 1
            else None
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H/stride, W/stride]."""
        activated = F.leaky_relu(self.bn1(hidden), SLOPE)
        branch = self.conv2(F.leaky_relu(self.bn2(self.conv1(activated)), SLOPE))
        return self.add(hidden if self.shortcut is None else self.shortcut(activated), branch)


class FinalActivation(nn.Module):
    """The last batch norm and LeakyReLU, block 3n + 1."""

    title: ClassVar[str] = "batch norm and activation"

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        return F.leaky_relu(self.bn(hidden), SLOPE)


@models.register("wide_resnet", title="Wide ResNet", source="Zagoruyko & Komodakis, BMVC 2016")
class WideResNet(BlockwiseModel):
    """WRN-d-w: n = (d - 4) / 6 residual blocks in each of three groups, so N = 3n + 2 blocks."""

    channels_last_on_cpu = True

    def __init__(self, config: ModelConfig, num_classes: int) -> None:
        super().__init__()
        per_group = (config.depth - 4) // 6
        widths = [16 * config.widen_factor * factor for factor in (1, 2, 4)]
        self.stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        blocks: list[nn.Module] = []
        channels = 16
        for group, width in enumerate(widths):
            for index in range(per_group):
                blocks.append(PreActivationBlock(channels, width, 2 if group and index == 0 else 1))
                channels = width
        blocks += [FinalActivation(channels), nn.Linear(channels, num_classes)]
        self.blocks = nn.ModuleDict({str(number): block for number, block in enumerate(blocks, start=1)})

    def foldable(self) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """See `BlockwiseModel.foldable`: the first convolution and the second batch norm of each block."""
        for block in self.blocks.values():
            if isinstance(block, PreActivationBlock):
                yield block.conv1, block.bn2
