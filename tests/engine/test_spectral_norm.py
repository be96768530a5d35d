"""The spectral constraint against dense singular values and an independent gradient."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.models.spectral_norm import (
    INITIAL_ITERATIONS,
    SpectralBound,
    advance_power_iteration,
    constrain,
    constrained,
    remove_constraints,
    used_weight,
)
from tests.engine.small import assert_same_bits, images_and_labels, small_model

pytestmark = pytest.mark.usefixtures("untouched_random_state")

BOUND = 0.4

LAYERS = {
    "3x3": lambda: nn.Conv2d(8, 12, 3, bias=False),
    "1x1": lambda: nn.Conv2d(8, 12, 1, bias=False),
    "more inputs": lambda: nn.Conv2d(20, 4, 3, bias=False),
    "linear": lambda: nn.Linear(16, 5),
    "one row": lambda: nn.Linear(16, 1),
}


def sigma(weight: Tensor) -> float:
    """Largest singular value of the weight reshaped to (out, rest)."""
    matrix = weight.detach().double().numpy().reshape(len(weight), -1)
    return float(np.linalg.svd(matrix, compute_uv=False)[0])


def drawn(name: str, *, iterations: int, seed: int = 4) -> nn.Module:
    """A constrained layer with drawn weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layer = LAYERS[name]()
    constrain([layer], BOUND, torch.Generator().manual_seed(seed), initial_iterations=iterations)
    return layer


@pytest.mark.parametrize("name", LAYERS)
def test_that_the_used_weight_has_the_bound_as_its_spectral_norm(name: str) -> None:
    layer = drawn(name, iterations=400)
    assert sigma(used_weight(layer)) == pytest.approx(BOUND, rel=1e-5)
    direction = used_weight(layer) / used_weight(layer).norm()
    torch.testing.assert_close(
        direction, layer.parametrizations.weight.original.detach() / layer.parametrizations.weight.original.detach().norm()
    )  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_that_power_iteration_nears_the_bound_from_above(name: str) -> None:
    norms = [sigma(used_weight(drawn(name, iterations=count))) for count in (1, 2, 5, 20, 100)]
    assert all(norm >= BOUND * (1 - 1e-5) for norm in norms)
    assert all(later <= earlier * (1 + 1e-5) for earlier, later in zip(norms, norms[1:], strict=False))
    assert norms[-1] == pytest.approx(BOUND, rel=0.02)


def test_that_a_fresh_constraint_is_usable_before_the_first_step() -> None:
    model = small_model(depth=16)
    constrain(model.head(4), BOUND, torch.Generator().manual_seed(0), initial_iterations=INITIAL_ITERATIONS)
    norms = [sigma(used_weight(layer)) for layer, _, _ in constrained(model)]
    assert len(norms) == 6  # two blocks with two convolutions each, a shortcut, and the classifier
    assert max(norms) < 1.1 * BOUND
    assert min(norms) >= BOUND * (1 - 1e-5)


def test_that_every_convolution_and_linear_layer_of_the_head_is_constrained_and_no_other() -> None:
    model = small_model()
    layers = {layer.name: layer for layer in model.weighted_layers()}
    constrain(model.head(3), BOUND, torch.Generator().manual_seed(0), initial_iterations=1)
    found = {id(layer) for layer, _, _ in constrained(model)}
    assert found == {id(layer.module) for layer in layers.values() if layer.block > 2}
    assert "blocks.3.shortcut.weight" not in model.state_dict()
    expected = {
        f"{name}.parametrizations.weight.{part}"
        for name, layer in layers.items()
        if layer.block > 2
        for part in ("original", "0.u", "0.v")
    }
    assert {name for name in model.state_dict() if "parametrizations" in name} == expected


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_that_reading_a_weight_or_passing_images_never_moves_u_and_v(training: bool) -> None:
    model = small_model()
    constrain(model.head(3), BOUND, torch.Generator().manual_seed(0), initial_iterations=1)
    model.train(training)
    before = {name: value.clone() for name, value in model.state_dict().items() if "weight.0" in name}
    images, _ = images_and_labels()
    for _ in range(3):
        for layer, _, _ in constrained(model):
            assert layer.weight.shape == used_weight(layer).shape
        model(images)
    assert_same_bits({name: model.state_dict()[name] for name in before}, before)
    advance_power_iteration(model, 1)
    assert all(not torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_that_several_iterations_are_as_many_single_ones() -> None:
    one, many = drawn("3x3", iterations=1), drawn("3x3", iterations=1)
    advance_power_iteration(many, 3)
    for _ in range(3):
        advance_power_iteration(one, 1)
    assert_same_bits(one.state_dict(), many.state_dict())


@pytest.mark.parametrize("name", LAYERS)
def test_that_the_gradient_is_that_of_the_formula_with_fixed_vectors(name: str) -> None:
    layer = drawn(name, iterations=5)
    ((_, spectral, original),) = constrained(layer)
    upstream = torch.rand(original.shape, generator=torch.Generator().manual_seed(1)) - 0.5
    (layer.weight * upstream).sum().backward()
    matrix, gradient = (tensor.detach().double().flatten(1).numpy() for tensor in (original, upstream))
    u, v = spectral.u.double().numpy(), spectral.v.double().numpy()
    scale = u @ matrix @ v
    expected = BOUND * (gradient / scale - (gradient * matrix).sum() / scale**2 * np.outer(u, v))
    np.testing.assert_allclose(original.grad.flatten(1).numpy(), expected, rtol=2e-4, atol=1e-6)


@torch.no_grad()
def test_that_removing_the_constraints_leaves_plain_weights_and_the_same_outputs() -> None:
    model = small_model().eval()
    names = set(model.state_dict())
    constrain(model.head(3), BOUND, torch.Generator().manual_seed(0), initial_iterations=3)
    images, _ = images_and_labels()
    before = model(images)
    used = [used_weight(layer.module).clone() for layer in model.weighted_layers()]
    remove_constraints(model)
    assert set(model.state_dict()) == names
    assert not list(constrained(model))
    assert torch.equal(model(images), before)
    assert all(
        torch.equal(used_weight(layer.module), weight)
        for layer, weight in zip(model.weighted_layers(), used, strict=True)
    )


def test_that_a_removed_constraint_leaves_a_weight_that_can_be_trained() -> None:
    layer = drawn("linear", iterations=3)
    remove_constraints(layer)
    F.cross_entropy(layer(torch.ones(2, 16)), torch.tensor([0, 1])).backward()
    assert isinstance(layer.weight, nn.Parameter)
    assert layer.weight.grad.norm() > 0


def test_that_removing_the_constraints_of_a_copy_leaves_the_original_as_it_was() -> None:
    layer = drawn("3x3", iterations=3)
    state, used = copy.deepcopy(layer.state_dict()), used_weight(layer)
    twin = copy.deepcopy(layer)
    remove_constraints(twin)
    assert torch.equal(used_weight(twin), used)
    assert torch.equal(used_weight(layer), used)
    assert_same_bits(dict(layer.state_dict()), dict(state))
    remove_constraints(layer)
    assert torch.equal(layer.weight, used)


def test_that_the_first_vectors_follow_from_the_generator_and_have_length_one() -> None:
    one, same, other = (drawn("3x3", iterations=0, seed=seed) for seed in (4, 4, 5))
    assert_same_bits(one.state_dict(), same.state_dict())
    assert not torch.equal(next(constrained(one))[1].u, next(constrained(other))[1].u)
    for vector in (next(constrained(one))[1].u, next(constrained(one))[1].v):
        assert float(vector.norm()) == pytest.approx(1, abs=1e-6)


def test_that_scaling_a_weight_leaves_the_used_one_as_it_was() -> None:
    layer = drawn("3x3", iterations=50)
    other = copy.deepcopy(layer)
    with torch.no_grad():
        next(constrained(other))[2].mul_(7)
    torch.testing.assert_close(used_weight(other), used_weight(layer))


def test_that_a_state_with_u_and_v_goes_on_where_it_was() -> None:
    one, other = drawn("3x3", iterations=2, seed=4), drawn("3x3", iterations=9, seed=5)
    other.load_state_dict(one.state_dict())
    for layer in (one, other):
        advance_power_iteration(layer, 2)
    assert torch.equal(used_weight(one), used_weight(other))


def test_that_sigma_never_exceeds_the_largest_singular_value() -> None:
    draw = torch.Generator().manual_seed(0)
    for _ in range(50):
        weight = torch.randn(6, 4, 3, 3, generator=draw)
        spectral = SpectralBound(weight, BOUND, draw)
        assert abs(float(spectral.sigma(weight))) <= sigma(weight) * (1 + 1e-6)
