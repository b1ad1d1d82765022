"""A latent space with three states: identities that hold there for symbols hold for all finite models.

q = (q₁, q₂, 1 − q₁ − q₂) is q(z|x), p = (p₁, p₂, 1 − p₁ − p₂) the prior, l = (l₁, l₂, l₃) the likelihoods
p(x|z = k). Nothing is assumed of the numbers, so no family of distributions is either.
"""

from __future__ import annotations

import numpy as np
import sympy as sp
from scipy import special, stats

q1, q2, p1, p2, l1, l2, l3 = sp.symbols("q1 q2 p1 p2 l1 l2 l3", positive=True)
Q = (q1, q2, 1 - q1 - q2)
P = (p1, p2, 1 - p1 - p2)
L = (l1, l2, l3)

EVIDENCE = sum(p * lik for p, lik in zip(P, L, strict=True))
JOINT = tuple(p * lik for p, lik in zip(P, L, strict=True))
POSTERIOR = tuple(j / EVIDENCE for j in JOINT)
LOG_EVIDENCE = sp.log(EVIDENCE)


def mean_log(values: tuple[sp.Expr, ...]) -> sp.Expr:
    """E_q log of a value per state."""
    return sum((q * sp.log(v) for q, v in zip(Q, values, strict=True)), start=sp.Integer(0))


def kl(other: tuple[sp.Expr, ...]) -> sp.Expr:
    """KL(q ‖ other)."""
    return mean_log(Q) - mean_log(other)


def kl_between(first: tuple[sp.Expr, ...], second: tuple[sp.Expr, ...]) -> sp.Expr:
    """KL(first ‖ second)."""
    return sum((a * (sp.log(a) - sp.log(c)) for a, c in zip(first, second, strict=True)), start=sp.Integer(0))


ELBO = mean_log(L) - kl(P)  # reconstruction minus KL to the prior
ENTROPY_FORM = mean_log(JOINT) - mean_log(Q)  # E_q log p(x, z) + H(q)

BOX = {
    "q1": (0.05, 0.5),
    "q2": (0.05, 0.45),
    "p1": (0.05, 0.45),
    "p2": (0.05, 0.5),
    "l1": (0.05, 1.0),
    "l2": (0.05, 1.0),
    "l3": (0.05, 1.0),
}
POINTS = (
    {"q1": 0.2, "q2": 0.3, "p1": 0.3, "p2": 0.4, "l1": 0.5, "l2": 0.1, "l3": 0.9},
    {"q1": 0.45, "q2": 0.15, "p1": 0.1, "p2": 0.6, "l1": 0.05, "l2": 0.7, "l3": 0.2},
)


def points(*names: str) -> list[dict[str, float]]:
    """The test points restricted to some symbols."""
    return [{name: point[name] for name in names} for point in POINTS]


def arrays(
    q1: float, q2: float, p1: float, p2: float, l1: float, l2: float, l3: float
) -> tuple[np.ndarray, ...]:
    """Numbers as vectors q, p, l."""
    return np.array([q1, q2, 1 - q1 - q2]), np.array([p1, p2, 1 - p1 - p2]), np.array([l1, l2, l3])


def oracle_elbo(**at: float) -> float:
    """Σ q log l − KL(q‖p) with scipy's relative entropy."""
    q, p, lik = arrays(**at)
    return float(q @ np.log(lik) - stats.entropy(q, p))


def oracle_log_evidence(p1: float, p2: float, l1: float, l2: float, l3: float) -> float:
    """Log Σ p l with scipy's log-sum-exp."""
    _, p, lik = arrays(0.3, 0.3, p1, p2, l1, l2, l3)
    return float(special.logsumexp(np.log(lik), b=p))


def oracle_kl_to_posterior(**at: float) -> float:
    """KL(q ‖ p(z|x)) with scipy's relative entropy, which normalises the joint itself."""
    q, p, lik = arrays(**at)
    return float(stats.entropy(q, p * lik))


def oracle_joint_term(**at: float) -> float:
    """E_q log p(x, z)."""
    q, p, lik = arrays(**at)
    return float(q @ np.log(p * lik))


def oracle_posterior_term(**at: float) -> float:
    """E_q log p(z|x)."""
    q, p, lik = arrays(**at)
    return float(q @ special.log_softmax(np.log(p * lik)))


def oracle_kl_to_prior(q1: float, q2: float, p1: float, p2: float) -> float:
    """KL(q ‖ p) with scipy's relative entropy."""
    return float(special.rel_entr([q1, q2, 1 - q1 - q2], [p1, p2, 1 - p1 - p2]).sum())


def oracle_negative_entropy(q1: float, q2: float) -> float:
    """E_q log q."""
    return -float(stats.entropy([q1, q2, 1 - q1 - q2]))


def oracle_posterior_to_q(**at: float) -> float:
    """KL(p(z|x) ‖ q) with scipy's relative entropy."""
    q, p, lik = arrays(**at)
    return float(stats.entropy(p * lik, q))
