"""What all settings share: strictness, and fields that carry title, unit, help and condition.

The window builds its forms, and the command line its help, from these fields alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer


class Settings(BaseModel):
    """Base of every settings table: immutable, unknown keys refused, only finite numbers."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, strict=True, validate_default=True
    )

    def applies(self, field: str) -> bool:
        """Whether a setting has an effect beside the others, as its `shown_if` says."""
        extra = type(self).model_fields[field].json_schema_extra
        condition = extra.get("shown_if") if isinstance(extra, dict) else None
        if not isinstance(condition, dict):
            return True
        return all(getattr(self, key) in values for key, values in condition.items())  # type: ignore[operator]

    def notation(self) -> dict[str, str]:
        """The settings that papers name by a symbol, such as {"k": "3", "lambda": "0.005"}, those that apply."""
        found = {}
        for field, info in type(self).model_fields.items():
            extra = info.json_schema_extra
            symbol = extra.get("symbol") if isinstance(extra, dict) else None
            if symbol and self.applies(field):
                found[str(symbol)] = f"{getattr(self, field):g}"
        return found

    def short(self, field: str) -> str:
        """A setting's value as tables and names of runs write it: "AT" for adversarial, else with blanks."""
        extra = type(self).model_fields[field].json_schema_extra
        names = extra.get("short") if isinstance(extra, dict) else None
        value = str(getattr(self, field))
        return str(names.get(value, value.replace("_", " "))) if isinstance(names, dict) else value

    @classmethod
    def defaults(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Defaults that depend on other settings: field -> what it is when left out beside `values`; none by default.

        Forms follow them: a setting that still has its default takes the new one when a choice changes it.
        """
        return {}

    def hints(self) -> dict[str, str]:
        """What follows from the settings and is worth knowing beside one: field -> short text, none by default.

        Forms show the text beside the field while these settings can be used, such as a weight times the batch size.
        """
        return {}


def parse_ratio(value: Any) -> Any:
    """Turn "8/255" into a float; pass everything else on to pydantic's own checks.

    Raises:
        ValueError: the text is neither a number nor a ratio of two numbers.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return float(max(-(10**300), min(value, 10**300)))
    if not isinstance(value, str):
        return value
    numerator, slash, denominator = value.partition("/")
    try:
        top = float(numerator)
        bottom = float(denominator) if slash else 1.0
    except ValueError:
        got = repr(value) if value else "nothing"
        raise ValueError(f"expected a number or a ratio such as 8/255, got {got}") from None
    if bottom == 0 or not math.isfinite(top) or not math.isfinite(bottom):
        raise ValueError(f"expected a finite number or ratio such as 8/255, got {value!r}")
    return top / bottom


def format_ratio(value: float) -> str:
    """Write a number the way people in the field do: 8/255 where it is one and no short decimal, else digits."""
    if float(f"{value:.6g}") != value:
        for base in (255, 510):
            whole = round(value * base)
            if 0 < whole <= base and whole / base == value:
                return f"{whole}/{base}"
    return f"{value:.12g}" if float(f"{value:.12g}") == value else repr(value)


def _store_ratio(value: float) -> float | str:
    text = format_ratio(value)
    return text if "/" in text else value


#: A float that may be written as a ratio ("8/255") and is written back the same way.
Ratio = Annotated[float, BeforeValidator(parse_ratio), PlainSerializer(_store_ratio)]


def setting(
    default: Any,
    title: str,
    help: str,
    *,
    unit: str = "",
    shown_if: dict[str, tuple[Any, ...]] | None = None,
    advanced: bool = False,
    symbol: str = "",
    short: dict[str, str] | None = None,
    proposed: Sequence[Any] = (),
    source: str = "",
    **limits: Any,
) -> Any:
    """Declare one setting.

    Args:
        default: its value when nothing is said; `...` makes it required.
        title: short label in the form.
        help: one or two sentences; tooltip in the window, help text on the command line.
        unit: unit of the value ("input units", "steps"), empty for a pure number.
        shown_if: sibling field -> values for which this setting has an effect.
        advanced: folded away in the form until asked for.
        symbol: how papers write it ("k", "lambda"), where short names of methods should tell it.
        short: what tables and names of runs call a choice, where that is not its own name with blanks.
        proposed: values that people commonly take, those of the paper among them; forms offer them.
        source: the paper that the setting comes from, with its section where one is to be looked up.
        limits: pydantic's bounds (`ge`, `gt`, `le`, `lt`, `min_length`, ...).
    """
    extra: dict[str, Any] = {"unit": unit, "advanced": advanced}
    if symbol:
        extra["symbol"] = symbol
    if proposed:
        extra["proposed"] = list(proposed)
    if source:
        extra["source"] = source
    if short is not None:
        extra["short"] = dict(short)
    if shown_if:
        extra["shown_if"] = {key: list(values) for key, values in shown_if.items()}
    return Field(default, title=title, description=help, json_schema_extra=extra, **limits)
