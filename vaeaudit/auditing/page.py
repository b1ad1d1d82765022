"""The report of one audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import pandas as pd

import vaeaudit
from vaeaudit import figures
from vaeaudit.core.records import Estimate
from vaeaudit.models.likelihoods import AbstractLikelihood
from vaeaudit.report.page import Block, Figure, Math, Page, Section, Table, Text

if TYPE_CHECKING:
    from vaeaudit.auditing.result import Audit

IDENTITIES = (
    r"\text{elbo} = -(\text{rate} + \text{distortion}) \le \log p(x), \quad "
    r"\text{rate} = \text{mutual information} + \text{marginal KL}"
)
LEAST = 20  # data shown in the table of the least certain


def verdict(audit: Audit) -> str:
    """One or two sentences from the numbers and the gravest findings."""
    log_p, elbo = audit.quantities["log_evidence"], audit.quantities["elbo"]
    assert isinstance(log_p, Estimate)
    assert isinstance(elbo, Estimate)
    invalid = [
        f for f in audit.findings if f.level == "unreliable" and not f.what.startswith("log p(x) has no")
    ]
    if invalid:
        return f"The numbers below are not log densities of these data: {invalid[0].what}."
    if log_p.has_interval:
        first = (
            f"log p(x) is {log_p.value:.2f} nats per datum [{log_p.lower:.2f}, {log_p.upper:.2f}]; "
            f"the ELBO is {elbo.value:.2f}."
        )
    else:
        share = float(np.mean(~audit.per_datum["reliable"].astype(bool)))
        first = (
            f"log p(x) is not settled for {share:.1%} of the data, so only a lower bound is given: "
            f"{log_p.value:.2f} nats per datum on average; the ELBO is {elbo.value:.2f}."
        )
    warnings = [f.what for f in audit.findings if f.level == "warn"]
    return first + (f" Note: {warnings[0]}." if warnings else "")


def page(audit: Audit) -> Page:
    """Build the report of an audit."""
    return Page(
        name=audit.name,
        title=f"Audit of a VAE with {audit.model.latent_dim} latents",
        question="How good is this model, and how far can the numbers be trusted?",
        verdict=verdict(audit),
        findings=audit.findings,
        sections=[
            Section("Quantities", _quantities(audit)),
            Section("log p(x), datum by datum", _evidence(audit)),
            Section("The code and the prior", _code(audit)),
            *_pictures(audit),
            Section("Every bound on the aggregate posterior", _bounds(audit), collapsed=True),
        ],
        provenance=provenance(audit),
    )


def _quantities(audit: Audit) -> list[Block]:
    meaning = (
        "Intervals cover the mean over what the data were drawn from."
        if audit.target == "population"
        else "Intervals cover the mean over exactly these data: Monte-Carlo error alone."
    )
    return [
        Text(f"{meaning} Nats per datum unless said otherwise. A quantity without an interval says why."),
        Math(IDENTITIES),
        Table("audit", "Every quantity with its 95 % interval and verdict", audit.table),
    ]


def _evidence(audit: Audit) -> list[Block]:
    frame = audit.per_datum
    order = frame.sort_values(["reliable", "log_evidence_se"], ascending=[True, False], kind="stable")
    columns = ["datum", "elbo", "log_evidence", "log_evidence_se", "pareto_k", "ess", "reliable", "method"]
    methods = frame.groupby(["method", "reliable"], sort=True).size().rename("data").reset_index()
    blocks: list[Block] = [
        Text("An importance-weighted estimate is trusted where its weights' tail allows a standard error."),
        Table("methods", "How log p(x) was found, and for how many data it is reliable", methods),
        Table(
            "least_certain",
            f"The {min(LEAST, len(frame))} least certain data",
            order.head(LEAST),
            columns=columns,
        ),
    ]
    blocks.append(
        Figure(
            "evidence",
            "The ELBO against log p(x), datum by datum",
            f"Scatter plot of {len(frame)} data: log p(x) across, ELBO up, with the diagonal.",
            lambda: figures.bound_scatter(frame, y="elbo", facet=None),
            frame[["datum", "elbo", "log_evidence", "log_evidence_upper", "reliable"]],
            "half",
        )
    )
    return [*blocks, Table("per_datum", "Every datum", frame, columns=columns, max_rows=10)]


def _code(audit: Audit) -> list[Block]:
    counts = audit.active_units
    posterior = posterior_frame(audit)
    return [
        Figure(
            "posterior",
            "Means and standard deviations of q(z|x), over data and latents",
            "Two histograms: posterior means, and posterior standard deviations on a logarithmic axis.",
            lambda: figures.posterior_histograms(posterior, hue="model"),
            posterior,
        ),
        Table(
            "by_latent", "Each latent: its rate, its distance from the prior, its posterior", audit.by_latent
        ),
        Figure(
            "active_units",
            "Active units against the threshold, with a 95 % band",
            f"Line from {counts['count'].iloc[0]} units at the smallest threshold to "
            f"{counts['count'].iloc[-1]} at the largest.",
            lambda: figures.active_unit_curve(counts),
            counts,
            "half",
        ),
        Table(
            "active_units",
            "Active units over thresholds on the variance of the posterior mean",
            counts,
            note="With a 95 % band from resampling the data.",
            max_rows=40,
        ),
    ]


def posterior_frame(audit: Audit) -> pd.DataFrame:
    """Loc and scale as one row per datum and latent, of at most 1,000 data."""
    loc, scale = audit.loc[:1000], audit.scale[:1000]
    data, latents = np.indices(loc.shape)
    return pd.DataFrame(
        {
            "model": audit.name,
            "datum": data.ravel(),
            "latent": latents.ravel(),
            "loc": loc.ravel().astype(float),
            "scale": scale.ravel().astype(float),
        }
    )


def _pictures(audit: Audit) -> list[Section]:
    """Data, reconstructions and prior samples, where the data are pictures and the model has a decoder."""
    shape = audit.x.shape[1:]
    likelihood = getattr(audit.model, "likelihood", None)
    pictorial = (len(shape) == 2 or (len(shape) == 3 and shape[-1] in (1, 3))) and min(shape[:2]) >= 4
    if not (pictorial and hasattr(audit.model, "decode") and isinstance(likelihood, AbstractLikelihood)):
        return []
    count = min(10, len(audit.x))
    codes = [audit.loc[:count], np.random.default_rng(0).standard_normal(audit.loc[:count].shape)]
    rows = [audit.x[:count]]
    rows += [np.asarray(likelihood.mean(audit.model.decode(jnp.asarray(z, jnp.float32)))) for z in codes]
    images = np.stack(rows)
    value_range = (0.0, 1.0) if likelihood.support != "real" else (float(audit.x.min()), float(audit.x.max()))
    labels = ["data", "reconstruction", "from the prior" if audit.model.standard_prior else "from N(0, I)"]
    figure = Figure(
        "pictures",
        "Data, the decoder's mean at loc, and the decoder's mean at draws of z",
        f"{count} pictures in each of three rows: data, their reconstructions, samples.",
        lambda: figures.image_grid(images, labels, value_range=value_range),
    )
    return [Section("Pictures", [figure])]


def _bounds(audit: Audit) -> list[Block]:
    if audit.bounds.empty:
        return [Text("The finite mixture of these data has a known density: there are no separate bounds.")]
    return [Table("bounds", "Average of each bound, in nats", audit.bounds)]


def provenance(audit: Audit) -> dict[str, Any]:
    """What the numbers depend on."""
    import jax

    return {
        **audit.provenance,
        "preset": audit.preset,
        "intervals cover": audit.target,
        "data": f"{audit.x.shape[0]} × {audit.x.shape[1:]}",
        "vaeaudit": vaeaudit.__version__,
        "jax": jax.__version__,
        "device": str(jax.devices()[0]),
    }
