"""The benchmarks of the window measure what they say; only small amounts are tried here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gui, gui_rest
from benchmarks.gui_lists import curve, large, many
from benchmarks.gui_stalls import BEAT_MS, endless, lateness, summary
from cartl_gui import theme
from cartl_gui.theme import Theme
from engine.api import presets


def test_that_beats_that_a_stall_swallows_are_counted_as_late_as_they_would_have_been() -> None:
    in_time = np.arange(0, 1, BEAT_MS / 1000)
    stalled = np.concatenate([in_time, in_time + 1.1])  # nothing came for a tenth of a second
    late = lateness(stalled)
    assert late.max() == pytest.approx(100, abs=BEAT_MS)
    assert (late > 50).sum() == pytest.approx(50 / BEAT_MS, abs=2)
    found = summary(late)
    assert found["p50"] == pytest.approx(0, abs=0.01)
    assert found["share above 50 ms"] == pytest.approx(0.05 / 2.1, rel=0.1)


def test_that_the_study_that_trains_meanwhile_is_one_long_run() -> None:
    study = endless(presets()["demo"])
    (run,) = study.runs
    assert run.pretraining is not None and run.pretraining.epochs >= 10_000


def test_that_lists_are_timed_with_every_way_to_filter_sort_and_group(tmp_path: Path) -> None:
    found = many(40, tmp_path)
    assert all(value > 0 for value in found.values())
    for kind, least in (("filter", 3), ("sort by", 5), ("group", 3)):
        assert sum(name.startswith(kind) for name in found) >= least


def test_that_a_large_run_has_its_size_and_is_opened_and_drawn(tmp_path: Path) -> None:
    found = large(3_000_000, tmp_path)
    assert found["gigabytes"] == pytest.approx(0.003, rel=0.5)
    assert 0 < found["opened"] < found["drawn"]
    assert found["longest stall meanwhile, ms"] >= 0


def test_that_a_long_curve_is_drawn(tmp_path: Path) -> None:
    assert all(value > 0 for value in curve(5000, tmp_path).values())


def test_that_another_look_and_the_window_left_alone_are_measured(
    tmp_path: Path, themes: Theme, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(value > 0 for value in gui_rest.looks(tmp_path / "looks", 1).values())
    assert (theme.scale(), theme.scheme()) == (1.0, theme.LIGHT)
    monkeypatch.setattr(gui_rest, "SETTLE", 0.0)
    shares = gui_rest.idle(tmp_path / "idle", 0.02)
    assert {"welcome", "results", "live, queue held"} < set(shares) and min(shares.values()) >= 0


def test_that_figures_are_printed_and_written_with_the_machine_they_hold_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(gui.VERBS, "curve", lambda options: {"points": options.points, "page": {"p50": 1.5}})
    assert gui.main(["curve", "--points", "12", "--json", str(tmp_path / "curve.json")]) == 0
    assert capsys.readouterr().out == "points  12\npage    p50 1.5\n"
    written = json.loads((tmp_path / "curve.json").read_text(encoding="utf-8"))
    assert written["figures"] == {"points": 12, "page": {"p50": 1.5}}
    assert written["machine"]["cores"] >= 1
