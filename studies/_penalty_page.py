"""The page of the study on penalties in the KL's place: every sentence is computed from the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from _bound_table import bound_table
from _claims import claims_block
from _penalty_figures import region
from _penalty_findings import findings
from _penalty_sections import data_section, gradient_section
from _penalty_tables import (
    PENALTY,
    claims,
    mean_losses,
    omitted,
)

import vaeaudit as va
from vaeaudit.report import Figure, Math, Page, Section, Table, Text

TITLE = "May the KL be replaced by a penalty on μ and σ?"
QUESTION = (
    "What does $E\\log p(x|z) - \\sum_j (\\mu_j^2 + (\\sigma_j-1)^2)$ optimise, compared with the ELBO?"
)


def summary(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> pd.DataFrame:
    """One row per group and objective."""
    frames = va.tables.gather(results)
    if "per_datum" not in frames:
        return pd.DataFrame({"group": settings["groups"], "note": "data not found"})
    loss = mean_losses(frames["per_datum"])[["group", "objective", "value", "lower", "upper"]]
    table = loss.rename(columns={"value": "loss", "lower": "loss_lower", "upper": "loss_upper"})
    if "bounds" in frames:
        shares = bound_table(frames["bounds"])[["group", "objective", "share_exceeding", "mean_excess"]]
        table = shares.merge(table, on=["group", "objective"], how="outer", sort=False)
    return table


# -------------------------------------------------------------------------------------------- page


def page(
    settings: Mapping[str, Any], results: Mapping[str, va.CellResult], *, groups: Mapping[str, Any]
) -> Page:
    """The report."""
    frames = va.tables.gather(results)
    missing = [
        f"{groups[key.removeprefix('train ')]['title']} ({r.record['missing']})"
        for key, r in results.items()
        if key.startswith("train ") and "missing" in r.record
    ]
    found = findings(frames, missing)
    if "per_datum" not in frames:
        return Page(
            name="penalty_vs_kl",
            title=TITLE,
            question=QUESTION,
            verdict="None of the data sets asked for is on this machine.",
            findings=found,
            sections=[_claims_section()],
        )
    shown = list(dict.fromkeys(frames["per_datum"]["group"]))
    broken = bound_table(frames["bounds"]) if "bounds" in frames else pd.DataFrame()
    rows = broken[broken["objective"] == PENALTY] if len(broken) else broken
    loss = mean_losses(frames["per_datum"])
    lost = loss[(loss["objective"] == PENALTY) & (loss["lower"] > 0)]
    verdict = (
        f"The penalty exceeded log p(x) on {rows['num_exceeding'].sum():,} of {rows['num_data'].sum():,} held-out data "
        "where log p(x) is known, and its models had a certainly lower held-out log p(x) than the ELBO's in "
        f"{len(lost)} of {len(loss[loss['objective'] == PENALTY])} settings."
        if len(rows)
        else "See the tables."
    )
    return Page(
        name="penalty_vs_kl",
        title=TITLE,
        question=QUESTION,
        verdict=verdict,
        findings=found,
        sections=[
            _claims_section(claims(frames)),
            *([_theory_section(frames["theory"])] if "theory" in frames else []),
            _bound_section(frames, shown),
            *([gradient_section(frames, shown, groups)] if "path" in frames else []),
            data_section(frames, results, shown, groups),
        ],
    )


def _claims_section(judged: pd.DataFrame | None = None) -> Section:
    return Section(
        "What is being compared",
        [
            Text(
                "Both objectives share the first term. They differ in what they charge for $q(z|x)=N(\\mu,\\sigma^2)$, "
                "per latent:"
            ),
            Math(
                "\\mathrm{KL} = \\tfrac{1}{2}(\\mu^2 + \\sigma^2 - 1 - \\log \\sigma^2), \\qquad "
                "P = \\mu^2 + (\\sigma - 1)^2"
            ),
            Math(
                "P < \\mathrm{KL} \\iff \\sigma < 1 \\;\\mathrm{and}\\; \\mu^2 < -2 f(\\sigma), \\qquad "
                "f(\\sigma) = \\tfrac{1}{2}\\sigma^2 - 2\\sigma + \\tfrac{3}{2} + \\log\\sigma"
            ),
            Text(
                "Only there can the penalised objective pass log p(x), and it does wherever $\\mathrm{KL} - P$, summed "
                "over latents, exceeds the inference gap. The derivations are in `vaeaudit check`; here is what "
                "training does with it."
            ),
            *([] if judged is None else [claims_block(judged)]),
        ],
    )


def _theory_section(theory: pd.DataFrame) -> Section:
    columns = [
        "objective", "direction", "eigenvalue", "alive", "weight_sq", "scale", "posterior_scale", "log_evidence",
        "log_evidence_max", "attained",
    ]  # fmt: skip
    return Section(
        "What the linear theory says",
        [
            Text(
                "On Gaussian data with a linear decoder each objective's optimum has a closed form, one row per "
                "principal direction. Where it is not attained, the objective keeps growing as the decoder's weights "
                "grow and σ shrinks: training stops nowhere, and the measured models below are points on that way."
            ),
            Table(
                "theory",
                "Optimum on the training data's spectrum, noise fixed; nats per datum.",
                theory[[c for c in columns if c in theory]],
            ),
        ],
    )


def _bound_section(frames: Mapping[str, pd.DataFrame], shown: list[str]) -> Section:
    blocks: list[Any] = []
    if "bounds" in frames:
        blocks.append(
            Table(
                "bounds",
                "Held-out data certified above log p(x), seeds pooled.",
                bound_table(frames["bounds"]),
                formats={"share_exceeding": ".1%", "mean_excess": ".2f", "largest_excess": ".2f"},
                note="Excess: value of the objective less log p(x), with the noise of both; only certified data count. "
                "Where log p(x) is estimated its standard error enters the test, and data without a trustworthy "
                "estimate are left out.",
            )
        )
        scatter = frames["per_datum"].dropna(subset=["objective_value", "log_evidence"])
        for group in [g for g in shown if g in set(scatter["group"])]:
            part = scatter[scatter["group"] == group]
            blocks.append(
                Figure(
                    f"bound_{group}",
                    f"Objective value over log p(x), one point per datum and seed, `{group}`.",
                    "Scatter of objective values over log p(x) with the diagonal; points above it break the bound.",
                    lambda part=part: va.figures.bound_scatter(part),
                    part,
                )
            )
    blocks.append(
        Table(
            "omitted",
            "What each stand-in leaves out at the trained μ and σ (first seed): share of latents where it is below "
            "the KL, and the KL less the stand-in per datum.",
            omitted(frames["posterior"]),
            formats={"share_of_latents_below_kl": ".0%"},
        )
    )
    for group in shown:
        part = frames["posterior"][frames["posterior"]["group"] == group]
        blocks.append(
            Figure(
                f"region_{group}",
                f"Where each objective puts q(z|x) in `{group}`, one point per datum and latent; in the shaded region "
                "the penalty is below the KL.",
                "Scatter of |μ| over σ with the shaded region in which the penalty is smaller than the KL.",
                lambda group=group: region(frames["posterior"], group),
                part,
            )
        )
    return Section("Where the bound breaks", blocks)
