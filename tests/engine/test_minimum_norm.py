"""Attacks that look for the smallest perturbation: how close they come to it, and what they keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.attacks import Attempt, attacks
from engine.attacks.criteria import margin
from engine.config import AttackConfig
from tests.engine.peers import PEERS, Linear, Peer, exact_distances, foolbox_

pytestmark = pytest.mark.usefixtures("untouched_random_state")

#: Each attack with settings at which it is close to its best in little time, and the share by which it may miss the
#: optimum on a linear network: DeepFool does not see the box on its way, and Adam's steps are not short.
ROWS: dict[str, tuple[dict[str, Any], float]] = {
    "fab_t-linf": ({"norm": "linf", "steps": 10}, 1.05),
    "fab_t-l2": ({"norm": "l2", "steps": 10}, 1.05),
    "fab_t-linf-untargeted": ({"norm": "linf", "steps": 10, "targets": 0}, 1.05),
    "fab_t-l2-untargeted": ({"norm": "l2", "steps": 10, "targets": 0}, 1.05),
    "deepfool-l2": ({}, 1.25),
    "carlini_wagner-l2": ({"steps": 40, "searches": 5, "initial_weight": 0.1, "learning_rate": 0.03}, 1.25),
}
every_attack = pytest.mark.parametrize("row", ROWS)


def configured(row: str, **changes: Any) -> AttackConfig:
    return AttackConfig(name=row.split("-")[0], **(ROWS[row][0] | changes))


def tried(
    config: AttackConfig, peer: Peer, *, stop_early: bool = False, each_step: Callable[[], None] = lambda: None
) -> list[Attempt]:  # fmt: skip
    """All passes over all images, whatever passes before have found."""
    attack = attacks[config.name](config)
    return [
        attack.attempt(
            peer.model, peer.images, peer.labels, logits=peer.model(peer.images).detach(), seed=0,
            sample_ids=torch.arange(len(peer.images)), one=one, stop_early=stop_early, each_step=each_step,
        )
        for one in attack.passes
    ]  # fmt: skip


def least(attempts: list[Attempt], peer: Peer) -> Tensor:
    """[B] the smallest norm over all passes that leads to another class, infinite where none does."""
    norms = [torch.where(one.prediction != peer.labels, one.norm, torch.inf) for one in attempts]
    return torch.stack(norms).amin(0)


@pytest.fixture(scope="module")
def few() -> Peer:
    """A few images of a convolutional network."""
    return PEERS["conv-BN"]().first(8)


def half(row: str, peer: Peer) -> AttackConfig:
    """A row with the radius at which half of the images break."""
    norms = least(tried(configured(row, epsilon=1.0), peer), peer)
    return configured(row, epsilon=float(norms.median()) * 1.01)


@every_attack
def test_that_the_norm_found_on_a_linear_network_is_close_to_the_least_and_never_below(row: str) -> None:
    peer, (_, allowed) = PEERS["linear"]().first(8), ROWS[row]
    config = configured(row, epsilon=1.0)
    best = exact_distances(peer.model, peer.images, peer.labels, config.norm)
    found = least(tried(config, peer), peer).double().numpy()
    assert np.isfinite(found).all()
    assert (found >= best * (1 - 1e-4)).all()
    assert (found <= best * allowed).all()


@every_attack
def test_that_stopping_early_changes_no_verdict_and_ends_inside_the_ball(row: str, few: Peer) -> None:
    config = half(row, few)
    thorough, early = (tried(config, few, stop_early=early) for early in (False, True))
    assert 0 < int(thorough[0].broken.sum()) < len(few.images)
    for one, whole in zip(early, thorough, strict=True):
        assert torch.equal(one.broken, whole.broken)
        assert (one.norm[one.broken] <= config.epsilon).all()
        assert (one.norm >= whole.norm * (1 - 1e-4)).all(), "the closest is at most as far as the first"
        assert torch.equal(one.steps, whole.steps), (
            "when an image is first inside does not depend on what follows"
        )


@every_attack
def test_that_images_that_are_done_cost_no_further_steps(row: str, few: Peer) -> None:
    counts = []
    for epsilon in (1e-9, 1.0):
        steps: list[None] = []
        tried(
            configured(row, epsilon=epsilon), few, stop_early=True, each_step=lambda to=steps: to.append(None)
        )
        counts.append(len(steps))
    assert counts[0] > 0
    if row.startswith("deepfool"):  # it ends with the first misclassified image, inside or not
        assert counts[1] == counts[0]
    else:
        assert counts[1] < counts[0]


@every_attack
def test_that_an_image_comes_out_the_same_alone_in_a_batch_and_in_any_order(row: str, few: Peer) -> None:
    """In double precision, for float32 sums depend on the size of a batch in their last digit."""
    doubled = replace(few, model=deepcopy(few.model).double(), images=few.images.double())
    config = half(row, few)
    config = config.model_copy(update={"targets": min(config.targets, 2), "searches": 2})
    whole = tried(config, doubled, stop_early=True)
    turned = tried(config, picked(doubled, range(7, -1, -1)), stop_early=True)
    for one, other in zip(whole, turned, strict=True):
        torch.testing.assert_close(other.adversarial.flip(0), one.adversarial, rtol=0, atol=1e-8)
    for index in (0, 5):
        for one, alone in zip(whole, tried(config, picked(doubled, [index]), stop_early=True), strict=True):
            torch.testing.assert_close(alone.adversarial[0], one.adversarial[index], rtol=0, atol=1e-8)
            assert int(alone.steps) == int(one.steps[index])


@every_attack
def test_that_the_clean_image_comes_back_where_nothing_was_found(row: str, few: Peer) -> None:
    flat = Linear(torch.zeros(10, 192), torch.arange(10.0))
    peer = replace(few, model=flat, labels=torch.full_like(few.labels, 9))
    for one in tried(configured(row, epsilon=1.0), peer):
        assert torch.equal(one.adversarial, few.images)
        assert not one.broken.any()
        assert (one.steps == one.steps.max()).all()


@pytest.mark.parametrize("row", ["fab_t-linf", "fab_t-l2", "carlini_wagner-l2"])
def test_that_a_longer_search_ends_no_farther_away(row: str, few: Peer) -> None:
    what = "searches" if "searches" in ROWS[row][0] else "steps"
    norms = [least(tried(configured(row, epsilon=1.0, **{what: count}), few), few) for count in (2, 3, 5)]
    assert (norms[0] >= norms[1]).all()
    assert (norms[1] >= norms[2]).all()
    assert float(norms[0].sum()) > float(norms[2].sum())


@pytest.mark.parametrize("overshoot", [1.02, 1.3])
def test_that_deepfool_takes_the_steps_of_another_implementation(few: Peer, overshoot: float) -> None:
    (found,) = tried(AttackConfig(name="deepfool", epsilon=1.0, overshoot=overshoot), few)
    theirs = foolbox_("L2DeepFoolAttack", few, 1e6, steps=50, candidates=10, overshoot=overshoot - 1)
    assert torch.equal(found.prediction == few.labels, theirs.robust)
    torch.testing.assert_close(found.adversarial, theirs.adversarial, rtol=0, atol=1e-6)


def test_that_one_step_of_deepfool_on_a_linear_network_crosses_the_nearest_boundary_by_the_overshoot() -> (
    None
):
    draw = torch.Generator().manual_seed(0)
    model = Linear(torch.randn(4, 12, generator=draw), torch.zeros(4))
    images = 0.5 + 0.02 * torch.randn(20, 3, 2, 2, generator=draw)  # far from the border of the box
    logits = model(images).detach()
    peer = Peer("four classes", model, images, logits.argmax(1), {})
    (found,) = tried(AttackConfig(name="deepfool", epsilon=1.0, steps=1, overshoot=1.1), peer)
    distances = torch.full((20, 4), torch.inf)
    for index, label in enumerate(peer.labels.tolist()):
        for other in set(range(4)) - {label}:
            slope = model.weight[other] - model.weight[label]
            distances[index, other] = (logits[index, label] - logits[index, other]) / slope.norm()
    torch.testing.assert_close(found.norm, 1.1 * (distances.amin(1) + 1e-4).detach(), rtol=1e-4, atol=0)
    assert torch.equal(found.prediction, distances.argmin(1))


def test_that_carlini_wagner_ends_as_close_as_another_implementation(few: Peer) -> None:
    settings = {"steps": 25, "searches": 4, "initial_weight": 0.3, "learning_rate": 0.03}
    (found,) = tried(AttackConfig(name="carlini_wagner", epsilon=1.0, **settings), few)
    theirs = foolbox_(
        "L2CarliniWagnerAttack", few, 1e6, steps=25, binary_search_steps=4, initial_const=0.3, stepsize=0.03,
        abort_early=False,
    )  # fmt: skip
    assert not (found.prediction == few.labels).any()
    assert not theirs.robust.any()
    norms = torch.linalg.vector_norm((theirs.adversarial - few.images).flatten(1), dim=1)
    torch.testing.assert_close(found.norm, norms, rtol=0.01, atol=0)
    assert float(found.norm.mean()) == pytest.approx(float(norms.mean()), rel=1e-3)


def test_that_carlini_wagner_keeps_only_what_is_as_sure_as_was_asked_for(few: Peer) -> None:
    norms = []
    for confidence in (0.0, 2.0):
        (found,) = tried(configured("carlini_wagner-l2", epsilon=1.0, confidence=confidence), few)
        assert not (found.prediction == few.labels).any()
        lead = -margin(few.model(found.adversarial), few.labels)
        assert float(lead.min()) >= confidence
        assert float(lead.max()) < confidence + 1, "no more than asked for"
        norms.append(found.norm)
    assert (norms[1] > norms[0]).all()


def picked(peer: Peer, which: Iterable[int]) -> Peer:
    """The same network with some of the images, in that order."""
    at = torch.tensor(list(which))
    return replace(peer, images=peer.images[at], labels=peer.labels[at])
