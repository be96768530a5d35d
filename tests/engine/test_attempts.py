"""What one attempt on a batch tells and refuses: certificate, noise of a sample, judge, margins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.attacks import Attack
from engine.attacks.base import Outcome, Task, clean_logits
from engine.config import AttackConfig
from tests.engine.test_attacks import CLASSES, IDS, built, configured, half_broken, weak

pytestmark = pytest.mark.usefixtures("untouched_random_state")


class Jump(Attack):
    """Moves every pixel by `size`, whatever is allowed."""

    size = 0.2

    def run(self, task: Task) -> Outcome:
        """See `Attack.run`."""
        return Outcome(task.images + self.size, torch.ones_like(task.labels))


class Search(Jump):
    """The same, for an attack that may end outside of the ball."""

    minimum_norm = True


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize(
    ("jump", "level", "refused"),
    [
        (0.05, 0.5, None),
        (0.0501, 0.5, "ball"),
        (0.05, 0.97, "box"),
        (-0.05, 0.03, "box"),
        (float("nan"), 0.5, "box"),
    ],
    ids=["inside", "outside the ball", "above 1", "below 0", "not a number"],
)
def test_that_an_attack_that_leaves_ball_or_box_is_refused(
    norm: str, jump: float, level: float, refused: str | None
) -> None:
    model, images = weak()[0], torch.full((2, 3, 8, 8), level)
    with torch.no_grad():
        labels = model(images).argmax(1)
    pixels = {"linf": 1, "l2": 192**0.5, "l1": 192}[norm]
    for kind in (Jump, Search):
        attack = kind(AttackConfig(norm=norm, epsilon=0.05 * pixels, step_size=0.05))
        attack.size = jump
        if refused == "box" or (refused and kind is Jump):
            with pytest.raises(ValueError, match=r"left the ball of .* or the box 0..1 on 2 images"):
                attack(model, images, labels, seed=0, sample_ids=IDS[:2])
        else:
            found = attack.attempt(
                model,
                images,
                (labels + 1) % CLASSES,
                logits=model(images).detach(),
                seed=0,
                sample_ids=IDS[:2],
            )
            assert torch.equal(found.certified, torch.tensor([refused is None] * 2))
            assert not (found.broken & ~found.certified).any()
            np.testing.assert_allclose(found.norm, jump * pixels, rtol=1e-5)


def test_that_starts_take_the_noise_of_their_sample_and_restart() -> None:
    """The noise is a function of seed, attack, restart and sample."""
    seen: list[Tensor] = []

    class Watch(Jump):
        def run(self, task: Task) -> Outcome:
            seen.append(task.noise.rand(*task.images.shape[1:]))
            return Outcome(task.images, torch.ones_like(task.labels))

    model, images, labels = weak()
    Watch(AttackConfig(restarts=2))(model, images, labels, seed=0, sample_ids=IDS)
    Watch(AttackConfig(restarts=2))(model, images[3:4], labels[3:4], seed=0, sample_ids=IDS[3:4])
    first, second, alone, alone_second = seen
    assert torch.equal(first[3:4], alone)
    assert torch.equal(second[3:4], alone_second)
    assert not torch.equal(first, second)
    assert len(first.flatten().unique()) > 0.99 * first.numel()


def test_that_the_judge_decides_on_images_made_with_another_form_of_the_network() -> None:
    model, images, labels = weak()

    class Opposite(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return -model(images)

    attack = built(configured("pgd", "linf", epsilon=1e-6))
    found = attack.attempt(
        model, images, labels, logits=clean_logits(model, images), seed=0, sample_ids=IDS, judge=Opposite()
    )
    assert found.broken.all()
    assert (found.margin < 0).all()


def test_that_an_attempt_tells_margin_confidence_and_class_of_what_it_made() -> None:
    model, images, labels = weak()
    attack = built(half_broken("pgd", "linf").model_copy(update={"targets": 2}))
    logits = clean_logits(model, images)
    for one in attack.passes:
        found = attack.attempt(model, images, labels, logits=logits, seed=0, sample_ids=IDS, one=one)
        with torch.no_grad():
            made = model(found.adversarial).double().numpy()
        true = made[np.arange(len(made)), labels]
        others = np.where(np.arange(CLASSES) == labels.numpy()[:, None], -np.inf, made)
        np.testing.assert_allclose(found.margin, true - others.max(1), atol=1e-5)
        np.testing.assert_allclose(
            found.confidence, 1 / np.exp(made - made.max(1)[:, None]).sum(1), rtol=1e-5
        )
        assert found.prediction.tolist() == made.argmax(1).tolist()
        ranked = [
            [k for k in np.argsort(-row) if k != label]
            for row, label in zip(logits.numpy(), labels.tolist(), strict=True)
        ]
        assert found.target.tolist() == [order[one.rank] for order in ranked]
    assert [one.rank for one in attack.passes] == [0, 1]
