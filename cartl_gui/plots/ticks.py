"""Where the axes of plots have their numbers, and how these are written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg

#: Fewest pixels from one tick to the next.
_LEAST = 17
#: Digits that a logarithmic axis names, and how many pixels a decade must have for them.
_DIGITS: tuple[tuple[tuple[float, ...], float], ...] = (
    ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8), 220), ((1, 2, 3, 5), 97), ((1, 2, 5), 57), ((1, 3), 36), ((1,), 0),
)  # fmt: skip
_STEPS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
#: Height in pixels of the numbers for which `_LEAST` and `_DIGITS` are meant.
_USUAL_HEIGHT = 11


class ValueAxis(pg.AxisItem):
    """A y axis whose numbers never crowd, and are written the same way on a logarithmic scale and on an even one."""

    def logTickValues(  # noqa: N802
        self, low: float, high: float, size: float, _even: object
    ) -> list[tuple[float | None, list[float]]]:
        """Choose numbers between two decimal logarithms on `size` pixels."""
        font = self.style["tickFont"]
        room = size * _USUAL_HEIGHT / font.pixelSize() if font is not None else size
        return [(None, [place for place, _text in decades(low, high, room)[0] if low <= place <= high])]

    def logTickStrings(self, values: Sequence[float], _scale: float, _spacing: float) -> list[str]:  # noqa: N802
        """Write powers of ten and what lies between them."""
        return [f"{10.0**value:g}" for value in np.asarray(values, float)]


def decades(low: float, high: float, room: float) -> list[list[tuple[float, str]]]:
    """Ticks of a logarithmic axis from 10^low to 10^high: as many as `room` pixels have place for, at least two."""
    per_decade = room / max(high - low, 1e-9)
    chosen = next((row for row, (_, least) in enumerate(_DIGITS) if per_decade >= least), len(_DIGITS) - 1)
    step = max(1, round(_LEAST / max(per_decade, 1e-9)))
    while True:
        ticks = [
            (ten + float(np.log10(digit)), f"{digit * 10.0**ten:g}")
            for ten in range(int(np.floor(low)), int(np.ceil(high)) + 1)
            if ten % step == 0
            for digit in _DIGITS[chosen][0]
        ]
        if chosen == 0 or sum(low <= place <= high for place, _ in ticks) >= 2:
            return [ticks]
        chosen -= 1


def numbers(count: int, room: float) -> list[list[tuple[float, str]]]:
    """Ticks at 1 to `count`, as many as `room` pixels have place for."""
    step = next(step for step in _STEPS if step * room >= _LEAST * count or step >= count)
    return [[(number, str(number)) for number in range(1, count + 1) if number % step == 0 or step == 1]]
