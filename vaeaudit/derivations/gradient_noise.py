"""Noise of the reparameterised gradient against the batch size: one ε per datum, or one for the whole batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import sympy as sp

from vaeaudit.core.arrays import check_count
from vaeaudit.core.errors import ArgumentError
from vaeaudit.derivations import oracles
from vaeaudit.derivations.checks import anchored, evaluate, show, vanishes
from vaeaudit.derivations.claim import Check, Claim, Formulas, Outcome
from vaeaudit.derivations.symbols import eps, gaussian_mean, s, sigma, w

# ∂/∂w of log N(x; wz, s²) at z = μ + σε with μ = wx/(w² + s²), data x ~ N(0, w² + s²): bε + cε² + const
size = sp.Symbol("B", positive=True)
x = sp.Symbol("x", real=True)
LOC = w * x / (w**2 + s**2)
SLOPE = sp.expand((x - w * (LOC + sigma * eps)) * (LOC + sigma * eps) / s**2)
LINEAR = sp.simplify(SLOPE.coeff(eps, 1))  # b, proportional to x
SQUARE = SLOPE.coeff(eps, 2)  # c, the same for every datum
MEAN_SQUARE = sp.simplify((LINEAR / x) ** 2 * (w**2 + s**2))  # E b²
SHARED = MEAN_SQUARE / size + 2 * SQUARE**2
SEPARATE = (MEAN_SQUARE + 2 * SQUARE**2) / size
POINTS = (
    {"B": 1.0, "w": 1.2, "s": 0.7, "sigma": 0.5},
    {"B": 2.0, "w": 1.2, "s": 0.7, "sigma": 0.5},
    {"B": 2.0, "w": -0.6, "s": 1.1, "sigma": 0.9},
)


def _gradient(data: np.ndarray, noise: np.ndarray, w: float, s: float, sigma: float) -> np.ndarray:
    z = w * data / (w * w + s * s) + sigma * noise
    return (data - w * z) * z / (s * s)


def _by_quadrature(shared: bool, B: float, w: float, s: float, sigma: float) -> float:
    """E over batches of Var over ε of the batch gradient, for one or two data, all by Gauss–Hermite."""
    nodes, weights = oracles.FEW_NODES, oracles.FEW_WEIGHTS
    spread = (w * w + s * s) ** 0.5
    total = 0.0
    for i, first in enumerate(nodes * spread):
        for j, second in enumerate(nodes * spread):
            here = weights[i] * weights[j]
            g1, g2 = (_gradient(np.array(d), nodes, w, s, sigma) for d in (first, second))
            both = (g1[:, None] + g2[None]) / 2  # rows and columns: ε₁, ε₂
            if B == 1:
                both = np.broadcast_to(g1[:, None], both.shape)
            value = np.broadcast_to(np.diag(both)[:, None], both.shape) if shared else both
            against = np.outer(weights, weights)
            mean = np.sum(against * value)
            total += here * float(np.sum(against * value**2) - mean**2)
    return total


def gradient_noise(
    batch_sizes: Sequence[int] = (1, 4, 16, 64, 256, 1024),
    *,
    weight: float = 1.2,
    noise_scale: float = 0.7,
    num_batches: int = 400,
    num_draws: int = 100,
    rng_key: int = 0,
) -> pd.DataFrame:
    r"""Variance of the decoder's gradient over the encoder's noise, drawn per datum and once per batch.

    separate: (E b² + 2c²)/B        shared: E b²/B + 2c²        g(ε) = bε + cε² + const

    Parameters
    ----------
    batch_sizes
        Batch sizes B.
    weight, noise_scale
        w and s of the scalar linear-Gaussian model; the encoder is its posterior, the data its own.
    num_batches, num_draws
        Batches of data, and draws of the noise for each.
    rng_key
        Seed.

    Returns
    -------
    DataFrame
        ``noise`` ("separate" or "shared"), ``batch_size``, ``variance`` as measured with ``se``,
        ``derived`` from the formula, and ``slope`` of log variance on log batch size (measured, per noise).

    Raises
    ------
    ArgumentError
        For fewer than two batch sizes, or counts below 2.

    Notes
    -----
    Unbiased: the variance over draws has divisor num_draws − 1; ``se`` is over batches of data.
    """
    sizes = [check_count("batch_sizes", b) for b in batch_sizes]
    if len(set(sizes)) < 2:
        raise ArgumentError(f"`batch_sizes` needs two sizes for a slope; got {list(batch_sizes)!r}.")
    check_count("num_batches", num_batches, minimum=2)
    check_count("num_draws", num_draws, minimum=2)
    rng = np.random.default_rng(rng_key)
    scale = noise_scale / (weight**2 + noise_scale**2) ** 0.5  # σ of the posterior
    rows: list[dict[str, object]] = []
    for kind in ("separate", "shared"):
        measured = []
        for size_ in sizes:
            found = np.empty(num_batches)
            for i in range(num_batches):
                data = rng.standard_normal(size_) * (weight**2 + noise_scale**2) ** 0.5
                noise = rng.standard_normal((num_draws, 1 if kind == "shared" else size_))
                gradients = _gradient(data, noise, weight, noise_scale, scale)
                found[i] = gradients.mean(axis=1).var(ddof=1)
            at = {"B": float(size_), "w": weight, "s": noise_scale, "sigma": scale}
            derived = float(evaluate(SHARED if kind == "shared" else SEPARATE, at))
            measured.append(found.mean())
            rows.append(
                {
                    "noise": kind,
                    "batch_size": size_,
                    "variance": float(found.mean()),
                    "se": float(found.std(ddof=1) / num_batches**0.5),
                    "derived": derived,
                }
            )
        slope = float(np.polyfit(np.log(sizes), np.log(measured), 1)[0])
        for row in rows[-len(sizes) :]:
            row["slope"] = slope
    return pd.DataFrame(rows)


def _floor(formulas: Formulas) -> Outcome:
    """The constant term stays; the rest falls as 1/B."""
    limit = sp.limit(formulas["shared"], size, sp.oo)
    falling = sp.limit(formulas["separate"], size, sp.oo)
    bias = vanishes(formulas["shared"].subs(size, 1) - formulas["separate"].subs(size, 1))
    moments = gaussian_mean((LINEAR * eps + SQUARE * eps**2) ** 2) - gaussian_mean(SQUARE * eps**2) ** 2
    if not bias or falling != 0 or not vanishes(moments - LINEAR**2 - 2 * SQUARE**2):
        return Outcome("unsettled", "the two formulas do not agree for a batch of one")
    if vanishes(limit):
        return Outcome("identity", "both fall to zero")
    at = {"w": 1.0, "s": 1.0, "sigma": 0.5**0.5}
    kept = f"{show(at)}: {float(evaluate(limit, at)):.3g} stays"
    return Outcome("false", f"as B → ∞ the shared noise keeps {sp.sstr(sp.factor(limit))}", kept)


def _slopes(formulas: Formulas) -> Outcome:
    sizes = np.array([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0])
    at = {"B": sizes, "w": np.full(6, 1.2), "s": np.full(6, 0.7), "sigma": np.full(6, 0.5)}
    slope = {n: float(np.polyfit(np.log(sizes), np.log(evaluate(formulas[n], at)), 1)[0]) for n in formulas}
    text = "log–log slope over B = 1 … 1024: " + ", ".join(f"{n} {v:.3f}" for n, v in slope.items())
    if abs(slope["separate"] + 1) > 1e-6:
        return Outcome("unsettled", text)
    return Outcome("identity" if abs(slope["shared"] + 1) < 1e-3 else "false", text)


CLAIMS = (
    Claim(
        id="M14b",
        name="shared-noise-in-a-linear-vae",
        statement="In a linear VAE the noise of the decoder's gradient falls as 1/B when one ε is shared "
        "by the "
        "batch, as it does with one ε per datum.",
        latex=r"\mathrm{Var}_{\mathrm{shared}} = \frac{\mathbb{E} b^2}{B} + 2 c^2 = \frac{\mathbb{E} b^2"
        r" + 2 c^2}{B}"
        r" = \mathrm{Var}_{\mathrm{separate}}",
        met_in="Noise drawn in the shape of one latent; $g(\\varepsilon) = b \\varepsilon + c "
        "\\varepsilon^2$, where c is"
        " the same for every datum.",
        source="derived here",
        registered="false",
        correction=r"\mathrm{Var}_{\mathrm{shared}} \to 2 c^2 = \frac{2 w^2 \sigma^4}{s^4} \quad"
        r" \mathrm{as}\ B \to"
        r" \infty",
        formulas={"shared": SHARED, "separate": SEPARATE},
        checks=(
            anchored(
                "shared",
                lambda **at: _by_quadrature(True, **at),
                POINTS,
                against="quadrature over data and ε",
            ),
            anchored(
                "separate",
                lambda **at: _by_quadrature(False, **at),
                POINTS,
                against="quadrature over data and ε",
            ),
            Check("algebra", _floor),
            Check("search", _slopes),
        ),
    ),
)
