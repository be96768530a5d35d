"""Against figures of the CARTL authors' released code (`tests/reference/README.md`).

With CARTL_REFERENCE_DIR set, the same tests run on another folder of the same layout. `python -m
tests.engine.test_reference` prints the largest deviation of each.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.attacks.pgd import projected_gradient_descent
from engine.attacks.projection import LinfBall
from engine.config import (
    BatchNormPolicy,
    FinetuningConfig,
    ModelConfig,
    PretrainingConfig,
    TrainingAttackConfig,
)
from engine.models import BlockwiseModel, build_model
from engine.models.authors_names import translate
from engine.models.modes import evaluation
from engine.models.resnet import ResNet
from engine.objective import Objective, StepContext
from engine.pretraining import pretraining_methods
from engine.training.schedule import learning_rate
from engine.transfer import transfer_methods
from engine.transfer.lwf import LearningWithoutForgetting
from tests.engine.reference import load

EXACT = 1e-5
CONTEXT = StepContext(1.0, torch.Generator(), lambda: None)


def state_of(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, Tensor]:
    """A state under our names."""
    own = {
        key.removeprefix(prefix): torch.from_numpy(np.asarray(value))
        for key, value in arrays.items()
        if key.startswith(prefix)
    }
    return translate(own)


def deviation(got: Tensor | np.ndarray, expected: Tensor | np.ndarray) -> float:
    """Largest difference relative to the largest expected value."""
    got, expected = torch.as_tensor(got).double(), torch.as_tensor(expected).double()
    return float((got - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


def state_deviation(model: BlockwiseModel, expected: dict[str, Tensor]) -> float:
    """Largest deviation over all tensors of a state."""
    own = model.state_dict()
    return max(deviation(own[name], value) for name, value in expected.items() if value.is_floating_point())


def empty_wide_resnet(state: dict[str, Tensor], classes: int) -> BlockwiseModel:
    """A wide ResNet that such a state fits, with the kit's mean and std."""
    residual = {name.split(".")[1] for name in state if ".conv1." in name}
    first = next(value for name, value in state.items() if name.startswith("blocks.1.conv1."))
    config = ModelConfig(depth=2 * len(residual) + 4, widen_factor=len(first) // 16)
    model = build_model(config, classes, torch.Generator())
    kit = load("wrn_forward")
    model.set_normalisation(torch.from_numpy(kit["mean"]), torch.from_numpy(kit["std"]))
    return model


def wide_resnet(state: dict[str, Tensor], classes: int) -> BlockwiseModel:
    """The wide ResNet with this state and the kit's mean and std."""
    model = empty_wide_resnet(state, classes)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert set(missing) == {"mean", "std"}
    assert not unexpected
    return model


def reference_network() -> BlockwiseModel:
    """The network of `wrn_forward.npz`, which PGD and FDM start from."""
    kit = load("wrn_forward")
    return wide_resnet(state_of(kit, "state/"), int(kit["num_classes"]))


def forward_deviation() -> float:
    """Logits and the input of every block in eval mode."""
    kit = load("wrn_forward")
    model = reference_network()
    assert model.num_blocks == int(kit["total_blocks"])
    with evaluation(model), torch.no_grad():
        features = model.features(torch.from_numpy(kit["pixels"]))
    found = deviation(features[-1], kit["logits_eval"])
    for number in range(1, model.num_blocks + 1):
        feature, expected = features[number - 1], kit[f"block_input_eval/{number}"]
        assert list(feature.shape) == kit[f"block_input_shape/{number}"].tolist()
        thinned = feature if feature.shape == expected.shape else feature.flatten(1)[:, ::16]
        found = max(found, deviation(thinned, expected))
    return found


def resnet_deviation(name: str) -> float:
    """Logits of a ResNet whose weights are stored as int8 = weight x 16."""
    kit, images = load(name), load("wrn_forward")
    state = {
        key: value.float() / 16 if value.dtype == torch.int8 else value
        for key, value in state_of(kit, "state_x16/").items()
    }
    model = ResNet(
        ModelConfig(name="resnet", depth=18), len(kit["logits_eval"][0]), tuple(kit["num_blocks"].tolist())
    )
    model.load_state_dict(state, strict=False)
    model.set_normalisation(torch.from_numpy(images["mean"]), torch.from_numpy(images["std"]))
    assert model.num_blocks == int(kit["total_blocks"])
    for number in kit["halved_residual_blocks"].tolist():
        model.block(number).halved = True
    with evaluation(model), torch.no_grad():
        return deviation(model(torch.from_numpy(kit["pixels"])), kit["logits_eval"])


def attacks_of_the_kit() -> list[tuple[str, int]]:
    """The attacks that the kit has figures for, with their steps: ("pgd7", 7), ..."""
    names = dict.fromkeys(key.partition("/")[0] for key in load("pgd_linf") if key.endswith("/epsilon"))
    return [(name, int(name.removeprefix("pgd"))) for name in names]


def pgd_unequal(name: str, steps: int) -> float:
    """Share of adversarial pixels that differ by more than 1e-5; all are inside the ball and the box."""
    kit = load("pgd_linf")
    model, images = reference_network(), torch.from_numpy(kit["pixels"])
    epsilon = float(kit[f"{name}/epsilon"])
    with evaluation(model):
        adversarial = projected_gradient_descent(
            model, images, torch.from_numpy(kit["labels"]), start=images, epsilon=epsilon,
            step_size=float(kit[f"{name}/step_size"]), steps=steps, ball=LinfBall(),
        ).adversarial  # fmt: skip
    assert float((adversarial - images).abs().max()) <= epsilon * (1 + 1e-5)
    assert 0 <= float(adversarial.min()) <= float(adversarial.max()) <= 1
    expected = torch.from_numpy(kit[f"{name}/adversarial_pixels"])
    return float(((adversarial - expected).abs() > 1e-5).float().mean())


class StoredFeatures(torch.nn.Module):
    """A source model of which only the pooled features of one batch are known."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.stored = features

    def forward_with_feature(self, images: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """No logits, and the stored features; k is 1."""
        assert k == 1
        assert len(images) == len(self.stored)
        return torch.empty(0), self.stored


def take_steps(
    model: BlockwiseModel, objective: Objective, kit: dict[str, np.ndarray]
) -> list[tuple[float, dict]]:
    """Loss, and state after it, of each of the kit's steps."""
    optimiser = torch.optim.SGD(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=float(kit["lr"]), momentum=float(kit["momentum"]), weight_decay=float(kit["weight_decay"]),
    )  # fmt: skip
    seen = []
    for pixels, labels in zip(kit["pixels"], kit["labels"], strict=True):
        objective.set_mode(model)
        loss = objective.loss(model, torch.from_numpy(pixels), torch.from_numpy(labels), CONTEXT)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        seen.append((loss.total.item(), {name: value.clone() for name, value in model.state_dict().items()}))
    return seen


def fdm_deviations() -> dict[str, float]:
    """Losses and states of four FDM steps."""
    kit = load("fdm_training")
    attack = TrainingAttackConfig(
        epsilon=float(kit["epsilon"]),
        step_size=float(kit["step_size"]),
        steps=int(kit["num_steps"]),
        random_start=False,
    )
    config = PretrainingConfig(
        method="fdm", num_finetuned_blocks=int(kit["k"]), feature_weight=float(kit["lambda_"]), attack=attack
    )
    model, objective = reference_network(), pretraining_methods["fdm"](config)
    objective.prepare(model, torch.Generator())
    seen = take_steps(model, objective, kit)
    states = {
        step: max(
            deviation(seen[step - 1][1][name], value)
            for name, value in state_of(kit, f"after_step_{step}/").items()
            if value.is_floating_point()
        )
        for step in (1, 4)
    }
    losses = [
        abs(loss - expected) / abs(expected) for (loss, _), expected in zip(seen, kit["losses"], strict=True)
    ]
    return {"loss 1": losses[0], "state 1": states[1], "losses 2-4": max(losses[1:]), "state 4": states[4]}


def neft_deviations(name: str) -> dict[str, float]:
    """Losses, state (u and v too), exported weights and logits of four NEFT steps."""
    kit = load(name)
    flags = json.loads(str(np.ravel(kit["flags"])[0]))
    # What stayed in eval mode counts, not what the flags asked for: every layer of a part, or none.
    in_eval_mode = {str(name) for name in kit["batch_norm_in_eval_mode"] if str(name)}
    in_head = {name for name in in_eval_mode if _is_in_head(kit, name)}
    policy = BatchNormPolicy(
        freeze_affine=flags["freeze_bn"],
        keep_head_statistics=bool(in_head),
        keep_trunk_statistics=bool(in_eval_mode - in_head),
    )
    config = FinetuningConfig(
        method="neft", num_finetuned_blocks=int(kit["k"]), spectral_bound=float(kit["beta"]),
        power_iterations=int(kit["power_iterations"]), batch_norm=policy,
    )  # fmt: skip
    initial = state_of(kit, "initial/")
    model = empty_wide_resnet(initial, len(kit["logits_eval"][0]))
    objective = transfer_methods["neft"](config)
    objective.prepare(model, torch.Generator())
    missing, unexpected = model.load_state_dict(initial, strict=False)
    assert set(missing) == {"mean", "std"}
    assert not unexpected
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    ours = _names(kit, "initial/")
    assert trainable == {ours[str(name)] for name in kit["trainable"]}
    seen = take_steps(model, objective, kit)
    in_eval = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d) and not module.training
    }
    assert in_eval == {ours[f"{name}.weight"] for name in in_eval_mode}
    losses = [
        abs(loss - expected) / abs(expected) for (loss, _), expected in zip(seen, kit["losses"], strict=True)
    ]
    found = {"losses": max(losses), "state 4": state_deviation(model, state_of(kit, "after_step_4/"))}
    with evaluation(model), torch.no_grad():
        found["logits"] = deviation(model(torch.from_numpy(kit["pixels"][0])), kit["logits_eval"])
    objective.finish(model)
    found["exported"] = state_deviation(model, state_of(kit, "exported/"))
    with evaluation(model), torch.no_grad():
        found["logits exported"] = deviation(model(torch.from_numpy(kit["pixels"][0])), kit["logits_eval"])
    return found


def _is_in_head(kit: dict[str, np.ndarray], layer: str) -> bool:
    """Whether a layer, by its name in the kit, is in the last k blocks."""
    ours = _names(kit, "initial/")
    last = max(int(name.split(".")[1]) for name in ours.values() if name.startswith("blocks."))
    return int(ours[f"{layer}.weight"].split(".")[1]) > last - int(kit["k"])


def _names(kit: dict[str, np.ndarray], prefix: str) -> dict[str, str]:
    """The authors' parameter names and ours."""
    theirs = [key.removeprefix(prefix) for key in kit if key.startswith(prefix)]
    return dict(zip(theirs, translate({name: torch.empty(0) for name in theirs}), strict=True))


def lwf_deviations() -> dict[str, float]:
    """The student's pooled feature and the terms of its LwF loss against the teacher's stored features."""
    kit = load("lwf_loss")
    model = wide_resnet(state_of(kit, "student/"), len(kit["student/fc.bias"]))
    objective = LearningWithoutForgetting(
        FinetuningConfig(method="lwf", feature_weight=float(kit["lambda_"]))
    )
    images, labels = torch.from_numpy(kit["pixels"]), torch.from_numpy(kit["labels"])
    teacher = torch.from_numpy(kit["teacher_features"]).flatten(1)
    objective.prepare(model, torch.Generator())
    objective.source = StoredFeatures(teacher)
    model.eval()
    with torch.no_grad():
        _, feature = model.forward_with_feature(images, 1)
        loss = objective.loss(model, images, labels, CONTEXT)
    return {
        "feature": deviation(feature, kit["student_features"][:, :, 0, 0]),
        "cross-entropy": deviation(loss.cross_entropy, kit["cross_entropy"]),
        "distance": deviation(loss.penalty_unweighted, kit["distance"]),
        "loss": deviation(loss.total, kit["loss"]),
    }


def learning_rate_deviation() -> float:
    """The rate of every step of the authors' schedule."""
    kit = load("learning_rate")
    config = PretrainingConfig(
        schedule="milestones", epochs=int(kit["epochs"]), learning_rate=float(kit["start_lr"]),
        milestones=kit["milestones"].tolist(), decay_factor=float(kit["decrease_rate"]),
        warm_up_epochs=int(kit["warm_up_epochs"]),
    )  # fmt: skip
    used = kit["lr_used_per_iteration"]
    rates = [learning_rate(config, step, int(kit["batches_per_epoch"])) for step in range(len(used))]
    return deviation(np.array(rates), used)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_that_every_block_of_a_wide_resnet_sees_what_the_authors_code_gives_it() -> None:
    assert forward_deviation() < EXACT


@pytest.mark.parametrize("name", ["resnet_forward", "resnet_halved_forward"])
def test_that_a_resnet_gives_the_authors_logits(name: str) -> None:
    assert resnet_deviation(name) < EXACT


@pytest.mark.parametrize(("name", "steps"), attacks_of_the_kit())
def test_that_pgd_reaches_the_authors_adversarial_pixels(name: str, steps: int) -> None:
    assert pgd_unequal(name, steps) <= 0.03


def test_that_four_fdm_steps_follow_the_authors() -> None:
    found = fdm_deviations()
    assert found["loss 1"] < EXACT
    assert found["state 1"] < EXACT
    assert found["losses 2-4"] < 5e-3
    assert found["state 4"] < 2e-2


@pytest.mark.parametrize("name", ["neft", "neft_train_bn", "neft_reuse_statistics"])
def test_that_four_neft_steps_and_the_export_follow_the_authors(name: str) -> None:
    for what, found in neft_deviations(name).items():
        assert found < EXACT, what


def test_that_the_lwf_loss_is_the_authors() -> None:
    for what, found in lwf_deviations().items():
        assert found < EXACT, what


def test_that_the_learning_rate_is_the_authors_at_every_step() -> None:
    assert learning_rate_deviation() < 1e-6


def main() -> None:
    """Print the largest deviation of each comparison."""
    torch.set_num_threads(1)
    rows: list[tuple[str, Callable[[], float | dict[str, float]]]] = [
        ("WRN forward and block inputs", forward_deviation),
        ("ResNet forward", lambda: resnet_deviation("resnet_forward")),
        ("ResNet forward, halved", lambda: resnet_deviation("resnet_halved_forward")),
        *((f"{name}, share of unequal pixels", lambda name=name, steps=steps: pgd_unequal(name, steps))
          for name, steps in attacks_of_the_kit()),
        ("FDM", fdm_deviations),
        *((name, lambda name=name: neft_deviations(name)) for name in ("neft", "neft_train_bn", "neft_reuse_statistics")),
        ("LwF", lwf_deviations),
        ("learning rate", learning_rate_deviation),
    ]  # fmt: skip
    for title, measure in rows:
        found = measure()
        shown = found if isinstance(found, dict) else {"": found}
        print(f"{title:32s}", "  ".join(f"{what} {value:.1e}".strip() for what, value in shown.items()))  # noqa: T201


if __name__ == "__main__":
    main()
