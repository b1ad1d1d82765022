"""How far a set of importance weights can be trusted: Pareto k̂, effective sample size, thresholds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaeaudit.core.errors import NonFiniteError, ShapeError

Floats = NDArray[np.float64]

MIN_TAIL = 5  # fewer tail draws than this leave k̂ undefined (+∞)
LIGHT = -1.0  # k̂ reported where the largest weights are equal up to rounding


def tail_length(num_samples: int) -> int:
    """Number of largest weights that the Pareto fit uses, min(K/5, 3√K) rounded up."""
    return math.ceil(min(0.2 * num_samples, 3.0 * math.sqrt(num_samples)))


def pareto_k_threshold(num_samples: int) -> float:
    """Largest k̂ at which K draws are enough, min(1 − 1/log₁₀K, 0.7).

    References
    ----------
    Vehtari et al. (2024), Pareto smoothed importance sampling, section 3.2.4.
    """
    return min(1.0 - 1.0 / math.log10(max(num_samples, 10)), 0.7)


def pareto_k(log_w: Any) -> Floats:
    r"""Shape k̂ of the generalised Pareto tail of the weights, one value per datum.

    P(w − u > y | w > u) ≈ (1 + k y/σ)^(−1/k);  moments of order < 1/k exist

    Parameters
    ----------
    log_w
        Log weights (sample, batch), nats. −∞ (weight zero) is allowed.

    Returns
    -------
    numpy.ndarray
        k̂ (batch,), with the weakly informative prior of PSIS; +∞ where fewer than 5 draws lie in the
        tail; −1 where the largest weights agree up to rounding.

    Raises
    ------
    ShapeError
        If ``log_w`` has not two axes or fewer than 2 samples.
    NonFiniteError
        If ``log_w`` holds NaN or +∞.

    Notes
    -----
    A diagnosis of the draws that were made: a proposal that misses a region altogether can look
    benign. Compare with `pareto_k_threshold`. Cost: one partial sort and 44·3√K logarithms per datum.

    References
    ----------
    Zhang & Stephens (2009), section 3; Vehtari et al. (2024), appendix C.

    Examples
    --------
    >>> import numpy as np
    >>> draws = np.random.default_rng(0).pareto(2.0, size=(20_000, 1)) + 1.0  # true k = 1/2
    >>> bool(abs(pareto_k(np.log(draws))[0] - 0.5) < 0.15)
    True
    """
    log_w = check_log_weights(log_w)
    tail = min(tail_length(log_w.shape[0]) + 1, log_w.shape[0])
    largest = np.partition(log_w, log_w.shape[0] - tail, axis=0)[-tail:]
    return tail_shape(largest)


def check_log_weights(log_w: Any) -> Floats:
    """Log weights as float64 (sample, batch), or a named error."""
    array = np.asarray(log_w)
    if array.ndim != 2 or array.size == 0:
        raise ShapeError(f"`log_w` needs the two axes (sample, batch); got shape {array.shape}.")
    if array.shape[0] < 2:
        raise ShapeError(
            "`log_w` needs at least 2 samples on axis 0 for a standard error; "
            f"got shape {array.shape}. If its axes are (batch, sample), pass `log_w.T`."
        )
    bad = np.isnan(array) | np.isposinf(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise NonFiniteError(
            f"`log_w` must not hold NaN or +∞ (−∞, a weight of zero, is allowed); {int(bad.sum())} of "
            f"{array.size} elements do, the first at index {first} (sample, datum). The usual cause is a "
            "decoder that overflows for latents far from its training data."
        )
    return array.astype(np.float64)


def tail_shape(largest: Floats, *, chunk: int = 256) -> Floats:
    """k̂ from the M+1 largest log weights (M+1, batch), in any order; the smallest is the cutoff."""
    ordered = np.sort(np.asarray(largest, dtype=np.float64), axis=0)
    out = np.full(ordered.shape[1], np.inf)
    if ordered.shape[0] - 1 < MIN_TAIL:
        return out
    with np.errstate(invalid="ignore"):
        spread = ordered[-1] - ordered[0]
    out[spread < 1e-5] = LIGHT  # float32 log weights near −100 carry about 1e-5 of rounding
    rest = np.flatnonzero(np.isfinite(ordered[-1]) & ~(spread < 1e-5))
    for start in range(0, rest.size, chunk):
        part = rest[start : start + chunk]
        out[part] = _fit(ordered[:, part])
    return out


def _fit(ordered: Floats) -> Floats:
    """Zhang–Stephens' profile-likelihood mean of k for each column, on exceedances of the cutoff."""
    relative = np.exp(ordered - ordered[-1])
    y = relative[1:] - relative[0]  # exceedances, ascending, largest first normalised to ≤ 1
    y = np.maximum(y, 1e-300)
    n = y.shape[0]
    m = 30 + int(math.sqrt(n))
    quartile = np.maximum(y[int(n / 4 + 0.5) - 1], 1e-12)  # first sample quartile
    grid = 1.0 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))
    theta = grid[:, None] / (3.0 * quartile) + 1.0 / y[-1]  # (grid, batch)
    k = np.mean(np.log1p(-theta[:, None, :] * y), axis=1)
    profile = n * (np.log(-theta / k) - k - 1.0)
    weight = np.exp(profile - profile.max(axis=0))
    weight /= weight.sum(axis=0)
    weight[weight < 10 * np.finfo(float).eps] = 0.0
    weight /= weight.sum(axis=0)
    theta_hat = np.sum(theta * weight, axis=0)
    k_hat = np.mean(np.log1p(-theta_hat * y), axis=0)
    return (n * k_hat + 10 * 0.5) / (n + 10)  # ten draws' worth of prior at ½
