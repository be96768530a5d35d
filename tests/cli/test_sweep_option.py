"""--sweep on the command line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from engine.cli.main import main
from engine.cli.settings import changes_of


def test_that_sweep_and_set_together_make_the_grid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "demo", "--sweep", "seed=0..1", "--sweep", "k=2, 3", "--set", "attack.steps=5"]
    assert main([*words, "--dry-run", "--json", "--workspace", str(tmp_path)]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert len(runs) == 2 * 13
    assert {"name": "FDM, NEFT k=3, k=2", "seed": 1, "start_from": "FDM, k=2"}.items() <= runs[-2].items()


def test_that_values_that_cannot_be_read_are_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "workspace"
    assert main(["run", "demo", "--sweep", "k=1, 2.5", "--workspace", str(workspace)]) == 2
    assert "takes whole numbers, got 2.5 (character 4 of '1, 2.5')" in capsys.readouterr().err
    assert not workspace.exists()


def test_that_the_command_that_goes_on_repeats_the_sweep() -> None:
    options = argparse.Namespace(set=["attack.steps=5"], sweep=["k=1..2"])
    assert changes_of(options) == ["--set", "attack.steps=5", "--sweep", "k=1..2"]
