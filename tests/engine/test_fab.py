"""FAB beside the reference implementations, and the steps that it is made of against general solvers."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import Tensor

from engine.attacks import Attempt, attacks
from engine.attacks.base import Pass
from engine.attacks.boundaries import step_to_plane
from engine.attacks.noise import BatchNoise, Noise
from engine.config import AttackConfig
from tests.engine.peers import NORMS, PEERS, Peer, ours, seeded, torchattacks_

pytestmark = pytest.mark.usefixtures("untouched_random_state")

both_norms = pytest.mark.parametrize("norm", ["linf", "l2"])
aimed_or_not = pytest.mark.parametrize("targets", [3, 0], ids=["targeted", "untargeted"])


@pytest.fixture(scope="module")
def few() -> Peer:
    """A few images, and radii that keep some of them robust."""
    return PEERS["conv-BN"]().first(16)


def carry_out(
    peer: Peer, norm: str, one: Pass = Pass(), *, noise: Noise | None = None, stop_early: bool = False, **settings: Any  # noqa: B008
) -> Attempt:  # fmt: skip
    config = AttackConfig(
        name="fab_t", norm=norm, **({"epsilon": peer.epsilon[norm], "steps": 12} | settings)
    )
    return attacks["fab_t"](config).attempt(
        peer.model, peer.images, peer.labels, logits=peer.model(peer.images), seed=0,
        sample_ids=torch.arange(len(peer.images)), one=one, noise=noise, stop_early=stop_early,
    )  # fmt: skip


def planes(size: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points in the box, many with pixels on its border, normals with zeros among their entries, and gaps.

    Gaps reach from zero to what no step inside the box makes up for, on both sides of the plane.
    """
    draw = torch.Generator().manual_seed(size)
    points = (torch.rand(count, size, generator=draw, dtype=torch.float64) * 1.4 - 0.2).clamp(0, 1)
    normal = torch.randn(count, size, generator=draw, dtype=torch.float64)
    normal[torch.rand(count, size, generator=draw) < 0.2] = 0
    gap = normal.abs().sum(1) * (torch.rand(count, generator=draw, dtype=torch.float64) * 1.5 - 0.75)
    gap[0] = 0
    return points.view(count, 1, 1, size), normal.view(count, 1, 1, size), gap


@both_norms
@pytest.mark.parametrize("size", [1, 2, 7])
def test_that_a_step_to_a_plane_is_the_shortest_that_a_general_solver_finds(norm: str, size: int) -> None:
    points, normal, gap = planes(size, 40)
    steps = step_to_plane(points, normal, gap, norm=norm)
    assert float((points + steps).min()) >= 0
    assert float((points + steps).max()) <= 1
    reachable = 0
    for point, slope, missing, step in zip(
        points.flatten(1).numpy(), normal.flatten(1).numpy(), gap.numpy(), steps.flatten(1).numpy(), strict=True
    ):  # fmt: skip
        box = list(zip(-point, 1 - point, strict=True))
        farthest = linprog(np.sign(missing) * slope, bounds=box)
        if abs(missing) + farthest.fun > 1e-9:  # not even the best corner is on the other side
            assert slope @ step == pytest.approx(np.sign(missing) * farthest.fun, abs=1e-9)
            continue
        reachable += 1
        assert slope @ step == pytest.approx(-missing, abs=1e-9)
        if norm == "linf":
            least = linprog(
                [0] * size + [1],
                A_ub=np.block([[np.eye(size), -np.ones((size, 1))], [-np.eye(size), -np.ones((size, 1))]]),
                b_ub=np.zeros(2 * size),
                A_eq=[[*slope, 0]], b_eq=[-missing], bounds=[*box, (0, None)],
            ).fun  # fmt: skip
            assert np.abs(step).max() == pytest.approx(least, abs=1e-9)
        else:
            best = minimize(
                lambda moved: moved @ moved, step * 0, jac=lambda moved: 2 * moved, bounds=box, method="SLSQP",
                constraints={"type": "eq", "fun": lambda moved, w=slope, gap=missing: w @ moved + gap},
                options={"ftol": 1e-12},
            ).x  # fmt: skip
            np.testing.assert_allclose(step, best, rtol=0, atol=1e-5)
    assert 10 < reachable < 40


@both_norms
def test_that_a_step_to_a_plane_without_a_slope_is_none(norm: str) -> None:
    points, _, gap = planes(5, 4)
    assert not step_to_plane(points, torch.zeros_like(points), gap, norm=norm).any()


@both_norms
def test_that_steps_of_single_precision_are_as_exact_as_it_allows(norm: str) -> None:
    points, normal, gap = planes(3000, 6)
    exact = step_to_plane(points, normal, gap, norm=norm)
    single = step_to_plane(points.float(), normal.float(), gap.float(), norm=norm)
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=2e-6)


@both_norms
@aimed_or_not
@pytest.mark.parametrize("restart", [0, 1])
def test_that_adversarial_images_are_the_reference_ones(
    few: Peer, monkeypatch, norm: str, targets: int, restart: int
) -> None:
    """In double precision, for in float32 rounding grows from step to step, theirs as well as ours."""
    from pyautoattack.fab_pt import FABAttack_PT

    monkeypatch.setattr(Tensor, "float", Tensor.double)  # their images are cast to float32
    doubled = replace(few, model=deepcopy(few.model).double(), images=few.images.double())
    theirs = FABAttack_PT(
        doubled.model, norm=NORMS[norm], n_iter=12, eps=few.epsilon[norm], targeted=targets > 0, device="cpu"
    )
    torch.set_default_dtype(torch.float64)
    try:
        for rank in range(targets) or [None]:
            one = Pass(restart, rank)
            with seeded(1):
                found = carry_out(doubled, norm, one, targets=targets, noise=BatchNoise(doubled.images, None))
            theirs.target_class = (rank or 0) + 2
            with seeded(1), torch.no_grad():
                expected = theirs.attack_single_run(
                    doubled.images, doubled.labels, use_rand_start=restart > 0, is_targeted=targets > 0
                )
            torch.testing.assert_close(found.adversarial, expected, rtol=0, atol=1e-9)
            assert float((expected - doubled.images).abs().flatten(1).amax(1).min()) > 0, (
                "all have been moved"
            )
    finally:
        torch.set_default_dtype(torch.float32)


@both_norms
@pytest.mark.parametrize("title", PEERS)
def test_that_verdicts_are_those_of_torchattacks(title: str, norm: str) -> None:
    peer = PEERS[title]().first(16)
    epsilon, order = peer.epsilon[norm], {"linf": torch.inf, "l2": 2}[norm]
    found = ours(AttackConfig(name="fab_t", norm=norm, epsilon=epsilon, steps=10), peer)
    theirs = torchattacks_(
        "FAB", peer, norm=NORMS[norm], eps=epsilon, steps=10, multi_targeted=True, n_classes=10
    )
    assert 0 < int(found.robust.sum()) < len(found.robust)
    assert torch.equal(found.robust, theirs.robust)
    norms = [
        torch.linalg.vector_norm((side.adversarial - peer.images).flatten(1), ord=order, dim=1)[~side.robust]
        for side in (found, theirs)
    ]
    torch.testing.assert_close(*norms, rtol=0.01, atol=0)


@both_norms
@pytest.mark.parametrize("targets", [9, 0], ids=["targeted", "untargeted"])
def test_that_verdicts_of_all_passes_are_those_of_the_reference(few: Peer, norm: str, targets: int) -> None:
    from pyautoattack.fab_pt import FABAttack_PT

    settings = {"alpha_max": 0.2, "eta": 1.1, "beta": 0.8}
    theirs = FABAttack_PT(
        few.model, norm=NORMS[norm], n_iter=6, n_restarts=2, eps=few.epsilon[norm], targeted=targets > 0,
        device="cpu", n_target_classes=9, **settings,
    )  # fmt: skip
    with seeded(0):
        expected = few.model(theirs.perturb(few.images, few.labels)).argmax(1) == few.labels
    config = AttackConfig(
        name="fab_t", norm=norm, epsilon=few.epsilon[norm], steps=6, restarts=2, targets=targets,
        alpha_max=0.2, overshoot=1.1, backward=0.8,
    )  # fmt: skip
    found = ours(config, few)
    assert 0 < int(found.robust.sum()) < len(found.robust)
    assert torch.equal(found.robust, expected)


@both_norms
@aimed_or_not
def test_that_epsilon_decides_what_counts_and_not_where_the_search_goes(
    few: Peer, norm: str, targets: int
) -> None:
    small, large = (
        carry_out(few, norm, targets=targets, epsilon=share * few.epsilon[norm]) for share in (0.9, 1.3)
    )
    assert torch.equal(small.adversarial, large.adversarial)
    assert torch.equal(small.norm, large.norm)
    assert torch.equal(small.broken, small.norm <= 0.9 * few.epsilon[norm])
    assert torch.equal(large.broken, large.norm <= 1.3 * few.epsilon[norm])
    assert int(small.broken.sum()) < int(large.broken.sum())


@both_norms
def test_that_later_restarts_begin_half_of_epsilon_away(few: Peer, norm: str) -> None:
    seen: list[Tensor] = []
    hook = few.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    try:
        for restart in (0, 1, 2):
            seen.append(torch.empty(0))
            carry_out(few, norm, Pass(restart), targets=0, steps=1)
    finally:
        hook.remove()
    starts = [second for first, second in zip(seen, seen[2:], strict=False) if not len(first)]
    order = {"linf": torch.inf, "l2": 2}[norm]
    away = [torch.linalg.vector_norm((start - few.images).flatten(1), ord=order, dim=1) for start in starts]
    assert not away[0].any()
    for distance in away[1:]:  # what the box cuts off makes it shorter
        assert float(distance.max()) <= 0.5 * few.epsilon[norm] * (1 + 1e-5)
        assert float(distance.max()) > 0.4 * few.epsilon[norm]
    assert not torch.equal(starts[1], starts[2])


@both_norms
def test_that_a_step_costs_two_forward_passes_and_images_inside_the_ball_cost_no_more(
    few: Peer, norm: str
) -> None:
    sizes: list[int] = []
    hook = few.model.register_forward_hook(lambda _, inputs, output: sizes.append(len(output)))
    try:
        carry_out(few, norm)
        thorough = sizes[1:-1]  # without the clean logits and the judgement
        sizes.clear()
        carry_out(few, norm, stop_early=True)
    finally:
        hook.remove()
    assert thorough == [len(few.images)] * 2 * 12
    assert sum(sizes[1:-1]) < 0.9 * sum(thorough)
