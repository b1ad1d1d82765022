"""Running summary of importance weights: float64 moments and the largest weights, at constant memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from vaeaudit.estimators.reliability import Floats, tail_length, tail_shape

MAX_TAIL = 3000  # largest weights kept per datum: the Pareto fit's whole tail up to K = 10⁶


class WeightSummary:
    """Power sums Σwᵖ (p = 1, 2, 3) relative to the running maximum, and the largest log weights.

    Add chunks (sample, batch) in any order; two orders agree up to float64 rounding. ``num_samples``
    fixes the tail length in advance. NaN or +∞ in a column marks that datum (`broken`) for good.
    """

    def __init__(self, batch: int, num_samples: int) -> None:
        self.count = 0
        self.peak = np.full(batch, -np.inf)
        self.sums = np.zeros((3, batch))
        self.broken = np.zeros(batch, dtype=bool)
        self._keep = min(tail_length(num_samples), MAX_TAIL) + 1
        self._largest = np.empty((0, batch))

    def add(self, log_w: Any) -> None:
        """Fold in log weights (sample, batch)."""
        chunk = np.asarray(log_w)
        top = chunk.max(axis=0)
        bad = ~(top < np.inf)  # NaN propagates through max
        if bad.any():
            self.broken |= bad
            chunk = np.where(bad, -np.inf, chunk)
            top = np.where(bad, -np.inf, top)
        self.count += chunk.shape[0]
        peak = np.maximum(self.peak, top)
        anchor = np.where(np.isfinite(peak), peak, 0.0)
        w = np.exp(chunk - anchor, dtype=np.float64)
        shrink = np.exp(np.where(np.isfinite(self.peak), self.peak - anchor, -np.inf))
        square = w * w
        self.sums[0] = self.sums[0] * shrink + w.sum(axis=0)
        self.sums[1] = self.sums[1] * shrink**2 + square.sum(axis=0)
        self.sums[2] = self.sums[2] * shrink**3 + np.einsum("sb,sb->b", square, w)
        self.peak = peak
        if chunk.shape[0] > self._keep:
            chunk = np.partition(chunk, chunk.shape[0] - self._keep, axis=0)[-self._keep :]
        both = np.concatenate([self._largest, chunk.astype(np.float64)])
        if both.shape[0] > self._keep:
            both = np.partition(both, both.shape[0] - self._keep, axis=0)[-self._keep :]
        self._largest = both

    @property
    def alive(self) -> np.ndarray:
        """Data with at least one positive weight and no broken one."""
        return ~self.broken & np.isfinite(self.peak)

    def moments(self) -> tuple[Floats, Floats, Floats]:
        """Log p̂, variance and third central moment of u = w/p̂ (mean one); NaN where not alive."""
        k = self.count
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = self.sums[0] / k
            value = np.where(self.alive, np.log(mean) + self.peak, np.nan)
            m2 = self.sums[1] / k / mean**2
            m3 = self.sums[2] / k / mean**3
        variance = np.maximum(m2 - 1.0, 0.0) * (k / (k - 1))
        third = m3 - 3.0 * m2 + 2.0
        return value, np.where(self.alive, variance, np.nan), np.where(self.alive, third, np.nan)

    def ess(self) -> Floats:
        """(Σw)²/Σw², from 1 to K."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.alive, self.sums[0] ** 2 / self.sums[1], 0.0)

    def max_weight_share(self) -> Floats:
        """Largest weight over the sum of all."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.alive, 1.0 / self.sums[0], 1.0)

    def pareto_k(self) -> Floats:
        """k̂ per datum from the largest weights kept; NaN where not alive."""
        out = np.full(self.peak.shape, np.nan)
        if self.alive.any():
            out[self.alive] = tail_shape(self._largest[:, self.alive])
        return out
