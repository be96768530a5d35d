"""Study files: round trips, defaults, overrides, and errors with place and line."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import (
    AttackConfig,
    AugmentationConfig,
    BatchNormPolicy,
    DataConfig,
    FinetuningConfig,
    InspectionConfig,
    MachineConfig,
    ModelConfig,
    PretrainingConfig,
    RunConfig,
    StudyConfig,
    TrainingAttackConfig,
    dump_run,
    dump_study,
    load_study,
    parse_run,
    parse_study,
)
from engine.config.study import MAX_TOML_BYTES
from engine.config.training import ScheduleName
from engine.errors import ConfigError

PRESETS = sorted((Path(__file__).parents[2] / "engine" / "presets").glob("*.toml"))

text = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "Zs"), include_characters="\n\t\"'\\"), min_size=1, max_size=20
)  # fmt: skip
share = st.floats(1e-6, 1.0)
epsilon = st.one_of(share, st.integers(1, 255).map(lambda numerator: numerator / 255))


def attack_settings(cls: type) -> st.SearchStrategy:
    """PGD settings whose step fits the ball."""
    extra = {"restarts": st.integers(1, 3)} if cls is AttackConfig else {}
    return epsilon.flatmap(
        lambda radius: st.builds(
            cls, epsilon=st.just(radius), step_size=st.just(radius / 4), steps=st.integers(1, 10_000), **extra
        )
    )


training = {
    "epochs": st.integers(1, 10_000),
    "batch_size": st.integers(2, 65_536),
    "learning_rate": st.floats(1e-9, 10),
    "schedule": st.sampled_from(get_args(ScheduleName)),
    "milestones": st.lists(st.integers(1, 200), max_size=4, unique=True).map(sorted),
    "weight_decay": st.floats(0, 1),
    "augmentation": st.builds(
        AugmentationConfig,
        crop_padding=st.integers(0, 32),
        horizontal_flip=st.booleans(),
        rotation=st.floats(0, 180),
    ),
}
data = st.builds(
    DataConfig, name=st.sampled_from(["letters", "cifar10", "folder"]), path=text, train_size=st.integers(0, 10**7)
)  # fmt: skip
runs = st.builds(
    RunConfig,
    name=text,
    seed=st.integers(0, 2**31 - 1),
    model=st.sampled_from([ModelConfig(), ModelConfig(depth=34, widen_factor=10), ModelConfig(name="resnet", depth=18)]),
    source=data,
    target=data,
    pretraining=st.builds(
        PretrainingConfig, method=st.sampled_from(["natural", "adversarial", "fdm"]), epsilon_ramp=share,
        feature_weight=st.floats(0, 1000), attack=attack_settings(TrainingAttackConfig), **training,
    ),
    finetuning=st.none() | st.builds(
        FinetuningConfig, spectral_bound=st.floats(1e-6, 100), batch_norm=st.builds(
            BatchNormPolicy, freeze_affine=st.booleans(), keep_head_statistics=st.booleans(),
            keep_trunk_statistics=st.booleans(),
        ), **training,
    ),
    attack=st.none() | attack_settings(AttackConfig),
    inspection=st.builds(InspectionConfig, probe_size=st.integers(2, 4096), every_steps=st.integers(0, 10**6)),
    machine=st.builds(
        MachineConfig, device=st.sampled_from(["auto", "cpu"]), checkpoint_minutes=st.floats(0.1, 1440)
    ),
)  # fmt: skip


@settings(max_examples=60)
@given(runs)
def test_that_a_run_is_read_back_as_it_was_written(run: RunConfig) -> None:
    assert parse_run(dump_run(run)) == run


@settings(max_examples=25)
@given(
    st.lists(runs, min_size=1, max_size=3, unique_by=lambda run: (run.name, run.seed)),
    text,
    st.just("") | text,
)
def test_that_a_study_is_read_back_as_it_was_written(made: list[RunConfig], title: str, about: str) -> None:
    study = StudyConfig(title=title, description=about, runs=made)
    assert parse_study(dump_study(study)) == study


def test_that_epsilons_are_written_as_people_write_them() -> None:
    run = RunConfig(start_from="x", attack=AttackConfig(epsilon=12 / 255, step_size=0.01))
    assert 'epsilon = "12/255"' in dump_run(run)
    assert "step_size = 0.01" in dump_run(run)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_that_every_preset_is_a_study_that_is_read_back_as_it_was_written(path: Path) -> None:
    study = load_study(path)
    assert parse_study(dump_study(study)) == study


STUDY = """\
title = "Two"

[defaults]
seed = 3
model = { depth = 16, widen_factor = 2 }
source = { name = "letters" }
target = { name = "digits" }

[defaults.pretraining]
epochs = 5
attack = { epsilon = "8/255" }

[defaults.attack]
steps = 9

[[runs]]
name = "AT"
seed = 4
[runs.pretraining]
method = "adversarial"
attack = { steps = 3 }

[[runs]]
name = "vanilla k=4"
start_from = "AT"
[runs.finetuning]
method = "vanilla"
[runs.attack]
"""


def test_that_defaults_fill_in_what_a_run_leaves_out_and_add_no_stage() -> None:
    first, second = parse_study(STUDY).runs
    assert (first.stages, second.stages) == (("pretraining",), ("finetuning", "attack"))
    assert (first.seed, second.seed) == (4, 3)
    assert first.model == second.model == ModelConfig(depth=16, widen_factor=2)
    assert first.pretraining is not None
    assert (first.pretraining.epochs, first.pretraining.attack.steps) == (5, 3)
    assert first.pretraining.attack.epsilon == 8 / 255
    assert second.attack is not None
    assert second.attack.steps == 9


def test_that_a_run_has_network_and_source_of_the_run_it_starts_from() -> None:
    study = parse_study(
        """
        [[runs]]
        name = "first"
        model = { depth = 22 }
        source = { name = "mnist" }
        pretraining = {}
        [[runs]]
        name = "second"
        start_from = "first"
        attack = {}
        [[runs]]
        name = "third"
        start_from = "second"
        attack = {}
        """
    )
    assert all(run.model == ModelConfig(depth=22) for run in study.runs)
    assert all(run.source == DataConfig(name="mnist") for run in study.runs)


def test_that_a_file_without_runs_is_one_run() -> None:
    study = parse_study('name = "solo"\nstart_from = "x"\n[attack]\nepsilon = "4/255"\n')
    assert (study.title, len(study.runs)) == ("solo", 1)
    assert study.runs[0].attack is not None
    assert study.runs[0].attack.epsilon == 4 / 255


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("seed=11", (11, 11, 5, 9)),
        ("attack.steps=50", (4, 3, 5, 50)),
        ("pretraining.epochs = 2", (4, 3, 2, 9)),
        ("seed=0x10", (16, 16, 5, 9)),
    ],
)
def test_that_an_override_reaches_every_run_that_has_the_stage(override: str, values: tuple) -> None:
    first, second = parse_study(STUDY, [override]).runs
    assert first.attack is None
    assert second.pretraining is None
    assert (first.seed, second.seed, first.pretraining.epochs, second.attack.steps) == values  # type: ignore[union-attr]


def test_that_an_override_is_read_as_toml_and_else_as_text() -> None:
    study = parse_study(STUDY, ["attack.epsilon=4/255", "pretraining.milestones=[1, 2]", "target.name=svhn"])
    first, second = study.runs
    assert second.attack.epsilon == 4 / 255  # type: ignore[union-attr]
    assert first.pretraining.milestones == [1, 2]  # type: ignore[union-attr]
    assert second.target.name == "svhn"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("attack.epsilon", "expected KEY=VALUE such as attack.epsilon=8/255, got 'attack.epsilon'"),
        ("=3", "expected KEY=VALUE"),
        ("seed.x=3", "seed is a value, not a table"),
        ("attack.epsilon=0", "--set attack.epsilon: input should be greater than 0, got 0"),
        ("attack.epsilon=" + "9" * 5000, "--set attack.epsilon: "),
        ("attack.stepss=3", "--set attack.stepss: there is no such setting"),
    ],
    ids=lambda value: value[:20],
)
def test_that_an_unusable_override_is_refused_as_what_it_is(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_study(STUDY, [override])
    assert message in str(caught.value)
    assert "(line" not in str(caught.value)


def test_that_a_name_given_to_all_runs_of_one_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"two runs are called 'same' and have seed 3"):
        parse_study(STUDY.replace("seed = 4\n", ""), ["name=same"])


def test_that_what_an_override_leaves_missing_is_told_as_its_doing() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_study(STUDY, ["target.name=folder"])
    assert [(problem.place, problem.line) for problem in caught.value.problems] == [
        ("--set target.path", None)
    ]


def test_that_an_override_for_a_stage_no_run_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="no run of the study has a pretraining stage"):
        parse_study('start_from = "x"\n[attack]\n', ["pretraining.epochs=2"])


def found(text: str, *overrides: str) -> list[tuple[str, int | None]]:
    """Place and line of every problem."""
    with pytest.raises(ConfigError) as caught:
        parse_study(text, overrides, origin="study.toml")
    assert "study.toml" in str(caught.value)
    return [(problem.place, problem.line) for problem in caught.value.problems]


SINGLE = 'name = "solo"\nstart_from = "x"\n'


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (SINGLE + "[attack]\nepsilon = 0\n", [("attack.epsilon", 4)]),
        (SINGLE + "attack = { epsilon = -1 }\n", [("attack.epsilon", 3)]),
        (SINGLE + "attack.epsilon = nan\n", [("attack.epsilon", 3)]),
        (SINGLE + '[attack]\n# steps = 1\nepsilon = "8/0"\n', [("attack.epsilon", 5)]),
        (SINGLE + "[attack]\nsteps = true\n", [("attack.steps", 4)]),
        (SINGLE + "[attack]\nspeed = 1\n", [("attack.speed", 4)]),
        (SINGLE + "[attack]\n[speed]\nx = 1\n", [("speed", 4)]),
        (SINGLE + "[attack]\nepsilon = 0.001\n", [("attack.step_size", 3)]),
        (SINGLE + '[attack]\n"epsilon" = 9\n', [("attack.epsilon", 4)]),
        (SINGLE + '[target]\npath = """\nname = 3\n"""\nname = 3\n[attack]\n', [("target.name", 7)]),
        ("name = 3\n", [("name", 1)]),
        ('name = ""\n[attack]\n', [("name", 1)]),
        (SINGLE + "[finetuning]\n", [("target", None)]),
        (
            SINGLE + "target = {}\nmodel = {}\n[finetuning]\nnum_finetuned_blocks = 6\n",
            [("finetuning.num_finetuned_blocks", 6)],
        ),
        (
            SINGLE + "[attack]\nepsilon = 0\nsteps = 0\nspeed = 1\n[machine]\nthreads = -1\n",
            [("attack.epsilon", 4), ("attack.steps", 5), ("attack.speed", 6), ("machine.threads", 8)],
        ),
        (SINGLE + "[finetuning]\nmilestones = [1, 'a']\n", [("finetuning.milestones.1", 4)]),
    ],
    ids=lambda value: value[-1][0] if isinstance(value, list) else "",
)
def test_that_every_problem_of_a_run_is_told_with_place_and_line(text: str, problems: list) -> None:
    assert found(text) == problems


@pytest.mark.parametrize(
    ("old", "new", "problems"),
    [
        ("seed = 4", "seed = -4", [("runs.AT.seed", 18)]),
        ("steps = 3", "steps = 0", [("runs.AT.pretraining.attack.steps", 21)]),
        ('method = "vanilla"', 'method = "vanila"', [('runs."vanilla k=4".finetuning.method', 27)]),
        ("steps = 9", "steps = 0", [("defaults.attack.steps", 14)]),
        ('epsilon = "8/255"', "epsilon = 0", [("defaults.pretraining.attack.epsilon", 11)]),
        ("seed = 3", "seed = -3", [("defaults.seed", 4)]),
        ("depth = 16", "depth = 17", [("defaults.model.depth", 5)]),
        ('name = "AT"', "name = 5", [("runs.1.name", 17)]),
        ('name = "AT"\nseed = 4', 'name = "vanilla k=4"', [("runs", 23)]),
        ('title = "Two"', 'titel = "Two"', [("titel", 1)]),
        ("[runs.attack]", "[runs.attak]", [('runs."vanilla k=4".attak', 28)]),
    ],
    ids=lambda value: value[0][0] if isinstance(value, list) else "",
)
def test_that_a_problem_of_a_study_names_the_run_or_the_defaults(old: str, new: str, problems: list) -> None:
    assert STUDY.count(old) >= 1
    assert found(STUDY.replace(old, new, 1)) == problems


def test_that_a_problem_in_the_defaults_is_told_once_for_all_runs() -> None:
    text = STUDY.replace("seed = 4\n", "").replace("seed = 3", "seed = -3")
    assert found(text) == [("defaults.seed", 4)]


def test_that_an_override_covers_what_is_wrong_in_the_file() -> None:
    broken = STUDY.replace("steps = 9", "steps = 0")
    assert parse_study(broken, ["attack.steps=7"]).runs[1].attack.steps == 7  # type: ignore[union-attr]


DEEP = "[" + ".".join("abcdefghi") + "]\nx = 1\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed = 1 2\n", "is not valid TOML: .*line 1"),
        (b"seed = 1\nseed = 2\n", "is not valid TOML"),
        (b"seed = " + b"1" * 5000, "is not valid TOML"),
        (b"x = " + b"[" * 100_000, "is not valid TOML"),
        (DEEP.encode(), "nested deeper than 8 levels"),
        (b"name = '\xff\xfe'\n", "is not UTF-8 text; save it as UTF-8"),
        (b"\x00\x01\x02", "is not valid TOML"),
        (b"#" * (MAX_TOML_BYTES + 1), "at most 4000000 bytes"),
        (b"runs = 3\n", r"expected \[\[runs\]\] tables"),
        (b"runs = []\n", "at least 1 item"),
        (b"defaults = 3\n[[runs]]\n", r"expected a \[defaults\] table"),
        (b"", "a run needs at least one of"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_that_a_file_that_is_no_study_is_refused_with_the_reason(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_study(path)
    assert str(path) in str(caught.value)


def test_that_a_missing_file_or_a_folder_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_study(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_study(tmp_path)


def test_that_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(b"\xef\xbb\xbf" + STUDY.encode())
    assert load_study(path) == parse_study(STUDY)


def test_that_one_run_is_expected_where_one_is_read() -> None:
    with pytest.raises(ConfigError, match="expected one run, got 2"):
        parse_run(STUDY)


@settings(max_examples=100)
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_that_any_text_is_a_study_or_refused(raw: str) -> None:
    with pytest.raises(ConfigError):
        parse_study(raw)


@settings(max_examples=100)
@given(
    st.integers(0, len(STUDY)), st.sampled_from(["", "=", "[", "]", '"', "\n", "0", "[[runs]]\n", "nan", "."])
)
def test_that_a_damaged_study_is_read_or_refused(position: int, inserted: str) -> None:
    damaged = STUDY[:position] + inserted + STUDY[position + 1 :]
    with contextlib.suppress(ConfigError):
        assert parse_study(damaged).runs
