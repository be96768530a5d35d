"""Where a run's network comes from: the runs before it, and every setting that made it what it is.

Loads neither torch nor h5py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from engine.config import FinetuningConfig, PretrainingConfig, Settings, TrainingConfig
from engine.events import RunInfo

#: Settings of an attack that never change its robust accuracy: how it is computed, and what is told beside it.
_WITHOUT_EFFECT = {"batch_size", "examples", "sweep_epsilon", "sweep_steps"}
#: What tells one set of test images from another.
_TEST_IMAGES = ("name", "path", "image_size", "test_size", "seed", "skip_bad_files")


def parent_of(run: RunInfo, known: Mapping[str, RunInfo]) -> RunInfo | None:
    """Find the run that another one started from; None if it is not in the workspace."""
    return known.get(run.parent)


def ancestry(run: RunInfo, known: Mapping[str, RunInfo]) -> list[RunInfo]:
    """The run, the run it started from, and so on, as far as they are in the workspace."""
    chain = [run]
    seen = {run.id}
    while (parent := parent_of(chain[-1], known)) is not None and parent.id not in seen:
        chain.append(parent)
        seen.add(parent.id)
    return chain


def removable(
    run_ids: Sequence[str], runs: Iterable[RunInfo], busy: Collection[str]
) -> tuple[list[str], list[str]]:
    """Which of these runs can be taken away, and for the others why they have to stay, in words.

    Args:
        run_ids: the runs, in any order.
        runs: all runs of the workspace.
        busy: ids of those that run or wait.
    """
    known = {run.id: run for run in runs}
    reasons = {run_id: f"there is no run {run_id!r}" for run_id in run_ids if run_id not in known}
    reasons |= {
        run_id: f"{known[run_id].title} has not ended; stop it first" for run_id in run_ids if run_id in busy
    }
    going = set(run_ids) - reasons.keys()
    while needed := {
        run.parent: run for run in known.values() if run.parent in going and run.id not in going
    }:
        going -= needed.keys()
        for run_id, child in needed.items():
            reasons[run_id] = f"{known[run_id].title} has to stay: {child.title} starts from it"
    return [run_id for run_id in dict.fromkeys(run_ids) if run_id in going], list(reasons.values())


def method_title(settings: TrainingConfig, without: Collection[str] = ()) -> str:
    """Short name of a training: its method and the settings that papers name by a symbol, "FDM lambda=0.005, k=4".

    Args:
        settings: those of a pre-training or fine-tuning.
        without: symbols that are not told.
    """
    symbols = [f"{symbol}={value}" for symbol, value in settings.notation().items() if symbol not in without]
    return f"{settings.short('method')} {', '.join(symbols)}".rstrip()


def settings_of(chain: Sequence[RunInfo]) -> dict[str, Any]:
    """Every setting of a run and of those before it that has an effect on its result, by dotted name.

    The name, the seed, what is only measured, and the machine (but for its precision) are no part of it. Where a
    network went through a stage twice, the earlier time is called "before.finetuning" and so on.
    """
    found: dict[str, Any] = {}
    for number, run in enumerate(chain):
        config = run.config
        parts: dict[str, Settings | None] = {"model": config.model}
        for stage, domain in (("pretraining", "source"), ("finetuning", "target")):
            if getattr(config, stage) is not None:
                parts |= {stage: getattr(config, stage), domain: getattr(config, domain)}
        if number == 0 and config.attack is not None:
            parts |= {"attack": config.attack}
            if not (config.pretraining or config.finetuning):
                parts |= {"attacked": config.evaluation_data}
        for part, settings in parts.items():
            if settings is None or (part == "model" and any(key.startswith("model.") for key in found)):
                continue
            place = part
            while any(key.startswith(f"{place}.") for key in found):
                place = f"before.{place}"
            found |= {f"{place}.{key}": value for key, value in _effective(settings).items()}
            if part in ("pretraining", "finetuning"):
                found[f"{place}.precision"] = config.machine.precision
    root = chain[-1].config
    if root.start_from:
        found["start_from"] = root.start_from
    order = ("model", "source", "pretraining", "target", "finetuning", "attacked", "attack")
    told = sorted(found, key=lambda key: next((n for n, part in enumerate(order) if f"{part}." in key), -1))
    return {key: found[key] for key in told if key.removeprefix("attack.") not in _WITHOUT_EFFECT}


def evaluation_key(chain: Sequence[RunInfo]) -> tuple[tuple[str, str], ...]:
    """What must be equal for two accuracies to be comparable: the attack and the test images."""
    run = chain[0]
    data = next((item.config.evaluation_data for item in chain if item.config.evaluation_data), None)
    images = {f"test {name}": getattr(data, name) for name in _TEST_IMAGES} if data else {}
    attack = _effective(run.config.attack) if run.config.attack else {}
    told = (
        {"attack": run.result.attack, "data": run.result.data, "images": run.result.samples}
        if run.result
        else {}
    )
    values = {
        **told,
        **images,
        **{key: value for key, value in attack.items() if key not in _WITHOUT_EFFECT | {"samples"}},
    }
    return tuple((key, str(value)) for key, value in values.items())


def _k_settings() -> tuple[str, ...]:
    """Dotted names of the settings that papers call k."""
    return tuple(
        f"{stage}.{name}"
        for stage, table in (("pretraining", PretrainingConfig), ("finetuning", FinetuningConfig))
        for name, info in table.model_fields.items()
        if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("symbol") == "k"
    )


#: Dotted names of the settings that papers call k.
K_SETTINGS = _k_settings()


def _effective(settings: Settings) -> dict[str, Any]:
    """The settings that have an effect, by dotted name, with plain values as TOML has them."""
    found: dict[str, Any] = {}
    plain = settings.model_dump(mode="json")
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if value is None or not settings.applies(name):
            continue
        if isinstance(value, Settings):
            found |= {f"{name}.{key}": inner for key, inner in _effective(value).items()}
        else:
            found[name] = plain[name]
    return found
