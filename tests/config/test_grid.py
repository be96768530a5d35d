"""Grids: what is varied, what starts from what, shared pre-training, and errors with place and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import StudyConfig, dump_study, line_name, parse_study
from engine.config.grid import MAX_RUNS
from engine.errors import ConfigError

HEAD = """\
title = "Grid"
[defaults]
model = { depth = 10 }
source = { name = "letters" }
target = { name = "digits" }
"""
FDM = '[[runs]]\nname = "FDM"\npretraining = { method = "fdm" }\n'
AT = '[[runs]]\nname = "AT"\npretraining = { method = "adversarial" }\n'
NEFT = '[[runs]]\nname = "NEFT"\nstart_from = "FDM"\nfinetuning = { method = "neft" }\nattack = {}\n'
VANILLA = '[[runs]]\nname = "vanilla"\nstart_from = "AT"\nfinetuning = { method = "vanilla" }\nattack = {}\n'


def grid(axes: str, *runs: str, overrides: tuple[str, ...] = ()) -> StudyConfig:
    return parse_study(HEAD + f"[grid]\n{axes}\n" + "".join(runs), overrides)


def names(study: StudyConfig) -> list[str]:
    return list(study.cells)


def starts(study: StudyConfig) -> dict[tuple[str, int], str]:
    return {(run.name, run.seed): run.start_from for run in study.runs}


def test_that_a_run_is_made_for_each_combination_and_seeds_stay_out_of_the_name() -> None:
    study = grid('seed = [4, 7]\nk = [1, 3]\n"finetuning.spectral_bound" = [0.4, 0.6]', FDM, NEFT)
    assert names(study) == [
        "FDM, k=1", "FDM, k=3",
        "NEFT, k=1, beta=0.4", "NEFT, k=1, beta=0.6", "NEFT, k=3, beta=0.4", "NEFT, k=3, beta=0.6",
    ]  # fmt: skip
    assert all([run.seed for run in cell] == [4, 7] for cell in study.cells.values())
    assert [run.seed for run in study.runs] == [4] * 6 + [7] * 6
    for run in study.runs:
        assert f"k={(run.pretraining or run.finetuning).num_finetuned_blocks}" in run.name  # type: ignore[union-attr]
        if run.finetuning:
            assert f"beta={run.finetuning.spectral_bound}" in run.name
            assert run.start_from == f"FDM, k={run.finetuning.num_finetuned_blocks}"


def test_that_an_axis_varies_only_runs_in_which_it_has_an_effect() -> None:
    study = grid(
        '"finetuning.spectral_bound" = [0.4, 0.6]\nk = [1, 3]', AT, VANILLA, NEFT.replace("FDM", "AT")
    )
    assert names(study) == [
        "AT", "vanilla, k=1", "vanilla, k=3",
        "NEFT, beta=0.4, k=1", "NEFT, beta=0.4, k=3", "NEFT, beta=0.6, k=1", "NEFT, beta=0.6, k=3",
    ]  # fmt: skip


def test_that_an_axis_over_the_method_decides_which_other_axes_apply() -> None:
    study = grid(
        '"finetuning.spectral_bound" = [0.4, 0.6]\nk = [1, 3]\n'
        '"finetuning.method" = ["vanilla", "neft", "linear_probe"]',
        AT, VANILLA.replace('{ method = "vanilla" }', "{}").replace("vanilla", "t"),
    )  # fmt: skip
    assert set(names(study)) == {
        "AT", "t, linear_probe", "t, k=1, vanilla", "t, k=3, vanilla",
        *(f"t, beta={beta}, k={k}, neft" for beta in (0.4, 0.6) for k in (1, 3)),
    }  # fmt: skip


def test_that_a_run_inherits_axes_that_only_the_run_it_starts_from_has() -> None:
    own = '[runs.grid]\nk = [1, 3]\n"source.train_size" = [100, 200]\nseed = [1, 2]\n'
    study = parse_study(HEAD + FDM + own + NEFT)
    assert len(study.runs) == 16
    for run in study.runs:
        if run.finetuning:
            assert run.start_from == run.name.replace("NEFT", "FDM")
            assert f"k={run.finetuning.num_finetuned_blocks}, train_size={run.source.train_size}" in run.name  # type: ignore[union-attr]


def test_that_a_run_starts_from_a_variant_that_is_named_in_full_whatever_its_own_values() -> None:
    study = grid("seed = [1, 2]\nk = [1, 3]", FDM, NEFT.replace('"FDM"', '"FDM, k=3"'))
    assert names(study) == ["FDM, k=1", "FDM, k=3", "NEFT, k=1", "NEFT, k=3"]
    assert {run.start_from for run in study.runs if run.finetuning} == {"FDM, k=3"}


def test_that_what_a_run_says_itself_goes_before_the_grid_of_the_study() -> None:
    study = grid("k = [1, 3]", AT, VANILLA, VANILLA.replace('"vanilla"\nstart', '"one"\nstart').replace(
        'method = "vanilla"', 'method = "vanilla", num_finetuned_blocks = 1'))  # fmt: skip
    assert names(study) == ["AT", "vanilla, k=1", "vanilla, k=3", "one"]
    own = parse_study(
        HEAD
        + "[grid]\nk = [1, 3]\n"
        + AT
        + VANILLA
        + "[runs.grid]\nk = [2]\n"
        + VANILLA.replace('"vanilla"\ns', '"b"\ns')
    )
    assert [(run.name, run.finetuning.num_finetuned_blocks) for run in own.runs if run.finetuning] == [
        ("vanilla", 2), ("b, k=1", 1), ("b, k=3", 3),
    ]  # fmt: skip


def test_that_a_run_starts_from_the_only_seed_of_another() -> None:
    study = grid("seed = [1, 2]", AT + "[runs.grid]\nseed = [7]\n", VANILLA)
    assert starts(study) == {("AT", 7): "", ("vanilla", 1): "AT", ("vanilla", 2): "AT"}
    assert all(study.parent_of(run) == study.runs[0] for run in study.runs[1:])


def test_that_a_run_starts_from_the_same_seed_where_there_is_one() -> None:
    study = grid("seed = [1, 2]", AT, VANILLA)
    for run in study.runs:
        parent = study.parent_of(run)
        assert (parent is None) == (run.name == "AT")
        assert parent is None or (parent.name, parent.seed) == ("AT", run.seed)


def test_that_values_with_labels_are_merged_into_the_run_and_named_by_them() -> None:
    study = grid(
        'target = { MNIST = { name = "mnist" }, SVHN = { name = "svhn", train_size = 500 } }\n'
        '[grid."finetuning.batch_norm"]\nfree = { freeze_affine = false }\nfrozen = { keep_head_statistics = true }',
        AT, VANILLA,
    ).cells  # fmt: skip
    assert list(study)[1:] == [
        "vanilla, MNIST, free", "vanilla, MNIST, frozen", "vanilla, SVHN, free", "vanilla, SVHN, frozen"
    ]  # fmt: skip
    (run,) = study["vanilla, SVHN, free"]
    assert (run.target.name, run.target.train_size) == ("svhn", 500)  # type: ignore[union-attr]
    assert run.finetuning.method == "vanilla"  # type: ignore[union-attr]
    assert not run.finetuning.batch_norm.freeze_affine  # type: ignore[union-attr]


def test_that_values_of_one_symbol_are_told_apart_by_the_whole_setting() -> None:
    study = grid(
        '"pretraining.feature_weight" = [0.1, 0.2]\n"finetuning.feature_weight" = [0.1, 0.2]', FDM,
        NEFT.replace('"neft"', '"lwf"'),
    )  # fmt: skip
    assert names(study)[-1] == "NEFT, pretraining.feature_weight=0.2, finetuning.feature_weight=0.2"


def test_that_a_file_of_one_run_may_have_a_grid() -> None:
    text = (
        'name = "solo"\nstart_from = "x"\ntarget = {}\nfinetuning = {}\n[grid]\nseed = [0, 1]\nk = [1, 2]\n'
    )
    study = parse_study(text)
    assert [(run.name, run.seed) for run in study.runs] == [
        ("solo, k=1", 0), ("solo, k=2", 0), ("solo, k=1", 1), ("solo, k=2", 1),
    ]  # fmt: skip


def test_that_an_override_takes_the_place_of_an_axis() -> None:
    axes = 'seed = [1, 2]\nk = [1, 3]\ntarget = { a = { name = "mnist" }, b = { name = "svhn" } }'
    study = grid(
        axes, AT, VANILLA, overrides=("seed=5", "target.train_size=9", "finetuning.num_finetuned_blocks=2")
    )
    assert [(run.name, run.seed) for run in study.runs] == [("AT", 5), ("vanilla, a", 5), ("vanilla, b", 5)]
    assert all(run.target.train_size == 9 for run in study.runs)  # type: ignore[union-attr]
    assert study.runs[1].finetuning.num_finetuned_blocks == 2  # type: ignore[union-attr]


def test_that_an_override_of_the_grid_gives_an_axis_other_values() -> None:
    study = grid("k = [1, 3]", AT, VANILLA, overrides=("grid.seed=[8, 9]", "grid.k=[2]"))
    assert [(run.name, run.seed) for run in study.runs] == [
        ("AT", 8),
        ("vanilla", 8),
        ("AT", 9),
        ("vanilla", 9),
    ]
    assert study.runs[1].finetuning.num_finetuned_blocks == 2  # type: ignore[union-attr]


def test_that_the_study_of_the_readme_is_what_it_says() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    study = parse_study(readme.split("```toml\n")[1].split("```")[0])
    assert [run.name for run in study.runs if run.seed == 1] == [
        "AT", "AT, vanilla, k=2", "AT, vanilla, k=3",
        *(f"AT, NEFT, k={k}, beta={beta}" for k in (2, 3) for beta in ("0.4", "1")),
    ]  # fmt: skip
    assert {run.seed for run in study.runs} == {0, 1, 2}
    assert study.part(["AT, vanilla, k=3@1"]).runs[1].start_from == "AT"


# Shared pre-training.

WHOLE = '[[runs]]\nname = "{}"\npretraining = {{ method = "{}" }}\nfinetuning = {{ method = "{}" }}\nattack = {{}}\n'


def test_that_runs_with_the_same_pretraining_start_from_one() -> None:
    study = grid(
        "seed = [0, 1]\nk = [1, 3]", WHOLE.format("N", "fdm", "neft"), WHOLE.format("V", "fdm", "vanilla")
    )
    assert starts(study) == {
        (name, seed): start
        for seed in (0, 1)
        for name, start in {
            "FDM, k=1": "", "FDM, k=3": "", "N, k=1": "FDM, k=1", "N, k=3": "FDM, k=3",
            "V, k=1": "FDM, k=1", "V, k=3": "FDM, k=3",
        }.items()
    }  # fmt: skip
    for run in study.runs:
        assert len(run.stages) == (1 if run.name.startswith("FDM") else 2)
        assert run.model is not None and run.source is not None


def test_that_pretrainings_that_differ_only_where_it_has_no_effect_are_one() -> None:
    study = grid("k = [1, 3]", WHOLE.format("N", "adversarial", "neft"), WHOLE.format("T", "trades", "neft"),
                 WHOLE.format("U", "natural", "vanilla"))  # fmt: skip
    assert [name for name in names(study) if "," not in name] == ["AT", "TRADES", "natural"]
    alone = parse_study(HEAD + WHOLE.format("N", "adversarial", "neft"))
    assert alone.runs[0].stages == ("pretraining", "finetuning", "attack")


def test_that_a_pretraining_of_the_study_itself_is_the_one_that_is_shared() -> None:
    whole = WHOLE.format("N", "adversarial", "neft")
    for text in (HEAD + AT.replace('"AT"', '"mine"') + whole, HEAD + whole + AT.replace('"AT"', '"mine"')):
        assert starts(parse_study(text)) == {("mine", 0): "", ("N", 0): "mine"}


def test_that_added_pretrainings_have_names_of_their_own() -> None:
    text = HEAD + "".join(
        WHOLE.format(name, "fdm", method).replace('"fdm"', f'"fdm", feature_weight = {weight}')
        for weight in (0.1, 0.2)
        for name, method in ((f"a{weight}", "neft"), (f"b{weight}", "vanilla"))
    )
    assert names(parse_study(text)) == [
        "FDM, k=4, lambda=0.1", "a0.1", "b0.1", "FDM, k=4, lambda=0.2", "a0.2", "b0.2"
    ]  # fmt: skip
    taken = HEAD + WHOLE.format("AT", "adversarial", "neft") + WHOLE.format("b", "adversarial", "vanilla")
    assert names(parse_study(taken)) == ["AT, letters", "AT", "b"]


# Properties.

ratios = st.lists(st.sampled_from([0.005, 0.1, 0.25, 1.0, 2.5]), min_size=1, max_size=2, unique=True)
axis_values = st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True)


@settings(max_examples=25)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "seed": axis_values,
            "k": axis_values,
            "finetuning.spectral_bound": ratios,
            "pretraining.feature_weight": ratios,
            "source.train_size": axis_values,
            "pretraining.epochs": axis_values,
        },
    )
)
def test_that_runs_are_the_product_of_the_axes_that_apply_and_share_the_values_of_their_parents(
    axes: dict[str, list[Any]],
) -> None:
    base = FDM + NEFT + AT + VANILLA
    study = parse_study(HEAD + tomlkit.dumps({"grid": axes}) + base if axes else HEAD + base)

    def product(*keys: str) -> int:
        count = 1
        for key in keys:
            count *= len(axes.get(key, [0]))
        return count

    both = ("seed", "source.train_size", "pretraining.epochs")
    expected = {
        "FDM": product(*both, "k", "pretraining.feature_weight"),
        "NEFT": product(*both, "k", "pretraining.feature_weight", "finetuning.spectral_bound"),
        "AT": product(*both),
        "vanilla": product(*both, "k"),
    }
    for name, count in expected.items():
        assert sum(run.name.split(", ")[0] == name for run in study.runs) == count
    seen: set[tuple[str, int]] = set()
    for run in study.runs:
        assert (run.name, run.seed) not in seen
        seen.add((run.name, run.seed))
        if run.finetuning is None:
            continue
        parent = study.parent_of(run)
        assert parent is not None and (parent.name, parent.seed) in seen
        assert (parent.seed, parent.source, parent.model) == (run.seed, run.source, run.model)
        if run.finetuning.method == "neft":
            assert parent.pretraining.num_finetuned_blocks == run.finetuning.num_finetuned_blocks  # type: ignore[union-attr]
    assert parse_study(dump_study(study)) == study


# What cannot be used.


def problems(text: str, *overrides: str) -> list[tuple[str, int | None, str]]:
    with pytest.raises(ConfigError) as caught:
        parse_study(text, overrides)
    return [(problem.place, problem.line, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("axis", "place", "message"),
    [
        ("k = []", "grid.k", "has no values"),
        ("k = 3", "grid.k", "expected a list of values such as [1, 2], or a table of label = value, got 3"),
        ("k = [1, 2, 1]", "grid.k", "has 1 twice; remove one"),
        ('"finetuning.momentum" = [0.1, 1, 1.0]', "grid.finetuning.momentum", "has 1.0 twice; remove one"),
        ("x = { a = 1 }", "grid.x", "there is no such setting; check the spelling"),
        ("spectral_bound = [1]", "grid.spectral_bound", "did you mean finetuning.spectral_bound?"),
        ('"finetuning.spectral_bond" = [1]', "grid.finetuning.spectral_bond", "did you mean finetuning.spectral_bound"),
        ("finetuning.spectral_bond = [1]", "grid.finetuning.spectral_bond", "did you mean finetuning.spectral_bound"),
        ('name = ["a", "b"]', "grid.name", "cannot be varied; write a run for each"),
        ('target = ["mnist"]', "grid.target", "is a table of settings: give labels and tables"),
        ('target = [{ name = "mnist" }]', "grid.target", "values that are tables or lists need labels"),
        ('target = { "" = { name = "mnist" } }', "grid.target", "a label has 1 to 40 characters"),
        ('"finetuning.feature_weight" = [1]', "grid.finetuning.feature_weight", "has no effect in any run of the study"),
        ("seed = [1]\nfinetuning.num_finetuned_blocks = [1, 0]", "grid.finetuning.num_finetuned_blocks", "greater than or equal to 1, got 0"),
        ("k = [1, 6]", "grid.k", "WRN-10-1 has 5 blocks, so k must be 1 to 5, got 6"),
        ('target = { a = { nam = "mnist" } }', "grid.target.nam", "there is no such setting"),
        ('target = { a = { name = "folder" } }', "grid.target.path", "a folder data set needs the folder"),
        (f"seed = {list(range(MAX_RUNS + 1))}", "grid.seed", "'AT' would be 1,001 runs or more: 1001 values of seed"),
        (
            f"seed = {list(range(MAX_RUNS // 2))}\nk = [1, 2]", "grid.k",
            "at most 1,000 runs, but 'vanilla' would be 1,000 runs or more: 2 values of k x 500 runs to start from, "
            "beside 500 other runs",
        ),
    ],
    ids=lambda value: value[:40],
)  # fmt: skip
def test_that_a_problem_of_an_axis_is_told_with_its_place_and_line(
    axis: str, place: str, message: str
) -> None:
    found = problems(HEAD + "[grid]\n" + axis + "\n" + AT + VANILLA)
    assert [(where, line) for where, line, _ in found] == [
        (place, HEAD.count("\n") + 1 + len(axis.splitlines()))
    ]
    assert message in found[0][2]


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ('"finetuning.spectral_bound" = [1, 2]', "has no effect in this run"),
        (
            '"finetuning.method" = ["neft", "full"]',
            "the run itself sets finetuning.method; remove it there or here",
        ),
        ("k = [1, 2]\nseed = [1, 2, 3]", "it starts from 'AT', which has no run with seed=3"),
    ],
)
def test_that_an_axis_of_a_run_that_cannot_be_followed_is_refused(axis: str, message: str) -> None:
    text = HEAD + "[grid]\nseed = [1, 2]\n" + AT + VANILLA + "[runs.grid]\n" + axis + "\n"
    ((place, line, told),) = problems(text)
    assert place.startswith("runs.vanilla.grid.")
    assert line == len(text.splitlines())
    assert message in told


def test_that_a_name_that_grows_too_long_is_told_once() -> None:
    text = HEAD + "[grid]\nk = [1, 3]\n" + AT + VANILLA.replace('name = "vanilla"', f'name = "{"v" * 76}"')
    ((place, line, told),) = problems(text)
    assert (place, line) == (f"runs.{'v' * 76}.name", 12)
    assert "with its values the name is longer than 80 characters; shorten it, or give labels" in told


def test_that_a_run_without_anything_to_start_from_is_told() -> None:
    pinned = NEFT.replace('"neft"', '"neft", num_finetuned_blocks = 2')
    ((place, line, told),) = problems(HEAD + FDM + "[runs.grid]\nk = [1, 3]\n" + pinned)
    assert (place, line) == ("runs.NEFT.start_from", 13)
    assert told == "no run of 'FDM' has the values of this run; it is made for k=1, k=3"


def test_that_a_problem_outside_of_the_grid_points_at_the_run_it_was_expanded_from() -> None:
    text = (
        HEAD
        + "[grid]\nseed = [1, 2]\nk = [1, 3]\n"
        + AT
        + VANILLA.replace("attack = {}", "attack = { steps = 0 }")
    )
    assert [found[:2] for found in problems(text)] == [("runs.vanilla.attack.steps", 16)]
    assert [found[:2] for found in problems(text, "seed=-1")][0] == ("--set seed", None)
    assert problems(text, "grid.k=[]")[0][:2] == ("--set grid.k", None)


def test_that_a_grid_among_the_defaults_is_sent_to_its_own_table() -> None:
    assert problems(HEAD + "[defaults.grid]\nseed = [1]\n" + AT)[0][0] == "defaults.grid"
    assert problems("grid = 3\n" + HEAD + AT)[0][:2] == ("grid", 1)


# Comparisons, and parts of a study.

COMPARED = (
    HEAD + "[grid]\nseed = [0, 1]\nk = [1, 3]\n" + AT + VANILLA + NEFT.replace("FDM", "AT")
    + '[[comparisons]]\nbaseline = "vanilla, k=1"\nother = "NEFT, k=3"\nmeasure = "clean_accuracy"\n'
    + '[[comparisons]]\ntitle = "More"\nbaseline = "vanilla"\nother = "NEFT"\nmeasure = "robust_at_equal_clean"\n'
)  # fmt: skip


def test_that_comparisons_name_cells_and_lines_and_are_read_back() -> None:
    study = parse_study(COMPARED)
    assert [item.measure for item in study.comparisons] == ["clean_accuracy", "robust_at_equal_clean"]
    assert study.comparable("robust_at_equal_clean") == ["vanilla", "NEFT"]
    assert parse_study(dump_study(study)) == study


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ('other = "NEFT, k=3"', 'other = "NEFT, k=2"', "comparisons.0.other", "no run with an attack 'NEFT, k=2'; there are: "
         "'vanilla, k=1', 'vanilla, k=3', 'NEFT, k=1', 'NEFT, k=3'"),
        ('baseline = "vanilla, k=1"', 'baseline = "AT"', "comparisons.0.baseline", "no run with an attack 'AT'"),
        ('other = "NEFT"', 'other = "NEFT, k=3"', "comparisons.1.other", "no line 'NEFT, k=3'; there are: 'vanilla', 'NEFT'"),
        ('measure = "clean_accuracy"', 'measure = "accuracy"', "comparisons.0.measure", "should be 'clean_accuracy'"),
    ],
)  # fmt: skip
def test_that_a_comparison_of_what_is_not_there_is_refused_with_what_is(
    old: str, new: str, place: str, message: str
) -> None:
    text = COMPARED.replace(old, new)
    ((where, line, told),) = problems(text)
    assert (where, text.splitlines()[(line or 0) - 1]) == (place, new)
    assert message in told


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        ("vanilla, k=3", "vanilla"), ("AT, vanilla k=12", "AT, vanilla"), ("NEFT, k=3, beta=0.6", "NEFT, beta=0.6"),
        ("k=3", "k=3"), ("k=3, x", "x"), ("rank=3", "rank=3"), ("plain", "plain"),
    ],
)  # fmt: skip
def test_that_a_line_has_the_name_of_its_cells_without_k(cell: str, line: str) -> None:
    assert line_name(cell) == line


def test_that_a_part_of_a_study_has_what_it_starts_from_and_what_compares_it() -> None:
    study = parse_study(COMPARED)
    part = study.part(["NEFT, k=3"])
    assert [(run.name, run.seed) for run in part.runs] == [
        ("AT", 0),
        ("NEFT, k=3", 0),
        ("AT", 1),
        ("NEFT, k=3", 1),
    ]
    assert part.comparisons == []
    one = study.part(["NEFT, k=3@1", "vanilla, k=1@1"])
    assert [(run.name, run.seed) for run in one.runs] == [("AT", 1), ("vanilla, k=1", 1), ("NEFT, k=3", 1)]
    assert len(one.comparisons) == 2
    with pytest.raises(ConfigError, match=r"no run 'NEFT, k=3@2'; there are: 'AT', 'vanilla, k=1', "):
        study.part(["NEFT, k=3@2"])
