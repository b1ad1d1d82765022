"""One-dimensional W₂² to N(0, 1): a bound from above and one from below, each with first-order errors."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

Floats = np.ndarray
KNOTS = np.linspace(-3.2, 3.2, 129)  # normal quantiles at which the transport map is fitted
FINE = np.linspace(-9.0, 9.0, 7201)
FINE_WEIGHT = norm.pdf(FINE) * (FINE[1] - FINE[0])


def normal_bin_means(count: int) -> Floats:
    """Mean of N(0, 1) between its quantiles (i − 1)/n and i/n, times the bin's mass n: Σ/n = 0."""
    edges = norm.pdf(norm.ppf(np.arange(count + 1) / count))
    return count * (edges[:-1] - edges[1:])


def plug_in_upper(values: Floats) -> Floats:
    r"""Per-datum terms whose mean is W₂² of the empirical law to N(0, 1), (batch,).

    W₂² = mean v² + 1 − 2 mean v₍ᵢ₎cᵢ

    Notes
    -----
    Biased upward: W₂² is convex and the empirical law is unbiased. The terms vary as the influence function
    (the Kantorovich potential), so their spread gives the standard error to first order.

    References
    ----------
    del Barrio & Loubes (2019), Central limit theorems for empirical transportation cost, theorem 4.1.
    """
    flat = values.reshape(-1)  # values are (sample, batch)
    order = np.argsort(flat)
    sorted_values = flat[order]
    target = normal_bin_means(flat.size)
    total = float(np.mean(flat**2) + 1.0 - 2.0 * np.mean(sorted_values * target))
    steps = np.diff(sorted_values) * 0.5 * (target[1:] + target[:-1])
    potential = np.empty_like(flat)
    potential[order] = sorted_values**2 - 2.0 * np.concatenate([[0.0], np.cumsum(steps)])
    by_datum = potential.reshape(values.shape).mean(0)
    return by_datum - by_datum.mean() + total


class MonotoneMap:
    """Piecewise-linear increasing S with S(Y) ≈ the fitted law for Y ~ N(0, 1), and its convex integral."""

    def __init__(self, values: Floats) -> None:
        images = np.quantile(values, norm.cdf(KNOTS))
        self.images = np.maximum.accumulate(images + 1e-4 * (KNOTS - KNOTS[0]))
        rise = np.diff(self.images) / np.diff(KNOTS)
        ends = np.maximum(rise[[0, -1]], np.maximum(np.mean(rise), 1e-3) * 0.2)  # slopes outside the knots
        far = 50.0
        self.knots = np.concatenate([[KNOTS[0] - far], KNOTS, [KNOTS[-1] + far]])
        self.images = np.concatenate(
            [[self.images[0] - far * ends[0]], self.images, [self.images[-1] + far * ends[1]]]
        )
        steps = np.diff(self.knots) * 0.5 * (self.images[1:] + self.images[:-1])
        self.integral = np.concatenate([[0.0], np.cumsum(steps)])

    def conjugate(self, y: Floats) -> Floats:
        """Ψ*(y) = ∫ S, convex, exact for the piecewise-linear S."""
        at = np.clip(np.searchsorted(self.knots, y) - 1, 0, self.knots.size - 2)
        dy = y - self.knots[at]
        slope = (self.images[at + 1] - self.images[at]) / (self.knots[at + 1] - self.knots[at])
        return self.integral[at] + self.images[at] * dy + 0.5 * slope * dy * dy

    def potential(self, v: Floats) -> Floats:
        """Ψ(v) = sup_y (v y − Ψ*(y)), attained where S(y) = v."""
        y = np.interp(v, self.images, self.knots)
        return v * y - self.conjugate(y)


def dual_lower(values: Floats, half: Floats) -> Floats:
    r"""Per-datum terms whose mean is the dual objective of potentials fitted to the other half, (batch,).

    W₂² ≥ E_q[v² − 2Ψ(v)] + E_p[y² − 2Ψ*(y)]   for every convex Ψ

    Notes
    -----
    A lower bound in expectation for whatever Ψ the other half gave; equality at the true potential.

    References
    ----------
    Villani (2009), Optimal Transport, theorem 5.10 and case 5.16.
    """
    out = np.empty(values.shape[1])
    for side in (0, 1):
        fitted = MonotoneMap(values[:, half != side].reshape(-1))
        constant = 1.0 - 2.0 * float(fitted.conjugate(FINE) @ FINE_WEIGHT)
        here = values[:, half == side]
        out[half == side] = np.mean(here**2 - 2.0 * fitted.potential(here), axis=0) + constant
    return out
