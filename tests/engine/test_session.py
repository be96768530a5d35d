"""Whole runs through the session: stages, pause, stop, kill, resume, queue and failure."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.api import INSPECTING
from engine.config import AttackConfig, ComparisonConfig, RunConfig, StudyConfig, parse_study
from engine.errors import ConfigError, StoreError
from engine.events import (
    AttackProgress,
    CheckpointSaved,
    EngineEvent,
    ExamplesAttacked,
    Exported,
    InspectionProgress,
    NetworkInspected,
    QueueEmpty,
    RequestFailed,
    RowsAdded,
    RunChanged,
    RunInfo,
    RunOpened,
    RunsListed,
    StageStarted,
)
from engine.models.spec import ModelSpec
from engine.store.checkpoints import load_weights
from engine.store.run_reader import read_record, read_tables
from engine.store.workspace import Workspace
from tests.engine.small import (
    CHAIN,
    assert_same_bits,
    carry_out,
    chain,
    follow,
    open_session,
    wait_for,
    weights_of,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """An undisturbed run through all stages, with the events it sent."""
    workspace = tmp_path_factory.mktemp("finished")
    events: list[EngineEvent] = []
    with open_session(workspace) as session:
        (info,) = session.submit(chain())
        ended = follow(session, [info.id], each=events.append)
    return workspace, {"info": ended[info.id], "events": events}


def test_that_a_run_goes_through_its_stages_and_keeps_weights_tables_and_result(finished) -> None:
    workspace, seen = finished
    info = seen["info"]
    assert (info.state, info.reason, info.progress) == ("finished", "", 1.0)
    stages = [event.layout.stage for event in seen["events"] if isinstance(event, StageStarted)]
    assert stages == ["pretraining", "finetuning", "attack"]
    record = read_record(Workspace(workspace).folder(info.id))
    assert record.weights == ("pretraining", "finetuning")
    steps = record.tables["pretraining"]["steps"]
    assert steps["step"].tolist() == list(range(6))
    assert np.isfinite(steps["penalty_unweighted"]).all()
    np.testing.assert_allclose(steps["loss"], steps["cross_entropy"] + steps["penalty"], rtol=1e-5, atol=1e-6)
    layers = record.tables["finetuning"]["layers"]
    assert layers["epoch"].tolist() == [0.0, 1.0, 2.0]
    assert layers["distance"].shape == (3, 5)
    assert record.layouts["finetuning"].boundary == 2
    classes = {stage: "".join(layout.class_names) for stage, layout in record.layouts.items()}
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert classes == {"pretraining": letters, "finetuning": "0123456789", "attack": "0123456789"}
    samples = record.tables["attack"]["samples"]
    assert sorted(samples["sample"].tolist()) == list(range(40))
    assert info.result.clean_accuracy.value == pytest.approx(samples["clean_correct"].mean())
    assert info.result.robust_accuracy.value == pytest.approx(samples["robust"].mean())
    assert info.result.attack == "PGD-3, Linf 8/255, 2 restarts"


def test_that_events_carry_the_same_rows_as_the_file(finished) -> None:
    workspace, seen = finished
    _, tables = read_tables(Workspace(workspace).folder(seen["info"].id).metrics_path)
    for stage, own in tables.items():
        for table, columns in own.items():
            parts = [
                event.columns
                for event in seen["events"]
                if isinstance(event, RowsAdded) and (event.stage, event.table) == (stage, table)
            ]
            assert bool(parts) == bool(len(next(iter(columns.values())))), f"{stage}/{table}"
            if table in ("probe", "examples"):  # whole tables, shown at every look and written after the last
                parts = parts[-1:]
            for name, values in columns.items() if parts else ():
                told = np.concatenate([np.asarray(part[name]) for part in parts]).astype(values.dtype)
                np.testing.assert_array_equal(told, values, err_msg=f"{stage}/{table}/{name}")


def test_that_weights_tell_the_network_its_classes_and_its_history(finished) -> None:
    workspace, seen = finished
    path = Workspace(workspace).folder(seen["info"].id).weights_path("finetuning")
    tensors, metadata = load_weights(path)
    spec = ModelSpec.from_metadata(metadata)
    assert spec.class_names == tuple("0123456789")
    assert (spec.num_halved, spec.boundary, len(spec.history)) == (3, 2, 2)
    assert not any("parametrizations" in name for name in tensors)
    model = spec.build(tensors).eval()
    with torch.no_grad():
        assert model(torch.rand(2, 3, 16, 16)).shape == (2, 10)


def test_that_a_second_run_in_the_same_process_gives_the_same_bits(finished) -> None:
    workspace, seen = finished
    with open_session(workspace) as session:
        (info,) = session.submit(chain())
        again = follow(session, [info.id])[info.id]
    assert_same_bits(weights_of(workspace, again), weights_of(workspace, seen["info"]))
    assert again.result.robust_accuracy == seen["info"].result.robust_accuracy
    assert again.id != seen["info"].id


@pytest.mark.parametrize("moment", range(6))
def test_that_a_run_paused_at_any_moment_ends_with_the_same_bits(
    tmp_path: Path, finished, moment: int
) -> None:
    straight_workspace, seen = finished
    pauses = 0

    with open_session(tmp_path) as session:
        (info,) = session.submit(chain())
        ended = {"run": info}
        while ended["run"].state != "finished":
            event = session.events.get(timeout=60)
            if isinstance(event, RunChanged):
                ended["run"] = event.run
                assert event.run.state in ("created", "running", "paused", "finished"), event.run.reason
                if event.run.state == "running" and pauses < 4:
                    pauses += 1
                    time.sleep(0.05 + 0.11 * moment)
                    session.pause()
                elif event.run.state == "paused":
                    session.resume(info.id)
    assert pauses
    assert_same_bits(weights_of(tmp_path, ended["run"]), weights_of(straight_workspace, seen["info"]))
    _same_tables(tmp_path, ended["run"].id, straight_workspace, seen["info"].id)


@pytest.mark.parametrize(
    ("pretraining", "finetuning"),
    [("trades", "lwf"), ("natural", "full"), ("adversarial", "linear_probe"), ("natural", "adversarial")],
)
def test_that_a_run_that_selects_and_averages_weights_is_kept_whole_over_pauses(
    tmp_path: Path, pretraining: str, finetuning: str
) -> None:
    study = chain(
        f"pretraining.method={pretraining}", f"finetuning.method={finetuning}", "finetuning.warm_start_epochs=1",
        "pretraining.selection=best", "finetuning.selection=best", "finetuning.averaging=0.9",
    )  # fmt: skip
    straight = carry_out(tmp_path / "straight", study)["chain"]
    with open_session(tmp_path / "paused") as session:
        (info,) = session.submit(study)
        for stage in ("pretraining", "finetuning"):
            while (
                rows := wait_for(session, RowsAdded, seconds=60)
            ).stage != stage or rows.table == "machine":
                pass
            session.pause()
            while (info := wait_for(session, RunChanged, seconds=60).run).state != "paused":
                pass
            session.resume(info.id)
        paused = follow(session, [info.id])[info.id]
    for stage in ("pretraining", "finetuning"):
        assert_same_bits(
            weights_of(tmp_path / "paused", paused, stage), weights_of(tmp_path / "straight", straight, stage)
        )
    _same_tables(tmp_path / "paused", paused.id, tmp_path / "straight", straight.id)
    log = Workspace(tmp_path / "paused").folder(paused.id).read_log()
    assert any("best by robust accuracy on held-out images" in line for line in log)


def _same_tables(one: Path, one_id: str, other: Path, other_id: str) -> None:
    """All rows are equal but for those that tell time or what the machine was doing."""
    _, first = read_tables(Workspace(one).folder(one_id).metrics_path)
    _, second = read_tables(Workspace(other).folder(other_id).metrics_path)
    for stage, tables in second.items():
        for table, columns in tables.items():
            for name, values in columns.items() if table != "machine" else ():
                if name not in ("seconds", "images_per_second", "live_share"):
                    np.testing.assert_array_equal(
                        first[stage][table][name], values, err_msg=f"{stage}/{name}"
                    )


CHILD = """
import sys
from pathlib import Path
from engine import api
from engine.config import parse_study
from engine.events import RunChanged, CheckpointSaved, RowsAdded
session = api.Session(Path(sys.argv[1])); session.open()
session.submit(parse_study(Path(sys.argv[2]).read_text()), resume=True)
while True:
    event = session.events.get()
    if isinstance(event, RunChanged) and event.run.state == "finished":
        break
    if isinstance(event, (CheckpointSaved, RowsAdded)):
        print(event.stage, flush=True)
session.close()
"""


@pytest.mark.parametrize("kill_after", [1, 4, 7])
def test_that_a_killed_run_opens_and_resumes_to_the_same_bits(
    tmp_path: Path, finished, kill_after: int
) -> None:
    straight_workspace, seen = finished
    settings = tmp_path / "chain.toml"
    settings.write_text(CHAIN)
    workspace = tmp_path / "workspace"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(workspace), str(settings)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for _ in range(kill_after):
        assert child.stdout.readline()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()

    (killed,) = Workspace(workspace).runs()
    assert killed.state == "interrupted"
    assert read_record(Workspace(workspace).folder(killed.id)).layouts
    with open_session(workspace) as session:
        session.resume(killed.id)
        ended = follow_until_finished(session, killed.id)
    assert_same_bits(weights_of(workspace, ended), weights_of(straight_workspace, seen["info"]))
    _same_tables(workspace, killed.id, straight_workspace, seen["info"].id)
    assert ended.result == _without_time(seen["info"].result, ended.result)


def follow_until_finished(session, run_id: str):
    """The run's last line, once it is finished."""
    while True:
        event = session.events.get(timeout=60)
        assert not isinstance(event, RequestFailed), event.message
        if isinstance(event, RunChanged) and event.run.id == run_id:
            assert event.run.state != "failed", event.run.reason
            if event.run.state == "finished":
                return event.run


def _without_time(result, other):
    pairs = zip(result.members, other.members, strict=True)
    members = tuple(replace(one, seconds=same.seconds) for one, same in pairs)
    return replace(result, seconds=other.seconds, members=members)


def test_that_stop_answers_within_one_attack_step(tmp_path: Path) -> None:
    study = chain(
        "pretraining.attack.steps=2000", "pretraining.attack.step_size=0.001", "pretraining.epochs=50"
    )
    with open_session(tmp_path) as session:
        (info,) = session.submit(study)
        wait_for(session, StageStarted)
        time.sleep(1.0)
        asked = time.monotonic()
        session.stop(info.id)
        ended = follow(session, [info.id])[info.id]
        assert time.monotonic() - asked < 3.0
    assert ended.state == "stopped"


def test_that_submitting_again_with_resume_makes_only_what_is_missing(tmp_path: Path) -> None:
    study = _two_runs()
    first = carry_out(tmp_path, study)
    longer = StudyConfig(
        title=study.title, runs=[*study.runs, study.runs[1].model_copy(update={"name": "third"})]
    )
    with open_session(tmp_path) as session:
        made = {info.name: info for info in session.submit(longer, resume=True)}
        ended = follow(session, [made["third"].id])
    assert {name: made[name].id for name in first} == {name: info.id for name, info in first.items()}
    assert ended[made["third"].id].state == "finished"


GRID = (
    CHAIN.replace("pretraining]\n", "pretraining]\nnum_finetuned_blocks = 3\n").replace(
        "epochs = 2", "epochs = 1"
    )
    + '[grid]\nseed = [0, 1]\n"finetuning.spectral_bound" = [0.5, 1.0]\n'
)


def test_that_a_grid_interrupted_midway_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    study = parse_study(GRID)
    keys = [(run.name, run.seed) for run in study.runs]
    assert keys == [
        (name, seed) for seed in (0, 1) for name in ("FDM, k=3", "chain, beta=0.5", "chain, beta=1")
    ]
    straight = _by_key(tmp_path / "straight", study.part(["chain, beta=0.5@1"]))
    with open_session(tmp_path / "halves") as session:
        submitted = session.submit(study)
        while not (
            isinstance(event := session.events.get(timeout=60), StageStarted)
            and event.run_id == submitted[4].id
        ):
            pass
        session.pause()
        ended = follow(session, [submitted[4].id])
        assert ended[submitted[4].id].state == "paused"
    halves = _by_key(tmp_path / "halves", study, resume=True)
    assert [halves[key].id for key in keys] == [info.id for info in submitted]
    assert all(info.state == "finished" for info in halves.values())
    resumed, alone = halves[keys[4]], straight[keys[4]]
    assert resumed.result == _without_time(alone.result, resumed.result)
    assert_same_bits(weights_of(tmp_path / "halves", resumed), weights_of(tmp_path / "straight", alone))
    assert [halves[key].parent for key in keys] == [
        "" if key[0] == "FDM, k=3" else halves["FDM, k=3", key[1]].id for key in keys
    ]
    other_seed = weights_of(tmp_path / "halves", halves[keys[1]])
    assert any(
        not torch.equal(tensor, other_seed[name])
        for name, tensor in weights_of(tmp_path / "straight", alone).items()
    )


def _by_key(workspace: Path, study: StudyConfig, *, resume: bool = False) -> dict:
    """Make all runs of a study; the infos by name and seed."""
    with open_session(workspace) as session:
        made = session.submit(study, resume=resume)
        ended = follow(session, [info.id for info in made if info.state != "finished"])
    return {(info.name, info.config.seed): ended.get(info.id, info) for info in made}


def test_that_resume_keeps_no_run_that_was_trained_from_another_parent(tmp_path: Path) -> None:
    study = _two_runs()
    first = carry_out(tmp_path, study)
    source = study.runs[0].pretraining
    other = study.runs[0].model_copy(
        update={"pretraining": source.model_copy(update={"feature_weight": 0.5})}
    )
    changed = StudyConfig(title=study.title, runs=[other, study.runs[1]])
    with open_session(tmp_path) as session:
        assert session.planned(changed, resume=True) == [None, None]
        assert [info.id for info in session.planned(study, resume=True)] == [
            info.id for info in first.values()
        ]
        assert session.planned(study) == [None, None]


@pytest.mark.parametrize(
    ("seeds", "message"),
    [((1, 2, 3), "'source' has the seeds 1, 2 and not 3"), ((3, 3, 1), "'source' with seed 3 stands later")],
)
def test_that_a_seed_that_cannot_be_started_from_is_told(tmp_path: Path, seeds: tuple, message: str) -> None:
    source, transfer = _two_runs().runs
    runs = [source.model_copy(update={"seed": seeds[0]}), source.model_copy(update={"seed": seeds[1]}),
            transfer.model_copy(update={"seed": seeds[2]})]  # fmt: skip
    if seeds[0] == seeds[1]:
        runs = [runs[2].model_copy(update={"seed": 3}), runs[0]]
    with open_session(tmp_path) as session, pytest.raises(ConfigError, match=message):
        session.submit(StudyConfig(title="seeds", runs=runs))
    assert Workspace(tmp_path).runs() == []


def _two_runs() -> StudyConfig:
    study = chain("pretraining.epochs=1", "finetuning.epochs=1", "finetuning.num_finetuned_blocks=1")
    whole = study.runs[0]
    first = whole.model_copy(update={"name": "source", "finetuning": None, "attack": None})
    second = whole.model_copy(update={"name": "transfer", "pretraining": None, "start_from": "source"})
    return StudyConfig(title="two", runs=[first, second])


def test_that_a_transfer_starts_from_the_weights_of_an_earlier_run_or_file(tmp_path: Path) -> None:
    made = carry_out(tmp_path, _two_runs())
    assert made["transfer"].state == "finished"
    source = weights_of(tmp_path, made["source"], "pretraining")
    transfer = weights_of(tmp_path, made["transfer"])
    for name in ("stem.weight", "blocks.1.conv1.weight", "blocks.4.bn.running_mean", "mean", "std"):
        assert torch.equal(source[name], transfer[name]), name
    exported = tmp_path / "exported.safetensors"
    with open_session(tmp_path) as session:
        session.export_weights(made["transfer"].id, "finetuning", exported)
        wait_for(session, Exported)
        attack = _two_runs().runs[1].model_copy(
            update={"name": "attack", "finetuning": None, "start_from": str(exported), "target": None, "source": None,
                    "model": None}
        )  # fmt: skip
        (info,) = session.submit(StudyConfig(title="attack", runs=[attack]))
        ended = follow(session, [info.id])[info.id]
    assert ended.state == "finished", ended.reason
    assert ended.result.robust_accuracy == made["transfer"].result.robust_accuracy


def test_that_a_failed_run_says_why_and_only_what_starts_from_it_waits(tmp_path: Path) -> None:
    study = _two_runs()
    broken = study.runs[0].model_copy(
        update={
            "name": "broken",
            "source": study.runs[0].source.model_copy(update={"name": "folder", "path": "/nowhere"}),
        }
    )
    orphan = study.runs[1].model_copy(update={"name": "orphan", "start_from": "broken"})
    with open_session(tmp_path) as session:
        ids = [
            info.id
            for info in session.submit(StudyConfig(title="broken", runs=[broken, orphan, study.runs[0]]))
        ]
        told: dict[str, RunInfo] = {}
        while not isinstance(event := session.events.get(timeout=60), QueueEmpty) or not told:
            if isinstance(event, RunChanged):
                told[event.run.id] = event.run
    made = [told[run_id] for run_id in ids]
    assert [info.state for info in made] == ["failed", "created", "finished"]
    assert "/nowhere" in made[0].reason
    assert made[1].reason == "waits for broken"


def test_that_a_run_that_starts_from_a_damaged_file_fails_and_the_queue_goes_on(tmp_path: Path) -> None:
    damaged = tmp_path / "cut.safetensors"
    damaged.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    study = _two_runs()
    attack = RunConfig(
        name="damaged", start_from=str(damaged), target=study.runs[0].source, attack=AttackConfig()
    )
    made = carry_out(tmp_path, StudyConfig(title="damaged", runs=[attack, study.runs[0]]))
    assert made["damaged"].state == "failed"
    assert "cut.safetensors" in made["damaged"].reason
    assert made["source"].state == "finished"


def test_that_a_diverging_run_ends_with_the_step_and_what_to_do(tmp_path: Path) -> None:
    made = carry_out(tmp_path, chain("pretraining.method=natural", "pretraining.learning_rate=10",
                                     "pretraining.weight_decay=1", "pretraining.schedule=constant",
                                     "pretraining.batch_size=4"))  # fmt: skip
    assert made["chain"].state == "failed"
    assert re.match(r"The loss stopped being a number at step \d+ of 38\. Lower the", made["chain"].reason)


def test_that_starting_from_something_unknown_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    study = _two_runs()
    lost = StudyConfig(title="lost", runs=[study.runs[1]])
    with (
        open_session(tmp_path) as session,
        pytest.raises(ConfigError, match="there is no run earlier in the study"),
    ):
        session.submit(lost)
    assert Workspace(tmp_path).runs() == []


def test_that_a_second_session_is_read_only_and_says_who_holds_the_workspace(tmp_path: Path) -> None:
    with open_session(tmp_path), open_session(tmp_path / ".") as second:
        listed = second.events.get(timeout=10)
        assert "is in use by process" in listed.read_only
        with pytest.raises(StoreError):
            second.submit(chain())


def test_that_runs_can_be_opened_while_one_is_running(tmp_path: Path) -> None:
    with open_session(tmp_path) as session:
        (info,) = session.submit(chain())
        wait_for(session, CheckpointSaved)
        session.open_run(info.id)
        record = wait_for(session, RunOpened).record
        assert record.layouts.keys() == {"pretraining", "finetuning", "attack"}
        assert len(record.tables["pretraining"]["steps"]["step"]) >= 1
        follow(session, [info.id])


def test_that_tables_are_exported_with_a_column_per_block(tmp_path: Path, finished) -> None:
    workspace, seen = finished
    with open_session(workspace) as session:
        session.export_tables(seen["info"].id, tmp_path / "csv")
        wait_for(session, Exported)
    header, *rows = (tmp_path / "csv" / "finetuning-layers.csv").read_text().splitlines()
    assert header.split(",")[:4] == ["step", "epoch", "distance 1", "distance 2"]
    assert len(rows) == 3


def test_that_an_idle_queue_can_be_paused_and_what_waits_is_stopped(tmp_path: Path) -> None:
    with open_session(tmp_path) as session:
        wait_for(session, QueueEmpty)
        session.pause()
        assert wait_for(session, QueueEmpty).paused
        runs = session.submit(_two_runs())
        session.stop_all()
        ended = follow(session, [info.id for info in runs])
    assert {ended[info.id].state for info in runs} == {"stopped"}


def test_that_the_attack_reports_figures_on_the_way(finished) -> None:
    _, seen = finished
    progress = [event for event in seen["events"] if isinstance(event, AttackProgress)]
    clean = [event for event in progress if event.title == "Clean images"]
    assert [event.done for event in clean] == [20, 40]
    *attacked, end = progress[len(clean) :]
    assert (end.title, end.share, end.members) == ("", 1.0, seen["info"].result.members)
    assert {(event.title, event.number, event.count) for event in attacked} == {("PGD-3", 1, 1)}
    assert [event.robust_accuracy for event in attacked] == sorted(
        (event.robust_accuracy for event in attacked), reverse=True
    )
    assert progress[-1].robust_accuracy == pytest.approx(seen["info"].result.robust_accuracy.value)


def test_that_a_study_with_an_unknown_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="no such setting"):
        parse_study(CHAIN + "\nstep = 3\n")


def test_that_what_a_study_asks_is_told_again_by_the_next_session(tmp_path: Path) -> None:
    question = ComparisonConfig(baseline="chain", other="chain", measure="clean_accuracy")
    with open_session(tmp_path) as session:
        session.submit(chain().model_copy(update={"comparisons": [question]}))
        session.stop_all()
    with open_session(tmp_path) as session:
        assert wait_for(session, RunsListed).questions == {"Chain": (question,)}


def test_that_a_network_is_inspected_on_demand_and_alike_by_run_and_by_file(finished) -> None:
    workspace, seen = finished
    info = seen["info"]
    path = Workspace(workspace).folder(info.id).weights_path("finetuning")
    with open_session(workspace) as session:
        told: list[InspectionProgress] = []

        def note(event: EngineEvent) -> None:
            if isinstance(event, InspectionProgress):
                told.append(event)

        session.inspect(info.id, stage="finetuning", images=12)
        record = wait_for(session, NetworkInspected, each=note).record
        session.inspect(str(path), attack=record.run.config.attack, images=12)
        other = wait_for(session, NetworkInspected, each=note).record
    assert (record.run.id, other.run.id) == (info.id, str(path))
    (layout,) = record.layouts.values()
    trained = read_record(Workspace(workspace).folder(info.id)).layouts["finetuning"]
    assert layout.layer_names == trained.layer_names
    assert layout.block_names == trained.block_names
    assert (layout.stage, layout.boundary) == ("finetuning", trained.boundary)
    tables = record.tables["finetuning"]
    assert {name: len(next(iter(columns.values()))) for name, columns in tables.items()} == {
        "layers": 1, "bounds": 1, "profile": 10, "probe": 12, "examples": 12,
    }  # fmt: skip
    assert tables["bounds"]["violations"].tolist() == [0]
    for name, columns in tables.items():
        for column, values in columns.items():
            np.testing.assert_array_equal(other.tables["finetuning"][name][column], values, err_msg=column)
    shares = [event.share for event in told]
    assert shares[0] == 0
    assert len({event.title for event in told}) == 4
    assert all(0 <= share <= 1 for share in shares)


def test_that_a_cancelled_inspection_answers_and_leaves_room_for_the_next(finished) -> None:
    workspace, seen = finished
    with open_session(workspace) as session:
        session.inspect(seen["info"].id)
        session.cancel_inspection()
        assert wait_for(session, NetworkInspected).record is None
        session.inspect(str(workspace / "nothing.safetensors"))
        assert wait_for(session, RequestFailed).request == INSPECTING


@pytest.mark.parametrize("stage", ["finetuning", "attack"])
def test_that_examples_are_attacked_anew_within_another_radius(finished, stage) -> None:
    workspace, seen = finished
    info = seen["info"]
    known = read_record(Workspace(workspace).folder(info.id)).tables[stage]["examples"]
    with open_session(workspace) as session:
        session.attack_examples(info.id, stage, 0.0)
        clean = wait_for(session, ExamplesAttacked)
        session.attack_examples(info.id, stage, 32 / 255)
        strong = wait_for(session, ExamplesAttacked)
    assert (clean.attack, clean.epsilon) == ("no attack", 0)
    assert "32/255" in strong.attack
    for found in (clean, strong):
        np.testing.assert_array_equal(found.examples["sample"], known["sample"])
        np.testing.assert_array_equal(found.probe["sample"], known["sample"])
        np.testing.assert_array_equal(found.examples["clean"], known["clean"])
    assert not clean.examples["difference"].any()
    assert not clean.probe["layer_distance"].any()
    largest = np.abs(strong.examples["difference"]).reshape(len(known["sample"]), -1).max(1)
    np.testing.assert_allclose(largest, 32 / 255, rtol=1e-5)
    assert (strong.probe["distance"] > 0).all()


def test_that_a_request_that_a_newer_one_overtakes_is_dropped(finished) -> None:
    workspace, seen = finished
    with open_session(workspace) as session:
        for epsilon in (1 / 255, 2 / 255, 3 / 255):
            session.attack_examples(seen["info"].id, "finetuning", epsilon)
        assert wait_for(session, ExamplesAttacked).epsilon == 3 / 255
