"""The weight of the KL at the optimum: distortion, rate and σ as β moves, and what a small KL hides."""

from __future__ import annotations

import numpy as np
import sympy as sp
from scipy import optimize, stats

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
from vaeaudit.derivations.decoder_scale import BETA_BOX, WITH_BETA, beta_elbo, elbo_at_variance
from vaeaudit.derivations.elbo_identities import DISCUSSION
from vaeaudit.derivations.symbols import ELBO, EXPECTED_LOG_LIKELIHOOD, HALF, KL, LOG_2PI, beta, s, sigma, w

MODEL = {"beta": (0.05, 4.0), "w": (0.3, 2.0), "s": (0.3, 2.0)}
MODEL_POINTS = ({"beta": 0.1, "w": 1.0, "s": 1.0}, {"beta": 2.5, "w": 0.7, "s": 0.4})
# optimum over μ = c(x − b) and σ of E_q log p(x|z) − β KL; data from the model, E(x − b)² = w² + s²
LOC_MAP = w / (w**2 + beta * s**2)
VARIANCE = beta * s**2 / (w**2 + beta * s**2)
ERROR = (1 - w * LOC_MAP) ** 2 * (w**2 + s**2) + w**2 * VARIANCE
RATE = HALF * (LOC_MAP**2 * (w**2 + s**2) + VARIANCE - 1 - sp.log(VARIANCE))

# σ² = s²/(w² + s²): slopes and values of KL and distortion at μ = x − b = 0; one of D pixels carries signal
PIXELS = sp.Symbol("D", positive=True)
_AT = s / sp.sqrt(w**2 + s**2)
GRADIENT_RATIO = (1 / _AT - _AT) / (w**2 * _AT / s**2)
VALUE_RATIO = (
    HALF
    * (_AT**2 - 1 - 2 * sp.log(_AT))
    / (PIXELS * HALF * (LOG_2PI + 2 * sp.log(s)) + w**2 * _AT**2 / (2 * s**2))
)
RATIO_POINTS = ({"w": 0.8, "s": 0.6, "D": 10.0}, {"w": 1.5, "s": 1.2, "D": 64.0})


def beta_optimum(beta: float, w: float, s: float, x: float = 1.0) -> tuple[float, float]:
    """(μ, σ) that a numerical optimiser finds for E_q log p(x|z) − β KL, terms by quadrature."""

    def loss(t: np.ndarray) -> float:
        loc, scale = float(t[0]), float(np.exp(t[1]))
        z, u = loc + scale * oracles.NODES, oracles.WEIGHTS
        kl = stats.norm.logpdf(z, loc, scale) - stats.norm.logpdf(z)
        return float(-u @ (stats.norm.logpdf(x, w * z, s) - beta * kl))

    found = optimize.minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-9})
    return float(found.x[0]), float(np.exp(found.x[1]))


def _error_at_optimum(beta: float, w: float, s: float) -> float:
    loc, scale = beta_optimum(beta, w, s)  # μ is linear in x − b = 1
    return (1 - w * loc) ** 2 * (w * w + s * s) + w * w * scale**2


def _rate_at_optimum(beta: float, w: float, s: float) -> float:
    loc, scale = beta_optimum(beta, w, s)
    spread = loc * (w * w + s * s) ** 0.5
    return 0.5 * (oracles.kl_to_prior(spread, scale) + oracles.kl_to_prior(-spread, scale))


def _gradient_ratio(w: float, s: float) -> float:
    scale, h = oracles.posterior_scale(w, s), 1e-4
    kl = oracles.kl_to_prior(0.0, scale + h) - oracles.kl_to_prior(0.0, scale - h)
    fit = [oracles.expected_log_likelihood(0.0, scale + d, 0.0, w, 0.0, s) for d in (h, -h)]
    return abs(kl) / abs(fit[0] - fit[1])


def _value_ratio(w: float, s: float, D: float) -> float:
    scale = oracles.posterior_scale(w, s)
    idle = (D - 1) * -stats.norm.logpdf(0.0, 0.0, s)
    return oracles.kl_to_prior(0.0, scale) / (
        idle - oracles.expected_log_likelihood(0.0, scale, 0.0, w, 0.0, s)
    )


def _exchange(formulas: Formulas) -> Outcome:
    """Seeded finite models: the best of 50 (distortion, rate) pairs at two weights."""
    rng = np.random.default_rng(11)
    for _ in range(300):
        distortion, rate = rng.exponential(size=(2, 50))
        low, high = np.sort(rng.uniform(0.05, 4, 2))
        i, j = int(np.argmin(distortion + low * rate)), int(np.argmin(distortion + high * rate))
        if distortion[i] > distortion[j] or rate[i] < rate[j]:
            return Outcome("false", "two optima in the wrong order", f"beta = {low:.3g}, {high:.3g}")
    return Outcome("bound", "300 seeded finite models: distortion never falls and rate never rises with β")


def _exchange_algebra(formulas: Formulas) -> Outcome:
    """Adding the two optimality conditions leaves (β₂ − β₁)(R₁ − R₂) ≥ 0; then D₁ ≤ D₂ from the first."""
    d1, d2, r1, r2, low, step = sp.symbols("d1 d2 r1 r2 beta1 step")
    first = (d2 + low * r2) - (d1 + low * r1)  # ≥ 0: optimum 1 at β₁
    second = (d1 + (low + step) * r1) - (d2 + (low + step) * r2)  # ≥ 0: optimum 2 at β₂ = β₁ + step
    if not vanishes(first + second - step * (r1 - r2)) or not vanishes(first - ((d2 - d1) - low * (r1 - r2))):
        return Outcome("unsettled", "the optimality conditions do not add up")
    return Outcome(
        "bound", "optimality at β₁ and β₂ adds to (β₂ − β₁)(R₁ − R₂) ≥ 0, and then D₂ − D₁ ≥ β₁(R₁ − R₂) ≥ 0"
    )


def _monotone(name: str, sign: int) -> Check:
    """The derivative in β of a quantity at the optimum keeps one sign: all its coefficients have it."""

    def run(formulas: Formulas) -> Outcome:
        width = sp.Symbol("w", positive=True)
        slope = sp.together(sp.diff(formulas[name].subs(w, width), beta))
        numerator, denominator = (
            sp.Poly(sp.expand(part), beta, width, s) for part in sp.fraction(sp.factor(slope))
        )
        signs = {sp.sign(c) for part in (numerator, denominator) for c in part.coeffs()}
        total = [sp.sign(c) for c in numerator.coeffs()]
        one_sided = set(total) == {sp.Integer(sign)} and {sp.sign(c) for c in denominator.coeffs()} == {
            sp.Integer(1)
        }
        text = f"∂/∂β of the {name} at the optimum is {sp.sstr(sp.factor(slope))}"
        return (
            Outcome("bound", text) if one_sided else Outcome("false", f"{text}, with signs {sorted(signs)}")
        )

    return Check("algebra", run)


def _limits(formulas: Formulas) -> Outcome:
    loc, var = sp.limit(formulas["loc map"], beta, 0), sp.limit(formulas["variance"], beta, 0)
    rate = sp.limit(-HALF * sp.log(formulas["variance"]), beta, 0, "+")
    text = f"β → 0: loc map → {loc}, σ² → {var}, −½ log σ² → {rate}"
    if vanishes(loc - 1 / w) and var == 0 and rate == sp.oo:
        return Outcome(
            "holds under conditions", text + "; the rate diverges, an autoencoder's has no meaning"
        )
    return Outcome("false", text)


def _order_of_approach(formulas: Formulas) -> Outcome:
    at = {"w": 0.8, "s": 0.5}
    errors = [
        abs(float(evaluate(formulas["loc map"], {**at, "beta": t})) - 1 / at["w"]) for t in (1e-1, 1e-2, 1e-3)
    ]
    text = "distance to the inverse map at β = 0.1, 0.01, 0.001: " + ", ".join(f"{e:.3g}" for e in errors)
    if errors[0] < 1e-9:
        return Outcome("identity", text)
    shrinks = 8 < errors[1] / max(errors[2], 1e-300) < 12
    return Outcome(
        "holds under conditions" if shrinks else "false", text, "beta = 0.1: not an autoencoder yet"
    )


CLAIMS = (
    Claim(
        id="C2",
        name="small-kl-matters-little",
        statement="A KL that is small beside the reconstruction matters little: the share of the "
        "gradient is the share "
        "of the value.",
        latex=r"\frac{\left| \partial_\sigma \mathrm{KL} \right|}{\left| \partial_\sigma"
        r" \mathrm{distortion} \right|}"
        r" = \frac{\mathrm{KL}}{\mathrm{distortion}}",
        met_in="Reading training logs; here at the optimum of the scalar model with D pixels' worth of "
        "constant.",
        source=DISCUSSION["C"],
        registered="false",
        correction=r"\frac{\left| \partial_\sigma \mathrm{KL} \right|}"
        r"{\left| \partial_\sigma \mathrm{distortion} \right|} = 1 \quad \mathrm{at\ the\ optimum}",
        formulas={"gradient ratio": GRADIENT_RATIO, "value ratio": VALUE_RATIO},
        checks=(
            anchored(
                "gradient ratio",
                _gradient_ratio,
                [{k: p[k] for k in ("w", "s")} for p in RATIO_POINTS],
                rtol=1e-4,
                against="differences of quadratures",
            ),
            anchored("value ratio", _value_ratio, RATIO_POINTS, against="quadrature"),
            equality_by_algebra("gradient ratio", "value ratio"),
            equality_by_search(
                "gradient ratio", "value ratio", {"w": (0.3, 2), "s": (0.3, 2), "D": (1, 100)}
            ),
        ),
    ),
    Claim(
        id="C3a",
        name="distortion-falls-with-beta",
        statement="At the optimum, the distortion does not increase as β falls (any model: exchange the "
        "optima of two β; "
        "here also in closed form).",
        latex=r"\beta_1 \le \beta_2 \;\Rightarrow\; \mathrm{distortion}(\beta_1) \le"
        r" \mathrm{distortion}(\beta_2)",
        met_in="Better reconstructions from a smaller KL weight.",
        source=DISCUSSION["C"],
        registered="bound",
        also=("D9",),
        formulas={"error": ERROR, "error at larger": ERROR.subs(beta, beta + 1)},
        checks=(
            anchored("error", _error_at_optimum, MODEL_POINTS, rtol=1e-5, against="a numerical optimiser"),
            anchored(
                "error at larger",
                lambda beta, w, s: _error_at_optimum(beta + 1, w, s),
                MODEL_POINTS,
                rtol=1e-5,
                against="a numerical optimiser",
            ),
            _monotone("error", 1),
            Check("algebra", _exchange_algebra),
            Check("search", _exchange),
            bound_by_search("error", "error at larger", MODEL),
        ),
    ),
    Claim(
        id="C3b",
        name="smaller-weight-better-pictures",
        statement="Scaling the KL by 0.1 gives better reconstructions of held-out images.",
        latex=r"\mathrm{distortion}_{\beta = 0.1} < \mathrm{distortion}_{\beta = 1}"
        r" \quad \mathrm{on\ held\ out\ data}",
        met_in="Blurry reconstructions.",
        source=DISCUSSION["C"],
        registered="measured",
        measured_by="kl_scale",
        measured="supported",
    ),
    Claim(
        id="C5a",
        name="gradient-scaled-by-beta",
        statement="For gradient descent, −(E‖x − x̂‖²/(2s²) + β KL) has β times the gradient of the ELBO "
        "with decoder variance "
        "βs²: the same stationary points, for SGD another step size.",
        latex=r"\frac{\partial}{\partial \sigma} \left[ \mathbb{E}_q \log p_{s^2}(x \mid z) - \beta \,"
        r" \mathrm{KL} \right] ="
        r" \beta \, \frac{\partial}{\partial \sigma} \mathcal{L}_{\beta s^2}",
        met_in="Learning rates carried from one β to another.",
        source=DISCUSSION["C"],
        registered="identity",
        formulas={
            "slope": sp.diff(EXPECTED_LOG_LIKELIHOOD - beta * KL, sigma),
            "beta times slope": beta * sp.diff(ELBO.subs(s, sp.sqrt(beta) * s), sigma),
        },
        checks=(
            anchored(
                "slope",
                lambda **at: oracles.slope(beta_elbo, "sigma", **at),
                WITH_BETA,
                rtol=1e-5,
                against="differences of quadratures",
            ),
            anchored(
                "beta times slope",
                lambda **at: oracles.slope(elbo_at_variance, "sigma", **at),
                WITH_BETA,
                rtol=1e-5,
                against="differences of quadratures",
            ),
            equality_by_algebra("slope", "beta times slope"),
            equality_by_search("slope", "beta times slope", BETA_BOX),
        ),
    ),
    Claim(
        id="C5b",
        name="adam-follows-nearly-the-same-path",
        statement="With Adam the two take nearly the same path.",
        latex=r"\| \theta_t^{(\beta)} - \theta_t^{(\beta s^2)} \| \quad \mathrm{along\ training}",
        met_in="Optimisers that divide by the gradient's size.",
        source=DISCUSSION["C"],
        registered="measured",
        measured_by="kl_scale",
        measured="supported",
    ),
    Claim(
        id="C6",
        name="rate-rises-as-beta-falls",
        statement="Caring more for reconstruction than for a smooth latent space means, exactly: a "
        "smaller assumed noise, "
        "and at the optimum a higher rate.",
        latex=r"\beta_1 \le \beta_2 \;\Rightarrow\; \mathrm{rate}(\beta_1) \ge \mathrm{rate}(\beta_2)",
        met_in="Choosing β.",
        source=DISCUSSION["C"],
        registered="bound",
        formulas={"rate": RATE, "rate at larger": RATE.subs(beta, beta + 1)},
        checks=(
            anchored("rate", _rate_at_optimum, MODEL_POINTS, rtol=1e-5, against="a numerical optimiser"),
            anchored(
                "rate at larger",
                lambda beta, w, s: _rate_at_optimum(beta + 1, w, s),
                MODEL_POINTS,
                rtol=1e-5,
                against="a numerical optimiser",
            ),
            _monotone("rate", -1),
            Check("algebra", _exchange_algebra),
            Check("search", _exchange),
            bound_by_search("rate at larger", "rate", MODEL),
        ),
    ),
    Claim(
        id="C7",
        name="autoencoder-shows-capacity",
        statement="An autoencoder of the same size reconstructs perfectly, so capacity suffices.",
        latex=r"\mathrm{distortion\ of\ the\ autoencoder} \approx 0",
        met_in="The control experiment for blurry reconstructions.",
        source=DISCUSSION["C"],
        registered="measured",
        measured_by="kl_scale",
        measured="supported",
    ),
    Claim(
        id="C14",
        name="small-beta-approaches-autoencoder",
        statement="Decreasing the KL weight approaches an autoencoder.",
        latex=r"\beta \to 0: \quad \frac{w}{w^2 + \beta s^2} \to \frac{1}{w}, \quad"
        r" \sigma^2 = \frac{\beta s^2}{w^2 + \beta s^2} \to 0",
        met_in="Lowering β step by step.",
        source=DISCUSSION["C"],
        registered="holds under conditions",
        conditions=r"in the limit $\beta \to 0$: σ falls as $\sqrt{\beta}$ and the rate grows as"
        r" $-\frac{1}{2} \log \beta$ without bound on the way",
        formulas={"loc map": LOC_MAP, "variance": VARIANCE},
        checks=(
            anchored(
                "loc map",
                lambda beta, w, s: beta_optimum(beta, w, s)[0],
                MODEL_POINTS,
                rtol=1e-5,
                against="a numerical optimiser",
            ),
            anchored(
                "variance",
                lambda beta, w, s: beta_optimum(beta, w, s)[1] ** 2,
                MODEL_POINTS,
                rtol=1e-5,
                against="a numerical optimiser",
            ),
            Check("algebra", _limits),
            Check("search", _order_of_approach),
        ),
    ),
    Claim(
        id="C15",
        name="more-latents-deregularise",
        statement="More latent dimensions de-regularise too.",
        latex=r"\mathrm{distortion}(J_1) > \mathrm{distortion}(J_2) \quad \mathrm{for}\ J_1 < J_2",
        met_in="Widening the bottleneck instead of lowering β.",
        source=DISCUSSION["C"],
        registered="measured",
        measured_by="kl_scale",
        measured="holds under conditions",
    ),
)
