r"""One principal direction of the linear-Gaussian VAE: the best decoder weight, loc map and scale.

With data variance ℓ along the direction, decoder w, loc map a, scale σ and decoder noise s², the
objective is

φ = −[ℓ(1 − w a)² + w²σ²]/(2s²) − κ a²ℓ − g(σ) − λ_W w².

The best loc map for a given decoder is a = w/(w² + 2κs²), whatever g is; what is left is a function of
y = w² alone,

φ(y) = −κℓ/(y + 2κs²) − c(y) − λ_W y,   c(y) = min over σ of yσ²/(2s²) + g(σ),

with σ² = βs²/(y + βs²) and c = ½β log(1 + y/(βs²)) for g = β·(½(σ² − 1) − log σ), and with
σ = 2qs²/(y + 2qs²) and c = qy/(y + 2qs²) for g = q(σ − 1)². Stationary points in y are the roots of a
polynomial of degree at most 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vaeaudit.derivations.linear_terms import DirectionTerms

ANY_SCALE = "any scale of the code"
CLOSED, ROOT, LIMIT = "closed form", "polynomial root", "limit, not attained"


@dataclass(frozen=True)
class Direction:
    """The optimum along one direction. ``weight_sq`` may be infinite (`LIMIT`) or NaN (`ANY_SCALE`)."""

    eigenvalue: float  # ℓ
    weight_sq: float  # w²
    loc_map: float  # a
    scale: float  # σ
    value: float  # φ
    error: float  # ℓ(1 − wa)² + w²σ²
    how: str

    @property
    def alive(self) -> bool:
        """Whether the decoder reads the latent."""
        return self.weight_sq != 0.0  # NaN: alive at any scale


def encoder_given_decoder(
    terms: DirectionTerms, eigenvalue: float, weight_sq: float, variance: float
) -> tuple[float, float]:
    """The stationary loc map and scale for a decoder w = √y that is held fixed."""
    k = 2.0 * terms.loc_weight(eigenvalue) * variance
    loc_map = math.sqrt(weight_sq) / (weight_sq + k) if weight_sq + k > 0 else 0.0
    if terms.kl > 0:
        return loc_map, math.sqrt(terms.kl * variance / (weight_sq + terms.kl * variance))
    q = 2.0 * terms.quadratic * variance
    return loc_map, q / (weight_sq + q) if q > 0 else 0.0


def at_weight(terms: DirectionTerms, eigenvalue: float, y: float, variance: float) -> Direction:
    """The objective at decoder weight w² = y with its best encoder."""
    if y == 0.0:
        idle = 1.0 if terms.kl > 0 or terms.quadratic > 0 else 0.0
        value = -eigenvalue / (2 * variance)
        return Direction(eigenvalue, 0.0, 0.0, idle, value, eigenvalue, CLOSED)
    loc_map, scale = encoder_given_decoder(terms, eigenvalue, y, variance)
    error = eigenvalue * (1 - math.sqrt(y) * loc_map) ** 2 + y * scale**2
    value = (
        -error / (2 * variance)
        - terms.loc_weight(eigenvalue) * eigenvalue * loc_map**2
        - terms.scale_cost(scale)
        - terms.decoder * y
    )
    return Direction(eigenvalue, y, loc_map, scale, value, error, CLOSED)


def _stationary(terms: DirectionTerms, eigenvalue: float, variance: float) -> tuple[list[float], int]:
    """Positive roots y of φ′ and the polynomial's degree."""
    gain = terms.loc_weight(eigenvalue) * eigenvalue  # κℓ
    k, dec = 2 * terms.loc_weight(eigenvalue) * variance, terms.decoder
    shifted = np.array([1.0, 2 * k, k * k])  # (y + 2κs²)², highest power first
    if terms.kl > 0:
        other = np.array([1.0, terms.kl * variance])
        slope = _plus(2 * gain * other, -terms.kl * shifted, -2 * dec * np.convolve(shifted, other))
    elif terms.quadratic > 0:
        q = 2 * terms.quadratic * variance
        other = np.array([1.0, 2 * q, q * q])
        slope = _plus(gain * other, -terms.quadratic * q * shifted, -dec * np.convolve(shifted, other))
    else:
        slope = _plus(np.array([gain]), -dec * shifted)
    slope = slope[np.argmax(np.abs(slope) > 1e-14 * np.abs(slope).max()) :]
    roots, floor = np.roots(slope), 1e-12 * eigenvalue  # below it: rounding at the threshold itself
    real = [float(r.real) for r in roots if abs(r.imag) < 1e-9 * (1 + abs(r)) and r.real > floor]
    return real, len(slope) - 1


def _plus(*polynomials: np.ndarray) -> np.ndarray:
    total = np.zeros(max(map(len, polynomials)))
    for p in polynomials:
        total[len(total) - len(p) :] += p
    return total


def best_direction(terms: DirectionTerms, eigenvalue: float, variance: float) -> Direction:
    """The global optimum along a direction with data variance ``eigenvalue`` at decoder noise ``variance``.

    Notes
    -----
    Candidates are y = 0 (collapse), the stationary points, and y → ∞ where φ has a finite limit there:
    a penalty that stays bounded as σ → 0 lets the decoder's weight grow without end.
    """
    if terms.route == "no mmd":
        root = math.sqrt(eigenvalue)
        return Direction(eigenvalue, eigenvalue, 1 / root, 0.0, 0.0, 0.0, CLOSED)
    if terms.loc_weight(eigenvalue) == 0.0 and terms.kl == terms.quadratic == terms.decoder == 0.0:
        return Direction(eigenvalue, math.nan, math.nan, 0.0, 0.0, 0.0, ANY_SCALE)
    roots, degree = _stationary(terms, eigenvalue, variance)
    found = [at_weight(terms, eigenvalue, y, variance) for y in (0.0, *roots)]
    if terms.decoder == 0.0 and terms.kl == 0.0:
        found.append(Direction(eigenvalue, math.inf, 0.0, 0.0, -terms.quadratic, 0.0, LIMIT))
    best = max(found, key=lambda d: d.value)
    if degree > 2 and 0.0 < best.weight_sq < math.inf:
        return Direction(**{**best.__dict__, "how": ROOT})
    return best


def threshold(terms: DirectionTerms, variance: float) -> float:
    """Data variance ℓ above which a direction is alive, by bisection on the solution itself.

    Notes
    -----
    β s² for the β-ELBO, 2λs² for the penalty λ(μ² + (σ − 1)²), λs² for λ(½μ² + (σ − 1)²); 0 where
    nothing is ever given up.
    """
    low, high = 1e-9 * variance, 1e9 * variance
    if best_direction(terms, low, variance).alive:
        return 0.0
    while high / low > 1 + 1e-12:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if best_direction(terms, middle, variance).alive else (middle, high)
    return math.sqrt(low * high)
