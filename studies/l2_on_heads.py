"""Does L2 on the layers that output μ and log σ² add anything to the KL, and may a batch share its noise?"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from _l2_on_heads_page import page, summary

import vaeaudit as va
from vaeaudit import Cell, CellResult

DATA = {"name": "digits", "form": "binary"}
LATENTS = 8

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "head_weights": [0.01, 0.1, 1.0],
        "kl_weights": [2.0, 4.0],
        "seeds": [0, 1, 2],
        "epochs": 60,
        "batch_size": 64,
        "learning_rate": 0.004,
        "num_test": 40,
        "evidence_samples": 1000,
        "noise_batches": [1, 4, 16, 64, 256],
        "noise_replicates": 64,
    },
    "standard": {
        "head_weights": [0.001, 0.01, 0.1, 0.3, 1.0, 3.0],
        "kl_weights": [1.5, 2.0, 4.0, 8.0],
        "seeds": [0, 1, 2],
        "epochs": 200,
        "batch_size": 64,
        "learning_rate": 0.003,
        "num_test": 200,
        "evidence_samples": 2000,
        "noise_batches": [1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
        "noise_replicates": 128,
    },
    "full": {
        "head_weights": [0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0],
        "kl_weights": [1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0],
        "seeds": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        "epochs": 1000,
        "batch_size": 64,
        "learning_rate": 0.001,
        "num_test": 300,
        "evidence_samples": 5000,
        "noise_batches": [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024],
        "noise_replicates": 512,
    },
}


def plan(settings: Mapping[str, Any]) -> list[Cell]:
    """One sweep, its measurement, and the gradient noise of the ELBO's model."""
    train = ("head_weights", "kl_weights", "seeds", "epochs", "batch_size", "learning_rate")
    measure = ("head_weights", "kl_weights", "seeds", "num_test", "evidence_samples")
    noise = ("head_weights", "kl_weights", "seeds", "noise_batches", "noise_replicates")
    return [
        Cell("train", {k: settings[k] for k in train}),
        Cell("measure", {k: settings[k] for k in measure}, needs=("train",)),
        Cell("noise", {k: settings[k] for k in noise}, needs=("train",)),
    ]


def compute(cell: Cell, results: Mapping[str, CellResult]) -> CellResult:
    """Train, measure the models, or measure the gradient's noise."""
    if cell.key == "train":
        return _train(cell.config, cell.scratch)
    return (_measure if cell.key == "measure" else _noise)(cell.config, results["train"])


def _build(rng_key: Any) -> va.NeuralVAE:
    return va.mlp_vae(rng_key, event_shape=(8, 8), latent_dim=LATENTS, hidden=(64,))


def _objectives(config: Mapping[str, Any]) -> list[str]:
    heads = [f"elbo + head_l2({w:g})" for w in config["head_weights"]]
    return ["elbo", *heads, *[f"beta({w:g})" for w in config["kl_weights"]]]


def _train(config: Mapping[str, Any], scratch: Path | None) -> CellResult:
    data = va.load_data(**DATA)
    sweep = va.sweep(
        functools.partial(_build),
        _objectives(config),
        data,
        seeds=config["seeds"],
        epochs=config["epochs"],
        batch_size=config["batch_size"],
        learning_rate=config["learning_rate"],
        schedule="cosine",
        checkpoint=scratch,
        progress=va.training_progress("train"),
    )
    return CellResult({"history": sweep.history}, va.stack_models(sweep.models), {"data_sha256": data.sha256})


def _models(config: Mapping[str, Any], trained: CellResult) -> dict[tuple[str, int], Any]:
    labels = [(o, s) for o in _objectives(config) for s in config["seeds"]]
    return dict(zip(labels, va.unstack_models(_build(0), trained.arrays), strict=True))


def _measure(config: Mapping[str, Any], trained: CellResult) -> CellResult:
    x = va.load_data(**DATA).test[: config["num_test"]]
    rows = []
    for (name, seed), model in _models(config, trained).items():
        found = va.rate_distortion(model, x, rng_key=seed)
        evidence = va.log_evidence(model, x, rng_key=seed, num_samples=config["evidence_samples"])
        good = evidence.reliable
        loc = np.asarray(model.encode(x)[0], dtype=float)
        row = {
            "objective": name,
            "family": "KL weight" if name.startswith("beta") else "ELBO" if name == "elbo" else "L2 on heads",
            "weight": 1.0 if name == "elbo" else float(name.split("(")[1][:-1]),
            "seed": seed,
            "rate": found.rate.value,
            "distortion": found.distortion.value,
            "elbo": found.elbo.value,
            "log_evidence": float(evidence.value[good].mean()) if good.mean() > 0.9 else np.nan,
            "active_units": float(np.sum(np.var(loc, axis=0) > 0.01)),
            "head_norm": float(np.sqrt(model.head_weight_sq())),
        }
        check = va.bound_check(
            model,
            name,
            x[good],
            log_evidence=evidence.value[good],
            log_evidence_error=evidence.se[good],
            rng_key=seed,
        )
        rows.append(row | {"num_data": int(good.sum()), "num_exceeding": check.num_exceeding})
    return CellResult({"models": pd.DataFrame(rows)})


@eqx.filter_jit
def _gradients(model: Any, x: Any, keys: Any, shared: bool) -> Any:
    """Gradients of the batch's mean ELBO, one per key, (replicate, parameter)."""
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def elbo(params: Any, key: Any) -> Any:
        model = eqx.combine(params, static)
        loc, scale = model.encode(x)
        noise = jax.random.normal(key, (1 if shared else loc.shape[0], loc.shape[1]))
        rate = 0.5 * jnp.sum(loc**2 + scale**2 - 1 - 2 * jnp.log(scale), axis=1)
        return jnp.mean(model.log_likelihood(x, (loc + scale * noise)[None])[0] - rate)

    def one(key: Any) -> Any:
        leaves = jax.tree.leaves(jax.grad(elbo)(params, key))
        return jnp.concatenate([leaf.ravel() for leaf in leaves])

    return jax.lax.map(one, keys)


def _noise(config: Mapping[str, Any], trained: CellResult) -> CellResult:
    """Total variance of the gradient over the noise alone, for fixed batches of growing size.

    A model's own noise comes from z: the draw of the batch is held fixed. Small batches are averaged
    over up to 8 of them, so that one odd picture does not set the level.
    """
    data = jnp.asarray(va.load_data(**DATA).train)
    if max(config["noise_batches"]) > len(data):
        raise va.errors.ArgumentError(
            f"`noise_batches` holds a batch of {max(config['noise_batches'])}; there are {len(data)} training data. "
            "Leave it out."
        )
    rows = []
    for seed in config["seeds"]:
        model = _models(config, trained)["elbo", seed]
        for size in config["noise_batches"]:
            for shared in (False, True):
                for batch in range(min(8, max(1, 1024 // size))):
                    x = data[batch * size : (batch + 1) * size]
                    if x.shape[0] < size:
                        continue
                    key = jax.random.fold_in(jax.random.key(seed), 2 * batch + shared)
                    draws = _gradients(model, x, jax.random.split(key, config["noise_replicates"]), shared)
                    draws = np.asarray(draws, dtype=float)
                    rows.append(
                        {
                            "seed": seed,
                            "noise": "one draw per batch" if shared else "one draw per datum",
                            "batch_size": size,
                            "batch": batch,
                            "variance": float(draws.var(axis=0, ddof=1).sum()),
                            "squared_norm": float(np.sum(draws.mean(axis=0) ** 2)),
                        }
                    )
    return CellResult({"noise": pd.DataFrame(rows)})


study = va.Study(
    name="l2_on_heads",
    title="L2 on the encoder's heads, and noise shared by a batch",
    question="Does L2 on the layers of μ and log σ² add anything beside the KL, and may a batch share one ε?",
    presets=PRESETS,
    plan=plan,
    compute=compute,
    page=page,
    summary=summary,
    version=2,
)

if __name__ == "__main__":
    study.main()
