"""A trained linear VAE beside the optimum it should have: quantities, alignment, and what noise does to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import optimize

from vaeaudit.derivations.linear_models import Matrices
from vaeaudit.derivations.linear_value import population_value
from vaeaudit.objectives import Objective
from vaeaudit.objectives.aggregate import MMD
from vaeaudit.objectives.importance import IWAE

Quantities = dict[tuple[str, int], float]  # (quantity, direction) → number
Value = Callable[[Matrices, np.ndarray], float]  # of a model and the data's covariance


def row(quantity: str, direction: int, derived: float, trained: float, unit: float) -> dict[str, Any]:
    """One line of the comparison; the error is relative to ``unit``."""
    return {
        "quantity": quantity,
        "direction": direction,
        "derived": float(derived),
        "trained": float(trained),
        "relative_error": float(abs(trained - derived) / unit),
    }


def quantities(
    objective: Objective, model: Matrices, cov: np.ndarray, value: Value | None = None
) -> Quantities:
    """What is compared: the objective's value, E log p(x), and the parameters along every direction.

    Notes
    -----
    Free of the latents' order, signs and rotation. ``value`` replaces the objective's population value.
    For importance weights the ELBO and log p(x), which enclose it, stand in its place.
    """
    found: Quantities = {}
    if isinstance(objective, IWAE):
        found["elbo", 0] = population_value("elbo", model, cov)
    else:
        found["value", 0] = population_value(objective, model, cov) if value is None else value(model, cov)
    found["log_evidence", 0] = model.log_evidence(cov)
    found["offset", 0] = model.offset
    through = np.sort(np.linalg.eigvals(model.enc_weight @ model.weight).real)[::-1]
    weight_sq = np.sort(np.linalg.eigvalsh(model.weight.T @ model.weight))[::-1]
    columns = {"weight_times_loc_map": through, "weight_sq": weight_sq, "scale": np.sort(model.scale)}
    if isinstance(objective, MMD):  # a rotation of the code changes no more than its scales
        del columns["scale"]
        found["scale_rms", 0] = float(np.sqrt(np.mean(model.scale**2)))
    for name, numbers in columns.items():
        found |= {(name, j): float(number) for j, number in enumerate(numbers, 1)}
    return found


def unit_of(quantity: str, direction: int, derived: float, spectrum: np.ndarray) -> float:
    """What an error is relative to: scales and w·a to 1, a collapsed w² to ℓ, the rest to itself."""
    if quantity in ("scale", "scale_rms", "weight_times_loc_map"):
        return 1.0
    if quantity == "offset":
        return math.sqrt(spectrum[0])
    if quantity == "weight_sq" and derived <= 0:
        return float(spectrum[direction - 1])
    return abs(derived)


def on_axes(model: Matrices, basis: np.ndarray) -> Matrices:
    """The same model with the data's principal axes as coordinates."""
    return replace(
        model, weight=basis.T @ model.weight, bias=basis.T @ model.bias, enc_weight=model.enc_weight @ basis
    )


def _blocks(spectrum: np.ndarray) -> list[np.ndarray]:
    """Axes of equal eigenvalue: within a block the data have no direction."""
    starts = np.flatnonzero(np.diff(spectrum) < -1e-9) + 1
    return np.split(np.arange(len(spectrum)), starts)


def aligned(model: Matrices, reference: Matrices, spectrum: np.ndarray) -> Matrices:
    """The model in the order, the signs and, where eigenvalues are equal, the rotation of the reference.

    Both on the principal axes. Nothing that the objective or the data distinguish is changed.
    """
    blocks, root = _blocks(spectrum), np.sqrt(spectrum)
    signals = [m.enc_weight * root for m in (reference, model)]
    sizes = [np.stack([np.linalg.norm(s[:, b], axis=1) for b in blocks], axis=1) for s in signals]
    _, order = optimize.linear_sum_assignment(sizes[0] @ sizes[1].T, maximize=True)
    sign = np.where(np.sum(signals[0] * signals[1][order], axis=1) < 0, -1.0, 1.0)
    weight, enc_weight = model.weight[:, order] * sign, model.enc_weight[order] * sign[:, None]
    bias, scale = model.bias.copy(), model.scale[order]
    for b in blocks:
        if len(b) > 1:
            left, _, right = np.linalg.svd(reference.weight[b] @ weight[b].T)
            turn = left @ right
            weight[b], bias[b], enc_weight[:, b] = turn @ weight[b], turn @ bias[b], enc_weight[:, b] @ turn.T
    enc_bias = model.enc_bias[order] * sign
    return Matrices(weight, bias, enc_weight, enc_bias, scale, model.noise_scale)


def turned(model: Matrices, reference: Matrices) -> Matrices:
    """The model with its code rotated onto the reference's, which the MMD to N(0, I) does not see.

    Of the rotated covariance diag σ² only the diagonal is kept.
    """
    left, _, right = np.linalg.svd(reference.weight.T @ model.weight)
    turn = left @ right
    scale = np.sqrt((turn**2) @ model.scale**2)
    weight, enc_weight = model.weight @ turn.T, turn @ model.enc_weight
    return Matrices(weight, model.bias, enc_weight, turn @ model.enc_bias, scale, model.noise_scale)


def _superposed(model: Matrices, reference: Matrices) -> Matrices:
    """Code and data turned onto the reference: w² and w·a keep their values, whichever way a model points."""
    for _ in range(20):
        model = turned(model, reference)
        left, _, right = np.linalg.svd(
            reference.weight @ model.weight.T + reference.enc_weight.T @ model.enc_weight
        )
        turn = left @ right
        weight, enc_weight = turn @ model.weight, model.enc_weight @ turn.T
        model = replace(model, weight=weight, bias=turn @ model.bias, enc_weight=enc_weight)
    return model


def _moved(reference: Matrices, model: Matrices, mean: Sequence[np.ndarray], factor: float) -> Matrices:
    """The reference displaced as the model is from the mean of the runs."""
    weight, bias, enc_weight, enc_bias, log_scale = (
        r + factor * (p - m) for r, p, m in zip(_parts(reference), _parts(model), mean, strict=True)
    )
    return Matrices(weight, bias, enc_weight, enc_bias, np.exp(log_scale), reference.noise_scale)


def _parts(model: Matrices) -> list[np.ndarray]:
    return [model.weight, model.bias, model.enc_weight, model.enc_bias, np.log(model.scale)]


def scatter_bias(
    objective: Objective, runs: Sequence[Matrices], reference: Matrices, spectrum: np.ndarray
) -> Quantities:
    """By how much the scatter of the runs about their mean moves each quantity at the reference.

    Notes
    -----
    Gradient noise leaves the runs around the optimum, symmetrically to first order. A value at its
    maximum can only fall by that, the largest of several eigenvalues only rise, a norm only grow: a
    shift of second order, which more runs do not average away. It is the mean of the quantity over the
    reference plus each run's deviation (times √(n/(n − 1)), for the mean is taken from the same runs),
    less its value at the reference. For w² and w·a the runs are turned onto the reference first: between
    eigenvalues that are close a model may point many ways, which is no scatter of these numbers.
    """
    cov, count = np.diag(spectrum), len(runs)
    if isinstance(objective, MMD):
        runs = [turned(run, reference) for run in runs]
    placed = [aligned(run, reference, spectrum) for run in runs]
    upon = [_superposed(run, reference) for run in placed]
    factor = math.sqrt(count / (count - 1)) if count > 1 else 0.0

    def shift(models: list[Matrices]) -> Quantities:
        mean = [np.mean(p, axis=0) for p in zip(*map(_parts, models), strict=True)]
        at = [quantities(objective, _moved(reference, model, mean, factor), cov) for model in models]
        return {key: float(np.mean([q[key] for q in at])) - number for key, number in here.items()}

    here = quantities(objective, reference, cov)
    plain, superposed = shift(placed), shift(upon)
    return {
        key: superposed[key] if key[0] in ("weight_sq", "weight_times_loc_map") else plain[key]
        for key in here
    }
