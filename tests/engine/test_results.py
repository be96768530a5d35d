"""Cells, lines, comparisons: against figures computed in other ways."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import ComparisonConfig, StudyConfig
from engine.events import RunInfo
from engine.lineage import method_title
from engine.results import Results, cells_of, lines_of, results_of, study_runs
from engine.statistics import estimate, estimate_share, mean_along, pareto, student_t
from tests.engine.study_results import (
    TRADE_OFFS,
    by_id,
    pretrained,
    run_info,
    share,
    study_of_two_lines,
    transferred,
)

#: Two-sided quantiles of Student's t from published tables (NIST/SEMATECH e-Handbook, 1.3.6.7.2).
T_95 = {
    1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228,
    15: 2.131, 20: 2.086, 29: 2.045, 30: 2.042, 60: 2.000, 100: 1.984,
}  # fmt: skip
T_99 = {1: 63.657, 2: 9.925, 3: 5.841, 7: 3.499, 30: 2.750, 100: 2.626}

shares = st.floats(0, 1, allow_nan=False).map(lambda value: round(value, 3))
points = st.lists(st.tuples(shares, shares), min_size=1, max_size=8)


def results(runs: list[RunInfo], *comparisons: ComparisonConfig) -> Results:
    return results_of(runs, by_id(runs), comparisons=comparisons)


EQUAL_CLEAN = ComparisonConfig(baseline="AT, vanilla", other="AT, neft", measure="robust_at_equal_clean")


@pytest.mark.parametrize(("table", "confidence"), [(T_95, 0.95), (T_99, 0.99)])
def test_that_quantiles_of_student_t_are_those_of_published_tables(table, confidence) -> None:
    for degrees, expected in table.items():
        assert student_t(degrees, confidence) == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize("degrees", [1, 2, 5, 12])
def test_that_the_density_of_student_t_within_the_quantile_sums_to_the_confidence(degrees: int) -> None:
    x = np.linspace(0, student_t(degrees, 0.9), 200_001)
    constant = math.gamma((degrees + 1) / 2) / (math.sqrt(degrees * math.pi) * math.gamma(degrees / 2))
    density = constant * (1 + x**2 / degrees) ** (-(degrees + 1) / 2)
    assert 2 * np.trapezoid(density, x) == pytest.approx(0.9, abs=1e-8)


@pytest.mark.parametrize(("degrees", "confidence"), [(0, 0.95), (3, 0.0), (3, 1.0)])
def test_that_a_quantile_that_does_not_exist_is_refused(degrees: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="expected degrees"):
        student_t(degrees, confidence)


def test_that_an_interval_over_seeds_is_that_of_the_textbook() -> None:
    values = [0.41, 0.45, 0.40, 0.47]
    found = estimate(values)
    half = 3.182446 * statistics.stdev(values) / 2
    assert found.mean == pytest.approx(statistics.mean(values))
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half), abs=1e-7)
    assert (found.count, found.over) == (4, "seeds")


def test_that_a_single_seed_has_no_interval_over_seeds_but_that_of_its_images() -> None:
    assert math.isnan(estimate([0.3]).low) and estimate([0.3]).over == "nothing"
    only = estimate_share([share(0.3)])
    assert only.over == "images" and only.count == 1
    assert (only.mean, only.low, only.high) == (0.3, share(0.3).low, share(0.3).high)
    assert estimate([]).count == 0 and math.isnan(estimate([]).mean)


def test_that_the_interval_of_an_accuracy_stays_within_0_and_1() -> None:
    found = estimate_share([share(0.99), share(0.80)])
    assert found.high == 1.0 and found.low == max(0.0, 0.895 - 12.7062047 * 0.095)


@given(points)
def test_that_a_point_is_on_the_front_exactly_if_none_beats_it(found: list[tuple[float, float]]) -> None:
    for (x, y), free in zip(found, pareto(found), strict=True):
        beaten = [other for other in found if other[0] >= x and other[1] >= y and other != (x, y)]
        assert free == (not beaten)


@given(points, st.randoms(use_true_random=False))
def test_that_the_front_does_not_depend_on_the_order(
    found: list[tuple[float, float]], chance: random.Random
) -> None:
    order = list(range(len(found)))
    chance.shuffle(order)
    before = pareto(found)
    assert pareto([found[index] for index in order]) == [before[index] for index in order]


def brute_force(found: list[tuple[float, float]], x: float) -> float:
    """The highest y at x over all chords between two points of the front, and level to the left."""
    front = [
        point
        for point in found
        if not any(a >= point[0] and b >= point[1] and (a, b) != point for a, b in found)
    ]
    front = sorted(set(front))
    if x <= front[0][0]:
        return front[0][1]
    for (x0, y0), (x1, y1) in zip(front, front[1:], strict=False):
        if x0 <= x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    raise AssertionError("x lies beyond the front")


@given(points, st.floats(0, 1))
def test_that_values_along_a_trade_off_are_those_of_its_chords(
    found: list[tuple[float, float]], part: float
) -> None:
    x = part * max(point[0] for point in found)
    assert mean_along(found, x, x) == pytest.approx(brute_force(found, x), abs=1e-9)


@given(points, shares, shares)
def test_that_a_dominated_point_changes_no_trade_off(
    found: list[tuple[float, float]], less_x: float, less_y: float
) -> None:
    x, y = found[0]
    beaten = (x * less_x, y * less_y)
    top = max(point[0] for point in found)
    for part in (0.0, 0.3, 0.7, 1.0):
        assert mean_along([*found, beaten], part * top, part * top) == mean_along(
            found, part * top, part * top
        )


@given(points, shares, shares)
def test_that_a_mean_along_a_trade_off_is_that_of_its_values(
    found: list[tuple[float, float]], one: float, two: float
) -> None:
    top = max(point[0] for point in found)
    low, high = sorted((one * top, two * top))
    # The rule of the trapezoid is exact up to its step, on a line that falls by at most 1.
    values = [mean_along(found, x, x) for x in np.linspace(low, high, 400)]
    found_mean = mean_along(found, low, high)
    assert min(values) - 1e-9 <= found_mean <= max(values) + 1e-9
    assert found_mean == pytest.approx(np.mean(values), abs=(max(values) - min(values)) / 100 + 1e-9)


def test_that_a_trade_off_is_not_extrapolated_to_the_right() -> None:
    with pytest.raises(ValueError, match="no point reaches"):
        mean_along([(0.5, 0.3)], 0.51, 0.51)


def test_that_runs_of_one_name_are_averaged_over_their_seeds() -> None:
    runs = study_of_two_lines()
    (evaluation,) = results(runs).evaluations
    assert [cell.name for cell in evaluation.cells] == [
        f"AT, {method}, k={k}" for method in TRADE_OFFS for k in (1, 2, 3)
    ]
    cell = evaluation.cells[0]
    robust = [0.30, 0.29, 0.28]
    assert cell.seeds == (0, 1, 2) and list(cell.robust_by_seed.values()) == pytest.approx(robust)
    half = 4.302653 * statistics.stdev(robust) / math.sqrt(3)
    assert (cell.robust.low, cell.robust.high) == pytest.approx((0.29 - half, 0.29 + half), abs=1e-7)
    assert (cell.k, cell.pretraining, cell.transfer) == (1, "AT", "vanilla")
    assert evaluation.cells[3].transfer == "NEFT beta=0.4"
    assert (cell.seconds, cell.seconds_in_all) == (60.0, 660.0)
    assert evaluation.title == "PGD-20, Linf 8/255, 1 restart, on 1000 test images of digits"


def test_that_cells_that_differ_only_in_k_form_a_line_named_without_it() -> None:
    (evaluation,) = results(study_of_two_lines()).evaluations
    assert [(line.name, [cell.k for cell in line.cells]) for line in evaluation.lines] == [
        ("AT, vanilla", [1, 2, 3]),
        ("AT, neft", [1, 2, 3]),
    ]
    assert evaluation.front == {"AT, vanilla, k=3", *(f"AT, neft, k={k}" for k in (1, 2, 3))}


def test_that_a_line_follows_k_in_both_trainings_and_hand_given_names() -> None:
    runs = []
    for k in (3, 1):
        source = run_info(pretrained(f"FDM {k}", method="fdm", num_finetuned_blocks=k))
        config = transferred(f"cartl {k}", start_from=source.name, method="neft", num_finetuned_blocks=k)
        runs += [source, run_info(config, (0.5 + k / 10, 0.5 - k / 10), parent=source.id)]
    (line,) = lines_of(cells_of(runs, by_id(runs)))
    assert [cell.k for cell in line.cells] == [1, 3] and set(line.names) == {"cartl 1", "cartl 3"}
    assert line.cells[0].pretraining == "FDM lambda=0.005"


def test_that_another_setting_than_k_makes_another_line() -> None:
    source = run_info(pretrained())
    runs = [source]
    for beta in (0.4, 0.6):
        for k in (1, 2):
            config = transferred(
                f"NEFT, k={k}, beta={beta}", method="neft", num_finetuned_blocks=k, spectral_bound=beta
            )
            runs.append(run_info(config, (0.5, 0.3), parent=source.id))
    lines = lines_of(cells_of(runs, by_id(runs)))
    assert [line.name for line in lines] == ["NEFT, beta=0.4", "NEFT, beta=0.6"]


def test_that_a_setting_without_effect_splits_no_line() -> None:
    source = run_info(pretrained())
    runs = [source]
    for k in (1, 2):
        config = transferred(f"vanilla, k={k}", num_finetuned_blocks=k, spectral_bound=k / 2)
        runs.append(run_info(config, (0.5, 0.3), parent=source.id))
    assert len(lines_of(cells_of(runs, by_id(runs)))) == 1


def test_that_equal_settings_under_two_names_stay_two_cells_and_two_lines() -> None:
    runs = [run_info(transferred(name, num_finetuned_blocks=2), (0.5, 0.3)) for name in ("once", "again")]
    (evaluation,) = results(runs).evaluations
    assert [line.name for line in evaluation.lines] == ["once", "again"]


def test_that_other_attacks_and_other_images_are_never_mixed() -> None:
    source = run_info(pretrained())
    variants = [{}, {"attack": {"steps": 50}}, {"target": {"test_size": 500}}, {"target": {"name": "mnist"}}]
    runs = [source] + [
        run_info(transferred("X", **variant), (0.5, 0.3), parent=source.id) for variant in variants
    ]
    found = results(runs).evaluations
    assert len(found) == 4 and len({evaluation.title for evaluation in found}) == 4
    assert all(len(evaluation.cells) == 1 for evaluation in found)
    assert sorted(evaluation.attack for evaluation in found)[1:3] == [
        "PGD-20, Linf 8/255, 1 restart, test test_size 0",
        "PGD-20, Linf 8/255, 1 restart, test test_size 500",
    ]


def test_that_of_two_settings_under_one_name_the_studys_own_are_shown_and_else_the_newer() -> None:
    asked, changed = transferred("X", epochs=3), transferred("X", epochs=4)
    runs = [run_info(asked, (0.5, 0.3)), run_info(changed, (0.6, 0.2))]
    newest = results_of(runs, by_id(runs))
    assert newest.cells[0].clean.mean == 0.6
    assert [(run.id, "other settings" in why) for run, why in newest.left_out] == [(runs[0].id, True)]
    study = StudyConfig(title="Study", runs=[pretrained(), asked])
    own = results_of(runs, by_id(runs), study)
    assert own.cells[0].clean.mean == 0.5 and own.missing == (("AT", 0),)


def test_that_a_run_made_again_replaces_the_older_one() -> None:
    runs = [run_info(transferred("X"), (value, 0.3)) for value in (0.5, 0.6)]
    found = results_of(runs[::-1], by_id(runs))
    assert found.cells[0].clean.mean == 0.6 and found.cells[0].clean.count == 1
    assert [run.id for run, _ in found.left_out] == [runs[0].id]


def test_that_failed_and_waiting_runs_are_listed_with_their_reason() -> None:
    runs = [
        run_info(transferred("X", 0), (0.5, 0.3)),
        run_info(transferred("X", 1), state="failed", reason="the loss is no number"),
        run_info(transferred("X", 2), state="failed", reason="out of memory"),
        run_info(transferred("X", 2), (0.5, 0.3)),
    ]
    found = results(runs)
    assert [(run.config.seed, run.reason) for run in found.unfinished] == [(1, "the loss is no number")]
    assert found.cells[0].seeds == (0, 2)


def test_that_only_runs_of_the_study_are_taken_oldest_first() -> None:
    runs = [run_info(transferred("X"), (0.5, 0.3), study=title) for title in ("A", "B", "A")]
    assert [run.id for run in study_runs("A", by_id(runs[::-1]))] == [runs[0].id, runs[2].id]


def test_that_accuracies_are_compared_seed_by_seed() -> None:
    question = ComparisonConfig(baseline="AT, vanilla, k=3", other="AT, neft, k=3", measure="robust_accuracy")
    (answer,) = results(study_of_two_lines(), question).comparisons
    differences = [0.15, 0.17, 0.19]
    assert [pair.other - pair.baseline for pair in answer.pairs] == pytest.approx(differences)
    half = 4.302653 * 0.02 / math.sqrt(3)
    assert answer.difference.mean == pytest.approx(0.17)
    assert answer.difference.low == pytest.approx(0.17 - half) and answer.difference.high == pytest.approx(
        0.17 + half
    )
    assert answer.verdict == "shown" and answer.notes == ()
    clean = question.model_copy(update={"measure": "clean_accuracy"})
    (answer,) = results(study_of_two_lines(), clean).comparisons
    assert answer.difference.mean == pytest.approx(-0.02) and answer.verdict == "opposite"
    less = clean.model_copy(update={"expected": "less"})
    assert results(study_of_two_lines(), less).comparisons[0].verdict == "shown"


def test_that_lines_are_compared_over_all_clean_accuracies_up_to_the_highest_that_both_reach() -> None:
    (answer,) = results(study_of_two_lines(), EQUAL_CLEAN).comparisons
    assert len(answer.pairs) == 3
    for pair in answer.pairs:
        shift = 0.01 * pair.seed
        assert pair.clean == pytest.approx((0.58 + shift, 0.78 + shift)), "NEFT's k = 3 ends first"
        dense = np.linspace(*pair.clean, 200_001)
        for side, method, sign in ((pair.baseline, "vanilla", -1), (pair.other, "neft", 1)):
            found = [(x + shift, y + sign * shift) for x, y in TRADE_OFFS[method].values()]
            sampled = np.mean([brute_force(found, x) for x in dense[::100]])
            assert side == pytest.approx(sampled, abs=2e-4)
    assert answer.clean_range == pytest.approx((0.58, 0.80))
    assert answer.verdict == "shown" and "straight lines" in answer.how


@given(points, points)
def test_that_swapping_the_two_sides_flips_the_sign(
    first: list[tuple[float, float]], second: list[tuple[float, float]]
) -> None:
    runs = []
    for name, method, line in (("A", "vanilla", first), ("B", "neft", second)):
        for k, accuracies in enumerate(line, start=1):
            config = transferred(f"{name}, k={k}", method=method, num_finetuned_blocks=k)
            runs.append(run_info(config, accuracies))
    forth = ComparisonConfig(baseline="A", other="B", measure="robust_at_equal_clean")
    back = ComparisonConfig(baseline="B", other="A", measure="robust_at_equal_clean")
    one, two = results(runs, forth, back).comparisons
    assert one.difference.mean == -two.difference.mean and one.pairs[0].clean == two.pairs[0].clean
    assert one.verdict == two.verdict == "no interval"


def test_that_a_seed_without_every_point_is_left_out_and_named() -> None:
    runs = study_of_two_lines()
    lost = next(run for run in runs if run.name == "AT, neft, k=2" and run.config.seed == 1)
    failed = replace(lost, state="failed", result=None, reason="the disk is full")
    runs = [failed if run is lost else run for run in runs]
    (answer,) = results(runs, EQUAL_CLEAN).comparisons
    assert [pair.seed for pair in answer.pairs] == [0, 2]
    assert any("seed 1 is left out" in note and "'AT, neft, k=2'" in note for note in answer.notes)
    assert any("failed, the disk is full" in note for note in answer.notes)
    assert answer.difference.count == 2


def test_that_a_single_seed_shows_nothing() -> None:
    (answer,) = results(study_of_two_lines([5]), EQUAL_CLEAN).comparisons
    assert answer.verdict == "no interval" and math.isnan(answer.difference.low)
    # Means from 0.58 to 0.78 by hand: two pieces of NEFT's line; level, then two pieces, of vanilla's.
    neft = (0.345 * 0.12 + 0.30 * 0.08) / 0.20
    vanilla = (0.30 * 0.02 + 0.26 * 0.12 + 0.1825 * 0.06) / 0.20
    assert answer.difference.mean == pytest.approx(neft - vanilla + 2 * 0.05, abs=1e-9)


def test_that_an_interval_with_0_in_it_shows_nothing() -> None:
    runs = []
    for seed, change in enumerate((0.1, -0.1, 0.05)):
        runs.append(run_info(transferred("A", seed, epochs=2), (0.5, 0.3)))
        runs.append(run_info(transferred("B", seed, epochs=3), (0.5, 0.3 + change)))
    (answer,) = results(runs, ComparisonConfig(baseline="A", other="B")).comparisons
    assert answer.verdict == "not shown" and answer.difference.low < 0 < answer.difference.high


def test_that_what_cannot_be_compared_says_why() -> None:
    runs = [
        run_info(transferred("A"), (0.5, 0.3)),
        run_info(transferred("B", attack={"steps": 50}), (0.5, 0.3)),
        run_info(transferred("C"), state="stopped", reason="stopped on request"),
    ]
    apart, absent = results(
        runs, ComparisonConfig(baseline="A", other="B"), ComparisonConfig(baseline="A", other="C")
    ).comparisons
    assert apart.verdict == absent.verdict == "no data"
    assert "not attacked in the same way" in apart.notes[0]
    assert absent.notes == ("there is no finished run of 'C'", "C, seed 0: stopped, stopped on request")


def test_that_cells_of_one_line_name_with_other_settings_are_not_joined() -> None:
    runs = [
        run_info(transferred("A, k=1", num_finetuned_blocks=1), (0.5, 0.3)),
        run_info(transferred("A, k=2", num_finetuned_blocks=2, epochs=30), (0.6, 0.2)),
        run_info(transferred("B", method="full"), (0.6, 0.2)),
    ]
    question = ComparisonConfig(baseline="A", other="B", measure="robust_at_equal_clean")
    (answer,) = results(runs, question).comparisons
    assert answer.verdict == "no data"
    assert answer.notes == ("'A' is 2 lines here, which differ in finetuning.epochs",)


def test_that_every_method_has_a_title_with_its_symbols() -> None:
    config = transferred("X", method="lwf", feature_weight=0.1)
    assert config.finetuning is not None and method_title(config.finetuning) == "LwF lambda=0.1"
    probe = transferred("X", method="linear_probe").finetuning
    assert probe is not None and method_title(probe) == "linear probe"
    trades = pretrained(method="trades").pretraining
    assert trades is not None and method_title(trades) == "TRADES 1/lambda=6"
    fdm = pretrained(method="fdm", num_finetuned_blocks=4).pretraining
    assert fdm is not None and method_title(fdm) == "FDM k=4, lambda=0.005"


def test_that_attacks_on_finished_runs_keep_the_titles_of_the_training() -> None:
    source = run_info(pretrained())
    trained = run_info(transferred("X", method="neft", num_finetuned_blocks=2), (0.5, 0.3), parent=source.id)
    again = transferred("X").model_copy(
        update={"name": "X, stronger", "start_from": trained.id, "finetuning": None, "seed": 0}
    )
    attack = run_info(again, (0.5, 0.2), parent=trained.id)
    runs = [source, trained, attack]
    cell = next(cell for cell in cells_of([attack], by_id(runs)))
    assert (cell.pretraining, cell.transfer, cell.k) == ("AT", "NEFT beta=0.4", 2)
