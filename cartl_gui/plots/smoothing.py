"""Smoothing of curves, as the field does it. No Qt in here."""

from __future__ import annotations

import numpy as np

#: What is left of a value's share after so many others that it no longer changes the sum in double precision.
_NEGLIGIBLE = 1e-17
#: Numbers that are summed at once; more would not fit into the processor's cache.
_CHUNK = 16_384
#: Newest values by which a longer curve is taken for the going on of a shorter one.
_SAME = 64


class Smoother:
    """Exponential moving average that starts without bias, over the numbers among some values.

    Of the numbers x_1, x_2, … so far, x_{t-j} counts in proportion to weight^j; the weights are divided by their sum
    (Kingma & Ba, ICLR 2015, section 3), so that the first value is the first number and a constant stays itself.
    Of a curve that has grown at its end since it was smoothed before, only the new part is worked out.

    Args:
        weight: from 0, which changes nothing, up to but without 1.

    Raises:
        ValueError: the weight is out of range.
    """

    def __init__(self, weight: float) -> None:
        if not 0 <= weight < 1:
            raise ValueError(f"expected a weight from 0 up to but without 1, got {weight:g}")
        self.weight = weight
        self._forget()

    def _forget(self) -> None:
        self._result = np.empty(0)
        self._newest = np.empty(0)
        self._total, self._count = 0.0, 0

    def smooth(self, values: np.ndarray) -> np.ndarray:
        """The averages [T] of values [T] in order; what is no finite number is skipped and stays a gap, NaN."""
        done = len(self._result)
        tail = values[max(0, done - _SAME) : done]
        if len(values) < done or not np.array_equal(tail, self._newest, equal_nan=True):
            self._forget()
            done = 0
        if len(values) > done:
            parts = [self._go_on(values[at : at + _CHUNK]) for at in range(done, len(values), _CHUNK)]
            self._result = np.concatenate([self._result, *parts])
            self._newest = values[-_SAME:].copy()
        return self._result

    def _go_on(self, values: np.ndarray) -> np.ndarray:
        """The averages of the values that follow those so far."""
        values = np.asarray(values, float)
        known = np.isfinite(values)
        result = np.where(known, values, np.nan)
        total = values[known]
        if self.weight == 0 or not len(total):
            return result
        # Sums over the last 1, 2, 4, … numbers, each from two of half the length, until what is added vanishes.
        reach, power = 1, self.weight
        while reach < len(total) and power > _NEGLIGIBLE:
            total[reach:] = total[reach:] + power * total[:-reach]
            reach, power = 2 * reach, power * power
        steps = np.arange(1, len(total) + 1)
        total += self._total * self.weight**steps
        shares = (1 - self.weight ** (self._count + steps)) / (1 - self.weight)
        self._total, self._count = float(total[-1]), self._count + len(total)
        result[known] = total / shares
        return result


def smooth(values: np.ndarray, weight: float) -> np.ndarray:
    """The averages [T] of values [T]; see `Smoother`."""
    return Smoother(weight).smooth(values)
