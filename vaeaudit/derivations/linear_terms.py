"""Objectives on the linear-Gaussian VAE, reduced to what they charge per principal direction."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax.numpy as jnp

from vaeaudit.core.errors import ArgumentError
from vaeaudit.objectives import REGISTRY, Objective, parse
from vaeaudit.objectives.composition import Penalised
from vaeaudit.objectives.penalties import HeadL2

Route = Literal["direction", "no mmd", "optimiser"]


@dataclass(frozen=True)
class DirectionTerms:
    r"""What one latent costs, averaged over data with variance ℓ along its principal direction.

    κ E μ² + g(σ) + λ_A a² + λ_W w²,   μ = a x,   decoder w

    ``kl`` is the weight of ½(σ² − 1) − log σ in g, ``quadratic`` that of (σ − 1)²; at most one is not
    zero, and with neither the best σ is 0. ``floor`` is the rate in nats below which the KL is not charged.
    """

    loc: float = 0.0  # κ
    kl: float = 0.0
    quadratic: float = 0.0
    head: float = 0.0  # λ_A
    decoder: float = 0.0  # λ_W
    floor: float = 0.0
    route: Route = "direction"
    learns_scale: bool = False
    reason: str = ""

    def loc_weight(self, eigenvalue: float) -> float:
        """κ + λ_A/ℓ: the L2 of the head acts as a charge on E μ² = a² ℓ."""
        return self.loc + self.head / eigenvalue

    def scale_cost(self, scale: float) -> float:
        """g(σ)."""
        if scale == 0.0:
            return float("inf") if self.kl > 0 else self.quadratic
        return float(
            self.kl * (0.5 * (scale * scale - 1.0) - math.log(scale)) + self.quadratic * (scale - 1.0) ** 2
        )


def setting(value: Any) -> float:
    """A float32 setting as the decimal number it was given as: 0.1, not 0.100000001."""
    return float(f"{float(value):.7g}")


def direction_terms(objective: str | Objective) -> DirectionTerms:
    """Reduce an objective of the registry to its charges per direction.

    Raises
    ------
    UnknownNameError
        If the name is not in the registry.
    ArgumentError
        If the objective's optimum on linear-Gaussian data is not known here.
    """
    objective = parse(objective)
    if isinstance(objective, Penalised):
        if not isinstance(objective.penalty, HeadL2):
            raise ArgumentError(f"no linear-Gaussian theory for the penalty {objective.penalty.name!r}.")
        base = direction_terms(objective.base)
        if base.route != "direction" or base.floor > 0:
            raise ArgumentError(f"no linear-Gaussian theory for {objective.name!r}: its parts interact.")
        return replace(base, head=base.head + setting(objective.penalty.weight))
    family = next((name for name, kind in REGISTRY.items() if type(objective) is kind), "")
    weight = setting(getattr(objective, "weight", 1.0))
    if family == "annealed_beta":
        weight = setting(objective.current_weight(jnp.asarray(1.0)))  # type: ignore[attr-defined]
        return _kl(weight, reason="at the end of its schedule")
    if family == "beta" and weight <= 0:
        raise ArgumentError(f"{objective.name!r} has no optimum for β ≤ 0: the rate grows without bound.")
    if family == "total_correlation":
        return (
            _kl(1.0, reason="total correlation 0 at the ELBO's optimum") if weight >= 1 else _by_optimiser()
        )
    table: dict[str, DirectionTerms] = {
        "elbo": _kl(1.0),
        "learned_scale": replace(_kl(1.0), learns_scale=True),
        "beta": _kl(weight),
        "iwae": _kl(1.0, reason="tight where q is the posterior, which the ELBO's optimum has"),
        "wasserstein_penalty": DirectionTerms(loc=weight, quadratic=weight),
        "half_quadratic": DirectionTerms(loc=0.5 * weight, quadratic=weight),
        "moment_penalty": DirectionTerms(loc=weight),
        "head_l2": DirectionTerms(head=weight),
        "autoencoder": DirectionTerms(),
        "regularized_autoencoder": DirectionTerms(
            loc=0.5 * setting(getattr(objective, "latent_weight", 1.0)), decoder=weight
        ),
        "free_bits": replace(
            _kl(1.0),
            floor=setting(getattr(objective, "threshold", 0.0)),
            reason="directions whose rate is below the floor share it",
        ),
        "capacity": _by_optimiser(),
        "mmd": DirectionTerms(
            route="no mmd", reason="σ → 0 and q(z) = p(z): error and MMD both at their best"
        ),
    }
    if family not in table:
        raise ArgumentError(f"no linear-Gaussian theory for {objective.name!r}.")
    return table[family]


def _kl(weight: float, reason: str = "") -> DirectionTerms:
    return DirectionTerms(loc=0.5 * weight, kl=weight, reason=reason)


def _by_optimiser() -> DirectionTerms:
    return DirectionTerms(route="optimiser")
