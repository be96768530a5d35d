"""Norms of convolutions against exact ones (`tests/reference/README.md`), dense matrices and formulas."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.inspection import norms
from engine.inspection.norms import (
    Convolution,
    estimates,
    exact_norm,
    gram_bounds,
    has_interior_patch,
    power_iteration,
    reshaped_is_lower_bound,
    reshaped_norms,
    tap_factor,
    upper_bounds,
)
from tests.engine.exact import CLOSE, ROUNDING, ExactCase, exact_cases

pytestmark = pytest.mark.usefixtures("untouched_random_state")

CASES = {case.name: case for case in exact_cases()}
of_each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def group_matrices(one: Convolution) -> list[Convolution]:
    """The reshaped weight of each group."""
    return [Convolution.of_matrix(part.flatten(1)) for part in one.weight.chunk(one.groups)]


def converged(maps: Sequence[Convolution]) -> Tensor:
    """Estimates that are given the time they need."""
    found, _ = estimates(
        maps, steps=300, starts=[None] * len(maps), generator=torch.Generator().manual_seed(0), tolerance=1e-5
    )
    return found


def lower_bounds(one: Convolution) -> dict[str, float]:
    """Everything that must not exceed the norm of a map."""
    draw = {"starts": [None], "generator": torch.Generator().manual_seed(0)}
    found = {
        "converged": converged([one])[0],
        "Lanczos": estimates([one], steps=20, **draw)[0][0],
        "power iteration": power_iteration([one], steps=3, **draw)[0][0],
    }
    if reshaped_is_lower_bound(one):
        found["reshaped"] = reshaped_norms([one])[0]
    return {name: float(value) for name, value in found.items()}


def assert_order(one: Convolution, truth: float) -> None:
    """Upper bounds, the truth and lower bounds keep their order, and the converged estimate is close."""
    assert float(upper_bounds([one])) >= truth
    assert float(upper_bounds([one], iterations=6)) >= truth
    lower = lower_bounds(one)
    for name, value in lower.items():
        assert value <= truth * (1 + ROUNDING), name
    assert lower["converged"] == pytest.approx(truth, rel=CLOSE)


@of_each_case
def test_that_upper_bound_truth_and_lower_bounds_keep_their_order(case: ExactCase) -> None:
    assert_order(case.convolution, case.truth)


@of_each_case
def test_that_the_dense_matrix_has_the_exact_norm(case: ExactCase) -> None:
    assert exact_norm(case.convolution) == pytest.approx(case.truth, rel=1e-6)


@pytest.mark.parametrize(
    "case", [case for case in CASES.values() if case.kind == "conv"], ids=lambda case: case.name
)
def test_that_reshaped_norms_factors_and_bounds_are_those_of_the_file(case: ExactCase) -> None:
    one, figures = case.convolution, case.figures
    assert float(reshaped_norms([one])) == pytest.approx(float(figures["sigma_2d"]), rel=1e-6)
    largest = float(reshaped_norms(group_matrices(one)).max())
    assert largest == pytest.approx(float(figures["sigma_2d_group"]), rel=1e-6)
    assert tap_factor(one) <= figures["tap_factor"] * (1 + 1e-9)
    upper = float(upper_bounds([one]))
    assert upper <= figures["ub_2d"] * (1 + 2 * ROUNDING)
    if one.stride == (1, 1) and has_interior_patch(one):  # else theirs is of another kernel
        assert upper <= figures["ub_fft"] * (1 + 2 * ROUNDING)


@pytest.mark.parametrize(
    ("name", "excess"),
    [("c3x3_s2_p1", 1.0370), ("ones_3x3_s2", 1.1032), ("c7x7_s2_p3", 1.1065), ("c3x3_map1", 1)],
)
def test_that_strides_and_taps_that_read_only_padding_cost_the_bound_little(name: str, excess: float) -> None:
    if name not in CASES:
        pytest.skip(f"{name} is no case of this folder")
    case = CASES[name]
    assert float(upper_bounds([case.convolution])) / case.truth == pytest.approx(excess, abs=1e-4)


@pytest.mark.parametrize(
    "case", [case for case in CASES.values() if "v" in case.figures], ids=lambda case: case.name
)
def test_that_the_leading_singular_vector_is_stretched_by_the_norm_and_found(case: ExactCase) -> None:
    one = case.convolution
    vector = torch.from_numpy(case.figures["v"]).view(1, *one.input_shape)
    assert float(one(vector).norm() / vector.norm()) == pytest.approx(case.truth, rel=1e-6)
    again = one.transposed(one(vector))
    torch.testing.assert_close(again, case.truth**2 * vector, rtol=1e-5, atol=1e-5 * case.truth**2)
    for find in (estimates, power_iteration):
        ((value,), (found,)) = find(
            [one], steps=20, starts=[None], generator=torch.Generator().manual_seed(1)
        )
        assert found.shape == one.input_shape
        assert float(found.norm()) == pytest.approx(1, rel=1e-5)
        assert float(one(found[None]).norm()) >= float(value) * (1 - ROUNDING)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


KERNELS: dict[str, Callable[..., Tensor]] = {
    "random": lambda out, inputs, *kernel: drawn(out, inputs, *kernel),
    "box": torch.ones,
    "rank 1": lambda *shape: torch.einsum("o,i,h,w->oihw", *(drawn(size, seed=size) for size in shape)),
    "difference": lambda out, inputs, *kernel: drawn(out, inputs, 1, 1) * first_minus_last(*kernel),
    "small gap": lambda out, inputs, *kernel: torch.eye(out, inputs)[:, :, None, None] * centre(*kernel)
    + 1e-3 * drawn(out, inputs, *kernel),
}  # fmt: skip


def first_minus_last(height: int, width: int) -> Tensor:
    kernel = torch.zeros(height, width)
    kernel[0, 0] += 1
    kernel[-1, -1] -= 1
    return kernel


def centre(height: int, width: int) -> Tensor:
    kernel = torch.zeros(height, width)
    kernel[height // 2, width // 2] = 1
    return kernel


def any_convolution(draw: random.Random) -> Convolution:
    """A small one of any kernel, stride, padding, dilation, groups and size that fit together."""
    groups = draw.choice((1, 1, 2, 3))
    shape = groups * draw.randint(1, 3), draw.randint(1, 3), draw.randint(1, 5), draw.randint(1, 5)
    weight = KERNELS[draw.choice(list(KERNELS))](*shape)
    try:
        size, stride, padding, dilation = (
            (draw.randint(low, high), draw.randint(low, high)) for low, high in ((1, 7), (1, 3), (0, 3), (1, 2))
        )  # fmt: skip
        return Convolution(weight, size, stride, padding, dilation, groups)
    except ValueError:
        return any_convolution(draw)


@pytest.mark.parametrize("seed", range(4))
def test_that_any_small_convolution_keeps_the_order_around_its_dense_norm(seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(25):
        one = any_convolution(draw)
        truth = exact_norm(one)
        assert_order(one, truth)
        assert tap_factor(one) * float(reshaped_norms(group_matrices(one)).max()) >= truth * (1 - ROUNDING)
        x, y = drawn(2, *one.input_shape, seed=1).double(), drawn(2, *one.output_shape, seed=2).double()
        assert float((one(x) * y).sum()) == pytest.approx(float((x * one.transposed(y)).sum()), abs=1e-9)


@pytest.mark.parametrize("size", [4, 8, 16, 32])
def test_that_a_box_has_the_norm_of_its_formula_and_nears_its_supremum_with_size(size: int) -> None:
    box = Convolution(torch.ones(8, 8, 3, 3), (size, size), padding=(1, 1))
    # The eigenvalues of the tridiagonal matrix of ones, once for each dimension, and the channels' matrix of ones.
    truth = 8 * (1 + 2 * math.cos(math.pi / (size + 1))) ** 2
    assert float(converged([box])) == pytest.approx(truth, rel=1e-4)
    assert truth <= float(upper_bounds([box])) <= 72 * (1 + 2 * ROUNDING)
    assert truth / float(reshaped_norms([box])) == pytest.approx(
        {4: 2.28, 8: 2.76, 16: 2.93, 32: 2.98}[size], abs=0.006
    )


@pytest.mark.parametrize("kernel", ["random", "small gap"])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)], ids=str)
def test_that_the_bound_is_the_largest_norm_over_all_frequencies(
    kernel: str, stride: tuple[int, int]
) -> None:
    one = Convolution(KERNELS[kernel](6, 4, 3, 3).double(), (15, 32), stride, (1, 1))
    # The kernels of the phases of the stride, their taps a stride apart, on a ring of 16 x 33 pixels.
    padded = np.zeros((6, 4, 16, 33))
    padded[:, :, :3, :3] = one.weight
    phases = [padded[:, :, row :: stride[0], column :: stride[1]] for row, column in np.ndindex(stride)]
    spectrum = np.fft.fft2(np.concatenate(phases, 1)).transpose(2, 3, 0, 1)
    largest = np.linalg.svd(spectrum, compute_uv=False).max()
    assert float(upper_bounds([one])) == pytest.approx(largest * (1 + norms.SLACK), rel=1e-8)


def small(**changes: object) -> Convolution:
    """A 3x3 convolution from which the equivalent ones below are made."""
    return replace(Convolution(drawn(6, 4, 3, 3), (5, 6), padding=(1, 1)), **changes)


def orthogonal(size: int) -> Tensor:
    return torch.linalg.qr(drawn(size, size, seed=3))[0]


EQUIVALENT: dict[str, tuple[Convolution, float]] = {
    "multiplied": (small(weight=-3 * small().weight), 3.0),
    "tiny": (small(weight=1e-30 * small().weight), 1e-30),
    "huge": (small(weight=1e30 * small().weight), 1e30),
    "permuted": (small(weight=small().weight[torch.randperm(6, generator=torch.Generator().manual_seed(1))]), 1.0),
    "flipped": (small(weight=small().weight.flip(2, 3)), 1.0),
    "upright": (small(weight=small().weight.mT, size=(6, 5)), 1.0),
    "outputs mixed": (small(weight=torch.einsum("po,oihw->pihw", orthogonal(6), small().weight)), 1.0),
    "inputs mixed": (small(weight=torch.einsum("oihw,ip->ophw", small().weight, orthogonal(4))), 1.0),
    "transposed": (small(weight=small().weight.transpose(0, 1).flip(2, 3)), 1.0),
    "channels last": (small(weight=small().weight.to(memory_format=torch.channels_last)), 1.0),
    "as two groups": (small(weight=torch.cat([small().weight, small().weight]), groups=2), 1.0),
    "wider kernel": (small(weight=torch.nn.functional.pad(small().weight, (1, 1, 1, 1)), padding=(2, 2)), 1.0),
    "sparse": (small(weight=small().weight, size=(9, 11), dilation=(2, 2), padding=(2, 2)), 1.0),
    "double": (small(weight=small().weight.double()), 1.0),
}  # fmt: skip


@pytest.mark.parametrize(("one", "factor"), EQUIVALENT.values(), ids=EQUIVALENT)
def test_that_equivalent_convolutions_have_the_same_norm(one: Convolution, factor: float) -> None:
    upper = float(upper_bounds([one]))
    if one.padding == small().padding:  # more padding makes the ring larger
        assert upper == pytest.approx(factor * float(upper_bounds([small()])), rel=2 * ROUNDING)
    truth = exact_norm(small())
    assert float(converged([one])) == pytest.approx(factor * truth, rel=1e-3)
    assert upper >= factor * truth


def test_that_a_delta_has_norm_one_and_a_matrix_its_largest_singular_value() -> None:
    delta = Convolution(torch.eye(4)[:, :, None, None] * centre(3, 3), (8, 8), padding=(1, 1))
    matrix = drawn(7, 20)
    expected = float(np.linalg.svd(matrix.double().numpy(), compute_uv=False)[0])
    assert float(reshaped_norms([Convolution.of_matrix(matrix.double())])) == pytest.approx(
        expected, rel=1e-12
    )
    maps = [delta, Convolution.of_matrix(matrix), Convolution(matrix[:, :, None, None], (3, 4), (2, 2))]
    for find in (converged, reshaped_norms, upper_bounds):
        np.testing.assert_allclose(find(maps), [1, expected, expected], rtol=2 * ROUNDING)


def test_that_scaled_channels_are_those_of_the_composition() -> None:
    one = Convolution(drawn(6, 2, 3, 3), (5, 5), (2, 2), (1, 1), groups=3)
    inputs, outputs, x = drawn(6, seed=1), drawn(6, seed=2), drawn(2, 6, 5, 5, seed=3)
    expected = one(x * inputs.view(-1, 1, 1)) * outputs.view(-1, 1, 1)
    torch.testing.assert_close(one.scaled(inputs=inputs, outputs=outputs)(x), expected)


@pytest.mark.parametrize("shape", [(9, 9), (20, 9), (9, 20)], ids=str)
def test_that_gram_bounds_fall_to_the_norm_within_their_promise(shape: tuple[int, int]) -> None:
    matrices = torch.complex(drawn(3, *shape), drawn(3, *shape, seed=1))
    truth = np.linalg.svd(matrices.to(torch.complex128).numpy(), compute_uv=False)[:, 0]
    last = np.inf
    for iterations in range(12):
        bounds = gram_bounds(matrices, iterations).double().numpy()
        assert (bounds <= last * (1 + 1e-6)).all()
        assert (bounds >= truth * (1 - 1e-6)).all()
        assert (bounds <= truth * 9**2.0 ** -(iterations + 1) * (1 + 1e-6)).all()
        last = bounds
    extreme = torch.tensor([1e-15, 1, 1e15], dtype=torch.complex64).view(3, 1, 1)
    np.testing.assert_allclose(
        gram_bounds(extreme * matrices, 12) / gram_bounds(matrices, 12), [1e-15, 1, 1e15], rtol=1e-4
    )


def test_that_power_iteration_rises_with_steps_and_goes_on_from_its_vector() -> None:
    maps = [small(), small(stride=(2, 2))]
    values = torch.stack([
        power_iteration(maps, steps=steps, starts=[None, None], generator=torch.Generator().manual_seed(0))[0]
        for steps in (1, 2, 4, 8, 64)
    ])  # fmt: skip
    assert (values[1:] >= values[:-1] * (1 - 1e-6)).all()
    _, vectors = power_iteration(
        maps, steps=64, starts=[None, None], generator=torch.Generator().manual_seed(0)
    )
    warm, _ = power_iteration(maps, steps=3, starts=vectors, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(warm, values[-1], rtol=1e-3)


def second_singular_vector(one: Convolution) -> Tensor:
    inputs = math.prod(one.input_shape)
    matrix = one(torch.eye(inputs).view(inputs, *one.input_shape)).flatten(1).double()
    return torch.linalg.svd(matrix)[0][:, 1].float().view(one.input_shape)


@pytest.mark.parametrize("steps", [20, 60])
def test_that_a_start_without_the_leading_singular_vector_still_leads_to_it(steps: int) -> None:
    one = small()
    start = second_singular_vector(one)
    found, _ = estimates([one], steps=steps, starts=[start], generator=torch.Generator().manual_seed(0))
    assert float(found) == pytest.approx(exact_norm(one), rel=CLOSE)
    slow, _ = power_iteration([one], steps=400, starts=[start], generator=torch.Generator().manual_seed(0))
    assert float(slow) == pytest.approx(exact_norm(one), rel=CLOSE)


@pytest.mark.parametrize(
    "one",
    [
        Convolution.of_matrix(drawn(10, 64)),
        Convolution.of_matrix(drawn(64, 10)),
        Convolution.of_matrix(torch.diag(torch.tensor([3.0, 3, 2, 2, 1, 0]))),
        Convolution(torch.ones(3, 3, 3, 3), (2, 2), padding=(1, 1)),
    ],
    ids=["more inputs", "more outputs", "three values", "one value"],
)
def test_that_steps_beyond_the_rank_change_nothing(one: Convolution) -> None:
    found = [
        float(estimates([one], steps=steps, starts=[None], generator=torch.Generator().manual_seed(seed))[0])
        for steps in (12, 40, 500)
        for seed in range(3)
    ]
    np.testing.assert_allclose(found, exact_norm(one), rtol=1e-5)


def test_that_a_converged_estimate_ends_early_but_not_at_the_second_singular_value(monkeypatch) -> None:
    products = []
    apply = Convolution.__call__
    monkeypatch.setattr(Convolution, "__call__", lambda one, x: products.append(1) or apply(one, x))
    box = Convolution(torch.ones(8, 8, 3, 3), (32, 32), padding=(1, 1))
    # With some of these starts it stays for four steps within 1e-5 of 0.991 times the norm.
    for seed in range(12):
        found, _ = estimates(
            [box], steps=300, starts=[None], generator=torch.Generator().manual_seed(seed), tolerance=1e-5
        )
        assert float(found) == pytest.approx(8 * (1 + 2 * math.cos(math.pi / 33)) ** 2, rel=1e-3)
    assert len(products) < 12 * 60


def test_that_a_converged_estimate_begins_at_noise_alone() -> None:
    start = second_singular_vector(small())  # where it would rest, and be believed
    (_, (warm,)), (_, (cold,)) = (
        estimates(
            [small()], steps=30, starts=[one], generator=torch.Generator().manual_seed(0), tolerance=1e-5
        )
        for one in (start, None)
    )
    assert torch.equal(warm, cold)


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_that_lanczos_finds_the_largest_value_over_its_krylov_space(steps: int) -> None:
    one = small(weight=small().weight.double())
    found, _ = estimates([one], steps=steps, starts=[None], generator=torch.Generator().manual_seed(0))
    vectors = [torch.randn(1, *one.input_shape, generator=torch.Generator().manual_seed(0)).double()]
    for _ in range(steps - 1):
        vectors.append(one.transposed(one(vectors[-1] / vectors[-1].norm())))
    basis, _ = torch.linalg.qr(torch.cat(vectors).flatten(1).T)
    images = one(basis.T.reshape(-1, *one.input_shape)).flatten(1)
    assert float(found) == pytest.approx(float(torch.linalg.matrix_norm(images, ord=2)), rel=1e-6)


@pytest.mark.parametrize("memory", [norms.MEMORY, 1])
def test_that_maps_computed_together_are_as_one_by_one(monkeypatch, memory: int) -> None:
    maps = [
        small(), Convolution.of_matrix(drawn(5, 7)), small(weight=drawn(6, 4, 3, 3, seed=5)), small(stride=(2, 1)),
        small(groups=2, weight=drawn(6, 2, 3, 3)), small(weight=drawn(6, 4, 3, 3, seed=6)), small(weight=small().weight.double()),
        small(groups=2, weight=drawn(6, 2, 3, 3, seed=7)),
    ]  # fmt: skip
    together, alone = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    starts = [None if index % 2 else drawn(*one.input_shape, seed=9) for index, one in enumerate(maps)]
    expected = {
        "upper": [upper_bounds([one])[0] for one in maps],
        "gram": [upper_bounds([one], iterations=4)[0] for one in maps],
        "reshaped": [reshaped_norms([one])[0] for one in maps],
        "power": [power_iteration([one], steps=2, starts=[start], generator=alone)[0][0]
                  for one, start in zip(maps, starts, strict=True)],
        "Lanczos": [estimates([one], steps=6, starts=[start], generator=alone)[0][0]
                    for one, start in zip(maps, starts, strict=True)],
    }  # fmt: skip
    monkeypatch.setattr(norms, "MEMORY", memory)
    found = {
        "upper": upper_bounds(maps),
        "gram": upper_bounds(maps, iterations=4),
        "reshaped": reshaped_norms(maps),
        "power": power_iteration(maps, steps=2, starts=starts, generator=together)[0],
        "Lanczos": estimates(maps, steps=6, starts=starts, generator=together)[0],
    }
    for name, values in found.items():
        np.testing.assert_allclose(
            values, [float(value) for value in expected[name]], rtol=1e-6, err_msg=name
        )


def every_norm(maps: Sequence[Convolution]) -> dict[str, Tensor]:
    starts = [None] * len(maps)
    return {
        "upper": upper_bounds(maps),
        "gram": upper_bounds(maps, iterations=6),
        "reshaped": reshaped_norms(maps),
        "Lanczos": estimates(maps, steps=20, starts=starts, generator=torch.Generator().manual_seed(0))[0],
        "power": power_iteration(maps, steps=3, starts=starts, generator=torch.Generator().manual_seed(0))[0],
    }


def test_that_zero_weights_have_norm_zero_and_others_that_are_not_finite_have_none() -> None:
    holes = [small(weight=small().weight.clone()) for _ in range(3)]
    for one, hole in zip(holes, (math.nan, math.inf, -math.inf), strict=True):
        one.weight[0, 0, 0, 0] = hole
    maps = [small(), small(weight=torch.zeros(6, 4, 3, 3)), *holes, Convolution.of_matrix(torch.zeros(2, 3))]
    alone = every_norm([small()])
    for name, values in every_norm(maps).items():
        assert float(values[0]) == pytest.approx(float(alone[name]), rel=1e-6), name
        assert values[1] == values[5] == 0, name
        assert values[2:5].isnan().all(), name
    assert exact_norm(maps[1]) == 0
    assert math.isnan(exact_norm(holes[0]))
    _, vectors = power_iteration(maps, steps=3, starts=[None] * 6, generator=torch.Generator().manual_seed(0))
    healed, _ = estimates(
        [small()], steps=20, starts=[vectors[2]], generator=torch.Generator().manual_seed(0)
    )
    assert float(healed) == pytest.approx(exact_norm(small()), rel=CLOSE)


def test_that_a_nan_beside_the_image_is_reported_too() -> None:
    weight = drawn(2, 2, 3, 3)
    weight[0, 0, 0, 0] = math.nan  # on a map of one pixel this tap reads only padding
    for name, values in every_norm([Convolution(weight, (1, 1), padding=(1, 1))]).items():
        assert values.isnan().all(), name


@pytest.mark.parametrize(
    ("dtype", "precision"), [("bfloat16", "float32"), ("float16", "float32"), ("float64", "float64")]
)
def test_that_weights_of_other_precisions_are_measured_in_float32_at_least(
    dtype: str, precision: str
) -> None:
    weight = small().weight.to(getattr(torch, dtype))
    wide = every_norm([small(weight=weight.double())])
    for name, values in every_norm([small(weight=weight)]).items():
        assert values.dtype == getattr(torch, precision), name
        np.testing.assert_allclose(values, wide[name], rtol=1e-6, err_msg=name)


def test_that_measuring_needs_no_gradients_and_leaves_weights_and_settings() -> None:
    weight = torch.nn.Parameter(small().weight.clone())
    allowed = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    for values in every_norm([small(weight=weight)]).values():
        assert not values.requires_grad
    assert weight.grad is None
    assert torch.equal(weight, small().weight)
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == allowed
    assert upper_bounds([]).shape == reshaped_norms([]).shape == (0,)


def test_that_autocast_around_a_measurement_changes_nothing() -> None:
    expected = every_norm([small()])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = every_norm([small()])
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_that_maps_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of its 4 groups; got .6, 4, 3, 3."):
        small(groups=4)
    with pytest.raises(
        ValueError, match="A 3x3 kernel with dilation .3, 3. does not fit into an input of size .4, 4."
    ):
        small(size=(4, 4), dilation=(3, 3))
    with pytest.raises(
        ValueError, match="up to 2000 inputs and outputs, this one has 4096 and 6144; take upper_bounds"
    ):
        exact_norm(small(size=(32, 32)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_that_a_gpu_finds_the_same_without_waiting_for_it() -> None:
    maps = [case.convolution for case in CASES.values()]
    on_gpu = [replace(one, weight=one.weight.cuda()) for one in maps]
    every_norm(on_gpu)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = every_norm(on_gpu)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = every_norm(maps)
    for name in ("gram", "reshaped", "Lanczos", "power"):
        assert found[name].is_cuda
        np.testing.assert_allclose(found[name].cpu(), expected[name], rtol=1e-3, err_msg=name)
    for case, upper, lower in zip(CASES.values(), found["upper"].cpu(), found["Lanczos"].cpu(), strict=True):
        assert float(upper) >= case.truth >= float(lower) * (1 - ROUNDING), case.name
