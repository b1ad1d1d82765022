"""Claims on rates along principal directions: the least error at a rate, and what free bits make of it."""

from __future__ import annotations

import math

import numpy as np
import sympy as sp
from scipy import optimize

from vaeaudit.derivations.checks import anchored, equality_by_algebra, equality_by_search, vanishes
from vaeaudit.derivations.claim import Check, Claim, Formulas, Outcome
from vaeaudit.derivations.linear_claims import FIT, MOMENT, R, _normal_kl, a, ell, t, y
from vaeaudit.derivations.symbols import HALF, lam, s

ell2 = sp.Symbol("ell2", positive=True)
TWO = ({"ell": 2.0, "ell2": 1.1, "lambda": 0.6}, {"ell": 0.9, "ell2": 0.5, "lambda": 1.1})
TWO_BOX = {"ell": (0.2, 4.0), "ell2": (0.2, 4.0), "lambda": (0.1, 2.0)}


def _error_at_rate(ell: float, R: float) -> float:
    """The least error at rate R, by a constrained optimiser over (w², a, σ) in logarithms."""

    def error(x: np.ndarray) -> float:
        v, loc, scale = np.exp(x)
        return float(ell * (1 - math.sqrt(v) * loc) ** 2 + v * scale**2)

    def spare(x: np.ndarray) -> float:
        _, loc, scale = np.exp(x)
        return float(R - _normal_kl(float(loc**2 * ell), float(scale)))

    found = optimize.minimize(
        error,
        np.log([0.5 * ell, 0.4, 0.7]),
        method="SLSQP",
        constraints=[{"type": "ineq", "fun": spare}],
        options={"ftol": 1e-13, "maxiter": 500},
    )
    return float(found.fun)


def _error_reached(formulas: Formulas) -> Outcome:
    """σ² = e^{−2R}, w² = ℓ(1 − σ²), a = w/ℓ has rate R and the stated error."""
    scale_sq = sp.exp(-2 * R)
    where = {y: ell * (1 - scale_sq), a: sp.sqrt((1 - scale_sq) / ell), t: sp.sqrt(scale_sq)}
    rate = (HALF * (MOMENT + t**2 - 1 - 2 * sp.log(t))).subs(where)
    error = (-2 * s**2 * FIT).subs(where)
    if not vanishes(sp.simplify(rate - R)):
        return Outcome("unsettled", "the point does not have rate R")
    if vanishes(sp.simplify(error - formulas["least error"])):
        return Outcome("identity", "σ² = e^{−2R}, w² = ℓ(1 − σ²) has rate R and error ℓe^{−2R}")
    return Outcome("false", "the point has another error")


def _error_of_two_latents(ell: float, ell2: float, floor: float) -> float:
    """Least error of two latents with ½ log(1 + ‖b_j‖²) ≤ λ each, by a constrained optimiser over B (2, 2)."""

    def error(x: np.ndarray) -> float:
        b = x.reshape(2, 2)
        return float(np.array([ell, ell2]) @ np.diag(np.linalg.inv(np.eye(2) + b.T @ b)))

    def spare(x: np.ndarray) -> np.ndarray:
        return floor - 0.5 * np.log1p(np.sum(x.reshape(2, 2) ** 2, axis=1))

    found = optimize.minimize(
        error,
        np.array([0.9, 0.3, -0.6, 0.8]),
        method="SLSQP",
        constraints=[{"type": "ineq", "fun": spare}],
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return float(found.fun)


CLAIMS = (
    Claim(
        id="T6",
        name="least-error-at-a-rate",
        statement="At rate R the least squared error along a direction is ℓ exp(−2R): the Gaussian "
        "rate–distortion "
        "function, which free bits with one latent runs into wherever the ELBO's own rate would be below the floor.",
        latex=r"\ell (1 - w a)^2 + w^2 \sigma^2 \ge \ell e^{-2 R}",
        met_in="Free bits and capacity targets.",
        source="Shannon (1959); derived here",
        registered="identity",
        formulas={"least error": ell * sp.exp(-2 * R)},
        checks=(
            anchored(
                "least error",
                _error_at_rate,
                [{"ell": 2.0, "R": 0.5}, {"ell": 0.7, "R": 1.2}],
                rtol=1e-5,
                against="a constrained optimiser",
            ),
            Check("algebra", _error_reached),
        ),
    ),
    Claim(
        id="T7",
        name="free-bits-floor-of-ones-own",
        statement="Under free bits two directions below the floor have a rate of λ each, so that "
        "their least error is the sum of those at rate λ.",
        latex=r"\ell_1 e^{-2 \lambda} + \ell_2 e^{-2 \lambda}",
        met_in="Free bits where the ELBO would use less than λ per latent: the free rate is worth more "
        "when each latent holds a mixture of the directions.",
        source="derived here",
        registered="holds under conditions",
        conditions=r"$\ell_1 = \ell_2$; otherwise latents that mix the directions leave less",
        correction=r"\frac{1}{2} \left( \sqrt{\ell_1} + \sqrt{\ell_2} \right)^2 e^{-2 \lambda}",
        formulas={
            "own floor": (ell + ell2) * sp.exp(-2 * lam),
            "shared floor": HALF * (sp.sqrt(ell) + sp.sqrt(ell2)) ** 2 * sp.exp(-2 * lam),
        },
        checks=(
            anchored(
                "own floor",
                lambda ell, ell2, **at: (
                    _error_at_rate(ell, at["lambda"]) + _error_at_rate(ell2, at["lambda"])
                ),
                TWO,
                rtol=1e-5,
                against="two constrained optimisers",
            ),
            anchored(
                "shared floor",
                lambda ell, ell2, **at: _error_of_two_latents(ell, ell2, at["lambda"]),
                TWO,
                rtol=1e-6,
                against="one constrained optimiser over both",
            ),
            equality_by_algebra("own floor", "shared floor", given={ell2: ell}),
            equality_by_search(
                "own floor",
                "shared floor",
                TWO_BOX,
                condition=lambda f, at: np.abs(at["ell"] - at["ell2"]) < 1e-9,
                exact=True,
            ),
        ),
    ),
)
