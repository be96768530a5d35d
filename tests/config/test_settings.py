"""Settings classes: bounds, ratios, documentation, and the frozen list of options."""

from __future__ import annotations

import math
import os
import types
import typing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.attacks import attacks
from engine.config import (
    ATTACKS,
    AttackConfig,
    AugmentationConfig,
    BatchNormPolicy,
    CheckpointConfig,
    ComparisonConfig,
    DataConfig,
    FinetuningConfig,
    InspectionConfig,
    MachineConfig,
    ModelConfig,
    PretrainingConfig,
    RunConfig,
    Settings,
    StudyConfig,
    TrainingAttackConfig,
    format_ratio,
    is_standard,
    members_of,
    parse_ratio,
    validate,
)
from engine.data import datasets
from engine.errors import ConfigError
from engine.models import models
from engine.pretraining import pretraining_methods
from engine.transfer import transfer_methods

OPTIONS = Path(__file__).parent / "options.txt"
ALL: tuple[type[Settings], ...] = (
    StudyConfig,
    ComparisonConfig,
    RunConfig,
    CheckpointConfig,
    ModelConfig,
    DataConfig,
    PretrainingConfig,
    FinetuningConfig,
    AttackConfig,
    TrainingAttackConfig,
    AugmentationConfig,
    BatchNormPolicy,
    InspectionConfig,
    MachineConfig,
)


def shown(annotation: object) -> str:
    """A field's type in one word, the same in every version of Python and pydantic."""
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return "|".join(map(str, typing.get_args(annotation)))
    if origin is types.UnionType or origin is typing.Union:
        return shown(next(part for part in typing.get_args(annotation) if part is not type(None)))
    if origin is typing.Annotated:
        return shown(typing.get_args(annotation)[0])
    if origin is list:
        return f"list of {shown(typing.get_args(annotation)[0])}"
    return getattr(annotation, "__name__", str(annotation))


def options() -> list[str]:
    """One line per public option: class, name, type, default, bounds."""
    lines = []
    for model in ALL:
        for name, field in model.model_fields.items():
            default = field.default
            if isinstance(default, Settings):
                default = type(default).__name__
            elif field.is_required():
                default = "required"
            bounds = " ".join(
                f"{key}={value}"
                for part in field.metadata
                for key in ("gt", "ge", "lt", "le", "min_length", "max_length")
                if (value := getattr(part, key, None)) is not None
            )
            lines.append(
                f"{model.__name__}.{name}: {shown(field.annotation)} = {default!r} {bounds}".rstrip()
            )
    return lines


def test_that_the_public_options_are_those_on_the_list() -> None:
    """A changed option changes what study files mean: see CARTL_UPDATE_GOLDEN, and tell it in the change log."""
    now = "\n".join(options()) + "\n"
    if os.environ.get("CARTL_UPDATE_GOLDEN"):
        OPTIONS.write_text(now, encoding="utf-8")
    assert now.splitlines() == OPTIONS.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("model", ALL, ids=lambda model: model.__name__)
def test_that_every_setting_has_a_title_and_every_value_a_help_text(model: type[Settings]) -> None:
    assert model.__doc__
    for name, field in model.model_fields.items():
        assert field.title, name
        if not isinstance(field.default, InspectionConfig | MachineConfig):
            assert field.description, name
            assert field.description.endswith("."), name


@pytest.mark.parametrize("model", ALL, ids=lambda model: model.__name__)
def test_that_conditions_name_siblings_and_values_that_exist(model: type[Settings]) -> None:
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        for sibling, values in extra.get("shown_if", {}).items():
            choices = typing.get_args(model.model_fields[sibling].annotation)
            assert set(values) <= set(choices), name


@pytest.mark.parametrize(
    ("field", "model", "registered"),
    [
        ("name", ModelConfig, models.names),
        ("name", AttackConfig, (*attacks.names, "autoattack")),
        ("name", DataConfig, datasets.names),
        ("method", PretrainingConfig, pretraining_methods.names),
        ("method", FinetuningConfig, transfer_methods.names),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_that_the_names_to_choose_from_are_those_registered(
    field: str, model: type[Settings], registered: tuple[str, ...]
) -> None:
    assert set(typing.get_args(model.model_fields[field].annotation)) == set(registered)


@pytest.mark.parametrize("numerator", range(1, 256))
def test_that_every_pixel_step_is_read_and_written_exactly(numerator: int) -> None:
    value = parse_ratio(f"{numerator}/255")
    assert value == numerator / 255
    text = format_ratio(value)
    assert parse_ratio(text) == value
    assert text == f"{numerator}/255" or (numerator % 51 == 0 and len(text) <= 3)


@pytest.mark.parametrize(
    ("text", "value"),
    [("8/255", 8 / 255), (" 8 / 255 ", 8 / 255), ("0.031", 0.031), ("1e-3", 1e-3), ("1", 1.0), (1, 1.0), ("-8/255", -8 / 255)],
)  # fmt: skip
def test_that_a_ratio_is_a_number_or_two(text: object, value: float) -> None:
    assert parse_ratio(text) == value


@pytest.mark.parametrize(
    "text", ["8/0", "0/0", "1/nan", "inf", "nan", "1/inf", "8/255/2", "eight", "", "/", "8/"]
)
def test_that_other_texts_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="ratio such as 8/255, got"):
        parse_ratio(text)


@given(st.floats(1e-300, 1.0))
def test_that_writing_a_ratio_loses_nothing(value: float) -> None:
    assert parse_ratio(format_ratio(value)) == value


@pytest.mark.parametrize(
    ("model", "values", "place", "message"),
    [
        (AttackConfig, {"epsilon": 0}, "epsilon", "greater than 0, got 0.0"),
        (AttackConfig, {"epsilon": -0.1}, "epsilon", "greater than 0"),
        (AttackConfig, {"epsilon": math.nan}, "epsilon", "finite number"),
        (AttackConfig, {"epsilon": math.inf}, "epsilon", "finite number"),
        (AttackConfig, {"epsilon": 10**400}, "epsilon", "less than or equal to 1"),
        (AttackConfig, {"epsilon": 8}, "epsilon", "above 0 and at most 1 in the Linf norm, got 8"),
        (AttackConfig, {"epsilon": True}, "epsilon", "valid number"),
        (AttackConfig, {"epsilon": [1]}, "epsilon", "got list"),
        (AttackConfig, {"epsilon": "1/255", "step_size": "3/255"}, "step_size", "whole ball is wide"),
        (AttackConfig, {"steps": 0}, "steps", "greater than or equal to 1, got 0"),
        (AttackConfig, {"steps": True}, "steps", "valid integer, got True"),
        (AttackConfig, {"steps": 7.0}, "steps", "valid integer, got 7.0"),
        (AttackConfig, {"steps": "7"}, "steps", "valid integer, got '7'"),
        (AttackConfig, {"steps": "x" * 10_000}, "steps", "got 'xxx"),
        (AttackConfig, {"steps": 10**5000}, "steps", "got a huge number"),
        (AttackConfig, {"random_start": 1}, "random_start", "valid boolean, got 1"),
        (AttackConfig, {"restarts": 2, "random_start": False}, "restarts", "every restart is the same"),
        (AttackConfig, {"name": "apgd"}, "name", "'apgd_t', .*got 'apgd'"),
            (AttackConfig, {"name": "apgd_t", "targets": 0}, "targets", "APGD-T needs at least one target class"),
            (AttackConfig, {"name": "fab_t", "norm": "l1"}, "norm", "FAB-T is defined for linf, l2, got l1"),
            (AttackConfig, {"name": "transfer"}, "surrogate", "name the run or checkpoint"),
            (AttackConfig, {"sweep_epsilon": [0.1, "2"]}, "sweep_epsilon", "at most 1 in the Linf norm, got 2"),
            (AttackConfig, {"sweep_steps": [5, 5]}, "sweep_steps", "each value once"),
            (AttackConfig, {"sweep_steps": [0]}, "sweep_steps", "1 to 10,000 steps, got 0"),
        (ModelConfig, {"depth": 11}, "depth", "6n [+] 4 layers"),
        (ModelConfig, {"name": "resnet", "depth": 20}, "depth", "18, 34 or 50 layers, got 20"),
        (DataConfig, {"name": "folder"}, "path", "folder that holds train/ and test/"),
        (CheckpointConfig, {"architecture": "vgg"}, "architecture", "'vgg19_bn'"),
        (CheckpointConfig, {"mean": [0.5, 0.5, 0.5]}, "std", "mean and std belong together"),
        (CheckpointConfig, {"mean": [125.3, 123.0, 113.9], "std": [63.0, 62.1, 66.7]}, "mean", "divide by 255"),
        (DataConfig, {"image_size": 7}, "image_size", "greater than or equal to 8"),
        (PretrainingConfig, {"epochs": 0}, "epochs", "greater than or equal to 1"),
        (PretrainingConfig, {"batch_size": 1}, "batch_size", "greater than or equal to 2"),
        (PretrainingConfig, {"learning_rate": math.nan}, "learning_rate", "got nan"),
        (PretrainingConfig, {"learning_rate": "0.1"}, "learning_rate", "valid number, got '0.1'"),
        (PretrainingConfig, {"method": "mart"}, "method", "'natural', 'adversarial', 'trades' or 'fdm'"),
        (PretrainingConfig, {"attack": {"restarts": 2}}, "attack.restarts", "no such setting"),
        (FinetuningConfig, {"spectral_bound": 0}, "spectral_bound", "greater than 0"),
        (FinetuningConfig, {"num_finetuned_blocks": 0}, "num_finetuned_blocks", "greater than or equal to 1"),
        (FinetuningConfig, {"batch_norm": {"freeze": True}}, "batch_norm.freeze", "no such setting"),
        (MachineConfig, {"device": "gpu"}, "device", "'auto', 'cuda', 'mps' or 'cpu', got 'gpu'"),
        (StudyConfig, {}, "runs", "is required"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else getattr(value, "__name__", ""),
)  # fmt: skip
def test_that_an_unusable_value_is_refused_with_its_place_and_itself(
    model: type[Settings], values: dict, place: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        validate(model, values)
    assert [problem.place for problem in caught.value.problems] == [place]


def test_that_lambda_is_told_per_sample_so_that_the_batch_size_does_not_change_it_silently() -> None:
    settings = PretrainingConfig(method="fdm", feature_weight=0.005, batch_size=128)
    assert settings.hints() == {"feature_weight": "0.64 per sample at batch size 128"}
    # The loss is a mean of cross-entropies and a sum of distances: twice the batch is twice the weight.
    twice = settings.model_copy(update={"batch_size": 256})
    assert twice.feature_weight_per_sample == 2 * settings.feature_weight_per_sample
    assert PretrainingConfig(method="adversarial").hints() == {}


def test_that_k_is_checked_only_where_the_method_has_one() -> None:
    values = {"model": {"depth": 10}, "source": {}, "target": {}, "pretraining": {"method": "adversarial"}}
    tuning = {"num_finetuned_blocks": 9}
    for method in ("full", "lwf", "linear_probe"):
        validate(RunConfig, values | {"finetuning": tuning | {"method": method}})
    for method in ("vanilla", "neft", "adversarial"):
        with pytest.raises(ConfigError, match="k must be 1 to 5, got 9"):
            validate(RunConfig, values | {"finetuning": tuning | {"method": method}})


def test_that_settings_cannot_be_changed_once_made() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        AttackConfig().steps = 3


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ({}, ["stages"]),
        ({"attack": {}}, ["start_from"]),
        ({"finetuning": {}}, ["start_from", "target"]),
        ({"pretraining": {}}, ["model", "source"]),
        ({"pretraining": {}, "model": {}, "source": {}, "start_from": "x"}, ["start_from"]),
        ({"attack": {}, "start_from": "x.pt", "checkpoint": {}}, ["target"]),
        (
            {"attack": {}, "start_from": "x.pt", "target": {}, "checkpoint": {}, "model": {}},
            ["model"],
        ),
        (
            {"finetuning": {}, "start_from": "x.pt", "target": {}, "checkpoint": {}},
            ["checkpoint"],
        ),
        (
            {"pretraining": {}, "model": {}, "source": {}, "finetuning": {}, "target": {"image_size": 28}},
            ["target.image_size"],
        ),
        (
            {"pretraining": {"num_finetuned_blocks": 6}, "model": {}, "source": {}},
            ["pretraining.num_finetuned_blocks"],
        ),
        (
            {"start_from": "x", "finetuning": {"num_finetuned_blocks": 9}, "model": {}, "target": {}},
            ["finetuning.num_finetuned_blocks"],
        ),
    ],
    ids=str,
)
def test_that_a_run_whose_parts_do_not_fit_is_refused_part_by_part(values: dict, places: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(RunConfig, values)
    assert [problem.place for problem in caught.value.problems] == places


def test_that_k_has_no_meaning_where_no_features_are_compared() -> None:
    values = {"pretraining": {"method": "adversarial", "num_finetuned_blocks": 99}, "model": {}, "source": {}}
    assert validate(RunConfig, values).stages == ("pretraining",)


@pytest.mark.parametrize(
    ("config", "blocks", "title"),
    [
        (ModelConfig(depth=34, widen_factor=10), 17, "WRN-34-10"),
        (ModelConfig(depth=28, widen_factor=4), 14, "WRN-28-4"),
        (ModelConfig(depth=10), 5, "WRN-10-1"),
        (ModelConfig(name="resnet", depth=18), 9, "ResNet-18"),
        (ModelConfig(name="resnet", depth=50), 17, "ResNet-50"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_that_networks_have_the_blocks_of_the_paper(config: ModelConfig, blocks: int, title: str) -> None:
    assert (config.num_blocks, config.title) == (blocks, title)


def test_that_a_robust_accuracy_is_named_in_full() -> None:
    assert AttackConfig(steps=100, restarts=5).title == "PGD-100, Linf 8/255, 5 restarts"
    assert AttackConfig(epsilon=12 / 255).title == "PGD-20, Linf 12/255, 1 restart"


@settings(max_examples=50)
@given(st.sets(st.text(min_size=1, max_size=12).filter(lambda key: "." not in key), min_size=1, max_size=4))
def test_that_all_unknown_keys_are_told_at_once(keys: set[str]) -> None:
    unknown = keys - AttackConfig.model_fields.keys() | {"speed"}
    with pytest.raises(ConfigError) as caught:
        validate(AttackConfig, dict.fromkeys(unknown, 1))
    assert {problem.place for problem in caught.value.problems} == unknown


def test_that_every_attack_has_its_facts_and_valid_defaults() -> None:
    assert set(ATTACKS) == set(typing.get_args(AttackConfig.model_fields["name"].annotation))
    for name, facts in ATTACKS.items():
        assert set(facts.settings) <= set(AttackConfig.model_fields), name
        for norm in facts.norms:
            given = {"name": name, "norm": norm} | ({"surrogate": "AT"} if name == "transfer" else {})
            config = validate(AttackConfig, given)
            for field, value in facts.settings.items():
                assert field in ("step_size", "surrogate") or getattr(config, field) == value, (name, field)
                assert config.applies(field), (name, field)
            assert config.title.startswith(facts.title)
            assert config.cost > 0


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({}, "steps", 20),
        ({"name": "apgd_ce"}, "steps", 100),
        ({"name": "apgd_ce", "steps": 10}, "steps", 10),
        ({"name": "apgd_t"}, "targets", 9),
        ({"norm": "l2"}, "epsilon", 0.5),
        ({"norm": "l2"}, "step_size", 0.1),
        ({"norm": "l2", "epsilon": 1.0}, "epsilon", 1.0),
        ({"norm": "l1"}, "epsilon", 12.0),
        ({"name": "deepfool"}, "norm", "l2"),
        ({"name": "deepfool"}, "epsilon", 0.5),
    ],
    ids=str,
)
def test_that_what_is_left_out_follows_the_attack_and_the_norm(
    given: dict, field: str, value: object
) -> None:
    assert getattr(validate(AttackConfig, given), field) == value


@pytest.mark.parametrize(
    ("given", "title"),
    [
        ({}, "PGD-20, Linf 8/255, 1 restart"),
        ({"restarts": 5, "loss": "dlr"}, "PGD-20 (DLR), Linf 8/255, 5 restarts"),
        (
            {"targets": 3, "judged_at": "any_step"},
            "PGD-20 (3 targets, any step), Linf 8/255, 1 restart",
        ),
        ({"random_start": False}, "PGD-20 (no random start), Linf 8/255, 1 restart"),
        ({"name": "apgd_t"}, "APGD-T-100, Linf 8/255, 1 restart"),
        ({"name": "square", "norm": "l2"}, "Square (5,000 queries), L2 0.5, 1 restart"),
        ({"name": "autoattack", "version": "rand"}, "AutoAttack (rand), Linf 8/255"),
        ({"name": "fgsm", "epsilon": "4/255"}, "FGSM, Linf 4/255"),
    ],
    ids=str,
)
def test_that_a_title_tells_all_that_a_robust_accuracy_needs_beside_it(given: dict, title: str) -> None:
    assert validate(AttackConfig, given).title == title


@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
@pytest.mark.parametrize("classes", [2, 3, 4, 10, 100])
def test_that_autoattack_never_asks_for_more_classes_than_there_are(version: str, classes: int) -> None:
    config = AttackConfig(name="autoattack", version=version)
    members, notes = members_of(config, classes)
    for member in members:
        assert member.targets <= classes - 1
        assert (member.norm, member.epsilon) == (config.norm, config.epsilon)
    assert bool(notes) == (classes < 10 and version != "rand" or classes < 3)
    assert is_standard(config, classes) == (version == "standard" and classes >= 10)
