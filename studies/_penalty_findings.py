"""What the tables of the study on penalties say, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from _bound_table import bound_table
from _penalty_tables import PENALTY, final_cosines, mean_losses, peaks, repeatability

import vaeaudit as va
from vaeaudit.report import Finding


def _span(row: Any, of: str = "value", digits: int = 2) -> str:
    return va.tables.with_interval(row[of], row["lower"], row["upper"], f".{digits}f")


def findings(frames: Mapping[str, pd.DataFrame], missing: list[str]) -> list[Finding]:
    """What the tables say, in plain words."""
    found: list[Finding] = []
    if "bounds" in frames:
        for row in bound_table(frames["bounds"]).itertuples():
            if row.num_exceeding and row.claims_bound:
                found.append(
                    Finding("unreliable", f"`{row.objective}` claims a bound and was seen above log p(x).")
                )
            elif row.num_exceeding:
                found.append(
                    Finding(
                        "warn",
                        f"`{row.objective}` exceeds log p(x) on {row.share_exceeding:.0%} of held-out data in "
                        f"`{row.group}`, by {row.mean_excess:.2f} nats on average.",
                        "Certified per datum at a family-wise error of 5 % per model; seeds pooled.",
                        "Do not read its value as a bound.",
                    )
                )
            elif row.claims_bound:
                found.append(
                    Finding("pass", f"`{row.objective}` was never seen above log p(x) in `{row.group}`.")
                )
    if "per_datum" in frames:
        for row in mean_losses(frames["per_datum"]).itertuples():
            if np.isfinite(row.lower):
                clear = row.lower > 0 or row.upper < 0
                found.append(
                    Finding(
                        "warn" if row.lower > 0 else "info",
                        f"Training with `{row.objective}` instead of the ELBO loses {_span(row._asdict())} nats of "
                        f"held-out log p(x) per datum in `{row.group}`"
                        + ("." if clear else ": not told apart from 0."),
                        f"Same seeds, {row.num_seeds} of them, t interval.",
                    )
                )
        for row in repeatability(frames["per_datum"]).itertuples():
            if row.objective == PENALTY:
                found.append(
                    Finding(
                        "warn" if row.lower > 0 else "info",
                        f"In `{row.group}` the penalty's loss "
                        + (
                            "belongs to regions of data space"
                            if row.lower > 0
                            else "shows no repeatable regions"
                        )
                        + f": rank correlation between trainings {_span(row._asdict(), 'rank_correlation')}; "
                        f"the worst tenth of the data lose "
                        f"{row.loss_highest_tenth:.2f} nats, the best tenth {row.loss_lowest_tenth:.2f}.",
                        "Independent trainings agree on who loses only if the loss belongs to the data.",
                    )
                )
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
    for group, part in last[last["objective"] == PENALTY].groupby("group", sort=False):
        cosine = part.set_index(["target", "parameters"])
        phi, theta = cosine.loc[("posterior_kl", "phi")], cosine.loc[("log_evidence", "theta")]
        if phi["verdict"] == "ok":
            found.append(
                Finding(
                    "warn" if phi["upper"] < 0.9 else "info",
                    f"At the end of training in `{group}` the penalty pushes the encoder at a cosine of "
                    f"{_span(phi, 'cosine')} to the direction that closes the "
                    "gap to the posterior; the ELBO's cosine is 1 by identity.",
                )
            )
        if theta["verdict"] == "ok":
            found.append(
                Finding(
                    "info",
                    f"In `{group}` the penalty's decoder gradient has a cosine of "
                    f"{_span(theta, 'cosine', 3)} with that of log p(x) at its own parameters.",
                    "In θ every stand-in for the KL pushes exactly as the ELBO does; the encoder makes the difference.",
                )
            )
    return found
