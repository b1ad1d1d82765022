"""Tables of the study on penalties in the KL's place, each from the frames of its cells."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
from _claims import claims_table

import vaeaudit as va

PENALTY = "wasserstein_penalty(1)"
INDEPENDENT = [("log_evidence", "phi"), ("wasserstein", "theta")]  # target, parameters: gradient exactly zero


def losses(per_datum: pd.DataFrame) -> pd.DataFrame:
    """Log p(x) under the ELBO's model less that under another objective's, per datum and seed."""
    base = per_datum[per_datum["objective"] == "elbo"][["group", "seed", "datum", "log_evidence"]]
    other = per_datum[per_datum["objective"] != "elbo"]
    both = other.merge(base, on=["group", "seed", "datum"], suffixes=("", "_elbo"))
    both["loss"] = both["log_evidence_elbo"] - both["log_evidence"]
    both["gap"] = both["log_evidence"] - both["elbo"]
    return both


def mean_losses(per_datum: pd.DataFrame) -> pd.DataFrame:
    """Mean loss against the ELBO's model of the same seed, with a t interval over seeds."""
    by_seed = losses(per_datum).groupby(["group", "objective", "seed"], sort=False, as_index=False)
    return va.tables.over_seeds(by_seed["loss"].mean(), by=["group", "objective"], values=["loss"])


def repeatability(per_datum: pd.DataFrame, *, draws: int = 400) -> pd.DataFrame:
    """Mean rank correlation between seeds of the per-datum losses, bootstrapped over data.

    Independent trainings agree on which data lose only if the loss belongs to regions of data space.
    """
    rows = []
    for (group, objective), part in losses(per_datum).groupby(["group", "objective"], sort=False):
        wide = part.pivot_table(index="datum", columns="seed", values="loss").dropna()
        if wide.shape[1] < 2 or len(wide) < 10:
            continue
        values, rng = wide.to_numpy(), np.random.default_rng(0)

        def mean_correlation(v: np.ndarray) -> float:
            ranks = np.argsort(np.argsort(v, axis=0), axis=0)
            corr = np.corrcoef(ranks.T)
            return float(np.mean([corr[i, j] for i, j in itertools.combinations(range(len(corr)), 2)]))

        sample = [mean_correlation(values[rng.integers(len(values), size=len(values))]) for _ in range(draws)]
        mean = values.mean(axis=1)
        low, high = np.quantile(sample, [0.025, 0.975])
        decile = max(1, len(mean) // 10)
        ordered = np.sort(mean)
        rows.append(
            {
                "group": group,
                "objective": objective,
                "rank_correlation": mean_correlation(values),
                "lower": low,
                "upper": high,
                "num_data": len(values),
                "num_seeds": values.shape[1],
                "loss_lowest_tenth": ordered[:decile].mean(),
                "loss_median": np.median(mean),
                "loss_highest_tenth": ordered[-decile:].mean(),
            }
        )
    return pd.DataFrame(rows)


FIFTHS = ["1st fifth (nearest the mean)", "2nd fifth", "3rd fifth", "4th fifth", "5th fifth (farthest)"]


def by_region(per_datum: pd.DataFrame) -> pd.DataFrame:
    """Mean loss and gap by class where there are classes, else by fifths of the distance from the mean.

    One row per group, objective and region, with intervals over seeds.
    """
    table = losses(per_datum)
    parts = []
    for group, part in table.groupby("group", sort=False):
        if (part["label"] >= 0).all():
            region = "class " + part["label"].astype(int).astype(str)
        else:
            region = pd.qcut(part["distance"], 5, labels=FIFTHS).astype(str)
        mean = part.assign(region=region, group=group).groupby(
            ["group", "objective", "region", "seed"], sort=False, as_index=False
        )
        parts.append(mean[["loss", "gap"]].mean().sort_values("region", kind="stable"))
    keys = ["group", "objective", "region"]
    long = va.tables.over_seeds(pd.concat(parts, ignore_index=True), by=keys, values=["loss", "gap"])
    wide = pd.concat(part for _, part in long[keys].drop_duplicates().groupby(keys[:2], sort=False))
    for quantity, rows in long.groupby("quantity", sort=False):
        names = {"value": quantity, "lower": f"{quantity}_lower", "upper": f"{quantity}_upper"}
        wide = wide.merge(rows[[*keys, *names]].rename(columns=names), on=keys)
    return wide


def omitted(posterior: pd.DataFrame) -> pd.DataFrame:
    """How often and by how much the stand-in is below the KL at the trained (μ, σ)."""
    rows = []
    for (group, objective), part in posterior.groupby(["group", "objective"], sort=False):
        total = part.groupby("datum")["kl_excess"].sum()
        rows.append(
            {
                "group": group,
                "objective": objective,
                "share_of_latents_below_kl": float((part["kl_excess"] > 1e-6).mean()),
                "mean_kl_excess": float(total.mean()),
                "median_scale": float(part["scale"].median()),
            }
        )
    return pd.DataFrame(rows)


def final_cosines(path: pd.DataFrame) -> pd.DataFrame:
    """The last snapshot's rows, without targets that do not depend on the parameters at all."""
    last = path[path["epoch"] == path.groupby("group")["epoch"].transform("max")]
    pairs = pd.Series(list(zip(last["target"], last["parameters"], strict=True)), index=last.index)
    last = last[~pairs.isin(INDEPENDENT)]
    columns = [
        "group",
        "objective",
        "target",
        "parameters",
        "cosine",
        "lower",
        "upper",
        "climb",
        "verdict",
        "note",
    ]
    return last[columns]


def peaks(heights: pd.DataFrame) -> pd.DataFrame:
    """Epoch of the highest held-out log p(x) in each run, and what was lost after it."""
    rows = []
    for (group, objective), run in heights.dropna(subset=["log_evidence"]).groupby(
        ["group", "objective"], sort=False
    ):
        ordered = run.sort_values("epoch")
        best, last = ordered.loc[ordered["log_evidence"].idxmax()], ordered.iloc[-1]
        rows.append(
            {
                "group": group,
                "objective": objective,
                "peak_epoch": best["epoch"],
                "last_epoch": last["epoch"],
                "log_evidence_at_peak": best["log_evidence"],
                "log_evidence_at_end": last["log_evidence"],
                "lost_after_peak": best["log_evidence"] - last["log_evidence"],
            }
        )
    return pd.DataFrame(rows)


def claims(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The claims that this study decides, with their evidence."""
    statement = "A model trained with the penalty is poor in some regions of data space"
    table = repeatability(frames["per_datum"])
    table = table[table["objective"] == PENALTY] if len(table) else table
    if not len(table):
        return claims_table([("A10c", statement, "undecided", "fewer than two seeds or ten data")])
    regions = (table["lower"] > 0) & (table["loss_highest_tenth"] > 0)
    verdict = "supported" if regions.all() else "holds under conditions" if regions.any() else "undecided"
    evidence = "; ".join(
        f"in {row.group} the losses of independent trainings have a rank correlation of "
        f"{va.tables.with_interval(row.rank_correlation, row.lower, row.upper)}, the worst tenth loses "
        f"{row.loss_highest_tenth:.2f} nats against a median of {row.loss_median:.2f}"
        for row in table.itertuples()
    )
    return claims_table([("A10c", statement, verdict, evidence)])
