"""Composed bounds against exact operators, brute force and what networks do to images."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.inspection.composition import (
    Variant,
    compose,
    display_variants,
    folded_factors,
    folded_map,
    folded_nodes,
    variants,
)
from engine.inspection.graph import Graph, trace, watch
from engine.inspection.norms import exact_norm, upper_bounds
from engine.inspection.operations import BATCH_NORMS
from tests.engine.exact import Residual, TinyWideResNet, batch_norm, convolution, figures_of
from tests.engine.networks import NETWORKS, Attention, Stack, Sum, drawn, images, late, wide

pytestmark = pytest.mark.usefixtures("untouched_random_state")


def graph_of(model: nn.Module, shape: tuple[int, ...]) -> Graph:
    return trace(model.eval(), torch.zeros(1, *shape, dtype=torch.float64))


def exact_norms(graph: Graph) -> dict[Variant, float]:
    return {variant: exact_norm(folded_map(graph, variant)) for variant in variants(graph)}


def bound(graph: Graph, norms: Mapping[Variant, float], *, folded: bool = True) -> float:
    return 10 ** compose(graph, norms, folded=folded).log10_network


@pytest.mark.parametrize("kind", ["conv_bn", "bn_act_conv"])
def test_that_folded_batch_norm_has_the_exact_constant_and_alone_the_product(kind: str) -> None:
    for case in figures_of(kind).values():
        inside, _, _, _, stride, _, padding, *_, height, width = (int(value) for value in case["meta"])
        layer, norm = convolution(case["weight"], stride, padding), batch_norm(case, eps=float(case["eps"]))
        model = (
            nn.Sequential(layer, norm) if kind == "conv_bn" else nn.Sequential(norm, nn.LeakyReLU(0.1), layer)
        )
        graph = graph_of(model, (inside, height, width))
        (shown,) = display_variants(graph)
        norms = exact_norms(graph)
        assert norms[shown] == pytest.approx(float(case["sigma"]), rel=1e-9)
        assert bound(graph, norms) == pytest.approx(float(case["sigma"]), rel=1e-9)
        plain = {Variant(0): exact_norm(folded_map(graph, Variant(0)))}
        assert plain[Variant(0)] == pytest.approx(float(case["sigma_conv"]), rel=1e-9)
        assert bound(graph, plain, folded=False) == pytest.approx(float(case["ub_product"]), rel=1e-9)


def test_that_a_residual_sum_has_the_bound_of_the_rule() -> None:
    for case in figures_of("residual").values():
        inside, *_, height, width = (int(value) for value in case["meta"])
        graph = graph_of(Residual(case), (inside, height, width))
        found = bound(graph, exact_norms(graph))
        assert found == pytest.approx(float(case["ub_rule"]), rel=1e-9)
        assert found >= float(case["sigma"])


def test_that_a_small_wide_resnet_has_the_bounds_that_were_worked_out_for_it() -> None:
    (case,) = figures_of("net").values()
    model, x = TinyWideResNet(case), torch.from_numpy(case["x"]).double()
    graph = graph_of(model, (3, 8, 8))
    torch.testing.assert_close(
        watch(model, x, lambda number, value: None, []), torch.from_numpy(case["logits"])
    )
    assert [block.title for block in graph.blocks] == ["residual block", "residual block", "fc"]
    norms, shown = (
        exact_norms(graph),
        dict(zip((layer.name for layer in graph.layers), display_variants(graph), strict=True)),
    )
    names = [str(name).replace(".", "_").replace("head", "fc") for name in case["op_names"]]
    expected = dict(zip(names, case["op_sigma"] * [1, 1, 1, 1, 1, 1, 4], strict=True))
    assert {name: norms[variant] for name, variant in shown.items()} == pytest.approx(expected, rel=1e-8)
    # The reference has every batch norm in the input of what follows; choosing freely is never worse.
    only_inputs = {
        variant: norm if variant in shown.values() else math.inf for variant, norm in norms.items()
    }
    prefixes = 10 ** compose(graph, only_inputs).log10_prefixes
    np.testing.assert_allclose(prefixes, case["ub"], rtol=1e-8)
    best = 10 ** compose(graph, norms).log10_prefixes
    assert (best <= prefixes * (1 + 1e-12)).all()
    assert (best >= case["jac_norm"].max(0)).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_that_of_all_ways_to_fold_batch_norm_the_best_is_taken(seed: int) -> None:
    model = drawn(
        lambda: nn.Sequential(
            nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(),
            nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.AvgPool2d(2), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2),
            nn.Sigmoid(), nn.Flatten(), nn.Linear(8, 3), nn.BatchNorm1d(3),
        ),
        seed=seed,
    ).double()  # fmt: skip
    graph = graph_of(model, (2, 8, 8))
    found = bound(graph, exact_norms(graph))
    norms = [node.number for node in graph.path if node.operation in BATCH_NORMS]
    products = []
    # Of the five batch norms the first can only be in an input, the last only in an output.
    for choice in itertools.product((False, True), repeat=3):
        into_output = (False, *choice, True)
        product = 0.5 * 0.25
        for index in range(4):
            inputs = () if into_output[index] else (norms[index],)
            outputs = (norms[index + 1],) if into_output[index + 1] else ()
            product *= exact_norm(folded_map(graph, Variant(index, inputs, outputs)))
        products.append(product)
    assert len({round(product, 9) for product in products}) == 8
    assert found == pytest.approx(min(products), rel=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_that_no_pair_of_images_grows_more_than_the_bounds_allow(name: str) -> None:
    model = NETWORKS[name]()
    graph = trace(model, images(1))
    needed = variants(graph)
    norms = dict(
        zip(needed, upper_bounds([folded_map(graph, variant) for variant in needed]).tolist(), strict=True)
    )
    found = compose(graph, norms)
    assert found.unknown == ()
    first, others = images(24), images(24, seed=2)
    steps = torch.tensor([0.01, 0.1, 1.0, 4.0]).repeat(6).view(-1, 1, 1, 1)
    both = torch.cat((first, first + steps * (others - first)))
    distance: dict[int, Tensor] = {}

    def visit(number: int, value: Tensor) -> None:
        one, other = value.double().flatten(1).chunk(2)
        distance[number] = (other - one).norm(dim=1)

    watch(model, both, visit, range(len(graph.nodes)))
    ends = [(block.start, block.end) for block in (graph.stem, *graph.blocks)]
    rows = [
        *zip(ends, 10**found.log10_blocks, strict=True),
        *zip([(0, end) for _, end in ends], 10**found.log10_prefixes, strict=True),
        *zip(
            folded_nodes(graph),
            [
                norms[variant] * factor
                for variant, factor in zip(display_variants(graph), folded_factors(graph), strict=True)
            ],
            strict=True,
        ),
    ]
    grown = torch.stack([distance[end] / distance[start] for (start, end), _ in rows])
    limits = torch.tensor([limit for _, limit in rows]).double()[:, None]
    assert (grown <= limits * (1 + 1e-4)).all()
    assert (grown > 0).any(1).all()
    batch = first[:4].requires_grad_()
    rows = [
        torch.autograd.grad(column.sum(), batch, retain_graph=True)[0].flatten(1)
        for column in model(batch).unbind(1)
    ]
    assert torch.linalg.matrix_norm(torch.stack(rows, 1), 2).max() <= 10**found.log10_network
    # Folding is never worse, nor is the whole worse than its blocks.
    alone = upper_bounds([layer.map for layer in graph.layers]).tolist()
    plain = compose(graph, {Variant(index): norm for index, norm in enumerate(alone)}, folded=False)
    assert (found.log10_blocks <= plain.log10_blocks + 1e-3).all()
    assert (found.log10_prefixes <= np.cumsum(found.log10_blocks) + 1e-3).all()


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ("shared weights", "late")])
def test_that_every_batch_norm_is_shown_once_in_the_order_of_the_network(name: str) -> None:
    graph = trace(NETWORKS[name](), images(1))
    norms = {node.number for node in graph.path if node.operation in BATCH_NORMS}
    inputs = {number for variant in display_variants(graph) for number in variant.inputs} & norms
    outputs = [number for variant in display_variants(graph) for number in variant.outputs if number in norms]
    assert inputs | set(outputs) == norms
    assert not inputs & set(outputs) and len(outputs) == len(set(outputs))
    # Two batch norms that take one convolution's output cannot both be part of it.
    assert all(len(norms.intersection(variant.outputs)) <= 1 for variant in display_variants(graph))
    if graph.pre_activation:
        assert not outputs
    for layer, variant in zip(graph.layers, display_variants(graph), strict=True):
        assert all(number < layer.node for number in variant.inputs)
        assert all(number > layer.node for number in variant.outputs)


def test_that_what_lies_within_a_shown_map_is_told_as_a_factor() -> None:
    def factors(model: nn.Module) -> list[float]:
        return list(folded_factors(trace(model, images(1))))

    follows = drawn(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.MaxPool2d(3, 2), nn.BatchNorm2d(4), nn.GELU()
        )
    )
    assert factors(follows) == pytest.approx([0.25 * 2])
    leads = drawn(late)
    graph = trace(leads, images(1))
    assert graph.pre_activation
    # Batch norm, GELU and 3x3 pooling with stride 2 before the third layer; nothing is folded into the others.
    assert factors(leads) == pytest.approx([1, 1, 1.128904145 * 2, 1])
    norms = [node.number for node in graph.path if node.operation in BATCH_NORMS]
    assert [variant.inputs for variant in display_variants(graph)] == [(), (), (norms[1],), ()]


def test_that_a_shown_map_is_the_linear_part_of_what_it_stands_for() -> None:
    """Batch norm in a shortcut's and a branch's input, and normalisation in the stem's, as a function of features."""
    model = wide().double()
    graph = trace(model, images(1).double())
    both, seen = images(6).double(), {}
    watch(model, both, lambda number, value: seen.update({number: value.clone()}), range(len(graph.nodes)))
    index = [layer.name for layer in graph.layers].index("stem")
    start, end = folded_nodes(graph)[index]
    change = (seen[start][1:] - seen[start][:1]).double()
    expected = seen[end][1:] - seen[end][:1]
    torch.testing.assert_close(folded_map(graph, display_variants(graph)[index])(change), expected)
    linear = drawn(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2))
    )
    linear = linear.double()
    graph = trace(linear, images(1).double())
    change = images(1).double()
    for variant in display_variants(graph):
        change = folded_map(graph, variant)(change)
    torch.testing.assert_close(linear(images(1).double()) - linear(0 * images(1).double()), change)


def test_that_an_unknown_operation_makes_its_block_and_the_whole_unknown_and_nothing_else() -> None:
    def make() -> nn.Module:
        branch = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
        return nn.Sequential(
            nn.Conv2d(3, 4, 1), Sum(nn.Identity(), branch), Attention(), Sum(nn.Identity(), branch), nn.Flatten(),
            nn.Linear(256, 7),
        )  # fmt: skip

    graph = trace(drawn(make), images(1))
    found = compose(graph, dict.fromkeys(variants(graph), 2.0))
    assert np.isnan(found.log10_blocks).tolist() == [False, False, True, False, False]
    assert np.isnan(found.log10_prefixes).tolist() == [False, False, True, True, True]
    assert math.isnan(found.log10_network)
    assert found.unknown == ("bmm",)


def test_that_bounds_of_any_size_are_kept() -> None:
    model = drawn(lambda: nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(200)), nn.Flatten()))
    graph = trace(model, images(1))
    assert compose(graph, dict.fromkeys(variants(graph), 1e10)).log10_network == pytest.approx(2000)
    assert compose(graph, dict.fromkeys(variants(graph), 0.0)).log10_network == -math.inf
    assert math.isnan(
        compose(graph, {**dict.fromkeys(variants(graph), 1.0), Variant(7): math.nan}).log10_network
    )
    parallel = trace(drawn(lambda: Stack(*(nn.Conv2d(3, 3, 1) for _ in range(3)))), images(1))
    norms = dict(zip(variants(parallel), (0.0, 3e200, 4e200), strict=True))
    assert compose(parallel, norms).log10_network == pytest.approx(math.log10(5e200))


def test_that_dead_channels_and_zero_weights_pass_nothing() -> None:
    model = wide(halved=3)
    model.block(4).bn.weight.data.zero_()
    graph = trace(model, images(1))
    needed = variants(graph)
    norms = dict(
        zip(needed, upper_bounds([folded_map(graph, variant) for variant in needed]).tolist(), strict=True)
    )
    found = compose(graph, norms)
    assert found.log10_blocks[4] == -math.inf == found.log10_network
    assert np.isfinite(found.log10_blocks[[0, 1, 2, 3, 5]]).all()


def test_that_a_scale_that_was_met_before_flattening_holds_for_all_pixels() -> None:
    model = drawn(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5)
        )
    )
    graph = trace(model, images(1))
    norm = next(node for node in graph.path if node.kind == "scale")
    found = folded_map(graph, Variant(1, (norm.number,)))
    expected = model[4].weight.unflatten(1, (4, 64)) * norm.scale[:, None]
    torch.testing.assert_close(found.weight[:, :, 0, 0], expected.flatten(1))


def test_that_only_scales_can_be_folded() -> None:
    graph = trace(wide(), images(1))
    with pytest.raises(ValueError, match="expected the number of a node that scales channels, got 3"):
        folded_map(graph, Variant(1, (3,)))
