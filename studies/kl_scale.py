"""What does scaling the KL by 0.1 do under a squared error?

The setting of the question: grey pictures, loss ‖x − x̂‖² + KL, which is −ELBO with decoder variance ½.
Measures the weight of the KL, the number of latents, and the path that training takes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
from _kl_scale_model import DATA, VARIANCE, build
from _kl_scale_page import page, summary
from _kl_scale_pairs import hidden_weights, same_optimum, same_path
from _kl_scale_paths import paths
from _networks import stored_models

import vaeaudit as va
from vaeaudit import Cell, CellResult

AUTOENCODER = "autoencoder"

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "weights": [64.0, 1.0, 0.1, 0.01],
        "latents": [2, 8, 32],
        "latent_weights": [1.0, 0.1],
        "num_latents": 16,
        "seeds": [0, 1, 2],
        "epochs": 60,
        "batch_size": 64,
        "learning_rate": 0.004,
        "num_test": 150,
        "num_evidence": 40,
        "evidence_samples": 500,
        "path_steps": [10, 30, 100, 300],
        "pair_weights": [0.1, 0.5],
        "pair_epochs": 2000,
    },
    "standard": {
        "weights": [64.0, 4.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.001],
        "latents": [1, 2, 4, 8, 16, 32],
        "latent_weights": [1.0, 0.1],
        "num_latents": 16,
        "seeds": [0, 1, 2],
        "epochs": 200,
        "batch_size": 64,
        "learning_rate": 0.003,
        "num_test": 300,
        "num_evidence": 100,
        "evidence_samples": 1000,
        "path_steps": [10, 30, 100, 300, 1000, 3000],
        "pair_weights": [0.1, 0.5, 2.0],
        "pair_epochs": 4000,
    },
    "full": {
        "weights": [64.0, 16.0, 4.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.001, 0.0001],
        "latents": [1, 2, 4, 8, 16, 32, 64],
        "latent_weights": [1.0, 0.1],
        "num_latents": 16,
        "seeds": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        "epochs": 1000,
        "batch_size": 64,
        "learning_rate": 0.001,
        "num_test": 300,
        "num_evidence": 300,
        "evidence_samples": 5000,
        "path_steps": [10, 30, 100, 300, 1000, 3000, 10000],
        "pair_weights": [0.01, 0.1, 0.5, 2.0],
        "pair_epochs": 8000,
    },
}


def plan(settings: Mapping[str, Any]) -> list[Cell]:
    """Two trainings with their measurements, the paths of two optimisers, and pairs on linear data."""
    train = ("seeds", "epochs", "batch_size", "learning_rate")
    measure = ("seeds", "num_test", "num_evidence", "evidence_samples")
    weights = {"weights": settings["weights"], "latents": [settings["num_latents"]], "autoencoder": True}
    latents = {"weights": settings["latent_weights"], "latents": settings["latents"], "autoencoder": False}
    cells = []
    for part, config in (("weights", weights), ("latents", latents)):
        cells.append(Cell(f"train {part}", {"task": "train", **config, **{k: settings[k] for k in train}}))
        cells.append(
            Cell(
                f"measure {part}",
                {"task": "measure", "part": part, **config, **{k: settings[k] for k in measure}},
                needs=(f"train {part}",),
            )
        )
    path = ("seeds", "path_steps", "batch_size", "num_latents", "num_evidence", "evidence_samples")
    pairs = ("seeds", "pair_weights", "pair_epochs")
    return [
        *cells,
        Cell("paths", {"task": "paths", **{k: settings[k] for k in path}}),
        Cell("pairs", {"task": "pairs", **{k: settings[k] for k in pairs}}),
        Cell("reductions", {"task": "reductions", "num_latents": settings["num_latents"]}),
    ]


def compute(cell: Cell, results: Mapping[str, CellResult]) -> CellResult:
    """Train, measure, follow the paths or train in pairs."""
    task = cell.config["task"]
    if task == "train":
        return _train(cell.config, cell.scratch)
    if task == "measure":
        return _measure(cell.config, results[cell.needs[0]])
    if task == "pairs":
        return CellResult({"pairs": same_path(cell.config), "optima": same_optimum(cell.config)})
    if task == "reductions":
        model = build(0, latent_dim=cell.config["num_latents"])
        return CellResult({"reductions": hidden_weights(model, va.load_data(**DATA).train[:64], 0)})
    return paths(cell.config)


def _objectives(config: Mapping[str, Any]) -> list[str]:
    names = [f"beta({w:g})" for w in config["weights"]]
    return [*names, AUTOENCODER] if config["autoencoder"] else names


def _train(config: Mapping[str, Any], scratch: Path | None) -> CellResult:
    data = va.load_data(**DATA)
    arrays, history = {}, []
    for latent_dim in config["latents"]:
        sweep = va.sweep(
            functools.partial(build, latent_dim=latent_dim),
            _objectives(config),
            data,
            seeds=config["seeds"],
            epochs=config["epochs"],
            batch_size=config["batch_size"],
            learning_rate=config["learning_rate"],
            schedule="cosine",
            checkpoint=scratch / str(latent_dim) if scratch else None,
            progress=va.training_progress(f"train {latent_dim} latents"),
        )
        arrays |= {f"{latent_dim}:{k}": v for k, v in va.stack_models(sweep.models).items()}
        history.append(sweep.history.assign(num_latents=latent_dim))
    frames = {"history": pd.concat(history, ignore_index=True)}
    return CellResult(frames, arrays, {"data_sha256": data.sha256})


# --------------------------------------------------------------------------------- trained models


def _measure(config: Mapping[str, Any], trained: CellResult) -> CellResult:
    data = va.load_data(**DATA)
    x = data.test[: config["num_test"]]
    total = float(np.mean(np.sum((x - data.train.mean(axis=0)) ** 2, axis=(1, 2))))
    rows, pictures = [], {}
    for latent_dim in config["latents"]:
        models = stored_models(trained.arrays, f"{latent_dim}:", build(0, latent_dim=latent_dim))
        labels = [(name, seed) for name in _objectives(config) for seed in config["seeds"]]
        for (name, seed), model in zip(labels, models, strict=True):
            row = _row(model, name, seed, x, config)
            rows.append(
                {"objective": name, "num_latents": latent_dim, "seed": seed}
                | row
                | {"unexplained": row["squared_error"] / total}
            )
            if config["part"] == "weights" and seed == config["seeds"][0]:
                pictures[name] = np.asarray(model.decode(model.encode(x[:10])[0]))
    frame = pd.DataFrame(rows).assign(part=config["part"], total_variance=total)
    arrays = {f"picture {k}": v for k, v in pictures.items()} | {"x": x[:10]}
    return CellResult({"models": frame}, arrays)


def _log_evidence(model: Any, x: np.ndarray, seed: int, config: Mapping[str, Any]) -> Any:
    return va.log_evidence(
        model, x, rng_key=seed, method="iw", proposal="adapted", num_samples=config["evidence_samples"]
    )


def _row(model: Any, name: str, seed: int, x: np.ndarray, config: Mapping[str, Any]) -> dict[str, float]:
    """Errors, rate, spread of the posterior, and log p(x) read with the nominal and the implied variance."""
    loc, scale = (np.asarray(a, dtype=float) for a in model.encode(x))
    at_loc = np.asarray(model.decode(jnp.asarray(loc, jnp.float32)), dtype=float)
    row = {
        "weight": math.nan if name == AUTOENCODER else float(name[5:-1]),
        "squared_error": float(np.mean(np.sum((x - at_loc) ** 2, axis=(1, 2)))),
        "active_units": float(np.sum(np.var(loc, axis=0) > 0.01)),
    }
    if name == AUTOENCODER:
        return row
    found = va.rate_distortion(model, x, rng_key=seed)
    row |= {
        "rate": found.rate.value,
        "noisy_squared_error": 2
        * VARIANCE
        * (found.distortion.value - 32 * math.log(2 * math.pi * VARIANCE)),
        "median_scale": float(np.median(scale)),
    }
    y = x[: config["num_evidence"]]
    for reading, variance in (("nominal", VARIANCE), ("implied", VARIANCE * row["weight"])):
        evidence = _log_evidence(model.with_likelihood_scale(math.sqrt(variance)), y, seed, config)
        good = evidence.reliable
        row[f"log_evidence_{reading}"] = float(evidence.value[good].mean()) if good.mean() > 0.9 else math.nan
        row[f"reliable_{reading}"] = float(good.mean())
        distortion = row["noisy_squared_error"] / (2 * variance) + 32 * math.log(2 * math.pi * variance)
        row[f"elbo_{reading}"] = -(row["rate"] + distortion)
    return row


study = va.Study(
    name="kl_scale",
    title="What does scaling the KL by 0.1 do?",
    question="Is 0.1·KL beside a squared error sound, and what does it optimise?",
    presets=PRESETS,
    plan=plan,
    compute=compute,
    page=page,
    summary=summary,
)

if __name__ == "__main__":
    study.main()
