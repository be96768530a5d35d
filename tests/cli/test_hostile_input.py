"""Files and places a user may hand over by mistake or in good faith: one clear message each, nothing lost or run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from engine.store import atomic
from tests.cli.conftest import TINY, Answer, Cartl, Made


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.canary),)


def one_message(answer: Answer, expected: str) -> None:
    """The command failed, said this and no more than a few lines, and showed no traceback."""
    assert answer.code in (1, 2), answer
    assert expected in answer.err, answer.err
    assert "Traceback" not in answer.err + answer.out
    assert answer.err.count(expected) == 1


@pytest.mark.parametrize("verb", ["inspect", "attack"])
@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_that_a_web_page_is_not_taken_for_weights(cartl: Cartl, tmp_path: Path, verb: str, name: str) -> None:
    page = tmp_path / name
    page.write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>")
    answer = cartl(verb, page, "--workspace", tmp_path / "workspace")
    assert answer.code in (1, 2)
    assert "HTML" in answer.err + answer.out, answer
    assert "Traceback" not in answer.err + answer.out


def test_that_a_pickle_that_would_run_code_is_refused_and_runs_nothing(cartl: Cartl, tmp_path: Path) -> None:
    canary, weights = tmp_path / "canary", tmp_path / "model.pt"
    torch.save({"state_dict": Bomb(canary)}, weights)
    answer = cartl("inspect", weights, "--workspace", tmp_path / "workspace")
    assert answer.code in (1, 2)
    assert str(weights) in answer.err
    assert "Traceback" not in answer.err
    assert not canary.exists()


def test_that_a_truncated_file_of_tables_is_named_as_damaged(cartl: Cartl, copied: Made) -> None:
    (tables,) = copied.workspace.glob("runs/transferred-*/metrics.h5")
    tables.write_bytes(tables.read_bytes()[:5000])
    answer = cartl("inspect", "transferred", "--workspace", copied.workspace)
    one_message(answer, "truncated file")
    assert str(tables) in answer.err


def test_that_a_missing_folder_of_images_ends_the_run_with_its_path(cartl: Cartl, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(TINY.replace('name = "letters"', f'name = "folder", path = "{tmp_path}/nowhere"'))
    answer = cartl("run", study, "--workspace", tmp_path / "workspace")
    assert answer.code == 1
    assert f"{tmp_path}/nowhere" in answer.err + answer.out
    assert "Traceback" not in answer.err + answer.out


def test_that_a_full_disk_is_told_with_what_is_free_before_a_run_is_made(
    cartl: Cartl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "study.toml"
    study.write_text(TINY)
    monkeypatch.setattr(atomic, "free_bytes", lambda path: 1_000_000)
    answer = cartl("run", study, "--workspace", tmp_path / "workspace")
    one_message(answer, "no space in")
    assert "1.0 MB free" in answer.err
    assert not list((tmp_path / "workspace").glob("runs/*"))


def test_that_a_workspace_below_a_file_is_refused_with_the_reason(cartl: Cartl, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    study = tmp_path / "study.toml"
    study.write_text(TINY)
    answer = cartl("run", study, "--workspace", tmp_path / "file" / "workspace")
    one_message(answer, "Not a directory")
