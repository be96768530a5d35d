"""What a study will take: the sums, what is timed and how often, doubts and warnings, and that nothing is changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from engine import api, estimate
from engine.config import ATTACKS, AttackConfig, RunConfig, StudyConfig
from engine.control import Interrupted, RunControl
from engine.data import datasets
from engine.device import cpu_threads
from engine.estimate import estimate_study, memory, probes
from engine.estimate.images import COUNTS, known_images
from engine.estimate.probes import AttackProbe, TrainingPace, TrainingProbe
from engine.evaluation.plan import EXPECTED_SURVIVORS, Plan
from engine.events import EngineReady, RequestFailed, RunChanged, StageLayout, StudyEstimated
from engine.memory import free_memory
from engine.references import Planned
from engine.store.workspace import Workspace
from tests.engine.small import carry_out, chain, only, open_session, small_model, wait_for

CPU = torch.device("cpu")
#: Seconds of a step, a look and its part that does not grow; bytes: peak and static.
PACE = TrainingPace(
    step=2.0, look=6.4, compare=1.0, memory=5000, static=1000, weights=300, state=700, batch_size=26, watched=13,
    layout=StageLayout("pretraining", "", block_names=("1",), layer_names=("a",), layer_blocks=(1,), image_size=16),
)  # fmt: skip


def told(
    *runs: RunConfig | Planned, beside_run: bool = False, data: Path = Path("/nowhere")
) -> StudyEstimated:
    """The estimate of some runs."""
    planned = [run if isinstance(run, Planned) else Planned(run) for run in runs]
    return estimate_study(
        planned, data_root=data, workspace=Path("/"), beside_run=beside_run, control=RunControl()
    )


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Steps that take what `PACE` says, and which were asked for: stage and batch size."""
    asked: list[tuple[str, int]] = []

    def time(probe: TrainingProbe, batch_size: int, watched: int, seconds: float) -> TrainingPace:
        asked.append((probe.stage, batch_size))
        return replace(PACE, batch_size=batch_size)

    monkeypatch.setattr(TrainingProbe, "time", time)
    monkeypatch.setattr(estimate, "OtherPrograms", lambda: SimpleNamespace(share=lambda: 0.0))
    monkeypatch.setattr(estimate, "warm_up", lambda device, control: None)
    monkeypatch.setattr(estimate, "seconds_per_pass", lambda *_: 1e-6)
    return asked


def pretraining(*overrides: str) -> RunConfig:
    """The first stage of the chain alone."""
    run = only(chain(*overrides))
    return run.model_copy(update={"finetuning": None, "attack": None, "target": None})


def test_that_a_training_is_steps_and_looks(
    timed: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "bounds_seconds", lambda *_, **__: (10.0, 30.0))
    drawing = known_images(pretraining().source, Path()).seconds  # type: ignore[arg-type]
    steps, looks = 2 * 3, 3 * (1.0 + 5.4) * 26 / 13
    (run,) = told(pretraining()).runs
    assert run.seconds == pytest.approx(steps * 2.0 + looks, abs=5 * drawing + 0.1)
    (run,) = told(pretraining("inspection.bounds=true", "inspection.live_share=0.5")).runs
    assert run.seconds == pytest.approx(1.5 * (steps * 2.0 + looks) + 40.0, abs=5 * drawing + 0.1)
    (run,) = told(pretraining("pretraining.epochs=20")).runs
    assert run.seconds == pytest.approx(60 * 2.0 + 21 * 12.8, abs=5 * drawing + 0.1)


def test_that_memory_grows_with_the_batch_and_holds_the_images(timed: list[tuple[str, int]]) -> None:
    (run,) = told(pretraining()).runs
    images = (78 + 26) * 3 * 16 * 16
    assert run.memory == 1000 + images + round(4000 / 26 * 26)
    (run,) = told(pretraining("source.validation_size=130")).runs
    assert run.memory == 1000 + (78 + 130) * 3 * 16 * 16 + round(4000 / 26 * 130), "a look takes 130 at once"


def test_that_a_finished_run_costs_nothing_and_a_begun_one_its_rest(timed: list[tuple[str, int]]) -> None:
    whole, half, none = (
        told(pretraining()),
        told(Planned(pretraining(), None, 0.5)),
        told(Planned(pretraining(), None, 0.0)),
    )
    assert half.seconds == pytest.approx(whole.seconds / 2, rel=0.05)
    assert half.disk == pytest.approx(whole.disk / 2, rel=0.01)
    assert none.runs == () and none.seconds == 0 and none.memory is None


def test_that_runs_that_differ_in_numbers_alone_are_timed_once(timed: list[tuple[str, int]]) -> None:
    runs = [
        pretraining(f"pretraining.feature_weight={weight}", f"pretraining.epochs={epochs}").model_copy(
            update={"seed": seed, "name": f"{weight}, {epochs}"}
        )
        for seed in (0, 1) for weight in (0.1, 0.2) for epochs in (2, 4)
    ]  # fmt: skip
    found = told(*runs)
    assert timed == [("pretraining", 26)]
    assert len(found.runs) == 8 and {run.seed for run in found.runs} == {0, 1}
    timed.clear()
    told(pretraining(), pretraining("pretraining.method=trades"), pretraining("pretraining.attack.steps=4"))
    assert len(timed) == 3


def test_that_a_warm_start_is_timed_apart(timed: list[tuple[str, int]]) -> None:
    run = only(chain("finetuning.method=lwf", "finetuning.epochs=4", "finetuning.warm_start_epochs=2"))
    told(run.model_copy(update={"attack": None}))
    assert timed == [("pretraining", 26), ("finetuning", 20), ("finetuning", 20)]


def test_that_an_attack_is_the_passes_of_its_plan(
    monkeypatch: pytest.MonkeyPatch, timed: list[tuple[str, int]]
) -> None:
    monkeypatch.setattr(AttackProbe, "pass_seconds", lambda *_: 1.0)
    run = only(chain("attack.sweep_steps=[6]"))
    with_attack, without = told(run), told(run.model_copy(update={"attack": None}))
    plan = Plan(run.attack, 10)  # type: ignore[arg-type]
    passes = sum(len(member.passes) * member.config.cost for group in plan.members for member in group)
    assert passes == 2 * 7 + 2 * 13, "two restarts of three and of six steps"
    expected = 40 * EXPECTED_SURVIVORS * passes * 1.0
    assert with_attack.seconds - without.seconds == pytest.approx(expected, rel=0.01)


def test_that_what_does_not_fit_is_halved_and_reckoned(
    timed: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitting = TrainingProbe.time

    def short_of_memory(probe: TrainingProbe, batch_size: int, watched: int, seconds: float) -> TrainingPace:
        if batch_size > 8:
            raise torch.OutOfMemoryError
        return fitting(probe, batch_size, watched, seconds)

    monkeypatch.setattr(TrainingProbe, "time", short_of_memory)
    monkeypatch.setattr(estimate, "free_memory", lambda device: 100_000)
    found = told(pretraining())
    assert timed == [("pretraining", 6)]
    assert found.doubts == ("Timed with fewer images than a step has: “chain”.",)
    (run,) = found.runs
    assert run.seconds == pytest.approx(6 * 2.0 * 26 / 6 + 3 * 12.8, abs=1)
    assert run.memory == 1000 + 79_872 + round(4000 / 6 * 26)
    (warning,) = found.warnings
    assert warning == (
        "chain needs about 98.2 kB of memory, 0 bytes more than is free. A batch size of about 16 would fit."
    )


def test_that_a_step_that_is_too_slow_follows_from_passes(
    timed: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "seconds_per_pass", lambda *_: 1.0)
    found = told(pretraining())
    assert timed == []
    passes = (
        3 + 2 * 3 + 2 * 3
    )  # update, attack, and twice forward and backward for the clean and the attacked feature
    (doubt,) = found.doubts
    assert doubt == "Too slow to be timed here, so reckoned from single passes: “chain”."
    assert found.seconds > 6 * 26 * 9 and found.seconds < 6 * 26 * passes + 3 * 26 * 20 + 64 * 3 * 20
    assert found.runs[0].memory is None and found.runs[0].disk > 0


def test_that_data_that_are_not_there_are_told(tmp_path: Path, timed: list[tuple[str, int]]) -> None:
    folder = pretraining("source.name=folder", f"source.path={tmp_path / 'images'}")
    found = told(folder, pretraining().model_copy(update={"name": "letters"}))
    (warning,) = found.warnings
    assert warning == (
        f"chain: There is no folder {tmp_path / 'images'}. Give the folder that holds train/<class>/* and "
        "test/<class>/*. What it takes is not in the figures."
    )
    assert [run.seconds > 0 for run in found.runs] == [False, True]
    cifar = told(pretraining("source.name=cifar10", "source.train_size=260"), data=tmp_path)
    assert cifar.doubts == ("CIFAR-10 is not on this disk yet: its download is not in the time.",)
    few = told(pretraining("source.name=stl10", "source.train_size=10000"), data=tmp_path)
    assert "has 5,000 training and 8,000 test images" in few.warnings[0]


def test_that_the_size_of_every_data_set_is_known_before_it_is_loaded() -> None:
    assert set(COUNTS) == {name for name in datasets.names if name not in ("letters", "digits", "folder")}


def test_that_more_than_the_free_disk_is_told(
    timed: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "free_bytes", lambda folder: 10_000)
    (warning,) = told(pretraining()).warnings
    assert "on disk" in warning and "more than is free" in warning


def test_that_it_is_told_when_other_programs_keep_the_processor_busy(
    timed: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(pretraining()).doubts == ()
    monkeypatch.setattr(estimate, "OtherPrograms", lambda: SimpleNamespace(share=lambda: 0.6))
    assert told(pretraining()).doubts == (
        "Other programs took 60 % of the processor meanwhile: without them it may be much faster.",
    )


def test_that_beside_a_run_only_passes_are_timed(timed: list[tuple[str, int]]) -> None:
    threads = torch.get_num_threads()
    found = told(only(chain()), beside_run=True)
    assert timed == [] and torch.get_num_threads() == threads
    assert "A run computes now" in found.doubts[0]
    assert found.seconds > 0 and found.memory is None


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - {"autoattack"}))
def test_that_every_attack_can_be_timed(name: str) -> None:
    network = small_model(classes=5).eval().requires_grad_(False)
    probe = AttackProbe(network, 8, device=CPU, control=RunControl())
    settings = {"surrogate": "x"} if name == "transfer" else {}
    config = AttackConfig.model_validate({"name": name, **settings})
    (attack,) = Plan(config, 5).members[0]
    assert probe.classes() == 5
    assert 0 < probe.pass_seconds(attack, 4, 0.01) < 10


def test_that_real_steps_are_timed_and_everything_stays_as_it_was() -> None:
    before = torch.random.get_rng_state()
    with cpu_threads(2):
        found = told(only(chain("machine.threads=1", "inspection.bounds=true")))
        assert torch.get_num_threads() == 2
    assert torch.equal(before, torch.random.get_rng_state())
    (run,) = found.runs
    assert 0.1 < run.seconds < 600 and found.device == "cpu"
    assert run.memory is None or run.memory > 10**6
    assert not found.warnings


def named(name: str) -> StudyConfig:
    """The chain under another name."""
    study = chain()
    return study.model_copy(update={"runs": [only(study).model_copy(update={"name": name})]})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("finished")
    carry_out(workspace, chain())
    return workspace


def test_that_a_session_answers_with_about_what_a_run_leaves_and_nothing_for_finished_ones(
    finished: Path,
) -> None:
    with open_session(finished) as session:
        session.estimate(chain(), resume=True)
        assert wait_for(session, StudyEstimated).runs == ()
        (info,) = Workspace(finished).runs()
        attack = RunConfig(name="attack", start_from=info.id, attack=AttackConfig(samples=20, batch_size=20))
        session.estimate(StudyConfig(title="Attacks", runs=[attack, *named("again").runs]))
        found = wait_for(session, StudyEstimated)
        assert [run.name for run in found.runs] == ["attack", "again"]
        assert 0 < found.runs[0].seconds < found.runs[1].seconds
    real = sum(path.stat().st_size for path in Path(info.path).rglob("*") if path.is_file())
    assert found.runs[1].disk == pytest.approx(real, rel=0.25)


def slow(monkeypatch: pytest.MonkeyPatch, begun: Callable[[], None] = lambda: None) -> None:
    """Let timing steps take until it is asked to end."""

    def time_for_ever(probe: TrainingProbe, batch_size: int, watched: int, seconds: float) -> TrainingPace:
        begun()
        while True:
            probe.control.check()
            time.sleep(0.01)

    monkeypatch.setattr(TrainingProbe, "time", time_for_ever)
    monkeypatch.setattr(estimate, "warm_up", lambda device, control: None)


def test_that_a_newer_request_overtakes_and_a_cancelled_one_gives_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_session(tmp_path) as session:
        wait_for(session, EngineReady)
        slow(monkeypatch)
        session.estimate(chain())
        session.estimate(chain())
        session.cancel_estimate()
        monkeypatch.setattr(TrainingProbe, "time", lambda probe, batch_size, watched, seconds: PACE)
        session.estimate(named("answered"))
        answers = [wait_for(session, StudyEstimated)]
        time.sleep(0.2)
        while not session.events.empty():
            event = session.events.get()
            assert not isinstance(event, RequestFailed)
            answers += [event] if isinstance(event, StudyEstimated) else []
    assert [[run.name for run in answer.runs] for answer in answers] == [["answered"]]


def test_that_a_run_that_begins_ends_the_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[None] = []
    slow(monkeypatch, lambda: begun.append(None))
    with open_session(tmp_path) as session:
        wait_for(session, EngineReady)
        session.estimate(chain())
        while not begun:
            time.sleep(0.01)
        session.submit(chain())
        events: list[object] = []
        while not any(isinstance(event, RunChanged) and event.run.state == "running" for event in events):
            events.append(session.events.get(timeout=60))
        session.stop_all()
        while not any(isinstance(event, RequestFailed) for event in events):
            events.append(session.events.get(timeout=60))
    (failed,) = [event for event in events if isinstance(event, RequestFailed)]
    assert failed.request == api.ESTIMATING and "A run was to begin" in failed.message


def test_that_it_ends_when_asked_to() -> None:
    control = RunControl()
    control.request("stop")
    with pytest.raises(Interrupted):
        estimate_study(
            [Planned(pretraining())], data_root=Path(), workspace=Path("/"), beside_run=False, control=control
        )


def test_that_memory_is_the_growth_while_measuring() -> None:
    with memory.measuring(CPU) as peak:
        held = torch.ones(40_000_000)
        time.sleep(3 * memory.PERIOD)
        del held
    if peak.bytes is not None:  # where freed memory can be given back
        assert 150e6 < peak.bytes < 260e6
    assert free_memory(CPU) and probes.STEPS > 1
