"""Encoder and decoder networks in Equinox: the MLP pair, and the layers that other networks share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array


def dense(layer: eqx.nn.Linear, h: Array) -> Array:
    """Apply a linear layer to a batch: one matrix product."""
    out = h @ layer.weight.T
    return out if layer.bias is None else out + layer.bias


def glorot_uniform(rng_key: Array, shape: tuple[int, ...], fan_in: int, fan_out: int) -> Array:
    """Weights uniform in ±√(6 / (fan_in + fan_out)).

    References
    ----------
    Glorot & Bengio (2010), eq. 16.
    """
    limit = math.sqrt(6.0 / (fan_in + fan_out))
    return jax.random.uniform(rng_key, shape, jnp.float32, -limit, limit)


def glorot_linear(rng_key: Array, n_in: int, n_out: int) -> eqx.nn.Linear:
    """Linear layer with Glorot-uniform weights and zero biases."""
    layer = eqx.nn.Linear(n_in, n_out, key=rng_key)
    weight = glorot_uniform(rng_key, (n_out, n_in), n_in, n_out)
    return eqx.tree_at(lambda m: (m.weight, m.bias), layer, (weight, jnp.zeros(n_out)))


class MLPEncoder(eqx.Module):
    """x (batch, *event) → loc, log scale (batch, latent each) through a shared trunk and two heads."""

    trunk: tuple[eqx.nn.Linear, ...]
    loc_head: eqx.nn.Linear
    log_scale_head: eqx.nn.Linear
    activation: Callable[[Array], Array] = eqx.field(static=True, default=jnp.tanh)

    def __init__(
        self,
        rng_key: Array,
        event_size: int,
        hidden: Sequence[int],
        latent_dim: int,
        activation: Callable[[Array], Array] = jnp.tanh,
    ) -> None:
        widths = (event_size, *hidden)
        keys = jax.random.split(rng_key, len(hidden) + 2)
        self.trunk = tuple(
            glorot_linear(k, a, b) for k, a, b in zip(keys, widths[:-1], widths[1:], strict=False)
        )
        self.loc_head = glorot_linear(keys[-2], widths[-1], latent_dim)
        self.log_scale_head = glorot_linear(keys[-1], widths[-1], latent_dim)
        self.activation = activation

    def __call__(self, x: Array) -> tuple[Array, Array]:
        h = x.reshape(x.shape[0], -1)
        for layer in self.trunk:
            h = self.activation(dense(layer, h))
        return dense(self.loc_head, h), dense(self.log_scale_head, h)


class MLPDecoder(eqx.Module):
    """z (n, latent) → likelihood parameters (n, *event)."""

    layers: tuple[eqx.nn.Linear, ...]
    event_shape: tuple[int, ...] = eqx.field(static=True)
    activation: Callable[[Array], Array] = eqx.field(static=True, default=jnp.tanh)

    def __init__(
        self,
        rng_key: Array,
        latent_dim: int,
        hidden: Sequence[int],
        event_shape: tuple[int, ...],
        activation: Callable[[Array], Array] = jnp.tanh,
    ) -> None:
        widths = (latent_dim, *hidden, math.prod(event_shape))
        keys = jax.random.split(rng_key, len(widths) - 1)
        self.layers = tuple(
            glorot_linear(k, a, b) for k, a, b in zip(keys, widths[:-1], widths[1:], strict=True)
        )
        self.event_shape = tuple(event_shape)
        self.activation = activation

    def __call__(self, z: Array) -> Array:
        h = z
        for layer in self.layers[:-1]:
            h = self.activation(dense(layer, h))
        return dense(self.layers[-1], h).reshape(-1, *self.event_shape)
