"""PGD, FGSM and momentum PGD beside other people's: the same images on the same batch with the same noise."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.attacks.pgd import projected_gradient_descent
from engine.attacks.projection import BALLS
from engine.config import AttackConfig
from tests.engine.peers import PEERS, Found, Peer, foolbox_, ours, seeded, torchattacks_

pytestmark = pytest.mark.usefixtures("untouched_random_state")
STEPS = 20


@pytest.fixture(scope="module", params=PEERS)
def peer(request: pytest.FixtureRequest) -> Peer:
    return PEERS[request.param]()


def settings(peer: Peer, norm: str, **others: Any) -> AttackConfig:
    epsilon = peer.epsilon[norm]
    return AttackConfig.model_validate(
        {"name": "pgd", "norm": norm, "epsilon": epsilon, "step_size": epsilon / 4, "steps": STEPS, **others}
    )


def assert_same(one: Found, other: Found) -> None:
    torch.testing.assert_close(one.adversarial, other.adversarial, rtol=0, atol=1e-6)
    assert torch.equal(one.robust, other.robust)
    assert 0.2 < float(one.robust.float().mean()) < 0.9, "neither all nor none are broken"


@pytest.mark.parametrize("seed", [0, 1])
def test_that_pgd_in_linf_is_that_of_torchattacks_and_foolbox(peer: Peer, seed: int) -> None:
    epsilon = peer.epsilon["linf"]
    found = ours(settings(peer, "linf"), peer, seed=seed)
    assert_same(found, torchattacks_("PGD", peer, seed=seed, eps=epsilon, alpha=epsilon / 4, steps=STEPS))
    assert_same(found, foolbox_("LinfPGD", peer, epsilon, seed=seed, abs_stepsize=epsilon / 4, steps=STEPS))


def test_that_pgd_in_l2_is_that_of_torchattacks_and_foolbox_from_the_same_start(peer: Peer) -> None:
    """From the image, and from torchattacks' start, whose radius is uniform, not its d-th power.

    In float64: theirs averages the loss over the batch, which rounds each gradient in its own way.
    """
    peer = peer.double()
    epsilon, size = peer.epsilon["l2"], peer.images[0].numel()
    theirs = {"eps": epsilon, "alpha": epsilon / 4, "steps": STEPS}
    found = ours(settings(peer, "l2", random_start=False), peer)
    assert_same(found, torchattacks_("PGDL2", peer, random_start=False, **theirs))
    assert_same(
        found, foolbox_("L2PGD", peer, epsilon, abs_stepsize=epsilon / 4, steps=STEPS, random_start=False)
    )
    with seeded(0):
        normal = torch.randn(len(peer.images), size, dtype=torch.float64)
        length = epsilon * torch.rand(len(peer.images), 1, dtype=torch.float64)
    change = (normal * length / normal.norm(dim=1, keepdim=True)).view_as(peer.images)
    made = projected_gradient_descent(
        peer.model, peer.images, peer.labels, start=(peer.images + change).clamp(0, 1), epsilon=epsilon,
        step_size=epsilon / 4, steps=STEPS, ball=BALLS["l2"],
    ).adversarial  # fmt: skip
    begun = Found(made, peer.model(made).argmax(1) == peer.labels)
    assert_same(begun, torchattacks_("PGDL2", peer, **theirs))
    assert not torch.allclose(begun.adversarial, found.adversarial, atol=1e-4)


def test_that_pgd_in_l1_is_as_strong_as_foolbox_s_sparse_descent(peer: Peer) -> None:
    """Its projection differs (ball and box at once), so the images do too."""
    epsilon = peer.epsilon["l1"]
    found = ours(settings(peer, "l1", random_start=False, steps=40), peer).robust.float().mean()
    other = foolbox_("SparseL1DescentAttack", peer, epsilon, abs_stepsize=epsilon / 4, steps=40)
    assert 0.1 < float(other.robust.float().mean()) < 0.9
    assert float(found) <= float(other.robust.float().mean()) + 0.02


def test_that_fgsm_is_that_of_torchattacks_and_foolbox(peer: Peer) -> None:
    for norm, name in (("linf", "LinfFastGradientAttack"), ("l2", "L2FastGradientAttack")):
        found = ours(AttackConfig(name="fgsm", norm=norm, epsilon=peer.epsilon[norm]), peer)
        assert_same(found, foolbox_(name, peer, peer.epsilon[norm]))
    linf = ours(AttackConfig(name="fgsm", epsilon=peer.epsilon["linf"]), peer)
    assert_same(linf, torchattacks_("FGSM", peer, eps=peer.epsilon["linf"]))


@pytest.mark.parametrize("momentum", [0.5, 1.0])
def test_that_momentum_pgd_is_that_of_torchattacks(peer: Peer, momentum: float) -> None:
    epsilon = peer.epsilon["linf"]
    found = ours(settings(peer, "linf", name="momentum_pgd", momentum=momentum, random_start=False), peer)
    theirs = {"eps": epsilon, "alpha": epsilon / 4, "steps": STEPS, "decay": momentum}
    assert_same(found, torchattacks_("MIFGSM", peer, **theirs))


def test_that_more_steps_and_larger_radii_break_no_less_and_in_the_end_all(peer: Peer) -> None:
    few, shares = peer.first(60), []
    for factor in (0.01, 0.5, 1.0, 2.0, 10.0):
        config = settings(few, "linf").at(epsilon=factor * few.epsilon["linf"])
        shares.append(float(ours(config, few).robust.float().mean()))
    assert shares[0] > 0.95
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0
    longer = [
        float(ours(settings(few, "linf", steps=steps), few).robust.float().mean()) for steps in (1, 10, 100)
    ]
    assert longer[0] > longer[1] >= longer[2] - 1 / 60
