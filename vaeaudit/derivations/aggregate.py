"""Per datum and in aggregate: rate = mutual information + KL of the aggregate posterior to the prior."""

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
    vanishes,
)
from vaeaudit.derivations.claim import Check, Claim, Formulas, Outcome
from vaeaudit.derivations.elbo_identities import DISCUSSION
from vaeaudit.derivations.symbols import HALF, eps, gaussian_mean, s, sigma, tau, w

# two equally likely data, three latent states: rows q(z|x₁), q(z|x₂), prior p
a1, a2, c1, c2, p1, p2 = sp.symbols("a1 a2 c1 c2 p1 p2", positive=True)
FIRST, SECOND, PRIOR = (a1, a2, 1 - a1 - a2), (c1, c2, 1 - c1 - c2), (p1, p2, 1 - p1 - p2)
MIXTURE = tuple((f + g) / 2 for f, g in zip(FIRST, SECOND, strict=True))
BOX = dict.fromkeys(("a1", "a2", "c1", "c2", "p1", "p2"), (0.05, 0.45))
POINTS = (
    {"a1": 0.2, "a2": 0.3, "c1": 0.1, "c2": 0.4, "p1": 0.3, "p2": 0.35},
    {"a1": 0.05, "a2": 0.45, "c1": 0.4, "c2": 0.15, "p1": 0.25, "p2": 0.15},
)


def _kl(first: tuple[sp.Expr, ...], second: tuple[sp.Expr, ...]) -> sp.Expr:
    return sum((f * (sp.log(f) - sp.log(g)) for f, g in zip(first, second, strict=True)), start=sp.Integer(0))


RATE = HALF * (_kl(FIRST, PRIOR) + _kl(SECOND, PRIOR))
INFORMATION = HALF * (_kl(FIRST, MIXTURE) + _kl(SECOND, MIXTURE))
MARGINAL = _kl(MIXTURE, PRIOR)

# μ(x) ~ N(0, τ²) over the data, constant σ: q(z) = N(0, τ² + σ²)
SPREAD = (sp.sqrt(tau**2 + sigma**2) - 1) ** 2
MEAN_COST = tau**2 + (sigma - 1) ** 2
LOC_SCALE_BOX = {"tau": (0.05, 2.0), "sigma": (0.05, 2.0)}
LOC_SCALE = ({"tau": 0.5, "sigma": 0.3}, {"tau": 1.2, "sigma": 0.9}, {"tau": 0.2, "sigma": 1.7})


def _vectors(**at: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = [(at[f"{n}1"], at[f"{n}2"], 1 - at[f"{n}1"] - at[f"{n}2"]) for n in ("a", "c", "p")]
    return tuple(np.array(row) for row in rows)  # type: ignore[return-value]


def _rate(**at: float) -> float:
    first, second, prior = _vectors(**at)
    return 0.5 * float(special.rel_entr(first, prior).sum() + special.rel_entr(second, prior).sum())


def _information(**at: float) -> float:
    """H(z) + H(x) − H(x, z) from the joint table of x and z."""
    first, second, _ = _vectors(**at)
    joint = 0.5 * np.stack([first, second])
    return float(stats.entropy(joint.sum(0)) + np.log(2) - stats.entropy(joint.ravel()))


def _marginal(**at: float) -> float:
    first, second, prior = _vectors(**at)
    return float(stats.entropy((first + second) / 2, prior))


def _mean_over_data(function: object, tau: float, sigma: float) -> float:
    values = [function(float(m), sigma) for m in tau * oracles.FEW_NODES]  # type: ignore[operator]
    return float(oracles.FEW_WEIGHTS @ np.array(values))


def _gaussian_rate(tau: float, sigma: float) -> float:
    return _mean_over_data(oracles.kl_to_prior, tau, sigma)


def _aggregate_w2(tau: float, sigma: float) -> float:
    return oracles.squared_w2(0.0, float(np.hypot(tau, sigma)))


def _mixtures(formulas: Formulas) -> Outcome:
    """Two-component mixtures: W₂² of the mixture by inverting its distribution function on a grid."""
    rng, u = np.random.default_rng(2), (np.arange(1000) + 0.5) / 1000
    for _ in range(40):
        loc, scale = rng.uniform(-2, 2, 2), rng.uniform(0.1, 1.5, 2)
        z = np.linspace(-9, 9, 2001)
        quantile = np.interp(u, stats.norm.cdf(z[:, None], loc, scale).mean(1), z)
        aggregate = np.mean((quantile - stats.norm.ppf(u)) ** 2)
        mean = np.mean(loc**2 + (scale - 1) ** 2)
        if aggregate > mean + 5e-3:
            return Outcome("false", "a mixture is farther than its parts", f"loc {loc}, scale {scale}")
    return Outcome(
        "sound", "40 seeded mixtures of two Gaussians are no farther from the prior than their parts"
    )


def _transport_slack(formulas: Formulas) -> Outcome:
    gap = formulas["mean cost"] - formulas["aggregate cost"]
    if not vanishes(gap - 2 * (sp.sqrt(tau**2 + sigma**2) - sigma)):
        return Outcome("unsettled", "the gap is not 2(√(τ² + σ²) − σ)")
    return Outcome("bound", "the gap is 2(√(τ² + σ²) − σ) ≥ 0, zero only when μ(x) is constant")


def _information_below_rate(formulas: Formulas) -> Outcome:
    if not vanishes(formulas["rate"] - formulas["information"] - MARGINAL):
        return Outcome("unsettled", "rate − information is not KL(q(z)‖p)")
    return Outcome("bound", "rate − information = KL(q(z)‖p) ≥ 0: at rate zero the code carries nothing")


def _follows_prior(formulas: Formulas) -> Outcome:
    data = sp.Symbol("V", positive=True)
    gap = formulas["aggregate variance"] - 1
    if vanishes(gap):
        return Outcome("identity", "the aggregate posterior is the prior for any data")
    if vanishes(gap.subs(data, w**2 + s**2)):
        return Outcome(
            "holds under conditions", "the aggregate variance is 1 given that data have the model's variance"
        )
    return Outcome("false", "the aggregate variance is not 1 where data have the model's variance")


def _aggregate_variance(V: float, w: float, s: float) -> float:
    """Var z under x ~ N(0, V), z ~ p(z|x), with posterior moments from a grid."""
    loc, scale = oracles.posterior_moments(1.0, w, 0.0, s)  # loc is linear in x
    return loc**2 * V + scale**2


def _relation(lhs: str, rhs: str) -> tuple[Check, ...]:
    return (
        anchored("rate", _rate, POINTS, against="scipy"),
        anchored(
            rhs,
            {"information": _information, "marginal kl": _marginal}.get(rhs, _rate),
            POINTS,
            against="scipy",
        ),
        equality_by_algebra(lhs, rhs),
        equality_by_search(lhs, rhs, BOX),
    )


CLAIMS = (
    Claim(
        id="M12",
        name="rate-splits",
        statement="The rate is the mutual information between x and z plus the KL of the aggregate "
        "posterior to the prior.",
        latex=r"\mathbb{E}_x \mathrm{KL}(q(z \mid x) \| p) = I_q(x; z) + \mathrm{KL}(q(z) \| p)",
        met_in="What a KL of so many nats means.",
        source="Hoffman & Johnson (2016)",
        registered="identity",
        also=("B5c", "D3a"),
        formulas={"rate": RATE, "information plus marginal": INFORMATION + MARGINAL},
        checks=(
            anchored("rate", _rate, POINTS, against="scipy"),
            anchored(
                "information plus marginal",
                lambda **at: _information(**at) + _marginal(**at),
                POINTS,
                against="entropies of the joint table",
            ),
            equality_by_algebra("rate", "information plus marginal"),
            equality_by_search("rate", "information plus marginal", BOX),
        ),
    ),
    Claim(
        id="B5a",
        name="kl-measures-information",
        statement="The KL measures the information that the code keeps about x.",
        latex=r"\mathbb{E}_x \mathrm{KL}(q(z \mid x) \| p) = I_q(x; z)",
        met_in="'Information lost' in explanations of the KL.",
        source=DISCUSSION["B"],
        registered="false",
        correction=r"\mathbb{E}_x \mathrm{KL}(q(z \mid x) \| p) = I_q(x; z) + \mathrm{KL}(q(z) \| p)",
        formulas={"rate": RATE, "information": INFORMATION},
        checks=_relation("rate", "information"),
    ),
    Claim(
        id="B5b",
        name="kl-measures-distance-to-prior",
        statement="The KL measures how far the latent distribution is from the prior.",
        latex=r"\mathbb{E}_x \mathrm{KL}(q(z \mid x) \| p) = \mathrm{KL}(q(z) \| p)",
        met_in="'How far we are from the prior' in explanations of the KL.",
        source=DISCUSSION["B"],
        registered="false",
        correction=r"\mathbb{E}_x \mathrm{KL}(q(z \mid x) \| p) = I_q(x; z) + \mathrm{KL}(q(z) \| p)",
        formulas={"rate": RATE, "marginal kl": MARGINAL},
        checks=_relation("rate", "marginal kl"),
    ),
    Claim(
        id="D3b",
        name="matching-the-prior-needs-zero-kl",
        statement="The regulariser draws the latent distribution to the prior: where the latents follow "
        "the prior, the KL "
        "term is zero.",
        latex=r"q(z) = p(z) \;\Rightarrow\; \mathbb{E}_x \mathrm{KL}(q(z \mid x) \| p) = 0",
        met_in="Judging the match to the prior by the KL term; here with μ(x) ~ N(0, 1 − σ²), whose "
        "aggregate is the prior.",
        source=DISCUSSION["D"],
        registered="holds under conditions",
        conditions=r"every $q(z \mid x)$ equals the prior ($\sigma = 1$); else the latents can follow"
        r" the prior in "
        r"aggregate at a rate of $-\frac{1}{2} \log \sigma^2 > 0$",
        correction=r"q(z) = p(z) \;\Rightarrow\; \mathbb{E}_x \mathrm{KL}(q(z \mid x) \| p) = I_q(x; z)",
        formulas={
            "rate": gaussian_mean(HALF * ((1 - sigma**2) * eps**2 + sigma**2 - 1 - 2 * sp.log(sigma))),
            "zero": sp.Integer(0),
        },
        checks=(
            anchored(
                "rate",
                lambda sigma: _gaussian_rate((1 - sigma**2) ** 0.5, sigma),
                [{"sigma": 0.3}, {"sigma": 0.8}],
                against="quadrature over data and latents",
            ),
            anchored("zero", lambda **at: 0.0, [{}]),
            equality_by_algebra("rate", "zero", given={sigma: 1}),
            equality_by_search(
                "rate",
                "zero",
                {"sigma": (0.05, 1.0)},
                condition=lambda f, at: at["sigma"] > 1 - 1e-9,
                exact=True,
            ),
        ),
    ),
    Claim(
        id="E6a",
        name="rate-bounds-information",
        statement="At KL = 0 for every x the code carries nothing: the rate bounds the mutual information.",
        latex=r"I_q(x; z) \le \mathbb{E}_x \mathrm{KL}(q(z \mid x) \| p)",
        met_in="Posterior collapse.",
        source=DISCUSSION["E"],
        registered="bound",
        formulas={"information": INFORMATION, "rate": RATE},
        checks=(
            anchored("information", _information, POINTS, against="entropies of the joint table"),
            anchored("rate", _rate, POINTS, against="scipy"),
            Check("algebra", _information_below_rate),
            bound_by_search("information", "rate", BOX),
        ),
    ),
    Claim(
        id="E6b",
        name="latents-follow-prior",
        statement="The regularisation term makes the encoder's latents follow the prior, at the optimum "
        "of the ELBO.",
        latex=r"\mathrm{Var}_{q(z)}[z] = \frac{w^2 V}{(w^2 + s^2)^2} + \frac{s^2}{w^2 + s^2} = 1",
        met_in="Sampling from the prior and expecting what the encoder showed the decoder.",
        source=DISCUSSION["E"],
        registered="holds under conditions",
        conditions=r"in aggregate, when the model's distribution is the data's ($V = w^2 + s^2$) and q"
        r" is the posterior; per"
        r" datum never, unless collapsed",
        formulas={
            "aggregate variance": w**2 * sp.Symbol("V", positive=True) / (w**2 + s**2) ** 2
            + s**2 / (w**2 + s**2),
            "one": sp.Integer(1),
        },
        checks=(
            anchored(
                "aggregate variance",
                _aggregate_variance,
                [{"V": 2.0, "w": 0.8, "s": 0.6}, {"V": 0.5, "w": 1.5, "s": 1.0}],
                rtol=1e-6,
                against="posterior moments on a grid",
            ),
            anchored("one", lambda **at: 1.0, [{}]),
            Check("algebra", _follows_prior),
            equality_by_search(
                "aggregate variance",
                "one",
                {"V": (0.0, 3.0), "w": (0.3, 1.5), "s": (0.3, 1.5)},
                condition=lambda f, at: np.abs(at["V"] - at["w"] ** 2 - at["s"] ** 2) < 1e-12,
            ),
        ),
    ),
    Claim(
        id="M8",
        name="penalty-bounds-aggregate-distance",
        statement="The mean penalty bounds the squared Wasserstein distance of the aggregate posterior "
        "to the prior, as W₂² is "
        "convex: the penalty bounds a Wasserstein autoencoder's regulariser.",
        latex=r"W_2^2(q(z), p) \le \mathbb{E}_x W_2^2(q(z \mid x), p)",
        met_in="Wasserstein autoencoders.",
        source="Villani (2009), theorem 4.8; Tolstikhin et al. (2018)",
        registered="bound",
        formulas={"aggregate cost": SPREAD, "mean cost": MEAN_COST},
        checks=(
            anchored(
                "aggregate cost", _aggregate_w2, LOC_SCALE, rtol=1e-6, against="the quantile integral of W₂²"
            ),
            anchored(
                "mean cost",
                lambda tau, sigma: _mean_over_data(oracles.squared_w2, tau, sigma),
                LOC_SCALE,
                rtol=1e-6,
                against="quadrature over data of the quantile integral",
            ),
            Check("algebra", _transport_slack),
            Check("search", _mixtures),
            bound_by_search("aggregate cost", "mean cost", LOC_SCALE_BOX),
        ),
    ),
)
