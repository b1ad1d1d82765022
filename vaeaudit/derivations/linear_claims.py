"""Claims of the linear-Gaussian theory: a principal direction of variance ℓ, w² = y, noise s²."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import sympy as sp
from scipy import optimize

from vaeaudit.derivations import oracles
from vaeaudit.derivations.checks import anchored, bound_by_search, evaluate, show, vanishes
from vaeaudit.derivations.claim import Check, Claim, Formulas, Outcome
from vaeaudit.derivations.symbols import HALF, LOG_2PI, beta, lam, s

ell, y, a, t, R = sp.symbols("ell y a t R", positive=True)  # t = σ
w = sp.sqrt(y)
FIT = -(ell * (1 - w * a) ** 2 + y * t**2) / (2 * s**2)
MOMENT = a**2 * ell  # E μ²
KL_PHI = FIT - beta * HALF * (MOMENT + t**2 - 1 - 2 * sp.log(t))
PENALTY_PHI = FIT - lam * (MOMENT + (t - 1) ** 2)
HALF_PHI = FIT - lam * (HALF * MOMENT + (t - 1) ** 2)
k = 1 + 2 * lam / ell
HEAD_PHI = FIT - HALF * (MOMENT + t**2 - 1 - 2 * sp.log(t)) - lam * a**2
RIDGE = -lam * (ell + y) / (y + 2 * lam * s**2)
EVIDENCE = -HALF * (LOG_2PI + sp.log(y + s**2) + ell / (y + s**2))
BOX = {"ell": (0.1, 5.0), "y": (0.01, 20.0), "s": (0.2, 1.5), "lambda": (0.1, 3.0)}
EXAMPLES = ({"ell": 3.0, "s": 0.7, "beta": 0.5}, {"ell": 1.5, "s": 0.9, "beta": 1.2})
HEADS = ({"ell": 3.0, "s": 0.7, "lambda": 0.1}, {"ell": 1.5, "s": 0.6, "lambda": 0.4})
WINDOW = ({"ell": 1.2, "s": 0.7, "lambda": 1.0}, {"ell": 0.9, "s": 0.5, "lambda": 2.0})


def _normal_kl(loc_sq: float, scale: float) -> float:
    """KL averaged over loc = ±√loc_sq, by quadrature: it depends on E μ² alone."""
    return oracles.kl_to_prior(math.sqrt(loc_sq), scale)


@cache
def _best(
    kind: str, ell: float, s: float, weight: float, y: float = -1.0
) -> tuple[float, float, float, float]:
    """(w², a, σ, value) by Nelder–Mead and BFGS over the objective itself; w² held if ``y`` is given."""

    def loss(x: np.ndarray) -> float:
        v = math.exp(x[2]) if y < 0 else y
        loc, scale = float(x[0]), math.exp(float(x[1]))
        error = ell * (1 - math.sqrt(v) * loc) ** 2 + v * scale**2
        moment = loc * loc * ell
        charge = {
            "kl": weight * 0.5 * (moment + scale**2 - 1 - 2 * math.log(scale)),
            "penalty": weight * (moment + (scale - 1) ** 2),
            "half": weight * (0.5 * moment + (scale - 1) ** 2),
            "head": 0.5 * (moment + scale**2 - 1 - 2 * math.log(scale)) + weight * loc * loc,
        }[kind]
        return error / (2 * s * s) + charge

    start = np.array([0.4, -0.7, 0.3])[: 3 if y < 0 else 2]
    rough = optimize.minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10})
    found = optimize.minimize(loss, rough.x, method="BFGS", options={"gtol": 1e-9})
    v = math.exp(found.x[2]) if y < 0 else y
    return v, float(found.x[0]), math.exp(float(found.x[1])), -float(found.fun)


def _stationary(objective: sp.Expr, **point: str) -> Check:
    """The named formulas make every partial derivative of the objective vanish, at seeded parameters."""

    def run(formulas: Formulas) -> Outcome:
        variables = {"y": y, "a": a, "t": t}
        slopes = [sp.diff(objective, v) for v in (y, a, t)]
        rng, worst = np.random.default_rng(4), 0.0
        for _ in range(20):
            at = {"ell": rng.uniform(2.6, 3.4), "s": rng.uniform(0.4, 0.6), "beta": rng.uniform(0.2, 2.0)}
            values = {n: float(evaluate(formulas[f], at)) for n, f in point.items()}
            if not all(v > 0 and math.isfinite(v) for v in values.values()):
                return Outcome("false", f"no positive solution at {show(at)}", show(at))
            where = {**at, **{str(variables[n]): v for n, v in values.items()}}
            worst = max(worst, *(abs(float(evaluate(slope, where))) for slope in slopes))
            if worst > 1e-7:
                return Outcome("false", f"a partial derivative is {worst:.2g} at {show(at)}", show(at))
        return Outcome(
            "identity", f"all partial derivatives vanish at 20 seeded settings (largest {worst:.0e})"
        )

    return Check("search", run)


def _zero_slopes(objective: sp.Expr, solution: str, loc: sp.Expr, scale: sp.Expr) -> Check:
    """With the best encoder put in, the derivative in y vanishes at the named w², in sympy."""

    def run(formulas: Formulas) -> Outcome:
        encoder = {a: loc, t: scale}
        inner = [sp.simplify(sp.diff(objective, v).subs(encoder)) for v in (a, t)]
        if any(not vanishes(e) for e in inner):
            return Outcome("unsettled", "the encoder put in is not stationary for its decoder")
        slope = sp.diff(objective, y).subs(encoder).subs(y, formulas[solution])
        if vanishes(sp.simplify(slope)):
            return Outcome("identity", "∂φ/∂a = ∂φ/∂σ = 0 for the best encoder, and ∂φ/∂w² = 0 there")
        return Outcome("false", "∂φ/∂w² does not vanish there")

    return Check("algebra", run)


def _no_maximum(formulas: Formulas) -> Outcome:
    slope = sp.factor(sp.diff(formulas["value"], y))
    if not vanishes(slope - lam * (ell - 2 * lam * s**2) / (y + 2 * lam * s**2) ** 2):
        return Outcome("unsettled", "∂φ/∂y is not λ(ℓ − 2λs²)/(y + 2λs²)²")
    top = sp.limit(formulas["value"], y, sp.oo)
    text = f"∂φ/∂y = λ(ℓ − 2λs²)/(y + 2λs²)²: one sign for all y, limit {top} as y → ∞"
    return Outcome("holds under conditions", text)


def _part_ways(formulas: Formulas) -> Outcome:
    up, down = (sp.diff(formulas[n], y) for n in ("value", "log evidence"))
    if not vanishes(down - HALF * (ell - y - s**2) / (y + s**2) ** 2):
        return Outcome("unsettled", "∂ log p/∂y is not ½(ℓ − y − s²)/(y + s²)²")
    at = {ell: 3, s: sp.Rational(1, 2), lam: 1, y: 10}
    if up.subs(at) > 0 > down.subs(at):
        return Outcome("false", "for y > ℓ − s² and ℓ > 2λs² one slope is positive, the other negative")
    return Outcome("identity", "both slopes have one sign")


def _rise_together(formulas: Formulas) -> Outcome:
    rng = np.random.default_rng(6)
    at = {n: rng.uniform(*r, 2000) for n, r in BOX.items()}
    higher = {**at, "y": 1.01 * at["y"]}
    change = [evaluate(formulas[n], higher) - evaluate(formulas[n], at) for n in ("value", "log evidence")]
    apart = change[0] * change[1] < 0
    if not apart.any():
        return Outcome("identity", "they move together at 2000 seeded points")
    i = int(np.argmax(apart))
    where = show({n: v[i] for n, v in at.items()})
    return Outcome("false", f"they move apart at {int(apart.sum())} of 2000 seeded points", where)


def _quadratic(formulas: Formulas) -> Outcome:
    """The root solves the quadratic equation, and the best encoder makes that equation ∂φ/∂w² = 0."""
    root = formulas["weight squared"]
    if not vanishes(sp.expand((root + k * s**2) ** 2 - ell * k * (root + s**2))):
        return Outcome("false", "(w² + ks²)² − ℓk(w² + s²) is not zero")
    encoder = {a: w / (y + k * s**2), t: s / sp.sqrt(y + s**2)}
    slope = sp.diff(HEAD_PHI, y).subs(encoder)
    equation = (ell * k * (y + s**2) - (y + k * s**2) ** 2) / (2 * (y + s**2) * (y + k * s**2) ** 2)
    if not vanishes(sp.simplify(slope - equation)):
        return Outcome("unsettled", "the quadratic equation is not ∂φ/∂w² = 0")
    return Outcome(
        "identity", "∂φ/∂w² = 0 for the best encoder is (w² + ks²)² = ℓk(w² + s²), which the root solves"
    )


SOURCE = "derived here; Tipping & Bishop (1999) and Lucas et al. (2019) for the ELBO"
HEAD_ROOT = HALF * k * ((ell - 2 * s**2) + sp.sqrt(ell**2 - 4 * ell * s**2 + 4 * ell * s**2 / k))
WINDOW_ROOT = 2 * lam * s**2 * (sp.sqrt(ell) - s * sp.sqrt(lam)) / (2 * s * sp.sqrt(lam) - sp.sqrt(ell))

CLAIMS = (
    Claim(
        id="T1",
        name="beta-elbo-optimum",
        statement="Along a principal direction of variance ℓ > βs², the β-ELBO's optimum is "
        "probabilistic PCA's for the "
        "noise βs².",
        latex=r"w^2 = \ell - \beta s^2, \quad \sigma^2 = \frac{\beta s^2}{\ell}",
        met_in="Linear VAEs; the collapse threshold $\\ell = \\beta s^2$.",
        source=SOURCE,
        registered="identity",
        formulas={
            "weight squared": ell - beta * s**2,
            "loc map": sp.sqrt(ell - beta * s**2) / ell,
            "scale": sp.sqrt(beta) * s / sp.sqrt(ell),
        },
        checks=(
            *(
                anchored(
                    name,
                    lambda ell, s, beta, i=i: _best("kl", ell, s, beta)[i],
                    EXAMPLES,
                    rtol=2e-5,
                    against="a numerical optimiser",
                )
                for i, name in enumerate(("weight squared", "loc map", "scale"))
            ),
            _zero_slopes(
                KL_PHI, "weight squared", w / (y + beta * s**2), sp.sqrt(beta * s**2 / (y + beta * s**2))
            ),
            _stationary(KL_PHI, y="weight squared", a="loc map", t="scale"),
        ),
    ),
    Claim(
        id="T2",
        name="penalty-has-an-optimum",
        statement="With the penalty λ(μ² + (σ − 1)²) the objective has a maximum over the decoder's "
        "weight: none is "
        "better than w = 0.",
        latex=r"\max_{a, \sigma} \varphi = -\lambda \frac{\ell + w^2}{w^2 + 2 \lambda s^2} \le"
        r" -\frac{\ell}{2 s^2}",
        met_in="Penalty-trained models whose code keeps shrinking; the maximum over the encoder at a "
        "held decoder.",
        source="derived here",
        registered="holds under conditions",
        conditions=r"$\ell \le 2 \lambda s^2$, where the direction collapses; otherwise the objective"
        r" rises with $w$ for"
        r" ever, towards $-\lambda$, while $\sigma \to 0$",
        formulas={"value": RIDGE, "value at zero": -ell / (2 * s**2)},
        checks=(
            anchored(
                "value",
                lambda ell, y, s, **at: _best("penalty", ell, s, at["lambda"], y)[3],
                [
                    {"ell": 3.0, "y": 2.0, "s": 0.7, "lambda": 1.0},
                    {"ell": 0.5, "y": 4.0, "s": 0.9, "lambda": 0.4},
                ],
                rtol=1e-6,
                against="a numerical optimiser over the encoder",
            ),
            anchored(
                "value at zero",
                lambda ell, s: _best("penalty", ell, s, 1.0, 1e-12)[3],
                [{"ell": 3.0, "s": 0.7}, {"ell": 0.5, "s": 0.9}],
                rtol=1e-5,
                against="a numerical optimiser over the encoder",
            ),
            Check("algebra", _no_maximum),
            bound_by_search(
                "value",
                "value at zero",
                BOX,
                condition=lambda f, at: at["ell"] <= 2 * at["lambda"] * at["s"] ** 2,
                exact=True,
            ),
        ),
    ),
    Claim(
        id="T3",
        name="penalty-rises-with-log-evidence",
        statement="Along that path, with the encoder always at its best, the penalised objective and log "
        "p(x) rise "
        "together.",
        latex=r"\frac{\partial}{\partial w^2} \max_{a, \sigma} \varphi > 0 \;\Rightarrow\;"
        r" \frac{\partial}{\partial w^2} \mathbb{E} \log p(x) > 0",
        met_in="Watching a training objective in the hope that the model improves.",
        source="derived here",
        registered="false",
        correction=r"\frac{\partial}{\partial w^2} \mathbb{E} \log p(x) = \frac{\ell - w^2 - s^2}{2 (w^2"
        r" + s^2)^2} < 0"
        r" \quad \mathrm{for}\ w^2 > \ell - s^2",
        formulas={"value": RIDGE, "log evidence": EVIDENCE},
        checks=(
            anchored(
                "value",
                lambda ell, y, s, **at: _best("penalty", ell, s, at["lambda"], y)[3],
                [{"ell": 3.0, "y": 2.0, "s": 0.7, "lambda": 1.0}],
                rtol=1e-6,
                against="a numerical optimiser over the encoder",
            ),
            anchored(
                "log evidence",
                lambda ell, y, s: (
                    0.5 * sum(oracles.log_evidence(x, y**0.5, 0.0, s) for x in (-(ell**0.5), ell**0.5))
                ),
                [{"ell": 3.0, "y": 2.0, "s": 0.7}, {"ell": 0.5, "y": 4.0, "s": 0.9}],
                against="quadrature",
            ),
            Check("algebra", _part_ways),
            Check("search", _rise_together),
        ),
    ),
    Claim(
        id="T4",
        name="half-quadratic-window",
        statement="With λ(½μ² + (σ − 1)²) there is an interior optimum for λs² < ℓ < 4λs² only: below it "
        "the direction "
        "collapses, above it the decoder's weight grows for ever.",
        latex=r"w^2 = 2 \lambda s^2 \frac{\sqrt{\ell} - s \sqrt{\lambda}}{2 s \sqrt{\lambda} -"
        r" \sqrt{\ell}}",
        met_in="A quadratic stand-in for the KL that matches it near the prior.",
        source="derived here",
        registered="identity",
        formulas={"weight squared": WINDOW_ROOT},
        checks=(
            anchored(
                "weight squared",
                lambda ell, s, **at: _best("half", ell, s, at["lambda"])[0],
                WINDOW,
                rtol=2e-5,
                against="a numerical optimiser",
            ),
            _zero_slopes(
                HALF_PHI, "weight squared", w / (y + lam * s**2), 2 * lam * s**2 / (y + 2 * lam * s**2)
            ),
        ),
    ),
    Claim(
        id="T5",
        name="head-l2-optimum",
        statement="ELBO plus λ‖A‖² on the loc head: a direction's charge on E μ² grows by the factor k = "
        "1 + 2λ/ℓ, and "
        "its decoder's weight solves a quadratic equation.",
        latex=r"(w^2 + k s^2)^2 = \ell k (w^2 + s^2), \quad k = 1 + \frac{2 \lambda}{\ell}",
        met_in="L2 on the heads beside the KL: small data variances pay the most and are given up first.",
        source="derived here",
        registered="identity",
        formulas={"weight squared": HEAD_ROOT},
        checks=(
            anchored(
                "weight squared",
                lambda ell, s, **at: _best("head", ell, s, at["lambda"])[0],
                HEADS,
                rtol=2e-5,
                against="a numerical optimiser",
            ),
            Check("algebra", _quadratic),
        ),
    ),
)
