"""ResNet-18, -34 and -50 with the CIFAR stem."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from engine.config import ModelConfig
from engine.config.model import RESNET_STAGES
from engine.models.base import BlockwiseModel, ResidualBlock, models


class PostActivationBlock(ResidualBlock):
    """Convolutions with batch norm, the residual sum, then ReLU; basic (two 3x3) or bottleneck (1x1, 3x3, 1x1)."""

    def __init__(self, in_channels: int, width: int, stride: int, *, bottleneck: bool) -> None:
        super().__init__()
        out_channels = 4 * width if bottleneck else width
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        strides = (1, stride, 1) if bottleneck else (stride, 1)
        channels = (in_channels, *([width] * (len(kernels) - 1)), out_channels)
        layers: list[nn.Module] = []
        for index, (kernel, step) in enumerate(zip(kernels, strides, strict=True)):
            if index:
                layers.append(nn.ReLU())
            layers += [
                nn.Conv2d(channels[index], channels[index + 1], kernel, step, kernel // 2, bias=False),
                nn.BatchNorm2d(channels[index + 1]),
            ]
        self.branch = nn.Sequential(*layers)
        self.shortcut = (
            nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, 0, bias=False), nn.BatchNorm2d(out_channels)
            )
            if stride != 1 or in_channels != out_channels
            else nn.Sequential()
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H/stride, W/stride]."""
        return F.relu(self.add(self.shortcut(hidden), self.branch(hidden)))


@models.register("resnet", title="ResNet", source="He et al., CVPR 2016")
class ResNet(BlockwiseModel):
    """A ResNet with one block for each residual block and one for the classifier (ResNet-18: N = 9).

    Args:
        config: depth 18, 34 or 50.
        num_classes: K.
        stages: residual blocks per stage; those of the depth when left out.
    """

    def __init__(
        self, config: ModelConfig, num_classes: int, stages: tuple[int, int, int, int] | None = None
    ) -> None:
        super().__init__()
        bottleneck = config.depth >= 50
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        blocks: list[nn.Module] = []
        channels = 64
        for stage, count in enumerate(stages or RESNET_STAGES[config.depth]):
            width = 64 * 2**stage
            for index in range(count):
                stride = 2 if stage and index == 0 else 1
                blocks.append(PostActivationBlock(channels, width, stride, bottleneck=bottleneck))
                channels = 4 * width if bottleneck else width
        blocks.append(nn.Linear(channels, num_classes))
        self.blocks = nn.ModuleDict({str(number): block for number, block in enumerate(blocks, start=1)})

    def foldable(self) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """See `BlockwiseModel.foldable`: all of them, in the stem, the branches and the shortcuts."""
        for module in self.modules():
            if isinstance(module, nn.Sequential):
                for layer, following in pairwise(module):
                    if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                        yield layer, following
