"""Data from a linear-Gaussian model (probabilistic PCA) whose log p(x) and posterior are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vaeaudit.core.arrays import check_count
from vaeaudit.core.errors import ArgumentError
from vaeaudit.core.exact_gaussian import LinearGaussian
from vaeaudit.data.dataset import Dataset

SOURCE = "Drawn from x = W z + b + s ε; Tipping & Bishop (1999), Probabilistic principal component analysis."


def linear_gaussian_truth(
    spectrum: Sequence[float], data_dim: int, noise_scale: float, seed: int, correlated: bool = False
) -> LinearGaussian:
    """A model with W = U diag(√spectrum) Rᵀ for random orthonormal U, (D, J), and b ~ N(0, I).

    R is the identity, or with ``correlated`` a random rotation, which leaves p(x) as it is and makes
    the posterior's covariance full. Values are rounded to float32, so that a float32 model holds
    exactly them.
    """
    j = len(spectrum)
    if j == 0 or not all(np.isfinite(v) and v > 0 for v in spectrum):
        raise ArgumentError(f"`spectrum` must hold positive signal variances; got {tuple(spectrum)!r}.")
    if check_count("data_dim", data_dim) < j:
        raise ArgumentError(f"`data_dim` must be at least the number of latents, {j}; got {data_dim}.")
    if not (np.isfinite(noise_scale) and noise_scale > 0):
        raise ArgumentError(f"`noise_scale` must be positive; got {noise_scale!r}.")
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((data_dim, j)))[0]
    bias = rng.standard_normal(data_dim)
    weight = basis * np.sqrt(np.asarray(spectrum, dtype=np.float64))
    if correlated:
        weight = weight @ np.linalg.qr(rng.standard_normal((j, j)))[0].T
    weight, bias = (a.astype(np.float32).astype(np.float64) for a in (weight, bias))
    return LinearGaussian(weight, bias, float(np.float32(noise_scale)))


def load_linear_gaussian(
    form: str,
    *,
    spectrum: Sequence[float] = (4.0, 2.0, 1.0, 0.5),
    data_dim: int = 10,
    noise_scale: float = 0.5,
    num_data: Sequence[int] = (2000, 500, 1000),
    seed: int = 0,
    correlated: bool = False,
) -> Dataset:
    """Draw a data set from a known linear-Gaussian model.

    x = W z + b + s ε,   z ~ N(0, I_J),   ε ~ N(0, I_D)

    Parameters
    ----------
    form
        ``"real"``.
    spectrum
        Eigenvalues of WᵀW: the signal variance of each latent direction; its length is J.
    data_dim
        D.
    noise_scale
        s.
    num_data
        Sizes of train, validation and test.
    seed
        Seed of the model and of the draws.
    correlated
        Whether to rotate the latents, so that the exact posterior has a full covariance and no
        diagonal encoder equals it.

    Returns
    -------
    Dataset
        ``truth`` is the `LinearGaussian`: ``weight``, ``bias``, ``noise_scale``, ``log_evidence(x)``,
        ``posterior(x)``, ``mutual_information``, ``entropy``. Its aggregate posterior is the prior,
        so its marginal KL and total correlation are zero and its rate is the mutual information.

    Raises
    ------
    ArgumentError
        For sizes, variances or scales that are not positive.

    References
    ----------
    Tipping & Bishop (1999).
    """
    if len(num_data) != 3:
        raise ArgumentError(f"`num_data` must be three sizes: train, validation, test; got {num_data!r}.")
    for size in num_data:
        check_count("num_data", size)
    truth = linear_gaussian_truth(spectrum, data_dim, noise_scale, seed, correlated)
    train, validation, test = (
        truth.sample(np.random.default_rng([seed, i]), size)[1].astype(np.float32)
        for i, size in enumerate(num_data, start=1)
    )
    return Dataset(
        name="linear_gaussian",
        form=form,
        support="real",
        train=train,
        validation=validation,
        test=test,
        source=SOURCE,
        truth=truth,
    )
