"""Lower bounds on Lipschitz constants from images: valid always, and sharp where the truth is known."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from engine.control import Interrupted, RunControl
from engine.inspection.empirical import LEAST_RESIDUAL, PIXEL_CHANGE, expanding_pairs, gradient_bound
from engine.models.modes import evaluation
from engine.models.spectral_norm import constrain
from tests.engine.small import assert_unchanged, everything, images_and_labels, small_model, warm

pytestmark = pytest.mark.usefixtures("untouched_random_state")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Affine(nn.Module):
    """x -> W x + b of images [B, 3, 4, 4], W with the singular values given."""

    def __init__(self, *singular_values: float) -> None:
        super().__init__()
        rank = len(singular_values)
        left = torch.linalg.qr(torch.randn(8, 8, generator=generator(1), dtype=torch.float64)).Q
        right = torch.linalg.qr(torch.randn(48, 48, generator=generator(2), dtype=torch.float64)).Q
        self.largest = right[:, 0]
        values = torch.tensor(singular_values, dtype=torch.float64)
        self.weight = nn.Parameter((left[:, :rank] * values @ right[:, :rank].T).float())

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T + 3


def expansion(model: nn.Module, images: Tensor, others: Tensor) -> Tensor:
    """||f(x') - f(x)|| / ||x' - x|| in eval mode."""
    with evaluation(model), torch.no_grad():
        grown = (model(others) - model(images)).norm(dim=1)
    return grown / (others - images).flatten(1).norm(dim=1)


@pytest.fixture
def images() -> Tensor:
    return images_and_labels(6, size=4)[0]


def test_that_the_search_finds_the_largest_singular_value(images: Tensor) -> None:
    model = Affine(5, 3, 2, 1, 0.5)
    pairs = expanding_pairs(model, images, steps=12, generator=generator())
    found = expansion(model, images, pairs)
    torch.testing.assert_close(found, torch.full_like(found, 5), rtol=1e-4, atol=0)
    moved = (pairs - images).flatten(1)
    assert torch.allclose(moved.norm(dim=1), torch.tensor(PIXEL_CHANGE * math.sqrt(48)), rtol=1e-4)
    aligned = (moved.double() @ model.largest).abs() / moved.norm(dim=1)
    assert (aligned > 0.999).all()


def test_that_more_steps_never_find_less_and_never_more_than_the_truth(images: Tensor) -> None:
    model = Affine(5, 4.5, 4, 3)
    found = [
        expansion(model, images, expanding_pairs(model, images, steps=steps, generator=generator(3)))
        for steps in (1, 2, 4, 8)
    ]
    for fewer, more in pairwise(found):
        assert (more >= fewer).all()
    assert (found[-1] > 2 * found[0]).all()
    assert (found[-1] <= 5 * (1 + 1e-4)).all()


def test_that_the_best_of_all_pairs_is_kept(images: Tensor) -> None:
    class Wavy(Affine):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(super().forward((500 * images).sin()).detach())
            return super().forward((500 * images).sin())

    seen: list[Tensor] = []
    model = Wavy(5, 3, 2, 1)
    pairs = expanding_pairs(model, images, steps=6, generator=generator())
    grown = torch.stack([logits - seen[0] for logits in seen[1:]]).norm(dim=2)
    assert (grown.argmax(0) < 5).any()
    torch.testing.assert_close((model(pairs) - model(images)).norm(dim=1), grown.amax(0))


def test_that_bounds_come_close_to_the_norm_of_the_jacobian() -> None:
    model = warm(small_model()).eval()
    images, labels = images_and_labels(3)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda image: model(image[None])[0]))(images)
    norms = torch.linalg.matrix_norm(jacobian.flatten(2), 2)
    found = expansion(model, images, expanding_pairs(model, images, steps=10, generator=generator()))
    assert (found > 0.9 * norms).all()
    assert (found < 1.5 * norms).all()  # what a change of slopes on the way may add
    bound = gradient_bound(model, images, labels)
    assert (bound > 0.1 * norms).all() and (bound <= norms * (1 + 1e-5)).all()


def test_that_pairs_depend_on_the_generator_alone(images: Tensor) -> None:
    model = Affine(2, 1.9, 1.8)
    one, same, other = (
        expanding_pairs(model, images, steps=1, generator=generator(seed)) for seed in (4, 4, 5)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_that_a_network_without_slope_has_pairs_and_one_without_numbers_has_none(images: Tensor) -> None:
    model = Affine(1)
    with torch.no_grad():
        model.weight.zero_()
    pairs = expanding_pairs(model, images, steps=3, generator=generator())
    assert (expansion(model, images, pairs) == 0).all()
    with torch.no_grad():
        model.weight.fill_(math.nan)
    assert torch.equal(expanding_pairs(model, images, steps=3, generator=generator()), images)


def test_that_the_search_is_ended_from_outside(images: Tensor) -> None:
    calls: list[int] = []
    expanding_pairs(
        Affine(1), images, steps=5, generator=generator(), each_step=lambda: calls.append(len(calls))
    )
    assert calls == [0, 1, 2, 3, 4]
    control = RunControl()
    control.request("pause")
    with pytest.raises(Interrupted):
        expanding_pairs(Affine(1), images, steps=5, generator=generator(), each_step=control.check)


def test_that_the_gradient_bound_is_the_jacobian_along_the_residual(images: Tensor) -> None:
    model, labels = Affine(5, 3, 2, 1), torch.arange(6)
    residual = model(images).softmax(1) - torch.eye(8)[labels]
    expected = (residual @ model.weight).norm(dim=1) / residual.norm(dim=1)
    found = gradient_bound(model, images, labels)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=0)
    assert (found <= 5 * (1 + 1e-5)).all()


def test_that_a_gradient_too_small_to_divide_by_gives_no_bound(images: Tensor) -> None:
    class Sure(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            margins = torch.tensor([0.0, 5.0, 8.0, 9.0, 20.0, 200.0])
            return torch.stack((margins + images.mean((1, 2, 3)), torch.zeros(6)), 1)

    model, labels = Sure(), torch.zeros(6, dtype=torch.int64)
    found = gradient_bound(model, images, labels)
    residual = (model(images).softmax(1) - torch.tensor([1.0, 0.0])).norm(dim=1)
    assert torch.equal(found.isnan(), residual < LEAST_RESIDUAL)
    assert 0 < found.isnan().sum() < 6
    # (1, -1) / sqrt(2) against a slope of 1 / sqrt(48) in the first logit alone
    expected = torch.tensor(1 / math.sqrt(2 * 48))
    torch.testing.assert_close(found[0], expected, rtol=1e-5, atol=0)


def test_that_looking_for_bounds_leaves_no_trace_even_where_gradients_are_off() -> None:
    model = warm(small_model())
    constrain(model.head(3), 0.4, generator(), initial_iterations=1)
    images, labels = images_and_labels(4)
    model(images).sum().backward()
    model.block(2).eval()
    model.block(1).requires_grad_(False)
    before = everything(model)
    with torch.no_grad():
        pairs = expanding_pairs(model, images, steps=2, generator=generator())
        bound = gradient_bound(model, images, labels)
    assert_unchanged(before, model)
    assert not pairs.requires_grad and not bound.requires_grad
    assert (pairs != images).flatten(1).any(1).all() and (bound > 0).all()
