r"""Normalised densities r(z) fitted to part of the aggregate posterior and evaluated on the rest.

For any r that does not depend on the points it is evaluated at, E_q[log r(z) − log p(z)] ≤ KL(q(z) ‖ p(z)):
a lower bound at any dimension, with no ceiling.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.special import logsumexp

from vaeaudit.core.gaussian import LOG_2PI
from vaeaudit.estimators.mixture_density import Method, log_mixture_density

Floats = np.ndarray
MAX_FIT = 2_000  # points that a Gaussian mixture is fitted to
SIZES = (3, 12)  # components of the fitted mixtures, as far as the data carry them


def folds_of(num_data: int, num_folds: int, seed: int) -> Floats:
    """Random fold number of each datum, folds of nearly equal size."""
    order = np.random.default_rng(seed).permutation(num_data)
    folds = np.empty(num_data, np.int64)
    folds[order] = np.arange(num_data) % num_folds
    return folds


def moments(loc: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Mean and covariance of the mixture of the given components, in closed form.

    Cov = Cov(μ) + diag(E σ²)
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


def held_out_mixtures(z: Floats, owner: Floats, folds: Floats, seed: int = 0) -> dict[str, Floats]:
    """Gaussian mixtures with full covariance fitted by EM to the points of all folds but one, (M,) each.

    A size is left out where a fold offers fewer than ten points per free parameter of one component.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    latent = z.shape[1]
    point_fold = folds[owner]
    first = np.arange(folds.size)  # one draw per datum: independent points
    fitted: dict[str, Floats] = {}
    rng = np.random.default_rng(seed)
    for size in SIZES:
        needed = 10 * size * (1 + latent + latent * (latent + 1) // 2)
        if min(np.sum(folds != fold) for fold in np.unique(folds)) < min(needed, MAX_FIT * size):
            continue
        values = np.empty(z.shape[0])
        for fold in np.unique(folds):
            rest = first[folds != fold]
            rest = rest if rest.size <= MAX_FIT else rng.choice(rest, MAX_FIT, replace=False)
            mixture = GaussianMixture(
                size, reg_covar=1e-6, max_iter=40, init_params="k-means++", random_state=seed
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # any normalised r gives a valid bound
                mixture.fit(z[rest])
            here = point_fold == fold
            values[here] = mixture.score_samples(z[here])
        fitted[f"held-out mixture of {size} Gaussians"] = values
    return fitted


def widened_mixture(z: Floats, owner: Floats, loc: Floats, scale: Floats, method: Method = "auto") -> Floats:
    """Leave-one-out mixture with Scott's bandwidth added to every component's variance, (M,)."""
    num_data, latent = loc.shape
    bandwidth = num_data ** (-1.0 / (latent + 4))
    spread = loc.std(0) + scale.mean(0)
    wide = np.sqrt(scale**2 + (bandwidth * spread) ** 2).astype(np.float32)
    density = log_mixture_density(
        z.astype(np.float32), loc.astype(np.float32), wide, own=owner, method=method
    ).log_q_others
    assert density is not None
    return density


def stack(log_densities: dict[str, Floats], owner: Floats, folds: Floats) -> tuple[Floats, dict[str, float]]:
    """Mix densities with weights fitted by EM on the other folds' points, (M,), and the mean weights.

    Every weight keeps a floor of 1/(2√N) so that the thickest tail among the densities remains.

    Notes
    -----
    The result is a density for each fold, independent of that fold but for the part its data had in the other
    folds' scores: an effect of order 1/N through a handful of weights.

    References
    ----------
    Smyth & Wolpert (1999), Linearly combining density estimators via stacking, section 3.
    """
    names = list(log_densities)
    columns = np.stack([log_densities[name] for name in names], axis=1)
    point_fold = folds[owner]
    floor = 0.5 / np.sqrt(folds.size)
    out = np.empty(columns.shape[0])
    mean_weights = np.zeros(len(names))
    for fold in np.unique(folds):
        here = point_fold == fold
        rest = columns[~here]
        rest = rest[:: max(1, rest.shape[0] // MAX_FIT)]
        relative = np.exp(rest - rest.max(1, keepdims=True))
        weights = np.full(len(names), 1.0 / len(names))
        for _ in range(100):
            share = relative * weights
            new = (share / share.sum(1, keepdims=True)).mean(0)
            if np.abs(new - weights).max() < 1e-5:
                break
            weights = new
        weights = (1.0 - floor) * weights + floor / len(names)
        mean_weights += weights * here.mean()
        out[here] = logsumexp(columns[here] + np.log(weights), axis=1)
    return out, dict(zip(names, (float(w) for w in mean_weights), strict=True))
