"""The geometry of each norm against independent solutions and the moments of uniform distributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from torch import Tensor

from engine.attacks.noise import BatchNoise, SampleNoise
from engine.attacks.projection import BALLS, L1_SHARE

pytestmark = pytest.mark.usefixtures("untouched_random_state")
every_norm = pytest.mark.parametrize("norm", BALLS)
ORDERS = {"linf": np.inf, "l2": 2, "l1": 1}
SHAPE = (3, 2, 2)
SIZE = 12


def drawn(count: int, *, seed: int = 0, low: float = -0.3, high: float = 1.3) -> tuple[Tensor, Tensor]:
    """Images, some pixels of which are at the ends of the box, and points around them."""
    draw = torch.Generator().manual_seed(seed)
    images = (torch.rand(count, *SHAPE, generator=draw) * (high - low) + low).clamp(0, 1)
    return images, images + torch.randn(count, *SHAPE, generator=draw) * 0.5


def lengths(change: Tensor, norm: str) -> np.ndarray:
    return np.linalg.norm(change.flatten(1).double().numpy(), ord=ORDERS[norm], axis=1)


@every_norm
def test_that_the_radius_is_the_norm(norm: str) -> None:
    images, points = drawn(20)
    np.testing.assert_allclose(BALLS[norm].radius(points - images), lengths(points - images, norm), rtol=1e-5)


@every_norm
@pytest.mark.parametrize("epsilon", [1e-4, 0.3, 1.0, 50.0])
def test_that_a_projected_point_is_in_ball_and_box_and_stays_there(norm: str, epsilon: float) -> None:
    images, points = drawn(50)
    once = BALLS[norm].project(points, images, epsilon)
    assert 0 <= float(once.min()) <= float(once.max()) <= 1
    assert (lengths(once - images, norm) <= epsilon * (1 + 1e-5) + 1e-6).all()
    torch.testing.assert_close(BALLS[norm].project(once, images, epsilon), once, rtol=0, atol=1e-6)
    inside = points.clamp(0, 1)
    small = inside[torch.from_numpy(lengths(inside - images, norm) <= epsilon)]
    where = images[torch.from_numpy(lengths(inside - images, norm) <= epsilon)]
    torch.testing.assert_close(BALLS[norm].project(small, where, epsilon), small, rtol=0, atol=1e-6)


def nearest(point: np.ndarray, image: np.ndarray, epsilon: float, norm: str) -> np.ndarray:
    """The nearest point of ball and box, by a general solver; in L1 over what is added and what is taken away."""
    aim, size = point - image, len(point)
    parts = np.eye(size) if norm == "l2" else np.hstack((np.eye(size), -np.eye(size)))
    added, taken = [(0, 1 - x) for x in image], [(0, x) for x in image]
    found = optimize.minimize(
        lambda z: ((parts @ z - aim) ** 2).sum(),
        np.zeros(parts.shape[1]),
        jac=lambda z: 2 * parts.T @ (parts @ z - aim),
        bounds=[(-x, 1 - x) for x in image] if norm == "l2" else added + taken,
        constraints={
            "type": "ineq",
            "fun": (lambda z: epsilon**2 - z @ z) if norm == "l2" else (lambda z: epsilon - z.sum()),
        },
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    return image + parts @ found.x


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 2.0])
def test_that_the_projection_in_l1_is_the_nearest_point_of_ball_and_box(epsilon: float) -> None:
    images, points = drawn(15)
    found = BALLS["l1"].project(points, images, epsilon).flatten(1).double().numpy()
    for ours, point, image in zip(found, points.flatten(1).double(), images.flatten(1).double(), strict=True):
        np.testing.assert_allclose(ours, nearest(point.numpy(), image.numpy(), epsilon, "l1"), atol=2e-5)


def test_that_the_projection_in_l2_is_the_nearest_point_where_the_box_is_far() -> None:
    draw = torch.Generator().manual_seed(1)
    images = torch.full((10, *SHAPE), 0.5)
    points = images + torch.randn(10, *SHAPE, generator=draw) * 0.3
    found = BALLS["l2"].project(points, images, 0.4).flatten(1).double().numpy()
    for ours, point, image in zip(found, points.flatten(1).double(), images.flatten(1).double(), strict=True):
        np.testing.assert_allclose(ours, nearest(point.numpy(), image.numpy(), 0.4, "l2"), atol=2e-5)


def test_that_the_projection_in_linf_clips_each_pixel_to_the_nearer_of_both_ends() -> None:
    images, points = drawn(50)
    low, high = np.maximum(images.numpy() - 0.2, 0), np.minimum(images.numpy() + 0.2, 1)
    np.testing.assert_array_equal(
        BALLS["linf"].project(points, images, 0.2), np.clip(points.numpy(), low, high)
    )


@every_norm
def test_that_random_starts_are_uniform_in_the_ball(norm: str) -> None:
    """By the distributions of the radius and of one coordinate, and the covariance of all."""
    images, epsilon = torch.zeros(4000, *SHAPE), 0.7
    noise = BatchNoise(images, torch.Generator().manual_seed(0))
    start = BALLS[norm].random_start(noise, images, epsilon)
    flat = start.flatten(1).double().numpy() / epsilon
    assert stats.kstest(lengths(start, norm) / epsilon, lambda r: np.clip(r, 0, 1) ** SIZE).pvalue > 0.01
    marginal = {
        "linf": lambda x: stats.kstest(x, stats.uniform(-1, 2).cdf),
        "l2": lambda x: stats.kstest(x**2, stats.beta(0.5, (SIZE + 1) / 2).cdf),
        "l1": lambda x: stats.kstest(np.abs(x), stats.beta(1, SIZE).cdf),
    }[norm]
    assert min(marginal(flat[:, pixel]).pvalue for pixel in (0, 5, 11)) > 0.01
    variance = {"linf": 1 / 3, "l2": 1 / (SIZE + 2), "l1": 2 / ((SIZE + 1) * (SIZE + 2))}[norm]
    np.testing.assert_allclose(np.cov(flat.T) / variance, np.eye(SIZE), atol=0.12)
    np.testing.assert_allclose(flat.mean(0) / variance**0.5, 0, atol=0.08)


@every_norm
def test_that_random_directions_have_norm_one_and_no_preferred_sign(norm: str) -> None:
    images = torch.zeros(2000, *SHAPE)
    noise = BatchNoise(images, torch.Generator().manual_seed(0))
    direction = BALLS[norm].random_direction(noise, images)
    np.testing.assert_allclose(lengths(direction, norm), 1, rtol=1e-5)
    assert float(direction.flatten(1).sign().mean(0).abs().max()) < 0.1
    assert float(direction.flatten(1).mean(0).abs().max()) < 0.05


@every_norm
def test_that_the_ascent_direction_raises_a_linear_loss_most_of_all_of_norm_one(norm: str) -> None:
    """The rise is the gradient's dual norm."""
    images, points = drawn(20, low=0.1, high=0.9)
    gradient = points - images
    direction = BALLS[norm].ascent_direction(gradient, images)
    np.testing.assert_allclose(lengths(direction, norm), 1, rtol=1e-5)
    dual = {"linf": "l1", "l2": "l2", "l1": "linf"}[norm]
    assert int(L1_SHARE * SIZE) <= 1, "so few pixels that the step in L1 moves the best one alone"
    np.testing.assert_allclose((direction * gradient).flatten(1).sum(1), lengths(gradient, dual), rtol=1e-5)


@every_norm
def test_that_no_gradient_leads_nowhere(norm: str) -> None:
    images, _ = drawn(3)
    assert not BALLS[norm].ascent_direction(torch.zeros_like(images), images).any()


def test_that_a_step_in_l1_takes_the_largest_pixels_that_can_move() -> None:
    images = torch.full((1, 1, 20, 20), 0.5)
    gradient = torch.arange(400.0).view(1, 1, 20, 20)
    images.view(-1)[399], images.view(-1)[398] = 1.0, 0.0  # the first has reached the end that it is led to
    direction = BALLS["l1"].ascent_direction(gradient, images).flatten()
    assert direction.nonzero().flatten().tolist() == [395, 396, 397, 398]
    np.testing.assert_allclose(direction[395:399], 0.25)


def test_that_what_a_sample_draws_depends_on_its_seed_alone() -> None:
    like = torch.zeros(3, *SHAPE)
    together, alone = SampleNoise([5, 6, 7], like), SampleNoise([6], like[:1])
    for kind in ("rand", "randn"):
        assert torch.equal(getattr(together, kind)(4, 4)[1:2], getattr(alone, kind)(4, 4))
    assert together.rand().shape == (3,)
