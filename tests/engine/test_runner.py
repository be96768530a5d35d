"""A run that ends between the last step of a training and its weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.control import Interrupted, RunControl
from engine.events import EngineEvent, RowsAdded
from engine.runner import Runner
from engine.store.checkpoints import load_weights
from engine.store.workspace import Workspace
from tests.engine.small import assert_same_bits, chain, only


@pytest.mark.parametrize("stage", ["pretraining", "finetuning"])
def test_that_a_run_paused_after_the_last_step_of_a_training_still_writes_its_weights(
    tmp_path: Path, stage: str
) -> None:
    config = only(chain("pretraining.epochs=1", "finetuning.epochs=1", "attack.restarts=1"))
    workspace = Workspace(tmp_path / "workspace")
    workspace.lock()
    folders = [workspace.create_run(config, "study") for _ in range(2)]
    control = RunControl()

    def pause_at_the_end(event: EngineEvent) -> None:
        # The rows of the last steps come before the look at the epoch's end, which is then interrupted.
        if isinstance(event, RowsAdded) and (event.stage, event.table) == (stage, "steps"):
            control.request("pause")

    with pytest.raises(Interrupted):
        Runner(folders[0], None, data_root=tmp_path, control=control, emit=pause_at_the_end).run()
    assert not folders[0].weights_path(stage).exists()  # type: ignore[arg-type]
    for folder in folders:
        control.clear()
        Runner(folder, None, data_root=tmp_path, control=control, emit=lambda event: None).run()
    for name in ("pretraining", "finetuning"):
        weights = [load_weights(folder.weights_path(name))[0] for folder in folders]  # type: ignore[arg-type]
        assert_same_bits(*weights)
    workspace.unlock()
