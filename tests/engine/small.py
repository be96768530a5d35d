"""The smallest real runs: a WRN-10-1 on a few drawn characters, seconds long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from engine import api
from engine.config import ModelConfig, RunConfig, StudyConfig, parse_study
from engine.events import ENDED, EngineEvent, EngineReady, RequestFailed, RunChanged, RunInfo
from engine.models import BlockwiseModel, build_model
from engine.store.checkpoints import load_weights
from engine.store.workspace import Workspace

CHAIN = """
title = "Chain"
[defaults]
model = { depth = 10, widen_factor = 1 }
source = { name = "letters", image_size = 16, train_size = 78, validation_size = 26, test_size = 26 }
target = { name = "digits", image_size = 16, train_size = 60, validation_size = 20, test_size = 40 }
machine = { threads = 1, device = "cpu" }
[[runs]]
name = "chain"
[runs.pretraining]
method = "fdm"
epochs = 2
batch_size = 26
attack = { epsilon = "8/255", step_size = "4/255", steps = 3 }
[runs.finetuning]
method = "neft"
num_finetuned_blocks = 3
epochs = 2
batch_size = 20
[runs.attack]
steps = 3
restarts = 2
batch_size = 20
"""


def chain(*overrides: str) -> StudyConfig:
    """One run through all three stages."""
    return parse_study(CHAIN, overrides)


def only(study: StudyConfig) -> RunConfig:
    """The run of a study with one run."""
    (run,) = study.runs
    return run


def small_model(classes: int = 5, seed: int = 0, depth: int = 10) -> BlockwiseModel:
    """A WRN-d-1 with drawn weights."""
    return build_model(ModelConfig(depth=depth), classes, torch.Generator().manual_seed(seed))


@contextmanager
def open_session(workspace: Path) -> Iterator[api.Session]:
    """A session that is closed, and whose thread has ended, afterwards."""
    session = api.Session(workspace)
    session.open()
    try:
        yield session
    finally:
        assert session.close(timeout=60)


def follow(
    session: api.Session,
    run_ids: list[str],
    *,
    each: Callable[[EngineEvent], None] = lambda event: None,
    seconds: float = 90,
) -> dict[str, RunInfo]:
    """Take events until all runs have ended."""
    last: dict[str, RunInfo] = {}
    until = time.monotonic() + seconds
    while not all(run_id in last and last[run_id].state in ENDED for run_id in run_ids):
        event = session.events.get(timeout=max(0.1, until - time.monotonic()))
        each(event)
        if isinstance(event, RunChanged):
            last[event.run.id] = event.run
    return last


def wait_for(session: api.Session, kind: type, *, seconds: float = 60) -> EngineEvent:
    """Take events until one of this kind comes; a refused request fails the test."""
    until = time.monotonic() + seconds
    while True:
        event = session.events.get(timeout=max(0.1, until - time.monotonic()))
        if isinstance(event, kind):
            return event
        assert not isinstance(event, RequestFailed), event.message


def carry_out(workspace: Path, study: StudyConfig) -> dict[str, RunInfo]:
    """Make all runs of a study in a session of their own; the infos by run name."""
    with open_session(workspace) as session:
        ids = [info.id for info in session.submit(study)]
        ended = follow(session, ids)
    return {ended[run_id].name: ended[run_id] for run_id in ids}


def weights_of(workspace: Path, info: RunInfo, stage: str = "finetuning") -> dict[str, torch.Tensor]:
    """The weights that a run kept after a stage."""
    tensors, _ = load_weights(Workspace(workspace).folder(info.id).weights_path(stage))  # type: ignore[arg-type]
    return tensors


def assert_same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Fail with the names of the tensors that differ in any bit."""
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different, f"these differ: {different}"


__all__ = [
    "EngineReady",
    "assert_same_bits",
    "carry_out",
    "chain",
    "follow",
    "only",
    "open_session",
    "small_model",
    "wait_for",
    "weights_of",
]
