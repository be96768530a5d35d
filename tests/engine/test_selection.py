"""Which weights are kept: last, best by a rule, averaged; and early stopping."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch

from engine.config import DataConfig, ModelConfig, PretrainingConfig, RunConfig, validate
from engine.control import Interrupted, RunControl
from engine.errors import ConfigError
from engine.models.spectral_norm import constrained
from engine.training.selection import Averager, Selection
from tests.engine.small import assert_same_bits, small_model, warm
from tests.engine.training import Recorded, settings_of, trainer_of

pytestmark = pytest.mark.usefixtures("untouched_random_state")


def config(name: str = "natural", **changes: Any) -> Any:
    settings = settings_of(name)
    return type(settings).model_validate(settings.model_dump() | {"epochs": 4} | changes)


def feed(selection: Selection, scores: list[tuple[float, float, float]]) -> list[int]:
    """Epochs with these robust, clean and training accuracies; the best epoch after each."""
    model, best = small_model(), []
    for epoch, (robust, clean, training) in enumerate(scores, start=1):
        selection.consider(epoch=epoch, robust=robust, clean=clean, training=training, model=model)
        best.append(selection.epoch)
    return best


def test_that_the_best_epoch_has_the_highest_held_out_robust_accuracy_then_clean_then_comes_first() -> None:
    scores = [(0.2, 0.9, 0.1), (0.4, 0.5, 0.2), (0.3, 0.9, 0.9), (0.4, 0.6, 0.1), (0.4, 0.6, 0.9)]
    assert feed(Selection(config(selection="best")), scores) == [1, 2, 2, 4, 4]


def test_that_the_authors_rule_looks_at_training_batches_alone() -> None:
    scores = [(0.9, 0.9, 0.1), (0.1, 0.1, 0.5), (0.9, 0.9, 0.5), (math.nan, math.nan, 0.6)]
    assert feed(Selection(config(selection="best_on_training_batches")), scores) == [1, 2, 2, 4]


def test_that_without_held_out_images_no_epoch_is_better_than_another() -> None:
    assert feed(Selection(config(selection="last")), [(math.nan, math.nan, 0.5)] * 3) == [0, 0, 0]


@pytest.mark.parametrize("patience", [1, 2])
def test_that_patience_ends_after_that_many_epochs_without_a_better_one(patience: int) -> None:
    selection = Selection(config(selection="best", patience=patience))
    ended = []
    for epoch, robust in enumerate([0.1, 0.3, 0.2, 0.3, 0.4], start=1):
        selection.consider(epoch=epoch, robust=robust, clean=0.5, training=0, model=small_model())
        ended.append(selection.exhausted)
    assert ended == [False, False, patience == 1, True, False]


class Scripted(Recorded):
    """Scores epochs by a script instead of by measuring, and keeps each epoch's weights."""

    def __init__(self, trainer: Any, scores: list[float]) -> None:
        super().__init__()
        self.weights: list[dict[str, torch.Tensor]] = []
        consider = trainer.selection.consider

        def scripted(*, epoch: int, model: Any, **_: Any) -> None:
            self.weights.append(copy.deepcopy(model.state_dict()))
            consider(epoch=epoch, robust=scores[epoch - 1], clean=0.0, training=0.0, model=model)

        trainer.selection.consider = scripted


@pytest.mark.parametrize("averaging", [0.0, 0.5])
@pytest.mark.parametrize(("rule", "kept"), [("last", 3), ("best", 1)])
def test_that_the_weights_of_the_chosen_epoch_are_kept_bit_for_bit(
    rule: str, kept: int, averaging: float
) -> None:
    trainer, _ = trainer_of(config(selection=rule, averaging=averaging))
    scripted = Scripted(trainer, [0.1, 0.8, 0.3, 0.5])
    trainer.run()
    assert_same_bits(trainer.selected().state_dict(), scripted.weights[kept])
    assert ("epoch 2" in trainer.selection.describe()) == (rule == "best")


def test_that_early_stopping_ends_the_training_and_keeps_its_rows() -> None:
    trainer, recorded = trainer_of(config(selection="best", patience=1))
    Scripted(trainer, [0.5, 0.4, 0.9, 0.9])
    trainer.run()
    assert recorded.column("epochs", "epoch").tolist() == [1, 2]
    assert trainer.step == 6
    assert recorded.checkpoints[-1]["step"] == 6


class PauseAtStep(RunControl):
    """Asks for a pause once a step is reached."""

    trainer: Any = None
    step = 0

    def check(self) -> None:
        """See `RunControl.check`."""
        if self.trainer is not None and self.trainer.step >= self.step:
            self.request("pause")
        super().check()


@pytest.mark.parametrize("name", ["natural", "neft"])
@pytest.mark.parametrize("step", [2, 7, 10])
def test_that_selection_and_average_resume_exactly(name: str, step: int) -> None:
    settings = config(name, selection="best", averaging=0.9)
    whole, _ = trainer_of(settings)
    whole.run()
    control = PauseAtStep()
    trainer, recorded = trainer_of(settings, control=control)
    control.trainer, control.step = trainer, step
    with pytest.raises(Interrupted):
        trainer.run()
    resumed, _ = trainer_of(settings)
    resumed.load_state(copy.deepcopy(recorded.checkpoints[-1]))
    resumed.run()
    assert resumed.selection.epoch == whole.selection.epoch
    assert resumed.selection.score == whole.selection.score
    assert_same_bits(resumed.watched.state_dict(), whole.watched.state_dict())
    assert_same_bits(resumed.selected().state_dict(), whole.selected().state_dict())


def test_that_a_checkpoint_from_before_there_was_a_selection_can_be_gone_on_from() -> None:
    trainer, recorded = trainer_of(config())
    trainer.run()
    state = {key: value for key, value in trainer.state().items() if key not in ("averaged", "selection")}
    fresh, _ = trainer_of(config())
    fresh.load_state(state)
    assert_same_bits(fresh.model.state_dict(), trainer.model.state_dict())


def test_that_the_average_is_the_exponential_moving_average_of_weights_and_statistics() -> None:
    model = warm(small_model())
    averager = Averager(model, 0.6)
    expected = {key: value.double().clone() for key, value in model.state_dict().items()}
    draw = torch.Generator().manual_seed(0)
    for step in range(12):
        with torch.no_grad():
            for value in (*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())):
                value.add_(0.1 * torch.randn(value.shape, generator=draw))
        averager.update(step)
        decay = min(0.6, (1 + step) / (10 + step))
        for key, value in model.state_dict().items():
            expected[key] = decay * expected[key] + (1 - decay) * value.double()
    for key, value in averager.model.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[key], rtol=1e-4, atol=1e-5, msg=key)
    assert not any(parameter.requires_grad for parameter in averager.model.parameters())


def test_that_an_averaged_weight_under_a_spectral_bound_keeps_to_it() -> None:
    trainer, _ = trainer_of(config("neft", averaging=0.8, epochs=4))
    trainer.run()
    layers = list(constrained(trainer.watched))
    assert layers
    for layer, spectral, _ in layers:
        used = layer.weight.detach().flatten(1).numpy().astype(np.float64)
        sigma = np.linalg.norm(used, 2)
        assert sigma == pytest.approx(spectral.bound, rel=0.05)


def test_that_averaging_leaves_the_training_itself_as_it_is() -> None:
    plain, recorded = trainer_of(config())
    averaged, other = trainer_of(config(averaging=0.9))
    plain.run()
    averaged.run()
    assert_same_bits(plain.model.state_dict(), averaged.model.state_dict())
    assert np.array_equal(recorded.column("steps", "loss"), other.column("steps", "loss"))
    assert any(
        not torch.equal(one, two)
        for one, two in zip(plain.model.parameters(), averaged.selected().parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        ({"selection": "best"}, True),
        ({"selection": "last", "patience": 2}, True),
        ({"selection": "best_on_training_batches", "patience": 2}, False),
        ({"averaging": 0.9}, False),
    ],
)
def test_that_a_choice_on_held_out_images_needs_some(changes: dict[str, Any], needs: bool) -> None:
    values: dict[str, Any] = {
        "model": ModelConfig(),
        "source": DataConfig(),
        "pretraining": PretrainingConfig(**changes),
    }
    if not needs:
        validate(RunConfig, values)
        return
    with pytest.raises(ConfigError, match=r"source\.validation_size"):
        validate(RunConfig, values)
    validate(RunConfig, values | {"source": DataConfig(validation_size=20)})
