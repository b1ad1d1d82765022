"""Models trained by the sweep on Gaussian data, held against the derived optimum of every objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from vaeaudit.core.errors import ArgumentError
from vaeaudit.derivations.linear_compare import (
    Quantities,
    on_axes,
    quantities,
    row,
    scatter_bias,
    turned,
    unit_of,
)
from vaeaudit.derivations.linear_direction import ANY_SCALE, LIMIT, at_weight
from vaeaudit.derivations.linear_models import Matrices, gaussian_data, principal_basis
from vaeaudit.derivations.linear_noise import total_value
from vaeaudit.derivations.linear_numeric import capacity_cost, optimise
from vaeaudit.derivations.linear_on_data import (
    capacity_on_data,
    capacity_value,
    from_flat,
    to_flat,
    total_correlation_on_data,
)
from vaeaudit.derivations.linear_recipes import HELD, Trained, Way, is_sampled, train, way_of
from vaeaudit.derivations.linear_terms import DirectionTerms, direction_terms, setting
from vaeaudit.derivations.linear_theory import linear_gaussian_optima
from vaeaudit.derivations.linear_value import mmd_given_scale, population_value
from vaeaudit.objectives import Objective, parse
from vaeaudit.objectives.aggregate import MMD, TotalCorrelation
from vaeaudit.objectives.kl_family import Capacity
from vaeaudit.training.outcome import Progress

DERIVED, ON_DATA, LOCAL, GIVEN_SCALE = (
    "N(0, S)",
    "these data",
    "local on these data",
    "at its scales",
)
SAME = 1e-6  # nats: two optima of one value
FIRST_ORDER = 1e-3  # share of a group's step at which a quantity's change is read off
ROUNDING = 1e-6  # of float32, relative


def train_linear_gaussian(
    spectrum: Sequence[float] | np.ndarray,
    latent_dim: int,
    objectives: Sequence[str | Objective],
    noise_scale: float = 1.0,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 12000,
    num_data: tuple[int, int] = (64, 1024),
    batch_size: int | None = None,
    learning_rate: float = 0.06,
    progress: Progress | None = None,
) -> pd.DataFrame:
    r"""Train linear VAEs by the sweep and compare them with the derived optimum, quantity by quantity.

    Parameters
    ----------
    spectrum
        Eigenvalues of the data covariance, (D,); the data have it exactly, in a random basis.
    latent_dim
        Number of latents J.
    objectives
        Objectives or their names.
    noise_scale
        The decoder's s; ``learned_scale`` starts from it.
    seeds
        One start and one noise stream each, below 1000.
    epochs, learning_rate
        Passes of Adam over the data with a cosine schedule to zero.
    num_data
        Data for objectives that see the covariance alone, and for those that see more of the data's
        shape (``capacity``, ``iwae``, ``total_correlation``, ``mmd``).
    batch_size
        All data by default. ``mmd`` wants a small batch of many data: its estimate is unbiased for
        pairs of independent data, and those of one batch of all are not.
    progress
        As in `sweep`.

    Returns
    -------
    DataFrame
        ``objective``, ``seed``, ``trained_by`` (how the expectation over z enters the gradient),
        ``held_weight_sq`` (w² of a decoder held still, else NaN), ``quantity``, ``direction``,
        ``derived``, ``trained``, ``relative_error``, ``optimum`` (which one ``derived`` is),
        ``population`` (the optimum for N(0, S)), ``population_distance`` (of ``derived`` from it,
        relative), ``derived_error`` (half the 95 % interval of a derived number that is an average over
        noise) and ``scatter_bias`` (by how much noise in the gradient shifts the quantity).

    Raises
    ------
    ArgumentError, ShapeError, UnknownNameError

    Notes
    -----
    Objectives of averages over q train without noise: the likelihood's expectation is in closed form.
    ``iwae``, ``total_correlation`` and ``mmd`` read single draws and keep their noise; it shifts a
    maximum's value and other quantities of second order, by ``scatter_bias`` (`scatter_bias`).

    Free bits below the floor and ``capacity`` have a crease at the optimum, on which Adam's steps, of one
    size in every direction, do not settle. The sweep's Adam is given an ε of 10⁴ there, which leaves
    momentum steps of 0.1 times the gradient, with a cosine to zero: give 10⁵ epochs or more. Free bits
    start from the best of 6 starts after 3,000 epochs of Adam, chosen by the value alone: they have
    local optima. ``capacity`` is trained with its target held at C.

    ``capacity`` is compared with its optimum on the training data, found by BFGS in float64: its mean of
    |rate − C| over N data is not that over N(0, S). Where a run ends in another local optimum on these
    data, its value is compared with the best and its parameters with the local one, which BFGS finds from
    there. ``total_correlation`` reads q(z) off its batch: compared with the optimum for the mixture over
    these data. The supremum of ``mmd`` is at σ → 0, where its gradient dies out: compared with the
    optimum at the scales reached.

    An objective without an attained optimum here is trained with its decoder held at w² = 1, 4 and 16
    along the leading axes, where the derived encoder is unique. Scales, w·a and collapsed weights are
    compared by difference (relatively to 1 and to ℓ), everything else relatively.

    References
    ----------
    `linear_gaussian_optima` for the derived side.
    """
    if any(not 0 <= seed < 1000 for seed in seeds):
        raise ArgumentError(f"`seeds` must lie in [0, 1000), for starts are numbered past it; got {seeds!r}.")
    values = np.sort(np.asarray(spectrum, dtype=np.float64))[::-1]
    basis = principal_basis(len(values), 0)
    tables = {
        o.name: (o, linear_gaussian_optima(values, latent_dim, [o], noise_scale))
        for o in map(parse, objectives)
    }
    groups: dict[Way, list[Objective]] = {}
    for objective, table in tables.values():
        attained = table["how"][0] != LIMIT
        way = way_of(objective, attained=attained, scales=table["scale"].to_numpy())
        groups.setdefault(way, []).append(objective)
    parts = []
    for way, members in groups.items():
        x = gaussian_data(values, num_data[way.sees_shape], 0)
        runs = train(
            way,
            members,
            x,
            basis,
            latent_dim,
            noise_scale,
            seeds=seeds,
            epochs=epochs,
            batch_size=min(batch_size or len(x), len(x)),
            learning_rate=learning_rate,
            progress=progress,
        )
        for objective in members:
            own = [run for run in runs if run.objective is objective]
            data = Data(x, values, basis, noise_scale)
            rows = _rows(way, objective, tables[objective.name][1], own, data)
            label = {"objective": objective.name, "trained_by": way.trained_by}
            parts += [label | r for r in rows]
    frame = pd.DataFrame(parts)
    first = ["objective", "seed", "trained_by", "held_weight_sq"]
    return frame[[*first, *(c for c in frame.columns if c not in first)]]


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


def _rows(
    way: Way, objective: Objective, table: pd.DataFrame, runs: list[Trained], data: Data
) -> list[dict[str, Any]]:
    """The comparison of one objective's runs."""
    found: list[dict[str, Any]] = []
    plain = {"optimum": DERIVED, "population_distance": 0.0, "derived_error": 0.0, "scatter_bias": 0.0}
    if isinstance(objective, Capacity):
        return _capacity_rows(objective, runs, data)
    if is_sampled(objective):
        return _sampled_rows(objective, table, runs, data)
    for run in runs:
        if way.trained_by == HELD:
            rows = _compare_encoder(objective, data, run.held, run.matrices)
        else:
            rows = _compare(objective, table, run.matrices, data.cov)
        label = {"seed": run.seed, "held_weight_sq": run.held}
        found += [label | r | plain | {"population": r["derived"]} for r in rows]
    return found


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


def _capacity_rows(objective: Capacity, runs: list[Trained], data: Data) -> list[dict[str, Any]]:
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


def _sampled_rows(
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


def _compare(
    objective: Objective, table: pd.DataFrame, got: Matrices, cov: np.ndarray
) -> list[dict[str, Any]]:
    """Rows of one model trained without noise."""
    any_scale = table["how"][0] == ANY_SCALE
    spectrum = table["eigenvalue"].to_numpy()
    measured = {"value": population_value(objective, got, cov)}
    if np.isfinite(table["log_evidence"][0]):
        measured["log_evidence"] = got.log_evidence(cov)
    if np.isfinite(table["log_evidence_implied"][0]):
        read = replace(got, noise_scale=float(table["implied_noise_scale"][0]))
        measured["log_evidence_implied"] = read.log_evidence(cov)
    measured["noise_scale"] = got.noise_scale
    rows = [row(name, 0, table[name][0], value, abs(table[name][0])) for name, value in measured.items()]
    rows.append(row("offset", 0, 0.0, got.offset, math.sqrt(spectrum[0])))
    through = np.sort(np.linalg.eigvals(got.enc_weight @ got.weight).real)[::-1]
    wanted = np.ones(len(table)) if any_scale else np.sqrt(table["weight_sq"]) * table["loc_map"]
    for j, (d, t) in enumerate(zip(np.sort(wanted)[::-1], through, strict=True), 1):
        rows.append(row("weight_times_loc_map", j, d, t, 1.0))
    if any_scale:
        return rows
    weight_sq = np.sort(np.linalg.eigvalsh(got.weight.T @ got.weight))[::-1]
    for j, (d, t) in enumerate(zip(np.sort(table["weight_sq"])[::-1], weight_sq, strict=True), 1):
        rows.append(row("weight_sq", j, d, t, d if d > 0 else spectrum[j - 1]))
    if not objective.deterministic:
        for j, (d, t) in enumerate(zip(np.sort(table["scale"]), np.sort(got.scale), strict=True), 1):
            rows.append(row("scale", j, d, t, 1.0))
    return rows


def _compare_encoder(objective: Objective, data: Data, y: float, got: Matrices) -> list[dict[str, Any]]:
    """Rows of an encoder trained for a decoder held at w² = y on each leading axis."""
    terms: DirectionTerms = direction_terms(objective)
    latent_dim, variance = len(got.scale), got.noise_scale**2
    wanted = [at_weight(terms, float(e), y, variance) for e in data.spectrum[:latent_dim]]
    value = total_value(wanted, data.spectrum, variance)
    rows = [row("value", 0, value, population_value(objective, got, data.cov), abs(value))]
    derived = np.array([d.loc_map for d in wanted])[:, None] * data.basis[:, :latent_dim].T
    error = np.linalg.norm(got.enc_weight - derived) / np.linalg.norm(derived)
    rows.append(row("enc_weight_distance", 0, 0.0, float(error), 1.0))
    for j, (d, t) in enumerate(zip(wanted, got.scale, strict=True), 1):
        rows.append(row("scale", j, d.scale, float(t), 1.0))
    return rows
