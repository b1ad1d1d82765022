"""The same optima by an independent optimiser: whole matrices, random starts, no principal directions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from vaeaudit.core.errors import ArgumentError
from vaeaudit.derivations.linear_terms import DirectionTerms, setting
from vaeaudit.objectives import Objective
from vaeaudit.objectives.aggregate import TotalCorrelation
from vaeaudit.objectives.kl_family import Capacity

LOG_2PI = math.log(2 * math.pi)
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


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


def _numerical(value: Callable[[np.ndarray, np.ndarray], float]) -> Cost:
    """Gradients of a cost of (A, log σ) by central differences."""

    def cost(w: np.ndarray, a: np.ndarray, log_scale: np.ndarray) -> Charge:
        x, h = np.concatenate([a.ravel(), log_scale]), 1e-6
        size = a.size

        def at(y: np.ndarray) -> float:
            return value(y[:size].reshape(a.shape), y[size:])

        slope = np.array([(at(x + h * e) - at(x - h * e)) / (2 * h) for e in np.eye(len(x))])
        return at(x), np.zeros_like(w), slope[:size].reshape(a.shape), slope[size:]

    return cost


def total_correlation_cost(weight: float, cov: np.ndarray) -> Cost:
    """Rate + (β − 1)·TC of the aggregate posterior N(0, A S Aᵀ + diag σ²)."""

    def value(a: np.ndarray, log_scale: np.ndarray) -> float:
        moment = a @ cov @ a.T
        aggregate = moment + np.diag(np.exp(2 * log_scale))
        correlation = 0.5 * (np.log(np.diag(aggregate)).sum() - np.linalg.slogdet(aggregate)[1])
        rate = np.sum(0.5 * (np.diag(aggregate) - 1) - log_scale)
        return float(rate + (weight - 1) * correlation)

    return _numerical(value)


def mean_absolute_rate_gap(moments: np.ndarray, constant: float) -> float:
    """E|½ Σ m_j ε_j² + r − C| for independent ε ~ N(0, 1), with ``constant`` = C − r.

    Notes
    -----
    In closed form over the direction with the largest m, by Gauss–Hermite over the others.
    """
    order = np.argsort(moments)
    top, rest = max(float(moments[order[-1]]), 1e-300), moments[order[:-1]]
    grids = np.meshgrid(*([_NODES**2] * len(rest)), indexing="ij") if len(rest) else []
    weights = np.ones(())
    for _ in rest:
        weights = np.multiply.outer(weights, _WEIGHTS)
    left = constant - 0.5 * sum((m * g for m, g in zip(rest, grids, strict=True)), start=np.zeros(()))
    t = np.sqrt(np.maximum(2 * left / top, 0.0))
    inside = special.erf(t / math.sqrt(2))  # P(|ε| < t)
    square = inside - 2 * t * np.exp(-0.5 * t * t) / math.sqrt(2 * math.pi)  # E[ε²; |ε| < t]
    return float(np.sum(weights * (0.5 * top - left + 2 * (left * inside - 0.5 * top * square))))


def capacity_cost(target: float, weight: float, cov: np.ndarray) -> Cost:
    """γ E|KL(q(z|x)‖p) − C| over data N(0, S)."""

    def value(a: np.ndarray, log_scale: np.ndarray) -> float:
        moments = np.linalg.eigvalsh(a @ cov @ a.T)
        rest = float(np.sum(0.5 * (np.exp(2 * log_scale) - 1) - log_scale))
        return weight * mean_absolute_rate_gap(np.maximum(moments, 0.0), target - rest)

    return _numerical(value)


def cost_of(objective: Objective, terms: DirectionTerms, cov: np.ndarray) -> Cost:
    """The regulariser of an objective on whole matrices."""
    if isinstance(objective, TotalCorrelation):
        return total_correlation_cost(setting(objective.weight), cov)
    if isinstance(objective, Capacity):
        return capacity_cost(setting(objective.target), setting(objective.weight), cov)
    if terms.route != "direction" or terms.floor > 0:
        raise ArgumentError(f"no smooth population objective for {objective.name!r}.")
    return charges(terms, cov)


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
    shapes = [(size, latent_dim), (latent_dim, size), (latent_dim,), ()]
    ends = np.cumsum([int(np.prod(s)) for s in shapes])

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w, a, log_scale, log_variance = (
            part.reshape(s) for part, s in zip(np.split(flat, ends[:-1]), shapes, strict=True)
        )
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

    best: optimize.OptimizeResult | None = None
    for seed in seeds:
        rng = np.random.default_rng(seed)
        start = np.concatenate([0.3 * rng.standard_normal(ends[1]), np.full(latent_dim, -0.5), np.zeros(1)])
        found = optimize.minimize(
            loss, start, jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": max_iterations}
        )
        if best is None or found.fun < best.fun:
            best = found
    assert best is not None
    w, a, log_scale, log_variance = (
        part.reshape(s) for part, s in zip(np.split(best.x, ends[:-1]), shapes, strict=True)
    )
    scale = np.zeros(latent_dim) if deterministic else np.exp(log_scale)
    v = math.exp(float(log_variance)) if variance is None else variance
    return MatrixOptimum(w, a, scale, v, -float(best.fun), float(np.abs(best.jac).max()))
