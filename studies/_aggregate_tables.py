"""Tables of the study on the aggregate posterior, made from the stored frames."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from _claims import claims_table
from scipy import stats

import vaeaudit as va

SCORES = ("mig", "disentanglement", "completeness", "informativeness", "sap")
IN_BATCH, RIGHT, COLUMN, PER_LATENT = (
    "in batch",
    "stratified",
    "stratified, own weight in column 0",
    "stratified, weight once per latent",
)
OURS = "all data, bracket"
MEASURES = {
    "rate": "per datum: rate",
    "per_datum_wasserstein": "per datum: E W₂²",
    "marginal_kl": "on aggregate: KL(q(z) ‖ p(z))",
    "sliced_wasserstein": "on aggregate: sliced W₂²",
    "squared_mmd": "on aggregate: MMD²",
}


def row_of(frame: pd.DataFrame, **where: Any) -> pd.Series:
    """The first row with these values."""
    mask = pd.Series(True, index=frame.index)
    for column, value in where.items():
        mask &= frame[column] == value
    return frame[mask].iloc[0]


# ------------------------------------------------------------------------------ the known answer


def errors_by_form(forms: pd.DataFrame, known: pd.DataFrame, batch_size: int) -> pd.DataFrame:
    """Mutual information less the exact value: each form on batches of one size, and our bracket."""
    part = forms[(forms["quantity"] == "mutual_information") & (forms["batch_size"] == batch_size)]
    rows = [
        {"form": r.form, "value": r.value - r.truth, "lower": r.lower - r.truth, "upper": r.upper - r.truth}
        for r in part.itertuples()
    ]
    ours = row_of(known, quantity="mutual_information", num_given=known["num_given"].max())
    ends = (float(ours[end]) - float(ours["truth"]) for end in ("lower", "upper"))
    rows.append({"form": OURS, "value": math.nan, **dict(zip(("lower", "upper"), ends, strict=True))})
    return pd.DataFrame(rows)


def by_batch_size(forms: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """One row per form, one column per batch size."""
    table = forms[forms["quantity"] == quantity].pivot_table(
        index="form", columns="batch_size", values="value", sort=False
    )
    table.columns = [f"batch of {size}" for size in table.columns]
    return table.reset_index()


# ------------------------------------------------------------------------------ trained models


def over_seeds(quantities: pd.DataFrame) -> pd.DataFrame:
    """Outer hull over seeds of each quantity's 95 % bounds, and the middle of its values or brackets."""
    frame = quantities.copy()
    frame["middle"] = frame["value"].fillna((frame["lower"] + frame["upper"]) / 2)
    return frame.groupby(["group", "objective", "quantity"], sort=False, as_index=False).agg(
        middle=("middle", "mean"),
        lower=("lower", "min"),
        upper=("upper", "max"),
        saturated=("saturated", "any"),
        num_seeds=("seed", "nunique"),
    )


def ranking(hull: pd.DataFrame, group: str, quantity: str) -> tuple[str, list[str]]:
    """Objective with the lowest upper end, and those that its interval does not exclude."""
    part = hull[(hull["group"] == group) & (hull["quantity"] == quantity)]
    best = part.loc[part["upper"].idxmin()]
    rivals = part[(part["lower"] <= best["upper"]) & (part["objective"] != best["objective"])]
    return str(best["objective"]), list(rivals["objective"])


def closest(hull: pd.DataFrame) -> pd.DataFrame:
    """Who is closest to the prior, per group and measure."""
    rows = []
    for group in hull["group"].unique():
        for quantity, label in MEASURES.items():
            best, rivals = ranking(hull, group, quantity)
            rows.append(
                {
                    "group": group,
                    "measure": label,
                    "closest": best,
                    "not told apart from": ", ".join(rivals) or "none",
                }
            )
    return pd.DataFrame(rows)


def reversals(hull: pd.DataFrame, group: str) -> list[tuple[str, str]]:
    """Pairs (a, b): a's rate certainly above b's, and yet a's q(z) certainly closer to the prior."""
    table = hull[hull["group"] == group].set_index(["quantity", "objective"])[["lower", "upper"]]
    rate, distance = table.loc["rate"], table.loc["sliced_wasserstein"]
    return [
        (a, b)
        for a in rate.index
        for b in rate.index
        if rate["lower"][a] > rate["upper"][b] and distance["upper"][a] < distance["lower"][b]
    ]


def bounds_table(hull: pd.DataFrame) -> pd.DataFrame:
    """One row per group and objective, bounds over seeds as text."""
    rows = []
    for (group, objective), part in hull.groupby(["group", "objective"], sort=False):
        row = {"group": group, "objective": objective}
        for name in ("rate", "mutual_information", "marginal_kl", "sliced_wasserstein"):
            at = part[part["quantity"] == name].iloc[0]
            row[name] = f"{at['lower']:.2f} to {at['upper']:.2f}"
        row["saturated"] = "yes" if part["saturated"].any() else "no"
        rows.append(row)
    return pd.DataFrame(rows)


# ------------------------------------------------------------------------------ units and scores


def plateaus(units: pd.DataFrame) -> pd.DataFrame:
    """Per objective: on how many seeds a plateau exists, where, and how the count moves with the threshold."""
    table = units.groupby(["group", "objective"], sort=False, as_index=False).agg(
        seeds_with_plateau=("plateau", "sum"),
        num_seeds=("seed", "nunique"),
        units_in_plateau=("gap_count", "median"),
        from_threshold=("gap_lower", "median"),
        to_threshold=("gap_upper", "median"),
        decades=("gap_decades", "mean"),
        count_at_0_0001=("count_at_0.0001", "mean"),
        count_at_0_01=("count_at_0.01", "mean"),
        count_at_0_1=("count_at_0.1", "mean"),
    )
    return table.rename(columns=lambda name: name.replace("count_at_0_", "count_at_0."))


def disagreement(definitions: pd.DataFrame) -> pd.DataFrame:
    """Active units per definition, averaged over seeds, one column per definition."""
    table = definitions.pivot_table(
        index=["group", "objective"], columns="definition", values="count", aggfunc="mean", sort=False
    )
    return table.reset_index().rename_axis(columns=None)


def score_differences(scores: pd.DataFrame) -> pd.DataFrame:
    """Each objective's scores less the ELBO's from the same seed, with a t interval over seeds."""
    base = scores[scores["objective"] == "elbo"].set_index("seed")
    rows = []
    for objective, part in scores[scores["objective"] != "elbo"].groupby("objective", sort=False):
        paired = part.set_index("seed")
        for name in SCORES:
            difference = (paired[name] - base[name]).dropna()
            n = len(difference)
            half = math.nan
            if n > 1:
                half = float(stats.t.isf(0.025, n - 1) * difference.std(ddof=1) / math.sqrt(n))
            mean = float(difference.mean())
            rows.append(
                {
                    "objective": objective,
                    "score": name,
                    "difference": mean,
                    "lower": mean - half,
                    "upper": mean + half,
                    "num_seeds": n,
                }
            )
    return pd.DataFrame(rows)


def score_text(row: Any) -> str:
    """A score's difference with its interval, as findings and claims quote it."""
    return f"{row.score} {va.tables.with_interval(row.difference, row.lower, row.upper, '+.3f')}"


def claims(scores: pd.DataFrame) -> pd.DataFrame:
    """D8, that β > 1 disentangles: by MIG, the D of DCI and SAP against the ELBO of the same seed.

    Supported where every β raises a score and none falls, contradicted where scores only fall,
    undecided where no interval excludes 0; in between it holds under conditions.
    """
    judged = score_differences(scores)
    judged = judged[
        judged["score"].isin(["mig", "disentanglement", "sap"]) & judged["objective"].str.startswith("beta(")
    ]
    if judged.empty:
        return claims_table([])
    risen, fallen = judged["lower"] > 0, judged["upper"] < 0
    everywhere = set(judged.loc[risen, "objective"]) == set(judged["objective"])
    if not (risen.any() or fallen.any()):
        verdict = "undecided"
    elif not risen.any():
        verdict = "contradicted"
    else:
        verdict = "supported" if everywhere and not fallen.any() else "holds under conditions"
    seeds = int(judged["num_seeds"].min())
    evidence = f"sprites, difference to the ELBO over {seeds} seeds: " + "; ".join(
        f"{name} " + ", ".join(score_text(r) for r in part.itertuples())
        for name, part in judged.groupby("objective", sort=False)
    )
    return claims_table([("D8", "A weight β > 1 on the KL disentangles", verdict, evidence)])


def scores_over_seeds(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores, rate and distortion per objective, with intervals over seeds."""
    return va.tables.over_seeds(scores, by=["objective"], values=[*SCORES, "rate", "distortion"])


def drawable(table: pd.DataFrame) -> pd.DataFrame:
    """The scores with a finite value."""
    return table[table["quantity"].isin(SCORES) & np.isfinite(table["value"].astype(float))]
