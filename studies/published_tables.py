"""Do our training, bounds and active units reproduce the importance-weighted autoencoder's published table?

Trains the one-layer rows of table 1 of Burda, Grosse & Salakhutdinov (2016) on MNIST, VAE and IWAE with
k = 1, 5 and 50 draws, and measures them as the paper does and as this package does. The quick preset runs
on the bundled 8×8 digits and reproduces nothing: it shows that everything works.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from _published_model import UNITS_DATA, binarised, build, objectives, schedule
from _published_page import page, summary

import vaeaudit as va
from vaeaudit import Cell, CellResult

TEST_SEED = 0  # of the fixed binarisation of the test images
PICTURES = 10  # draws from the prior shown per row
CHUNK = 2000  # data per call of the encoder

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "data": "digits",
        "download": False,
        "num_train": None,
        "draws": [1, 5, 50],
        "seeds": [0, 1],
        "growth": 1.3,
        "batch_size": 20,
        "learning_rate": 0.001,
        "epsilon": 1e-4,
        "latent_dim": 10,
        "hidden": [32, 32],
        "num_test": 200,
        "bound_samples": 1000,
        "num_evidence": 20,
        "redraws": 4,
    },
    "standard": {
        "data": "mnist",
        "download": True,
        "num_train": None,
        "draws": [1, 5, 50],
        "seeds": [0, 1, 2],
        "growth": 1.0,
        "batch_size": 20,
        "learning_rate": 0.001,
        "epsilon": 1e-4,
        "latent_dim": 50,
        "hidden": [200, 200],
        "num_test": 500,
        "bound_samples": 5000,
        "num_evidence": 40,
        "redraws": 4,
    },
    "full": {
        "data": "mnist",
        "download": True,
        "num_train": None,
        "draws": [1, 5, 50],
        "seeds": [0, 1, 2],
        "growth": 3.0,
        "batch_size": 20,
        "learning_rate": 0.001,
        "epsilon": 1e-4,
        "latent_dim": 50,
        "hidden": [200, 200],
        "num_test": 10_000,
        "bound_samples": 5000,
        "num_evidence": 200,
        "redraws": 4,
    },
}

ARCHITECTURE = ("data", "download", "num_train", "latent_dim", "hidden")
TRAIN = (*ARCHITECTURE, "seeds", "growth", "batch_size", "learning_rate", "epsilon")
MEASURE = (*ARCHITECTURE, "seeds", "num_test", "bound_samples", "num_evidence", "redraws")


def plan(settings: Mapping[str, Any]) -> list[Cell]:
    """One sweep over objectives and seeds per number of draws, and its measurement."""
    cells = []
    for k in settings["draws"]:
        head = {"draws": k}
        cells.append(Cell(f"train k={k}", {"task": "train", **head, **{n: settings[n] for n in TRAIN}}))
        cells.append(
            Cell(
                f"measure k={k}",
                {"task": "measure", **head, **{n: settings[n] for n in MEASURE}},
                needs=(f"train k={k}",),
            )
        )
    return cells


def compute(cell: Cell, results: Mapping[str, CellResult]) -> CellResult:
    """Train the rows of one k, or measure them."""
    if cell.config["task"] == "train":
        return _train(cell.config, cell.scratch)
    return _measure(cell.config, results[cell.needs[0]])


def _data(config: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, va.Dataset]:
    """Grey training data (validation part included), binarised test data, and the data set."""
    options = {} if config["data"] == "digits" else {"download": config["download"]}
    data = va.load_data(config["data"], form="grey", **options)
    train = np.concatenate([data.train, data.validation])[: config["num_train"]]
    return train, binarised(data.test, TEST_SEED), data


def _builder(config: Mapping[str, Any], train: np.ndarray) -> Any:
    return functools.partial(
        build,
        event_shape=train.shape[1:],
        latent_dim=config["latent_dim"],
        hidden=tuple(config["hidden"]),
        data_mean=train.mean(axis=0, dtype=np.float64),
    )


def _train(config: Mapping[str, Any], scratch: Path | None) -> CellResult:
    train, _, data = _data(config)
    epochs, factor = schedule(config["growth"])
    sweep = va.sweep(
        _builder(config, train),
        list(objectives(config["draws"]).values()),
        train,
        seeds=config["seeds"],
        epochs=epochs,
        batch_size=config["batch_size"],
        learning_rate=config["learning_rate"],
        schedule=factor,
        binarise="dynamic",
        # the paper's ε belongs to the gradient of the sum over the minibatch
        adam=(0.9, 0.999, config["epsilon"] / config["batch_size"]),
        checkpoint=scratch,
        progress=va.training_progress(f"train k={config['draws']}"),
    )
    names = {o.name: label for label, o in objectives(config["draws"]).items()}
    history = sweep.history[["objective", "seed", "epoch", "objective_value", "elbo", "rate", "distortion"]]
    history = history.assign(objective=history["objective"].map(names), draws=config["draws"])
    record = {"data_sha256": data.sha256, "num_train": len(train), "passes": epochs}
    return CellResult({"history": history}, va.stack_models(sweep.models), record)


def _measure(config: Mapping[str, Any], trained: CellResult) -> CellResult:
    train, test, data = _data(config)
    models = va.unstack_models(_builder(config, train)(0), dict(trained.arrays))
    labels = [(name, seed) for name in objectives(config["draws"]) for seed in config["seeds"]]
    rows, curves, arrays = [], [], {}
    for (name, seed), model in zip(labels, models, strict=True):
        label = {"model": name, "draws": config["draws"], "seed": seed}
        if not all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(model)):
            rows.append({**label, "diverged": True})
            continue
        row, values, curve = _one(model, train, test, data.test, seed, config)
        rows.append({**label, "diverged": False, **row})
        curves.append(curve.assign(**label))
        arrays[f"bound {name} {seed}"] = values
        if seed == config["seeds"][0]:
            z = jax.random.normal(jax.random.key(seed), (PICTURES, config["latent_dim"]))
            arrays[f"prior {name}"] = np.asarray(jax.nn.sigmoid(model.decode(z)), np.float32)
    frames = {"models": pd.DataFrame(rows), "units": pd.concat(curves, ignore_index=True)}
    digest = hashlib.sha256(np.packbits(test.astype(bool)).tobytes()).hexdigest()
    return CellResult(frames, arrays, {"data_sha256": data.sha256, "test_sha256": digest})


def _one(
    model: va.NeuralVAE,
    train: np.ndarray,
    test: np.ndarray,
    grey_test: np.ndarray,
    seed: int,
    config: Mapping[str, Any],
) -> tuple[dict[str, Any], np.ndarray, pd.DataFrame]:
    """The paper's two numbers, our log p(x), AIS, and what another binarisation would change."""
    x = test[: config["num_test"]]
    samples = config["bound_samples"]
    bound = va.log_evidence(model, x, rng_key=seed, method="iw", num_samples=samples)
    y = x[: config["num_evidence"]]
    adapted = va.log_evidence(model, y, rng_key=seed, method="iw", proposal="adapted", num_samples=samples)
    annealed = va.log_evidence(model, y, rng_key=seed, method="ais")
    left = adapted.unsettled
    ours = adapted.replaced(left, annealed.rows(left)) if left.size else adapted
    found = va.rate_distortion(model, x, rng_key=seed)
    first = _means(model, binarised(train[:UNITS_DATA], seed))
    units = va.active_units(_means(model, x))
    count = units.estimate(0.01)
    row = {
        "num_test": len(x),
        "bound": float(np.mean(bound.value)),
        "bound_se": float(np.std(bound.value, ddof=1) / math.sqrt(len(x))),
        "bound_reliable": float(np.mean(bound.reliable)),
        "redraw_sd": _redraw_sd(model, grey_test[: len(x)], seed, config["redraws"]),
        "elbo": found.elbo.value,
        "rate": found.rate.value,
        "num_evidence": len(y),
        "bound_there": float(np.mean(bound.value[: len(y)])),
        "annealed_share": left.size / len(y),
        **_estimate("evidence", ours),
        **_estimate("ais", annealed),
        "units_published_definition": int(np.sum(np.var(first, axis=0) > 0.01)),
        "units": count.value,
        "units_lower": count.lower,
        "units_upper": count.upper,
        "plateau": bool(units.mode_gap.exists),
        "plateau_units": units.mode_gap.count,
        "plateau_decades": units.mode_gap.decades,
    }
    return row, np.asarray(bound.value), units.table


def _estimate(name: str, result: Any) -> dict[str, Any]:
    """The mean over these data with its Monte-Carlo interval, and the share of data that have one."""
    mean = result.mean
    return {
        name: mean.value,
        f"{name}_lower": mean.lower,
        f"{name}_upper": mean.upper,
        f"{name}_verdict": mean.verdict,
        f"{name}_reliable": float(np.mean(result.reliable)),
    }


def _means(model: va.NeuralVAE, x: np.ndarray) -> np.ndarray:
    """Posterior means, (batch, latent)."""
    parts = [np.asarray(model.encode(x[i : i + CHUNK])[0]) for i in range(0, len(x), CHUNK)]
    return np.concatenate(parts)


def _redraw_sd(model: va.NeuralVAE, grey: np.ndarray, seed: int, redraws: int) -> float:
    """Standard deviation of the mean ELBO over draws of the binarisation, with the same draws of the noise."""
    means = []
    for draw in range(redraws):
        x = binarised(grey, 1000 + draw)
        means.append(va.rate_distortion(model, x, rng_key=seed).elbo.value)
    return float(np.std(means, ddof=1)) if redraws > 1 else math.nan


study = va.Study(
    name="published_tables",
    title="A published table, run again",
    question="Do training, L_5000 and active units here give the numbers of the IWAE paper's MNIST table?",
    presets=PRESETS,
    plan=plan,
    compute=compute,
    page=page,
    summary=summary,
)

if __name__ == "__main__":
    study.main()
