"""Auto-PGD: image for image what the reference finds, its step schedule, and what it leaves alone when."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.attacks import attacks
from engine.attacks.apgd import check_points
from engine.attacks.base import Attempt, clean_logits
from engine.attacks.criteria import cross_entropy
from engine.config import AttackConfig
from tests.engine.peers import (
    PEERS,
    Found,
    Linear,
    Peer,
    autoattack_,
    convolutional_peer,
    exact_distances,
    linear_peer,
    ours,
    torchattacks_,
)

pytestmark = pytest.mark.usefixtures("untouched_random_state")


@pytest.fixture(scope="module", params=PEERS)
def peer(request: pytest.FixtureRequest) -> Peer:
    return PEERS[request.param]().first(40)


def configured(name: str, peer: Peer, norm: str = "linf", **others: Any) -> AttackConfig:
    return AttackConfig.model_validate({"name": name, "norm": norm, "epsilon": peer.epsilon[norm], **others})


class Recorder(nn.Module):
    """A network that keeps what it is shown."""

    def __init__(self, *models: nn.Module) -> None:
        """Several networks answer in turn."""
        super().__init__()
        self.models, self.seen = nn.ModuleList(models), []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach().clone())
        logits: Tensor = self.models[(len(self.seen) - 1) % len(self.models)](images)
        return logits


def attempt(
    config: AttackConfig, peer: Peer, *, model: nn.Module | None = None, part: Tensor | None = None,
    stop_early: bool = True,
) -> Attempt:  # fmt: skip
    """The first pass with the noise of each sample, on some of the images; judged by the peer's own network."""
    part = torch.arange(len(peer.images)) if part is None else part
    attack, images, labels = attacks[config.name](config), peer.images[part], peer.labels[part]
    return attack.attempt(
        model or peer.model, images, labels, logits=clean_logits(peer.model, images), seed=0, sample_ids=part,
        one=attack.passes[0], judge=peer.model, stop_early=stop_early,
    )  # fmt: skip


def assert_same(one: Found, other: Found) -> None:
    assert 0.1 < float(one.robust.float().mean()) < 0.9, "neither all nor none are broken"
    assert torch.equal(one.robust, other.robust)
    torch.testing.assert_close(one.adversarial, other.adversarial, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["apgd_ce", "apgd_dlr", "apgd_t"])
def test_that_the_images_are_those_of_the_reference(name: str, norm: str, peer: Peer) -> None:
    found = ours(configured(name, peer, norm), peer)
    assert_same(found, autoattack_([name.replace("_", "-")], peer, peer.epsilon[norm], norm=norm))


@pytest.mark.parametrize(("steps", "rho"), [(1, 0.75), (7, 0.5), (100, 0.75)])
@pytest.mark.parametrize("name", ["apgd_ce", "apgd_dlr"])
def test_that_the_images_are_those_of_torchattacks(name: str, steps: int, rho: float, peer: Peer) -> None:
    found = ours(configured(name, peer, steps=steps, rho=rho), peer)
    theirs = {"eps": peer.epsilon["linf"], "steps": steps, "rho": rho, "loss": name.removeprefix("apgd_")}
    assert_same(found, torchattacks_("APGD", peer, **theirs))


def test_that_targeted_verdicts_are_those_of_torchattacks(peer: Peer) -> None:
    """The likeliest three classes. It rounds the start otherwise than the reference, which few images magnify."""
    found = ours(configured("apgd_t", peer, targets=3), peer)
    theirs = torchattacks_("APGDT", peer, eps=peer.epsilon["linf"], steps=100, n_classes=4)
    assert torch.equal(found.robust, theirs.robust)
    away = (found.adversarial - theirs.adversarial).abs().amax((1, 2, 3))
    assert int((away > 1e-6).sum()) <= 1


def test_that_restarts_go_on_with_what_is_left_and_break_more() -> None:
    peer = convolutional_peer().first(40)
    one, three = (ours(configured("apgd_ce", peer, steps=2, restarts=count), peer) for count in (1, 3))
    theirs = torchattacks_("APGD", peer, eps=peer.epsilon["linf"], steps=2, n_restarts=3)
    assert_same(three, theirs)
    assert not (three.robust & ~one.robust).any()
    assert int(three.robust.sum()) < int(one.robust.sum())


@pytest.mark.parametrize(
    ("steps", "points"),
    [
        (100, [22, 41, 57, 70, 80, 87, 93, 99]),
        (40, [8, 15, 21, 26, 30, 33, 35, 37, 39]),
        (10, [2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (1, [1]),
    ],
)
def test_that_steps_are_checked_at_ever_shorter_intervals(steps: int, points: list[int]) -> None:
    found = check_points(steps)
    assert list(found) == points
    assert list(found.values()) == [b - a for a, b in zip([0, *points], points, strict=False)]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_that_the_targeted_attack_on_a_linear_network_finds_all_there_is(norm: str) -> None:
    peer = linear_peer().first(80)
    assert isinstance(peer.model, Linear)
    config = configured("apgd_t", peer, norm)
    found = attacks["apgd_t"](config)(
        peer.model, peer.images, peer.labels, seed=0, sample_ids=torch.arange(len(peer.images))
    )
    beyond = exact_distances(peer.model, peer.images, peer.labels, norm) / config.epsilon - 1
    sure = abs(beyond) > 1e-4
    assert sure.mean() > 0.95
    assert found.robust.numpy()[sure].tolist() == (beyond[sure] > 0).tolist()
    assert 0.2 < float(found.robust.float().mean()) < 0.8


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_that_it_returns_the_last_misclassified_iterate_or_the_clean_image(norm: str, peer: Peer) -> None:
    config, recorder = configured("apgd_dlr", peer, norm, steps=20), Recorder(peer.model)
    found = attempt(config, peer, model=recorder, stop_early=False)
    iterates = torch.stack(recorder.seen)
    assert len(iterates) == 21
    wrong = torch.stack([peer.model(each).argmax(1) != peer.labels for each in iterates])
    expected, steps = peer.images.clone(), torch.full_like(peer.labels, 20)
    for image in wrong.any(0).nonzero().flatten().tolist():
        at = wrong[:, image].nonzero().flatten()
        steps[image], expected[image] = at[0], iterates[at[-1], image]
    assert torch.equal(found.broken, wrong.any(0))
    assert torch.equal(found.steps, steps)
    assert torch.equal(found.adversarial, expected)
    start = peer.images - iterates[0]
    length = start.abs().amax((1, 2, 3)) if norm == "linf" else start.flatten(1).norm(dim=1)
    assert float(length.max()) <= config.epsilon * (1 + 1e-5)
    inside = (iterates[0] > 0).all((1, 2, 3)) if norm == "l2" else torch.ones_like(length, dtype=torch.bool)
    assert float(length[inside].min()) > 0.9 * config.epsilon, "it begins on the border"


@pytest.mark.parametrize("name", ["apgd_ce", "apgd_t"])
def test_that_leaving_broken_images_alone_changes_no_verdict_and_saves_work(name: str, peer: Peer) -> None:
    config, all_of_it, early = configured(name, peer), Recorder(peer.model), Recorder(peer.model)
    whole = attempt(config, peer, model=all_of_it, stop_early=False)
    found = attempt(config, peer, model=early)
    assert torch.equal(found.broken, whole.broken)
    assert torch.equal(found.steps, whole.steps)
    assert 0.1 < float(found.broken.float().mean()) < 0.9
    assert sum(map(len, early.seen)) < 0.9 * sum(map(len, all_of_it.seen))
    first = torch.stack(all_of_it.seen)[whole.steps, torch.arange(len(peer.labels))]
    broken = found.broken & (found.steps < 20)  # until then no rounding has grown
    torch.testing.assert_close(found.adversarial[broken], first[broken], rtol=0, atol=1e-4)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_that_an_image_that_holds_out_comes_back_as_the_worst_that_was_tried(norm: str, peer: Peer) -> None:
    config, recorder = configured("apgd_ce", peer, norm, steps=30), Recorder(peer.model)
    left = (~attempt(config, peer).broken).nonzero().flatten()
    found = attempt(config, peer, model=recorder, part=left)
    assert not found.broken.any()
    labels, iterates = peer.labels[left], torch.stack(recorder.seen)
    losses = torch.stack([cross_entropy(peer.model(each), labels, None) for each in iterates])
    worst = iterates[losses.argmax(0), torch.arange(len(left))]
    assert torch.equal(found.adversarial, worst)
    assert (found.steps == 30).all()


def test_that_a_sample_has_one_verdict_alone_and_in_a_batch(peer: Peer) -> None:
    config, few = configured("apgd_dlr", peer, steps=25), torch.arange(0, 40, 3)
    together = attempt(config, peer, part=few)
    alone = [attempt(config, peer, part=few[i : i + 1]) for i in range(len(few))]
    assert torch.equal(torch.cat([one.broken for one in alone]), together.broken)
    assert torch.equal(torch.cat([one.steps for one in alone]), together.steps)
    assert 0 < int(together.broken.sum()) < len(few)


def test_that_gradients_are_averaged_over_passes() -> None:
    """Two networks that answer in turn: the first step follows the sum of their gradients."""
    draw = torch.Generator().manual_seed(0)
    first, second = (Linear(torch.randn(10, 192, generator=draw), torch.zeros(10)) for _ in range(2))
    peer = linear_peer().first(20)
    recorder = Recorder(first, second)
    config = configured("apgd_ce", peer, steps=1, eot=2)
    attempt(config, peer, model=recorder, stop_early=False)
    assert len(recorder.seen) == 4
    begin = recorder.seen[0].requires_grad_(True)
    assert torch.equal(begin, recorder.seen[1])
    losses = [F.cross_entropy(model(begin), peer.labels, reduction="sum") for model in (first, second)]
    (gradient,) = torch.autograd.grad(losses[0] + losses[1], begin)
    expected = (begin.detach() + 2 * config.epsilon * gradient.sign()).clamp(0, 1)
    expected = torch.minimum(
        torch.maximum(expected, peer.images - config.epsilon), peer.images + config.epsilon
    )
    torch.testing.assert_close(recorder.seen[2], expected, rtol=0, atol=1e-6)
    assert torch.equal(recorder.seen[2], recorder.seen[3])


def test_that_averaging_changes_nothing_for_a_network_without_chance(peer: Peer) -> None:
    one, two = (attempt(configured("apgd_t", peer, steps=15, eot=passes), peer) for passes in (1, 2))
    assert torch.equal(one.adversarial, two.adversarial)
    assert torch.equal(one.broken, two.broken)
