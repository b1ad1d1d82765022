"""The paths of training: 0.1·KL at one decoder variance, and the ELBO at a tenth of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from _kl_scale_model import DATA, VARIANCE, build
from _networks import weight_vector

import vaeaudit as va
from vaeaudit import CellResult

ADAM_RATE, SGD_RATE = 1e-3, 2e-3
OPTIMISERS = {"adam": optax.scale_by_adam(), "sgd": optax.identity()}


@eqx.filter_jit
def _steps(
    model: Any, state: Any, objective: Any, x: Any, keys: Any, batch_size: int, optimiser: Any, rate: Any
) -> Any:
    """As many steps as there are keys; a key fixes batch and noise."""
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def loss(params: Any, batch: Any, key: Any) -> Any:
        terms = va.objectives.compute_terms(eqx.combine(params, static), batch, key)
        return -jnp.mean(objective(terms))

    def step(carry: Any, key: Any) -> tuple[Any, None]:
        params, state = carry
        pick, noise = jax.random.split(key)
        batch = x[jax.random.randint(pick, (batch_size,), 0, x.shape[0])]
        updates, state = optimiser.update(jax.grad(loss)(params, batch, noise), state)
        params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
        return (params, state), None

    (params, state), _ = jax.lax.scan(step, (params, state), keys)
    return eqx.combine(params, static), state


def _run(start: Any, objective: str, x: Any, kind: str, rate: float, seed: int, config: Any) -> list[Any]:
    """Models at each of the path's checkpoints."""
    optimiser = OPTIMISERS[kind]
    state = optimiser.init(eqx.filter(start, eqx.is_inexact_array))
    keys = jax.random.split(jax.random.key(seed), max(config["path_steps"]))
    chosen, size = va.objectives.parse(objective), config["batch_size"]
    model, out = start, []
    chunk = math.gcd(*config["path_steps"])  # one compiled length for all
    for done in range(0, len(keys), chunk):
        part = keys[done : done + chunk]
        model, state = _steps(model, state, chosen, x, part, size, optimiser, jnp.float32(rate))
        if done + chunk in config["path_steps"]:
            out.append(model)
    return out


def paths(config: Mapping[str, Any]) -> CellResult:
    """Paths of 0.1·KL at variance s² and of the ELBO at 0.1 s², from one start on the same draws."""
    weight = 0.1
    data = va.load_data(**DATA)
    x = jnp.asarray(data.train)
    rows, ends = [], []
    for seed in config["seeds"]:
        wide = build(seed, latent_dim=config["num_latents"])
        narrow = wide.with_likelihood_scale(math.sqrt(weight * VARIANCE))
        origin = weight_vector(wide)
        scaled = f"beta({weight:g})"
        base = (wide, scaled)
        elbo = (narrow, "beta(1)")  # the ELBO at β s²
        for kind, pair, first, second in (
            ("adam", "same step size", (*base, ADAM_RATE, seed), (*elbo, ADAM_RATE, seed)),
            ("sgd", "same step size", (*base, SGD_RATE, seed), (*elbo, SGD_RATE, seed)),
            ("sgd", "step size times β", (*base, SGD_RATE, seed), (*elbo, weight * SGD_RATE, seed)),
            ("adam", "other draws", (*base, ADAM_RATE, seed), (*base, ADAM_RATE, seed + 1000)),
        ):
            runs = [_run(m, o, x, kind, rate, key, config) for m, o, rate, key in (first, second)]
            for count, a, b in zip(config["path_steps"], *runs, strict=True):
                here, there = weight_vector(a), weight_vector(b)
                distance = float(np.linalg.norm(here - there) / np.linalg.norm(here - origin))
                rows.append(
                    {"optimiser": kind, "pair": pair, "seed": seed, "step": count, "distance": distance}
                )
            if kind == "adam" and pair == "same step size":
                ends.append(_ends(runs[0][-1], runs[1][-1], data, weight, seed, config))
    return CellResult({"paths": pd.DataFrame(rows), "ends": pd.DataFrame(ends)})


def _ends(
    scaled: Any, elbo: Any, data: Any, weight: float, seed: int, config: Mapping[str, Any]
) -> dict[str, Any]:
    """Held-out log p(x) of both runs' models, both read with the implied variance; paired by datum."""
    x = data.test[: config["num_evidence"]]
    implied = scaled.with_likelihood_scale(math.sqrt(weight * VARIANCE))
    a, b, c = (
        va.log_evidence(m, x, rng_key=seed, num_samples=config["evidence_samples"])
        for m in (implied, elbo, scaled)
    )
    both = a.reliable & b.reliable
    difference = (a.value - b.value)[both]
    return {
        "seed": seed,
        "log_evidence_scaled_implied": float(a.value[both].mean()),
        "log_evidence_elbo": float(b.value[both].mean()),
        "log_evidence_scaled_nominal": float(c.value[c.reliable].mean()) if c.reliable.any() else math.nan,
        "difference": float(difference.mean()),
        "difference_se": float(difference.std(ddof=1) / math.sqrt(max(both.sum(), 2))),
        "num_data": int(both.sum()),
    }
