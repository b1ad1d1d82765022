"""What a squared error, a mean over pixels, a norm stand for: the likelihoods behind common losses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import sympy as sp
from scipy import stats

from vaeaudit.derivations import oracles
from vaeaudit.derivations.checks import anchored, equality_by_algebra, equality_by_search, vanishes
from vaeaudit.derivations.claim import Check, Claim, Formulas, Outcome
from vaeaudit.derivations.decoder_scale import (
    NO_SCALE,
    NO_SCALE_BOX,
    SQUARED_ERROR,
    same_differences,
    same_gradients,
    squared_error,
)
from vaeaudit.derivations.elbo_identities import DISCUSSION
from vaeaudit.derivations.linear_gaussian import BOX, POINTS
from vaeaudit.derivations.symbols import ELBO, HALF, KL, b, beta, mu, s, sigma, w, x

_RESIDUALS = ({"x": 0.5, "b": -0.2}, {"x": -1.0, "b": 0.7})
_BETA_NO_SCALE = tuple({**p, "beta": t} for p, t in zip(NO_SCALE, (0.1, 0.5, 4.0), strict=True))
_SPHERE = (
    2 * sp.pi ** (sp.Symbol("D", positive=True) / 2) / sp.gamma(sp.Symbol("D", positive=True) / 2)
)  # surface
PIXELS, KL_WEIGHT = sp.symbols("D k", positive=True)  # k: weight of the summed KL


def _implied_variance(D: float, k: float) -> float:
    """s² at which −ELBO weighs error against KL as (1/D)·‖x − x̂‖² + k·KL does, from numerical slopes."""
    h, at = 1e-4, {"mu": 0.4, "sigma": 0.8, "x": 1.0, "w": 0.7, "b": 0.1}

    def slope(function: Callable[..., float], **where: float) -> float:
        return (function(**{**where, "mu": 0.4 + h}) - function(**{**where, "mu": 0.4 - h})) / (2 * h)

    error = slope(squared_error, **at) / D
    kl = k * slope(oracles.kl_to_prior, mu=0.4, sigma=0.8)
    unit = slope(oracles.expected_log_likelihood, **at, s=1.0)  # scales as 1/s²
    return -unit / slope(oracles.kl_to_prior, mu=0.4, sigma=0.8) * kl / error


def _norm_normaliser(D: float) -> float:
    """∫ exp(−‖x‖) dx in one or two dimensions, on Cartesian axes."""
    if D == 1.0:
        return 2 * oracles.integral(lambda t: float(np.exp(-t)), 0.0, 50.0)
    return 4 * oracles.integral(
        lambda u: oracles.integral(lambda t: float(np.exp(-np.hypot(t, u))), 0.0, 45.0), 0.0, 45.0
    )


def _gradients_given_half(formulas: Formulas) -> Outcome:
    difference = formulas["loss"] - formulas["minus elbo"]
    slopes = [sp.diff(difference, t) for t in (mu, sigma, w, b)]
    if all(vanishes(t) for t in slopes):
        return Outcome("identity", "equal gradients at every s")
    if all(vanishes(t.subs(s, sp.sqrt(HALF))) for t in slopes):
        return Outcome("holds under conditions", "equal gradients given s² = 1/2, not at large")
    return Outcome("false", "the gradients differ at s² = 1/2 as well")


def _moves_given_half(formulas: Formulas) -> Outcome:
    moved = ("mu", "sigma", "w", "b")
    found = {}
    for name, low, high in (("s² = 1/2", 0.5**0.5, 0.5**0.5), ("other s", 0.75, 2.0)):
        check = same_differences("loss", "minus elbo", {**BOX, "s": (low, high)}, moved)
        found[name] = check.run(formulas)
    if found["s² = 1/2"].verdict != "identity":
        return Outcome("false", f"at s² = 1/2: {found['s² = 1/2'].evidence}")
    other = found["other s"]
    return Outcome(
        "identity" if other.verdict == "identity" else "holds under conditions",
        f"at s² = 1/2 {found['s² = 1/2'].evidence}; at other s {other.evidence}",
        other.counterexample,
    )


CLAIMS = (
    Claim(
        id="B1a",
        name="mean-of-reconstruction-and-kl",
        statement="Loss = mean of reconstruction and KL, both minimised: the negative ELBO up to scale "
        "and constant, "
        "if each is a sum over pixels and latents.",
        latex=r"\frac{1}{2} \left( \| x - \hat{x} \|^2 + \mathrm{KL}(q \| p) \right) = -\frac{1}{2}"
        r" \mathcal{L}_{s^2 = 1/2}"
        r" + \mathrm{const}",
        met_in="Keras-style losses that average their parts.",
        source=DISCUSSION["B"],
        registered="identity",
        formulas={
            "loss": HALF * (SQUARED_ERROR + KL),
            "minus half elbo": -HALF * ELBO.subs(s, sp.sqrt(HALF)),
        },
        checks=(
            anchored(
                "loss",
                lambda **at: 0.5 * (squared_error(**at) + oracles.kl_to_prior(at["mu"], at["sigma"])),
                NO_SCALE,
                against="quadrature",
            ),
            anchored(
                "minus half elbo",
                lambda **at: -0.5 * oracles.elbo(**at, s=0.5**0.5),
                NO_SCALE,
                against="quadrature",
            ),
            same_gradients("loss", "minus half elbo", (mu, sigma, w, b)),
            same_differences("loss", "minus half elbo", NO_SCALE_BOX, ("mu", "sigma", "w", "b")),
        ),
    ),
    Claim(
        id="B1b",
        name="mean-over-pixels-changes-nothing",
        statement="Averaging the squared error over D pixels against a summed KL of weight k only "
        "changes the scale: the "
        "decoder variance stays ½.",
        latex=r"s^2 = \frac{1}{2}",
        met_in="mean_squared_error beside a summed KL.",
        source=DISCUSSION["B"],
        registered="holds under conditions",
        conditions=r"$D k = 1$; in general the implied variance is $s^2 = \frac{D k}{2}$",
        correction=r"s^2 = \frac{D k}{2}",
        also=("M11c",),
        formulas={"implied variance": PIXELS * KL_WEIGHT / 2, "half": HALF},
        checks=(
            anchored("half", lambda **at: 0.5, [{}]),
            anchored(
                "implied variance",
                _implied_variance,
                [{"D": 64.0, "k": 1.0}, {"D": 784.0, "k": 0.1}],
                rtol=1e-6,
                against="ratios of numerical slopes",
            ),
            equality_by_algebra("implied variance", "half", given={KL_WEIGHT: 1 / PIXELS}),
            equality_by_search(
                "implied variance",
                "half",
                {"D": (1, 1000), "k": (0.001, 2)},
                condition=lambda f, at: np.abs(at["D"] * at["k"] - 1) < 1e-9,
            ),
        ),
    ),
    Claim(
        id="C13a",
        name="norm-without-square",
        statement="Maximising −‖x − x̂‖ − KL, the norm without its square, is the same objective up to "
        "scale and constant.",
        latex=r"-\| x - \hat{x} \| = -\frac{1}{2} \| x - \hat{x} \|^2 + \mathrm{const}",
        met_in="A formula in discussion C.",
        source=DISCUSSION["C"],
        registered="false",
        correction=r"-\| x - \hat{x} \| = \log p(x \mid z) + \log 2 \quad"
        r" \mathrm{of\ a\ Laplace\ decoder}\ (D = 1)",
        formulas={"norm": -sp.Abs(x - b), "half square": -HALF * (x - b) ** 2},
        checks=(
            anchored(
                "norm", lambda x, b: -float(np.linalg.norm([x - b])), _RESIDUALS, against="numpy's norm"
            ),
            anchored(
                "half square",
                lambda x, b: stats.norm.logpdf(x, b) + 0.5 * np.log(2 * np.pi),
                _RESIDUALS,
                against="scipy's normal density",
            ),
            same_gradients("norm", "half square", (b,)),
            same_differences("norm", "half square", {"x": (-2, 2), "b": (-2, 2)}, ("b",)),
        ),
    ),
    Claim(
        id="C13b",
        name="norm-is-another-likelihood",
        statement="The norm without the square belongs to a likelihood of its own, with density "
        "proportional to exp(−‖x − x̂‖) "
        "in D dimensions.",
        latex=r"\int \exp(-\| x \|) \, dx = \frac{2 \pi^{D/2} \Gamma(D)}{\Gamma(D/2)}",
        met_in="Norm losses (torch.norm) used as a reconstruction term.",
        source="derived here",
        registered="identity",
        formulas={
            "normaliser": 2 * sp.pi ** (PIXELS / 2) * sp.gamma(PIXELS) / sp.gamma(PIXELS / 2),
            "by polar coordinates": _SPHERE * sp.gamma(PIXELS),
        },
        checks=(
            anchored(
                "normaliser",
                _norm_normaliser,
                [{"D": 1.0}, {"D": 2.0}],
                rtol=1e-6,
                against="quadrature on a grid",
            ),
            anchored(
                "by polar coordinates",
                _norm_normaliser,
                [{"D": 1.0}, {"D": 2.0}],
                rtol=1e-6,
                against="quadrature on a grid",
            ),
            equality_by_algebra("normaliser", "by polar coordinates"),
            equality_by_search("normaliser", "by polar coordinates", {"D": (1, 20)}),
        ),
    ),
    Claim(
        id="D6",
        name="beta-vae-as-loss",
        statement="The β-VAE objective E‖x − x̂‖² + β KL is right as something to minimise: β times the "
        "negative ELBO of a "
        "decoder with variance β/2, up to a constant.",
        latex=r"\mathbb{E}_q \| x - \hat{x} \|^2 + \beta \, \mathrm{KL}(q \| p) = -\beta \,"
        r" \mathcal{L}_{s^2 = \beta/2}"
        r" + \mathrm{const}",
        met_in="β-VAE code. It contradicts the sign of the formula judged in D2.",
        source=DISCUSSION["D"],
        registered="identity",
        formulas={"loss": SQUARED_ERROR + beta * KL, "rescaled": -beta * ELBO.subs(s, sp.sqrt(beta / 2))},
        checks=(
            anchored(
                "loss",
                lambda beta, **at: squared_error(**at) + beta * oracles.kl_to_prior(at["mu"], at["sigma"]),
                _BETA_NO_SCALE,
                against="quadrature",
            ),
            anchored(
                "rescaled",
                lambda beta, **at: -beta * oracles.elbo(**at, s=(beta / 2) ** 0.5),
                _BETA_NO_SCALE,
                against="quadrature",
            ),
            same_gradients("loss", "rescaled", (mu, sigma, w, b)),
            same_differences(
                "loss", "rescaled", {**NO_SCALE_BOX, "beta": (0.05, 4)}, ("mu", "sigma", "w", "b")
            ),
        ),
    ),
    Claim(
        id="D7",
        name="beta-one-is-the-vae",
        statement="β = 1 in E‖x − x̂‖² + β KL gives the standard VAE of the decoder at hand (variance s²).",
        latex=r"\mathbb{E}_q \| x - \hat{x} \|^2 + \mathrm{KL}(q \| p) = -\mathcal{L}_{s^2} +"
        r" \mathrm{const}",
        met_in="Papers that call their β = 1 baseline 'the VAE'.",
        source=DISCUSSION["D"],
        registered="holds under conditions",
        conditions=r"the reconstruction is a normalised negative log-likelihood: $s^2 = \frac{1}{2}$ here",
        formulas={"loss": SQUARED_ERROR + KL, "minus elbo": -ELBO},
        checks=(
            anchored(
                "loss",
                lambda **at: squared_error(**at) + oracles.kl_to_prior(at["mu"], at["sigma"]),
                NO_SCALE,
                against="quadrature",
            ),
            anchored("minus elbo", lambda **at: -oracles.elbo(**at), POINTS, against="quadrature"),
            Check("algebra", _gradients_given_half),
            Check("search", _moves_given_half),
        ),
    ),
)
