"""Scaling the KL: which decoder variance it stands for, and which bound it keeps.

Scalar model: p(x|z) = N(wz + b, s²), squared error r² = E_q(x − wz − b)².
"""

from __future__ import annotations

import numpy as np
import sympy as sp
from scipy import special, stats

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
from vaeaudit.derivations.elbo_identities import DISCUSSION
from vaeaudit.derivations.linear_gaussian import BOX, POINTS
from vaeaudit.derivations.symbols import (
    ELBO,
    EXPECTED_LOG_LIKELIHOOD,
    HALF,
    KL,
    LOG_EVIDENCE,
    b,
    beta,
    mu,
    s,
    sigma,
    w,
    x,
)

SQUARED_ERROR = (x - b - w * mu) ** 2 + w**2 * sigma**2  # E_q (x − wz − b)²
NO_SCALE = tuple({k: p[k] for k in ("mu", "sigma", "x", "w", "b")} for p in POINTS)
NO_SCALE_BOX = {k: BOX[k] for k in ("mu", "sigma", "x", "w", "b")}
WITH_BETA = tuple({**p, "beta": value} for p, value in zip(POINTS, (0.1, 0.5, 4.0), strict=True))
BETA_BOX = {**BOX, "beta": (0.05, 4.0)}


def squared_error(mu: float, sigma: float, x: float, w: float, b: float) -> float:
    """E_q (x − wz − b)² by quadrature."""
    return oracles.expectation(lambda z: (x - w * z - b) ** 2, mu, sigma)


def elbo_at_variance(mu: float, sigma: float, x: float, w: float, b: float, s: float, beta: float) -> float:
    """β times the ELBO with decoder variance βs², by quadrature."""
    return beta * oracles.elbo(mu, sigma, x, w, b, s * beta**0.5)


def beta_elbo(mu: float, sigma: float, x: float, w: float, b: float, s: float, beta: float) -> float:
    """E_q log p(x|z) − β KL, by quadrature."""
    at = (mu, sigma, x, w, b, s)
    return oracles.expected_log_likelihood(*at) - beta * oracles.kl_to_prior(mu, sigma)


def same_gradients(first: str, second: str, wrt: tuple[sp.Symbol, ...]) -> Check:
    """Equal partial derivatives in the given symbols, in sympy."""

    def run(formulas: Formulas) -> Outcome:
        differ = [str(t) for t in wrt if not vanishes(sp.diff(formulas[first] - formulas[second], t))]
        if differ:
            return Outcome("false", f"the gradients differ in {', '.join(differ)}")
        return Outcome(
            "identity", f"equal gradients in {', '.join(map(str, wrt))}: the same optimum and path"
        )

    return Check("algebra", run)


def same_differences(
    first: str, second: str, box: dict[str, tuple[float, float]], moved: tuple[str, ...]
) -> Check:
    """Two objectives differ by a constant in the moved parameters, at seeded pairs of points."""

    def run(formulas: Formulas) -> Outcome:
        rng = np.random.default_rng(5)
        here = {k: rng.uniform(*r, 500) for k, r in box.items()}
        there = {**here, **{k: rng.uniform(*box[k], 500) for k in moved}}
        change = [evaluate(formulas[n], there) - evaluate(formulas[n], here) for n in (first, second)]
        worst = np.abs(change[0] - change[1]) / (1 + np.abs(change[0]))
        if worst.max() > 1e-9:
            i = int(worst.argmax())
            at = ", ".join(f"{k} = {v[i]:.3g}" for k, v in here.items())
            return Outcome("false", f"{int((worst > 1e-9).sum())} of 500 moves change them differently", at)
        return Outcome("identity", "500 seeded moves change both by the same amount")

    return Check("search", run)


def _exceeds_by_kl(formulas: Formulas) -> Outcome:
    if not vanishes(formulas["beta elbo"] - formulas["elbo"] + (beta - 1) * KL):
        return Outcome("unsettled", "β-ELBO − ELBO is not −(β − 1)KL")
    text = "β-ELBO = ELBO − (β − 1)KL: at most the ELBO for β ≥ 1; at q = p(z|x) it is log p(x) + (1 − β)KL"
    return Outcome("holds under conditions", text)


def _tempered(formulas: Formulas) -> Outcome:
    slope = sp.simplify(sp.diff(formulas["normaliser"], sp.Symbol("pi", positive=True)).subs(beta, HALF))
    if slope == 0:
        return Outcome("identity", "the normaliser does not depend on π")
    return Outcome("false", f"the normaliser's slope in π at β = ½ is {slope}")


_PI = sp.Symbol("pi", positive=True)


CLAIMS = (
    Claim(
        id="C1",
        name="squared-error-plus-kl",
        statement="‖x − x̂‖² + KL is the negative ELBO of a Gaussian decoder with variance ½, up to a "
        "constant.",
        latex=r"\mathbb{E}_q \| x - \hat{x} \|^2 + \mathrm{KL}(q \| p) = -\mathcal{L}_{s^2 = 1/2}"
        r" - \frac{D}{2} \log \pi",
        met_in="The usual loss of image VAEs.",
        source=DISCUSSION["C"],
        registered="identity",
        also=("M11a",),
        formulas={
            "loss": SQUARED_ERROR + KL,
            "minus elbo": -ELBO.subs(s, sp.sqrt(HALF)) - HALF * sp.log(sp.pi),
        },
        checks=(
            anchored(
                "loss",
                lambda **at: squared_error(**at) + oracles.kl_to_prior(at["mu"], at["sigma"]),
                NO_SCALE,
                against="quadrature",
            ),
            anchored(
                "minus elbo",
                lambda **at: -oracles.elbo(**at, s=0.5**0.5) - 0.5 * np.log(np.pi),
                NO_SCALE,
                against="quadrature",
            ),
            equality_by_algebra("loss", "minus elbo"),
            equality_by_search("loss", "minus elbo", NO_SCALE_BOX),
        ),
    ),
    Claim(
        id="C4a",
        name="beta-is-decoder-variance",
        statement="Scaling the KL by β is exactly a Gaussian decoder with variance βs²: the objectives "
        "differ by a factor "
        "and a constant, so that optimum and gradients' directions are the same.",
        latex=r"\mathbb{E}_q \log p_{s^2}(x \mid z) - \beta \, \mathrm{KL}(q \| p) = \beta \,"
        r" \mathcal{L}_{\beta s^2} + \mathrm{const}",
        met_in="β below 1 with a squared error: the KL is not excluded, the assumed noise is smaller.",
        source=DISCUSSION["C"],
        registered="identity",
        also=("M11b",),
        formulas={
            "beta elbo": EXPECTED_LOG_LIKELIHOOD - beta * KL,
            "rescaled elbo": beta * ELBO.subs(s, sp.sqrt(beta) * s),
        },
        checks=(
            anchored("beta elbo", beta_elbo, WITH_BETA, against="quadrature"),
            anchored("rescaled elbo", elbo_at_variance, WITH_BETA, against="quadrature"),
            same_gradients("beta elbo", "rescaled elbo", (mu, sigma, w, b)),
            same_differences("beta elbo", "rescaled elbo", BETA_BOX, ("mu", "sigma", "w", "b")),
        ),
    ),
    Claim(
        id="C4b",
        name="log-evidence-ignores-beta",
        statement="log p(x) of a model trained with β may be computed with the decoder variance that the "
        "loss shows.",
        latex=r"\log p_{\beta s^2}(x) = \log p_{s^2}(x)",
        met_in="Comparing log-likelihoods of models trained under different β.",
        source=DISCUSSION["C"],
        registered="holds under conditions",
        conditions=r"$\beta = 1$; otherwise $\log p(x)$ must use the implied variance $\beta s^2$",
        formulas={"implied": LOG_EVIDENCE.subs(s, sp.sqrt(beta) * s), "nominal": LOG_EVIDENCE},
        checks=(
            anchored(
                "implied",
                lambda x, w, b, s, beta: oracles.log_evidence(x, w, b, s * beta**0.5),
                [{k: p[k] for k in ("x", "w", "b", "s", "beta")} for p in WITH_BETA],
                against="quadrature",
            ),
            anchored(
                "nominal",
                oracles.log_evidence,
                [{k: p[k] for k in ("x", "w", "b", "s")} for p in POINTS],
                against="quadrature",
            ),
            equality_by_algebra("implied", "nominal", given={beta: 1}),
            equality_by_search(
                "implied",
                "nominal",
                {k: BETA_BOX[k] for k in ("x", "w", "b", "s", "beta")},
                condition=lambda f, at: np.abs(at["beta"] - 1) < 1e-9,
            ),
        ),
    ),
    Claim(
        id="C4c",
        name="bernoulli-beta-is-a-likelihood",
        statement="For a Bernoulli decoder too, a β other than 1 is another normalised likelihood, up to "
        "a constant.",
        latex=r"\pi^{1/\beta} + (1 - \pi)^{1/\beta} = \mathrm{const}",
        met_in="β-VAEs on binary images.",
        source="derived here",
        registered="holds under conditions",
        conditions=r"$\beta = 1$; otherwise the likelihood is tempered and its normaliser depends on z"
        r" through $\pi(z)$",
        also=("M11d",),
        formulas={"normaliser": _PI ** (1 / beta) + (1 - _PI) ** (1 / beta), "one": sp.Integer(1)},
        checks=(
            anchored("one", lambda **at: 1.0, [{}]),
            anchored(
                "normaliser",
                lambda pi, beta: float(np.exp(special.logsumexp(stats.bernoulli.logpmf([0, 1], pi) / beta))),
                [{"pi": 0.2, "beta": 0.5}, {"pi": 0.6, "beta": 3.0}],
                against="scipy's Bernoulli, summed over x",
            ),
            equality_by_algebra("normaliser", "one", given={beta: 1}),
            equality_by_search(
                "normaliser",
                "one",
                {"pi": (0.05, 0.95), "beta": (0.2, 4)},
                condition=lambda f, at: np.abs(at["beta"] - 1) < 1e-9,
            ),
        ),
    ),
    Claim(
        id="M10",
        name="beta-elbo-is-a-bound",
        statement="The β-ELBO is a lower bound on log p(x). Tested at the exact posterior as well.",
        latex=r"\mathcal{L} - (\beta - 1) \mathrm{KL}(q \| p) \le \log p(x)",
        met_in="Reporting a β-ELBO as a likelihood bound.",
        source="derived here",
        registered="holds under conditions",
        conditions=r"$\beta \ge 1$; for $\beta < 1$ it can exceed $\log p(x)$, by up to $(1 - \beta)"
        r" \mathrm{KL}$",
        formulas={
            "beta elbo": EXPECTED_LOG_LIKELIHOOD - beta * KL,
            "elbo": ELBO,
            "log evidence": LOG_EVIDENCE,
        },
        checks=(
            anchored("beta elbo", beta_elbo, WITH_BETA, against="quadrature"),
            anchored("elbo", oracles.elbo, POINTS, against="quadrature"),
            anchored(
                "log evidence",
                oracles.log_evidence,
                [{k: p[k] for k in ("x", "w", "b", "s")} for p in POINTS],
                against="quadrature",
            ),
            Check("algebra", _exceeds_by_kl),
            bound_by_search("beta elbo", "log evidence", BETA_BOX, condition=lambda f, at: at["beta"] >= 1),
        ),
    ),
)
