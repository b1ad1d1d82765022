"""What the numbers of an audit mean, in plain words computed from them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from vaeaudit.core.records import Bracket, Estimate
from vaeaudit.estimators.active_units import ActiveUnits
from vaeaudit.estimators.aggregate_result import AggregatePosterior
from vaeaudit.estimators.evidence_result import LogEvidence
from vaeaudit.report.page import Finding

COLLAPSED = 1e-3  # nats of rate per datum below which the code carries next to nothing
WIDE_GAP = 1.0  # nats
FAR_FROM_PRIOR = 1.0  # nats


def interval(estimate: Estimate, digits: int = 2) -> str:
    """``12.34 [12.30, 12.38]``, or the value alone where there is no interval."""
    value = f"{estimate.value:.{digits}f}"
    if estimate.verdict == "exact" or not estimate.has_interval:
        return value
    return f"{value} [{estimate.lower:.{digits}f}, {estimate.upper:.{digits}f}]"


def judge(
    quantities: Mapping[str, Estimate | Bracket],
    aggregate: AggregatePosterior,
    units: ActiveUnits,
    evidence: LogEvidence,
    loc: np.ndarray,
    scale: np.ndarray,
) -> list[Finding]:
    """Findings from the numbers, in the order of the table."""
    return [
        *_evidence(quantities["log_evidence"], evidence),
        *_gap(quantities["inference_gap"]),
        *_collapse(quantities["rate"], units, loc, scale),
        *aggregate_findings(aggregate),
        *_units(units),
    ]


def _evidence(log_p: Estimate | Bracket, evidence: LogEvidence) -> list[Finding]:
    assert isinstance(log_p, Estimate)
    n, bad = len(evidence), int(np.sum(~evidence.reliable))
    if bad == 0:
        worst = evidence.pareto_k[np.isfinite(evidence.pareto_k)]
        detail = f"; the largest Pareto k is {worst.max():.2f}" if worst.size else ""
        return [Finding("pass", f"log p(x) is settled for all {n} data", f"{interval(log_p)} nats{detail}")]
    reasons, counts = np.unique(evidence.reason[~evidence.reliable].astype(str), return_counts=True)
    why = ", ".join(f"{r}: {c}" for r, c in sorted(zip(reasons, counts, strict=True), key=lambda p: -p[1]))
    return [
        Finding(
            "unreliable",
            f"log p(x) has no trusted interval for {bad} of {n} data ({bad / n:.1%})",
            why + "; the mean below is a lower bound in expectation",
            'preset="thorough", or log_evidence(method="ais") for these data',
        )
    ]


def _gap(gap: Estimate | Bracket) -> list[Finding]:
    assert isinstance(gap, Estimate)
    if not gap.has_interval:
        if math.isfinite(gap.value) and gap.value > WIDE_GAP:
            return [
                Finding(
                    "warn",
                    f"the ELBO understates log p(x) by at least about {gap.value:.2f} nats",
                    "log p(x) itself is only bounded from below, so the true gap is larger",
                    "do not compare models by their ELBO",
                )
            ]
        return []
    if gap.lower > WIDE_GAP:
        return [
            Finding(
                "warn",
                f"the ELBO understates log p(x) by {interval(gap)} nats",
                "q(z|x) differs from the posterior: its family is too small, or the encoder misses it",
                "compare models by log_evidence; inference_gap tells the two causes apart",
            )
        ]
    return [Finding("pass", f"the ELBO is within {max(gap.upper, 0):.2f} nats of log p(x) on average")]


def _collapse(
    rate: Estimate | Bracket, units: ActiveUnits, loc: np.ndarray, scale: np.ndarray
) -> list[Finding]:
    assert isinstance(rate, Estimate)
    spread = float(np.ptp(loc, axis=0).max())
    relative = float((np.ptp(scale, axis=0) / scale.mean(0)).max())
    findings = []
    if spread < 1e-6 and relative < 1e-6:
        findings.append(
            Finding(
                "warn",
                "the encoder returns the same loc and scale for every datum",
                "the code carries nothing about x: the mutual information is zero",
                "check that `encode` uses its argument; otherwise this is posterior collapse",
            )
        )
    elif rate.value < COLLAPSED or units.count() == 0:
        findings.append(
            Finding(
                "warn",
                "posterior collapse: the code carries next to nothing about x",
                f"rate {rate.value:.2g} nats per datum, {units.count()} active units",
                "a weaker decoder, a smaller weight on the KL, or free bits",
            )
        )
    wide = float(np.mean(scale > 1.0))
    if wide > 0.5 and float(np.median(scale)) > 1.2:
        findings.append(
            Finding(
                "warn",
                f"q(z|x) is wider than the prior in {wide:.0%} of its dimensions",
                f"the median scale is {float(np.median(scale)):.3g}; training rarely leads there",
                "if the encoder returns log σ, log σ² or σ², say so with encoder_output",
            )
        )
    return findings


def aggregate_findings(aggregate: AggregatePosterior) -> list[Finding]:
    """What the aggregate posterior says: whether data suffice, and how far it is from the prior."""
    findings = []
    if aggregate.saturated:
        findings.append(
            Finding(
                "warn",
                f"mutual information and marginal KL are limited by the {aggregate.num_data} data",
                f"estimates from a mixture cannot pass log N = {math.log(aggregate.num_data):.2f} nats",
                f"more data: {aggregate.num_data_needed}" if aggregate.num_data_needed else "more data",
            )
        )
    low, high = aggregate.marginal_kl.interval
    if low > FAR_FROM_PRIOR:
        findings.append(
            Finding(
                "warn",
                f"the aggregate posterior is at least {low:.2f} nats from the prior",
                "draws from the prior land where the decoder saw little data",
                "a larger weight on the rate, or a learned prior",
            )
        )
    elif high < FAR_FROM_PRIOR:
        findings.append(Finding("pass", f"the aggregate posterior is within {high:.2f} nats of the prior"))
    return findings


def _units(units: ActiveUnits) -> list[Finding]:
    gap = units.mode_gap
    total = len(units.variance)
    if gap.exists:
        return [
            Finding(
                "pass", f"{gap.count} of {total} latents are active at any threshold in the gap", str(gap)
            )
        ]
    return [
        Finding(
            "info",
            f"the number of active units depends on its threshold: {units.count()} of {total} at 0.01",
            str(gap),
            "read the curve over thresholds",
        )
    ]
