"""Optima on finite data for objectives that see more of the data than its covariance, in float64.

Independent of the training loop: numpy, quasi-Newton steps and gradients written out by hand.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize, special
from scipy.stats import qmc

from vaeaudit.derivations.linear_models import LOG_2PI, Matrices
from vaeaudit.derivations.linear_numeric import population_loss, split, total_correlation_cost

SMOOTHING = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # |u| → √(u² + δ²), nats


def capacity_on_data(
    x: np.ndarray,
    latent_dim: int,
    target: float,
    weight: float,
    noise_scale: float,
    *,
    start: Matrices | None = None,
    num_starts: int = 4,
) -> tuple[Matrices, float]:
    """The largest mean of log-likelihood − γ |rate − C| over the given data, and its value.

    Notes
    -----
    BFGS on √(u² + δ²) in the place of |u|, with δ falling to 10⁻⁵ nats. From ``start`` only the two
    smallest δ are used, which finds the nearest optimum; else the best of random starts is taken.
    """
    x = np.asarray(x, dtype=np.float64)
    num_data, size = x.shape
    cut = np.cumsum([size * latent_dim, latent_dim * size, latent_dim, size])
    v = noise_scale**2

    def loss(flat: np.ndarray, smoothing: float) -> tuple[float, np.ndarray]:
        w, a, enc_bias, bias, log_scale = np.split(flat, cut)
        w, a = w.reshape(size, latent_dim), a.reshape(latent_dim, size)
        scale_sq, column_sq = np.exp(2 * log_scale), np.sum(w * w, axis=0)
        loc = x @ a.T + enc_bias
        residual = x - loc @ w.T - bias
        error = np.sum(residual**2) / num_data + column_sq @ scale_sq
        rate = 0.5 * np.sum(loc**2, axis=1) + np.sum(0.5 * (scale_sq - 1) - log_scale)
        gap = np.sqrt((rate - target) ** 2 + smoothing**2)
        side = weight * (rate - target) / gap / num_data  # γ ∂|u|/∂u of each datum
        by_loc = -residual @ w / (num_data * v) + side[:, None] * loc
        by_w = (-residual.T @ loc / num_data + w * scale_sq) / v
        by_scale = column_sq * scale_sq / v + side.sum() * (scale_sq - 1)
        slopes = [by_w.ravel(), (by_loc.T @ x).ravel(), by_loc.sum(0), -residual.mean(0) / v, by_scale]
        return error / (2 * v) + weight * gap.mean(), np.concatenate(slopes)

    if start is None:
        firsts = [
            np.concatenate(
                [0.3 * rng.standard_normal(cut[1]), np.zeros(latent_dim + size), np.full(latent_dim, -0.5)]
            )
            for rng in map(np.random.default_rng, range(num_starts))
        ]
        path: tuple[float, ...] = SMOOTHING
    else:
        parts = (start.weight.ravel(), start.enc_weight.ravel(), start.enc_bias, start.bias)
        firsts, path = [np.concatenate([*parts, np.log(start.scale)])], SMOOTHING[-2:]
    best: optimize.OptimizeResult | None = None
    for flat in firsts:
        for smoothing in path:
            found = optimize.minimize(
                loss, flat, (smoothing,), "BFGS", jac=True, options={"gtol": 1e-8, "maxiter": 3000}
            )
            flat = found.x
        if best is None or found.fun < best.fun:
            best = found
    assert best is not None
    w, a, enc_bias, bias, log_scale = np.split(best.x, cut)
    shaped = w.reshape(size, latent_dim), bias, a.reshape(latent_dim, size), enc_bias, np.exp(log_scale)
    model = Matrices(*shaped, noise_scale)
    return model, capacity_value(x, model, target, weight)


def capacity_value(x: np.ndarray, model: Matrices, target: float, weight: float) -> float:
    """Mean of E_q log p(x|z) − γ |rate − C| over the given data, nats."""
    x = np.asarray(x, dtype=np.float64)
    v = model.noise_scale**2
    loc = x @ model.enc_weight.T + model.enc_bias
    error = np.sum((x - loc @ model.weight.T - model.bias) ** 2, axis=1).mean()
    error += np.sum(model.weight**2, axis=0) @ model.scale**2
    rate = np.sum(0.5 * (loc**2 + model.scale**2 - 1) - np.log(model.scale), axis=1)
    normaliser = -0.5 * x.shape[1] * (LOG_2PI + math.log(v))
    return float(normaliser - error / (2 * v) - weight * np.abs(rate - target).mean())


def _log_ratio_slopes(
    x: np.ndarray, a: np.ndarray, log_scale: np.ndarray, noise: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Mean over data of log q_N(z) − Σ_j log q_N(z_j) for one draw of ε (N, J), and slopes in A and log σ."""
    scale = np.exp(log_scale)
    loc = x @ a.T
    u = (loc[:, None] - loc[None]) / scale + noise[:, None]  # row: z_i, column: q(·|x_k)
    log_q = -0.5 * u * u  # the factor 1/σ is the same in the mixture and in the product of its marginals
    joint = log_q.sum(axis=2)
    top, tops = joint.max(axis=1, keepdims=True), log_q.max(axis=1, keepdims=True)
    mass, masses = np.exp(joint - top), np.exp(log_q - tops)
    total, totals = mass.sum(axis=1, keepdims=True), masses.sum(axis=1, keepdims=True)
    num_data, latent_dim = noise.shape
    value = np.mean(top + np.log(total)) - np.sum(np.mean(tops + np.log(totals), axis=0))
    value += (latent_dim - 1) * math.log(num_data)
    share = (mass / total)[:, :, None] - masses / totals  # ∂/∂ log q(z_i|x_k), sums to 0 over k
    pull = -share * u
    by_a = (
        np.stack([pull[..., j].sum(1) @ x - pull[..., j].sum(0) @ x for j in range(latent_dim)])
        / scale[:, None]
    )
    by_scale = -np.sum(pull * (u - noise[:, None]), axis=(0, 1))
    return float(value), by_a / num_data, by_scale / num_data


def total_correlation_on_data(
    x: np.ndarray, start: Matrices, weight: float, *, groups: int = 8, points: int = 16, steps: int = 30
) -> tuple[Matrices, np.ndarray]:
    r"""The optimum of β-TCVAE with q(z) the mixture over these very data, next to the one for N(0, S).

    Parameters
    ----------
    x
        Data (N, D) with mean zero.
    start
        The optimum for N(0, S).
    weight
        β.
    groups, points
        Independent sets of noise, and quasi-random draws of ε (J,) per datum in each.
    steps
        Quasi-Newton steps; the first has the Hessian of the smooth population objective.

    Returns
    -------
    tuple
        The optimum, and by how much that of each group alone differs, to first order
        and but for directions that N(0, S) leaves free:
        (groups, parameters) in the order W, A, log σ, log s².

    Notes
    -----
    Training on a full batch of N estimates log q(z) by the mixture of its N posteriors. The mixture is
    not the aggregate posterior of N(0, S): a bias of the optimum of order 1/N.
    Where eigenvalues are equal N(0, S) leaves the code free to turn: each group has the data turned another
    way, and the optimum is that on average over them.
    """
    x = np.asarray(x, dtype=np.float64)
    cov, (latent_dim, size) = x.T @ x / len(x), start.enc_weight.shape
    variance = start.noise_scale**2
    plain = population_loss(total_correlation_cost(1.0, cov), cov, latent_dim, variance=variance)
    smooth = population_loss(total_correlation_cost(weight, cov), cov, latent_dim, variance=variance)

    flat, h = to_flat(start), 1e-5
    hessian = np.array([(smooth(flat + e)[1] - smooth(flat - e)[1]) / (2 * h) for e in h * np.eye(len(flat))])
    eigenvalues, axes = np.linalg.eigh(0.5 * (hessian + hessian.T))
    kept = eigenvalues > 1e-4 * eigenvalues.max()  # symmetries of N(0, S) have none
    eigenvalues, axes = eigenvalues[kept], axes[:, kept]
    # each datum's term is an integral over its own ε: quasi-random points, shifted at random per datum
    base = qmc.Sobol(latent_dim, seed=0).random(points)
    shift = np.random.default_rng(0).random((groups, 1, len(x), latent_dim))
    noise = special.ndtri(np.clip((base[:, None] + shift) % 1.0, 1e-9, 1 - 1e-9))

    turned = [x @ turn for turn in _turns(np.diag(cov), groups)]

    def by_group(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, a, log_scale, _ = split(at, size, latent_dim)
        value, slopes = np.zeros(groups), np.zeros((groups, len(at)))
        block = slice(size * latent_dim, 2 * size * latent_dim + latent_dim)
        for g, draws in enumerate(noise):
            for eps in draws:
                ratio, by_a, by_scale = _log_ratio_slopes(turned[g], a, log_scale, eps)
                value[g] += (weight - 1) * ratio / points
                slopes[g, block] += (weight - 1) * np.concatenate([by_a.ravel(), by_scale]) / points
        smooth_part = plain(at)
        return value + smooth_part[0], slopes + smooth_part[1]

    def loss(step: np.ndarray) -> tuple[float, np.ndarray]:
        value, slopes = by_group(flat + axes @ step)
        return float(value.mean()), slopes.mean(axis=0) @ axes

    options = {"gtol": 3e-5, "maxiter": steps, "hess_inv0": np.diag(1 / eigenvalues)}
    found = optimize.minimize(loss, np.zeros(len(eigenvalues)), method="BFGS", jac=True, options=options)
    slopes = by_group(flat + axes @ found.x)[1] @ axes
    by_draw = -((slopes - slopes.mean(axis=0)) / eigenvalues) @ axes.T
    return from_flat(flat + axes @ found.x, start), by_draw


def _turns(spectrum: np.ndarray, count: int) -> list[np.ndarray]:
    """Rotations of the axes of equal eigenvalue among themselves, at random; the identity elsewhere."""
    rng, found = np.random.default_rng(1), []
    edges = np.flatnonzero(np.diff(spectrum) < -1e-4 * spectrum[0]) + 1
    for _ in range(count):
        turn = np.eye(len(spectrum))
        for block in np.split(np.arange(len(spectrum)), edges):
            if len(block) > 1:
                turn[np.ix_(block, block)] = np.linalg.qr(rng.standard_normal((len(block),) * 2))[0]
        found.append(turn)
    return found


def from_flat(flat: np.ndarray, like: Matrices) -> Matrices:
    """W, A, log σ, log s² in one vector → matrices, with the biases of ``like``."""
    w, a, log_scale, log_variance = split(flat, like.weight.shape[0], len(like.scale))
    noise_scale = math.exp(0.5 * float(log_variance))
    return Matrices(w, like.bias, a, like.enc_bias, np.exp(log_scale), noise_scale)


def to_flat(model: Matrices) -> np.ndarray:
    """Matrices → W, A, log σ, log s² in one vector."""
    tail = [np.log(model.scale), [2 * math.log(model.noise_scale)]]
    return np.concatenate([model.weight.ravel(), model.enc_weight.ravel(), *tail])
