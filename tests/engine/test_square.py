"""Square beside the reference implementations, and what it promises for each image by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from engine.attacks.base import Attempt
from engine.attacks.criteria import margin
from engine.attacks.noise import BatchNoise, Noise
from engine.attacks.square import Square, changed_share
from engine.config import AttackConfig
from tests.engine.peers import PEERS, Found, Peer, autoattack_, farthest, seeded, torchattacks_
from tests.engine.small import images_and_labels, small_model, warm

pytestmark = pytest.mark.usefixtures("untouched_random_state")

both_norms = pytest.mark.parametrize("norm", ["linf", "l2"])


class OneSquareForAll:
    """The references' draws: stripes for each image, then one square for the whole batch."""

    def __init__(self, images: Tensor) -> None:
        self.batch: int | None = len(images)

    def rand(self, *shape: int) -> Tensor:
        if self.batch is not None:
            first, self.batch = torch.rand(self.batch, *shape), None
            self.drawn = len(first)
            return first
        return torch.rand(shape).expand(self.drawn, *shape)

    def randn(self, *shape: int) -> Tensor:
        raise AssertionError("Square draws no normal numbers")


@pytest.fixture(scope="module")
def few() -> Peer:
    """A few images of which some break soon, some late, some not."""
    return replace(PEERS["conv-BN"]().first(24), epsilon={"linf": 0.06, "l2": 0.6})


@pytest.fixture(scope="module")
def larger() -> Peer:
    """A WRN-10-1 with drawn weights and 16 pixels a side."""
    model = warm(small_model(classes=10)).eval()
    images, _ = images_and_labels(3, classes=10)
    with torch.no_grad():
        return Peer("WRN-10-1", model, images, model(images).argmax(1), {"linf": 0.01, "l2": 0.15})


def carry_out(
    peer: Peer, norm: str, queries: int, *, noise: Noise | None = None, seed: int = 0, order: Tensor | None = None,
    model: nn.Module | None = None, stop_early: bool = True, each_step: Callable[[], None] = lambda: None,
) -> Attempt:  # fmt: skip
    config = AttackConfig(name="square", norm=norm, epsilon=peer.epsilon[norm], queries=queries)
    model = peer.model if model is None else model
    order = torch.arange(len(peer.images)) if order is None else order
    images, labels = peer.images[order], peer.labels[order]
    with torch.no_grad():
        logits = peer.model(images)
    return Square(config).attempt(
        model, images, labels, logits=logits, seed=seed, sample_ids=order + 100, noise=noise, stop_early=stop_early,
        each_step=each_step,
    )  # fmt: skip


class Watched(nn.Module):
    """A network that keeps every margin it gave, and whether gradients were on."""

    def __init__(self, model: nn.Module, labels: Tensor) -> None:
        super().__init__()
        self.model, self.labels = model, labels
        self.margins: list[Tensor] = []
        self.gradients: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        self.margins.append(margin(logits, self.labels))
        self.gradients.append(torch.is_grad_enabled())
        return logits


@pytest.mark.parametrize("make", PEERS.values(), ids=PEERS)
def test_that_it_is_the_reference_attack_if_one_square_is_drawn_for_the_batch(
    make: Callable[[], Peer],
) -> None:
    peer, queries = make().first(40), 230
    epsilon = peer.epsilon["linf"]
    with seeded(0):
        attempt = carry_out(peer, "linf", queries, noise=OneSquareForAll(peer.images))
    mine = Found(attempt.adversarial, ~attempt.broken)
    for theirs in (
        autoattack_(["square"], peer, epsilon, n_queries=queries),
        torchattacks_("Square", peer, eps=epsilon, n_queries=queries, resc_schedule=False),
    ):
        assert torch.equal(theirs.robust, mine.robust)
        assert farthest(theirs, mine) <= 1e-6
    assert 0.05 < float(mine.robust.float().mean()) < 0.95, "some must break, some not"


@both_norms
def test_that_one_image_by_itself_takes_the_steps_of_the_reference(
    few: Peer, larger: Peer, norm: str
) -> None:
    """Image by image, the best image of those that hold out as well, in L2 too, where draws depend on the batch."""
    from pyautoattack.square import SquareAttack

    broken = []
    for peer, queries in ((few.first(10), 60), (larger, 40)):
        for index in range(len(peer.images)):
            one = torch.tensor([index])
            with seeded(index):
                reference = SquareAttack(
                    peer.model, norm={"linf": "Linf", "l2": "L2"}[norm], n_queries=queries, eps=peer.epsilon[norm],
                    resc_schedule=False, device="cpu",
                )  # fmt: skip
                reference.init_hyperparam(peer.images[one])
                steps, theirs = reference.attack_single_run(peer.images[one], peer.labels[one])
            with seeded(index):
                mine = carry_out(peer, norm, queries, noise=BatchNoise(peer.images[one], None), order=one)
            assert int(steps) == int(mine.steps)
            assert float((theirs - mine.adversarial).abs().max()) <= 1e-6
            broken.append(bool(mine.broken))
    assert 2 <= sum(broken) <= len(broken) - 2, "some must break, some not"


@both_norms
def test_that_drawing_for_each_image_breaks_about_as_many_as_the_reference(norm: str) -> None:
    peer = PEERS["conv-BN"]()
    mine = carry_out(peer, norm, 200)
    theirs = autoattack_(["square"], peer, peer.epsilon[norm], norm=norm, n_queries=200)
    share = float(mine.broken.float().mean())
    assert share == pytest.approx(1 - float(theirs.robust.float().mean()), abs=0.06)
    assert 0.1 < share < 0.9
    assert float((mine.broken == ~theirs.robust).float().mean()) >= 0.9


def test_that_squares_shrink_as_in_the_reference() -> None:
    from pyautoattack.square import SquareAttack

    reference = SquareAttack(None, n_queries=5000, p_init=0.3, resc_schedule=False)
    for query in range(10_001):
        assert changed_share(0.3, query) == reference.p_selection(query)


@both_norms
def test_that_neither_the_rest_of_the_batch_nor_its_order_matters(few: Peer, norm: str) -> None:
    whole = carry_out(few, norm, 60)
    assert 0 < int(whole.broken.sum()) < len(whole.broken)
    parts = [
        carry_out(few, norm, 60, order=torch.tensor(part)) for part in ([0], [2, 1], [*range(11, 2, -1)])
    ]
    order = torch.tensor([0, 2, 1, *range(11, 2, -1)])
    for name in ("broken", "steps", "seed"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name)[order])
    alone = torch.cat([part.adversarial for part in parts])
    torch.testing.assert_close(alone, whole.adversarial[order], rtol=0, atol=1e-6)


@both_norms
def test_that_the_seed_alone_decides(few: Peer, norm: str) -> None:
    one, same, other = (carry_out(few, norm, 30, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.adversarial, same.adversarial)
    assert not torch.equal(one.adversarial, other.adversarial)


@both_norms
@pytest.mark.parametrize("size", [8, 11, 16])
def test_that_images_stay_in_the_ball_and_the_box(norm: str, size: int) -> None:
    model = small_model().eval()
    images, _ = images_and_labels(size=size)
    images[:4], images[4:6] = images[:4].round(), 0.0
    with torch.no_grad():
        peer = Peer("", model, images, model(images).argmax(1), {"linf": 0.1, "l2": 0.5})
    found = carry_out(peer, norm, 80, stop_early=False).adversarial
    change = (found - images).flatten(1)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    if norm == "l2":
        assert float(change.norm(dim=1).max()) <= 0.5 * (1 + 1e-5)
        assert float(change.norm(dim=1).min()) > 0.1
    else:  # every pixel is at a corner of the cube, or at the border of the box
        at_corner = (change.abs() - 0.1).abs() <= 1e-6
        at_border = (found.flatten(1) == 0) | (found.flatten(1) == 1)
        assert (at_corner | at_border).all()


@both_norms
def test_that_it_tells_how_many_queries_it_took_and_needs_no_gradient(few: Peer, norm: str) -> None:
    whole, asked = carry_out(few, norm, 40), []
    assert len(set(whole.steps.tolist())) > 3
    for index, (steps, broken) in enumerate(zip(whole.steps.tolist(), whole.broken.tolist(), strict=True)):
        watched = Watched(few.model, few.labels[[index]])
        one = carry_out(
            few, norm, 40, order=torch.tensor([index]), model=watched, each_step=lambda: asked.append(None)
        )
        queries = watched.margins[:-1]  # the last pass is the judge's
        assert len(queries) == len(asked) == steps
        assert (float(queries[-1]) < 0) == broken
        assert not any(float(value) < 0 for value in queries[:-1])
        assert not any(watched.gradients)
        torch.testing.assert_close(one.margin, torch.stack(queries).amin(0), rtol=0, atol=1e-5)
        asked.clear()


@both_norms
def test_that_going_on_after_an_image_is_broken_changes_no_verdict(few: Peer, norm: str) -> None:
    watched = Watched(few.model, few.labels)
    early, late = carry_out(few, norm, 60), carry_out(few, norm, 60, model=watched, stop_early=False)
    assert torch.equal(early.broken, late.broken)
    assert torch.equal(early.steps, late.steps)
    assert len(watched.margins) == 60 + 1 + 1
    torch.testing.assert_close(late.margin, torch.stack(watched.margins).amin(0), rtol=0, atol=1e-5)
    assert float((late.margin - early.margin)[early.broken].mean()) < -0.01


@both_norms
def test_that_more_queries_take_nothing_back(few: Peer, norm: str) -> None:
    fewer, more = carry_out(few, norm, 30), carry_out(few, norm, 120)
    assert torch.equal(more.broken & (more.steps <= 31), fewer.broken)
    assert torch.equal(more.steps[fewer.broken], fewer.steps[fewer.broken])
    assert int(more.broken.sum()) > int(fewer.broken.sum())
