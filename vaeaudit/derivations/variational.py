"""What maximising the bound does: which KL falls, for which parameters, and how far."""

from __future__ import annotations

import numpy as np
import sympy as sp
from scipy import optimize, stats

from vaeaudit.derivations import finite, oracles
from vaeaudit.derivations.checks import (
    anchored,
    bound_by_search,
    equality_by_algebra,
    equality_by_search,
    evaluate,
    vanishes,
)
from vaeaudit.derivations.claim import Check, Claim, Formulas, Outcome, Verdict
from vaeaudit.derivations.elbo_identities import DISCUSSION, PRIOR_SIDE, identity
from vaeaudit.derivations.finite import (
    ELBO,
    ENTROPY_FORM,
    EVIDENCE,
    JOINT,
    LOG_EVIDENCE,
    L,
    P,
    Q,
    kl,
    mean_log,
)
from vaeaudit.derivations.linear_gaussian import BOX as GAUSSIAN_BOX
from vaeaudit.derivations.linear_gaussian import POINTS as GAUSSIAN_POINTS
from vaeaudit.derivations.symbols import ELBO as GAUSSIAN_ELBO
from vaeaudit.derivations.symbols import HALF, KL_TO_POSTERIOR, b, mu, s, sigma, w

rho = sp.Symbol("rho", real=True)
PHI, THETA = (mu, sigma), (w, b, s)


def _opposite_gradients(formulas: Formulas) -> Outcome:
    total = formulas["kl to posterior"] + formulas["elbo"]
    constant = {v: vanishes(sp.diff(total, v)) for v in (*PHI, *THETA)}
    text = "∂(KL + ELBO) is zero for " + (", ".join(str(v) for v, ok in constant.items() if ok) or "none")
    if all(constant.values()):
        return Outcome("identity", text)
    if all(constant[v] for v in PHI):
        return Outcome("holds under conditions", f"{text}; not for {', '.join(str(v) for v in THETA)}")
    return Outcome("false", text)


def _step_along(formulas: Formulas) -> Outcome:
    """Where a small step in one parameter lowers the KL but does not raise the ELBO."""
    rng, h = np.random.default_rng(3), 1e-5
    names = list(GAUSSIAN_BOX)
    failed: dict[str, str] = {}
    for _ in range(100):
        at = {n: float(rng.uniform(*GAUSSIAN_BOX[n])) for n in names}
        for name in ("mu", "sigma", "w", "b", "s"):
            up = {**at, name: at[name] + h}
            change = [
                float(evaluate(formulas[f], up) - evaluate(formulas[f], at))
                for f in ("kl to posterior", "elbo")
            ]
            if abs(change[0] + change[1]) > 1e-4 * h + 1e-6 * abs(change[0]):
                failed.setdefault(name, ", ".join(f"{n} = {v:.3g}" for n, v in at.items()))
    if not failed:
        return Outcome("identity", "steps in every parameter change KL and ELBO oppositely")
    verdict: Verdict = "false" if {"mu", "sigma"} & set(failed) else "holds under conditions"
    first = next(iter(failed))
    return Outcome(
        verdict, f"fails for steps in {', '.join(failed)} only", f"step in {first} at {failed[first]}"
    )


def _mean_field_gap(rho: float) -> float:
    """Smallest KL from a diagonal Gaussian to a bivariate normal with correlation ρ, by optimisation."""
    precision = np.linalg.inv([[1.0, rho], [rho, 1.0]])
    log_det = np.linalg.slogdet(precision)[1]

    def divergence(t: np.ndarray) -> float:
        return float(0.5 * (np.diag(precision) @ np.exp(2 * t) - 2 - 2 * t.sum() - log_det))

    return float(optimize.minimize(divergence, np.zeros(2), tol=1e-14).fun)


def _prior_to_q(mu: float, sigma: float) -> float:
    p, q = stats.norm(), stats.norm(mu, sigma)
    return oracles.expectation(lambda z: p.logpdf(z) - q.logpdf(z), 0.0, 1.0)


def _reverse_direction(formulas: Formulas) -> Outcome:
    """With the joint scaled by c: what each direction needs to know about the posterior."""
    c = sp.Symbol("c", positive=True)
    forward = formulas["forward"].subs({v: c * v for v in L}, simultaneous=True) - formulas["forward"]
    drops_out = all(vanishes(sp.diff(forward, q)) for q in (finite.q1, finite.q2))
    under_posterior = sum(j / EVIDENCE * sp.log(q) for q, j in zip(Q, JOINT, strict=True))
    needs_posterior = all(
        vanishes(sp.diff(formulas["reverse"] + under_posterior, v)) for v in (finite.q1, finite.q2)
    )
    if not (drops_out and needs_posterior):
        return Outcome("unsettled", "the two directions do not have the stated form")
    text = "the forward KL needs log p(x, z) under q alone; the reverse averages under p(z|x)"
    return Outcome("holds under conditions", text)


def _both_tractable(formulas: Formulas) -> Outcome:
    worst = max(
        abs(float(evaluate(formulas["kl prior to q"], at)) - _prior_to_q(**at)) / (1 + _prior_to_q(**at))
        for at in ({"mu": 0.3, "sigma": 0.7}, {"mu": -1.0, "sigma": 1.8}, {"mu": 0.0, "sigma": 0.3})
    )
    if worst > 1e-9:
        return Outcome("unsettled", f"the closed form of KL(p‖q) is off by {worst:.1e}")
    return Outcome(
        "holds under conditions", "KL(p(z)‖q) has a closed form too: intractability does not apply there"
    )


def _slack_is_a_kl(formulas: Formulas) -> Outcome:
    if vanishes(formulas["log evidence"] - formulas["elbo"] - kl(finite.POSTERIOR)):
        return Outcome("bound", "log p(x) − ELBO reduces to KL(q‖p(z|x)), which Gibbs' inequality keeps ≥ 0")
    return Outcome("unsettled", "log p(x) − ELBO is not KL(q‖p(z|x))")


CLAIMS = (
    Claim(
        id="B10",
        name="minimising-kl-is-maximising-elbo",
        statement="As log p(x) is constant and KL ≥ 0, minimising the KL to the posterior is maximising "
        "the ELBO.",
        latex=r"\partial \, \mathrm{KL}(q \| p(z \mid x)) = -\partial \mathcal{L}",
        met_in="Derivations that call log p(x) a constant while the decoder is being trained.",
        source=DISCUSSION["B"],
        registered="holds under conditions",
        conditions="for the encoder's parameters at a fixed decoder; for the decoder's, log p(x) moves too",
        formulas={"elbo": GAUSSIAN_ELBO, "kl to posterior": KL_TO_POSTERIOR},
        checks=(
            anchored("elbo", oracles.elbo, GAUSSIAN_POINTS, against="quadrature"),
            anchored("kl to posterior", oracles.kl_to_posterior, GAUSSIAN_POINTS, against="quadrature"),
            Check("algebra", _opposite_gradients),
            Check("search", _step_along),
        ),
    ),
    Claim(
        id="C8",
        name="variational-inference-lowers-kl-to-prior",
        statement="Variational inference decreases KL(q(z|x)‖p(z)): where the bound is tight, that KL is "
        "zero.",
        latex=r"\mathcal{L} = \log p(x) \;\Rightarrow\; \mathrm{KL}(q(z \mid x) \| p(z)) = 0",
        met_in="Explanations of the KL term in discussion C.",
        source=DISCUSSION["C"],
        registered="false",
        correction=r"\mathcal{L} = \log p(x) \;\Rightarrow\; \mathrm{KL}(q(z \mid x) \| p(z \mid x)) = 0",
        also=("M16e",),
        formulas={
            "kl to prior at the optimum": finite.kl_between(finite.POSTERIOR, P),
            "zero": sp.Integer(0),
        },
        checks=(
            anchored("zero", lambda **at: 0.0, [{}]),
            anchored(
                "kl to prior at the optimum",
                lambda p1, p2, l1, l2, l3: stats.entropy(
                    np.array([p1 * l1, p2 * l2, (1 - p1 - p2) * l3]), [p1, p2, 1 - p1 - p2]
                ),
                finite.points(*PRIOR_SIDE),
                against="scipy",
            ),
            equality_by_algebra("kl to prior at the optimum", "zero"),
            equality_by_search("kl to prior at the optimum", "zero", {n: finite.BOX[n] for n in PRIOR_SIDE}),
        ),
    ),
    Claim(
        id="C9a",
        name="kl-is-log-evidence-minus-bound",
        statement="KL(q‖·) = log p(x) − Σ_z q log(p(x, z)/q), where · is the posterior.",
        latex=r"\mathrm{KL}(q \| p(z \mid x)) = \log p(x) - \sum_z q(z) \log \frac{p(x, z)}{q(z)}",
        met_in="Derivations for discrete latents.",
        source=DISCUSSION["C"],
        **identity(
            "kl to posterior",
            "log evidence minus bound",
            kl(finite.POSTERIOR),
            LOG_EVIDENCE - sum(q * sp.log(j / q) for q, j in zip(Q, JOINT, strict=True)),
            finite.oracle_kl_to_posterior,
        ),
    ),
    Claim(
        id="C9b",
        name="kl-to-prior-is-log-evidence-minus-bound",
        statement="The same equation with · read as the prior, as the sentence around it in discussion C "
        "suggests.",
        latex=r"\mathrm{KL}(q \| p(z)) = \log p(x) - \sum_z q(z) \log \frac{p(x, z)}{q(z)}",
        met_in="Mixing up the two KLs.",
        source=DISCUSSION["C"],
        registered="false",
        correction=r"\mathrm{KL}(q \| p(z \mid x)) = \log p(x) - \sum_z q(z) \log \frac{p(x, z)}{q(z)}",
        formulas={"kl to prior": kl(P), "log evidence minus bound": LOG_EVIDENCE - ENTROPY_FORM},
        checks=(
            anchored(
                "kl to prior",
                finite.oracle_kl_to_prior,
                finite.points("q1", "q2", "p1", "p2"),
                against="scipy",
            ),
            anchored(
                "log evidence minus bound", finite.oracle_kl_to_posterior, finite.POINTS, against="scipy"
            ),
            equality_by_algebra("kl to prior", "log evidence minus bound"),
            equality_by_search("kl to prior", "log evidence minus bound", finite.BOX),
        ),
    ),
    Claim(
        id="C10",
        name="bound-can-close-the-gap",
        statement="Maximising the bound over q brings the KL to the posterior to zero.",
        latex=r"\min_q \mathrm{KL}(q \| p(z \mid x)) = -\frac{1}{2} \log \left( 1 - \rho^2 \right) = 0",
        met_in="Diagonal Gaussian encoders; here against a posterior with correlation ρ.",
        source=DISCUSSION["C"],
        registered="holds under conditions",
        conditions=r"q's family holds the posterior (for a diagonal q and a Gaussian posterior: $\rho ="
        r" 0$)",
        formulas={"smallest kl": -HALF * sp.log(1 - rho**2), "zero": sp.Integer(0)},
        checks=(
            anchored(
                "smallest kl",
                _mean_field_gap,
                [{"rho": r} for r in (-0.8, 0.1, 0.5, 0.95)],
                rtol=1e-6,
                against="a numerical optimiser",
            ),
            anchored("zero", lambda **at: 0.0, [{}]),
            equality_by_algebra("smallest kl", "zero", given={rho: 0}),
            equality_by_search(
                "smallest kl",
                "zero",
                {"rho": (-0.99, 0.99)},
                condition=lambda f, at: np.abs(at["rho"]) < 1e-6,
                exact=True,
            ),
        ),
    ),
    Claim(
        id="C11",
        name="joint-as-quotient",
        statement="p(x, z) can be expanded as p(x|z)/p(z).",
        latex=r"p(x, z) = \frac{p(x \mid z)}{p(z)}",
        met_in="A derivation in discussion C.",
        source=DISCUSSION["C"],
        registered="false",
        correction=r"p(x, z) = p(x \mid z) \, p(z)",
        also=("M16d",),
        formulas={"printed": finite.l1 / finite.p1, "joint": finite.p1 * finite.l1},
        checks=(
            anchored("printed", lambda p1, l1: np.exp(np.log(l1) - np.log(p1)), finite.points("p1", "l1")),
            anchored("joint", lambda p1, l1: np.exp(np.log(l1) + np.log(p1)), finite.points("p1", "l1")),
            equality_by_algebra("printed", "joint"),
            equality_by_search("printed", "joint", {n: finite.BOX[n] for n in ("p1", "l1")}),
        ),
    ),
    Claim(
        id="C16",
        name="reverse-kl-is-intractable",
        statement="KL(q‖p) is used since the reverse is intractable.",
        latex=r"\mathrm{KL}(p \| q) = \mathbb{E}_p \log \frac{p(z)}{q(z)}",
        met_in="Explanations of the KL's direction.",
        source=DISCUSSION["C"],
        registered="holds under conditions",
        conditions="true of the KL to the posterior, whose reverse averages under p(z|x) (it can be "
        "estimated with "
        "self-normalised weights, with bias); to the prior both directions have closed forms",
        formulas={
            "forward": mean_log(Q) - mean_log(JOINT),
            "reverse": sum(
                j / EVIDENCE * (sp.log(j / EVIDENCE) - sp.log(q)) for q, j in zip(Q, JOINT, strict=True)
            ),
            "kl prior to q": HALF * ((1 + mu**2) / sigma**2 - 1 + 2 * sp.log(sigma)),
        },
        checks=(
            anchored(
                "forward",
                lambda **at: (
                    finite.oracle_negative_entropy(at["q1"], at["q2"]) - finite.oracle_joint_term(**at)
                ),
                finite.POINTS,
                against="scipy",
            ),
            anchored("reverse", finite.oracle_posterior_to_q, finite.POINTS, against="scipy"),
            Check("numerics", _both_tractable),
            Check("algebra", _reverse_direction),
        ),
    ),
    Claim(
        id="E1",
        name="loss-is-minus-elbo",
        statement="The loss KL − E_q log p(x|z) is minimised; the bound, its negative, is maximised.",
        latex=r"\mathrm{KL}(q \| p) - \mathbb{E}_q \log p(x \mid z) = -\mathcal{L}",
        met_in="Code against paper.",
        source=DISCUSSION["E"],
        **identity(
            "loss", "minus elbo", kl(P) - mean_log(L), -ENTROPY_FORM, lambda **at: -finite.oracle_elbo(**at)
        ),
    ),
    Claim(
        id="E3",
        name="elbo-entropy-form",
        statement="The entropy form and the KL form of the ELBO are equal.",
        latex=r"\mathbb{E}_q \left[ -\log q(z \mid x) + \log p(x, z) \right] = -\mathrm{KL}(q \| p)"
        r" + \mathbb{E}_q \log p(x \mid z)",
        met_in="The two estimators of Kingma & Welling (2014).",
        source=DISCUSSION["E"],
        also=("E4", "M9c"),
        **identity("entropy form", "kl form", ENTROPY_FORM, ELBO, finite.oracle_elbo),
    ),
    Claim(
        id="E5",
        name="elbo-is-a-lower-bound",
        statement="The ELBO is at most log p(x), since a KL is never negative.",
        latex=r"\mathcal{L} \le \log p(x)",
        met_in="The reason for the ELBO's name.",
        source=DISCUSSION["E"],
        registered="bound",
        formulas={"elbo": ELBO, "log evidence": LOG_EVIDENCE},
        checks=(
            anchored("elbo", finite.oracle_elbo, finite.POINTS, against="scipy"),
            anchored("log evidence", finite.oracle_log_evidence, finite.points(*PRIOR_SIDE), against="scipy"),
            Check("algebra", _slack_is_a_kl),
            bound_by_search("elbo", "log evidence", finite.BOX),
        ),
    ),
)
