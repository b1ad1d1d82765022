"""Claims settled on the scalar linear-Gaussian model: p(z) = N(0, 1), p(x|z) = N(wz + b, s²)."""

from __future__ import annotations

from vaeaudit.derivations import oracles
from vaeaudit.derivations.checks import anchored, equality_by_algebra, equality_by_search
from vaeaudit.derivations.claim import Claim
from vaeaudit.derivations.symbols import ELBO, KL_TO_POSTERIOR, LOG_EVIDENCE

BOX = {
    "mu": (-2.0, 2.0),
    "sigma": (0.05, 2.0),
    "x": (-2.0, 2.0),
    "w": (-2.0, 2.0),
    "b": (-1.0, 1.0),
    "s": (0.2, 2.0),
}
POINTS = (
    {"mu": 0.0, "sigma": 1.0, "x": 1.0, "w": 1.0, "b": 0.0, "s": 1.0},
    {"mu": 0.4, "sigma": 0.5, "x": -1.2, "w": 0.8, "b": 0.3, "s": 0.6},
    {"mu": -1.1, "sigma": 1.4, "x": 0.7, "w": -1.6, "b": -0.2, "s": 1.3},
)


def _points(*names: str) -> list[dict[str, float]]:
    return [{name: point[name] for name in names} for point in POINTS]


CLAIMS = (
    Claim(
        id="M9a",
        name="elbo-gap-is-kl-to-posterior",
        statement="The log evidence is the ELBO plus the KL from q to the true posterior.",
        latex=r"\log p(x) = \mathcal{L} + \mathrm{KL}(q(z \mid x) \| p(z \mid x))",
        met_in="Every derivation of the ELBO; here on the linear-Gaussian model, where each term is known.",
        source="Jordan et al. (1999); Kingma & Welling (2014), eq. 1",
        registered="identity",
        formulas={
            "elbo": ELBO,
            "log evidence": LOG_EVIDENCE,
            "kl to posterior": KL_TO_POSTERIOR,
            "elbo plus kl": ELBO + KL_TO_POSTERIOR,
        },
        checks=(
            anchored("elbo", oracles.elbo, POINTS, against="quadrature"),
            anchored("log evidence", oracles.log_evidence, _points("x", "w", "b", "s"), against="quadrature"),
            anchored("kl to posterior", oracles.kl_to_posterior, POINTS, against="quadrature"),
            anchored(
                "elbo plus kl",
                lambda **at: oracles.elbo(**at) + oracles.kl_to_posterior(**at),
                POINTS,
                against="quadrature",
            ),
            equality_by_algebra("log evidence", "elbo plus kl"),
            equality_by_search("log evidence", "elbo plus kl", BOX),
        ),
    ),
)
