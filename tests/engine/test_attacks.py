"""One row per attack: certificate, invariants and determinism, in every norm that the attack is defined for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.attacks import Attack, Verdict, attacks
from engine.attacks.base import clean_logits
from engine.config import ATTACKS, AttackConfig, members_of
from engine.control import Interrupted, RunControl
from engine.errors import DataError, DivergedError
from tests.engine.small import assert_unchanged, everything, images_and_labels

pytestmark = pytest.mark.usefixtures("untouched_random_state")

#: Each attack with settings that break a weak network in little time.
ROWS: dict[str, dict[str, Any]] = {
    "noise": {"restarts": 3},
    "fgsm": {},
    "pgd": {"steps": 6},
    "momentum_pgd": {"steps": 6},
    "transfer": {"steps": 6, "surrogate": "another"},
    "apgd_ce": {"steps": 8},
    "apgd_dlr": {"steps": 8},
    "apgd_t": {"steps": 8, "targets": 2},
    "fab_t": {"steps": 8, "targets": 2},
    "square": {"queries": 60},
    "carlini_wagner": {"steps": 10, "searches": 3, "learning_rate": 0.1, "initial_weight": 1.0},
    "deepfool": {"steps": 8},
}
CASES = [pytest.param(name, norm, id=f"{name}-{norm}") for name in ROWS for norm in ATTACKS[name].norms]
every_attack = pytest.mark.parametrize(("name", "norm"), CASES)
RADII = {"linf": 0.1, "l2": 1.0, "l1": 10.0}
CLASSES = 5
IDS = torch.arange(12) + 100


def test_that_every_registered_attack_has_a_row() -> None:
    assert set(ROWS) == set(attacks.names) == set(ATTACKS) - {"autoattack"}


def configured(name: str, norm: str, **changes: Any) -> AttackConfig:
    """A row's settings; what an attack does not have is left out of the changes."""
    has = ATTACKS[name].settings
    settings = {"epsilon": RADII[norm]} | ROWS[name] | changes
    settings = {"step_size": settings["epsilon"] / 4} | settings
    known = {key: value for key, value in settings.items() if key == "epsilon" or key in has}
    return AttackConfig(name=name, norm=norm, **known)


def built(config: AttackConfig) -> Attack:
    attack = attacks[config.name](config)
    attack.surrogate = network(seed=1)
    return attack


def carry_out(
    config: AttackConfig, model: nn.Module, images: Tensor, labels: Tensor, *, seed: int = 0, ids: Tensor = IDS,
    each_step: Callable[[], None] = lambda: None,
) -> Verdict:  # fmt: skip
    return built(config)(model, images, labels, seed=seed, sample_ids=ids, each_step=each_step)


def network(classes: int = CLASSES, *, seed: int = 0) -> nn.Module:
    """Drawn weights, nested modules and batch norm with statistics that are not the first ones."""
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
            nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
            nn.Flatten(),
            nn.Linear(8 * 16, classes),
        )
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.uniform_(-0.3, 0.3, generator=draw)
        for layer in (model[0][1], model[1][1]):
            layer.running_var.uniform_(0.2, 0.5, generator=draw)
            layer.weight.uniform_(0.5, 1.5, generator=draw)
        model[-1].bias -= model.eval()(images_and_labels(size=8)[0]).mean(0)  # so that no class takes all
    return model


@cache
def weak(classes: int = CLASSES) -> tuple[nn.Module, Tensor, Tensor]:
    """A network with images it gets right: each is labelled with the class the network gives it."""
    model, (images, _) = network(classes).eval(), images_and_labels(size=8)
    with torch.no_grad():
        return model, images, model(images).argmax(1)


def lengths(change: Tensor, norm: str) -> np.ndarray:
    """Least norm [B] that a change can have had before float32 rounded its pixels."""
    flat = np.maximum(change.flatten(1).double().abs().numpy() - 1e-7, 0)
    return np.linalg.norm(flat, ord={"linf": np.inf, "l2": 2, "l1": 1}[norm], axis=1)


@cache
def half_broken(name: str, norm: str, **changes: Any) -> AttackConfig:
    """A row with a radius at which it breaks some images but not all, found by halving."""
    model, images, labels = weak()
    low, high = RADII[norm] * 1e-3, min(RADII[norm] * 10, 1.0 if norm == "linf" else 1000)
    for _ in range(20):
        epsilon = (low * high) ** 0.5
        config = configured(name, norm, epsilon=epsilon, **changes)
        share = float(carry_out(config, model, images, labels).robust.float().mean())
        if 0.2 < share < 0.8:
            return config
        low, high = (epsilon, high) if share >= 0.8 else (low, epsilon)
    raise AssertionError("no radius breaks some images but not all")


@cache
def at_half(name: str, norm: str) -> tuple[AttackConfig, Verdict, int]:
    """That row, what it finds on the weak network with seed 0, and how many steps it counts."""
    config, steps = half_broken(name, norm), []
    verdict = carry_out(config, *weak(), each_step=lambda: steps.append(None))
    return config, verdict, len(steps)


@every_attack
@pytest.mark.parametrize("share", [1e-5, 0.3, 10.0])
def test_that_adversarial_images_stay_in_the_ball_and_the_box(name: str, norm: str, share: float) -> None:
    model, images, labels = weak()
    epsilon, untouched = RADII[norm] * share, images.clone()
    attack = built(configured(name, norm, epsilon=epsilon, restarts=2))
    verdict = attack(model, images, labels, seed=0, sample_ids=IDS)
    assert verdict.adversarial.dtype == images.dtype
    assert torch.isfinite(verdict.adversarial).all()
    assert 0 <= float(verdict.adversarial.min()) <= float(verdict.adversarial.max()) <= 1
    inside = lengths(verdict.adversarial - images, norm) <= epsilon * (1 + 1e-5)
    assert inside[~verdict.robust.numpy()].all(), "what lies outside of the ball breaks nothing"
    assert inside.all() or attack.minimum_norm
    assert torch.equal(images, untouched)
    assert not images.requires_grad
    assert not verdict.adversarial.requires_grad


@every_attack
def test_that_a_tiny_ball_breaks_nothing(name: str, norm: str) -> None:
    model, images, labels = weak()
    attack = built(configured(name, norm, epsilon=1e-9))
    verdict = attack(model, images, labels, seed=0, sample_ids=IDS)
    assert verdict.robust.all()
    if not attack.minimum_norm:
        torch.testing.assert_close(verdict.adversarial, images, rtol=0, atol=1e-7)


@every_attack
def test_that_a_weak_network_falls_and_only_what_was_right_is_attacked(name: str, norm: str) -> None:
    model, images, labels = weak()
    labels = labels.clone()
    labels[:3] = (labels[:3] + 1) % CLASSES
    verdict = carry_out(configured(name, norm), model, images, labels)
    assert (~verdict.robust[:3]).all()
    assert (verdict.restart[:3] == -1).all()
    assert torch.equal(verdict.adversarial[:3], images[:3])
    assert torch.equal(verdict.adversarial_prediction[:3], verdict.clean_prediction[:3])
    if name not in ("noise", "transfer"):  # they know nothing of this network
        assert float(verdict.robust[3:].float().mean()) < 0.2


@every_attack
def test_that_the_verdict_is_what_the_network_says_of_the_images_returned(name: str, norm: str) -> None:
    model, images, labels = weak()
    config, verdict, _ = at_half(name, norm)
    with torch.no_grad():
        again = model(verdict.adversarial).argmax(1)
    inside = torch.from_numpy(lengths(verdict.adversarial - images, norm) <= config.epsilon * (1 + 1e-5))
    assert torch.equal(again, verdict.adversarial_prediction)
    assert torch.equal(verdict.robust, ~((again != labels) & inside))
    assert torch.equal(verdict.restart >= 0, ~verdict.robust)


@every_attack
def test_that_the_seed_alone_decides(name: str, norm: str) -> None:
    model, images, labels = weak()
    config, one, _ = at_half(name, norm)
    same, other = (carry_out(config, model, images, labels, seed=seed) for seed in (0, 1))
    assert torch.equal(one.adversarial, same.adversarial)
    assert torch.equal(one.adversarial, other.adversarial) == (name in WITHOUT_CHANCE)


#: These begin at the image and draw nothing, at least in the first of their restarts.
WITHOUT_CHANCE = ("fgsm", "fab_t", "carlini_wagner", "deepfool")


@pytest.mark.parametrize("name", [name for name in ROWS if "random_start" in ATTACKS[name].settings])
def test_that_without_a_random_start_no_seed_matters(name: str) -> None:
    model, images, labels = weak()
    config = configured(name, "linf", random_start=False)
    one, other = (carry_out(config, model, images, labels, seed=seed) for seed in (3, 4))
    assert torch.equal(one.adversarial, other.adversarial)


@every_attack
def test_that_a_sample_has_one_verdict_alone_in_a_batch_and_in_any_order(name: str, norm: str) -> None:
    model, images, labels = weak()
    config, whole, _ = at_half(name, norm)
    for part in (*torch.arange(4).split(1), torch.arange(4, 12), torch.arange(12).flip(0)):
        verdict = carry_out(config, model, images[part], labels[part], ids=IDS[part])
        assert torch.equal(verdict.robust, whole.robust[part])
        assert torch.equal(verdict.restart, whole.restart[part])


@pytest.mark.parametrize(
    ("name", "norm"), [case for case in CASES if "restarts" in ATTACKS[case.values[0]].settings]
)
def test_that_restarts_never_lower_the_success_and_the_first_is_the_same(name: str, norm: str) -> None:
    model, images, labels = weak()
    config = at_half(name, norm)[0]
    verdicts = [
        carry_out(config.model_copy(update={"restarts": count}), model, images, labels) for count in (1, 2, 3)
    ]
    for fewer, more in pairwise(verdicts):
        broken = ~fewer.robust
        assert not (more.robust & broken).any()
        if not config.targets:  # else a restart for one class comes before the first for the next
            assert torch.equal(fewer.restart[broken], more.restart[broken])
            assert torch.equal(fewer.adversarial[broken], more.adversarial[broken])


def test_that_a_later_restart_breaks_what_the_first_did_not() -> None:
    model, images, labels = weak()
    config = half_broken("pgd", "linf", steps=1).model_copy(update={"restarts": 16})
    assert int(carry_out(config, model, images, labels).restart.max()) > 0


@every_attack
def test_that_a_training_network_stays_as_it_was_and_is_attacked_in_eval_mode(name: str, norm: str) -> None:
    model, images, labels = network(), *weak()[1:]
    model.train()(images).sum().backward()
    with torch.no_grad():  # the pass above has moved the statistics
        for own, value in zip(model.buffers(), weak()[0].buffers(), strict=True):
            own.copy_(value)
    model[0].eval()
    model[1][1].eval()
    model[0].requires_grad_(False)
    config, expected, steps = at_half(name, norm)
    before = everything(model)
    assert torch.equal(carry_out(config, model, images, labels).adversarial, expected.adversarial)
    assert_unchanged(before, model)
    left = iter(range(steps // 2))
    with pytest.raises(StopIteration):
        carry_out(config, model, images, labels, each_step=lambda: next(left) and None)
    assert_unchanged(before, model)


@every_attack
def test_that_a_request_ends_the_attack_before_its_next_step(name: str, norm: str) -> None:
    model, images, labels = weak()
    config, _, count = at_half(name, norm)
    last, control, steps = (count + 1) // 2, RunControl(), []

    def each_step() -> None:
        steps.append(None)
        if len(steps) == last:
            control.request("stop")
        control.check()

    with pytest.raises(Interrupted) as caught:
        carry_out(config, model, images, labels, each_step=each_step)
    assert (caught.value.request, len(steps)) == ("stop", last)


@every_attack
@pytest.mark.parametrize("classes", [2, 3])
def test_that_an_attack_works_with_few_classes_or_says_how_many_it_needs(
    name: str, norm: str, classes: int
) -> None:
    model, images, labels = weak(classes)
    needed = {"apgd_dlr": 3, "apgd_t": 4}.get(name, 2)
    if classes < needed:
        with pytest.raises(ValueError, match=f"needs {needed} classes, the network has {classes}"):
            members_of(configured(name, norm), classes)
        return
    (config,), _ = members_of(configured(name, norm, targets=9 if ROWS[name].get("targets") else 0), classes)
    assert config.targets <= classes - 1
    verdict = carry_out(config, model, images, labels)
    if name not in ("noise", "transfer"):
        assert float(verdict.robust.float().mean()) < 0.5


class Waves(nn.Module):
    """Classes that alternate with brightness, so that a step may lead through the wrong one and out again."""

    def forward(self, images: Tensor) -> Tensor:
        wave = torch.sin(40 * images.mean((1, 2, 3)))
        return torch.stack((wave, -wave), 1)


@pytest.mark.parametrize("name", ["pgd", "momentum_pgd"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_that_any_step_is_never_above_the_last_step_which_tells_it_too(name: str, norm: str) -> None:
    model, images = Waves(), weak()[1]
    labels = model(images).argmax(1)
    last, any_step = (
        built(configured(name, norm, judged_at=judged, step_size=RADII[norm], steps=5)).attempt(
            model, images, labels, logits=clean_logits(model, images), seed=0, sample_ids=IDS
        )
        for judged in ("last_step", "any_step")
    )
    assert torch.equal(last.broken_on_the_way, any_step.broken)
    assert torch.equal(any_step.broken, any_step.broken_on_the_way)
    assert not (last.broken & ~any_step.broken).any()
    assert 0 < int(last.broken.sum()) < int(any_step.broken.sum())
    assert torch.equal(any_step.steps, last.steps)


@every_attack
def test_that_outputs_that_are_no_numbers_are_told_as_that(name: str, norm: str) -> None:
    _, images, labels = weak()
    broken = network()
    with torch.no_grad():
        broken[-1].weight.fill_(torch.nan)
    with pytest.raises(DivergedError, match="outputs of the network are not numbers"):
        carry_out(configured(name, norm), broken, images, torch.zeros_like(labels))


@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.5), (0.0, 255.0), (0.0, float("nan"))])
def test_that_images_that_are_not_pixels_are_refused(low: float, high: float) -> None:
    model, images, labels = weak()
    images = images.clone()
    images[0, 0, 0, 0], images[1, 0, 0, 0] = low, high
    with pytest.raises(DataError, match="Attacks need pixels from 0 to 1"):
        carry_out(configured("pgd", "linf"), model, images, labels)
