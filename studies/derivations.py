"""What is claimed about VAE objectives, claim by claim, and the linear-Gaussian theory of each objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from _derivations_page import page

import vaeaudit as va
from vaeaudit import Cell, CellResult

SPECTRA = {
    "steep": [4.0, 2.0, 0.9, 0.3, 0.2],
    "close": [1.6, 1.3, 0.8, 0.5, 0.4],
    "flat tail": [3.0, 0.6, 0.6, 0.6, 0.6],
}
SMOOTH = (
    "elbo",
    "beta(0.1)",
    "beta(0.5)",
    "beta(2)",
    "elbo + head_l2(0.1)",
    "regularized_autoencoder(0.01, 1)",
    "total_correlation(4)",
)
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "quick": {"spectra": ["steep"], "grid": 21, "seeds": [0], "trained": "few"},
    "standard": {"spectra": list(SPECTRA), "grid": 61, "seeds": [0, 1, 2], "noisy": 8, "trained": "all"},
    "full": {"spectra": list(SPECTRA), "grid": 121, "seeds": list(range(10)), "noisy": 16, "trained": "all"},
}
FEW = ("elbo", "half_quadratic(3)", "wasserstein_penalty(1)", "regularized_autoencoder(0.05, 1)")
NOISELESS = (
    "elbo",
    "beta(0.1)",
    "beta(0.5)",
    "beta(2)",
    "annealed_beta",
    "free_bits(0.05)",  # no latent at this floor
    "wasserstein_penalty(1)",
    "half_quadratic(0.3)",
    "moment_penalty(1)",
    "head_l2(0.1)",
    "elbo + head_l2(0.1)",
    "autoencoder",
    "regularized_autoencoder(0.05, 1)",
    "learned_scale",
)
ATTAINED = {  # penalties with an optimum on the spectrum: ℓ₁ < 2λs², and ℓ₁ < 4λs² for half_quadratic
    "steep": ("wasserstein_penalty(5)", "half_quadratic(3)"),
    "close": ("wasserstein_penalty(2)", "half_quadratic(1.4)"),
    "flat tail": ("wasserstein_penalty(4)", "half_quadratic(1.8)"),
}
# names, epochs, data, batch, learning rate of Adam
FLOORS = (  # the higher the floor, the flatter the turn of the shared directions
    (("free_bits(0.5)",), 120_000, 64, None, 0.06),
    (("free_bits(1.5)",), 400_000, 64, None, 0.06),
)
TARGET = (("capacity(2, 4)",), 100_000, 512, None, 0.06)
TARGET_ONLY = {"broad": [2.5, 1.4, 0.7, 0.4, 0.25]}  # without equal eigenvalues
SAMPLED = (  # objectives that keep their noise
    (("iwae(5)",), 4000, 1024, None, 0.06),
    (("total_correlation(4)",), 1500, 256, None, 0.06),
    (("mmd(10)",), 60, 8192, 128, 0.015),
)
LATENT_DIM, NOISE = 3, 0.7  # s of the tables at fixed noise
WEIGHTS = {"β · KL": "beta({})", "λ · (μ² + (σ − 1)²)": "wasserstein_penalty({})",
           "λ · (½μ² + (σ − 1)²)": "half_quadratic({})"}  # fmt: skip
OVER_NOISE = ("elbo", "beta(0.1)", "beta(4)", "elbo + head_l2(0.1)", "free_bits(0.5)")


def plan(settings: Mapping[str, Any]) -> Sequence[Cell]:
    """One cell for the register, one per spectrum for the tables, one for the paths."""
    cells = [Cell("claims", {"release": va.__version__})]
    for name in settings["spectra"]:
        config = {"spectrum": SPECTRA[name], "name": name, "seeds": list(settings["seeds"])}
        cells += [Cell(f"optima-{name.replace(' ', '-')}", config)]
        cells += [Cell(f"verified-{name.replace(' ', '-')}", config)]
        every = settings["trained"] == "all"
        exact = ([*NOISELESS, *ATTAINED[name]] if every else FEW, 12000, 64, None, 0.06)
        cells.append(_training(f"trained-{name}", config, exact))
        if every:
            noisy = config | {"seeds": list(range(settings["noisy"]))}
            cells += [
                _training(f"floors-{name}", config, *FLOORS),
                _training(f"target-{name}", config, TARGET),
                _training(f"sampled-{name}", noisy, *SAMPLED),
            ]
    if settings["trained"] == "all":
        for name, spectrum in TARGET_ONLY.items():
            config = {"spectrum": spectrum, "name": name, "seeds": list(settings["seeds"])}
            cells.append(_training(f"target-{name}", config, TARGET))
    cells.append(Cell("noise", {"num_batches": 100 * len(settings["seeds"])}))
    return [*cells, Cell("paths", {"spectrum": SPECTRA["steep"], "grid": settings["grid"]})]


def _training(key: str, config: Mapping[str, Any], *groups: tuple[Any, ...]) -> Cell:
    plain = [[list(names), *sizes] for names, *sizes in groups]
    return Cell(key.replace(" ", "-"), {**config, "groups": plain})


def compute(cell: Cell, results: Mapping[str, CellResult]) -> CellResult:
    """Judge the claims, tabulate the optima, follow them over β, λ and s²."""
    kind = cell.key.split("-")[0]
    if kind == "claims":
        return CellResult({"claims": va.check_derivations()})
    if kind == "optima":
        tables = [
            va.linear_gaussian_optima(cell.config["spectrum"], LATENT_DIM, noise_scale=noise).assign(
                spectrum=cell.config["name"],
                noise="learned" if noise is None else "fixed",
                eigenvalues=", ".join(f"{e:g}" for e in cell.config["spectrum"]),
            )
            for noise in (NOISE, None)
        ]
        return CellResult({"optima": pd.concat(tables, ignore_index=True)})
    if kind == "verified":
        tables = [
            va.verify_linear_gaussian_optima(
                cell.config["spectrum"], LATENT_DIM, SMOOTH, noise, seeds=cell.config["seeds"]
            ).assign(spectrum=cell.config["name"])
            for noise in (NOISE, None)
        ]
        return CellResult({"verified": pd.concat(tables, ignore_index=True)})
    if kind in ("trained", "floors", "target", "sampled"):
        return CellResult({"trained": _trained(cell.config)})
    if kind == "noise":
        noise = va.gradient_noise(num_batches=cell.config["num_batches"])
        return CellResult({"noise": noise})
    return CellResult(_paths(np.array(cell.config["spectrum"]), int(cell.config["grid"])))


def _trained(config: Mapping[str, Any]) -> pd.DataFrame:
    """Models trained by the sweep against the derived optima."""
    tables = [
        va.train_linear_gaussian(
            config["spectrum"],
            LATENT_DIM,
            names,
            NOISE,
            seeds=config["seeds"],
            epochs=epochs,
            num_data=(num_data, num_data),
            batch_size=batch_size,
            learning_rate=rate,
            progress=va.training_progress(f"train {config['name']}"),
        )
        for names, epochs, num_data, batch_size, rate in config["groups"]
    ]
    return pd.concat(tables, ignore_index=True).assign(spectrum=config["name"])


def _paths(spectrum: np.ndarray, grid: int) -> dict[str, pd.DataFrame]:
    weights = np.geomspace(0.02, 20.0, grid)
    by_weight = pd.concat(
        va.linear_gaussian_optima(
            spectrum, LATENT_DIM, [pattern.format(f"{k:.6g}") for k in weights], noise_scale=NOISE
        ).assign(regulariser=label, setting=np.repeat(weights, LATENT_DIM))
        for label, pattern in WEIGHTS.items()
    )
    variances = np.geomspace(0.05, 5.0, grid)
    by_noise = pd.concat(
        va.linear_gaussian_optima(spectrum, LATENT_DIM, OVER_NOISE, noise_scale=float(v**0.5)).assign(
            variance=v
        )
        for v in variances
    )
    growth = np.geomspace(0.05, 1e4, max(grid, 41))
    ridge = pd.concat(
        va.linear_gaussian_path(name, float(spectrum[0]), growth, NOISE)
        for name in ("elbo", "wasserstein_penalty(1)", "half_quadratic(1)", "moment_penalty(1)")
    )
    return {name: frame.reset_index(drop=True) for name, frame in
            {"by_weight": by_weight, "by_noise": by_noise, "ridge": ridge}.items()}  # fmt: skip


def summary(settings: Mapping[str, Any], results: Mapping[str, CellResult]) -> pd.DataFrame:
    """How many claims end in which verdict, and how many as registered."""
    claims = results["claims"].frames["claims"]
    kinds = claims["verdict"].str.replace(r" by .*", "", regex=True)
    return (
        claims.assign(verdict=kinds)
        .groupby("verdict", sort=False)
        .agg(claims=("id", "size"), as_registered=("agrees", "sum"))
        .reset_index()
    )


study = va.Study(
    name="derivations",
    title="What is claimed about VAE objectives, and what holds",
    question="Which of the formulas and claims about VAE objectives hold, which fail, and what does each "
    "objective's "
    "optimum look like where it can be derived?",
    presets=PRESETS,
    plan=plan,
    compute=compute,
    page=page,
    summary=summary,
    version=4,
)

if __name__ == "__main__":
    study.main()
