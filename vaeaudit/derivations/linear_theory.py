"""The linear-Gaussian theory of every objective: what each one's optimum is, as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from vaeaudit.core.errors import ArgumentError, ShapeError
from vaeaudit.derivations.linear_direction import ANY_SCALE, CLOSED, LIMIT, ROOT, Direction, threshold
from vaeaudit.derivations.linear_noise import LOG_2PI, directions_at, learned_variance, total_value
from vaeaudit.derivations.linear_numeric import MatrixOptimum, cost_of, optimise
from vaeaudit.derivations.linear_terms import DirectionTerms, direction_terms
from vaeaudit.objectives import Objective, parse

OPTIMISER, LEARNED = "optimiser", "one-dimensional root"
DEFAULT_OBJECTIVES = (
    "elbo",
    "beta(0.1)",
    "beta(0.5)",
    "beta(4)",
    "annealed_beta",
    "free_bits(0.5)",
    "capacity(2, 4)",
    "wasserstein_penalty(1)",
    "half_quadratic(1)",
    "moment_penalty(1)",
    "head_l2(0.001)",
    "elbo + head_l2(0.1)",
    "iwae(5)",
    "total_correlation(4)",
    "autoencoder",
    "regularized_autoencoder(0.0001, 1)",
    "learned_scale",
    "mmd(10)",
)


def _spectrum(spectrum: Sequence[float] | np.ndarray, latent_dim: int) -> np.ndarray:
    values = np.sort(np.asarray(spectrum, dtype=np.float64))[::-1]
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all() or values[-1] <= 0:
        raise ArgumentError(
            f"`spectrum` must hold the positive eigenvalues of the data covariance; got {spectrum!r}."
        )
    if not 1 <= latent_dim <= values.size:
        raise ShapeError(f"`latent_dim` must lie between 1 and {values.size} pixels; got {latent_dim}.")
    return values


def mean_log_evidence(spectrum: np.ndarray, weight_sq: Sequence[float], variance: float) -> float:
    """E log p(x) of the model WWᵀ + s²I in the data's principal axes (nats); −∞ for an infinite weight."""
    model = np.full(len(spectrum), variance)
    model[: len(weight_sq)] += weight_sq
    if variance == 0.0:
        return -math.inf
    if np.isinf(model).any():
        return -math.inf
    return float(-0.5 * np.sum(LOG_2PI + np.log(model) + spectrum / model))


def maximum_log_evidence(spectrum: np.ndarray, latent_dim: int, variance: float | None) -> float:
    """The largest E log p(x) of any model with ``latent_dim`` latents: probabilistic PCA."""
    if variance is None:
        rest = spectrum[latent_dim:]
        variance = float(rest.mean()) if rest.size else 0.0
        if variance == 0.0:
            return math.inf if latent_dim == len(spectrum) else math.nan
    return mean_log_evidence(spectrum, np.maximum(spectrum[:latent_dim] - variance, 0.0).tolist(), variance)


def _mean_elbo(spectrum: np.ndarray, found: Sequence[Direction], variance: float) -> float:
    """E of the true ELBO at the objective's optimum; −∞ where σ = 0 or a weight is infinite."""
    if any(d.scale == 0.0 for d in found) or variance == 0.0:
        return -math.inf
    error = sum(d.error for d in found) + float(spectrum[len(found) :].sum())
    rate = sum(0.5 * (d.loc_map**2 * d.eigenvalue + d.scale**2 - 1) - math.log(d.scale) for d in found)
    return -0.5 * len(spectrum) * (LOG_2PI + math.log(variance)) - error / (2 * variance) - rate


def _from_matrices(optimum: MatrixOptimum, spectrum: np.ndarray) -> list[Direction]:
    """Directions read off an optimiser's matrices (data axes are the principal axes)."""
    found = []
    for e, row in zip(spectrum, np.argsort(-np.diag(optimum.weight.T @ optimum.weight)), strict=False):
        weight_sq = float(optimum.weight[:, row] @ optimum.weight[:, row])
        axis = optimum.weight[:, row] / max(math.sqrt(weight_sq), 1e-300)
        loc_map, scale = float(optimum.enc_weight[row] @ axis), float(optimum.scale[row])
        alive = weight_sq > 1e-6 * e
        error = e * (1 - math.sqrt(weight_sq) * loc_map) ** 2 + weight_sq * scale**2
        found.append(
            Direction(float(e), weight_sq if alive else 0.0, loc_map, scale, math.nan, error, OPTIMISER)
        )
    return found


def _solve(
    objective: Objective, terms: DirectionTerms, spectrum: np.ndarray, latent_dim: int, variance: float | None
) -> tuple[list[Direction], float, float]:
    if terms.route == "optimiser":
        cov = np.diag(spectrum)
        optimum = optimise(cost_of(objective, terms, cov), cov, latent_dim, variance=variance)
        return _from_matrices(optimum, spectrum), optimum.variance, optimum.value
    chosen = learned_variance(terms, spectrum, latent_dim) if variance is None else variance
    if chosen == 0.0:
        nothing = [
            Direction(float(e), math.nan, math.nan, 0.0, math.nan, 0.0, LIMIT) for e in spectrum[:latent_dim]
        ]
        return nothing, 0.0, math.inf
    found = directions_at(terms, spectrum, latent_dim, chosen)
    return found, chosen, total_value(found, spectrum, chosen)


def linear_gaussian_optima(
    spectrum: Sequence[float] | np.ndarray,
    latent_dim: int,
    objectives: Sequence[str | Objective] = DEFAULT_OBJECTIVES,
    noise_scale: float | None = None,
) -> pd.DataFrame:
    r"""What each objective's optimum is on Gaussian data with a linear decoder and encoder.

    Data N(m, S) with eigenvalues ℓ₁ ≥ … ≥ ℓ_D of S; x̂ = W z + m, q(z|x) = N(A(x − m), diag σ²).
    The optimum aligns with the principal axes and decouples (free bits only above the floor): one row per
    leading direction.

    Parameters
    ----------
    spectrum
        Eigenvalues of the data covariance, (D,), positive.
    latent_dim
        Number of latents J ≤ D.
    objectives
        Objectives or their names.
    noise_scale
        The decoder's s, held fixed; learned together with the rest when None (``learned_scale`` learns
        it in any case).

    Returns
    -------
    DataFrame
        Per objective and direction: ``eigenvalue`` ℓ, ``alive``, ``weight_sq`` w², ``loc_map`` a,
        ``scale`` σ and ``posterior_scale`` of the true posterior of that decoder, ``threshold`` below
        which ℓ is given up. Per objective: ``noise_scale``, ``value``, ``elbo``, ``log_evidence`` and
        ``log_evidence_max`` (nats per datum, on average), ``shortfall`` between the two, ``gap`` =
        log_evidence − elbo, ``implied_noise_scale`` √β s and ``log_evidence_implied`` with it (where a β
        stands for another noise), ``how`` it was found, ``attained`` and ``note``.

    Raises
    ------
    ArgumentError, ShapeError, UnknownNameError

    Notes
    -----
    ``attained`` is false where the objective only approaches its supremum: then ``weight_sq`` is
    infinite, ``scale`` 0 and ``log_evidence`` −∞, the limits along the way. An autoencoder fixes w·a = 1
    but no scale of the code: NaN; so are the weights per direction where free bits mix directions in
    latents of unequal scale. ``how`` is "closed form", "polynomial root", "one-dimensional root"
    (of s² = error per pixel), "limit, not attained" or "optimiser".

    References
    ----------
    Tipping & Bishop (1999) for the ELBO; Lucas et al. (2019) for its collapse threshold; the rest is
    derived in `vaeaudit.derivations.linear_direction`.

    Examples
    --------
    >>> from vaeaudit.derivations.linear_theory import linear_gaussian_optima
    >>> table = linear_gaussian_optima([4.0, 0.5, 0.5], 1, ["elbo", "wasserstein_penalty"], noise_scale=1.0)
    >>> table["weight_sq"].round(9).tolist(), table["attained"].tolist()
    ([3.0, inf], [True, False])
    """
    values = _spectrum(spectrum, latent_dim)
    if noise_scale is not None and not 0 < noise_scale < math.inf:
        raise ArgumentError(f"`noise_scale` must be positive or None; got {noise_scale!r}.")
    rows: list[dict[str, object]] = []
    for item in objectives:
        objective = parse(item)
        terms = direction_terms(objective)
        variance = None if noise_scale is None or terms.learns_scale else noise_scale**2
        found, chosen, value = _solve(objective, terms, values, latent_dim, variance)
        rows += _rows(objective.name, terms, found, values, chosen, value, variance is None)
    return pd.DataFrame(rows)


def _rows(
    name: str,
    terms: DirectionTerms,
    found: list[Direction],
    spectrum: np.ndarray,
    variance: float,
    value: float,
    learned: bool,
) -> list[dict[str, object]]:
    evidence = mean_log_evidence(spectrum, [d.weight_sq for d in found], variance)
    highest = maximum_log_evidence(spectrum, len(found), None if learned else variance)
    elbo = _mean_elbo(spectrum, found, variance)
    if math.isnan(elbo) and terms.floor > 0:  # every rate is at least the floor: nothing is free
        elbo = value
    implied = terms.kl * variance if _pca_noise(terms) and terms.route == "direction" else math.nan
    ways = [d.how for d in found]
    how = next((w for w in (OPTIMISER, LIMIT, ANY_SCALE, ROOT) if w in ways), CLOSED)
    if learned and how in (CLOSED, ROOT) and not _pca_noise(terms):
        how = LEARNED
    by_direction = terms.route == "direction" and variance > 0 and terms.floor == 0
    shared = {
        "noise": "learned" if learned else "fixed",
        "noise_scale": math.sqrt(variance),
        "threshold": threshold(terms, variance) if by_direction and how != ANY_SCALE else math.nan,
        "value": value,
        "elbo": elbo,
        "log_evidence": evidence,
        "log_evidence_max": highest,
        "shortfall": highest - evidence,
        "gap": math.inf if elbo == -math.inf and not math.isnan(evidence) else max(evidence - elbo, 0.0),
        "implied_noise_scale": math.sqrt(implied),
        "log_evidence_implied": mean_log_evidence(spectrum, [d.weight_sq for d in found], implied),
        "how": how,
        "attained": LIMIT not in ways and terms.route != "no mmd",
        "note": _note(terms, how),
    }
    rows: list[dict[str, object]] = []
    for j, d in enumerate(found, 1):
        posterior = (
            0.0
            if math.isinf(d.weight_sq)
            else math.sqrt(variance / (d.weight_sq + variance))
            if variance
            else 0.0
        )
        rows.append(
            {
                "objective": name,
                "direction": j,
                "eigenvalue": d.eigenvalue,
                "alive": d.alive,
                "weight_sq": d.weight_sq,
                "loc_map": d.loc_map,
                "scale": d.scale,
                "posterior_scale": posterior,
                **shared,
            }
        )
    return rows


def _pca_noise(terms: DirectionTerms) -> bool:
    return terms.kl > 0 and terms.head == terms.decoder == terms.floor == 0.0


def _note(terms: DirectionTerms, how: str) -> str:
    if terms.route == "no mmd":
        return terms.reason
    if how == LIMIT and terms.quadratic > 0:
        return "w → ∞, σ → 0: the penalty stays bounded while the code shrinks, and log p(x) → −∞"
    if how == LIMIT:
        return "w → ∞ at σ = 0: nothing fixes the scale of the code"
    if how == ANY_SCALE:
        return "any code with w·a = 1; log p(x) depends on a scale that the objective does not see"
    return terms.reason
