"""Likelihoods in a form that is fast where no gradient is needed."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from vaeaudit.models.likelihoods import BernoulliLogits
from vaeaudit.models.vae import AbstractVAE, NeuralVAE

HALVINGS = 6  # products of 64 factors in (1, 2] stay below 2⁶⁴


def log_likelihood(model: AbstractVAE, x: Array, z: Array) -> Array:
    """Log p(x|z) in nats, (sample, batch): the model's own, or the same numbers faster.

    Notes
    -----
    For Bernoulli logits the logarithms are taken of products, Σ log(1 + e^−|l|) = log Π (1 + e^−|l|), a
    64th as many of them. Terms below 6·10⁻⁸ are lost: at most 6·10⁻⁸ nats per pixel.
    """
    if type(model) is NeuralVAE and type(model.likelihood) is BernoulliLogits:
        logits = model.decode(z)
        return bernoulli_log_prob(x.reshape(x.shape[0], -1), logits.reshape(*z.shape[:2], -1))
    return model.log_likelihood(x, z)


def bernoulli_log_prob(x: Array, logits: Array) -> Array:
    """Σ x l − max(l, 0) − log(1 + e^−|l|) over the last axis, for x (batch, pixel)."""
    factors = 1.0 + jnp.exp(-jnp.abs(logits))
    for _ in range(HALVINGS):
        width = factors.shape[-1]
        if width % 2:
            break
        factors = factors[..., : width // 2] * factors[..., width // 2 :]
    linear = jnp.sum(x * logits - jnp.maximum(logits, 0.0), axis=-1)
    return linear - jnp.sum(jnp.log(factors), axis=-1)
