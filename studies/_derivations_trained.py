"""The part of the derivations page on trained models: how near the sweep comes to each derived optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

import vaeaudit as va
from vaeaudit.report import Finding, Section, Table, Text

SAMPLED = "sampled z"
COLUMNS_OF = {  # quantity → column of the summary; everything else is a parameter
    "value": "value_error",
    "elbo": "value_error",
    "log_evidence": "log_evidence_error",
    "log_evidence_implied": "log_evidence_error",
}
ERRORS = ("value_error", "log_evidence_error", "parameter_error")
LIMIT = 1e-3


def _covered(rows: pd.DataFrame) -> float:
    """Share of quantities whose 95 % t interval over seeds holds the derived number."""
    by = ["number", "direction"]
    moved = rows[rows["quantity"] != "noise_scale"].rename(columns={"quantity": "number"})
    moved = moved.assign(difference=moved["trained"] - moved["derived"])
    held = va.tables.over_seeds(moved[[*by, "seed", "difference"]], by=by, values=["difference"])
    return float(((held["lower"] <= 0) & (held["upper"] >= 0)).mean())


def trained_summary(trained: pd.DataFrame) -> pd.DataFrame:
    """One row per objective and spectrum: the largest relative errors over seeds and quantities."""
    rows = []
    for (objective, spectrum, way), part in trained.groupby(
        ["objective", "spectrum", "trained_by"], sort=False
    ):
        kinds = part["quantity"].map(COLUMNS_OF).fillna("parameter_error")
        worst = part.groupby(kinds)["relative_error"].max()
        rows.append(
            {
                "objective": objective,
                "spectrum": spectrum,
                "trained_by": way,
                "seeds": part["seed"].nunique(),
                "comparisons": len(part),
                **{name: worst.get(name, np.nan) for name in ERRORS},
                "within": bool((worst < LIMIT).all()),
                "covered": np.nan if way != SAMPLED or part["seed"].nunique() < 2 else _covered(part),
            }
        )
    return pd.DataFrame(rows)


def trained_findings(trained: pd.DataFrame) -> list[Finding]:
    """What the comparison says."""
    if not len(trained):
        return []
    table = trained_summary(trained)
    exact, sampled = table[table["trained_by"] != SAMPLED], table[table["trained_by"] == SAMPLED]
    off = exact[~exact["within"]]
    worst = (
        f" The others: {', '.join(f'`{n}`' for n in dict.fromkeys(off['objective']))}." if len(off) else ""
    )
    found = [
        Finding(
            "pass" if (exact["value_error"] < LIMIT).all() else "warn",
            f"Trained by the sweep, {len(exact) - len(off)} of {len(exact)} settings of objective and spectrum reach the "
            f"derived optimum to 10⁻³ in value and in every parameter, {int((exact['value_error'] < LIMIT).sum())} in "
            f"value.{worst}",
            f"{exact['objective'].nunique()} objectives, {exact['spectrum'].nunique()} spectra, "
            f"{int(exact['seeds'].max())} starts; no noise in the gradient. A floor or a target makes an objective's "
            "surface creased, and Adam creeps along a crease.",
        )
    ]
    if len(sampled):
        found.append(
            Finding(
                "info",
                f"Objectives that read single draws come within {sampled['value_error'].max():.1e} of the derived "
                f"value and {sampled['parameter_error'].max():.1e} of its parameters.",
                "Their gradients stay noisy; see the table for each.",
            )
        )
    return found


def trained_section(trained: pd.DataFrame) -> list[Section]:
    """The table, and how each row was trained."""
    if not len(trained):
        return []
    blocks: list[Any] = [
        Text(
            "Networks trained by `va.sweep` (Adam on the whole data, float32) from random starts on data with exactly "
            "these eigenvalues in a random basis. Where an objective averages over q, the likelihood's expectation is in "
            "closed form, so that its gradient has no noise; `iwae`, `total_correlation` and `mmd` read single draws and "
            "keep it."
        ),
        Text(
            "The penalty $\\lambda(\\mu^2 + (\\sigma - 1)^2)$ has an optimum only where every "
            "$\\ell_j < 2 \\lambda s^2$, and that is collapse; "
            "$\\lambda(\\tfrac{1}{2}\\mu^2 + (\\sigma - 1)^2)$ only where every $\\ell_j < 4 \\lambda s^2$; "
            "`moment_penalty` and `head_l2` alone have none on any data. Where there is none, the decoder is held "
            "at $w^2 = 1, 4, 16$ along the principal axes and the encoder trained: then the derived encoder is "
            "unique."
        ),
        Table(
            "trained_optimum",
            "Largest relative error against the derived optimum, over seeds and quantities.",
            trained_summary(trained),
            formats=dict.fromkeys(ERRORS, ".1e"),
            note="value_error: the objective (for iwae the ELBO below it). log_evidence_error: E log p(x). "
            "parameter_error: decoder and encoder along every direction, "
            "scales, noise. covered: share of quantities whose interval over seeds holds the derived number. "
            "total_correlation estimates log q(z) within 256 data, which biases its optimum; mmd approaches its limit "
            "only as σ goes to 0.",
            max_rows=80,
        ),
    ]
    return [Section("Derived against trained by the sweep", blocks)]
