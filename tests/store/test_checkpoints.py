"""Checkpoints and weights: whole or not there, and never believed without a look."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from faults import FILE_SIZE_LIMIT, corrupt, cut, fail_on_call, run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from engine.errors import CheckpointError, DamagedFileError, DivergedError, StoreError, UntrustedFileError
from engine.store import archives, atomic, checkpoints, probe, safe_open, tensor_files
from engine.store.checkpoints import CheckpointFolder, load_checkpoint, load_weights, save_weights
from engine.store.tensor_files import read_checkpoint


def state(step: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(step)
    weight = torch.randn(4, 3, generator=generator)
    return {
        "model": {"conv.weight": weight, "count": torch.tensor(step), "empty": torch.zeros(0, 3)},
        "optimizer": {"momentum": [torch.ones(4, 3, dtype=torch.float64), None]},
        "random": {"torch": generator.get_state(), "python": [3, [1, 2, 3], None]},
        "scheduler": {"rate": 0.1, "milestones": (1, 2)},
        "epoch": 2,
        "best": math.inf,
        "half": torch.ones(2, dtype=torch.bfloat16),
        3: "a key that is a number",
    }


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected


def save(folder: CheckpointFolder, step: int, **options: Any) -> Path:
    return folder.save(state(step), stage="pretraining", step=step, **options)


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "checkpoints")


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the child out where the parent's own checks are the matter: it takes seconds to load torch."""
    monkeypatch.setattr(checkpoints, "probe", lambda path: {})


def test_that_a_checkpoint_comes_back_bit_for_bit(folder: CheckpointFolder) -> None:
    path = save(folder, 7)
    assert folder.latest() == path
    assert_same(folder.load(path), state(7))
    assert path.name == "0001-pretraining-00000007.pt"


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=20)
@given(entries=st.dictionaries(st.text(max_size=5), plain_values, max_size=4))
def test_that_any_plain_state_comes_back(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[str, Any]
) -> None:
    folder = CheckpointFolder(tmp_path_factory.mktemp("checkpoints"))
    assert_same(folder.load(folder.save(entries, stage="finetuning", step=1)), entries)


def test_that_views_are_saved_with_their_own_numbers_only(folder: CheckpointFolder) -> None:
    whole = torch.arange(100_000.0)
    path = folder.save({"a": whole[:2], "b": whole[::2][:3], "c": whole[:2]}, stage="attack", step=0)
    assert path.stat().st_size < 10_000
    assert_same(folder.load(path), {"a": whole[:2], "b": torch.tensor([0.0, 2.0, 4.0]), "c": whole[:2]})


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_that_numbers_which_are_not_finite_never_become_the_latest(
    folder: CheckpointFolder, number: float
) -> None:
    good = save(folder, 1)
    broken = state(2)
    broken["model"]["conv.weight"][1, 1] = number
    with pytest.raises(DivergedError, match=r"model\.conv\.weight .* after step 2\. Lower the learning rate"):
        folder.save(broken, stage="pretraining", step=2)
    assert folder.latest() == good
    rows = {**state(2), "rows": torch.tensor([number])}
    recorded = folder.save(rows, stage="pretraining", step=2, may_be_nan=["rows"])
    assert folder.latest() == recorded


@pytest.mark.parametrize("value", [{1, 2}, Path("x"), object(), 1j])
def test_that_only_plain_values_are_saved(folder: CheckpointFolder, value: Any) -> None:
    with pytest.raises(UntrustedFileError, match="expected plain values"):
        folder.save({"x": value}, stage="attack", step=0)
    assert folder.latest() is None


def test_that_pruning_keeps_the_newest_two(folder: CheckpointFolder) -> None:
    for step in range(6):
        save(folder, step)
    names = sorted(path.name for path in folder.path.iterdir())
    assert names == [
        "0005-pretraining-00000004.pt",
        "0005-pretraining-00000004.pt.sha256",
        "0006-pretraining-00000005.pt",
        "0006-pretraining-00000005.pt.sha256",
        "latest",
    ]


def test_that_pruning_spares_a_whole_one_rather_than_a_damaged_one(folder: CheckpointFolder) -> None:
    first, second = save(folder, 1), save(folder, 2)
    corrupt(second, 200)
    save(folder, 3)
    assert first.exists()
    assert not second.exists()


def test_that_the_same_step_can_be_saved_twice(folder: CheckpointFolder) -> None:
    first, second = save(folder, 4), save(folder, 4)
    assert first != second
    assert folder.latest() == second


@pytest.mark.parametrize(
    "damage", [lambda path: corrupt(path, 300), lambda path: cut(path, 300), Path.unlink]
)
def test_that_the_checkpoint_before_a_damaged_one_is_used(
    folder: CheckpointFolder, damage: Callable[[Path], None]
) -> None:
    first, second = save(folder, 1), save(folder, 2)
    damage(second)
    assert folder.latest() == first
    assert_same(folder.load(first), state(1))
    with pytest.raises(DamagedFileError, match=first.name):
        folder.load(second)


@pytest.mark.parametrize("content", ["", "nonsense", "../../etc/passwd", "0009-pretraining-00000009.pt"])
def test_that_a_wrong_pointer_does_not_lead_astray(folder: CheckpointFolder, content: str) -> None:
    path = save(folder, 1)
    (folder.path / "latest").write_text(content)
    assert folder.latest() == path


def test_that_no_checkpoint_is_none(folder: CheckpointFolder) -> None:
    assert folder.latest() is None


def message_of_saving(folder: CheckpointFolder, step: int) -> str:
    try:
        save(folder, step)
    except StoreError as error:
        return str(error)
    return ""


def test_that_a_failure_at_any_moment_of_saving_leaves_a_checkpoint(tmp_path: Path) -> None:
    failures = 0
    for owner, name in ((os, "replace"), (os, "fsync"), (atomic, "sync_folder")):
        for number in range(1, 20):
            folder = CheckpointFolder(tmp_path / f"{name}-{number}")
            first = save(folder, 1)
            with fail_on_call(owner, name, number, OSError(5, "Input/output error")) as calls:
                message = message_of_saving(folder, 2)
            failures += bool(message)
            assert "Input/output error" in (message or "Input/output error")
            latest = folder.latest()
            assert latest is not None
            assert_same(folder.load(latest), state(1) if latest == first else state(2))
            assert not [path for path in folder.path.iterdir() if ".tmp" in path.name]
            if calls[0] < number:
                break
    assert failures >= 8


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from engine.store.checkpoints import CheckpointFolder
real = os.replace
for moment in (1, 2, 3):
    if os.fork() == 0:
        folder, calls = CheckpointFolder(Path(sys.argv[1]) / str(moment)), 0
        folder.save({"step": 1, "w": torch.ones(9)}, stage="attack", step=1)
        def replace(*arguments):
            global calls
            calls += 1
            if calls == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            real(*arguments)
        os.replace = replace
        folder.save({"step": 2, "w": torch.ones(9)}, stage="attack", step=2)
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_that_a_kill_while_saving_leaves_a_checkpoint(tmp_path: Path) -> None:
    assert run_python(KILLED, tmp_path) == (0, "-9\n-9\n-9\n")
    for moment in (1, 2, 3):
        folder = CheckpointFolder(tmp_path / str(moment))
        latest = folder.latest()
        assert latest is not None
        assert read_checkpoint(latest)["step"] == 1
        atomic.remove_leftovers(folder.path)
        assert not list(folder.path.glob(".tmp*"))


def test_that_torch_does_not_hide_why_a_write_failed() -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        checkpoints._HashingFile(Full()).save({"w": torch.ones(9)})


def test_that_what_reads_back_differently_is_not_named(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = save(folder, 1)
    monkeypatch.setattr(checkpoints, "sha256_of", lambda path: "0" * 64)
    with pytest.raises(DamagedFileError, match="reads back differently"):
        save(folder, 2)
    monkeypatch.undo()
    assert folder.latest() == first


def test_that_too_little_space_is_said_beforehand(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "free_bytes", lambda path: 1_000_000)
    with pytest.raises(StoreError, match=r"1.0 MB free, 64.0 MB needed"):
        save(folder, 1)


FULL_DISK = (
    FILE_SIZE_LIMIT
    + """
import sys
from pathlib import Path
import torch
from engine.errors import StoreError
from engine.store.checkpoints import CheckpointFolder, save_weights
folder = CheckpointFolder(Path(sys.argv[1]))
folder.save({"w": torch.ones(10)}, stage="attack", step=1)
limit_file_size(100_000)
try:
    folder.save({"w": torch.ones(100_000)}, stage="attack", step=2)
except StoreError as error:
    print(error)
for name in ("w.pt", "w.safetensors"):
    try:
        save_weights(folder.path / name, {"w": torch.ones(100_000)}, {})
    except StoreError as error:
        print(error)
print(folder.latest().name)
"""
)


def test_that_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    status, output = run_python(FULL_DISK, tmp_path / "checkpoints")
    assert status == 0, output
    assert output.count("File too large") == 3
    assert output.endswith("0001-attack-00000001.pt\n")
    assert not list((tmp_path / "checkpoints").glob(".tmp*"))


class _RunsCode:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.canary,))


def repack(
    path: Path, change: Callable[[dict[str, bytes]], None], compression: int = zipfile.ZIP_STORED
) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def hostile_files(folder: Path) -> dict[str, str]:
    """Write one file per rule; returns name -> what the refusal must say."""
    tensor = torch.arange(10.0)
    (folder / "page.pt").write_text("\n <!DOCTYPE html><html>Sign in</html>")
    (folder / "pointer.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    torch.save({"a": _RunsCode(folder / "canary")}, folder / "code.pt")
    (folder / "pickle.pt").write_bytes(pickle.dumps({"a": _RunsCode(folder / "canary")}))
    torch.save({"a": tensor}, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"a": torch.zeros(1).expand(10**12)}, folder / "expanded.pt")
    torch.save({"a": tensor[:2]}, folder / "part.pt")
    large = torch.zeros(10_000)
    torch.save({str(index): large for index in range(200)}, folder / "aliases.pt")
    torch.save({"a": torch.zeros(2, dtype=torch.complex64)}, folder / "complex.pt")
    torch.save([tensor], folder / "list.pt")
    torch.save({"a": {1, 2}}, folder / "set.pt")
    bomb: Any = []
    for _ in range(40):
        bomb = [bomb, bomb]
    torch.save({"a": bomb}, folder / "laughs.pt")
    for name in ("deflated", "extra", "dots", "two"):
        torch.save({"a": tensor}, folder / f"{name}.pt")
    repack(folder / "deflated.pt", lambda members: None, zipfile.ZIP_DEFLATED)
    repack(folder / "extra.pt", lambda members: members.update({"extra/code/run.py": b""}))
    repack(folder / "dots.pt", lambda members: members.update({"../data/9": b""}))
    repack(folder / "two.pt", lambda members: members.update({"other/version": b"3"}))
    with zipfile.ZipFile(folder / "program.pt", "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(_RunsCode(folder / "canary"), protocol=4))
    return {
        "program": "uses STACK_GLOBAL",
        "page": "is an HTML page, not a checkpoint",
        "pointer": "is a Git LFS pointer",
        "code": "asks for __builtin__",
        "pickle": "old-style pickle",
        "legacy": "old-style pickle",
        "expanded": "claims 4.0 TB but 4 bytes are stored",
        "part": "claims 8 bytes but 40 bytes are stored",
        "aliases": "more than the file holds",
        "complex": "expected a plain tensor",
        "list": "expected a dict",
        "set": "rule: no code|rule: plain values",
        "laughs": "more than 50000 entries",
        "deflated": "is compressed",
        "extra": "which no checkpoint has",
        "dots": "which no checkpoint has",
        "two": "more than one folder",
    }


def test_that_hostile_checkpoints_are_refused_and_run_nothing(
    tmp_path: Path, trusting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensor_files, "MAX_ENTRIES", 50_000)
    for name, message in hostile_files(tmp_path).items():
        with pytest.raises(UntrustedFileError, match=message):
            load_checkpoint(tmp_path / f"{name}.pt")
    assert not (tmp_path / "canary").exists()


def test_that_the_child_refuses_what_only_loading_shows(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(10**12)}, tmp_path / "expanded.pt")
    with pytest.raises(UntrustedFileError, match=r"expanded\.pt: a claims 4.0 TB"):
        load_checkpoint(tmp_path / "expanded.pt")


def test_that_a_checkpoint_of_unknown_origin_is_read_after_a_probe(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(folder, 1)
    monkeypatch.setattr(safe_open, "_own", {})
    probed: list[Path] = []
    real = checkpoints.probe
    monkeypatch.setattr(checkpoints, "probe", lambda path: probed.append(path) or real(path))
    assert_same(load_checkpoint(path), state(1))
    assert probed == [path]


def test_that_damage_anywhere_in_a_checkpoint_is_noticed(tmp_path: Path, trusting: None) -> None:
    path = tmp_path / "model.pt"
    torch.save(state(1), path)
    whole = path.read_bytes()
    noticed = 0
    for position in range(0, len(whole), 61):
        path.write_bytes(whole)
        corrupt(path, position)
        try:
            found = load_checkpoint(path)
        except StoreError:
            noticed += 1
        else:
            assert_same(found, state(1))
    assert noticed > 10
    for size in range(0, len(whole), 211):
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedFileError):
            load_checkpoint(path)


def test_that_larger_tensors_than_expected_are_refused(folder: CheckpointFolder) -> None:
    path = folder.save({"w": torch.ones(1000)}, stage="attack", step=0)
    assert load_checkpoint(path, expected_bytes=4000)["w"].sum() == 1000
    with pytest.raises(CheckpointError, match=r"4\.0 kB of tensors, but at most 3\.0 kB"):
        load_checkpoint(path, expected_bytes=3000)


def test_that_a_missing_checkpoint_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file") as caught:
        load_checkpoint(tmp_path / "none.pt")
    assert type(caught.value) is StoreError


WEIGHTS = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_that_weights_come_back_with_their_metadata(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"weights{ending}"
    save_weights(path, {**WEIGHTS, "view": WEIGHTS["w"].t()[:1]}, {"run": "rün"})
    tensors, metadata = load_weights(path)
    assert_same(
        dict(sorted(tensors.items())), {"b": WEIGHTS["b"], "view": WEIGHTS["w"].t()[:1], "w": WEIGHTS["w"]}
    )
    assert metadata == {"run": "rün"}
    digest, name = (tmp_path / f"weights{ending}.sha256").read_text().split()
    assert (len(digest), name) == (64, path.name)


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_that_weights_must_match_their_digest(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"weights{ending}"
    save_weights(path, WEIGHTS, {})
    corrupt(path, -1 if ending == ".safetensors" else 500)
    with pytest.raises(DamagedFileError, match="SHA-256"):
        load_weights(path)


def test_that_weights_of_others_are_read(tmp_path: Path, trusting: None) -> None:
    torch.save({"state_dict": WEIGHTS, "epoch": 3}, tmp_path / "nested.pt")
    torch.save(WEIGHTS, tmp_path / "flat.pt")
    for name in ("nested.pt", "flat.pt"):
        assert_same(load_weights(tmp_path / name)[0], WEIGHTS)
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="'epoch' is not a tensor"):
        load_weights(tmp_path / "none.pt")


def test_that_unsuitable_weights_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"as .safetensors or .pt, got 'w.bin'"):
        save_weights(tmp_path / "w.bin", WEIGHTS, {})
    with pytest.raises(CheckpointError, match="not finite"):
        save_weights(tmp_path / "w.pt", {"w": torch.tensor([math.nan])}, {})
    assert list(tmp_path.iterdir()) == []


def header(text: str, data: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text.encode() + data


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", DamagedFileError, "empty"),
        (b"abc", DamagedFileError, "cut short"),
        ((2**63).to_bytes(8, "little"), DamagedFileError, "cut short"),
        (header("{"), DamagedFileError, "header is unreadable"),
        (header("[]"), DamagedFileError, "no table"),
        (header('{"__metadata__": {"a": 1}}'), UntrustedFileError, "metadata"),
        (header('{"w": 1}'), UntrustedFileError, "tensor type"),
        (
            header('{"w": {"dtype": "F4", "shape": [1], "data_offsets": [0, 4]}}'),
            UntrustedFileError,
            "tensor type",
        ),
        (
            header('{"w": {"dtype": "F32", "shape": [99999999999], "data_offsets": [0, 4]}}', b"1234"),
            UntrustedFileError,
            "claims other bytes",
        ),
        (
            header('{"w": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}}', b"1234"),
            UntrustedFileError,
            "claims other bytes",
        ),
        (
            header(
                '{"w": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},'
                ' "v": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}',
                b"1234",
            ),
            UntrustedFileError,
            "no overlap",
        ),
        (
            header('{"w": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}', b"12"),
            DamagedFileError,
            "cut short",
        ),
        (b"<html>", UntrustedFileError, "HTML page"),
    ],
)
def test_that_bad_safetensors_files_are_refused(
    tmp_path: Path, content: bytes, error: type[Exception], message: str
) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        tensor_files.check_safetensors(path)


def test_that_bad_weights_of_others_are_refused_by_the_child(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(header('{"w": 1}'))
    with pytest.raises(UntrustedFileError, match="not described as a plain tensor"):
        load_weights(tmp_path / "w.safetensors")


def test_that_safetensors_of_others_are_read(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "w.safetensors", metadata={"format": "pt"})
    assert load_weights(tmp_path / "w.safetensors")[1] == {"format": "pt"}


def zip_of(path: Path, *members: tuple[str, bytes]) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        for name, data in members:
            archive.writestr(name, data)
    return path


EMPTY_DICT = pickle.dumps({}, protocol=2)


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        ([("x/version", b"3")], DamagedFileError, "holds no data.pkl"),
        ([("x/version", b"3")] * 2, UntrustedFileError, "unique names"),
        ([(f"x/data/{index}", b"") for index in range(60)], UntrustedFileError, "number of members"),
        ([("x/data.pkl", b"N" * 2000)], UntrustedFileError, "pickle size"),
        ([("x/data.pkl", b"N" * 900)], UntrustedFileError, "more than 800 instructions"),
        ([("x/data.pkl", b"\xff")], DamagedFileError, "data.pkl is unreadable"),
        ([("x/data.pkl", b"\x80\x02N.")], DamagedFileError, "cannot be loaded|expected a dict"),
        ([("x/data.pkl", b"\x80\x02}(M\x01\x00.")], DamagedFileError, "cannot be loaded"),
    ],
)
def test_that_odd_zips_are_refused(
    tmp_path: Path,
    trusting: None,
    monkeypatch: pytest.MonkeyPatch,
    members: list[tuple[str, bytes]],
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 50)
    monkeypatch.setattr(tensor_files, "MAX_PICKLE_BYTES", 1000)
    monkeypatch.setattr(tensor_files, "MAX_PICKLE_STEPS", 800)
    with pytest.raises(error, match=message):
        load_checkpoint(zip_of(tmp_path / "x.pt", *members))


def test_that_members_may_not_share_bytes(tmp_path: Path, trusting: None) -> None:
    path = zip_of(tmp_path / "x.pt", ("x/data.pkl", EMPTY_DICT), ("x/data/0", b"\0" * 100))
    data = bytearray(path.read_bytes())
    for place in (data.rindex(b"PK\1\2") + 20, data.rindex(b"PK\3\4") + 18):
        data[place : place + 8] = 2 * (5000).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    with pytest.raises(UntrustedFileError, match="shares bytes"):
        load_checkpoint(path)


def test_that_encrypted_members_are_refused(tmp_path: Path, trusting: None) -> None:
    path = zip_of(tmp_path / "x.pt", ("x/data.pkl", EMPTY_DICT))
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\1\2") + 8] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UntrustedFileError, match="is encrypted"):
        load_checkpoint(path)


def test_that_files_beyond_the_limit_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_files, "MAX_FILE_BYTES", 10)
    with pytest.raises(UntrustedFileError, match="at most 10 bytes"):
        load_checkpoint(zip_of(tmp_path / "x.pt", ("x/data.pkl", EMPTY_DICT)))
    monkeypatch.undo()
    monkeypatch.setattr(tensor_files, "MAX_HEADER_BYTES", 1)
    (tmp_path / "w.safetensors").write_bytes(header("{}"))
    with pytest.raises(UntrustedFileError, match="header size"):
        load_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize("key", [1.5, None, (1, 2)])
def test_that_only_plain_keys_are_saved(folder: CheckpointFolder, key: Any) -> None:
    with pytest.raises(UntrustedFileError, match="plain keys"):
        folder.save({"x": {key: 1}}, stage="attack", step=0)


def verdict(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert probe.main([str(path)]) == 0
    ready, answer = capsys.readouterr().out.splitlines()
    assert ready == "ready"
    return dict(json.loads(answer))


def test_that_the_probe_answers_for_each_kind_of_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_limit_memory", lambda: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    save_weights(tmp_path / "w.safetensors", WEIGHTS, {})
    torch.save(WEIGHTS, tmp_path / "w.pt")
    torch.save({"w": torch.zeros(9)[:1]}, tmp_path / "view.pt")
    (tmp_path / "page.h5").write_text("<html>")
    assert verdict(tmp_path / "w.safetensors", capsys) == {"verdict": "ok", "kind": "weights"}
    assert verdict(tmp_path / "w.pt", capsys) == {"verdict": "ok", "kind": "checkpoint"}
    assert verdict(tmp_path / "view.pt", capsys)["verdict"] == "refused"
    assert verdict(tmp_path / "page.h5", capsys)["verdict"] == "damaged"
    for error, expected in ((MemoryError(), "memory"), (KeyError("x"), "KeyError")):
        with fail_on_call(probe, "read_checkpoint", 1, error):
            assert expected in verdict(tmp_path / "w.pt", capsys)["message"]


LIMITED = """
import sys
from engine.store import probe
probe.MEMORY_BYTES = 200_000_000
probe._limit_memory()
try:
    bytearray(10**9)
except MemoryError:
    print("memory")
try:
    with open(sys.argv[1], "wb") as file:
        file.write(b"x")
except OSError as error:
    print(error.strerror)
"""


def test_that_the_child_can_neither_fill_the_memory_nor_write_files(tmp_path: Path) -> None:
    # Python ignores SIGXFSZ, so that the write fails instead of ending the process.
    assert run_python(LIMITED, tmp_path / "x") == (0, "memory\nFile too large\n")
