"""Regularisers read as priors: on weights, on an intermediate output."""

from __future__ import annotations

import numpy as np
import sympy as sp
from scipy import stats

from vaeaudit.derivations import oracles
from vaeaudit.derivations.checks import anchored, equality_by_algebra, equality_by_search
from vaeaudit.derivations.claim import Claim
from vaeaudit.derivations.elbo_identities import DISCUSSION
from vaeaudit.derivations.kl_and_penalty import BOX as LOC_SCALE_BOX
from vaeaudit.derivations.kl_and_penalty import POINTS as LOC_SCALE
from vaeaudit.derivations.symbols import ENTROPY, EXPECTED_LOG_PRIOR, HALF, KL, lam, mu, sigma

nll = sp.Symbol("R", real=True)
theta = sp.Symbol("theta", real=True)
PENALISED = ({"R": 1.2, "lambda": 0.3, "theta": 0.5}, {"R": -0.4, "lambda": 2.0, "theta": -1.5})


def _penalised(R: float, theta: float, **at: float) -> float:
    prior = stats.norm(0, (2 * at["lambda"]) ** -0.5)
    return float(R - prior.logpdf(theta) + 0.5 * np.log(at["lambda"] / np.pi))


CLAIMS = (
    Claim(
        id="D4",
        name="regulariser-is-map",
        statement="R + λΩ(θ) is MAP estimation with prior ∝ exp(−λΩ), when R is a negative "
        "log-likelihood; here Ω = θ².",
        latex=r"R(\theta) + \lambda \theta^2 = -\log p(x \mid \theta) - \log p(\theta) + \frac{1}{2}"
        r" \log \frac{\lambda}{\pi}",
        met_in="Reading regularisation as a prior.",
        source=DISCUSSION["D"],
        registered="identity",
        formulas={
            "penalised": nll + lam * theta**2,
            "minus log posterior": nll
            - (HALF * sp.log(lam / sp.pi) - lam * theta**2)
            + HALF * sp.log(lam / sp.pi),
        },
        checks=(
            anchored("penalised", _penalised, PENALISED, against="scipy's normal density"),
            anchored("minus log posterior", _penalised, PENALISED, against="scipy's normal density"),
            equality_by_algebra("penalised", "minus log posterior"),
            equality_by_search(
                "penalised", "minus log posterior", {"R": (-3, 3), "lambda": (0.05, 3), "theta": (-2, 2)}
            ),
        ),
    ),
    Claim(
        id="D5a",
        name="kl-is-cross-entropy-minus-entropy",
        statement="The KL is the cross-entropy of q with the prior minus the entropy of q.",
        latex=r"\mathrm{KL}(q \| p) = \mathbb{E}_q[-\log p(z)] - H(q)",
        met_in="Reading the KL as a prior on z.",
        source=DISCUSSION["D"],
        registered="identity",
        formulas={"kl": KL, "cross-entropy minus entropy": -EXPECTED_LOG_PRIOR - ENTROPY},
        checks=(
            anchored("kl", oracles.kl_to_prior, LOC_SCALE, against="quadrature"),
            anchored(
                "cross-entropy minus entropy",
                lambda mu, sigma: (
                    oracles.expectation(lambda z: -stats.norm.logpdf(z), mu, sigma)
                    - float(stats.norm(mu, sigma).entropy())
                ),
                LOC_SCALE,
                against="scipy's entropy",
            ),
            equality_by_algebra("kl", "cross-entropy minus entropy"),
            equality_by_search("kl", "cross-entropy minus entropy", LOC_SCALE_BOX),
        ),
    ),
    Claim(
        id="D5b",
        name="kl-is-a-prior-on-the-code",
        statement="The prior may sit on an intermediate output: the KL acts as the prior term of MAP on "
        "z, ½E z² up to a "
        "constant.",
        latex=r"\mathrm{KL}(q \| p) = \frac{1}{2} \mathbb{E}_q z^2 - \frac{1}{2}",
        met_in="Regularised autoencoders called VAEs.",
        source=DISCUSSION["D"],
        registered="holds under conditions",
        conditions=r"$\sigma = 1$ (a constant entropy); in general the entropy $\log \sigma$ is the"
        r" difference",
        correction=r"\mathrm{KL}(q \| p) = \frac{1}{2} \mathbb{E}_q z^2 - \frac{1}{2} - \log \sigma",
        formulas={"kl": KL, "map term": HALF * (mu**2 + sigma**2) - HALF},
        checks=(
            anchored("kl", oracles.kl_to_prior, LOC_SCALE, against="quadrature"),
            anchored(
                "map term",
                lambda mu, sigma: oracles.expectation(lambda z: 0.5 * z * z - 0.5, mu, sigma),
                LOC_SCALE,
                against="quadrature",
            ),
            equality_by_algebra("kl", "map term", given={sigma: 1}),
            equality_by_search(
                "kl",
                "map term",
                LOC_SCALE_BOX,
                condition=lambda f, at: np.abs(at["sigma"] - 1) < 1e-9,
                exact=True,
            ),
        ),
    ),
    Claim(
        id="D8",
        name="large-beta-disentangles",
        statement="β > 1 encourages disentangled latents.",
        latex=r"\beta > 1 \;\Rightarrow\; \mathrm{disentanglement\ rises}",
        met_in="β-VAE papers.",
        source=DISCUSSION["D"],
        registered="measured",
        measured_by="aggregate_posterior",
        measured="holds under conditions",
    ),
)
