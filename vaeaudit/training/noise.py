"""Random numbers inside the training program: the streams of `jax.random`, in fewer and fused kernels."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

Key = tuple[Array, Array]  # two uint32 words, of any one shape

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry(key: Key, high: Array, low: Array) -> Key:
    """Threefry-2x32 with 20 rounds: encrypt the counter (high, low) under ``key``.

    Notes
    -----
    JAX rolls the rounds into a loop on CPU, whose iterations are separate kernels; written out they
    fuse with what makes the counters and what uses the bits. On numpy's arrays it runs on the host.

    References
    ----------
    Salmon et al. (2011), section 3.2.
    """
    schedule = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    a, b = high + schedule[0], low + schedule[1]
    for group in range(5):
        for r in _ROTATIONS[group % 2]:
            a = a + b
            b = a ^ ((b << np.uint32(r)) | (b >> np.uint32(32 - r)))
        a = a + schedule[(group + 1) % 3]
        b = b + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return a, b


def fold_in(key: Key, number: int | Array) -> Key:
    """`jax.random.fold_in`; an array of numbers gives as many keys."""
    low = jnp.asarray(number).astype(jnp.uint32)
    return threefry(key, jnp.zeros_like(low), low)


def uniform(key: Key, size: int, low: float = 0.0, high: float = 1.0) -> Array:
    """`jax.random.uniform` in float32, bit by bit; fewer than 2³² numbers."""
    start, width = np.float32(low), np.float32(high) - np.float32(low)
    count = lax.broadcasted_iota(jnp.uint32, (*key[0].shape, size), key[0].ndim)
    a, b = threefry((key[0][..., None], key[1][..., None]), jnp.zeros_like(count), count)
    mantissa = ((a ^ b) >> np.uint32(9)) | np.uint32(0x3F800000)  # a float in [1, 2)
    u = (lax.bitcast_convert_type(mantissa, jnp.float32) - np.float32(1.0)) * width + start
    return jnp.maximum(start, u)


def standard_normal(key: Key, size: int) -> Array:
    """`jax.random.normal` in float32: the same uniform bits, through the inverse error function."""
    u = uniform(key, size, float(np.nextafter(np.float32(-1.0), np.float32(0.0))), 1.0)
    return np.float32(math.sqrt(2.0)) * lax.erf_inv(u)
