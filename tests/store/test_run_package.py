"""Whole runs that leave a workspace and come into another, and weights that say where they come from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tomllib
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from store_samples import config, make_run_file

from engine.config import parse_run, settings_hash
from engine.errors import CartlError, CheckpointError, DamagedFileError, StoreError, UntrustedFileError
from engine.events import RunRecord
from engine.store import run_import
from engine.store.checkpoints import CheckpointFolder, digest_of, load_weights, save_weights
from engine.store.exported_weights import export_weights
from engine.store.run_folder import RunFolder
from engine.store.run_import import import_run
from engine.store.run_package import export_run
from engine.store.run_reader import read_record
from engine.store.workspace import Workspace

TENSORS = {"conv.weight": torch.arange(12.0).reshape(3, 4), "count": torch.tensor(3)}


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(tmp_path / "workspace")
    assert workspace.lock() == ""
    yield workspace
    workspace.unlock()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(tmp_path / "other")
    assert workspace.lock() == ""
    yield workspace
    workspace.unlock()


@pytest.fixture
def run(space: Workspace) -> RunFolder:
    folder = space.create_run(config(), "A study")
    make_run_file(folder.metrics_path, 20)
    save_weights(folder.weights_path("pretraining"), TENSORS, {"network": "tiny"})
    for step in (10, 20):
        CheckpointFolder(folder.checkpoints).save({"w": torch.ones(2)}, stage="pretraining", step=step)
    folder.journal("machine", torch="2.10", python="3.11", device="cpu", threads=2)
    folder.log("info", "it went well")
    folder.write_status("finished", stage="attack", progress=1.0, seconds=12.0)
    return folder


def record_of(folder: RunFolder) -> Callable[[], RunRecord]:
    return lambda: read_record(folder)


def export(folder: RunFolder, destination: Path, **options: bool) -> Path:
    return export_run(folder, destination, record=record_of(folder), **options)


@pytest.mark.parametrize("name", ["given-away", "given-away.zip"])
def test_that_a_run_arrives_in_another_workspace_as_it_was(
    run: RunFolder, other: Workspace, tmp_path: Path, name: str
) -> None:
    package = export(run, tmp_path / "out" / name)
    if package.is_dir():  # a folder gives the run its id
        package = package.rename(package.with_name(run.id))
    arrived = import_run(other, package)
    assert (arrived.run.id, arrived.run.state, arrived.run.study) == (run.id, "finished", "A study")
    assert arrived.run.config == run.config
    assert arrived.weights == ("pretraining",)
    before = read_record(run)
    assert arrived.layouts == before.layouts
    for stage, tables in before.tables.items():
        for table, columns in tables.items():
            for column, values in columns.items():
                np.testing.assert_array_equal(arrived.tables[stage][table][column], values)
    folder = other.folder(run.id)
    weights, metadata = load_weights(folder.weights_path("pretraining"))
    assert metadata == {"network": "tiny"}
    assert all(torch.equal(weights[key], value) for key, value in TENSORS.items())
    latest = CheckpointFolder(folder.checkpoints).latest()
    assert latest is not None and latest.name == "0002-pretraining-00000020.pt"
    assert folder.read_log() == run.read_log()
    assert folder.read_journal()[-1]["kind"] == "imported"
    assert not (folder.path / "README.txt").exists()
    assert [info.id for info in other.runs()] == [run.id]


def test_that_a_package_tells_what_it_holds_and_can_be_checked_without_this_program(
    run: RunFolder, tmp_path: Path
) -> None:
    package = export(run, tmp_path / "package")
    done = subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=package, check=False)
    assert done.returncode == 0
    readme = (package / "README.txt").read_text(encoding="utf-8")
    for path in package.iterdir():
        assert path.name in readme
    assert "cartl import-run" in readme
    assert "cartl run config.toml\n" in readme
    environment = json.loads((package / "environment.json").read_text())
    assert environment["run_on"] == [{"torch": "2.10", "python": "3.11", "device": "cpu", "threads": 2}]
    assert parse_run((package / "config.toml").read_text(encoding="utf-8")) == run.config
    assert settings_hash(run.config) == hashlib.sha256((package / "config.toml").read_bytes()).hexdigest()


def test_that_a_run_that_starts_from_another_says_so(space: Workspace, tmp_path: Path) -> None:
    child = space.create_run(config("Child"), "A study", parent="the-parent-12345678")
    readme = (export(child, tmp_path / "package") / "README.txt").read_text(encoding="utf-8")
    assert "cartl run config.toml --set start_from=the-parent-12345678" in readme
    assert "not in this package" in readme


def test_that_two_packages_of_one_run_are_the_same_byte_by_byte(run: RunFolder, tmp_path: Path) -> None:
    first, second = (export(run, tmp_path / name) for name in ("a.zip", "b.zip"))
    assert first.read_bytes() == second.read_bytes()
    names = zipfile.ZipFile(first).namelist()
    assert (names[0], names[-1]) == (f"{run.id}/README.txt", f"{run.id}/SHA256SUMS")


def test_that_a_checkpoint_is_left_out_if_it_is_not_wanted(run: RunFolder, tmp_path: Path) -> None:
    package = export(run, tmp_path / "package", with_checkpoint=False)
    assert not (package / "checkpoints").exists()
    assert "without a checkpoint" in (package / "README.txt").read_text(encoding="utf-8")


def test_that_a_run_under_way_is_written_from_memory_and_arrives_as_interrupted(
    run: RunFolder, other: Workspace, tmp_path: Path
) -> None:
    record = read_record(run)
    run.metrics_path.write_bytes(b"a row half written")
    run.write_status("running", stage="finetuning", progress=0.4)
    package = export_run(run, tmp_path / "live.zip", record=lambda: record)
    arrived = import_run(other, package)
    assert (arrived.run.state, arrived.run.progress) == ("interrupted", 0.4)
    assert "before it had finished" in arrived.run.reason
    np.testing.assert_array_equal(
        arrived.tables["pretraining"]["steps"]["loss"], record.tables["pretraining"]["steps"]["loss"]
    )


def test_that_a_damaged_checkpoint_gives_way_to_the_one_before(run: RunFolder, tmp_path: Path) -> None:
    (newest,) = run.checkpoints.glob("0002-*.pt")
    newest.write_bytes(b"torn")
    package = export(run, tmp_path / "package")
    assert (package / "checkpoints" / "latest").read_text() == "0001-pretraining-00000010.pt\n"


def test_that_damaged_weights_are_not_given_away(run: RunFolder, tmp_path: Path) -> None:
    path = run.weights_path("pretraining")
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(
        DamagedFileError, match=r"does not match its SHA-256 in pretraining\.safetensors\.sha256"
    ):
        export(run, tmp_path / "package")
    assert list(tmp_path.glob("*package*")) == []


def test_that_nothing_is_overwritten_unasked(run: RunFolder, tmp_path: Path) -> None:
    taken, full = tmp_path / "taken.zip", tmp_path / "full"
    taken.write_text("mine")
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match="exists; choose another name, or say that it is to be replaced"):
        export(run, taken)
    with pytest.raises(StoreError, match="is not an empty folder"):
        export(run, full, overwrite=True)
    assert (taken.read_text(), (full / "mine.txt").read_text()) == ("mine", "mine")
    export(run, taken, overwrite=True)
    assert zipfile.is_zipfile(taken)


def test_that_a_run_is_not_put_among_the_runs(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="lies among the runs of the workspace"):
        export(run, run.path.parent / "copy")


def test_that_a_full_disk_leaves_nothing_behind(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.store.run_package.free_bytes", lambda _path: 1000)
    for name in ("a.zip", "a"):
        with pytest.raises(StoreError, match="no space at .*: the run takes"):
            export(run, tmp_path / name)
        assert not (tmp_path / name).exists()


def test_that_a_taken_id_is_replaced_by_a_new_one(run: RunFolder, space: Workspace, tmp_path: Path) -> None:
    arrived = import_run(space, export(run, tmp_path / "again.zip"))
    assert arrived.run.id != run.id
    assert arrived.run.id.startswith("neft-k-4-")
    assert len(space.runs()) == 2


def test_that_a_package_zipped_again_by_other_programs_is_taken(
    run: RunFolder, other: Workspace, tmp_path: Path
) -> None:
    package = export(run, tmp_path / "package")
    (package / ".DS_Store").write_text("junk")
    flat = Path(shutil.make_archive(str(tmp_path / "flat"), "zip", package))
    assert import_run(other, flat).run.state == "finished"


def repack(package: Path, target: Path, change: Callable[[zipfile.ZipFile, str], None]) -> Path:
    """The same archive with something added."""
    shutil.copy(package, target)
    with zipfile.ZipFile(target, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        change(archive, archive.namelist()[0].split("/")[0])
    return target


def link(archive: zipfile.ZipFile, root: str) -> None:
    member = zipfile.ZipInfo(f"{root}/run.log.1")
    member.external_attr = 0o120777 << 16
    archive.writestr(member, "/etc/passwd")


HOSTILE: tuple[tuple[Callable[[zipfile.ZipFile, str], object], str], ...] = (
    (lambda archive, root: archive.writestr(f"{root}/../../evil.txt", "x"), "rule: file names"),
    (lambda archive, root: archive.writestr("/tmp/evil.txt", "x"), "rule: file names"),
    (lambda archive, root: archive.writestr(f"{root}/evil.py", "x"), "rule: file names"),
    (lambda archive, root: archive.writestr(f"{root}/weights\\evil.pt", "x"), "rule: file names"),
    (lambda archive, root: archive.writestr(f"{root}/config.toml", "x"), "rule: unique names"),
    (link, "rule: no links"),
    (
        lambda archive, root: [archive.writestr(f"{root}/run.log.{n}", "x") for n in range(300)],
        "rule: number of files",
    ),
    (lambda archive, root: archive.writestr(f"{root}/run.log.9", "x"), "is not in SHA256SUMS"),
)


@pytest.mark.parametrize(("change", "told"), HOSTILE)
def test_that_a_hostile_archive_is_refused_and_leaves_nothing(
    run: RunFolder,
    other: Workspace,
    tmp_path: Path,
    change: Callable[[zipfile.ZipFile, str], None],
    told: str,
) -> None:
    package = repack(export(run, tmp_path / "a.zip"), tmp_path / "hostile.zip", change)
    with pytest.raises((UntrustedFileError, DamagedFileError), match=told):
        import_run(other, package)
    assert list(other.runs_path.iterdir()) == []
    assert not list(tmp_path.rglob("evil*"))


def test_that_links_in_a_folder_are_refused(run: RunFolder, other: Workspace, tmp_path: Path) -> None:
    package = export(run, tmp_path / "package")
    (package / "run.log").unlink()
    os.symlink("/etc/hostname", package / "run.log")
    with pytest.raises(UntrustedFileError, match="rule: no links"):
        import_run(other, package)


def test_that_too_much_is_not_unpacked(
    run: RunFolder, other: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = export(run, tmp_path / "a.zip")
    monkeypatch.setattr(run_import, "MAX_BYTES", 1000)
    with pytest.raises(UntrustedFileError, match="rule: size"):
        import_run(other, package)


def spoil(package: Path, name: str, data: bytes, *, with_sum: bool = False) -> None:
    (package / name).write_bytes(data)
    if with_sum:
        lines = (package / "SHA256SUMS").read_text().splitlines()
        digest = hashlib.sha256(data).hexdigest()
        kept = [line for line in lines if not line.endswith(f"  {name}")]
        (package / "SHA256SUMS").write_text("\n".join([*kept, f"{digest}  {name}"]) + "\n")


@pytest.mark.parametrize(
    ("name", "data", "with_sum", "told"),
    [
        ("metrics.h5", b"not what it was", False, "metrics.h5 does not match its SHA-256"),
        ("metrics.h5", b"not what it was", True, "metrics.h5"),
        ("config.toml", b"name = 3", True, r"name \(line 1\): input should be a valid string"),
        ("status.json", b"[]", True, "does not hold a JSON object"),
        ("SHA256SUMS", b"../../evil  x\n", False, "no hash and name"),
        ("SHA256SUMS", b"", False, "is not in SHA256SUMS"),
    ],
)
def test_that_a_package_is_taken_only_whole_and_usable(
    run: RunFolder, other: Workspace, tmp_path: Path, name: str, data: bytes, with_sum: bool, told: str
) -> None:
    package = export(run, tmp_path / "package")
    spoil(package, name, data, with_sum=with_sum)
    with pytest.raises(CartlError, match=told):
        import_run(other, package)
    assert list(other.runs_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"text"])
def test_that_any_other_file_is_no_run(other: Workspace, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(DamagedFileError, match="no exported run"):
        import_run(other, tmp_path / "x.zip")
    with pytest.raises(StoreError, match="there is no file"):
        import_run(other, tmp_path / "nothing.zip")


def test_that_a_workspace_open_for_reading_takes_nothing(run: RunFolder, tmp_path: Path) -> None:
    package = export(run, tmp_path / "a.zip")
    with pytest.raises(StoreError, match="reading only"):
        import_run(Workspace(tmp_path / "workspace"), package)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_that_exported_weights_say_where_they_come_from(run: RunFolder, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"model{suffix}"
    export_weights(run, "pretraining", target)
    tensors, metadata = load_weights(target)
    assert all(torch.equal(tensors[key], value) for key, value in TENSORS.items())
    assert (metadata["run"], metadata["stage"], metadata["network"]) == (run.id, "pretraining", "tiny")
    assert parse_run(metadata["config"]) == run.config
    assert metadata["config_sha256"] == settings_hash(run.config)
    assert metadata["tensors_sha256"] == digest_of(TENSORS)
    beside = target.with_name(f"{target.name}.toml").read_text(encoding="utf-8")
    assert parse_run(beside) == run.config
    assert hashlib.sha256(target.read_bytes()).hexdigest() in beside
    assert tomllib.loads(beside)["name"] == run.config.name
    done = subprocess.run(["sha256sum", "-c", f"{target.name}.sha256"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0


def test_that_exported_pt_weights_need_no_trust(run: RunFolder, tmp_path: Path) -> None:
    export_weights(run, "pretraining", tmp_path / "model.pt")
    loaded = torch.load(tmp_path / "model.pt", weights_only=True)
    assert torch.equal(loaded["state_dict"]["conv.weight"], TENSORS["conv.weight"])
    assert loaded["metadata"]["run"] == run.id


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_that_weights_changed_after_their_export_are_refused_even_without_their_sidecar(
    run: RunFolder, tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / f"model{suffix}"
    export_weights(run, "pretraining", target)
    tensors, metadata = load_weights(target)
    save_weights(target, tensors | {"conv.weight": tensors["conv.weight"] + 1}, metadata)
    with pytest.raises(DamagedFileError, match="are not those that were exported"):
        load_weights(target)


def test_that_a_stage_that_has_not_finished_has_no_weights_to_export(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the finetuning of this run has not finished"):
        export_weights(run, "finetuning", tmp_path / "model.pt")
