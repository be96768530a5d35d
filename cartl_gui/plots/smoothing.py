"""Smoothing of curves, as the field does it. No Qt in here."""

from __future__ import annotations

import numpy as np

#: What is left of a value's share after so many others that it no longer changes the sum in double precision.
_NEGLIGIBLE = 1e-17


def smooth(values: np.ndarray, weight: float) -> np.ndarray:
    """Exponential moving average that starts without bias, over the numbers among some values.

    Of the numbers x_1, x_2, … so far, x_{t-j} counts in proportion to weight^j; the weights are divided by their sum
    (Kingma & Ba, ICLR 2015, section 3), so that the first value is the first number and a constant stays itself.

    Args:
        values: [T] in order; what is no finite number is skipped and stays a gap, NaN.
        weight: from 0, which changes nothing, up to but without 1.

    Raises:
        ValueError: the weight is out of range.
    """
    if not 0 <= weight < 1:
        raise ValueError(f"expected a weight from 0 up to but without 1, got {weight:g}")
    values = np.asarray(values, float)
    known = np.isfinite(values)
    result = np.where(known, values, np.nan)
    if weight == 0 or not known.any():
        return result
    # Sums over the last 1, 2, 4, … numbers, each from two of half the length, until what is added vanishes.
    total = values[known]
    reach, power = 1, weight
    while reach < len(total) and power > _NEGLIGIBLE:
        total[reach:] = total[reach:] + power * total[:-reach]
        reach, power = 2 * reach, power * power
    shares = (1 - weight ** np.arange(1, len(total) + 1)) / (1 - weight)
    result[known] = total / shares
    return result
