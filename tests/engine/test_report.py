"""The report: complete, safe with hostile names, the same figures in every file."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import api
from engine.config import ComparisonConfig, InspectionConfig, StudyConfig, dump_study, parse_study
from engine.errors import StoreError
from engine.events import (
    AttackResult,
    AttackWarning,
    Exported,
    MemberResult,
    RequestFailed,
    RunInfo,
    SweepResult,
)
from engine.report import StudySource, report_files, write_report
from engine.report.detail import detail_of, doubts_of
from engine.report.drawing import tick_step
from engine.report.page import machines
from engine.report.plot import Box, trade_off_svg
from engine.results import results_of
from engine.store.run_folder import RunFolder
from engine.store.workspace import Workspace
from tests.engine.study_results import by_id, pretrained, run_info, share, study_of_two_lines, transferred

EVIL = "<script>alert('x')</script> \"&k=1"
QUESTION = ComparisonConfig(
    title="NEFT <b>keeps</b> more", baseline="AT, vanilla", other="AT, neft", measure="robust_at_equal_clean"
)
VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """Reads a page strictly: every tag closed in its order; keeps tags, attributes and the text between."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "td":
            self.text += " "

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data

    def attributes(self, name: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(name)) is not None]


def made(runs: list[RunInfo], folder: Path, **more: object) -> dict[str, str]:
    """The files of a report by name."""
    write_report("Study", by_id(runs), folder, **more)  # type: ignore[arg-type]
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    runs = study_of_two_lines()
    source = next(run for run in runs if run.name == "AT")
    runs.append(run_info(transferred(EVIL, method="full"), (0.82, 0.10), parent=source.id))
    runs.append(
        run_info(transferred("AT, neft, k=3", 3), state="failed", reason="the <i>loss</i> is no number")
    )
    return made(runs, tmp_path / "report", comparisons=[QUESTION])


def test_that_a_report_has_all_its_files(files: dict[str, str]) -> None:
    assert set(files) == {"report.html", "report.csv", "runs.csv", "report.json", "trade-off.svg"}


def test_that_the_page_is_well_formed_and_fetches_nothing(files: dict[str, str]) -> None:
    page = Page(files["report.html"])
    names = {tag for tag, _ in page.tags}
    assert {"h1", "table", "svg", "pre"} <= names and not names & {
        "script",
        "iframe",
        "link",
        "img",
        "object",
    }
    for link in page.attributes("src") + page.attributes("href"):
        assert link.startswith("data:text/plain;")
    assert not re.search(r"url\(|@import", files["report.html"])
    policy = next(attributes for tag, attributes in page.tags if "http-equiv" in attributes)
    assert str(policy["content"]).startswith("default-src 'none'")
    assert "prefers-color-scheme: dark" in files["report.html"]


def test_that_hostile_names_stay_text(files: dict[str, str]) -> None:
    page = Page(files["report.html"])
    assert EVIL in page.text and "NEFT <b>keeps</b> more" in page.text
    assert "the <i>loss</i> is no number" in page.text
    assert not {"script", "b", "i"} & {tag for tag, _ in page.tags}
    root = ElementTree.fromstring(files["trade-off.svg"])
    assert not [node for node in root.iter() if node.tag.endswith("script")]
    assert any(EVIL in (node.text or "") for node in root.iter() if node.tag.endswith("title"))


def test_that_the_page_says_what_was_compared_how_sure_it_is_and_how_to_repeat_it(
    files: dict[str, str],
) -> None:
    text = " ".join(Page(files["report.html"]).text.split())
    assert "+10.6 points (+5.7 to +15.6), 3 seeds" in text and "✓ shown" in text
    assert "joined by straight lines" in text and "Student's t" in text
    assert "Where an interval has an asterisk the cell has a single seed" in text
    assert "cartl run study.toml --only 'AT, neft, k=2'" in text
    assert "AT, neft, k=3 3 failed" in text


def test_that_the_embedded_study_is_the_one_that_was_made(files: dict[str, str]) -> None:
    page = Page(files["report.html"])
    (link,) = page.attributes("href")
    toml = base64.b64decode(link.partition("base64,")[2]).decode()
    assert page.attributes("download") == ["study.toml"]
    study = parse_study(toml)
    assert json.loads(files["report.json"])["toml"] == toml
    assert {(run.name, run.seed) for run in study.runs} >= {
        (f"AT, neft, k={k}", seed) for k in (1, 2, 3) for seed in (0, 1, 2)
    }
    assert study.runs[0].name == "AT", "a run stands after the one that it starts from"
    assert study.comparisons == [QUESTION]


def test_that_csv_and_json_hold_the_same_figures(files: dict[str, str]) -> None:
    table = list(csv.DictReader(io.StringIO(files["report.csv"])))
    (evaluation,) = json.loads(files["report.json"])["evaluations"]
    assert len(table) == len(evaluation["cells"]) == 7
    for row, cell in zip(table, evaluation["cells"], strict=True):
        assert (row["cell"], row["line"], row["k"]) == (cell["name"], cell["line"], str(cell["k"] or ""))
        assert row["seeds"] == " ".join(map(str, cell["seeds"]))
        for kind in ("clean", "robust"):
            found = cell[f"{kind}_accuracy"]
            assert float(row[f"{kind}_accuracy"]) == found["mean"]
            assert float(row[f"{kind}_low"]) == found["low"]
            assert float(row[f"{kind}_high"]) == found["high"]
        assert bool(int(row["pareto"])) == cell["pareto"] and row["command"] == cell["command"]
    runs = {row["run"]: row for row in csv.DictReader(io.StringIO(files["runs.csv"]))}
    told = {run["id"]: run for cell in evaluation["cells"] for run in cell["runs"]}
    assert len(runs) == len(told) + 3 + 1, "the three pre-trainings and the failed run are listed too"
    for name, run in told.items():
        assert float(runs[name]["robust_accuracy"]) == run["result"]["robust_accuracy"]["value"]
        assert runs[name]["started_from"] == run["started_from"]
    assert [row["reason"] for row in runs.values() if row["state"] == "failed"] == [
        "the <i>loss</i> is no number"
    ]


def test_that_json_tells_the_comparison_with_its_seeds_and_how(files: dict[str, str]) -> None:
    (answer,) = json.loads(files["report.json"])["comparisons"]
    assert answer["verdict"] == "shown" and [pair["seed"] for pair in answer["pairs"]] == [0, 1, 2]
    mean = sum(pair["other"] - pair["baseline"] for pair in answer["pairs"]) / 3
    assert answer["difference"]["mean"] == pytest.approx(mean)
    assert "nothing is extrapolated" in answer["how"]


def test_that_shared_settings_are_told_once_and_the_others_by_cell(files: dict[str, str]) -> None:
    text = Page(files["report.html"]).text
    shared, own = text.split("Where the cells differ")
    assert "[finetuning.batch_norm]" in shared and "num_finetuned_blocks" not in shared.split("Settings")[-1]
    row = next(line for line in own.splitlines() if 'finetuning.method = "neft"' in line)
    assert "finetuning.spectral_bound = 0.4" in row and "epochs" not in row


@pytest.mark.parametrize("kind", ["html", "csv", "json", "svg"])
def test_that_a_single_file_can_be_asked_for(tmp_path: Path, kind: str) -> None:
    runs = study_of_two_lines()
    written = write_report("Study", by_id(runs), tmp_path / "new" / f"mine.{kind}")
    assert [path.name for path in (tmp_path / "new").iterdir()] == [f"mine.{kind}"] == [written.name]


def test_that_another_kind_of_file_and_a_study_without_runs_are_refused(tmp_path: Path) -> None:
    runs = by_id(study_of_two_lines())
    with pytest.raises(StoreError, match=r"not in \.pdf; print the \.html to PDF"):
        write_report("Study", runs, tmp_path / "report.pdf")
    with pytest.raises(StoreError, match="no run of the workspace belongs to a study 'Nothing'"):
        write_report("Nothing", runs, tmp_path / "report")
    assert list(tmp_path.iterdir()) == []


def test_that_a_study_without_results_gives_a_page_that_says_so(tmp_path: Path) -> None:
    runs = [run_info(pretrained(), state="failed", reason="out of memory")]
    found = made(runs, tmp_path / "report")
    assert "nothing to compare" in found["report.html"] and "out of memory" in found["report.html"]
    assert "trade-off.svg" not in found and json.loads(found["report.json"])["evaluations"] == []


def test_that_a_study_given_is_embedded_word_for_word_unless_the_runs_have_other_settings(
    tmp_path: Path,
) -> None:
    configs = [pretrained(), transferred("A, k=4")]
    source = run_info(configs[0])
    runs = [source, run_info(configs[1], (0.5, 0.3), parent=source.id)]
    study = StudyConfig(title="Study", description="As written.", runs=configs)
    given = StudySource(study, "# by hand\n" + dump_study(study), ("mine.toml",), "mine.toml")
    own = made(runs, tmp_path / "own", source=given)
    assert json.loads(own["report.json"])["toml"].startswith("# by hand\n")
    assert "cartl run mine.toml --only 'A, k=4'" in Page(own["report.html"]).text
    watched = configs[1].model_copy(update={"inspection": InspectionConfig(probe_size=7)})
    closer = StudySource(study.model_copy(update={"runs": [configs[0], watched]}), "# by hand", ("x",), "x")
    same = made(runs, tmp_path / "watched", source=closer)
    assert json.loads(same["report.json"])["toml"] == "# by hand", (
        "what was measured on the way changes nothing"
    )
    changed = study.model_copy(update={"runs": [configs[0], transferred("A, k=4", epochs=99)]})
    other = made(runs, tmp_path / "other", source=StudySource(changed, "wrong", ("mine.toml",), "mine.toml"))
    remade = parse_study(json.loads(other["report.json"])["toml"])
    assert [run.name for run in remade.runs] == ["AT", "A, k=4"] and remade.runs[1].finetuning == configs[
        1
    ].finetuning
    assert "cartl run study.toml" in Page(other["report.html"]).text


def test_that_versions_are_those_that_the_runs_recorded(tmp_path: Path) -> None:
    runs = []
    for name, torch in (("a", "2.10.0"), ("b", "2.11.0"), ("c", "2.11.0")):
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        folder.journal("machine", device="cpu", threads=1, torch=torch, program="0.1.0")
        runs.append(run_info(transferred(name), (0.5, 0.3), path=str(folder.path)))
    found = machines([*runs, run_info(transferred("d"), (0.5, 0.3))])
    assert [(table["torch"], table["device"], count) for table, count in found] == [
        ("2.10.0", "cpu", 1), ("2.11.0", "cpu", 2), ("not recorded", "not recorded", 1),
    ]  # fmt: skip
    assert found[0][0]["numpy"] == "not recorded"


def labels(svg: str) -> list[Box]:
    """The places of the labels at the points, from the picture itself."""
    found = []
    for node in ElementTree.fromstring(svg).iter():
        if node.tag.endswith("text") and re.fullmatch(r"k=\d+", node.text or ""):
            x, y, width = float(node.get("x", "0")), float(node.get("y", "0")), 6.0 * len(node.text or "")
            found.append(Box(x - width / 2, y - 9, x + width / 2, y + 1))
    return found


def test_that_labels_of_points_that_lie_close_together_do_not_cover_each_other() -> None:
    runs = []
    for line in range(4):
        for k in (1, 2, 3):
            config = transferred(f"{line}, k={k}", num_finetuned_blocks=k, epochs=line + 1)
            runs.append(run_info(config, (0.60 + 0.02 * k + 0.002 * line, 0.3 - 0.02 * k - 0.001 * line)))
    (evaluation,) = results_of(runs, by_id(runs)).evaluations
    boxes = labels(trade_off_svg(evaluation))
    assert len(boxes) == 12
    assert all(first.shared(second) == 0 for first, second in itertools.combinations(boxes, 2))


@given(*[st.floats(-3, 3)] * 4)
def test_that_a_line_crosses_a_box_exactly_if_one_of_its_points_lies_inside(
    x0: float, y0: float, x1: float, y1: float
) -> None:
    found = Box(-1, -1, 1, 1).crossed((x0, y0), (x1, y1))
    parts = np.linspace(0, 1, 5001)
    nearest = np.min(np.maximum(np.abs(x0 + (x1 - x0) * parts), np.abs(y0 + (y1 - y0) * parts)))
    if abs(nearest - 1) > 0.01:  # a step of the sampling could jump over a corner
        assert found == (nearest < 1)


def test_that_equal_points_and_a_single_point_can_be_drawn() -> None:
    for count in (1, 3):
        runs = [run_info(transferred(f"{n}", method="full", epochs=n + 1), (1.0, 0.0)) for n in range(count)]
        (evaluation,) = results_of(runs, by_id(runs)).evaluations
        root = ElementTree.fromstring(trade_off_svg(evaluation))
        numbers = [
            float(value)
            for node in root.iter()
            for name, value in node.items()
            if name in ("cx", "cy", "x", "y")
        ]
        assert numbers and all(0 <= number <= 1000 for number in numbers)


@pytest.mark.parametrize("span", [0.5, 4, 9.99, 10, 37, 100])
def test_that_axes_have_four_to_ten_steps(span: float) -> None:
    step = tick_step(span)
    assert 4 <= span / step <= 10 and f"{step:e}"[0] in "125"


def test_that_other_images_get_a_plot_of_their_own(tmp_path: Path) -> None:
    runs = [
        *study_of_two_lines([0]),
        run_info(transferred("AT, mnist", target={"name": "mnist"}), (0.9, 0.5)),
    ]
    found = made(runs, tmp_path / "report")
    assert {"trade-off.svg", "trade-off-2.svg"} <= set(found)
    assert "mnist" not in found["trade-off.svg"] and "mnist" in found["trade-off-2.svg"]


def test_that_texts_of_all_files_are_made_without_touching_the_disk() -> None:
    runs = study_of_two_lines([0])
    study = StudyConfig(title="Study", runs=[run.config for run in runs])
    source = StudySource(study, dump_study(study), ("demo",), "demo.toml")
    texts = report_files(results_of(runs, by_id(runs), study), source)
    assert "cartl run demo --only" in texts["report.csv"]


def test_that_a_session_writes_the_report_of_its_workspace_or_says_why_not(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    workspace.lock()
    finished = run_info(transferred("A, k=4", start_from="x.safetensors"), (0.5, 0.3))
    workspace.create_run(finished.config, "Mine").write_status("finished", result=finished.result)
    workspace.unlock()
    session = api.Session(tmp_path / "workspace")
    try:
        session.export_report("Mine", tmp_path / "report")
        session.export_report("Other", tmp_path / "report")
        answers = [session.events.get(timeout=30) for _ in range(2)]
    finally:
        session.close()
    assert answers[0] == Exported(str(tmp_path / "report"))
    assert "30.0" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert isinstance(answers[1], RequestFailed) and "'Other'" in answers[1].message


MASKED = AttackWarning(
    "gradient_masking", "Signs of <i>gradient</i> masking", "Square broke 12 images that APGD-T left",
    "Trust the lowest figure & look for what hides the gradient.",
)  # fmt: skip
RADII = {4: 0.52, 8: 0.41, 16: 0.20, 32: 0.0}


def evaluated(run: RunInfo, *, warnings: tuple[AttackWarning, ...] = (), **more: object) -> RunInfo:
    """The run with two single attacks, a sweep over epsilon and over steps, and these warnings."""
    result = run.result
    assert isinstance(result, AttackResult)
    robust = result.robust_accuracy
    told = {
        "members": (
            MemberResult("APGD-CE-100", 860, share(robust.value + 0.04), None, 61.0),
            MemberResult("APGD-T-100", 450, robust, None, 402.0),
        ),
        "sweep": (
            *(SweepResult(radius / 255, 20, share(value)) for radius, value in RADII.items()),
            SweepResult(8 / 255, 100, share(0.39)),
        ),
        "warnings": warnings,
        "notes": ("FAB-T is left out",),
    }
    return replace(run, result=replace(result, **(told | more)))  # type: ignore[arg-type]


@pytest.fixture
def detailed() -> list[RunInfo]:
    """Two seeds of one cell with an evaluation in detail, and a plain cell beside it."""
    first, second = (run_info(transferred("A", seed), (0.86, 0.41 + 0.02 * seed)) for seed in (0, 1))
    plain = run_info(transferred("B", method="full"), (0.9, 0.3))
    return [
        evaluated(first, warnings=(MASKED,)),
        evaluated(second, warnings=(replace(MASKED, evidence="12 of 200 gradients are 0"),)),
        plain,
    ]


def test_that_single_attacks_sweep_and_warnings_of_a_cell_are_means_over_its_seeds(
    detailed: list[RunInfo],
) -> None:
    detail = detail_of(detailed[:2])
    assert detail is not None and detail.worth_telling
    assert [(member.title, member.attacked, member.seconds) for member in detail.members] == [
        ("APGD-CE-100", 860, 61.0), ("APGD-T-100", 450, 402.0),
    ]  # fmt: skip
    assert [member.robust.mean for member in detail.members] == pytest.approx([0.46, 0.42])
    assert {member.robust.over for member in detail.members} == {"seeds"}
    assert [round(255 * point.epsilon) for point in detail.by_epsilon] == [4, 8, 16, 32]
    assert [point.steps for point in detail.by_steps] == [20, 100]
    assert [point.robust.mean for point in detail.by_steps] == pytest.approx([0.41, 0.39])
    (doubt,) = detail.doubts
    assert [(run.config.seed, text) for run, text in doubt.evidence] == [
        (0, "Square broke 12 images that APGD-T left"), (1, "12 of 200 gradients are 0"),
    ]  # fmt: skip
    assert detail.notes == ("FAB-T is left out",)


def test_that_the_headline_takes_its_place_in_a_sweep_that_lacks_it(detailed: list[RunInfo]) -> None:
    result = detailed[0].result
    assert result is not None
    others = tuple(point for point in result.sweep if point.epsilon != 8 / 255)
    detail = detail_of([replace(detailed[0], result=replace(result, sweep=others))])
    assert detail is not None
    assert [round(100 * point.robust.mean) for point in detail.by_epsilon] == [52, 41, 20, 0]
    assert detail.by_steps == ()


def test_that_one_attack_with_one_figure_has_nothing_more_to_tell(detailed: list[RunInfo]) -> None:
    plain = detailed[2]
    alone = (MemberResult("PGD-20", 860, plain.result.robust_accuracy, plain.result.robust_accuracy, 3.0),)  # type: ignore[union-attr]
    same = evaluated(plain, members=alone, sweep=(), notes=(), robust_at_any_step=share(0.3))
    differs = evaluated(plain, members=alone, sweep=(), notes=(), robust_at_any_step=share(0.29))
    found = [detail_of([run]) for run in (plain, same, differs)]
    assert [detail.worth_telling for detail in found if detail] == [False, False, True]
    assert detail_of([run_info(pretrained())]) is None and doubts_of([run_info(pretrained())]) == ()


def test_that_a_sweep_or_kept_examples_split_no_cell() -> None:
    runs = [
        run_info(transferred("A", 0), (0.8, 0.4)),
        run_info(transferred("A", 1, attack={"sweep_epsilon": [0.1], "sweep_steps": [3]}), (0.8, 0.4)),
        run_info(transferred("A", 2, attack={"examples": 0, "batch_size": 10}), (0.8, 0.4)),
    ]
    (cell,) = results_of(runs, by_id(runs)).cells
    assert cell.seeds == (0, 1, 2)


def test_that_the_page_tells_an_evaluation_in_detail_and_marks_doubtful_figures(
    detailed: list[RunInfo], tmp_path: Path
) -> None:
    question = ComparisonConfig(title="A keeps more", baseline="B", other="A", measure="robust_accuracy")
    page = Page(made(detailed, tmp_path / "report", comparisons=[question])["report.html"])
    text = " ".join(page.text.split())
    assert "! 42.0 " in text and "! 30.0 " not in text
    assert [attributes.get("title") for tag, attributes in page.tags if tag == "abbr"] == [MASKED.title]
    assert "There are reasons to doubt this figure" in text
    assert "APGD-CE-100 860 46.0 33.3 to 58.7 1 min 01 s" in text
    assert "APGD-T-100 450 42.0 29.3 to 54.7 6 min 42 s" in text
    head = "Robust % by epsilon cell0 (clean)4/2558/25516/25532/255 A 86.0"
    assert head in text.replace("86.0 to 86.0", ""), text
    assert "Robust % by steps cell20100 A 41.0" in text
    assert "A, seed 0: Square broke 12 images" in text and "A, seed 1: 12 of 200 gradients are 0" in text
    assert f"What to do: {MASKED.advice}" in text and "Note: FAB-T is left out" in text
    assert f"Note: figures behind this carry warnings ({MASKED.title}), see the evaluation in detail." in text
    assert not {"script", "i", "img", "link"} & {tag for tag, _ in page.tags}


def test_that_a_page_without_details_has_no_section_for_them(files: dict[str, str]) -> None:
    assert "Evaluation in detail" not in files["report.html"]
    assert "reasons to doubt" not in files["report.html"]


def test_that_the_sweep_is_drawn_with_its_intervals_where_the_axes_say(
    detailed: list[RunInfo], tmp_path: Path
) -> None:
    one = [detailed[0]]
    root = ElementTree.fromstring(made(one, tmp_path / "report")["sweep.svg"])
    titles = [node.text or "" for node in root.iter() if node.tag.endswith("title")]
    assert titles[0] == "Robust accuracy against epsilon, PGD-20, Linf 8/255, 1 restart"
    low, high = 100 * share(0.41).low, 100 * share(0.41).high
    assert f"A: epsilon 8/255 41.0 % ({low:.1f} to {high:.1f})" in titles
    places = [
        (float(node.get("cx", "")), float(node.get("cy", "")))
        for node in root.iter()
        if node.tag.endswith("circle")
    ]
    drawn = places[:5]  # the sixth stands in the legend
    assert len(places) == 6 and drawn == sorted(drawn)
    texts = {node.text: node for node in root.iter() if node.tag.endswith("text")}
    # Places of ticks give the scale of either axis; those of the points must follow it.
    across = [float(texts[tick].get("x", "")) for tick in ("10", "30")]
    found = [10 + (x - across[0]) / (across[1] - across[0]) * 20 for x, _ in drawn]
    assert found == pytest.approx([0, 4, 8, 16, 32], abs=0.02)
    upward = [float(texts[tick].get("y", "")) for tick in ("20", "60")]
    shares = [20 + (y + 4 - upward[0]) / (upward[1] - upward[0]) * 40 for _, y in drawn]
    assert shares == pytest.approx([86, 52, 41, 20, 0], abs=0.1)
    bars = [
        node.get("d", "")
        for node in root.iter()
        if node.tag.endswith("path") and "V" in node.get("d", "") and "H" not in node.get("d", "")
    ]
    assert len(bars) == 5


def test_that_more_cells_than_colours_take_several_pictures(detailed: list[RunInfo], tmp_path: Path) -> None:
    runs = [
        evaluated(run_info(transferred(f"cell {number}", method="full", epochs=number + 1), (0.8, 0.4)))
        for number in range(8)
    ]
    found = made(runs, tmp_path / "report")
    assert found["sweep.svg"].count("cell 7") == 0 and "cell 7" in found["sweep-2.svg"]
    assert found["report.html"].count('class="sweep"') == 2


def test_that_csv_and_json_hold_single_attacks_sweep_and_warnings(
    detailed: list[RunInfo], tmp_path: Path
) -> None:
    found = made(detailed, tmp_path / "report")
    table = {name: list(csv.DictReader(io.StringIO(found[name]))) for name in found if name.endswith(".csv")}
    assert [(row["seed"], row["number"], row["attack"], row["attacked"]) for row in table["attacks.csv"]] == [
        ("0", "1", "APGD-CE-100", "860"), ("0", "2", "APGD-T-100", "450"),
        ("1", "1", "APGD-CE-100", "860"), ("1", "2", "APGD-T-100", "450"),
    ]  # fmt: skip
    assert len(table["sweep.csv"]) == 10 and float(table["sweep.csv"][0]["epsilon"]) == 4 / 255
    assert [row["evidence"] for row in table["warnings.csv"]] == [
        "Square broke 12 images that APGD-T left", "12 of 200 gradients are 0",
    ]  # fmt: skip
    assert [row["warnings"] for row in table["report.csv"]] == ["gradient_masking", ""]
    assert [row["warnings"] for row in table["runs.csv"]] == ["gradient_masking", "gradient_masking", ""]
    (evaluation,) = json.loads(found["report.json"])["evaluations"]
    result = evaluation["cells"][0]["runs"][0]["result"]
    assert result["members"][1]["robust_accuracy"]["value"] == 0.41 and result["images"] == 1000
    assert [point["steps"] for point in result["sweep"]] == [20, 20, 20, 20, 100]
    assert result["warnings"][0]["advice"] == MASKED.advice and result["notes"] == ["FAB-T is left out"]
