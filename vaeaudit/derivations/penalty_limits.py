"""Whether the penalty is a KL to some prior, and how far it is from the KL at most."""

from __future__ import annotations

import numpy as np
import sympy as sp
from scipy import stats

from vaeaudit.derivations import oracles
from vaeaudit.derivations.checks import (
    anchored,
    bound_by_search,
    equality_by_algebra,
    equality_by_search,
    evaluate,
    vanishes,
)
from vaeaudit.derivations.claim import Check, Claim, Formulas, Outcome
from vaeaudit.derivations.kl_and_penalty import BOX as LOC_SCALE_BOX
from vaeaudit.derivations.kl_and_penalty import DISCUSSION_A
from vaeaudit.derivations.kl_and_penalty import POINTS as LOC_SCALE
from vaeaudit.derivations.symbols import HALF, KL, LOG_2PI, PENALTY, mu, sigma

v = sp.Symbol("v", positive=True)  # σ²
CROSS_ENTROPY = (
    mu**2 + (sp.sqrt(v) - 1) ** 2 + HALF * sp.log(v)
)  # E_q[−log p′] if P were KL(q‖p′), up to a constant


def _heat(formulas: Formulas) -> Outcome:
    """E_q[−log p′] solves ∂ᵥg = ½∂²g/∂μ² in (μ, v = σ²) for every density p′."""
    g = formulas["cross entropy"]
    defect = sp.simplify(sp.diff(g, v) - HALF * sp.diff(g, mu, 2))
    reference = HALF * (LOG_2PI + v + mu**2)  # of p′ = N(0, 1): must pass the same test
    if not vanishes(sp.diff(reference, v) - HALF * sp.diff(reference, mu, 2)):
        return Outcome("unsettled", "the heat equation fails for the standard normal prior")
    if defect == 0:
        return Outcome("identity", "the heat equation holds")
    return Outcome(
        "false", f"∂ᵥg − ½∂²g/∂μ² = {defect}, zero at σ = 1/2 only", "sigma = 1: 1/2 where 0 is needed"
    )


def _fourier(formulas: Formulas) -> Outcome:
    """Second difference in μ against first difference in v, which every prior would balance."""
    worst, where = 0.0, ""
    for m, var in ((0.0, 1.0), (1.0, 0.5), (0.5, 2.0), (0.0, 0.1)):
        h = 1e-3
        g = [float(evaluate(formulas["cross entropy"], {"mu": m + d, "v": var})) for d in (-h, 0.0, h)]
        up, down = (
            float(evaluate(formulas["cross entropy"], {"mu": m, "v": var + d})) for d in (h * h, -h * h)
        )
        defect = (up - down) / (2 * h * h) - (g[0] - 2 * g[1] + g[2]) / (2 * h * h)
        if abs(defect) > abs(worst):
            worst, where = defect, f"mu = {m}, sigma^2 = {var}"
    if abs(worst) < 1e-4:
        return Outcome("identity", "finite differences balance")
    return Outcome("false", f"finite differences miss the heat equation by {worst:.3f} at {where}", where)


def _talagrand(formulas: Formulas) -> Outcome:
    gap = formulas["twice kl"] - formulas["penalty"]
    if not vanishes(gap - 2 * (sigma - 1 - sp.log(sigma))):
        return Outcome("unsettled", "2 KL − P is not 2(σ − 1 − log σ)")
    return Outcome("bound", "2 KL − P = 2(σ − 1 − log σ) ≥ 0, since log σ ≤ σ − 1")


def _no_multiple(formulas: Formulas) -> Outcome:
    limits = [sp.limit(formulas[n].subs(mu, 0), sigma, 0, "+") for n in ("kl", "twice penalty")]
    if limits[1].is_finite and limits[0] == sp.oo:
        return Outcome(
            "false", f"at μ = 0 and σ → 0 the KL tends to {limits[0]}, 2P to {limits[1]}", "mu = 0, sigma → 0"
        )
    return Outcome("bound", f"limits {limits}")


CLAIMS = (
    Claim(
        id="A9a",
        name="penalty-is-a-kl-to-some-prior",
        statement="The penalty equals E_q log(q/p′) for some other density p′.",
        latex=r"\mu^2 + (\sigma - 1)^2 = \mathbb{E}_q \log \frac{q(z)}{p'(z)} + \mathrm{const}",
        met_in="Hoping that the penalty is a KL in disguise.",
        source=DISCUSSION_A,
        registered="false",
        correction=r"g = \mathbb{E}_q [-\log p'] \Rightarrow \frac{\partial g}{\partial \sigma^2}"
        r" = \frac{1}{2} \frac{\partial^2 g}{\partial \mu^2}, \quad \mathrm{but} \quad"
        r" 1 - \frac{1}{\sigma} + \frac{1}{2 \sigma^2} \ne 1",
        also=("M15a",),
        formulas={"cross entropy": CROSS_ENTROPY},
        checks=(
            anchored(
                "cross entropy",
                lambda mu, v: (
                    oracles.squared_w2(mu, v**0.5)
                    - float(stats.norm(mu, v**0.5).entropy())
                    + float(stats.norm().entropy())
                    + np.log(v)
                ),
                [{"mu": 0.3, "v": 0.5}, {"mu": -1.0, "v": 2.0}],
                rtol=1e-6,
                against="W₂² plus the entropy of q",
            ),
            Check("algebra", _heat),
            Check("numerics", _fourier),
        ),
    ),
    Claim(
        id="A9b",
        name="penalty-is-a-kl-at-fixed-scale",
        statement="With σ held fixed, the prior N(0, ½) does: the penalty's pull on μ is that of "
        "KL(q‖N(0, ½)).",
        latex=r"\frac{\partial}{\partial \mu} \left( \mu^2 + (\sigma - 1)^2 \right) ="
        r" \frac{\partial}{\partial \mu}"
        r" \mathrm{KL}\left( q \| N\left(0, \frac{1}{2}\right) \right)",
        met_in="Encoders with a constant scale.",
        source="derived here",
        registered="identity",
        also=("M15b",),
        formulas={
            "pull of the penalty": sp.diff(PENALTY, mu),
            "pull of the kl": sp.diff(HALF * (2 * (mu**2 + sigma**2) - 1 - sp.log(2 * sigma**2)), mu),
        },
        checks=(
            anchored(
                "pull of the penalty",
                oracles.pull_of_w2,
                LOC_SCALE[:3],
                rtol=1e-5,
                against="differences of W₂²",
            ),
            anchored(
                "pull of the kl",
                oracles.pull_of_kl_to_half_normal,
                LOC_SCALE[:3],
                rtol=1e-5,
                against="differences of the KL by quadrature",
            ),
            equality_by_algebra("pull of the penalty", "pull of the kl"),
            equality_by_search("pull of the penalty", "pull of the kl", LOC_SCALE_BOX),
        ),
    ),
    Claim(
        id="A10a",
        name="penalty-at-most-twice-kl",
        statement="The penalty approximates the KL from above at least: it is never more than twice the KL "
        "(Talagrand's inequality).",
        latex=r"\mu^2 + (\sigma - 1)^2 \le 2 \, \mathrm{KL}(q \| p)",
        met_in="How far a penalty can overshoot; half the penalty always gives a value above the ELBO.",
        source="Talagrand (1996)",
        registered="bound",
        formulas={"penalty": PENALTY, "twice kl": 2 * KL},
        checks=(
            anchored(
                "penalty", oracles.squared_w2, LOC_SCALE, rtol=1e-6, against="the quantile integral of W₂²"
            ),
            anchored(
                "twice kl",
                lambda mu, sigma: 2 * oracles.kl_to_prior(mu, sigma),
                LOC_SCALE,
                against="quadrature",
            ),
            Check("algebra", _talagrand),
            bound_by_search("penalty", "twice kl", LOC_SCALE_BOX),
        ),
    ),
    Claim(
        id="A10b",
        name="kl-at-most-twice-penalty",
        statement="And from below: the KL is never more than twice the penalty (or any other multiple).",
        latex=r"\mathrm{KL}(q \| p) \le 2 \left( \mu^2 + (\sigma - 1)^2 \right)",
        met_in="Hoping that the penalty approximates the KL.",
        source=DISCUSSION_A,
        registered="false",
        correction=r"\frac{\mathrm{KL}}{P} \to \infty \quad \mathrm{as}\ \sigma \to 0",
        formulas={"kl": KL, "twice penalty": 2 * PENALTY},
        checks=(
            anchored("kl", oracles.kl_to_prior, LOC_SCALE, against="quadrature"),
            anchored(
                "twice penalty",
                lambda mu, sigma: 2 * oracles.squared_w2(mu, sigma),
                LOC_SCALE,
                rtol=1e-6,
                against="the quantile integral of W₂²",
            ),
            Check("algebra", _no_multiple),
            bound_by_search("kl", "twice penalty", LOC_SCALE_BOX),
        ),
    ),
    Claim(
        id="A10c",
        name="penalty-poor-in-some-regions",
        statement="A model trained with the penalty is poor in some regions of data space.",
        latex=r"\log p(x) - \mathcal{L}(x) \quad \mathrm{by\ region\ of}\ x",
        met_in="Judging a model by its average alone.",
        source=DISCUSSION_A,
        registered="measured",
        measured_by="penalty_vs_kl",
        measured="supported",
    ),
)
