"""What the command line prints about attacks: those there are, and evaluations in detail with their warnings."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from engine.cli.report import WIDTH, estimate_text, format_table
from engine.cli.settings import flag
from engine.config import ATTACKS, AttackConfig, format_ratio, members_of
from engine.report.detail import Detail, Doubt, Point, detail_of
from engine.results import Cell
from engine.wording import NOTHING, duration, percent

INTERVAL = "robust % (95 %)"


def evaluation_texts(cells: Iterable[Cell]) -> list[str]:
    """Each evaluation of which there is more to tell than one figure: single attacks, sweep, warnings, notes."""
    texts = []
    for cell in cells:
        detail = detail_of(cell.runs)
        if detail is not None and detail.worth_telling:
            texts.append("\n\n".join([f"{cell.name}: {cell.attack}", *_parts(detail, len(cell.runs) > 1)]))
    return texts


def _parts(detail: Detail, several: bool) -> list[str]:
    parts = []
    if len(detail.members) > 1:
        parts.append(_members_table(detail))
    if detail.steps_differ and detail.at_any_step is not None:
        figures = percent(detail.headline.robust.mean), percent(detail.at_any_step.mean)
        parts.append(f"Robust %: judged at the last step {figures[0]}, at any step {figures[1]}.")
    if detail.by_epsilon:
        parts.append(_epsilon_table(detail))
    if detail.by_steps:
        parts.append(_steps_table(detail.by_steps))
    parts += [_doubt(item, several) for item in detail.doubts]
    if detail.notes:
        parts.append("\n".join(_wrapped(f"Note: {note}") for note in detail.notes))
    return parts


def _members_table(detail: Detail) -> str:
    """The single attacks; the figures are of all images, the worst case over the attacks so far."""
    judged = any(member.at_any_step is not None for member in detail.members)
    rows = []
    for member in detail.members:
        any_step = percent(member.at_any_step.mean) if member.at_any_step is not None else NOTHING
        rows.append(
            (
                member.title,
                f"{member.attacked:.0f}",
                estimate_text(member.robust),
                *([any_step] if judged else []),
                duration(member.seconds),
            )
        )
    head = ("attack", "attacked", INTERVAL, *(["at any step %"] if judged else []), "time")
    return format_table(head, rows)


def _epsilon_table(detail: Detail) -> str:
    rows = [("0 (clean)", estimate_text(detail.clean))]
    rows += [(format_ratio(point.epsilon), estimate_text(point.robust)) for point in detail.by_epsilon]
    return format_table(("epsilon", INTERVAL), rows)


def _steps_table(points: Sequence[Point]) -> str:
    return format_table(
        ("steps", INTERVAL), [(str(point.steps), estimate_text(point.robust)) for point in points]
    )


def _doubt(doubt: Doubt, several: bool) -> str:
    lines = [f"! {doubt.title}"]
    for run, evidence in doubt.evidence:
        of = f"Seed {run.config.seed}: " if several else ""
        lines.append(_wrapped(of + evidence, "  "))
    return "\n".join([*lines, _wrapped(f"What to do: {doubt.advice}", "  ")])


def attacks_as_json() -> dict[str, Any]:
    """All attacks as plain values: facts, and for each norm the defaults of its settings."""
    return {
        name: {
            "title": facts.title,
            "source": facts.source,
            "white_box": facts.white_box,
            "norms": {norm: _defaults(name, norm) for norm in facts.norms},
        }
        for name, facts in ATTACKS.items()
    }


def attacks_text() -> str:
    """All attacks as a table, then the settings of each as they are typed, with their defaults."""
    rows = [
        (name, facts.title, ", ".join(facts.norms), "yes" if facts.white_box else "no", facts.source)
        for name, facts in ATTACKS.items()
    ]
    parts = [
        format_table(("name", "attack", "norms", "gradients", "source"), rows),
        "Settings of each beside --norm, with their defaults:",
        "\n".join(_settings_text(name) for name in ATTACKS),
        "AutoAttack has one after the other, each on the images that are still robust:",
        "\n".join(
            _version_text(version) for version in get_args(AttackConfig.model_fields["version"].annotation)
        ),
    ]
    return "\n\n".join(parts)


def _settings_text(name: str) -> str:
    norms = ATTACKS[name].norms
    usual = _defaults(name, norms[0])
    words = []
    for field, value in usual.items():
        others = [
            f"{norm}: {_typed(field, other)}"
            for norm in norms[1:]
            if (other := _defaults(name, norm)[field]) != value
        ]
        words.append(_typed(field, value, option=True) + (f" ({', '.join(others)})" if others else ""))
    return _listed(name, words)


def _defaults(name: str, norm: str) -> dict[str, Any]:
    """What an attack's settings are when left out, epsilon first."""
    values = AttackConfig.defaults({"name": name, "norm": norm})
    return {"epsilon": values["epsilon"]} | {field: values[field] for field in ATTACKS[name].settings}


def _typed(field: str, value: Any, *, option: bool = False) -> str:
    name = flag(field)
    if isinstance(value, bool):
        return name if value else name.replace("--", "--no-", 1)
    text = format_ratio(value) if isinstance(value, float) else str(value) or "(to be named)"
    return f"{name} {text}" if option else text


def _version_text(version: str) -> str:
    # With 10 classes, as on CIFAR-10, nothing has to be left out.
    members, _ = members_of(AttackConfig.model_validate({"name": "autoattack", "version": version}), 10)
    told = [
        member.label + (f" x {member.restarts}" if member.applies("restarts") and member.restarts > 1 else "")
        for member in members
    ]
    return _listed(version, told)


def _listed(name: str, words: Iterable[str]) -> str:
    """A name, and beside it what belongs to it, in as many lines as it takes."""
    return textwrap.fill(
        ", ".join(words), WIDTH, initial_indent=f"  {name:14}  ", subsequent_indent=" " * 18,
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )  # fmt: skip
