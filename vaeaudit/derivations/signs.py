"""Signs, and what a Gaussian is needed for."""

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
)
from vaeaudit.derivations.claim import Check, Claim, Formulas, Outcome
from vaeaudit.derivations.decoder_scale import NO_SCALE, NO_SCALE_BOX, SQUARED_ERROR, squared_error
from vaeaudit.derivations.elbo_identities import DISCUSSION
from vaeaudit.derivations.linear_gaussian import BOX, POINTS
from vaeaudit.derivations.symbols import (
    ELBO,
    EXPECTED_LOG_LIKELIHOOD,
    HALF,
    KL,
    KL_TO_POSTERIOR,
    LOG_2PI,
    LOG_EVIDENCE,
    b,
    mu,
    s,
    sigma,
    x,
)

EVIDENCE_BOX = {k: BOX[k] for k in ("x", "w", "b", "s")}
y, m2 = sp.symbols("y mu2", real=True)
t2 = sp.Symbol("sigma2", positive=True)
_SECOND = {x: y, mu: m2, sigma: t2}
PAIR_POINTS = tuple(
    {**p, "y": v, "mu2": n, "sigma2": u}
    for p, v, n, u in zip(POINTS, (0.3, -0.6, 1.1), (0.2, -0.5, 0.9), (0.6, 1.2, 0.4), strict=True)
)
PAIR_BOX = {**BOX, "y": (-2.0, 2.0), "mu2": (-2.0, 2.0), "sigma2": (0.1, 2.0)}
residual = sp.Symbol("r", positive=True)


def _moves(printed: str, truth: str, wrt: sp.Symbol) -> Check:
    """Whether two things to maximise move alike with one parameter, up to a positive factor."""

    def run(formulas: Formulas) -> Outcome:
        ratio = sp.simplify(sp.diff(formulas[printed], wrt) / sp.diff(formulas[truth], wrt))
        if ratio.is_positive and not ratio.free_symbols:
            return Outcome("identity", f"∂/∂{wrt} of both agree up to the factor {ratio}")
        return Outcome(
            "false", f"∂/∂{wrt} of `{printed}` is {sp.sstr(sp.factor(ratio))} times that of `{truth}`"
        )

    return Check("algebra", run)


def _larger_error_wins(formulas: Formulas) -> Outcome:
    """Whether the printed objective prefers what the ELBO prefers among seeded pairs of decoders."""
    rng = np.random.default_rng(8)
    draw = {k: rng.uniform(*r, 1000) for k, r in NO_SCALE_BOX.items()}
    other = {**draw, "b": rng.uniform(*NO_SCALE_BOX["b"], 1000), "w": rng.uniform(*NO_SCALE_BOX["w"], 1000)}
    prefers = [
        evaluate(formulas[n], draw) > evaluate(formulas[n], other) for n in ("printed", "elbo at s² = ½")
    ]
    wrong = prefers[0] != prefers[1]
    if not wrong.any():
        return Outcome("identity", "both prefer the same decoder in 1000 seeded pairs")
    i = int(np.argmax(wrong))
    at = ", ".join(f"{k} = {v[i]:.3g}" for k, v in draw.items())
    return Outcome("false", f"they prefer different decoders in {int(wrong.sum())} of 1000 seeded pairs", at)


def _unbounded(formulas: Formulas) -> Outcome:
    limit = sp.limit(formulas["flipped"].subs({mu: 0, x: 0, b: 0}), sigma, 0, "+")
    if limit == sp.oo:
        return Outcome(
            "false",
            "as σ → 0 the flipped objective tends to +∞: maximising it maximises the KL",
            "sigma → 0",
        )
    return Outcome("bound", f"as σ → 0 the limit is {limit}")


def _never_negative(formulas: Formulas) -> Outcome:
    value = formulas["printed"]
    if value.is_negative or sp.simplify(value).is_negative:
        return Outcome(
            "false", f"exp(log(−r²)) continues to {sp.simplify(value)}: negative, no likelihood", "r = 1: −1"
        )
    return Outcome("bound", f"{value} is not negative")


def _real_log(formulas: Formulas) -> Outcome:
    at = {"r": np.array([0.5, 1.0, 2.0])}
    with np.errstate(all="ignore"):
        direct = np.log(-(at["r"] ** 2))
    values = evaluate(formulas["printed"], at)
    if np.isnan(direct).all() and (values < 0).all():
        return Outcome("false", "the real logarithm of −r² is undefined at every r > 0", "r = 1: log(−1)")
    return Outcome("bound", "the values are real and not negative")


def _sum_of_terms(y: float, mu2: float, sigma2: float, **at: float) -> float:
    second = {**at, "x": y, "mu": mu2, "sigma": sigma2}
    return sum(oracles.elbo(**p) + oracles.kl_to_posterior(**p) for p in (at, second))


CLAIMS = (
    Claim(
        id="B6",
        name="squared-error-from-the-prior",
        statement="The squared error comes from the prior being Gaussian: a Gaussian prior with a "
        "Laplace likelihood of scale 1 "
        "gives it too.",
        latex=r"-\log p(x \mid z) = | x - \hat{x} | + \log 2 = \frac{(x - \hat{x})^2}{2} + \frac{1}{2}"
        r" \log 2 \pi",
        met_in="Explanations of the reconstruction term.",
        source=DISCUSSION["B"],
        registered="false",
        correction=r"-\log N(x; \hat{x}, s^2) = \frac{(x - \hat{x})^2}{2 s^2} + \frac{1}{2} \log 2 \pi s^2"
        r" \quad \mathrm{under\ any\ prior}",
        also=("M16f",),
        formulas={"laplace": sp.Abs(x - b) + sp.log(2), "squared": HALF * (x - b) ** 2 + HALF * LOG_2PI},
        checks=(
            anchored(
                "laplace",
                lambda x, b: -stats.laplace.logpdf(x, b),
                [{"x": 0.5, "b": -1.0}, {"x": -2.0, "b": 0.3}],
                against="scipy's Laplace density",
            ),
            anchored(
                "squared",
                lambda x, b: -stats.norm.logpdf(x, b),
                [{"x": 0.5, "b": -1.0}, {"x": -2.0, "b": 0.3}],
                against="scipy's normal density",
            ),
            equality_by_algebra("laplace", "squared"),
            equality_by_search("laplace", "squared", {"x": (-2, 2), "b": (-2, 2)}),
        ),
    ),
    Claim(
        id="C12",
        name="likelihood-as-exp-log-of-negative",
        statement="As z → x is deterministic the likelihood becomes exp(log(−‖x − x̂‖²)).",
        latex=r"\exp\left( \log\left( -\| x - \hat{x} \|^2 \right) \right) \ge 0",
        met_in="A derivation in discussion C.",
        source=DISCUSSION["C"],
        registered="false",
        correction=r"p(x \mid z) \propto \exp\left( -\frac{\| x - \hat{x} \|^2}{2 s^2} \right)",
        formulas={"printed": sp.exp(sp.log(-(residual**2)))},
        checks=(
            anchored(
                "printed",
                lambda r: float(np.exp(np.emath.log(-(r**2))).real),
                [{"r": 0.5}, {"r": 2.0}],
                against="the complex logarithm",
            ),
            Check("algebra", _never_negative),
            Check("numerics", _real_log),
        ),
    ),
    Claim(
        id="D2",
        name="squared-error-minus-kl-maximised",
        statement="The ELBO, to be maximised, can be rewritten as E_q‖x − x̂‖² − KL.",
        latex=r"F = \mathbb{E}_q \| x - \hat{x} \|^2 - \mathrm{KL}(q \| p)",
        met_in="A rewriting in discussion D; maximised, it wants the largest error.",
        source=DISCUSSION["D"],
        registered="false",
        correction=r"F = -\mathbb{E}_q \| x - \hat{x} \|^2 - \mathrm{KL}(q \| p) + \mathrm{const} ="
        r" \mathcal{L}_{s^2 = 1/2}",
        also=("M16a",),
        formulas={"printed": SQUARED_ERROR - KL, "elbo at s² = ½": ELBO.subs(s, sp.sqrt(HALF))},
        checks=(
            anchored(
                "printed",
                lambda **at: squared_error(**at) - oracles.kl_to_prior(at["mu"], at["sigma"]),
                NO_SCALE,
                against="quadrature",
            ),
            anchored(
                "elbo at s² = ½", lambda **at: oracles.elbo(**at, s=0.5**0.5), NO_SCALE, against="quadrature"
            ),
            _moves("printed", "elbo at s² = ½", b),
            Check("search", _larger_error_wins),
        ),
    ),
    Claim(
        id="E2",
        name="log-evidence-of-independent-data",
        statement="For independent data the log evidence is the sum over data of KL to the posterior "
        "plus bound.",
        latex=r"\log p(x^1, \ldots, x^N) = \sum_i \left[ \mathrm{KL}(q \| p(z \mid x^i)) +"
        r" \mathcal{L}(x^i) \right]",
        met_in="Kingma & Welling (2014), eq. 1; here for two data.",
        source=DISCUSSION["E"],
        registered="identity",
        formulas={
            "joint log evidence": LOG_EVIDENCE + LOG_EVIDENCE.subs(x, y),
            "sum of terms": (KL_TO_POSTERIOR + ELBO)
            + (KL_TO_POSTERIOR + ELBO).subs(_SECOND, simultaneous=True),
        },
        checks=(
            anchored(
                "joint log evidence",
                lambda x, y, w, b, s: float(
                    stats.multivariate_normal.logpdf([x, y], [b, b], (w * w + s * s) * np.eye(2))
                ),
                [{k: p[k] for k in ("x", "y", "w", "b", "s")} for p in PAIR_POINTS],
                against="scipy's multivariate normal",
            ),
            anchored("sum of terms", _sum_of_terms, PAIR_POINTS, against="quadrature"),
            equality_by_algebra("joint log evidence", "sum of terms"),
            equality_by_search("joint log evidence", "sum of terms", PAIR_BOX),
        ),
    ),
    Claim(
        id="E7a",
        name="kl-enters-with-a-minus",
        statement="A term that should be minimised can stand in something maximised: the KL enters the "
        "ELBO with a minus sign.",
        latex=r"\frac{\partial \mathcal{L}}{\partial \mathrm{KL}} = -1: \quad \mathcal{L} +"
        r" \mathrm{KL}(q \| p) ="
        r" \mathbb{E}_q \log p(x \mid z)",
        met_in="The question of discussion E.",
        source=DISCUSSION["E"],
        registered="identity",
        also=("M16g",),
        formulas={"elbo plus kl": ELBO + KL, "expected log likelihood": EXPECTED_LOG_LIKELIHOOD},
        checks=(
            anchored(
                "elbo plus kl",
                lambda **at: oracles.elbo(**at) + oracles.kl_to_prior(at["mu"], at["sigma"]),
                POINTS,
                against="quadrature",
            ),
            anchored(
                "expected log likelihood", oracles.expected_log_likelihood, POINTS, against="quadrature"
            ),
            equality_by_algebra("elbo plus kl", "expected log likelihood"),
            equality_by_search("elbo plus kl", "expected log likelihood", BOX),
        ),
    ),
    Claim(
        id="E7b",
        name="flipped-kl-still-bounds",
        statement="With the sign of the KL flipped one still maximises a lower bound on log p(x).",
        latex=r"\mathbb{E}_q \log p(x \mid z) + \mathrm{KL}(q \| p) \le \log p(x)",
        met_in="A sign slip in code: the encoder runs away from the prior and σ falls to zero.",
        source=DISCUSSION["E"],
        registered="false",
        correction=r"\mathbb{E}_q \log p(x \mid z) - \mathrm{KL}(q \| p) \le \log p(x)",
        formulas={"flipped": EXPECTED_LOG_LIKELIHOOD + KL, "log evidence": LOG_EVIDENCE},
        checks=(
            anchored(
                "flipped",
                lambda **at: (
                    oracles.expected_log_likelihood(**at) + oracles.kl_to_prior(at["mu"], at["sigma"])
                ),
                POINTS,
                against="quadrature",
            ),
            anchored(
                "log evidence",
                oracles.log_evidence,
                [{k: p[k] for k in ("x", "w", "b", "s")} for p in POINTS],
                against="quadrature",
            ),
            Check("algebra", _unbounded),
            bound_by_search("flipped", "log evidence", BOX),
        ),
    ),
)
