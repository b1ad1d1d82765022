"""The page of the study on the aggregate posterior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import _aggregate_figures as figures
import pandas as pd
from _aggregate_findings import (
    about_definitions,
    about_known_answer,
    about_matching,
    about_penalty_plateau,
    about_scores,
)
from _aggregate_tables import (
    bounds_table,
    by_batch_size,
    claims,
    closest,
    disagreement,
    drawable,
    errors_by_form,
    over_seeds,
    plateaus,
    reversals,
    row_of,
    score_differences,
    scores_over_seeds,
)
from _claims import claim_findings, claims_block

import vaeaudit as va
from vaeaudit.report.page import Figure, Math, Page, Section, Table, Text


def summary(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> pd.DataFrame:
    """Bounds over seeds per objective, one row each."""
    del settings
    return bounds_table(over_seeds(va.tables.gather(results)["quantities"]))


def page(
    settings: Mapping[str, Any], results: Mapping[str, va.CellResult], *, groups: Mapping[str, Any]
) -> Page:
    """Build the report from the stored frames."""
    frames = va.tables.gather(results)
    hull = over_seeds(frames["quantities"])
    findings = [
        *about_known_answer(frames["forms"], frames["known"]),
        *about_matching(hull),
        *about_penalty_plateau(frames["units"]),
        *about_definitions(frames["definitions"], frames["ablation"]),
    ]
    sections = [
        known_section(frames["forms"], frames["known"]),
        matching_section(frames["quantities"], hull, groups),
        unit_section(frames),
    ]
    if "scores" in frames:
        findings += [*about_scores(frames["scores"]), *claim_findings(claims(frames["scores"]))]
        sections.append(score_section(frames["scores"]))
    sections.append(all_numbers(frames, hull))
    return Page(
        name="aggregate_posterior",
        title="Does the KL term make q(z) match the prior?",
        question="How far is the aggregate posterior from the prior, and what do published estimates of that say?",
        verdict=_verdict(hull),
        findings=findings,
        sections=sections,
        provenance={"settings": dict(settings)},
    )


def _verdict(hull: pd.DataFrame) -> str:
    verdict = (
        "Half a truth. The KL term is mutual information plus KL(q(z) ‖ p(z)): it can fall by carrying less "
        "about x, and q(z) can match the prior at any rate. "
    )
    pairs = [(g, a, b) for g in hull["group"].unique() for a, b in reversals(hull, g)]
    if not pairs:
        return (
            verdict
            + "Here no pair of objectives is certainly ordered differently per datum and on aggregate."
        )
    rate = {p: row_of(hull, group=p[0], objective=p[1], quantity="rate")["middle"] for p in pairs}
    group, a, b = max(pairs, key=lambda p: rate[p])
    other = row_of(hull, group=group, objective=b, quantity="rate")["middle"]
    return verdict + (
        f"On {group}, {a} spends {rate[group, a, b]:.1f} nats per datum against {other:.1f} of {b}, and yet its "
        "q(z) lies closer to the prior."
    )


def known_section(forms: pd.DataFrame, known: pd.DataFrame) -> Section:
    """Published estimates against a closed form."""
    seen = figures.ceiling_frame(forms, known)
    errors = errors_by_form(forms, known, 128)
    shown = known.assign(width=known["upper"] - known["lower"])
    return Section(
        "What published estimates return where the answer is known",
        [
            Text(
                "Six correlated latents with $\\mu(x)$ Gaussian and $\\sigma$ constant: everything is known in "
                "closed form. The forms in use see one minibatch at a time; ours sees all data."
            ),
            Text(
                "What the forms take for $q(z)$, with B of N data in the batch: **in batch**, the mean of q(z|x) over "
                "the batch; **weighted**, its sum with weight $1/(NB)$; **stratified**, weights under which the sum is "
                "unbiased for all N data. The last two are stratified, each with a fault found in public code."
            ),
            Math(r"\mathbb{E}\,\mathrm{KL}(q(z|x)\|p(z)) = I_q(x;z) + \mathrm{KL}(q(z)\|p(z))"),
            Figure(
                "ceiling",
                "Mutual information against the data that an estimate sees. One batch stays under log(batch); "
                "bars are our brackets; the dotted line is exact.",
                "Lines of mutual information from batches below the line log(data seen), and three brackets around "
                "the exact value.",
                lambda: figures.ceiling(seen),
                seen,
            ),
            Figure(
                "errors",
                "Mutual information less the exact value: batches of 128, and our bracket from all data.",
                "Horizontal intervals of the error of five minibatch forms and of the bracket.",
                lambda: va.figures.evidence_intervals(
                    errors, label="form", hue=None, x_label="estimate − exact (nats)"
                ),
                errors,
            ),
            Table("information_by_batch", "Mutual information (nats) by form and batch size.",
                  by_batch_size(forms, "mutual_information"),
                  note=f"Exact: {float(row_of(forms, quantity='mutual_information')['truth']):.3f}."),
            Table("correlation_by_batch", "Total correlation (nats): negative values are impossible.",
                  by_batch_size(forms, "total_correlation"),
                  note=f"Exact: {float(row_of(forms, quantity='total_correlation')['truth']):.3f}."),
            Table("known_brackets", "Our brackets on the same model, by number of data.", shown,
                  columns=("num_given", "quantity", "lower", "upper", "width", "truth", "saturated"),
                  note="Ends carry the sampling error of the data; `saturated` says that log N binds."),
        ],
    )  # fmt: skip


def matching_section(quantities: pd.DataFrame, hull: pd.DataFrame, groups: Mapping[str, Any]) -> Section:
    """Per datum against on aggregate."""
    blocks: list[Any] = [
        Text(
            "Validation and test data together, which no model saw; every number is a bracket. "
            "$W_2^2(q(z), p) \\le \\mathbb{E}\\,W_2^2(q(z|x), p)$: the parameter penalty bounds the aggregate "
            "distance from above and can be far from it."
        )
    ]
    for group in hull["group"].unique():
        stem, title = group.replace(" ", "_"), groups[group]["title"]
        points = figures.matching_frame(quantities, group)
        split = quantities[
            (quantities["group"] == group)
            & quantities["quantity"].isin(("rate", "mutual_information", "marginal_kl"))
        ]
        blocks += [
            Figure(
                f"matching_{stem}",
                f"Per datum across, on aggregate upwards: {title}, every seed.",
                "Points of rate against sliced squared Wasserstein distance, with intervals, per objective.",
                lambda points=points: figures.matching(points),
                points,
            ),
            Figure(
                f"split_{stem}",
                f"Rate = mutual information + marginal KL: {title}, every seed.",
                "Horizontal intervals of rate, mutual information and marginal KL per objective.",
                lambda split=split: va.figures.evidence_intervals(split, label="objective", x_label="nats"),
                split,
            ),
        ]
    blocks += [
        Table("bounds", "Bounds per objective: hull over seeds of the 95 % intervals.", bounds_table(hull)),
        Table("closest", "Who is closest to the prior, and by which measure.", closest(hull)),
    ]
    return Section("Who matches the prior on aggregate, who per datum", blocks)


def unit_section(frames: Mapping[str, pd.DataFrame]) -> Section:
    """Active units: variances, counts over thresholds, definitions, ablation."""
    curve, latents, ablation = frames["unit_curve"], frames["latents"], frames["ablation"]
    group = curve["group"].iloc[-1]
    first = curve[(curve["seed"] == curve["seed"].min()) & (curve["group"] == group)]
    variances = latents[latents["group"] == group]
    lost = ablation[ablation["group"] == ablation["group"].iloc[-1]]
    return Section(
        "How many units are active?",
        [
            Text(
                "A unit counts as active where the variance over data of $\\mathbb{E}[z_j|x]$ exceeds a threshold, "
                "usually 0.01. That is well defined where the variances leave a gap around the threshold."
            ),
            Figure(
                "unit_variances",
                f"Every latent of every model: {group}.",
                "Marks on a logarithmic axis, one row per objective and seed, with the usual threshold as a line.",
                lambda: figures.unit_variances(variances),
                variances,
            ),
            Figure(
                "unit_curve",
                f"Active units against the threshold, with bootstrap bands: {group}, first seed.",
                "Step lines of active-unit counts over thresholds from 1e-4 to 1e-1, one per objective.",
                lambda: va.figures.active_unit_curve(first),
                first,
            ),
            Table("plateaus", "Is there a plateau of the count, and between which thresholds (medians)? Last: the "
                  "count at the usual threshold, mean over seeds.", plateaus(frames["units"]),
                  columns=("group", "objective", "seeds_with_plateau", "units_in_plateau", "from_threshold",
                           "to_threshold", "decades", "count_at_0.01"),
                  formats={"from_threshold": ".2g", "to_threshold": ".2g", "decades": ".1f"}),
            Table("definitions", "Active units under each definition, mean over seeds.",
                  disagreement(frames["definitions"])),
            Figure(
                "ablation",
                f"What ablating a unit costs in log p(x): {lost['group'].iloc[0]}, first seed.",
                "Points of the loss of log p(x) with intervals against the variance of the unit's mean.",
                lambda: figures.ablation(lost),
                lost,
            ),
        ],
    )  # fmt: skip


def score_section(scores: pd.DataFrame) -> Section:
    """Disentanglement over β."""
    table = scores_over_seeds(scores)
    shown, judged = drawable(table), claims(scores)
    return Section(
        "Does β > 1 disentangle?",
        [
            Text(
                "Sprites with five known factors: shape, scale, rotation, x, y. MIG, DCI (disentanglement, "
                "completeness, informativeness) and SAP of held-out posterior means; intervals are over seeds."
            ),
            Figure(
                "scores",
                "Disentanglement scores per objective with intervals over seeds.",
                "Points with intervals for five scores per objective.",
                lambda: va.figures.evidence_intervals(shown, label="objective", x_label="score"),
                shown,
            ),
            Table(
                "score_differences", "Difference to the ELBO from the same seed.", score_differences(scores)
            ),
            *([claims_block(judged)] if len(judged) else []),
        ],
    )


def all_numbers(frames: Mapping[str, pd.DataFrame], hull: pd.DataFrame) -> Section:
    """Whole frames, a few rows of each on the page."""
    blocks = [
        Table("quantities", "Every model, every quantity.", frames["quantities"],
              columns=("group", "objective", "seed", "quantity", "value", "lower", "upper", "verdict", "saturated"),
              max_rows=15),
        Table("over_seeds", "Every quantity, hull over seeds.", hull, max_rows=15),
        Table("latents", "The numbers behind the definitions, per latent.", frames["latents"],
              columns=("group", "objective", "seed", "latent", "variance_of_loc", "rate", "collapsed_share",
                       "mean_scale", "ablation_loss"),
              max_rows=15),
        Table("forms", "All minibatch estimates.", frames["forms"], max_rows=15),
    ]  # fmt: skip
    if "scores" in frames:
        blocks += [
            Table("scores_over_seeds", "Scores, rate and distortion over seeds.",
                  scores_over_seeds(frames["scores"]), max_rows=21),
            Table("scores", "Scores of every model.", frames["scores"], max_rows=15),
        ]  # fmt: skip
    return Section("All numbers", blocks, collapsed=True)
