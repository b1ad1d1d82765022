"""The ways in use to compute log q_N(z) at many points, written anew, and float64 brute force."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

LOG_2PI = math.log(2.0 * math.pi)
Floats = np.ndarray
CHUNK = 16  # points at once in the broadcast forms: all pairs of one chunk stay below 200 MB


def problem(num_data: int, num_points: int, latent: int) -> tuple[Floats, Floats, Floats]:
    """Points drawn from a mixture with scales between 0.05 and 0.5, float32."""
    rng = np.random.default_rng(latent)
    loc = rng.normal(size=(num_data, latent)).astype(np.float32)
    scale = np.exp(rng.uniform(np.log(0.05), np.log(0.5), (num_data, latent))).astype(np.float32)
    own = rng.integers(num_data, size=num_points)
    z = (loc[own] + scale[own] * rng.normal(size=(num_points, latent))).astype(np.float32)
    return z, loc, scale


@jax.jit
def _broadcast_chunk(z: jax.Array, loc: jax.Array, scale: jax.Array) -> jax.Array:
    u = (z[:, None, :] - loc) / scale
    log_q = jnp.sum(-0.5 * u * u - jnp.log(scale) - 0.5 * LOG_2PI, axis=-1)
    return jax.scipy.special.logsumexp(log_q, axis=1) - jnp.log(loc.shape[0])


def jax_broadcast(z: Floats, loc: Floats, scale: Floats) -> Floats:
    """The textbook form, jitted: an array (points, components, latents), in chunks of points."""
    parts = [_broadcast_chunk(z[i : i + CHUNK], loc, scale) for i in range(0, len(z), CHUNK)]
    return np.concatenate([np.asarray(part) for part in parts])


def torch_matrix(form: str, z: Floats, loc: Floats, scale: Floats) -> Floats:
    """A log-density matrix (points, components, latents) as two libraries build it, then summed.

    ``"disentangling-vae"``: normaliser less half the square times an inverse variance from the log variance;
    ``"pythae"``: one factor −½ before the sum of log 2π (a new tensor each time), log variance and square.
    Both go on to logsumexp over the sum of the latents and over each latent; only the former is timed here.
    """
    import torch

    loc_t, log_var = torch.from_numpy(loc)[None], torch.from_numpy(2 * np.log(scale))[None]
    out = []
    with torch.no_grad():
        for i in range(0, len(z), CHUNK):
            x = torch.from_numpy(z[i : i + CHUNK])[:, None]
            if form == "pythae":
                log_two_pi = torch.log(torch.tensor([2 * math.pi]))
                matrix = -0.5 * (log_two_pi + log_var + (x - loc_t) ** 2 * torch.exp(-log_var))
            else:
                matrix = -0.5 * (LOG_2PI + log_var) - 0.5 * ((x - loc_t) ** 2 * torch.exp(-log_var))
            out.append(torch.logsumexp(matrix.sum(2), dim=1) - math.log(len(loc)))
    return torch.cat(out).numpy()


def torch_product(rows: int, columns: int, z: Floats, loc: Floats, scale: Floats) -> Floats:
    """One centred matrix product per tile of ``rows`` points, a running maximum, in-place exponentials.

    Every pass over a tile but the product is in place, and the tile stays in the cache: what one writes by
    hand without a compiler.
    """
    import torch

    centre = loc.mean(0)
    z_t, loc_t = torch.from_numpy(z - centre), torch.from_numpy(loc - centre)
    inv_var = torch.from_numpy(1.0 / scale**2)
    constant = -0.5 * (loc_t**2 * inv_var).sum(1) - torch.from_numpy(
        np.log(scale).sum(1) + 0.5 * loc.shape[1] * LOG_2PI
    )
    right = torch.cat([-0.5 * inv_var, loc_t * inv_var], dim=1).T.contiguous()
    left = torch.cat([z_t**2, z_t], dim=1)
    out = torch.empty(len(z))
    buffer = torch.empty(rows * columns)
    with torch.no_grad():
        for i in range(0, len(z), rows):
            part = left[i : i + rows]
            peak = torch.full((len(part), 1), -math.inf)
            total = torch.zeros(len(part), 1)
            for j in range(0, len(loc), columns):
                width = min(columns, len(loc) - j)
                tile = buffer[: len(part) * width].view(len(part), width)
                torch.addmm(constant[j : j + width], part, right[:, j : j + width], out=tile)
                new = torch.maximum(peak, tile.amax(1, keepdim=True))
                total.mul_(torch.exp(peak - new)).add_(tile.sub_(new).exp_().sum(1, keepdim=True))
                peak = new
            out[i : i + rows] = (peak + total.log() - math.log(len(loc)))[:, 0]
    return out.numpy()


def tuned_torch_product(latent: int, seconds: float) -> tuple[Callable[..., Floats], str]:
    """The product with the fastest of fifteen tile shapes on this machine, searched for ``seconds``."""
    arrays = problem(16_384, 1_024, latent)
    shapes = [(r, c) for r in (64, 128, 256, 512, 1024) for c in (512, 2048, 8192)]
    best = dict.fromkeys(shapes, math.inf)
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        for shape in shapes:
            begin = time.perf_counter()
            torch_product(*shape, *arrays)
            best[shape] = min(best[shape], time.perf_counter() - begin)
    rows, columns = min(best, key=lambda shape: best[shape])
    return partial(torch_product, rows, columns), f"tiles of {rows} × {columns}"


def exact(z: Floats, loc: Floats, scale: Floats) -> Floats:
    """Float64 brute force."""
    loc, scale = loc.astype(np.float64), scale.astype(np.float64)
    norm = np.sum(-np.log(scale) - 0.5 * LOG_2PI, axis=1)
    return np.array(
        [logsumexp(norm - 0.5 * np.sum(((p - loc) / scale) ** 2, 1)) for p in z.astype(np.float64)]
    ) - np.log(len(loc))
