"""Small networks of every kind that the engine meets, with drawn weights and statistics; all take 3 x 8 x 8 pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models import MobileNetV2

from engine.config import ModelConfig
from engine.models.foreign import NormalisedNetwork, build_foreign
from engine.models.resnet import ResNet
from engine.models.spectral_norm import constrain
from tests.engine.small import small_model, warm
from tests.engine.test_foreign_networks import MEAN, STD, State, preact_state, resnet_state, wide_state

SIZE, CLASSES = 8, 7


class Sum(nn.Module):
    """The sum of what several modules make of one input."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = (part(x) for part in self.parts)
        for other in others:
            first = first + other
        return first


class Stack(Sum):
    """What several modules make of one input, next to each other."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self.parts], 1)


class Attention(nn.Module):
    """Pixels look at each other."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).mT
        return x + ((tokens @ tokens.mT).softmax(2) @ tokens).mT.reshape(x.shape)


class Shared(nn.Module):
    """One convolution twice, one never."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.unused = nn.Conv2d(3, 3, 1)
        self.aside = nn.Linear(3, 2)
        self.fc = nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.conv(self.conv(x).relu()).relu().mean((2, 3))
        self.aside(pooled)
        return self.fc(pooled)


def drawn(make: Callable[[], nn.Module], *, seed: int = 3) -> nn.Module:
    """A network whose every number is drawn from a generator of its own."""
    with torch.device("meta"):
        model = make()
    model.to_empty(device="cpu")
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            tensor.zero_()
        elif tensor.dim() > 1:
            tensor.normal_(0, 1.5 * tensor[0].numel() ** -0.5, generator=draw)
        else:
            low, high = (0.2, 2.0) if name.endswith("running_var") else (-1.5, 1.5)
            tensor.uniform_(low, high, generator=draw)
    return model.eval()


def wide(*, halved: int = 0, bound: float | None = None) -> nn.Module:
    model = warm(small_model(CLASSES))
    model.halve_residuals(halved)
    if bound is not None:
        constrain(model.head(3), bound, torch.Generator().manual_seed(0), initial_iterations=15)
    return model.eval()


def residual(depth: int, *stages: int) -> nn.Module:
    model = drawn(lambda: ResNet(ModelConfig(name="resnet", depth=depth), CLASSES, stages))  # type: ignore[arg-type]
    model.set_normalisation(torch.tensor(MEAN), torch.tensor(STD))
    return model


def foreign(architecture: str, state: State) -> nn.Module:
    return NormalisedNetwork(build_foreign(architecture, state).module, tuple(MEAN), tuple(STD)).eval()


def plain() -> nn.Module:
    """Batch norm before and after convolutions and activations of all sorts, without a shortcut."""
    return nn.Sequential(
        nn.BatchNorm2d(3), nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.GELU(),
        nn.Conv2d(6, 6, 3, 1, 2, 2, groups=2), nn.PReLU(6), nn.BatchNorm2d(6), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(6, 12, 3, 1, 1, groups=6, padding_mode="reflect"), nn.SiLU(True), nn.BatchNorm2d(12),
        nn.Flatten(), nn.Linear(48, 9, bias=False), nn.BatchNorm1d(9), nn.Sigmoid(), nn.Linear(9, CLASSES),
    )  # fmt: skip


def dense() -> nn.Module:
    """Features next to each other, batch norm on all of them, and a transition."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        Stack(nn.Identity(), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))),
        nn.BatchNorm2d(7), nn.ReLU(True), nn.Conv2d(7, 4, 1), nn.AvgPool2d(2),
        Stack(nn.Conv2d(4, 2, 1), nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1)),
        nn.BatchNorm2d(10), nn.Softplus(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(40, CLASSES),
    )  # fmt: skip


def forked() -> nn.Module:
    """Two batch norms take one convolution's output."""
    branches = (
        nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, kernel, padding=kernel // 2))
        for kernel in (1, 3)
    )
    return nn.Sequential(nn.Conv2d(3, 4, 3), Sum(*branches), nn.Flatten(), nn.Linear(144, CLASSES))


def late() -> nn.Module:
    """Batch norm on an activated sum, and on all pixels alone."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ELU(), nn.Flatten(), nn.BatchNorm1d(144), nn.Unflatten(1, (4, 6, 6)),
        Sum(nn.Identity(), nn.Conv2d(4, 4, 1)), nn.ReLU(), nn.BatchNorm2d(4), nn.GELU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(16, CLASSES),
    )  # fmt: skip


def mobile() -> nn.Module:
    return MobileNetV2(CLASSES, 0.1, [[1, 8, 1, 1], [2, 8, 2, 2]])


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "wide resnet": wide,
    "wide resnet, halved and bounded": lambda: wide(halved=3, bound=0.4),
    "resnet": lambda: residual(18, 1, 1, 0, 0),
    "resnet, bottleneck": lambda: residual(50, 1, 0, 0, 0),
    "foreign wide_resnet": lambda: foreign("wide_resnet", wide_state()),
    "foreign preact_resnet": lambda: foreign("preact_resnet", preact_state(last_norm=True)),
    "foreign preact_resnet_raw_shortcut": lambda: foreign("preact_resnet_raw_shortcut", preact_state(last_norm=False)),
    "foreign resnet": lambda: foreign("resnet", resnet_state((1, 1, 1, 1), bottleneck=True)),
    "plain": lambda: drawn(plain),
    "dense": lambda: drawn(dense),
    "forked": lambda: drawn(forked),
    "late": lambda: drawn(late),
    "torchvision's mobilenet_v2": lambda: drawn(mobile),
    "shared weights": lambda: drawn(Shared),
}  # fmt: skip


def images(count: int, *, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
