"""The register of claims, and the command that judges all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pandas as pd

from vaeaudit.core.errors import unknown_name
from vaeaudit.derivations.claim import Claim

COLUMNS = (
    "claim",
    "id",
    "family",
    "statement",
    "verdict",
    "registered",
    "agrees",
    "conditions",
    "evidence",
    "counterexample",
    "correction",
    "latex",
    "met_in",
    "source",
    "checks",
)


@cache
def families() -> dict[str, tuple[Claim, ...]]:
    """Claims by family, in the order in which they are read."""
    from vaeaudit.derivations import (
        aggregate,
        decoder_scale,
        elbo_identities,
        gradient_noise,
        heads_and_noise,
        kl_and_penalty,
        kl_weight,
        linear_claims,
        linear_gaussian,
        linear_rate_claims,
        multisample,
        penalty_limits,
        penalty_reading,
        regularisers_as_priors,
        signs,
        squared_errors,
        variational,
    )

    named = {
        "The KL term and a penalty on loc and scale": kl_and_penalty.CLAIMS,
        "What the penalty optimises": (*penalty_reading.CLAIMS, *penalty_limits.CLAIMS),
        "The ELBO and its rewritings": elbo_identities.CLAIMS,
        "What the bound does": variational.CLAIMS,
        "More samples, and the gap": multisample.CLAIMS,
        "Per datum and in aggregate": aggregate.CLAIMS,
        "Scaling the KL": decoder_scale.CLAIMS,
        "What a squared error stands for": squared_errors.CLAIMS,
        "The weight of the KL at the optimum": kl_weight.CLAIMS,
        "Weights, heads and noise": (*heads_and_noise.CLAIMS, *gradient_noise.CLAIMS),
        "Signs and readings": (*signs.CLAIMS, *regularisers_as_priors.CLAIMS),
        "The linear-Gaussian model": (
            *linear_gaussian.CLAIMS,
            *linear_claims.CLAIMS,
            *linear_rate_claims.CLAIMS,
        ),
    }
    return {title: tuple(replace(c, family=title) for c in claims) for title, claims in named.items()}


def claims() -> tuple[Claim, ...]:
    """Every registered claim."""
    return tuple(claim for group in families().values() for claim in group)


def _answers_to(claim: Claim, name: str) -> bool:
    ids = (claim.id, *claim.also)
    return name in (claim.name, *ids) or any(i[-1].islower() and i[:-1] == name for i in ids)


def select(names: str | Sequence[str] | None = None) -> tuple[Claim, ...]:
    """Claims by name, by id (``A3``), or by a row that has parts (``C3`` selects ``C3a`` and ``C3b``).

    Raises
    ------
    UnknownNameError
        If a name selects nothing.
    """
    if names is None:
        return claims()
    chosen: list[Claim] = []
    for name in [names] if isinstance(names, str) else names:
        found = [c for c in claims() if _answers_to(c, name)]
        if not found:
            raise unknown_name("claim", name, [c.name for c in claims()] + [c.id for c in claims()])
        chosen += [c for c in found if c not in chosen]
    return tuple(chosen)


def check_derivations(names: str | Sequence[str] | None = None) -> pd.DataFrame:
    r"""Judge claims by running their checks.

    Parameters
    ----------
    names
        Names or ids of claims; all of them when omitted.

    Returns
    -------
    DataFrame
        One row per claim: ``claim``, ``id``, ``statement``, ``verdict`` as the checks reach it now,
        ``registered`` as it stands on record, ``agrees``, ``evidence``, ``counterexample``,
        ``correction``, ``latex``, ``source`` and more (`COLUMNS`).

    Raises
    ------
    UnknownNameError
        If a name selects no claim.

    Notes
    -----
    The verdict is computed, never copied: a formula that is changed changes it. Searches use fixed
    seeds, so the table is the same at every run. A claim that only measurement can settle has the
    verdict ``measured by NAME: FOUND`` from the recorded table of the study of that name, which is held
    against the register like any other; without a table it is ``measured by NAME (not run here)``.

    Examples
    --------
    >>> import vaeaudit as va
    >>> table = va.check_derivations(["M3b", "penalty-is-squared-wasserstein"])
    >>> list(table["verdict"]), bool(table["agrees"].all())
    (['holds under conditions', 'identity'], True)
    """
    rows = []
    for claim in select(names):
        judged = claim.judge()
        rows.append(
            {
                "claim": claim.name,
                "id": claim.id,
                "family": claim.family,
                "statement": claim.statement,
                "verdict": claim.described(judged.verdict, judged.measured),
                "registered": claim.described(claim.registered, claim.measured),
                "agrees": judged.verdict == claim.registered and judged.measured in ("", claim.measured),
                "conditions": claim.conditions,
                "evidence": judged.evidence,
                "counterexample": judged.counterexample,
                "correction": claim.correction,
                "latex": claim.latex,
                "met_in": claim.met_in,
                "source": claim.source,
                "checks": ", ".join(judged.kinds),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))
