"""Diagonal-Gaussian building blocks, q = N(loc, diag scale²), p = N(0, I)."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

LOG_2PI = math.log(2 * math.pi)


def log_normal(z: Array, loc: Array, scale: Array) -> Array:
    """Log density of N(loc, diag scale²) at z, summed over the last axis (nats)."""
    u = (z - loc) / scale
    return jnp.sum(-0.5 * u * u - jnp.log(scale) - 0.5 * LOG_2PI, axis=-1)


def log_normal_from_noise(noise: Array, scale: Array) -> Array:
    """Log q(z|x) at z = loc + scale·noise, from the noise itself: no cancellation for small scale."""
    return jnp.sum(-0.5 * noise * noise - jnp.log(scale) - 0.5 * LOG_2PI, axis=-1)


def log_standard_normal(z: Array) -> Array:
    """Log density of N(0, I) at z, summed over the last axis (nats)."""
    return jnp.sum(-0.5 * z * z - 0.5 * LOG_2PI, axis=-1)


def kl_to_standard_normal(
    loc: Float[Array, "*batch latent"], scale: Float[Array, "*batch latent"]
) -> Float[Array, "*batch latent"]:
    r"""KL(N(loc, scale²) ‖ N(0, 1)) per latent dimension (nats).

    KL = ½(μ² + σ² − 1 − log σ²)

    Notes
    -----
    Exact. ``expm1`` keeps the digits at small KL, where σ² − 1 − log σ² cancels.

    References
    ----------
    Kingma & Welling (2014), appendix B.
    """
    t = 2.0 * jnp.log(scale)  # log σ²
    return 0.5 * (loc * loc + (jnp.expm1(t) - t))


def squared_wasserstein(
    loc: Float[Array, "*batch latent"], scale: Float[Array, "*batch latent"]
) -> Float[Array, "*batch latent"]:
    r"""W₂²(N(loc, scale²), N(0, 1)) per latent dimension.

    W₂² = μ² + (σ − 1)²

    References
    ----------
    Olkin & Pukelsheim (1982); Peyré & Cuturi (2019), remark 2.31.
    """
    return loc * loc + (scale - 1.0) ** 2
