"""Writing the tables of a run: round trips, viewers, live reading, kills and full disks."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from faults import FILE_SIZE_LIMIT, corrupt, fail_on_call, run_python, start_python
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import LAYOUTS, TEXTS, layout, make_run_file, rows

from engine.errors import DamagedFileError, StoreError
from engine.events import StageLayout
from engine.store import run_file
from engine.store.run_file import RunFile
from engine.store.run_reader import read_tables
from engine.store.schema import STAGE_TABLES

WRITER = """
import sys, time
from pathlib import Path
from store_samples import LAYOUTS, TEXTS, rows
from engine.store.run_file import RunFile
file = RunFile.create(Path(sys.argv[1]), LAYOUTS, **TEXTS)
print("created", flush=True)
for index in range(int(sys.argv[2])):
    file.append("pretraining", "steps", rows("pretraining", "steps", index, index + 1))
    file.append("pretraining", "layers", rows("pretraining", "layers", index, index + 1))
    if index % 10 == 9:
        file.flush()
        print(index + 1, flush=True)
    time.sleep(0.001)
file.close()
print("closed", flush=True)
"""


def assert_equal(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_that_every_appended_row_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.h5"
    with RunFile.create(path, LAYOUTS, **TEXTS) as file:
        for stage, tables in STAGE_TABLES.items():
            for table in tables:
                for start, stop in ((0, 1), (1, 1), (1, 70), (70, 1500)):
                    file.append(stage, table.name, rows(stage, table.name, start, stop))
    layouts, tables_read = read_tables(path)
    assert tuple(layouts.values()) == LAYOUTS
    for stage, tables in STAGE_TABLES.items():
        for table in tables:
            assert_equal(tables_read[stage][table.name], rows(stage, table.name, 0, 1500))


def test_that_nan_marks_what_does_not_apply(tmp_path: Path) -> None:
    columns = rows("pretraining", "steps", 0, 3)
    columns["penalty"] = np.full(3, np.nan)
    with RunFile.create(tmp_path / "metrics.h5", LAYOUTS, **TEXTS) as file:
        file.append("pretraining", "steps", columns)
    _, tables = read_tables(tmp_path / "metrics.h5")
    assert np.isnan(tables["pretraining"]["steps"]["penalty"]).all()


@settings(max_examples=15)
@given(st.lists(st.tuples(st.sampled_from(["steps", "epochs", "layers"]), st.integers(0, 90)), max_size=12))
def test_that_tables_grow_independently(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[tuple[Any, int]]
) -> None:
    path = tmp_path_factory.mktemp("run") / "metrics.h5"
    counts = {"steps": 0, "epochs": 0, "layers": 0}
    with RunFile.create(path, LAYOUTS, **TEXTS) as file:
        for table, count in blocks:
            file.append("finetuning", table, rows("finetuning", table, counts[table], counts[table] + count))
            counts[table] += count
        file.flush()
        _, tables = read_tables(path)
    for table, count in counts.items():
        assert_equal(tables["finetuning"][table], rows("finetuning", table, 0, count))  # type: ignore[index, arg-type]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c.pop("loss"), "loss"),
        (lambda c: c.update(accuracy=c["loss"]), "accuracy"),
        (lambda c: c.update(loss=c["loss"][:1]), "loss"),
        (lambda c: c.update(loss=c["loss"][:, None]), "loss"),
        (lambda c: c.update(loss=np.array(["a", "b"])), "loss"),
        (lambda c: c.update(step=c["loss"]), "step"),
        (lambda c: c.update(step=np.int64(3)), "step"),
    ],
)
def test_that_rows_which_do_not_fit_are_refused_whole(tmp_path: Path, change: Any, named: str) -> None:
    columns: dict[str, Any] = rows("pretraining", "steps", 0, 2)
    change(columns)
    with RunFile.create(tmp_path / "metrics.h5", LAYOUTS, **TEXTS) as file:
        with pytest.raises(StoreError, match=named):
            file.append("pretraining", "steps", columns)
        assert len(file.rows()["pretraining"]["steps"]["step"]) == 0


def test_that_layer_columns_need_one_number_per_layer(tmp_path: Path) -> None:
    columns = rows("pretraining", "layers", 0, 2)
    columns["distance"] = columns["distance"][:, :2]
    with (
        RunFile.create(tmp_path / "metrics.h5", LAYOUTS, **TEXTS) as file,
        pytest.raises(StoreError, match=r"\(2, 3\), got \(2, 2\)"),
    ):
        file.append("pretraining", "layers", columns)


def test_that_unknown_tables_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    with (
        RunFile.create(tmp_path / "metrics.h5", [layout("attack")], **TEXTS) as file,
        pytest.raises(StoreError, match="pretraining/steps; it has attack/samples"),
    ):
        file.append("pretraining", "steps", rows("pretraining", "steps", 0, 1))


@pytest.mark.parametrize(
    ("layouts", "named"),
    [
        ([], "got none"),
        ([layout("attack"), layout("pretraining")], "in the order"),
        ([StageLayout("pretraining", "t")], "needs the names"),
        (
            [StageLayout("pretraining", "t", block_names=("a",), layer_names=("b",), layer_blocks=())],
            "block numbers",
        ),
        (
            [StageLayout("pretraining", "t", block_names=("a",), layer_names=("b",), layer_blocks=(2,))],
            "not exist",
        ),
        ([StageLayout("attack", "t", block_names=("",))], "characters"),
    ],
)
def test_that_layouts_which_contradict_themselves_are_refused(
    tmp_path: Path, layouts: Any, named: str
) -> None:
    with pytest.raises(StoreError, match=named):
        RunFile.create(tmp_path / "metrics.h5", layouts, **TEXTS)
    assert list(tmp_path.iterdir()) == []


def test_that_closed_files_refuse_rows_but_keep_theirs(tmp_path: Path) -> None:
    file = RunFile.create(tmp_path / "metrics.h5", LAYOUTS, **TEXTS)
    file.append("pretraining", "steps", rows("pretraining", "steps", 0, 5))
    file.close()
    file.close()
    file.flush()
    with pytest.raises(StoreError, match="closed"):
        file.append("pretraining", "steps", rows("pretraining", "steps", 5, 6))
    assert_equal(file.rows()["pretraining"]["steps"], rows("pretraining", "steps", 0, 5))


def test_that_rows_become_visible_within_a_second_or_64_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(run_file.time, "monotonic", lambda: now[0])
    with RunFile.create(tmp_path / "metrics.h5", LAYOUTS, **TEXTS) as file:

        def visible() -> int:
            return len(read_tables(tmp_path / "metrics.h5")[1]["pretraining"]["steps"]["step"])

        file.append("pretraining", "steps", rows("pretraining", "steps", 0, 63))
        assert visible() == 0
        file.append("pretraining", "steps", rows("pretraining", "steps", 63, 64))
        assert visible() == 64
        file.append("pretraining", "steps", rows("pretraining", "steps", 64, 65))
        now[0] += 0.9
        file.flush_if_due()
        assert visible() == 64
        now[0] += 0.2
        file.flush_if_due()
        assert visible() == 65


def test_that_rows_are_synced_at_most_5_seconds_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(run_file.time, "monotonic", lambda: now[0])
    with RunFile.create(tmp_path / "metrics.h5", LAYOUTS, **TEXTS) as file:
        synced: list[float] = []
        monkeypatch.setattr(run_file.os, "fsync", lambda descriptor: synced.append(now[0]))
        for index in range(12):
            now[0] += 1.0
            file.append("pretraining", "steps", rows("pretraining", "steps", index, index + 1))
        assert synced == [1005.0, 1010.0]
        file.flush(sync=True)
        assert synced[-1] == 1012.0


def test_that_viewers_plot_every_group(tmp_path: Path) -> None:
    nxdata = pytest.importorskip("silx.io.nxdata")
    make_run_file(tmp_path / "metrics.h5")
    RunFile.create(tmp_path / "empty.h5", LAYOUTS, **TEXTS).close()
    for name in ("metrics.h5", "empty.h5"):
        with h5py.File(tmp_path / name, "r") as file:
            plots = {
                f"/run/{stage}/{plot.group}": plot
                for stage, tables in STAGE_TABLES.items()
                for table in tables
                for plot in table.plots
            }
            for place, plot in plots.items():
                data = nxdata.NXdata(file[place])
                assert data.is_valid, (place, data.issues)
                assert data.signal_dataset_name == plot.signal
                assert tuple(data.axes_dataset_names) == tuple(
                    None if axis == "." else axis for axis in plot.axes
                )
                assert tuple(data.auxiliary_signals_dataset_names) == plot.beside
                assert data.plot_style.signal_scale_type == ("log" if plot.log else None)
            units = {
                file["/run/pretraining/spectral_norm"][axis].attrs["units"] for axis in ("epoch", "block")
            }
            assert len(units) == 2
            assert nxdata.get_default(file).group.name == "/run/pretraining/accuracy"
            assert file["/run/title"][0].decode() == TEXTS["title"]
            assert file["/run/config/data"][0].decode() == TEXTS["config_toml"]
            assert [name.decode() for name in file["/run/pretraining/spectral_norm/block_name"]] == [
                *LAYOUTS[0].block_names
            ]


def test_that_every_data_set_has_a_checksum(tmp_path: Path) -> None:
    make_run_file(tmp_path / "metrics.h5")
    found = []
    with h5py.File(tmp_path / "metrics.h5", "r") as file:
        file.visititems(
            lambda name, item: found.append(item.fletcher32) if isinstance(item, h5py.Dataset) else None
        )
    assert found and all(found)


def test_that_carried_rows_begin_the_new_file_and_the_old_one_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "metrics.h5"
    with RunFile.create(path, LAYOUTS, **TEXTS) as file:
        file.append("pretraining", "steps", rows("pretraining", "steps", 0, 30))
    carried = {"pretraining": {"steps": rows("pretraining", "steps", 0, 20)}}
    with RunFile.create(path, LAYOUTS, **TEXTS, carry_over=carried) as file:  # type: ignore[arg-type]
        assert len(read_tables(path)[1]["pretraining"]["steps"]["step"]) == 20
        file.append("pretraining", "steps", rows("pretraining", "steps", 20, 25))
    assert_equal(read_tables(path)[1]["pretraining"]["steps"], rows("pretraining", "steps", 0, 25))
    old = read_tables(tmp_path / "metrics.previous.h5")[1]["pretraining"]["steps"]
    assert_equal(old, rows("pretraining", "steps", 0, 30))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["metrics.h5", "metrics.previous.h5"]


def test_that_a_run_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "metrics.h5"
    make_run_file(path)
    before = path.read_bytes()
    with (
        fail_on_call(run_file.os, "replace", 1, OSError(5, "Input/output error")),
        pytest.raises(StoreError, match="Input/output error"),
    ):
        RunFile.create(path, LAYOUTS, **TEXTS)
    assert path.read_bytes() == before
    assert not [entry.name for entry in tmp_path.iterdir() if ".tmp" in entry.name]


def test_that_another_process_reads_right_rows_while_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.h5"
    with start_python(WRITER, path, 900) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "created\n"
        seen = []
        while child.poll() is None and len(seen) < 6:
            tables = read_tables(path)[1]["pretraining"]
            count = len(tables["steps"]["step"])
            seen.append(count)
            assert_equal(tables["steps"], rows("pretraining", "steps", 0, count))
            assert_equal(tables["layers"], rows("pretraining", "layers", 0, len(tables["layers"]["step"])))
        assert "closed" in child.communicate(timeout=60)[0]
    assert seen == sorted(seen)
    assert seen[-1] > seen[0] > 0
    assert_equal(read_tables(path)[1]["pretraining"]["steps"], rows("pretraining", "steps", 0, 900))


@pytest.mark.parametrize("seed", range(3))
def test_that_a_kill_loses_no_flushed_row(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "metrics.h5"
    with start_python(WRITER, path, 100_000) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "created\n"
        time.sleep(random.Random(seed).uniform(0.0, 0.4))
        child.send_signal(signal.SIGKILL)
        said = (
            child.stdout.read().split()
        )  # not by communicate, which loses what was read ahead of the first line
    flushed = int(said[-1]) if said else 0
    tables = read_tables(path)[1]["pretraining"]
    for name in ("steps", "layers"):
        count = len(tables[name]["step"])
        # The child may have flushed ten more rows without coming to say so.
        assert flushed <= count <= flushed + 10
        assert_equal(tables[name], rows("pretraining", name, 0, count))  # type: ignore[arg-type]


def test_that_a_chunk_torn_by_a_kill_loses_no_flushed_row(tmp_path: Path) -> None:
    path, torn = tmp_path / "metrics.h5", tmp_path / "torn.h5"
    with RunFile.create(path, LAYOUTS, **TEXTS) as file:
        versions = []
        for start, stop in ((0, 20), (20, 30)):
            file.append("pretraining", "steps", rows("pretraining", "steps", start, stop))
            file.flush()
            versions.append(path.read_bytes())
    old, new = versions
    torn.write_bytes(old)
    with h5py.File(torn, "r", swmr=True) as content:
        chunk = content["run/pretraining/loss/penalty_unweighted"].id.get_chunk_info(0)
    expected = rows("pretraining", "steps", 0, 20)
    for written in (4, 100, chunk.size - 8):
        end = chunk.byte_offset + written
        torn.write_bytes(old[: chunk.byte_offset] + new[chunk.byte_offset : end] + old[end:])
        assert_equal(read_tables(torn)[1]["pretraining"]["steps"], expected)
    corrupt(torn, chunk.byte_offset + 40, bits=1)
    with pytest.raises(DamagedFileError):
        read_tables(torn)


FULL_DISK = (
    FILE_SIZE_LIMIT
    + """
import sys
from pathlib import Path
import numpy as np
from store_samples import LAYOUTS, TEXTS, rows
from engine.errors import StoreError
from engine.store.run_file import RunFile, abandoned_files
path, limit, count = Path(sys.argv[1]), int(sys.argv[2]), 0
file = RunFile.create(path, LAYOUTS, **TEXTS)
limit_file_size(path.stat().st_size + limit)
for repetition in range(3):
    try:
        while True:
            count += 1
            file.append("pretraining", "steps", rows("pretraining", "steps", count - 1, count))
    except StoreError as error:
        print(error)
    try:
        count += 1
        file.append("pretraining", "steps", rows("pretraining", "steps", count - 1, count))
        print("not refused")
    except StoreError:
        pass
    file.close()
    try:
        file = file.recreate()
        print("not refused")
    except StoreError:
        pass
    limit += 60_000
    limit_file_size(path.stat().st_size + limit)
    file = file.recreate()
limit_file_size(10**9)
file.append("pretraining", "steps", rows("pretraining", "steps", count, count + 1))
file.close()
print("kept", count + 1, abandoned_files())
"""
)


@pytest.mark.parametrize("limit", [0, 5_000, 40_000])
def test_that_a_full_disk_loses_no_row_and_crashes_nothing(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "metrics.h5"
    status, output = run_python(FULL_DISK, path, limit)
    assert status == 0, output
    assert "not refused" not in output
    assert "File too large" in output and "free" in output and "needed" in output
    count, abandoned = map(int, re.findall(r"^kept (\d+) (\d+)$", output, re.MULTILINE)[0])
    assert abandoned >= 3
    assert count > 64 * 3
    assert_equal(read_tables(path)[1]["pretraining"]["steps"], rows("pretraining", "steps", 0, count))


def test_that_a_failed_fsync_ends_the_file_but_not_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.h5"
    file = RunFile.create(path, LAYOUTS, **TEXTS)
    file.append("pretraining", "steps", rows("pretraining", "steps", 0, 9))
    file.flush()
    file.append("pretraining", "steps", rows("pretraining", "steps", 9, 10))
    with (
        fail_on_call(run_file.os, "fsync", 1, OSError(5, "Input/output error")),
        pytest.raises(StoreError, match="Input/output error"),
    ):
        file.flush(sync=True)
    with pytest.raises(StoreError, match="Input/output error"):
        file.append("pretraining", "steps", rows("pretraining", "steps", 10, 11))
    # HDF5 would answer from the broken handle if the file were opened under its own name.
    for _ in range(2):
        left = read_tables(path)[1]["pretraining"]["steps"]
        assert len(left["step"]) >= 9
        assert_equal(left, rows("pretraining", "steps", 0, len(left["step"])))
    with file.recreate() as again:
        again.append("pretraining", "steps", rows("pretraining", "steps", 11, 12))
    assert_equal(read_tables(tmp_path / "metrics.previous.h5")[1]["pretraining"]["steps"], left)
    assert_equal(read_tables(path)[1]["pretraining"]["steps"], rows("pretraining", "steps", 0, 12))


def test_that_recreating_an_open_file_keeps_what_waits(tmp_path: Path) -> None:
    file = RunFile.create(tmp_path / "metrics.h5", LAYOUTS, **TEXTS)
    file.append("pretraining", "steps", rows("pretraining", "steps", 0, 3))
    with file.recreate():
        assert len(read_tables(tmp_path / "metrics.h5")[1]["pretraining"]["steps"]["step"]) == 3


def test_that_the_old_file_is_kept_where_there_are_no_hard_links(tmp_path: Path) -> None:
    path = tmp_path / "metrics.h5"
    make_run_file(path)
    before = path.read_bytes()
    with fail_on_call(run_file.os, "link", 1, OSError(95, "Operation not supported")):
        RunFile.create(path, LAYOUTS, **TEXTS).close()
    assert (tmp_path / "metrics.previous.h5").read_bytes() == before
    assert len(read_tables(path)[1]["pretraining"]["steps"]["step"]) == 0


def test_that_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        RunFile.create(tmp_path / "nowhere" / "metrics.h5", LAYOUTS, **TEXTS)
    assert os.listdir(tmp_path) == []
