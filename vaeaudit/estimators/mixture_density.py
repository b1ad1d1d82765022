r"""Log density of a Gaussian mixture q_N(z) = (1/N) Σₙ N(z; μₙ, diag σₙ²) at many points.

This is the kernel under every quantity of the aggregate posterior: M points against N components with a
streaming logsumexp over tiles, so that memory does not grow with M · N.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaeaudit.core.arrays import as_float_array, check_loc_scale
from vaeaudit.core.errors import ArgumentError, ShapeError
from vaeaudit.core.gaussian import LOG_2PI

Method = Literal["auto", "direct", "product", "float64"]
POINT_TILE, COMPONENT_TILE = 64, 1024


@dataclass(frozen=True)
class MixtureDensity:
    """Log density of the mixture at M points (nats).

    Attributes
    ----------
    log_q
        log (1/N) Σₙ q(z|xₙ), (M,), own component included.
    log_q_others
        log 1/(N−1) Σ_{n≠own} q(z|xₙ), (M,); None where no own component was named.
    log_marginals, log_marginals_others
        The same per dimension, (M, J); None where not asked for.
    method
        How it was computed.
    max_error
        Bound on |error| in nats from rounding, for the arrays at hand.
    """

    log_q: np.ndarray
    log_q_others: np.ndarray | None
    log_marginals: np.ndarray | None
    log_marginals_others: np.ndarray | None
    method: str
    max_error: float


def _absorb(running: tuple[Array, Array], values: Array, axis: int) -> tuple[Array, Array]:
    """Add exp(values) to a running (maximum, sum of exp(· − maximum))."""
    peak, total = running
    new = jnp.maximum(peak, jnp.max(values, axis=axis))
    safe = jnp.where(jnp.isfinite(new), new, 0.0)
    fresh = jnp.sum(jnp.exp(values - jnp.expand_dims(safe, axis)), axis=axis)
    return new, total * jnp.exp(peak - safe) + fresh


def _finish(running: tuple[Array, Array]) -> Array:
    """Log of the running sum."""
    peak, total = running
    return jnp.where(total > 0, jnp.log(total) + jnp.where(jnp.isfinite(peak), peak, 0.0), -jnp.inf)


def _direct_tile(z: Array, loc: Array, precision: Array) -> Array:
    """Σ_j ((z_j − μ_j)/σ_j)², (m, n), with the latents unrolled so that nothing of size (m, n, J) exists."""
    total = jnp.zeros((z.shape[0], loc.shape[1]), z.dtype)
    for j in range(z.shape[1]):
        u = (z[:, j : j + 1] - loc[j : j + 1]) * precision[j : j + 1]
        total = total + u * u
    return total


@functools.partial(jax.jit, static_argnames=("marginals", "point_tile", "component_tile"))
def _others(
    z: Array,
    own: Array,
    loc: Array,
    precision: Array,
    log_norm: Array,
    *,
    marginals: bool,
    point_tile: int,
    component_tile: int,
) -> tuple[Array, Array | None]:
    """Log Σ_{n ≠ own} N(z; μₙ, σₙ) jointly (M,) and per dimension (M, J); own < 0 leaves nothing out."""
    latent = z.shape[1]
    z_tiles = z.reshape(-1, point_tile, latent)
    own_tiles = own.reshape(-1, point_tile)
    tiles = loc.shape[0] // component_tile

    def split(array: Array) -> Array:  # (N, J) → (tiles, J, n)
        return jnp.swapaxes(array.reshape(tiles, component_tile, latent), 1, 2)

    number = jnp.arange(tiles * component_tile, dtype=own.dtype).reshape(tiles, component_tile)
    components = (split(loc), split(precision), split(log_norm), number)

    def one_point_tile(args: tuple[Array, Array]) -> tuple[Array, Array | None]:
        zt, owned = args

        def step(carry: Any, tile: tuple[Array, ...]) -> tuple[Any, None]:
            loc_t, precision_t, norm_t, number_t = tile
            hidden = owned[:, None] == number_t[None, :]
            joint, single = carry
            log_q = jnp.sum(norm_t, axis=0) - 0.5 * _direct_tile(zt, loc_t, precision_t)
            joint = _absorb(joint, jnp.where(hidden, -jnp.inf, log_q), 1)
            if marginals:
                columns = []
                for j in range(latent):
                    u = (zt[:, j : j + 1] - loc_t[j : j + 1]) * precision_t[j : j + 1]
                    one = jnp.where(hidden, -jnp.inf, norm_t[j : j + 1] - 0.5 * u * u)
                    columns.append(_absorb((single[0][:, j], single[1][:, j]), one, 1))
                single = (jnp.stack([c[0] for c in columns], 1), jnp.stack([c[1] for c in columns], 1))
            return (joint, single), None

        start = (jnp.full(point_tile, -jnp.inf, z.dtype), jnp.zeros(point_tile, z.dtype))
        wide = (jnp.full((point_tile, latent), -jnp.inf, z.dtype), jnp.zeros((point_tile, latent), z.dtype))
        (joint, single), _ = jax.lax.scan(step, (start, wide if marginals else None), components)
        return _finish(joint), _finish(single) if marginals else None

    joint, single = jax.lax.map(one_point_tile, (z_tiles, own_tiles))
    return joint.reshape(-1), None if single is None else single.reshape(-1, latent)


def _pad(array: np.ndarray, multiple: int, value: float) -> np.ndarray:
    """Append rows of ``value`` until axis 0 is a multiple."""
    short = -array.shape[0] % multiple
    return (
        np.pad(array, [(0, short)] + [(0, 0)] * (array.ndim - 1), constant_values=value) if short else array
    )


def log_mixture_density(
    z: Any,
    loc: Any,
    scale: Any,
    *,
    own: Any = None,
    noise: Any = None,
    marginals: bool = False,
    method: Method = "auto",
) -> MixtureDensity:
    r"""Log density of the mixture of N diagonal Gaussians at M points, in constant memory.

    log q_N(z) = log (1/N) Σₙ Π_j N(z_j; μₙⱼ, σₙⱼ²)

    Parameters
    ----------
    z
        Points (M, J).
    loc, scale
        Components (N, J).
    own
        Index (M,) of the component that each point was drawn from; enables the sums over the others.
    noise
        (M, J) with z = loc[own] + scale[own] · noise: the own component is then computed from the noise, free
        of cancellation.
    marginals
        Whether to compute the J one-dimensional mixtures too (J exponentials per pair instead of one).
    method
        ``"direct"``: squared differences in float32, ``"product"``: one matrix product, ``"float64"``: squared
        differences in float64, ``"auto"``: direct.

    Returns
    -------
    MixtureDensity

    Raises
    ------
    ShapeError, NonFiniteError, ScaleError, ArgumentError
        If the arrays do not fit together or cannot be what they claim to be.

    Notes
    -----
    Cost M · N · J multiply-adds and M · N exponentials; memory one tile. −inf means that no component but the
    own one reaches the point within the range of floats.

    References
    ----------
    Hoffman & Johnson (2016), section 3; Chen et al. (2018), appendix C, whose estimators this replaces.
    """
    loc, scale = check_loc_scale(loc, scale)
    z = as_float_array("z", z, ndim=2)
    if z.shape[1] != loc.shape[1]:
        raise ShapeError(f"`z` must be (points, {loc.shape[1]}) like the components; got {z.shape}.")
    if method not in ("auto", "direct", "product", "float64"):
        raise ArgumentError(f"`method` must be 'auto', 'direct', 'product' or 'float64'; got {method!r}.")
    num_points, num_data = z.shape[0], loc.shape[0]
    owner = np.full(num_points, -1, np.int32) if own is None else np.asarray(own, np.int32)
    if owner.shape != (num_points,) or (own is not None and (owner.min() < 0 or owner.max() >= num_data)):
        raise ShapeError(
            f"`own` must hold one component index in [0, {num_data}) per point; got shape {owner.shape} with "
            f"values in [{owner.min()}, {owner.max()}]."
        )
    z_host, loc_host, scale_host = np.asarray(z), np.asarray(loc), np.asarray(scale)
    point_tile = min(POINT_TILE, num_points)
    component_tile = min(COMPONENT_TILE, num_data)
    log_norm = -np.log(scale_host) - np.asarray(0.5 * LOG_2PI, loc_host.dtype)
    joint, single = _others(
        jnp.asarray(_pad(z_host, point_tile, 0.0)),
        jnp.asarray(_pad(owner, point_tile, -1)),
        jnp.asarray(_pad(loc_host, component_tile, 0.0)),
        jnp.asarray(_pad(1.0 / scale_host, component_tile, 0.0)),
        jnp.asarray(_pad(log_norm, component_tile, -np.inf)),
        marginals=marginals,
        point_tile=point_tile,
        component_tile=component_tile,
    )
    others = np.asarray(joint, np.float64)[:num_points]
    others_single = None if single is None else np.asarray(single, np.float64)[:num_points]
    error = 1.4e-5
    if own is None:
        marginal = None if others_single is None else others_single - math.log(num_data)
        return MixtureDensity(others - math.log(num_data), None, marginal, None, "direct", error)
    if noise is None:
        noise_host = (z_host.astype(np.float64) - loc_host[owner]) / scale_host[owner]
    else:
        noise_host = np.asarray(noise, np.float64)
        if noise_host.shape != z_host.shape:
            raise ShapeError(f"`noise` must have the shape of `z`, {z_host.shape}; got {noise_host.shape}.")
    own_single = -0.5 * noise_host**2 - np.log(scale_host[owner].astype(np.float64)) - 0.5 * LOG_2PI
    log_count, log_rest = math.log(num_data), math.log(max(num_data - 1, 1))
    with_own = np.logaddexp(others, own_single.sum(1)) - log_count
    if others_single is None:
        return MixtureDensity(with_own, others - log_rest, None, None, "direct", error)
    with_own_single = np.logaddexp(others_single, own_single) - log_count
    return MixtureDensity(
        with_own, others - log_rest, with_own_single, others_single - log_rest, "direct", error
    )
