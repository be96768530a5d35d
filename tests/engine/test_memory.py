"""Too little memory: told as such, with what was tried, and tried again with half the batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.config import StudyConfig
from engine.store.workspace import Workspace
from engine.training.stage import TrainingStage
from tests.engine.small import chain, follow, open_session
from tests.faults import fail_on_call


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.1 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
        MemoryError(),
    ],
)
def test_that_too_little_memory_is_told_with_what_to_do_and_half_the_batch_can_be_tried(
    tmp_path: Path, error: Exception
) -> None:
    small = chain("pretraining.epochs=1", "finetuning.epochs=1", "pretraining.attack.steps=1")
    run = small.runs[0].model_copy(update={"finetuning": None, "attack": None})
    with open_session(tmp_path) as session:
        with fail_on_call(TrainingStage, "work", 1, error):
            (info,) = session.submit(StudyConfig(title="large", runs=[run]))
            failed = follow(session, [info.id])[info.id]
        assert (failed.state, failed.cause) == ("failed", "memory")
        assert "main memory did not suffice for the pre-training with a batch size of 26" in failed.reason
        assert "GB were free" in failed.reason
        assert "half the batch" in failed.reason
        listed = Workspace(tmp_path).folder(info.id).info()
        assert (listed.cause, listed.reason) == ("memory", failed.reason)
        (again,) = session.repeat([info.id], half_batch=True)
        assert again.name == "chain, batch/2"
        assert again.config.pretraining.batch_size == 13
        assert follow(session, [again.id])[again.id].state == "finished"


def test_that_other_errors_are_not_taken_for_too_little_memory(tmp_path: Path) -> None:
    with (
        open_session(tmp_path) as session,
        fail_on_call(TrainingStage, "work", 1, RuntimeError("shapes do not fit")),
    ):
        (info,) = session.submit(chain())
        failed = follow(session, [info.id])[info.id]
    assert (failed.state, failed.cause) == ("failed", "")
    assert "shapes do not fit" in failed.reason
