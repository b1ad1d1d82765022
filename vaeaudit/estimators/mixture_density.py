r"""Log density of a Gaussian mixture q_N(z) = (1/N) Σₙ N(z; μₙ, diag σₙ²) at many points.

The kernel under every quantity of the aggregate posterior: M points against N components with a streaming
logsumexp over tiles, so that memory does not grow with M · N, and a stated bound on its rounding.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from vaeaudit.core.arrays import check_finite, check_loc_scale
from vaeaudit.core.errors import ArgumentError, DtypeError, ShapeError
from vaeaudit.core.gaussian import LOG_2PI
from vaeaudit.estimators.mixture_kernel import (
    BLOCK,
    Components,
    fill,
    log_sums,
    next_power,
    run_in_threads,
    tile_sizes,
    workers,
)

Method = Literal["auto", "direct", "product", "float64"]
Kind = Literal["direct", "product", "float64"]
METHODS = ("auto", "direct", "product", "float64")
TOLERANCE = 1e-3  # nats of rounding, in the worst case, that `auto` lets pass
LOW_MATTERS = 2e-6  # digits of z below float32, in units of σ, from which they are carried along
NEGLIGIBLE = 40.0  # nats below the own component at which the others no longer count


@dataclass(frozen=True)
class MixtureDensity:
    """Log density of the mixture at M points (nats, float64 on the host).

    Attributes
    ----------
    log_q
        log (1/N) Σₙ q(z|xₙ), (M,), own component included.
    log_q_others
        log 1/(N−1) Σ_{n≠own} q(z|xₙ), (M,); None where no own component was named.
    log_marginals, log_marginals_others
        The same per dimension, (M, J); None where not asked for.
    method
        How it was computed: ``"direct"``, ``"product"``, ``"float64"``, or ``"direct+float64"`` where some
        points were computed again in float64.
    max_error
        Bound on the rounding error of every element of ``log_q`` (nats).
    max_error_others
        The same for ``log_q_others``; large where a point lies so far from every other component that its
        value is, say, −10⁶ nats and six digits of it are kept.
    max_error_marginals
        Bound on the rounding error of a row's sum over ``log_marginals``; NaN where not asked for.
    """

    log_q: np.ndarray
    log_q_others: np.ndarray | None
    log_marginals: np.ndarray | None
    log_marginals_others: np.ndarray | None
    method: str
    max_error: float
    max_error_others: float
    max_error_marginals: float = math.nan


@dataclass(frozen=True)
class _Problem:
    """Validated inputs in float64 on the host."""

    z: np.ndarray
    loc: np.ndarray
    scale: np.ndarray
    own: np.ndarray  # −1: none

    def at(self, rows: np.ndarray) -> _Problem:
        return _Problem(self.z[rows], self.loc, self.scale, self.own[rows])

    def latent(self, j: int) -> _Problem:
        one = np.s_[:, j : j + 1]
        return _Problem(self.z[one], self.loc[one], self.scale[one], self.own)

    @property
    def log_norm(self) -> np.ndarray:
        return np.sum(-np.log(self.scale) - 0.5 * LOG_2PI, axis=1)


def product_error_bound(z: np.ndarray, loc: np.ndarray, scale: np.ndarray, eps: float) -> float:
    r"""Worst-case rounding of the bilinear form, in nats, from one pass over the components.

    γ/2 · maxₙ Σ_j (|z_j|max + |μₙⱼ|)²/σₙⱼ²,   γ = (2J + 6) eps

    Notes
    -----
    First order in eps, for sums in any order. The terms cancel where z is near μ: their size, not that of the
    result, decides the error.

    References
    ----------
    Higham (2002), Accuracy and Stability of Numerical Algorithms, section 3.1.
    """
    reach = np.abs(z).max(0) + np.abs(loc)
    size = np.sum((reach / scale) ** 2, axis=1).max()
    return float(0.5 * (2 * z.shape[1] + 6) * eps * size)


def direct_error_bound(
    log_q: np.ndarray, log_norm: np.ndarray, latent: int, eps: float, rows: int
) -> np.ndarray:
    r"""Worst-case rounding of the direct form, per point, from its result.

    With responsibilities rₙ, E_r[½Qₙ] ≤ maxₙ normₙ − log q_N(z), for the entropy of r is at most log N.

    Notes
    -----
    Each squared difference carries at most seven roundings, their sum BLOCK + J/BLOCK more; normₙ, the
    difference and the result one each relative to their size; the sum over a tile one per row.
    """
    depth = 7 + min(latent, BLOCK) + -(-latent // BLOCK)
    top = float(log_norm.max())
    finite = np.where(np.isfinite(log_q), log_q, top)
    return eps * (
        depth * np.maximum(top - finite, 0.0) + np.abs(log_norm).max() + 2 * np.abs(finite) + rows + 16
    )


def _evaluate(problem: _Problem, kind: Kind) -> np.ndarray:
    """Log Σ_{n≠own} N(z; μₙ, σₙ), (M,), by one of the three ways."""
    dtype: Any = np.float64 if kind == "float64" else np.float32
    num_points, latent = problem.z.shape
    num_data = problem.loc.shape[0]
    width, rows = tile_sizes(latent, num_points, num_data, jax.default_backend())
    tiles = -(-num_data // rows)
    padded = next_power(tiles) * rows
    z, loc = problem.z, problem.loc
    if kind == "product":  # smaller terms cancel less
        centre = loc.mean(0)
        z, loc = z - centre, loc - centre
    high = z.astype(dtype)
    low = (z - high).astype(dtype)
    use_low = kind == "direct" and float(np.abs(low).max() / problem.scale.min()) > LOW_MATTERS

    def tiled(array: np.ndarray, value: float) -> np.ndarray:
        return fill(array.astype(dtype), padded, value).reshape(-1, rows, *array.shape[1:])

    per_call = max(1, min(64, next_power(-(-num_points // (width * 4 * workers())))))
    chunk = width * per_call

    def points(array: np.ndarray, i: int, value: float) -> np.ndarray:
        part = fill(array[i * chunk : (i + 1) * chunk], chunk, value)
        return np.moveaxis(part.reshape(per_call, width, *array.shape[1:]), 1, -1)

    # the setting belongs to a thread: entered in each
    precise = (lambda: jax.enable_x64(True)) if kind == "float64" else contextlib.nullcontext
    with precise():
        components = Components(
            jnp.asarray(tiled(loc, 0.0)),
            jnp.asarray(tiled(1.0 / problem.scale, 0.0)),
            jnp.asarray(tiled(problem.log_norm, -np.inf)),
            jnp.asarray(tiles, jnp.int32),
        )

    def call(i: int) -> np.ndarray:
        with precise():
            sums = log_sums(
                jnp.asarray(points(high, i, 0.0)),
                jnp.asarray(points(low, i, 0.0)) if use_low else None,
                jnp.asarray(points(problem.own, i, -1)),
                components,
                product=kind == "product",
            )
            return np.asarray(sums, np.float64).reshape(-1)

    return np.concatenate(run_in_threads(call, -(-num_points // chunk)))[:num_points]


def _marginals(problem: _Problem, own_single: np.ndarray | None, kind: Kind) -> tuple[np.ndarray, float]:
    """The J one-dimensional mixtures, (M, J): J runs of one compiled program; and their rounding."""
    kind = "direct" if kind == "product" else kind
    columns, error = [], 0.0
    for j in range(problem.z.shape[1]):
        one = problem.latent(j)
        columns.append(_evaluate(one, kind))
        bound = _error_bound(one, columns[-1], kind)
        if own_single is not None:  # the others' error enters with their share
            bound = bound * np.exp(columns[-1] - np.logaddexp(columns[-1], own_single[:, j]))
        error += float(bound.max())
    return np.stack(columns, axis=1), error


def _choose(problem: _Problem, method: Method, tolerance: float) -> Kind:
    """For `auto`: the product on an accelerator where its bound allows, else the direct form."""
    if method != "auto":
        return method
    if jax.default_backend() == "cpu" or problem.z.shape[1] < 16:
        return "direct"
    centre = problem.loc.mean(0)
    bound = product_error_bound(problem.z - centre, problem.loc - centre, problem.scale, 2.0**-24)
    return "product" if bound <= tolerance else "direct"


def _host(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype == np.float16 or not np.issubdtype(array.dtype, np.floating):
        raise DtypeError(f"`{name}` must be float32 or float64; got {array.dtype}.")
    check_finite(name, array)
    return array.astype(np.float64)


def log_mixture_density(
    z: Any,
    loc: Any,
    scale: Any,
    *,
    own: Any = None,
    noise: Any = None,
    marginals: bool = False,
    method: Method = "auto",
    tolerance: float = TOLERANCE,
) -> MixtureDensity:
    r"""Log density of the mixture of N diagonal Gaussians at M points, in constant memory.

    log q_N(z) = log (1/N) Σₙ Π_j N(z_j; μₙⱼ, σₙⱼ²)

    Parameters
    ----------
    z
        Points (M, J); of float64 points the digits below float32 are kept.
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
        ``"direct"``: squared differences in float32. ``"product"``: one matrix product in float32, which
        loses digits by cancellation. ``"float64"``: squared differences in float64. ``"auto"``: the direct
        form, or the product on an accelerator where `product_error_bound` allows it; points whose bound
        exceeds ``tolerance`` are computed again in float64.
    tolerance
        Worst-case rounding, in nats, that ``"auto"`` lets pass.

    Returns
    -------
    MixtureDensity

    Raises
    ------
    ShapeError, NonFiniteError, ScaleError, ArgumentError, DtypeError
        If the arrays do not fit together or cannot be what they claim to be.

    Notes
    -----
    Deterministic; no bias. Cost: M · N · J multiply-adds and M · N exponentials (J times as many with
    ``marginals``) on all cores; memory: the inputs and one tile per core. ``max_error`` is a worst-case
    bound, first order in the unit roundoff; measured errors are about a tenth of it. −inf in
    ``log_q_others`` means that there is no other component, or none within the range of floats.

    References
    ----------
    Hoffman & Johnson (2016), section 3; Chen et al. (2018), appendix C, whose estimators this replaces.

    Examples
    --------
    >>> import numpy as np
    >>> loc, scale = np.zeros((3, 1)), np.ones((3, 1))
    >>> round(float(log_mixture_density(np.zeros((1, 1)), loc, scale).log_q[0]), 4)
    -0.9189
    """
    loc, scale = _host("loc", loc), _host("scale", scale)
    check_loc_scale(loc, scale)
    z = _host("z", z)
    if z.ndim != 2 or z.shape[0] == 0 or z.shape[1] != loc.shape[1]:
        raise ShapeError(f"`z` must be (points, {loc.shape[1]}) like the components; got {z.shape}.")
    if method not in METHODS:
        raise ArgumentError(f"`method` must be one of {METHODS}; got {method!r}.")
    num_points, num_data = z.shape[0], loc.shape[0]
    owner = np.full(num_points, -1, np.int32) if own is None else np.asarray(own, np.int32)
    if owner.shape != (num_points,) or (own is not None and (owner.min() < 0 or owner.max() >= num_data)):
        raise ShapeError(
            f"`own` must hold one component index in [0, {num_data}) per point; got shape {owner.shape}"
            + (f" with values in [{owner.min()}, {owner.max()}]." if owner.size else ".")
        )
    problem = _Problem(z, loc, scale, owner)
    own_single = None if own is None else _own_by_latent(problem, noise)
    kind = _choose(problem, method, tolerance)
    others = _evaluate(problem, kind)
    others_single, single_error = _marginals(problem, own_single, kind) if marginals else (None, math.nan)
    label: str = kind
    error = _error_bound(problem, others, kind)
    if method == "auto" and kind == "direct":
        matters = True if own_single is None else others > own_single.sum(1) - NEGLIGIBLE
        if np.any(redo := (error > tolerance) & matters):
            rows = np.flatnonzero(redo)
            others[rows] = _evaluate(problem.at(rows), "float64")
            error[rows] = _error_bound(problem.at(rows), others[rows], "float64")
            label = "direct+float64"
    density = _assemble(num_data, others, others_single, own_single, label, error)
    return replace(density, max_error_marginals=single_error)


def _own_by_latent(problem: _Problem, noise: Any) -> np.ndarray:
    """Log q(z_j|x_own), (M, J), from the noise where it is given."""
    loc, scale = problem.loc[problem.own], problem.scale[problem.own]
    if noise is None:
        u = (problem.z - loc) / scale
    else:
        u = _host("noise", noise)
        if u.shape != problem.z.shape:
            raise ShapeError(f"`noise` must have the shape of `z`, {problem.z.shape}; got {u.shape}.")
    return -0.5 * u**2 - np.log(scale) - 0.5 * LOG_2PI


def _error_bound(problem: _Problem, log_sum: np.ndarray, kind: str) -> np.ndarray:
    eps = 2.0**-53 if kind == "float64" else 2.0**-24
    norm = problem.log_norm
    latent, num_data = problem.z.shape[1], problem.loc.shape[0]
    bound = direct_error_bound(log_sum - math.log(num_data), norm, latent, eps, 128)
    if kind == "product":
        centre = problem.loc.mean(0)
        bound = bound + product_error_bound(problem.z - centre, problem.loc - centre, problem.scale, eps)
    return bound


def _assemble(
    num_data: int,
    others: np.ndarray,
    others_single: np.ndarray | None,
    own_single: np.ndarray | None,
    method: str,
    error: np.ndarray,
) -> MixtureDensity:
    """Put the own component back in, and divide by N or by N − 1."""
    log_count, log_rest = math.log(num_data), math.log(max(num_data - 1, 1))
    worst = float(error.max())
    if own_single is None:
        marginal = None if others_single is None else others_single - log_count
        return MixtureDensity(others - log_count, None, marginal, None, method, worst, worst)
    own = own_single.sum(1)
    with_own = np.logaddexp(others, own)
    share = np.exp(others - with_own)  # of the other components: their error enters with this weight
    worst_with_own = float(np.max(share * error + 2.0**-50 * (np.abs(with_own) + 8)))
    single = rest = None
    if others_single is not None:
        single, rest = np.logaddexp(others_single, own_single) - log_count, others_single - log_rest
    return MixtureDensity(
        with_own - log_count, others - log_rest, single, rest, method, worst_with_own, worst
    )
