r"""Free bits on linear-Gaussian data, where a floor per latent couples the principal directions.

With B = Σ_q^{−½} A S^{½} (a row per latent) the best decoder leaves the error tr S(I + BᵀB)⁻¹, and the
best σ_j for row b_j makes latent j's rate ½ log(1 + ‖b_j‖²). The objective is

−tr[S(I + BᵀB)⁻¹]/(2s²) − Σ_j max(λ, ½ log(1 + ‖b_j‖²)).

A latent above the floor reads one principal direction, as under the ELBO: rate ½ log(ℓ/s²), which is
the choice for every direction with that rate at least λ. The others have λ for nothing, and it is worth
most when they share it: only the row norms of B are charged, and rows of one norm can have any
eigenvalues g_j ≥ 0 with their sum (Schur and Horn). The least Σ ℓ_j/(1 + g_j) has 1 + g_j in proportion
to √ℓ_j; the latents are then rotated against the principal axes.
"""

from __future__ import annotations

import math

import numpy as np

from vaeaudit.derivations.linear_direction import CLOSED, Direction


def shared_signal(spectrum: np.ndarray, latent_dim: int, floor: float) -> np.ndarray:
    """Eigenvalues g of BᵀB with every latent at the floor: least Σ ℓ_j/(1 + g_j) at Σ g_j = J(e^{2λ} − 1)."""
    total = latent_dim * math.expm1(2 * floor)
    for alive in range(latent_dim, 0, -1):
        root = np.sqrt(spectrum[:alive])
        signal = (total + alive) * root / root.sum() - 1
        if signal[-1] >= 0:
            return np.concatenate([signal, np.zeros(latent_dim - alive)])
    raise AssertionError("one direction alone always has g = total ≥ 0")


def free_bits_directions(
    spectrum: np.ndarray, latent_dim: int, floor: float, variance: float
) -> list[Direction]:
    """The optimum along each leading direction: the first k as under the ELBO, the rest sharing the floor.

    Notes
    -----
    Every k for which the first k rates are at least the floor is tried. ``loc_map`` and ``scale`` are
    those along the direction; where directions share the floor each latent holds a mixture of them, all
    with σ = e^{−λ}.
    """
    best: list[Direction] = []
    for k in range(latent_dim + 1):
        rates = [0.5 * math.log(e / variance) for e in spectrum[:k]]
        if any(rate < floor for rate in rates):
            break
        rest = latent_dim - k
        shared = shared_signal(spectrum[k:latent_dim], rest, floor).tolist() if rest else []
        rates += [floor] * rest
        signals = [math.expm1(2 * rate) for rate in rates[:k]] + shared
        found = [
            _direction(float(e), float(g), math.exp(-rate), rate, variance)
            for e, g, rate in zip(spectrum, signals, rates, strict=False)
        ]
        if not best or sum(d.value for d in found) > sum(d.value for d in best):
            best = found
    return best


def _direction(eigenvalue: float, signal: float, scale: float, rate: float, variance: float) -> Direction:
    """With signal g along the direction: w a = g/(1 + g), a² = σ²g/ℓ, error ℓ/(1 + g)."""
    error = eigenvalue / (1 + signal)
    weight_sq = eigenvalue * signal / ((1 + signal) * scale) ** 2
    loc_map = scale * math.sqrt(signal / eigenvalue)
    value = -error / (2 * variance) - rate
    return Direction(eigenvalue, weight_sq, loc_map, scale, value, error, CLOSED)
