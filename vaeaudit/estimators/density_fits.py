r"""Normalised densities r(z) fitted to part of the aggregate posterior and evaluated on the rest.

For any r that does not depend on the points it is evaluated at, E_q[log r(z) − log p(z)] ≤ KL(q(z) ‖ p(z)):
a lower bound at any dimension, with no ceiling.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from vaeaudit.core.gaussian import LOG_2PI

Floats = np.ndarray


def folds_of(num_data: int, num_folds: int, seed: int) -> Floats:
    """Random fold number of each datum, folds of nearly equal size."""
    order = np.random.default_rng(seed).permutation(num_data)
    folds = np.empty(num_data, np.int64)
    folds[order] = np.arange(num_data) % num_folds
    return folds


def moments(loc: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Mean and covariance of the mixture of the given components, in closed form.

    Cov = Cov(μ) + diag(E σ²), with one ridge of 1/N of its mean diagonal against a singular Cov(μ).
    """
    mean = loc.mean(0)
    centred = loc - mean
    cov = centred.T @ centred / loc.shape[0] + np.diag((scale**2).mean(0))
    return mean, cov


def log_gaussian(z: Floats, mean: Floats, cov: Floats) -> Floats:
    """Log density of N(mean, cov), (M,)."""
    factor = np.linalg.cholesky(cov)
    u = np.linalg.solve(factor, (z - mean).T)
    return -0.5 * np.sum(u * u, 0) - np.log(np.diag(factor)).sum() - 0.5 * mean.size * LOG_2PI


def held_out_gaussian(
    z: Floats, owner: Floats, loc: Floats, scale: Floats, folds: Floats
) -> tuple[Floats, Floats]:
    """Gaussian with the mixture's moments, each point scored by a fit without its datum's fold.

    Returns the joint log density (M,) and that of each dimension (M, J).
    """
    joint = np.empty(z.shape[0])
    single = np.empty(z.shape)
    point_fold = folds[owner]
    for fold in np.unique(folds):
        rest, here = folds != fold, point_fold == fold
        mean, cov = moments(loc[rest], scale[rest])
        joint[here] = log_gaussian(z[here], mean, cov)
        variance = np.diag(cov)
        u = z[here] - mean
        single[here] = -0.5 * u * u / variance - 0.5 * np.log(variance) - 0.5 * LOG_2PI
    return joint, single


def defend(log_mixture: Floats, log_wide: Floats, share: float) -> Floats:
    """log((1 − a) e^mixture + a e^wide): a density again, with tails no thinner than the wide one's."""
    return logsumexp(np.stack([np.log1p(-share) + log_mixture, np.log(share) + log_wide]), axis=0)
