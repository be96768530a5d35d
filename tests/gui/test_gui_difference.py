"""In which settings runs differ, as the inspector and the page that compares runs tell it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PySide6.QtCore import Qt

from cartl_gui.models.difference import ABSENT, Difference, DifferenceModel, differences, title_of
from engine.events import RunInfo
from engine.lineage import ancestry, settings_of
from tests.gui.scripted_session import demo_study


@pytest.fixture
def runs() -> dict[str, RunInfo]:
    """Two pre-trainings, a transfer from each, and a second transfer on top of the last."""
    found = {
        config.name: RunInfo(config.name, config.name, "s", "", "finished", config)
        for config in demo_study().runs
    }
    found["at-vanilla"] = replace(found["at-vanilla"], parent="at")
    found["fdm-neft"] = replace(found["fdm-neft"], parent="fdm")
    found["twice"] = replace(found["fdm-neft"], id="twice", parent="fdm-neft")
    return found


def test_that_only_settings_that_differ_are_told_those_of_earlier_runs_included(
    runs: dict[str, RunInfo],
) -> None:
    found = {row.place: row for row in differences([runs["at-vanilla"], runs["fdm-neft"]], runs)}
    assert set(found) == {
        "pretraining.method", "pretraining.num_finetuned_blocks", "pretraining.feature_weight", "finetuning.method",
        "finetuning.spectral_bound", "finetuning.power_iterations",
    }  # fmt: skip
    assert found["finetuning.method"].values == ("Vanilla", "NEFT (CARTL)")
    assert found["finetuning.spectral_bound"] == Difference(
        "finetuning.spectral_bound", "Transfer: spectral bound (beta)", (ABSENT, "0.4")
    )


def test_that_runs_that_differ_in_their_seed_alone_say_so(runs: dict[str, RunInfo]) -> None:
    other = replace(runs["at"], config=runs["at"].config.model_copy(update={"seed": 3}))
    assert differences([runs["at"], other], runs) == [Difference("seed", "Seed", ("0", "3"))]
    assert differences([runs["at"], runs["at"]], runs) == []


def test_that_every_setting_of_every_chain_has_a_title(runs: dict[str, RunInfo]) -> None:
    for run in runs.values():
        for place in settings_of(ancestry(run, runs)):
            assert title_of(place)[0].isupper()
            assert "_" not in title_of(place)
    assert title_of("before.finetuning.spectral_bound") == "Earlier transfer: spectral bound (beta)"
    assert title_of("pretraining.precision") == "Pre-training: precision"
    assert title_of("attacked.test_size") == "Attacked data: test images"


def test_that_the_table_has_a_column_a_run_and_is_reset_only_when_something_changed(
    runs: dict[str, RunInfo],
) -> None:
    model, resets = DifferenceModel(), []
    model.modelReset.connect(lambda: resets.append(model.rowCount()))
    pair = [runs["at-vanilla"], runs["fdm-neft"]]
    model.set_runs(pair, runs)
    model.set_runs([replace(run, progress=0.5) for run in pair], runs)
    assert resets == [6]
    assert model.columnCount() == 3
    headers = [model.headerData(column, Qt.Orientation.Horizontal) for column in range(3)]
    assert headers == ["Setting", "at-vanilla", "fdm-neft"]
    cell = model.index(0, 2)
    assert cell.data() == "FDM (CARTL)"
    assert cell.data(Qt.ItemDataRole.AccessibleTextRole) == "Pre-training: method of fdm-neft: FDM (CARTL)"
    model.set_runs(pair[:1], runs)
    assert (model.rowCount(), model.columnCount()) == (0, 2)
