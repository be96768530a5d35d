"""What kind of value a setting takes, and what may be typed there, in words.

The form, sweeps and the help of the command line read it from the settings' own declaration.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from engine.config.base import Settings

Kind = Literal["switch", "choice", "integer", "number", "ratio", "integers", "numbers", "text", "group"]

#: The kinds of which one field may hold several values, which then make an axis of the grid.
SWEPT: tuple[Kind, ...] = ("switch", "choice", "integer", "number", "ratio")
_LIMITS = ("gt", "ge", "lt", "le", "min_length", "max_length")


def kind_of(field: FieldInfo) -> Kind:
    """The kind of a setting.

    Raises:
        TypeError: no settings class may declare such a type.
    """
    kind = _inner(field)
    if get_origin(kind) is Literal:
        return "choice"
    if isinstance(kind, type) and issubclass(kind, Settings):
        return "group"
    if kind is bool:
        return "switch"
    if kind is int:
        return "integer"
    if kind is float:
        is_ratio = any(isinstance(item, BeforeValidator) for item in field.metadata)
        return "ratio" if is_ratio else "number"
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        return "integers" if item is int else "numbers"
    if kind is str:
        return "text"
    raise TypeError(f"no kind of setting has the type {field.annotation}")


def is_optional(field: FieldInfo) -> bool:
    """Whether a setting may be left out altogether, which is then None."""
    return type(None) in get_args(field.annotation)


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    """The values of a choice, empty for every other kind."""
    kind = _inner(field)
    return tuple(get_args(kind)) if get_origin(kind) is Literal else ()


def limits_of(field: FieldInfo) -> dict[str, Any]:
    """The bounds of a setting: pydantic's "gt", "ge", "lt", "le", "min_length" and "max_length"."""
    return {
        key: getattr(item, key)
        for item in field.metadata
        for key in _LIMITS
        if getattr(item, key, None) is not None
    }


def facts_of(field: FieldInfo) -> dict[str, Any]:
    """What `engine.config.base.setting` notes beside pydantic's own: unit, symbol, source, proposed values."""
    extra = field.json_schema_extra
    return dict(extra) if isinstance(extra, dict) else {}


def expectation(field: FieldInfo, choice: Callable[[str], str] = str) -> str:
    """What may be typed, in words: "a whole number from 1 to 10,000".

    Args:
        field: the setting.
        choice: how one of its choices is called.
    """
    kind, limits = kind_of(field), limits_of(field)
    if kind == "switch":
        return "on or off"
    if kind == "choice":
        return "one of " + ", ".join(choice(value) for value in choices_of(field))
    if kind == "integers":
        return "whole numbers with commas between them, such as 40, 70, 90"
    if kind == "numbers":
        return "numbers or ratios with commas or blanks between them, such as 0.5, 0.45 or 2/255 4/255"
    if kind == "text":
        low, high = limits.get("min_length", 0), limits.get("max_length")
        return f"{low} to {high} characters" if high else "text"
    noun = {"integer": "a whole number", "ratio": "a number or a ratio such as 8/255"}.get(kind, "a number")
    if "ge" in limits and "le" in limits:
        return f"{noun} from {_plain(limits['ge'])} to {_plain(limits['le'])}"
    parts = [
        f"{text} {_plain(limits[key])}"
        for key, text in (("gt", "above"), ("ge", "of at least"), ("lt", "below"), ("le", "at most"))
        if key in limits
    ]
    return f"{noun} {' and '.join(parts)}" if parts else noun


def _inner(field: FieldInfo) -> Any:
    """The type of a setting without its None."""
    kind = field.annotation
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(member for member in get_args(kind) if member is not type(None))
    return kind


def _plain(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
