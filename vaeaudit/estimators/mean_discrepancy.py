"""Maximum mean discrepancy between the aggregate posterior and N(0, I), in closed form over pairs."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaeaudit.core.records import Estimate
from vaeaudit.estimators.aggregate_result import at_least

MAX_DATA = 2_000
ROWS = 64


@functools.partial(jax.jit, static_argnames=("bandwidth_sq",))
def _pair_sums(
    loc: Array, var: Array, rows: Array, row_var: Array, *, bandwidth_sq: float
) -> tuple[Array, Array]:
    """Σₙ and Σₙ of squares of E k(z, z′) between posteriors, for each row; the row's own pair included."""
    width = bandwidth_sq + row_var[:, None, :] + var[None, :, :]
    exponent = (rows[:, None, :] - loc[None, :, :]) ** 2 / width + jnp.log(width / bandwidth_sq)
    kernel = jnp.exp(-0.5 * jnp.sum(exponent, axis=-1))
    return jnp.sum(kernel, axis=1), jnp.sum(kernel * kernel, axis=1)


def squared_mmd(loc: np.ndarray, scale: np.ndarray, *, bandwidth_sq: float | None = None) -> Estimate:
    r"""Unbiased MMD²(q(z), N(0, I)) under k(z, z′) = exp(−‖z − z′‖²/2h²), with an interval.

    MMD² = E k(z, z′) − 2 E k(z, y) + E k(y, y′),   z, z′ from posteriors of two data, y, y′ ~ p

    Parameters
    ----------
    loc, scale
        Posteriors (batch, latent); the first 2,000 in a fixed random order are used.
    bandwidth_sq
        h²; J when omitted, half the mean squared distance of two prior draws.

    Returns
    -------
    Estimate

    Notes
    -----
    Gaussians integrate the kernel exactly, so no z is drawn; the sum runs over pairs of different data and is
    unbiased. The standard error keeps both terms of the U-statistic's variance, the second of which is all
    there is when q(z) = p(z). Clipped at 0.

    References
    ----------
    Gretton et al. (2012), lemma 6; Hoeffding (1948) for the variance.
    """
    if loc.shape[0] > MAX_DATA:
        keep = np.random.default_rng(0).permutation(loc.shape[0])[:MAX_DATA]
        loc, scale = loc[keep], scale[keep]
    num_data, latent = loc.shape
    h2 = float(latent) if bandwidth_sq is None else float(bandwidth_sq)
    var = scale**2
    sums, squares = np.empty(num_data), np.empty(num_data)
    padded = -(-num_data // ROWS) * ROWS
    index = np.minimum(np.arange(padded), num_data - 1)
    loc32, var32 = jnp.asarray(loc, jnp.float32), jnp.asarray(var, jnp.float32)
    for start in range(0, padded, ROWS):
        at = index[start : start + ROWS]
        total, square = _pair_sums(loc32, var32, loc32[at], var32[at], bandwidth_sq=h2)
        sums[at], squares[at] = np.asarray(total), np.asarray(square)
    own = np.exp(-0.5 * np.sum(np.log1p(2.0 * var / h2), axis=1))
    others = (sums - own) / (num_data - 1)  # E_{x′} k with x held fixed
    to_prior = np.exp(-0.5 * np.sum(loc**2 / (h2 + var + 1.0) + np.log((h2 + var + 1.0) / h2), axis=1))
    prior = (h2 / (h2 + 2.0)) ** (latent / 2)
    value = float(others.mean() - 2.0 * to_prior.mean() + prior)
    first = float(np.var(others - to_prior, ddof=1))
    second = max(
        float(np.mean((squares - own**2) / (num_data - 1)) - others.mean() ** 2 - 2 * np.var(others)), 0.0
    )
    se = math.sqrt(4.0 * first / num_data + 2.0 * second / num_data**2)
    return at_least(
        Estimate.normal(value, se, unit="", num_data=num_data, note=f"Gaussian kernel, h² = {h2:g}"),
        0.0,
        "no discrepancy is negative",
    )
