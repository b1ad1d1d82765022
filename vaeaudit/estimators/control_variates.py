"""Variance reduction with functions of the noise whose mean given x is known to be zero."""

from __future__ import annotations

import numpy as np

Floats = np.ndarray


def noise_regressors(noise: Floats, loc: Floats, scale: Floats, needed: int = 50) -> Floats:
    """Functions of the noise with mean zero given x, (draws, regressors).

    ε_j² − 1 and z_j² − E[z_j²|x] per latent, and ε_j; summed over the latents where there are fewer than
    ``needed`` draws per regressor, so that fitting their coefficients costs less than they remove.
    """
    own = noise**2 - 1.0
    square = 2.0 * loc * scale * noise + scale**2 * own  # z² − μ² − σ²
    columns = np.concatenate([own, square, noise], axis=1)
    if columns.shape[0] >= needed * columns.shape[1]:
        return columns
    return np.stack([own.sum(1), square.sum(1)], axis=1)


def reduce_variance(values: Floats, regressors: Floats) -> Floats:
    """Subtract the least-squares fit on zero-mean regressors from each column of ``values``.

    Notes
    -----
    Linear in ``values``: identities between columns survive. The mean changes only through the regressors'
    sample means, whose expectation is zero; the fitted coefficients add a bias of order 1/draws.
    """
    finite = np.isfinite(values).all(axis=0)
    out = values.copy()
    centred = regressors - regressors.mean(0)
    response = values[:, finite] - values[:, finite].mean(0)
    spread = np.maximum(centred.std(0), 1e-30)
    unit = centred / spread
    # columns coincide where a unit has collapsed; the ridge costs no bias, since any coefficients are valid
    gram = unit.T @ unit + 1e-6 * centred.shape[0] * np.eye(unit.shape[1])
    coefficients = np.linalg.solve(gram, unit.T @ response) / spread[:, None]
    out[:, finite] = values[:, finite] - regressors @ coefficients
    return out
