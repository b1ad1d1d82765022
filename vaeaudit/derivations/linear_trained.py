"""Models trained by the sweep on Gaussian data, held against the derived optimum of every objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from vaeaudit.core.errors import ArgumentError
from vaeaudit.derivations.linear_compare import Quantities, quantities, row, unit_of
from vaeaudit.derivations.linear_direction import ANY_SCALE, LIMIT, at_weight
from vaeaudit.derivations.linear_models import Matrices, gaussian_data, principal_basis
from vaeaudit.derivations.linear_noise import total_value
from vaeaudit.derivations.linear_recipes import HELD, Trained, Way, is_sampled, train, way_of
from vaeaudit.derivations.linear_reference import DERIVED, Data, capacity_rows, sampled_rows
from vaeaudit.derivations.linear_terms import DirectionTerms, direction_terms
from vaeaudit.derivations.linear_theory import linear_gaussian_optima
from vaeaudit.derivations.linear_value import population_value
from vaeaudit.objectives import Objective, parse
from vaeaudit.objectives.kl_family import Capacity
from vaeaudit.training.outcome import Progress


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


def _rows(
    way: Way, objective: Objective, table: pd.DataFrame, runs: list[Trained], data: Data
) -> list[dict[str, Any]]:
    """The comparison of one objective's runs."""
    found: list[dict[str, Any]] = []
    plain = {"optimum": DERIVED, "population_distance": 0.0, "derived_error": 0.0, "scatter_bias": 0.0}
    if isinstance(objective, Capacity):
        return capacity_rows(objective, runs, data)
    if is_sampled(objective):
        return sampled_rows(objective, table, runs, data)
    for run in runs:
        if way.trained_by == HELD:
            rows = _compare_encoder(objective, data, run.held, run.matrices)
        else:
            rows = _compare(objective, table, run.matrices, data.cov)
        label = {"seed": run.seed, "held_weight_sq": run.held}
        found += [label | r | plain | {"population": r["derived"]} for r in rows]
    return found


def _compare(
    objective: Objective, table: pd.DataFrame, got: Matrices, cov: np.ndarray
) -> list[dict[str, Any]]:
    """Rows of one model trained without noise."""
    spectrum = table["eigenvalue"].to_numpy()
    trained = quantities(objective, got, cov) | {("noise_scale", 0): got.noise_scale}
    names = ["value", "log_evidence", "log_evidence_implied", "noise_scale"]
    derived: Quantities = {(name, 0): float(table[name][0]) for name in names if np.isfinite(table[name][0])}
    if ("log_evidence_implied", 0) in derived:
        read = replace(got, noise_scale=float(table["implied_noise_scale"][0]))
        trained["log_evidence_implied", 0] = read.log_evidence(cov)
    derived["offset", 0] = 0.0
    any_scale = table["how"][0] == ANY_SCALE
    through = np.ones(len(table)) if any_scale else np.sqrt(table["weight_sq"]) * table["loc_map"]
    columns = {"weight_times_loc_map": np.sort(through)[::-1]}
    if not any_scale:
        columns["weight_sq"] = np.sort(table["weight_sq"])[::-1]
        if not objective.deterministic:
            columns["scale"] = np.sort(table["scale"])
    for name, numbers in columns.items():
        derived |= {(name, j): float(number) for j, number in enumerate(numbers, 1)}
    return [row(*key, d, trained[key], unit_of(*key, d, spectrum)) for key, d in derived.items()]


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
