"""Norms of convolutions as linear maps from l2 to l2, ||K|| = max ||K x|| / ||x||, with the zero padding they have.

    reshaped_norms               what NEFT constrains; at most ||K|| where `reshaped_is_lower_bound`
    power_iteration, estimates   at most ||K||: each is ||K v|| / ||v|| of a vector that was found
    upper_bounds                 at least ||K||
    exact_norm                   ||K|| itself, of small maps

for any stride, dilation, groups and size, up to float32 rounding (1e-5). A weight of zeros has norm 0, one that is not
finite NaN. Maps of one shape are computed together. Values stay on the device of the maps and, where nothing else is
said, are not read on the host. TF32 and autocast are off.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.device import exact_float32

#: Relative margin of upper bounds for rounding.
SLACK = 1e-5
#: Gram iterations at each frequency, and on single matrices, where they cost little.
GRAM_ITERATIONS, MATRIX_ITERATIONS = 6, 16
#: Share of noise in the start of a power iteration, for singular vectors cross while a network trains.
NOISE = 0.01
#: Lanczos steps without change before convergence is believed: near a second singular value it rests for some.
SETTLED_STEPS = 10
#: Most inputs or outputs of a map that is written out as a matrix.
EXACT_LIMIT = 2000
#: Bytes of working memory.
MEMORY = 256 * 2**20
#: Entries of matrices whose eigenvalues are looked at together: few, for what some have spares the next.
TOGETHER = 2**17


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """A convolution as the linear map that it is: zero padding, no bias. A matrix is one with a 1x1 kernel on one pixel.

    Attributes:
        weight: [Co, Ci/groups, kh, kw].
        size: H, W of the input.

    Raises:
        ValueError: the weight does not fit the groups, or the kernel is larger than the padded input.
    """

    weight: Tensor
    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        shape = tuple(self.weight.shape)
        if len(shape) != 4 or shape[0] % self.groups:
            raise ValueError(
                f"A convolution needs a weight [out, in/groups, height, width] with out a multiple of its "
                f"{self.groups} groups; got {list(shape)}."
            )
        if min(self.output_size) < 1:
            raise ValueError(
                f"A {shape[2]}x{shape[3]} kernel with dilation {self.dilation} does not fit into an input of size "
                f"{self.size} with padding {self.padding}; give the size of the layer's input."
            )

    @classmethod
    def of_matrix(cls, weight: Tensor) -> Convolution:
        """A matrix [out, in]."""
        return cls(weight[:, :, None, None], (1, 1))

    @property
    def output_size(self) -> tuple[int, int]:
        """H, W of the output."""
        vertical, horizontal = _axes(self)
        return vertical.outputs, horizontal.outputs

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Ci, H, W."""
        return self.weight.shape[1] * self.groups, *self.size

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """Co, and H, W of the output."""
        return self.weight.shape[0], *self.output_size

    def __call__(self, x: Tensor) -> Tensor:
        """K x: [B, *input_shape] -> [B, *output_shape]."""
        return F.conv2d(x, self.weight.to(x), None, self.stride, self.padding, self.dilation, self.groups)

    def transposed(self, y: Tensor) -> Tensor:
        """K^T y: [B, *output_shape] -> [B, *input_shape]."""
        unread = [axis.unread for axis in _axes(self)]
        return F.conv_transpose2d(
            y, self.weight.to(y), None, self.stride, self.padding, unread, self.groups, self.dilation
        )

    def scaled(self, *, inputs: Tensor | None = None, outputs: Tensor | None = None) -> Convolution:
        """The map after its input channels are multiplied with `inputs` [Ci], and before its outputs are with `outputs` [Co]."""
        weight = self.weight
        if inputs is not None:
            by_group = weight.reshape(self.groups, -1, *weight.shape[1:])
            weight = (by_group * inputs.view(self.groups, 1, -1, 1, 1)).flatten(0, 1)
        if outputs is not None:
            weight = weight * outputs.view(-1, 1, 1, 1)
        return replace(self, weight=weight)


class _Axis(NamedTuple):
    """One dimension of a convolution."""

    size: int
    taps: int
    stride: int
    padding: int
    dilation: int

    @property
    def extent(self) -> int:
        """Pixels from the first tap to the last."""
        return self.dilation * (self.taps - 1) + 1

    @property
    def outputs(self) -> int:
        return (self.size + 2 * self.padding - self.extent) // self.stride + 1

    @property
    def unread(self) -> int:
        """Pixels of the padded input after the last patch."""
        return (self.size + 2 * self.padding - self.extent) % self.stride

    @property
    def phases(self) -> int:
        """Pixels that make one of the stride-1 kernel."""
        return min(self.stride, self.extent)

    @property
    def blocks(self) -> int:
        """Taps of the stride-1 kernel."""
        return -(-self.extent // self.phases)

    @property
    def ring(self) -> int:
        """Pixels of the ring on which the stride-1 kernel bounds the map; a kernel of one tap needs only one."""
        return 1 if self.blocks == 1 else -(-(self.size + self.padding) // self.stride)


def _axes(convolution: Convolution) -> tuple[_Axis, _Axis]:
    shape = zip(
        convolution.size, convolution.weight.shape[2:], convolution.stride, convolution.padding, convolution.dilation,
        strict=True,
    )  # fmt: skip
    vertical, horizontal = (_Axis(*one) for one in shape)
    return vertical, horizontal


@cache
def _reads(axis: _Axis) -> tuple[tuple[int, int], ...]:
    """(tap, pixel) of each read that is not of padding."""
    reads = (
        (tap, axis.stride * output + axis.dilation * tap - axis.padding)
        for output in range(axis.outputs)
        for tap in range(axis.taps)
    )
    return tuple((tap, pixel) for tap, pixel in reads if 0 <= pixel < axis.size)


def tap_factor(convolution: Convolution) -> float:
    """t, with which ||K|| is at most t times the largest reshaped norm of a group.

    ||K x||^2 is a sum over patches of x, each at most the squared reshaped norm times the squared norm of the patch, and
    t^2 is in how many patches the most read pixel is: at most ceil(kh/sh) * ceil(kw/sw) without dilation.
    """
    counts = (Counter(pixel for _, pixel in _reads(axis)) for axis in _axes(convolution))
    return math.sqrt(math.prod(max(count.values(), default=0) for count in counts))


def has_interior_patch(convolution: Convolution) -> bool:
    """Whether some output reads no padding."""
    return all(
        -(-axis.padding // axis.stride) * axis.stride + axis.extent <= axis.size + axis.padding
        for axis in _axes(convolution)
    )


def reshaped_is_lower_bound(convolution: Convolution) -> bool:
    """Whether the reshaped norm is at most ||K||: it has one group, and an output that reads no padding."""
    return convolution.groups == 1 and has_interior_patch(convolution)


@torch.no_grad()
@exact_float32()
def reshaped_norms(maps: Sequence[Convolution]) -> Tensor:
    """[n] largest singular value of each weight reshaped to (out, in*kh*kw).

    On CUDA, where eigenvalues would be waited for, it is ||W v|| of the vector to which squaring the Gram matrix leads,
    in float32 and never above the truth.

    Source: Chen et al., ICML 2021, section 3.3; Miyato et al., ICLR 2018, section 2.1.
    """
    found: dict[int, Tensor] = {}
    matrices = [Convolution.of_matrix(one.weight.flatten(1)) for one in maps]
    for indices, stack, scale in _stacks(matrices, precise=True):
        weights = _polyphase(stack)[:, 0, 0]
        if weights.is_cuda:
            smaller = weights if weights.shape[1] <= weights.shape[2] else weights.mT
            leading = _leading(smaller @ smaller.mT)
            norms = torch.linalg.vector_norm(smaller.mT @ leading[..., None], dim=(1, 2))
        else:
            norms = _matrix_norms(weights)
        found.update(zip(indices, (norms * scale).unbind(), strict=True))
    return _in_order(found, maps)


@torch.no_grad()
@exact_float32()
def upper_bounds(maps: Sequence[Convolution], *, iterations: int | None = None) -> Tensor:
    """[n] certified upper bounds: the smallest of three, each the largest over groups.

    - The largest norm over the frequencies of a ring of at least H + p pixels. Reads beyond its end go around to the
      padding at its beginning, so the map is a part of a circular convolution. With the pixels of a stride as channels
      (polyphase) that has stride 1, and is block-diagonal in frequency.
    - `tap_factor` times the reshaped norm. It is exact for kernels that do not overlap, matrices among them.
    - sqrt(||K||_1 ||K||_inf).

    Args:
        maps: on one device.
        iterations: Gram iterations at each frequency, each of which brings the bound closer to the norm there; if None,
            6 on CUDA, and elsewhere exact eigenvalues in float64 on the CPU.

    Source: Sedghi et al., ICLR 2019, theorem 6 (frequencies); Delattre et al., ICML 2023 (Gram iteration with rescaling).
    """
    found: dict[int, Tensor] = {}
    for indices, stack, scale in _stacks(maps, precise=True):
        count = GRAM_ITERATIONS if iterations is None and stack.weight.is_cuda else iterations
        taps = _polyphase(stack)
        matrices = taps.flatten(1, 2).transpose(1, 2).flatten(2)
        norms = _matrix_norms(matrices) if count is None else gram_bounds(matrices, MATRIX_ITERATIONS)
        absolute = taps.abs()
        rows, columns = absolute.sum((1, 2, 4)).amax(1), absolute.sum((1, 2, 3)).amax(1)
        bounds = torch.minimum(tap_factor(stack) * norms, (rows * columns).sqrt())
        if taps.shape[1] * taps.shape[2] > 1:
            bounds = torch.minimum(bounds, _ring_norms(taps, [axis.ring for axis in _axes(stack)], count))
        largest = bounds.view(len(indices), -1).amax(1)
        found.update(zip(indices, (largest * scale * (1 + SLACK)).unbind(), strict=True))
    return _in_order(found, maps)


def gram_bounds(matrices: Tensor, iterations: int) -> Tensor:
    """[...] upper bounds on the norms of matrices [..., a, b], at most min(a, b)**(2**-(iterations + 1)) too large.

    They fall with each iteration G <- G^H G, after which ||G||_F^(2^-iterations) is the bound; G is rescaled, so that
    float32 neither overflows nor underflows.

    Source: Delattre et al., ICML 2023 (Gram iteration with rescaling).
    """
    gram = matrices if matrices.shape[-1] <= matrices.shape[-2] else matrices.mH
    log_scale = torch.zeros_like(gram[..., 0, 0].real)
    for _ in range(iterations):
        gram, norm = _rescaled(gram)
        log_scale = 2 * (log_scale + norm.log())
        gram = gram.mH @ gram
    root = 2.0**-iterations
    bounds: Tensor = torch.linalg.matrix_norm(gram) ** root * (root * log_scale).exp()
    return bounds


@torch.no_grad()
@exact_float32()
def estimates(
    maps: Sequence[Convolution],
    *,
    steps: int,
    starts: Sequence[Tensor | None],
    generator: torch.Generator,
    tolerance: float | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Lower bounds that come close to the norm, by Golub-Kahan-Lanczos bidiagonalisation.

    The right vectors are fully re-orthogonalised. The value is ||K v|| of the unit vector v that the bidiagonal matrix
    leads to, so it is a lower bound whatever was lost to rounding.

    Args:
        maps: on one device.
        steps: products with K and with K^T, at least 1.
        starts: [Ci, H, W] each, singular vectors found before, or None. Noise is mixed in, so that no start misses
            the leading singular vector and a process that ends early has found it.
        generator: draws the noise, map by map; on the CPU or the device of the maps.
        tolerance: for use offline, 1e-5 for instance: `steps` is then the most, and it ends when the values of all maps
            of one shape have changed by at most this share in each of ten steps. It begins at noise alone, and reads
            values on the host.

    Returns:
        [n] lower bounds, and right singular vectors [Ci, H, W], zero for a map that is zero or not finite.

    Source: Golub and Kahan, SIAM J. Numer. Anal. 1965; Simon and Zha, SIAM J. Sci. Comput. 2000 (one-sided
    re-orthogonalisation).
    """
    if tolerance is not None:
        starts = [None for _ in starts]  # from near a vector that no longer leads the value would rest there
    mixed = _with_noise(maps, starts, 1.0, generator)
    found: dict[int, Tensor] = {}
    vectors: dict[int, Tensor] = {}
    for indices, stack, scale in _stacks(maps, vectors=steps):
        start = _unit(torch.stack([mixed[index].flatten() for index in indices]).to(stack.weight))[0]
        right = _lanczos(stack, start, steps, tolerance)
        norms = torch.linalg.vector_norm(_applied(stack, right), dim=1)
        found.update(zip(indices, (norms * scale).unbind(), strict=True))
        vectors.update(zip(indices, right.unbind(), strict=True))
    return _in_order(found, maps), [vectors[i].view(one.input_shape) for i, one in enumerate(maps)]


@torch.no_grad()
@exact_float32()
def power_iteration(
    maps: Sequence[Convolution],
    *,
    steps: int,
    starts: Sequence[Tensor | None],
    generator: torch.Generator,
) -> tuple[Tensor, list[Tensor]]:
    """Lower bounds by power iteration with K^T K: cheap with a warm start, far below the norm from a cold one.

    Args and returns as for `estimates`; of a start that is given, one per cent becomes noise.
    """
    mixed = _with_noise(maps, starts, NOISE, generator)
    found: dict[int, Tensor] = {}
    vectors: dict[int, Tensor] = {}
    for indices, stack, scale in _stacks(maps):
        right = torch.stack([mixed[index].flatten() for index in indices]).to(stack.weight)
        for _ in range(steps):
            left, _ = _unit(_applied(stack, _unit(right)[0]))
            right, norms = _unit(_applied_transposed(stack, left))
        found.update(zip(indices, (norms * scale).unbind(), strict=True))
        vectors.update(zip(indices, right.unbind(), strict=True))
    return _in_order(found, maps), [vectors[i].view(one.input_shape) for i, one in enumerate(maps)]


@torch.no_grad()
def exact_norm(convolution: Convolution) -> float:
    """The norm itself, from the dense matrix of the map in float64 on the CPU; NaN for a weight that is not finite.

    Raises:
        ValueError: the map has more than 2000 inputs or outputs.
    """
    inputs, outputs = math.prod(convolution.input_shape), math.prod(convolution.output_shape)
    if max(inputs, outputs) > EXACT_LIMIT:
        raise ValueError(
            f"Exact norms are for maps of up to {EXACT_LIMIT} inputs and outputs, this one has {inputs} and {outputs}; "
            "take upper_bounds and estimates."
        )
    precise = replace(convolution, weight=convolution.weight.detach().double().cpu())
    if not precise.weight.isfinite().all():
        return math.nan
    unit_vectors = torch.eye(inputs, dtype=torch.double).view(inputs, *convolution.input_shape)
    matrix = torch.cat([precise(part).flatten(1) for part in torch.split(unit_vectors, 256)])
    return float(torch.linalg.matrix_norm(matrix, ord=2))


def _stacks(
    maps: Sequence[Convolution], *, precise: bool = False, vectors: int = 0
) -> Iterator[tuple[list[int], Convolution, Tensor]]:
    """Maps of one shape as one map in which each has groups of its own; as many at once as memory allows.

    Args:
        precise: whether they are taken to float64 on the CPU, unless they are on CUDA.
        vectors: inputs that are kept of each.

    Yields:
        The indices of the maps; the one map, with taps that read only padding set to 0 and the largest entry of each map
        1, or all 0 where it is zero or not finite; and [n] what norms are to be multiplied with, NaN where not finite.
    """
    alike = defaultdict(list)
    for index, one in enumerate(maps):
        weight = one.weight
        shape = weight.shape, one.size, one.stride, one.padding, one.dilation, one.groups
        alike[shape, weight.dtype, weight.device].append(index)
    for same in alike.values():
        first = maps[same[0]]
        each = (64 if precise else 16) * first.weight.numel() + 8 * vectors * math.prod(first.input_shape)
        at_once = max(1, MEMORY // each)
        for start in range(0, len(same), at_once):
            indices = same[start : start + at_once]
            weights = torch.stack([maps[index].weight.detach() for index in indices])
            if precise and not weights.is_cuda:
                weights = weights.cpu().double()
            weights = weights.to(torch.promote_types(weights.dtype, torch.float32))
            broken = ~weights.isfinite().flatten(1).all(1)
            # Not `where`, which would copy the 0 to CUDA and wait for it.
            weights = weights.masked_fill(broken.view(-1, 1, 1, 1, 1), 0)
            for dim, axis in enumerate(_axes(first), start=3):
                for tap in set(range(axis.taps)) - {tap for tap, _ in _reads(axis)}:
                    weights.select(dim, tap).zero_()
            largest = weights.abs().flatten(1).amax(1)
            unit = largest.masked_fill(largest == 0, 1)
            weights /= unit.view(-1, 1, 1, 1, 1)
            stack = replace(first, weight=weights.flatten(0, 1), groups=len(indices) * first.groups)
            yield indices, stack, unit.masked_fill(broken, math.nan)


def _in_order(found: Mapping[int, Tensor], maps: Sequence[Convolution]) -> Tensor:
    """[n] values by index, on the device of the maps and in their precision, at least float32."""
    if not maps:
        return torch.zeros(0)
    dtype = torch.float32
    for one in maps:
        dtype = torch.promote_types(dtype, one.weight.dtype)
    return torch.stack([found[index].to(dtype) for index in range(len(maps))]).to(maps[0].weight.device)


def _polyphase(stack: Convolution) -> Tensor:
    """[m, Kh, Kw, out, in*sh*sw] of each of m groups the kernel with stride 1 that has the pixels of a stride as channels."""
    vertical, horizontal = _axes(stack)
    groups, (out, inputs) = stack.groups, stack.weight.shape[:2]
    spread = stack.weight.new_zeros(
        out, inputs, vertical.blocks * vertical.phases, horizontal.blocks * horizontal.phases
    )
    every = [slice(0, axis.extent, axis.dilation) for axis in (vertical, horizontal)]
    spread[:, :, every[0], every[1]] = stack.weight
    phases = spread.view(
        groups, out // groups, inputs, vertical.blocks, vertical.phases, horizontal.blocks, horizontal.phases
    ).permute(0, 3, 5, 1, 2, 4, 6)
    return phases.flatten(4)


def _ring_norms(taps: Tensor, ring: Sequence[int], iterations: int | None) -> Tensor:
    """[m] largest norm over the frequencies of a ring [Nh, Nw], of m kernels [m, Kh, Kw, a, b].

    The sum over taps is written as a product, so that frequencies can be taken in parts and taps beyond the ring go
    around by themselves. Of a real kernel half the frequencies are enough.
    """
    _, height, width, rows, columns = taps.shape
    vertical = _waves(ring[0], ring[0], height, taps)
    horizontal = _waves(ring[1], ring[1] // 2 + 1, width, taps)
    waves = (vertical[:, None, :, None] * horizontal[None, :, None, :]).flatten(0, 1).flatten(1)
    entries = TOGETHER if iterations is None else MEMORY // 64
    parts = -(-len(waves) // max(1, entries // taps[:, 0, 0].numel()))
    flat = taps.flatten(3).flatten(1, 2)
    norms = torch.zeros_like(taps[:, 0, 0, 0, 0])
    for part in range(parts):
        some = waves[part::parts]  # from all over the ring: the first part is already near the maximum
        matrices = torch.complex(some.real @ flat, some.imag @ flat)
        matrices = matrices.view(*matrices.shape[:2], rows, columns)
        if iterations is None:
            norms = _raised(norms, matrices)
        else:
            norms = torch.maximum(norms, gram_bounds(matrices, iterations).amax(1))
    return norms


def _waves(ring: int, frequencies: int, taps: int, like: Tensor) -> Tensor:
    """[frequencies, taps] exp(-2 pi i f t / ring)."""
    turns = torch.outer(torch.arange(frequencies, device=like.device), torch.arange(taps, device=like.device))
    angles = (turns % ring).to(like.dtype) * (-2 * math.pi / ring)
    return torch.polar(torch.ones_like(angles), angles)


def _raised(norms: Tensor, matrices: Tensor) -> Tensor:
    """[m] norms, raised to those of matrices [m, F, a, b] that are larger.

    That one is not larger is certified by a Cholesky factor of norm^2 - G, at a fraction of the cost of eigenvalues.
    """
    gram = _smaller_gram(matrices)
    limit = (norms.square() * (1 + 1e-9))[:, None, None, None]
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype)
    larger = torch.linalg.cholesky_ex(limit * identity - gram).info > 0
    values = norms[:, None].repeat(1, gram.shape[1])
    values[larger] = torch.linalg.eigvalsh(gram[larger])[:, -1].clamp(min=0).sqrt()
    return values.amax(1)


def _matrix_norms(matrices: Tensor) -> Tensor:
    """[m] norms of matrices [m, a, b]."""
    largest: Tensor = torch.linalg.eigvalsh(_smaller_gram(matrices))[:, -1]
    return largest.clamp(min=0).sqrt()


def _smaller_gram(matrices: Tensor) -> Tensor:
    """M M^H or M^H M of each matrix [..., a, b]."""
    rows, columns = matrices.shape[-2:]
    return matrices @ matrices.mH if rows <= columns else matrices.mH @ matrices


def _leading(gram: Tensor) -> Tensor:
    """[m, a] unit vectors to which repeated squaring of the Gram matrices [m, a, a] leads, near the leading eigenvectors.

    No value is waited for, as it would be for eigenvectors on CUDA.
    """
    for _ in range(MATRIX_ITERATIONS):
        gram, _ = _rescaled(gram)
        gram = gram @ gram
    longest = gram.diagonal(dim1=1, dim2=2).argmax(1)
    return _unit(gram.take_along_dim(longest.view(-1, 1, 1), 2)[..., 0])[0]


def _rescaled(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Matrices [..., a, b] over their Frobenius norms, and those norms, at least the smallest normal number."""
    norms = torch.linalg.matrix_norm(matrices).clamp(min=torch.finfo(matrices.dtype).tiny)
    return matrices / norms[..., None, None], norms


def _with_noise(
    maps: Sequence[Convolution], starts: Sequence[Tensor | None], share: float, generator: torch.Generator
) -> list[Tensor]:
    """A start [Ci, H, W] for each map: noise, or of the start that is given and of noise the share."""
    mixed = []
    for one, start in zip(maps, starts, strict=True):
        noise = torch.randn(one.input_shape, generator=generator, device=generator.device)
        noise = noise.to(one.weight.device, non_blocking=True)
        noise /= torch.linalg.vector_norm(noise)
        mixed.append(noise if start is None else start + share * noise)
    return mixed


def _lanczos(stack: Convolution, start: Tensor, steps: int, tolerance: float | None) -> Tensor:
    """[n, D] unit vectors near the leading right singular vectors of the n maps in a stack, from unit vectors [n, D]."""
    count, size = start.shape
    steps = min(steps, size)
    basis = start.new_empty(count, steps, size)
    bidiagonal = start.new_zeros(count, steps, steps)
    right, left, coupling = start, torch.zeros_like(_applied(stack, start)), start.new_zeros(count)
    last, settled = torch.zeros(count, dtype=torch.double), 0
    for step in range(steps):
        basis[:, step] = right
        image = _applied(stack, right)
        left, bidiagonal[:, step, step] = _unit(image - coupling[:, None] * left, left_of=image.norm(dim=1))
        done = step + 1
        if tolerance is not None:
            now = torch.linalg.matrix_norm(bidiagonal[:, :done, :done].cpu().double(), ord=2)
            settled = settled + 1 if bool((now - last <= tolerance * now).all()) else 0
            last = now
            if settled == SETTLED_STEPS:
                break
        if done < steps:
            image, known = _applied_transposed(stack, left), basis[:, :done]
            right = image
            for _ in range(2):  # once leaves too much behind where nearly all of it is known
                right = right - torch.einsum("nk,nkd->nd", torch.einsum("nkd,nd->nk", known, right), known)
            right, coupling = _unit(right, left_of=image.norm(dim=1))
            bidiagonal[:, step, done] = coupling
    small = bidiagonal[:, :done, :done]
    return _unit(torch.einsum("nk,nkd->nd", _leading(small.mT @ small), basis[:, :done]))[0]


def _applied(stack: Convolution, x: Tensor) -> Tensor:
    """[n, outputs] of vectors [n, inputs]: each map of a stack on its own."""
    return stack(x.view(1, *stack.input_shape)).reshape(len(x), -1)


def _applied_transposed(stack: Convolution, y: Tensor) -> Tensor:
    """[n, inputs] of vectors [n, outputs]."""
    return stack.transposed(y.view(1, *stack.output_shape)).reshape(len(y), -1)


def _unit(vectors: Tensor, *, left_of: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """Vectors [n, d] over their norms, and [n] those norms.

    Both are zero for a vector of zeros, and for one that is but rounding, left of a vector whose norm is given.
    """
    norms = torch.linalg.vector_norm(vectors, dim=1)
    nothing = norms <= 100 * torch.finfo(vectors.dtype).eps * left_of
    return (vectors / norms[:, None]).masked_fill(nothing[:, None], 0), norms.masked_fill(nothing, 0)
