"""Speed and rounding of log q_N(z): our kernel beside the forms in use, interleaved in one run.

Run: ``python benchmarks/aggregate.py [--num-data 60000] [--num-points 10000] [--out benchmarks/results]``.
The broadcast forms are timed on fewer points, as they are linear in them, and scaled; the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy.special import logsumexp

from vaeaudit.estimators.mixture_density import log_mixture_density

LOG_2PI = float(np.log(2 * np.pi))


def problem(num_data: int, num_points: int, latent: int) -> tuple[np.ndarray, ...]:
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


def jax_broadcast(z: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The textbook form, jitted: an array (points, components, latents), in chunks of 16 points."""
    parts = [_broadcast_chunk(z[i : i + 16], loc, scale) for i in range(0, len(z), 16)]
    return np.concatenate([np.asarray(p) for p in parts])


def torch_density_matrix(
    z: np.ndarray, loc: np.ndarray, scale: np.ndarray, marginals: bool = False
) -> np.ndarray:
    """Log-density matrix as disentangling-vae and pythae define it: every latent kept, then summed.

    z (points, 1, latents) against loc and log-variance (1, components, latents), in chunks of 16 points.
    ``marginals`` also reduces over components per latent, as those codes go on to do.
    """
    import torch

    loc_t, log_var = torch.from_numpy(loc)[None], torch.from_numpy(2 * np.log(scale))[None]
    out = []
    with torch.no_grad():
        for i in range(0, len(z), 16):
            x = torch.from_numpy(z[i : i + 16])[:, None]
            inv_var = torch.exp(-log_var)
            matrix = -0.5 * (LOG_2PI + log_var) - 0.5 * ((x - loc_t) ** 2 * inv_var)
            out.append(torch.logsumexp(matrix.sum(2), dim=1) - np.log(len(loc)))
            if marginals:
                torch.logsumexp(matrix, dim=1)
    return torch.cat(out).numpy()


def torch_product(z: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Hand-tuned: one centred matrix product per tile of 1,024 × 8,192 and a streaming logsumexp."""
    import torch

    centre = loc.mean(0)
    z_t, loc_t = torch.from_numpy(z - centre), torch.from_numpy(loc - centre)
    inv_var = torch.from_numpy(1.0 / scale**2)
    constant = -0.5 * (loc_t**2 * inv_var).sum(1) - torch.from_numpy(
        np.log(scale).sum(1) + 0.5 * loc.shape[1] * LOG_2PI
    )
    right = torch.cat([-0.5 * inv_var, loc_t * inv_var], dim=1).T.contiguous()
    left = torch.cat([z_t**2, z_t], dim=1)
    out = []
    with torch.no_grad():
        for i in range(0, len(z), 1024):
            running = None
            for j in range(0, len(loc), 8192):
                tile = torch.addmm(constant[j : j + 8192], left[i : i + 1024], right[:, j : j + 8192])
                part = torch.logsumexp(tile, dim=1)
                running = part if running is None else torch.logaddexp(running, part)
            out.append(running - np.log(len(loc)))
    return torch.cat(out).numpy()


def ours(method: str) -> Callable[..., np.ndarray]:
    """Our kernel by one method."""
    return lambda z, loc, scale: log_mixture_density(z, loc, scale, method=method).log_q


def exact(z: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Float64 brute force."""
    loc, scale = loc.astype(np.float64), scale.astype(np.float64)
    norm = np.sum(-np.log(scale) - 0.5 * LOG_2PI, axis=1)
    return np.array(
        [logsumexp(norm - 0.5 * np.sum(((p - loc) / scale) ** 2, 1)) for p in z.astype(np.float64)]
    ) - np.log(len(loc))


def measure(num_data: int, num_points: int, latent: int, repeats: int, slow_points: int) -> list[dict]:
    """Interleave all forms, best of ``repeats``; slow forms on ``slow_points`` points, scaled."""
    z, loc, scale = problem(num_data, num_points, latent)
    forms: dict[str, tuple[Callable[..., np.ndarray], int]] = {
        "ours, direct float32": (ours("direct"), num_points),
        "ours, product float32": (ours("product"), num_points),
        "ours, float64": (ours("float64"), num_points),
        "JAX broadcast": (jax_broadcast, slow_points),
        "PyTorch density matrix": (torch_density_matrix, slow_points),
        "PyTorch product, tuned": (torch_product, num_points),
    }
    best = dict.fromkeys(forms, (np.inf, np.inf))
    for run in range(repeats + 1):  # the first run compiles and is dropped
        for name, (function, count) in forms.items():
            wall, cpu = time.perf_counter(), time.process_time()
            function(z[:count], loc, scale)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if run:
                factor = num_points / count
                best[name] = (min(best[name][0], wall * factor), min(best[name][1], cpu * factor))
    check = slice(0, min(200, slow_points))
    truth = exact(z[check], loc, scale)
    base = best["ours, direct float32"]
    return [
        {
            "form": name,
            "num_data": num_data,
            "num_points": num_points,
            "latent": latent,
            "points_timed": count,
            "seconds": best[name][0],
            "cpu_seconds": best[name][1],
            "times_ours": best[name][0] / base[0],
            "times_ours_cpu": best[name][1] / base[1],
            "max_error_nats": float(np.abs(function(z[check], loc, scale) - truth).max()),
        }
        for name, (function, count) in forms.items()
    ]


def cost_table(repeats: int) -> list[dict]:
    """Seconds of the direct form over N, M and J."""
    rows = []
    for num_data, num_points, latent in (
        (2_000, 2_000, 2), (10_000, 10_000, 2), (10_000, 10_000, 20), (60_000, 10_000, 2), (60_000, 10_000, 50),
    ):  # fmt: skip
        arrays = problem(num_data, num_points, latent)
        seconds = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            ours("direct")(*arrays)
            seconds.append(time.perf_counter() - start)
        rows.append(
            {"num_data": num_data, "num_points": num_points, "latent": latent, "seconds": min(seconds[1:])}
        )
    return rows


def main() -> None:
    """Measure, print the tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-data", type=int, default=60_000)
    parser.add_argument("--num-points", type=int, default=10_000)
    parser.add_argument("--latents", type=int, nargs="+", default=[20, 50])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--slow-points", type=int, default=64)
    parser.add_argument("--largest", action="store_true", help="also N = M = 60,000 at 50 latents")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    rows = [
        row
        for latent in options.latents
        for row in measure(options.num_data, options.num_points, latent, options.repeats, options.slow_points)
    ]
    costs = cost_table(options.repeats)
    if options.largest:
        z, loc, scale = problem(60_000, 60_000, 50)
        start = time.perf_counter()
        found = log_mixture_density(z, loc, scale)
        costs.append(
            {"num_data": 60_000, "num_points": 60_000, "latent": 50, "seconds": time.perf_counter() - start}
        )
        costs[-1]["max_error_nats"] = found.max_error
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3g}".format))
    print(pd.DataFrame(costs).to_string(index=False, float_format="{:.3g}".format))
    options.out.mkdir(parents=True, exist_ok=True)
    record = {
        "benchmark": "aggregate",
        "cpus": os.cpu_count(),
        "load_at_start": load,
        "platform": platform.machine(),
        "jax": jax.__version__,
        "backend": jax.default_backend(),
        "forms": rows,
        "costs": costs,
    }
    (options.out / "aggregate.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
