"""log p(x) − ELBO in two parts: what the Gaussian family costs, and what the encoder costs beyond it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from jaxtyping import Array

from vaeaudit.core.arrays import KeyLike, as_float_array, as_key, check_count
from vaeaudit.core.errors import ArgumentError, unknown_name
from vaeaudit.core.gaussian import log_normal_from_noise
from vaeaudit.core.records import Estimate
from vaeaudit.estimators.encoding import check_model, encode_all
from vaeaudit.estimators.evidence import LogEvidence, Method, log_evidence
from vaeaudit.estimators.importance import batches
from vaeaudit.estimators.laplace import laplace_fit
from vaeaudit.estimators.mean_gap import gap_estimate
from vaeaudit.estimators.reliability import Floats
from vaeaudit.models.vae import AbstractVAE

Family = Literal["diagonal", "full"]


@dataclass(frozen=True)
class InferenceGap:
    """inference_gap = approximation_gap + amortization_gap, per datum and on average (nats).

    ``elbo`` is the encoder's, ``best_elbo`` that of the best Gaussian found for each datum.
    """

    evidence: LogEvidence
    elbo: Floats
    elbo_se: Floats
    best_elbo: Floats
    best_elbo_se: Floats
    difference_se: Floats
    family: str

    @cached_property
    def inference_gap(self) -> Estimate:
        """Mean of log p(x) − ELBO."""
        return gap_estimate(self.evidence, self.elbo, self.elbo_se, "data")

    @cached_property
    def approximation_gap(self) -> Estimate:
        """Mean of log p(x) − ELBO of the best Gaussian: high in expectation if the search stopped early."""
        return gap_estimate(self.evidence, self.best_elbo, self.best_elbo_se, "data")

    @cached_property
    def amortization_gap(self) -> Estimate:
        """Mean of the best Gaussian's ELBO − the encoder's: low if the search stopped early."""
        difference = self.best_elbo - self.elbo
        n = len(difference)
        if not np.isfinite(difference).all():
            return Estimate.refused("unreliable", "the model returned NaN on some data", num_data=n)
        se = float(np.sqrt(np.sum(self.difference_se**2)) / n)
        return Estimate.normal(float(np.mean(difference)), se, num_data=n)

    @property
    def per_datum(self) -> pd.DataFrame:
        """One row per datum."""
        value = self.evidence.value
        return pd.DataFrame(
            {
                "log_evidence": value,
                "elbo": self.elbo,
                "best_elbo": self.best_elbo,
                "inference_gap": value - self.elbo,
                "approximation_gap": value - self.best_elbo,
                "amortization_gap": self.best_elbo - self.elbo,
                "reliable": self.evidence.reliable,
            }
        )

    @property
    def table(self) -> dict[str, Estimate]:
        """The three gaps by name."""
        names = ("inference_gap", "approximation_gap", "amortization_gap")
        return {name: getattr(self, name) for name in names}


def _triangle(raw: Array, log_diagonal: Array) -> Array:
    """Lower triangle with diagonal exp(log_diagonal), (batch, latent, latent)."""
    strict = jnp.tril(raw, -1)
    return strict + jnp.exp(log_diagonal)[..., None] * jnp.eye(raw.shape[-1])


def _place(params: dict[str, Array], noise: Array) -> Array:
    if "raw" in params:
        return params["loc"] + jnp.einsum(
            "bij,sbj->sbi", _triangle(params["raw"], params["log_scale"]), noise
        )
    return params["loc"] + jnp.exp(params["log_scale"]) * noise


def _elbo_draws(model: AbstractVAE, x: Array, params: dict[str, Array], noise: Array) -> Array:
    """Log p(x, z) − log q(z), (sample, batch): the density needs the noise and log |L| alone."""
    z = _place(params, noise)
    log_q = log_normal_from_noise(noise, jnp.exp(params["log_scale"]))
    return model.log_likelihood(x, z) + model.log_prior(z) - log_q


@eqx.filter_jit
def _optimise(
    model: AbstractVAE, x: Array, params: dict[str, Array], rng_key: Array, steps: int, samples: int
) -> dict[str, Array]:
    """Adam with a cosine rate on the negative ELBO; the mean of the last quarter of the iterates."""
    optimiser = optax.adam(optax.cosine_decay_schedule(0.02, steps))

    def loss(p: dict[str, Array], noise: Array) -> Array:
        return -jnp.sum(jnp.mean(_elbo_draws(model, x, p, noise), axis=0))

    def step(carry: tuple[Any, ...], inputs: tuple[Array, Array]) -> tuple[tuple[Any, ...], None]:
        p, state, total = carry
        key, late = inputs
        half = jax.random.normal(key, (samples, *p["loc"].shape))
        gradient = jax.grad(loss)(p, jnp.concatenate([half, -half]))
        gradient = jax.tree.map(lambda g: jnp.where(jnp.isfinite(g), g, 0.0), gradient)
        updates, state = optimiser.update(gradient, state)
        p = optax.apply_updates(p, updates)
        total = jax.tree.map(lambda t, v: t + late * v, total, p)
        return (p, state, total), None

    late = (jnp.arange(steps) >= steps - steps // 4).astype(jnp.float32)
    zero = jax.tree.map(jnp.zeros_like, params)
    (_, _, total), _ = jax.lax.scan(
        step, (params, optimiser.init(params), zero), (jax.random.split(rng_key, steps), late)
    )
    return jax.tree.map(lambda t: t / jnp.sum(late), total)


@eqx.filter_jit
def _draws(model: AbstractVAE, x: Array, params: dict[str, Array], rng_key: Array, samples: int) -> Array:
    half = jax.random.normal(rng_key, (samples // 2, *params["loc"].shape))
    both = _elbo_draws(model, x, params, jnp.concatenate([half, -half]))
    return 0.5 * (both[: samples // 2] + both[samples // 2 :])  # antithetic pairs


def inference_gap(
    model: AbstractVAE,
    x: Any,
    rng_key: KeyLike = 0,
    *,
    family: Family = "diagonal",
    method: Method = "auto",
    num_samples: int = 5000,
    elbo_samples: int = 1000,
    steps: int = 300,
    batch_size: int = 64,
) -> InferenceGap:
    r"""Inference gap with its two parts and their intervals (nats).

    log p(x) − L(q_φ) = [log p(x) − max_q L(q)] + [max_q L(q) − L(q_φ)]

    Parameters
    ----------
    model
        A differentiable VAE.
    x
        Data (batch, *event); call once on training and once on test data to compare.
    rng_key
        Integer seed or JAX key.
    family
        Gaussians to choose the best from: ``"diagonal"`` as the encoder's, or ``"full"`` covariance.
    method, num_samples
        As in `log_evidence`.
    elbo_samples
        Draws per datum for each ELBO, in antithetic pairs under common noise.
    steps
        Optimiser steps per datum (Adam, 16 draws a step).
    batch_size
        Data per call.

    Returns
    -------
    InferenceGap
        ``inference_gap``, ``approximation_gap``, ``amortization_gap`` (Estimates), ``per_datum``.

    Raises
    ------
    ArgumentError
        For a model without gradients.

    Notes
    -----
    The best Gaussian is the best of four: the encoder's output, a Laplace fit, and what gradient steps
    reach from either. It is chosen on draws of its own, so the amortization gap is not negative beyond
    Monte-Carlo error. An unfinished search puts too much into the approximation gap.

    References
    ----------
    Cremer, Li & Duvenaud (2018), eqs. 5–7.

    Examples
    --------
    >>> import vaeaudit as va
    >>> model = va.LinearGaussianVAE.random(0, data_dim=4, latent_dim=2)
    >>> gap = va.inference_gap(model, model.generative.bias[None], num_samples=500, steps=50)
    >>> bool(abs(gap.amortization_gap.value) < 0.1)
    True
    """
    check_model(model)
    if not model.differentiable:
        raise ArgumentError(
            "the best Gaussian per datum needs the gradient of log p(x|z), and this model runs outside "
            "JAX. The whole gap alone is log_evidence(...).mean − rate_distortion(...).elbo."
        )
    if family not in ("diagonal", "full"):
        raise unknown_name("family", str(family), ["diagonal", "full"])
    check_count("elbo_samples", elbo_samples, minimum=4)
    check_count("steps", steps, minimum=4)
    key = as_key(rng_key)
    data = as_float_array("x", x)
    evidence = log_evidence(model, data, jax.random.fold_in(key, 0), method, num_samples)
    loc, scale = encode_all(model, data)
    columns: list[np.ndarray] = []
    for number, (index, real) in enumerate(batches(data.shape[0], batch_size)):
        fit_key, draw_key = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, 1), number))
        xb = data[index]
        start = {"loc": jnp.asarray(loc[index]), "log_scale": jnp.log(jnp.asarray(scale[index]))}
        mode, tril = laplace_fit(model, xb, start["loc"])
        precision = jnp.linalg.inv(tril @ tril.mT)
        if family == "full":
            start["raw"] = jnp.zeros_like(tril)
            other = {"loc": mode, "raw": jnp.tril(tril, -1)}
            other["log_scale"] = jnp.log(jnp.diagonal(tril, axis1=-2, axis2=-1))
        else:
            other = {"loc": mode, "log_scale": -0.5 * jnp.log(jnp.diagonal(precision, axis1=-2, axis2=-1))}
        keys = jax.random.split(fit_key, 2)
        found = [_optimise(model, xb, p, k, steps, 8) for p, k in zip((start, other), keys, strict=True)]
        columns.append(_score(model, xb, [start, other, *found], draw_key, elbo_samples)[:, :real])
    elbo, elbo_se, best, best_se, difference_se = np.concatenate(columns, axis=1)
    return InferenceGap(evidence, elbo, elbo_se, best, best_se, difference_se, family)


def _score(
    model: AbstractVAE,
    x: Array,
    candidates: list[dict[str, Array]],
    rng_key: Array,
    samples: int,
) -> np.ndarray:
    """ELBOs and their standard errors (5, batch); candidates[0] is the encoder."""
    choose_key, report_key = jax.random.split(rng_key)
    seen = [np.asarray(_draws(model, x, p, choose_key, samples), np.float64).mean(axis=0) for p in candidates]
    which = np.argmax(np.where(np.isfinite(seen), seen, -np.inf), axis=0)
    draws = np.stack([np.asarray(_draws(model, x, p, report_key, samples), np.float64) for p in candidates])
    own = draws[0]
    best = np.take_along_axis(draws, which[None, None, :], axis=0)[0]
    root = math.sqrt(own.shape[0])

    def se(values: np.ndarray) -> np.ndarray:
        return np.std(values, axis=0, ddof=1) / root

    return np.stack([own.mean(axis=0), se(own), best.mean(axis=0), se(best), se(best - own)])
