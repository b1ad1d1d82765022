"""Encoder and decoder networks in Equinox: the MLP pair, and what other networks share with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Activation = Callable[[Array], Array]
HALF = "BF16_BF16_F32"  # JAX's name for bfloat16 factors with float32 sums


class Dense(eqx.Module):
    """A matrix product and a bias: (n, n_in) → (n, n_out)."""

    weight: Float[Array, "n_out n_in"]
    bias: Float[Array, " n_out"]

    def __init__(self, weight: Float[Array, "n_out n_in"]) -> None:
        self.weight = weight
        self.bias = jnp.zeros(weight.shape[0])

    def beside(self, other: Dense) -> Dense:
        """Both layers on the same input as one product, their outputs side by side."""
        weight = jnp.concatenate([self.weight, other.weight])
        bias = jnp.concatenate([self.bias, other.bias])
        return eqx.tree_at(lambda d: (d.weight, d.bias), self, (weight, bias))

    def __call__(self, h: Float[Array, "n n_in"]) -> Float[Array, "n n_out"]:
        if jax.config.jax_default_matmul_precision == HALF:  # type: ignore[attr-defined]
            # a CPU's compiler takes the setting as permission only: round the factors in any case
            h, weight = (lax.reduce_precision(a, exponent_bits=8, mantissa_bits=7) for a in (h, self.weight))
            return h @ weight.T + self.bias
        return h @ self.weight.T + self.bias


def glorot_uniform(
    rng_key: Array, shapes: Sequence[tuple[int, ...]], fans: Sequence[tuple[int, int]]
) -> list[Array]:
    """One weight array per shape, uniform in ±√(6 / (fan_in + fan_out)).

    All come from one draw, as every draw of another size costs a compilation.

    References
    ----------
    Glorot & Bengio (2010), eq. 16.
    """
    sizes = [math.prod(shape) for shape in shapes]
    draw = jax.random.uniform(rng_key, (sum(sizes),), jnp.float32, -1.0, 1.0)
    weights, start = [], 0
    for shape, size, fan in zip(shapes, sizes, fans, strict=True):
        weights.append(math.sqrt(6.0 / sum(fan)) * draw[start : start + size].reshape(shape))
        start += size
    return weights


def dense_layers(rng_key: Array, sizes: Sequence[tuple[int, int]]) -> list[Dense]:
    """Dense layers (n_in, n_out) with Glorot-uniform weights and zero biases."""
    weights = glorot_uniform(rng_key, [(n_out, n_in) for n_in, n_out in sizes], sizes)
    return [Dense(weight) for weight in weights]


class MLPEncoder(eqx.Module):
    """x (batch, *event) → loc, log scale (batch, latent each) through a shared trunk and two heads.

    With ``shared_scale`` the log scale is its head's bias for every x, and the head's weights are zero.
    """

    trunk: tuple[Dense, ...]
    loc_head: Dense
    log_scale_head: Dense
    activation: Activation = eqx.field(static=True, default=jnp.tanh)
    shared_scale: bool = eqx.field(static=True, default=False)

    def __init__(
        self,
        rng_key: Array,
        event_size: int,
        hidden: Sequence[int],
        latent_dim: int,
        activation: Activation = jnp.tanh,
        shared_scale: bool = False,
    ) -> None:
        widths = (event_size, *hidden)
        sizes = [*pairwise(widths), *[(widths[-1], latent_dim)] * 2]
        *trunk, self.loc_head, self.log_scale_head = dense_layers(rng_key, sizes)
        self.trunk = tuple(trunk)
        self.activation = activation
        self.shared_scale = shared_scale
        if shared_scale:
            self.log_scale_head = Dense(jnp.zeros_like(self.log_scale_head.weight))

    def __call__(self, x: Array) -> tuple[Array, Array]:
        h = x.reshape(x.shape[0], -1)
        for layer in self.trunk:
            h = self.activation(layer(h))
        if self.shared_scale:
            loc = self.loc_head(h)
            return loc, jnp.broadcast_to(self.log_scale_head.bias, loc.shape)
        loc, log_scale = jnp.split(self.loc_head.beside(self.log_scale_head)(h), 2, axis=-1)
        return loc, log_scale


class MLPDecoder(eqx.Module):
    """z (n, latent) → likelihood parameters (n, *event)."""

    layers: tuple[Dense, ...]
    event_shape: tuple[int, ...] = eqx.field(static=True)
    activation: Activation = eqx.field(static=True, default=jnp.tanh)

    def __init__(
        self,
        rng_key: Array,
        latent_dim: int,
        hidden: Sequence[int],
        event_shape: tuple[int, ...],
        activation: Activation = jnp.tanh,
    ) -> None:
        widths = (latent_dim, *hidden, math.prod(event_shape))
        self.layers = tuple(dense_layers(rng_key, [*pairwise(widths)]))
        self.event_shape = tuple(event_shape)
        self.activation = activation

    def __call__(self, z: Array) -> Array:
        h = z
        for layer in self.layers[:-1]:
            h = self.activation(layer(h))
        return self.layers[-1](h).reshape(-1, *self.event_shape)
