"""Independent numbers for formulas: adaptive quadrature, quantile integrals, library densities.

Nothing here uses a closed form that a claim states. Densities come from scipy, integrals from
`scipy.integrate`, so that a formula and its oracle share no algebra.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy import integrate, stats

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(160)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def expectation(function: Callable[[np.ndarray], np.ndarray], loc: float, scale: float) -> float:
    """E f(z) for z ~ N(loc, scale²), by Gauss–Hermite quadrature (exact for polynomials)."""
    return float(np.sum(WEIGHTS * function(loc + scale * NODES)))


def integral(function: Callable[[float], float], low: float, high: float) -> float:
    """∫ f by adaptive quadrature."""
    return float(integrate.quad(function, low, high, epsabs=1e-12, epsrel=1e-11, limit=400)[0])


def line_integral(function: Callable[[np.ndarray], np.ndarray], low: float, high: float) -> float:
    """∫ f by the trapezoidal rule on 4001 points: exact to rounding for what decays like a Gaussian."""
    z = np.linspace(low, high, 4001)
    return float(np.sum(function(z)) * (z[1] - z[0]))


@cache
def kl_to_prior(mu: float, sigma: float) -> float:
    """∫ q log(q/p) dz with scipy's densities."""
    return line_integral(
        lambda z: stats.norm.pdf(z, mu, sigma) * (stats.norm.logpdf(z, mu, sigma) - stats.norm.logpdf(z)),
        mu - 12 * sigma,
        mu + 12 * sigma,
    )


@cache
def squared_w2(mu: float, sigma: float) -> float:
    """∫₀¹ (F_q⁻¹(u) − F_p⁻¹(u))² du: the 2-Wasserstein distance on the line, by its quantiles."""

    def difference(t: np.ndarray) -> np.ndarray:
        """Of the quantiles at u = Φ(t), each tail from its own side."""
        low, high = t[t <= 0], t[t > 0]
        parts = [
            stats.norm.ppf(stats.norm.cdf(low), mu, sigma) - stats.norm.ppf(stats.norm.cdf(low)),
            stats.norm.isf(stats.norm.sf(high), mu, sigma) - stats.norm.isf(stats.norm.sf(high)),
        ]
        return np.concatenate(parts)

    return line_integral(lambda t: difference(t) ** 2 * stats.norm.pdf(t), -12, 12)


@cache
def elbo(mu: float, sigma: float, x: float, w: float, b: float, s: float) -> float:
    """∫ q(z) log(p(x|z) p(z) / q(z)) dz, in the form with one logarithm."""
    q = stats.norm(mu, sigma)
    return expectation(
        lambda z: stats.norm.logpdf(x, w * z + b, s) + stats.norm.logpdf(z) - q.logpdf(z), mu, sigma
    )


@cache
def expected_log_likelihood(mu: float, sigma: float, x: float, w: float, b: float, s: float) -> float:
    """∫ q(z) log p(x|z) dz."""
    return expectation(lambda z: stats.norm.logpdf(x, w * z + b, s), mu, sigma)


@cache
def log_evidence(x: float, w: float, b: float, s: float) -> float:
    """Log ∫ p(x|z) p(z) dz, the integral itself."""
    centre = w * (x - b) / (w * w + s * s)  # where the integrand peaks; only steers the quadrature
    return float(
        np.log(
            line_integral(
                lambda z: stats.norm.pdf(x, w * z + b, s) * stats.norm.pdf(z), centre - 14, centre + 14
            )
        )
    )


@cache
def kl_to_posterior(mu: float, sigma: float, x: float, w: float, b: float, s: float) -> float:
    """∫ q log(q / p(z|x)) dz with the posterior normalised by quadrature."""
    q, log_p_x = stats.norm(mu, sigma), log_evidence(x, w, b, s)
    return expectation(
        lambda z: q.logpdf(z) - (stats.norm.logpdf(x, w * z + b, s) + stats.norm.logpdf(z) - log_p_x),
        mu,
        sigma,
    )


@cache
def log_predictive(mu: float, sigma: float, x: float, w: float, b: float, s: float) -> float:
    """Log ∫ N(z; μ, σ²) p(x|z) dz."""
    return float(
        np.log(
            line_integral(
                lambda z: stats.norm.pdf(z, mu, sigma) * stats.norm.pdf(x, w * z + b, s),
                mu - 14 * sigma,
                mu + 14 * sigma,
            )
        )
    )


@cache
def posterior_moments(x: float, w: float, b: float, s: float) -> tuple[float, float]:
    """Mean and standard deviation of p(z|x), from its unnormalised density on a grid."""
    z = np.linspace(-12, 12, 48001)
    weight = stats.norm.pdf(x, w * z + b, s) * stats.norm.pdf(z)
    weight /= weight.sum()
    mean = float(weight @ z)
    return mean, float(np.sqrt(weight @ (z - mean) ** 2))


def posterior_scale(w: float, s: float) -> float:
    """Standard deviation of p(z|x), which does not depend on x."""
    return posterior_moments(0.0, w, 0.0, s)[1]


def penalty_objective_at_posterior(x: float, w: float, b: float, s: float) -> float:
    """E_q log p(x|z) − W₂²(q, p) for q the exact posterior."""
    mean, scale = posterior_moments(x, w, b, s)
    return expected_log_likelihood(mean, scale, x, w, b, s) - squared_w2(mean, scale)


def pull_of_w2(mu: float, sigma: float) -> float:
    """∂W₂²/∂μ by central differences of the quantile integral."""
    h = 1e-3
    return (squared_w2(mu + h, sigma) - squared_w2(mu - h, sigma)) / (2 * h)


def pull_of_kl_to_half_normal(mu: float, sigma: float) -> float:
    """∂KL(q‖N(0, ½))/∂μ by central differences of quadratures."""
    h, p = 1e-3, stats.norm(0.0, 0.5**0.5)

    def value(m: float) -> float:
        q = stats.norm(m, sigma)
        return expectation(lambda z: q.logpdf(z) - p.logpdf(z), m, sigma)

    return (value(mu + h) - value(mu - h)) / (2 * h)


def slope(function: Callable[..., float], name: str, **at: float) -> float:
    """Central difference of a function of named numbers in one of them."""
    h = 1e-4
    return (function(**{**at, name: at[name] + h}) - function(**{**at, name: at[name] - h})) / (2 * h)


FEW_NODES, FEW_WEIGHTS = np.polynomial.hermite_e.hermegauss(12)  # for averages over data
FEW_WEIGHTS = FEW_WEIGHTS / FEW_WEIGHTS.sum()
