"""Does the KL term make q(z) match the prior?

rate = mutual information + KL(q(z) ‖ p(z)). Shows on a model known in closed form what the estimates in use
return, then measures who matches the prior on aggregate and who per datum, how many latent units are active
under which definition, and whether β > 1 disentangles sprites whose factors are known.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _aggregate_page import page, summary

import vaeaudit as va
from vaeaudit import Cell, CellResult
from vaeaudit.estimators.minibatch_forms import FORMS, all_minibatch_estimates

GROUPS: dict[str, dict[str, Any]] = {
    "digits 2": {
        "title": "binarised digits, 2 latents",
        "data": {"name": "digits", "form": "binary"},
        "model": {"latent_dim": 2, "hidden": (64,)},
        "learning_rate": 0.004,
        "batch_size": 64,
    },
    "digits 16": {
        "title": "binarised digits, 16 latents",
        "data": {"name": "digits", "form": "binary"},
        "model": {"latent_dim": 16, "hidden": (64,)},
        "learning_rate": 0.004,
        "batch_size": 64,
    },
    "sprites": {
        "title": "sprites with five known factors, 6 latents",
        "data": {"name": "sprites", "form": "binary"},
        "model": {"latent_dim": 6, "hidden": (128,)},
        "learning_rate": 0.002,
        "batch_size": 128,
    },
}
OBJECTIVES = ["elbo", "beta(4)", "wasserstein_penalty(1)", "half_quadratic(1)", "mmd(100)"]

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "groups": {"digits 2": 40, "digits 16": 40, "sprites": 12},
        "objectives": OBJECTIVES,
        "sprites_objectives": ["elbo", "beta(4)"],
        "seeds": [0, 1],
        "sprites_seeds": [0, 1],
        "demo_data": 4000,
        "demo_batches": 20,
        "units_samples": 16,
        "ablated_data": {"digits 2": 50},
    },
    "standard": {
        "groups": {"digits 2": 200, "digits 16": 200, "sprites": 60},
        "objectives": OBJECTIVES,
        "sprites_objectives": ["elbo", "beta(2)", "beta(4)"],
        "seeds": [0, 1, 2],
        "sprites_seeds": [0, 1, 2, 3, 4],
        "demo_data": 20_000,
        "demo_batches": 40,
        "units_samples": 64,
        "ablated_data": {"digits 2": 60, "digits 16": 25},
    },
    "full": {
        "groups": {"digits 2": 1000, "digits 16": 1000, "sprites": 300},
        "objectives": OBJECTIVES,
        "sprites_objectives": ["elbo", "beta(2)", "beta(4)", "beta(8)", "total_correlation(4)"],
        "seeds": list(range(10)),
        "sprites_seeds": list(range(10)),
        "demo_data": 60_000,
        "demo_batches": 200,
        "units_samples": 256,
        "ablated_data": {"digits 2": 500, "digits 16": 200},
    },
}
ABLATION_DRAWS = 500  # of z per datum
BATCHES = (16, 50, 128, 512)


def plan(settings: Mapping[str, Any]) -> list[Cell]:
    """The demonstration, then training and measurement per group."""
    cells = [
        Cell("demonstration", {"task": "demo", **{k: settings[k] for k in ("demo_data", "demo_batches")}})
    ]
    for group, epochs in settings["groups"].items():
        sprites = group == "sprites"
        objectives = settings["sprites_objectives" if sprites else "objectives"]
        seeds = list(settings["sprites_seeds" if sprites else "seeds"])
        shared = {"group": group, "objectives": list(objectives), "seeds": seeds}
        train = f"train {group}"
        cells.append(Cell(train, {"task": "train", **shared, "epochs": epochs, **GROUPS[group]}))
        task = "disentangle" if sprites else "measure"
        more = {}
        if not sprites:
            ablated = settings["ablated_data"].get(group, 0)
            more = {"units_samples": settings["units_samples"], "ablated_data": ablated}
        cells.append(Cell(f"{task} {group}", {"task": task, **shared, **more}, needs=(train,)))
    return cells


def compute(cell: Cell, results: Mapping[str, CellResult]) -> CellResult:
    """Demonstrate, train or measure."""
    config = cell.config
    if config["task"] == "demo":
        return _demonstrate(config)
    if config["task"] == "train":
        return _train(config, cell.scratch)
    return (_measure if config["task"] == "measure" else _disentangle)(config, results[cell.needs[0]])


# ------------------------------------------------------------------------------ the known answer


def _known_model() -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Root of Cov(loc), scale, and the exact answer, for loc ~ N(0, A Aᵀ): six correlated latents."""
    latent = 6
    rotation = np.linalg.qr(np.random.default_rng(7).normal(size=(latent, latent)))[0]
    root = rotation * np.sqrt(np.linspace(0.3, 1.6, latent))
    scale = np.linspace(0.25, 0.4, latent)
    cov = root @ root.T + np.diag(scale**2)
    variance, log_det = np.diag(cov), np.linalg.slogdet(cov)[1]
    rate = 0.5 * (np.sum(variance - 1) - 2 * np.log(scale).sum())
    information = 0.5 * log_det - np.log(scale).sum()
    correlation = 0.5 * (np.log(variance).sum() - log_det)
    truth = {
        "rate": rate,
        "mutual_information": information,
        "marginal_kl": rate - information,
        "total_correlation": correlation,
        "dimwise_kl": rate - information - correlation,
    }
    return root, scale, truth


def _demonstrate(config: Mapping[str, Any]) -> CellResult:
    """Minibatch estimates of several sizes and forms, and our brackets, against the closed form."""
    root, scale, truth = _known_model()
    num_data = config["demo_data"]
    loc = np.random.default_rng(0).normal(size=(num_data, len(scale))) @ root.T
    scales = np.tile(scale, (num_data, 1))
    rows = []
    for batch in BATCHES:
        count = max(4, min(config["demo_batches"], 2000 * config["demo_batches"] // batch**2))
        estimates = all_minibatch_estimates(FORMS, loc, scales, batch, num_batches=count)
        for form, found in estimates.items():
            for quantity, values in found.items():
                half = 1.96 * values.std(ddof=1) / math.sqrt(count)
                rows.append(
                    {
                        "form": form,
                        "batch_size": batch,
                        "quantity": quantity,
                        "value": values.mean(),
                        "lower": values.mean() - half,
                        "upper": values.mean() + half,
                        "log_batch_size": math.log(batch),
                        "truth": truth[quantity],
                    }
                )
    brackets = []
    for size in sorted({min(500, num_data), min(2000, num_data), num_data}):
        result = va.aggregate_posterior((loc[:size], scales[:size]), rng_key=1)
        brackets.append(
            va.tables.tidy(result.quantities(), num_given=size).assign(
                truth=[truth[name] for name in result.quantities()], saturated=result.saturated
            )
        )
    return CellResult({"forms": pd.DataFrame(rows), "known": pd.concat(brackets, ignore_index=True)})


# ------------------------------------------------------------------------------ trained models


def _load(group: str) -> va.Dataset:
    return va.load_data(**GROUPS[group]["data"])


def _build(rng_key: Any, *, group: str) -> va.NeuralVAE:
    return va.mlp_vae(rng_key, event_shape=_load(group).event_shape, **GROUPS[group]["model"])


def _train(config: Mapping[str, Any], scratch: Path | None) -> CellResult:
    group = config["group"]
    data = _load(group)
    sweep = va.sweep(
        functools.partial(_build, group=group),
        config["objectives"],
        data,
        seeds=config["seeds"],
        epochs=config["epochs"],
        batch_size=config["batch_size"],
        learning_rate=config["learning_rate"],
        checkpoint=scratch,
        progress=va.training_progress(f"train {group}"),
    )
    return CellResult(
        frames={"settings": sweep.settings.assign(group=group)},
        arrays=va.stack_models(sweep.models),
        record={"data_sha256": data.sha256, "title": GROUPS[group]["title"]},
    )


def _models(config: Mapping[str, Any], trained: CellResult) -> list[tuple[dict[str, Any], Any]]:
    """Each model with its labels."""
    group = config["group"]
    models = va.unstack_models(_build(0, group=group), trained.arrays)
    settings = trained.frames["settings"][["objective", "seed"]].to_dict("records")
    return [({"group": group, **labels}, model) for labels, model in zip(settings, models, strict=True)]


def _measure(config: Mapping[str, Any], trained: CellResult) -> CellResult:
    """Brackets, distances and active units on data that the models did not see."""
    data = _load(config["group"])
    x = np.concatenate([data.validation, data.test])
    frames: dict[str, list[pd.DataFrame]] = {
        name: [] for name in ("quantities", "latents", "unit_curve", "units", "definitions", "ablation")
    }
    for labels, model in _models(config, trained):
        aggregate = va.aggregate_posterior(model, x, rng_key=labels["seed"])
        distances = va.aggregate_distances(model, x, rng_key=labels["seed"])
        tidy = va.tables.tidy({**aggregate.quantities(), **distances.quantities()}, **labels)
        needed = aggregate.num_data_needed
        low, high = (math.nan, math.nan) if needed is None else needed.interval
        frames["quantities"].append(
            tidy.assign(
                saturated=aggregate.saturated,
                log_num_data=math.log(aggregate.num_data),
                data_needed_lower=low,
                data_needed_upper=high,
            )
        )
        loc, _ = model.encode(x)
        units = va.active_units(loc)
        frames["unit_curve"].append(units.table.assign(**labels))
        gap = units.mode_gap
        frames["units"].append(
            pd.DataFrame(
                [
                    {
                        **labels,
                        "count_at_0.01": units.count(),
                        "count_at_0.0001": units.count(1e-4),
                        "count_at_0.1": units.count(0.1),
                        "gap_count": gap.count,
                        "gap_decades": gap.decades,
                        "gap_lower": gap.lower,
                        "gap_upper": gap.upper,
                        "plateau": gap.exists,
                    }
                ]
            )
        )
        definitions = va.compare_definitions(model, x, rng_key=0, num_samples=config["units_samples"])
        frames["definitions"].append(definitions.table.assign(**labels))
        frames["latents"].append(definitions.by_latent.assign(**labels))
        if labels["seed"] == min(config["seeds"]) and config["ablated_data"]:
            frames["ablation"].append(
                _ablate(model, x[: config["ablated_data"]], definitions.by_latent).assign(**labels)
            )
    stacked = {name: pd.concat(parts, ignore_index=True) for name, parts in frames.items() if parts}
    return CellResult(stacked)


def _ablate(model: Any, x: np.ndarray, by_latent: pd.DataFrame) -> pd.DataFrame:
    """Loss of log p(x) per unit: by quadrature for two latents, else with common random numbers.

    Importance weighting from the encoder alone would not do: where an objective makes it too narrow it is
    tens of nats low, with and without the unit.
    """
    method = "quadrature" if model.latent_dim <= 2 else "auto"

    def score(candidate: Any, data: Any) -> Any:
        draws = {} if method == "quadrature" else {"num_samples": ABLATION_DRAWS}
        return va.log_evidence(candidate, data, rng_key=0, method=method, **draws).value

    losses = va.ablation_loss(model, x, score=score)
    return pd.DataFrame(
        {
            "latent": by_latent["latent"],
            "variance_of_loc": by_latent["variance_of_loc"],
            "elbo_loss": by_latent["ablation_loss"],
            "evidence_loss": [loss.value for loss in losses],
            "evidence_lower": [loss.lower for loss in losses],
            "evidence_upper": [loss.upper for loss in losses],
        }
    )


def _disentangle(config: Mapping[str, Any], trained: CellResult) -> CellResult:
    """Scores of every model on held-out sprites, factor labels known."""
    data = _load(config["group"])
    x = np.concatenate([data.validation, data.test])
    factors = np.concatenate([data.validation_factors, data.test_factors])
    rows = []
    for labels, model in _models(config, trained):
        loc, _ = model.encode(x)
        scores = va.disentanglement(loc, factors, seed=labels["seed"])
        found = va.rate_distortion(model, x, rng_key=0, num_samples=16)
        rows.append(
            {**labels, **scores.row(), "rate": found.rate.value, "distortion": found.distortion.value}
        )
    return CellResult({"scores": pd.DataFrame(rows)})


study = va.Study(
    name="aggregate_posterior",
    title="Does the KL term make q(z) match the prior?",
    question="How far is the aggregate posterior from the prior, how much of the rate is information about x, "
    "and which objective matches the prior on aggregate rather than per datum?",
    presets=PRESETS,
    plan=plan,
    compute=compute,
    page=functools.partial(page, groups=GROUPS),
    summary=summary,
)

if __name__ == "__main__":
    study.main()
