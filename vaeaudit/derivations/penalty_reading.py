"""What the penalty optimises: another optimum, another model, no prior; and where the bound is lost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import sympy as sp
from scipy import optimize

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
from vaeaudit.derivations.linear_gaussian import BOX, POINTS
from vaeaudit.derivations.symbols import (
    EXCESS,
    EXPECTED_LOG_LIKELIHOOD,
    HALF,
    KL,
    LOG_2PI,
    LOG_EVIDENCE,
    PENALTY,
    POSTERIOR_LOC,
    POSTERIOR_VARIANCE,
    b,
    mu,
    s,
    sigma,
    w,
    x,
)

a, v = sp.symbols("a v", positive=True)
SCALE_BY_ELBO = (1 + a) ** -HALF
SCALE_BY_PENALTY = 1 / (1 + a / 2)
RATIOS = [{"a": value} for value in (0.1, 1.0, 5.0, 40.0)]
MAP_EVIDENCE = (  # log ∫ N(z; μ, σ²) p(x|z) dz
    -HALF * (LOG_2PI + sp.log(s**2 + w**2 * sigma**2))
    - (x - b - w * mu) ** 2 / (2 * (s**2 + w**2 * sigma**2))
)
AT_POSTERIOR = {mu: POSTERIOR_LOC, sigma: sp.sqrt(POSTERIOR_VARIANCE)}


def _best_scale(term: str) -> Callable[..., float]:
    """The σ that a numerical optimiser finds for ½aσ² + term, with the term by quadrature."""

    def oracle(a: float) -> float:
        value = {"kl": oracles.kl_to_prior, "penalty": oracles.squared_w2}[term]
        found = optimize.minimize_scalar(
            lambda t: 0.5 * a * t * t + value(0.0, float(t)),
            bounds=(1e-3, 2.0),
            method="bounded",
            options={"xatol": 1e-9},
        )
        return float(found.x)

    return oracle


def _optima(formulas: Formulas) -> Outcome:
    """Both scales are the stationary points of ½aσ² plus their own term."""
    for name, term in (("scale under the ELBO", KL), ("scale under the penalty", PENALTY)):
        slope = sp.diff(HALF * a * sigma**2 + term, sigma).subs(sigma, formulas[name])
        if not vanishes(slope):
            return Outcome("unsettled", f"`{name}` is not stationary")
    gap = sp.simplify(formulas["scale under the penalty"] ** -2 - formulas["scale under the ELBO"] ** -2)
    return Outcome("false", f"1/σ² differs by {gap}, which is zero only without a decoder (a = 0)")


def _always_smaller(formulas: Formulas) -> Outcome:
    gap = sp.simplify(formulas["scale under the penalty"] ** -2 - formulas["scale under the ELBO"] ** -2)
    if not vanishes(gap - a**2 / 4):
        return Outcome("unsettled", f"1/σ² differs by {gap}, not by a²/4")
    return Outcome("bound", "1/σ² under the penalty exceeds the posterior's by a²/4 > 0")


def _jensen(formulas: Formulas) -> Outcome:
    t = sp.Symbol("t", nonnegative=True)  # w²σ²/s², the decoder's noise from q in units of s²
    gap = formulas["map evidence"] - formulas["expected log likelihood"]
    r = sp.Symbol("r", real=True)  # residual (x − b − wμ)/s
    reduced = gap.subs({x: b + w * mu + r * s, sigma: sp.sqrt(t) * s / w})
    slope = sp.diff(reduced.subs(r, 0), t)
    start = vanishes(reduced.subs(t, 0))
    in_r = vanishes(reduced - reduced.subs(r, 0) - r**2 * t / (2 * (1 + t)))
    if not (start and in_r and vanishes(slope - t / (2 * (1 + t)))):
        return Outcome("unsettled", "the gap is not r²t/(2(1 + t)) + ½(t − log(1 + t))")
    return Outcome(
        "bound", "the gap is ½(t − log(1 + t)) + ½r²t/(1 + t) with t = w²σ²/s² ≥ 0: never negative"
    )


def _barrier(formulas: Formulas) -> Outcome:
    limits = [sp.limit(sp.diff(formulas[n].subs(mu, 0), sigma), sigma, 0, "+") for n in ("kl", "penalty")]
    text = f"∂/∂σ as σ → 0: KL {limits[0]}, penalty {limits[1]}"
    if limits[0] != -sp.oo:
        return Outcome("unsettled", text)
    return Outcome("identity" if limits[1] == -sp.oo else "false", text)


def _barrier_by_numbers(formulas: Formulas) -> Outcome:
    h, steps = 1e-6, (1e-2, 1e-3, 1e-4)
    slopes = {
        n: [
            float(
                evaluate(formulas[n], {"mu": 0.0, "sigma": t * (1 + h)})
                - evaluate(formulas[n], {"mu": 0.0, "sigma": t})
            )
            / (t * h)
            for t in steps
        ]
        for n in ("kl", "penalty")
    }
    text = "slopes at σ = 0.01, 0.001, 0.0001: " + "; ".join(
        f"{n} {', '.join(f'{value:.4g}' for value in row)}" for n, row in slopes.items()
    )
    grows = {n: abs(row[2] / row[1]) > 5 for n, row in slopes.items()}
    if not grows["kl"]:
        return Outcome("unsettled", text)
    return Outcome("identity" if grows["penalty"] else "false", text, "sigma = 0.0001, mu = 0")


def _convex_with_minimum(formulas: Formulas) -> Outcome:
    term = formulas["kl"]
    at = {mu: 0, sigma: 1}
    hessian = sp.hessian(term, (mu, sigma))
    convex = sp.simplify(hessian - sp.diag(1, 1 + sigma**-2)) == sp.zeros(2, 2)
    if not convex or term.subs(at) != 0 or any(sp.diff(term, t).subs(at) != 0 for t in (mu, sigma)):
        return Outcome("unsettled", "the term is not strictly convex with value and gradient zero at (0, 1)")
    return Outcome("bound", "Hessian diag(1, 1 + 1/σ²) > 0; value and gradient are zero at (0, 1) only")


def _slack_at_posterior(formulas: Formulas) -> Outcome:
    gap = formulas["objective"] - formulas["log evidence"]
    wanted = -(HALF * mu**2 + formulas["excess"]).subs(AT_POSTERIOR)
    if not vanishes(gap - wanted):
        return Outcome("unsettled", "the objective minus log p(x) is not −(½μ² + f(σ)) at the posterior")
    text = "at q = p(z|x) the objective minus log p(x) is −(½μ² + f(σ)) = KL − P: positive where μ² < −2f(σ)"
    return Outcome("holds under conditions", text)


def _posterior_region(formulas: Formulas, at: dict[str, np.ndarray]) -> np.ndarray:
    loc = at["w"] * (at["x"] - at["b"]) / (at["w"] ** 2 + at["s"] ** 2)
    scale = at["s"] / np.sqrt(at["w"] ** 2 + at["s"] ** 2)
    return np.asarray(loc**2 >= -2 * evaluate(formulas["excess"], {"sigma": scale}))


BY_OPTIMISER = tuple(
    anchored(
        f"scale under the {name}", _best_scale(kind), RATIOS[:3], rtol=1e-5, against="a numerical optimiser"
    )
    for name, kind in (("ELBO", "kl"), ("penalty", "penalty"))
)

CLAIMS = (
    Claim(
        id="A2a",
        name="kl-minimiser",
        statement="The KL term alone drives μ to 0 and σ to 1: it is smallest there and nowhere else.",
        latex=r"\frac{1}{2} \left( \mu^2 + \sigma^2 - 1 - \log \sigma^2 \right) \ge 0",
        met_in="Reading the KL as a pull on μ and σ.",
        source=DISCUSSION_A,
        registered="bound",
        formulas={"kl": KL, "zero": sp.Integer(0)},
        checks=(
            anchored("kl", oracles.kl_to_prior, LOC_SCALE, against="quadrature"),
            anchored("zero", lambda **at: 0.0, [{}]),
            Check("algebra", _convex_with_minimum),
            bound_by_search("zero", "kl", LOC_SCALE_BOX),
        ),
    ),
    Claim(
        id="A2b",
        name="only-the-minimiser-matters",
        statement="Since q is Gaussian already, the KL does nothing more than that; a term with the same "
        "minimiser "
        "keeps σ from zero just as well.",
        latex=r"\lim_{\sigma \to 0} \frac{\partial P}{\partial \sigma} = \lim_{\sigma \to 0}"
        r" \frac{\partial \mathrm{KL}}{\partial \sigma}",
        met_in="Replacing the KL by a simpler term.",
        source=DISCUSSION_A,
        registered="false",
        correction=r"\frac{\partial \mathrm{KL}}{\partial \sigma} = \sigma - \frac{1}{\sigma} \to"
        r" -\infty, \quad"
        r" \frac{\partial P}{\partial \sigma} = 2 (\sigma - 1) \to -2",
        also=("M5",),
        formulas={"kl": KL, "penalty": PENALTY},
        checks=(
            anchored("kl", oracles.kl_to_prior, LOC_SCALE, against="quadrature"),
            anchored(
                "penalty", oracles.squared_w2, LOC_SCALE, rtol=1e-6, against="the quantile integral of W₂²"
            ),
            Check("algebra", _barrier),
            Check("numerics", _barrier_by_numbers),
        ),
    ),
    Claim(
        id="A3",
        name="penalty-equivalent-to-kl",
        statement="Σ μ² + (σ − 1)² in the place of the KL is equivalent and simpler: training ends with "
        "the same σ.",
        latex=r"\sigma_P = \left( 1 + \frac{a}{2} \right)^{-1} = (1 + a)^{-1/2} = \sigma_{\mathrm{KL}},"
        r" \quad a = \frac{w^2}{s^2}",
        met_in="Losses without a KL; here on the scalar linear-Gaussian model, where σ_KL is the true "
        "posterior's.",
        source=DISCUSSION_A,
        registered="false",
        correction=r"\sigma_P < \sigma_{\mathrm{KL}} \quad \mathrm{for\ every}\ a > 0",
        also=("M6a",),
        formulas={"scale under the ELBO": SCALE_BY_ELBO, "scale under the penalty": SCALE_BY_PENALTY},
        checks=(
            *BY_OPTIMISER,
            Check("algebra", _optima),
            equality_by_search("scale under the ELBO", "scale under the penalty", {"a": (0.01, 50.0)}),
        ),
    ),
    Claim(
        id="M6b",
        name="penalty-scale-is-too-small",
        statement="On the scalar linear-Gaussian model the penalty's σ is below the true posterior's, "
        "always.",
        latex=r"\left( 1 + \frac{a}{2} \right)^{-1} \le (1 + a)^{-1/2}",
        met_in="Posteriors of penalty-trained models that are too narrow.",
        source="derived here",
        registered="bound",
        formulas={"scale under the penalty": SCALE_BY_PENALTY, "scale under the ELBO": SCALE_BY_ELBO},
        checks=(
            *BY_OPTIMISER,
            Check("algebra", _always_smaller),
            bound_by_search("scale under the penalty", "scale under the ELBO", {"a": (0.01, 50.0)}),
        ),
    ),
    Claim(
        id="M6c",
        name="elbo-scale-is-the-posterior",
        statement="On the scalar linear-Gaussian model the ELBO's σ is the exact posterior's.",
        latex=r"\sigma_{\mathrm{KL}} = (1 + a)^{-1/2} = \frac{s}{\sqrt{w^2 + s^2}}",
        met_in="The zero-gap case of the ELBO.",
        source="derived here",
        registered="identity",
        formulas={
            "scale under the ELBO": SCALE_BY_ELBO.subs(a, w**2 / s**2),
            "posterior": sp.sqrt(POSTERIOR_VARIANCE),
        },
        checks=(
            anchored(
                "scale under the ELBO",
                lambda w, s: _best_scale("kl")(w * w / s / s),
                [{"w": 0.8, "s": 0.6}, {"w": -1.6, "s": 1.3}],
                rtol=1e-5,
                against="a numerical optimiser",
            ),
            anchored(
                "posterior",
                oracles.posterior_scale,
                [{"w": 0.8, "s": 0.6}, {"w": -1.6, "s": 1.3}],
                against="quadrature of the posterior",
            ),
            equality_by_algebra("scale under the ELBO", "posterior"),
            equality_by_search("scale under the ELBO", "posterior", {"w": (-2, 2), "s": (0.2, 2)}),
        ),
    ),
    Claim(
        id="A4",
        name="penalty-is-map-in-another-model",
        statement="The penalty optimises something else, to which a hyperprior leads: with μ, σ ~ r ∝ "
        "exp(−P) for each "
        "datum and z ~ N(μ, σ²), the objective is a lower bound on log p(x|μ, σ) + log r(μ, σ), so that "
        "training does "
        "MAP on (μ, σ).",
        latex=r"\mathbb{E}_q \log p(x \mid z) - P \le \log \int N(z; \mu, \sigma^2) p(x \mid z) \, dz - P",
        met_in="Any loss that penalises the encoder's outputs.",
        source=DISCUSSION_A,
        registered="bound",
        also=("M7",),
        formulas={"expected log likelihood": EXPECTED_LOG_LIKELIHOOD, "map evidence": MAP_EVIDENCE},
        checks=(
            anchored(
                "expected log likelihood", oracles.expected_log_likelihood, POINTS, against="quadrature"
            ),
            anchored("map evidence", oracles.log_predictive, POINTS, against="quadrature"),
            Check("algebra", _jensen),
            bound_by_search("expected log likelihood", "map evidence", BOX),
        ),
    ),
    Claim(
        id="A5",
        name="penalty-keeps-the-bound",
        statement="With the penalty in the place of the KL, the objective stays a lower bound on log p(x). "
        "Tested at the exact posterior, where nothing is lost between ELBO and log p(x).",
        latex=r"\mathbb{E}_q \log p(x \mid z) - P \le \log p(x)",
        met_in="Reporting such an objective as if it were an ELBO.",
        source=DISCUSSION_A,
        registered="holds under conditions",
        conditions=r"exactly while $P \ge \mathrm{KL}$; lost where $\sigma < 1$ and $\mu^2 < -2 f(\sigma)$",
        also=("M3c",),
        formulas={
            "objective": (EXPECTED_LOG_LIKELIHOOD - PENALTY).subs(AT_POSTERIOR),
            "log evidence": LOG_EVIDENCE,
            "excess": EXCESS,
        },
        checks=(
            anchored(
                "objective",
                oracles.penalty_objective_at_posterior,
                [{k: p[k] for k in ("x", "w", "b", "s")} for p in POINTS],
                rtol=1e-6,
                against="quadrature",
            ),
            anchored(
                "log evidence",
                oracles.log_evidence,
                [{k: p[k] for k in ("x", "w", "b", "s")} for p in POINTS],
                against="quadrature",
            ),
            Check("algebra", _slack_at_posterior),
            bound_by_search(
                "objective",
                "log evidence",
                {"x": (-2, 2), "w": (-2, 2), "b": (-1, 1), "s": (0.05, 2)},
                condition=_posterior_region,
                exact=True,
            ),
        ),
    ),
)
