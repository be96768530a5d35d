"""PGD and its relatives against formulas written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.attacks import Attempt, attacks
from engine.attacks.base import Pass, clean_logits, loss_and_gradient
from engine.attacks.pgd import projected_gradient_descent, training_examples
from engine.attacks.projection import LinfBall
from engine.config import AttackConfig, PgdConfig
from tests.engine.peers import Linear
from tests.engine.small import assert_unchanged, everything, images_and_labels, small_model, warm

pytestmark = pytest.mark.usefixtures("untouched_random_state")
CLASSES, COUNT = 6, 30


def linear(*, seed: int = 0) -> tuple[Linear, Tensor, Tensor]:
    """A linear network and images, many pixels of which are at the ends of the box, with its own predictions."""
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(COUNT, 3, 4, 4, generator=draw).mul(1.4).sub(0.2).clamp(0, 1)
    weight, bias = torch.randn(CLASSES, 48, generator=draw), torch.randn(CLASSES, generator=draw)
    model = Linear(weight, bias).requires_grad_(False)
    return model, images, model(images).argmax(1)


def attempted(
    name: str, model: nn.Module, images: Tensor, labels: Tensor, one: Pass | None = None, *, made_on: nn.Module | None = None,
    **settings: object,
) -> Attempt:  # fmt: skip
    attack = attacks[name](AttackConfig.model_validate({"name": name, **settings}))
    attack.surrogate = made_on
    return attack.attempt(
        model, images, labels, logits=clean_logits(model, images), seed=0,
        sample_ids=torch.arange(len(labels)), one=one or Pass(),
    )  # fmt: skip


def test_that_a_pgd_step_is_the_textbook_one() -> None:
    """Three steps against the formula written out on a linear network."""
    model, images, labels = linear()
    expected = images.flatten(1)
    for _ in range(3):
        scores = torch.softmax(expected @ model.weight.t() + model.bias, 1)
        scores[torch.arange(COUNT), labels] -= 1
        expected = expected + 0.05 * torch.sign(scores @ model.weight)
        low, high = images.flatten(1) - 0.1, images.flatten(1) + 0.1
        expected = torch.max(torch.min(expected, high), low).clamp(0, 1)
    found = projected_gradient_descent(
        model, images, labels, start=images, epsilon=0.1, step_size=0.05, steps=3, ball=LinfBall()
    ).adversarial
    torch.testing.assert_close(found.flatten(1), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("loss", ["margin", "dlr", "cross_entropy"])
def test_that_targeted_pgd_goes_to_the_corner_that_favours_the_target_most(loss: str) -> None:
    model, images, labels = linear()
    corner_low, corner_high = (images - 0.05).clamp(min=0), (images + 0.05).clamp(max=1)
    for rank in range(3):
        found = attempted(
            "pgd", model, images, labels, Pass(0, rank),
            targets=3, loss=loss, epsilon=0.05, step_size=0.02, steps=20,
        )  # fmt: skip
        towards = (model.weight[found.target] - model.weight[labels]).view_as(images)
        corner = torch.where(towards > 0, corner_high, corner_low)
        if loss == "margin":
            torch.testing.assert_close(found.adversarial, corner, rtol=0, atol=1e-6)
        else:  # other classes bend the way, but never beyond the corner
            reached = (model(found.adversarial) - model(images)).gather(1, found.target[:, None])
            assert float((reached > 0).float().mean()) > 0.9
        ranked = model(images).scatter(1, labels[:, None], -torch.inf).argsort(1, descending=True)
        assert torch.equal(found.target, ranked[:, rank])


def test_that_momentum_zero_is_pgd_and_momentum_one_is_not() -> None:
    model, images, labels = linear()
    settings = {"epsilon": 0.1, "step_size": 0.03, "steps": 6, "random_start": False}
    plain = attempted("pgd", model, images, labels, **settings).adversarial
    without = attempted("momentum_pgd", model, images, labels, momentum=0.0, **settings).adversarial
    torch.testing.assert_close(without, plain, rtol=0, atol=1e-6)
    assert not torch.allclose(
        attempted("momentum_pgd", model, images, labels, **settings).adversarial, plain, atol=1e-3
    )


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_that_fgsm_is_one_step_of_the_size_of_the_radius(norm: str) -> None:
    model, images, labels = linear()
    leaf = images.clone().requires_grad_(True)
    F.cross_entropy(model(leaf), labels, reduction="sum").backward()
    direction = (
        leaf.grad.sign() if norm == "linf" else leaf.grad / leaf.grad.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    )
    found = attempted("fgsm", model, images, labels, norm=norm, epsilon=0.2).adversarial
    torch.testing.assert_close(found, (images + 0.2 * direction).clamp(0, 1), rtol=0, atol=1e-6)


def test_that_a_transferred_image_is_made_on_the_surrogate_and_judged_on_the_network() -> None:
    (model, images, labels), (other, *_) = linear(), linear(seed=1)
    settings = {"epsilon": 0.1, "step_size": 0.05, "steps": 4, "random_start": False}
    moved = attempted("transfer", model, images, labels, made_on=other, surrogate="other", **settings)
    made = projected_gradient_descent(
        other, images, labels, start=images, epsilon=0.1, step_size=0.05, steps=4, ball=LinfBall()
    ).adversarial
    assert torch.equal(moved.adversarial, made)
    assert torch.equal(moved.prediction, model(made).argmax(1))
    with pytest.raises(ValueError, match="needs the network on which the perturbations are made"):
        attempted("transfer", model, images, labels, surrogate="other", **settings)


def test_that_gradients_of_a_random_network_are_averaged() -> None:
    model, images, labels = linear()
    scales = iter([0.5, 2.0, 0.8] * 2)

    def shaky(x: Tensor) -> Tensor:
        return model(x) * next(scales)

    def loss(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none")

    averaged = loss_and_gradient(shaky, images, loss, passes=3)
    single = [loss_and_gradient(shaky, images, loss) for _ in range(3)]
    for mean, parts in zip(averaged, zip(*single, strict=True), strict=True):
        torch.testing.assert_close(mean, torch.stack(parts).mean(0))


@pytest.mark.parametrize("random_start", [True, False])
def test_that_training_examples_of_strength_zero_are_the_images(random_start: bool) -> None:
    model, (images, labels) = small_model(), images_and_labels()
    made = training_examples(
        model, images, labels, config=PgdConfig(random_start=random_start), scale=0.0,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert torch.equal(made, images)


@pytest.mark.parametrize("scale", [0.25, 1.0])
def test_that_training_examples_fill_the_scaled_ball_and_leave_no_trace(scale: float) -> None:
    model = warm(small_model())
    model.train()
    model.block(1).requires_grad_(False).eval()
    images, labels = images_and_labels()
    before = everything(model)
    config = PgdConfig(epsilon=0.1, step_size=0.05, steps=3)
    made = [
        training_examples(model, images, labels, config=config, scale=scale, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]  # fmt: skip
    assert_unchanged(before, model)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert not made[0].requires_grad
    reach = float((made[0] - images).abs().max())
    assert 0.9 * scale * 0.1 <= reach <= scale * 0.1 * (1 + 1e-5)


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.1), ("l2", 0.5), ("l1", 0.9)])
def test_that_pgd_uses_the_whole_ball_where_the_box_is_far(norm: str, epsilon: float) -> None:
    model, images, _ = linear()
    images = 0.4 + 0.2 * images
    labels = model(images).argmax(1)
    found = attempted(
        "pgd",
        model,
        images,
        labels,
        norm=norm,
        epsilon=epsilon,
        step_size=epsilon / 4,
        steps=20,
        loss="margin",
    )
    assert float(found.norm.min()) > 0.98 * epsilon
