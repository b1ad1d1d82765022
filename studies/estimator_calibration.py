"""Do the intervals for log p(x) hold? Coverage, bias, brackets and refusals where the truth is known."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from _calibration_images import gap, large, trained
from _calibration_page import page
from _calibration_tables import recommendations

import vaeaudit as va
from vaeaudit import Cell, CellResult
from vaeaudit.estimators.annealed import ais_log_evidence

GRID = (  # latents, scale of q over the posterior's, shift of its mean in posterior standard deviations
    (2, 0.6, 0.0), (2, 0.8, 0.0), (2, 1.2, 0.5), (5, 0.7, 0.0), (5, 0.9, 0.5), (5, 1.5, 0.0),
    (10, 0.6, 0.0), (10, 0.8, 0.0), (10, 0.9, 0.5), (10, 1.2, 0.0), (20, 0.7, 0.0), (20, 0.8, 0.3),
    (20, 0.9, 0.0), (20, 1.1, 0.5), (20, 1.5, 0.0), (32, 0.8, 0.0), (32, 0.9, 0.0), (32, 1.1, 0.0),
)  # fmt: skip
SMALL = ((2, 0.8, 0.0), (5, 0.9, 0.5), (10, 0.8, 0.0))
ANNEALING = (  # latents, scale, shift, start, temperatures
    (2, 1.2, 0.5, "encoder", 300), (5, 1.5, 0.0, "encoder", 300), (10, 0.6, 0.0, "encoder", 300),
    (20, 0.8, 0.3, "laplace", 300), (2, 0.8, 0.3, "encoder", 100), (10, 0.9, 0.5, "encoder", 100),
    (20, 0.8, 0.3, "encoder", 300), (32, 0.8, 0.3, "encoder", 300), (10, 0.8, 0.3, "prior", 300),
)  # fmt: skip
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "quick": {
        "grid": [list(s) for s in SMALL],
        "replications": 200,
        "num_samples": 500,
        "bracket_latents": [2],
        "bracket_data": 100,
        "temperatures": [30, 100],
        "annealing": [[5, 0.7, 0.0, "encoder", 100]],
        "annealed": 200,
        "gap": {"hidden": 32, "epochs": 20, "num_data": 20, "steps": 100},
        "gap_latents": [2],
        "large": {"source": "digits", "hidden": 100, "latents": 5, "epochs": 5, "num_data": 8}
        | {"num_samples": 500, "temperatures": 50},
        "bias_replications": 4000,
        "epochs": 20,
        "trained_latents": [2],
    },
    "standard": {
        "grid": [list(s) for s in GRID],
        "replications": 1000,
        "num_samples": 500,
        "bracket_latents": [2, 10],
        "bracket_data": 200,
        "temperatures": [30, 100, 300],
        "annealing": [list(s) for s in ANNEALING[:4]],
        "annealed": 1000,
        "gap": {"hidden": 64, "epochs": 100, "num_data": 100, "steps": 300},
        "gap_latents": [2, 16],
        "large": {"source": "digits", "hidden": 400, "latents": 20, "epochs": 40, "num_data": 16}
        | {"num_samples": 2000, "temperatures": 200},
        "bias_replications": 20_000,
        "epochs": 60,
        "trained_latents": [2, 16],
    },
    "full": {
        "grid": [list(s) for s in GRID],
        "replications": 10_000,
        "num_samples": 500,
        "bracket_latents": [2, 10, 32],
        "bracket_data": 400,
        "temperatures": [30, 100, 300, 1000],
        "annealing": [list(s) for s in ANNEALING],
        "annealed": 4000,
        "gap": {"hidden": 64, "epochs": 200, "num_data": 200, "steps": 300},
        "gap_latents": [2, 16],
        "large": {"source": "mnist", "hidden": 400, "latents": 20, "epochs": 10, "num_data": 32}
        | {"num_samples": 5000, "temperatures": 500},
        "bias_replications": 100_000,
        "epochs": 200,
        "trained_latents": [2, 16],
    },
}
GROUP = 20  # data per simulated data set, for the coverage of dataset means
NOISE = 0.5


def exact_model(latent_dim: int) -> va.LinearGaussianVAE:
    """Linear decoder with orthogonal columns: a diagonal encoder can equal the posterior."""
    rng = np.random.default_rng(latent_dim)
    basis, _ = np.linalg.qr(rng.normal(size=(latent_dim + 2, latent_dim)))
    weight = basis * np.linspace(0.5, 1.5, latent_dim)
    return va.LinearGaussianVAE.optimal(weight, rng.normal(size=latent_dim + 2), NOISE)


def draw_data(model: va.LinearGaussianVAE, num_data: int, seed: int) -> np.ndarray:
    """Data from the model."""
    rng = np.random.default_rng([seed, model.latent_dim])
    return model.generative.sample(rng, num_data)[1].astype(np.float32)


def plan(settings: Mapping[str, Any]) -> Sequence[Cell]:
    """Bias, brackets, annealing and trained models, then one cell per setting of the grid."""
    cells = [Cell("bias", {"replications": settings["bias_replications"]})]
    cells += [
        Cell(
            f"bracket-{latents}",
            {
                "latents": latents,
                "temperatures": list(settings["temperatures"]),
                "num_data": settings["bracket_data"],
            },
        )
        for latents in settings["bracket_latents"]
    ]
    cells += [
        Cell(f"trained-{latents}", {"latents": latents, "epochs": settings["epochs"]})
        for latents in settings["trained_latents"]
    ]
    names = ("latents", "scale", "shift", "start", "temperatures")
    cells += [
        Cell(
            "annealing-" + "-".join(str(v) for v in setting),
            dict(zip(names, setting, strict=True)) | {"replications": settings["annealed"]},
        )
        for setting in settings["annealing"]
    ]
    cells += [
        Cell(f"gap-{latents}", {"latents": latents} | dict(settings["gap"]))
        for latents in settings["gap_latents"]
    ]
    cells.append(Cell("large", dict(settings["large"])))
    cells += [
        Cell(
            f"coverage-{latents}-{scale}-{shift}",
            {"latents": latents, "scale": scale, "shift": shift}
            | {k: settings[k] for k in ("replications", "num_samples")},
        )
        for latents, scale, shift in settings["grid"]
    ]
    return cells


def compute(cell: Cell, results: Mapping[str, CellResult]) -> CellResult:
    """Estimate where the truth is known, and count."""
    kind = cell.key.split("-")[0]
    make: dict[str, Callable[..., pd.DataFrame]] = {
        "coverage": coverage,
        "bias": bias,
        "bracket": bracket,
        "annealing": annealing,
        "trained": trained,
        "gap": gap,
        "large": large,
    }
    return CellResult({kind: make[kind](**cell.config)})


def coverage(latents: int, scale: float, shift: float, replications: int, num_samples: int) -> pd.DataFrame:
    """How often the interval holds the truth: per datum, and for means of 20 data."""
    model = exact_model(latents).mismatched(scale, shift)
    x = draw_data(model, replications, seed=1)
    truth = model.exact_log_evidence(x)
    rng = np.random.default_rng(0)
    rows = []
    everything = x, truth
    for method, count in (("iw", min(replications, 2000)), ("auto", replications)):
        x, truth = everything[0][:count], everything[1][:count]
        ev = va.log_evidence(model, x, 7, method, num_samples, batch_size=min(1000, count))
        kept = ev.reliable
        inside = (ev.lower <= truth) & (truth <= ev.upper)
        ratio = np.exp(ev.value - truth)
        groups = [rng.choice(count, GROUP, replace=False) for _ in range(count)]
        means = [(ev.rows(g).mean, float(truth[g].mean())) for g in groups]
        given = [m.lower <= t <= m.upper for m, t in means if m.has_interval]
        delta = np.abs(ev.value - truth) <= 1.96 * ev.se
        share = {f"share_{name}": float(np.mean(ev.method == name)) for name in ("iw/guarded", "iw/adapted")}
        rows.append(
            {
                "method": method,
                "latents": latents,
                "scale": scale,
                "shift": shift,
                "replications": count,
                "num_samples": num_samples,
                "refused": float(np.mean(~kept)),
                "coverage": float(np.mean(inside[kept])) if kept.any() else np.nan,
                "coverage_mean": float(np.mean(given)) if given else np.nan,
                "refused_mean": 1.0 - len(given) / len(means),
                "coverage_delta": float(np.mean(delta)),
                "mean_ratio": float(np.mean(ratio)),
                "mean_ratio_se": float(np.std(ratio, ddof=1) / np.sqrt(count)),
                "median_se": float(np.median(ev.se)),
                "mean_error": float(np.mean(ev.value - truth)),
                **share,
            }
        )
    return pd.DataFrame(rows)


def bias(replications: int) -> pd.DataFrame:
    """Log p̂ − log p on average, against K, for a q one and a half times too wide in 5 latents."""
    model = exact_model(5).mismatched(1.5)
    x = np.repeat(draw_data(model, 1, seed=2), replications, axis=0)
    truth = model.exact_log_evidence(x[:1])[0]
    rows = []
    for num_samples in (8, 16, 32, 64, 128, 256):
        ev = va.log_evidence(model, x, num_samples, "iw", num_samples, batch_size=min(replications, 4000))
        error = ev.value - truth
        corrected = error - ev.bias
        rows.append(
            {
                "num_samples": num_samples,
                "bias": float(error.mean()),
                "bias_se": float(error.std(ddof=1) / np.sqrt(replications)),
                "bias_corrected": float(corrected.mean()),
                "estimated_bias": float(ev.bias.mean()),
            }
        )
    return pd.DataFrame(rows)


def bracket(latents: int, temperatures: Sequence[int], num_data: int) -> pd.DataFrame:
    """Width of the bidirectional bracket and the share of data it holds, against cost."""
    model = exact_model(latents).mismatched(0.8, 0.3)
    rows = []
    for number in temperatures:
        start = time.perf_counter()
        found = va.evidence_bracket(model, 3, num_data, num_temperatures=number, start="encoder")
        seconds = time.perf_counter() - start
        truth = model.exact_log_evidence(found.x)
        frame = found.per_datum
        low, high = found.interval
        rows.append(
            {
                "latents": latents,
                "temperatures": number,
                "num_data": num_data,
                "gradients_per_datum": found.gradients_per_datum,
                "gap": found.gap,
                "interval_width": high - low,
                "holds_mean": bool(low <= truth.mean() <= high),
                "holds_per_datum": float(np.mean((frame["lower"] <= truth) & (truth <= frame["upper"]))),
                "width_per_datum": float((frame["upper"] - frame["lower"]).mean()),
                "seconds": round(seconds, 1),
            }
        )
    return pd.DataFrame(rows)


def annealing(
    latents: int, scale: float, shift: float, start: str, temperatures: int, replications: int
) -> pd.DataFrame:
    """How often annealing's interval holds the truth, from a start whose scale and mean are wrong."""
    model = exact_model(latents).mismatched(scale, shift)
    x = draw_data(model, replications, seed=6)
    truth = model.exact_log_evidence(x)
    ev = ais_log_evidence(model, x, 9, num_temperatures=temperatures, start=start, batch_size=500)
    kept = ev.reliable
    inside = (ev.lower <= truth) & (truth <= ev.upper)
    ratio = np.exp(ev.value - truth)
    row = {
        "latents": latents,
        "scale": scale,
        "shift": shift,
        "start": start,
        "temperatures": temperatures,
        "replications": replications,
        "gradients_per_datum": int(ev.num_samples[0]),
        "refused": float(np.mean(~kept)),
        "coverage": float(np.mean(inside[kept])) if kept.any() else np.nan,
        "coverage_se": float(np.sqrt(0.95 * 0.05 / max(kept.sum(), 1))),
        "mean_ratio": float(np.mean(ratio)),
        "mean_ratio_se": float(np.std(ratio, ddof=1) / np.sqrt(replications)),
        "median_se": float(np.median(ev.se)),
    }
    return pd.DataFrame([row])


def summary(settings: Mapping[str, Any], results: Mapping[str, CellResult]) -> pd.DataFrame:
    """Which estimator to use when, with the coverage that was measured."""
    return recommendations(results)


study = va.Study(
    name="estimator_calibration",
    title="Which estimate of log p(x) can be believed",
    question="How often do the intervals for log p(x) hold the truth, what do they cost, and which method "
    "should be used when?",
    presets=PRESETS,
    plan=plan,
    compute=compute,
    page=page,
    summary=summary,
    version=2,
)

if __name__ == "__main__":
    study.main()
