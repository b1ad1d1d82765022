"""What the objectives study concludes: its cells' frames put together, compared, and put in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from _bound_table import bound_table

import vaeaudit as va
from vaeaudit.report import Finding

QUANTITIES = ("log_evidence", "elbo", "inference_gap", "rate", "distortion", "active_units")


def by_seed(frames: Mapping[str, pd.DataFrame], names: tuple[str, ...] = QUANTITIES) -> pd.DataFrame:
    """One row per group, objective and seed; the middle of a bracket where there is no point estimate.

    A quantity without an interval of its own is left out: it must not enter a mean or a comparison.
    """
    q = frames["quantities"]
    value = q["value"].fillna((q["lower"] + q["upper"]) / 2)
    q = q.assign(value=value.where(q["verdict"].isin(["ok", "exact"])))
    wide = q.pivot(index=["group", "objective", "seed"], columns="quantity", values="value")
    order = q[["group", "objective", "seed"]].drop_duplicates()
    return order.merge(wide.reset_index(), on=["group", "objective", "seed"])[
        ["group", "objective", "seed", *names]
    ]


def against_elbo(frames: Mapping[str, pd.DataFrame], quantity: str = "log_evidence") -> pd.DataFrame:
    """Difference to the ELBO's model of the same seed, averaged over seeds with a t interval."""
    wide = by_seed(frames, (quantity,))
    base = wide[wide["objective"] == "elbo"][["group", "seed", quantity]]
    paired = wide.merge(base, on=["group", "seed"], suffixes=("", "_elbo"))
    paired["difference"] = paired[quantity] - paired[f"{quantity}_elbo"]
    paired = paired[(paired["objective"] != "elbo") & paired["difference"].notna()]
    if paired.empty:  # every log p(x) was refused
        columns = ["group", "objective", "value", "lower", "upper", "num_seeds"]
        return pd.DataFrame(columns=columns)
    return va.tables.over_seeds(paired, by=["group", "objective"], values=["difference"])


def _names(objectives: Any) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(objectives)) or "none"


def _span(row: Any) -> str:
    return va.tables.with_interval(row.value, row.lower, row.upper, "+.2f")


def findings(settings: Mapping[str, Any], frames: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """What the tables say, in plain words."""
    found = []
    if "bounds" in frames:
        table = bound_table(frames["bounds"])
        above = table[table["num_exceeding"] > 0]
        broken = above[above["claims_bound"]]
        if len(broken):
            found.append(
                Finding(
                    "unreliable",
                    f"Objectives that claim to be lower bounds were seen above log p(x): {_names(broken['objective'])}.",
                    what_to_do="Treat the other numbers with suspicion: an estimator or an objective is wrong.",
                )
            )
        kept = table[~table["objective"].isin(above["objective"])]["objective"]
        data = int(table.groupby("objective")["num_data"].sum().max())
        found.append(
            Finding(
                "pass",
                f"Never above log p(x) where that is exact ({data} held-out data per objective): {_names(kept)}.",
                "Tested per datum, with an error of 5 % for all data and models of this page together.",
            )
        )
        where = [
            f"`{name}` ({', '.join(f'{r.share_exceeding:.0%} in {r.group}' for r in rows.itertuples())})"
            for name, rows in above.groupby("objective", sort=False)
        ]
        if where:
            found.append(
                Finding(
                    "warn",
                    f"Above log p(x) on held-out data: {', '.join(where)}.",
                    "These are not lower bounds: their value can rise while log p(x) falls.",
                    "Do not report such a value as an ELBO or compare it between models.",
                )
            )
    differences = against_elbo(frames)
    for kind, verb in (("wasserstein_penalty(1)", "Replacing the KL by $\\mu^2+(\\sigma-1)^2$"),):
        for row in differences[differences["objective"] == kind].itertuples():
            clear = row.upper < 0 or row.lower > 0
            found.append(
                Finding(
                    "warn" if row.upper < 0 else "info",
                    f"{verb} changed held-out log p(x) by {_span(row)} nats per datum in `{row.group}`"
                    + ("" if clear else ", not distinguishable from 0 over these seeds")
                    + ".",
                    f"Mean difference to the ELBO's model of the same seed, {row.num_seeds} seeds, t interval.",
                )
            )
    if "implied" in frames:
        found += _implied_findings(frames["implied"])
    found += _rate_findings(frames)
    refused = frames["quantities"][frames["quantities"]["verdict"].isin(["unreliable", "lower bound only"])]
    refused = refused[refused["quantity"] == "log_evidence"]
    if len(refused):
        found.append(
            Finding(
                "unreliable",
                f"log p(x) has no interval for {len(refused)} models, trained under {_names(refused['objective'])}.",
                "The importance weights of some data are too uneven; the value shown is low in expectation.",
                "Use the preset `full`, which escalates to better proposals and annealing for such data.",
            )
        )
    return found


def _implied_findings(implied: pd.DataFrame) -> list[Finding]:
    wide = implied[implied["quantity"] == "elbo"].pivot_table(
        index=["group", "objective", "kl_weight", "seed"], columns="reading", values="value", sort=False
    )
    found = []
    mean = wide.groupby(level=["group", "objective", "kl_weight"], sort=False).mean().reset_index()
    for group, rows in mean[mean["kl_weight"] != 1].groupby("group", sort=False):
        text = "; ".join(
            f"`{r.objective}` {r.implied:.2f} instead of {r.nominal:.2f}" for r in rows.itertuples()
        )
        found.append(
            Finding(
                "info",
                f"Under a Gaussian decoder, weighting the KL by β assumes β times the noise variance. Read so, the "
                f"models in `{group}` have a held-out ELBO (nats) of: {text}.",
                "The argmax is that of the rescaled model; only the normaliser differs.",
                "Report log p(x) with the implied variance.",
            )
        )
    return found


def _rate_findings(frames: Mapping[str, pd.DataFrame]) -> list[Finding]:
    wide = by_seed(frames, ("mutual_information", "marginal_kl")).dropna()
    rows = wide[wide["objective"] == "elbo"].groupby("group", sort=False).mean(numeric_only=True)
    if rows.empty:
        return []
    rate = rows["mutual_information"] + rows["marginal_kl"]
    share = rows["mutual_information"] / rate
    text = "; ".join(f"{share[group]:.0%} of {rate[group]:.2f} nats in `{group}`" for group in rows.index)
    return [
        Finding(
            "info",
            f"Under the ELBO most of the rate is mutual information, not distance to the prior: {text}."
            if (share > 0.5).all()
            else f"Share of the ELBO's rate that is mutual information: {text}.",
            "rate = I(x; z) + KL(q(z) ‖ p(z)), over the finite training set.",
        )
    ]


def verdict(frames: Mapping[str, pd.DataFrame]) -> str:
    """The answer in two sentences."""
    parts = []
    if "bounds" in frames:
        table = bound_table(frames["bounds"])
        above = set(table[table["num_exceeding"] > 0]["objective"])
        kept = [name for name in dict.fromkeys(table["objective"]) if name not in above]
        parts.append(
            f"Of {len(kept) + len(above)} objectives, {len(kept)} stayed below log p(x) on every held-out datum "
            f"where it is known exactly ({_names(kept)}); the others optimise something else."
        )
    parts.append(_against_elbo_sentence(frames))
    return " ".join(parts)


def _against_elbo_sentence(frames: Mapping[str, pd.DataFrame]) -> str:
    """Which objectives changed log p(x) against the ELBO beyond the spread over seeds, and by how much."""
    differences = against_elbo(frames)
    if differences.empty:
        return "No log p(x) of this run has an interval to compare with that of the ELBO's models."
    num_groups = differences["group"].nunique()
    clear = differences[(differences["lower"] > 0) | (differences["upper"] < 0)]
    if clear.empty:
        return "No objective's held-out log p(x) differs from the ELBO's beyond the spread over seeds."
    changes = []
    for name, rows in clear.groupby("objective", sort=False):
        low, high = rows["value"].min(), rows["value"].max()
        span = f"{low:+.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:+.2f} to {high:+.2f}"
        changes.append(f"`{name}` {span} ({len(rows)} of {num_groups} groups)")
    return (
        "Against the ELBO's model of the same seed, held-out log p(x) changed, beyond the spread over "
        f"seeds, by these nats per datum: {', '.join(changes)}."
    )


def summary(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> pd.DataFrame:
    """One row per group and objective: means over seeds, none where a seed's number is refused."""
    frames = va.tables.gather(results)
    table = va.tables.mean_over_seeds(by_seed(frames), by=["group", "objective"], values=QUANTITIES)
    if "bounds" in frames:
        shares = bound_table(frames["bounds"])[["group", "objective", "share_exceeding"]]
        table = table.merge(shares, on=["group", "objective"], how="left")
    return table
