"""How much the operations of `torch.ops.aten` can expand the l2 distance between two inputs, in eval mode.

Every constant is one that no pair of inputs exceeds, and the smallest such one unless said otherwise. An operation
that is not in the table, or is called in a way that the table does not foresee, has no constant: it is unknown.

Shapes: B batch, C channels (the second dimension), H W feature map.

Source: suprema of derivatives and norms of matrices, derived here; Gouk et al., Machine Learning 2021, section 3, for
the method. Softmax: the eigenvalues of diag(p) - p p^T are at most 1/2.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.inspection.norms import Convolution

Kind = Literal["input", "layer", "scale", "channelwise", "mixing", "sum", "stack", "unknown"]
Shape = tuple[int, ...]

#: Operations on the running statistics of batch norm, by the devices' names.
BATCH_NORMS = frozenset(
    (
        "_batch_norm_impl_index", "_batch_norm_no_update", "_native_batch_norm_legit",
        "_native_batch_norm_legit_no_training", "batch_norm", "cudnn_batch_norm", "miopen_batch_norm",
        "native_batch_norm",
    )
)  # fmt: skip
#: Products with a constant matrix.
MATRICES = frozenset(("addmm", "mm"))
#: Operations that read no more of a tensor than its shape and type.
SHAPE_ONLY = frozenset(
    (
        "dim", "empty_like", "full_like", "is_contiguous", "is_floating_point", "is_same_size", "new_empty",
        "new_empty_strided", "new_full", "new_ones", "new_zeros", "numel", "ones_like", "size", "stride", "sym_is_contiguous",
        "sym_numel", "sym_size", "sym_storage_offset", "sym_stride", "zeros_like",
    )
)  # fmt: skip

#: Suprema of the slopes of functions that are applied to each number alone, and of operations that copy each.
_SLOPES: dict[str, float] = dict.fromkeys(
    (
        "_to_copy", "abs", "alias", "asinh", "atan", "clamp", "clamp_max", "clamp_min", "clone", "contiguous", "cos",
        "detach", "hardtanh", "lift_fresh", "log_sigmoid_forward", "neg", "relu", "relu6", "sin", "softshrink", "tanh",
    ),
    1.0,
) | {
    "erf": 2 / math.sqrt(math.pi),
    "hardsigmoid": 1 / 6,
    "hardswish": 1.5,
    "mish": 1.0884981613,
    "sigmoid": 0.25,
    "silu": 1.0998393202,
}  # fmt: skip
_GELU = {"none": 0.5 * (1 + math.erf(1)) + math.exp(-1) / math.sqrt(math.pi), "tanh": 1.1289930687}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operation.

    Attributes:
        name: the operation, the same for the variant that works in place.
        arguments: all of them by name, defaults filled in.
        output: what it gave.
        shape_of: the shape before the call of a tensor that depends on the image; None for constants.
    """

    name: str
    arguments: Mapping[str, Any]
    output: Tensor
    shape_of: Callable[[Tensor], Shape | None]

    def __getitem__(self, argument: str) -> Any:
        return self.arguments[argument]

    def dependent(self) -> list[Tensor]:
        """The tensors among the arguments that depend on the image and are not overwritten."""
        read = (value for name, value in self.arguments.items() if (self.name, name) != ("copy", "self"))
        return [tensor for tensor in tensors_in(read) if self.depends(tensor)]

    def depends(self, value: object) -> bool:
        """Whether a value is a tensor that depends on the image."""
        return isinstance(value, Tensor) and self.shape_of(value) is not None

    def shape(self, value: Tensor) -> Shape:
        """The shape of a tensor that depends on the image."""
        shape = self.shape_of(value)
        if shape is None:
            raise ValueError(
                f"{self.name} was given a constant where a tensor that depends on the image was expected"
            )
        return shape


@dataclass(frozen=True, slots=True, eq=False)
class Effect:
    """What an operation does to the distance between two inputs.

        layer        a convolution or a matrix: `map`, and `parameters` numbers of weight and bias
        scale        channel c times `scale`[c], or less: [C], or [1] for all alike
        channelwise  maps each channel alone and expands by `factor` at most: channels may be scaled before it as well
                     as after it. Flattening is of this kind; what was a channel are then several next to each other
        mixing       expands by `factor` at most
        sum          of the inputs times `weights`, and constants
        stack        the inputs next to each other

    `inputs` are the tensors it acts on.
    """

    kind: Kind
    inputs: tuple[Tensor, ...]
    factor: float = 1.0
    weights: tuple[float, ...] = ()
    scale: Tensor | None = None
    map: Convolution | None = None
    parameters: int = 0


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among values, also those in lists and tuples."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)


def effect_of(call: Call) -> Effect | None:
    """What is known about a call; None if nothing."""
    handler = _HANDLERS.get(call.name)
    effect = handler(call) if handler and call.output.is_floating_point() else None
    if effect is None or not all(call.depends(tensor) for tensor in effect.inputs):
        return None
    # Else the limits of an activation depend on the image, say, or the weight of a convolution.
    expected = all(any(tensor is one for one in effect.inputs) for tensor in call.dependent())
    return effect if expected else None


def _input(call: Call) -> Tensor:
    """The tensor that an operation with one input works on."""
    found: Tensor = call["self"] if "self" in call.arguments else call["input"]
    return found


def _is_map(call: Call) -> bool:
    """Whether an operation works on feature maps [B, C, H, W]."""
    return len(call.shape(_input(call))) == 4


def _size(call: Call) -> tuple[int, int]:
    """H, W of the feature map it works on."""
    *_, height, width = call.shape(_input(call))
    return height, width


def _channelwise(factor: float, call: Call) -> Effect:
    return Effect("channelwise", (_input(call),), factor)


def _keeping_channels(call: Call, factor: float = 1.0) -> Effect:
    """Numbers are moved or copied; channels stay where they are if the first two dimensions do."""
    tensor = _input(call)
    before, after = call.shape(tensor), call.output.shape
    flattened = len(before) > 2 and len(after) == 2 and before[0] == after[0]
    return Effect("channelwise" if before[:2] == after[:2] or flattened else "mixing", (tensor,), factor)


def _mixing(factor: float, call: Call) -> Effect:
    return Effect("mixing", (_input(call),), factor)


# Layers.


def _convolution(call: Call) -> Effect | None:
    weight, bias = call["weight"], call["bias"]
    if call["transposed"] or not call.depends(call["input"]) or not _is_map(call):
        return None
    map = Convolution(
        weight.detach(),
        _size(call),
        _pair(call["stride"]),
        _pair(call["padding"]),
        _pair(call["dilation"]),
        call["groups"],
    )
    return Effect("layer", (call["input"],), map=map, parameters=_numbers(weight, bias))


def _matrix(call: Call) -> Effect:
    """x @ w, and the same plus a bias."""
    if call.name == "mm":
        return _layer_of_matrix(call["self"], call["mat2"].t(), None)
    return _layer_of_matrix(call["mat1"], call["mat2"].t() * call["alpha"], call["self"])


def _layer_of_matrix(tensor: Tensor, weight: Tensor, bias: Tensor | None) -> Effect:
    map = Convolution.of_matrix(weight.detach())
    return Effect("layer", (tensor,), map=map, parameters=_numbers(weight, bias))


def _numbers(weight: Tensor, bias: Tensor | None) -> int:
    return weight.numel() + (bias.numel() if bias is not None else 0)


def _batch_norm(call: Call) -> Effect | None:
    variance, weight = call.arguments.get("running_var"), call["weight"]
    if variance is None or call.arguments.get("training", False):
        return None
    eps = call["eps"] if "eps" in call.arguments else call["epsilon"]
    scale = (variance + eps).rsqrt()
    return Effect("scale", (call["input"],), scale=scale if weight is None else scale * weight)


def _prelu(call: Call) -> Effect:
    """Slopes 1 and w: as if channels were scaled by max(1, |w|) before a function that expands nothing."""
    return Effect("scale", (call["self"],), scale=call["weight"].abs().clamp(min=1).flatten())


# Arithmetic.


def _sum(call: Call, *terms: tuple[Any, float]) -> Effect | None:
    """A weighted sum of tensors and numbers; what is smaller than the result is repeated."""
    parts = [(value, abs(weight)) for value, weight in terms if call.depends(value)]
    shapes = [call.shape(value) for value, _ in parts]
    weights = [
        weight * math.sqrt(call.output.numel() / max(1, math.prod(shape)))
        for (_, weight), shape in zip(parts, shapes, strict=True)
    ]
    if len(parts) == 1:
        kind: Kind = "channelwise" if shapes[0][:2] == call.output.shape[:2] else "mixing"
        return Effect(kind, (parts[0][0],), weights[0])
    return Effect("sum", tuple(value for value, _ in parts), weights=tuple(weights))


def _add(call: Call) -> Effect | None:
    """Of a difference too: signs do not matter."""
    return _sum(call, (call["self"], 1.0), (call["other"], call["alpha"]))


def _reversed_subtract(call: Call) -> Effect | None:
    return _sum(call, (call["self"], call["alpha"]), (call["other"], 1.0))


def _lerp(call: Call) -> Effect | None:
    weight = call["weight"]
    return (
        None if isinstance(weight, Tensor) else _sum(call, (call["self"], 1 - weight), (call["end"], weight))
    )


def _multiply(call: Call) -> Effect | None:
    one, other = call["self"], call["other"]
    return _times(call, one, other) if call.depends(one) else _times(call, other, one)


def _divide(call: Call) -> Effect | None:
    divisor = call["other"]
    if call.arguments.get("rounding_mode") is not None or call.depends(divisor):
        return None
    if isinstance(divisor, Tensor):
        return _times(call, call["self"], divisor.reciprocal())
    return _times(call, call["self"], 1 / divisor if divisor else math.inf)


def _times(call: Call, tensor: Tensor, factor: Tensor | float) -> Effect | None:
    """A tensor times a constant."""
    if call.depends(factor) or call.shape(tensor) != call.output.shape:
        return None
    if not isinstance(factor, Tensor):
        return Effect("channelwise", (tensor,), abs(factor))
    dimensions = call.output.dim()
    aligned = factor.detach().reshape((1,) * (dimensions - factor.dim()) + factor.shape)
    if dimensions < 2 or aligned.numel() != aligned.shape[1]:
        others = [dim for dim in range(dimensions) if dim != 1]
        aligned = aligned.abs().amax(others)
    return Effect("scale", (tensor,), scale=aligned.flatten())


# Activations with parameters.


def _leaky_relu(call: Call) -> Effect:
    return _channelwise(max(1.0, abs(call["negative_slope"])), call)


def _random_leaky_relu(call: Call) -> Effect | None:
    return None if call["training"] else _channelwise(max(1.0, abs(call["lower"] + call["upper"]) / 2), call)


def _elu(call: Call) -> Effect | None:
    """scale * x, or scale * alpha * (exp(input_scale * x) - 1) below zero."""
    scale, slope = abs(call["scale"]), abs(call["scale"] * call["alpha"] * call["input_scale"])
    return _channelwise(max(scale, slope), call) if call["input_scale"] > 0 else None


def _celu(call: Call) -> Effect | None:
    return _channelwise(1.0, call) if call["alpha"] > 0 else None


def _gelu(call: Call) -> Effect:
    return _channelwise(_GELU[call["approximate"]], call)


def _softplus(call: Call) -> Effect | None:
    """It jumps at a low threshold."""
    return _channelwise(1.0, call) if call["beta"] > 0 and call["threshold"] >= 20 else None


def _threshold(call: Call) -> Effect | None:
    return _channelwise(1.0, call) if call["value"] == call["threshold"] else None


def _softmax(call: Call) -> Effect | None:
    dim = call["dim"] % call.output.dim()
    return _mixing(0.5, call) if dim else None


def _log_softmax(call: Call) -> Effect | None:
    """I - 1 p^T is largest where p is a corner of the simplex: sqrt(K) for K numbers."""
    dim = call["dim"] % call.output.dim()
    return _mixing(math.sqrt(call.output.shape[dim]), call) if dim else None


# Pooling.


def _mean(call: Call) -> Effect | None:
    return _reduced(call, lambda count: 1 / math.sqrt(count))


def _total(call: Call) -> Effect | None:
    return _reduced(call, math.sqrt)


def _largest(call: Call) -> Effect | None:
    return _reduced(call, lambda count: 1.0)


def _reduced(call: Call, factor: Callable[[int], float]) -> Effect | None:
    """Numbers along some dimensions, but not over the images, become one."""
    tensor = _input(call)
    shape = call.shape(tensor)
    dims = {dim % len(shape) for dim in _listed(call.arguments.get("dim"))}
    if not dims or 0 in dims:
        return None
    kind: Kind = "mixing" if 1 in dims else "channelwise"
    return Effect(kind, (tensor,), factor(math.prod(shape[dim] for dim in dims)))


def _average_pool(call: Call) -> Effect | None:
    if not _is_map(call):
        return None
    taps, divisor = _pair(call["kernel_size"]), call["divisor_override"]
    stride, padding = _pair(call["stride"] or taps), _pair(call["padding"])
    how = call["ceil_mode"], call["count_include_pad"], divisor is not None
    norms = (
        _average_norm(size, taps[dim], stride[dim], padding[dim], *how)
        for dim, size in enumerate(_size(call))
    )
    return _channelwise(math.prod(norms) / abs(divisor or 1), call)


@cache
def _average_norm(
    size: int, taps: int, stride: int, padding: int, ceil_mode: bool, count_padding: bool, undivided: bool
) -> float:
    """The norm along one dimension; that of a map is the product, because windows are rectangles."""
    return _norm_along(
        partial(
            F.avg_pool2d,
            kernel_size=(taps, 1), stride=(stride, 1), padding=(padding, 0), ceil_mode=ceil_mode,
            count_include_pad=count_padding, divisor_override=1 if undivided else None,
        ),
        size,
    )  # fmt: skip


def _adaptive_average(call: Call) -> Effect | None:
    if not _is_map(call):
        return None
    sizes = zip(_size(call), call.output.shape[2:], strict=True)
    return _channelwise(math.prod(_adaptive_norm(size, outputs) for size, outputs in sizes), call)


@cache
def _adaptive_norm(size: int, outputs: int) -> float:
    return _norm_along(partial(F.adaptive_avg_pool2d, output_size=(outputs, 1)), size)


def _norm_along(pool: Callable[[Tensor], Tensor], size: int) -> float:
    """The norm of linear pooling along one dimension of this size, written out as a matrix."""
    lines = torch.eye(size, dtype=torch.float64, device="cpu")[:, None, :, None]
    return float(torch.linalg.matrix_norm(pool(lines)[:, 0, :, 0], 2))


def _max_pool(call: Call) -> Effect | None:
    if not _is_map(call):
        return None
    taps = _pair(call["kernel_size"])
    stride, padding, dilation = map(_pair, (call["stride"] or taps, call["padding"], call["dilation"]))
    windows = [
        [_window(place * stride[dim] - padding[dim], taps[dim], dilation[dim]) for place in range(outputs)]
        for dim, outputs in enumerate(call.output.shape[2:])
    ]
    return _largest_of(windows, call)


def _adaptive_max(call: Call) -> Effect | None:
    if not _is_map(call):
        return None
    windows = [
        [range(place * size // outputs, -(-(place + 1) * size // outputs)) for place in range(outputs)]
        for size, outputs in zip(_size(call), call.output.shape[2:], strict=True)
    ]
    return _largest_of(windows, call)


def _largest_of(windows: Sequence[Sequence[range]], call: Call) -> Effect:
    """sqrt of the most windows that a pixel is in, of which it may be the largest; windows are those of each dimension."""
    counts = (_most_windows(size, tuple(along)) for size, along in zip(_size(call), windows, strict=True))
    return _channelwise(math.sqrt(math.prod(counts)), call)


def _window(start: int, taps: int, dilation: int) -> range:
    return range(start, start + taps * dilation, dilation)


@cache
def _most_windows(size: int, windows: tuple[range, ...]) -> int:
    """The most windows that a place 0..size-1 is in."""
    counts = Counter(place for window in windows for place in window if 0 <= place < size)
    return max(counts.values(), default=0)


# Moving and copying.


def _permute(call: Call) -> Effect:
    order = [dim % call.output.dim() for dim in call["dims"]]
    return Effect("channelwise" if order[:2] == [0, 1] else "mixing", (call["self"],))


def _transpose(call: Call) -> Effect:
    dims = (call["dim0"] % call.output.dim(), call["dim1"] % call.output.dim())
    return Effect("channelwise" if min(dims) > 1 or dims[0] == dims[1] else "mixing", (call["self"],))


def _part(call: Call) -> Effect:
    """A part of a tensor; other channels take other places if some are left out or the dimension of one image."""
    dim = call["dim"] % len(call.shape(call["self"]))
    kept = call.name in ("slice", "split", "split_with_sizes", "narrow", "chunk") and dim != 1
    return Effect("channelwise" if dim > 1 or kept else "mixing", (call["self"],))


def _pad(call: Call) -> Effect:
    spatial = len(call["pad"]) // 2 <= len(call.shape(call["self"])) - 2
    return Effect("channelwise" if spatial else "mixing", (call["self"],))


def _repeat(call: Call) -> Effect:
    """Every number is copied equally often."""
    before = math.prod(call.shape(call["self"]))
    return _keeping_channels(call, math.sqrt(call.output.numel() / max(1, before)))


def _copies(function: str, call: Call) -> Effect | None:
    """Pixels are copied, the one most often copied decides; counted by carrying it out on the pixels' numbers."""
    if not _is_map(call):
        return None
    size = _size(call)
    numbers = torch.arange(math.prod(size), dtype=torch.float64, device="cpu").view(1, 1, *size)
    arguments = {name: value for name, value in call.arguments.items() if not isinstance(value, Tensor)}
    copied = getattr(torch.ops.aten, function)(numbers, **arguments)
    return _channelwise(math.sqrt(int(copied.long().flatten().bincount().max())), call)


def _copy_into(call: Call) -> Effect | None:
    """The result is what was copied; what had been there is gone."""
    source: Tensor = call["src"]
    if not call.depends(source):
        return None
    shape = call.shape(source)
    factor = math.sqrt(call.output.numel() / max(1, math.prod(shape)))
    return Effect("channelwise" if shape == call.output.shape else "mixing", (source,), factor)


def _restrided(call: Call) -> Effect | None:
    """Known only where the strides put the same numbers in another order."""
    output = call.output
    dense = output.numel() * output.element_size() == output.untyped_storage().nbytes()
    same = math.prod(call.shape(call["self"])) == output.numel() and output.storage_offset() == 0
    return _mixing(1.0, call) if dense and same and _covers_all(output) else None


def _covers_all(tensor: Tensor) -> bool:
    """Whether every number in a tensor's memory appears once."""
    step = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != step:
            return False
        step *= size
    return True


def _stack(call: Call) -> Effect | None:
    parts: Sequence[Tensor] = call["tensors"]
    varying = tuple(part for part in parts if call.depends(part))
    return Effect("channelwise" if len(parts) == 1 and call.name == "cat" else "stack", varying)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    listed = [value] if isinstance(value, int) else list(value)
    return listed[0], listed[-1]


def _listed(value: int | Iterable[int] | None) -> list[int]:
    return [] if value is None else [value] if isinstance(value, int) else list(value)


_HANDLERS: dict[str, Callable[[Call], Effect | None]] = {
    **{name: partial(_channelwise, slope) for name, slope in _SLOPES.items()},
    **dict.fromkeys(BATCH_NORMS, _batch_norm),
    **dict.fromkeys(("convolution", "_convolution"), _convolution),
    **dict.fromkeys(MATRICES, _matrix),
    **dict.fromkeys(("_prelu_kernel", "prelu"), _prelu),
    "add": _add,
    "sub": _add,
    "rsub": _reversed_subtract,
    "lerp": _lerp,
    "mul": _multiply,
    "div": _divide,
    "leaky_relu": _leaky_relu,
    "rrelu_with_noise": _random_leaky_relu,
    "elu": _elu,
    "celu": _celu,
    "gelu": _gelu,
    "softplus": _softplus,
    "threshold": _threshold,
    **dict.fromkeys(("_softmax", "_safe_softmax", "softmax"), _softmax),
    "_log_softmax": _log_softmax,
    "mean": _mean,
    "sum": _total,
    "amax": _largest,
    "avg_pool2d": _average_pool,
    **dict.fromkeys(("_adaptive_avg_pool2d", "adaptive_avg_pool2d"), _adaptive_average),
    "max_pool2d_with_indices": _max_pool,
    "adaptive_max_pool2d": _adaptive_max,
    **dict.fromkeys(
        ("_reshape_alias", "_unsafe_view", "flatten", "reshape", "squeeze", "unsqueeze", "view"), _keeping_channels
    ),
    "permute": _permute,
    "transpose": _transpose,
    **dict.fromkeys(("chunk", "narrow", "select", "slice", "split", "split_with_sizes", "unbind"), _part),
    **dict.fromkeys(("channel_shuffle", "flip", "pixel_shuffle", "pixel_unshuffle", "roll", "t"), partial(_mixing, 1.0)),
    "constant_pad_nd": _pad,
    **dict.fromkeys(("broadcast_to", "expand", "repeat"), _repeat),
    **{name: partial(_copies, name) for name in ("reflection_pad2d", "replication_pad2d", "upsample_nearest2d")},
    "copy": _copy_into,
    "as_strided": _restrided,
    **dict.fromkeys(("cat", "stack"), _stack),
}  # fmt: skip
