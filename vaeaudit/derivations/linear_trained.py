"""Models trained by the sweep on Gaussian data, held against the derived optimum of every objective."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from vaeaudit.derivations.linear_direction import ANY_SCALE, LIMIT, at_weight
from vaeaudit.derivations.linear_models import (
    ExpectedFitVAE,
    HeldDecoderVAE,
    Matrices,
    gaussian_data,
    linear_network,
    principal_basis,
    with_decoder,
)
from vaeaudit.derivations.linear_noise import total_value
from vaeaudit.derivations.linear_terms import DirectionTerms, direction_terms
from vaeaudit.derivations.linear_theory import linear_gaussian_optima
from vaeaudit.derivations.linear_value import population_value
from vaeaudit.models.vae import NeuralVAE
from vaeaudit.objectives import Objective, parse
from vaeaudit.objectives.aggregate import MMD, TotalCorrelation
from vaeaudit.objectives.importance import IWAE
from vaeaudit.objectives.kl_family import Capacity
from vaeaudit.training.outcome import Progress
from vaeaudit.training.sweep import sweep

EXPECTED, NOISELESS, SAMPLED, HELD = (
    "expectation over z in closed form",
    "no noise in the objective",
    "sampled z",
    "decoder held, expectation in closed form",
)
HELD_WEIGHTS = (1.0, 4.0, 16.0)  # w² at which a decoder is held


def is_sampled(objective: Objective) -> bool:
    """Whether the objective reads single draws of z, so that its gradient stays noisy."""
    return isinstance(objective, (IWAE, TotalCorrelation, MMD))


def _way(objective: Objective, unattained: bool) -> tuple[str, type[NeuralVAE], bool]:
    """How it is trained, with which model, and whether the data's shape beyond the covariance matters."""
    if unattained:
        return HELD, HeldDecoderVAE, False
    if isinstance(objective, IWAE):
        return SAMPLED, NeuralVAE, True
    if is_sampled(objective):
        return SAMPLED, ExpectedFitVAE, True  # the likelihood's part exact, the aggregate's sampled
    if objective.deterministic:
        return NOISELESS, NeuralVAE, False
    return EXPECTED, ExpectedFitVAE, isinstance(objective, Capacity)


def train_linear_gaussian(
    spectrum: Sequence[float] | np.ndarray,
    latent_dim: int,
    objectives: Sequence[str | Objective],
    noise_scale: float = 1.0,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 12000,
    num_data: tuple[int, int] = (64, 1024),
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
        One start and one noise stream each.
    epochs, learning_rate
        Steps of Adam on the whole data, with a cosine schedule to zero.
    num_data
        Data for objectives that see the covariance alone, and for those that see more of the data's
        shape (``capacity``, ``iwae``, ``total_correlation``, ``mmd``).
    progress
        As in `sweep`.

    Returns
    -------
    DataFrame
        ``objective``, ``seed``, ``trained_by`` (how the expectation over z enters the gradient),
        ``held_weight_sq`` (w² of a decoder held still, else NaN), ``quantity``, ``direction``,
        ``derived``, ``trained``, ``relative_error``.

    Raises
    ------
    ArgumentError, ShapeError, UnknownNameError

    Notes
    -----
    Objectives of averages over q train without noise: the likelihood's expectation is in closed form.
    ``iwae``, ``total_correlation`` and ``mmd`` read single draws and keep their noise. An objective
    without an attained optimum here is trained with its decoder held at w² = 1, 4 and 16 along the
    leading axes, where the derived encoder is unique. Scales, w·a and collapsed weights are compared by
    difference (relatively to 1 and to ℓ), everything else relatively.

    References
    ----------
    `linear_gaussian_optima` for the derived side.
    """
    values = np.sort(np.asarray(spectrum, dtype=np.float64))[::-1]
    basis = principal_basis(len(values), 0)
    tables = {o.name: (o, _optimum(values, latent_dim, o, noise_scale)) for o in map(parse, objectives)}
    groups: dict[tuple[str, type[NeuralVAE], bool], list[str]] = {}
    for name, (objective, table) in tables.items():
        groups.setdefault(_way(objective, table["how"][0] == LIMIT), []).append(name)
    parts = []
    for (how, kind, whole), names in groups.items():
        x = gaussian_data(values, num_data[whole], 0)
        build = functools.partial(
            linear_network, kind=kind, data_dim=len(values), latent_dim=latent_dim, noise_scale=noise_scale
        )
        builds: dict[str, Callable[[Any], Any]] = {"": build}
        if how == HELD:
            axes = basis[:, :latent_dim]
            builds = {
                f"{y:g}": functools.partial(_held, build=build, weight=math.sqrt(y) * axes)
                for y in HELD_WEIGHTS
            }
        result = sweep(
            builds,
            [tables[name][0] for name in names],
            x,
            seeds=seeds,
            epochs=epochs,
            batch_size=len(x),
            learning_rate=learning_rate,
            schedule=_late if any(isinstance(tables[n][0], Capacity) for n in names) else "cosine",
            adam=(0.9, 0.99, 1e-12) if how == HELD else (0.9, 0.999, 1e-8),
            progress=progress,
        )
        for row, model in zip(result.settings.itertuples(), result.models, strict=True):
            objective, table = tables[str(row.objective)]
            got = Matrices.of(model, deterministic=objective.deterministic)
            held = float(str(row.model)) if how == HELD else math.nan
            if how == HELD:
                rows = _compare_encoder(objective, values, basis, held, got)
            else:
                rows = _compare(objective, table, got, (basis * values) @ basis.T)
            label = {"objective": objective.name, "seed": row.seed, "trained_by": how, "held_weight_sq": held}
            parts += [label | r for r in rows]
    return pd.DataFrame(parts)


def _late(epoch: int, epochs: int) -> float:
    """Wait for four fifths of the ramp of a capacity, then cosine down to 0.005.

    While the capacity is small directions collapse, and without noise nothing wakes them again; it grows
    to the last step, so that a step size of zero there would not follow it.
    """
    done = epoch / epochs
    return 1e-6 if done < 0.8 else max(0.5 * (1.0 + math.cos(math.pi * (done - 0.8) / 0.2)), 0.005)


def _optimum(spectrum: np.ndarray, latent_dim: int, objective: Objective, noise_scale: float) -> pd.DataFrame:
    return linear_gaussian_optima(spectrum, latent_dim, [objective], noise_scale)


def _held(rng_key: Any, *, build: Callable[[Any], Any], weight: np.ndarray) -> NeuralVAE:
    return with_decoder(build(rng_key), weight)


def _row(quantity: str, direction: int, derived: float, trained: float, unit: float) -> dict[str, Any]:
    return {
        "quantity": quantity,
        "direction": direction,
        "derived": float(derived),
        "trained": float(trained),
        "relative_error": float(abs(trained - derived) / unit),
    }


def _compare(
    objective: Objective, table: pd.DataFrame, got: Matrices, cov: np.ndarray
) -> list[dict[str, Any]]:
    """Rows of one trained model."""
    any_scale = table["how"][0] == ANY_SCALE
    spectrum = table["eigenvalue"].to_numpy()
    if isinstance(objective, IWAE):  # its value lies between these two
        measured = {"elbo": population_value("elbo", got, cov), "log_evidence": got.log_evidence(cov)}
    else:
        measured = {"value": population_value(objective, got, cov)}
        if np.isfinite(table["log_evidence"][0]):
            measured["log_evidence"] = got.log_evidence(cov)
        if np.isfinite(table["log_evidence_implied"][0]):
            read = replace(got, noise_scale=float(table["implied_noise_scale"][0]))
            measured["log_evidence_implied"] = read.log_evidence(cov)
    measured["noise_scale"] = got.noise_scale
    rows = [_row(name, 0, table[name][0], value, abs(table[name][0])) for name, value in measured.items()]
    rows.append(_row("offset", 0, 0.0, got.offset, math.sqrt(spectrum[0])))
    through = np.sort(np.linalg.eigvals(got.enc_weight @ got.weight).real)[::-1]
    wanted = np.ones(len(table)) if any_scale else np.sqrt(table["weight_sq"]) * table["loc_map"]
    for j, (d, t) in enumerate(zip(np.sort(wanted)[::-1], through, strict=True), 1):
        rows.append(_row("weight_times_loc_map", j, d, t, 1.0))
    if any_scale:
        return rows
    weight_sq = np.sort(np.linalg.eigvalsh(got.weight.T @ got.weight))[::-1]
    for j, (d, t) in enumerate(zip(np.sort(table["weight_sq"])[::-1], weight_sq, strict=True), 1):
        rows.append(_row("weight_sq", j, d, t, d if d > 0 else spectrum[j - 1]))
    if not objective.deterministic:
        for j, (d, t) in enumerate(zip(np.sort(table["scale"]), np.sort(got.scale), strict=True), 1):
            rows.append(_row("scale", j, d, t, 1.0))
    return rows


def _compare_encoder(
    objective: Objective, spectrum: np.ndarray, basis: np.ndarray, y: float, got: Matrices
) -> list[dict[str, Any]]:
    """Rows of an encoder trained for a decoder held at w² = y on each leading axis."""
    terms: DirectionTerms = direction_terms(objective)
    latent_dim, variance = len(got.scale), got.noise_scale**2
    wanted = [at_weight(terms, float(e), y, variance) for e in spectrum[:latent_dim]]
    value = total_value(wanted, spectrum, variance)
    cov = (basis * spectrum) @ basis.T
    rows = [_row("value", 0, value, population_value(objective, got, cov), abs(value))]
    derived = np.array([d.loc_map for d in wanted])[:, None] * basis[:, :latent_dim].T
    error = np.linalg.norm(got.enc_weight - derived) / np.linalg.norm(derived)
    rows.append(_row("enc_weight_distance", 0, 0.0, float(error), 1.0))
    for j, (d, t) in enumerate(zip(wanted, got.scale, strict=True), 1):
        rows.append(_row("scale", j, d.scale, float(t), 1.0))
    return rows
