"""The aggregate posterior q(z) = E_x q(z|x) against the prior, in brackets that carry their errors."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import jax
import numpy as np
import pandas as pd

from vaeaudit.core.arrays import KeyLike, as_key, check_count
from vaeaudit.core.errors import ArgumentError, ShapeError
from vaeaudit.core.gaussian import LOG_2PI
from vaeaudit.core.records import Bracket, Estimate
from vaeaudit.estimators.aggregate_result import (
    TAIL,
    AggregatePosterior,
    Side,
    Target,
    at_least,
    at_most,
    choose,
)
from vaeaudit.estimators.control_variates import noise_regressors, reduce_variance
from vaeaudit.estimators.density_fits import (
    defend,
    folds_of,
    held_out_gaussian,
    held_out_mixtures,
    stack,
    widened_mixture,
)
from vaeaudit.estimators.encoding import encoder_output
from vaeaudit.estimators.mixture_density import Method, MixtureDensity, log_mixture_density
from vaeaudit.estimators.rate_distortion import average, check_target
from vaeaudit.models.vae import AbstractVAE

SHARE_LIMIT = math.exp(-1.0)  # own share of q_N(z) above which log N is taken to bind
DRAWS = 20_000  # default number of draws in all
FOLDS = 10
OVER_DATA = "interval over the draw of the data"
LOO, STACK = "leave-one-out mixture", "stacked held-out density"
Fits = Literal["all", "moments"]


def aggregate_posterior(
    model: AbstractVAE | tuple[Any, Any],
    x: Any = None,
    rng_key: KeyLike = 0,
    *,
    num_samples: int | None = None,
    target: Target = "population",
    fits: Fits = "all",
    method: Method = "auto",
) -> AggregatePosterior:
    r"""Rate, mutual information, marginal KL, total correlation and dimension-wise KL of q(z).

    rate = I_q(x; z) + KL(q(z) ‖ p(z)),   KL(q(z) ‖ p(z)) = KL(q(z) ‖ Π q(z_j)) + Σ_j KL(q(z_j) ‖ p(z_j))

    Parameters
    ----------
    model
        A VAE of this package with ``x``, or the pair ``(loc, scale)`` of encoder outputs (batch, latent)
        alone, for a standard normal prior.
    x
        Data (batch, *event).
    rng_key
        Seed or JAX key.
    num_samples
        Draws of z per datum; enough for 20,000 in all when omitted, at most 8.
    target
        ``"population"``: q(z) averages over the distribution that the data came from; every quantity but
        the rate is a bracket. ``"data"``: q(z) is the finite mixture q_N of these data, known up to the
        draws of z.
    fits
        Densities that tighten the lower bounds: ``"moments"``: Gaussian and product of marginals;
        ``"all"``: also Gaussian mixtures fitted by EM and a widened mixture (seconds more).
    method
        Of the mixture kernel, see `log_mixture_density`.

    Returns
    -------
    AggregatePosterior

    Raises
    ------
    ArgumentError, ShapeError, NonFiniteError, ScaleError
        If arguments or the encoder's output are not what they must be.

    Notes
    -----
    With q(z|x) known, E log q_N(z) with the own component included is an upper bound on E log q(z) and
    without it a lower bound, in expectation over the data; so I_q lies in [I_incl, I_loo] and marginal_kl in
    [rate − I_loo, rate − I_incl]. I_incl cannot pass log N, and no lower bound on I_q that holds whatever
    the population is can pass it by much: N data do not tell a continuum from a set of N² values. The other
    end has no such ceiling: for any normalised r fitted to other data, E_q[log r − log p] ≤ marginal_kl.
    Here r stacks the leave-one-out mixture, a Gaussian, the product of marginals, Gaussian mixtures and a
    widened mixture, with weights fitted on other folds; `bounds` lists each alone. Intervals are over the
    draw of the data, first-order terms: the mixture itself enters at second order, since
    E_q[q(z|xₙ)/q(z)] = 1 for every n.
    Cost: one encoder pass and M · N · J operations for M draws.

    References
    ----------
    Hoffman & Johnson (2016), eqs. 7 to 10; Poole et al. (2019), section 2.4; Chen et al. (2018), eq. 2.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> loc = rng.normal(size=(2000, 2)) * [0.8, 0.0]
    >>> result = aggregate_posterior((loc, np.full((2000, 2), [0.6, 1.0])))
    >>> low, high = result.mutual_information.interval
    >>> result.saturated, bool(low < 0.5 * np.log(1 / 0.36) < high)
    (False, True)
    """
    rng_key = as_key(rng_key)
    check_target(target)
    if fits not in ("all", "moments"):
        raise ArgumentError(f"`fits` must be 'all' or 'moments'; got {fits!r}.")
    loc, scale, prior_of = encoder_output(model, x)
    num_data = loc.shape[0]
    if num_data < 2:
        raise ShapeError(f"an aggregate posterior needs at least 2 data; got {num_data}.")
    samples = (
        max(1, min(8, -(-DRAWS // num_data)))
        if num_samples is None
        else check_count("num_samples", num_samples)
    )
    owner = np.tile(np.arange(num_data, dtype=np.int32), samples)
    noise = np.asarray(jax.random.normal(rng_key, (samples * num_data, loc.shape[1])))
    z = loc[owner] + scale[owner] * noise
    density = log_mixture_density(z, loc, scale, own=owner, noise=noise, marginals=True, method=method)
    draws = _Draws(loc.astype(np.float64), scale.astype(np.float64), noise, z, owner, samples, prior_of)
    if target == "data":
        return _of_finite_mixture(draws, density)
    return _of_population(draws, density, fits, method)


class _Draws:
    """Draws of z with everything known about them, per draw (sample · batch) in float64."""

    def __init__(
        self, loc: Any, scale: Any, noise: Any, z: Any, owner: Any, samples: int, prior_of: Any
    ) -> None:
        self.loc, self.scale, self.owner, self.samples = loc, scale, owner, samples
        self.noise, self.z = noise.astype(np.float64), z.astype(np.float64)
        self.num_data, self.latent = loc.shape
        self.own_by_latent = -0.5 * self.noise**2 - np.log(scale[owner]) - 0.5 * LOG_2PI  # log q(z_j|x)
        self.own = self.own_by_latent.sum(1)
        self.standard_prior = prior_of is None
        t = 2.0 * np.log(scale)
        self.rate_by_latent = 0.5 * (loc**2 + np.expm1(t) - t)  # (batch, latent)
        self.prior_by_latent = -0.5 * self.z**2 - 0.5 * LOG_2PI
        if prior_of is None:
            self.prior = self.prior_by_latent.sum(1)
        else:
            self.prior = np.asarray(prior_of(z[None]), np.float64)[0]
        self.regressors = noise_regressors(self.noise, loc[owner], scale[owner])

    def by_datum(self, per_draw: np.ndarray) -> np.ndarray:
        """Average columns (draws, k) over the samples of each datum after variance reduction: (batch, k)."""
        reduced = reduce_variance(per_draw, self.regressors)
        return reduced.reshape(self.samples, self.num_data, -1).mean(0)

    def se_given_data(self, per_draw: np.ndarray) -> np.ndarray:
        """Standard error of the mean of each column over the draws of z, the data held fixed."""
        reduced = reduce_variance(per_draw, self.regressors).reshape(self.samples, self.num_data, -1)
        if self.samples == 1:  # stratified draws vary no more than independent ones
            return reduced[0].std(axis=0, ddof=1) / math.sqrt(self.num_data)
        return np.sqrt(reduced.var(axis=0, ddof=1).sum(0) / self.samples) / self.num_data

    def rate_per_datum(self) -> tuple[np.ndarray, np.ndarray]:
        """Rate of each datum and its Monte-Carlo standard error (zero in closed form)."""
        if self.standard_prior:
            rate = self.rate_by_latent.sum(1)
            return rate, np.zeros_like(rate)
        ratio = (self.own - self.prior).reshape(self.samples, -1)
        se = (
            ratio.std(axis=0, ddof=1) / math.sqrt(self.samples)
            if self.samples > 1
            else np.full(self.num_data, np.nan)
        )
        return self.by_datum((self.own - self.prior)[:, None])[:, 0], se


def _undefined(note: str) -> Bracket:
    end = Estimate.refused("undefined", note)
    return Bracket(end, end, note)


def _own_share(draws: _Draws, density: MixtureDensity) -> float:
    return float(np.mean(np.exp(np.minimum(draws.own - density.log_q - math.log(draws.num_data), 0.0))))


NOT_FACTORISED = "the prior is not a product of standard normals: no split into dimensions"


def _of_finite_mixture(draws: _Draws, density: MixtureDensity) -> AggregatePosterior:
    """Everything for q_N itself, whose density is known: one estimate per quantity."""
    n, j = draws.num_data, draws.latent
    rounding = density.max_error + density.max_error_marginals
    assert density.log_marginals is not None
    single = density.log_marginals
    kl_by_latent = single - draws.prior_by_latent
    per_draw = np.column_stack(
        [draws.own - density.log_q, density.log_q - single.sum(1), kl_by_latent.sum(1), kl_by_latent]
    )
    means, se = draws.by_datum(per_draw).mean(0), draws.se_given_data(per_draw)
    rate_values, rate_se = draws.rate_per_datum()
    rate = average(rate_values, rate_se, "data", draws.samples)
    fields: dict[str, Any] = {
        "num_data": n,
        "num_samples": draws.samples,
        "note": "of the finite mixture q_N",
    }
    mutual = at_most(
        Estimate.normal(means[0], se[0], **fields), math.log(n), "log N is the most a finite mixture has"
    )
    mutual = at_least(mutual, 0.0, "no mutual information is negative")
    marginal = at_least(Estimate.normal(rate.value - means[0], se[0], **fields), 0.0, "no KL is negative")
    total = at_least(Estimate.normal(means[1], se[1], **fields), 0.0, "no KL is negative")
    # Σ_j KL(q_j‖p_j) as marginal_kl − total_correlation, with the same variance reduction
    dimwise_value = rate.value - means[0] - means[1]
    dimwise = at_least(Estimate.normal(dimwise_value, max(se[2], 0.0), **fields), 0.0, "no KL is negative")
    share = _own_share(draws, density)
    by_latent = pd.DataFrame(
        {
            "latent": np.arange(j),
            "rate": draws.rate_by_latent.mean(0),
            "kl_lower": np.maximum(means[3:] - 1.96 * se[3:], 0.0),
            "kl_upper": np.maximum(means[3:] + 1.96 * se[3:], 0.0),
        }
    )
    standard = draws.standard_prior
    return AggregatePosterior(
        rate=rate,
        mutual_information=Bracket(mutual, mutual),
        marginal_kl=Bracket(marginal, marginal),
        total_correlation=Bracket(total, total),
        dimwise_kl=Bracket(dimwise, dimwise) if standard else _undefined(NOT_FACTORISED),
        saturated=share > SHARE_LIMIT,
        own_share=share,
        num_data=n,
        num_samples=draws.samples,
        target="data",
        max_error=rounding,
        by_latent=by_latent,
        bounds=pd.DataFrame(columns=["quantity", "side", "name", "value", "se"]),
        terms={
            "rate": rate.value,
            "mutual_information": float(means[0]),
            "marginal_kl": rate.value - float(means[0]),
            "total_correlation": float(means[1]),
            "dimwise_kl": float(dimwise_value),
        },
    )


def _of_population(draws: _Draws, density: MixtureDensity, fits: Fits, method: Method) -> AggregatePosterior:
    """Brackets for the population's q(z)."""
    n, j = draws.num_data, draws.latent
    rounding = density.max_error + density.max_error_marginals
    assert density.log_q_others is not None
    assert density.log_marginals is not None
    assert density.log_marginals_others is not None
    folds = folds_of(n, min(FOLDS, n), seed=0)
    gauss, gauss_single = held_out_gaussian(draws.z, draws.owner, draws.loc, draws.scale, folds)
    loo_single = defend(density.log_marginals_others, gauss_single, 1.0 / math.sqrt(n))
    incl, incl_single = density.log_q, density.log_marginals
    others = density.log_q_others
    fitted = {
        LOO: np.maximum(others, gauss - 1e4),  # finite where no other component is in reach
        "held-out Gaussian": gauss,
        "leave-one-out marginals": loo_single.sum(1),
    }
    if fits == "all":
        halves = folds % 2
        fitted |= held_out_mixtures(draws.z, draws.owner, halves)
        fitted["widened leave-one-out mixture"] = widened_mixture(
            draws.z, draws.owner, draws.loc, draws.scale, method
        )
    stacked, weights = stack(fitted, draws.owner, folds)
    rate_values, _ = draws.rate_per_datum()

    upper_by_latent = incl_single - draws.prior_by_latent
    lower_by_latent = loo_single - draws.prior_by_latent
    low = {STACK: stacked, **fitted}  # lower bounds on E log q(z)
    columns = {
        "information incl": draws.own - incl,
        "correlation upper": incl - loo_single.sum(1),
        "dimwise lower": lower_by_latent.sum(1),
        "dimwise upper": upper_by_latent.sum(1),
        **{f"information {name}": draws.own - values for name, values in low.items()},
        **{f"correlation {name}": values - incl_single.sum(1) for name, values in low.items()},
    }
    by_datum = draws.by_datum(np.column_stack([*columns.values(), lower_by_latent, upper_by_latent]))
    value = dict(zip(columns, by_datum.T, strict=False))
    latent_lower, latent_upper = by_datum[:, len(columns) : len(columns) + j], by_datum[:, len(columns) + j :]

    incl_name = "self-inclusive mixture"
    by_rate = Side("rate", rate_values)
    sides = {
        ("mutual_information", "lower"): [Side(incl_name, value["information incl"])],
        ("mutual_information", "upper"): [Side(STACK, value[f"information {STACK}"]), by_rate],
        ("marginal_kl", "lower"): [Side(STACK, rate_values - value[f"information {STACK}"])],
        ("marginal_kl", "upper"): [Side(incl_name, rate_values - value["information incl"]), by_rate],
        ("total_correlation", "lower"): [Side(STACK, value[f"correlation {STACK}"])],
        ("total_correlation", "upper"): [Side(incl_name, value["correlation upper"])],
        ("dimwise_kl", "lower"): [Side("leave-one-out marginals", value["dimwise lower"])],
        ("dimwise_kl", "upper"): [Side("self-inclusive marginals", value["dimwise upper"])],
    }
    fields: dict[str, Any] = {"num_data": n, "num_samples": draws.samples, "rounding": rounding}
    brackets = {
        quantity: Bracket(
            at_least(choose(sides[quantity, "lower"], "lower", **fields), 0.0, "it cannot be negative"),
            at_least(choose(sides[quantity, "upper"], "upper", **fields), 0.0, "it cannot be negative"),
        )
        for quantity in ("mutual_information", "marginal_kl", "total_correlation", "dimwise_kl")
    }
    information = brackets["mutual_information"]
    why = "the self-inclusive bound cannot pass log N"
    brackets["mutual_information"] = replace(information, lower=at_most(information.lower, math.log(n), why))
    if not draws.standard_prior:
        brackets["dimwise_kl"] = _undefined(NOT_FACTORISED)
    rows = [(quantity, side, s, True) for (quantity, side), group in sides.items() for s in group]
    for name in fitted:
        rows.append(("mutual_information", "upper", Side(name, value[f"information {name}"]), False))
        rows.append(("marginal_kl", "lower", Side(name, rate_values - value[f"information {name}"]), False))
        rows.append(("total_correlation", "lower", Side(name, value[f"correlation {name}"]), False))
    bounds = pd.DataFrame(
        [
            {
                "quantity": quantity,
                "side": side,
                "name": s.name,
                "value": s.mean,
                "se": s.se,
                "in_bracket": used,
                "stack_weight": weights.get(s.name, math.nan),
            }
            for quantity, side, s, used in rows
        ]
    )
    share = _own_share(draws, density)
    saturated = share > SHARE_LIMIT
    half = 1.96 / math.sqrt(n)
    by_latent = pd.DataFrame(
        {
            "latent": np.arange(j),
            "rate": draws.rate_by_latent.mean(0),
            "kl_lower": np.maximum(latent_lower.mean(0) - half * latent_lower.std(0, ddof=1), 0.0),
            "kl_upper": np.maximum(latent_upper.mean(0) + half * latent_upper.std(0, ddof=1), 0.0),
        }
    )
    return AggregatePosterior(
        rate=average(rate_values, np.zeros(n), "population", None, OVER_DATA, tail=TAIL),
        **brackets,
        saturated=saturated,
        own_share=share,
        num_data=n,
        num_samples=draws.samples,
        target="population",
        max_error=rounding,
        by_latent=by_latent,
        bounds=bounds,
        num_data_needed=_needed(brackets["mutual_information"]) if saturated else None,
        terms={quantity + " " + side: group[0].mean for (quantity, side), group in sides.items()},
    )


def _needed(information: Bracket) -> Bracket:
    """Number of data at which log N passes the mutual information by one nat."""

    def of(estimate: Estimate) -> Estimate:
        ends = [math.exp(min(v, 300.0) + 1.0) for v in (estimate.value, estimate.lower, estimate.upper)]
        return Estimate(ends[0], lower=ends[1], upper=ends[2], unit="data")

    return Bracket(of(information.lower), of(information.upper), "log N one nat above the mutual information")
