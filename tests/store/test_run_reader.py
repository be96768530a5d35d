"""Reading runs of unknown origin: damaged, hostile, newer, left behind by a crash."""

from __future__ import annotations

import gzip
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from faults import corrupt, cut
from hypothesis import given
from hypothesis import strategies as st
from store_samples import LAYOUTS, TEXTS, config, make_run_file, rows

from engine.errors import DamagedFileError, StoreError, UntrustedFileError
from engine.events import StageLayout
from engine.store import probe, run_reader, safe_open
from engine.store.run_file import RunFile
from engine.store.run_folder import RunFolder
from engine.store.run_reader import read_record, read_tables
from engine.store.safe_open import lookup3, repair_copy
from engine.store.schema import SCHEMA_VERSION, STAGE_TABLES
from engine.store.workspace import Workspace

GOLDEN = Path(__file__).parent / "golden"
STEPS = "/run/pretraining/loss"


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("run") / "metrics.h5"
    make_run_file(path)
    return path.read_bytes()


@pytest.fixture
def foreign(tmp_path: Path, whole_file: bytes) -> Path:
    """A run file that this process did not write."""
    path = tmp_path / "foreign.h5"
    path.write_bytes(whole_file)
    return path


def check_in_this_process(path: Path) -> str:
    """The child's rules without the child, to try many files quickly."""
    return probe.check_run_file(path)


def test_that_a_run_of_another_process_is_read_after_a_probe(foreign: Path) -> None:
    layouts, tables = read_tables(foreign)
    assert tuple(layouts.values()) == LAYOUTS
    np.testing.assert_array_equal(
        tables["attack"]["samples"]["robust"], rows("attack", "samples", 0, 100)["robust"]
    )


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_that_files_of_every_past_version_can_be_read(tmp_path: Path, version: int) -> None:
    path = tmp_path / "metrics.h5"
    path.write_bytes(gzip.decompress((GOLDEN / f"metrics_v{version}.h5.gz").read_bytes()))
    layouts, tables = read_tables(path)
    assert list(layouts.values()) == [as_in(layout, version) for layout in LAYOUTS]
    for stage, table, count in (
        ("pretraining", "steps", 20),
        ("finetuning", "layers", 5),
        ("attack", "samples", 20),
        *([("attack", "attempts", 20), ("attack", "examples", 3)] if version > 2 else []),
        *([("pretraining", "bounds", 4), ("pretraining", "probe", 3)] if version > 3 else []),
        *([("pretraining", "machine", 3)] if version > 4 else []),
    ):
        (known,) = (entry for entry in STAGE_TABLES[stage] if entry.name == table)  # type: ignore[index]
        expected = rows(stage, table, 0, count)  # type: ignore[arg-type]
        for column in known.columns:
            values = expected[column.name]
            if column.since > version:
                values = np.full(values.shape, np.nan if column.dtype.startswith("f") else -1, column.dtype)
            np.testing.assert_array_equal(tables[stage][table][column.name], values)  # type: ignore[index]
    assert ("attempts" in tables["attack"]) == (version > 2)
    assert ("bounds" in tables["pretraining"]) == (version > 3)
    assert ("machine" in tables["pretraining"]) == (version > 4)


def as_in(layout: StageLayout, version: int) -> StageLayout:
    """A layout with what files of a version knew."""
    if version < 3:
        layout = replace(layout, points=())
    if version < 4:
        layout = replace(layout, layer_kinds=(), layer_shapes=(), layer_parameters=())
        if layout.stage == "attack":
            layout = replace(layout, block_names=(), layer_names=(), layer_blocks=())
    return replace(layout, image_size=0) if version < (3 if layout.stage == "attack" else 4) else layout


def test_that_the_probe_is_asked_before_a_foreign_file_is_opened(
    foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **_: Any) -> None:
        raise UntrustedFileError(f"probed {path.name}")

    monkeypatch.setattr(safe_open, "probe", refuse)
    with pytest.raises(UntrustedFileError, match="probed foreign.h5"):
        read_tables(foreign)


def test_that_a_file_replaced_by_another_is_no_longer_trusted(tmp_path: Path, whole_file: bytes) -> None:
    path = tmp_path / "metrics.h5"
    make_run_file(path)
    assert safe_open.is_own(path)
    (tmp_path / "other").write_bytes(whole_file)
    (tmp_path / "other").replace(path)
    assert not safe_open.is_own(path)


def add_external_link(file: Any) -> None:
    del file[f"{STEPS}/loss"]
    file[f"{STEPS}/loss"] = h5py.ExternalLink("/etc/passwd", "/x")


def add_soft_link(file: Any) -> None:
    del file[f"{STEPS}/loss"]
    file[f"{STEPS}/loss"] = h5py.SoftLink(f"{STEPS}/step")


def add_external_storage(file: Any) -> None:
    del file[f"{STEPS}/loss"]
    file[STEPS].create_dataset("loss", (10,), "f4", external=[("/etc/passwd", 0, 40)])


def add_virtual(file: Any) -> None:
    del file[f"{STEPS}/loss"]
    virtual = h5py.VirtualLayout((10,), "f4")
    virtual[:] = h5py.VirtualSource("/elsewhere/other.h5", "x", (10,))
    file[STEPS].create_virtual_dataset("loss", virtual)


def replace_with(**options: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[f"{STEPS}/loss"]
        file[STEPS].create_dataset("loss", **options)

    return change


def add_group(file: Any) -> None:
    file.create_group(f"{STEPS}/../../etc")


def add_cycle(file: Any) -> None:
    file["/run/pretraining/again"] = file["/run"]


def group_in_place_of_data(file: Any) -> None:
    del file[f"{STEPS}/loss"]
    file[STEPS].create_group("loss")


def data_in_place_of_group(file: Any) -> None:
    del file["/run/pretraining"]
    file["/run/pretraining"] = 1


def many_attributes(file: Any) -> None:
    for index in range(5000):
        file[f"{STEPS}/loss"].attrs[f"a{index}"] = index


def text_of_any_length(file: Any) -> None:
    del file["/run/title"]
    file["/run"].create_dataset("title", (1,), h5py.string_dtype(), chunks=(1,))


def claim_layouts(text: bytes) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file["/run/layouts/data"]
        data = np.array([text])
        file["/run/layouts"].create_dataset("data", data=data, chunks=(1,), fletcher32=True)

    return change


CHUNKED = {"chunks": (1024,), "fletcher32": True}

HOSTILE: list[tuple[str, Callable[[Any], None], str]] = [
    ("external link", add_external_link, "no links"),
    ("soft link", add_soft_link, "no links"),
    ("external storage", add_external_storage, "no external storage"),
    ("virtual data set", add_virtual, "no virtual data sets"),
    ("8.8 TB of nothing", replace_with(shape=(2**41,), dtype="f4", **CHUNKED), "size"),
    (
        "huge chunk",
        replace_with(shape=(100,), dtype="f4", chunks=(2**28,), maxshape=(None,), fletcher32=True),
        "size",
    ),
    ("gzip bomb", replace_with(data=np.zeros(2**20, "f4"), compression="gzip", **CHUNKED), "known filters"),
    ("no checksum", replace_with(data=np.zeros(100, "f4")), "checksums"),
    (
        "wrong rank",
        replace_with(shape=(100, 2), dtype="f4", chunks=(100, 2), fletcher32=True),
        "expected shapes",
    ),
    ("wrong type", replace_with(data=np.zeros(100, "f8"), **{**CHUNKED, "chunks": (100,)}), "expected types"),
    (
        "wrong byte order",
        replace_with(data=np.zeros(9, ">f4"), chunks=(9,), fletcher32=True),
        "expected types",
    ),
    (
        "references",
        replace_with(shape=(9,), dtype=h5py.ref_dtype, chunks=(9,), fletcher32=True),
        "expected types",
    ),
    (
        "any-length numbers",
        replace_with(shape=(9,), dtype=h5py.vlen_dtype("f4"), chunks=(9,)),
        "known filters",
    ),
    (
        "compound",
        replace_with(data=np.zeros(9, [("a", "f4")]), chunks=(9,), fletcher32=True),
        "expected types",
    ),
    ("any-length text", text_of_any_length, "known filters"),
    ("unknown name", add_group, "expected names"),
    ("cycle", add_cycle, "expected names"),
    ("group for data", group_in_place_of_data, "expected names"),
    ("data for group", data_in_place_of_group, "expected names"),
    ("5000 attributes", many_attributes, "number of attributes"),
    ("no version", lambda file: file.attrs.__delitem__("schema_version"), "our files only"),
    ("version 0", lambda file: file.attrs.__setitem__("schema_version", 0), "our files only"),
    ("version text", lambda file: file.attrs.__setitem__("schema_version", "1"), "our files only"),
]


@pytest.mark.parametrize(("change", "rule"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_that_hostile_files_are_refused_by_rule(
    foreign: Path, change: Callable[[Any], None], rule: str
) -> None:
    with h5py.File(foreign, "r+") as file:
        change(file)
    started = time.monotonic()
    with pytest.raises(UntrustedFileError, match=rule):
        check_in_this_process(foreign)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("change", [add_external_link, replace_with(shape=(2**41,), dtype="f4", **CHUNKED)])
def test_that_the_child_passes_its_refusal_on(foreign: Path, change: Callable[[Any], None]) -> None:
    with h5py.File(foreign, "r+") as file:
        change(file)
    with pytest.raises(
        UntrustedFileError, match=r"foreign.h5 was not read: /run/pretraining/loss/loss.*\(rule: "
    ):
        read_tables(foreign)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"[]", "got none"),
        (b"not json", "unreadable"),
        (b'[{"stage": "attack", "title": "t"}]', "not those that its layouts name"),
        (b'[{"stage": "attack", "title": "t"}, {"stage": "attack", "title": "t"}]', "each stage once"),
    ],
)
def test_that_layouts_must_fit_the_file(foreign: Path, text: bytes, named: str) -> None:
    with h5py.File(foreign, "r+") as file:
        claim_layouts(text)(file)
    with pytest.raises(DamagedFileError, match=named):
        check_in_this_process(foreign)


def test_that_a_newer_version_is_refused_with_its_number(foreign: Path) -> None:
    with h5py.File(foreign, "r+") as file:
        file.attrs["schema_version"] = 7
    with pytest.raises(
        StoreError, match=f"schema version 7, this program reads up to {SCHEMA_VERSION}"
    ) as caught:
        read_tables(foreign)
    assert not isinstance(caught.value, DamagedFileError)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_that_a_cut_file_is_called_damaged(foreign: Path, share: float) -> None:
    cut(foreign, int(foreign.stat().st_size * share))
    with pytest.raises(DamagedFileError, match=r"foreign\.h5"):
        read_tables(foreign)


def test_that_cuts_anywhere_are_noticed(foreign: Path, whole_file: bytes) -> None:
    chance = random.Random(1)
    for _ in range(40):
        foreign.write_bytes(whole_file[: chance.randrange(8, len(whole_file))])
        with pytest.raises(DamagedFileError):
            check_in_this_process(foreign)


def test_that_a_flipped_bit_is_noticed_or_harmless(foreign: Path, whole_file: bytes) -> None:
    expected = rows("pretraining", "steps", 0, 100)
    chance = random.Random(2)
    refused = 0
    for _ in range(7):
        foreign.write_bytes(whole_file)
        corrupt(foreign, chance.randrange(len(whole_file)), bits=1 << chance.randrange(8))
        try:
            _, tables = read_tables(foreign)
        except StoreError:
            refused += 1
            continue
        for name, values in expected.items():
            np.testing.assert_array_equal(tables["pretraining"]["steps"][name], values)
    assert refused > 0


def test_that_a_file_which_stops_the_child_is_given_up(
    foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_open, "PROBE_SECONDS", -1e9)
    started = time.monotonic()
    monkeypatch.setattr(safe_open, "_next_line", lambda lines, timeout: "ready" if timeout > 0 else None)
    with pytest.raises(DamagedFileError, match="not read in time"):
        read_tables(foreign)
    assert time.monotonic() - started < 10


def test_that_a_child_that_dies_is_reported(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_open, "_next_line", lambda lines, timeout: "")
    with pytest.raises(DamagedFileError, match="broke the process"):
        read_tables(foreign)


@pytest.mark.parametrize(("failures", "read"), [(4, True), (5, False)])
def test_that_a_file_caught_between_two_writes_is_read_again(
    tmp_path: Path, failures: int, read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run_file(tmp_path / "metrics.h5")
    left = [OSError("checksum")] * failures
    real = run_reader.open_run_file

    def failing(path: Path) -> Any:
        if left:
            raise left.pop()
        return real(path)

    monkeypatch.setattr(run_reader, "open_run_file", failing)
    if read:
        assert set(read_tables(tmp_path / "metrics.h5")[0]) == {"pretraining", "finetuning", "attack"}
    else:
        with pytest.raises(DamagedFileError, match="checksum"):
            read_tables(tmp_path / "metrics.h5")


def test_that_a_missing_file_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file") as caught:
        read_tables(tmp_path / "none.h5")
    assert type(caught.value) is StoreError


def test_that_other_formats_are_no_runs(tmp_path: Path) -> None:
    (tmp_path / "page.h5").write_text("<html>not here</html>")
    with pytest.raises(DamagedFileError, match="not an HDF5 file"):
        read_tables(tmp_path / "page.h5")


def test_that_a_file_left_open_without_a_live_writer_is_read_from_a_repaired_copy(tmp_path: Path) -> None:
    path = tmp_path / "left_open.h5"
    file = RunFile.create(path, LAYOUTS, **TEXTS)
    file.append("pretraining", "steps", rows("pretraining", "steps", 0, 70))
    file.flush()
    copy = tmp_path / "taken_in_between.h5"
    copy.write_bytes(path.read_bytes())
    file.close()
    assert check_in_this_process(copy) == "swmr"
    # The flags of a writer without SWMR: neither way of opening accepts them.
    data = bytearray(copy.read_bytes())
    data[11] = 1
    data[44:48] = lookup3(bytes(data[:44])).to_bytes(4, "little")
    copy.write_bytes(bytes(data))
    with pytest.raises(DamagedFileError):
        check_in_this_process(copy)
    before = copy.read_bytes()
    _, tables = read_tables(copy)
    np.testing.assert_array_equal(
        tables["pretraining"]["steps"]["loss"], rows("pretraining", "steps", 0, 70)["loss"]
    )
    assert copy.read_bytes() == before


def test_that_only_files_marked_as_open_are_repaired(tmp_path: Path, whole_file: bytes) -> None:
    (tmp_path / "closed.h5").write_bytes(whole_file)
    assert not repair_copy(tmp_path / "closed.h5", tmp_path / "copy.h5")
    (tmp_path / "text.h5").write_text("text")
    assert not repair_copy(tmp_path / "text.h5", tmp_path / "copy.h5")
    marked = bytearray(whole_file)
    marked[11] = 1
    (tmp_path / "wrong_sum.h5").write_bytes(bytes(marked))
    assert not repair_copy(tmp_path / "wrong_sum.h5", tmp_path / "copy.h5")
    assert not (tmp_path / "copy.h5").exists()


def test_that_the_checksum_is_that_of_the_library(whole_file: bytes) -> None:
    assert lookup3(whole_file[:44]) == int.from_bytes(whole_file[44:48], "little")
    # Values that lookup3.c prints for its own test, with initial value 0.
    assert lookup3(b"") == 0xDEADBEEF
    assert lookup3(b"Four score and seven years ago") == 0x17770551


@given(st.binary(max_size=60))
def test_that_the_checksum_notices_any_added_byte(data: bytes) -> None:
    assert 0 <= lookup3(data) < 2**32
    assert lookup3(data) != lookup3(data + b"\0")


def test_that_a_record_gathers_all_files_of_a_run(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert workspace.lock() == ""
    folder = workspace.create_run(config(), "study")
    empty = read_record(folder)
    assert (empty.layouts, empty.tables, empty.log, empty.weights) == ({}, {}, (), ())
    make_run_file(folder.metrics_path)
    folder.log("info", "began")
    folder.weights_path("finetuning").write_bytes(b"x")
    record = read_record(RunFolder(folder.path))
    assert record.run.id == folder.id
    assert set(record.layouts) == {"pretraining", "finetuning", "attack"}
    assert len(record.tables["pretraining"]["epochs"]["epoch"]) == 3
    assert record.log[0].endswith("INFO    began")
    assert record.weights == ("finetuning",)
    assert record.weights_sha256 == {"finetuning": ""}
    path = folder.weights_path("finetuning")
    path.with_name(f"{path.name}.sha256").write_text(f"{'ab' * 32}  {path.name}\n", encoding="ascii")
    assert read_record(folder).weights_sha256 == {"finetuning": "ab" * 32}
    workspace.unlock()
