"""What a form has to know about each setting, read from its pydantic field."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal

from pydantic.fields import FieldInfo

from cartl_gui import words
from engine.config import Settings, field_at
from engine.config.axes import model_of
from engine.config.kinds import SWEPT, choices_of, expectation, facts_of, is_optional, kind_of

Kind = Literal[
    "switch", "choice", "integer", "number", "ratio", "integers", "numbers", "text", "path", "start", "group"
]
#: Settings that are texts and have an editor of their own: a folder, or a run or file with weights.
_TEXTS: dict[str, Kind] = {"path": "path", "start_from": "start", "surrogate": "start"}


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """What a form has to know about one setting, read from its pydantic field."""

    name: str
    title: str
    help: str
    unit: str
    kind: Kind
    default: Any
    choices: tuple[str, ...]
    shown_if: dict[str, list[Any]]
    advanced: bool
    symbol: str
    source: str
    proposed: tuple[Any, ...]
    model: type[Settings] | None
    optional: bool
    field: FieldInfo

    @property
    def is_swept(self) -> bool:
        """Whether several values may be typed, which then make an axis of the grid."""
        return self.kind in SWEPT

    def expectation(self) -> str:
        """What may be typed, in words: "a whole number from 1 to 10,000"."""
        return expectation(self.field, words.choice)


@functools.cache
def specs_of(model: type[Settings]) -> tuple[FieldSpec, ...]:
    """The settings of a class in the order in which it declares them."""
    return tuple(_spec(name, field) for name, field in model.model_fields.items())


def spec_of(place: str) -> FieldSpec:
    """One setting of a run by its dotted name, or "k"."""
    return _spec(place.rpartition(".")[2], field_at(place))


def _spec(name: str, field: FieldInfo) -> FieldSpec:
    facts, model = facts_of(field), model_of(field)
    kind: Kind = kind_of(field)
    help_text = field.description or ((model.__doc__ or "").partition("\n")[0] if model else "")
    return FieldSpec(
        name=name,
        title=field.title or name.replace("_", " ").capitalize(),
        help=help_text,
        unit=str(facts.get("unit", "")),
        kind=_TEXTS.get(name, kind) if kind == "text" else kind,
        default=field.get_default(call_default_factory=True),
        choices=choices_of(field),
        shown_if=dict(facts.get("shown_if", {})),
        advanced=bool(facts.get("advanced", False)),
        symbol=str(facts.get("symbol", "")),
        source=str(facts.get("source", "")),
        proposed=tuple(facts.get("proposed", ())),
        model=model,
        optional=is_optional(field),
        field=field,
    )
