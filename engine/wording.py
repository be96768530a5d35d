"""How figures are written for people, in the terminal and in reports."""

from __future__ import annotations

import math
import re

#: Written where there is no value.
NOTHING = "-"


def percent(share: float) -> str:
    """A share 0..1 in percent, "45.3"."""
    return NOTHING if math.isnan(share) else f"{100 * share:.1f}"


def points(difference: float) -> str:
    """A difference of shares in points, with its sign: "+12.4"."""
    return NOTHING if math.isnan(difference) else f"{100 * difference:+.1f}"


def significant(value: float) -> str:
    """A number in three significant digits: "0.0213", "12.7", "1230", "2.14e8"."""
    if math.isnan(value):
        return NOTHING
    text = f"{float(f'{value:.3g}') + 0.0:g}"
    return re.sub(r"e([+-])0*", lambda found: "e-" if found[1] == "-" else "e", text)


def format_bytes(count: float) -> str:
    """A number of bytes for people: "1.5 GB", "12.0 kB"; powers of 1000."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """A duration as people say it: "48 s", "3 min 05 s", "2 h 10 min", "3 days 4 h"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} days {whole % 86400 // 3600} h"
