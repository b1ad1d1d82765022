"""Cosine and projection of two expected vectors from noisy replicates, without the noise's bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

FLIPS = 1999  # random sign patterns in the test of a zero mean
LEVEL = 0.01  # at which a gradient counts as different from zero
LARGEST_RELATIVE_SE = 0.3  # of a squared norm; above it the delta method is not to be trusted
EXACT = 1e-9  # noise in a squared norm, relative to it, below which the vector counts as noise-free


@dataclass(frozen=True)
class Interval:
    """A value with its standard error and 95 % interval."""

    value: float
    se: float
    lower: float
    upper: float


@dataclass(frozen=True)
class PairStatistics:
    """What the replicates say about a = E A and b = E B."""

    cosine: Interval
    projection: Interval  # ⟨a, b⟩ / ‖b‖²
    climb: Interval  # ⟨a, b⟩ / ‖a‖: first-order gain of b's function per unit step along a
    norm_a: float
    norm_b: float


@dataclass(frozen=True)
class NormTest:
    """Whether the mean of noisy vectors differs from zero, and how well its norm is known."""

    exactly_zero: bool
    p_value: float
    relative_se: float  # of the squared norm

    @property
    def different_from_zero(self) -> bool:
        """Whether the norm is told apart from 0 at the 1 % level."""
        return not self.exactly_zero and self.p_value <= LEVEL

    @property
    def well_known(self) -> bool:
        """Whether the squared norm is known to 30 %, so that ratios by it have valid intervals."""
        return self.relative_se <= LARGEST_RELATIVE_SE


def off_diagonal_mean(gram: np.ndarray) -> float:
    r"""U-statistic for ⟨E A, E B⟩ from G_rs = ⟨A_r, B_s⟩.

    (1/R(R−1)) Σ_{r≠s} G_rs

    Notes
    -----
    Unbiased, also where A_r and B_r share their noise; the diagonal carries the noise's own product.
    """
    num = len(gram)
    return float((gram.sum() - np.trace(gram)) / (num * (num - 1)))


def leave_one_out(gram: np.ndarray) -> np.ndarray:
    """`off_diagonal_mean` without replicate r, for every r."""
    num = len(gram)
    off = gram - np.diag(np.diag(gram))
    total = off.sum()
    return (total - off.sum(axis=0) - off.sum(axis=1)) / ((num - 1) * (num - 2))


def norm_test(gram: np.ndarray, seed: int = 0) -> NormTest:
    """Test E A = 0 by random sign flips of the replicates, and the squared norm's relative error.

    Notes
    -----
    Under E A = 0 with noise symmetric about 0 the U-statistic keeps its law when replicates change
    sign. The smallest p-value is 1/2000.
    """
    if not np.any(np.diag(gram) > 0):
        return NormTest(True, 1.0, np.inf)
    num = len(gram)
    value = off_diagonal_mean(gram)
    if np.ptp(np.diag(gram)) + np.ptp(gram) <= EXACT * abs(value):
        return NormTest(False, 0.0, 0.0)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(FLIPS, num))
    off = gram - np.diag(np.diag(gram))
    flipped = np.einsum("fr,rs,fs->f", signs, off, signs, optimize=True)
    p = (1 + np.count_nonzero(flipped >= off.sum() * (1 - 1e-12))) / (FLIPS + 1)
    se = _jackknife_se(leave_one_out(gram))
    return NormTest(False, float(p), float(se / value) if value > 0 else np.inf)


def _jackknife_se(values: np.ndarray) -> float:
    num = len(values)
    return float(np.sqrt((num - 1) / num * np.sum((values - values.mean()) ** 2)))


def _interval(full: float, without: np.ndarray, *, low: float = -np.inf, high: float = np.inf) -> Interval:
    num = len(without)
    value = num * full - (num - 1) * float(without.mean())  # jackknife bias correction
    se = _jackknife_se(without)
    half = float(stats.t.isf(0.025, num - 1)) * se
    clip = lambda v: float(min(max(v, low), high))  # noqa: E731
    return Interval(clip(value), se, clip(value - half), clip(value + half))


def pair_statistics(aa: np.ndarray, ab: np.ndarray, bb: np.ndarray) -> PairStatistics:
    r"""Cosine, projection and climb of a on b from the Gram matrices of their replicates.

    cos = U(ab) / √(U(aa) U(bb)),   U the mean off the diagonal

    Parameters
    ----------
    aa, ab, bb
        ⟨A_r, A_s⟩, ⟨A_r, B_s⟩, ⟨B_r, B_s⟩, each (replicate, replicate).

    Returns
    -------
    PairStatistics
        Jackknife standard errors over the replicates, bias-corrected, with Student's t.

    Notes
    -----
    The cosine of two averaged gradients is biased towards zero, since the noise lengthens both and
    shortens neither product; leaving the diagonal out removes it. Valid once both squared norms are
    known to some 30 % (`norm_test`).

    References
    ----------
    Hoeffding (1948) for U-statistics; Arvesen (1969) for their jackknife.
    """
    ua, ub, uab = (off_diagonal_mean(g) for g in (aa, bb, ab))
    la, lb, lab = (leave_one_out(g) for g in (aa, bb, ab))
    floor_a, floor_b = 1e-6 * abs(ua), 1e-6 * abs(ub)
    la, lb = np.maximum(la, floor_a), np.maximum(lb, floor_b)
    norm_a, norm_b = np.sqrt(max(ua, floor_a)), np.sqrt(max(ub, floor_b))
    return PairStatistics(
        cosine=_interval(uab / (norm_a * norm_b), lab / np.sqrt(la * lb), low=-1.0, high=1.0),
        projection=_interval(uab / norm_b**2, lab / lb),
        climb=_interval(uab / norm_a, lab / np.sqrt(la)),
        norm_a=float(norm_a),
        norm_b=float(norm_b),
    )
