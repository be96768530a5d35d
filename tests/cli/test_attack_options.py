"""Settings of attacks on the command line: what is taken over from a run, what is left out, what is refused."""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

import pytest

from engine.cli.common import UsageError
from engine.cli.options import add_attack_and_images, add_checkpoint_options, add_device
from engine.cli.settings import attack_settings, attacking_run
from engine.config import ATTACKS, AttackConfig, CheckpointConfig, is_standard
from engine.errors import ConfigError
from tests.cli.conftest import Cartl, Made
from tests.engine.study_results import run_info, transferred

OWN = AttackConfig(
    epsilon=4 / 255, step_size=1 / 255, steps=7, restarts=3, judged_at="any_step", samples=50, batch_size=10,
    examples=2, sweep_epsilon=[0.1], sweep_steps=[3],
)  # fmt: skip


def options(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_attack_and_images(parser)
    add_checkpoint_options(parser)
    add_device(parser)
    return parser.parse_args([str(word) for word in words])


def test_that_the_same_attack_in_the_same_norm_takes_over_everything_that_is_left_out() -> None:
    assert attack_settings(options(), OWN) == OWN
    changed = attack_settings(options("--steps", 50, "--attack", "pgd", "--norm", "linf"), OWN)
    assert changed == OWN.model_copy(update={"steps": 50})


def test_that_another_attack_takes_over_the_threat_and_the_images_alone() -> None:
    found = attack_settings(options("--attack", "apgd_ce"), OWN)
    expected = AttackConfig(name="apgd_ce", epsilon=4 / 255, samples=50, batch_size=10, examples=2)
    assert found == expected and found.steps == 100 and found.restarts == 1 and found.sweep_epsilon == []


def test_that_another_norm_takes_over_no_radius() -> None:
    found = attack_settings(options("--norm", "l2"), OWN)
    assert found == AttackConfig(norm="l2", samples=50, batch_size=10, examples=2) and found.epsilon == 0.5


def test_that_the_norm_stays_where_the_attack_has_it() -> None:
    own = AttackConfig(name="pgd", norm="l2", epsilon=0.25, step_size=0.05)
    assert attack_settings(options("--attack", "autoattack"), own) == AttackConfig(
        name="autoattack", norm="l2", epsilon=0.25
    )
    only_l2 = attack_settings(options("--attack", "deepfool"), OWN)
    assert (only_l2.norm, only_l2.epsilon) == ("l2", 0.5)


@pytest.mark.parametrize("name", ATTACKS)
def test_that_every_attack_can_be_asked_for_with_nothing_else(name: str) -> None:
    words = ["--attack", name, *(["--surrogate", "x"] if name == "transfer" else [])]
    found = attack_settings(options(*words), AttackConfig())
    more = {"surrogate": "x"} if name == "transfer" else {}
    assert found == AttackConfig.model_validate({"name": name, **more})


def test_that_without_an_attack_of_its_own_the_defaults_are_taken() -> None:
    assert attack_settings(options("--attack", "square", "--queries", 10), None) == AttackConfig(
        name="square", queries=10
    )


def test_that_lists_and_ratios_are_typed_one_after_the_other() -> None:
    found = attack_settings(
        options("--sweep-epsilon", "2/255", "0.1", "--sweep-steps", 10, 20, "--epsilon", "16/255"), None
    )
    assert found.sweep_epsilon == [2 / 255, 0.1] and found.sweep_steps == [10, 20]
    assert found.epsilon == 16 / 255
    assert attack_settings(options("--sweep-epsilon", "--sweep-steps"), OWN) == OWN.model_copy(
        update={"sweep_epsilon": [], "sweep_steps": []}
    )


@pytest.mark.parametrize("word", ["big", "1/0", "nan"])
def test_that_what_is_no_number_is_refused_by_the_option(word: str, capsys: pytest.CaptureFixture) -> None:  # type: ignore[type-arg]
    with pytest.raises(SystemExit) as ended:
        options("--sweep-epsilon", "2/255", word)
    assert ended.value.code == 2 and "--sweep-epsilon" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--queries", 10), "--queries has no effect on PGD; it is a setting of square."),
        (("--attack", "autoattack", "--steps", 20), "--steps has no effect on AutoAttack; it is a setting of pgd, "),
        (("--attack", "fgsm", "--no-random-start"), "--random-start has no effect on FGSM"),
    ],
)  # fmt: skip
def test_that_a_setting_without_effect_is_refused(words: tuple[object, ...], expected: str) -> None:
    with pytest.raises(UsageError, match=re.escape(expected)):
        attack_settings(options(*words), OWN)


def test_that_settings_that_do_not_fit_are_refused_with_their_names() -> None:
    with pytest.raises(ConfigError, match="norm: DeepFool is defined for l2, got linf"):
        attack_settings(options("--attack", "deepfool", "--norm", "linf"), None)
    with pytest.raises(ConfigError, match="surrogate: name the run or checkpoint"):
        attack_settings(options("--attack", "transfer"), None)


def test_that_help_tells_for_which_attacks_each_setting_is(cartl: Cartl) -> None:
    text = " ".join(cartl("attack", "--help").out.split())
    _, _, help = text.partition("positional arguments:")
    for field in AttackConfig.model_fields:
        having = {name for name, facts in ATTACKS.items() if field in facts.settings}
        if not having:
            continue
        section = re.search(rf"--{field.replace('_', '-')}[ ,].*?\[([^]]*)\]", help)
        assert section, field
        told = re.search(r"(only|not) ([a-z0-9_, ]+)$", section[1])
        assert told, section[0]
        names = set(told[2].split(", "))
        assert having == (names if told[1] == "only" else ATTACKS.keys() - names), field
    usual, rare = text.split("the attack, rarely needed:")
    assert "--rho" in rare and "--steps N Iter" in usual and "--architecture NAME" in rare


def test_that_the_attacks_are_listed_with_norms_and_defaults(cartl: Cartl) -> None:
    text = cartl("attacks").out
    for name, facts in ATTACKS.items():
        (line,) = re.findall(rf"^{name}  .*", text, re.MULTILINE)
        assert facts.title in line and ", ".join(facts.norms) in line and facts.source in line
    assert "--epsilon 8/255 (l2: 0.5, l1: 12), --step-size 2/255 (l2: 0.1, l1: 1.5), --steps 20" in text
    assert "APGD-CE-100, APGD-T-100, FAB-T-100, Square (5,000 queries)" in text
    assert max(map(len, text.splitlines())) <= 110
    for name, facts in cartl("attacks", "--json").json.items():
        assert set(facts["norms"]) == set(ATTACKS[name].norms)
        for norm, defaults in facts["norms"].items():
            more = {"surrogate": "x"} if name == "transfer" else {}
            config = AttackConfig.model_validate({"name": name, "norm": norm, **more})
            assert {**defaults, **more} == {field: getattr(config, field) for field in defaults}


def test_that_a_surrogate_may_be_a_run_of_the_workspace(cartl: Cartl, made: Made, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(made.workspace, workspace)
    common = ("--attack", "transfer", "--steps", 2, "--json", "--workspace", workspace)
    (run,) = cartl("attack", "transferred", "--surrogate", "transferred", *common).json["runs"]
    assert run["state"] == "finished" and run["result"]["attack"].startswith("Transfer PGD-2 (from ")
    assert run["config"]["attack"]["surrogate"] == made.runs[1]["id"]
    wrong = cartl("attack", "transferred", "--surrogate", "nothing", *common)
    assert wrong.code == 2 and "There is no run 'nothing' here." in wrong.err


def test_that_a_surrogate_file_is_kept_with_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.cli.settings import surrogate

    (tmp_path / "other.safetensors").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert surrogate("other.safetensors", []) == str(tmp_path / "other.safetensors")


FOREIGN = ("--data", "cifar10")


@pytest.mark.parametrize(
    ("file", "words", "expected"),
    [
        ("a.pt", ("--architecture", "resnet18"), CheckpointConfig(architecture="resnet18")),
        ("a.pt2", (), None),
        (
            "a.pt",
            ("--architecture", "resnet", "--mean", 0.5, "0.4", "51/255", "--std", 0.25, 0.25, 0.25),
            CheckpointConfig(architecture="resnet", mean=[0.5, 0.4, 0.2], std=[0.25, 0.25, 0.25]),
        ),
    ],
)
def test_that_what_a_foreign_file_does_not_say_is_said_by_options(
    file: str, words: tuple[object, ...], expected: CheckpointConfig | None
) -> None:
    config = attacking_run(None, file, "a", options(*words, *FOREIGN))
    assert config.checkpoint == expected and config.model is None
    assert config.target is not None and config.target.name == "cifar10"


def test_that_a_foreign_file_needs_its_images_and_a_run_is_none() -> None:
    with pytest.raises(UsageError, match="needs the images to attack it on: --data"):
        attacking_run(None, "a.pt", "a", options("--architecture", "resnet18"))
    with pytest.raises(UsageError, match="needs the images to attack it on: --data"):
        attacking_run(None, "a.pt2", "a", options())
    run = run_info(transferred("A"), (0.8, 0.4))
    with pytest.raises(UsageError, match="--mean is for checkpoint files of other programs, not for a run"):
        attacking_run(run, run.id, run.name, options("--mean", 0, 0, 0, "--std", 1, 1, 1))
    with pytest.raises(ConfigError, match="mean and std belong together"):
        attacking_run(None, "a.pt", "a", options("--mean", 0, 0, 0, *FOREIGN))


def test_that_a_run_is_named_after_what_is_attacked_and_how() -> None:
    run = run_info(transferred("A", attack={"name": "autoattack"}), (0.8, 0.4))
    config = attacking_run(run, run.id, run.name, options("--norm", "l2", "--samples", 10))
    assert config.name == "A, AutoAttack (standard), L2 0.5" and config.start_from == run.id
    assert config.attack is not None and is_standard(config.attack, 10)
