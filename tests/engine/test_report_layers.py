"""The report layer by layer: which runs are compared, what is drawn where, and what is left out."""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.config import dump_run
from engine.errors import StoreError
from engine.events import RunInfo, StageLayout
from engine.report import layers, write_report
from engine.report.layer_plot import BlockAxis, LogAxis, layers_svg
from engine.report.layers import BLOCK_COLUMNS, LayerResults, Profile, layer_results, read_profile
from engine.results import results_of
from engine.store.run_file import RunFile
from engine.store.schema import STAGE_TABLES, tail
from tests.engine.study_results import by_id, pretrained, run_info, transferred
from tests.engine.test_report import EVIL, Page, made

N = 5
PROBE = "PGD-7, Linf 16/255, on 128 held-out images"
DISTANCES = np.array([0.05, 0.1, 0.15, 0.3, 0.4])
BOUNDS = np.array([2.0, 3.0, 5.0, 20.0, 1.0])
OLD = "measured by an older version"
SVG = "http://www.w3.org/2000/svg"
GOLDEN = Path(__file__).parent.parent / "store" / "golden" / "metrics_v3.h5.gz"

Watch = Callable[..., RunInfo]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Gives a run this profile without a file of its own; runs that are not watched are of an older version."""
    profiles: dict[str, Profile] = {}

    def read(run: RunInfo) -> Profile:
        if run.id not in profiles:
            raise StoreError(OLD)
        return profiles[run.id]

    def watched(
        run: RunInfo, distances: np.ndarray = DISTANCES, bounds: np.ndarray = BOUNDS, **more: object
    ) -> RunInfo:
        unknown = {name: np.full(N, np.nan) for names in BLOCK_COLUMNS.values() for name in names}
        values = unknown | {
            "relative_distance": distances, "block_upper": bounds, "log10_upper": np.array([5.0]),
            "log10_lower": np.array([0.5]),
        }  # fmt: skip
        layout = layout_of(run, **more)
        profiles[run.id] = Profile(run, layout, layout.probe, values)
        return run

    monkeypatch.setattr(layers, "read_profile", read)
    return watched


def layout_of(
    run: RunInfo, *, probe: str = PROBE, boundary: int | None = None, blocks: int = N
) -> StageLayout:
    finetuning = run.config.finetuning is not None
    return StageLayout(
        "finetuning" if finetuning else "pretraining",
        f"Training (method, k = 2) on {'digits' if finetuning else 'letters'}",
        block_names=tuple(f"block {number}" for number in range(1, blocks + 1)),
        layer_names=("stem",), layer_blocks=(0,), boundary=boundary, probe=probe,
    )  # fmt: skip


def neft(k: int, seed: int = 0, name: str = "AT, NEFT") -> RunInfo:
    return run_info(transferred(f"{name}, k={k}", seed, method="neft", num_finetuned_blocks=k), (0.7, 0.3))


def vanilla(k: int, seed: int = 0) -> RunInfo:
    return run_info(transferred(f"AT, vanilla k={k}", seed, num_finetuned_blocks=k), (0.8, 0.2))


def gathered(runs: list[RunInfo]) -> LayerResults:
    return layer_results(results_of(runs, by_id(runs)))


def told(found: LayerResults) -> list[tuple[str, list[str]]]:
    return [(figure.title, [curve.name for curve in figure.curves]) for figure in found.figures]


def test_that_figures_join_what_has_the_same_k_and_stands_beside_what_has_none(watch: Watch) -> None:
    full = run_info(transferred("AT, full", method="full"), (0.9, 0.1))
    source, fdm = run_info(pretrained()), run_info(pretrained("FDM", method="fdm", num_finetuned_blocks=2))
    runs = [watch(run) for run in (neft(2), vanilla(2), vanilla(3), full, source, fdm)]
    found = gathered(runs)
    assert told(found) == [
        ("Transfer to digits, k = 2", ["AT, NEFT", "AT, vanilla", "AT, full"]),
        ("Transfer to digits, k = 3", ["AT, vanilla", "AT, full"]),
        ("Pre-training on letters, k = 2", ["AT", "FDM"]),
    ]
    assert [profile.run.id for profile in found.profiles] == [run.id for run in runs]


def test_that_a_line_alone_is_shown_only_where_nothing_is_compared(watch: Watch) -> None:
    one, two, other = (watch(run) for run in (vanilla(2), neft(2), vanilla(3)))
    assert told(gathered([one, two, other])) == [("Transfer to digits, k = 2", ["AT, vanilla", "AT, NEFT"])]
    assert told(gathered([other])) == [("Transfer to digits, k = 3", ["AT, vanilla"])]


@pytest.mark.parametrize("other", [{"probe": "PGD-7, Linf 8/255, on 128 held-out images"}, {"blocks": N - 1}])
def test_that_distances_to_other_images_or_of_other_blocks_are_not_compared(
    watch: Watch, other: dict[str, object]
) -> None:
    found = gathered([watch(neft(2)), watch(vanilla(2), **other)])
    assert [names for _, names in told(found)] == [["AT, NEFT"], ["AT, vanilla"]]


def test_that_more_lines_than_colours_take_several_figures(watch: Watch) -> None:
    runs = [watch(neft(2, name=f"method {number}")) for number in range(9)]
    assert [len(names) for _, names in told(gathered(runs))] == [7, 2]


def test_that_lines_of_one_name_keep_what_tells_them_apart(watch: Watch) -> None:
    runs = [watch(run_info(transferred(name), (0.8, 0.2))) for name in ("A, k=4", "A k=4")]
    assert [names for _, names in told(gathered(runs))] == [["A, k=4", "A k=4"]]


def points(svg: str) -> list[tuple[str, float, float]]:
    """What is told at each marker, and where it stands; from the left to the right panel."""
    found = []
    for group in ElementTree.fromstring(svg).iter(f"{{{SVG}}}g"):
        title, circle, polygon = (group.find(f"{{{SVG}}}{name}") for name in ("title", "circle", "polygon"))
        if title is None:
            continue
        if circle is not None:
            x, y = float(circle.get("cx", "")), float(circle.get("cy", ""))
        else:
            assert polygon is not None
            corners = [pair.split(",") for pair in polygon.get("points", "").split()]
            x, y = np.mean(np.array(corners, float), axis=0)
        found.append((title.text or "", x, y))
    return found


def height_of(svg: str, tick: str, *, right: bool = False) -> float:
    """Where a tick of the upward axis of the left or the right panel lies."""
    (y,) = (
        float(node.get("y", "")) - 4
        for node in ElementTree.fromstring(svg).iter(f"{{{SVG}}}text")
        if node.text == tick
        and node.get("text-anchor") == "end"
        and (float(node.get("x", "")) > 380) == right
    )
    return y


def test_that_means_over_seeds_and_their_range_stand_where_the_axes_say(watch: Watch) -> None:
    runs = [
        watch(vanilla(2, 0), 0.9 * DISTANCES),
        watch(vanilla(2, 1), 1.1 * DISTANCES),
        *(watch(neft(2, seed), DISTANCES / 2, BOUNDS / 2) for seed in (0, 1)),
    ]
    (figure,) = gathered(runs).figures
    svg = layers_svg(figure)
    found = points(svg)
    names = [told for told, _, _ in found]
    assert "AT, vanilla, block 4: 0.3 (0.27 to 0.33)" in names and "AT, NEFT, block 4: 10 (10 to 10)" in names
    assert "means over 2 seeds, bars from the smallest to the largest" in svg and PROBE in svg
    bottom, up = height_of(svg, "0"), height_of(svg, "0.2")
    low, high = height_of(svg, "0.5", right=True), height_of(svg, "20", right=True)
    for name, share in (("AT, vanilla", 1), ("AT, NEFT", 0.5)):
        heights = [y for told, _, y in found if told.startswith(name)]
        distances = [0.2 * (bottom - y) / (bottom - up) for y in heights[:N]]
        assert distances == pytest.approx(list(share * DISTANCES), abs=1e-3)
        bounds = [0.5 * 40 ** ((low - y) / (low - high)) for y in heights[N:]]
        assert bounds == pytest.approx(list(share * BOUNDS), rel=0.01)
    bars = re.findall(r'd="M[\d.]+ ([\d.]+)V([\d.]+)"', svg)[:N]
    ends = [[0.2 * (bottom - float(y)) / (bottom - up) for y in bar] for bar in bars]
    assert np.array(ends) == pytest.approx(np.outer(DISTANCES, (0.9, 1.1)), abs=1e-3)


def test_that_the_frozen_part_is_marked_only_where_all_lines_share_it(watch: Watch) -> None:
    one, same = watch(neft(2), boundary=3), watch(vanilla(2), boundary=3)
    other = watch(neft(2, name="FDM, NEFT"), boundary=2)
    prepared = watch(run_info(pretrained("FDM", method="fdm")), boundary=3)
    for runs, shared in (([one, same], 3), ([one, same, other], None), ([prepared], None)):
        (figure,) = gathered(runs).figures
        assert figure.boundary == shared and (">frozen<" in layers_svg(figure)) == (shared is not None)


def test_that_blocks_without_a_finite_bound_are_left_out_of_the_drawing_alone(watch: Watch) -> None:
    some = watch(neft(2), DISTANCES, np.array([2.0, np.nan, 0.0, np.inf, 1.0]))
    svg = layers_svg(gathered([some]).figures[0])
    assert len(points(svg)) == N + 2 and not re.search(r'="[^"]*\b(nan|inf)\b', svg)
    svg = layers_svg(gathered([watch(neft(2), DISTANCES, np.full(N, np.nan))]).figures[0])
    assert len(points(svg)) == N and "certified bound" not in svg.split("</desc>")[1]


def test_that_page_and_table_tell_it_and_runs_without_a_profile_are_named(
    watch: Watch, tmp_path: Path
) -> None:
    runs = [
        watch(neft(2), boundary=3),
        watch(run_info(transferred(EVIL, method="full"), (0.9, 0.1)), DISTANCES / 2, boundary=3),
        neft(2, 7), neft(2, 8), vanilla(2),
    ]  # fmt: skip
    files = made(runs, tmp_path / "report")
    page = Page(files["report.html"])
    text = " ".join(page.text.split())
    assert "distance at block 3distance at the logitslargest bound" in text
    assert (
        "AT, NEFT 1 0.15 0.4 20 in block 4 5 0.5 " in text
        and "<script>alert('x')</script> \"& 1 0.075 0.2 " in text
    )
    assert f"Left out: AT, NEFT, k=2, seed 7; AT, NEFT, k=2, seed 8; AT, vanilla k=2, seed 0: {OLD}." in text
    assert "script" not in {tag for tag, _ in page.tags} and 'class="layers"' in files["report.html"]
    table = list(csv.DictReader(io.StringIO(files["layers.csv"])))
    assert len(table) == 2 * N and [row["frozen"] for row in table[:N]] == list("11100")
    assert [float(row["relative_distance"]) for row in table[:N]] == pytest.approx(list(DISTANCES))
    assert [float(row["block_upper"]) for row in table[N:]] == pytest.approx(list(BOUNDS))
    assert {row["cka"] for row in table} == {""} and {row["cell"] for row in table} == {"AT, NEFT, k=2", EVIL}


def test_that_a_file_of_the_report_can_be_asked_for_by_its_name(watch: Watch, tmp_path: Path) -> None:
    runs = [watch(neft(2)), watch(vanilla(2))]
    files = made(runs, tmp_path / "report")
    for name, same in (
        ("layers.svg", "layers.svg"),
        ("layers.csv", "layers.csv"),
        ("mine.svg", "trade-off.svg"),
    ):
        write_report("Study", by_id(runs), tmp_path / name)
        assert (tmp_path / name).read_text(encoding="utf-8") == files[same]


def test_that_a_study_without_profiles_has_no_section_and_refuses_its_figure(
    watch: Watch, tmp_path: Path
) -> None:
    runs = [neft(2)]
    with pytest.raises(
        StoreError, match=r"hold nothing for layers\.svg; a file of another name that ends in \.svg"
    ):
        write_report("Study", by_id(runs), tmp_path / "other" / "layers.svg")
    assert not (tmp_path / "other").exists()
    files = made(runs, tmp_path / "report")
    assert "Layer by layer" not in files["report.html"] and not [name for name in files if "layers" in name]


def test_that_a_profile_is_the_newest_row_of_the_last_stage_trained(tmp_path: Path) -> None:
    run = replace(neft(2), path=str(tmp_path))
    layout = layout_of(run)
    newest = {"relative_distance": DISTANCES, "block_upper": BOUNDS, "log10_upper": 5.0}
    with RunFile.create(
        tmp_path / "metrics.h5", [replace(layout, stage="pretraining"), layout], title="",
        config_toml=dump_run(run.config), program_version="",
    ) as file:  # fmt: skip
        for stage, known in (("finetuning", {}), ("finetuning", newest), ("pretraining", {})):
            for table in STAGE_TABLES["finetuning"]:
                if table.name in ("layers", "bounds", "probe"):
                    columns = {
                        column.name: np.full(
                            (1, *tail(layout, column)), known.get(column.name, 9), column.dtype
                        )
                        for column in table.columns
                    }
                    file.append(stage, table.name, columns)  # type: ignore[arg-type]
    profile = read_profile(run)
    assert profile is not None and profile.layout.stage == "finetuning"
    assert profile.probe == PROBE
    for name, values in {**newest, "log10_upper": [5.0], "cka": [9.0] * N}.items():
        assert profile.values[name] == pytest.approx(np.array(values))


def test_that_runs_without_a_usable_file_say_why(tmp_path: Path) -> None:
    assert read_profile(neft(2)) is None
    run = replace(neft(2), path=str(tmp_path))
    with pytest.raises(StoreError, match=r"metrics\.h5"):
        read_profile(run)
    (tmp_path / "metrics.h5").write_bytes(gzip.decompress(GOLDEN.read_bytes()))
    with pytest.raises(StoreError, match="older version, which knew neither relative distances nor bounds"):
        read_profile(run)


@pytest.mark.parametrize("low", [1e-6, 0.03, 1.0, 70.0])
@pytest.mark.parametrize("factor", [1.2, 3.0, 40.0, 1e4, 1e30])
def test_that_a_logarithmic_axis_has_some_ticks_in_order_and_puts_equal_factors_equally_far(
    low: float, factor: float
) -> None:
    axis = LogAxis(low, low * factor, 300.0, 0.0)
    ticks = axis.ticks
    assert 3 <= len(ticks) <= 11 and ticks == sorted(ticks)
    assert all(low * 0.999 <= tick <= low * factor * 1.001 for tick in ticks)
    places = [axis.at(value) for value in (low, low * math.sqrt(factor), low * factor)]
    assert places == pytest.approx([300, 150, 0])


@pytest.mark.parametrize(("blocks", "expected"), [(1, [1]), (5, [1, 2, 3, 4, 5]), (34, [1, 3, 5])])
def test_that_blocks_are_numbered_as_far_as_there_is_room(blocks: int, expected: list[int]) -> None:
    ticks = BlockAxis(0.5, blocks + 0.5, 0.0, 300.0).ticks
    assert ticks[: len(expected)] == expected and ticks[-1] <= blocks
