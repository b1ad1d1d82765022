"""What `aggregate_posterior` returns, and how bounds become brackets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from vaeaudit.core.records import Bracket, Estimate
from vaeaudit.estimators.skewed_mean import skewed_mean_interval

Target = Literal["data", "population"]
TAIL = 0.02  # error allowed on each side; the rest of 2.5 % goes to second-order terms that the se leaves out


@dataclass(frozen=True)
class AggregatePosterior:
    """The aggregate posterior q(z) against the prior: five quantities in nats.

    rate = mutual_information + marginal_kl,   marginal_kl = total_correlation + dimwise_kl

    Attributes
    ----------
    rate
        E KL(q(z|x) ‖ p(z)).
    mutual_information, marginal_kl, total_correlation, dimwise_kl
        Brackets; with ``target="data"`` both ends are the same estimate.
    saturated
        Whether the ceiling log N binds: the own component holds on average more than 1/e of q_N(z).
    own_share
        That average share.
    num_data_needed
        How many data would lift the ceiling (log N one nat above the mutual information); None where it
        does not bind.
    by_latent
        One row per latent: rate, kl_lower, kl_upper with interval ends.
    bounds
        Every bound that was computed: quantity, side, name, value, se, in_bracket, stack_weight.
    terms
        Averages before any clipping, for the identities.
    target
        ``"population"`` or ``"data"`` (the finite mixture q_N).
    """

    rate: Estimate
    mutual_information: Bracket
    marginal_kl: Bracket
    total_correlation: Bracket
    dimwise_kl: Bracket
    saturated: bool
    own_share: float
    num_data: int
    num_samples: int
    target: Target
    max_error: float
    by_latent: pd.DataFrame
    bounds: pd.DataFrame
    num_data_needed: Bracket | None = None
    terms: Mapping[str, float] = field(default_factory=dict)

    def quantities(self) -> dict[str, Estimate | Bracket]:
        """Name → estimate or bracket, as the tables take them."""
        return {
            "rate": self.rate,
            "mutual_information": self.mutual_information,
            "marginal_kl": self.marginal_kl,
            "total_correlation": self.total_correlation,
            "dimwise_kl": self.dimwise_kl,
        }

    def __str__(self) -> str:
        lines = [f"{name:20s}{value}" for name, value in self.quantities().items()]
        lines.append(
            f"{'target':20s}"
            + ("population" if self.target == "population" else f"the finite mixture of {self.num_data} data")
        )
        if self.saturated:
            lines.append(
                f"saturated: own component holds {self.own_share:.0%} of q_N(z); log N = "
                f"{math.log(self.num_data):.2f} nats is a ceiling; data needed: {self.num_data_needed}"
            )
        return "\n".join(lines)

    __repr__ = __str__


@dataclass(frozen=True)
class Side:
    """One bound's per-datum values, with the name of how it was obtained."""

    name: str
    values: np.ndarray

    @property
    def mean(self) -> float:
        """Average over data."""
        return float(np.mean(self.values))

    @property
    def se(self) -> float:
        """Standard error over data."""
        return float(np.std(self.values, ddof=1) / math.sqrt(self.values.size))


def choose(
    sides: list[Side], side: Literal["lower", "upper"], *, rounding: float = 0.0, **fields: Any
) -> Estimate:
    """Pick the tightest of k bounds, with an interval that holds for all k at once.

    Each bound gets a one-sided error of `TAIL`/k, so that picking the one with the best interval end keeps
    the level (Bonferroni). ``rounding`` widens it by a bound on the arithmetic's error.
    """
    sides = [s for s in sides if math.isfinite(s.mean) and math.isfinite(s.se)]
    if not sides:
        return Estimate.refused("unreliable", "no bound is finite", **fields)
    ends = [skewed_mean_interval(s.values, TAIL / len(sides)) for s in sides]
    at = 1 if side == "lower" else 2
    best = max(range(len(sides)), key=lambda i: ends[i][at] if side == "lower" else -ends[i][at])
    se, lower, upper = ends[best]
    return Estimate(
        value=sides[best].mean,
        se=se,
        lower=lower - rounding,
        upper=upper + rounding,
        bias_bound=rounding if rounding else math.nan,
        note=f"{side} bound: {sides[best].name}",
        **fields,
    )


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def at_least(estimate: Estimate, floor: float, why: str) -> Estimate:
    """Clip a bound from below at a value that the quantity cannot pass."""
    if not estimate.has_interval or estimate.lower >= floor:
        return estimate
    if estimate.value >= floor:
        return replace(estimate, lower=floor)
    return replace(
        estimate,
        value=floor,
        lower=floor,
        upper=max(estimate.upper, floor),
        note=_joined(estimate.note, f"{estimate.value:.4g} raised to {floor:.4g}: {why}"),
    )


def at_most(estimate: Estimate, ceiling: float, why: str) -> Estimate:
    """Clip a bound from above at a value that the quantity cannot pass."""
    if not estimate.has_interval or estimate.upper <= ceiling:
        return estimate
    if estimate.value <= ceiling:
        return replace(estimate, upper=ceiling)
    return replace(
        estimate,
        value=ceiling,
        upper=ceiling,
        lower=min(estimate.lower, ceiling),
        note=_joined(estimate.note, f"{estimate.value:.4g} cut to {ceiling:.4g}: {why}"),
    )
