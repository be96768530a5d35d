"""How states, times, shares and choices are said in the window."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import get_args

from engine.config import ATTACKS, NORM_TITLES, ArchitectureName, RunConfig, Settings, format_ratio
from engine.events import Interval, RunInfo
from engine.statistics import Estimate
from engine.wording import format_bytes

STATE_WORDS = {
    "created": "queued",
    "running": "running",
    "paused": "paused",
    "stopped": "stopped",
    "finished": "finished",
    "failed": "failed",
    "interrupted": "interrupted",
}

CHOICE_WORDS = {
    "letters": "Letters (drawn by the program)",
    "digits": "Digits (drawn by the program)",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "svhn": "SVHN",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "gtsrb": "GTSRB",
    "stl10": "STL-10",
    "folder": "Image folder",
    "wide_resnet": "Wide ResNet",
    "resnet": "ResNet",
    "natural": "Natural",
    "adversarial": "Adversarial",
    "trades": "TRADES",
    "fdm": "FDM (CARTL)",
    "vanilla": "Vanilla",
    "neft": "NEFT (CARTL)",
    "linear_probe": "Linear probe",
    "full": "Full fine-tuning",
    "lwf": "LwF",
    "last": "Last",
    "best": "Best on held-out images",
    "best_on_training_batches": "Best on training batches",
    **{name: facts.title for name, facts in ATTACKS.items()},
    **NORM_TITLES,
    "rand": "Rand, for random outputs",
    "cross_entropy": "Cross-entropy",
    "margin": "Logit margin",
    "dlr": "DLR",
    "last_step": "The last step",
    "any_step": "Any step",
    "one_cycle": "One cycle",
    "cuda": "CUDA",
    "mps": "MPS (Apple)",
    "cpu": "CPU",
    "float32": "float32",
    "bfloat16": "bfloat16",
}

#: Networks of other programs; "" is a file that needs none to be named.
CHOICE_WORDS |= {
    "": "None: the file is a whole program",
    "preact_resnet": "Pre-activation ResNet",
    "preact_resnet_raw_shortcut": "Pre-activation ResNet (Wong et al.)",
    "cartl": "CARTL authors' network",
}
CHOICE_WORDS = {name: f"{name} (torchvision)" for name in get_args(ArchitectureName)} | CHOICE_WORDS

_SYMBOLS = {"lambda": "λ", "beta": "β", "1/lambda": "1/λ"}


def symbol(name: str) -> str:
    """How papers write a symbol that settings spell out: "λ" for "lambda"."""
    return _SYMBOLS.get(name, name)


def choice(value: object) -> str:
    """Name of one of a setting's choices, for people."""
    text = str(value)
    return CHOICE_WORDS.get(text, text.replace("_", " ").capitalize())


def percent(share: float, digits: int = 1) -> str:
    """Write a share 0..1 as "45.6 %"; "–" where it is not a number."""
    return f"{100 * share:.{digits}f} %" if math.isfinite(share) else "–"


def interval(value: Interval) -> str:
    """Write a share with its 95 % interval: "45.6 % (42.1 – 49.0)"."""
    return f"{100 * value.value:.1f} % ({100 * value.low:.1f} – {100 * value.high:.1f})"


def estimate(value: Estimate) -> str:
    """Write a mean share like `interval`, without brackets where there is no interval; "–" for none."""
    if not math.isfinite(value.mean):
        return "–"
    text = f"{100 * value.mean:.1f} %"
    return f"{text} ({100 * value.low:.1f} – {100 * value.high:.1f})" if math.isfinite(value.low) else text


def bare(value: Estimate | Interval) -> str:
    """The same without percent signs, for tables whose header has one: "45.6 (42.1 – 49.0)"."""
    mean = value.value if isinstance(value, Interval) else value.mean
    if not math.isfinite(mean):
        return "–"
    text = f"{100 * mean:.1f}"
    return f"{text} ({100 * value.low:.1f} – {100 * value.high:.1f})" if math.isfinite(value.low) else text


def sureness(value: Estimate) -> str:
    """What an interval speaks of: "5 seeds, 95 % interval over seeds"."""
    seeds = count(value.count, "seed")
    return {
        "seeds": f"{seeds}, 95 % interval over seeds",
        "images": f"{seeds}, 95 % interval over its test images only",
        "nothing": f"{seeds}, no interval",
    }[value.over]


def doubts(runs: Iterable[RunInfo]) -> list[str]:
    """Reasons to doubt the figures of some runs, each kind once: "Warning: signs of gradient masking"."""
    titles = [warning.title for run in runs if run.result is not None for warning in run.result.warnings]
    return [f"Warning: {title[:1].lower()}{title[1:]}" for title in dict.fromkeys(titles)]


def points(difference: float) -> str:
    """Write a difference of shares in percentage points with its sign: "+4.2", "−0.3"; "–" for none."""
    if not math.isfinite(difference):
        return "–"
    return f"{100 * difference:+.1f}".replace("-", "−")


def duration(seconds: float | None) -> str:
    """Write a time span: "40 s", "3 min 20 s", "2 h 41 min"; empty for None."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 10 and rest:
        return f"{minutes} min {rest:02d} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} days {hours % 24} h"


def clock(moment: float, now: float | None = None) -> str:
    """Write a Unix time as "today 09:12", "yesterday 18:40" or "12 May 2026"; empty for 0."""
    if not moment:
        return ""
    then, today = datetime.fromtimestamp(moment), datetime.fromtimestamp(now or time.time())
    for days, word in ((0, "today"), (-1, "yesterday"), (1, "tomorrow")):
        if then.date() == (today + timedelta(days=days)).date():
            return f"{word} {then:%H:%M}"
    return f"{then.day} {then:%b %Y}"


def ending(info: RunInfo, now: float | None = None) -> str:
    """What is known about the time of a run: how long it took, or how long it needs and when it ends."""
    if info.state == "running" and info.seconds_left is not None:
        return time_left(info.seconds_left, now)
    if info.state == "created":
        return ""
    return f"took {duration(info.seconds)}" if info.seconds else ""


def time_left(seconds: float | None, now: float | None = None) -> str:
    """How long something needs and when it ends: "3 min 20 s left, until 09:15"; empty for None."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    end = clock((now or time.time()) + seconds, now).removeprefix("today ")
    return f"{duration(seconds)} left, until {end}"


def used(amount: int, total: int | None) -> str:
    """Write how much of something is in use, in one unit: "0.4 of 7.6 GB"; without a total "0.4 GB"."""
    if total is None:
        return format_bytes(amount)
    unit = next((unit for unit in (10**12, 10**9, 10**6) if total >= unit), 10**3)
    name = {10**12: "TB", 10**9: "GB", 10**6: "MB", 10**3: "kB"}[unit]
    return f"{amount / unit:.1f} of {total / unit:.1f} {name}"


def listed(items: Sequence[str]) -> str:
    """Write "A", "A and B", "A, B and C"."""
    return " and ".join([*([", ".join(items[:-1])] if len(items) > 1 else []), *items[-1:]])


def number(value: float) -> str:
    """Write a number without needless digits."""
    return format_ratio(value)


def readable(value: float) -> str:
    """Write a measured number with three significant digits; "–" where it is not a number."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    return f"{value:.3g}" if abs(value) < 1e-3 or abs(value) >= 1e4 else f"{value:#.3g}".rstrip(".")


def count(amount: int, noun: str) -> str:
    """Write "1 run", "4 runs"."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def pretraining(config: RunConfig) -> str:
    """The pre-training of a run in a few words: "FDM, λ 0.005, k 4"."""
    part = config.pretraining
    if part is None:
        return f"from {config.start_from}" if config.start_from else "none"
    return ", ".join([_capital(part.short("method")), *_notation(part)])


def transfer(config: RunConfig) -> str:
    """The transfer of a run in a few words, but for its k: "NEFT, β 0.4"."""
    part = config.finetuning
    if part is None:
        return "none"
    return ", ".join(
        [_capital(part.short("method")), *(term for term in _notation(part) if not term.startswith("k "))]
    )


def finetuned_blocks(config: RunConfig) -> str:
    """k, how many of the last blocks a run's transfer trains; empty where its method has no k."""
    part = config.finetuning
    return "" if part is None else part.notation().get("k", "")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _notation(part: Settings) -> list[str]:
    return [f"{symbol(name)} {value}" for name, value in part.notation().items()]
