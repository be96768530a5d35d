"""Networks cut into numbered blocks, the unit of freezing and of layer-wise analysis.

Shapes: B batch, C H W image, K classes, N blocks, d numbers of a flattened feature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from engine.config import ModelConfig
from engine.registry import Registry


@dataclass(frozen=True, slots=True)
class WeightedLayer:
    """A convolution or linear layer: dotted name, module, and number of its block (0: the stem)."""

    name: str
    module: nn.Conv2d | nn.Linear
    block: int


class BlockwiseModel(nn.Module):
    """A classifier made of a stem and blocks 1..N; the last block is the classifier, a linear map.

    Inputs are images [B, 3, H, W] in [0, 1]; the normalisation (x - mean) / std is part of the model. A
    subclass sets `stem` and `blocks`; the feature map before the classifier is averaged over its pixels.

    Source: Chen et al., ICML 2021, section 3.1 (blocks as the unit of transfer).
    """

    #: Whether convolutions run faster on a CPU with channels last; measured, see benchmarks/training.py.
    channels_last_on_cpu: ClassVar[bool] = False

    mean: Tensor
    std: Tensor
    stem: nn.Module
    blocks: nn.ModuleDict

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.register_buffer("std", torch.ones(1, 3, 1, 1))
        self.num_halved = 0
        self._memory_format: torch.memory_format | None = None

    @property
    def num_blocks(self) -> int:
        """N."""
        return len(self.blocks)

    @property
    def classifier(self) -> nn.Linear:
        """The last linear map, block N."""
        classifier = self.blocks[str(self.num_blocks)]
        if not isinstance(classifier, nn.Linear):
            raise TypeError(f"the last block must be a linear layer, got {type(classifier).__name__}")
        return classifier

    def block(self, number: int) -> nn.Module:
        """Block `number`, counted 1..N from the input."""
        return self.blocks[str(number)]

    def block_title(self, number: int) -> str:
        """What block `number` is, for people."""
        title = getattr(self.block(number), "title", "")
        return str(title) or "classifier"

    def trunk(self, k: int) -> list[nn.Module]:
        """The stem and blocks 1..N-k."""
        return [self.stem, *(self.block(i) for i in range(1, self.num_blocks - k + 1))]

    def head(self, k: int) -> list[nn.Module]:
        """The last k blocks."""
        return [self.block(i) for i in range(self.num_blocks - k + 1, self.num_blocks + 1)]

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K] of images [B, 3, H, W] in [0, 1]."""
        hidden = self.stem(self._normalised(images))
        for block in list(self.blocks.values())[:-1]:
            hidden = block(hidden)
        logits: Tensor = self.classifier(hidden.mean((2, 3)))
        return logits

    def features(self, images: Tensor) -> list[Tensor]:
        """The input of every block 1..N, and the logits: N + 1 tensors, entry i being the output of block i."""
        hidden = self.stem(self._normalised(images))
        outputs = [hidden]
        for block in list(self.blocks.values())[:-1]:
            hidden = block(hidden)
            outputs.append(hidden)
        outputs[-1] = hidden.mean((2, 3))
        outputs.append(self.classifier(outputs[-1]))
        return outputs

    def forward_with_feature(self, images: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Logits [B, K] and the feature at k: the input of block N-k+1, which is the output of block N-k."""
        outputs = self.features(images)
        return outputs[-1], outputs[self.num_blocks - k]

    def lay_out(self, memory_format: torch.memory_format) -> None:
        """Keep weights and feature maps in a memory format from now on, whatever format images come in."""
        self.to(memory_format=memory_format)
        self._memory_format = memory_format

    def _normalised(self, images: Tensor) -> Tensor:
        normalised = (images - self.mean) / self.std
        if self._memory_format is None:
            return normalised
        return normalised.contiguous(memory_format=self._memory_format)

    def weighted_layers(self) -> Iterator[WeightedLayer]:
        """Every convolution and linear layer, from the input on."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                block = int(name.split(".")[1]) if name.startswith("blocks.") else 0
                yield WeightedLayer(name, module, block)

    def foldable(self) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """Every convolution whose output goes to a batch norm of its block and nowhere else, with that batch norm.

        A network names its own; one that names none is never folded. See `engine.models.folding`.
        """
        yield from ()

    def set_normalisation(self, mean: Tensor, std: Tensor) -> None:
        """Take over a domain's mean and std, each [3], in input units."""
        self.mean.copy_(mean.reshape(1, 3, 1, 1))
        self.std.copy_(std.reshape(1, 3, 1, 1))

    def halve_residuals(self, count: int) -> None:
        """Halve the sum (0.5 * shortcut + 0.5 * branch) in the residual blocks among the last `count` blocks.

        A sum of two non-expansive maps stays non-expansive that way. Source: Chen et al., section 3.3.
        """
        self.num_halved = count
        for number in range(1, self.num_blocks + 1):
            block = self.block(number)
            if isinstance(block, ResidualBlock):
                block.halved = number > self.num_blocks - count

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights: He initialisation by fan-out for convolutions, torch's default for the classifier."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu", generator=generator
                )
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
            elif isinstance(module, nn.Linear):
                initialise_classifier(module, generator)
        self.mean.zero_()
        self.std.fill_(1.0)

    def replace_classifier(self, num_classes: int, generator: torch.Generator) -> None:
        """Put a freshly drawn classifier for `num_classes` classes in place of block N."""
        old = self.classifier
        new = nn.Linear(old.in_features, num_classes, device="meta").to_empty(device=old.weight.device)
        initialise_classifier(new, generator)
        self.blocks[str(self.num_blocks)] = new


@torch.no_grad()
def initialise_classifier(layer: nn.Linear, generator: torch.Generator) -> None:
    """Draw a linear layer's weight uniformly within 1/sqrt(in) and set its bias to zero."""
    bound = layer.in_features**-0.5
    weight = torch.empty(layer.weight.shape, dtype=layer.weight.dtype)
    layer.weight.copy_(weight.uniform_(-bound, bound, generator=generator))
    layer.bias.zero_()


class ResidualBlock(nn.Module):
    """A block whose output is shortcut + branch, or half of it when `halved`."""

    title: ClassVar[str] = "residual block"
    halved: bool = False

    def add(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        """The residual sum."""
        return torch.lerp(shortcut, branch, 0.5) if self.halved else shortcut + branch


#: Architectures by their name in `ModelConfig`; each entry builds one from the settings and number of classes.
models: Registry[type[BlockwiseModel]] = Registry("model")


def build_model(config: ModelConfig, num_classes: int, generator: torch.Generator) -> BlockwiseModel:
    """Make a network with freshly drawn weights, on the CPU, without touching torch's global random state.

    Args:
        config: architecture.
        num_classes: K.
        generator: draws the weights.
    """
    model = build_skeleton(config, num_classes)
    model.to_empty(device="cpu")
    model.initialise(generator)
    return model


def build_skeleton(config: ModelConfig, num_classes: int) -> BlockwiseModel:
    """A network without weights (on the meta device), to read its structure from."""
    with torch.device("meta"):
        return models[config.name](config, num_classes)  # type: ignore[call-arg]
