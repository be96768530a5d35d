"""Checkpoints of the CARTL authors' code become weights of ours that compute the same numbers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.config import ImportConfig, ModelConfig, validate
from engine.errors import CartlError, CheckpointError, ConfigError, StoreError, UntrustedFileError
from engine.events import Exported, RequestFailed, WeightsRecognised
from engine.importing import import_weights, recognise_weights
from engine.models import BlockwiseModel, build_model
from engine.models.modes import evaluation
from engine.models.spec import ModelSpec
from engine.store.checkpoints import load_weights
from tests.engine.authors_files import arrays_of, as_authors
from tests.engine.small import images_and_labels, open_session, small_model, wait_for, warm
from tests.engine.test_reference import EXACT, deviation, load, reference_network
from tests.faults import cut


def said(data: str = "cifar100", **values: Any) -> ImportConfig:
    """What a user says about a checkpoint."""
    return validate(ImportConfig, {"data": {"name": data}, **values})


def reference_state() -> dict[str, Tensor]:
    """The authors' wide ResNet of the reference figures."""
    return arrays_of(load("wrn_forward"), "state/")


def written(path: Path, state: dict[str, Tensor]) -> Path:
    """The state as .safetensors."""
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def logits(path: Path, images: Tensor) -> Tensor:
    """What an imported network gives."""
    tensors, metadata = load_weights(path)
    model = ModelSpec.from_metadata(metadata).build(tensors)
    with evaluation(model), torch.no_grad():
        return model(images)


def refused(path: Path, config: ImportConfig | None = None) -> str:
    """The message with which an import is refused; nothing is written."""
    destination = path.with_name("refused.safetensors")
    with pytest.raises(CartlError) as error:
        import_weights(path, config or said(), destination)
    assert not destination.exists()
    return str(error.value)


def test_that_a_checkpoint_is_imported_by_a_session_and_gives_the_authors_logits(tmp_path: Path) -> None:
    kit = load("wrn_forward")
    source, target = tmp_path / "authors.pth", tmp_path / "ours.safetensors"
    state = {f"module.{name}": tensor for name, tensor in reference_state().items()}
    torch.save({"model_state_dict": state, "epoch": 99, "accuracy": 0.5}, source)
    with open_session(tmp_path / "workspace") as session:
        session.recognise_weights(source)
        recognised = wait_for(session, WeightsRecognised)
        session.import_weights(source, said(), target)
        exported = wait_for(session, Exported)
    assert isinstance(recognised, WeightsRecognised) and isinstance(exported, Exported)
    assert recognised.found.model == ModelConfig(
        depth=int(kit["depth"]), widen_factor=int(kit["widen_factor"])
    )
    assert recognised.found.num_classes == int(kit["num_classes"])
    assert exported.path == str(target)
    assert exported.imported is not None and exported.imported.found == recognised.found
    assert exported.imported.mean == pytest.approx(kit["mean"].tolist(), abs=1e-7)
    assert exported.imported.std == pytest.approx(kit["std"].tolist(), abs=1e-7)
    assert deviation(logits(target, torch.from_numpy(kit["pixels"])), kit["logits_eval"]) < EXACT
    spec = ModelSpec.from_metadata(load_weights(target)[1])
    assert spec.history == ("imported from authors.pth (CARTL authors' checkpoint)",)
    assert spec.data.name == "cifar100"


@pytest.mark.parametrize("container", ["", "state_dict", "model", "net"])
def test_that_every_usual_container_is_opened(tmp_path: Path, container: str) -> None:
    source = tmp_path / "authors.pt"
    state = reference_state()
    torch.save({container: state} if container else state, source)
    assert recognise_weights(source).model.title == "WRN-10-1"


def test_that_a_normalising_layer_in_front_gives_mean_and_std_and_is_named_as_dropped(tmp_path: Path) -> None:
    state = {f"module.1.{name}": tensor for name, tensor in reference_state().items()}
    state |= {"module.0.mean": torch.tensor([0.4, 0.5, 0.6]), "module.0.std": torch.tensor([0.2, 0.25, 0.3])}
    source = written(tmp_path / "authors.safetensors", state)
    imported = import_weights(source, said("svhn"), tmp_path / "ours.safetensors")
    assert imported.found.dropped == ("0.mean", "0.std")
    assert imported.mean == pytest.approx((0.4, 0.5, 0.6)) and imported.std == pytest.approx((0.2, 0.25, 0.3))
    given = said("svhn", mean=[0.1, 0.1, 0.1], std=[0.5, 0.5, 0.5])
    assert import_weights(source, given, tmp_path / "given.safetensors").mean == (0.1, 0.1, 0.1)


def test_that_exported_weights_of_a_halved_network_give_the_authors_logits(tmp_path: Path) -> None:
    kit = load("neft")
    source = written(tmp_path / "exported.safetensors", arrays_of(kit, "exported/"))
    network = load("wrn_forward")
    normalised = {"mean": network["mean"].tolist(), "std": network["std"].tolist()}
    pixels = torch.from_numpy(kit["pixels"][0])
    config = said("cifar10", halved_blocks=int(kit["k"]), **normalised)
    import_weights(source, config, tmp_path / "ours.safetensors")
    assert deviation(logits(tmp_path / "ours.safetensors", pixels), kit["logits_eval"]) < EXACT
    import_weights(source, said("cifar10", **normalised), tmp_path / "plain.safetensors")
    assert deviation(logits(tmp_path / "plain.safetensors", pixels), kit["logits_eval"]) > 0.01


def test_that_spectral_weights_become_the_authors_exported_weights(tmp_path: Path) -> None:
    kit, network = load("neft"), load("wrn_forward")
    source = written(tmp_path / "trained.safetensors", arrays_of(kit, "after_step_4/"))
    config = said(
        "cifar10", halved_blocks=int(kit["k"]), spectral_bound=float(kit["beta"]),
        mean=network["mean"].tolist(), std=network["std"].tolist(),
    )  # fmt: skip
    imported = import_weights(source, config, tmp_path / "ours.safetensors")
    assert imported.found.constrained_blocks == (3, 5)
    plain = written(tmp_path / "exported.safetensors", arrays_of(kit, "exported/"))
    import_weights(
        plain, config.model_copy(update={"spectral_bound": None}), tmp_path / "expected.safetensors"
    )
    ours, expected = (load_weights(tmp_path / f"{name}.safetensors")[0] for name in ("ours", "expected"))
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert deviation(ours[name], value) < EXACT, name
    pixels = torch.from_numpy(kit["pixels"][0])
    assert deviation(logits(tmp_path / "ours.safetensors", pixels), kit["logits_eval"]) < EXACT


@pytest.mark.parametrize("halved", [0, 4])
def test_that_a_resnet_18_computes_what_it_did_before(tmp_path: Path, halved: int) -> None:
    draw = torch.Generator().manual_seed(3)
    model = warm(build_model(ModelConfig(name="resnet", depth=18), 7, draw))
    model.halve_residuals(halved)
    source = written(tmp_path / "resnet.safetensors", as_authors(model, (2, 2, 2, 2)))
    config = said(
        "stl10", mean=model.mean.flatten().tolist(), std=model.std.flatten().tolist(),
        halved_blocks=halved or None,
    )  # fmt: skip
    imported = import_weights(source, config, tmp_path / "ours.safetensors")
    assert imported.found.model.title == "ResNet-18" and imported.found.num_classes == 7
    images, _ = images_and_labels(2, size=16)
    with evaluation(model), torch.no_grad():
        assert deviation(logits(tmp_path / "ours.safetensors", images), model(images)) < EXACT


def narrow(depth: int, groups: tuple[int, ...]) -> dict[str, Tensor]:
    """A ResNet's state in half precision, to be recognised only."""
    model = build_model(ModelConfig(name="resnet", depth=depth), 3, torch.Generator())
    return {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in as_authors(model, groups).items()
    }


@pytest.mark.parametrize("depth", [34, 50])
def test_that_deeper_resnets_are_told_apart_by_their_blocks(tmp_path: Path, depth: int) -> None:
    source = written(tmp_path / "resnet.safetensors", narrow(depth, (3, 4, 6, 3)))
    assert recognise_weights(source).model == ModelConfig(name="resnet", depth=depth)


@pytest.mark.parametrize(("depth", "widen"), [(16, 1), (10, 2), (10, 4)])
def test_that_depth_and_widen_factor_are_read_from_the_shapes(tmp_path: Path, depth: int, widen: int) -> None:
    config = ModelConfig(depth=depth, widen_factor=widen)
    model = build_model(config, 5, torch.Generator())
    source = written(tmp_path / "wide.safetensors", as_authors(model, (config.num_blocks // 3,) * 3))
    assert recognise_weights(source).model == config


def test_that_an_odd_resnet_is_refused_with_the_networks_there_are(tmp_path: Path) -> None:
    kit = load("resnet_forward")
    state = {
        name: tensor.float() / 16 if tensor.dtype == torch.int8 else tensor
        for name, tensor in arrays_of(kit, "state_x16/").items()
    }
    message = refused(written(tmp_path / "odd.safetensors", state))
    assert "1, 1, 1, 1 basic blocks" in message
    assert "ResNet-18: 2, 2, 2, 2 basic blocks" in message


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, Tensor]:
    return as_authors(small_model(5), (1, 1, 1))


def test_that_counters_an_old_version_did_not_save_are_not_missed(
    tmp_path: Path, plain: dict[str, Tensor]
) -> None:
    state = {name: tensor for name, tensor in plain.items() if not name.endswith("num_batches_tracked")}
    source = written(tmp_path / "old.safetensors", state)
    import_weights(source, said(), tmp_path / "ours.safetensors")
    assert len(load_weights(tmp_path / "ours.safetensors")[0]) == len(plain) + 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"block2.layer.0.bn1.bias": None}, "missing: block2.layer.0.bn1.bias"),
        ({"fc.weight": None, "fc.bias": None}, "missing: fc.bias"),
        ({"block2.layer.0.extra.weight": torch.ones(3)}, "unknown: block2.layer.0.extra.weight"),
        ({"classifier.weight": torch.ones(3)}, "'classifier.weight' belongs to neither"),
        ({"block1.layer.٣.conv1.weight": torch.ones(3)}, "belongs to neither"),
        ({"block3.layer.0.conv1.weight": torch.ones(64, 33, 3, 3)}, "(64, 33, 3, 3) instead of (64, 32, 3, 3)"),
        ({"block1.layer.0.conv1.weight": torch.ones(24, 16, 3, 3)}, "24 channels"),
        ({"block1.layer.0.conv1.weight": torch.ones(16)}, "4 dimensions"),
        ({"block1.layer.1.conv1.weight": torch.ones(16, 16, 3, 3)}, "2, 1, 1 residual blocks per group"),
        ({f"block{g}.layer.17.x": torch.ones(1) for g in (1, 2, 3)}, "WRN-112-1, which is larger"),
        ({"fc.bias": torch.zeros(0)}, "at least two classes"),
        ({"conv1.weight": torch.ones(16, 3, 3, 3, dtype=torch.int8)}, "conv1.weight should hold floating-point"),
        ({"bn1.num_batches_tracked": torch.ones(2)}, "bn1.num_batches_tracked should be one whole number"),
        ({"bn1.running_var": -torch.ones(64)}, "bn1.running_var holds negative numbers"),
        ({"fc.weight": torch.full((5, 64), torch.nan)}, "fc.weight holds numbers that are not finite"),
        ({"conv1.weight": torch.full((16, 3, 3, 3), 1e300, dtype=torch.float64)}, "conv1.weight holds numbers"),
        ({"blocks.1.conv1.weight": torch.ones(1)}, "of this program already"),
    ],
)  # fmt: skip
def test_that_what_does_not_fit_is_refused_by_its_name(
    tmp_path: Path, plain: dict[str, Tensor], changes: dict[str, Tensor | None], expected: str
) -> None:
    state = {name: tensor for name, tensor in {**plain, **changes}.items() if tensor is not None}
    source = written(tmp_path / "authors.safetensors", state)
    message = refused(source)
    assert expected in message
    assert str(source) in message


def test_that_what_the_file_needs_to_be_told_is_asked_for_all_at_once(tmp_path: Path) -> None:
    source = written(tmp_path / "trained.safetensors", arrays_of(load("neft"), "initial/"))
    with pytest.raises(ConfigError) as error:
        import_weights(source, said("cifar10"), tmp_path / "ours.safetensors")
    assert [problem.place for problem in error.value.problems] == ["spectral_bound", "halved_blocks", "mean"]
    assert "from block 3 on" in str(error.value) and "mean 0.507" in str(error.value)


@pytest.mark.parametrize(
    ("values", "place"),
    [({"spectral_bound": 0.5}, "spectral_bound"), ({"halved_blocks": 6}, "halved_blocks")],
)
def test_that_what_contradicts_the_file_is_refused(
    tmp_path: Path, plain: dict[str, Tensor], values: dict[str, Any], place: str
) -> None:
    source = written(tmp_path / "authors.safetensors", plain)
    assert place in refused(source, said(**values))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"mean": [0.5, 0.5, 0.5]}, "std: mean and std belong together"),
        ({"mean": [125.3, 123.0, 113.9], "std": [63.0, 62.1, 66.7]}, "divide by 255"),
        ({"mean": [0, 0, 0], "std": [0, 1, 1]}, "std: pixels are in"),
        ({"mean": ["a", 0, 0], "std": [1, 1, 1]}, "mean.0: expected a number"),
        ({"mean": [0.5, 0.5], "std": [1, 1, 1]}, "mean: "),
        ({"halved_blocks": -1}, "halved_blocks: "),
        ({"spectral_bound": 0}, "spectral_bound: "),
    ],
)
def test_that_unusable_figures_are_refused_with_their_place(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError) as error:
        said(**values)
    assert reason in str(error.value)


def test_that_half_of_a_spectral_weight_is_named_as_missing(tmp_path: Path) -> None:
    state = arrays_of(load("neft"), "after_step_4/")
    del state["fc.weight_u"]
    source = written(tmp_path / "trained.safetensors", state)
    assert "missing: fc.weight_u" in refused(source, said(halved_blocks=3, spectral_bound=0.6))


def test_that_a_spectral_norm_of_zero_is_refused(tmp_path: Path) -> None:
    state = arrays_of(load("neft"), "after_step_4/")
    state["fc.weight_u"] = torch.zeros_like(state["fc.weight_u"])
    source = written(tmp_path / "trained.safetensors", state)
    message = refused(source, said(halved_blocks=3, spectral_bound=0.6))
    assert "fc.weight is 0" in message and str(source) in message


def test_that_no_file_is_replaced_unasked(tmp_path: Path, plain: dict[str, Tensor]) -> None:
    source = written(tmp_path / "authors.safetensors", plain)
    before = source.read_bytes()
    target = tmp_path / "ours.safetensors"
    target.write_text("mine")
    with pytest.raises(StoreError, match="was not replaced"):
        import_weights(source, said(), target)
    assert target.read_text() == "mine"
    import_weights(source, said(), target, overwrite=True)
    with pytest.raises(StoreError, match="the checkpoint itself"):
        import_weights(source, said(), source, overwrite=True)
    assert source.read_bytes() == before
    with pytest.raises(StoreError, match=r"\.safetensors or \.pt"):
        import_weights(source, said(), tmp_path / "ours.bin")
    with pytest.raises(CheckpointError, match="already"):
        recognise_weights(target)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.canary),)


def test_that_a_checkpoint_with_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    source, canary = tmp_path / "authors.pt", tmp_path / "canary"
    torch.save({"state_dict": reference_state(), "extra": Bomb(canary)}, source)
    with pytest.raises(UntrustedFileError, match="might run a program"):
        recognise_weights(source)
    assert not canary.exists()


def test_that_an_old_style_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    source = tmp_path / "authors.pt"
    torch.save(reference_state(), source, _use_new_zipfile_serialization=False)
    with pytest.raises(UntrustedFileError, match="save it again"):
        recognise_weights(source)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_that_a_truncated_file_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"authors{suffix}"
    if suffix == ".pt":
        torch.save(reference_state(), source)
    else:
        written(source, reference_state())
    cut(source, source.stat().st_size * 2 // 3)
    with pytest.raises(StoreError, match="authors"):
        recognise_weights(source)


def test_that_a_tensor_that_claims_more_than_is_stored_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "authors.pt"
    state = reference_state()
    state["fc.weight"] = torch.zeros(1).expand(10_000, 10_000)
    torch.save(state, source)
    with pytest.raises(UntrustedFileError, match=r"fc\.weight claims"):
        recognise_weights(source)


def test_that_a_session_tells_why_an_import_failed_and_where(
    tmp_path: Path, plain: dict[str, Tensor]
) -> None:
    source = written(tmp_path / "authors.safetensors", plain)
    with open_session(tmp_path / "workspace") as session:
        session.import_weights(source, said("mnist"), tmp_path / "ours.safetensors")
        session.recognise_weights(tmp_path / "missing.pt")
        failed = []
        while len(failed) < 2:
            event = session.events.get(timeout=60)
            if isinstance(event, RequestFailed):
                failed.append(event)
    assert [problem.place for problem in failed[0].problems] == ["mean"]
    assert "missing.pt" in failed[1].message and not failed[1].problems


def test_that_the_reference_network_and_its_import_hold_the_same_weights(tmp_path: Path) -> None:
    source = written(tmp_path / "authors.safetensors", reference_state())
    import_weights(source, said(), tmp_path / "ours.safetensors")
    model: BlockwiseModel = reference_network()
    ours = load_weights(tmp_path / "ours.safetensors")[0]
    for name, tensor in model.state_dict().items():
        assert torch.equal(ours[name], tensor), name
