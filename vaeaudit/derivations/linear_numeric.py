"""The same optima by an independent optimiser: whole matrices, random starts, no principal directions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from vaeaudit.core.errors import ArgumentError
from vaeaudit.derivations.linear_rate_gap import rate_gap
from vaeaudit.derivations.linear_terms import DirectionTerms, setting
from vaeaudit.objectives import Objective
from vaeaudit.objectives.aggregate import TotalCorrelation
from vaeaudit.objectives.kl_family import Capacity

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class MatrixOptimum:
    """Decoder W (D, J), encoder A (J, D), scales σ (J,), noise variance s², objective value."""

    weight: np.ndarray
    enc_weight: np.ndarray
    scale: np.ndarray
    variance: float
    value: float
    gradient: float  # largest element of the gradient at the end


Charge = tuple[float, np.ndarray, np.ndarray, np.ndarray]  # value and gradients in W, A, log σ
Cost = Callable[[np.ndarray, np.ndarray, np.ndarray], Charge]


def charges(terms: DirectionTerms, cov: np.ndarray) -> Cost:
    """Regulariser and its gradients in (W, A, log σ) from the objective's charges."""

    def cost(w: np.ndarray, a: np.ndarray, log_scale: np.ndarray) -> Charge:
        scale, moment = np.exp(log_scale), a @ cov
        value = (
            terms.loc * np.sum(moment * a)
            + np.sum(terms.kl * (0.5 * (scale**2 - 1) - log_scale) + terms.quadratic * (scale - 1) ** 2)
            + terms.head * np.sum(a * a)
            + terms.decoder * np.sum(w * w)
        )
        by_scale = terms.kl * (scale**2 - 1) + 2 * terms.quadratic * (scale - 1) * scale
        return float(value), 2 * terms.decoder * w, 2 * terms.loc * moment + 2 * terms.head * a, by_scale

    return cost


def total_correlation_cost(weight: float, cov: np.ndarray) -> Cost:
    """Rate + (β − 1)·TC of the aggregate posterior N(0, A S Aᵀ + diag σ²)."""

    def cost(w: np.ndarray, a: np.ndarray, log_scale: np.ndarray) -> Charge:
        scale_sq, moment = np.exp(2 * log_scale), a @ cov
        aggregate = moment @ a.T + np.diag(scale_sq)
        variance = np.diag(aggregate)
        correlation = 0.5 * (np.log(variance).sum() - np.linalg.slogdet(aggregate)[1])
        rate = np.sum(0.5 * (variance - 1) - log_scale)
        slope = np.diag(1 / variance) - np.linalg.inv(aggregate)  # 2 ∂TC/∂C
        by_a = moment + (weight - 1) * slope @ moment
        by_scale = scale_sq - 1 + (weight - 1) * np.diag(slope) * scale_sq
        return float(rate + (weight - 1) * correlation), np.zeros_like(w), by_a, by_scale

    return cost


def capacity_cost(target: float, weight: float, cov: np.ndarray) -> Cost:
    """γ E|KL(q(z|x)‖p) − C| over data N(0, S)."""

    def cost(w: np.ndarray, a: np.ndarray, log_scale: np.ndarray) -> Charge:
        scale_sq, moment = np.exp(2 * log_scale), a @ cov
        eigenvalues, axes = np.linalg.eigh(moment @ a.T)
        rest = float(np.sum(0.5 * (scale_sq - 1) - log_scale))
        gap, by_moment, by_constant = rate_gap(np.maximum(eigenvalues, 0.0), target - rest)
        by_a = 2 * weight * (axes * by_moment) @ axes.T @ moment
        return weight * gap, np.zeros_like(w), by_a, -weight * by_constant * (scale_sq - 1)

    return cost


def cost_of(objective: Objective, terms: DirectionTerms, cov: np.ndarray) -> Cost:
    """The regulariser of an objective on whole matrices."""
    if isinstance(objective, TotalCorrelation):
        return total_correlation_cost(setting(objective.weight), cov)
    if isinstance(objective, Capacity):
        return capacity_cost(setting(objective.target), setting(objective.weight), cov)
    if terms.route != "direction" or terms.floor > 0:
        raise ArgumentError(f"no smooth population objective for {objective.name!r}.")
    return charges(terms, cov)


def shapes_of(data_dim: int, latent_dim: int) -> list[tuple[int, ...]]:
    """Of W, A, log σ and log s² in one flat vector of parameters."""
    return [(data_dim, latent_dim), (latent_dim, data_dim), (latent_dim,), ()]


def split(flat: np.ndarray, data_dim: int, latent_dim: int) -> list[np.ndarray]:
    """W, A, log σ, log s² from the flat vector."""
    shapes = shapes_of(data_dim, latent_dim)
    ends = np.cumsum([int(np.prod(s)) for s in shapes])
    return [part.reshape(s) for part, s in zip(np.split(flat, ends[:-1]), shapes, strict=True)]


def population_loss(
    cost: Cost, cov: np.ndarray, latent_dim: int, *, variance: float | None, deterministic: bool = False
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Cost − E log p(x|z) and its gradient, of the flat vector (W, A, log σ, log s²); s² held if given."""
    size = len(cov)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w, a, log_scale, log_variance = split(flat, size, latent_dim)
        v = math.exp(float(log_variance)) if variance is None else variance
        spread = np.zeros(latent_dim) if deterministic else np.exp(2 * log_scale)
        moment = a @ cov
        gram, inner = w.T @ w, moment @ a.T + np.diag(spread)
        error = float(np.trace(cov) - 2 * np.sum(w * moment.T) + np.sum(gram * inner))
        charge, by_w, by_a, by_scale = cost(w, a, log_scale)
        value = 0.5 * size * (LOG_2PI + math.log(v)) + error / (2 * v) + charge
        grad_w = (w @ inner - moment.T) / v + by_w
        grad_a = (gram @ moment - w.T @ cov) / v + by_a
        grad_scale = np.diag(gram) * spread / v + by_scale
        grad_v = (0.5 * size - error / (2 * v)) if variance is None else 0.0
        if deterministic:
            grad_scale = np.zeros_like(grad_scale)
        parts = [grad_w.ravel(), grad_a.ravel(), grad_scale.ravel(), np.atleast_1d(grad_v)]
        return value, np.concatenate(parts)

    return loss


def optimise(
    cost: Cost,
    cov: np.ndarray,
    latent_dim: int,
    *,
    variance: float | None,
    seeds: tuple[int, ...] = (0, 1, 2),
    deterministic: bool = False,
    max_iterations: int = 4000,
) -> MatrixOptimum:
    """Maximise E log p(x|z) − cost over decoder, encoder, scales and, if ``variance`` is None, noise.

    Notes
    -----
    BFGS on all elements of all matrices from random starts; the best start is kept. ``deterministic``
    holds σ at zero.
    """
    size = len(cov)
    loss = population_loss(cost, cov, latent_dim, variance=variance, deterministic=deterministic)
    best: optimize.OptimizeResult | None = None
    for seed in seeds:
        rng = np.random.default_rng(seed)
        start = np.concatenate(
            [0.3 * rng.standard_normal(2 * size * latent_dim), np.full(latent_dim, -0.5), np.zeros(1)]
        )
        found = optimize.minimize(
            loss, start, jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": max_iterations}
        )
        if best is None or found.fun < best.fun:
            best = found
    assert best is not None
    w, a, log_scale, log_variance = split(best.x, size, latent_dim)
    scale = np.zeros(latent_dim) if deterministic else np.exp(log_scale)
    v = math.exp(float(log_variance)) if variance is None else variance
    return MatrixOptimum(w, a, scale, v, -float(best.fun), float(np.abs(best.jac).max()))
