"""The ELBO's identities, proved for symbols on a three-state latent space and checked by scipy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp
from scipy import stats

from vaeaudit.derivations import finite
from vaeaudit.derivations.checks import anchored, bound_by_search, equality_by_algebra, equality_by_search
from vaeaudit.derivations.claim import Check, Claim
from vaeaudit.derivations.finite import (
    BOX,
    ELBO,
    ENTROPY_FORM,
    JOINT,
    LOG_EVIDENCE,
    POINTS,
    POSTERIOR,
    L,
    P,
    Q,
    kl,
    mean_log,
    points,
)

DISCUSSION = {
    "A": "discussion A, penalty in place of the KL",
    "B": "discussion B, L2 on the encoder's heads",
    "C": "discussion C, KL scaled by 0.1",
    "D": "discussion D, VAE as regularised autoencoder",
    "E": "discussion E, which sign",
}
PRIOR_SIDE = ("p1", "p2", "l1", "l2", "l3")


def _relation(
    lhs: str, rhs: str, oracle: Callable[..., float], box: dict[str, Any] = BOX
) -> tuple[Check, ...]:
    """Both sides against scipy, their difference in sympy, a seeded search."""
    names = tuple(box)
    return (
        anchored(lhs, lambda **at: oracle(**at), points(*names), against="scipy"),
        anchored(rhs, lambda **at: oracle(**at), points(*names), against="scipy"),
        equality_by_algebra(lhs, rhs),
        equality_by_search(lhs, rhs, box),
    )


def identity(
    lhs: str, rhs: str, left: sp.Expr, right: sp.Expr, oracle: Callable[..., float]
) -> dict[str, Any]:
    """Fields of a claim that two expressions on the finite latent space are equal."""
    return {
        "registered": "identity",
        "formulas": {lhs: left, rhs: right},
        "checks": _relation(lhs, rhs, oracle),
    }


def _evidence(**at: float) -> float:
    return finite.oracle_log_evidence(**{n: at[n] for n in PRIOR_SIDE})


def _printed_a7(**at: float) -> float:
    q, p, lik = finite.arrays(**at)
    return float(sum(qi * (np.log(li) - qi / pi) for qi, pi, li in zip(q, p, lik, strict=True)))


def _posterior(**at: float) -> float:
    return finite.oracle_posterior_term(**at)


def _kl_to_prior(**at: float) -> float:
    return finite.oracle_kl_to_prior(**{n: at[n] for n in ("q1", "q2", "p1", "p2")})


def _entropy_against_evidence(**at: float) -> float:
    return finite.oracle_negative_entropy(at["q1"], at["q2"]) - _evidence(**at)


A7 = sum(q * (sp.log(lik) - q / p) for q, p, lik in zip(Q, P, L, strict=True))

CLAIMS = (
    Claim(
        id="A1",
        name="kl-as-regulariser",
        statement="The KL term of the ELBO can be read as a regulariser: the ELBO is minus the sum of "
        "distortion "
        "and rate.",
        latex=r"\mathcal{L} = -\left( \mathrm{distortion} + \mathrm{rate} \right), \quad"
        r" \mathrm{distortion} = -\mathbb{E}_q \log p(x \mid z), \quad \mathrm{rate} = \mathrm{KL}(q \| p)",
        met_in="Loss functions of the form reconstruction + KL.",
        source=DISCUSSION["A"],
        also=("D1",),
        **identity(
            "elbo", "minus (distortion + rate)", ENTROPY_FORM, mean_log(L) - kl(P), finite.oracle_elbo
        ),
    ),
    Claim(
        id="A6",
        name="maximum-likelihood-is-kl-to-data",
        statement="Minimising KL(p_data‖p_θ) is maximising the mean of log p_θ(x): the two differ by the "
        "data's "
        "entropy, which θ does not touch.",
        latex=r"\mathrm{KL}(p_d \| p_\theta) = -H(p_d) - \mathbb{E}_{p_d} \log p_\theta(x)",
        met_in="Every maximum-likelihood argument.",
        source=DISCUSSION["A"],
        registered="identity",
        formulas={"kl": kl(P), "minus entropy minus mean log": mean_log(Q) - mean_log(P)},
        checks=(
            anchored("kl", finite.oracle_kl_to_prior, points("q1", "q2", "p1", "p2"), against="scipy"),
            *_relation(
                "kl",
                "minus entropy minus mean log",
                lambda q1, q2, p1, p2: (
                    -stats.entropy([q1, q2, 1 - q1 - q2])
                    - np.dot([q1, q2, 1 - q1 - q2], np.log([p1, p2, 1 - p1 - p2]))
                ),
                {n: BOX[n] for n in ("q1", "q2", "p1", "p2")},
            ),
        ),
    ),
    Claim(
        id="A7a",
        name="bound-printed-without-log",
        statement="As printed, with q/p in the place of log(q/p), the formula is the ELBO.",
        latex=r"\int p(x) \int q(z \mid x) \left\{ \log p(x \mid z) - \frac{q(z \mid x)}{p(z)} \right\}"
        r" = \mathbb{E}_{p(x)} \mathcal{L}",
        met_in="A derivation in discussion A; a KL coded as a ratio instead of a log ratio.",
        source=DISCUSSION["A"],
        registered="false",
        correction=r"\int p(x) \int q(z \mid x) \left\{ \log p(x \mid z) - \log \frac{q(z \mid x)}{p(z)}"
        r" \right\}",
        also=("M16b",),
        formulas={"printed": A7, "elbo": ELBO},
        checks=(
            anchored("printed", _printed_a7, POINTS, against="the printed sum in numpy"),
            anchored("elbo", finite.oracle_elbo, POINTS, against="scipy"),
            equality_by_algebra("printed", "elbo"),
            equality_by_search("printed", "elbo", BOX),
        ),
    ),
    Claim(
        id="A7b",
        name="bound-with-its-log",
        statement="With the logarithm put back the formula is the ELBO.",
        latex=r"\int q(z \mid x) \left\{ \log p(x \mid z) - \log \frac{q(z \mid x)}{p(z)} \right\} ="
        r" \mathcal{L}",
        met_in="The correction of the printed bound.",
        source=DISCUSSION["A"],
        **identity(
            "corrected",
            "elbo",
            sum(q * (sp.log(lik) - sp.log(q / p)) for q, p, lik in zip(Q, P, L, strict=True)),
            ELBO,
            finite.oracle_elbo,
        ),
    ),
    Claim(
        id="A7c",
        name="printed-bound-is-loose",
        statement="The misprinted formula is still a lower bound on log p(x), by luck: E_q[q/p] ≥ 1 + "
        "KL, so it "
        "stays at least one nat below the ELBO and never touches log p(x).",
        latex=r"\mathbb{E}_q \log p(x \mid z) - \mathbb{E}_q \frac{q(z \mid x)}{p(z)} + 1 \le \mathcal{L}",
        met_in="Why such a slip can train without blowing up.",
        source="derived here",
        registered="bound",
        formulas={"printed plus one": A7 + 1, "elbo": ELBO},
        checks=(
            anchored(
                "printed plus one",
                lambda **at: 1 + _printed_a7(**at),
                POINTS,
                against="the printed sum in numpy",
            ),
            anchored("elbo", finite.oracle_elbo, POINTS, against="scipy"),
            bound_by_search("printed plus one", "elbo", BOX),
        ),
    ),
    Claim(
        id="B7",
        name="bayes-rule",
        statement="The posterior is the joint divided by its integral over z.",
        latex=r"p(z \mid x) = \frac{p(x \mid z) p(z)}{\int p(x \mid z) p(z) \, dz}",
        met_in="The start of every derivation.",
        source=DISCUSSION["B"],
        **identity(
            "log p(z|x)",
            "log joint minus log evidence",
            mean_log(POSTERIOR),
            mean_log(JOINT) - LOG_EVIDENCE,
            _posterior,
        ),
    ),
    Claim(
        id="B8",
        name="kl-to-posterior-expanded",
        statement="The KL from q to the posterior is E_q log q − E_q log p(z, x) + log p(x).",
        latex=r"\mathrm{KL}(q \| p(z \mid x)) = \mathbb{E}_q \log q(z \mid x) - \mathbb{E}_q \log p(z, x)"
        r" + \log p(x)",
        met_in="Derivations of variational inference.",
        source=DISCUSSION["B"],
        **identity(
            "kl to posterior",
            "expanded",
            kl(POSTERIOR),
            mean_log(Q) - mean_log(JOINT) + LOG_EVIDENCE,
            finite.oracle_kl_to_posterior,
        ),
    ),
    Claim(
        id="B9",
        name="log-evidence-rearranged",
        statement="The log evidence is the KL to the posterior minus (E_q log q − E_q log p(z, x)).",
        latex=r"\log p(x) = \mathrm{KL}(q \| p(z \mid x)) - \left( \mathbb{E}_q \log q(z \mid x)"
        r" - \mathbb{E}_q \log p(z, x) \right)",
        met_in="Derivations of variational inference.",
        source=DISCUSSION["B"],
        **identity(
            "log evidence",
            "rearranged",
            LOG_EVIDENCE,
            kl(POSTERIOR) - (mean_log(Q) - mean_log(JOINT)),
            _evidence,
        ),
    ),
    Claim(
        id="B11a",
        name="elbo-through-the-posterior",
        statement="The ELBO is E_q log p(z|x) + log p(x) − E_q log q.",
        latex=r"\mathcal{L} = \mathbb{E}_q \log p(z \mid x) + \mathbb{E}_q \log p(x) - \mathbb{E}_q \log"
        r" q(z \mid x)",
        met_in="A rewriting in discussion B.",
        source=DISCUSSION["B"],
        **identity(
            "elbo",
            "through the posterior",
            ELBO,
            mean_log(POSTERIOR) + LOG_EVIDENCE - mean_log(Q),
            finite.oracle_elbo,
        ),
    ),
    Claim(
        id="B11b",
        name="kl-to-the-evidence-is-a-divergence",
        statement="The last term of the rewriting, KL(q(z|x)‖p(x)), is a KL divergence.",
        latex=r"\mathbb{E}_q \log q(z \mid x) - \log p(x) = \mathrm{KL}(q(z \mid x) \| p(x)) \ge 0",
        met_in="A rewriting in discussion B. Read as a formal sum it completes an identity, but p(x) is "
        "no density "
        "of z: the sum can be negative, and nothing is drawn to anything.",
        source=DISCUSSION["B"],
        registered="false",
        correction=r"\mathcal{L} = \mathbb{E}_q \log p(x \mid z) - \mathrm{KL}(q(z \mid x) \| p(z))",
        also=("M16c",),
        formulas={"printed term": mean_log(Q) - LOG_EVIDENCE, "zero": sp.Integer(0)},
        checks=(
            anchored("zero", lambda **at: 0.0, POINTS[:1]),
            anchored("printed term", _entropy_against_evidence, POINTS, against="scipy"),
            equality_by_algebra("printed term", "zero"),
            bound_by_search("zero", "printed term", BOX),
        ),
    ),
    Claim(
        id="B11c",
        name="posterior-term-minus-kl-to-prior",
        statement="Read with the prior in the place of p(x), the printed ELBO is E_q log p(z|x) − "
        "KL(q‖p(z)).",
        latex=r"\mathcal{L} = \mathbb{E}_q \log p(z \mid x) - \mathrm{KL}(q(z \mid x) \| p(z))",
        met_in="A rewriting in discussion B; reconstruction written with p(z|x).",
        source=DISCUSSION["B"],
        registered="false",
        correction=r"\mathcal{L} = \mathbb{E}_q \log p(x \mid z) - \mathrm{KL}(q(z \mid x) \| p(z))",
        formulas={"printed": mean_log(POSTERIOR) - kl(P), "elbo": ELBO},
        checks=(
            anchored("printed", lambda **at: _posterior(**at) - _kl_to_prior(**at), POINTS, against="scipy"),
            anchored("elbo", finite.oracle_elbo, POINTS, against="scipy"),
            equality_by_algebra("printed", "elbo"),
            equality_by_search("printed", "elbo", BOX),
        ),
    ),
)
