"""Optima that no formula per direction gives: on the training data, on average over noise, at given scales."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from vaeaudit.derivations.linear_compare import (
    Quantities,
    on_axes,
    quantities,
    row,
    scatter_bias,
    turned,
    unit_of,
)
from vaeaudit.derivations.linear_models import Matrices
from vaeaudit.derivations.linear_numeric import capacity_cost, optimise
from vaeaudit.derivations.linear_on_data import (
    capacity_on_data,
    capacity_value,
    from_flat,
    to_flat,
    total_correlation_on_data,
)
from vaeaudit.derivations.linear_recipes import Trained
from vaeaudit.derivations.linear_terms import setting
from vaeaudit.derivations.linear_value import mmd_given_scale
from vaeaudit.objectives import Objective
from vaeaudit.objectives.aggregate import MMD, TotalCorrelation
from vaeaudit.objectives.kl_family import Capacity

DERIVED, ON_DATA, LOCAL, GIVEN_SCALE = (
    "N(0, S)",
    "these data",
    "local on these data",
    "at its scales",
)
SAME = 1e-6  # nats: two optima of one value
FIRST_ORDER = 1e-3  # share of a group's step at which a quantity's change is read off
ROUNDING = 1e-6  # of float32, relative


@dataclass(frozen=True)
class Data:
    """What the models were trained on."""

    x: np.ndarray
    spectrum: np.ndarray
    basis: np.ndarray
    noise_scale: float

    @property
    def cov(self) -> np.ndarray:
        """Their covariance S."""
        return (self.basis * self.spectrum) @ self.basis.T

    @property
    def x_on_axes(self) -> np.ndarray:
        """The data with the principal axes as coordinates."""
        return np.asarray(self.x, dtype=np.float64) @ self.basis


@dataclass(frozen=True)
class Reference:
    """An optimum that is more than one formula per direction, on the principal axes."""

    model: Matrices
    optimum: str
    spread: list[Matrices] = field(default_factory=list)  # FIRST_ORDER of the way to each set of noise's own


def _against(
    run: Trained,
    derived: Quantities,
    trained: Quantities,
    population: Quantities,
    spectrum: np.ndarray,
    **more: Any,
) -> list[dict[str, Any]]:
    label = {"seed": run.seed, "held_weight_sq": run.held}
    found = []
    for key, number in derived.items():
        unit = unit_of(*key, number, spectrum)
        moved = {"population": population[key], "population_distance": abs(number - population[key]) / unit}
        rest = {name: column[key] if isinstance(column, dict) else column for name, column in more.items()}
        found.append(label | row(*key, number, trained[key], unit) | moved | rest)
    return found


def capacity_rows(objective: Capacity, runs: list[Trained], data: Data) -> list[dict[str, Any]]:
    """Against the optimum on the training data; the population's is in ``population``."""
    target, weight = setting(objective.target), setting(objective.weight)
    cov, x, s = np.diag(data.spectrum), data.x_on_axes, data.noise_scale
    latent_dim = len(runs[0].matrices.scale)
    whole = optimise(capacity_cost(target, weight, cov), cov, latent_dim, variance=s * s)
    still = np.zeros(len(cov)), np.zeros(latent_dim)
    limit = Matrices(whole.weight, still[0], whole.enc_weight, still[1], whole.scale, s)
    population = quantities(objective, limit, cov)

    def measure(model: Matrices) -> Quantities:
        return quantities(objective, model, cov, lambda m, _: capacity_value(x, m, target, weight))

    best, top = capacity_on_data(x, latent_dim, target, weight, s)
    near = [
        capacity_on_data(x, latent_dim, target, weight, s, start=on_axes(run.matrices, data.basis))
        for run in runs
    ]
    for model, value in near:  # the best known
        best, top = (model, value) if value > top + SAME else (best, top)
    found = []
    for run, (model, value) in zip(runs, near, strict=True):
        local = value < top - SAME
        derived = measure(model if local else best)
        derived["value", 0] = top
        trained = measure(on_axes(run.matrices, data.basis))
        more = {"optimum": LOCAL if local else ON_DATA, "derived_error": 0.0, "scatter_bias": 0.0}
        found += _against(run, derived, trained, population, data.spectrum, **more)
    return found


def _reference(objective: Objective, limit: Matrices, runs: list[Matrices], data: Data) -> Reference:
    """The optimum that noisy runs should scatter about; ``limit`` is the derived one for N(0, S)."""
    if isinstance(objective, TotalCorrelation):
        weight = setting(objective.weight)
        model, by_group = total_correlation_on_data(data.x_on_axes, limit, weight)
        spread = [from_flat(to_flat(model) + FIRST_ORDER * step, model) for step in by_group]
        return Reference(model, ON_DATA, spread)
    if isinstance(objective, MMD):
        scale = np.mean([turned(run, limit).scale for run in runs], axis=0)
        weight = setting(objective.weight)
        return Reference(mmd_given_scale(weight, data.spectrum, scale, data.noise_scale), GIVEN_SCALE)
    return Reference(limit, DERIVED)


def sampled_rows(
    objective: Objective, table: pd.DataFrame, runs: list[Trained], data: Data
) -> list[dict[str, Any]]:
    """Noisy runs against their reference, with the shift that their scatter explains."""
    cov, size = np.diag(data.spectrum), len(data.spectrum)
    weight, loc_map = np.zeros((size, len(table))), np.zeros((len(table), size))
    np.fill_diagonal(weight, np.sqrt(table["weight_sq"]))
    np.fill_diagonal(loc_map, table["loc_map"])
    scale = np.maximum(table["scale"].to_numpy(), 1e-12)
    limit = Matrices(weight, np.zeros(size), loc_map, np.zeros(len(table)), scale, data.noise_scale)
    got = [on_axes(run.matrices, data.basis) for run in runs]
    reference = _reference(objective, limit, got, data)
    derived = quantities(objective, reference.model, cov)
    bias = scatter_bias(objective, got, reference.model, data.spectrum)
    error = {key: ROUNDING * unit_of(*key, number, data.spectrum) for key, number in derived.items()}
    if reference.spread:
        spread = [quantities(objective, model, cov) for model in reference.spread]
        count = len(spread)
        wide = stats.t.ppf(0.975, count - 1) / math.sqrt(count) / FIRST_ORDER
        error = {
            key: max(least, wide * float(np.std([q[key] for q in spread], ddof=1)))
            for key, least in error.items()
        }
    more = {"derived_error": error, "scatter_bias": bias, "optimum": reference.optimum}
    population, found = quantities(objective, limit, cov), []
    for run, model in zip(runs, got, strict=True):
        trained = quantities(objective, model, cov)
        found += _against(run, derived, trained, population, data.spectrum, **more)
    return found
