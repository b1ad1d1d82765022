"""log p(x) by quadrature for at most three latents: a grid per datum, zoomed onto the posterior's mass."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaeaudit.core.arrays import KeyLike, as_float_array, as_key, check_count
from vaeaudit.core.errors import ArgumentError
from vaeaudit.estimators.encoding import check_model, encode_all
from vaeaudit.estimators.evidence_result import LogEvidence
from vaeaudit.estimators.importance import batches
from vaeaudit.estimators.mode_search import find_modes
from vaeaudit.estimators.shares import Rows, evidence_by_batch
from vaeaudit.models.vae import AbstractVAE

DEPTH = 28.0  # nats below the peak that the box reaches: e^−28 of the density
TOLERANCE = 0.01  # largest convergence error (nats) that is vouched for
NODES = {1: (128, 512, 2048), 2: (48, 96, 192, 384), 3: (32, 64, 96)}  # per axis, escalated
LOCATE = {1: 64, 2: 16, 3: 12}  # per axis, while the box is being placed
ZOOMS = 12
SAFETY = 3.0  # at a kink the error has reached 2.3 times the largest distance between lattices
ROWS = 1 << 16  # grid points × data per call


@dataclass(frozen=True)
class Box:
    """A rotated box per datum: z = centre + frame u, u in [lower, upper]."""

    centre: np.ndarray  # (batch, latent)
    frame: np.ndarray  # (batch, latent, latent)
    lower: np.ndarray  # (batch, latent)
    upper: np.ndarray  # (batch, latent)

    def rows(self, index: np.ndarray) -> Box:
        """The boxes of some of the data."""
        return Box(self.centre[index], self.frame[index], self.lower[index], self.upper[index])


@eqx.filter_jit
def _log_joint(model: AbstractVAE, x: Array, z: Array) -> Array:
    return model.log_likelihood(x, z) + model.log_prior(z)


@eqx.filter_jit
def _on_grid(model: AbstractVAE, x: Array, box: tuple[Array, ...], nodes: int) -> Array:
    """Log p(x, z) on the box's grid, (nodes^latent, batch)."""
    centre, frame, lower, upper = box
    latent_dim = centre.shape[-1]
    unit = jnp.linspace(0.0, 1.0, nodes)
    mesh = jnp.stack(jnp.meshgrid(*[unit] * latent_dim, indexing="ij"), axis=-1).reshape(-1, latent_dim)

    def some(part: Array) -> Array:  # (points, latent)
        u = lower + part[:, None, :] * (upper - lower)
        z = centre + jnp.einsum("bij,sbj->sbi", frame, u)
        return model.log_likelihood(x, z) + model.log_prior(z)

    total = mesh.shape[0]
    size = min(total, max(ROWS // x.shape[0], 1))
    pad = -total % size
    parts = jnp.concatenate([mesh, jnp.zeros((pad, latent_dim))]).reshape(-1, size, latent_dim)
    out = jax.lax.map(some, parts)
    return out.reshape(total + pad, x.shape[0])[:total]


def _evaluate(model: AbstractVAE, x: Array, box: Box, nodes: int) -> np.ndarray:
    """Log p(x, z) on the grid as float64 (batch, nodes, …, nodes)."""
    arrays = tuple(jnp.asarray(a, jnp.float32) for a in (box.centre, box.frame, box.lower, box.upper))
    values = np.asarray(_on_grid(model, x, arrays, nodes), dtype=np.float64)
    return values.T.reshape(-1, *[nodes] * box.centre.shape[1])


def _zoom(box: Box, grid: np.ndarray, peak: np.ndarray) -> tuple[Box, np.ndarray]:
    """Shrink each box to where the density is above peak − DEPTH, or grow it where that touches a side."""
    batch, nodes, latent_dim = grid.shape[0], grid.shape[1], grid.ndim - 1
    top = np.maximum(peak, grid.reshape(batch, -1).max(axis=1))
    inside = grid > (top - DEPTH).reshape(batch, *[1] * latent_dim)
    lower, upper = box.lower.copy(), box.upper.copy()
    touched = np.zeros(batch, dtype=bool)
    for axis in range(latent_dim):
        others = tuple(a + 1 for a in range(latent_dim) if a != axis)
        seen = inside.any(axis=others)  # (batch, nodes)
        some = seen.any(axis=1)
        first = np.where(some, seen.argmax(axis=1), nodes)
        last = np.where(some, nodes - 1 - seen[:, ::-1].argmax(axis=1), -1)
        step = (box.upper[:, axis] - box.lower[:, axis]) / (nodes - 1)
        # the mode (u = 0) lies in the box even where no grid point comes near its height
        low = np.minimum(box.lower[:, axis] + (first - 1) * step, -step)
        high = np.maximum(box.lower[:, axis] + (last + 1) * step, step)
        grow = max(8, nodes // 4) * step
        lower[:, axis] = np.where(first == 0, box.lower[:, axis] - grow, low)
        upper[:, axis] = np.where(last == nodes - 1, box.upper[:, axis] + grow, high)
        touched |= (first == 0) | (last == nodes - 1)
    change = np.abs((upper - lower) / (box.upper - box.lower) - 1.0).max(axis=1)
    change = np.where(touched, np.inf, change)  # mass beyond a side: never settled
    return Box(box.centre, box.frame, lower, upper), change


def _integrate(grid: np.ndarray, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """Log of the rectangle-rule integral, and thrice its largest distance from those on every second node.

    The 2^J lattices of every second node differ by their offset; a kink that one of them happens to
    integrate well shows in the others.
    """

    def log_sum(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(values.shape[0], -1)
        top = flat.max(axis=1)
        return top + np.log(np.exp(flat - top[:, None]).sum(axis=1))

    latent_dim, nodes = grid.ndim - 1, grid.shape[1]
    log_cell = np.log((box.upper - box.lower) / (nodes - 1)).sum(axis=1) + np.linalg.slogdet(box.frame)[1]
    fine = log_sum(grid)
    error = np.zeros(grid.shape[0])
    for offset in itertools.product((0, 1), repeat=latent_dim):
        lattice = (slice(None), *(slice(o, None, 2) for o in offset))
        error = np.maximum(error, np.abs(log_sum(grid[lattice]) + latent_dim * np.log(2.0) - fine))
    return fine + log_cell, SAFETY * error


def _frame_from(grid: np.ndarray, box: Box) -> np.ndarray:
    """Cholesky factor of the posterior covariance seen on the grid, (batch, latent, latent), in z."""
    batch, nodes, latent_dim = grid.shape[0], grid.shape[1], grid.ndim - 1
    flat = grid.reshape(batch, -1)
    w = np.exp(flat - flat.max(axis=1, keepdims=True))
    w /= w.sum(axis=1, keepdims=True)
    unit = np.stack(np.meshgrid(*[np.linspace(0, 1, nodes)] * latent_dim, indexing="ij"), -1)
    unit = unit.reshape(-1, latent_dim)
    mean = w @ unit
    second = np.einsum("bp,pi,pj->bij", w, unit, unit) - np.einsum("bi,bj->bij", mean, mean)
    second += np.eye(latent_dim) / (3 * nodes**2)  # nothing finer than a third of a cell is seen
    width = box.upper - box.lower
    factor = np.linalg.cholesky(second * width[:, :, None] * width[:, None, :])
    return box.frame @ factor


def _fit_box(model: AbstractVAE, x: Array, box: Box, peak: np.ndarray, nodes: int) -> tuple[Box, np.ndarray]:
    for _ in range(ZOOMS):
        grid = _evaluate(model, x, box, nodes)
        box, change = _zoom(box, grid, peak)
        if change.max(initial=0.0) < 0.15:
            break
    return box, _evaluate(model, x, box, nodes)


def locate_mass(model: AbstractVAE, x: Array, loc: np.ndarray, scale: np.ndarray) -> tuple[Box, np.ndarray]:
    """A box per datum that holds the posterior's mass, aligned with its covariance, and the peak."""
    latent_dim = model.latent_dim
    nodes = LOCATE[latent_dim]
    mode, peak, low, high = find_modes(lambda z: _log_joint(model, x, z), loc, scale, depth=DEPTH)
    eye = np.broadcast_to(np.eye(latent_dim), (len(mode), latent_dim, latent_dim))
    box = Box(mode, eye, low - mode, high - mode)
    box, grid = _fit_box(model, x, box, peak, nodes)
    frame = _frame_from(grid, box)
    # the rotated box must hold the old one's mass: start from 10 standard deviations and zoom again
    reach = np.full_like(mode, 10.0)
    box = Box(mode, frame, -reach, reach)
    return _fit_box(model, x, box, peak, nodes)[0], peak


def quadrature_log_evidence(
    model: AbstractVAE, x: Any, *, tolerance: float = TOLERANCE, batch_size: int = 64
) -> LogEvidence:
    r"""Log p(x) by the rectangle rule on a grid per datum, at most 3 latents (nats).

    log p(x) ≈ log Σ_i p(x, z_i) h₁⋯h_J |L|

    Parameters
    ----------
    model
        The VAE; ``latent_dim`` ≤ 3.
    x
        Data (batch, *event).
    tolerance
        Convergence error (nats) up to which a datum is `reliable`.
    batch_size
        Data per call.

    Returns
    -------
    LogEvidence
        ``se`` is zero; ``bias_bound`` is the convergence error (thrice the largest distance from the
        rules on every second node, an overestimate for smooth integrands) plus float32 rounding; the interval is
        value ± it.
        ``num_samples`` counts grid points.

    Raises
    ------
    ArgumentError
        For more than 3 latents.

    Notes
    -----
    The box follows the posterior mode: a coarse grid over the prior and the encoder's mean start a
    pattern search; boxes then shrink or grow until they end 28 nats below the peak, are aligned with
    the posterior's covariance, and nodes are doubled for the data whose error exceeds ``tolerance``.
    For a smooth integrand that decays inside the box the rule converges faster than any power of the
    spacing. A mode narrower than the search's starting grid and away from the encoder's mean can be
    missed. NaN: the decoder returned NaN at the mode; the datum is flagged.

    References
    ----------
    Trefethen & Weideman (2014), The exponentially convergent trapezoidal rule, theorem 3.2.
    """
    check_model(model)
    latent_dim = model.latent_dim
    if latent_dim > 3:
        raise ArgumentError(
            f"quadrature needs at most 3 latents; the model has {latent_dim}. A grid grows as "
            "nodes^latents: use method='auto', 'iw' or 'ais'."
        )
    check_count("batch_size", batch_size)
    host = np.asarray(as_float_array("x", x))

    def of_batch(number: int, rows: Rows) -> LogEvidence:
        index, real = rows
        xb = jnp.asarray(host[index])
        return _one_batch(model, xb, *encode_all(model, xb), real, tolerance)

    return evidence_by_batch(of_batch, list(batches(host.shape[0], batch_size)), "quadrature")


def _one_batch(
    model: AbstractVAE, x: Array, loc: np.ndarray, scale: np.ndarray, real: int, tolerance: float
) -> LogEvidence:
    latent_dim = model.latent_dim
    batch = x.shape[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        box, peak = locate_mass(model, x, loc, scale)
        value = np.full(batch, np.nan)
        error = np.full(batch, np.inf)
        cost = np.zeros(batch, dtype=np.int64)
        todo = np.arange(batch)
        for nodes in NODES[latent_dim]:
            todo = np.flatnonzero(~(error <= tolerance / 4) & np.isfinite(peak))
            if todo.size == 0:
                break
            padded = np.resize(todo, batch if nodes == NODES[latent_dim][0] else min(8, batch))
            for first in range(0, todo.size, padded.size):
                rows = np.resize(todo[first : first + padded.size], padded.size)
                part = box.rows(rows)
                grid = _evaluate(model, x[rows], part, nodes)
                value[rows], error[rows] = _integrate(grid, part)
            cost[todo] += nodes**latent_dim
    rounding = 4 * np.finfo(np.float32).eps * np.maximum(np.abs(peak), 1.0)
    bound = error + rounding
    reason = np.full(batch, "", dtype=object)
    reason[~(bound <= tolerance)] = "quadrature did not converge"
    reason[~np.isfinite(value)] = "the model returned NaN or infinity"
    value = np.where(np.isfinite(value), value, np.nan)
    ok = reason == ""
    blank = np.full(batch, np.nan)
    result = LogEvidence(
        value=value,
        se=np.where(np.isnan(value), np.nan, 0.0),
        lower=np.where(ok, value - bound, np.nan),
        upper=np.where(ok, value + bound, np.nan),
        pareto_k=blank,
        ess=blank,
        max_weight_share=blank,
        bias=np.zeros(batch),
        bias_bound=bound,
        residual_bound=bound,
        reliable=ok,
        method=np.full(batch, "quadrature", dtype=object),
        num_samples=cost,
        reason=reason,
    )
    return result.rows(np.arange(real))


def posterior_draws(
    model: AbstractVAE, x: Any, num_samples: int, *, rng_key: KeyLike = 0, batch_size: int = 64
) -> np.ndarray:
    """Draws from p(z|x) on the quadrature grid, uniform within a cell: (sample, batch, latent).

    Notes
    -----
    Exact up to the density's variation within one cell (a tenth of a standard deviation or less); at
    most 3 latents. Each draw depends on (``rng_key``, datum's batch).
    """
    check_model(model)
    if model.latent_dim > 3:
        raise ArgumentError(f"grid draws need at most 3 latents; the model has {model.latent_dim}.")
    check_count("num_samples", num_samples)
    x = as_float_array("x", x)
    loc, scale = encode_all(model, x)
    seed = np.asarray(jax.random.key_data(as_key(rng_key))).ravel()
    random = np.random.default_rng([int(s) for s in seed])
    batch = min(batch_size, x.shape[0])
    nodes = NODES[model.latent_dim][min(1, len(NODES[model.latent_dim]) - 1)]
    out = []
    for start in range(0, x.shape[0], batch):
        index = np.minimum(np.arange(start, start + batch), x.shape[0] - 1)
        box, _ = locate_mass(model, x[index], loc[index], scale[index])
        grid = _evaluate(model, x[index], box, nodes)
        out.append(_draw(grid, box, num_samples, random)[:, : min(batch, x.shape[0] - start)])
    return np.concatenate(out, axis=1)


def _draw(grid: np.ndarray, box: Box, num_samples: int, random: np.random.Generator) -> np.ndarray:
    batch, nodes, latent_dim = grid.shape[0], grid.shape[1], grid.ndim - 1
    out = np.empty((num_samples, batch, latent_dim))
    for b in range(batch):
        flat = grid[b].ravel()
        cumulative = np.cumsum(np.exp(flat - flat.max()))
        which = np.searchsorted(cumulative, random.random(num_samples) * cumulative[-1])
        cell = np.stack(np.unravel_index(which, [nodes] * latent_dim), axis=-1)
        cell = cell + random.random(cell.shape) - 0.5
        u = box.lower[b] + cell / (nodes - 1) * (box.upper[b] - box.lower[b])
        out[:, b] = box.centre[b] + u @ box.frame[b].T
    return out
