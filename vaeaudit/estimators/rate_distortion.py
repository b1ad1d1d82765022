"""ELBO, rate and distortion of a model on data, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array

from vaeaudit.core.arrays import KeyLike, as_float_array, as_key, check_count
from vaeaudit.core.errors import ArgumentError, NonFiniteError
from vaeaudit.core.gaussian import kl_to_standard_normal, log_normal_from_noise
from vaeaudit.core.records import Estimate
from vaeaudit.estimators.encoding import check_model, encode_all, over_chunks
from vaeaudit.estimators.skewed_mean import skewed_mean_interval
from vaeaudit.models.vae import AbstractVAE

Target = Literal["data", "population"]
DRAWS_PER_CALL = 32_000  # decoder evaluations held in memory at once


def check_target(target: str) -> None:
    """Allow the two meanings of an average over data."""
    if target not in ("data", "population"):
        raise ArgumentError(
            f"`target` must be 'data' (the given data are all there is) or 'population' (they are a sample, "
            f"and the interval covers its mean); got {target!r}."
        )


@dataclass(frozen=True)
class RateDistortion:
    """ELBO, rate and distortion in nats per datum; ``elbo = −(rate + distortion)``.

    ``per_datum`` has one row per datum: elbo, elbo_se, rate, rate_se, distortion, distortion_se, where the
    standard errors are over the draws of z alone.
    """

    elbo: Estimate
    rate: Estimate
    distortion: Estimate
    per_datum: pd.DataFrame

    def quantities(self) -> dict[str, Estimate]:
        """Name → estimate, as the tables take them."""
        return {"elbo": self.elbo, "rate": self.rate, "distortion": self.distortion}


@eqx.filter_jit
def _terms(
    model: AbstractVAE, x: Array, loc: Array, scale: Array, rng_key: Array, num_samples: int
) -> tuple[Array, ...]:
    """Mean and variance over samples of log p(x|z) and of the log ratio log q − log p, per datum."""
    noise = jax.random.normal(rng_key, (num_samples, *loc.shape), loc.dtype)
    z = loc + scale * noise
    log_likelihood = model.log_likelihood(x, z)
    if model.standard_prior:
        rate = jnp.sum(kl_to_standard_normal(loc, scale), axis=-1)
        log_ratio = jnp.broadcast_to(rate, log_likelihood.shape)
    else:
        log_ratio = log_normal_from_noise(noise, scale) - model.log_prior(z)

    def mean_and_square(values: Array) -> tuple[Array, Array]:
        mean = jnp.mean(values, axis=0)
        return mean, jnp.sum((values - mean) ** 2, axis=0)

    elbo_term = log_likelihood - log_ratio
    return (*mean_and_square(log_likelihood), *mean_and_square(log_ratio), *mean_and_square(elbo_term))


def _merge(mean: list[np.ndarray], square: list[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Join groups of ``count`` draws each: mean, and variance of one draw (ddof 1), in float64."""
    means, squares = np.asarray(mean, np.float64), np.asarray(square, np.float64)
    total = means.mean(axis=0)
    spread = squares.sum(axis=0) + count * ((means - total) ** 2).sum(axis=0)
    draws = count * means.shape[0]
    return total, spread / (draws - 1) if draws > 1 else np.full_like(total, np.nan)


def average(
    values: np.ndarray,
    se: np.ndarray,
    target: Target,
    num_samples: int | None,
    note: str = "",
    *,
    tail: float = 0.025,
) -> Estimate:
    """Average per-datum values with the interval that ``target`` asks for; ``tail``: error on each side.

    Examples
    --------
    >>> average(np.array([1.0, 3.0]), np.zeros(2), "data", None).verdict
    'exact'
    """
    num_data = values.size
    value = float(np.mean(values, dtype=np.float64))
    counts: dict[str, Any] = {"num_data": num_data, "num_samples": num_samples}
    if target == "population":
        if num_data < 2:
            why = "one datum says nothing about a population; pass more data or target='data'"
            return Estimate.refused("unreliable", why, value, **counts)
        error, lower, upper = skewed_mean_interval(values, tail)
        return Estimate(value, error, lower, upper, note=note, **counts)
    if np.all(se == 0):
        return Estimate.exact(value, note=note, **counts)
    error = float(np.sqrt(np.sum(np.asarray(se, np.float64) ** 2))) / num_data
    if not math.isfinite(error):
        why = "no standard error from one draw of z per datum; pass num_samples ≥ 2"
        return Estimate.refused("unreliable", why, value, **counts)
    return Estimate.normal(value, error, note=note, **counts)


def rate_distortion(
    model: AbstractVAE,
    x: Any,
    rng_key: KeyLike = 0,
    num_samples: int = 64,
    *,
    target: Target = "population",
) -> RateDistortion:
    r"""ELBO, rate and distortion, averaged over data and per datum (nats per datum).

    rate = E KL(q(z|x) ‖ p(z)),   distortion = −E E_q log p(x|z),   elbo = −(rate + distortion)

    Parameters
    ----------
    model
        Any VAE of this package.
    x
        Data (batch, *event).
    rng_key
        Seed or JAX key.
    num_samples
        Draws of z per datum.
    target
        ``"population"``: the data are a sample and the interval covers the mean of what they were drawn
        from. ``"data"``: the interval covers the mean over exactly these data, so that only the draws of z
        add error and the rate under a standard normal prior is exact.

    Returns
    -------
    RateDistortion
        Three estimates and a frame with one row per datum.

    Raises
    ------
    ArgumentError, ShapeError, NonFiniteError, ScaleError
        If arguments, data or the model's output are not what they must be.

    Notes
    -----
    Unbiased. With a standard normal prior the rate of each datum is in closed form; with another prior it is
    a Monte-Carlo average of log q(z|x) − log p(z) and carries its error. Cost: one encoder pass and
    ``num_samples`` decoder passes. Averages over data are taken in float64. NaN in ``*_se`` means one draw.

    References
    ----------
    Kingma & Welling (2014), eq. 3; Alemi et al. (2018), eqs. 5 and 6.

    Examples
    --------
    >>> import jax.numpy as jnp, numpy as np, vaeaudit as va
    >>> model = va.vae(
    ...     encode=lambda x: (x / 2, jnp.full_like(x, 0.5**0.5)),
    ...     log_likelihood=lambda x, z: -0.5 * jnp.sum((x - z) ** 2 + jnp.log(2 * jnp.pi), -1),
    ...     latent_dim=1,
    ... )
    >>> x = np.linspace(-2, 2, 5)[:, None]
    >>> rate_distortion(model, x, target="data").rate
    0.3466 nats (exact), 5 data, 64 samples
    """
    rng_key = as_key(rng_key)
    num_samples = check_count("num_samples", num_samples)
    check_target(target)
    check_model(model)
    x = as_float_array("x", x)
    loc, scale = encode_all(model, x)
    size = max(1, min(x.shape[0], 1000, DRAWS_PER_CALL // min(num_samples, 64)))
    group = max(1, min(num_samples, DRAWS_PER_CALL // size))
    groups = -(-num_samples // group)
    group = -(-num_samples // groups)
    columns: list[list[np.ndarray]] = []
    for g in range(groups):
        key = jax.random.fold_in(rng_key, g)

        def terms(index: Array, number: int, key: Array = key) -> tuple[Array, ...]:
            rows = np.asarray(index)
            at = (jnp.asarray(x[rows]), jnp.asarray(loc[rows]), jnp.asarray(scale[rows]))
            return _terms(model, *at, jax.random.fold_in(key, number), group)

        columns.append(over_chunks(terms, np.arange(x.shape[0]), size=size, label="rate and distortion"))
    draws = group * groups
    by_term = list(zip(*columns, strict=True))
    ll_mean, ll_var = _merge(list(by_term[0]), list(by_term[1]), group)
    rate_mean, rate_var = _merge(list(by_term[2]), list(by_term[3]), group)
    elbo_mean, elbo_var = _merge(list(by_term[4]), list(by_term[5]), group)
    if not np.isfinite(elbo_mean).all():
        raise NonFiniteError(
            f"log p(x|z) or log p(z) is NaN or infinite for {int((~np.isfinite(elbo_mean)).sum())} of "
            f"{elbo_mean.size} data, the first at index {int(np.argmin(np.isfinite(elbo_mean)))}. Likely "
            "causes: data outside the likelihood's support, or an overflow in the decoder far from the prior."
        )
    if model.standard_prior:
        rate_mean = np.asarray(_exact_rate(loc, scale))
        rate_se = np.zeros_like(rate_mean)
        elbo_mean = ll_mean - rate_mean
    else:
        rate_se = np.sqrt(rate_var / draws)
    ll_se, elbo_se = np.sqrt(ll_var / draws), np.sqrt(elbo_var / draws)
    per_datum = pd.DataFrame(
        {
            "elbo": elbo_mean,
            "elbo_se": elbo_se,
            "rate": rate_mean,
            "rate_se": rate_se,
            "distortion": -ll_mean,
            "distortion_se": ll_se,
        }
    )
    note = "" if target == "data" else "interval over the draw of the data"
    return RateDistortion(
        elbo=average(elbo_mean, elbo_se, target, draws, note),
        rate=average(rate_mean, rate_se, target, draws, note),
        distortion=average(-ll_mean, ll_se, target, draws, note),
        per_datum=per_datum,
    )


def _exact_rate(loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Σ_j KL(q(z_j|x) ‖ N(0,1)) in float64 on the host."""
    loc, t = loc.astype(np.float64), 2.0 * np.log(scale.astype(np.float64))  # t = log σ²
    return 0.5 * np.sum(loc**2 + np.expm1(t) - t, axis=-1)
