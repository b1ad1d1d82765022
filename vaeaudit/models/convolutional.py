"""A small convolutional encoder and decoder for pictures (H, W) or (H, W, C).

Convolutions are written as matrix products over shifted slices: the same numbers as XLA's
convolution, and on a CPU inside a scanned training loop several times faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from vaeaudit.models.networks import Dense, glorot_uniform


def relu(h: Array) -> Array:
    """max(h, 0)."""
    return jnp.maximum(h, 0.0)


def halved(size: int) -> int:
    """⌈size / 2⌉: an axis after a stride of 2."""
    return -(-size // 2)


class StridedConv(eqx.Module):
    """3×3 convolution with stride 2 and one pixel of padding: (n, H, W, c) → (n, ⌈H/2⌉, ⌈W/2⌉, c′)."""

    weight: Float[Array, "3 3 c_in c_out"]
    bias: Float[Array, " c_out"]

    def __init__(self, weight: Float[Array, "3 3 c_in c_out"]) -> None:
        self.weight = weight
        self.bias = jnp.zeros(weight.shape[-1])

    def __call__(self, h: Float[Array, "n h w c_in"]) -> Float[Array, "n h2 w2 c_out"]:
        rows, cols = halved(h.shape[1]), halved(h.shape[2])
        # pixel (2i + a − 1, 2j + b − 1) for a, b in 0…2
        h = jnp.pad(h, ((0, 0), (1, 1 + h.shape[1] % 2), (1, 1 + h.shape[2] % 2), (0, 0)))
        slices = [
            h[:, a : a + 2 * rows - 1 : 2, b : b + 2 * cols - 1 : 2] for a in range(3) for b in range(3)
        ]
        patches = jnp.concatenate(slices, axis=-1)
        return patches @ self.weight.reshape(-1, self.weight.shape[-1]) + self.bias


class TransposedConv(eqx.Module):
    """4×4 transposed convolution with stride 2: (n, H, W, c) → (n, 2H, 2W, c′)."""

    weight: Float[Array, "4 4 c_in c_out"]
    bias: Float[Array, " c_out"]

    def __init__(self, weight: Float[Array, "4 4 c_in c_out"]) -> None:
        self.weight = weight
        self.bias = jnp.zeros(weight.shape[-1])

    def __call__(self, h: Float[Array, "n h w c_in"]) -> Float[Array, "n 2*h 2*w c_out"]:
        _, rows, cols, c_in = h.shape
        c_out = self.weight.shape[-1]
        h = jnp.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = jnp.concatenate(
            [h[:, i : i + rows + 1, j : j + cols + 1] for i in (0, 1) for j in (0, 1)], axis=-1
        )
        # output pixel (2r + a, 2s + b) is window (r + a, s + b) times the taps (a + 2i, b + 2j)
        taps = self.weight.reshape(2, 2, 2, 2, c_in, c_out).transpose(0, 2, 4, 1, 3, 5)
        out = windows @ taps.reshape(4 * c_in, 4 * c_out)
        out = out.reshape(-1, rows + 1, cols + 1, 2, 2, c_out)
        phases = [
            jnp.stack([out[:, a : a + rows, b : b + cols, a, b] for b in (0, 1)], axis=3) for a in (0, 1)
        ]
        return jnp.stack(phases, axis=2).reshape(-1, 2 * rows, 2 * cols, c_out) + self.bias


class ConvEncoder(eqx.Module):
    """Picture → loc, log scale (batch, latent each): strided convolutions (ReLU) and two dense heads."""

    trunk: tuple[StridedConv, ...]
    loc_head: Dense
    log_scale_head: Dense

    def __init__(
        self, rng_key: Array, event_shape: tuple[int, ...], channels: Sequence[int], latent_dim: int
    ) -> None:
        height, width, *rest = event_shape
        depths = (rest[0] if rest else 1, *channels)
        pairs = [*pairwise(depths)]
        for _ in channels:
            height, width = halved(height), halved(width)
        size = height * width * depths[-1]
        weights = glorot_uniform(
            rng_key,
            [(3, 3, a, b) for a, b in pairs] + [(latent_dim, size)] * 2,
            [(9 * a, 9 * b) for a, b in pairs] + [(size, latent_dim)] * 2,
        )
        self.trunk = tuple(StridedConv(weight) for weight in weights[:-2])
        self.loc_head, self.log_scale_head = Dense(weights[-2]), Dense(weights[-1])

    def __call__(self, x: Array) -> tuple[Array, Array]:
        h = x[..., None] if x.ndim == 3 else x
        for layer in self.trunk:
            h = relu(layer(h))
        h = h.reshape(h.shape[0], -1)
        return self.loc_head(h), self.log_scale_head(h)


class ConvDecoder(eqx.Module):
    """z (n, latent) → likelihood parameters (n, *event): a dense layer, then transposed convolutions.

    Each of them doubles both axes; a row or column too many, where an axis is odd, is cut off.
    """

    layers: tuple[Any, ...]  # Dense, then TransposedConv
    event_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self, rng_key: Array, latent_dim: int, channels: Sequence[int], event_shape: tuple[int, ...]
    ) -> None:
        self.event_shape = tuple(event_shape)
        depths = (*channels, event_shape[2] if len(event_shape) == 3 else 1)
        pairs = [*pairwise(depths)]
        height, width = self._sizes(len(channels))[0]
        size = height * width * depths[0]
        weights = glorot_uniform(
            rng_key,
            [(size, latent_dim), *((4, 4, a, b) for a, b in pairs)],
            [(latent_dim, size), *((4 * a, 4 * b) for a, b in pairs)],  # an output pixel sees 2 × 2 pixels
        )
        self.layers = (Dense(weights[0]), *map(TransposedConv, weights[1:]))

    def _sizes(self, num_doublings: int) -> list[tuple[int, int]]:
        """(height, width) from the smallest picture to the event's."""
        sizes = [(self.event_shape[0], self.event_shape[1])]
        for _ in range(num_doublings):
            sizes.insert(0, (halved(sizes[0][0]), halved(sizes[0][1])))
        return sizes

    def __call__(self, z: Array) -> Array:
        first, *rest = self.layers
        sizes = self._sizes(len(rest))
        h = first(z).reshape(z.shape[0], *sizes[0], -1)
        for layer, (height, width) in zip(rest, sizes[1:], strict=True):
            h = layer(relu(h))[:, :height, :width]
        return h.reshape(-1, *self.event_shape)
