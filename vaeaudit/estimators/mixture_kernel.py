r"""Streaming logsumexp over tiles of a Gaussian mixture: the compiled part of `mixture_density`.

Layout: components along the rows of a tile, points along its columns, latents unrolled, so that XLA fuses the
squared differences into one loop over a tile that stays in the cache.
"""

from __future__ import annotations

import functools
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

PEAK_STEP = 8.0  # nats: the running maximum moves in steps, so that most tiles rescale by exactly one
BLOCK = 8  # latents summed before they join the total: rounding grows with BLOCK + J/BLOCK, not J


class Running(NamedTuple):
    """Σ exp(values) as (total + lost) · exp(peak), with the bits that each addition lost."""

    peak: Array
    total: Array
    lost: Array


def start(shape: tuple[int, ...], dtype: Any) -> Running:
    """The empty sum."""
    zero = jnp.zeros(shape, dtype)
    return Running(jnp.full(shape, -jnp.inf, dtype), zero, zero)


def absorb(running: Running, values: Array) -> Running:
    """Add exp(values), summed over axis 0, with a compensated addition."""
    top = PEAK_STEP * jnp.ceil(jnp.max(values, axis=0) / PEAK_STEP)
    peak = jnp.maximum(running.peak, top)
    safe = jnp.where(jnp.isfinite(peak), peak, 0.0)
    rescale = jnp.where(running.peak == peak, 1.0, jnp.exp(running.peak - safe))
    fresh = jnp.sum(jnp.exp(values - safe), axis=0)
    old = running.total * rescale
    total = old + fresh
    back = total - old  # Knuth's two-sum: total + error = old + fresh exactly
    error = (old - (total - back)) + (fresh - back)
    return Running(peak, total, running.lost * rescale + error)


def log_of(running: Running) -> Array:
    """Log of the sum; −inf for an empty one."""
    peak = jnp.where(jnp.isfinite(running.peak), running.peak, 0.0)
    return jnp.log(running.total + running.lost) + peak


def squared_distance(z: Array, z_low: Array | None, loc: Array, precision: Array) -> Array:
    """Σ_j ((z_j − μ_j)/σ_j)² for components (n, J) and points (J, m): (n, m), the latents unrolled."""

    def square(j: int) -> Array:
        u = scaled_difference(z, z_low, loc, precision, j)
        return u * u

    latent = z.shape[0]
    blocks = [range(k, min(k + BLOCK, latent)) for k in range(0, latent, BLOCK)]
    return functools.reduce(operator.add, [functools.reduce(operator.add, map(square, b)) for b in blocks])


def scaled_difference(z: Array, z_low: Array | None, loc: Array, precision: Array, j: int) -> Array:
    """(z_j − μ_j)/σ_j, (n, m); ``z_low`` holds the digits of z below its own precision."""
    difference = z[j : j + 1] - loc[:, j : j + 1]
    if z_low is not None:
        difference = difference + z_low[j : j + 1]
    return difference * precision[:, j : j + 1]


def bilinear_distance(z: Array, features: Array, constant: Array) -> Array:
    """The same by one matrix product: z²·σ⁻² − 2 z·μσ⁻² + Σ μ²σ⁻², (n, m)."""
    product = jnp.matmul(features, jnp.concatenate([z * z, z]), precision=jax.lax.Precision.HIGHEST)
    return product + constant[:, None]


class Components(NamedTuple):
    """The mixture in tiles: (tiles, n, J) arrays, padded with components of weight zero."""

    loc: Array
    precision: Array
    log_norm: Array  # Σ_j −log σ − ½ log 2π, (tiles, n)
    used: Array  # number of tiles in use, ()


@functools.partial(jax.jit, static_argnames=("product",))
def log_sums(
    z: Array, z_low: Array | None, own: Array, components: Components, *, product: bool = False
) -> Array:
    """Log Σ_{n≠own} N(z; μₙ, σₙ) for point tiles z (tiles, J, m) with owners (tiles, m): (tiles, m)."""
    tile = components.loc.shape[1]

    def of_points(args: tuple[Array, Array | None, Array]) -> Array:
        zt, low, owner = args

        def body(i: Array, running: Running) -> Running:
            loc, precision, norm = (a[i] for a in (components.loc, components.precision, components.log_norm))
            hidden = (i * tile + jnp.arange(tile, dtype=owner.dtype))[:, None] == owner[None, :]
            if product:
                squared = precision * precision
                features = jnp.concatenate([squared, -2.0 * loc * squared], axis=1)
                distance = bilinear_distance(zt, features, jnp.sum(loc * loc * squared, axis=1))
            else:
                distance = squared_distance(zt, low, loc, precision)
            return absorb(running, jnp.where(hidden, -jnp.inf, norm[:, None] - 0.5 * distance))

        return log_of(jax.lax.fori_loop(0, components.used, body, start(owner.shape, zt.dtype)))

    return jax.lax.map(of_points, (z, z_low, own))


def tile_sizes(latent: int, num_points: int, num_data: int, platform: str) -> tuple[int, int]:
    """Points and components per tile: on a CPU both operands and the tile stay in the first two caches."""
    if platform == "cpu":
        points, rows = (128 if latent <= 64 else 64), 128
    else:
        points, rows = 2048, 2048
    return min(points, next_power(num_points)), min(rows, next_power(num_data))


def next_power(n: int) -> int:
    """Smallest power of two that is at least n: few shapes, few compilations."""
    return 1 << max(0, (n - 1).bit_length())


def fill(array: np.ndarray, rows: int, value: float) -> np.ndarray:
    """Append rows of ``value`` up to ``rows``."""
    short = rows - array.shape[0]
    return (
        np.pad(array, [(0, short)] + [(0, 0)] * (array.ndim - 1), constant_values=value) if short else array
    )
