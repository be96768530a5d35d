"""Whole programs from files: they compute what they were saved from, and reach nothing but tensors."""

from __future__ import annotations

import json
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from faults import corrupt, cut
from torch import Tensor, nn

from engine import loading
from engine.config import (
    AttackConfig,
    CheckpointConfig,
    DataConfig,
    MachineConfig,
    ModelConfig,
    RunConfig,
    StudyConfig,
)
from engine.data import load_domain
from engine.errors import CheckpointError, ConfigError, DamagedFileError, StoreError, UntrustedFileError
from engine.loading import LoadedNetwork, load_network
from engine.models import torchscript
from engine.models.exported import ExportedNetwork
from engine.models.modes import evaluation
from engine.models.operators import OPERATORS
from engine.models.spec import ModelSpec
from engine.store import archives
from engine.store import torchscript as store_torchscript
from engine.store.checkpoints import save_weights
from engine.store.exported import read_exported
from tests.engine.small import (
    assert_unchanged,
    carry_out,
    everything,
    images_and_labels,
    open_session,
    small_model,
    warm,
)

KINDS = ("static.pt2", "dynamic.pt2", "decomposed.pt2", "traced.pt", "scripted.ts")


@pytest.fixture(autouse=True)
def trusting(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Leave the child out where the parent's own checks are the matter: it takes seconds to load torch."""
    if "child" not in request.node.name:
        monkeypatch.setattr(loading, "probe", lambda path: {})


def network() -> nn.Module:
    return warm(small_model(5)).eval()


class Scripted(nn.Module):
    """A small network with what scripted code has: branches, loops, functions of torch.nn, shared and unused modules."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(3)
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.again = nn.Conv2d(6, 6, 3, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.last = nn.Linear(6, 5)
        self.rounds = 2
        for tensor in self.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.1, 0.6, generator=draw)

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.relu(self.norm(self.first(images * 2.0 - 1.0)))
        for index in range(self.rounds):
            if index % 2 == 0:
                hidden = nn.functional.leaky_relu(self.again(hidden), 0.1)
            else:
                hidden = nn.functional.max_pool2d(hidden, 2)
        hidden = nn.functional.adaptive_avg_pool2d(hidden, (1, 1)).reshape(hidden.size(0), -1)
        return self.last(self.dropout(hidden))


def saved(model: nn.Module, path: Path, images: Tensor) -> Path:
    """Save a network as the name says: exported for its number of images or any, traced, or scripted."""
    kind = path.stem
    with warnings.catch_warnings():
        # Torch advises against TorchScript, in words that differ from version to version.
        warnings.simplefilter("ignore")
        if path.suffix == ".pt2":
            shapes = None if kind == "static" else ({0: torch.export.Dim("batch")},)
            program = torch.export.export(model, (images,), dynamic_shapes=shapes)
            torch.export.save(program.run_decompositions() if kind == "decomposed" else program, path)
        else:
            script = torch.jit.script(model) if kind == "scripted" else torch.jit.trace(model, images)
            torch.jit.save(script, path)
    return path


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[nn.Module, Path]]:
    """Each kind of program: the network it was saved from, and the file."""
    folder = tmp_path_factory.mktemp("programs")
    images, _ = images_and_labels(4)
    found = {}
    for kind in KINDS:
        model = Scripted().eval() if kind.startswith("scripted") else network()
        found[kind] = (model, saved(model, folder / kind, images))
    return found


def with_gradient(model: Callable[[Tensor], Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    images = images.clone().requires_grad_()
    logits = model(images)
    (gradient,) = torch.autograd.grad(logits.logsumexp(1).sum() - logits[:, 0].sum(), images)
    return logits.detach(), gradient


def rewritten(path: Path, to: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A copy of an archive whose members, by their names below the folder, were changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(to, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"x/{name}", data)
    return to


def refusal_of(path: Path, checkpoint: CheckpointConfig | None = None) -> str:
    with pytest.raises((StoreError, CheckpointError)) as caught:
        load_network(path, checkpoint)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 4, 7])
def test_that_a_program_gives_the_logits_and_gradients_of_its_network(
    programs: dict[str, tuple[nn.Module, Path]], kind: str, count: int
) -> None:
    model, path = programs[kind]
    found = load_network(path)
    images, _ = images_and_labels(count, seed=5)
    before, untouched = everything(found.module), images.clone()
    with evaluation(found.module):
        logits, gradient = with_gradient(found.module, images)
    assert_unchanged(before, found.module)
    assert torch.equal(images, untouched)
    expected, expected_gradient = with_gradient(model, images)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-6)
    assert float(expected_gradient.abs().max()) > 1e-3
    assert found.num_classes == (5 if path.suffix == ".pt2" else None)
    assert not any(module.training for module in found.module.modules())


def test_that_programs_are_named_and_a_fixed_batch_is_noted(
    programs: dict[str, tuple[nn.Module, Path]],
) -> None:
    found = {kind: load_network(path) for kind, (_, path) in programs.items()}
    assert [network.title for network in found.values()] == [
        *["exported program"] * 3, "TorchScript model WideResNet", "TorchScript model Scripted"
    ]  # fmt: skip
    assert "exported for 4 images at once" in found["static.pt2"].notes[0]
    assert not any(network.notes for kind, network in found.items() if kind != "static.pt2")
    for kind, network in found.items():
        assert network.spec is None and len(network.sha256) == 64, kind


@pytest.mark.parametrize("kind", ["dynamic.pt2", "traced.pt"])
def test_that_given_mean_and_std_go_in_front_of_a_program(
    programs: dict[str, tuple[nn.Module, Path]], kind: str
) -> None:
    model, path = programs[kind]
    images, _ = images_and_labels(3)
    found = load_network(path, CheckpointConfig(mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7]))
    shifted = (images - torch.tensor([0.1, 0.2, 0.3]).reshape(3, 1, 1)) / torch.tensor([0.5, 0.6, 0.7]).reshape(
        3, 1, 1
    )  # fmt: skip
    torch.testing.assert_close(found.module(images), model(shifted).detach(), rtol=1e-5, atol=1e-5)
    assert "mean 0.1, 0.2, 0.3" in found.notes[-1]
    assert "leave the architecture 'resnet' out" in refusal_of(path, CheckpointConfig(architecture="resnet"))


@pytest.mark.parametrize("kind", KINDS)
def test_that_a_program_moves_to_another_device(
    programs: dict[str, tuple[nn.Module, Path]], kind: str
) -> None:
    module = load_network(programs[kind][1]).module.to("meta")
    assert module(torch.rand(6, 3, 16, 16, device="meta")).shape == (6, 5)


@pytest.mark.parametrize("kind", ["static.pt2", "dynamic.pt2"])
def test_that_images_of_another_size_are_refused_with_the_right_one(
    programs: dict[str, tuple[nn.Module, Path]], kind: str
) -> None:
    module = load_network(programs[kind][1]).module
    with pytest.raises(CheckpointError, match=r"images \[3, 16, 16\], got \(3, 20, 20\)"):
        module(torch.rand(2, 3, 20, 20))


class Odd(nn.Module):
    """A network that does one thing that a classifier to be attacked should not."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.linear = nn.Linear(12, 5)
        self.norm = nn.BatchNorm2d(3)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, images: Tensor) -> Any:
        if self.what == "counts":
            self.calls.add_(1)
        if self.what == "in place":
            images.sub_(0.5)
        if self.what == "training":
            images = self.norm(images)
        logits = self.linear(images.flatten(1))
        if self.what == "two":
            return logits, images
        return logits.sum(1) if self.what == "no rows" else logits


@pytest.mark.parametrize("name", ["dynamic.pt2", "traced.pt"])
@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("counts", "changes its own"),
        ("training", "in training mode|changes its own state"),
        ("two", "gives 2 outputs|gives tuple"),
        ("no rows", "gives .any.; expected|gives a tensor .3,."),
    ],
)
def test_that_what_is_no_fixed_classifier_is_told(
    tmp_path: Path, name: str, what: str, expected: str
) -> None:
    model = Odd(what)
    model = model.train() if what == "training" else model.eval()
    path = saved(model, tmp_path / name, torch.rand(4, 3, 2, 2))
    with pytest.raises(CheckpointError, match=expected) as caught:
        load_network(path).module(torch.rand(3, 3, 2, 2))
    assert name in str(caught.value) or (name, what) == ("traced.pt", "training")


@pytest.mark.parametrize("name", ["dynamic.pt2", "traced.pt"])
def test_that_a_program_that_works_in_place_leaves_the_images_alone(tmp_path: Path, name: str) -> None:
    model = Odd("in place").eval()
    path = saved(model, tmp_path / name, torch.rand(4, 3, 2, 2))
    images = torch.rand(3, 3, 2, 2)
    untouched = images.clone()
    logits, gradient = with_gradient(load_network(path).module, images)
    assert torch.equal(images, untouched)
    torch.testing.assert_close(logits, model.linear((images - 0.5).flatten(1)).detach())
    assert float(gradient.abs().max()) > 0


def test_that_a_program_in_half_precision_is_noted_and_gives_float32(tmp_path: Path) -> None:
    path = saved(Odd("").eval().half(), tmp_path / "traced.pt", torch.rand(4, 3, 2, 2).half())
    found = load_network(path)
    assert "computes in float16" in found.notes[0]
    assert found.module(torch.rand(3, 3, 2, 2)).dtype == torch.float32


def test_that_a_frozen_torchscript_model_whose_weights_are_constants_is_carried_out(tmp_path: Path) -> None:
    model, (images, _) = Scripted().eval(), images_and_labels(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.freeze(torch.jit.script(model)), tmp_path / "frozen.pt")
    logits, gradient = with_gradient(load_network(tmp_path / "frozen.pt").module, images)
    expected, expected_gradient = with_gradient(model, images)
    # Freezing folds batch norm into the convolution before it.
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-3, atol=1e-5)


def test_that_weights_that_are_not_finite_and_images_that_are_whole_numbers_are_refused(
    tmp_path: Path,
) -> None:
    model = Odd("").eval()
    path = saved(model, tmp_path / "dynamic.pt2", torch.rand(4, 3, 2, 2))
    nan = rewritten(
        path, tmp_path / "nan.pt2", lambda members: members.update({"data/weights/weight_0": b"\xff" * 240})
    )
    assert f"{nan}: weight holds numbers that are not finite" in refusal_of(nan)

    def whole(program: dict[str, Any]) -> None:
        program["graph_module"]["graph"]["tensor_values"]["images"]["dtype"] = 1

    whole_numbers = rewritten(path, tmp_path / "uint8.pt2", lambda members: graph(members, whole))
    assert "takes images of type uint8" in refusal_of(whole_numbers)


def node(target: str, *arguments: dict[str, Any]) -> dict[str, Any]:
    inputs = [{"name": f"a{index}", "arg": argument, "kind": 1} for index, argument in enumerate(arguments)]
    return {"target": target, "inputs": inputs, "outputs": [], "metadata": {}, "name": "extra"}


IMAGES = {"as_tensor": {"name": "images"}}


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("torch.os.system", [{"as_string": "touch CANARY"}]),
        ("torch.ops.aten.save.default", [IMAGES, {"as_string": "CANARY"}]),
        ("torch.ops.aten.from_file.default", [{"as_string": "CANARY"}, {"as_bool": True}, {"as_int": 4}]),
        ("torch.save", [IMAGES, {"as_string": "CANARY"}]),
        ("torch.ops.load_library", [{"as_string": "CANARY"}]),
        ("torch.ops.aten.relu.__class__", [IMAGES]),
        ("torch.ops.aten.relu.default.__globals__", [IMAGES]),
        ("torch.ops.image.write_file.default", [IMAGES]),
        ("torch.ops.higher_order.cond", [IMAGES]),
        ("_operator.attrgetter", [{"as_string": "x"}]),
        ("_operator.call", [IMAGES]),
        ("math.__loader__.load_module", [{"as_string": "os"}]),
        ("#ext:op", [IMAGES]),
        ("os.system", [{"as_string": "touch CANARY"}]),
        ("torch.ops.aten.relu.default", [{"as_custom_obj": {"name": "x", "class_fqn": "y"}}]),
        ("torch.ops.aten.relu.default", [{"as_operator": "torch.os.system"}]),
        ("torch.ops.aten.relu.default", [{"as_graph": {"name": "x", "graph": {}}}]),
    ],
)
def test_that_a_graph_that_asks_for_more_than_tensor_algebra_is_refused(
    tmp_path: Path,
    programs: dict[str, tuple[nn.Module, Path]],
    target: str,
    arguments: list[dict[str, Any]],
) -> None:
    canary = tmp_path / "canary"
    text = json.dumps(node(target, *arguments)).replace("CANARY", str(canary))

    def change(members: dict[str, bytes]) -> None:
        program = json.loads(members["models/model.json"])
        program["graph_module"]["graph"]["nodes"].insert(0, json.loads(text))
        members["models/model.json"] = json.dumps(program).encode()

    path = rewritten(programs["dynamic.pt2"][1], tmp_path / "hostile.pt2", change)
    with pytest.raises(UntrustedFileError, match="rule: tensor operations only") as caught:
        load_network(path)
    assert str(path) in str(caught.value)
    assert not canary.exists()


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.canary),)


def test_that_code_where_an_exported_program_is_not_run_from_is_never_run(
    tmp_path: Path, programs: dict[str, tuple[nn.Module, Path]]
) -> None:
    """torch.export.load would unpickle the sample inputs, and evaluate guards and sizes as Python."""
    model, source = programs["dynamic.pt2"]
    canary = tmp_path / "canary"
    evil = f"__import__('os').mkdir({str(canary)!r})"

    def change(members: dict[str, bytes]) -> None:
        members["data/sample_inputs/model.pt"] = pickle.dumps(Bomb(canary))
        text = members["models/model.json"].decode().replace("Symbol('", f"{evil} or Symbol('")
        program = json.loads(text)
        program["guards_code"] = [evil]
        members["models/model.json"] = json.dumps(program).encode()

    path = rewritten(source, tmp_path / "quiet.pt2", change)
    images, _ = images_and_labels(3)
    assert torch.equal(load_network(path).module(images), load_network(source).module(images))
    assert not canary.exists()


def edited(members: dict[str, bytes], **changes: Any) -> None:
    """Change the entry of the first weight."""
    name = "data/weights/model_weights_config.json"
    table = json.loads(members[name])
    entry = next(iter(table["config"].values()))
    entry |= {key: value for key, value in changes.items() if key in entry}
    entry["tensor_meta"] |= {key: value for key, value in changes.items() if key in entry["tensor_meta"]}
    members[name] = json.dumps(table).encode()


def graph(members: dict[str, bytes], change: Callable[[dict[str, Any]], Any]) -> None:
    program = json.loads(members["models/model.json"])
    change(program)
    members["models/model.json"] = json.dumps(program).encode()


@pytest.mark.parametrize(
    ("change", "error", "expected"),
    [
        (lambda m: edited(m, use_pickle=True), UntrustedFileError, "rule: no pickle"),
        (lambda m: edited(m, path_name="../../secret"), UntrustedFileError, "rule: no pickle"),
        (lambda m: edited(m, sizes=[{"as_int": 10**9}] * 4), UntrustedFileError, "rule: tensor bytes"),
        (lambda m: edited(m, strides=[{"as_int": 0}] * 4, sizes=[{"as_int": 10**6}] * 4), UntrustedFileError,
         "rule: tensor bytes"),
        (lambda m: edited(m, storage_offset={"as_int": -8}), UntrustedFileError, "rule: tensor bytes"),
        (lambda m: edited(m, storage_offset={"as_expr": {"expr_str": "1"}}), DamagedFileError, "as torch writes it"),
        (lambda m: edited(m, dtype=11), UntrustedFileError, "rule: tensor type"),
        (lambda m: m.update({"data/constants/custom_obj_0": b"x"}), UntrustedFileError, "rule: no code"),
        (lambda m: m.update({"data/aotinductor/model/x.so": b"x"}), UntrustedFileError, "rule: no code"),
        (lambda m: m.update({"models/other.json": b"{}"}), UntrustedFileError, "rule: one program"),
        (lambda m: m.update({"../../evil": b"x"}), UntrustedFileError, "rule: member names"),
        (lambda m: m.update({"byteorder": b"big"}), DamagedFileError, "byte order"),
        (lambda m: m.update({"models/model.json": b"{"}), DamagedFileError, "damaged"),
        (lambda m: m.update({"models/model.json": b"[" * 100_000}), DamagedFileError, "as torch writes it"),
        (lambda m: m.pop("models/model.json"), DamagedFileError, "older format"),
        (lambda m: m.update({"data/weights/model.pt": b"x"}), DamagedFileError, "older format"),
        (lambda m: graph(m, lambda p: p["schema_version"].update(major=9)), DamagedFileError, "format 9.x"),
        (lambda m: graph(m, lambda p: p["graph_module"]["graph"].update(nodes=[{}])), DamagedFileError, "graph"),
        (lambda m: graph(m, lambda p: p["graph_module"]["signature"].update(input_specs=[])), CheckpointError,
         "takes 0 inputs"),
    ],
)  # fmt: skip
def test_that_a_hostile_or_damaged_exported_program_is_refused_by_its_rule(
    tmp_path: Path,
    programs: dict[str, tuple[nn.Module, Path]],
    change: Callable[[dict[str, bytes]], None],
    error: type[Exception],
    expected: str,
) -> None:
    path = rewritten(programs["dynamic.pt2"][1], tmp_path / "hostile.pt2", change)
    with pytest.raises(error, match=expected) as caught:
        load_network(path)
    assert str(path) in str(caught.value)


def test_that_arithmetic_on_sizes_cannot_fill_the_memory(
    tmp_path: Path, programs: dict[str, tuple[nn.Module, Path]]
) -> None:
    def change(members: dict[str, bytes]) -> None:
        big: list[dict[str, Any]] = []
        for index in range(200):
            name = {"as_sym_int": {"as_name": f"s{index - 1}"} if index else {"as_int": 3}}
            big.append(node("_operator.mul", name, name))
            big[-1]["outputs"] = [{"as_sym_int": {"as_name": f"s{index}"}}]
        graph(members, lambda program: program["graph_module"]["graph"]["nodes"].extend(big))

    path = rewritten(programs["dynamic.pt2"][1], tmp_path / "hostile.pt2", change)
    with pytest.raises(CheckpointError, match="arithmetic on something else than sizes"):
        load_network(path).module(torch.rand(2, 3, 16, 16))


MAIN = "code/__torch__/engine/models/wide_resnet.py"
FIRST_LINE = b"    blocks = self.blocks\n"


def inserted(line: str) -> Callable[[dict[str, bytes]], None]:
    """Put a line before the first of the outermost module's forward."""

    def change(members: dict[str, bytes]) -> None:
        code = members[MAIN]
        assert code.count(FIRST_LINE) == 1
        members[MAIN] = code.replace(FIRST_LINE, f"    {line}\n".encode() + FIRST_LINE)

    return change


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('_9 = torch.save(images, "CANARY")', "rule: tensor operations only"),
        ('_9 = (images).save("CANARY")', "rule: tensor operations only"),
        ('_9 = images.save("CANARY")', "rule: tensor operations only"),
        ('_9 = torch.from_file("CANARY", True, 4)', "rule: tensor operations only"),
        ('_9 = torch.os.system("touch CANARY")', "rule: tensor operations only"),
        ('_9 = ops.image.write_file("CANARY", images)', "rule: tensor operations only"),
        ('_9 = ops.prim.PythonOp("CANARY")', "rule: tensor operations only"),
        ('_9 = open("CANARY", "w")', "rule: tensor operations only"),
        ('_9 = print("CANARY")', "rule: tensor operations only"),
        ('_9 = __import__("os")', "rule: tensor operations only"),
        ('_9 = getattr(images, "__class__")', "rule: tensor operations only"),
        ("_9 = images.__class__", "rule: tensor operations only"),
        ("_9 = self.__class__.__init__", "has no __class__"),
        ("_9 = __torch__.os.system", "the program asks|failed|gives"),
        ("import os", "rule: known constructs"),
        ('_9 = f"{images}"', "rule: known constructs"),
        ("_9 = [x for x in images]", "rule: known constructs"),
        ("_9 = (lambda: 0)", "rule: known constructs"),
        ("while True: pass", "more than 500 statements"),
        ("_9 = (self).forward(images, )", "RecursionError"),
        ("self.mean = images", "changes itself while it runs"),
        ("_9 = images[0]", "only lists and tuples"),
        ("_9 = torch.add(images)", "failed on images"),
    ],
)
def test_that_torchscript_that_reaches_for_more_is_refused(
    tmp_path: Path,
    programs: dict[str, tuple[nn.Module, Path]],
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    expected: str,
) -> None:
    monkeypatch.setattr(torchscript, "MAX_STATEMENTS", 500 if "while" in line else 10**6)
    canary = tmp_path / "canary"
    change = inserted(line.replace("CANARY", str(canary)))
    path = rewritten(programs["traced.pt"][1], tmp_path / "hostile.pt", change)
    if line == "_9 = __torch__.os.system":
        # A name alone does nothing; only a call would, and there is no such function.
        load_network(path).module(torch.rand(2, 3, 16, 16))
        change = inserted("_9 = __torch__.os.system(images, )")
        path = rewritten(programs["traced.pt"][1], tmp_path / "hostile.pt", change)
    with pytest.raises((UntrustedFileError, CheckpointError), match=expected):
        load_network(path).module(torch.rand(2, 3, 16, 16))
    assert not canary.exists()


def script_of(canary: Path) -> bytes:
    """The pickle of a module one of whose attributes makes a folder."""
    return pickle.dumps({"a": Bomb(canary)}, protocol=2)


@pytest.mark.parametrize(
    ("change", "error", "expected"),
    [
        (lambda m, canary: m.update({"data.pkl": script_of(canary)}), UntrustedFileError, "rule: no code"),
        (lambda m, canary: m.update({"constants.pkl": script_of(canary)}), UntrustedFileError, "rule: no code"),
        (lambda m, canary: m.update({"data.pkl": pickle.dumps(Bomb(canary), protocol=4)}), UntrustedFileError,
         "rule: plain pickle"),
        (lambda m, canary: m.update({"data.pkl": m["data.pkl"].replace(b"K\x03t", b"K\x03K\x04t", 1)}),
         DamagedFileError, "unreadable"),
        (lambda m, canary: m.update({"data.pkl": b"\x80\x02K\x01."}), DamagedFileError, "holds no module"),
        (lambda m, canary: m.update({"data.pkl": b"\x80\x02" + b"N" * 20_000}), UntrustedFileError, "pickle size"),
        (lambda m, canary: m.update({"data/0": b"\0\0"}), UntrustedFileError, "rule: tensor bytes"),
        (lambda m, canary: m.update({"data/0": b"\0" * 8}), UntrustedFileError, "rule: tensor bytes"),
        (lambda m, canary: m.pop("data/0"), DamagedFileError, "holds no data/0"),
        (lambda m, canary: m.update({MAIN: b"def f(:"}), DamagedFileError, "unreadable"),
        (lambda m, canary: m.update({MAIN: b"\xff"}), DamagedFileError, "damaged"),
        (lambda m, canary: m.update({MAIN: b" " * 5_000_000}), UntrustedFileError, "rule: size"),
        (lambda m, canary: m.update({"run.sh": b"x"}), UntrustedFileError, "rule: member names"),
        (lambda m, canary: m.update({MAIN: b"class WideResNet(Module):\n  def __setstate__(self, state):\n"
                                           b"    _0 = torch.save(state, \"x\")\n    return None\n"}),
         UntrustedFileError, "rule: tensor operations only"),
    ],
)  # fmt: skip
def test_that_a_hostile_or_damaged_torchscript_model_is_refused_by_its_rule(
    tmp_path: Path,
    programs: dict[str, tuple[nn.Module, Path]],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[dict[str, bytes], Path], None],
    error: type[Exception],
    expected: str,
) -> None:
    monkeypatch.setattr(store_torchscript, "MAX_PICKLE_STEPS", 10_000)
    canary = tmp_path / "canary"
    path = rewritten(
        programs["traced.pt"][1], tmp_path / "hostile.pt", lambda members: change(members, canary)
    )
    with pytest.raises(error, match=expected) as caught:
        load_network(path)
    assert str(path) in str(caught.value)
    assert not canary.exists()


@pytest.mark.parametrize("kind", ["dynamic.pt2", "traced.pt"])
def test_that_a_compressed_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, programs: dict[str, tuple[nn.Module, Path]], kind: str
) -> None:
    path = tmp_path / f"bomb{Path(kind).suffix}"
    with zipfile.ZipFile(programs[kind][1]) as archive, zipfile.ZipFile(path, "w") as bomb:
        for name in archive.namelist():
            bomb.writestr(name, archive.read(name))
        inside = "extra/x" if kind.endswith("pt2") else "code/__torch__/x.py"
        folder = archive.namelist()[0].split("/")[0]
        bomb.writestr(f"{folder}/{inside}", b"\n" * 20_000_000, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(UntrustedFileError, match=r"rule: (no compression|unpacked size)"):
        load_network(path)


@pytest.mark.parametrize("kind", ["dynamic.pt2", "traced.pt"])
def test_that_a_program_with_a_flipped_or_missing_byte_is_damaged(
    tmp_path: Path, programs: dict[str, tuple[nn.Module, Path]], kind: str
) -> None:
    data = programs[kind][1].read_bytes()
    path = tmp_path / kind
    path.write_bytes(data)
    # In the middle of the file lie weights.
    corrupt(path, len(data) // 2)
    assert "checksum" in refusal_of(path) or "damaged" in refusal_of(path)
    path.write_bytes(data)
    cut(path, len(data) * 2 // 3)
    assert kind in refusal_of(path)


def test_that_archives_with_overlapping_members_are_refused(
    tmp_path: Path, programs: dict[str, tuple[nn.Module, Path]]
) -> None:
    path = rewritten(programs["dynamic.pt2"][1], tmp_path / "x.pt2", lambda members: None)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        first, second, *_ = archive.infolist()
        start = archive.start_dir
    # The second member's entry in the directory says that it begins where the first does.
    entry = data.index(second.filename.encode(), start) - 46
    data[entry + 42 : entry + 46] = struct.pack("<I", first.header_offset)
    path.write_bytes(data)
    with pytest.raises((UntrustedFileError, DamagedFileError), match="no overlap|damaged"):
        load_network(path)


@pytest.mark.parametrize("kind", ["static.pt2", "scripted.ts"])
def test_that_the_child_lets_a_good_program_pass(
    programs: dict[str, tuple[nn.Module, Path]], kind: str
) -> None:
    found: LoadedNetwork = load_network(programs[kind][1])
    assert found.module(torch.rand(2, 3, 16, 16)).shape == (2, 5)


def test_that_the_child_refuses_a_hostile_program(
    tmp_path: Path, programs: dict[str, tuple[nn.Module, Path]]
) -> None:
    path = rewritten(
        programs["static.pt2"][1], tmp_path / "hostile.pt2", lambda members: edited(members, use_pickle=True)
    )
    with pytest.raises(UntrustedFileError, match=r"hostile\.pt2.*rule: no pickle"):
        load_network(path)


def test_that_every_operation_on_the_list_exists_and_takes_no_name_of_a_file() -> None:
    texts = {
        argument.name
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith("aten::") and schema.name.removeprefix("aten::") in OPERATORS
        for argument in schema.arguments
        if str(argument.type) in ("str", "Optional[str]") and schema.overload_name != "str"
    }
    # Modes such as "constant" or "same", and the equation of einsum.
    known = {"approximate", "equation", "interpolation", "mode", "ord", "padding", "reduce", "rounding_mode"}
    assert texts <= known | {"el", "substr"}
    assert [name for name in OPERATORS if not hasattr(torch.ops.aten, name)] == []
    for name in ("save", "from_file", "load", "set_", "resize_"):
        assert name not in OPERATORS


def test_that_an_attack_on_a_program_breaks_what_it_breaks_on_the_network_itself(tmp_path: Path) -> None:
    data = DataConfig(name="digits", image_size=16, train_size=20, test_size=30)
    domain = load_domain(data, data_root=tmp_path)
    model = small_model(10, seed=3)
    model.set_normalisation(*domain.train.mean_std())
    with torch.no_grad():
        for _ in range(20):  # batch norm takes the images' statistics, so that predictions differ
            model.train()(domain.train.images.float() / 255)
    model.eval()
    own = tmp_path / "own.safetensors"
    save_weights(own, model.state_dict(), ModelSpec(ModelConfig(), tuple("0123456789"), data).to_metadata())
    files = [
        own,
        *(saved(model, tmp_path / name, torch.rand(4, 3, 16, 16)) for name in ("static.pt2", "traced.pt")),
    ]
    runs = [
        RunConfig(
            name=file.name,
            start_from=str(file),
            checkpoint=None if file == own else CheckpointConfig(),
            target=data,
            attack=AttackConfig(steps=3, epsilon=1 / 255, step_size=0.5 / 255),
            machine=MachineConfig(threads=1, device="cpu"),
        )
        for file in files
    ]
    made = carry_out(tmp_path / "workspace", StudyConfig(title="programs", runs=runs))
    first, *others = (made[file.name].result for file in files)
    assert 0 < first.robust_accuracy.value < first.clean_accuracy.value
    for other in others:
        assert (other.clean_accuracy, other.robust_accuracy) == (first.clean_accuracy, first.robust_accuracy)
    assert "exported for 4 images" in others[0].notes[0]


def test_that_a_checkpoint_table_for_a_run_is_refused(tmp_path: Path) -> None:
    first = RunConfig(name="first", pretraining={}, model={}, source={})
    second = RunConfig(name="second", start_from="first", checkpoint={}, target={}, attack={})
    with open_session(tmp_path) as session, pytest.raises(ConfigError, match="leave the checkpoint out"):
        session.submit(StudyConfig(title="x", runs=[first, second]))


def test_that_too_many_members_are_refused(
    programs: dict[str, tuple[nn.Module, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 20)
    with pytest.raises(UntrustedFileError, match="rule: number of members"):
        ExportedNetwork(Path("x"), read_exported(programs["static.pt2"][1]))
