"""On which data does an objective's value exceed log p(x)? A certificate per datum, and one rule for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array
from scipy import stats

from vaeaudit.core.arrays import Data, KeyLike, as_float_array, as_key, check_count
from vaeaudit.core.errors import ArgumentError, NonFiniteError, ShapeError
from vaeaudit.core.records import Estimate
from vaeaudit.models.vae import AbstractVAE
from vaeaudit.objectives.base import Objective
from vaeaudit.objectives.registry import parse
from vaeaudit.objectives.terms import compute_terms

FAMILY_LEVEL = 0.05  # promised: probability that any datum at all is certified wrongly
TEST_LEVEL = 0.025  # nominal level of Holm's procedure: half is kept for skewness left after correction
ROUNDING = 4e-6  # relative error granted to float32 sums of log densities


@dataclass(frozen=True, eq=False)
class BoundCheck:
    """Whether an objective stays below log p(x), datum by datum.

    ``per_datum`` has the columns datum, value, se (the objective's), log_evidence,
    log_evidence_error, excess, excess_se, p_above, p_below and status: "above" (exceeds log p(x)
    beyond error), "below" (lies below it beyond error) or "undecided". ``share_exceeding`` is the
    share certified "above" with its Clopper–Pearson interval for the population the data come from.
    ``mean_excess`` is the mean over the data of objective − log p(x).
    """

    objective: str
    claims_lower_bound: bool
    share_exceeding: Estimate
    num_exceeding: int
    num_undecided: int
    largest_excess: Estimate
    mean_excess: Estimate
    per_datum: pd.DataFrame
    verdict: str  # "exceeds log p(x)" | "no excess found"
    rule: str

    @property
    def agrees_with_claim(self) -> bool:
        """False where an objective that claims to be a lower bound was seen above log p(x)."""
        return not (self.claims_lower_bound and self.num_exceeding > 0)

    def __str__(self) -> str:
        claim = "claims to be" if self.claims_lower_bound else "does not claim to be"
        return (
            f"{self.objective}: {self.verdict} ({self.num_exceeding} of {len(self.per_datum)} data above, "
            f"{self.num_undecided} undecided; it {claim} a lower bound)"
        )

    __repr__ = __str__


def holm(p: np.ndarray, level: float = TEST_LEVEL) -> np.ndarray:
    """Which hypotheses Holm's step-down procedure rejects at the given family-wise level.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    order = np.argsort(p, kind="stable")
    limits = level / np.arange(p.size, 0, -1)
    passed = np.cumprod(p[order] <= limits).astype(bool)
    out = np.zeros(p.size, dtype=bool)
    out[order] = passed
    return out


def skewness_corrected_t(excess: np.ndarray, se: np.ndarray, skew: np.ndarray, num: int) -> np.ndarray:
    r"""Hall's monotone transform of t, which removes the first-order effect of skewness.

    g(t) = t + γ t²/(3√n) + γ² t³/(27n) + γ/(6√n)

    Notes
    -----
    log p(x|z) is skewed to the left under q, which makes a plain t too large in its upper tail: at the
    levels a family of hundreds of data needs, several times too many false certificates.

    References
    ----------
    Hall (1992), On the removal of skewness by transformation, eq. 2.3.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(se > 0, excess / se, np.sign(excess) * np.inf)
        a = skew / np.sqrt(num)
        g = t + a * t**2 / 3 + a**2 * t**3 / 27 + a / 6
    return np.where(se > 0, g, t)


@eqx.filter_jit
def _objective_draws(
    model: AbstractVAE, objective: Objective, x: Array, keys: Array, num_data: Array
) -> Array:
    """The objective's value for every key, (replicate, batch)."""

    def one(rng_key: Array) -> Array:
        terms = compute_terms(
            model,
            x,
            rng_key,
            num_samples=objective.num_samples,
            deterministic=objective.deterministic,
            num_data=num_data,
            with_prior_draws=objective.needs_prior_draws,
        )
        return jnp.broadcast_to(objective(terms), (x.shape[0],))

    return jax.lax.map(one, keys)


def bound_check(
    model: AbstractVAE,
    objective: Objective | str,
    x: Data,
    *,
    log_evidence: Any,
    log_evidence_error: Any = 0.0,
    rng_key: KeyLike = 0,
    num_samples: int = 256,
    batch_size: int = 512,
    num_checks: int = 1,
) -> BoundCheck:
    r"""Certify, per datum, whether an objective's value lies above log p(x).

    excess = E_z objective(x; z) − log p(x);  certified above where Holm rejects "excess ≤ 0"

    Parameters
    ----------
    model
        The VAE.
    objective
        An objective or its name, e.g. ``"wasserstein_penalty"``.
    x
        Data, (batch, *event).
    log_evidence
        log p(x) per datum, nats: exact (closed form, quadrature), or an upper end of a bracket. An
        importance-weighted estimate lies low in expectation: an "excess" over one proves nothing.
    log_evidence_error
        Its standard error, one number or one per datum; 0 where it is exact or already an upper end.
    rng_key
        Seed or key.
    num_samples
        Independent evaluations of the objective per datum, each with the objective's own draws; ≥ 64.
    batch_size
        Data per evaluation; matters to the value only where an objective couples its batch.
    num_checks
        How many checks are read together (models × objectives of one table): the promise of 95 % is
        then for all of them at once (Bonferroni).

    Returns
    -------
    BoundCheck

    Raises
    ------
    ShapeError
        If ``log_evidence`` has not one value per datum.
    NonFiniteError
        If a value or ``log_evidence`` is not finite.
    ArgumentError
        For a negative ``log_evidence_error`` or fewer than 64 samples.

    Notes
    -----
    Rule: one-sided t tests per datum on the Monte-Carlo mean, corrected for skewness, against an
    allowance for float32 rounding (4·10⁻⁶ of the larger magnitude); Holm's step-down over the data at
    a nominal family-wise level of 2.5 %, which keeps the true one below 5 % where log p(x|z) is as
    skewed as −χ²₁ (measured with 256 samples). So with probability 95 % not one datum is called "above"
    wrongly, and the certified share is a lower bound on the true one: small excesses stay "undecided" until
    ``num_samples`` grows. ``largest_excess`` has a simultaneous (Bonferroni) 95 % interval.
    Schedules are taken at the end of training. Cost: ``num_samples`` evaluations of the objective.

    References
    ----------
    Holm (1979); Hall (1992); Clopper & Pearson (1934).

    Examples
    --------
    >>> import vaeaudit as va
    >>> from vaeaudit.estimators.bound_certificates import bound_check
    >>> model = va.LinearGaussianVAE.random(0, data_dim=3, latent_dim=1)
    >>> x = model.generative.bias[None] + 0.1 * np.arange(6.0).reshape(2, 3)
    >>> exact = model.exact_log_evidence(x)
    >>> bound_check(model, "beta(0.1)", x, log_evidence=exact).num_exceeding
    2
    >>> bound_check(model, "elbo", x, log_evidence=exact).num_exceeding
    0
    """
    objective = parse(objective)
    x = as_float_array("x", x)
    check_count("num_samples", num_samples, minimum=64)
    check_count("num_checks", num_checks)
    check_count("batch_size", batch_size)
    n = x.shape[0]
    truth, error = _checked_evidence(log_evidence, log_evidence_error, n)

    fixed = objective.deterministic and not objective.needs_prior_draws
    replicates = 1 if fixed else num_samples
    base = as_key(rng_key)
    blocks = []
    for index, start in enumerate(range(0, n, batch_size)):
        keys = jax.random.split(jax.random.fold_in(base, index), replicates)
        part = _objective_draws(
            model, objective, x[start : start + batch_size], keys, jnp.asarray(n, jnp.float32)
        )
        blocks.append(np.asarray(part, dtype=np.float64))
    draws = np.concatenate(blocks, axis=1)
    if not np.isfinite(draws).all():
        raise NonFiniteError(
            f"{objective.name}: {int((~np.isfinite(draws)).sum())} of {draws.size} values are not finite. "
            "Either the model diverged, or the objective reads something this model lacks."
        )

    value = draws.mean(axis=0)
    centred = draws - value
    spread = np.sqrt(np.sum(centred**2, axis=0) / max(replicates - 1, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        skew = np.where(spread > 0, np.mean(centred**3, axis=0) / spread**3, 0.0)
    se = np.zeros(n) if fixed else spread / np.sqrt(replicates)
    excess = value - truth
    total_se = np.hypot(se, error)
    slack = ROUNDING * np.maximum(np.maximum(np.abs(value), np.abs(truth)), 1.0)
    share = np.divide(se**2, total_se**2, out=np.zeros(n), where=total_se > 0) ** 1.5  # of the sum's skewness
    df = max(replicates - 1, 1) if not fixed else np.inf

    def p_value(direction: int) -> np.ndarray:
        g = skewness_corrected_t(
            direction * excess - slack, total_se, direction * skew * share, max(replicates, 2)
        )
        return stats.t.sf(g, df)

    p_above, p_below = p_value(+1), p_value(-1)
    above, below = (holm(p, TEST_LEVEL / num_checks) for p in (p_above, p_below))
    status = np.where(above, "above", np.where(below, "below", "undecided"))
    per_datum = pd.DataFrame(
        {
            "datum": np.arange(n),
            "value": value,
            "se": se,
            "log_evidence": truth,
            "log_evidence_error": error,
            "excess": excess,
            "excess_se": total_se,
            "p_above": p_above,
            "p_below": p_below,
            "status": status,
        }
    )
    count = int(above.sum())
    draws_used = replicates * objective.num_samples
    rule = (
        f"one-sided skewness-corrected t tests on {replicates} evaluations per datum, "
        f"Holm over {n} data at a family-wise level of {FAMILY_LEVEL:.0%}"
        + (f" for {num_checks} checks together (Bonferroni)" if num_checks > 1 else "")
    )
    return BoundCheck(
        objective=objective.name,
        claims_lower_bound=objective.is_lower_bound,
        share_exceeding=_share(count, n, draws_used),
        num_exceeding=count,
        num_undecided=int((status == "undecided").sum()),
        largest_excess=_largest(excess, total_se, slack, df, draws_used),
        mean_excess=_mean(excess, total_se, draws_used),
        per_datum=per_datum,
        verdict="exceeds log p(x)" if count else "no excess found",
        rule=rule,
    )


def _checked_evidence(value: Any, error: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    truth = np.asarray(value, dtype=np.float64)
    if truth.shape != (n,):
        raise ShapeError(f"`log_evidence` needs one value per datum, shape ({n},); got {truth.shape}.")
    if not np.isfinite(truth).all():
        raise NonFiniteError(
            f"`log_evidence` must be finite; {int((~np.isfinite(truth)).sum())} of {n} values are not."
        )
    wide = np.asarray(error, dtype=np.float64)
    if wide.shape not in ((), (n,)):
        raise ShapeError(f"`log_evidence_error` must be one number or ({n},); got shape {wide.shape}.")
    if not (wide >= 0).all():
        raise ArgumentError("`log_evidence_error` is a standard error: it must be ≥ 0 and finite.")
    return truth, np.broadcast_to(wide, (n,)).copy()


def _share(count: int, n: int, num_samples: int) -> Estimate:
    lower = 0.0 if count == 0 else float(stats.beta.ppf(0.025, count, n - count + 1))
    upper = 1.0 if count == n else float(stats.beta.ppf(0.975, count + 1, n - count))
    value = count / n
    return Estimate(
        value=value,
        se=float(np.sqrt(value * (1 - value) / n)),
        lower=lower,
        upper=upper,
        unit="share",
        num_samples=num_samples,
        num_data=n,
        note="share of data certified above log p(x); excesses smaller than the error are not counted",
    )


def _largest(excess: np.ndarray, se: np.ndarray, slack: np.ndarray, df: float, num_samples: int) -> Estimate:
    n = excess.size
    half = stats.t.isf(0.025 / n, df) * se + slack
    worst = int(np.argmax(excess))
    return Estimate(
        value=float(excess[worst]),
        se=float(se[worst]),
        lower=float(np.max(excess - half)),
        upper=float(np.max(excess + half)),
        num_samples=num_samples,
        num_data=n,
        note=f"at datum {worst}; simultaneous interval over all data",
    )


def _mean(excess: np.ndarray, se: np.ndarray, num_samples: int) -> Estimate:
    n = excess.size
    spread = float(np.std(excess, ddof=1) / np.sqrt(n)) if n > 1 else float(se[0])
    return Estimate.normal(float(np.mean(excess)), spread, num_samples=num_samples, num_data=n)
