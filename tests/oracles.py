"""Exact answers from scipy, mpmath and numpy, for tests of any part: nothing here imports vaeaudit.

`import oracles` works in every test, as pytest puts this folder on the path.
"""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
from scipy import stats
from scipy.special import logsumexp

# -- one Gaussian dimension against N(0, 1) ----------------------------------------------------------


def kl_to_standard_normal(mu: float, sigma: float, digits: int = 30) -> float:
    """∫ q log(q/p) dz by mpmath quadrature of the definition, in q's standard units."""
    with mpmath.workdps(digits):
        mu, sigma = mpmath.mpf(mu), mpmath.mpf(sigma)

        def integrand(u: mpmath.mpf) -> mpmath.mpf:
            z = mu + sigma * u
            log_ratio = -u * u / 2 - mpmath.log(sigma) + z * z / 2
            return mpmath.npdf(u) * log_ratio

        return float(mpmath.quad(integrand, [-20, -5, 0, 5, 20]))


def squared_w2_to_standard_normal(mu: float, sigma: float) -> float:
    """∫₀¹ (F_q⁻¹ − F_p⁻¹)² du, by mpmath quadrature over p's quantile u = Φ(t)."""
    with mpmath.workdps(20):
        return float(mpmath.quad(lambda t: (mu + sigma * t - t) ** 2 * mpmath.npdf(t), [-15, -4, 0, 4, 15]))


def normal_expectation(f: Callable[[np.ndarray], np.ndarray], mu: float, sigma: float) -> float:
    """E f(z), z ~ N(mu, sigma²), by Gauss–Hermite quadrature with 120 nodes."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    return float(np.sum(weights / weights.sum() * f(mu + sigma * nodes)))


# -- multivariate Gaussians ---------------------------------------------------------------------------


def gaussian_kl(m0: np.ndarray, s0: np.ndarray, m1: np.ndarray, s1: np.ndarray, digits: int = 50) -> float:
    """KL(N(m0, S0) ‖ N(m1, S1)) by the textbook formula with 50-digit inverse and determinants."""
    with mpmath.workdps(digits):
        a, b = (mpmath.matrix(np.asarray(s, dtype=float).tolist()) for s in (s0, s1))
        d = mpmath.matrix((np.asarray(m1, dtype=float) - np.asarray(m0, dtype=float)).tolist())
        inverse = b**-1
        product = inverse * a
        trace = sum(product[i, i] for i in range(product.rows))
        quadratic = (d.T * inverse * d)[0]
        return float((trace + quadratic - a.rows + mpmath.log(mpmath.det(b) / mpmath.det(a))) / 2)


def normal_log_density(x: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> np.ndarray:
    """Rows of x under N(mean, cov), by scipy."""
    return np.atleast_1d(stats.multivariate_normal(mean, cov).logpdf(np.asarray(x, dtype=float)))


# -- x = W z + b + s ε --------------------------------------------------------------------------------


def linear_gaussian_log_evidence(w: np.ndarray, b: np.ndarray, s: float, x: np.ndarray) -> np.ndarray:
    """Log p(x), (batch,)."""
    w, b = np.asarray(w, dtype=float), np.asarray(b, dtype=float)
    return normal_log_density(x, b, w @ w.T + float(s) ** 2 * np.eye(len(b)))


def linear_gaussian_posterior(
    w: np.ndarray, b: np.ndarray, s: float, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (batch, J) and covariance of p(z|x), by conditioning the joint Gaussian of z and x."""
    w, b = np.asarray(w, dtype=float), np.asarray(b, dtype=float)
    gain = w.T @ np.linalg.inv(w @ w.T + float(s) ** 2 * np.eye(len(b)))
    return (np.asarray(x, dtype=float) - b) @ gain.T, np.eye(w.shape[1]) - gain @ w


def linear_gaussian_elbo(
    w: np.ndarray, b: np.ndarray, s: float, x: np.ndarray, loc: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """Log p(x) − KL(q ‖ p(z|x)) per datum: the ELBO by its gap, with q = N(loc, diag scale²)."""
    mean, cov = linear_gaussian_posterior(w, b, s, x)
    gap = [
        gaussian_kl(m, np.diag(np.asarray(c, float) ** 2), p, cov)
        for m, c, p in zip(loc, scale, mean, strict=True)
    ]
    return linear_gaussian_log_evidence(w, b, s, x) - np.array(gap)


# -- any model with one or two latents, on a grid -----------------------------------------------------


def grid(num_latents: int, half_width: float = 9.0, num: int = 401) -> tuple[np.ndarray, float]:
    """Points (n, num_latents) of a regular grid around 0 and the log of a cell's volume."""
    axis = np.linspace(-half_width, half_width, num)
    points = np.stack(np.meshgrid(*[axis] * num_latents, indexing="ij"), axis=-1).reshape(-1, num_latents)
    return points, num_latents * float(np.log(axis[1] - axis[0]))


def log_evidence_on_grid(log_joint: np.ndarray, log_volume: float) -> np.ndarray:
    """Log ∫ p(x, z) dz from log p(x, z) at the points of `grid` on axis 0."""
    return logsumexp(np.asarray(log_joint, dtype=float), axis=0) + log_volume


# -- the aggregate posterior of finitely many one-dimensional q(z|x) ------------------------------------


def aggregate_of_mixture(loc: np.ndarray, scale: np.ndarray) -> dict[str, float]:
    """Rate, mutual information and marginal KL of q_N(z) = mean of N(loc_i, scale_i²).

    Trapezoid rule with a step of a twelfth of the smallest scale: exact to rounding for such
    integrands. The information is entropy minus conditional entropy, the rate an average of
    quadratures, so rate = mutual_information + marginal_kl is no identity by construction.
    """
    loc, scale = np.ravel(loc).astype(float), np.ravel(scale).astype(float)
    z = np.arange(np.min(loc - 10 * scale), np.max(loc + 10 * scale), np.min(scale) / 12)
    log_q = logsumexp(stats.norm.logpdf(z[:, None], loc, scale), axis=1) - np.log(len(loc))
    step, q = z[1] - z[0], np.exp(log_q)
    entropy = -np.sum(q * log_q) * step
    marginal = np.sum(q * (log_q - stats.norm.logpdf(z))) * step
    conditional = float(np.mean(stats.norm(loc, scale).entropy()))
    rate = [normal_expectation(_log_ratio(m, s), m, s) for m, s in zip(loc, scale, strict=True)]
    return {
        "rate": float(np.mean(rate)),
        "mutual_information": float(entropy) - conditional,
        "marginal_kl": float(marginal),
    }


def _log_ratio(mu: float, sigma: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda z: stats.norm.logpdf(z, mu, sigma) - stats.norm.logpdf(z)


# -- continuous Bernoulli -----------------------------------------------------------------------------


def continuous_bernoulli_log_normaliser(logit: float) -> float:
    """−log ∫₀¹ λˣ (1 − λ)^(1−x) dx with λ = sigmoid(logit), by 40-digit quadrature."""
    with mpmath.workdps(40):
        logit = mpmath.mpf(logit)
        top = max(logit, mpmath.mpf(0))  # the integrand over its maximum, so that |logit| = 50 is no trouble
        cuts = [0, 0.02, 0.1, 0.5, 0.9, 0.98, 1]
        mass = mpmath.quad(lambda x: mpmath.exp(logit * x - top), cuts)
        return float(mpmath.log(1 + mpmath.exp(logit)) - top - mpmath.log(mass))


def continuous_bernoulli_moment(logit: float, power: int) -> float:
    """E xᵖ by 40-digit quadrature."""
    with mpmath.workdps(40):
        logit = mpmath.mpf(logit)
        top = max(logit, mpmath.mpf(0))
        cuts = [0, 0.02, 0.1, 0.5, 0.9, 0.98, 1]
        mass = mpmath.quad(lambda x: mpmath.exp(logit * x - top), cuts)
        return float(mpmath.quad(lambda x: x**power * mpmath.exp(logit * x - top), cuts) / mass)
