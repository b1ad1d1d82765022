r"""Free bits on linear-Gaussian data, where a floor per latent couples the principal directions.

With B = Σ_q^{−½} A S^{½} (a row per latent) the best decoder leaves the error tr S(I + BᵀB)⁻¹, and the
best σ_j for row b_j makes latent j's rate ½ log(1 + ‖b_j‖²). The objective is

−tr[S(I + BᵀB)⁻¹]/(2s²) − Σ_j max(λ, ½ log(1 + ‖b_j‖²)).

A latent above the floor reads one principal direction, as under the ELBO: rate ½ log(ℓ/s²), which is
the choice for every direction with that rate at least λ. The others have λ for nothing, and it is worth
most when they share it: only the row norms of B are charged, and rows of one norm can have any
eigenvalues g_j ≥ 0 with their sum (Schur and Horn). The least Σ ℓ_j/(1 + g_j) has 1 + g_j in proportion
to √ℓ_j; the latents are then rotated against the principal axes. Between the two lies a narrow window in
which one latent of the rotated group is above the floor: with u² = 1 + ‖b‖² for that latent and m
directions in the group, 1 + g_j = u√ℓ_j/s and u² − u Σ√ℓ_j/s + (m − 1)e^{2λ} = the number of directions with g = 0.
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


def _one_above(spectrum: np.ndarray, floor: float, variance: float) -> list[Direction]:
    """A rotated group with one latent above the floor; empty where it has no such stationary point.

    Scales differ within the group, so that the decoder has no weight per direction: NaN.
    """
    size, low = len(spectrum), math.exp(2 * floor)
    root = np.sqrt(spectrum / variance)
    for alive in range(size, 0, -1) if size > 1 else ():
        slope = float(root[:alive].sum())
        inside = slope**2 - 4 * ((size - 1) * low - (size - alive))
        if inside < 0:
            continue
        u = 0.5 * (slope + math.sqrt(inside))
        ratio = np.concatenate([u * root[:alive], np.ones(size - alive)])  # 1 + g
        if u * u < low or u * u > ratio[0] or ratio[alive - 1] < 1:  # below the floor, or not majorised by g
            continue
        rates = [math.log(u)] + [floor] * (size - 1)
        return [
            Direction(
                float(e), math.nan, math.nan, math.exp(-r), -e / (2 * variance * q) - r, float(e / q), CLOSED
            )
            for e, q, r in zip(spectrum, ratio, rates, strict=True)
        ]
    return []


def free_bits_directions(
    spectrum: np.ndarray, latent_dim: int, floor: float, variance: float
) -> list[Direction]:
    """The optimum along each leading direction: the first k as under the ELBO, the rest sharing the floor.

    Notes
    -----
    Every k for which the first k rates are at least the floor is tried. ``loc_map`` and ``scale`` are
    those along the direction; where directions share the floor each latent holds a mixture of them, all
    with σ = e^{−λ}. With one latent of the mixture above the floor, weights per direction are NaN.
    """
    best: list[Direction] = []
    for k in range(latent_dim + 1):
        rates = [0.5 * math.log(e / variance) for e in spectrum[:k]]
        if any(rate < floor for rate in rates):
            break
        group = spectrum[k:latent_dim]
        above = [
            _direction(float(e), math.expm1(2 * rate), math.exp(-rate), rate, variance)
            for e, rate in zip(spectrum, rates, strict=False)
        ]
        signal = shared_signal(group, len(group), floor).tolist() if len(group) else []
        shared = [
            _direction(float(e), g, math.exp(-floor), floor, variance)
            for e, g in zip(group, signal, strict=True)
        ]
        for rest in (shared, _one_above(group, floor, variance)):
            found = above + rest
            if len(found) == latent_dim and (not best or _total(found) > _total(best)):
                best = found
    return best


def _total(found: list[Direction]) -> float:
    return sum(d.value for d in found)


def _direction(eigenvalue: float, signal: float, scale: float, rate: float, variance: float) -> Direction:
    """With signal g along the direction: w a = g/(1 + g), a² = σ²g/ℓ, error ℓ/(1 + g)."""
    error = eigenvalue / (1 + signal)
    weight_sq = eigenvalue * signal / ((1 + signal) * scale) ** 2
    loc_map = scale * math.sqrt(signal / eigenvalue)
    value = -error / (2 * variance) - rate
    return Direction(eigenvalue, weight_sq, loc_map, scale, value, error, CLOSED)
