"""The table of operations: no constant is exceeded, each is reached, and what is not in it is unknown."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.inspection.composition import compose
from engine.inspection.graph import Graph, trace

pytestmark = pytest.mark.usefixtures("untouched_random_state")

Function = Callable[[Tensor], Tensor]
CHANNELS = torch.tensor([0.5, -3.0], dtype=torch.float64)
PIXELS = torch.linspace(-2, 3, 16, dtype=torch.float64).reshape(4, 4)


class Of(nn.Module):
    """A function as a module."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def batch_norm(*, affine: bool) -> nn.Module:
    layer = nn.BatchNorm2d(2, affine=affine, dtype=torch.float64)
    layer.running_mean.copy_(torch.tensor([0.3, -0.2]))
    layer.running_var.copy_(torch.tensor([0.2, 2.5]))
    if affine:
        layer.weight.data.copy_(torch.tensor([0.4, -1.6]))
    return layer


def prelu() -> nn.Module:
    layer = nn.PReLU(2, dtype=torch.float64)
    layer.weight.data.copy_(torch.tensor([0.5, -1.8]))
    return layer


def in_place(change: Callable[[Tensor], object]) -> Function:
    """The result of changing a copy."""

    def function(x: Tensor) -> Tensor:
        changed = x.clone()
        change(changed)
        return changed

    return function


SMOOTH: dict[str, Function] = {
    "relu": F.relu,
    "relu, in place": in_place(F.relu_),
    "relu6": F.relu6,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "leaky_relu with a steep slope": lambda x: F.leaky_relu(x, -1.5),
    "rrelu": lambda x: F.rrelu(x, 0.5, 2.5),
    "elu": F.elu,
    "elu with a steep branch": lambda x: F.elu(x, 2.0),
    "celu": lambda x: F.celu(x, 2.0),
    "selu": F.selu,
    "gelu": F.gelu,
    "gelu, tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "silu, in place": in_place(lambda x: F.silu(x, inplace=True)),
    "mish": F.mish,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": F.softplus,
    "softshrink": F.softshrink,
    "logsigmoid": F.logsigmoid,
    "erf": torch.erf,
    "clamp": lambda x: x.clamp(-0.5, 2),
    "hardtanh, in place": in_place(lambda x: F.hardtanh_(x, -2, 2)),
    "threshold": lambda x: F.threshold(x, 0.5, 0.5),
    "prelu": prelu(),
    "prelu with one slope": lambda x: F.prelu(x, CHANNELS[:1] * 4),
    "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(1),
    "amax": lambda x: x.amax((2, 3)),
    "amax over channels": lambda x: x.amax(1),
    "sum with its relu": lambda x: x + F.relu(x),
    "dropout in eval mode": nn.Dropout(0.5),
}
LINEAR: dict[str, Function] = {
    "batch norm": batch_norm(affine=True),
    "batch norm without parameters": batch_norm(affine=False),
    "plus a number": lambda x: x + 0.5,
    "plus an image": lambda x: PIXELS + x,
    "minus in place": in_place(lambda x: x.sub_(0.5)),
    "number minus": lambda x: 2 - x,
    "difference": lambda x: torch.sub(x, x.flip(3), alpha=3),
    "sum": lambda x: 2 * x + x.flip(2),
    "sum in place": lambda x: x.clone().add_(x.flip(2), alpha=3),
    "lerp": lambda x: torch.lerp(x, x.flip(2), 0.25),
    "lerp that goes beyond": lambda x: torch.lerp(x.flip(2), -x, 1.5),
    "sum that repeats": lambda x: x + x.mean((2, 3), keepdim=True),
    "repeated by a constant": lambda x: x.mean((2, 3), keepdim=True) + PIXELS,
    "times a number": lambda x: -3 * x,
    "times channels": lambda x: x * CHANNELS[:, None, None],
    "times channels in place": in_place(lambda x: x.mul_(CHANNELS[:, None, None])),
    "times pixels": lambda x: x * PIXELS,
    "times a tensor of one number": lambda x: torch.tensor(3.0, dtype=torch.float64) * x,
    "by a number": lambda x: x / 4,
    "by channels": lambda x: x / CHANNELS[:, None, None],
    "mean": lambda x: x.mean((2, 3)),
    "mean over channels": lambda x: x.mean(1),
    "total": lambda x: x.sum((1, 3)),
    "adaptive_avg_pool2d to 1": lambda x: F.adaptive_avg_pool2d(x, 1),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, (3, 2)),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 2),
    "avg_pool2d that overlaps": lambda x: F.avg_pool2d(x, (3, 2), 1, (1, 0)),
    "avg_pool2d without padding counted": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "avg_pool2d with a part of a window": lambda x: F.avg_pool2d(x, 3, 2, 0, True),
    "avg_pool2d with a divisor": lambda x: F.avg_pool2d(x, 3, 1, 1, divisor_override=2),
    "view": lambda x: x.view(1, 4, 2, -1) if len(x) == 1 else x.view(len(x), 4, 2, -1),
    "flatten": lambda x: x.flatten(1),
    "permute": lambda x: x.permute(0, 3, 1, 2).contiguous(),
    "transpose": lambda x: x.mT,
    "squeeze": lambda x: x[:, :1].squeeze(1).unsqueeze(2),
    "slice": lambda x: x[:, :, 1:3],
    "slice of channels": lambda x: x[:, 1:],
    "select": lambda x: x[:, 1],
    "split": lambda x: x.split(1, 1)[1],
    "chunk and unbind": lambda x: x.chunk(2, 2)[1].unbind(3)[0],
    "flip and roll": lambda x: x.flip(3).roll(1, 2),
    "zero padding": lambda x: F.pad(x, (1, 2, 0, 1)),
    "cropping": lambda x: F.pad(x, (-1, 0, 0, -1)),
    "padding of channels": lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)),
    "reflection": lambda x: F.pad(x, (2, 1, 1, 0), mode="reflect"),
    "reflection on both sides": lambda x: F.pad(x, (3, 3, 0, 0), mode="reflect"),
    "replication": lambda x: F.pad(x, (1, 1, 2, 0), mode="replicate"),
    "upsampling": lambda x: F.interpolate(x, scale_factor=3, mode="nearest"),
    "expand": lambda x: x.mean((2, 3), keepdim=True).expand(-1, -1, 5, 3),
    "repeat": lambda x: x.repeat(1, 3, 1, 2),
    "concatenation": lambda x: torch.cat((x, PIXELS.expand(len(x), 1, 4, 4), 2 * x), 1),
    "stack": lambda x: torch.stack((x, -x, 3 * x), 2),
    "pixel_shuffle": lambda x: F.pixel_shuffle(F.pixel_unshuffle(x, 2), 2),
    "channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "other precision": lambda x: x.float().double(),
    "copied in": lambda x: torch.empty_like(x).copy_(x),
}
POOLS: dict[str, Function] = {
    "max_pool2d": lambda x: F.max_pool2d(x, 2),
    "max_pool2d that overlaps": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max_pool2d with dilation": lambda x: F.max_pool2d(x, (3, 1), 1, (1, 0), (2, 1)),
    "max_pool2d with a part of a window": lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True),
    "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, 3),
}
UNKNOWN: dict[str, tuple[Function, str]] = {
    "product": (lambda x: x * x, "mul"),
    "quotient": (lambda x: 1 / x, "reciprocal"),
    "gate": (lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(), "mul"),
    "power": (lambda x: x**2, "pow"),
    "where": (lambda x: torch.where(x > 0, x, 0.1 * x), "where"),
    "layer norm": (lambda x: F.layer_norm(x, (4, 4)), "native_layer_norm"),
    "group norm": (nn.GroupNorm(2, 2, dtype=torch.float64), "native_group_norm"),
    "statistics of the batch": (
        nn.BatchNorm2d(2, track_running_stats=False, dtype=torch.float64),
        "native_batch_norm",
    ),
    "statistics of the batch beside its own": (
        lambda x: F.batch_norm(x, torch.zeros(2).double(), torch.ones(2).double(), training=True),
        "native_batch_norm",
    ),
    "statistics of the batch alone": (
        lambda x: torch.ops.aten._native_batch_norm_legit.no_stats(x, None, None, True, 0.1, 1e-5)[0],
        "_native_batch_norm_legit",
    ),
    "attention": (lambda x: (x @ x.mT).softmax(3) @ x, "bmm"),
    "limits from the image": (lambda x: x.clamp(max=x.mean((2, 3), keepdim=True)), "clamp"),
    "weight from the image": (
        lambda x: F.conv2d(PIXELS[None, None], x[:1, :1]).reshape(1, -1),
        "convolution",
    ),
    "transposed convolution": (lambda x: F.conv_transpose2d(x, PIXELS.view(2, 2, 2, 2)), "convolution"),
    "jump": (lambda x: F.threshold(x, 0.5, 0.0), "threshold"),
    "jump of softplus": (lambda x: F.softplus(x, threshold=1.0), "softplus"),
    "rounding": (lambda x: x + x.long(), "_to_copy"),
    "mean of all": (lambda x: (x - x.mean()).flatten(1), "mean"),
    "number read from the image": (lambda x: x * float(x.max()), "_local_scalar_dense"),
    "written without a result": (in_place(lambda x: torch._foreach_mul_([x], 2.0)), "_foreach_mul"),
    "pooling of channels": (lambda x: F.avg_pool2d(x.flatten(2), 2), "avg_pool2d"),
    "branch on the image": (lambda x: x if x.sum() > 0 else -x, "_local_scalar_dense"),
    "result of something else": (lambda x: torch.from_numpy(x.numpy() * 2), "an operation that was not seen"),
    "written through a view": (in_place(lambda x: x[:, :1].relu_()), "an operation that was not seen"),
    "read after it was written through a view": (
        lambda x: in_place(lambda x: x[:, :1].relu_())(x) + 1,
        "add",
    ),
    "written into a constant": (lambda x: assigned(torch.zeros(len(x), 3, 4, 4, dtype=x.dtype), x), "add"),
}


def assigned(constant: Tensor, x: Tensor) -> Tensor:
    constant[:, :2] = x
    return constant + 1


#: Rows above that do not leave each channel in its place.
MIXED = (
    "softmax", "log_softmax", "amax over channels", "sum with its relu", "difference", "sum", "sum in place", "lerp",
    "lerp that goes beyond", "sum that repeats", "mean over channels", "total", "view", "permute", "squeeze",
    "slice of channels", "select", "split", "flip and roll", "padding of channels", "repeat", "concatenation", "stack",
    "pixel_shuffle", "channel_shuffle",
)  # fmt: skip


def graph_of(function: Function, size: int) -> Graph:
    module = function if isinstance(function, nn.Module) else Of(function)
    return trace(module, points(4, size)[:1])


def constant_of(function: Function, size: int) -> tuple[float, tuple[str, ...]]:
    found = compose(graph_of(function, size), {})
    return 10**found.log10_network, found.unknown


def drawn() -> torch.Generator:
    return torch.Generator().manual_seed(4)


def points(count: int, size: int) -> Tensor:
    """Random images near and far from 0."""
    draw = drawn()
    channels = 1 if size > 4 else 2
    spread = torch.tensor([0.3, 1.5, 4.0, 12.0], dtype=torch.float64).repeat(count // 4).view(-1, 1, 1, 1)
    return spread * torch.randn(count, channels, size, size, generator=draw, dtype=torch.float64)


def jacobian_norms(function: Function, images: Tensor) -> Tensor:
    """The norm of the Jacobian at each image."""
    images = images.clone().requires_grad_()
    outputs = function(images).flatten(1)
    rows = [
        torch.autograd.grad(column.sum(), images, retain_graph=True)[0].flatten(1)
        for column in outputs.unbind(1)
    ]
    return torch.linalg.matrix_norm(torch.stack(rows, 1), 2)


def growth(function: Function, images: Tensor) -> Tensor:
    """How much pairs of images grow, near and far from each other."""
    others = images.roll(1, 0)
    others = images + torch.tensor([1e-3, 0.1, 1.0]).repeat(len(images))[: len(images), None, None, None] * (
        others - images
    )
    difference = (function(others) - function(images)).flatten(1).norm(dim=1)
    return difference / (others - images).flatten(1).norm(dim=1)


@pytest.mark.parametrize("name", SMOOTH | LINEAR | POOLS)
def test_that_a_constant_is_never_exceeded_and_reached_somewhere(name: str) -> None:
    size = 7 if name in POOLS else 4
    function = (SMOOTH | LINEAR | POOLS)[name]
    if isinstance(function, nn.Module):
        function.eval().requires_grad_(False)
    constant, unknown = constant_of(function, size)
    assert unknown == ()
    images = points(4 if name in LINEAR else 80, size)
    norms = jacobian_norms(function, images)
    assert norms.max() <= constant * (1 + 1e-7)
    if name in LINEAR:
        torch.testing.assert_close(norms, norms.new_full((4,), constant), rtol=1e-6, atol=0)
    else:
        assert norms.max() >= 0.98 * constant
        assert growth(function, points(400, size)).max() <= constant * (1 + 1e-7)


@pytest.mark.parametrize("name", SMOOTH | LINEAR | POOLS)
def test_that_channels_may_be_scaled_before_as_well_as_after_what_maps_each_alone(name: str) -> None:
    function = (SMOOTH | LINEAR | POOLS)[name]
    alone = {node.kind for node in graph_of(function, 4).path} <= {"input", "channelwise", "scale"}
    assert alone == (name not in MIXED)
    if alone:
        scales = torch.tensor([1e-3, 1e3], dtype=torch.float64).view(1, 2, 1, 1)

        def rescaled(x: Tensor) -> Tensor:
            return function(scales * x).unflatten(1, (2, -1)).flatten(2) / scales[..., 0]

        constant, _ = constant_of(function, 4)
        assert growth(rescaled, points(80, 4) / scales).max() <= constant * 1.001


@pytest.mark.parametrize("name", UNKNOWN)
def test_that_what_is_not_known_is_told_by_name_and_never_taken_for_one(name: str) -> None:
    function, operation = UNKNOWN[name]
    constant, unknown = constant_of(function, 4)
    assert math.isnan(constant)
    assert operation in unknown
