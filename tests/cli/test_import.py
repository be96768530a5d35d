"""`cartl import`: a checkpoint of the CARTL authors' code, and what can be done with it afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.cli.conftest import Cartl
from tests.cli.test_hostile_input import Bomb, one_message
from tests.engine.authors_files import arrays_of, as_authors
from tests.engine.small import small_model, warm
from tests.engine.test_reference import load

KNOWN = ("--mean", "0.4", "0.5", "153/255", "--std", "0.2", "0.25", "0.3")
TRANSFER = """
title = "From a checkpoint"
[[runs]]
name = "transferred"
start_from = "{start}"
target = {{ name = "digits", image_size = 16, train_size = 40, validation_size = 16, test_size = 32 }}
machine = {{ device = "cpu", threads = 1 }}
inspection = {{ bounds = false }}
finetuning = {{ method = "vanilla", epochs = 1, batch_size = 20, num_finetuned_blocks = 2 }}
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "authors.safetensors"
    save_file(as_authors(warm(small_model(10)), (1, 1, 1)), path)
    return path


def test_that_an_imported_network_is_told_and_can_be_inspected_attacked_and_started_from(
    cartl: Cartl, checkpoint: Path, tmp_path: Path
) -> None:
    place = ("--workspace", tmp_path / "workspace")
    answer = cartl("import", checkpoint, "--data", "digits", "--data-image-size", 16, *KNOWN, *place)
    target = tmp_path / "authors-imported.safetensors"
    assert answer.code == 0, answer.err
    for words in (
        "WRN-10-1",
        "Blocks            5",
        "Classes           10",
        "0.4000, 0.5000, 0.6000 (as given)",
    ):
        assert words in answer.out
    assert answer.out.splitlines()[-1] == f"Written: {target}"

    inspected = cartl("inspect", target, "--steps", 1, "--images", 16, "--json", *place)
    assert inspected.code == 0, inspected.err
    assert len(inspected.json["blocks"]) == 5
    attacked = cartl("attack", target, "--steps", 1, "--samples", 16, "--json", *place)
    assert attacked.json["runs"][0]["result"]["samples"] == 16
    assert attacked.json["runs"][0]["result"]["data"].lower().startswith("digits")

    study = tmp_path / "transfer.toml"
    study.write_text(TRANSFER.format(start=target), encoding="utf-8")
    run = cartl("run", study, "--json", *place)
    assert run.code == 0, run.err
    assert run.json["runs"][0]["state"] == "finished"


def test_that_json_holds_the_figures_of_the_import(cartl: Cartl, tmp_path: Path) -> None:
    source, target = tmp_path / "neft.safetensors", tmp_path / "ours.safetensors"
    kit = load("neft")
    save_file(arrays_of(kit, "after_step_4/"), source)
    answer = cartl(
        "import", source, "--data", "cifar100", "--to", target, "--halved-blocks", 3, "--spectral-bound", 0.6,
        "--json", "--workspace", tmp_path / "workspace",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    found = answer.json
    assert found["written"] == str(target) and target.is_file()
    assert (found["architecture"], found["num_blocks"], found["num_classes"]) == ("WRN-10-1", 5, 6)
    assert found["halved_blocks"] == 3 and found["constrained_blocks"] == [3, 5]
    assert found["mean"][0] == pytest.approx(0.50707, abs=1e-5)
    assert "100" in found["notes"][0]


def test_that_everything_missing_is_asked_for_at_once_with_exit_code_2(cartl: Cartl, tmp_path: Path) -> None:
    source = tmp_path / "neft.safetensors"
    save_file(arrays_of(load("neft"), "initial/"), source)
    answer = cartl("import", source, "--data", "cifar10", "--workspace", tmp_path / "workspace")
    assert answer.code == 2
    for place in ("spectral_bound:", "halved_blocks:", "mean:"):
        assert place in answer.err
    assert cartl("import", source).code == 2


def test_that_an_existing_file_is_replaced_only_by_force(
    cartl: Cartl, checkpoint: Path, tmp_path: Path
) -> None:
    target = tmp_path / "mine.safetensors"
    target.write_text("mine")
    words = ("import", checkpoint, "--data", "digits", *KNOWN, "--to", target)
    words = (*words, "--workspace", tmp_path / "workspace")
    one_message(cartl(*words), "replace it with --force")
    assert target.read_text() == "mine"
    assert cartl(*words, "--force").code == 0
    assert target.stat().st_size > 10_000


def test_that_a_hostile_checkpoint_is_refused_and_runs_nothing(cartl: Cartl, tmp_path: Path) -> None:
    canary, source = tmp_path / "canary", tmp_path / "authors.pth"
    torch.save({"state_dict": Bomb(canary)}, source)
    answer = cartl("import", source, "--data", "cifar100", "--workspace", tmp_path / "workspace")
    one_message(answer, str(source))
    assert not canary.exists()
    missing = cartl(
        "import", tmp_path / "none.pt", "--data", "cifar100", "--workspace", tmp_path / "workspace"
    )
    one_message(missing, "none.pt")
