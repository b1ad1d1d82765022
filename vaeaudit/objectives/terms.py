"""From a model and a batch to the terms that every objective combines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vaeaudit.core.arrays import Data
from vaeaudit.core.errors import ArgumentError
from vaeaudit.core.gaussian import log_normal_from_noise
from vaeaudit.models.vae import AbstractVAE
from vaeaudit.objectives.base import Terms


def _or_nan(weight_sq: Callable[[], Array]) -> Array:
    """A sum of squared weights; NaN for a model that cannot say which weights are meant."""
    try:
        return weight_sq()
    except ArgumentError:
        return jnp.asarray(jnp.nan, jnp.float32)


def prior_draws(rng_key: Array, like: Array) -> Array:
    """Draws from p(z) = N(0, I) with the shape of ``like``, on a stream of their own."""
    return jax.random.normal(jax.random.fold_in(rng_key, 1), like.shape, like.dtype)


def compute_terms(
    model: AbstractVAE,
    x: Data,
    rng_key: Array | None = None,
    *,
    num_samples: int = 1,
    deterministic: bool | Array = False,
    progress: float | Array = 1.0,
    num_data: float | Array | None = None,
    with_prior_draws: bool = True,
    noise: Array | None = None,
) -> Terms:
    r"""Draw z and compute every term that an objective may read.

    zₛ = μ(x) + σ(x) εₛ,  εₛ ~ N(0, I) per datum and sample;  ε = 0 when ``deterministic``

    Parameters
    ----------
    model
        The VAE; its prior must be N(0, I).
    x
        Data, (batch, *event).
    rng_key
        One key; the noise and the prior draws come from streams of their own.
    num_samples
        Draws of z per datum.
    deterministic
        Set z = loc; may be a traced flag, so that one program serves both kinds of objective.
    progress
        Share of training done, for schedules; 1 is the end.
    num_data
        Size N of the training set, for weights over the aggregate posterior; the batch's own size if
        omitted.
    with_prior_draws
        Whether `Terms.prior_z` is drawn; zeros otherwise.
    noise
        ε itself, (num_samples, batch, latent), instead of draws by ``rng_key``.

    Returns
    -------
    Terms

    Raises
    ------
    ArgumentError
        For a model whose prior is not standard normal: its rate has no closed form here.

    Notes
    -----
    log q(z|x) comes from the noise, not from a rounded z. Sums of squared weights are NaN for a model
    that does not define them. Pure: may be traced, mapped, differentiated.
    """
    if not model.standard_prior:
        raise ArgumentError(
            "objectives need the prior N(0, I), for which the rate has a closed form; this model has "
            "another `log_prior`. Use vaeaudit.log_evidence or vaeaudit.rate_distortion for it."
        )
    loc, scale = model.encode(x)
    if noise is None:
        key = jax.random.fold_in(_given(rng_key), 0)
        noise = jax.random.normal(key, (num_samples, *loc.shape), loc.dtype)
    noise = _silence(noise, deterministic)
    z = loc + scale * noise
    return Terms(
        log_likelihood=model.log_likelihood(x, z),
        log_prior=model.log_prior(z),
        log_q=log_normal_from_noise(noise, scale),
        z=z,
        loc=loc,
        scale=scale,
        prior_z=prior_draws(_given(rng_key), loc) if with_prior_draws else jnp.zeros_like(loc),
        head_weight_sq=_or_nan(model.head_weight_sq),
        decoder_weight_sq=_or_nan(model.decoder_weight_sq),
        progress=jnp.asarray(progress, jnp.float32),
        num_data=jnp.asarray(x.shape[0] if num_data is None else num_data, jnp.float32),
    )


def _given(rng_key: Array | None) -> Array:
    if rng_key is None:
        raise ArgumentError("`rng_key` is needed unless `noise` is given and no prior draws are asked for.")
    return rng_key


def _silence(noise: Array, deterministic: Any) -> Array:
    if isinstance(deterministic, bool):
        return jnp.zeros_like(noise) if deterministic else noise
    return jnp.where(deterministic, 0.0, noise)
