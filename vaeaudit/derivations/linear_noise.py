"""The decoder's noise: fixed, or at its own optimum s² = mean squared error per pixel."""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize

from vaeaudit.derivations.linear_direction import Direction, best_direction
from vaeaudit.derivations.linear_free_bits import free_bits_directions
from vaeaudit.derivations.linear_terms import DirectionTerms

LOG_2PI = math.log(2 * math.pi)


def directions_at(
    terms: DirectionTerms, spectrum: np.ndarray, latent_dim: int, variance: float
) -> list[Direction]:
    """The optimum along each of the leading ``latent_dim`` directions."""
    if terms.floor > 0:
        return free_bits_directions(spectrum, latent_dim, terms.floor, variance)
    return [best_direction(terms, float(e), variance) for e in spectrum[:latent_dim]]


def total_value(found: list[Direction], spectrum: np.ndarray, variance: float) -> float:
    """Objective per datum: directions, the rest of the spectrum, and the likelihood's normaliser."""
    rest = float(spectrum[len(found) :].sum())
    return (
        sum(d.value for d in found)
        - rest / (2 * variance)
        - 0.5 * len(spectrum) * (LOG_2PI + math.log(variance))
    )


def learned_variance(terms: DirectionTerms, spectrum: np.ndarray, latent_dim: int) -> float:
    """s² at the objective's maximum over s² too; 0 where the objective grows without bound as s → 0.

    Notes
    -----
    By the envelope theorem the derivative of the profile in s² vanishes where s² = error/D, the mean
    squared error per pixel at the optimum for that s². Every such crossing is refined by Brent's
    method; of those the one with the largest value is kept. For the β-ELBO with k directions alive it
    is s² = Σ_{j>k} ℓ_j/(D − βk), probabilistic PCA's for β = 1.
    """
    size = len(spectrum)

    def excess(log_variance: float) -> float:
        v = math.exp(log_variance)
        found = directions_at(terms, spectrum, latent_dim, v)
        error = sum(d.error for d in found) + float(spectrum[latent_dim:].sum())
        return error / (size * v) - 1.0

    top = math.log(4 * float(spectrum.max()))
    grid = np.linspace(math.log(1e-7 * float(spectrum.min())), top, 121)
    values = np.array([excess(t) for t in grid])
    crossings = [
        optimize.brentq(excess, grid[i], grid[i + 1], xtol=1e-15)
        for i in range(len(grid) - 1)
        if values[i] > 0 >= values[i + 1]
    ]
    if values[0] < 0 or not crossings:  # error below s² however small s is
        return 0.0
    return max(
        (math.exp(t) for t in crossings),
        key=lambda v: total_value(directions_at(terms, spectrum, latent_dim, v), spectrum, v),
    )
