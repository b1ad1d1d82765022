"""Free bits by sequential quadratic programming: whole matrices, no principal directions."""

import math

import numpy as np
from scipy import optimize


def equal_norm_rows(signal: np.ndarray) -> np.ndarray:
    """A matrix B with BᵀB = diag(g) and rows of one norm: a real Hadamard-like rotation by Givens steps."""
    size = len(signal)
    gram, rotation = np.diag(signal), np.eye(size)
    target = signal.mean()
    for _ in range(size - 1):
        diagonal = np.diag(gram)
        high, low = int(np.argmax(diagonal)), int(np.argmin(diagonal))
        if diagonal[high] - diagonal[low] < 1e-14 * (1 + target):
            break
        # turn the pair until the lower of the two has the mean
        a, b, c = gram[high, high] - target, gram[high, low], gram[low, low] - target
        t = (b + math.sqrt(max(b * b - a * c, 0.0))) / a if a else 0.0  # a t² − 2bt + c = 0
        turn = np.eye(size)
        norm = math.hypot(1.0, t)
        turn[[high, low], [high, low]] = 1 / norm
        turn[low, high], turn[high, low] = t / norm, -t / norm
        gram, rotation = turn @ gram @ turn.T, turn @ rotation
    return rotation * np.sqrt(signal)


def free_bits_optimum(
    spectrum: np.ndarray, latent_dim: int, floor: float, variance: float | None, *, num_starts: int = 6
) -> tuple[float, float, np.ndarray, np.ndarray, np.ndarray]:
    """(value, s², W, A, σ) at the largest free-bits objective over B, rates and, if None, s².

    B = Σ_q^{−½} A S^{½} within the leading directions; the maximum is a constraint, r_j ≥ λ and
    r_j ≥ ½ log(1 + ‖b_j‖²). Starts: rows of one norm, rows on the axes, and random ones.
    """
    size, ell = len(spectrum), spectrum[:latent_dim]
    rest, count = float(spectrum[latent_dim:].sum()), latent_dim * latent_dim

    def unpack(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        v = math.exp(flat[-1]) if variance is None else variance
        return flat[:count].reshape(latent_dim, latent_dim), flat[count : count + latent_dim], v

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        b, rates, v = unpack(flat)
        inner = np.linalg.inv(np.eye(latent_dim) + b.T @ b)
        error = float(ell @ np.diag(inner)) + rest
        by_b = -(b @ inner @ np.diag(ell) @ inner) / v
        by_v = 0.5 * size - error / (2 * v) if variance is None else 0.0
        value = 0.5 * size * (math.log(2 * math.pi) + math.log(v)) + error / (2 * v) + rates.sum()
        return value, np.concatenate([by_b.ravel(), np.ones(latent_dim), [by_v]])

    def slack(flat: np.ndarray) -> np.ndarray:
        b, rates, _ = unpack(flat)
        return rates - 0.5 * np.log1p(np.sum(b * b, axis=1))

    def slack_slope(flat: np.ndarray) -> np.ndarray:
        b, _, _ = unpack(flat)
        out = np.zeros((latent_dim, len(flat)))
        by_b = -b / (1 + np.sum(b * b, axis=1))[:, None]
        for j in range(latent_dim):
            out[j, j * latent_dim : (j + 1) * latent_dim] = by_b[j]
            out[j, count + j] = 1.0
        return out

    rng, v0 = np.random.default_rng(0), variance or float(spectrum.mean()) / 4
    aligned = np.sqrt(np.maximum(ell / v0 - 1, math.expm1(2 * floor)))
    shared = equal_norm_rows(np.maximum(latent_dim * math.expm1(2 * floor) * ell / ell.sum(), 0))
    starts = [shared, np.diag(aligned)] + [rng.standard_normal((latent_dim,) * 2) for _ in range(num_starts)]
    bounds = [(None, None)] * count + [(floor, None)] * latent_dim + [(math.log(v0) - 12, math.log(v0) + 6)]
    best: optimize.OptimizeResult | None = None
    for b in starts:
        rates = np.maximum(floor, 0.5 * np.log1p(np.sum(b * b, axis=1)))
        found = optimize.minimize(
            loss,
            np.concatenate([b.ravel(), rates, [math.log(v0)]]),
            jac=True,
            method="SLSQP",
            bounds=bounds,
            constraints={"type": "ineq", "fun": slack, "jac": slack_slope},
            options={"ftol": 1e-14, "maxiter": 1000},
        )
        feasible = float(slack(found.x).min()) > -1e-8
        if feasible and (best is None or found.fun < best.fun):
            best = found
    assert best is not None  # the first start is feasible and nearly stationary
    b, _, v = unpack(best.x)
    scale = 1 / np.sqrt(1 + np.sum(b * b, axis=1))
    signal = scale[:, None] * b  # A S^{½}
    weight, encoder = np.zeros((size, latent_dim)), np.zeros((latent_dim, size))
    encoder[:, :latent_dim] = signal / np.sqrt(ell)
    weight[:latent_dim] = (
        np.sqrt(ell)[:, None] * np.linalg.solve(signal @ signal.T + np.diag(scale**2), signal).T
    )
    return -float(best.fun), v, weight, encoder, scale
