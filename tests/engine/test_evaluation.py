"""The evaluation: its plan, its ledger, and that neither interruption nor batch size changes what it finds."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from engine.config import AttackConfig
from engine.control import Interrupted
from engine.errors import ConfigError, DataError, DeviceError, StoreError
from engine.evaluation.evaluate import Evaluation, Told
from engine.evaluation.ledger import Ledger, progress_of
from engine.evaluation.pace import fastest_batch_size
from engine.evaluation.plan import Plan
from engine.events import AttackPoint, AttackProgress, MemberResult, StageLayout
from engine.store.schema import ATTEMPTS, CLEAN, EXAMPLES, SAMPLES
from tests.engine.small import assert_unchanged, everything, small_model, small_set, warm

pytestmark = pytest.mark.usefixtures("untouched_random_state")

#: Targets, restarts and a sweep, at a radius that breaks some images of the network below and not all.
CONFIG = AttackConfig(
    epsilon=0.5 / 255, step_size=0.2 / 255, steps=3, restarts=2, targets=2, sweep_epsilon=[1 / 255, 0.2 / 255],
    sweep_steps=[1, 6], batch_size=7,
)  # fmt: skip
Tables = dict[str, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    model = warm(small_model()).eval()
    with torch.no_grad():
        model.classifier.bias -= model(small_set(40).images / 255).mean(0)
    return model


@pytest.fixture(scope="module")
def images(network: nn.Module):
    """Images whose label is what the network says, but for every fifth."""
    found = small_set(40)
    with torch.no_grad():
        labels = network(found.images / 255).argmax(1)
    labels[::5] = (labels[::5] + 1) % 5
    return type(found)(found.images, labels, found.class_names, found.ids.flip(0))


class Evaluated:
    """An evaluation whose tables are kept in memory and which can be stopped at any attack step."""

    def __init__(self, network: nn.Module, images, config: AttackConfig = CONFIG, *, seed: int = 3) -> None:
        self.network, self.images, self.config, self.seed = network, images, config, seed
        self.tables: Tables = {}
        self.progress: list[AttackProgress] = []
        self.finished: list[MemberResult] = []
        self.steps = 0

    def run(self, *, stop_after: int | None = None, batch_size: int | None = None) -> Evaluation:
        """Go on from the tables; `stop_after` attack steps it is interrupted."""
        self.steps = 0

        def check() -> None:
            self.steps += 1
            if stop_after is not None and self.steps > stop_after:
                raise Interrupted("pause")

        evaluation = Evaluation(
            Plan(self.config, 5), self.network, self.network, self.images, seed=self.seed,
            batch_size=batch_size or self.config.batch_size, device=torch.device("cpu"),
            told=Told(self.add, self.progress.append, finished=lambda result, _: self.finished.append(result), check=check),
        )  # fmt: skip
        evaluation.run(self.tables.get("clean", {}), self.tables.get("attempts", {}))
        return evaluation

    def add(self, table: str, columns: dict[str, np.ndarray]) -> None:
        """Append rows as the run's file does."""
        before = self.tables.get(table)
        self.tables[table] = {
            name: np.concatenate([before[name], values]) if before else np.asarray(values)
            for name, values in columns.items()
        }

    def lose(self, rows: int) -> None:
        """Forget the newest rows, down to whole batches, as after a kill."""
        attempts = {
            name: values[: max(0, len(values) - rows)]
            for name, values in self.tables.get("attempts", {}).items()
        }
        if not attempts or len(self.tables["clean"]["row"]) < len(self.images):
            self.tables.pop("attempts", None)
            return
        plan = Plan(self.config, 5)
        count = plan.whole_rows(Ledger(plan.points, self.tables["clean"]), attempts, self.config.batch_size)
        self.tables["attempts"] = {name: values[:count] for name, values in attempts.items()}


@pytest.fixture(scope="module")
def straight(network, images) -> tuple[Evaluated, Evaluation]:
    evaluated = Evaluated(network, images)
    return evaluated, evaluated.run()


def assert_same_tables(found: Tables, expected: Tables) -> None:
    assert found.keys() == expected.keys()
    for table, columns in expected.items():
        for name, values in columns.items():
            np.testing.assert_array_equal(found[table][name], values, err_msg=f"{table}/{name}")


def test_that_the_tables_have_the_columns_and_types_of_the_schema(straight) -> None:
    evaluated, evaluation = straight
    made = {
        CLEAN: evaluated.tables["clean"],
        ATTEMPTS: evaluated.tables["attempts"],
        SAMPLES: evaluation.ledger.verdicts(),
        EXAMPLES: evaluation.examples(evaluated.tables["attempts"], 4),
    }
    for table, columns in made.items():
        assert set(columns) == {column.name for column in table.columns}, table.name
        for column in table.columns:
            assert np.can_cast(columns[column.name].dtype, column.dtype, casting="same_kind"), column.name


def test_that_the_plan_has_the_headline_first_and_each_radius_and_number_of_steps_once() -> None:
    plan = Plan(CONFIG.model_copy(update={"sweep_epsilon": [1 / 255, 0.5 / 255, 0.2 / 255]}), 5)
    assert [(round(255 * point.epsilon, 6), point.steps) for point in plan.points] == [
        (0.5, 3), (0.2, 3), (1.0, 3), (0.5, 1), (0.5, 6),
    ]  # fmt: skip
    steps = [group[0].config.step_size / group[0].config.epsilon for group in plan.members]
    assert steps == pytest.approx([0.4] * 5), "the step grows with the radius"


def test_that_only_four_members_with_their_numbers_are_called_standard() -> None:
    config = AttackConfig(name="autoattack")
    assert Plan(config, 10).title == "AutoAttack standard, Linf 8/255"
    assert Plan(config, 10).points[0].members == (
        "APGD-CE-100", "APGD-T-100", "FAB-T-100", "Square (5,000 queries)",
    )  # fmt: skip
    assert Plan(config, 10).points[0].white_box == (True, True, True, False)
    few = Plan(config, 3)
    assert "not standard" in few.title
    assert len(few.points[0].members) == 3
    assert any("APGD-T" in note and "4 classes" in note for note in few.notes)
    assert "not standard" in Plan(config, 5).title, "with 5 classes there are 4 targets, not 9"
    with pytest.raises(ConfigError, match="DLR loss needs 4 classes"):
        Plan(AttackConfig(name="apgd_t"), 3)


def test_that_figures_follow_from_the_ledger_alone(straight) -> None:
    """Recomputed attempt by attempt in plain Python."""
    evaluated, evaluation = straight
    clean, attempts = evaluated.tables["clean"], evaluated.tables["attempts"]
    right = {int(s) for s, c in zip(clean["sample"], clean["correct"], strict=True) if c}
    assert len(right) == 32
    robust = {point: set(right) for point in range(5)}
    at_any_step = {point: set(right) for point in range(5)}
    seen: list[tuple[int, ...]] = []
    for row in range(len(attempts["row"])):
        one = {name: attempts[name][row] for name in attempts}
        assert one["row"] == row
        sample, point = int(one["sample"]), int(one["point"])
        assert sample in robust[point], "only images that are still robust are attacked"
        seen.append((point, int(one["restart"]), int(one["target"]), sample))
        if one["broken"]:
            assert one["margin"] <= 0
            assert one["certified"]
            robust[point].discard(sample)
        if one["broken_on_the_way"]:
            at_any_step[point].discard(sample)
    assert len(set(seen)) == len(seen), "nothing is tried twice"
    for point in range(5):
        assert evaluation.ledger.robust(point) == len(robust[point])
        assert evaluation.ledger.robust_at_any_step(point) == len(at_any_step[point]) <= len(robust[point])
    assert 0 < len(robust[0]) < len(right), "the test needs some of both"
    verdicts = evaluation.ledger.verdicts()
    assert verdicts["sample"].tolist() == sorted(clean["sample"].tolist())
    assert {int(s) for s, r in zip(verdicts["sample"], verdicts["robust"], strict=True) if r} == robust[0]


def test_that_an_image_robust_to_all_was_tried_with_every_target_and_restart(straight) -> None:
    evaluated, evaluation = straight
    attempts = evaluated.tables["attempts"]
    for sample in evaluated.tables["clean"]["sample"][evaluation.ledger.alive(0)]:
        own = (attempts["sample"] == sample) & (attempts["point"] == 0)
        pairs = set(zip(attempts["target"][own].tolist(), attempts["restart"][own].tolist(), strict=True))
        assert len(pairs) == own.sum() == 4


@pytest.mark.parametrize("draw", range(4))
def test_that_an_evaluation_interrupted_at_random_moments_ends_in_the_same_ledger(
    network, images, straight, draw: int
) -> None:
    expected, _ = straight
    chance = random.Random(draw)
    evaluated = Evaluated(network, images)
    interruptions = 0
    while True:
        try:
            evaluated.run(stop_after=chance.randint(1, 60))
            break
        except Interrupted:
            interruptions += 1
            evaluated.lose(chance.randint(0, 30))
        assert interruptions < 500
        if interruptions == 6:
            evaluated.run()
            break
    assert interruptions >= 3
    assert_same_tables(evaluated.tables, expected.tables)


def test_that_rows_of_a_batch_cut_in_half_are_made_again(network, images, straight) -> None:
    expected, _ = straight
    evaluated = Evaluated(network, images)
    evaluated.tables = {
        "clean": expected.tables["clean"],
        "attempts": {name: values[:10] for name, values in expected.tables["attempts"].items()},
    }
    evaluated.lose(0)
    assert len(evaluated.tables["attempts"]["row"]) == 7, "one batch of seven is whole, the second is not"
    evaluated.run()
    assert_same_tables(evaluated.tables, expected.tables)


@pytest.mark.parametrize("batch_size", [1, 40])
def test_that_the_batch_size_changes_no_verdict(network, images, straight, batch_size: int) -> None:
    _, expected = straight
    config = CONFIG.model_copy(update={"sweep_epsilon": [], "sweep_steps": []})
    found = Evaluated(network, images, config).run(batch_size=batch_size)
    np.testing.assert_array_equal(found.ledger.alive(0), expected.ledger.alive(0))
    ours, theirs = found.ledger.verdicts(), expected.ledger.verdicts()
    np.testing.assert_array_equal(ours["robust"], theirs["robust"])
    np.testing.assert_array_equal(ours["restart"], theirs["restart"])


def test_that_the_order_of_images_changes_no_verdict(network, images, straight) -> None:
    _, expected = straight
    config = CONFIG.model_copy(update={"sweep_epsilon": [], "sweep_steps": []})
    mixed = images.subset(torch.randperm(40, generator=torch.Generator().manual_seed(0)))
    found = Evaluated(network, mixed, config).run().ledger.verdicts()
    for name in ("sample", "robust", "restart", "clean_correct"):
        np.testing.assert_array_equal(found[name], expected.ledger.verdicts()[name])


def test_that_another_seed_draws_other_noise_and_the_seeds_are_in_the_ledger(
    network, images, straight
) -> None:
    expected, _ = straight
    other = Evaluated(network, images, seed=4)
    other.run()
    seeds = expected.tables["attempts"]["seed"]
    assert len(set(seeds.tolist())) == len(set(zip(*(expected.tables["attempts"][name].tolist() for name in ("sample", "restart", "target")), strict=True)))  # fmt: skip
    assert not set(seeds.tolist()) & set(other.tables["attempts"]["seed"].tolist())


def test_that_evaluating_leaves_the_network_as_it_was(images) -> None:
    model = warm(small_model())
    model.train()
    model.block(2).eval()
    before = everything(model)
    Evaluated(model, images).run()
    assert_unchanged(before, model)


def test_that_examples_show_the_attempt_that_decided(network, images, straight) -> None:
    evaluated, evaluation = straight
    attempts = evaluated.tables["attempts"]
    examples = evaluation.examples(attempts, 32)
    assert len(examples["sample"]) == 32
    assert 0 < examples["robust"].sum() < 32
    np.testing.assert_array_equal(examples["difference"], examples["adversarial"] - examples["clean"])
    assert np.abs(examples["difference"]).max() <= 0.5 / 255 * 1.0001
    flipped = examples["adversarial_prediction"] != examples["label"]
    np.testing.assert_array_equal(flipped, examples["robust"] == 0)
    np.testing.assert_array_equal(
        examples["adversarial_prediction"], attempts["prediction"][examples["attempt"]]
    )
    with torch.no_grad():
        again = network(torch.from_numpy(examples["adversarial"])).softmax(1).amax(1)
    np.testing.assert_allclose(examples["adversarial_confidence"], again, rtol=1e-4)
    pixels = {int(number): image for number, image in zip(images.ids, images.images, strict=True)}
    for sample, clean in zip(examples["sample"], examples["clean"], strict=True):
        np.testing.assert_allclose(clean, pixels[int(sample)].numpy() / 255, atol=1e-6)


def test_that_progress_never_rises_and_ends_at_the_result(straight) -> None:
    evaluated, evaluation = straight
    shares = [event.robust_accuracy for event in evaluated.progress if event.title != "Clean images"]
    assert shares == sorted(shares, reverse=True)
    last, end = evaluated.progress[-2:]
    assert last.robust_accuracy == end.robust_accuracy == evaluation.ledger.robust() / 40
    assert (last.number, last.count, last.point) == (5, 5, 4)
    assert (end.title, end.share, end.members) == ("", 1.0, evaluation.members())
    for number in range(1, 6):
        parts = [event.share for event in evaluated.progress if event.number == number and event.title]
        assert parts == sorted(parts)
        assert parts[-1] == 1.0
    assert [result.title for result in evaluated.finished] == ["PGD-3 (2 targets)"]
    assert evaluated.finished[0].attacked == 32
    assert evaluated.finished[0].robust_accuracy.value == shares[-1]


def test_that_a_sweep_tells_every_point_and_falls_with_the_radius(straight) -> None:
    _, evaluation = straight
    sweep = evaluation.ledger.sweep()
    assert [(round(255 * found.epsilon, 6), found.steps) for found in sweep] == [
        (0.2, 3), (0.5, 1), (0.5, 3), (0.5, 6), (1.0, 3),
    ]  # fmt: skip
    by_radius = [found.robust_accuracy.value for found in sweep if found.steps == 3]
    assert by_radius == sorted(by_radius, reverse=True)
    assert by_radius[0] > by_radius[-1]


def test_that_progress_is_told_from_the_tables_of_an_unfinished_run(straight) -> None:
    evaluated, evaluation = straight
    plan = Plan(CONFIG, 5)
    layout = StageLayout("attack", "x", samples=40, points=plan.points, image_size=16)
    found = progress_of("run", layout, evaluated.tables)  # type: ignore[arg-type]
    assert found is not None
    assert found.robust_accuracy == evaluation.ledger.robust() / 40
    assert (found.point, found.number, found.title) == (4, 5, plan.points[4].members[0])
    assert [member.title for member in found.members] == ["PGD-3 (2 targets)"], "the sweep has begun"
    first = evaluated.tables["attempts"]["point"] == 0
    part = {name: values[first] for name, values in evaluated.tables["attempts"].items()}
    headline = progress_of("run", layout, evaluated.tables | {"attempts": part})  # type: ignore[arg-type]
    assert headline is not None
    assert (headline.point, headline.number, headline.members) == (0, 1, ())
    clean = progress_of("run", layout, {"clean": evaluated.tables["clean"]})
    assert clean is not None
    assert (clean.title, clean.number, clean.members) == ("", 0, ())
    assert progress_of("run", layout, {}) is None
    assert progress_of("run", None, {}) is None


def test_that_a_ledger_of_other_images_is_refused(straight) -> None:
    evaluated, _ = straight
    ledger = Ledger((AttackPoint(0.1, 3, ("PGD-3",), (True,)),), evaluated.tables["clean"])
    rows = {name: values[:3].copy() for name, values in evaluated.tables["attempts"].items()}
    rows["sample"][1] = 7
    with pytest.raises(StoreError, match="images that the evaluation does not have"):
        ledger.add(rows)


def test_that_a_batch_that_does_not_fit_is_attacked_in_halves(network, images, straight) -> None:
    expected, _ = straight

    class Small(nn.Module):
        """Runs out of memory with more than three images at once, once attacks have begun."""

        begun = False

        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            if self.begun and len(batch) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            self.begun = self.begun or batch.requires_grad
            return self.inner(batch)

    config = CONFIG.model_copy(update={"sweep_epsilon": [], "sweep_steps": []})
    evaluated = Evaluated(Small(), images, config)
    evaluated.run()
    own = expected.tables["attempts"]["point"] == 0
    for name in ("sample", "broken", "seed", "target", "prediction"):
        np.testing.assert_array_equal(
            evaluated.tables["attempts"][name], expected.tables["attempts"][name][own]
        )

    class Never(Small):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            if torch.is_grad_enabled():
                raise torch.OutOfMemoryError("CUDA out of memory")
            return self.inner(batch)

    with pytest.raises(DeviceError, match="on a single image needs more memory"):
        Evaluated(Never(), images, config).run()


def test_that_what_only_the_fast_form_believes_broken_is_tried_on_the_network_itself(network, images) -> None:
    """The fast form here is another network altogether: without the second look hardly anything would be broken."""
    config = CONFIG.model_copy(
        update={"sweep_epsilon": [], "sweep_steps": [], "targets": 0, "judged_at": "any_step", "restarts": 1}
    )

    class Wrong(nn.Module):
        """Says that everything is misclassified at once."""

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return -network(batch)

    found = {}
    for name, fast in (("itself", network), ("wrong", Wrong())):
        evaluated = Evaluated(network, images, config)
        evaluation = Evaluation(
            Plan(config, 5), network, fast, images, seed=3, batch_size=7, device=torch.device("cpu"),
            told=Told(evaluated.add),
        )  # fmt: skip
        evaluation.run({}, {})
        found[name] = evaluation.ledger.alive(0)
    assert 0 < found["itself"].sum() < 32
    np.testing.assert_array_equal(found["wrong"], found["itself"])


def test_that_images_outside_0_to_1_are_refused_with_what_to_do(network) -> None:
    from engine.attacks.base import clean_logits

    with pytest.raises(
        DataError, match="pixels from 0 to 1, these go from -1 to 2.*mean and std to the network"
    ):
        clean_logits(network, torch.tensor([[-1.0, 2.0]]))


def test_that_a_network_that_gets_nothing_right_ends_with_nothing_robust(network, images) -> None:
    wrong = type(images)(images.images, (images.labels + 2) % 5, images.class_names, images.ids)
    with torch.no_grad():
        wrong.labels.copy_((network(wrong.images / 255).argmax(1) + 1) % 5)
    evaluated = Evaluated(network, wrong)
    evaluation = evaluated.run()
    assert "attempts" not in evaluated.tables
    assert evaluation.ledger.robust() == 0
    assert [result.attacked for result in evaluation.members()] == [0]
    assert len(evaluation.examples({}, 4)["sample"]) == 0


def test_that_the_fastest_batch_size_is_one_of_those_tried_and_can_be_interrupted(network) -> None:
    probe = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert fastest_batch_size(network, probe, check=lambda: None) in (32, 64, 128, 256, 512, 1024)

    def refuse() -> None:
        raise Interrupted("stop")

    with pytest.raises(Interrupted):
        fastest_batch_size(network, probe, check=refuse)


def test_that_a_network_that_draws_random_numbers_resumes_to_the_same_ledger(network, images) -> None:
    class Dropping(nn.Module):
        """Dropout that stays on in eval mode, on the global generator."""

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return network(nn.functional.dropout(batch, 0.2, training=True))

    config = CONFIG.model_copy(update={"sweep_epsilon": [], "sweep_steps": []})
    before = torch.random.get_rng_state()
    straight = Evaluated(Dropping(), images, config)
    straight.run()
    torch.rand(3)
    resumed = Evaluated(Dropping(), images, config)
    with pytest.raises(Interrupted):
        resumed.run(stop_after=30)
    resumed.lose(3)
    resumed.run()
    assert_same_tables(resumed.tables, straight.tables)
    torch.random.set_rng_state(before)


@pytest.mark.parametrize("name", ["pgd", "apgd_ce", "apgd_t", "fab_t", "deepfool", "carlini_wagner"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_that_gradients_that_are_no_numbers_count_as_zero(network, images, name: str, value: float) -> None:
    class Spoilt(torch.autograd.Function):
        """Passes images on; the gradient of half of them is no number."""

        @staticmethod
        def forward(_, batch: torch.Tensor) -> torch.Tensor:
            return batch.clone()

        @staticmethod
        def backward(_, gradient: torch.Tensor) -> torch.Tensor:
            spoilt = gradient.clone()
            spoilt[::2] = value
            return spoilt

    class Spoiling(nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return network(Spoilt.apply(batch))

    config = AttackConfig(name=name, epsilon=0.5 / 255 if name in ("pgd", "apgd_ce", "apgd_t", "fab_t") else 0.05,
                          **{"step_size": 0.1 / 255} if name == "pgd" else {}, steps=3, batch_size=40)  # fmt: skip
    config = config.model_copy(update={"targets": min(config.targets, 2), "searches": 2})
    evaluated = Evaluated(Spoiling(), images, config)
    evaluation = evaluated.run()
    assert evaluation.ledger.robust() > 0
    assert np.isfinite(evaluated.tables["attempts"]["norm"]).all()
