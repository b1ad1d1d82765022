"""The page of the study on training objectives: every sentence in it is computed from the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from _bound_table import bound_table
from _objectives_findings import QUANTITIES, against_elbo, by_seed, findings, verdict
from _objectives_pictures import picture_blocks, posterior_blocks, training_blocks

import vaeaudit as va
from vaeaudit.report import Figure, Math, Page, Section, Table, Text

SHARES = ("share_exceeding", "share_lower", "share_upper")


def page(
    settings: Mapping[str, Any],
    results: Mapping[str, va.CellResult],
    *,
    groups: Mapping[str, Mapping[str, Any]],
) -> Page:
    """Compose the report."""
    frames = va.tables.gather(results)
    chosen = {name: groups[name] for name in settings["groups"]}
    sections = [
        _design(settings, chosen),
        Section("What each objective reached", _reached(frames, chosen)),
        Section("Who keeps below log p(x)", _bound_blocks(frames)),
        Section("Every model under every objective", _cross_blocks(frames, chosen)),
    ]
    if "implied" in frames:
        sections.append(Section("The decoder variance hidden in β", _implied_blocks(frames)))
    sections.append(Section("What happens to μ and σ", posterior_blocks(frames, chosen)))
    pictures = picture_blocks(results, chosen, settings)
    if pictures:
        sections.append(Section("Pictures", pictures))
    sections.append(Section("Training", training_blocks(frames, chosen)))
    sections.append(Section("All numbers", _all_blocks(frames), collapsed=True))
    hashes = {name: results[f"train {name}"].record["data_sha256"] for name in chosen}
    return Page(
        name="objectives",
        title="What does each training objective actually optimise?",
        question="Which objectives keep below log p(x), what do they do to rate, distortion and the posterior, "
        "and what does that cost in log p(x)?",
        verdict=verdict(frames),
        findings=findings(settings, frames),
        sections=sections,
        provenance={"seeds": list(settings["seeds"]), "data sha256": hashes},
    )


def _design(settings: Mapping[str, Any], chosen: Mapping[str, Any]) -> Section:
    rows = pd.DataFrame([{"group": name, "what": group["title"]} for name, group in chosen.items()])
    return Section(
        "What was done",
        [
            Text(
                f"Each objective trained one VAE per seed ({len(settings['seeds'])} seeds, "
                f"{settings['epochs']} epochs, Adam) in each group below; a seed fixes initial weights, data order "
                f"and noise, so that models of one seed differ in the objective alone. Test-set numbers use "
                f"{settings['num_test']} held-out data; all are in nats per datum."
            ),
            Table("groups", "Groups: data and architecture.", rows),
            Math(
                r"\log p(x) = \underbrace{\mathbb{E}_{q}\left[\log p(x \mid z)\right] - "
                r"\mathrm{KL}(q(z \mid x) \| p(z))}_{\mathrm{ELBO}} + \mathrm{KL}(q(z \mid x) \| p(z \mid x))",
                "The ELBO is the distortion and the rate with their signs; what is missing is the inference gap.",
            ),
            Math(
                r"P = \sum_j \mu_j^2 + (\sigma_j - 1)^2 = W_2^2(q(z \mid x), p(z))",
                "`wasserstein_penalty` puts P in the place of the KL, `half_quadratic` puts "
                "½μ² + (σ−1)², which matches the KL to second order.",
            ),
        ],
    )


def _reached(frames: Mapping[str, pd.DataFrame], chosen: Mapping[str, Any]) -> list[Any]:
    blocks: list[Any] = []
    parts: list[pd.DataFrame] = []
    wide = by_seed(frames, (*QUANTITIES, "mutual_information", "marginal_kl"))
    for group in chosen:
        part = wide[wide["group"] == group].drop(columns="group")
        values = [c for c in part.columns if c not in ("objective", "seed")]
        table = va.tables.over_seeds(part, by=["objective"], values=values)
        table.insert(1, "cell", [_cell(r) for r in table.itertuples()])
        shown = table.pivot(index="objective", columns="quantity", values="cell")
        shown = shown.loc[part["objective"].drop_duplicates(), values].reset_index()
        blocks.append(
            Table(
                f"reached_{group}",
                f"{_sentence(chosen[group]['title'])}: mean over seeds ± half-width of its 95 % t interval, test set.",
                shown,
                columns=["objective", *QUANTITIES],
                note="– marks a quantity that is undefined or refused; see the table of all numbers for why.",
            )
        )
        parts.append(shown[["objective", "mutual_information", "marginal_kl"]].assign(group=group))
    together = pd.concat(parts, ignore_index=True)
    blocks.append(
        Table(
            "rate_parts",
            "What the rate is made of: mean over seeds ± half-width of its 95 % t interval, over the training set's "
            "finite mixture.",
            together[["group", "objective", "mutual_information", "marginal_kl"]],
            note="rate = mutual_information + marginal_kl on the same data.",
        )
    )
    plane = by_seed(frames, ("rate", "distortion")).dropna()
    for group in chosen:
        part = plane[plane["group"] == group]
        blocks.append(
            Figure(
                f"plane_{group}",
                f"Rate–distortion plane, {chosen[group]['title']}. One point per seed; slanted lines have equal ELBO.",
                f"Scatter of distortion over rate for each objective in group {group}.",
                lambda part=part: va.figures.rate_distortion_plane(part),
                part,
                width="half",
            )
        )
    return blocks


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _cell(row: Any) -> str:
    if np.isnan(row.value):
        return "–"
    half = (row.upper - row.lower) / 2
    return f"{row.value:.2f}" if np.isnan(half) else f"{row.value:.2f} ± {half:.2f}"


def _bound_blocks(frames: Mapping[str, pd.DataFrame]) -> list[Any]:
    if "bounds" not in frames:
        return [Text("No group of this run has an exact log p(x).")]
    return [
        Text(
            "For each held-out datum, is the value of the objective that trained the model above the exact "
            "log p(x) of that model? A datum counts only when the excess is certain: one-sided tests with an "
            "error of 5 % for all data and models of this page together (Holm, Bonferroni). A lower bound must show zero."
        ),
        Table(
            "bound_shares",
            "Share of held-out data on which the objective exceeds log p(x), seeds together.",
            bound_table(frames["bounds"]),
            formats={"share_exceeding": ".1%", "mean_excess": ".2f", "largest_excess": ".2f"},
        ),
        Table(
            "bounds",
            "The same, per seed, with Clopper–Pearson intervals.",
            frames["bounds"],
            columns=["group", "objective", "seed", "num_data", "num_exceeding", *SHARES, "mean_excess"],
            formats=dict.fromkeys(SHARES, ".1%"),
            max_rows=12,
        ),
    ]


def _cross_blocks(frames: Mapping[str, pd.DataFrame], chosen: Mapping[str, Any]) -> list[Any]:
    blocks: list[Any] = [
        Text(
            "Rows: the objective a model was trained under. Columns: the objective it is scored under, on the test "
            "set. The best of each column is framed; if an objective were the same as another, the best "
            "cells would share a row."
        )
    ]
    keys = ["group", "trained_under", "scored_under"]
    mean = frames["cross"].groupby(keys, sort=False, as_index=False)["value"].mean()
    for group in chosen:
        part = mean[mean["group"] == group].drop(columns="group")
        blocks.append(
            Figure(
                f"cross_{group}",
                f"Cross table, {chosen[group]['title']}: mean over seeds, nats per datum.",
                f"Heat map: models trained under each objective, scored under each objective, group {group}.",
                lambda part=part: va.figures.cross_table_heatmap(part),
                part,
            )
        )
    blocks.append(
        Table("cross", "Cross table, per seed, with standard errors.", frames["cross"], max_rows=12)
    )
    return blocks


def _implied_blocks(frames: Mapping[str, pd.DataFrame]) -> list[Any]:
    keys = ["group", "objective", "kl_weight", "reading", "variance", "quantity"]
    table = frames["implied"].groupby(keys, sort=False, as_index=False)["value"].mean()
    wide = table.pivot_table(
        index=["group", "objective", "kl_weight", "reading", "variance"],
        columns="quantity",
        values="value",
        sort=False,
    ).reset_index()
    return [
        Math(
            r"\frac{1}{2 s^2} \| x - \hat{x} \|^2 + \beta\, \mathrm{KL} = \beta \left( "
            r"\frac{1}{2 \beta s^2} \| x - \hat{x} \|^2 + \mathrm{KL} \right)",
            "Weighting the KL by β is the ELBO of a decoder with variance βs², up to the factor β and the normaliser.",
        ),
        Table(
            "implied_variance",
            "The same networks read with the nominal variance s² and with the implied βs²; test set, mean over seeds.",
            wide,
            formats={"variance": ".4g", "kl_weight": "g"},
        ),
        Table("implied", "The same, per seed, with intervals.", frames["implied"], max_rows=8),
    ]


def _all_blocks(frames: Mapping[str, pd.DataFrame]) -> list[Any]:
    return [
        Table(
            "quantities",
            "Every quantity of every model with its 95 % interval and verdict.",
            frames["quantities"],
            max_rows=40,
        ),
        Table(
            "differences", "log p(x) minus that of the ELBO's model of the same seed.", against_elbo(frames)
        ),
        Table(
            "active",
            "Active units by threshold.",
            frames["active"],
            columns=["group", "objective", "seed", "threshold", "count", "lower", "upper"],
            max_rows=8,
        ),
    ]
