"""May the KL be replaced by a penalty on μ and σ?

Trains VAEs with the ELBO and with penalties in the KL's place on data whose log p(x) is known, and
measures where the gradients point, where the bound breaks and which data lose most.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _networks import LINEAR_GAUSSIAN, as_linear, stored_models
from _penalty_page import page, summary
from scipy import ndimage

import vaeaudit as va
from vaeaudit import Cell, CellResult

GROUPS: dict[str, dict[str, Any]] = {
    "linear": LINEAR_GAUSSIAN | {"learning_rate": 0.01},
    "digits": {
        "title": "binarised digits, 2 latents, Bernoulli decoder (log p(x) estimated)",
        "data": {"name": "digits", "form": "binary"},
        "model": {"latent_dim": 2, "hidden": (64,), "likelihood": "bernoulli_logits"},
        "evidence": "estimated",
        "learning_rate": 0.004,
    },
    "faces": {
        "title": "Frey faces in grey, 8 latents, Gaussian decoder with s = 0.1 (log p(x) estimated)",
        "data": {"name": "frey_faces", "form": "grey"},
        "model": {"latent_dim": 8, "hidden": (64,), "likelihood": "gaussian", "likelihood_scale": 0.1},
        "evidence": "estimated",
        "learning_rate": 0.001,
    },
}
SUBSTITUTE = "faces_substitute"  # where the file of Frey faces is not at hand
GROUPS[SUBSTITUTE] = GROUPS["faces"] | {
    "title": "enlarged digits of Frey-face size (28 × 20; the faces' file is not here), 8 latents, s = 0.1 (log p(x) "
    "estimated)",
    "data": {"name": "digits", "form": "grey", "enlarged": [28, 20]},
}
OBJECTIVES = ["elbo", "wasserstein_penalty", "half_quadratic", "moment_penalty"]

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "groups": ["linear", "digits"],
        "objectives": OBJECTIVES[:3],
        "seeds": [0, 1, 2],
        "snapshots": [1, 6, 40],
        "linear_snapshots": [2, 10, 40, 120],
        "batch_size": 64,
        "evidence": "auto",
        "num_test": 50,
        "num_gradient": 48,
        "evidence_samples": 1000,
    },
    "standard": {
        "groups": ["linear", "digits", "faces"],
        "objectives": OBJECTIVES,
        "seeds": [0, 1, 2],
        "snapshots": [1, 3, 10, 30, 120],
        "linear_snapshots": [2, 5, 10, 20, 40, 80, 160, 320],
        "batch_size": 64,
        "evidence": "auto",
        "num_test": 200,
        "num_gradient": 64,
        "evidence_samples": 1000,
    },
    "full": {
        "groups": ["linear", "digits", "faces"],
        "objectives": OBJECTIVES,
        "seeds": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        "snapshots": [1, 3, 10, 30, 100, 300, 1000],
        "linear_snapshots": [2, 5, 10, 20, 40, 80, 160, 320, 640],
        "batch_size": 64,
        "evidence": "quadrature",
        "num_test": 300,
        "num_gradient": 400,
        "evidence_samples": 5000,
    },
}
TARGETS = ("log_evidence", "elbo", "posterior_kl", "wasserstein")
PICTURES = 10


def plan(settings: Mapping[str, Any]) -> list[Cell]:
    """Per group: training, gradients along the run, bounds and per-datum losses."""
    shared = ("objectives", "seeds", "batch_size")
    evidence = ("num_test", "num_gradient", "evidence", "evidence_samples")
    cells = []
    for group in _groups(settings):
        snapshots = settings["linear_snapshots" if group == "linear" else "snapshots"]
        config = {"group": group, "snapshots": snapshots} | {k: settings[k] for k in shared}
        train = f"train {group}"
        cells.append(Cell(train, {"task": "train", **GROUPS[group], **config}))
        for task in ("gradients", "data"):
            kept = {k: settings[k] for k in evidence}
            cells.append(Cell(f"{task} {group}", {"task": task, **config, **kept}, needs=(train,)))
    if "linear" in settings["groups"]:
        cells.append(Cell("theory", {"task": "theory", "objectives": list(settings["objectives"])}))
    return cells


def _groups(settings: Mapping[str, Any]) -> list[str]:
    """The groups asked for, with a bundled substitute where the faces' file is missing."""
    if "faces" not in settings["groups"]:
        return list(settings["groups"])
    try:
        _load("faces")
    except va.errors.DataMissingError:
        return [SUBSTITUTE if group == "faces" else group for group in settings["groups"]]
    return list(settings["groups"])


def compute(cell: Cell, results: Mapping[str, CellResult]) -> CellResult:
    """Train, follow the gradients, or measure the trained models datum by datum."""
    config = cell.config
    if config["task"] == "theory":
        return _theory(config["objectives"])
    if config["task"] == "train":
        return _train(config, cell.scratch)
    trained = results[cell.needs[0]]
    if "missing" in trained.record:
        return CellResult(record=trained.record)
    return (_gradients if config["task"] == "gradients" else _measure)(config, trained)


def _load(group: str) -> va.Dataset:
    if group == SUBSTITUTE:
        return _face_sized_digits()
    return va.load_data(**GROUPS[group]["data"])


def _face_sized_digits() -> va.Dataset:
    """The bundled grey digits enlarged to 28 × 20 by linear interpolation: Frey faces' size and number."""
    digits = va.load_data("digits", form="grey")

    def enlarge(x: np.ndarray) -> np.ndarray:
        return np.clip(ndimage.zoom(x, (1, 3.5, 2.5), order=1), 0.0, 1.0).astype(np.float32)

    return dataclasses.replace(
        digits,
        name="digits enlarged",
        train=enlarge(digits.train),
        validation=enlarge(digits.validation),
        test=enlarge(digits.test),
        source=f"{digits.source} Enlarged from 8 × 8 to 28 × 20.",
    )


def _build(rng_key: Any, *, group: str) -> va.NeuralVAE:
    return va.mlp_vae(rng_key, event_shape=_load(group).event_shape, **GROUPS[group]["model"])


def _train(config: Mapping[str, Any], scratch: Path | None) -> CellResult:
    """The same run cut at each snapshot: with a constant step size a shorter run is a prefix."""
    group = config["group"]
    try:
        data = _load(group)
    except va.errors.DataMissingError as error:
        return CellResult(record={"missing": str(error)})
    arrays, history = {}, None
    for epochs in config["snapshots"]:
        last = epochs == max(config["snapshots"])
        sweep = va.sweep(
            functools.partial(_build, group=group),
            config["objectives"],
            data,
            seeds=config["seeds"] if last else config["seeds"][:1],
            epochs=epochs,
            batch_size=config["batch_size"],
            learning_rate=config["learning_rate"],
            checkpoint=scratch / str(epochs) if scratch else None,
            progress=va.training_progress(f"train {group}, {epochs} epochs"),
        )
        arrays |= {f"{epochs}:{name}": value for name, value in va.stack_models(sweep.models).items()}
        history = sweep.history if last else history
    return CellResult(
        frames={"history": history.assign(group=group)},
        arrays=arrays,
        record={"data_sha256": data.sha256, "title": GROUPS[group]["title"]},
    )


def _theory(objectives: Sequence[str]) -> CellResult:
    """The optimum of each objective on the linear group's training data, from the derivations."""
    data, model = _load("linear"), GROUPS["linear"]["model"]
    spectrum = np.linalg.eigvalsh(np.cov(data.train.T, bias=True))[::-1]
    table = va.linear_gaussian_optima(
        spectrum, model["latent_dim"], objectives, noise_scale=model["likelihood_scale"]
    )
    return CellResult({"theory": table})


def _models(config: Mapping[str, Any], trained: CellResult, epochs: int) -> dict[tuple[str, int], Any]:
    """Models of one snapshot by (objective, seed), in the sweep's order."""
    models = stored_models(trained.arrays, f"{epochs}:", _build(0, group=config["group"]))
    seeds = config["seeds"] if epochs == max(config["snapshots"]) else config["seeds"][:1]
    labels = [(va.objectives.parse(o).name, s) for o in config["objectives"] for s in seeds]
    return dict(zip(labels, models, strict=True))


# ------------------------------------------------------------------------------ gradients over time


def _gradients(config: Mapping[str, Any], trained: CellResult) -> CellResult:
    """Cosines of each objective's gradient at the snapshots of its own run (first seed)."""
    group, seed = config["group"], config["seeds"][0]
    linear = GROUPS[group]["evidence"] == "closed form"
    x = _load(group).train[: 1000 if linear else config["num_gradient"]]
    options = {"num_samples": 8} if linear else {"num_samples": 32, "num_importance": 128}
    snapshots = {epochs: _models(config, trained, epochs) for epochs in config["snapshots"]}
    held_out = _load(group).test[: 500 if linear else config["num_gradient"]]
    parts, heights = [], []
    for text in config["objectives"]:
        objective = va.objectives.parse(text)
        run = [(epochs, models[objective.name, seed]) for epochs, models in snapshots.items()]
        run = [(epochs, as_linear(model) if linear else model) for epochs, model in run]
        parts.append(va.alignment_along_training(objective, run, x, TARGETS, num_replicates=24, **options))
        heights += [{"objective": objective.name, "epoch": e} | _height(m, held_out) for e, m in run]
    frames = {"path": pd.concat(parts, ignore_index=True), "heights": pd.DataFrame(heights)}
    return CellResult({name: frame.assign(group=group, seed=seed) for name, frame in frames.items()})


def _height(model: Any, x: np.ndarray) -> dict[str, float]:
    """Mean held-out log p(x) of a snapshot: exact, by quadrature, or missing."""
    if isinstance(model, va.LinearGaussianVAE):
        return {"log_evidence": float(model.exact_log_evidence(x).mean())}
    if model.latent_dim > 2:
        return {"log_evidence": np.nan}
    found = va.log_evidence(model, x, method="quadrature")
    return {"log_evidence": float(found.value.mean()) if found.reliable.all() else np.nan}


# -------------------------------------------------------------------------- bounds and per-datum loss


def _log_evidence(model: Any, x: np.ndarray, config: Mapping[str, Any]) -> pd.DataFrame:
    """Log p(x) per datum with its standard error, and whether that error can be believed."""
    if GROUPS[config["group"]]["evidence"] == "closed form":
        return pd.DataFrame({"value": as_linear(model).exact_log_evidence(x), "error": 0.0, "known": True})
    method = config["evidence"] if model.latent_dim <= 3 else "auto"
    found = va.log_evidence(
        model, x, method=method, num_samples=config["evidence_samples"], proposal="adapted"
    )
    return pd.DataFrame({"value": found.value, "error": found.se, "known": found.reliable})


def _measure(config: Mapping[str, Any], trained: CellResult) -> CellResult:
    group, data = config["group"], _load(config["group"])
    x = data.test[: config["num_test"]]
    labels = None if data.test_labels is None else data.test_labels[: len(x)]
    spread = data.train.reshape(len(data.train), -1)
    distance = np.linalg.norm(x.reshape(len(x), -1) - spread.mean(axis=0), axis=1)
    bounds, per_datum, posterior = [], [], []
    for (name, seed), model in _models(config, trained, max(config["snapshots"])).items():
        label = {"group": group, "objective": name, "seed": seed}
        evidence = _log_evidence(model, x, config)
        elbo = va.objectives.score(model, "elbo", x, rng_key=seed, num_samples=64).value
        frame = pd.DataFrame({"datum": np.arange(len(x)), "elbo": elbo, "distance": distance})
        frame["log_evidence"] = evidence["value"].where(evidence["known"])
        frame["log_evidence_se"] = evidence["error"].where(evidence["known"])
        frame["label"] = -1 if labels is None else labels
        known = evidence["known"].to_numpy(dtype=bool)
        if known.any():
            check = va.bound_check(
                model,
                name,
                x[known],
                log_evidence=evidence["value"][known],
                log_evidence_error=evidence["error"][known],
                rng_key=seed,
                num_samples=256,
            )
            frame.loc[known, "objective_value"] = check.per_datum["value"].to_numpy()
            above = (check.per_datum["status"] == "above").to_numpy()
            limit = evidence["value"][known].where(above)  # none where nothing is certified
            frame.loc[known, "log_evidence_upper"] = limit.to_numpy()
            bounds.append(_bound_row(check, label))
        per_datum.append(frame.assign(**label))
        if seed == config["seeds"][0]:
            posterior.append(_posterior(model, name, x).assign(**label))
    frames = {"per_datum": per_datum, "posterior": posterior} | ({"bounds": bounds} if bounds else {})
    return CellResult(
        {key: pd.concat(parts, ignore_index=True) for key, parts in frames.items()},
        {"x": x.astype(np.float32)},
    )


def _bound_row(check: Any, label: dict[str, Any]) -> pd.DataFrame:
    row = {
        **label,
        "claims_bound": check.claims_lower_bound,
        "num_data": len(check.per_datum),
        "num_exceeding": check.num_exceeding,
        "num_undecided": check.num_undecided,
        "mean_excess": check.mean_excess.value,
        "largest_excess": check.largest_excess.value,
        "largest_excess_lower": check.largest_excess.lower,
    }
    return pd.DataFrame([row])


def _posterior(model: Any, name: str, x: np.ndarray) -> pd.DataFrame:
    """Encoder output per datum and latent, and what the stand-in leaves out there: KL − R, nats."""
    loc, scale = (np.asarray(a, dtype=float) for a in model.encode(x))
    datum, latent = np.meshgrid(np.arange(len(x)), np.arange(loc.shape[1]), indexing="ij")
    frame = pd.DataFrame({"datum": datum.ravel(), "latent": latent.ravel()})
    frame["loc"], frame["scale"] = loc.ravel(), scale.ravel()
    regulariser = va.objectives.parse(name).regulariser
    frame["kl_excess"] = va.kl_excess(regulariser, frame["loc"], frame["scale"])
    return frame


study = va.Study(
    name="penalty_vs_kl",
    title="May the KL be replaced by a penalty on μ and σ?",
    question="What does E log p(x|z) − Σ (μ² + (σ−1)²) optimise, compared with the ELBO?",
    presets=PRESETS,
    plan=plan,
    compute=compute,
    page=functools.partial(page, groups=GROUPS),
    summary=summary,
    version=2,
)

if __name__ == "__main__":
    study.main()
