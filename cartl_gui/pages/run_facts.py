"""What is told about a run in short: pairs of title and text, and in what it is unusual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cartl_gui import words
from cartl_gui.models.difference import Difference, differences
from engine.config import DataConfig, FinetuningConfig, RunConfig, Settings, StudyConfig
from engine.events import RunInfo

#: Settings that say what a part of a run is; the others have their defaults beside them.
_KINDS = ("name", "path", "method", "norm", "version")
_PARTS = ("model", "source", "target", "pretraining", "finetuning", "attack")


def run_facts(info: RunInfo) -> list[tuple[str, str]]:
    """When and where it ran, what came out, and its settings in short."""
    facts = [
        ("Study", info.study),
        ("Created", words.clock(info.created)),
        ("Time", words.ending(info)),
        ("Device", info.device),
    ]
    if info.result is not None:
        facts += [
            ("Clean", words.interval(info.result.clean_accuracy)),
            ("Robust", words.interval(info.result.robust_accuracy)),
        ]
    renamed = [("Name", info.name)] if info.label.title else []
    return [*facts, *config_facts(info.config), *renamed, ("Id", info.id)]


def config_facts(config: RunConfig) -> list[tuple[str, str]]:
    """The settings of a run in short."""
    facts = [
        ("Network", config.model.title if config.model else f"that of {config.start_from}"),
        ("Source", _data(config.source) if config.pretraining else ""),
        ("Target", _data(config.target) if config.finetuning else ""),
        ("Pre-training", words.pretraining(config)),
    ]
    if config.pretraining:
        facts.append(("Epochs", str(config.pretraining.epochs)))
    if config.finetuning:
        tuning = config.finetuning
        k = words.finetuned_blocks(config)
        parts = [words.transfer(config), *([f"k {k}"] if k else []), words.count(tuning.epochs, "epoch")]
        facts.append(("Transfer", ", ".join(parts)))
        facts.append(("Batch norm", _batch_norm(tuning)))
    if config.attack:
        facts.append(("Attack", config.attack.title))
    facts.append(("Seed", str(config.seed)))
    return facts


def unusual(info: RunInfo, presets: Mapping[str, StudyConfig]) -> tuple[str, list[Difference]]:
    """What a run is measured by, in words, and the settings in which it differs: first its value, then the usual one.

    A run of a preset's study is measured by the preset's run of its name, any other by the program's defaults.
    """
    study = next((study for study in presets.values() if study.title == info.study), None)
    runs = [run for run in study.runs if run.name == info.config.name] if study else []
    usual = next((run for run in runs if run.seed == info.config.seed), next(iter(runs), None))
    told = f"the preset “{study.title}”" if study and usual else "the program's defaults"
    config = usual.model_copy(update={"seed": info.config.seed}) if usual else _defaults(info.config)
    return told, differences([info, replace(info, config=config)], {})


def _defaults(config: RunConfig) -> RunConfig:
    """The same kind of run with the program's defaults."""
    parts = {part: getattr(config, part) for part in _PARTS}
    return config.model_copy(
        update={part: _default(settings) for part, settings in parts.items() if settings is not None}
    )


def _default(settings: Settings) -> Settings:
    kinds = {key: getattr(settings, key) for key in _KINDS if key in type(settings).model_fields}
    return type(settings)(**kinds)


def _batch_norm(tuning: FinetuningConfig) -> str:
    """What stays as the source left it, in the words that fit the method."""
    if not tuning.applies("batch_norm"):
        return "frozen: all"
    policy = tuning.batch_norm
    whole = tuning.method in ("full", "lwf")
    kept = [
        name
        for name, on in (
            ("affine" if whole else "head affine", policy.freeze_affine),
            ("statistics" if whole else "head statistics", policy.keep_head_statistics),
            ("trunk statistics", policy.keep_trunk_statistics and not whole),
        )
        if on
    ]
    return "frozen: " + ", ".join(kept) if kept else "trained"


def _data(data: DataConfig | None) -> str:
    return words.choice(data.name).partition(" (")[0] if data else ""
