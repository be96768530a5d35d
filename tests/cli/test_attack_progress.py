"""An evaluation while it gets on: a bar for each single attack, each told once when it is done, nothing flooded."""

from __future__ import annotations

import io

import pytest

from engine.cli import progress
from engine.cli.attacking import AttackDisplay
from engine.cli.progress import Bars, Lines
from engine.config import AttackConfig
from engine.events import AttackPoint, AttackProgress, AttackResult, MemberResult, StageLayout
from tests.cli.test_progress import Clock
from tests.engine.study_results import share

STANDARD = ("APGD-CE-100", "APGD-T-100", "FAB-T-100", "Square (5,000 queries)")
LEFT = {"APGD-CE-100": 0.576, "APGD-T-100": 0.540, "FAB-T-100": 0.5399, "Square (5,000 queries)": 0.5399}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def members(count: int, titles: tuple[str, ...] = STANDARD) -> tuple[MemberResult, ...]:
    return tuple(
        MemberResult(title, 862, share(LEFT.get(title, 0.5)), None, 130.0) for title in titles[:count]
    )


def layout(titles: tuple[str, ...] = STANDARD, radii: int = 0) -> StageLayout:
    points = tuple(
        AttackPoint((8 + number) / 255, 0, titles, (True,) * len(titles)) for number in range(radii + 1)
    )
    return StageLayout(
        "attack", "AutoAttack standard, Linf 8/255 on 1000 test images", samples=1000, points=points
    )


def evaluate(
    shown: AttackDisplay, clock: Clock, *, radii: int = 0, passes: int = 9, seconds: float = 1.0
) -> None:
    """Tell of a whole evaluation as the engine does, each pass in four batches."""
    number, count = 0, len(STANDARD) * (radii + 1)
    for done in (500, 1000):
        shown.show(AttackProgress("a", done, 1000, 0.86, 0.86, "Clean images", 0, count))
    for point in range(radii + 1):
        for index, title in enumerate(STANDARD):
            number += 1
            finished = members(index if point == 0 else len(STANDARD))
            for passed in range(passes):
                for done in (150, 300, 450, 600):
                    clock.now += seconds
                    shown.show(
                        AttackProgress(
                            "a",
                            done,
                            600,
                            0.86,
                            0.6,
                            title,
                            number,
                            count,
                            point,
                            200.0,
                            finished,
                            (passed + done / 600) / passes,
                        )
                    )


def told_by_lines(clock: Clock, config: AttackConfig, shape: StageLayout, **how: float) -> list[str]:
    stream = io.StringIO()
    shown = AttackDisplay(Lines(stream))
    shown.started(shape, config)
    evaluate(shown, clock, **how)  # type: ignore[arg-type]
    result = AttackResult(
        "digits", "AutoAttack", 1000, share(0.86), share(0.54), 1.0, members=members(len(STANDARD))
    )
    shown.ended(result)
    return stream.getvalue().splitlines()


def test_that_each_single_attack_has_a_line_when_it_begins_and_one_when_it_is_done(clock: Clock) -> None:
    written = told_by_lines(clock, AttackConfig(name="autoattack"), layout(), seconds=0.01)
    low, high = (f"{100 * bound:.1f}" for bound in (share(0.576).low, share(0.576).high))
    assert written[:5] == [
        "  AutoAttack standard, Linf 8/255 on 1000 test images",
        "  Clean images",
        "  Clean images: 100 %",
        "  APGD-CE-100 (1 of 4)",
        f"  APGD-CE-100: robust at most 57.6 % ({low} to {high}), 862 images attacked, 2 min 10 s",
    ]
    assert written[5].startswith("  APGD-T-100 (2 of 4)")
    assert [line.partition(":")[0].strip() for line in written if ": robust" in line] == list(STANDARD)
    assert written[-1].startswith("  Square (5,000 queries): robust 54.0 % ("), "the last figure is no bound"


def test_that_after_apgd_t_the_figure_is_called_provisional_with_what_follows(clock: Clock) -> None:
    written = told_by_lines(clock, AttackConfig(name="autoattack"), layout())
    (line,) = [number for number, line in enumerate(written) if "provisional" in line]
    assert written[line] == "  provisional: FAB-T and Square follow, expected change below 0.1 points"
    assert written[line - 1].startswith("  APGD-T-100: robust at most 54.0 %")


@pytest.mark.parametrize(
    ("config", "titles"),
    [
        (AttackConfig(name="autoattack", version="plus"), STANDARD),
        (AttackConfig(name="autoattack"), ("APGD-CE-100", "APGD-T-100 (4 targets)", "FAB-T-100 (4 targets)", STANDARD[3])),
        (AttackConfig(), STANDARD),
    ],
)  # fmt: skip
def test_that_nothing_is_expected_of_other_attacks_than_autoattack_standard(
    clock: Clock, config: AttackConfig, titles: tuple[str, ...]
) -> None:
    assert not [line for line in told_by_lines(clock, config, layout(titles)) if "provisional" in line]


def test_that_many_passes_and_a_long_sweep_do_not_flood_plain_lines(clock: Clock) -> None:
    written = told_by_lines(clock, AttackConfig(name="autoattack"), layout(radii=49), radii=49, passes=9)
    seconds = 50 * 4 * 9 * 4
    assert len(written) <= 3 + 3 * 4 + 2 + seconds / progress.LINE_INTERVAL
    expected = (
        "  APGD-CE-100 (1 of 4): 31 %, 450/600 images of this pass, robust at most 60.0 %, 3 min 20 s left"
    )
    assert expected in written, "11 of 36 batches"
    assert sum(line == "  Sweep" for line in written) == 1 and written[-1] != "  Sweep"
    assert any("Sweep: 50 %, " in line and "epsilon 33/255" in line for line in written), written
    assert "  Sweep: 100 %" in written


def test_that_a_resumed_evaluation_tells_what_was_done_before(clock: Clock) -> None:
    stream = io.StringIO()
    shown = AttackDisplay(Lines(stream))
    shown.started(layout(), AttackConfig(name="autoattack"))
    shown.show(AttackProgress("a", 10, 600, 0.86, 0.54, STANDARD[2], 3, 4, 0, None, members(2)))
    assert [line.partition(":")[0].strip() for line in stream.getvalue().splitlines()[1:]] == [
        "APGD-CE-100", "APGD-T-100", "provisional", "FAB-T-100 (3 of 4)",
    ]  # fmt: skip


def test_that_bars_show_the_pass_its_images_the_time_left_and_the_bound(clock: Clock) -> None:
    stream = io.StringIO()
    bars = Bars(stream)
    shown = AttackDisplay(bars)
    shown.started(layout(("PGD-20",)), AttackConfig())
    shown.show(AttackProgress("a", 150, 600, 0.86, 0.521, "PGD-20", 1, 1, 0, None))
    clock.now += 50
    shown.show(AttackProgress("a", 300, 600, 0.86, 0.521, "PGD-20", 1, 1, 0, 150.0, share=0.25))
    bars.close()
    written = stream.getvalue()
    for part in ("PGD-20", "25 %", "300/600", "2 min 30 s left", "robust at most 52.1 %"):
        assert part in written, written
    assert "(1 of 1)" not in written
