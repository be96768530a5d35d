"""The training loop and its schedules: exact resume, measuring from outside, rows, and ends."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from engine.config import MachineConfig, PretrainingConfig
from engine.control import Interrupted, RunControl
from engine.device import autocast
from engine.errors import CheckpointError, DeviceError, DivergedError
from engine.inspection.live import LiveBounds
from engine.models.placement import memory_format
from engine.training import loop
from engine.training.schedule import learning_rate, ramp
from tests.engine.small import assert_same_bits, small_model, small_set
from tests.engine.training import BATCH, EPOCHS, METHODS, SAMPLES, Recorded, settings_of, trainer_of

pytestmark = pytest.mark.usefixtures("untouched_random_state")

every_method = pytest.mark.parametrize("name", METHODS)
STEPS = EPOCHS * (SAMPLES // BATCH)


def schedule(name: str, **changes: Any) -> PretrainingConfig:
    return PretrainingConfig(**{"schedule": name, "epochs": 10, "learning_rate": 0.5} | changes)


def rates(config: PretrainingConfig, per_epoch: int = 10) -> list[float]:
    return [learning_rate(config, step, per_epoch) for step in range(config.epochs * per_epoch)]


def test_that_a_constant_rate_stays() -> None:
    assert set(rates(schedule("constant"))) == {0.5}


def test_that_one_cycle_rises_to_its_peak_at_three_tenths_and_ends_at_zero() -> None:
    seen = rates(schedule("one_cycle"))
    top = int(np.argmax(seen))
    assert seen[0] == pytest.approx(0.02)
    assert max(seen) == pytest.approx(0.5, rel=1e-3)
    assert top == pytest.approx(0.3 * len(seen), abs=1)
    assert seen[-1] == pytest.approx(0, abs=1e-9)
    assert seen[: top + 1] == sorted(seen[: top + 1])
    assert seen[top:] == sorted(seen[top:], reverse=True)
    middle = round(0.65 * (len(seen) - 1))
    assert seen[middle] == pytest.approx(0.25, rel=0.05)


def test_that_milestones_warm_up_linearly_from_zero_and_then_multiply() -> None:
    seen = rates(schedule("milestones", warm_up_epochs=2, milestones=[4, 7], decay_factor=0.1))
    np.testing.assert_allclose(seen[:20], [0.5 * step / 20 for step in range(20)])
    np.testing.assert_allclose(seen[20:], [0.5] * 20 + [0.05] * 30 + [0.005] * 30)


def test_that_milestones_without_warm_up_begin_at_the_peak() -> None:
    assert rates(schedule("milestones", warm_up_epochs=0, milestones=[]))[0] == 0.5


@pytest.mark.parametrize("name", ["constant", "one_cycle", "cosine", "milestones"])
def test_that_a_training_of_one_step_has_a_rate(name: str) -> None:
    rate = learning_rate(schedule(name, epochs=1, warm_up_epochs=0), 0, 1)
    assert 0 < rate <= 0.5


def test_that_a_cosine_warms_up_linearly_and_falls_to_zero_along_half_a_wave() -> None:
    seen = rates(schedule("cosine", warm_up_epochs=2))
    np.testing.assert_allclose(seen[:20], [0.5 * step / 20 for step in range(20)])
    wave = torch.optim.lr_scheduler.CosineAnnealingLR(
        torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5), T_max=79
    )
    expected = []
    for _ in range(80):
        expected.append(wave.get_last_lr()[0])
        wave.optimizer.step()
        wave.step()
    np.testing.assert_allclose(seen[20:], expected, atol=1e-9)


def test_that_the_ramp_rises_linearly_to_full_strength() -> None:
    assert [ramp(0.5, step, 8) for step in range(8)] == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert ramp(1.0, 7, 8) == 1
    assert {ramp(0.0, step, 8) for step in range(8)} == {1.0}


def finished(name: str, **options: Any) -> tuple[dict[str, torch.Tensor], Recorded]:
    """Weights and record of a whole training."""
    trainer, recorded = trainer_of(settings_of(name), **options)
    trainer.run()
    return {key: value.clone() for key, value in trainer.model.state_dict().items()}, recorded


@every_method
def test_that_measuring_never_changes_training(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, recorded = finished(name)
    monkeypatch.setattr(LiveBounds, "is_due", lambda self, seconds: True)
    watched, often = finished(name, every_steps=1, probe_size=13, live_share=0.5)
    assert_same_bits(watched, weights)
    for column in ("loss", "cross_entropy", "batch_accuracy", "learning_rate"):
        assert np.array_equal(recorded.column("steps", column), often.column("steps", column)), column
    assert recorded.column("layers", "step").tolist() == [0, 3, 6]
    assert often.column("layers", "step").tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert recorded.column("bounds", "step").tolist() == [0, 6]
    assert often.column("bounds", "step").tolist() == [0, 1, 2, 4, 5, 6]


class PauseAfterOneStep(RunControl):
    """Asks for a pause as soon as the trainer has come one step further, be it while measuring."""

    trainer: Any = None
    start = 0

    def check(self) -> None:
        """See `RunControl.check`."""
        if self.trainer is not None and self.trainer.step > self.start:
            self.request("pause")
        super().check()


@every_method
def test_that_a_training_resumed_at_any_step_ends_with_the_same_bits_and_rows(name: str) -> None:
    weights, whole = finished(name, every_steps=2)
    control = PauseAfterOneStep()
    trainer, recorded = trainer_of(settings_of(name), control=control, every_steps=2)
    for pauses in range(STEPS):
        control.clear()
        control.trainer, control.start = trainer, trainer.step
        with pytest.raises(Interrupted):
            trainer.run()
        state = copy.deepcopy(recorded.checkpoints[-1])
        assert state["step"] == state["rows"]["steps"] == trainer.step == pauses + 1
        trainer, fresh = trainer_of(settings_of(name), control=control, every_steps=2)
        fresh.tables = recorded.tables
        recorded = fresh
        trainer.load_state(state)
    control.clear()
    control.trainer = None
    trainer.run()
    assert_same_bits(trainer.model.state_dict(), weights)
    for table, timed in (("steps", {"images_per_second"}), ("epochs", {"seconds"}), ("layers", set()), ("bounds", {"live_share"}),
                         ("profile", set()), ("probe", set()), ("examples", set())):  # fmt: skip
        for column in whole.tables[table][0].keys() - timed:
            np.testing.assert_array_equal(
                recorded.column(table, column), whole.column(table, column), err_msg=f"{table}/{column}"
            )


@every_method
def test_that_rows_tell_every_step_epoch_and_look(name: str) -> None:
    _, recorded = finished(name)
    steps = {column: recorded.column("steps", column) for column in recorded.tables["steps"][0]}
    assert steps["step"].tolist() == list(range(STEPS))
    np.testing.assert_allclose(steps["epoch"], np.arange(1, STEPS + 1) / 3)
    config = settings_of(name)
    np.testing.assert_allclose(
        steps["learning_rate"], [learning_rate(config, step, 3) for step in range(STEPS)]
    )
    assert np.isfinite(steps["loss"]).all()
    assert np.isnan(steps["penalty"]).all() == (not name.endswith(("fdm", "trades", "lwf")))
    share = 0.7 if name.startswith("pretraining") else 0.0
    epsilons = [
        ramp(share, step, STEPS) * 8 / 255 if config.applies("attack") else 0 for step in range(STEPS)
    ]
    np.testing.assert_allclose(steps["epsilon"], epsilons)
    assert recorded.column("epochs", "epoch").tolist() == [1, 2]
    assert recorded.column("epochs", "step").tolist() == [3, 6]
    shares = steps["batch_accuracy"].reshape(2, 3).mean(1)
    np.testing.assert_allclose(recorded.column("epochs", "train_accuracy"), shares, rtol=1e-6)
    for column in ("clean_accuracy", "robust_accuracy"):
        values = recorded.column("epochs", column)
        assert ((values >= 0) & (values <= 1)).all()
        assert (recorded.column("epochs", f"{column}_errors") > 0).all()
    assert recorded.column("layers", "distance").shape == (3, 5)
    assert recorded.column("layers", "layer_spectral_norm").shape == (3, 10)
    assert recorded.shares[-1] == 1
    assert recorded.checkpoints[-1]["step"] == STEPS
    assert recorded.checkpoints[-1]["rows"] == {
        "steps": 6,
        "epochs": 2,
        "layers": 3,
        "bounds": 2,
        "profile": 10,
        "probe": 5,
        "examples": 3,
    }


def test_that_accuracy_on_training_images_is_not_given_out_as_held_out() -> None:
    _, recorded = finished("natural", held_out=False)
    assert np.isnan(recorded.column("epochs", "clean_accuracy")).all()
    assert np.isnan(recorded.column("epochs", "robust_accuracy_errors")).all()


def test_that_rows_are_handed_on_in_blocks_and_before_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "BLOCK_STEPS", 2)
    _, recorded = finished("natural")
    assert [len(columns["step"]) for columns in recorded.tables["steps"]] == [2, 1, 2, 1]
    assert recorded.column("steps", "step").tolist() == list(range(STEPS))


def test_that_a_checkpoint_is_written_when_its_time_has_come() -> None:
    trainer, recorded = trainer_of(settings_of("natural"))
    trainer.machine = trainer.machine.model_copy(update={"checkpoint_minutes": 1e-9})
    trainer.run()
    assert [state["step"] for state in recorded.checkpoints] == [1, 2, 3, 4, 5, 6, 6]
    assert [state["rows"]["steps"] for state in recorded.checkpoints] == [1, 2, 3, 4, 5, 6, 6]


@pytest.mark.parametrize(
    "part", ["step", "rows", "model", "optimiser", "correct", "seen", "seconds", "measured_at"]
)
def test_that_a_checkpoint_that_lacks_a_part_is_refused_by_its_name(part: str) -> None:
    trainer, _ = trainer_of(settings_of("neft"))
    state = copy.deepcopy(trainer.state())
    assert part in state
    del state[part]
    with pytest.raises(CheckpointError, match=f"the checkpoint lacks {part}; use an earlier checkpoint"):
        trainer.load_state(state)


def test_that_a_checkpoint_of_another_method_or_network_is_refused() -> None:
    neft, vanilla = (trainer_of(settings_of(name))[0] for name in ("neft", "vanilla"))
    with pytest.raises(CheckpointError, match="do not fit the network; missing: .*parametrizations"):
        neft.load_state(copy.deepcopy(vanilla.state()))
    deeper, _ = trainer_of(settings_of("vanilla"), model=small_model(depth=16))
    with pytest.raises(
        CheckpointError, match="do not fit the network; missing: .*; unknown: .*; of another shape: "
    ):
        deeper.load_state(copy.deepcopy(vanilla.state()))
    natural, _ = trainer_of(settings_of("natural"))
    with pytest.raises(CheckpointError, match="optimiser does not fit"):
        natural.load_state(copy.deepcopy(vanilla.state()))


def test_that_a_loss_that_is_no_number_ends_the_training_with_the_step_and_what_to_do() -> None:
    trainer, recorded = trainer_of(settings_of("natural").model_copy(update={"epochs": 1}))
    objective, steps = trainer.objective, iter([1.0, 1.0, float("nan")])
    own = objective.loss

    def loss(*arguments: Any) -> Any:
        made = own(*arguments)
        return type(made)(made.total * next(steps), made.cross_entropy, made.correct)

    objective.loss = loss  # type: ignore[method-assign]
    with pytest.raises(DivergedError, match="at step 2 of 3. Lower the learning rate"):
        trainer.run()
    assert recorded.column("steps", "step").tolist() == [0, 1, 2]
    assert np.isnan(recorded.column("steps", "loss")[2])
    assert not recorded.checkpoints, "weights that are no numbers must not replace a good checkpoint"


def test_that_weights_broken_by_the_last_update_are_told_as_divergence() -> None:
    """The loss was still finite, so that only the look at the epoch's end meets the broken weights."""
    trainer, _ = trainer_of(settings_of("natural").model_copy(update={"epochs": 1}))
    own = trainer.optimiser.step

    def step() -> None:
        own()
        if trainer.step == 2:
            with torch.no_grad():
                trainer.model.classifier.weight.fill_(torch.inf)

    trainer.optimiser.step = step  # type: ignore[method-assign]
    with pytest.raises(DivergedError, match="not numbers"):
        trainer.run()


def test_that_a_pause_before_the_first_step_saves_the_start() -> None:
    control = RunControl()
    trainer, recorded = trainer_of(settings_of("fdm"), control=control)
    control.request("pause")
    with pytest.raises(Interrupted):
        trainer.run()
    (state,) = recorded.checkpoints
    assert state["step"] == 0
    assert set(state["rows"].values()) == {0}


def test_that_a_pause_within_an_attack_takes_the_step_again_from_its_beginning() -> None:
    weights, _ = finished("fdm")
    control = RunControl()
    trainer, recorded = trainer_of(settings_of("fdm"), control=control)
    own, calls = control.check, []

    def check() -> None:
        calls.append(trainer.step)
        if calls.count(4) == 2:  # the batch, then the first attack iteration of step 4
            control.request("pause")
        own()

    control.check = check  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        trainer.run()
    assert recorded.checkpoints[-1]["step"] == 4
    again, _ = trainer_of(settings_of("fdm"))
    again.load_state(copy.deepcopy(recorded.checkpoints[-1]))
    again.run()
    assert_same_bits(again.model.state_dict(), weights)


def test_that_fewer_images_than_a_batch_make_one_smaller_batch() -> None:
    trainer, recorded = trainer_of(settings_of("natural"), train=small_set(5))
    trainer.run()
    assert recorded.column("steps", "step").tolist() == [0, 1]


def test_that_only_networks_that_gain_from_it_use_channels_last_on_a_cpu() -> None:
    wide = small_model()
    assert memory_format(wide, torch.device("cpu")) is torch.channels_last
    assert memory_format(wide, torch.device("cuda")) is torch.channels_last
    wide.channels_last_on_cpu = False  # type: ignore[misc]
    assert memory_format(wide, torch.device("cpu")) is torch.contiguous_format


@every_method
def test_that_bfloat16_trains_float32_weights_to_nearly_the_same_place(name: str) -> None:
    try:
        autocast(torch.device("cpu"), MachineConfig(precision="bfloat16"))
    except DeviceError:
        pytest.skip("this CPU has no fast bfloat16")
    exact, recorded = finished(name)
    coarse, other = finished(name, precision="bfloat16")
    for key, value in coarse.items():
        assert value.dtype == exact[key].dtype, key
        assert torch.isfinite(value).all(), key
    for column in ("loss", "cross_entropy"):
        np.testing.assert_allclose(other.column("steps", column), recorded.column("steps", column), rtol=0.15)
    assert any(not torch.equal(coarse[key], exact[key]) for key in exact)
    np.testing.assert_allclose(
        other.column("layers", "distance")[0], recorded.column("layers", "distance")[0], rtol=1e-6
    )
