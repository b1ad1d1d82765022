"""Find the modes of p(x, z) in up to three latents: a coarse grid, then a pattern search from its peaks."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

COARSE = {1: 257, 2: 49, 3: 17}  # nodes per axis over [−RADIUS, RADIUS]
RADIUS = 6.0  # standard deviations of the prior
STARTS = 8  # peaks of the coarse grid that are followed
STEPS = 24  # rounds of the pattern search; the step halves when the centre is best

LogJoint = Callable[[Array], Array]  # z (sample, batch, latent) → (sample, batch)


def find_modes(
    log_joint: LogJoint, loc: np.ndarray, scale: np.ndarray, *, depth: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Highest point found, its log density, and the box that holds every peak within ``depth`` of it.

    Parameters
    ----------
    log_joint
        log p(x, z) for z (sample, batch, latent).
    loc, scale
        The encoder's output (batch, latent): one more start, and the width of its first step.
    depth
        Peaks lower than the highest by more than this (nats) are dropped.

    Returns
    -------
    tuple
        mode (batch, latent), peak (batch,), lower and upper corners (batch, latent), widened by one
        step of the coarse grid or the encoder's scale, whichever is smaller. Non-finite values count as −∞.

    Notes
    -----
    Derivative-free, so it works for decoders that run outside JAX and at the kinks of ReLU networks.
    """
    batch, latent_dim = loc.shape
    start, spacing = _starts(log_joint, loc, scale)
    step = np.broadcast_to(spacing, start.shape[:2]).copy()
    step[0] = np.minimum(np.clip(scale.mean(axis=1), 1e-3, None), spacing)
    offsets = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=latent_dim)))
    here = start
    best = np.full(start.shape[:2], -np.inf)
    for _ in range(STEPS):
        trial = here[:, None] + offsets[None, :, None, :] * step[:, None, :, None]
        values = _finite(log_joint(jnp.asarray(trial.reshape(-1, batch, latent_dim), jnp.float32)))
        values = values.reshape(here.shape[0], len(offsets), batch)
        which = values.argmax(axis=1)
        best = np.maximum(best, np.take_along_axis(values, which[:, None], axis=1)[:, 0])
        moved = np.any(offsets[which] != 0.0, axis=-1)
        here = here + offsets[which] * step[..., None]
        step = np.where(moved, step, step * 0.5)
    top = best.argmax(axis=0)
    mode = np.take_along_axis(here, top[None, :, None], axis=0)[0]
    peak = best.max(axis=0)
    keep = (best > peak - depth)[..., None]
    margin = np.minimum(spacing, np.maximum(4 * scale, 1e-3))
    low = np.where(keep, here, np.inf).min(axis=0) - margin
    high = np.where(keep, here, -np.inf).max(axis=0) + margin
    low = np.where(np.isfinite(low), low, mode - margin)
    high = np.where(np.isfinite(high), high, mode + margin)
    return mode, peak, low, high


def _starts(log_joint: LogJoint, loc: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, float]:
    """Encoder mean first, then the highest local maxima of a coarse grid over the prior."""
    batch, latent_dim = loc.shape
    nodes = COARSE[latent_dim]
    axis = np.linspace(-RADIUS, RADIUS, nodes)
    mesh = np.stack(np.meshgrid(*[axis] * latent_dim, indexing="ij"), axis=-1).reshape(-1, latent_dim)
    z = jnp.broadcast_to(jnp.asarray(mesh, jnp.float32)[:, None, :], (len(mesh), batch, latent_dim))
    size = min(len(mesh), max(1, (1 << 16) // batch))
    z = jnp.concatenate([z, z[: -len(mesh) % size]])
    parts = [np.asarray(log_joint(z[i : i + size])) for i in range(0, z.shape[0], size)]
    values = _finite(np.concatenate(parts))[: len(mesh)]
    grid = values.T.reshape(batch, *[nodes] * latent_dim)
    peak = np.ones(grid.shape, dtype=bool)
    for a in range(1, latent_dim + 1):
        for shift in (-1, 1):
            neighbour = np.roll(grid, shift, axis=a)
            edge = [slice(None)] * grid.ndim
            edge[a] = slice(0, 1) if shift == 1 else slice(-1, None)
            neighbour[tuple(edge)] = -np.inf
            peak &= grid >= neighbour
    ranked = np.where(peak, grid, -np.inf).reshape(batch, -1)
    order = np.argsort(-ranked, axis=1)[:, :STARTS]
    return np.concatenate([loc[None], mesh[order].transpose(1, 0, 2)]), float(axis[1] - axis[0])


def _finite(values: object) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(array), array, -np.inf)
