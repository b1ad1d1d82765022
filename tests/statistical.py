"""Assertions about random numbers that say what they would miss.

`import statistical` works in every test, as pytest puts this folder on the path.
"""

from __future__ import annotations

import numpy as np

Z = 4.5  # two-sided false alarm below 1 in 100,000 per comparison


def assert_mean(draws: np.ndarray, expected: np.ndarray | float, *, detects: float) -> None:
    """The mean over axis 0 is ``expected`` within 4.5 standard errors.

    ``detects`` is the smallest error that matters; the test is refused unless a mean off by that much
    would fail, that is unless 2 · 4.5 standard errors are below it.
    """
    draws = np.asarray(draws, dtype=np.float64)
    se = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    assert np.max(se) * 2 * Z < detects, f"{len(draws)} draws cannot detect {detects}: se {np.max(se):.3g}"
    excess = np.abs(draws.mean(axis=0) - expected) - Z * se
    assert np.max(excess) <= 0, f"mean {draws.mean(axis=0)} against {expected}, se {se}"
