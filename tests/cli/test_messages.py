"""Wrong use: one clear message, no traceback, exit code 2."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine import __version__
from engine.errors import ConfigError, Problem
from tests.cli.conftest import TINY, Cartl, Made

WRONG_SETTINGS = {
    "unknown key": ("pretraining.epoch=3", r"pretraining\.epoch: there is no such setting"),
    "epsilon 0": ("attack.epsilon=0", r"attack\.epsilon: input should be greater than 0, got 0"),
    "epsilon as text": ("attack.epsilon=big", r"attack\.epsilon: expected a number or a ratio such as 8/255"),
    "k of 0": ("finetuning.num_finetuned_blocks=0", r"finetuning\.num_finetuned_blocks: .*greater than or equal to 1"),
    "k out of range": ("finetuning.num_finetuned_blocks=9", r"WRN-10-1 has 5 blocks, so k must be 1 to 5, got 9"),
    "unknown method": ("finetuning.method=mart", r"finetuning\.method: input should be 'vanilla', 'neft', "),
    "no such data set": ("source.name=imagenet", r"source\.name: input should be 'letters', "),
    "folder without path": ("target.name=folder", r"target\.path.*: a folder data set needs the folder"),
    "not a number": ("pretraining.learning_rate=nan", r"pretraining\.learning_rate: .*finite number"),
    "no value": ("attack.steps", r"expected KEY=VALUE such as attack\.epsilon=8/255, got 'attack\.steps'"),
    "into a value": ("seed.epochs=1", r"seed is a value, not a table"),
}  # fmt: skip


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.mark.parametrize(("override", "expected"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS.keys())
def test_that_a_wrong_setting_is_told_once_with_its_place(
    cartl: Cartl, study: Path, tmp_path: Path, override: str, expected: str
) -> None:
    answer = cartl("run", study, "--set", override, "--workspace", tmp_path / "workspace")
    assert answer.code == 2 and answer.out == ""
    assert re.search(expected, answer.err), answer.err
    lines = answer.err.splitlines()
    assert len(set(lines)) == len(lines) <= 1 + 2, "at most a head and a line for each run"
    assert "Traceback" not in answer.err
    assert not (tmp_path / "workspace").exists(), "nothing may be made from wrong settings"


def test_that_the_line_of_a_wrong_setting_in_the_file_is_named(cartl: Cartl, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text('name = "x"\nstart_from = "y"\n[attack]\nsteps = 0\n', encoding="utf-8")
    answer = cartl("run", path)
    assert answer.code == 2
    assert f"{path}: attack.steps (line 4): input should be greater than or equal to 1, got 0" in answer.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "required: VERB"),
        (("fly",), "invalid choice: 'fly'"),
        (("run",), "required: STUDY"),
        (("run", "missing.toml"), "There is no study file missing.toml."),
        (("run", "nothing"), "There is no study file or preset 'nothing'. The presets are: "),
        (("presets", "nothing"), "There is no preset 'nothing'. The presets are: "),
        (("inspect", "no-such-run"), "There is no run 'no-such-run' here."),
        (("resume", "no-such-run"), "There is no run 'no-such-run' here."),
        (("attack", "no-such-run"), "There is no run 'no-such-run' here."),
        (
            ("export", "no-such-run"),
            "name what to write: --weights FILE, --tables FOLDER or --run FOLDER_OR_ZIP",
        ),
        (("export", "no-such-run", "--tables", "x"), "There is no run 'no-such-run' here."),
        (("attack", "x", "--steps", "many"), "invalid int value: 'many'"),
    ],
)
def test_that_wrong_use_is_told_in_one_sentence(
    cartl: Cartl, tmp_path: Path, arguments: tuple[str, ...], expected: str
) -> None:
    tail = ("--workspace", str(tmp_path / "workspace")) if len(arguments) > 1 else ()
    answer = cartl(*arguments, *tail)
    assert answer.code == 2 and answer.out == ""
    assert expected in answer.err and "Traceback" not in answer.err


def test_that_settings_of_the_images_of_a_checkpoint_file_need_their_name(
    cartl: Cartl, tmp_path: Path
) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"")
    answer = cartl("attack", weights, "--data-test-size", 5, "--workspace", tmp_path / "workspace")
    assert answer.code == 2 and "need their name: --data" in answer.err


def test_that_an_attack_step_wider_than_the_ball_is_refused_before_a_run_is_made(
    cartl: Cartl, made: Made
) -> None:
    before = cartl("runs", "--json", "--workspace", made.workspace).json
    answer = cartl(
        "attack", "source", "--epsilon", "1/255", "--step-size", "4/255", "--workspace", made.workspace
    )
    assert answer.code == 2 and "2 x epsilon = 2 x 1/255" in answer.err
    assert len(cartl("runs", "--json", "--workspace", made.workspace).json) == len(before)


def test_that_weights_are_refused_under_a_foreign_file_name(cartl: Cartl, made: Made, tmp_path: Path) -> None:
    answer = cartl("export", "source", "--weights", tmp_path / "model.onnx", "--workspace", made.workspace)
    assert answer.code == 2 and "ending in .safetensors or .pt" in answer.err


def test_that_a_single_problem_takes_one_line_and_several_a_list() -> None:
    problems = [Problem("attack.epsilon", "is too small", 7), Problem("title", "is required")]
    assert str(ConfigError(problems[:1], "study.toml")) == "study.toml: attack.epsilon (line 7): is too small"
    assert str(ConfigError(problems, "study.toml")).splitlines() == [
        "2 settings cannot be used in study.toml:",
        "  attack.epsilon (line 7): is too small",
        "  title: is required",
    ]


def test_that_the_version_and_help_need_no_workspace(cartl: Cartl) -> None:
    version = cartl("--version")
    assert (version.code, version.out) == (0, f"cartl {__version__}\n")
    assert "Radius of the ball around each image" in cartl("attack", "--help").out
