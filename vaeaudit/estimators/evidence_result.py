"""What `log_evidence` returns: one row per datum, and means that keep three errors apart."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from vaeaudit.core.errors import ShapeError
from vaeaudit.core.records import Z95, Estimate
from vaeaudit.estimators.intervals import chain_interval, judge, skew_interval
from vaeaudit.estimators.reliability import Floats
from vaeaudit.estimators.weights import WeightSummary

MAX_SPREAD = 0.4  # nats: largest standard deviation of the judging chains' log weights
OWN_SPREAD = 1.0  # of the chains' own: wide, and catches disasters only
MIN_CHAINS = 8  # below this not even the spread is known
LOG20 = math.log(20.0)  # Markov: P(p̂ ≥ 20 p) ≤ 1/20 for any unbiased p̂ ≥ 0


@dataclass(frozen=True)
class LogEvidence:
    """log p(x) per datum with its reliability; arrays of shape (batch,), nats.

    ``value`` is low in expectation for Monte-Carlo methods (log of an unbiased p̂). ``lower`` and
    ``upper`` are a 95 % interval, NaN where not ``reliable``; ``se`` is there always, as the spread of the
    draws that were made, and says nothing about draws that were not. ``bias`` estimates E value − log p,
    ``bias_bound`` bounds it to second order in se, and ``residual_bound`` what is left of it after
    ``bias`` is subtracted. ``reason`` says why a datum is not reliable; empty otherwise.
    """

    value: Floats
    se: Floats
    lower: Floats
    upper: Floats
    pareto_k: Floats
    ess: Floats
    max_weight_share: Floats
    bias: Floats
    bias_bound: Floats
    residual_bound: Floats
    reliable: np.ndarray
    method: np.ndarray
    num_samples: np.ndarray
    reason: np.ndarray

    def __post_init__(self) -> None:
        shapes = {name: getattr(self, name).shape for name in self.__dataclass_fields__}
        if len(set(shapes.values())) != 1:
            raise ShapeError(f"all fields of LogEvidence must share one shape (batch,); got {shapes}.")

    def __len__(self) -> int:
        return self.value.shape[0]

    @cached_property
    def mean(self) -> Estimate:
        """Mean of log p(x) over these data, with the Monte-Carlo error alone.

        The value is the mean of the per-datum values plus the estimated K-bias. Where some data are
        not reliable it is the plain mean, `lower bound only`, without a standard error (draws that missed
        mass report one that is too small), and the note carries a bound that holds with probability 0.95
        whatever the weights: mean log p̂ − log(20)/N, by Markov's inequality on the product of the p̂.
        Where some data have no number at all, so has the mean.
        """
        n = len(self)
        total = int(self.num_samples.sum())
        missing = np.isnan(self.value)
        common: dict[str, Any] = {"num_samples": total, "num_data": n}
        if missing.any():
            rest = f"; the mean over the other {n - missing.sum()} is {np.mean(self.value[~missing]):.3f}"
            return Estimate.refused(
                "unreliable",
                f"{missing.sum()} of {n} data have no value ({self._commonest(missing)})"
                + (rest if not missing.all() else ""),
                **common,
            )
        plain = float(np.mean(self.value))
        doubtful = ~self.reliable
        if doubtful.any():
            return Estimate.refused(
                "lower bound only",
                f"{doubtful.sum()} of {n} data not settled ({self._commonest(doubtful)}); with probability "
                f"0.95 the mean is at least {plain - LOG20 / n:.3f}",
                value=plain,
                **common,
            )
        correction = float(np.mean(self.bias))
        se = float(np.sqrt(np.sum(self.se**2)) / n)
        if n == 1:
            return Estimate(
                value=plain - correction,
                se=se,
                lower=float(self.lower[0]),
                upper=float(self.upper[0]),
                bias_bound=float(self.bias_bound[0]),
                **common,
            )
        return Estimate.normal(
            plain - correction,
            se,
            bias_bound=float(np.mean(self.residual_bound)),
            note=f"K-bias correction {-correction:+.2g}",
            **common,
        )

    @cached_property
    def population_mean(self) -> Estimate:
        """Mean over the population the data were drawn from: Monte-Carlo and test-set sampling error."""
        here = self.mean
        n = len(self)
        if not here.has_interval or n < 2:
            return here
        total = float(np.std(self.value, ddof=1) / math.sqrt(n))  # holds the Monte-Carlo part already
        half = Z95 * max(total, here.se) + here.bias_bound
        return replace(
            here,
            se=max(total, here.se),
            lower=here.value - half,
            upper=here.value + half,
            note="test-set sampling error included",
        )

    @property
    def errors(self) -> dict[str, Estimate]:
        """The three errors of the dataset mean, each as a number of its own (nats).

        The Monte-Carlo error and the K-bias are refused where some data are not reliable: neither is
        known then.
        """
        n = len(self)
        finite = self.value[~np.isnan(self.value)]
        sampling = float(np.std(finite, ddof=1) / math.sqrt(n)) if finite.size > 1 else math.nan
        noise = Estimate(float(np.sqrt(np.sum(self.se**2)) / n), num_data=n)
        k_bias = Estimate(float(np.mean(self.bias)), num_data=n, note="subtracted from the mean")
        if not self.reliable.all():
            note = f"{self.unsettled.size} of {n} data not settled"
            noise = k_bias = Estimate.refused("unreliable", note, num_data=n)
        return {
            "monte_carlo_se": noise,
            "k_bias": k_bias,
            "sampling_se": Estimate(sampling, num_data=n),
        }

    @property
    def per_datum(self) -> pd.DataFrame:
        """One row per datum; ``se`` is blank where the datum is not reliable."""
        names = ["value", "se", "lower", "upper", "pareto_k", "ess", "max_weight_share", "bias_bound"]
        names += ["reliable", "method", "num_samples", "reason"]
        frame = pd.DataFrame({name: getattr(self, name) for name in names})
        frame.loc[~self.reliable.astype(bool), "se"] = np.nan
        return frame.rename(columns={"value": "log_evidence"})

    @property
    def unsettled(self) -> np.ndarray:
        """Indices of the data without a trusted interval."""
        return np.flatnonzero(~self.reliable)

    def rows(self, index: np.ndarray) -> LogEvidence:
        """The result for some of the data."""
        return LogEvidence(**{name: getattr(self, name)[index] for name in self.__dataclass_fields__})

    def flagged(self, where: np.ndarray, reason: str) -> LogEvidence:
        """A copy in which the data ``where`` lose their interval for ``reason``."""
        if not where.any():
            return self
        why = self.reason.astype(object)
        why[where] = reason
        return replace(
            self,
            reliable=self.reliable.astype(bool) & ~where,
            lower=np.where(where, np.nan, self.lower),
            upper=np.where(where, np.nan, self.upper),
            reason=why,
        )

    def _commonest(self, where: np.ndarray) -> str:
        reasons, counts = np.unique(self.reason[where], return_counts=True)
        return str(reasons[np.argmax(counts)])

    def replaced(self, index: np.ndarray, other: LogEvidence) -> LogEvidence:
        """A copy whose rows ``index`` come from ``other``, sample counts added."""
        fields = {}
        for name in self.__dataclass_fields__:
            mine = getattr(self, name)
            new = getattr(other, name)
            merged = (
                mine.astype(np.result_type(mine, new)) if mine.dtype.kind in "fib" else mine.astype(object)
            )
            merged[index] = new + mine[index] if name == "num_samples" else new
            fields[name] = merged
        return LogEvidence(**fields)


def concatenate(parts: list[LogEvidence]) -> LogEvidence:
    """Join results along the batch axis."""
    return LogEvidence(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in LogEvidence.__dataclass_fields__
        }
    )


def from_weights(
    summary: WeightSummary,
    method: str,
    *,
    rounding: float | Floats = 0.0,
    pilot_k: Floats | None = None,
    pilot_samples: int = 0,
) -> LogEvidence:
    """Turn a weight summary into values, intervals and verdicts; see `vaeaudit.estimators.intervals`.

    ``rounding`` is the float error of one log weight (nats): it widens the interval, since rounding of
    the same sign in all draws does not average out.
    """
    k = summary.count
    value, variance, third = summary.moments()
    se = np.sqrt(variance / k)
    below, above = skew_interval(variance, third, k)
    pareto, ess, share = summary.pareto_k(), summary.ess(), summary.max_weight_share()
    reason = judge(value, se, pareto, ess, share, k, pilot_k=pilot_k, pilot_samples=pilot_samples)
    reliable = reason == ""
    skew_term = np.abs(third) / k**2
    return LogEvidence(
        value=value,
        se=np.where(np.isnan(value), np.nan, np.sqrt(se**2 + np.asarray(rounding) ** 2)),
        lower=np.where(reliable, value + below - rounding, np.nan),
        upper=np.where(reliable, value + above + rounding, np.nan),
        pareto_k=pareto,
        ess=ess,
        max_weight_share=share,
        bias=np.where(np.isfinite(value), -0.5 * se**2, np.nan),
        bias_bound=0.5 * se**2 + skew_term + se**4,
        residual_bound=skew_term + se**4,
        reliable=reliable,
        method=np.full(value.shape, method, dtype=object),
        num_samples=np.full(value.shape, k + pilot_samples, dtype=np.int64),
        reason=reason,
    )


def from_chains(log_w: Floats, judges: Floats, method: str, cost: int) -> LogEvidence:
    """Values, intervals and verdicts from a few independent chains' log weights (chain, batch).

    The interval is `chain_interval` of ``log_w``; it is refused where the log weights of ``judges``,
    further chains that enter nothing else, spread by more than `MAX_SPREAD`, or there are fewer than
    `MIN_CHAINS` chains.

    Notes
    -----
    Chains that missed the tail have a small spread and a small p̂ together. Refusing by their own spread
    keeps those: where it is 0.4 on average, intervals of chains with a spread below 0.3 cover 62–91 %.
    """
    chains, batch = log_w.shape
    summary = WeightSummary(batch, chains)
    summary.add(log_w)
    value, variance, third = summary.moments()
    se = np.sqrt(variance / chains)
    lower, upper, spread = chain_interval(np.where(np.isnan(value), np.nan, log_w))
    reason = np.full(batch, "", dtype=object)
    with np.errstate(invalid="ignore"):
        seen = np.std(judges, axis=0, ddof=1)
    reason[~((seen <= MAX_SPREAD) & (spread <= OWN_SPREAD))] = (
        f"log weights of the chains spread by more than {MAX_SPREAD} nats: raise num_temperatures of "
        "ais_log_evidence"
    )
    if chains < MIN_CHAINS:
        reason[:] = f"fewer than {MIN_CHAINS} chains give no interval"
    reason[np.isnan(value)] = "the model returned NaN or +inf"
    reliable = reason == ""
    rounding = 4 * np.finfo(np.float32).eps * np.maximum(np.abs(np.nan_to_num(value)), 1.0)
    skew_term = np.abs(third) / chains**2
    return LogEvidence(
        value=value,
        se=np.where(np.isnan(value), np.nan, np.sqrt(se**2 + rounding**2)),
        lower=np.where(reliable, lower - rounding, np.nan),
        upper=np.where(reliable, upper + rounding, np.nan),
        pareto_k=summary.pareto_k(),
        ess=summary.ess(),
        max_weight_share=summary.max_weight_share(),
        bias=np.where(np.isfinite(value), -0.5 * se**2, np.nan),
        bias_bound=0.5 * se**2 + skew_term + se**4,
        residual_bound=skew_term + se**4,
        reliable=reliable,
        method=np.full(batch, method, dtype=object),
        num_samples=np.full(batch, cost, dtype=np.int64),
        reason=reason,
    )
