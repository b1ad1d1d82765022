"""Do the intervals for log p(x) hold? Coverage, bias, brackets and refusals where the truth is known."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from _calibration_page import page, recommendations

import vaeaudit as va
from vaeaudit import Cell, CellResult

GRID = (  # latents, scale of q over the posterior's, shift of its mean in posterior standard deviations
    (2, 0.6, 0.0), (2, 0.8, 0.0), (2, 1.2, 0.5), (5, 0.7, 0.0), (5, 0.9, 0.5), (5, 1.5, 0.0),
    (10, 0.6, 0.0), (10, 0.8, 0.0), (10, 0.9, 0.5), (10, 1.2, 0.0), (20, 0.7, 0.0), (20, 0.8, 0.3),
    (20, 0.9, 0.0), (20, 1.1, 0.5), (20, 1.5, 0.0), (32, 0.8, 0.0), (32, 0.9, 0.0), (32, 1.1, 0.0),
)  # fmt: skip
SMALL = ((2, 0.8, 0.0), (5, 0.9, 0.5), (10, 0.8, 0.0))
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "quick": {
        "grid": [list(s) for s in SMALL],
        "replications": 200,
        "num_samples": 500,
        "bracket_latents": [2],
        "temperatures": [30, 100],
        "bias_replications": 4000,
        "epochs": 20,
        "trained_latents": [2],
    },
    "standard": {
        "grid": [list(s) for s in GRID],
        "replications": 1000,
        "num_samples": 500,
        "bracket_latents": [2, 10],
        "temperatures": [30, 100, 300],
        "bias_replications": 20_000,
        "epochs": 60,
        "trained_latents": [2, 16],
    },
    "full": {
        "grid": [list(s) for s in GRID],
        "replications": 10_000,
        "num_samples": 500,
        "bracket_latents": [2, 10, 32],
        "temperatures": [30, 100, 300, 1000],
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
    """One cell per setting of the grid, then bias, brackets and trained models."""
    cells = [
        Cell(
            f"coverage-{latents}-{scale}-{shift}",
            {"latents": latents, "scale": scale, "shift": shift}
            | {k: settings[k] for k in ("replications", "num_samples")},
        )
        for latents, scale, shift in settings["grid"]
    ]
    cells.append(Cell("bias", {"replications": settings["bias_replications"]}))
    cells += [
        Cell(f"bracket-{latents}", {"latents": latents, "temperatures": list(settings["temperatures"])})
        for latents in settings["bracket_latents"]
    ]
    cells += [
        Cell(f"trained-{latents}", {"latents": latents, "epochs": settings["epochs"]})
        for latents in settings["trained_latents"]
    ]
    return cells


def compute(cell: Cell, results: Mapping[str, CellResult]) -> CellResult:
    """Estimate where the truth is known, and count."""
    kind = cell.key.split("-")[0]
    make = {"coverage": coverage, "bias": bias, "bracket": bracket, "trained": trained}[kind]
    return CellResult({kind: make(**cell.config)})


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


def bracket(latents: int, temperatures: Sequence[int]) -> pd.DataFrame:
    """Width of the bidirectional bracket and the share of data it holds, against cost."""
    model = exact_model(latents).mismatched(0.8, 0.3)
    rows = []
    for number in temperatures:
        start = time.perf_counter()
        found = va.evidence_bracket(model, 3, 100, num_temperatures=number, start="encoder")
        seconds = time.perf_counter() - start
        truth = model.exact_log_evidence(found.x)
        frame = found.per_datum
        low, high = found.interval
        rows.append(
            {
                "latents": latents,
                "temperatures": number,
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


def trained(latents: int, epochs: int) -> pd.DataFrame:
    """A VAE trained on binary digits: each method against quadrature (2 latents), and what is refused."""
    data = va.load_data("digits", form="binary")

    def build(rng_key: Any) -> va.NeuralVAE:
        return va.mlp_vae(rng_key, event_shape=data.event_shape, latent_dim=latents)

    model = va.fit(build(0), va.objectives.elbo(), data, rng_key=0, epochs=epochs).model
    x = data.test[:300]
    truth = va.log_evidence(model, x, method="quadrature") if latents <= 3 else None
    rows = []
    for method, proposal in (("iw", "encoder"), ("iw", "defensive"), ("iw", "adapted"), ("auto", "encoder")):
        ev = va.log_evidence(model, x, 1, method, proposal=proposal)
        row = {
            "latents": latents,
            "method": method if method == "auto" else f"{method}/{proposal}",
            "mean": float(ev.value.mean()),
            "refused": float(np.mean(~ev.reliable)),
            "median_se": float(np.median(ev.se)),
            "median_pareto_k": float(np.nanmedian(ev.pareto_k)),
        }
        if truth is not None:
            error = ev.value - truth.value
            kept = ev.reliable & truth.reliable
            row |= {
                "mean_error": float(error.mean()),
                "worst_error": float(np.abs(error).max()),
                "within_0.05": float(np.mean(np.abs(error) <= 0.05)),
                "within_0.05_or_flagged": float(np.mean((np.abs(error) <= 0.05) | ~ev.reliable)),
                "coverage": float(np.mean(((ev.lower <= truth.upper) & (truth.lower <= ev.upper))[kept])),
            }
        rows.append(row)
    return pd.DataFrame(rows)


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
)

if __name__ == "__main__":
    study.main()
