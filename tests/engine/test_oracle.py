"""Linear networks, for which the exact answer is known: nothing goes below it, and the strong attacks reach it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize

from engine.attacks import attacks
from engine.attacks.base import clean_logits
from engine.config import AttackConfig
from tests.engine.peers import Linear, Peer, exact_distances, exactly_robust, linear_peer

pytestmark = pytest.mark.usefixtures("untouched_random_state")

#: Settings and the largest share of images that an attack may leave standing although they can be broken, by norm.
ROWS: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    "noise": ({"restarts": 5}, {"linf": 1.0, "l2": 1.0, "l1": 1.0}),
    "fgsm": ({}, {"linf": 0.15, "l2": 0.2}),
    "pgd": ({"steps": 40}, {"linf": 0.12, "l2": 0.12, "l1": 0.12}),
    "momentum_pgd": ({"steps": 40}, {"linf": 0.12, "l2": 0.12}),
    "apgd_ce": ({"steps": 40}, {"linf": 0.12, "l2": 0.12}),
    "apgd_dlr": ({"steps": 40}, {"linf": 0.08, "l2": 0.08}),
    "apgd_t": ({"steps": 40, "targets": 9}, {"linf": 0.0, "l2": 0.0}),
    "fab_t": ({"steps": 20, "targets": 9}, {"linf": 0.02, "l2": 0.02}),
    "square": ({"queries": 400}, {"linf": 0.25, "l2": 0.4}),
    "carlini_wagner": (
        {"steps": 60, "searches": 7, "initial_weight": 1.0, "learning_rate": 0.02},
        {"l2": 0.05},
    ),
    "deepfool": ({"steps": 20}, {"l2": 0.05}),
}
CASES = [
    pytest.param(name, norm, id=f"{name}-{norm}") for name, (_, allowed) in ROWS.items() for norm in allowed
]


def configured(name: str, norm: str, epsilon: float, **changes: Any) -> AttackConfig:
    settings = {"name": name, "norm": norm, "epsilon": epsilon, **ROWS[name][0], **changes}
    return AttackConfig.model_validate(settings | ({"step_size": epsilon / 5} if "pgd" in name[-3:] else {}))


@pytest.fixture(scope="module")
def peer() -> Peer:
    return linear_peer().first(60)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_that_no_attack_goes_below_the_exact_figure_and_each_comes_as_close_as_it_should(
    peer: Peer, name: str, norm: str
) -> None:
    epsilon = peer.epsilon[norm]
    distances = exact_distances(peer.model, peer.images, peer.labels, norm)
    sure = np.abs(distances - epsilon) > 1e-4 * epsilon
    exact, attack = distances > epsilon, attacks[name](configured(name, norm, epsilon))
    found = attack(
        peer.model, peer.images, peer.labels, seed=0, sample_ids=torch.arange(len(peer.labels))
    ).robust.numpy()
    assert 0.2 < exact.mean() < 0.8
    assert not (exact & ~found & sure).any(), "an attack that breaks what cannot be broken left the ball"
    assert (found & ~exact & sure).mean() <= ROWS[name][1][norm]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_that_pgd_towards_every_class_with_the_margin_is_exact_in_each_norm(peer: Peer, norm: str) -> None:
    epsilon = peer.epsilon[norm]
    distances = exact_distances(peer.model, peer.images, peer.labels, norm)
    config = configured("pgd", norm, epsilon, loss="margin", targets=9)
    found = attacks["pgd"](config)(
        peer.model, peer.images, peer.labels, seed=0, sample_ids=torch.arange(len(peer.labels))
    ).robust.numpy()
    sure = np.abs(distances - epsilon) > 0.005 * epsilon
    assert np.array_equal(found[sure], (distances > epsilon)[sure])


@pytest.mark.parametrize(
    ("name", "norm", "share"),
    [
        ("fab_t", "linf", 1.0),
        ("fab_t", "l2", 1.0),
        ("deepfool", "l2", 1.0),
        ("carlini_wagner", "l2", 0.95),  # it may settle on another class than the nearest
    ],
)
def test_that_a_minimum_norm_attack_finds_little_more_than_the_exact_distance(
    peer: Peer, name: str, norm: str, share: float
) -> None:
    few = peer.first(40)
    distances = exact_distances(few.model, few.images, few.labels, norm)
    attack, least = attacks[name](configured(name, norm, 1.0)), np.full(len(few.labels), np.inf)
    for one in attack.passes:
        found = attack.attempt(
            few.model, few.images, few.labels, logits=clean_logits(few.model, few.images), seed=0,
            sample_ids=torch.arange(len(few.labels)), one=one, stop_early=False,
        )  # fmt: skip
        norms = np.where(found.prediction != few.labels, found.norm, np.inf)
        least = np.minimum(least, norms)
    assert (least >= distances * (1 - 1e-4)).all()
    assert np.median(least / distances) <= 1.03
    assert (least <= 1.25 * distances + 1e-3).mean() >= share


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_that_the_exact_distance_is_what_a_general_solver_finds(norm: str) -> None:
    draw = torch.Generator().manual_seed(3)
    images = torch.rand(6, 3, 2, 1, generator=draw).mul(1.4).sub(0.2).clamp(0, 1)
    model = Linear(torch.randn(3, 6, generator=draw), torch.randn(3, generator=draw)).requires_grad_(False)
    labels = model(images).argmax(1)
    found = exact_distances(model, images, labels, norm)
    for image, label, distance in zip(
        images.flatten(1).double().numpy(), labels.tolist(), found, strict=True
    ):
        best = np.inf
        for other in {0, 1, 2} - {label}:
            away = (model.weight[label] - model.weight[other]).double().numpy()
            margin = away @ image + float(model.bias[label] - model.bias[other])
            best = min(best, _solved(away, margin, image, norm))
        assert distance == pytest.approx(best, rel=1e-4)


def _solved(away: np.ndarray, margin: float, image: np.ndarray, norm: str) -> float:
    """Least norm of d with margin + away d <= 0 and image + d in 0..1."""
    size = len(image)
    if norm == "l2":
        solution = optimize.minimize(
            lambda d: d @ d, np.zeros(size), jac=lambda d: 2 * d, method="SLSQP", options={"ftol": 1e-12},
            bounds=[(-x, 1 - x) for x in image],
            constraints={"type": "ineq", "fun": lambda d: -margin - away @ d},
        )  # fmt: skip
        feasible = margin + away @ solution.x <= 1e-6
        return float(np.linalg.norm(solution.x)) if feasible else np.inf
    # d = p - n; Linf adds t with p + n <= t, L1 minimises the sum of both.
    top = np.hstack((away, -away, [0.0]))
    bound = np.hstack((np.eye(size), np.eye(size), -np.ones((size, 1))))
    cost = np.hstack((np.zeros(2 * size), [1.0])) if norm == "linf" else np.hstack((np.ones(2 * size), [0.0]))
    rows, limits = [top], [-margin]
    if norm == "linf":
        rows, limits = [top, *bound], [-margin, *np.zeros(size)]
    solution = optimize.linprog(
        cost, A_ub=np.array(rows), b_ub=limits,
        bounds=[*((0, 1 - x) for x in image), *((0, x) for x in image), (0, None)],
    )  # fmt: skip
    return float(solution.fun) if solution.success else np.inf


def test_that_the_exact_margin_in_linf_agrees_with_the_exact_distance(peer: Peer) -> None:
    distances = exact_distances(peer.model, peer.images, peer.labels, "linf")
    for epsilon in (0.005, 0.02, 0.06):
        margins = exactly_robust(peer.model, peer.images, peer.labels, epsilon).numpy()
        assert np.array_equal(margins > 0, distances > epsilon)
