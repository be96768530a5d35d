"""One row per attack: certificate, invariants, determinism, and exact answers on linear networks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from engine.attacks import Attack, Verdict, attacks
from engine.attacks.base import Outcome, Task
from engine.attacks.pgd import projected_gradient_descent, training_examples
from engine.attacks.projection import LinfBall
from engine.config import AttackConfig, PgdConfig
from engine.control import Interrupted, RunControl
from engine.errors import DivergedError
from engine.models.modes import evaluation
from tests.engine.small import (
    assert_unchanged,
    everything,
    images_and_labels,
    small_model,
    small_set,
    warm,
)

pytestmark = pytest.mark.usefixtures("untouched_random_state")

#: Each attack at a strength that breaks a weak network in little time.
ROWS = {
    "pgd": lambda **changes: AttackConfig(
        **({"name": "pgd", "epsilon": 16 / 255, "step_size": 4 / 255, "steps": 8} | changes)
    ),
}
EPSILON = 16 / 255
every_attack = pytest.mark.parametrize("make", ROWS.values(), ids=ROWS.keys())
IDS = torch.arange(12) + 100


def test_that_every_registered_attack_has_a_row() -> None:
    assert set(ROWS) == set(attacks.names)


def carry_out(
    config: AttackConfig, model: nn.Module, images: Tensor, labels: Tensor, *, seed: int = 0, ids: Tensor = IDS,
    each_step: Callable[[], None] = lambda: None,
) -> Verdict:  # fmt: skip
    return attacks[config.name](config)(model, images, labels, seed=seed, sample_ids=ids, each_step=each_step)


@pytest.fixture(scope="module")
def weak() -> tuple[nn.Module, Tensor, Tensor]:
    """A network with images it gets right: each is labelled with the class the network gives it."""
    model = warm(small_model()).eval()
    images, _ = images_and_labels()
    with torch.no_grad():
        model.classifier.bias -= model(images).mean(0)  # so that no class takes all
        return model, images, model(images).argmax(1)


def half_broken(make: Callable[..., AttackConfig], weak: tuple, **changes: int) -> AttackConfig:
    """Settings with the radius, of a fixed list, at which this attack breaks some images but not all."""
    model, images, labels = weak
    for numerator in (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2, 3, 5):
        config = make(epsilon=numerator / 255, step_size=numerator / 3 / 255, **changes)
        if 0.2 < float(carry_out(config, model, images, labels).robust.float().mean()) < 0.8:
            return config
    raise AssertionError("no radius breaks some images but not all")


@every_attack
@pytest.mark.parametrize("epsilon", [1e-6, 1 / 255, 16 / 255, 1.0])
def test_that_adversarial_images_stay_in_the_ball_and_the_box(make, weak, epsilon: float) -> None:
    model, images, labels = weak
    verdict = carry_out(make(epsilon=epsilon, step_size=epsilon / 2, restarts=2), model, images, labels)
    assert verdict.adversarial.dtype == images.dtype
    assert torch.isfinite(verdict.adversarial).all()
    assert float((verdict.adversarial - images).abs().max()) <= epsilon * (1 + 1e-5) + 1e-7
    assert 0 <= float(verdict.adversarial.min()) <= float(verdict.adversarial.max()) <= 1


@every_attack
def test_that_a_tiny_ball_breaks_nothing(make, weak) -> None:
    model, images, labels = weak
    verdict = carry_out(make(epsilon=1e-9, step_size=1e-9), model, images, labels)
    assert verdict.robust.all()
    torch.testing.assert_close(verdict.adversarial, images, rtol=0, atol=1e-7)


@every_attack
def test_that_a_weak_network_falls_and_only_what_was_right_is_attacked(make, weak) -> None:
    model, images, labels = weak
    labels = labels.clone()
    labels[:3] = (labels[:3] + 1) % 5
    verdict = carry_out(make(), model, images, labels)
    assert (~verdict.robust[:3]).all()
    assert (verdict.restart[:3] == -1).all()
    assert torch.equal(verdict.adversarial[:3], images[:3])
    assert torch.equal(verdict.adversarial_prediction[:3], verdict.clean_prediction[:3])
    assert float(verdict.robust[3:].float().mean()) < 0.2
    assert float((verdict.adversarial[3:] - images[3:]).abs().amax((1, 2, 3)).min()) > 0.9 * EPSILON


@every_attack
def test_that_the_verdict_is_what_the_network_says_of_the_images_returned(make, weak) -> None:
    model, images, labels = weak
    verdict = carry_out(make(epsilon=2 / 255, step_size=1 / 255, restarts=3), model, images, labels)
    with torch.no_grad():
        again = model(verdict.adversarial).argmax(1)
    assert torch.equal(again, verdict.adversarial_prediction)
    assert torch.equal(verdict.robust, again == labels)
    assert torch.equal(verdict.restart >= 0, ~verdict.robust)


@every_attack
def test_that_the_seed_alone_decides(make, weak) -> None:
    model, images, labels = weak
    torch_state = torch.random.get_rng_state()
    one, same, other = (carry_out(make(), model, images, labels, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.adversarial, same.adversarial)
    assert not torch.equal(one.adversarial, other.adversarial)
    assert torch.equal(torch.random.get_rng_state(), torch_state)


@every_attack
def test_that_without_a_random_start_no_seed_matters(make, weak) -> None:
    model, images, labels = weak
    one, other = (carry_out(make(random_start=False), model, images, labels, seed=seed) for seed in (3, 4))
    assert torch.equal(one.adversarial, other.adversarial)


@every_attack
def test_that_a_sample_has_one_verdict_alone_in_a_batch_and_in_any_order(make, weak) -> None:
    model, images, labels = weak
    config = half_broken(make, weak, restarts=2)
    whole = carry_out(config, model, images, labels)
    alone = [
        carry_out(config, model, images[i : i + 1], labels[i : i + 1], ids=IDS[i : i + 1])
        for i in range(len(images))
    ]
    assert torch.equal(torch.cat([verdict.robust for verdict in alone]), whole.robust)
    torch.testing.assert_close(
        torch.cat([verdict.adversarial for verdict in alone]),
        whole.adversarial,
        rtol=0,
        atol=2 * config.epsilon,
    )
    turned = carry_out(config, model, images.flip(0), labels.flip(0), ids=IDS.flip(0))
    assert torch.equal(turned.robust.flip(0), whole.robust)


@every_attack
def test_that_restarts_never_lower_the_success_and_the_first_is_the_same(make, weak) -> None:
    model, images, labels = weak
    first = half_broken(make, weak, steps=1)
    verdicts = [
        carry_out(first.model_copy(update={"restarts": count}), model, images, labels)
        for count in (1, 2, 4, 16)
    ]
    for fewer, more in zip(verdicts, verdicts[1:], strict=False):
        assert not (more.robust & ~fewer.robust).any()
        broken = ~fewer.robust
        assert torch.equal(fewer.restart[broken], more.restart[broken])
        assert torch.equal(fewer.adversarial[broken], more.adversarial[broken])
    assert int(verdicts[-1].restart.max()) > 0, "a later restart must have broken something"


@every_attack
@pytest.mark.parametrize("fails", [False, True], ids=["ends", "raises"])
def test_that_flags_buffers_gradients_and_random_state_stay_as_they_were(make, fails: bool) -> None:
    model = warm(small_model())
    model.train()
    model.block(2).eval()
    model.block(3).bn1.eval()
    model.block(1).requires_grad_(False)
    images, labels = images_and_labels()
    model.train()(images).sum().backward()
    model.block(2).eval()
    before, untouched = everything(model), images.clone()
    steps = iter(range(3))
    with evaluation(model), torch.no_grad():
        labels = model(images).argmax(1)
    if fails:
        with pytest.raises(StopIteration):
            carry_out(make(), model, images, labels, each_step=lambda: next(steps) and None)
    else:
        carry_out(make(), model, images, labels)
    assert_unchanged(before, model)
    assert torch.equal(images, untouched)
    assert not images.requires_grad


@every_attack
def test_that_the_attack_sees_eval_mode_while_the_network_trains(make, weak) -> None:
    model, images, labels = weak
    in_eval = carry_out(make(), model, images, labels)
    model.train()
    try:
        in_train = carry_out(make(), model, images, labels)
    finally:
        model.eval()
    assert torch.equal(in_eval.adversarial, in_train.adversarial)


@every_attack
def test_that_a_request_ends_the_attack_before_its_next_step(make, weak) -> None:
    model, images, labels = weak
    control, steps = RunControl(), []

    def each_step() -> None:
        steps.append(None)
        if len(steps) == 3:
            control.request("stop")
        control.check()

    with pytest.raises(Interrupted) as caught:
        carry_out(make(), model, images, labels, each_step=each_step)
    assert (caught.value.request, len(steps)) == ("stop", 3)


@every_attack
def test_that_outputs_that_are_no_numbers_are_told_as_that(make, weak) -> None:
    _, images, labels = weak
    broken = small_model()
    with torch.no_grad():
        broken.classifier.weight.fill_(torch.nan)
    with pytest.raises(DivergedError, match="outputs of the network are not numbers"):
        carry_out(make(), broken, images, torch.zeros_like(labels))


class Linear(nn.Module):
    """Logits W x + b."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.t() + self.bias


def exactly_robust(model: Linear, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Margins [B] in the worst corner of ball and box: an image is robust if and only if its margin is positive."""
    flat, weight, bias = (value.detach().double() for value in (images.flatten(1), model.weight, model.bias))
    low, high = (flat - epsilon).clamp(min=0), (flat + epsilon).clamp(max=1)
    margins = torch.full((len(flat), len(weight)), torch.inf, dtype=torch.float64)
    for index, label in enumerate(labels.tolist()):
        for other in range(len(weight)):
            if other != label:
                difference = weight[label] - weight[other]
                worst = torch.where(difference > 0, low[index], high[index])
                margins[index, other] = difference @ worst + bias[label] - bias[other]
    return margins.amin(1)


@every_attack
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("epsilon", [0.01, 0.03, 0.1])
def test_that_robust_accuracy_of_a_linear_network_is_never_below_the_exact_one_and_close(
    make, classes: int, epsilon: float
) -> None:
    draw = torch.Generator().manual_seed(classes)
    count, size = 200, 8
    images = torch.rand(count, 3, size, size, generator=draw).mul(1.4).sub(0.2).clamp(0, 1)
    model = Linear(
        torch.randn(classes, 3 * size * size, generator=draw) * 0.3, torch.randn(classes, generator=draw)
    )
    with torch.no_grad():
        labels = model(images).argmax(1)
    margins = exactly_robust(model, images, labels, epsilon)
    exact = margins > 0
    config = make(epsilon=epsilon, step_size=epsilon / 4, steps=30, restarts=3)
    found = carry_out(config, model, images, labels, ids=torch.arange(count)).robust
    sure = margins.abs() > 1e-5
    assert not (exact & ~found & sure).any(), "an attack that breaks what cannot be broken left the ball"
    allowed = 0.0 if classes == 2 else 0.04  # the gradient of cross-entropy may pull towards the wrong rival
    assert float((found & ~exact & sure).float().mean()) <= allowed


class Jump(Attack):
    """Moves every pixel by `size`, whatever is allowed."""

    size = 0.2

    def run(self, task: Task) -> Outcome:
        """See `Attack.run`."""
        return Outcome(task.images + self.size, torch.ones_like(task.labels))


@pytest.mark.parametrize(
    ("jump", "level", "refused"),
    [
        (0.05, 0.5, False),
        (0.0501, 0.5, True),
        (0.05, 0.97, True),
        (-0.05, 0.03, True),
        (float("nan"), 0.5, True),
    ],
    ids=["inside", "outside the ball", "above 1", "below 0", "not a number"],
)
def test_that_an_attack_that_leaves_ball_or_box_is_refused(jump: float, level: float, refused: bool) -> None:
    model, images = small_model().eval(), torch.full((2, 3, 16, 16), level)
    with torch.no_grad():
        labels = model(images).argmax(1)
    attack = Jump(AttackConfig(epsilon=0.05))
    attack.size = jump
    if refused:
        with pytest.raises(ValueError, match="left the ball of 0.05 or the box 0..1 on 2 images"):
            attack(model, images, labels, seed=0, sample_ids=IDS[:2])
    else:
        assert attack(model, images, labels, seed=0, sample_ids=IDS[:2]).adversarial is not None


def test_that_pgd_starts_take_the_noise_of_their_sample_and_restart() -> None:
    """The noise is a function of seed, attack, restart and sample, uniform over the ball."""
    seen: list[Tensor] = []

    class Watch(Jump):
        def run(self, task: Task) -> Outcome:
            seen.append(task.noise.rand(*task.images.shape[1:]) * 2 - 1)
            return Outcome(task.images, torch.ones_like(task.labels))

    model, images = small_model().eval(), torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = model(images).argmax(1)
    Watch(AttackConfig(restarts=2))(model, images, labels, seed=0, sample_ids=IDS[:6])
    Watch(AttackConfig(restarts=2))(model, images[3:4], labels[3:4], seed=0, sample_ids=IDS[3:4])
    first, second, alone, alone_second = seen
    assert torch.equal(first[3:4], alone)
    assert torch.equal(second[3:4], alone_second)
    assert not torch.equal(first, second)
    assert -1 <= float(first.min()) < -0.99
    assert 0.99 < float(first.max()) <= 1
    assert abs(float(first.mean())) < 0.05
    assert float(first.std()) == pytest.approx(3**-0.5, rel=0.03)


def test_that_a_pgd_step_is_the_textbook_one() -> None:
    """Three steps against the formula written out with numpy-like operations on a linear network."""
    draw = torch.Generator().manual_seed(0)
    model = Linear(torch.randn(4, 12, generator=draw), torch.zeros(4))
    images = torch.rand(5, 3, 2, 2, generator=draw)
    labels = torch.tensor([0, 1, 2, 3, 0])
    expected = images.flatten(1)
    for _ in range(3):
        scores = torch.softmax(expected @ model.weight.detach().t(), 1)
        scores[torch.arange(5), labels] -= 1
        expected = expected + 0.05 * torch.sign(scores @ model.weight.detach())
        expected = torch.max(torch.min(expected, images.flatten(1) + 0.1), images.flatten(1) - 0.1).clamp(
            0, 1
        )
    found = projected_gradient_descent(
        model, images, labels, start=images, epsilon=0.1, step_size=0.05, steps=3, ball=LinfBall()
    ).adversarial
    torch.testing.assert_close(found.flatten(1), expected, rtol=0, atol=1e-6)


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


def test_that_stronger_attacks_break_no_less_on_learnt_images() -> None:
    data = small_set(40, classes=2)
    model = small_model()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    images = data.images.float() / 255
    for step in range(20):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(images), data.labels).backward()
        if step < 8:  # the rest lets the running statistics settle
            optimiser.step()
    model.eval()
    shares = []
    for epsilon in (1e-6, 8 / 255, 32 / 255, 0.3):
        config = AttackConfig(epsilon=epsilon, step_size=epsilon / 4, steps=10)
        verdict = carry_out(config, model, images, data.labels, ids=data.ids)
        shares.append(float(verdict.robust.float().mean()))
    assert shares[0] > 0.9
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] <= 0.5
