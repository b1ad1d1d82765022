r"""Recognise the form of a log p(x|z) given as a function, and whether it is normalised.

At a fixed z most decoders' log-likelihoods are affine or quadratic in x:

    affine      log p = Σᵢ lᵢ xᵢ + c        Bernoulli:            c = −Σᵢ log(1 + e^{lᵢ})
                                            continuous Bernoulli:  c = Σᵢ log C(lᵢ) − log(1 + e^{lᵢ})
    quadratic   log p = −½ Σᵢ hᵢ (xᵢ − mᵢ)² + c    Gaussian:      c = ½ Σᵢ log(hᵢ / 2π)

The value and the gradient at two points give l or (h, m) and c. If the log-likelihood was averaged over
the D elements of x instead of summed, D times it has the normalised constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaeaudit.models.likelihoods import ContinuousBernoulliLogits
from vaeaudit.models.vae import AbstractVAE

Form = Literal["bernoulli", "continuous_bernoulli", "gaussian", "unknown"]
Reduction = Literal["sum", "mean", "unknown"]


@dataclass(frozen=True)
class LikelihoodForm:
    """What a log-likelihood looks like at the points that were tried.

    ``log_mass`` is log ∫ p(x|z) dx implied by the form if the reduction is a sum: 0 for a density; NaN
    where the form is unknown.
    """

    form: Form
    reduction: Reduction
    log_mass: float


UNKNOWN = LikelihoodForm("unknown", "unknown", float("nan"))


@eqx.filter_jit
def _value_and_gradient(model: AbstractVAE, x: Array, z: Array) -> tuple[Array, Array]:
    def total(x: Array) -> tuple[Array, Array]:
        values = model.log_likelihood(x, z)[0]
        return jnp.sum(values), values

    (_, values), gradient = jax.value_and_grad(total, has_aux=True)(x)
    return values, gradient


def _rows(array: Array) -> np.ndarray:
    return np.asarray(array, np.float64).reshape(array.shape[0], -1)


def _close(a: np.ndarray, b: np.ndarray, size: np.ndarray) -> bool:
    """Equal within float32's rounding of sums of the given size."""
    return bool(np.all(np.abs(a - b) <= 1e-3 + 2e-4 * size))


def recognise(model: AbstractVAE, x: Array, z: Array) -> LikelihoodForm:
    """Find the form of ``model.log_likelihood`` at data x (batch, *event) and z (1, batch, latent).

    Parameters
    ----------
    model
        A model with gradients in x.
    x
        A few data inside the support.
    z
        One latent for each.

    Returns
    -------
    LikelihoodForm
        ``unknown`` where the function is neither affine nor a separable quadratic in x.

    Notes
    -----
    A statement about the points tried, in float32: differences below about 10⁻³ nats are not seen.
    """
    rng = np.random.default_rng(0)
    steps = [jnp.asarray(rng.uniform(0.2, 0.8, x.shape), x.dtype) for _ in range(2)]
    points = [x, steps[0], x + steps[1]]
    found = [_value_and_gradient(model, point, z) for point in points]
    value, gradient = (np.asarray([_rows(f[i][:, None] if i == 0 else f[i]) for f in found]) for i in (0, 1))
    value = value[..., 0]  # (point, batch)
    at = np.asarray([_rows(point) for point in points])
    if not (np.isfinite(value).all() and np.isfinite(gradient).all()):
        return UNKNOWN
    scale = np.abs(gradient).max(axis=(0, 2))[:, None] + 1e-6
    if np.all(np.abs(gradient[1:] - gradient[0]) <= 1e-4 * scale):
        return _affine(value, gradient[0], at)
    return _quadratic(value, gradient, at)


def _affine(value: np.ndarray, slope: np.ndarray, at: np.ndarray) -> LikelihoodForm:
    size = np.abs(at[0] * slope).sum(1) + np.abs(value[0])
    constant = value[0] - (at[0] * slope).sum(1)
    for factor, reduction in ((1.0, "sum"), (float(slope.shape[1]), "mean")):
        logits = factor * slope
        softplus = np.logaddexp(0.0, logits).sum(1)
        log_c = np.asarray(ContinuousBernoulliLogits.log_normaliser(jnp.asarray(logits)), np.float64).sum(1)
        for form, expected in (("bernoulli", -softplus), ("continuous_bernoulli", log_c - softplus)):
            if _close(factor * constant, expected, factor * size):
                return LikelihoodForm(form, reduction, 0.0)  # type: ignore[arg-type]
    return UNKNOWN


def _quadratic(value: np.ndarray, gradient: np.ndarray, at: np.ndarray) -> LikelihoodForm:
    moved = at[1:] - at[0]
    safe = np.where(np.abs(moved) < 1e-3, np.nan, moved)
    curvature = -(gradient[1:] - gradient[0]) / safe  # hᵢ from each step
    h = np.nanmean(curvature, axis=0)
    if not np.all(h > 0) or np.nanmax(np.abs(curvature - h) / h) > 1e-2:
        return UNKNOWN
    size = np.abs(value).max(0)
    # c from the value where the quadratic is least: at each point, less its own −½ g²/h
    constants = value + 0.5 * (gradient**2 / h).sum(-1)
    spread = 0.5 * (gradient**2 / h).sum(-1).max(0)
    if not _close(constants, constants[0], 10 * (size + spread)):
        return UNKNOWN
    constant, dims = constants.mean(0), h.shape[1]
    normalised = 0.5 * np.log(h / (2 * np.pi)).sum(1)
    if _close(constant, normalised, 10 * (size + spread) + np.abs(normalised)):
        return LikelihoodForm("gaussian", "sum", 0.0)
    averaged = 0.5 * np.log(dims * h / (2 * np.pi)).sum(1)
    if dims > 1 and _close(dims * constant, averaged, 10 * dims * (size + spread) + np.abs(averaged)):
        return LikelihoodForm("gaussian", "mean", float(np.mean(constant - normalised)))
    return LikelihoodForm("gaussian", "unknown", float(np.mean(constant - normalised)))
