"""What a form has to know about each setting, read from its pydantic field."""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from cartl_gui import words
from engine.config import Settings, field_at

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
    limits: dict[str, Any]
    shown_if: dict[str, list[Any]]
    advanced: bool
    model: type[Settings] | None
    optional: bool

    def expectation(self) -> str:
        """What may be typed, in words: "a whole number from 1 to 10,000"."""
        if self.kind == "choice":
            return "one of " + ", ".join(words.choice(value) for value in self.choices)
        if self.kind == "integers":
            return "whole numbers with commas between them, such as 40, 70, 90"
        if self.kind == "numbers":
            return "numbers or ratios with commas or blanks between them, such as 0.5, 0.45 or 2/255 4/255"
        if self.kind in ("text", "path", "start"):
            low, high = self.limits.get("min_length", 0), self.limits.get("max_length")
            return f"{low} to {high} characters" if high else "text"
        noun = "a whole number" if self.kind == "integer" else "a number"
        if self.kind == "ratio":
            noun = "a number or a ratio such as 8/255"
        parts = []
        if "ge" in self.limits and "le" in self.limits:
            parts.append(f"from {_plain(self.limits['ge'])} to {_plain(self.limits['le'])}")
        else:
            for key, text in (("gt", "above"), ("ge", "of at least"), ("lt", "below"), ("le", "at most")):
                if key in self.limits:
                    parts.append(f"{text} {_plain(self.limits[key])}")
        return f"{noun} {' and '.join(parts)}" if parts else noun


def _plain(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def specs_of(model: type[Settings]) -> list[FieldSpec]:
    """The settings of a class in the order in which it declares them."""
    return [_spec(name, field) for name, field in model.model_fields.items()]


def spec_of(place: str) -> FieldSpec:
    """One setting of a run by its dotted name, or "k"."""
    return _spec(place.rpartition(".")[2], field_at(place))


def _spec(name: str, field: FieldInfo) -> FieldSpec:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    kind, choices, inner, optional = _kind_of(name, field)
    limits = {
        key: getattr(item, key)
        for item in field.metadata
        for key in ("gt", "ge", "lt", "le", "min_length", "max_length")
        if getattr(item, key, None) is not None
    }
    help_text = field.description or (inner.__doc__ or "").partition("\n")[0] if inner else field.description
    return FieldSpec(
        name=name,
        title=field.title or name.replace("_", " ").capitalize(),
        help=help_text or "",
        unit=str(extra.get("unit", "")),
        kind=kind,
        default=field.get_default(call_default_factory=True),
        choices=choices,
        limits=limits,
        shown_if=dict(extra.get("shown_if", {})),  # type: ignore[arg-type]
        advanced=bool(extra.get("advanced", False)),
        model=inner,
        optional=optional,
    )


def _kind_of(name: str, field: FieldInfo) -> tuple[Kind, tuple[str, ...], type[Settings] | None, bool]:
    annotation, optional = field.annotation, False
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        annotation, optional = members[0], True
    if get_origin(annotation) is Literal:
        return "choice", tuple(get_args(annotation)), None, optional
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return "group", (), annotation, optional
    if annotation is bool:
        return "switch", (), None, optional
    if annotation is int:
        return "integer", (), None, optional
    if annotation is float:
        is_ratio = any(isinstance(item, BeforeValidator) for item in field.metadata)
        return ("ratio" if is_ratio else "number"), (), None, optional
    if get_origin(annotation) is list and get_args(annotation) == (int,):
        return "integers", (), None, optional
    if get_origin(annotation) is list and get_args(get_args(annotation)[0])[:1] == (float,):
        return "numbers", (), None, optional
    if annotation is str:
        return _TEXTS.get(name, "text"), (), None, optional
    raise TypeError(f"the form has no editor for {name}: {field.annotation}")
