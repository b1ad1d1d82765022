"""Axis names, array aliases and the checks that run before any number is computed.

Axis order is ``sample batch latent`` for latents and ``batch *event`` for data, everywhere.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vaeaudit.core.errors import ArgumentError, DtypeError, NonFiniteError, ScaleError, ShapeError

Data = Float[Array, "batch *event"]
Latents = Float[Array, "sample batch latent"]
PerDatum = Float[Array, " batch"]
PerSample = Float[Array, "sample batch"]
PerLatent = Float[Array, "batch latent"]
KeyLike = int | Array


def as_key(rng_key: KeyLike) -> Array:
    """Turn an integer seed, a typed key or a raw ``uint32[2]`` key into a typed JAX key."""
    if isinstance(rng_key, bool) or rng_key is None:
        raise ArgumentError(
            f"`rng_key` must be an integer seed or a JAX key; got {rng_key!r}. Pass e.g. rng_key=0."
        )
    if isinstance(rng_key, int | np.integer):
        if not 0 <= rng_key < 2**64:
            raise ArgumentError(
                f"`rng_key` must be an integer from 0 to 2⁶⁴ − 1 or a JAX key; got {rng_key}. Pass e.g. rng_key=0."
            )
        if rng_key < 2**32:
            return jax.random.key(int(rng_key))
        # without x64 JAX would drop the upper word, and seeds 2³² apart would share their draws
        words = np.array([int(rng_key) >> 32, int(rng_key) & 0xFFFFFFFF], np.uint32)
        return jax.random.wrap_key_data(jnp.asarray(words), impl="threefry2x32")
    if isinstance(rng_key, jax.Array | np.ndarray):
        if jnp.issubdtype(rng_key.dtype, jax.dtypes.prng_key):
            if rng_key.shape != ():
                raise ShapeError(f"`rng_key` must be one key; got an array of keys of shape {rng_key.shape}.")
            return rng_key
        if rng_key.dtype == np.uint32 and rng_key.shape == (2,):
            return jax.random.wrap_key_data(jnp.asarray(rng_key))
    raise ArgumentError(
        f"`rng_key` must be an integer seed or a JAX key (jax.random.key(0)); got {type(rng_key).__name__}."
    )


def as_float_array(name: str, value: Any, *, ndim: int | None = None, finite: bool = True) -> Array:
    """Convert to a float32 (or float64 where x64 is on) JAX array and check rank and finiteness.

    Raises
    ------
    DtypeError
        For half precision, complex numbers, strings and objects.
    ShapeError
        For a wrong rank or an empty array.
    NonFiniteError
        For NaN or infinity, with the count and the first position.
    """
    host = value if isinstance(value, jax.Array) else np.asarray(value)
    kind = np.dtype(host.dtype) if not isinstance(host, jax.Array) else host.dtype
    if kind in (jnp.float16, jnp.bfloat16):
        raise DtypeError(
            f"`{name}` must be float32 or float64; got {kind}, whose rounding alone can exceed the "
            f"intervals reported here. Pass `{name}.astype('float32')` from a float32 computation."
        )
    if not (jnp.issubdtype(kind, jnp.floating) or jnp.issubdtype(kind, jnp.integer) or kind == np.bool_):
        raise DtypeError(f"`{name}` must hold real numbers; got dtype {kind}.")
    if ndim is not None and host.ndim != ndim:
        raise ShapeError(f"`{name}` needs {ndim} axes; got shape {tuple(host.shape)}.")
    if host.size == 0:
        raise ShapeError(f"`{name}` is empty: shape {tuple(host.shape)}. At least one element is needed.")
    dtype = jnp.promote_types(kind, jnp.float32) if jnp.issubdtype(kind, jnp.floating) else jnp.float32
    array = jnp.asarray(host, dtype=jax.dtypes.canonicalize_dtype(dtype))
    if finite:
        check_finite(name, array)
    return array


def check_finite(name: str, array: Any, remedy: str = "") -> None:
    """Raise `NonFiniteError` if any element is NaN or infinite."""
    bad = ~np.isfinite(np.asarray(array))
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise NonFiniteError(
            f"`{name}` must be finite; {int(bad.sum())} of {bad.size} elements are NaN or infinite, "
            f"the first at index {first}." + (f" {remedy}" if remedy else "")
        )


def check_loc_scale(loc: Any, scale: Any, *, latent_dim: int | None = None) -> tuple[Array, Array]:
    """Validate an encoder's output: equal shapes (batch, latent), finite, scale > 0.

    Raises
    ------
    ShapeError, NonFiniteError, ScaleError
    """
    loc = as_float_array("loc", loc, ndim=2)
    scale = as_float_array("scale", scale, ndim=2)
    if loc.shape != scale.shape:
        raise ShapeError(
            f"`loc` and `scale` must both be (batch, latent); got {loc.shape} and {scale.shape}. "
            "A scale shared over the batch must be broadcast by the encoder."
        )
    if latent_dim is not None and loc.shape[1] != latent_dim:
        raise ShapeError(f"`encode` must return (batch, {latent_dim}) as `latent_dim` says; got {loc.shape}.")
    smallest = float(jnp.min(scale))
    if smallest <= 0:
        raise ScaleError(
            f"`scale` must be positive; its smallest element is {smallest:.6g}. If the encoder returns "
            "log σ, log σ² or σ², say so with encoder_output='loc_log_scale' | 'loc_log_var' | 'loc_var'."
        )
    return loc, scale


def check_count(name: str, value: Any, *, minimum: int = 1) -> int:
    """Validate an integer count."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < minimum:
        raise ArgumentError(f"`{name}` must be an integer ≥ {minimum}; got {value!r}.")
    return int(value)
