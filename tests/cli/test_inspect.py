"""`cartl inspect`: what is told, compared and written of a network, from invented numbers and from networks looked at."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from engine import api
from engine.cli.inspecting import WIDTH, comparison_text, inspection_text
from engine.config import AttackConfig, RunConfig
from engine.errors import CartlError, StoreError
from engine.events import RunInfo, RunRecord, StageLayout
from engine.report.inspection import (
    DIFFERENCES,
    Inspection,
    comparison_as_json,
    inspection_as_json,
    last_look,
    write_inspection,
)
from engine.store.run_file import RunFile
from engine.store.run_reader import read_tables
from engine.store.schema import BOUNDS, LAYERS, PROBE, STAGE_TABLES, tail
from engine.store.tables import write_tables
from engine.store.workspace import Workspace
from tests.cli.conftest import Cartl, Made
from tests.engine.authors_files import as_authors
from tests.engine.small import small_model, warm
from tests.engine.study_results import pretrained, transferred

BLOCKS = ("group 1, block 1", "group 2, block 1", "final norm", "classifier")
LAYERS_OF = ("stem", "blocks.1.conv1", "blocks.2.conv1", "blocks.4")
ROWS = {"layers": 2, "bounds": 3, "profile": len(LAYERS_OF), "probe": 12, "examples": 3}


def invented(
    seed: int = 0,
    blocks: tuple[str, ...] = BLOCKS,
    layers: tuple[str, ...] = LAYERS_OF,
    *,
    large: bool = False,
) -> Inspection:
    """A look at a network that never was: every column of the schema, with bands that are in order."""
    draw = np.random.default_rng(seed)
    layout = StageLayout(
        stage="finetuning",
        title="Fine-tuning (NEFT, beta=0.4, k=2) on digits",
        block_names=blocks,
        layer_names=layers,
        layer_blocks=tuple(min(number, len(blocks)) for number in range(len(layers))),
        layer_kinds=("conv",) * (len(layers) - 1) + ("linear",),
        layer_shapes=("3x3, 160 to 160, stride 2",) * (len(layers) - 1) + ("160 to 10",),
        layer_parameters=(230_400,) * len(layers),
        boundary=2,
        image_size=4,
        probe="PGD-7, Linf 8/255, on 12 held-out images",
        class_names=("0", "1"),
    )
    tables = {}
    for table in STAGE_TABLES["finetuning"]:
        count = ROWS.get(table.name, 0)
        columns = {}
        for column in table.columns:
            shape = count, *tail(layout, column)
            values = draw.uniform(0.1, 1, shape) * (1e5 if large else 1)
            if column.name.endswith(("_upper", "_estimate")):
                # 4, 8 and 12, and half of that: above all that is drawn, and telling of which row it is.
                rows = np.arange(1, count + 1).reshape(-1, *[1] * (len(shape) - 1))
                values = np.broadcast_to(rows * (4 if column.name.endswith("_upper") else 2), shape)
            columns[column.name] = values.astype(column.dtype)
        tables[table.name] = columns
    tables["bounds"]["violations"][:] = 0
    tables["probe"]["sample"][:] = np.arange(12) + 100
    tables["examples"]["sample"][:] = [105, 100, 111]
    run = RunInfo(
        "transferred-1", "transferred", "Tiny", "/runs/transferred-1", "finished",
        RunConfig(name="transferred", start_from="x.safetensors", attack=AttackConfig()),
    )  # fmt: skip
    return Inspection(RunRecord(run, {"finetuning": layout}, {"finetuning": tables}), "finetuning")


def table_of(inspection: Inspection, name: str) -> dict[str, np.ndarray]:
    return inspection.record.tables["finetuning"][name]  # type: ignore[index,return-value]


def without(inspection: Inspection, *tables: str) -> Inspection:
    """The same look without some of its tables, as runs of older versions have it."""
    kept = {name: value for name, value in inspection.tables.items() if name not in tables}
    return replace(inspection, record=replace(inspection.record, tables={"finetuning": kept}))


def rows_of(text: str, column: str) -> list[list[str]]:
    """Head and cells of the first printed table that has a column; columns are two blanks apart."""
    lines = text.splitlines()
    at = next(
        index
        for index, line in enumerate(lines)
        if column in re.split("  +", line.strip()) and lines[index + 1].startswith("--")
    )
    spans = [match.span() for match in re.finditer("-+", lines[at + 1])]
    end = next((index for index, line in enumerate(lines[at:], at) if not line), len(lines))
    return [[line[start:stop].strip() for start, stop in spans] for line in [lines[at], *lines[at + 2 : end]]]


def test_that_json_holds_the_newest_value_of_every_column_and_null_for_what_is_no_number() -> None:
    inspection = invented()
    table_of(inspection, "layers")["cka"][-1, 1] = np.nan
    table_of(inspection, "bounds")["layer_upper"][-1, 2] = np.inf
    found = json.loads(json.dumps(inspection_as_json(inspection), allow_nan=False))
    assert found["blocks"][1]["cka"] is None and found["layers"][2]["upper"] is None
    compared = 0
    for table in (LAYERS, BOUNDS):
        for column in table.columns:
            values = table_of(inspection, table.name)[column.name][-1]
            if column.per == "row":
                continue
            rows, key = found[f"{column.per}s"], column.name.removeprefix(f"{column.per}_")
            for row, value in zip(rows, values, strict=True):
                assert row[key] == (float(value) if np.isfinite(value) else None), column.name
                compared += 1
    assert compared > 100
    assert [block["frozen"] for block in found["blocks"]] == [True, True, False, False]
    assert [layer["block"] for layer in found["layers"]] == [0, 1, 2, 3]
    assert found["network"]["log10_upper"] == 12, "that of the third and last row"
    assert found["run"] == "transferred-1" and found["file"] is None
    assert [image["sample"] for image in found["images"]] == [*range(100, 112)]
    assert set(found["images"][0]) == {column.name for column in PROBE.columns} | {
        "clean_confidence", "adversarial_confidence",
    }  # fmt: skip
    told = {image["sample"]: image["clean_confidence"] for image in found["images"]}
    kept = table_of(inspection, "examples")["clean_confidence"]
    assert [told[105], told[100], told[111], told[101]] == [*kept.tolist(), None]
    assert {insight["code"] for insight in found["insights"]} & {"largest_bound", "network_bound"}


@pytest.mark.parametrize("large", [False, True], ids=["usual numbers", "large numbers"])
@pytest.mark.parametrize("blocks", [BLOCKS, tuple(f"features.denseblock3.denselayer{n}" for n in range(4))])
def test_that_every_table_fits_the_terminal_and_tells_names_by_their_end(
    blocks: tuple[str, ...], large: bool
) -> None:
    inspection = invented(blocks=blocks, layers=(*(f"{name}.conv2" for name in blocks),), large=large)
    found = inspection_as_json(inspection)
    pair = comparison_as_json(inspection, replace(inspection, now=True))
    for text in (inspection_text(found, layers=True), comparison_text(pair, layers=True)):
        assert max(map(len, text.splitlines())) <= WIDTH
        _, *rows = rows_of(text, "block")
        names = [row[0] for row in rows if row[0]]
        assert len(set(names)) == 4
        assert all(
            f"{number}: {full}".startswith(name.split("...")[0]) and full.endswith(name.split("...")[-1][-8:])
            for number, (full, name) in enumerate(zip(blocks, names, strict=True), start=1)
        )


def test_that_numbers_have_three_digits_and_what_was_not_measured_is_a_dash() -> None:
    inspection = invented()
    layers = table_of(inspection, "layers")
    layers["distance"][-1], layers["distance_errors"][-1] = 0.123456, 0.0123456
    layers["cosine"][-1, 0], layers["cka"][-1] = -0.98765, np.nan
    table_of(inspection, "bounds")["block_nominal"][-1] = 1234567
    text = inspection_text(inspection_as_json(inspection), layers=True)
    head, first, *_ = rows_of(text, "block")
    told = dict(zip(head, first, strict=True))
    assert told["distance"] == "0.123 +- 0.012" and told["cosine"] == "-0.988" and told["CKA"] == "-"
    assert (told["lower"], told["estimate"], told["upper"]) != ("-", "-", "-")
    assert (told["estimate"], told["upper"], told["nominal"]) == ("6", "12", "1.23e6")
    assert "as log10: lower" in text and "estimate 6, upper 12" in text
    assert "certified" in text and "no bound" in text

    old = inspection_text(inspection_as_json(without(inspection, "bounds", "probe", "examples")), layers=True)
    head, first, *_ = rows_of(old, "block")
    told = dict(zip(head, first, strict=True))
    assert told["distance"] == "0.123 +- 0.012"
    assert {told[name] for name in ("lower", "estimate", "upper", "nominal")} == {"-"}
    assert "as log10: lower -, estimate -, upper -" in old
    head, first, *_ = rows_of(old, "sigma")
    reshaped = float(layers["layer_spectral_norm"][-1, 0])
    assert dict(zip(head, first, strict=True))["reshaped"] == f"{reshaped:.3g}"


def test_that_bounds_that_contradict_each_other_are_named_before_all_tables() -> None:
    inspection = invented()
    bounds = table_of(inspection, "bounds")
    bounds["violations"][-1] = 2
    bounds["block_lower"][-1, 2] = 20
    bounds["layer_unfolded_estimate"][-1, 1] = 13
    # So little is rounding, and was not counted.
    bounds["layer_upper"][-1, 0] = np.nextafter(bounds["layer_estimate"][-1, 0], np.float32(0))
    text = inspection_text(inspection_as_json(inspection), layers=False)
    warning = " ".join(text.split("\n\n")[0].split())
    assert warning.endswith(
        "! 2 bounds contradict what was found below them; do not rely on: block 3, final norm (lower 20, estimate 6, "
        "upper 12); layer blocks.1.conv1 without its batch norm (lower "
        f"{float(bounds['layer_unfolded_lower'][-1, 1]):.3g}, estimate 13, upper 12)"
    )


def test_that_two_networks_differ_in_distances_and_by_factors_in_bounds() -> None:
    first = invented(1)
    second = replace(invented(2, ("other", *BLOCKS[1:]), LAYERS_OF[:-1]), now=True)
    found = comparison_as_json(first, second)
    assert [row["name"] for row in found["blocks"]] == [*BLOCKS[1:]]
    assert found["unmatched"] == {
        "a": {"blocks": [BLOCKS[0]], "layers": [LAYERS_OF[-1]]}, "b": {"blocks": ["other"], "layers": []},
    }  # fmt: skip
    for table, column in (
        ("layers", "distance"),
        ("layers", "cka"),
        ("bounds", "block_lower"),
        ("bounds", "block_nominal"),
    ):
        a, b = (float(table_of(side, table)[column][-1, 1]) for side in (first, second))
        change = found["blocks"][0]["change"][column.removeprefix("block_")]
        assert change == pytest.approx(b - a if column in DIFFERENCES else b / a)
    a, b = (float(table_of(side, "bounds")["log10_lower"][-1]) for side in (first, second))
    assert found["network"]["change"]["log10_lower"] == pytest.approx(b - a)

    text = comparison_text(found, layers=True)
    assert f"Only A has the blocks {BLOCKS[0]}" in text and "Only B has the blocks other" in text
    head, a_row, b_row, change_row, *_ = rows_of(text, "block")
    columns = {name: [row[head.index(name)] for row in (a_row, b_row, change_row)] for name in head}
    assert columns["of"] == ["A", "B", "B:A"] and columns["block"] == [f"2: {BLOCKS[1]}", "", ""]
    assert float(columns["distance"][2]) == pytest.approx(
        float(columns["distance"][1]) - float(columns["distance"][0]), abs=2e-3
    )
    assert columns["distance"][2][0] in "+-" and columns["lower"][2][0] == "x"
    assert columns["upper"] == ["12", "12", "x1"]
    assert "attacked in other ways" not in text


def test_that_unequal_attacks_are_told_and_networks_without_a_common_name_are_refused() -> None:
    first = invented()
    layout = replace(first.record.layouts["finetuning"], probe="PGD-20, Linf 8/255, on 256 test images")
    other = replace(first, record=replace(first.record, layouts={"finetuning": layout}))
    assert "! A and B were attacked in other ways" in comparison_text(
        comparison_as_json(first, other), layers=False
    )
    strange = invented(0, ("a", "b", "c", "d"), ("e", "f", "g", "h"))
    with pytest.raises(
        CartlError, match=r"share none: transferred has the blocks group 1.*; transferred has the blocks a, b"
    ):
        comparison_as_json(first, strange)
    with pytest.raises(CartlError, match="No layer of 'transferred' has been measured in its transfer yet"):
        inspection_as_json(without(first, "layers"))


def test_that_blocks_of_one_name_are_matched_in_their_order() -> None:
    first, second = invented(1, ("block",) * 3), invented(2, ("block",) * 2)
    found = comparison_as_json(first, second)
    assert [(row["a"]["block"], row["b"]["block"]) for row in found["blocks"]] == [(1, 1), (2, 2)]
    assert found["unmatched"]["a"]["blocks"] == ["block"]


def assert_tables_equal(found: Mapping[str, Mapping[str, np.ndarray]], inspection: Inspection) -> None:
    expected = last_look(inspection).tables["finetuning"]
    for name, columns in found.items():
        if name in expected:
            for column, values in columns.items():
                np.testing.assert_array_equal(values, expected[name][column], err_msg=f"{name}/{column}")
        else:
            assert not any(map(len, columns.values())), name
    assert len(expected["layers"]["step"]) == len(expected["bounds"]["step"]) == 1


def test_that_hdf5_is_read_back_as_a_run_and_plotted_by_viewers(tmp_path: Path) -> None:
    nxdata, h5py = pytest.importorskip("silx.io.nxdata"), pytest.importorskip("h5py")
    inspection, path = invented(), tmp_path / "look.h5"
    assert write_inspection(inspection, path) == path
    layouts, tables = read_tables(path)
    assert layouts == inspection.record.layouts
    assert_tables_equal(tables["finetuning"], inspection)
    assert [file.name for file in tmp_path.iterdir()] == ["look.h5"]
    with h5py.File(path, "r") as file:
        for group in ("layer_bound", "block_bound", "distance_profile", "relative_distance"):
            assert nxdata.NXdata(file[f"/run/finetuning/{group}"]).is_valid, group


def test_that_a_run_of_an_older_version_is_written_too(tmp_path: Path) -> None:
    inspection = without(invented(), "bounds", "profile", "probe", "examples")
    layout = replace(
        inspection.record.layouts["finetuning"], image_size=0, layer_kinds=(), layer_shapes=(), layer_parameters=()
    )  # fmt: skip
    old = replace(inspection, record=replace(inspection.record, layouts={"finetuning": layout}))
    write_inspection(old, tmp_path / "old.h5")
    layouts, tables = read_tables(tmp_path / "old.h5")
    assert layouts == {"finetuning": layout} and not len(tables["finetuning"]["bounds"]["step"])
    np.testing.assert_array_equal(
        tables["finetuning"]["layers"]["distance"], table_of(old, "layers")["distance"][-1:]
    )
    assert {layer["kind"] for layer in inspection_as_json(old)["layers"]} == {None}


def test_that_csv_has_a_column_a_block_or_layer_under_their_names(tmp_path: Path) -> None:
    names = tuple(f"features.{number}.conv" for number in range(150))
    inspection = invented(layers=names)
    write_inspection(inspection, tmp_path / "tables")
    files = {path.stem: path for path in (tmp_path / "tables").iterdir()}
    assert set(files) == {
        f"finetuning-{name}" for name in ("layers", "bounds", "profile", "probe", "examples")
    }
    (row,) = csv.DictReader(files["finetuning-bounds"].read_text("utf-8").splitlines())
    upper = table_of(inspection, "bounds")["layer_estimate"]
    assert [float(row[f"layer_estimate {name}"]) for name in names] == upper[-1].tolist()
    assert len(row) == len(set(row)) > 8 * 150
    examples = list(csv.DictReader(files["finetuning-examples"].read_text("utf-8").splitlines()))
    assert [row["sample"] for row in examples] == ["105", "100", "111"] and "difference" not in examples[0]

    everything = write_tables(inspection.record, tmp_path / "all")
    bounds = next(path for path in everything if path.stem == "finetuning-bounds")
    assert len(bounds.read_text("utf-8").splitlines()) == 1 + ROWS["bounds"], "a run keeps all its rows"


def test_that_json_and_comparisons_are_written_as_they_are_told(tmp_path: Path) -> None:
    first, second = invented(1), invented(2, BLOCKS, LAYERS_OF[1:])
    write_inspection(first, tmp_path / "new" / "a.json")
    assert json.loads((tmp_path / "new" / "a.json").read_text("utf-8")) == inspection_as_json(first)
    for name in ("c.json", "c.csv"):
        write_inspection(first, tmp_path / name, other=second)
    found = comparison_as_json(first, second)
    assert json.loads((tmp_path / "c.json").read_text("utf-8")) == found
    rows = list(csv.DictReader((tmp_path / "c.csv").read_text("utf-8").splitlines()))
    told = {(row["place"], row["name"], row["quantity"]): row for row in rows}
    assert {row["place"] for row in rows} == {"network", "block", "layer"}
    (block,) = [row for row in found["blocks"] if row["name"] == "final norm"]
    row = told["block", "final norm", "lower"]
    assert [float(row[key]) for key in ("a", "b", "change")] == [
        block["a"]["lower"], block["b"]["lower"], block["change"]["lower"],
    ]  # fmt: skip
    assert row["how"] == "ratio" and told["network", "", "log10_upper"]["how"] == "difference"


@pytest.mark.parametrize("kind", ["look.json", "look.h5", "tables"])
def test_that_what_is_there_is_replaced_only_on_demand(tmp_path: Path, kind: str) -> None:
    target = tmp_path / kind
    write_inspection(invented(1), target)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    with pytest.raises(StoreError, match="exists; name another place, or replace it with --force"):
        write_inspection(invented(2), target)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == kept
    write_inspection(invented(2), target, overwrite=True)
    now = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert now.keys() == kept.keys() and all(now[path] != kept[path] for path in kept)


@pytest.mark.parametrize(
    ("name", "compared", "expected"),
    [
        ("look.xlsx", False, "an inspection is written to a folder, .json or .h5, not to .xlsx"),
        ("look.csv", False, "an inspection is written to a folder, .json or .h5, not to .csv"),
        ("look.h5", True, "a comparison is written to .json or .csv, not to .h5"),
        ("folder", True, "a comparison is written to .json or .csv, not to a folder"),
    ],
)
def test_that_files_of_other_kinds_are_refused(
    tmp_path: Path, name: str, compared: bool, expected: str
) -> None:
    with pytest.raises(StoreError, match=expected):
        write_inspection(invented(), tmp_path / name, other=invented(2) if compared else None)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of runs that were never made: A and B with looks, one without any, and one that only attacked."""
    root = tmp_path_factory.mktemp("stored")
    workspace = Workspace(root)
    workspace.lock()
    start = {"start_from": "/elsewhere/x.safetensors"}
    configs = {
        "A": transferred("A", **start),
        "B": transferred("B", **start),
        "new": pretrained("new"),
        "attacked": RunConfig(name="attacked", attack=AttackConfig(), **start),
    }
    folders = {name: workspace.create_run(config, "Stored") for name, config in configs.items()}
    for number, name in enumerate("AB", start=1):
        record = invented(number).record
        RunFile.create(
            folders[name].metrics_path, tuple(record.layouts.values()), title=name, config_toml="",
            program_version="1", carry_over=record.tables,
        ).close()  # fmt: skip
    layout = StageLayout("pretraining", "AT", block_names=BLOCKS, layer_names=("stem",), layer_blocks=(0,))
    RunFile.create(
        folders["new"].metrics_path, (layout,), title="new", config_toml="", program_version="1"
    ).close()
    workspace.unlock()
    return root


def test_that_a_run_is_told_as_it_was_last_measured_and_two_are_compared(
    cartl: Cartl, stored: Path, tmp_path: Path
) -> None:
    place = ("--workspace", stored)
    found = cartl("inspect", "A", "--json", *place)
    assert found.code == 0, found.err
    assert found.json["run"].startswith("a-")
    assert found.json["blocks"] == json.loads(json.dumps(inspection_as_json(invented(1))["blocks"]))
    text = cartl("inspect", "A", "--layers", *place).out
    assert text.splitlines()[0].startswith("A: Fine-tuning (NEFT, beta=0.4, k=2) on digits, epoch 0.")
    assert [row[1] for row in rows_of(text, "frozen")[1:]] == ["yes", "yes", "no", "no"]
    assert [row[0] for row in rows_of(text, "shape")[1:]] == [*LAYERS_OF]
    assert "parameters" not in cartl("inspect", "A", *place).out

    path = tmp_path / "change.json"
    pair = cartl("inspect", "A", "B", "--json", "--to", path, *place)
    assert pair.code == 0, pair.err
    assert json.loads(path.read_text("utf-8")) | {"written": str(path)} == pair.json
    expected = comparison_as_json(invented(1), invented(2))
    assert pair.json["layers"] == json.loads(json.dumps(expected["layers"]))
    written = cartl("inspect", "A", "--to", tmp_path / "look.h5", *place)
    assert written.out.splitlines()[-1] == f"Written: {tmp_path / 'look.h5'}"
    assert_tables_equal(read_tables(tmp_path / "look.h5")[1]["finetuning"], invented(1))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("new",), "No layer of 'new' has been measured in its pre-training yet"),
        (("attacked",), "trained nothing, so no layer was measured; it started from /elsewhere/x.safetensors"),
        (("A", "--stage", "pretraining"), "A has no pretraining that was begun."),
        (("A", "nothing"), "There is no run 'nothing' here."),
        (("A", "--epsilon", "4/255"), "--epsilon is for weights files, and with --now for runs;"),
        (("A", "--data", "digits"), "--data is for weights files, and with --now for runs;"),
        (("A", "B", "--images", "8"), "--images is for weights files, and with --now for runs;"),
        (("A", "--now", "--images", "0"), "--images needs at least 1 image, got 0."),
        (("A", "--architecture", "resnet18"), "--architecture is for checkpoint files of other programs, not for a run."),
        (("FILE", "--now"), "--now is for runs;"),
        (("FILE", "--stage", "finetuning"), "--stage is for runs;"),
        (("FILE", "--data-test-size", "5"), "need their name: --data"),
        (("FILE", "--attack", "fgsm", "--steps", "3"), "--steps has no effect on FGSM"),
        (("FILE", "--mean", "0", "0", "0", "--std", "1", "1", "1"), "needs the images to attack it on: --data"),
        (("FILE",), "model.pt is empty"),
        (("FILE", "--data", "digits", "--attack", "autoattack"), "one attack on the network itself, not with AutoAttack"),
        (("new", "--now"), "new has no weights yet"),
        (("A", "--now", "--stage", "pretraining"), "A has no pretraining."),
        (("A", "--force"), "--force replaces what --to names; name it."),
        (("A", "--to", "FILE"), "an inspection is written to a folder, .json or .h5, not to .pt"),
        (("A", "B", "--to", "x.h5"), "a comparison is written to .json or .csv, not to .h5"),
        (("A", "B", "C"), "unrecognized arguments: C"),
    ],
)  # fmt: skip
def test_that_what_cannot_be_told_or_has_no_effect_is_refused_in_one_sentence(
    cartl: Cartl, stored: Path, tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(b"")
    answer = cartl("inspect", *(file if word == "FILE" else word for word in words), "--workspace", stored)
    assert answer.code in (1, 2) and answer.out == ""
    assert expected in answer.err and "Traceback" not in answer.err


def weights_of(made: Made) -> Path:
    return Path(made.runs[1]["path"]) / "weights" / "finetuning.safetensors"


def test_that_a_run_tells_frozen_from_trained_blocks_while_it_trained_and_now(
    cartl: Cartl, made: Made
) -> None:
    place = ("--workspace", made.workspace)
    found = cartl("inspect", "transferred", "--json", *place).json
    assert [block["block"] for block in found["blocks"]] == [1, 2, 3, 4, 5]
    assert [block["frozen"] for block in found["blocks"]] == [True, True, False, False, False]
    assert all(block["distance"] > 0 for block in found["blocks"])
    assert {layer["block"] for layer in found["layers"]} <= set(range(6))
    assert found["measured"]["distances"]["epoch"] == 1

    words = ("--steps", 2, "--images", 16, "--json", *place)
    now = cartl("inspect", "transferred", "--now", *words)
    assert now.code == 0, now.err
    assert "Inspecting transferred" in now.err and now.json["measured"] is None
    assert now.json["probe"] == "PGD-2, Linf 8/255, 1 restart on 16 test images of digits"
    of_file = cartl("inspect", weights_of(made), *words)
    assert of_file.json["file"] == str(weights_of(made)) and of_file.json["run"] is None
    for key in ("blocks", "layers", "network", "images"):
        assert of_file.json[key] == now.json[key], key
    for ours, theirs in zip(now.json["layers"], found["layers"], strict=True):
        assert ours["spectral_norm"] == pytest.approx(theirs["spectral_norm"], rel=1e-3)
        assert ours["upper"] >= ours["estimate"] >= ours["lower"] > 0
    other = cartl("inspect", weights_of(made), "--data", "letters", *place)
    assert other.code == 1 and "choose the data it was trained on" in other.err


def test_that_a_run_is_compared_with_its_own_weights_file(cartl: Cartl, made: Made) -> None:
    words = ("--steps", 1, "--images", 8, "--json", "--workspace", made.workspace)
    found = cartl("inspect", "transferred", weights_of(made), *words)
    assert found.code == 0, found.err
    assert not any(names for side in found.json["unmatched"].values() for names in side.values())
    changes = [layer["change"]["spectral_norm"] for layer in found.json["layers"]]
    assert changes == pytest.approx([1] * len(changes), rel=1e-3)
    assert "! A and B were attacked in other ways" in comparison_text(found.json, layers=True)


def test_that_checkpoints_of_other_programs_are_analysed_and_compared(cartl: Cartl, tmp_path: Path) -> None:
    files = [tmp_path / f"authors-{seed}.safetensors" for seed in (0, 1)]
    for seed, file in enumerate(files):
        save_file(as_authors(warm(small_model(10, seed)), (1, 1, 1)), file)
    images = ("--data", "digits", "--data-image-size", 16, "--data-test-size", 10)
    space = ("--mean", 0.4, 0.5, 0.6, "--std", 0.2, 0.25, 0.3)
    place = ("--json", "--workspace", tmp_path / "workspace")
    attack = ("--steps", 1, "--images", 8)
    pair = cartl("inspect", *files, "--architecture", "cartl", *space, *images, *attack, *place)
    assert pair.code == 0, pair.err
    assert len(pair.json["layers"]) == 10 and pair.json["a"]["notes"]

    own = tmp_path / "own.safetensors"
    assert cartl("import", files[0], *images[:4], *space, "--to", own, *place).code == 0
    imported = cartl("inspect", own, *images, *attack, *place).json
    for mine, theirs in zip(imported["layers"], pair.json["layers"], strict=True):
        for key in ("upper", "estimate", "distance", "cosine"):
            assert mine[key] == pytest.approx(theirs["a"][key], rel=1e-3), (mine["layer"], key)


def test_that_ctrl_c_ends_an_analysis_with_130_and_writes_nothing(
    cartl: Cartl, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = api.Session.inspect

    def interrupted(session: api.Session, target: str, **words: object) -> None:
        begin(session, target, **words)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(api.Session, "inspect", interrupted)
    path = tmp_path / "look.json"
    answer = cartl("inspect", weights_of(made), "--to", path, "--workspace", made.workspace)
    assert (answer.code, answer.out) == (130, "") and "Ending the analysis." in answer.err
    assert not path.exists()
