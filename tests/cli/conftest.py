"""A tiny study, made once by the command line itself, and a way to call `cartl` in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.cli.main import main

#: Two runs of a few seconds: the second starts from the first.
TINY = """
title = "Tiny"

[defaults]
seed = 3
model = { name = "wide_resnet", depth = 10, widen_factor = 1 }
source = { name = "letters", image_size = 16, train_size = 64, validation_size = 16, test_size = 32 }
target = { name = "digits", image_size = 16, train_size = 64, validation_size = 16, test_size = 32 }
inspection = { probe_size = 16, live_share = 0 }
machine = { device = "cpu", threads = 1 }
pretraining = { epochs = 1, batch_size = 32, attack = { steps = 1 } }
finetuning = { epochs = 1, batch_size = 32, num_finetuned_blocks = 3 }
attack = { steps = 2 }

[[runs]]
name = "source"
pretraining = { method = "fdm", num_finetuned_blocks = 3 }
attack = {}

[[runs]]
name = "transferred"
start_from = "source"
finetuning = { method = "neft" }
attack = {}
"""


#: The same where it does not matter what is measured of the layers: bounds take most of its time.
QUICK = TINY.replace("live_share = 0", "bounds = false")


@dataclass(frozen=True)
class Answer:
    """What one call of `cartl` gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cartl = Callable[..., Answer]


@pytest.fixture
def cartl(capsys: pytest.CaptureFixture[str]) -> Cartl:
    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit:
            code = int(exit.code or 0)
        written = capsys.readouterr()
        return Answer(code, written.out, written.err)

    return call


@dataclass(frozen=True)
class Made:
    """A workspace in which the tiny study was made; tests that change it take a copy."""

    workspace: Path
    study: Path
    runs: list[dict[str, Any]]


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    import contextlib
    import io

    folder = tmp_path_factory.mktemp("cli")
    study, workspace = folder / "tiny.toml", folder / "workspace"
    study.write_text(TINY, encoding="utf-8")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(["run", str(study), "--json", "--workspace", str(workspace)])
    assert code == 0
    return Made(workspace, study, json.loads(out.getvalue())["runs"])


@pytest.fixture
def copied(made: Made, tmp_path: Path) -> Made:
    """The tiny study in a workspace of its own, which the test may change."""
    workspace = tmp_path / "workspace"
    shutil.copytree(made.workspace, workspace)
    return Made(workspace, made.study, made.runs)
