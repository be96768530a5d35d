"""One network or ledger per reason for doubt, and healthy ones that give none."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.api import presets
from engine.config import AttackConfig, PretrainingConfig
from engine.data import ImageSet
from engine.errors import DataError
from engine.evaluation.evaluate import Evaluation, Told
from engine.evaluation.plan import Plan
from engine.evaluation.signs import clearly_more, doubts, masking, merged, signs, weaknesses
from engine.evaluation.warnings import IMAGES, examine
from engine.events import AttackPoint, AttackWarning
from engine.training.selection import Selection
from tests.engine.peers import Peer, convolutional_peer, linear_peer
from tests.engine.small import assert_unchanged, everything, small_model

pytestmark = pytest.mark.usefixtures("untouched_random_state")

#: Attacks whose settings alone are beyond doubt.
SOUND = {
    "pgd": {},
    "pgd, large radius": {"epsilon": 32 / 255, "step_size": 8 / 255},
    "pgd, tiny radius": {"epsilon": 0.5 / 255, "step_size": 0.125 / 255},
    "pgd, L2": {"norm": "l2"},
    "pgd, L1": {"norm": "l1", "step_size": 2.0},
    "pgd, margin": {"loss": "margin"},
    "pgd, DLR": {"loss": "dlr"},
    "targeted pgd": {"targets": 3, "loss": "margin"},
    "deepfool": {"name": "deepfool"},
    "autoattack": {"name": "autoattack"},
    "autoattack, L2": {"name": "autoattack", "norm": "l2"},
}


@pytest.fixture(scope="module")
def healthy() -> Peer:
    """An adversarially trained network."""
    return convolutional_peer()


def told(
    model: nn.Module, peer: Peer, *, seed: int = 0, classes: int = 10, **settings: object
) -> dict[str, AttackWarning]:
    """The warnings of an examination by their codes."""
    found = examine(
        model, peer.images, peer.labels, config=AttackConfig.model_validate(settings), num_classes=classes, seed=seed
    )  # fmt: skip
    return {one.code: one for one in found}


class Around(nn.Module):
    """Another network around this one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


@pytest.mark.parametrize("settings", SOUND.values(), ids=SOUND.keys())
@pytest.mark.parametrize("peer", [convolutional_peer, linear_peer], ids=["conv-BN", "linear"])
def test_that_a_healthy_network_raises_no_doubt(peer: Callable[[], Peer], settings: dict) -> None:
    assert told(peer().model, peer(), **settings) == {}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [4, 16, 40, 128])
def test_that_a_healthy_network_raises_no_doubt_with_any_seed_images_and_number_of_them(
    healthy: Peer, seed: int, count: int
) -> None:
    drawn = torch.randperm(len(healthy.images), generator=torch.Generator().manual_seed(seed))[:count]
    peer = Peer("", healthy.model, healthy.images[drawn], healthy.labels[drawn], {})
    assert told(peer.model, peer, seed=seed, batch_size=[0, 16, 250][seed % 3]) == {}


def test_that_an_untrained_network_raises_no_doubt_about_masking(healthy: Peer) -> None:
    assert "gradient_masking" not in told(small_model(10), healthy)


class Softmax(Around):
    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).softmax(1)


class Halved(Around):
    """In bfloat16."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(copy.deepcopy(model).bfloat16())

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images.bfloat16())


class HalvedSoftmax(Halved):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).softmax(1)


class Dropout(Around):
    """Drops out in eval mode too."""

    def forward(self, images: Tensor) -> Tensor:
        return F.dropout(self.model(images), 0.2, training=True)


class BatchStatistics(Around):
    """Normalises logits by those of the batch, and keeps statistics, as batch norm in training."""

    def __init__(self, model: nn.Module, *, keeps: bool) -> None:
        super().__init__(model)
        self.keeps = keeps
        self.register_buffer("running_mean", torch.zeros(10))
        self.register_buffer("running_var", torch.ones(10))

    def forward(self, images: Tensor) -> Tensor:
        running = (self.running_mean, self.running_var) if self.keeps else (None, None)
        return F.batch_norm(self.model(images), *running, training=True)


class Counting(Around):
    """Counts its passes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.register_buffer("passes", torch.tensor(0))

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        return self.model(images)


class Saturated(Around):
    """Logits so large that the cross-entropy has no gradient in float32."""

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images) * 1e4


class Rounded(Around):
    """Rounds its input to 8 bits."""

    def forward(self, images: Tensor) -> Tensor:
        return self.model((images * 255).round() / 255)


class NotANumber(Around):
    """The gradient of black pixels is infinite, times zero."""

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images) + (images.sqrt() * 0).flatten(1).sum(1, keepdim=True)


class Backwards(Around):
    """Its gradients point the wrong way."""

    def forward(self, images: Tensor) -> Tensor:
        logits = self.model(images)
        return 2 * logits.detach() - logits


class Trap(Around):
    """Gradients are right at images of 8 bits, where an attack begins, and wrong wherever it gets to."""

    def forward(self, images: Tensor) -> Tensor:
        logits = self.model(images)
        levels = images.detach() * 255
        on_grid = ((levels - levels.round()).abs() < 1e-3).flatten(1).all(1)[:, None]
        return torch.where(on_grid, logits, 2 * logits.detach() - logits)


class Detached(Around):
    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).detach()


class Unused(Around):
    """Has gradients, but none for its input."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.shift = nn.Parameter(torch.zeros(10))

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images.detach()) + self.shift


class Purifying(Around):
    """Moves the image to where it is surer of it before it predicts."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.enable_grad():
            given = images.detach().requires_grad_(True)
            (slope,) = torch.autograd.grad(self.model(given).logsumexp(1).sum(), given)
        return self.model(images + 0.001 * slope.sign())


class FunctionallyPurifying(Around):
    def forward(self, images: Tensor) -> Tensor:
        slope = torch.func.grad(lambda given: self.model(given).logsumexp(1).sum())(images.detach())
        return self.model(images + 0.001 * slope.sign())


class Constant(Around):
    def forward(self, images: Tensor) -> Tensor:
        return self.model(images) * 0 + 5 * torch.eye(10)[3]


class ExpectsNormalised(Around):
    def __init__(self, model: nn.Module, images: Tensor) -> None:
        super().__init__(model)
        self.deviation, self.mean = torch.std_mean(images, dim=(0, 2, 3), keepdim=True)

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images * self.deviation + self.mean)


FAILURES: dict[str, tuple[Callable[[Peer], nn.Module], set[str], str]] = {
    "softmax": (lambda peer: Softmax(peer.model), {"softmax"}, "add up to 1"),
    "bfloat16": (lambda peer: Halved(peer.model), {"precision"}, "bfloat16, not float32"),
    "softmax in bfloat16": (lambda peer: HalvedSoftmax(peer.model), {"precision", "softmax"}, "add up to 1"),
    "dropout": (lambda peer: Dropout(peer.model), {"randomised"}, "differ by up to"),
    "batch statistics": (lambda peer: BatchStatistics(peer.model, keeps=False), {"train_mode"}, "in a batch of 128"),
    "train mode": (lambda peer: BatchStatistics(peer.model, keeps=True), {"train_mode"}, "changed running_mean, running_var"),
    "a counter": (lambda peer: Counting(peer.model), {"train_mode"}, "changed passes"),
    "saturated": (lambda peer: Saturated(peer.model), {"gradient_masking"}, "cross-entropy is zero or no number on"),
    "rounded": (lambda peer: Rounded(peer.model), {"gradient_masking"}, "128 of 128 images. On 128 of these the outputs do"),
    "not a number": (lambda peer: NotANumber(peer.model), {"gradient_masking"}, "zero or no number on"),
    "backwards": (lambda peer: Backwards(peer.model), {"gradient_masking"}, "withstand PGD-10 even if every pixel"),
    "trap": (lambda peer: Trap(peer.model), {"gradient_masking"}, "one step (FGSM) breaks"),
    "detached": (lambda peer: Detached(peer.model), {"no_gradients"}, "does not require grad"),
    "input unused": (lambda peer: Unused(peer.model), {"no_gradients"}, "cannot differentiate it"),
    "purifying": (lambda peer: Purifying(peer.model), {"dynamic"}, "recorded some"),
    "purifying by torch.func": (lambda peer: FunctionallyPurifying(peer.model), {"dynamic"}, "recorded some"),
    "constant": (lambda peer: Constant(peer.model), {"constant"}, "all of 128 images for class 3"),
    "normalised": (lambda peer: ExpectsNormalised(peer.model, peer.images), {"normalised_input"}, "once each channel has mean 0"),
}  # fmt: skip
every_failure = pytest.mark.parametrize(("make", "codes", "words"), FAILURES.values(), ids=FAILURES.keys())


@every_failure
def test_that_each_failure_is_told_by_its_name_and_no_other(
    healthy: Peer, make: Callable[[Peer], nn.Module], codes: set[str], words: str
) -> None:
    found = told(
        make(healthy), healthy, epsilon=healthy.epsilon["linf"], step_size=healthy.epsilon["linf"] / 4
    )
    assert set(found) == codes
    assert words in " ".join(one.evidence for one in found.values())
    for one in found.values():
        assert one.title and len(one.title) <= 60
        assert one.evidence.endswith(".")
        assert one.advice.endswith(".") and one.advice.count(". ") == 0, "one sentence"


class Stuck(Around):
    """Has no gradient at some of the images."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        super().__init__(model)
        self.images = images

    def forward(self, images: Tensor) -> Tensor:
        logits = self.model(images)
        at = (images.detach()[:, None] == self.images).flatten(2).all(2).any(1)[:, None]
        return torch.where(at, logits.detach(), logits)


@pytest.mark.parametrize(("count", "codes"), [(1, set()), (2, {"gradient_masking"})])
def test_that_vanishing_gradients_are_told_from_one_in_a_hundred_on(
    healthy: Peer, count: int, codes: set[str]
) -> None:
    assert set(told(Stuck(healthy.model, healthy.images[:count]), healthy)) == codes


class Sigmoid(Around):
    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).sigmoid()


def test_that_outputs_in_0_to_1_that_do_not_add_up_are_no_probabilities(healthy: Peer) -> None:
    assert told(Sigmoid(healthy.model), healthy) == {}


def test_that_a_handful_of_images_says_nothing_about_normalisation(healthy: Peer) -> None:
    assert told(ExpectsNormalised(healthy.model, healthy.images), healthy.first(8)) == {}


def test_that_images_of_one_class_do_not_make_a_network_constant(healthy: Peer) -> None:
    same = healthy.labels == healthy.labels.mode().values
    assert int(same.sum()) >= 16
    assert told(healthy.model, Peer("", healthy.model, healthy.images[same], healthy.labels[same], {})) == {}


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        # The DLR loss and the margin do not saturate, and Square needs no gradients.
        (Saturated, {"name": "autoattack"}),
        (Saturated, {"loss": "dlr"}),
        (Saturated, {"loss": "margin"}),
        (Rounded, {"name": "square"}),
        (Detached, {"name": "square"}),
        (Backwards, {"name": "noise"}),
    ],
)
def test_that_gradients_an_attack_does_not_need_give_no_doubt(
    healthy: Peer, make: type[Around], settings: dict
) -> None:
    assert {"gradient_masking", "no_gradients"}.isdisjoint(told(make(healthy.model), healthy, **settings))


@pytest.mark.parametrize(
    ("settings", "averages"),
    [({"name": "autoattack", "version": "rand"}, True), ({"eot": 20}, True), ({"name": "autoattack"}, False)],
)
def test_that_averaging_is_advised_only_where_the_attack_does_not(
    healthy: Peer, settings: dict, averages: bool
) -> None:
    advice = told(Dropout(healthy.model), healthy, **settings)["randomised"].advice
    assert ("other seeds" in advice, "version = rand" in advice) == (averages, not averages)


@every_failure
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_that_an_examination_leaves_no_trace(
    healthy: Peer, make: Callable[[Peer], nn.Module], codes: set[str], words: str, training: bool
) -> None:
    model = copy.deepcopy(make(healthy)).train(training)
    for parameter in list(model.parameters())[::2]:
        parameter.requires_grad_(True)
        parameter.grad = torch.ones_like(parameter)
    list(model.children())[0].eval()
    before, images = everything(model), healthy.images.clone()
    told(model, healthy.first(40))
    assert_unchanged(before, model)
    assert torch.equal(healthy.images, images) and not healthy.images.requires_grad


def test_that_an_examination_that_is_interrupted_leaves_no_trace_either(healthy: Peer) -> None:
    model = BatchStatistics(healthy.model, keeps=True).train()
    before, passes = everything(model), iter(range(2))
    with pytest.raises(StopIteration):
        examine(
            model, healthy.images, healthy.labels, config=AttackConfig(), num_classes=10, seed=0,
            each_step=lambda: next(passes) and None,
        )  # fmt: skip
    assert_unchanged(before, model)


def test_that_buffers_that_are_no_numbers_and_stay_so_are_not_told_as_changed(healthy: Peer) -> None:
    model = copy.deepcopy(healthy.model)
    model.register_buffer("unused", torch.tensor([torch.nan, 1.0]))
    assert told(model, healthy) == {}


@pytest.mark.parametrize(
    ("make", "most"), [(lambda model: model, 35), (Backwards, 52)], ids=["healthy", "at worst"]
)
@pytest.mark.parametrize("batch_size", [0, 50])
def test_that_an_examination_costs_no_more_passes_than_it_says(
    healthy: Peer, make: Callable[[nn.Module], nn.Module], most: int, batch_size: int
) -> None:
    """A gradient counts as two passes."""
    spent, steps = [], []

    class Meter(Around):
        def forward(self, images: Tensor) -> Tensor:
            spent.append(len(images) * (2 if images.requires_grad else 1))
            return self.model(images)

    examine(
        Meter(make(healthy.model)), healthy.images, healthy.labels, num_classes=10, seed=0,
        config=AttackConfig(batch_size=batch_size), each_step=lambda: steps.append(None),
    )  # fmt: skip
    assert sum(spent) <= most * IMAGES
    assert max(spent) <= 2 * (batch_size or IMAGES)
    assert len(steps) >= len(spent) - 3, "asked before every pass but those over the clean images"


def test_that_the_same_seed_finds_the_same_in_a_random_network(healthy: Peer) -> None:
    model = Dropout(healthy.model)
    with torch.random.fork_rng():
        found = []
        for seed in (1, 1, 2):
            torch.manual_seed(len(found))
            found.append(told(model, healthy, seed=seed))
    assert found[0] == found[1] != found[2]


def test_that_an_examination_takes_fewer_images_at_once_where_memory_ends(healthy: Peer) -> None:
    class Small(Around):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 20:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return self.model(images)

    assert told(Small(healthy.model), healthy) == {}
    assert set(told(Small(Backwards(healthy.model)), healthy)) == {"gradient_masking"}


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_that_a_scripted_network_is_examined_too(healthy: Peer) -> None:
    scripted = torch.jit.script(copy.deepcopy(healthy.model))
    assert told(scripted, healthy) == {}
    assert set(told(torch.jit.script(Saturated(copy.deepcopy(healthy.model))), healthy)) == {
        "gradient_masking"
    }


def test_that_images_outside_of_the_box_are_refused(healthy: Peer) -> None:
    with pytest.raises(DataError, match="give the mean and std to the network"):
        examine(
            healthy.model,
            healthy.images * 2 - 1,
            healthy.labels,
            config=AttackConfig(),
            num_classes=10,
            seed=0,
        )


class Restricted(Around):
    """Tells only the first classes apart."""

    def __init__(self, model: nn.Module, classes: int) -> None:
        super().__init__(model)
        self.classes = classes

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)[:, : self.classes]


@pytest.mark.parametrize(
    ("classes", "settings", "words"),
    [
        (2, {"name": "autoattack"}, "tells 2 classes apart. APGD-T-100 is left out"),
        (3, {"name": "autoattack"}, "FAB-T-100 aims at 2 instead of 9 classes"),
        (3, {"targets": 9}, "(9 targets) aims at 2 instead of 9 classes"),
        (2, {}, None),
        (3, {"targets": 2}, None),
        (3, {"loss": "dlr"}, None),
    ],
)
def test_that_too_few_classes_are_told_with_what_was_done_instead(
    healthy: Peer, classes: int, settings: dict, words: str | None
) -> None:
    few = healthy.labels < classes
    peer = Peer("", Restricted(healthy.model, classes), healthy.images[few], healthy.labels[few], {})
    found = told(peer.model, peer, classes=classes, **settings)
    assert set(found) == ({"few_classes"} if words else set())
    assert words is None or words in found["few_classes"].evidence


@pytest.mark.parametrize(
    ("settings", "words", "advice"),
    [
        ({"name": "noise"}, ["Random noise uses no gradients"], "autoattack, or with pgd"),
        ({"name": "square"}, ["Square uses no gradients"], "autoattack, or with pgd"),
        ({"name": "transfer", "surrogate": "x"}, ["Transfer PGD uses no gradients"], "autoattack, or with pgd"),
        ({"name": "fgsm"}, ["FGSM takes a single step"], "autoattack, or with pgd"),
        ({"steps": 7}, ["7 steps are fewer than 10", "reach 1.75 times epsilon; from one side of the ball to the other it is 2."], "at least 10"),
        ({"steps": 7, "random_start": False}, ["7 steps are fewer than 10"], "at least 10"),
        ({"steps": 7, "step_size": 4 / 255}, ["7 steps are fewer than 10"], "at least 10"),
        ({"step_size": 0.7 / 255}, ["20 steps of 0.002745098039215686 reach 1.75 times"], "at least 23"),
        ({"step_size": 0.3 / 255, "random_start": False}, ["to the border of the ball it is 1."], "at least 27"),
        ({"name": "apgd_ce", "steps": 5}, ["5 steps are fewer than 10"], "at least 10"),
        ({"steps": 8, "step_size": 2 / 255, "sweep_steps": [1, 2]}, ["8 steps are fewer"], "at least 10"),
        ({"norm": "l2", "step_size": 0.04}, ["20 steps of 0.04 reach 1.6 times"], "at least 25"),
    ],
)  # fmt: skip
def test_that_an_attack_that_is_too_weak_by_its_settings_is_told(
    settings: dict, words: list[str], advice: str
) -> None:
    (found,) = doubts(AttackConfig.model_validate(settings), 10)
    assert found.code == "weak_attack"
    assert len(weaknesses(AttackConfig.model_validate(settings))) == len(words)
    assert all(part in found.evidence for part in words)
    assert advice in found.advice


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 16, "step_size": 1 / 255},
        {"steps": 10, "step_size": 0.8 / 255, "random_start": False},
        *({"name": name} for name in ("apgd_ce", "apgd_dlr", "apgd_t", "fab_t", "deepfool", "carlini_wagner", "momentum_pgd")),
        *({"name": "autoattack", "version": version} for version in ("standard", "plus", "rand")),
    ],
)  # fmt: skip
def test_that_settings_that_reach_across_the_ball_give_no_doubt(settings: dict) -> None:
    assert doubts(AttackConfig.model_validate(settings), 10) == []


def test_that_the_attacks_of_the_presets_give_no_doubt() -> None:
    attacks = [run.attack for study in presets().values() for run in study.runs if run.attack is not None]
    assert len(attacks) >= 10
    assert [doubts(attack, 10) for attack in attacks] == [[]] * len(attacks)


@pytest.mark.parametrize(
    ("rule", "told"), [("best_on_training_batches", True), ("best", False), ("last", False)]
)
def test_that_weights_chosen_on_training_images_are_told(rule: str, told: bool) -> None:
    selection = Selection(PretrainingConfig.model_validate({"selection": rule}))
    selection.consider(epoch=3, robust=0.4, clean=0.8, training=0.9, model=small_model())
    history = ["Pre-training (AT) on letters; " + selection.describe(), "Fine-tuning on digits"]
    found = doubts(AttackConfig(), 10, history=history)
    assert [one.code for one in found] == ["selection"] * told
    assert not told or "weights of epoch 3, best by accuracy on training batches" in found[0].evidence


@pytest.mark.parametrize(("file", "told"), [("wrn-best_robust.pth", True), ("wrn-last.pth", False)])
def test_that_the_authors_best_checkpoints_are_known_as_chosen_on_training_images(
    file: str, told: bool
) -> None:
    line = f"imported from {file} (CARTL authors' checkpoint)"
    assert [one.code for one in doubts(AttackConfig(), 10, history=[line])] == ["selection"] * told


class Book:
    """A ledger written by hand: which of `samples` images each attempt broke."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.rows: list[tuple[int, ...]] = []

    def attempt(
        self,
        images: range | list[int],
        broken: int,
        *,
        point: int = 0,
        member: int = 0,
        restart: int = 0,
        target: int = -1,
    ) -> list[int]:
        """The first images are broken; returns the others."""
        for place, image in enumerate(images):
            self.rows.append((point, member, image, restart, target, place < broken, image % 10))
        return list(images)[broken:]

    def signs(self, points: list[AttackPoint], **settings: object) -> dict[str, AttackWarning]:
        columns = np.array(self.rows).T
        names = ("point", "member", "sample", "restart", "target", "broken", "prediction")
        found = signs(
            AttackConfig.model_validate(settings),
            points,
            dict(zip(names, columns, strict=True)),
            samples=self.samples,
        )
        return {one.code: one for one in found}


def pgd_point(epsilon: float = 8 / 255, steps: int = 20) -> AttackPoint:
    return AttackPoint(epsilon, steps, (f"PGD-{steps}",), (True,))


AUTOATTACK = AttackPoint(
    8 / 255, 0, ("APGD-CE-100", "APGD-T-100", "FAB-T-100", "Square"), (True, True, True, False)
)


@pytest.mark.parametrize(
    ("samples", "gain", "told"),
    [(1000, 1, False), (1000, 3, False), (1000, 6, True), (10_000, 20, False), (10_000, 40, True), (40, 1, False), (40, 4, True)],
)  # fmt: skip
def test_that_a_black_box_attack_that_wins_is_told(samples: int, gain: int, told: bool) -> None:
    book = Book(samples)
    left = book.attempt(range(samples), samples // 3)
    left = book.attempt(left, 5, member=1, target=3)
    left = book.attempt(left, 0, member=2, target=3)
    book.attempt(left, gain, member=3)
    found = book.signs([AUTOATTACK], name="autoattack")
    assert set(found) == ({"gradient_masking"} if told else set())
    assert not told or f"Square, without gradients, broke {gain} images" in found["gradient_masking"].evidence


def test_that_a_black_box_attack_gains_nothing_where_no_other_tried() -> None:
    book = Book(100)
    left = book.attempt(range(100), 60)
    book.attempt(left, 10, member=1)
    point = AttackPoint(8 / 255, 0, ("Square", "APGD-CE-100"), (False, True))
    assert book.signs([point], name="autoattack") == {}


def sweep(samples: int, shares: dict[float, float], *, kept: bool = True) -> dict[str, AttackWarning]:
    """A PGD sweep over radii with these robust accuracies; `kept` breaks the same images again."""
    book = Book(samples)
    for number, share in enumerate(shares.values()):
        images = list(range(samples)) if kept or number % 2 == 0 else list(range(samples))[::-1]
        book.attempt(images, samples - round(share * samples), point=number)
    return book.signs([pgd_point(epsilon) for epsilon in shares], step_size=1 / 255)


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ({8 / 255: 0.5, 4 / 255: 0.7, 16 / 255: 0.2, 0.5: 0.0}, None),
        ({8 / 255: 0.5, 16 / 255: 0.5, 32 / 255: 0.5}, None),
        ({8 / 255: 0.5, 16 / 255: 0.505}, None),
        (
            {8 / 255: 0.5, 16 / 255: 0.56},
            "From epsilon 8/255 to 16/255 the robust accuracy rises by 6.0 points",
        ),
        (
            {8 / 255: 0.5, 4 / 255: 0.4},
            "From epsilon 4/255 to 8/255 the robust accuracy rises by 10.0 points",
        ),
        ({8 / 255: 0.5, 0.5: 0.03}, None),
        ({8 / 255: 0.5, 0.49: 0.3}, None),
        ({8 / 255: 0.5, 0.5: 0.3}, "At epsilon 0.5, where every image can be made the same grey, 150 of 500"),
    ],
)
def test_that_a_curve_over_radii_that_no_attack_should_give_is_told(
    shares: dict[float, float], words: str | None
) -> None:
    found = sweep(500, shares)
    assert set(found) == ({"gradient_masking"} if words else set())
    assert words is None or words in found["gradient_masking"].evidence


def test_that_a_few_images_are_no_evidence() -> None:
    assert sweep(20, {8 / 255: 0.5, 16 / 255: 0.7, 0.5: 0.1}) == {}


def test_that_images_broken_back_and_forth_are_chance() -> None:
    assert sweep(500, {8 / 255: 0.5, 16 / 255: 0.54}, kept=False) == {}


def test_that_a_constant_network_is_not_told_as_masked_by_its_sweep() -> None:
    book = Book(500)
    for point in (0, 1):
        book.attempt(list(range(0, 500, 10)), 0, point=point)
    assert book.signs([pgd_point(), pgd_point(0.5)]) == {}


@pytest.mark.parametrize(("make", "codes"), [(lambda model: model, []), (Backwards, ["gradient_masking"])])
def test_that_a_real_ledger_of_a_masked_network_is_told_and_that_of_a_healthy_one_is_not(
    healthy: Peer, make: Callable[[nn.Module], nn.Module], codes: list[str]
) -> None:
    config = AttackConfig(sweep_epsilon=[16 / 255, 0.5], sweep_steps=[40], restarts=2)
    images = ImageSet(
        (healthy.images[:100] * 255).round().to(torch.uint8),
        healthy.labels[:100],
        tuple("0123456789"),
        torch.arange(100),
    )
    plan, rows, model = Plan(config, 10), [], make(healthy.model)
    Evaluation(
        plan, model, model, images, seed=0, batch_size=50, device=torch.device("cpu"),
        told=Told(rows=lambda table, columns: rows.append(columns) if table == "attempts" else None),
    ).run({}, {})  # fmt: skip
    ledger = {name: np.concatenate([part[name] for part in rows]) for name in rows[0]}
    found = signs(config, plan.points, ledger, samples=100)
    assert [one.code for one in found] == codes
    assert not codes or "At epsilon 0.5" in found[0].evidence


@pytest.mark.parametrize("name", ["fgsm", "noise", "square"])
def test_that_curves_of_attacks_that_are_weak_anyway_are_no_sign_of_masking(name: str) -> None:
    book = Book(500)
    book.attempt(range(500), 250)
    book.attempt(range(500), 100, point=1)
    points = [AttackPoint(epsilon, 0, (name,), (name == "fgsm",)) for epsilon in (8 / 255, 0.5)]
    assert book.signs(points, name=name) == {}


@pytest.mark.parametrize(
    ("steps", "robust", "told"),
    [
        ((20, 50, 100), (500, 497, 496), False),
        ((20, 50, 100), (500, 490, 440), True),
        ((20, 50, 100), (500, 400, 398), False),
        ((20, 5, 1), (500, 600, 800), False),
        ((100, 10, 20), (400, 500, 450), True),
    ],
)
def test_that_steps_that_still_help_are_told(
    steps: tuple[int, ...], robust: tuple[int, ...], told: bool
) -> None:
    book = Book(1000)
    for point, left in enumerate(robust):
        book.attempt(range(1000), 1000 - left, point=point)
    found = book.signs([pgd_point(steps=count) for count in steps], steps=steps[0])
    assert set(found) == ({"not_converged"} if told else set())
    assert (
        not told
        or f"to {max(steps)} steps the robust accuracy still falls by 5" in found["not_converged"].evidence
    )


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ((400, 3), False),
        ((400, 40), True),
        ((400, 40, 2, 1), False),
        ((400, 5, 20, 15), True),
        ((400,), False),
    ],
)
def test_that_restarts_that_still_help_are_told(broken: tuple[int, ...], told: bool) -> None:
    book, left = Book(1000), list(range(1000))
    for restart, count in enumerate(broken):
        left = book.attempt(left, count, restart=restart)
    found = book.signs([pgd_point()], restarts=len(broken))
    assert set(found) == ({"not_converged"} if told else set())
    late = sum(broken[(len(broken) + 1) // 2 :])
    assert (
        not told or f"still broke {late} images ({late / 10:.1f} points)" in found["not_converged"].evidence
    )


@pytest.mark.parametrize(
    ("more", "less", "clear"), [(9, 0, False), (10, 0, True), (18, 4, False), (19, 4, True), (0, 0, False)]
)
def test_that_a_difference_is_clear_where_a_fair_coin_would_seldom_give_it(
    more: int, less: int, clear: bool
) -> None:
    assert clearly_more(more, less) == clear


def test_that_warnings_of_one_kind_become_one() -> None:
    config = AttackConfig()
    other = AttackWarning("softmax", "Title", "Evidence.", "Advice.")
    (first, second) = merged(
        [masking(config, ["One."]), other, masking(config, ["Two."]), masking(config, ["One."])]
    )
    assert (first.code, first.evidence) == ("gradient_masking", "One. Two.")
    assert second == other
    assert "transfer" in masking(AttackConfig(name="autoattack"), []).advice
