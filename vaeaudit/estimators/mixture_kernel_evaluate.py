"""Evaluate log Σ N(z; μₙ, σₙ) with the compiled kernel, and bound its rounding."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from vaeaudit.core import processes
from vaeaudit.core.gaussian import LOG_2PI
from vaeaudit.estimators.mixture_kernel import BLOCK, Components, fill, next_power, tile_sizes
from vaeaudit.estimators.mixture_kernel_devices import Layout, run_in_threads

Kind = Literal["direct", "product", "float64"]
LOW_MATTERS = 2e-6  # digits of z below float32, in units of σ, from which they are carried along
WORTH_SHARING = 20_000_000  # pairs of point and component from which several processes share them out
TILES_PER_CALL = 64  # at most, per device: bounds what one call copies and returns


@dataclass(frozen=True)
class Problem:
    """Validated inputs in float64 on the host: points (M, J), components (N, J), owners (M,), −1 for none."""

    z: np.ndarray
    loc: np.ndarray
    scale: np.ndarray
    own: np.ndarray

    def at(self, rows: np.ndarray) -> Problem:
        """Some of the points."""
        return Problem(self.z[rows], self.loc, self.scale, self.own[rows])

    def latent(self, j: int) -> Problem:
        """One dimension."""
        one = np.s_[:, j : j + 1]
        return Problem(self.z[one], self.loc[one], self.scale[one], self.own)

    @property
    def log_norm(self) -> np.ndarray:
        """Log of each component's peak, (N,)."""
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


def error_bound(problem: Problem, log_sum: np.ndarray, kind: str) -> np.ndarray:
    """Worst-case rounding of `evaluate`, per point, (M,), in nats."""
    eps = 2.0**-53 if kind == "float64" else 2.0**-24
    norm = problem.log_norm
    latent, num_data = problem.z.shape[1], problem.loc.shape[0]
    bound = direct_error_bound(log_sum - math.log(num_data), norm, latent, eps, 128)
    if kind == "product":
        centre = problem.loc.mean(0)
        bound = bound + product_error_bound(problem.z - centre, problem.loc - centre, problem.scale, eps)
    return bound


def evaluate(problem: Problem, kind: Kind) -> np.ndarray:
    """Log Σ_{n≠own} N(z; μₙ, σₙ), (M,), by one of the three ways, on every core or device there is.

    Notes
    -----
    Several processes share out the points where there are `WORTH_SHARING` pairs or more.
    Memory beside the inputs: the mixture once per device, and per call the points, their sums and one tile
    for each of `TILES_PER_CALL` tiles of points.
    """
    use_low = kind == "direct" and _digits_below_float32(problem) > LOW_MATTERS
    num_points, shares = problem.z.shape[0], processes.num_processes()
    if num_points * problem.loc.shape[0] < WORTH_SHARING or not processes.divided(shares):
        return _evaluate_here(problem, kind, use_low)
    rows = np.array_split(np.arange(num_points), shares)
    parts = processes.spread(
        lambda p: _evaluate_here(problem.at(rows[p]), kind, use_low), shares, "log density of the mixture"
    )
    return np.concatenate(parts)


def _digits_below_float32(problem: Problem) -> float:
    """Largest difference of a point from its float32 form, in units of the smallest σ."""
    low = problem.z - problem.z.astype(np.float32)
    return float(np.abs(low.astype(np.float32)).max() / problem.scale.min())


def _evaluate_here(problem: Problem, kind: Kind, use_low: bool) -> np.ndarray:
    layout = Layout()
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

    def tiled(array: np.ndarray, value: float) -> np.ndarray:
        return fill(array.astype(dtype), padded, value).reshape(-1, rows, *array.shape[1:])

    shares = (
        4 * layout.num_threads * layout.num_devices
    )  # several calls per worker, so that they end together
    share = min(TILES_PER_CALL, next_power(-(-num_points // (width * shares))))
    per_call = share * layout.num_devices
    chunk = width * per_call

    def points(array: np.ndarray, i: int, value: float) -> np.ndarray:
        part = fill(array[i * chunk : (i + 1) * chunk], chunk, value)
        return np.moveaxis(part.reshape(per_call, width, *array.shape[1:]), 1, -1)

    # the setting belongs to a thread: entered in each
    precise = (lambda: jax.enable_x64(True)) if kind == "float64" else contextlib.nullcontext
    with precise():
        components = layout.place(
            Components(
                jnp.asarray(tiled(loc, 0.0)),
                jnp.asarray(tiled(1.0 / problem.scale, 0.0)),
                jnp.asarray(tiled(problem.log_norm, -np.inf)),
                jnp.asarray(tiles, jnp.int32),
            )
        )

    def call(i: int) -> np.ndarray:
        with precise():
            return layout.sums(
                points(high, i, 0.0),
                points(low, i, 0.0) if use_low else None,
                points(problem.own, i, -1),
                components,
                kind == "product",
            ).reshape(-1)

    calls = run_in_threads(call, -(-num_points // chunk), layout.num_threads)
    return np.concatenate(calls)[:num_points]
