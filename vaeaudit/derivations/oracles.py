"""Independent numbers for formulas: adaptive quadrature, quantile integrals, library densities.

Nothing here uses a closed form that a claim states. Densities come from scipy, integrals from
`scipy.integrate`, so that a formula and its oracle share no algebra.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import integrate, stats

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(160)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def expectation(function: Callable[[np.ndarray], np.ndarray], loc: float, scale: float) -> float:
    """E f(z) for z ~ N(loc, scale²), by Gauss–Hermite quadrature (exact for polynomials)."""
    return float(np.sum(_WEIGHTS * function(loc + scale * _NODES)))


def integral(function: Callable[[float], float], low: float, high: float) -> float:
    """∫ f by adaptive quadrature."""
    return float(integrate.quad(function, low, high, epsabs=1e-12, epsrel=1e-11, limit=400)[0])


def kl_to_prior(mu: float, sigma: float) -> float:
    """∫ q log(q/p) dz with scipy's densities."""
    q, p = stats.norm(mu, sigma), stats.norm()
    return integral(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), mu - 12 * sigma, mu + 12 * sigma)


def squared_w2(mu: float, sigma: float) -> float:
    """∫₀¹ (F_q⁻¹(u) − F_p⁻¹(u))² du: the 2-Wasserstein distance on the line, by its quantiles."""
    q, p = stats.norm(mu, sigma), stats.norm()
    return integral(
        lambda t: (q.ppf(stats.norm.cdf(t)) - p.ppf(stats.norm.cdf(t))) ** 2 * p.pdf(t), -8.2, 8.2
    )


def elbo(mu: float, sigma: float, x: float, w: float, b: float, s: float) -> float:
    """∫ q(z) log(p(x|z) p(z) / q(z)) dz, in the form with one logarithm."""
    q = stats.norm(mu, sigma)
    return expectation(
        lambda z: stats.norm.logpdf(x, w * z + b, s) + stats.norm.logpdf(z) - q.logpdf(z), mu, sigma
    )


def expected_log_likelihood(mu: float, sigma: float, x: float, w: float, b: float, s: float) -> float:
    """∫ q(z) log p(x|z) dz."""
    return expectation(lambda z: stats.norm.logpdf(x, w * z + b, s), mu, sigma)


def log_evidence(x: float, w: float, b: float, s: float) -> float:
    """Log ∫ p(x|z) p(z) dz, the integral itself."""
    centre = w * (x - b) / (w * w + s * s)  # where the integrand peaks; only steers the quadrature
    low, high = min(centre, 0) - 14, max(centre, 0) + 14
    return float(np.log(integral(lambda z: stats.norm.pdf(x, w * z + b, s) * stats.norm.pdf(z), low, high)))


def kl_to_posterior(mu: float, sigma: float, x: float, w: float, b: float, s: float) -> float:
    """∫ q log(q / p(z|x)) dz with the posterior normalised by quadrature."""
    q, log_p_x = stats.norm(mu, sigma), log_evidence(x, w, b, s)
    return expectation(
        lambda z: q.logpdf(z) - (stats.norm.logpdf(x, w * z + b, s) + stats.norm.logpdf(z) - log_p_x),
        mu,
        sigma,
    )
