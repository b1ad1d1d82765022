"""Symbols and standard terms of the Gaussian case: q = N(μ, σ²), p(z) = N(0, 1), p(x|z) = N(wz + b, s²)."""

from __future__ import annotations

import sympy as sp

mu, x, w, b, eps = sp.symbols("mu x w b epsilon", real=True)
sigma, s, tau, beta, lam = sp.symbols("sigma s tau beta lambda", positive=True)

HALF = sp.Rational(1, 2)
LOG_2PI = sp.log(2 * sp.pi)

KL = HALF * (mu**2 + sigma**2 - 1 - 2 * sp.log(sigma))  # KL(q ‖ p(z))
PENALTY = mu**2 + (sigma - 1) ** 2
HALF_QUADRATIC = HALF * mu**2 + (sigma - 1) ** 2
EXCESS = HALF * sigma**2 - 2 * sigma + sp.Rational(3, 2) + sp.log(sigma)  # f(σ) = P − KL − ½μ²

# E_q log p(x|z), E_q log p(z), E_q log q(z|x), log p(x)
EXPECTED_LOG_LIKELIHOOD = -HALF * (LOG_2PI + 2 * sp.log(s)) - ((x - b - w * mu) ** 2 + w**2 * sigma**2) / (
    2 * s**2
)
EXPECTED_LOG_PRIOR = -HALF * LOG_2PI - HALF * (mu**2 + sigma**2)
ENTROPY = HALF * (LOG_2PI + 1) + sp.log(sigma)
ELBO = EXPECTED_LOG_LIKELIHOOD - KL
LOG_EVIDENCE = -HALF * (LOG_2PI + sp.log(w**2 + s**2)) - (x - b) ** 2 / (2 * (w**2 + s**2))
POSTERIOR_VARIANCE = s**2 / (w**2 + s**2)
POSTERIOR_LOC = w * (x - b) / (w**2 + s**2)
KL_TO_POSTERIOR = HALF * (
    (sigma**2 + (mu - POSTERIOR_LOC) ** 2) / POSTERIOR_VARIANCE - 1 - sp.log(sigma**2 / POSTERIOR_VARIANCE)
)


def gaussian_mean(expression: sp.Expr) -> sp.Expr:
    """E over ε ~ N(0, 1) of a polynomial in ε, from the moments E ε²ᵏ = (2k − 1)!!."""
    polynomial = sp.Poly(sp.expand(expression), eps)
    return sum(
        (c * sp.factorial2(k - 1) for (k,), c in polynomial.terms() if k and k % 2 == 0),
        start=polynomial.coeff_monomial(1),
    )


def log_normal(value: sp.Expr, loc: sp.Expr, scale: sp.Expr) -> sp.Expr:
    """Log density of N(loc, scale²), a polynomial in ``value``."""
    return -HALF * LOG_2PI - sp.log(scale) - (value - loc) ** 2 / (2 * scale**2)
