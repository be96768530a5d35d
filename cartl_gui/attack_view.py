"""What the attack page says about a run: figures and how sure they are, single attacks, sweep. No Qt in here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cartl_gui import words
from cartl_gui.run_data import RunData
from engine.config import ATTACKS, AttackConfig, format_ratio
from engine.events import AttackProgress, AttackResult, AttackWarning, Interval, MemberResult
from engine.statistics import wilson

#: Whether something is measured, is being measured, or will be.
Step = Literal["done", "now", "waits"]
UNKNOWN = Interval(math.nan, math.nan, math.nan)
TO_COME = "to come"
NOT_BEGUN = "The figures appear here when the attack begins."


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of the headline.

    Attributes:
        definition: which of the two robust accuracies it is, empty where there is one only.
        share: with its interval; not a number while nothing is known.
        is_bound: whether it can only fall from here.
    """

    title: str
    definition: str
    share: Interval
    is_bound: bool = False


@dataclass(frozen=True, slots=True)
class MemberLine:
    """One single attack: texts of the table's cells, and the share 0..1 of its pass that is done while it computes."""

    title: str
    step: Step
    attacked: str
    robust: str
    any_step: str
    time: str
    done: float | None = None


@dataclass(frozen=True, slots=True)
class SweepLine:
    """Robust accuracy at one radius and number of steps, in the same way."""

    epsilon: str
    steps: str
    step: Step
    robust: str
    is_headline: bool = False
    done: float | None = None


@dataclass(frozen=True, slots=True)
class AttackView:
    """The whole page.

    Attributes:
        standing: how far the figures are to be trusted while there is no result.
        about: what the result was measured on, or when it will be there.
        judged_twice: whether the figures at any step differ from the others.
    """

    title: str
    figures: tuple[Figure, ...]
    standing: str
    about: str
    members: tuple[MemberLine, ...] = ()
    judged_twice: bool = False
    sweep: tuple[SweepLine, ...] = ()
    warnings: tuple[AttackWarning, ...] = ()
    notes: tuple[str, ...] = ()


def view_of(data: RunData, now: float | None = None) -> AttackView:
    """What there is to say about a run's attack; `now` is the Unix time."""
    result, config = data.info.result, data.info.config.attack
    title = f"Attack: {result.attack if result else config.title if config else ''}"
    if result is not None:
        return _finished(data, title, result)
    progress, layout = data.attack, data.layouts.get("attack")
    if progress is None or layout is None:
        unknown = (Figure("Clean accuracy", "", UNKNOWN), Figure("Robust accuracy", "", UNKNOWN))
        return AttackView(title, unknown, "", NOT_BEGUN)
    samples = layout.samples
    attacked = bool(data.columns("attack", "attempts"))
    titles = layout.points[0].members if layout.points else ()
    at_any_step = progress.members[-1].robust_at_any_step if progress.members else None
    figures = _figures(
        config,
        clean_accuracy(data),
        wilson(round(progress.robust_accuracy * samples), samples) if attacked else UNKNOWN,
        at_any_step,
        is_bound=len(progress.members) < len(titles),
    )
    return AttackView(
        title,
        figures,
        _standing(data, progress, titles, attacked=attacked),
        _expected_end(data, progress, now),
        _member_lines(data, progress, titles, now),
        any(_differs(member) for member in progress.members),
        _sweep_lines(data),
    )


def clean_accuracy(data: RunData) -> Interval:
    """The share of images that are classified correctly before the attack, so far."""
    if data.info.result is not None:
        return data.info.result.clean_accuracy
    correct = data.columns("attack", "clean").get("correct")
    return wilson(int(correct.sum()), len(correct)) if correct is not None else UNKNOWN


def sample_text(data: RunData, sample: int | None) -> str:
    """Verdict and margin of one test image, so far or in the end; empty if it is not among those attacked."""
    samples, clean = data.columns("attack", "samples"), data.columns("attack", "clean")
    table = samples or clean
    if sample is None or not table:
        return ""
    found = np.flatnonzero(table["sample"] == sample)
    if not len(found):
        return ""
    cells = {name: values[found[0]] for name, values in table.items()}
    layout = data.layouts.get("attack")
    names = layout.class_names if layout is not None else ()
    label = int(cells["label"])
    image = f"Image #{sample}, true class {names[label] if label < len(names) else label}"
    if not cells["clean_correct" if samples else "correct"]:
        return f"{image}: misclassified without any attack"
    if samples:
        margin, is_broken, end = cells.get("margin", np.nan), not cells["robust"], ""
    else:
        attempts = data.columns("attack", "attempts")
        own = (attempts["sample"] == sample) & (attempts["point"] == 0) if attempts else np.zeros(0, bool)
        if not own.any():
            return f"{image}: not attacked yet"
        margin, is_broken, end = attempts["margin"][own].min(), attempts["broken"][own].any(), " so far"
    verdict = "broken" if is_broken else f"withstood every attack{end}"
    smallest = f", smallest margin {words.readable(float(margin))}".replace("-", "−")
    return f"{image}: {verdict}{smallest if math.isfinite(margin) else ''}"


def short(label: str) -> str:
    """A single attack without its numbers: "APGD-T" of "APGD-T-100"."""
    titles = [facts.title for facts in ATTACKS.values() if label.startswith(facts.title)]
    return max(titles, key=len, default=label)


def epsilon_text(config: AttackConfig | None, epsilon: float) -> str:
    """A radius as people write it in its norm: "8/255" also where it is a short decimal, such as 51/255."""
    whole = epsilon * 255
    is_pixels = config is None or config.norm == "linf"
    if is_pixels and 0 < whole <= 255 and abs(whole - round(whole)) < 1e-6:
        return f"{round(whole)}/255"
    return format_ratio(epsilon)


def _finished(data: RunData, title: str, result: AttackResult) -> AttackView:
    about = f"{words.count(result.samples, 'image')} of {result.data}"
    # The table of a single attack would say nothing else.
    members = result.members if len(result.members) > 1 else ()
    if result.members and not members:
        about += f", {result.members[0].attacked:,} of them attacked"
    about += f", {words.duration(result.seconds)}. Intervals are 95 % Wilson score intervals."
    at_any_step = result.robust_at_any_step
    if at_any_step is not None and at_any_step.value == result.robust_accuracy.value:
        about += " Judged at any step, the robust accuracy is the same."
    return AttackView(
        title,
        _figures(
            data.info.config.attack, result.clean_accuracy, result.robust_accuracy, result.robust_at_any_step
        ),
        "",
        about,
        tuple(_done(member) for member in members),
        any(_differs(member) for member in members),
        _sweep_lines(data),
        result.warnings,
        result.notes,
    )


def _figures(
    config: AttackConfig | None,
    clean: Interval,
    robust: Interval,
    at_any_step: Interval | None,
    *,
    is_bound: bool = False,
) -> tuple[Figure, ...]:
    """Clean and robust accuracy, and the robust one at any step where that is another."""
    differs = at_any_step is not None and at_any_step.value != robust.value
    definition = "judged at the last step" if at_any_step is not None else ""
    if config is not None and config.applies("judged_at") and config.judged_at == "any_step":
        definition = "judged at any step"
    found = [
        Figure("Clean accuracy", "", clean),
        Figure("Robust accuracy", definition, robust, is_bound and math.isfinite(robust.value)),
    ]
    if differs and at_any_step is not None:
        found.append(Figure("Robust accuracy", "judged at any step", at_any_step, is_bound))
    return tuple(found)


def _standing(data: RunData, progress: AttackProgress, titles: Sequence[str], *, attacked: bool) -> str:
    """How far the robust accuracy is to be trusted before the end."""
    info, finished = data.info, progress.members
    left = [short(title) for title in titles[len(finished) :]]
    is_final = bool(titles) and not left
    if info.state != "running":
        how = words.STATE_WORDS[info.state].capitalize()
        if not attacked:
            return f"{how} before the first attack: nothing is known about robustness yet."
        if is_final:
            return f"{how} before the end of the sweep; the figures above are final."
        return f"{how} before the end: the robust accuracy is an upper bound."
    if not attacked:
        return (
            f"Looking at the clean images first, {progress.done:,} of {progress.total:,}; only those that are "
            "classified correctly are attacked."
        )
    if is_final:
        more = (
            "other radii or numbers of steps are being measured" if progress.title else "all attacks are done"
        )
        return f"The figures above are final; {more}."
    if not finished:
        return "Upper bound: the share of images that nothing has broken so far."
    text = f"Provisional after {short(finished[-1].title)}: {words.listed(left)} {'follow' if len(left) > 1 else 'follows'}"
    config = info.config.attack
    # Over nine published evaluations these two move the figure by 0.02 points at most.
    is_standard = config is not None and config.name == "autoattack" and config.version == "standard"
    if is_standard and left == ["FAB-T", "Square"] and short(finished[-1].title) == "APGD-T":
        return f"{text}; expected change below 0.1 points"
    return f"{text}; it can only fall"


def _expected_end(data: RunData, progress: AttackProgress, now: float | None) -> str:
    if data.info.state != "running":
        return ""
    parts = []
    if progress.number and progress.count > 1:
        parts.append(f"Single attack {progress.number} of {progress.count}")
    if left := words.time_left(data.info.seconds_left, now):
        parts.append(f"everything: {left}" if parts else f"Everything: {left}")
    return ", ".join(parts)


def _differs(member: MemberResult) -> bool:
    at_any_step = member.robust_at_any_step
    return at_any_step is not None and at_any_step.value != member.robust_accuracy.value


def _done(member: MemberResult) -> MemberLine:
    at_any_step = member.robust_at_any_step
    return MemberLine(
        member.title,
        "done",
        f"{member.attacked:,}",
        words.interval(member.robust_accuracy),
        words.interval(at_any_step) if at_any_step is not None else "",
        words.duration(member.seconds) if member.seconds else "",
    )


def _member_lines(
    data: RunData, progress: AttackProgress, titles: Sequence[str], now: float | None
) -> tuple[MemberLine, ...]:
    lines = [_done(member) for member in progress.members]
    for title in titles[len(lines) :]:
        is_next = len(lines) == len(progress.members)
        if is_next and progress.point == 0 and progress.title == title:
            share = _share(data, progress)
            lines.append(
                MemberLine(
                    title,
                    "now",
                    _share_text(share),
                    f"≤ {words.percent(progress.robust_accuracy)}",
                    "",
                    words.time_left(progress.seconds_left, now) if share is not None else "",
                    share,
                )
            )
        else:
            lines.append(MemberLine(title, "waits", TO_COME, "", "", ""))
    return tuple(lines)


def _share(data: RunData, progress: AttackProgress) -> float | None:
    """How much of the single attack under way is done; None where none is."""
    return progress.share if data.info.state == "running" else None


def _share_text(share: float | None) -> str:
    return "not finished" if share is None else f"{100 * share:.0f} %"


def _sweep_lines(data: RunData) -> tuple[SweepLine, ...]:
    """The clean accuracy, then every point that is measured, and those to come; empty without a sweep."""
    config, progress, layout = data.info.config.attack, data.attack, data.layouts.get("attack")
    measured = data.sweep()
    points = layout.points if layout is not None and data.info.result is None else ()
    if not measured and len(points) < 2:
        return ()
    found = {
        (item.epsilon, item.steps): SweepLine(
            epsilon_text(config, item.epsilon),
            str(item.steps or ""),
            "done",
            words.interval(item.robust_accuracy),
            _is_headline(config, item.epsilon, item.steps),
        )
        for item in measured
    }
    for number, point in enumerate(points):
        if (point.epsilon, point.steps) in found:
            continue
        texts = epsilon_text(config, point.epsilon), str(point.steps or "")
        is_now = progress is not None and progress.point == number and bool(progress.title)
        is_headline = number == 0
        share = _share(data, progress) if is_now and progress is not None else None
        found[point.epsilon, point.steps] = (
            SweepLine(
                *texts,
                "now",
                f"{short(progress.title)}: {_share_text(share)}",
                is_headline,
                share,
            )
            if is_now and progress is not None
            else SweepLine(*texts, "waits", TO_COME, is_headline)
        )
    ordered = tuple(found[place] for place in sorted(found))
    clean = clean_accuracy(data)
    if not math.isfinite(clean.value):
        return ordered
    return SweepLine("0 (clean)", "", "done", words.interval(clean)), *ordered


def _is_headline(config: AttackConfig | None, epsilon: float, steps: int) -> bool:
    return (
        config is not None
        and config.epsilon == epsilon
        and (config.steps if config.applies("steps") else 0) == steps
    )
