"""How many latent units are active, over a range of thresholds, with a bootstrap band."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vaeaudit.core.arrays import as_float_array, check_count
from vaeaudit.core.errors import ArgumentError, ShapeError
from vaeaudit.core.records import Estimate

DEFAULT_THRESHOLD = 0.01
FLOOR = 1e-12  # variances below are as good as zero
THRESHOLDS = tuple(float(t) for t in np.logspace(-4, -1, 31))


@dataclass(frozen=True)
class ModeGap:
    """The widest empty interval of log10 variance: between two latents, or to one side of all of them.

    ``lower`` and ``upper`` are its ends (variances), ``decades`` its length, ``count`` the number of units
    above it, ``stability`` the share of bootstrap resamples that give the same count at its middle, and
    ``exists`` whether it is at least one decade long and stable: a plateau on which the count does not depend
    on the threshold. A gap between two latents that reaches into the sweep of thresholds and is that long
    comes before one between the sweep's end and the nearest latent, which has no second group beyond it.
    """

    lower: float
    upper: float
    decades: float
    count: int
    stability: float
    exists: bool

    def __str__(self) -> str:
        if self.exists:
            return (
                f"plateau of {self.count} active units for thresholds {self.lower:.2g} to {self.upper:.2g} "
                f"({self.decades:.1f} decades)"
            )
        return f"no plateau: the widest gap is {self.decades:.2f} decades; the count depends on the threshold"


@dataclass(frozen=True)
class ActiveUnits:
    """Active units of an encoder.

    ``variance`` holds Var_x E[z_j|x] per latent; ``table`` one row per threshold with the count and its 95 %
    bootstrap band; ``mode_gap`` says whether there is a plateau at all.
    """

    variance: np.ndarray
    table: pd.DataFrame
    mode_gap: ModeGap
    num_data: int
    resampled: np.ndarray  # (bootstrap, latent): Var_x E[z_j|x] in each resample

    def count(self, threshold: float = DEFAULT_THRESHOLD) -> int:
        """#{j : Var_x E[z_j|x] > threshold}."""
        return int(np.sum(self.variance > _positive(threshold)))

    def estimate(self, threshold: float = DEFAULT_THRESHOLD) -> Estimate:
        """The count at one threshold with its 95 % bootstrap interval over the data."""
        counts = np.sum(self.resampled > _positive(threshold), axis=1)
        low, high = np.quantile(counts, [0.025, 0.975])
        value = self.count(threshold)
        return Estimate(
            value=value,
            se=float(counts.std(ddof=1)),
            lower=float(min(low, value)),
            upper=float(max(high, value)),
            unit="units",
            num_data=self.num_data,
            note=f"threshold {threshold:g} on the variance of the posterior mean"
            + ("" if self.mode_gap.exists else "; no plateau: the count depends on the threshold"),
        )

    def __str__(self) -> str:
        return f"{self.estimate()}; {self.mode_gap}"

    __repr__ = __str__


def _positive(threshold: float) -> float:
    if not (isinstance(threshold, int | float | np.floating) and math.isfinite(threshold) and threshold > 0):
        raise ArgumentError(
            f"`threshold` must be a positive number; got {threshold!r}. The usual one is 0.01."
        )
    return float(threshold)


def bootstrap_variances(loc: np.ndarray, num_bootstrap: int, seed: int) -> np.ndarray:
    """Var_x of each column under resampling of rows, (bootstrap, latent)."""
    rng = np.random.default_rng(seed)
    num_data = loc.shape[0]
    centred = loc - loc.mean(0)
    square = centred**2
    out = np.empty((num_bootstrap, loc.shape[1]))
    for b in range(num_bootstrap):
        weight = np.bincount(rng.integers(num_data, size=num_data), minlength=num_data).astype(np.float64)
        out[b] = (weight @ square - (weight @ centred) ** 2 / num_data) / (num_data - 1)
    return out


def find_mode_gap(
    variance: np.ndarray, resampled: np.ndarray, lowest: float, highest: float, needed: float = 1.0
) -> ModeGap:
    """Find the widest empty interval that overlaps [lowest, highest], between two latents if one is wide."""
    ordered = np.sort(np.maximum(variance, FLOOR))
    between = [
        (low, high)
        for low, high in itertools.pairwise(ordered)
        if low < highest and high > lowest and math.log10(high / low) >= needed
    ]
    inside = ordered[(ordered > lowest) & (ordered < highest)]
    edges = np.concatenate([[lowest], inside, [highest]])
    either = between or list(itertools.pairwise(edges))
    low, high = max(either, key=lambda ends: ends[1] / ends[0])
    middle = math.sqrt(low * high)
    count = int(np.sum(variance > middle))
    stability = float(np.mean(np.sum(resampled > middle, axis=1) == count))
    decades = math.log10(high / low)
    return ModeGap(
        float(low), float(high), decades, count, stability, decades >= needed and stability >= 0.95
    )


def active_units(
    loc: Any,
    thresholds: Sequence[float] | None = None,
    *,
    num_bootstrap: int = 500,
    seed: int = 0,
) -> ActiveUnits:
    r"""Count active latent units over a sweep of thresholds.

    AU(δ) = #{j : Var_x E[z_j|x] > δ}

    Parameters
    ----------
    loc
        Posterior means (batch, latent).
    thresholds
        Variances δ; 31 values from 10⁻⁴ to 10⁻¹ when omitted.
    num_bootstrap
        Resamples of the data for the band.
    seed
        Of the resampling.

    Returns
    -------
    ActiveUnits

    Raises
    ------
    ArgumentError, ShapeError, NonFiniteError
        If ``loc`` is not (batch ≥ 2, latent) or a threshold is not positive.

    Notes
    -----
    The count itself has no bias worth the name unless a variance lies within its sampling error of the
    threshold; the band shows where that happens. `ModeGap` answers the question that a single threshold
    hides: do the variances fall into two groups? Cost: num_bootstrap passes over loc.

    References
    ----------
    Burda, Grosse & Salakhutdinov (2016), section 5.2 (threshold 0.01).

    Examples
    --------
    >>> import numpy as np
    >>> loc = np.random.default_rng(0).normal(size=(1000, 4)) * np.array([1.0, 0.9, 0.005, 0.003])
    >>> units = active_units(loc)
    >>> units.count(), units.mode_gap.exists
    (2, True)
    """
    loc = np.asarray(as_float_array("loc", loc, ndim=2), np.float64)
    if loc.shape[0] < 2:
        raise ShapeError(f"`loc` needs at least 2 data for a variance; got shape {loc.shape}.")
    num_bootstrap = check_count("num_bootstrap", num_bootstrap, minimum=20)
    sweep = np.sort([_positive(t) for t in (THRESHOLDS if thresholds is None else thresholds)])
    if sweep.size == 0:
        raise ArgumentError("`thresholds` is empty; pass at least one, or None for 31 from 1e-4 to 1e-1.")
    variance = loc.var(axis=0, ddof=1)
    resampled = bootstrap_variances(loc, num_bootstrap, seed)
    counts = (resampled[:, :, None] > sweep).sum(1)  # (bootstrap, threshold)
    low, high = np.quantile(counts, [0.025, 0.975], axis=0)
    value = (variance[:, None] > sweep).sum(0)
    table = pd.DataFrame(
        {
            "threshold": sweep,
            "count": value,
            "lower": np.minimum(low, value),
            "upper": np.maximum(high, value),
        }
    )
    span = (sweep[0], sweep[-1]) if sweep.size > 1 else (THRESHOLDS[0], THRESHOLDS[-1])
    gap = find_mode_gap(variance, resampled, *span)
    return ActiveUnits(variance, table, gap, loc.shape[0], resampled)
