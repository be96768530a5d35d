"""Values of queries: numbers, times and dates."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta

from engine.config import parse_ratio
from engine.errors import CartlError

#: Seconds that one of each unit has.
UNITS = {
    "s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400,
}  # fmt: skip


class QueryError(CartlError):
    """A query that cannot be read; `position` counts characters from 0."""

    def __init__(self, message: str, position: int) -> None:
        self.position = position
        super().__init__(f"{message} (character {position + 1})")


def number(text: str, position: int) -> float:
    """Read a number or a ratio.

    Raises:
        QueryError: it is neither, or not finite.
    """
    try:
        found = parse_ratio(text)
    except ValueError:
        found = None
    if isinstance(found, float) and math.isfinite(found):
        return found
    raise QueryError(f"Expected a number such as 45 or 8/255, found “{text}”", position)


def last_digit(text: str) -> float:
    """What one more in the last written digit is worth; of a time, in seconds."""
    written = re.search(r"\d*\.?(\d*)([a-z]*)$", text.casefold())
    decimals, unit = written.groups() if written else ("", "")
    return UNITS.get(unit, 1) * 10.0 ** -min(len(decimals), 15)


def seconds(text: str, position: int) -> float:
    """Read a time such as "2h41min".

    Raises:
        QueryError: it is none.
    """
    parts = re.findall(r"(\d{1,9}(?:\.\d{1,9})?)([a-z]+)", text.casefold())
    known = all(unit in UNITS for _amount, unit in parts)
    if not parts or not known or "".join(map("".join, parts)) != text.casefold():
        raise QueryError(f"Expected a time such as 40s, 10min or 2h, found “{text}”", position)
    return sum(float(amount) * UNITS[unit] for amount, unit in parts)


def span(text: str, position: int) -> tuple[float, float]:
    """First and last moment of what a date names: a year, a month, a day or a minute.

    Raises:
        QueryError: it names none.
    """
    today = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0)
    word = text.casefold()
    if word in ("today", "yesterday"):
        first = today - timedelta(days=word == "yesterday")
        return first.timestamp(), (first + timedelta(days=1)).timestamp()
    for form in ("%Y-%m-%dT%H:%M", "%Y-%m-%d", "%Y-%m", "%Y"):
        try:
            first = datetime.strptime(text, form)
            if form == "%Y":
                last = first.replace(year=first.year + 1)
            elif form == "%Y-%m":
                last = (first + timedelta(days=32)).replace(day=1)
            else:
                last = first + (timedelta(days=1) if form == "%Y-%m-%d" else timedelta(minutes=1))
            return first.timestamp(), last.timestamp()
        except (ValueError, OverflowError, OSError):
            continue
    raise QueryError(f"Expected a date such as 2026-11-01, found “{text}”", position)
