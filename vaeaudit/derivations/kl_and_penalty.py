"""The KL term, the penalty μ² + (σ − 1)², and how far one is from the other."""

from __future__ import annotations

import mpmath
import numpy as np
import sympy as sp

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
from vaeaudit.derivations.symbols import (
    EXCESS,
    HALF,
    HALF_QUADRATIC,
    KL,
    PENALTY,
    eps,
    gaussian_mean,
    log_normal,
    mu,
    sigma,
)

BOX = {"mu": (-3.0, 3.0), "sigma": (0.01, 4.0)}
POINTS = tuple(
    {"mu": m, "sigma": t} for m, t in ((0.0, 0.1), (0.7, 1.0), (-1.3, 0.6), (2.0, 2.5), (0.2, 1.3))
)
DERIVED_KL = gaussian_mean(log_normal(mu + sigma * eps, mu, sigma) - log_normal(mu + sigma * eps, 0, 1))
DISCUSSION_A = "discussion A, penalty in place of the KL"


def _kl_by_mpmath(mu: float, sigma: float) -> float:
    with mpmath.workdps(30):
        return float(
            mpmath.quad(
                lambda t: (
                    mpmath.npdf(t)
                    * (mpmath.log(mpmath.npdf(t) / sigma) - mpmath.log(mpmath.npdf(mu + sigma * t)))
                ),
                [-12, -4, 0, 4, 12],
            )
        )


def _kl_by_numpyro(mu: float, sigma: float) -> float:
    import numpyro.distributions as dist

    return float(dist.kl_divergence(dist.Normal(mu, sigma), dist.Normal(0.0, 1.0)))


def _monotone_excess(formulas: Formulas) -> Outcome:
    f = formulas["excess"]
    slope = sp.diff(f, sigma)
    at_one = [sp.diff(f, sigma, k).subs(sigma, 1) for k in range(3)]
    difference = formulas["penalty"] - formulas["kl"] - HALF * mu**2 - f
    if (
        not vanishes(slope - (sigma - 1) ** 2 / sigma)
        or any(v != 0 for v in at_one)
        or not vanishes(difference)
    ):
        return Outcome("unsettled", "f′(σ) is not (σ − 1)²/σ with f(1) = f′(1) = f″(1) = 0")
    text = "f′(σ) = (σ − 1)²/σ ≥ 0 and f(1) = 0, so f < 0 for σ < 1: P < KL there exactly when μ² < −2f(σ)"
    return Outcome("holds under conditions", text)


def _region(formulas: Formulas, at: dict[str, np.ndarray]) -> np.ndarray:
    return (at["sigma"] >= 1) | (at["mu"] ** 2 >= -2 * evaluate(formulas["excess"], at))


def _couplings(formulas: Formulas) -> Outcome:
    rng = np.random.default_rng(0)
    m, t, rho = rng.uniform(-3, 3, 500), rng.uniform(0.01, 4, 500), rng.uniform(-1, 1, 500)
    cost = m**2 + t**2 + 1 - 2 * rho * t  # E(z − z′)² under a Gaussian coupling with correlation ρ
    value = evaluate(formulas["penalty"], {"mu": m, "sigma": t})
    if (cost < value - 1e-9).any():
        i = int(np.argmax(value - cost))
        return Outcome(
            "false", "a coupling costs less", f"mu = {m[i]:.3g}, sigma = {t[i]:.3g}, rho = {rho[i]:.3g}"
        )
    return Outcome("sound", "no Gaussian coupling among 500 drawn costs less than P")


def _curvature(which: str) -> Check:
    def run(formulas: Formulas) -> Outcome:
        factor = sp.Symbol("lambda", positive=True)
        at = {mu: 0, sigma: 1}
        wanted = sp.hessian(formulas["kl"], (mu, sigma)).subs(at)
        found = sp.hessian(formulas[which], (mu, sigma)).subs(at)
        flat = all(sp.diff(formulas[n], v).subs(at) == 0 for n in ("kl", which) for v in (mu, sigma))
        if not flat or wanted != sp.diag(1, 2):
            return Outcome("unsettled", f"(0, 1) is not stationary, or the KL's Hessian is {wanted.tolist()}")
        text = f"Hessians at (0, 1): KL {wanted.tolist()}, `{which}` {found.tolist()}"
        if found == wanted:
            return Outcome("identity", text)
        solutions = sp.solve(list(factor * found - wanted), factor)
        if not solutions:
            by_loc, by_scale = (wanted[i, i] / found[i, i] for i in range(2))
            ratio = f"μ² asks for weight {by_loc}, (σ − 1)² for {by_scale}"
            return Outcome("false", f"{text}; no weight λ makes them equal", ratio)
        return Outcome("holds under conditions", f"{text}; equal with weight {solutions}")

    return Check("algebra", run)


def _curvature_by_differences(which: str, weights: tuple[float, ...]) -> Check:
    """Ratio of each term to the KL by quadrature for small steps along μ and along σ."""

    def run(formulas: Formulas) -> Outcome:
        h = 1e-3
        along_loc = evaluate(formulas[which], {"mu": h, "sigma": 1.0}) / oracles.kl_to_prior(h, 1.0)
        along_scale = (
            sum(
                evaluate(formulas[which], {"mu": 0.0, "sigma": 1 + d}) / oracles.kl_to_prior(0.0, 1 + d)
                for d in (h, -h)
            )
            / 2
        )
        text = f"`{which}`/KL is {along_loc:.4f} along μ and {along_scale:.4f} along σ for steps of {h}"
        if not (abs(along_loc - weights[0]) < 1e-2 and abs(along_scale - weights[1]) < 1e-2):
            return Outcome("unsettled", text)
        return Outcome("identity" if weights == (1.0, 1.0) else "false", text)

    return Check("numerics", run)


CLAIMS = (
    Claim(
        id="M1",
        name="kl-of-gaussian-to-prior",
        statement="For q = N(μ, σ²) and the prior N(0, 1), the KL term has a closed form in μ and σ.",
        latex=r"\mathrm{KL}(q \| p) = \frac{1}{2} \left( \mu^2 + \sigma^2 - 1 - \log \sigma^2 \right)",
        met_in="The KL term of nearly every VAE implementation.",
        source="Kingma & Welling (2014), appendix B",
        registered="identity",
        formulas={"kl": KL, "expectation of log q − log p": DERIVED_KL},
        checks=(
            anchored("kl", oracles.kl_to_prior, POINTS, against="quadrature of scipy's densities"),
            anchored("kl", _kl_by_mpmath, POINTS[:2], rtol=1e-12, against="mpmath's quadrature at 30 digits"),
            anchored("kl", _kl_by_numpyro, POINTS, rtol=2e-6, against="numpyro's kl_divergence (float32)"),
            equality_by_algebra("kl", "expectation of log q − log p"),
            equality_by_search("kl", "expectation of log q − log p", BOX),
        ),
    ),
    Claim(
        id="M2",
        name="penalty-is-squared-wasserstein",
        statement="The penalty μ² + (σ − 1)² is the squared 2-Wasserstein distance between q and the prior.",
        latex=r"\mu^2 + (\sigma - 1)^2 = W_2^2(q, p)",
        met_in="Losses that pull μ to 0 and σ to 1 without a KL.",
        source="Olkin & Pukelsheim (1982); Peyré & Cuturi (2019), remark 2.31",
        registered="identity",
        formulas={"penalty": PENALTY, "transport cost": gaussian_mean((mu + sigma * eps - eps) ** 2)},
        checks=(
            anchored(
                "penalty", oracles.squared_w2, POINTS, rtol=1e-6, against="the quantile integral of W₂²"
            ),
            equality_by_algebra("penalty", "transport cost"),
            Check("search", _couplings),
        ),
    ),
    Claim(
        id="M3a",
        name="penalty-minus-kl",
        statement="The penalty exceeds the KL by ½μ² + f(σ).",
        latex=r"P - \mathrm{KL} = \frac{1}{2} \mu^2 + f(\sigma), \quad"
        r" f(\sigma) = \frac{1}{2} \sigma^2 - 2 \sigma + \frac{3}{2} + \log \sigma",
        met_in="Comparing a penalty on μ and σ with the KL.",
        source="derived here",
        registered="identity",
        formulas={
            "penalty": PENALTY,
            "kl": KL,
            "excess": EXCESS,
            "difference": PENALTY - KL,
            "half mu squared plus excess": HALF * mu**2 + EXCESS,
        },
        checks=(
            anchored("kl", oracles.kl_to_prior, POINTS, against="quadrature"),
            anchored(
                "penalty", oracles.squared_w2, POINTS, rtol=1e-6, against="the quantile integral of W₂²"
            ),
            anchored(
                "difference",
                lambda mu, sigma: oracles.squared_w2(mu, sigma) - oracles.kl_to_prior(mu, sigma),
                POINTS,
                rtol=1e-6,
                against="W₂² − KL by quadrature",
            ),
            anchored(
                "excess",
                lambda sigma: oracles.squared_w2(0.0, sigma) - oracles.kl_to_prior(0.0, sigma),
                [{"sigma": t} for t in (0.1, 0.6, 1.0, 2.5)],
                rtol=1e-6,
                against="W₂² − KL at μ = 0",
            ),
            equality_by_algebra("difference", "half mu squared plus excess"),
            equality_by_search("difference", "half mu squared plus excess", BOX),
        ),
    ),
    Claim(
        id="M3b",
        name="penalty-above-kl",
        statement="The penalty is at least the KL.",
        latex=r"\mu^2 + (\sigma - 1)^2 \ge \frac{1}{2} \left( \mu^2 + \sigma^2 - 1 - \log \sigma^2 \right)",
        met_in="Any argument that a penalty keeps the ELBO's bound.",
        source="derived here",
        registered="holds under conditions",
        conditions=r"$\sigma \ge 1$, or $\mu^2 \ge -2 f(\sigma)$; fails everywhere else",
        formulas={"penalty": PENALTY, "kl": KL, "excess": EXCESS},
        checks=(
            anchored("kl", oracles.kl_to_prior, POINTS, against="quadrature"),
            anchored(
                "penalty", oracles.squared_w2, POINTS, rtol=1e-6, against="the quantile integral of W₂²"
            ),
            Check("algebra", _monotone_excess),
            bound_by_search("kl", "penalty", BOX, condition=_region, exact=True),
        ),
    ),
    Claim(
        id="M4a",
        name="penalty-matches-curvature",
        statement="Some weight λ makes λ(μ² + (σ − 1)²) agree with the KL near its minimum.",
        latex=r"\lambda \left( \mu^2 + (\sigma - 1)^2 \right) \approx \mathrm{KL}",
        met_in="Tuning the weight of a penalty that stands in for the KL.",
        source="derived here",
        registered="false",
        correction=r"\frac{1}{2} \mu^2 + (\sigma - 1)^2 = \mathrm{KL} + O\left((\sigma - 1)^3\right)",
        formulas={"penalty": PENALTY, "kl": KL},
        checks=(
            anchored("kl", oracles.kl_to_prior, POINTS, against="quadrature"),
            anchored(
                "penalty", oracles.squared_w2, POINTS, rtol=1e-6, against="the quantile integral of W₂²"
            ),
            _curvature("penalty"),
            _curvature_by_differences("penalty", (2.0, 1.0)),
        ),
    ),
    Claim(
        id="M4b",
        name="half-quadratic-matches-curvature",
        statement="½μ² + (σ − 1)² matches the KL to second order at its minimum.",
        latex=r"\frac{1}{2} \mu^2 + (\sigma - 1)^2 = \mathrm{KL} + O\left((\sigma - 1)^3\right)",
        met_in="A quadratic stand-in for the KL.",
        source="derived here",
        registered="identity",
        formulas={"half quadratic": HALF_QUADRATIC, "kl": KL},
        checks=(
            anchored("kl", oracles.kl_to_prior, POINTS, against="quadrature"),
            _curvature("half quadratic"),
            _curvature_by_differences("half quadratic", (1.0, 1.0)),
        ),
    ),
)
