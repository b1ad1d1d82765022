"""The linear-Gaussian optimum along a path, and against a whole-matrix optimiser."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from vaeaudit.core.errors import ArgumentError
from vaeaudit.derivations.linear_direction import ANY_SCALE, LIMIT, encoder_given_decoder
from vaeaudit.derivations.linear_noise import LOG_2PI
from vaeaudit.derivations.linear_numeric import cost_of, optimise
from vaeaudit.derivations.linear_terms import direction_terms
from vaeaudit.derivations.linear_theory import linear_gaussian_optima
from vaeaudit.objectives import Objective, parse
from vaeaudit.objectives.aggregate import MMD, TotalCorrelation


def linear_gaussian_path(
    objective: str | Objective,
    eigenvalue: float,
    weight_sq: Sequence[float] | np.ndarray,
    noise_scale: float = 1.0,
) -> pd.DataFrame:
    r"""The best encoder for each decoder weight: what an objective gains as the weight grows.

    a = w/(w² + 2κs²),   σ² = βs²/(w² + βs²) or σ = 2qs²/(w² + 2qs²),   on x = w z + s ε with Var x = ℓ

    Parameters
    ----------
    objective
        One that charges per direction (any of the KL family without free bits, or a penalty).
    eigenvalue
        Data variance ℓ.
    weight_sq
        Decoder weights w² to hold.
    noise_scale
        The decoder's s.

    Returns
    -------
    DataFrame
        ``weight_sq``, ``loc_map``, ``scale``, ``posterior_scale``, ``value`` of the objective, ``elbo``
        and ``log_evidence`` of the same model (nats per datum, on average).

    Raises
    ------
    ArgumentError
        For an objective without charges per direction, or a number that is not positive.
    """
    objective = parse(objective)
    terms = direction_terms(objective)
    weights = np.asarray(weight_sq, dtype=np.float64)
    if terms.route != "direction" or terms.floor > 0:
        raise ArgumentError(f"{objective.name!r} does not charge each direction by itself.")
    if not (eigenvalue > 0 and noise_scale > 0 and weights.size and (weights >= 0).all()):
        raise ArgumentError("`eigenvalue` and `noise_scale` must be positive and `weight_sq` not negative.")
    v = noise_scale**2
    rows = []
    for y in weights:
        loc_map, scale = encoder_given_decoder(terms, eigenvalue, float(y), v)
        if y == 0.0 and terms.kl == terms.quadratic == 0.0:
            scale = 0.0
        error = eigenvalue * (1 - math.sqrt(y) * loc_map) ** 2 + y * scale**2
        fit = -0.5 * (LOG_2PI + math.log(v)) - error / (2 * v)
        charge = terms.loc_weight(eigenvalue) * eigenvalue * loc_map**2 + terms.scale_cost(scale)
        rate = math.inf if scale == 0 else 0.5 * (loc_map**2 * eigenvalue + scale**2 - 1) - math.log(scale)
        rows.append(
            {
                "objective": objective.name,
                "weight_sq": float(y),
                "loc_map": loc_map,
                "scale": scale,
                "posterior_scale": math.sqrt(v / (y + v)),
                "value": fit - charge - terms.decoder * y,
                "elbo": fit - rate,
                "log_evidence": -0.5 * (LOG_2PI + math.log(y + v) + eigenvalue / (y + v)),
            }
        )
    return pd.DataFrame(rows)


def verify_linear_gaussian_optima(
    spectrum: Sequence[float] | np.ndarray,
    latent_dim: int,
    objectives: Sequence[str | Objective],
    noise_scale: float | None = None,
    seeds: Sequence[int] = (0, 1, 2),
) -> pd.DataFrame:
    """Compare the derived optima with whole matrices trained from random starts on rotated data.

    Parameters
    ----------
    spectrum, latent_dim, noise_scale
        As in `linear_gaussian_optima`.
    objectives
        Those with an attained, unique optimum and a smooth population objective.
    seeds
        One random rotation of the data and one random start each.

    Returns
    -------
    DataFrame
        ``objective``, ``noise``, ``seed``, ``quantity`` (value, weight_sq, scale, noise_scale),
        ``direction``, ``derived``, ``trained`` and ``relative_error``.

    Raises
    ------
    ArgumentError
        For an objective whose optimum is not attained or not unique.

    Notes
    -----
    BFGS in float64 on the exact population objective: no principal directions enter. A scale is compared
    by its difference (it is at most 1), the weight of a collapsed direction relatively to ℓ, everything
    else relatively.
    """
    values = np.sort(np.asarray(spectrum, dtype=np.float64))[::-1]
    rows: list[dict[str, object]] = []
    for item in objectives:
        objective = parse(item)
        terms = direction_terms(objective)
        table = linear_gaussian_optima(values, latent_dim, [objective], noise_scale)
        way = table["how"][0]
        if way in (LIMIT, ANY_SCALE) or isinstance(objective, MMD) or terms.floor > 0:
            raise ArgumentError(f"{objective.name!r} has no attained, unique, smooth optimum here ({way}).")
        learned = noise_scale is None or terms.learns_scale
        still = terms.kl == terms.quadratic == 0 and not isinstance(objective, TotalCorrelation)
        for seed in seeds:
            basis, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((values.size, values.size)))
            cov = basis @ np.diag(values) @ basis.T
            got = optimise(
                cost_of(objective, terms, cov),
                cov,
                latent_dim,
                variance=None if learned else float(noise_scale) ** 2,  # type: ignore[arg-type]
                seeds=(seed,),
                deterministic=still and terms.route == "direction",
            )
            found: dict[str, Any] = {
                "value": [got.value],
                "noise_scale": [math.sqrt(got.variance)],
                "weight_sq": np.sort(np.linalg.eigvalsh(got.weight.T @ got.weight))[::-1],
                "scale": np.sort(got.scale),
            }
            for quantity, trained in found.items():
                derived = np.sort(table[quantity].to_numpy())[:: -1 if quantity == "weight_sq" else 1]
                for j, (d, t) in enumerate(zip(derived, trained, strict=False), 1):
                    unit = {"scale": 1.0, "weight_sq": d if d > 0 else values[j - 1]}.get(quantity, abs(d))
                    rows.append(
                        {
                            "objective": objective.name,
                            "noise": "learned" if learned else "fixed",
                            "seed": seed,
                            "quantity": quantity,
                            "direction": j if quantity in ("weight_sq", "scale") else 0,
                            "derived": float(d),
                            "trained": float(t),
                            "relative_error": abs(t - d) / unit,
                        }
                    )
    return pd.DataFrame(rows)
