"""Intervals for log p(x) from weight moments, and the verdict on whether they can be vouched for."""

from __future__ import annotations

import numpy as np

from vaeaudit.core.records import Z95
from vaeaudit.estimators.reliability import Floats, pareto_k_threshold

MIN_ESS = 100.0  # below this the sample moments of the weights say little about the true ones
MAX_SHARE = 0.1  # one draw above this share of p̂ decides the answer


def skew_interval(variance: Floats, third: Floats, num_samples: int) -> tuple[Floats, Floats]:
    r"""Ends of a 95 % interval for log p(x), relative to log p̂.

    T = √K (1 − p/p̂)/s,   g(T) = T + aT²/3 + a²T³/27 + a/6 ~ N(0,1),   a = γ/√K

    Parameters
    ----------
    variance, third
        Variance and third central moment of w/p̂, (batch,).
    num_samples
        K.

    Returns
    -------
    tuple of arrays
        (lower − log p̂, upper − log p̂), each (batch,).

    Notes
    -----
    Hall's transformation is monotone and removes the skewness term of the error: with positively
    skewed weights the upper end moves out and the lower end in. Coverage error O(1/K) where the sixth
    moment exists. It cannot help where the draws missed the tail: hence `judge`.

    References
    ----------
    Hall (1992), On the removal of skewness by transformation, section 2.
    """
    s = np.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        a = np.where(s > 0, third / np.maximum(s, 1e-300) ** 3 / np.sqrt(num_samples), 0.0)
    a = np.where(np.abs(a) < 1e-9, 1e-9, a)
    se = s / np.sqrt(num_samples)

    def inverse(z: float) -> Floats:
        return 3.0 / a * (np.cbrt(1.0 + a * (z - a / 6.0)) - 1.0)

    ratio_low = np.maximum(1.0 - se * inverse(Z95), 1e-300)  # p/p̂
    ratio_high = 1.0 - se * inverse(-Z95)
    return np.log(ratio_low), np.log(np.maximum(ratio_high, 1e-300))


def judge(
    value: Floats, se: Floats, pareto: Floats, ess: Floats, share: Floats, num_samples: int
) -> np.ndarray:
    """Why each datum's interval is refused; an empty string where it is vouched for."""
    threshold = pareto_k_threshold(num_samples)
    reason = np.full(value.shape, "", dtype=object)
    reason[~(se < 0.5)] = "standard error above half a nat"
    reason[~(share <= MAX_SHARE)] = f"one draw holds more than {MAX_SHARE:.0%} of the weight"
    reason[~(ess >= MIN_ESS)] = f"effective sample size below {MIN_ESS:.0f}"
    heavy = ~(pareto <= threshold)
    reason[heavy] = f"Pareto k above {threshold:.2f}"
    reason[np.isneginf(value)] = "all weights are zero"
    reason[np.isnan(value)] = "the model returned NaN or +inf"
    return reason
