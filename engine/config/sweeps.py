"""Several values typed where one stands: `0.005, 0.01`, `4..8`, `4..12 step 4`, `log(1e-4, 1e-1, 4)`.

    sweep = item { [","] item }
    item  = value | value ".." value [ "step" value ] | ("lin" | "log") "(" value "," value "," count ")"
    value = number [ "/" number ] | word

Numbers are exact fractions until the end, so that `0.1..0.3 step 0.1` has the values 0.1, 0.2 and 0.3. Nothing is
evaluated, and nothing is rounded but the inner values of `lin` and `log`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pydantic.fields import FieldInfo

from engine.config.base import format_ratio
from engine.config.grid import MAX_RUNS
from engine.config.kinds import SWEPT, choices_of, kind_of

Value = int | float | str | bool

#: As many values as a study may have runs.
MAX_VALUES = MAX_RUNS
#: A number that is longer is a slip; so is a larger exponent.
_MAX_DIGITS = 40
_MAX_EXPONENT = 300
#: Digits that the inner values of lin and log have at least.
_FIGURES = 3
#: A factor between neighbours whose denominator is at most this is taken exactly: 10, 2, 3/2.
_MAX_FACTOR_BASE = 100
_SWITCH = {"on": True, "true": True, "off": False, "false": False}
_EXAMPLES = {
    "switch": "on, off",
    "integer": "whole numbers such as 1, 2, 5 or 0..4",
    "number": "numbers such as 0.4, 0.6 or log(0.001, 0.1, 3)",
    "ratio": "numbers or ratios such as 4/255, 8/255",
}
_TOKEN = re.compile(
    r"""(?P<number>[+-]?(?:\d+(?:\.(?!\.)\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w]))
      | (?P<word>[^\W\d]\w*)
      | (?P<sign>\.\.|[,;/()])
      | (?P<other>[^\s,;/()]+)""",
    re.VERBOSE,
)


class SweepError(ValueError):
    """Values that cannot be read; `position` counts the characters before the place, from 0."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(reason)
        self.position = position


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Number:
    """A number as it was typed; `base` is what it was divided by, 0 if nothing."""

    value: Fraction
    base: int
    start: int


def parse_sweep(text: str, field: FieldInfo) -> list[Value]:
    """Read the values of one setting.

    Args:
        text: what was typed.
        field: the setting; it says whether whole numbers, numbers, ratios, choices or on and off are expected.

    Returns:
        At least one value, each once, in the order typed: int for whole numbers, float for numbers, text for choices
        and for ratios ("8/255"), which settings files take.

    Raises:
        SweepError: saying what was expected and what came. Bounds are not checked here, the settings' class does.
    """
    if kind_of(field) not in SWEPT:
        raise SweepError(f"{field.title} takes one value only", 0)
    return _Reader(text, field).values()


def is_sweep(text: str, field: FieldInfo) -> bool:
    """Whether a text is meant as several values, readable or not, rather than as one."""
    kind = kind_of(field)
    if kind not in SWEPT:
        return False
    tokens = _tokens(text)
    if kind == "integer" and len(tokens) == 2 and _joined(tokens):
        return True
    numbers = [token for token in tokens if token.kind == "number"]
    listed = any(token.text in (",", ";", "..", "(") for token in tokens)
    beside = any(one.kind == other.kind != "sign" for one, other in zip(tokens, tokens[1:], strict=False))
    return listed or (beside and (kind in ("choice", "switch") or len(numbers) > 1))


def write_sweep(values: Iterable[Value]) -> str:
    """Write values the way they are typed: "1..3, 6", "4/255, 8/255", "on, off"."""
    listed, parts = list(values), []
    place = 0
    while place < len(listed):
        end = place
        while end + 1 < len(listed) and _follows(listed[end], listed[end + 1]):
            end += 1
        if end - place >= 2:
            parts.append(f"{listed[place]}..{listed[end]}")
            place = end + 1
        else:
            parts.append(_written(listed[place]))
            place += 1
    return ", ".join(parts)


class _Reader:
    def __init__(self, text: str, field: FieldInfo) -> None:
        self.text, self.field, self.kind = text, field, kind_of(field)
        self.tokens = _tokens(text)
        self.place = 0
        self.found: list[Value] = []
        self.seen: set[object] = set()

    def values(self) -> list[Value]:
        if not self.tokens:
            raise SweepError(f"expected {self._example()}, the field is empty", 0)
        while True:
            self._item()
            if self._next() is None:
                return self.found
            parted = self._skip(",") or self._skip(";")
            token = self._next()
            if parted and (token is None or token.text in (",", ";")):
                raise SweepError("expected a value after the comma", self.tokens[self.place - 1].start)

    # items ----------------------------------------------------------------------------------------------
    def _item(self) -> None:
        token = self._next()
        assert token is not None
        if self.kind in ("choice", "switch"):
            self._word(token)
        elif token.text in ("lin", "log"):
            self._spaced(token)
        else:
            self._number_or_range()

    def _word(self, token: _Token) -> None:
        self.place += 1
        if self.kind == "switch":
            if token.text.lower() not in _SWITCH:
                raise self._unexpected(token)
            self._keep(_SWITCH[token.text.lower()], token.start)
            return
        choices = {choice.lower(): choice for choice in choices_of(self.field)}
        if token.text.lower() not in choices:
            close = difflib.get_close_matches(token.text.lower(), choices, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise SweepError(
                f"expected one of {', '.join(filter(None, choices))}, got {token.text!r}{meant}", token.start
            )
        self._keep(choices[token.text.lower()], token.start)

    def _number_or_range(self) -> None:
        first = self._number()
        if self.kind == "integer" and _joined(self.tokens[self.place - 1 : self.place + 1]):
            dash = self.tokens[self.place]
            self.place += 1
            self._range(first, _Number(Fraction(dash.text[1:]), 0, dash.start + 1), None)
        elif self._skip(".."):
            last = self._number()
            token = self._next()
            step = None
            if token is not None and token.text == "step":
                self.place += 1
                step = self._number()
            self._range(first, last, step)
        else:
            self._keep(self._plain(first.value, first), first.start)

    def _range(self, first: _Number, last: _Number, step: _Number | None) -> None:
        if step is None and not (first.value.denominator == 1 and last.value.denominator == 1):
            low, high = (self._shown(number) for number in (first, last))
            raise SweepError(f"say the step too, such as {low}..{high} step {low}", first.start)
        width = step.value if step else Fraction(1)
        if width <= 0:
            raise SweepError("the step must be above 0", step.start if step else first.start)
        if last.value < first.value:
            raise SweepError("the smaller number comes first in a range", first.start)
        amount = (last.value - first.value) // width + 1
        self._require_room(amount, first.start)
        for number in range(int(amount)):
            self._keep(self._plain(first.value + number * width, first, step), first.start)

    def _spaced(self, name: _Token) -> None:
        """`lin` or `log`: values at equal distances, or at equal ratios."""
        self.place += 1
        shape = f"{name.text}(first, last, how many)"
        self._demand("(", shape)
        first = self._number()
        self._demand(",", shape)
        last = self._number()
        self._demand(",", shape)
        count = self._number()
        self._demand(")", shape)
        if count.value.denominator != 1 or count.value < 2:
            raise SweepError(f"expected {shape}, how many being a whole number from 2 on", count.start)
        self._require_room(count.value, count.start)
        if first.value == last.value:
            raise SweepError(f"{name.text} needs two different ends", first.start)
        if name.text == "log" and min(first.value, last.value) <= 0:
            raise SweepError("log needs ends above 0", first.start)
        for value in self._between(name, first, last, int(count.value)):
            self._keep(self._plain(value, first, last), name.start)

    def _between(self, name: _Token, first: _Number, last: _Number, count: int) -> list[Fraction]:
        if name.text == "lin":
            gap = (last.value - first.value) / (count - 1)
            exact = [first.value + number * gap for number in range(count)]
            if self.kind == "integer" or first.base or last.base:
                return exact
            return _rounded(exact)
        start, ratio = float(first.value), float(last.value / first.value)
        factor = Fraction(ratio ** (1 / (count - 1))).limit_denominator(_MAX_FACTOR_BASE)
        if factor ** (count - 1) == last.value / first.value:
            return [first.value * factor**number for number in range(count)]
        inner = [Fraction(start * ratio ** (number / (count - 1))) for number in range(1, count - 1)]
        exact = [first.value, *inner, last.value]
        if self.kind != "integer":
            return _rounded(exact)
        whole = [first.value, *(Fraction(round(value)) for value in inner), last.value]
        if len(set(whole)) < count:
            raise SweepError(f"there are no {count} different whole numbers to take here", name.start)
        return whole

    # values ---------------------------------------------------------------------------------------------
    def _number(self) -> _Number:
        top = self._digits()
        if not self._skip("/"):
            return _Number(top, 0, self.tokens[self.place - 1].start)
        slash = self.place - 1
        start = self.tokens[slash - 1].start
        if self.kind != "ratio":
            raise SweepError(f"{self.field.title} takes no ratios; write the number itself", start)
        bottom = self._digits()
        if not bottom:
            raise SweepError("cannot divide by 0", self.tokens[slash].start)
        base = int(bottom) if bottom.denominator == 1 and bottom > 0 else 0
        return _Number(top / bottom, base, start)

    def _digits(self) -> Fraction:
        token = self._next()
        if token is None:
            raise SweepError(f"expected {self._example()}, the text ends", len(self.text.rstrip()))
        if token.kind != "number":
            raise self._unexpected(token)
        _mantissa, _e, exponent = token.text.lower().partition("e")
        if len(token.text) > _MAX_DIGITS or abs(int(exponent or 0)) > _MAX_EXPONENT:
            raise SweepError("the number is too long", token.start)
        self.place += 1
        return Fraction(token.text)

    def _plain(self, value: Fraction, *typed: _Number | None) -> Value:
        """A value as settings take it; ratios stay ratios over the number that was typed below the line."""
        start = next(number.start for number in typed if number is not None)
        if self.kind == "integer":
            if value.denominator != 1:
                got = f"{float(value):g}"
                raise SweepError(f"{self.field.title} takes whole numbers, got {got}", start)
            return int(value)
        base = next((number.base for number in typed if number is not None and number.base), 0)
        if base and (value * base).denominator == 1:
            return f"{value * base}/{base}"
        try:
            return float(value)
        except OverflowError:
            raise SweepError("the number is too large", start) from None

    def _keep(self, value: Value, start: int) -> None:
        key = Fraction(value) if isinstance(value, str) and "/" in value else value
        if key in self.seen:
            raise SweepError(f"has {_written(value)} twice; remove one", start)
        self._require_room(1, start)
        self.seen.add(key)
        self.found.append(value)

    def _require_room(self, more: int | Fraction, start: int) -> None:
        if len(self.found) + more > MAX_VALUES:
            raise SweepError(f"at most {MAX_VALUES:,} values may be given", start)

    # tokens ---------------------------------------------------------------------------------------------
    def _next(self) -> _Token | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def _skip(self, text: str) -> bool:
        token = self._next()
        found = token is not None and token.kind == "sign" and token.text == text
        self.place += found
        return found

    def _demand(self, text: str, shape: str) -> None:
        if not self._skip(text):
            token = self._next()
            raise SweepError(f"expected {shape}", token.start if token else len(self.text.rstrip()))

    def _unexpected(self, token: _Token) -> SweepError:
        return SweepError(f"expected {self._example()}, got {token.text!r}", token.start)

    def _example(self) -> str:
        return _EXAMPLES.get(self.kind) or "any of " + ", ".join(filter(None, choices_of(self.field)))

    def _shown(self, number: _Number) -> str:
        return f"{number.value * number.base}/{number.base}" if number.base else f"{float(number.value):g}"


def _tokens(text: str) -> list[_Token]:
    return [
        _Token(str(found.lastgroup), found.group(), found.start(), found.end())
        for found in _TOKEN.finditer(text)
    ]


def _joined(tokens: Sequence[_Token]) -> bool:
    """Whether two tokens are written as one range of whole numbers: "0-4"."""
    return (
        len(tokens) == 2
        and all(token.kind == "number" for token in tokens)
        and tokens[0].end == tokens[1].start
        and tokens[1].text[1:].isdigit()
        and tokens[1].text[0] == "-"
    )


def _rounded(values: Sequence[Fraction]) -> list[Fraction]:
    """Values with as few digits as keep each within a hundredth of the way to the next; the ends as they are."""
    for digits in range(_FIGURES, 17):
        rounded = [Fraction(f"{float(value):.{digits}g}") for value in values[1:-1]]
        gaps = [abs(after - before) for before, after in zip(values, values[1:], strict=False)]
        if all(
            abs(near - value) * 100 <= min(gaps[place], gaps[place + 1])
            for place, (near, value) in enumerate(zip(rounded, values[1:-1], strict=True))
        ):
            return [values[0], *rounded, values[-1]]
    return list(values)


def _follows(value: Value, other: Value) -> bool:
    whole = all(isinstance(item, int) and not isinstance(item, bool) for item in (value, other))
    return whole and int(other) == int(value) + 1


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float) and math.isfinite(value):
        return format_ratio(value)
    return str(value)
