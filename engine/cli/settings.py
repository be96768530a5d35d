"""Settings as the options of a command give them, on top of those of the run that they are about."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine import api
from engine.cli.common import UsageError, find_run
from engine.config import (
    ATTACKS,
    AttackConfig,
    CheckpointConfig,
    DataConfig,
    MachineConfig,
    RunConfig,
    Settings,
    StudyConfig,
    load_study,
    parse_study,
    validate,
)
from engine.events import RunInfo

#: Settings that another attack takes over from a run's own one: they do not belong to the attack.
_SHARED = ("samples", "batch_size", "examples")


def chosen_study(text: str, options: argparse.Namespace) -> StudyConfig:
    """A study file, or the preset of that name, with what --set and --sweep change.

    Raises:
        ConfigError: the settings cannot be used.
        UsageError: there is no such file or preset.
    """
    path = Path(text)
    if path.exists() or path.suffix:
        if not path.is_file():
            raise UsageError(f"There is no study file {path}.")
        return load_study(path, options.set, options.sweep)
    texts = api.preset_texts()
    if text not in texts:
        raise UsageError(f"There is no study file or preset {text!r}. The presets are: {', '.join(texts)}.")
    return parse_study(texts[text], options.set, options.sweep, origin=text)


def changes_of(options: argparse.Namespace) -> list[str]:
    """The --set and --sweep of a command, to be written down again."""
    given = (("--set", options.set), ("--sweep", options.sweep))
    return [word for option, values in given for value in values for word in (option, value)]


def given_settings(options: argparse.Namespace, model: type[Settings], prefix: str = "") -> dict[str, Any]:
    """The settings of a class that the command names, by field."""
    return {
        field: value
        for field in model.model_fields
        if (value := getattr(options, prefix + field, None)) is not None
    }


def flag(field: str, table: str = "attack") -> str:
    """The option that gives a setting of the attack ("attack") or of the images ("data")."""
    if field == "name":
        return f"--{table}"
    return "--" + ("" if table == "attack" else f"{table}-") + field.replace("_", "-")


def attacking_run(parent: RunInfo | None, start: str, name: str, options: argparse.Namespace) -> RunConfig:
    """Settings of a run that only attacks; what the command leaves out is as in the attacked run.

    Args:
        parent: the attacked run; None for a weights file.
        start: the id of that run, or the path of the file.
        name: what is attacked, for the name of the new run.
        options: the command.

    Raises:
        ConfigError: the settings cannot be used.
        UsageError: a setting has no effect on this attack, or the images have no name.
    """
    settings = attack_settings(options, parent.config.attack if parent else None)
    return validate(
        RunConfig,
        {
            "name": f"{name}, {settings.title}"[:80],
            "seed": parent.config.seed if parent else 0,
            "start_from": start,
            "checkpoint": checkpoint_settings(options, start, is_file=parent is None),
            "model": parent.config.model if parent else None,
            "target": data_settings(options, parent.config.evaluation_data if parent else None),
            "attack": settings,
            "machine": MachineConfig(device=options.device),
        },
    )


def checkpoint_settings(options: argparse.Namespace, start: str, *, is_file: bool) -> CheckpointConfig | None:
    """What the options say about a checkpoint of another program; None if they say nothing.

    Raises:
        ConfigError: the settings cannot be used.
        UsageError: something is said of a run, or the images to attack the checkpoint on have no name.
    """
    given = given_settings(options, CheckpointConfig)
    if given and not is_file:
        raise UsageError(
            f"{flag(next(iter(given)))} is for checkpoint files of other programs, not for a run."
        )
    # This program writes no such files, so what it was trained on cannot be in there.
    exported = is_file and Path(start).suffix == ".pt2"
    if (given or exported) and options.data_name is None:
        raise UsageError("A checkpoint of another program needs the images to attack it on: --data.")
    return validate(CheckpointConfig, given) if given else None


def attack_settings(options: argparse.Namespace, own: AttackConfig | None) -> AttackConfig:
    """The attack that the options ask for, on top of `own`, the one that the run had itself.

    While attack and norm are those of `own`, what is left out is as there. Else the threat (norm and epsilon, where
    the attack has that norm) and the images stay, and the rest are the defaults of the attack asked for.

    Raises:
        ConfigError: the settings cannot be used.
        UsageError: a setting was given that has no effect on this attack.
    """
    given = given_settings(options, AttackConfig)
    settings = validate(AttackConfig, _taken_over(given, own) | given)
    for field in given:
        if not settings.applies(field):
            raise UsageError(
                f"{flag(field)} has no effect on {ATTACKS[settings.name].title}; "
                f"it is a setting of {', '.join(attacks_with(field))}."
            )
    return settings


def _taken_over(given: dict[str, Any], own: AttackConfig | None) -> dict[str, Any]:
    if own is None:
        return {}
    plain = own.model_dump()
    name = given.get("name", own.name)
    norm = given.get("norm", own.norm)
    if (name, norm) == (own.name, own.norm):
        return plain
    shared = {field: plain[field] for field in _SHARED}
    same_threat = norm == own.norm and norm in ATTACKS[name].norms
    return {"name": name} | shared | ({"norm": norm, "epsilon": own.epsilon} if same_threat else {})


def attacks_with(field: str) -> tuple[str, ...]:
    """The attacks, as they are typed, for which a setting has an effect; all where that is not restricted."""
    extra = AttackConfig.model_fields[field].json_schema_extra
    condition = extra.get("shown_if") if isinstance(extra, dict) else None
    return tuple(map(str, condition["name"])) if isinstance(condition, dict) else tuple(ATTACKS)  # type: ignore[arg-type]


def surrogate(text: str, known: Iterable[RunInfo]) -> str:
    """Where perturbations are made: the absolute path of a file, else the id of the run that is meant.

    Raises:
        UsageError: there is neither.
    """
    return str(Path(text).resolve()) if Path(text).is_file() else find_run(text, known).id


def data_settings(options: argparse.Namespace, own: DataConfig | None) -> DataConfig | None:
    """The images that the options ask for, based on `own`; None leaves the choice to the weights.

    Raises:
        ConfigError: the settings cannot be used.
        UsageError: something is said of images without a name.
    """
    given = given_settings(options, DataConfig, "data_")
    if own is not None and given.get("name", own.name) == own.name:
        return validate(DataConfig, own.model_dump() | given)
    if own is not None:
        return validate(DataConfig, {"image_size": own.image_size} | given)
    if given and "name" not in given:
        raise UsageError("Settings of the images need their name: --data.")
    return validate(DataConfig, given) if given else None
