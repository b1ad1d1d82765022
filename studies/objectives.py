"""What does each training objective actually optimise?

Trains VAEs under every objective on the same data from the same seeds, scores each trained model under
every objective, and holds each objective against log p(x) where that is exact.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _networks import LINEAR_GAUSSIAN, as_linear
from _objectives_findings import summary
from _objectives_page import page

import vaeaudit as va
from vaeaudit import Cell, CellResult

OBJECTIVES = (
    "elbo",
    "beta(0.1)",
    "beta(0.5)",
    "beta(4)",
    "wasserstein_penalty",
    "half_quadratic",
    "elbo + head_l2(0.01)",
    "iwae(5)",
    "autoencoder",
)

PICTURES = 10  # digits shown per objective

# One data set, one architecture: all objectives × seeds of a group train in compiled sweeps.
GROUPS: dict[str, dict[str, Any]] = {
    "binary": {
        "title": "binarised digits, 8 latents, Bernoulli decoder",
        "data": {"name": "digits", "form": "binary"},
        "model": {"latent_dim": 8, "hidden": (64,), "likelihood": "bernoulli_logits"},
    },
    "grey": {
        "title": "grey digits, 8 latents, Gaussian decoder with s = 0.2",
        "data": {"name": "digits", "form": "grey"},
        "model": {"latent_dim": 8, "hidden": (64,), "likelihood": "gaussian", "likelihood_scale": 0.2},
    },
    "binary-2d": {
        "title": "binarised digits, 2 latents, Bernoulli decoder (log p(x) by quadrature)",
        "data": {"name": "digits", "form": "binary"},
        "model": {"latent_dim": 2, "hidden": (64,), "likelihood": "bernoulli_logits"},
        "evidence": "quadrature",
    },
    "linear": LINEAR_GAUSSIAN | {"training": {"learning_rate": 0.01}},
}

EXACT = [name for name, group in GROUPS.items() if "evidence" in group]  # groups whose log p(x) is known

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "groups": ["binary-2d", "linear"],
        "objectives": list(OBJECTIVES),
        "seeds": [0, 1, 2],
        "epochs": 40,
        "batch_size": 64,
        "learning_rate": 0.003,
        "num_test": 64,
        "evidence": "iw",
        "num_samples": 1000,
        "score_samples": 32,
    },
    "standard": {
        "groups": ["binary", "grey", "binary-2d", "linear"],
        "objectives": list(OBJECTIVES),
        "seeds": [0, 1, 2],
        "epochs": 150,
        "batch_size": 64,
        "learning_rate": 0.002,
        "num_test": 100,
        "evidence": "auto",
        "num_samples": 1000,
        "score_samples": 64,
    },
    "full": {
        "groups": ["binary", "grey", "binary-2d", "linear"],
        "objectives": [*OBJECTIVES, "moment_penalty", "free_bits(0.1)", "iwae(50)", "mmd(10)"],
        "seeds": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        "epochs": 1000,
        "batch_size": 64,
        "learning_rate": 0.001,
        "num_test": 300,
        "evidence": "auto",
        "num_samples": 5000,
        "score_samples": 256,
    },
}


def plan(settings: Mapping[str, Any]) -> list[Cell]:
    """One training cell per group, then one measuring cell per group and objective."""
    cells = []
    shared = ("epochs", "batch_size", "learning_rate", "objectives", "seeds")
    measured = ("num_test", "evidence", "num_samples", "score_samples", "objectives", "seeds")
    for group in settings["groups"]:
        train = f"train {group}"
        cells.append(
            Cell(
                train,
                {
                    "task": "train",
                    "group": group,
                    **GROUPS[group],
                    **{k: settings[k] for k in shared},
                    **GROUPS[group].get("training", {}),
                },
            )
        )
        cells.extend(
            Cell(
                f"measure {group} {objective}",
                {"task": "measure", "group": group, "objective": objective}
                | {k: settings[k] for k in measured},
                needs=(train,),
            )
            for objective in settings["objectives"]
        )
    return cells


def compute(cell: Cell, results: Mapping[str, CellResult]) -> CellResult:
    """Train a group, or measure the models that one objective trained in it."""
    config = cell.config
    if config["task"] == "train":
        return _train(config, cell.scratch)
    return _measure(config, results[cell.needs[0]])


# --------------------------------------------------------------------------------------- training


def _build(rng_key: Any, *, group: str) -> va.NeuralVAE:
    event_shape = va.load_data(**GROUPS[group]["data"]).event_shape
    return va.mlp_vae(rng_key, event_shape=event_shape, **GROUPS[group]["model"])


def _train(config: Mapping[str, Any], scratch: Path | None) -> CellResult:
    group = config["group"]
    data = va.load_data(**GROUPS[group]["data"])
    sweep = va.sweep(
        functools.partial(_build, group=group),
        config["objectives"],
        data,
        seeds=config["seeds"],
        epochs=config["epochs"],
        batch_size=config["batch_size"],
        learning_rate=config["learning_rate"],
        schedule="cosine",
        checkpoint=scratch,
        progress=va.training_progress(f"train {group}"),
    )
    return CellResult(
        frames={"history": sweep.history.assign(group=group), "settings": sweep.settings},
        arrays=va.stack_models(sweep.models),
        record={"data_sha256": data.sha256},
    )


# -------------------------------------------------------------------------------------- measuring


def _log_evidence(
    model: va.NeuralVAE, x: np.ndarray, group: str, config: Mapping[str, Any]
) -> tuple[Any, Any]:
    """Log p(x) of each datum, estimated or as exact values, and its error where it is exact (else None)."""
    method = GROUPS[group].get("evidence", config["evidence"])
    if method == "closed form":  # a linear decoder under a Gaussian: p(x) = N(b, WWᵀ + s²I)
        return as_linear(model).exact_log_evidence(x), 0.0
    chosen = {"proposal": "adapted"} if method == "iw" else {}
    evidence = va.log_evidence(model, x, method=method, num_samples=config["num_samples"], **chosen)
    exact = method == "quadrature" and bool(evidence.reliable.all())
    return evidence, evidence.se if exact else None


def _mean(evidence: Any) -> va.Estimate:
    """Mean of log p(x) with an interval over the draw of the data, as the ELBO's."""
    if not isinstance(evidence, np.ndarray):
        return evidence.population_mean
    se = float(evidence.std(ddof=1) / math.sqrt(len(evidence)))
    note = "exact per datum; interval over the draw of the data"
    return va.Estimate.normal(float(evidence.mean()), se, num_data=len(evidence), note=note)


def _quantities(
    model: va.NeuralVAE, x: np.ndarray, train: np.ndarray, seed: int, evidence: Any
) -> dict[str, va.Estimate | va.Bracket]:
    """Everything measured on one model: test-set quantities, and the aggregate over its training set."""
    bounds = va.rate_distortion(model, x, rng_key=seed)
    aggregate = va.aggregate_posterior(model, train, rng_key=seed, target="data", num_samples=2)
    return {
        "log_evidence": _mean(evidence),
        "elbo": bounds.elbo,
        "inference_gap": va.mean_inference_gap(evidence, bounds),
        "rate": bounds.rate,
        "distortion": bounds.distortion,
        "mutual_information": aggregate.mutual_information,
        "marginal_kl": aggregate.marginal_kl,
        "total_correlation": aggregate.total_correlation,
    }


UNDEFINED = "trained without noise: its scale means nothing, so q(z|x) and all that rests on it is undefined"


def _measure(config: Mapping[str, Any], trained: CellResult) -> CellResult:
    group, objective = config["group"], va.objectives.parse(config["objective"])
    data = va.load_data(**GROUPS[group]["data"])
    x = data.test[: config["num_test"]]
    models = va.unstack_models(_build(0, group=group), trained.arrays)
    runs = trained.frames["settings"]
    frames: dict[str, list[pd.DataFrame]] = {}
    arrays: dict[str, np.ndarray] = {}
    for row in runs[runs["objective"] == objective.name].itertuples():
        model, seed = models[row.Index], int(row.seed)
        label = {"group": group, "objective": objective.name, "seed": seed}
        if row.diverged:
            refused = va.Estimate.refused("undefined", "the run diverged: its parameters are not finite")
            frames.setdefault("quantities", []).append(va.tables.tidy({"log_evidence": refused}, **label))
            continue
        evidence, error = _log_evidence(model, x, group, config)
        quantities = _quantities(model, x, data.train, seed, evidence)
        if objective.deterministic:
            refused = va.Estimate.refused("undefined", UNDEFINED)
            loc, _ = model.encode(x)
            distortion = -np.asarray(model.log_likelihood(x, loc[None]), dtype=np.float64)[0]
            quantities = dict.fromkeys(quantities, refused) | {
                "log_evidence": quantities["log_evidence"],
                "distortion": va.Estimate.normal(
                    float(distortion.mean()),
                    float(distortion.std(ddof=1) / math.sqrt(len(x))),
                    num_data=len(x),
                    note="at z = loc",
                ),
            }
        loc, scale = (np.asarray(a) for a in model.encode(data.train))
        units = va.active_units(loc)
        quantities["active_units"] = units.estimate(0.01)
        frames.setdefault("quantities", []).append(va.tables.tidy(quantities, **label))
        frames.setdefault("active", []).append(units.table.assign(**label))
        frames.setdefault("cross", []).append(_cross(model, x, config, label))
        if error is not None:
            exact = getattr(evidence, "value", evidence)
            frames.setdefault("bounds", []).append(_bounds(model, objective, x, exact, error, config, label))
        if isinstance(objective, va.objectives.beta) and hasattr(model.likelihood, "scale"):
            frames.setdefault("implied", []).append(_implied(model, objective, x, config, label))
        if seed == config["seeds"][0]:
            shown = _posterior_frame(loc, scale, objective.deterministic)
            frames["posterior"] = [shown.assign(**label)]
            arrays = _pictures(model, x, loc, data.train_labels)
    return CellResult({k: pd.concat(v, ignore_index=True) for k, v in frames.items()}, arrays)


def _cross(
    model: va.NeuralVAE, x: np.ndarray, config: Mapping[str, Any], label: dict[str, Any]
) -> pd.DataFrame:
    """One trained model scored under every objective."""
    scores = va.objectives.score_many(
        model, config["objectives"], x, rng_key=1, num_samples=config["score_samples"]
    )
    rows = [{"scored_under": s.objective, "value": s.mean.value, "se": s.mean.se} for s in scores]
    frame = pd.DataFrame(rows)
    frame.insert(0, "trained_under", label["objective"])
    frame.insert(0, "group", label["group"])
    frame.insert(2, "seed", label["seed"])
    return frame


def _bounds(
    model: va.NeuralVAE,
    objective: Any,
    x: np.ndarray,
    exact: Any,
    error: Any,
    config: Mapping[str, Any],
    label: dict[str, Any],
) -> pd.DataFrame:
    """On which held-out data does the trained objective's own value exceed the exact log p(x)?"""
    check = va.bound_check(
        model,
        objective,
        x,
        log_evidence=exact,
        log_evidence_error=error,
        rng_key=2,
        num_samples=1024,
        num_checks=len(config["objectives"]) * len(config["seeds"]) * len(EXACT),
    )
    return pd.DataFrame(
        [
            {
                **label,
                "claims_bound": check.claims_lower_bound,
                "num_data": len(x),
                "num_exceeding": check.num_exceeding,
                "num_undecided": check.num_undecided,
                "share_exceeding": check.num_exceeding / len(x),
                "share_lower": check.share_exceeding.lower,
                "share_upper": check.share_exceeding.upper,
                "mean_excess": check.mean_excess.value,
                "largest_excess": check.largest_excess.value,
            }
        ]
    )


def _implied(
    model: va.NeuralVAE, objective: Any, x: np.ndarray, config: Mapping[str, Any], label: dict[str, Any]
) -> pd.DataFrame:
    """β·KL under a Gaussian decoder of variance s² is the ELBO of one with variance β s²: both measured."""
    weight = float(objective.weight)
    nominal = float(model.likelihood.scale)
    rows = []
    for reading, scale in (("nominal", nominal), ("implied", nominal * math.sqrt(weight))):
        reread = model.with_likelihood_scale(scale)
        evidence = _mean(_log_evidence(reread, x, label["group"], config)[0])
        elbo = va.rate_distortion(reread, x, rng_key=3).elbo
        for quantity, estimate in (("log_evidence", evidence), ("elbo", elbo)):
            rows.append(
                {**label, "kl_weight": weight, "reading": reading, "variance": scale**2, "quantity": quantity}
                | {k: getattr(estimate, k) for k in ("value", "se", "lower", "upper", "verdict")}
            )
    return pd.DataFrame(rows)


def _posterior_frame(loc: np.ndarray, scale: np.ndarray, deterministic: bool) -> pd.DataFrame:
    """Loc and scale of the first 200 training data, one row per datum and latent."""
    datum, latent = np.meshgrid(np.arange(min(200, len(loc))), np.arange(loc.shape[1]), indexing="ij")
    frame = pd.DataFrame({"datum": datum.ravel(), "latent": latent.ravel()})
    frame["loc"] = loc[frame["datum"], frame["latent"]].astype(float)
    frame["scale"] = math.nan if deterministic else scale[frame["datum"], frame["latent"]].astype(float)
    return frame


def _pictures(model: va.NeuralVAE, x: np.ndarray, loc: np.ndarray, labels: Any) -> dict[str, np.ndarray]:
    """Data, reconstructions from z = loc, decoded prior draws; codes and labels of the training set."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((PICTURES, loc.shape[1])).astype(np.float32)
    test_loc, _ = model.encode(x[:PICTURES])
    decoded = {"reconstruction": test_loc, "prior_sample": z}
    arrays = {name: np.asarray(model.likelihood.mean(model.decode(c))) for name, c in decoded.items()}
    arrays |= {"data": x[:PICTURES], "loc": loc}
    return arrays if labels is None else arrays | {"labels": np.asarray(labels)}


study = va.Study(
    name="objectives",
    title="What does each training objective actually optimise?",
    question="Which objectives keep below log p(x), and what do they do to rate, distortion and the posterior?",
    presets=PRESETS,
    plan=plan,
    compute=compute,
    page=functools.partial(page, groups=GROUPS),
    summary=summary,
)

if __name__ == "__main__":
    study.main()
