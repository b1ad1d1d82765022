"""Interval for the mean of independent values that are not symmetric: rates are skewed like χ²."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import t as student_t


def skewed_mean_interval(values: np.ndarray, tail: float = 0.025) -> tuple[float, float, float]:
    """Standard error, and the ends of an interval that errs with probability ``tail`` on each side.

    T = √n (x̄ − μ)/s,   g(T) = T + aT²/3 + a²T³/27 + a/6 ~ t(n − 1),   a = skewness/√n

    Notes
    -----
    Hall's transformation is monotone and removes the skewness from Student's t, so that both sides err
    alike. Exact for none, better than the plain interval for all: error O(1/n) on each side instead of
    O(1/√n).

    References
    ----------
    Hall (1992), On the removal of skewness by transformation, section 2.

    Examples
    --------
    >>> se, lower, upper = skewed_mean_interval(np.array([0.0, 0.0, 0.0, 1.0, 5.0, 0.0, 1.0, 0.0]))
    >>> upper - 0.875 > 0.875 - lower
    True
    """
    n, mean = values.size, float(np.mean(values, dtype=np.float64))
    spread = float(np.std(values, ddof=1, dtype=np.float64))
    se = spread / math.sqrt(n)
    quantile = float(student_t.isf(tail, n - 1))
    if spread <= 1e-12 * max(abs(mean), 1e-300):
        return se, mean - quantile * se, mean + quantile * se
    a = float(np.mean(((values - mean) / spread) ** 3)) / math.sqrt(n)

    def inverse(u: float) -> float:
        return u if abs(a) < 1e-6 else 3.0 / a * float(np.cbrt(1.0 + a * (u - a / 6.0)) - 1.0)

    return se, mean - se * inverse(quantile), mean - se * inverse(-quantile)
