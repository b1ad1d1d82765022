# ruff: noqa: E501
"""What the tables of the study on penalties say, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from _bound_table import bound_table
from _claims import claim_findings
from _penalty_tables import PENALTY, claims, final_cosines, mean_losses, peaks

import vaeaudit as va
from vaeaudit.report import Finding


def _span(row: Any, of: str = "value", digits: int = 2) -> str:
    return va.tables.with_interval(row[of], row["lower"], row["upper"], f".{digits}f")


def findings(frames: Mapping[str, pd.DataFrame], missing: list[str]) -> list[Finding]:
    """What the tables say, in plain words."""
    found: list[Finding] = []
    if "bounds" in frames:
        found += _bound_findings(bound_table(frames["bounds"]))
    if "per_datum" in frames:
        found += _loss_findings(mean_losses(frames["per_datum"]))
        found += claim_findings(claims(frames))
    if "path" in frames:
        found += _gradient_findings(frames["path"], frames["heights"])
    if "theory" in frames:
        lost = frames["theory"].loc[~frames["theory"]["attained"].astype(bool), "objective"].unique()
        if len(lost):
            found.append(
                Finding(
                    "warn",
                    "On the linear model no finite optimum exists for "
                    + ", ".join(f"`{name}`" for name in lost)
                    + ": the objective keeps growing while σ goes to 0 and the weights to infinity.",
                    "From the closed forms of `vaeaudit.linear_gaussian_optima` on the training data's spectrum.",
                )
            )
    if "per_datum" in frames and "faces_substitute" in set(frames["per_datum"]["group"]):
        found.append(
            Finding(
                "info",
                "The file of Frey faces is not on this machine: bundled digits enlarged to the faces' size stand in.",
                "Same number of pixels and nearly as many pictures; another kind of picture.",
                "Pass `--data-dir` with a folder that holds `freyfaces/`.",
            )
        )
    found += [Finding("info", f"Left out: {note}", "Its data are not on this machine.") for note in missing]
    return found


def _bound_findings(table: pd.DataFrame) -> list[Finding]:
    """One finding per objective: in which groups it was seen above log p(x)."""
    found = []
    for objective, part in table.groupby("objective", sort=False):
        above = part[part["num_exceeding"] > 0]
        if above["claims_bound"].any():
            found.append(Finding("unreliable", f"`{objective}` claims a bound and was seen above log p(x)."))
        elif len(above):
            where = ", ".join(
                f"{r.num_exceeding} of {r.num_data} in `{r.group}` (by {r.mean_excess:.2f} nats on average)"
                for r in above.itertuples()
            )
            found.append(
                Finding(
                    "warn",
                    f"`{objective}` exceeds log p(x) on held-out data: {where}.",
                    "Certified per datum at a family-wise error of 5 % per model; seeds pooled.",
                    "Do not read its value as a bound.",
                )
            )
        elif part["claims_bound"].all():
            where = ", ".join(f"`{group}`" for group in part["group"])
            found.append(Finding("pass", f"`{objective}` was never seen above log p(x), in {where}."))
    return found


def _loss_findings(losses: pd.DataFrame) -> list[Finding]:
    """One finding per objective: what training with it cost in log p(x), group by group."""
    found = []
    known = losses[np.isfinite(losses["lower"])]
    for objective, part in known.groupby("objective", sort=False):
        where = ", ".join(
            f"{_span(r._asdict())} in `{r.group}`"
            + ("" if r.lower > 0 or r.upper < 0 else " (not told apart from 0)")
            for r in part.itertuples()
        )
        found.append(
            Finding(
                "warn" if (part["lower"] > 0).any() else "info",
                f"Nats of held-out log p(x) per datum lost by training with `{objective}` instead of the ELBO: {where}.",
                f"Same seeds, {int(part['num_seeds'].min())} of them, t interval over seeds.",
            )
        )
    return found


def _by_group(rows: pd.DataFrame, digits: int) -> str:
    return ", ".join(f"{_span(row, 'cosine', digits)} in `{row['group']}`" for _, row in rows.iterrows())


def _gradient_findings(path: pd.DataFrame, heights: pd.DataFrame) -> list[Finding]:
    found = []
    for group, part in path.groupby("group", sort=False):
        for stop in va.stops_climbing(part).itertuples():
            if np.isfinite(stop.first_not_climbing):
                how = "descends" if stop.descends else "is not told apart from standing still"
                found.append(
                    Finding(
                        "warn",
                        f"In `{group}` a step of `{stop.objective}` in θ last climbs log p(x) at epoch "
                        f"{stop.last_climbing:g}; at epoch {stop.first_not_climbing:g} it no longer does, and it {how}.",
                        "Snapshots of one run; the epoch is known to the spacing of the snapshots.",
                    )
                )
    for row in peaks(heights).itertuples():
        if row.objective == PENALTY and row.peak_epoch < row.last_epoch:
            found.append(
                Finding(
                    "warn",
                    f"In `{row.group}` the penalty's held-out log p(x) peaked by epoch {row.peak_epoch:g} and fell by "
                    f"{row.lost_after_peak:.2f} nats until epoch {row.last_epoch:g}, while its objective went on.",
                    "Snapshots of one run on the same held-out data.",
                )
            )
    last = final_cosines(path)
    last = last[(last["objective"] == PENALTY) & (last["verdict"] == "ok")]
    phi = last[(last["target"] == "posterior_kl") & (last["parameters"] == "phi")]
    theta = last[(last["target"] == "log_evidence") & (last["parameters"] == "theta")]
    if len(phi):
        found.append(
            Finding(
                "warn" if (phi["upper"] < 0.9).any() else "info",
                "At the end of training the penalty pushes the encoder at these cosines to the direction that closes the gap "
                f"to the posterior: {_by_group(phi, 2)}. The ELBO's cosine is 1 by identity.",
                "A cosine of 1 is the same direction, 0 a right angle.",
            )
        )
    if len(theta):
        found.append(
            Finding(
                "info",
                "The penalty's decoder gradient has these cosines with that of log p(x) at its own parameters: "
                f"{_by_group(theta, 3)}.",
                "In θ every stand-in for the KL pushes exactly as the ELBO does; the encoder makes the difference.",
            )
        )
    return found
