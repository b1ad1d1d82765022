"""`audit`: everything that is known about a model on data, checks first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pandas as pd

from vaeaudit import tables
from vaeaudit.auditing.checks import check_all
from vaeaudit.auditing.findings import judge
from vaeaudit.auditing.result import Audit
from vaeaudit.core.arrays import KeyLike, as_key
from vaeaudit.core.errors import unknown_name
from vaeaudit.core.records import Bracket, Estimate
from vaeaudit.estimators.active_units import active_units
from vaeaudit.estimators.aggregate_posterior import aggregate_posterior
from vaeaudit.estimators.encoding import encode_all
from vaeaudit.estimators.evidence import log_evidence
from vaeaudit.estimators.mean_gap import mean_inference_gap
from vaeaudit.estimators.rate_distortion import Target, check_target, rate_distortion
from vaeaudit.models.vae import AbstractVAE


@dataclass(frozen=True)
class Effort:
    """Draws of z per datum for the ELBO and for log p(x)."""

    elbo_samples: int
    evidence_samples: int


PRESETS = {
    "quick": Effort(32, 1000),
    "standard": Effort(128, 5000),
    "thorough": Effort(512, 50_000),
}


def audit(
    model: AbstractVAE,
    x: Any,
    rng_key: KeyLike = 0,
    preset: str = "standard",
    *,
    target: Target = "population",
    name: str = "audit",
) -> Audit:
    r"""Measure what a VAE does to data, after checking that it can be measured.

    elbo = −(rate + distortion) ≤ log p(x),   inference_gap = log p(x) − elbo,
    rate = mutual_information + marginal_kl,   marginal_kl = total_correlation + dimwise_kl

    Parameters
    ----------
    model
        From `vaeaudit.vae`, `vaeaudit.from_decoder`, or trained here.
    x
        Data (batch, *event), best held out from training; at least 2.
    rng_key
        Seed or JAX key.
    preset
        ``"quick"``, ``"standard"`` or ``"thorough"``: draws per datum, see `PRESETS`.
    target
        ``"population"``: intervals cover the mean over what the data were drawn from. ``"data"``: the mean
        over exactly these data, Monte-Carlo error alone.
    name
        Identifier of the report.

    Returns
    -------
    Audit
        ``table``, ``per_datum``, ``findings`` and ``save(folder)``.

    Raises
    ------
    ArgumentError, ShapeError, DtypeError, NonFiniteError, ScaleError, SupportError
        If the model or the data cannot be what they claim to be; raised before any number is computed.
    UnknownNameError
        For an unknown preset.

    Notes
    -----
    Each quantity keeps its estimator's verdict: where an interval cannot be vouched for there is none. Cost:
    one encoder pass, (elbo_samples + evidence_samples) decoder passes per datum, more where log p(x) is
    hard, and N² · J for the aggregate posterior.

    Examples
    --------
    >>> import vaeaudit as va
    >>> model = va.LinearGaussianVAE.random(0, data_dim=4, latent_dim=2)
    >>> x = model.generative.bias + 0.1 * jax.random.normal(jax.random.key(1), (50, 4))
    >>> result = va.audit(model, x, preset="quick")
    >>> list(result.table["quantity"][:4])
    ['elbo', 'log_evidence', 'inference_gap', 'rate']
    """
    if preset not in PRESETS:
        raise unknown_name("preset", preset, list(PRESETS))
    check_target(target)
    effort = PRESETS[preset]
    key = as_key(rng_key)
    x, findings = check_all(model, x, jax.random.fold_in(key, 0))
    loc, scale = encode_all(model, x)
    spread = rate_distortion(model, x, jax.random.fold_in(key, 1), effort.elbo_samples, target=target)
    evidence = log_evidence(model, x, jax.random.fold_in(key, 2), num_samples=effort.evidence_samples)
    aggregate = aggregate_posterior(model, x, jax.random.fold_in(key, 3), target=target)
    units = active_units(loc)
    log_p = evidence.mean if target == "data" else evidence.population_mean
    quantities: dict[str, Estimate | Bracket] = {
        "elbo": spread.elbo,
        "log_evidence": log_p,
        "inference_gap": mean_inference_gap(evidence, spread, target),
        "rate": spread.rate,
        "distortion": spread.distortion,
        "mutual_information": aggregate.mutual_information,
        "marginal_kl": aggregate.marginal_kl,
        "total_correlation": aggregate.total_correlation,
        "dimwise_kl": aggregate.dimwise_kl,
        "active_units": units.estimate(),
        "unreliable_share": Estimate.exact(
            float(np.mean(~evidence.reliable)),
            unit="share",
            num_data=len(evidence),
            note="share of data whose log p(x) has no trusted interval",
        ),
    }
    table = tables.tidy(quantities)
    if is_discrete(np.asarray(x)):
        nats = table[table["quantity"].isin(["elbo", "log_evidence"])]
        bits = tables.bits_per_dim(nats, math.prod(x.shape[1:])).assign(note="the same in other units")
        table = pd.concat([table, bits], ignore_index=True)
    own = evidence.per_datum.rename(
        columns={"se": "log_evidence_se", "lower": "log_evidence_lower", "upper": "log_evidence_upper"}
    )
    per_datum = pd.concat([spread.per_datum, own], axis=1)
    per_datum.insert(0, "datum", np.arange(len(per_datum)))
    findings += judge(quantities, aggregate, units, evidence, loc, scale)
    return Audit(
        name=name,
        preset=preset,
        target=target,
        table=table,
        per_datum=per_datum,
        findings=sorted(findings, key=lambda f: ("unreliable", "warn", "info", "pass").index(f.level)),
        quantities=quantities,
        by_latent=by_latent(aggregate.by_latent, units.variance, loc, scale),
        active_units=units.table,
        bounds=aggregate.bounds,
        loc=loc,
        scale=scale,
        model=model,
        x=np.asarray(x),
    )


def is_discrete(x: np.ndarray) -> bool:
    """Whether every value is 0 or 1, where bits per dimension do not depend on a unit of x."""
    return bool(np.isin(x, (0.0, 1.0)).all())


def by_latent(frame: pd.DataFrame, variance: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> pd.DataFrame:
    """One row per latent: rate, marginal KL bounds, variance of the posterior mean, moments of both."""
    out = frame.copy()
    out["loc_variance"] = variance
    out["loc_mean"] = loc.mean(0, dtype=np.float64)
    out["scale_mean"] = scale.mean(0, dtype=np.float64)
    out["scale_min"] = scale.min(0).astype(np.float64)
    return out
