"""Intervals for log p(x) from weight moments, and the verdict on whether they can be vouched for."""

from __future__ import annotations

import numpy as np
from scipy import stats

from vaeaudit.core.records import Z95
from vaeaudit.estimators.reliability import Floats, pareto_k_threshold

MIN_ESS = 50.0  # below this the sample moments of the weights say little about the true ones
MAX_SHARE = 0.25  # one draw above this share of p̂ decides the answer
MAX_SE = 0.5  # nats
PILOT_K = 0.35  # largest k̂ of the separate pilot draws: a finite variance, with a margin
OWN_K = 0.5  # largest k̂ where only the draws themselves can be asked


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
    ratio_high = np.maximum(1.0 - se * inverse(-Z95), 1e-300)
    return np.log(ratio_low), np.log(ratio_high)


def chain_interval(log_w: Floats, *, level: float = 0.95) -> tuple[Floats, Floats, Floats]:
    r"""Interval for log E w from a few chains whose log weights are close to normal.

    log E w = m + τ²/2,   interval  m + s²/2 ± t_{C−1} √(s²/C + s⁴/(2(C − 1)))

    Parameters
    ----------
    log_w
        Log weights of independent chains (chain, batch).
    level
        Two-sided level.

    Returns
    -------
    tuple of arrays
        lower, upper, and the standard deviation s of the log weights, each (batch,).

    Notes
    -----
    An annealed log weight is a sum over many small steps, hence nearly normal; with 8 to 64 chains the
    moments of w itself are far less certain than those of log w. Holds for s below about one nat.

    References
    ----------
    Zhou & Gao (1997), Confidence intervals for the log-normal mean, Cox's method; Neal (2001), section 4.
    """
    chains = log_w.shape[0]
    with np.errstate(invalid="ignore"):
        m = np.mean(log_w, axis=0)
        variance = np.var(log_w, axis=0, ddof=1)
    half = stats.t.ppf(0.5 + level / 2, chains - 1) * np.sqrt(
        variance / chains + variance**2 / (2 * (chains - 1))
    )
    return m + variance / 2 - half, m + variance / 2 + half, np.sqrt(variance)


def pilot_threshold(num_samples: int) -> float:
    """Largest k̂ of ``num_samples`` pilot draws at which a proposal is used."""
    return min(pareto_k_threshold(num_samples), PILOT_K)


def judge(
    value: Floats,
    se: Floats,
    pareto: Floats,
    ess: Floats,
    share: Floats,
    num_samples: int,
    *,
    pilot_k: Floats | None = None,
    pilot_samples: int = 0,
) -> np.ndarray:
    """Why each datum's interval is refused; an empty string where it is vouched for.

    Notes
    -----
    The tail is judged by k̂ of separate pilot draws wherever there are some. Draws that miss the tail
    give both a k̂ and a p̂ that are too small, so a decision by the draws' own k̂ keeps the worst
    intervals: at 10 latents and a q narrow by 0.75, those with k̂ < 0.5 cover 77–80 %, all of them
    90–92 %. The limits on the draws themselves are wide and catch disasters only. k̂ of 1000 draws is
    known to about ±0.13, so the limit of 0.35 refuses many q whose interval would have held, and passes
    few whose would not; `auto` then finds a better proposal.
    """
    reason = np.full(value.shape, "", dtype=object)
    reason[~(se < MAX_SE)] = "standard error above half a nat"
    reason[~(share <= MAX_SHARE)] = f"one draw holds more than {MAX_SHARE:.0%} of the weight"
    reason[~(ess >= min(MIN_ESS, num_samples / 2))] = f"effective sample size below {MIN_ESS:.0f}"
    if pilot_k is None:
        limit = min(pareto_k_threshold(num_samples), OWN_K)
        reason[~(pareto <= limit)] = f"Pareto k above {limit:.2f}"
    else:
        limit = pilot_threshold(pilot_samples)
        reason[~(pareto <= 0.7)] = "Pareto k above 0.70"
        reason[~(pilot_k <= limit)] = f"Pareto k of the pilot draws above {limit:.2f}"
    reason[np.isneginf(value)] = "all weights are zero"
    reason[np.isnan(value)] = "the model returned NaN or +inf"
    return reason
