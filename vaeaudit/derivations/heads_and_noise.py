"""L2 on weights, the parameterisation of the scale, and noise shared across a batch."""

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
from vaeaudit.derivations.claim import Check, Claim, Formulas, Outcome, Verdict
from vaeaudit.derivations.elbo_identities import DISCUSSION
from vaeaudit.derivations.linear_gaussian import BOX, POINTS
from vaeaudit.derivations.symbols import ELBO, HALF, LOG_2PI, LOG_EVIDENCE, eps, gaussian_mean, lam, sigma

h = sp.Symbol("h", real=True)  # a head's weight
m, r = sp.symbols("m r", real=True)  # outputs of the loc and log-scale heads at full weight
t = sp.Symbol("t", nonnegative=True)  # factor by which the heads have shrunk
WITH_HEAD = tuple(
    {**p, "h": v, "lambda": k} for p, v, k in zip(POINTS, (0.5, -2.0, 1.0), (0.1, 1.0, 3.0), strict=True)
)
SHRUNK_KL = HALF * (t**2 * m**2 + sp.exp(2 * t * r) - 1 - 2 * t * r)
SHRUNK = ({"t": 0.5, "m": 1.0, "r": -0.7}, {"t": 0.9, "m": -0.4, "r": 0.8}, {"t": 0.0, "m": 2.0, "r": 1.0})

# gradient of datum i in one parameter: bᵢε + cᵢε² (a constant does not matter)
b1, b2, c1, c2 = sp.symbols("b1 b2 c1 c2", real=True)
size = sp.Symbol("B", positive=True)
rho, var = sp.symbols("rho v", positive=True)
SHARED = (
    gaussian_mean(((b1 + b2) / 2 * eps + (c1 + c2) / 2 * eps**2) ** 2)
    - gaussian_mean((c1 + c2) / 2 * eps**2) ** 2
)
SEPARATE = (b1**2 + b2**2 + 2 * c1**2 + 2 * c2**2) / 4  # one ε each, a batch of two
GRADIENTS = {"b1": (-2.0, 2.0), "b2": (-2.0, 2.0), "c1": (-1.0, 1.0), "c2": (-1.0, 1.0)}
GRADIENT_POINTS = (
    {"b1": 1.0, "b2": 0.5, "c1": 0.2, "c2": -0.4},
    {"b1": -1.2, "b2": 0.3, "c1": 0.7, "c2": 0.1},
)
SHARED_NOISE = var * (rho + (1 - rho) / size)  # B data whose gradient noises have correlation ρ
INDEPENDENT_NOISE = var / size


def _penalised_stays_below(formulas: Formulas) -> Outcome:
    cost = formulas["elbo"] - formulas["penalised elbo"]
    # whatever the encoder's weights give, the value below is an ELBO minus a square
    if not vanishes(cost - lam * h**2) or any(sp.diff(formulas["elbo"], v) != 0 for v in (h, lam)):
        return Outcome("unsettled", "the penalised objective is not the ELBO − λh²")
    return Outcome(
        "bound", "ELBO − penalised = λh² ≥ 0, and the ELBO as a function of (μ, σ) does not contain h"
    )


def _slope_in_shrinkage(formulas: Formulas) -> Outcome:
    slope = sp.diff(formulas["kl"], t)
    if not vanishes(slope - (t * m**2 + r * (sp.exp(2 * t * r) - 1))) or formulas["kl"].subs(t, 0) != 0:
        return Outcome("unsettled", "∂KL/∂t is not tm² + r(e²ᵗʳ − 1) with KL = 0 at t = 0")
    return Outcome(
        "bound", "∂KL/∂t = tm² + r(e²ᵗʳ − 1) ≥ 0 for t ≥ 0, and KL = 0 at t = 0: shrinking is collapsing"
    )


def _simulated_variance(shared: bool, num: int = 400_000, **at: float) -> float:
    """Variance of the mean gradient of two data, ε drawn once or per datum, by Gauss–Hermite on each axis."""
    nodes, weights = oracles.NODES, oracles.WEIGHTS
    first = at["b1"] * nodes + at["c1"] * nodes**2
    second = at["b2"] * nodes + at["c2"] * nodes**2
    if shared:
        value = (first + second) / 2
        return float(weights @ value**2 - (weights @ value) ** 2)
    value = (first[:, None] + second[None, :]) / 2
    return float(weights @ value**2 @ weights - (weights @ value @ weights) ** 2)


def _sum_variance(v: float, rho: float, B: float) -> float:
    cov = v * (rho * np.ones((int(B), int(B))) + (1 - rho) * np.eye(int(B)))
    return float(np.ones(int(B)) @ cov @ np.ones(int(B))) / B**2


def _slope_of_noise(formulas: Formulas) -> Outcome:
    sizes = np.array([4.0, 16.0, 64.0, 256.0, 1024.0])
    at = {"B": sizes, "v": np.ones(5), "rho": np.full(5, 0.4)}
    slopes = {
        n: float(np.polyfit(np.log(sizes), np.log(evaluate(formulas[n], at) * np.ones(5)), 1)[0])
        for n in ("shared", "independent")
    }
    text = "log–log slope in the batch size: " + ", ".join(f"{n} {v:.3f}" for n, v in slopes.items())
    if abs(slopes["independent"] + 1) > 1e-6:
        return Outcome("unsettled", text)
    floor = float(evaluate(formulas["shared"], {"B": 1e12, "v": 1.0, "rho": 0.4}))
    found: Verdict = (
        "holds under conditions" if abs(floor - 0.4) < 1e-9 else "identity" if floor < 1e-9 else "false"
    )
    return Outcome(
        found, f"{text}; the shared noise keeps {floor:.2f} of its variance", "B = 2: v(1 + ρ)/2, not v/2"
    )


CLAIMS = (
    Claim(
        id="B2a",
        name="l2-on-heads-keeps-the-bound",
        statement="L2 on the two heads adds a constraint on the encoder's weights beside the KL's; every "
        "value stays a lower "
        "bound on log p(x).",
        latex=r"\mathcal{L} - \lambda h^2 \le \log p(x)",
        met_in="kernel_regularizer on the layers of μ and log σ².",
        source=DISCUSSION["B"],
        registered="bound",
        also=("M13a",),
        formulas={"penalised elbo": ELBO - lam * h**2, "elbo": ELBO, "log evidence": LOG_EVIDENCE},
        checks=(
            anchored(
                "penalised elbo",
                lambda h, **at: (
                    oracles.elbo(**{k: v for k, v in at.items() if k != "lambda"}) - at["lambda"] * h * h
                ),
                WITH_HEAD,
                against="quadrature",
            ),
            anchored("elbo", oracles.elbo, POINTS, against="quadrature"),
            anchored(
                "log evidence",
                oracles.log_evidence,
                [{k: p[k] for k in ("x", "w", "b", "s")} for p in POINTS],
                against="quadrature",
            ),
            Check("algebra", _penalised_stays_below),
            bound_by_search("penalised elbo", "log evidence", {**BOX, "h": (-2, 2), "lambda": (0.01, 3)}),
        ),
    ),
    Claim(
        id="B2b",
        name="l2-on-heads-pulls-to-collapse",
        statement="Shrinking both heads by a common factor t (their biases included, or zero) moves "
        "every q towards the "
        "prior: the direction of collapse.",
        latex=r"\mathrm{KL}(t) = \frac{1}{2} \left( t^2 m^2 + e^{2 t r} - 1 - 2 t r \right) \le"
        r" \mathrm{KL}(1), \quad"
        r" 0 \le t \le 1",
        met_in="L2 on the heads as 'mild regularisation'. With unpenalised biases q shrinks to N(bias, "
        "·) instead.",
        source=DISCUSSION["B"],
        registered="bound",
        formulas={"kl": SHRUNK_KL, "kl at full weight": SHRUNK_KL.subs(t, 1)},
        checks=(
            anchored(
                "kl",
                lambda t, m, r: oracles.kl_to_prior(t * m, float(np.exp(t * r))),
                SHRUNK,
                against="quadrature",
            ),
            anchored(
                "kl at full weight",
                lambda m, r: oracles.kl_to_prior(m, float(np.exp(r))),
                [{k: p[k] for k in ("m", "r")} for p in SHRUNK],
                against="quadrature",
            ),
            Check("algebra", _slope_in_shrinkage),
            bound_by_search("kl", "kl at full weight", {"t": (0.0, 1.0), "m": (-2, 2), "r": (-2, 2)}),
        ),
    ),
    Claim(
        id="B3a",
        name="shared-noise-is-unbiased",
        statement="One ε per batch is fine for the mean: the gradient stays unbiased.",
        latex=r"\mathbb{E}_\varepsilon \frac{1}{2} \sum_i g_i(\varepsilon) = \frac{1}{2} \sum_i"
        r" \mathbb{E}_{\varepsilon_i}"
        r" g_i(\varepsilon_i)",
        met_in="Noise drawn in the shape of one latent, broadcast over the batch.",
        source=DISCUSSION["B"],
        registered="identity",
        also=("M14a",),
        formulas={
            "shared mean": gaussian_mean((b1 + b2) / 2 * eps + (c1 + c2) / 2 * eps**2),
            "separate mean": (gaussian_mean(b1 * eps + c1 * eps**2) + gaussian_mean(b2 * eps + c2 * eps**2))
            / 2,
        },
        checks=(
            *(
                anchored(
                    n,
                    lambda **at: oracles.expectation(
                        lambda z: (
                            0.5 * (at["b1"] * z + at["c1"] * z**2) + 0.5 * (at["b2"] * z + at["c2"] * z**2)
                        ),
                        0.0,
                        1.0,
                    ),
                    GRADIENT_POINTS,
                    against="quadrature",
                )
                for n in ("shared mean", "separate mean")
            ),
            equality_by_algebra("shared mean", "separate mean"),
            equality_by_search("shared mean", "separate mean", GRADIENTS),
        ),
    ),
    Claim(
        id="B3b",
        name="shared-noise-costs-nothing",
        statement="And it costs nothing: the batch gradient has the same variance as with one ε per "
        "datum (a batch of two).",
        latex=r"\mathrm{Var}\left[ \frac{g_1(\varepsilon) + g_2(\varepsilon)}{2} \right] ="
        r" \mathrm{Var}\left[ \frac{g_1(\varepsilon_1) + g_2(\varepsilon_2)}{2} \right]",
        met_in="Noise drawn in the shape of one latent, broadcast over the batch.",
        source=DISCUSSION["B"],
        registered="false",
        correction=r"\mathrm{Var}_{\mathrm{shared}} = \mathrm{Var}_{\mathrm{separate}} + \frac{1}{2} b_1"
        r" b_2 + c_1 c_2",
        formulas={"shared": sp.expand(SHARED), "separate": SEPARATE},
        checks=(
            anchored(
                "shared", lambda **at: _simulated_variance(True, **at), GRADIENT_POINTS, against="quadrature"
            ),
            anchored(
                "separate",
                lambda **at: _simulated_variance(False, **at),
                GRADIENT_POINTS,
                against="quadrature on two axes",
            ),
            equality_by_algebra("shared", "separate"),
            equality_by_search("shared", "separate", GRADIENTS),
        ),
    ),
    Claim(
        id="M14",
        name="shared-noise-averages-down",
        statement="The noise of a batch gradient falls as 1/B with shared noise too.",
        latex=r"v \left( \rho + \frac{1 - \rho}{B} \right) = \frac{v}{B}",
        met_in="Larger batches to calm a noisy gradient; ρ is the correlation between data of what one ε "
        "does to them.",
        source="derived here",
        registered="holds under conditions",
        conditions=r"$\rho = 0$, or $B = 1$; otherwise a floor $\rho v$ stays, whatever the batch",
        also=("B3c",),
        formulas={"shared": SHARED_NOISE, "independent": INDEPENDENT_NOISE},
        checks=(
            anchored(
                "shared",
                _sum_variance,
                [{"v": 1.0, "rho": 0.4, "B": 8.0}, {"v": 2.0, "rho": 0.9, "B": 3.0}],
                against="the quadratic form of a covariance matrix",
            ),
            anchored(
                "independent",
                lambda v, B: _sum_variance(v, 0.0, B),
                [{"v": 1.0, "B": 8.0}, {"v": 2.0, "B": 3.0}],
                against="the quadratic form of a covariance matrix",
            ),
            equality_by_algebra("shared", "independent", given={rho: 0}),
            Check("search", _slope_of_noise),
        ),
    ),
    Claim(
        id="B4a",
        name="scale-from-log-variance",
        statement="The standard deviation is exp(½ log σ²).",
        latex=r"\sigma = \exp\left( \frac{1}{2} \log \sigma^2 \right)",
        met_in="Encoders that put out log σ².",
        source=DISCUSSION["B"],
        registered="identity",
        formulas={"scale": sigma, "from log variance": sp.exp(HALF * sp.log(sigma**2), evaluate=False)},
        checks=(
            anchored(
                "scale",
                lambda sigma: stats.norm(0, sigma).std(),
                [{"sigma": 0.3}, {"sigma": 2.0}],
                against="scipy",
            ),
            anchored(
                "from log variance",
                lambda sigma: np.sqrt(stats.norm(0, sigma).var()),
                [{"sigma": 0.3}, {"sigma": 2.0}],
                against="scipy",
            ),
            equality_by_algebra("scale", "from log variance"),
            equality_by_search("scale", "from log variance", {"sigma": (0.01, 4)}),
        ),
    ),
    Claim(
        id="B4b",
        name="scale-without-the-half",
        statement="The standard deviation is exp(log σ²), the classic slip.",
        latex=r"\sigma = \exp\left( \log \sigma^2 \right)",
        met_in="Code that forgets the factor ½.",
        source="derived here",
        registered="holds under conditions",
        conditions=r"$\sigma = 1$ only; otherwise it is the variance",
        correction=r"\sigma = \exp\left( \frac{1}{2} \log \sigma^2 \right)",
        formulas={"scale": sigma, "slip": sp.exp(sp.log(sigma**2), evaluate=False)},
        checks=(
            anchored(
                "scale",
                lambda sigma: stats.norm(0, sigma).std(),
                [{"sigma": 0.3}, {"sigma": 2.0}],
                against="scipy",
            ),
            anchored(
                "slip",
                lambda sigma: stats.norm(0, sigma).var(),
                [{"sigma": 0.3}, {"sigma": 2.0}],
                against="scipy",
            ),
            equality_by_algebra("scale", "slip", given={sigma: 1}),
            equality_by_search(
                "scale",
                "slip",
                {"sigma": (0.01, 4)},
                condition=lambda f, at: np.abs(at["sigma"] - 1) < 1e-9,
                exact=True,
            ),
        ),
    ),
    Claim(
        id="B12",
        name="weight-decay-is-a-prior",
        statement="Weight decay is not the reconstruction error: it controls the weights, as a Gaussian "
        "prior on them does, "
        "whatever the data.",
        latex=r"\lambda h^2 = -\log N\left( h; 0, \frac{1}{2 \lambda} \right) + \frac{1}{2} \log"
        r" \frac{\lambda}{\pi}",
        met_in="L2 on the decoder (MAP) or on any layer.",
        source=DISCUSSION["B"],
        registered="identity",
        also=("M13b",),
        formulas={
            "weight decay": lam * h**2,
            "minus log prior": HALF * (LOG_2PI - sp.log(2 * lam)) + lam * h**2 + HALF * sp.log(lam / sp.pi),
        },
        checks=(
            anchored(
                "weight decay",
                lambda h, **at: (
                    -stats.norm.logpdf(h, 0, (2 * at["lambda"]) ** -0.5) + 0.5 * np.log(at["lambda"] / np.pi)
                ),
                [{"h": 0.7, "lambda": 0.2}, {"h": -2.0, "lambda": 1.5}],
                against="scipy's normal density",
            ),
            anchored("minus log prior", lambda h, **at: at["lambda"] * h * h, [{"h": 0.7, "lambda": 0.2}]),
            equality_by_algebra("weight decay", "minus log prior"),
            equality_by_search("weight decay", "minus log prior", {"h": (-3, 3), "lambda": (0.01, 5)}),
        ),
    ),
)
