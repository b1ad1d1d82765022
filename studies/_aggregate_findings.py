"""Findings of the study on the aggregate posterior: every sentence is computed from the tables."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from _aggregate_tables import (
    COLUMN,
    IN_BATCH,
    PER_LATENT,
    RIGHT,
    bounds_table,
    plateaus,
    ranking,
    reversals,
    row_of,
    score_differences,
    score_text,
)

from vaeaudit.report.page import Finding

PENALTY = "wasserstein_penalty(1)"


def _listed(names: list[str]) -> str:
    return ", ".join(names) if names else "none"


def about_known_answer(forms: pd.DataFrame, known: pd.DataFrame) -> list[Finding]:
    """What the forms in use return where the answer is exact."""
    information = {"quantity": "mutual_information"}
    truth = float(row_of(forms, **information)["truth"])
    fifty = row_of(forms, form=IN_BATCH, batch_size=50, **information)
    largest = forms[(forms["form"] == IN_BATCH) & (forms["quantity"] == "mutual_information")]
    held = bool((largest["value"] <= largest["log_batch_size"] + 1e-9).all())
    off = {form: row_of(forms, form=form, batch_size=128, **information)["value"] - truth
           for form in (COLUMN, RIGHT, PER_LATENT)}  # fmt: skip
    inside = known[(known["lower"] <= known["truth"]) & (known["truth"] <= known["upper"])]
    most = known["num_given"].max()
    ours = row_of(known, num_given=most, **information)
    biggest = int(largest["batch_size"].max())
    passes = ours["lower"] > math.log(biggest)
    negative = forms[(forms["quantity"] == "total_correlation") & (forms["value"] < 0)]
    found = [
        Finding(
            "warn",
            f"One batch of 50 reports {fifty['value']:.2f} nats of mutual information; {truth:.2f} are true.",
            f"No estimate within a batch can pass log(batch) = {math.log(50):.2f}. It stayed below that at "
            f"{'every' if held else 'not every'} batch size tried.",
            "Use all data: `va.aggregate_posterior`.",
        ),
        Finding(
            "warn",
            f"A widely copied weight matrix, with the own weight in column 0 in place of the diagonal, is off by "
            f"{off[COLUMN]:+.2f} nats; a log weight added once per latent in place of once by {off[PER_LATENT]:+.2f}.",
            f"Batches of 128 out of {most:,} data. Right weights are off by {off[RIGHT]:+.2f}: the logarithm of "
            "an unbiased mean is biased.",
        ),
        Finding(
            "pass" if len(inside) == len(known) else "warn",
            f"All {most:,} data at once: between {ours['lower']:.3f} and {ours['upper']:.3f} nats"
            + (f", past a batch's ceiling log({biggest}) = {math.log(biggest):.3f}." if passes else "."),
            f"The exact value lies inside in {len(inside)} of {len(known)} brackets over quantities and data "
            "sizes.",
        ),
    ]
    if len(negative):
        worst = negative.loc[negative["value"].idxmin()]
        settings = int((forms["quantity"] == "total_correlation").sum())
        found.append(
            Finding(
                "info",
                f"Total correlation from a batch comes out negative, down to {worst['value']:.1f} nats.",
                f"In {len(negative)} of {settings} settings; a KL cannot be. Worst: '{worst['form']}', batch "
                f"of {worst['batch_size']}.",
            )
        )
    return found


def about_matching(hull: pd.DataFrame) -> list[Finding]:
    """Who matches the prior per datum, who on aggregate."""
    found = []
    for group in hull["group"].unique():
        part = hull[hull["group"] == group].set_index(["quantity", "objective"])
        pairs = reversals(hull, group)
        per_datum, _ = ranking(hull, group, "rate")
        overall, others = ranking(hull, group, "sliced_wasserstein")
        if pairs:
            a, b = max(pairs, key=lambda p: part.loc[("rate", p[0]), "middle"])
            what = (
                f"{group}: {a} spends {part.loc[('rate', a), 'middle']:.1f} nats per datum, {b} "
                f"{part.loc[('rate', b), 'middle']:.1f}, yet q(z) lies closer to the prior under {a}."
            )
            why = f"Sliced W₂² at most {part.loc[('sliced_wasserstein', a), 'upper']:.3f} against at least "
            why += f"{part.loc[('sliced_wasserstein', b), 'lower']:.3f}. "
            if len(pairs) > 1:
                others_too = [f"{x} over {y}" for x, y in pairs if (x, y) != (a, b)]
                why += "Likewise " + ", ".join(others_too) + ". "
        else:
            what = f"{group}: no pair of objectives is ordered differently per datum and on aggregate for certain."
            why = ""
        why += (
            f"Closest per datum: {per_datum}, with a rate of {part.loc[('rate', per_datum), 'middle']:.2f} nats. "
            f"Closest on aggregate: {overall}"
            + (f", not told apart from {', '.join(others)}." if others else ".")
        )
        found.append(Finding("info", what, why))
    table = bounds_table(hull)
    full = table[table["saturated"] == "yes"]
    if len(full):
        names = [f"{r.objective} on {r.group}" for r in full.itertuples()]
        found.append(
            Finding(
                "warn",
                f"The ceiling log N binds for {len(full)} of {len(table)} settings: their mutual information is "
                "known from below by log N alone.",
                "These are "
                + ", ".join(names)
                + ". Upper ends and the KL's lower ends stand on held-out densities.",
                "More data; `data_needed_lower` and `data_needed_upper` in the table of quantities say how many.",
            )
        )
    below = hull[(hull["quantity"] == "marginal_kl") & (hull["lower"] > 0.1)]
    if len(below):
        words = [f"{r.objective} on {r.group} ≥ {r.lower:.1f}" for r in below.itertuples()]
        found.append(
            Finding(
                "info",
                f"q(z) certainly differs from the prior, by more than 0.1 nat, in {len(below)} of {len(table)} "
                "settings.",
                "KL(q(z) ‖ p(z)): " + ", ".join(words) + ".",
            )
        )
    return found


def about_penalty_plateau(units: pd.DataFrame) -> list[Finding]:
    """Whether the plateau of the active-unit count survives the parameter penalty."""
    table = plateaus(units)
    if PENALTY not in set(table["objective"]) or "elbo" not in set(table["objective"]):
        return []
    group = table["group"].iloc[-1]  # the one with more latents than the data fill
    elbo, penalty = (row_of(table, group=group, objective=name) for name in ("elbo", PENALTY))

    def words(row: pd.Series) -> str:
        return (
            f"{int(row['seeds_with_plateau'])} of {int(row['num_seeds'])} seeds, {row['units_in_plateau']:g} units "
            f"for thresholds {row['from_threshold']:.2g} to {row['to_threshold']:.2g}"
        )

    every = penalty["seeds_with_plateau"] == penalty["num_seeds"]
    none = penalty["seeds_with_plateau"] == 0
    moved = penalty["to_threshold"] < 0.5 * elbo["to_threshold"]
    what = f"{group}: the plateau of the active-unit count " + (
        "survives" if every else "does not survive" if none else "survives on some seeds only under"
    )
    what += (" under" if every else "") + " the parameter penalty"
    what += ", but lower down." if moved and not none else "."
    return [
        Finding(
            "info" if every else "warn",
            what,
            f"Under the penalty: {words(penalty)}; under the ELBO: {words(elbo)}. A plateau is a gap of a decade "
            "without a unit, stable in 95 % of resamples.",
            "Read the curve before taking 0.01 over from models trained by the ELBO: the penalty's models count "
            f"{penalty['count_at_0.1']:.1f} units at 0.1 and {penalty['count_at_0.01']:.1f} at 0.01.",
        )
    ]


def about_definitions(definitions: pd.DataFrame, ablation: pd.DataFrame) -> list[Finding]:
    """How far the definitions in use disagree, and what ablation says."""
    spread = definitions.groupby(["group", "objective", "seed"])["count"].agg(["min", "max"])
    differ = int((spread["min"] < spread["max"]).sum())
    widest = int((spread["max"] - spread["min"]).max())
    found = [
        Finding(
            "warn" if differ else "pass",
            f"The definitions of an active unit disagree on {differ} of {len(spread)} models, by up to {widest} "
            "units.",
            "They ask different questions: variance of the mean, mean rate, (ε, δ)-collapse, mean scale, loss "
            "when ablated.",
            "Report definition and threshold with every count.",
        )
    ]
    if len(ablation):
        active = ablation["variance_of_loc"] > 0.01
        lost = ablation["evidence_lower"] > 0
        certain, others = int((active & lost).sum()), int((~active & lost).sum())
        median = float(np.median(ablation.loc[active, "evidence_loss"])) if active.any() else math.nan
        found.append(
            Finding(
                "info",
                f"Ablating a unit with a variance above 0.01 costs {median:.2f} nats of log p(x) at the median.",
                f"{certain} of {int(active.sum())} such units"
                + (
                    f", and {others} of {int((~active).sum())} with a smaller variance,"
                    if (~active).any()
                    else ""
                )
                + " lose for certain (95 % interval above 0); first seed of each objective.",
            )
        )
    return found


def about_scores(scores: pd.DataFrame) -> list[Finding]:
    """Whether β > 1 raises the disentanglement scores beyond the scatter between seeds."""
    found = []
    for objective, part in score_differences(scores).groupby("objective", sort=False):
        up, down = part[part["lower"] > 0], part[part["upper"] < 0]
        words = [score_text(r) for r in part.itertuples()]
        what = f"{objective} on sprites raises " + (
            f"{_listed(list(up['score']))} beyond the scatter between seeds"
            if len(up)
            else "no disentanglement score beyond the scatter between seeds"
        )
        if len(down):
            what += f" and lowers {', '.join(down['score'])}"
        seeds = int(part["num_seeds"].iloc[0])
        found.append(
            Finding(
                "info", what + ".", f"Difference to the ELBO over {seeds} seeds: " + "; ".join(words) + "."
            )
        )
    return found
