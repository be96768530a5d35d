"""The cases of `lipschitz_exact.npz` (`tests/reference/README.md`): maps, residual sums and a network of known norms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.inspection.norms import Convolution
from tests.engine.reference import load

Figures = dict[str, np.ndarray]

#: What rounding may add to a lower bound or take from an upper one, and how close an estimate has to come.
ROUNDING, CLOSE = 1e-5, 5e-3
#: The kinds of cases that are one map.
MAPS = ("conv", "linear", "conv_bn", "bn_act_conv")


@dataclass(frozen=True)
class ExactCase:
    """A map whose norm is known: a convolution, a matrix, or one with batch norm folded in, with the figures about it."""

    name: str
    kind: str
    convolution: Convolution
    figures: Figures

    @property
    def truth(self) -> float:
        return float(self.figures["sigma"])


def exact_cases() -> list[ExactCase]:
    """The cases that are one map."""
    return [
        ExactCase(name, kind, _map(kind, figures), figures)
        for kind in MAPS
        for name, figures in figures_of(kind).items()
    ]


def figures_of(kind: str) -> dict[str, Figures]:
    """The arrays of all cases of a kind, by the case's name."""
    arrays = load("lipschitz_exact")
    return {
        name: {
            key.removeprefix(f"{name}."): value for key, value in arrays.items() if key.startswith(f"{name}.")
        }
        for name in map(str, arrays["cases"])
        if arrays[f"{name}.kind"] == kind
    }


def _map(kind: str, figures: Figures) -> Convolution:
    weight = torch.from_numpy(figures["weight"])
    if kind == "linear":
        return Convolution.of_matrix(weight)
    _, _, _, _, sh, sw, ph, pw, dh, dw, groups, height, width = figures["meta"].tolist()
    convolution = Convolution(weight, (height, width), (sh, sw), (ph, pw), (dh, dw), groups)
    if kind == "conv":
        return convolution
    scale = torch.from_numpy(figures["gamma"] / np.sqrt(figures["var"] + figures["eps"])).float()
    return convolution.scaled(**{"outputs" if kind == "conv_bn" else "inputs": scale})


def convolution(weight: np.ndarray, stride: int, padding: int) -> nn.Conv2d:
    """A layer in float64, made without a random number; so are all below."""
    out, inside, kernel, _ = weight.shape
    layer = nn.Conv2d(inside, out, kernel, stride, padding, bias=False, device="meta")
    layer.weight = nn.Parameter(torch.from_numpy(weight).double())
    return layer


def batch_norm(figures: Figures, prefix: str = "", eps: float = 1e-5) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(len(figures[f"{prefix}gamma"]), eps, dtype=torch.float64)
    names = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "var"}
    layer.load_state_dict(
        {own: torch.from_numpy(figures[prefix + name]) for own, name in names.items()}, strict=False
    )
    return layer


class Residual(nn.Module):
    """The linear map alpha * x + beta * conv2(conv1(x)) of a case."""

    def __init__(self, figures: Figures) -> None:
        super().__init__()
        weights = figures["weight1"], figures["weight2"]
        self.branch = nn.Sequential(*(convolution(weight, 1, weight.shape[-1] // 2) for weight in weights))
        self.alpha, self.beta = float(figures["alpha"]), float(figures["beta"])

    def forward(self, x: Tensor) -> Tensor:
        if self.alpha == self.beta == 0.5:
            return torch.lerp(x, self.branch(x), 0.5)
        return torch.add(self.alpha * x, self.branch(x), alpha=self.beta)


class TinyWideResNet(nn.Module):
    """The network of a case, in eval mode."""

    def __init__(self, figures: Figures) -> None:
        super().__init__()
        for name in ("stem", "A.short", "A.conv1", "A.conv2", "B.conv1", "B.conv2"):
            weight = figures[f"p.{name}.w"]
            stride = 2 if name in ("A.short", "A.conv1") else 1
            self.add_module(name.replace(".", "_"), convolution(weight, stride, weight.shape[-1] // 2))
        for name in ("A.bn1", "A.bn2", "B.bn1", "B.bn2", "head.bn"):
            self.add_module(name.replace(".", "_"), batch_norm(figures, f"p.{name}."))
        self.fc = nn.Linear(6, 5, device="meta")
        self.fc.weight, self.fc.bias = (
            nn.Parameter(torch.from_numpy(figures[f"p.fc.{name}"]).double()) for name in "wb"
        )
        self.eval()

    def features(self, x: Tensor) -> list[Tensor]:
        """The outputs of the stem and of both blocks, and the logits."""

        def activated(norm: nn.Module, x: Tensor) -> Tensor:
            return F.leaky_relu(norm(x), 0.1)

        stem = self.stem(x)
        first = activated(self.A_bn1, stem)
        branch = self.A_conv2(activated(self.A_bn2, self.A_conv1(first)))
        one = torch.lerp(self.A_short(first), branch, 0.5)
        branch = self.B_conv2(activated(self.B_bn2, self.B_conv1(activated(self.B_bn1, one))))
        two = 0.5 * one + 0.5 * branch
        return [stem, one, two, self.fc(F.avg_pool2d(activated(self.head_bn, two), 4).flatten(1))]

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[-1]
