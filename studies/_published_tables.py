"""Tables of the reproduced table: ours beside the published values, order, evidence, active units."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from _published_model import PUBLISHED, full_schedule
from scipy import stats

import vaeaudit as va


def row_name(model: str, draws: int) -> str:
    """A row of the published table by name."""
    return f"{model}, k = {draws}"


def measured_as(model: str, draws: int) -> tuple[str, int]:
    """The trained model that stands for a row: with one draw the IWAE's is the VAE's."""
    return ("VAE", 1) if draws == 1 else (model, draws)


def published_table(settings: Mapping[str, Any], models: pd.DataFrame) -> pd.DataFrame:
    """Each published row beside ours: mean over seeds, its interval, and the range of one more run."""
    complete = full_schedule(settings)
    rows = []
    for model, draws, nll, units in PUBLISHED:
        if draws not in settings["draws"]:
            continue
        name, k = measured_as(model, draws)
        part = models[(models["model"] == name) & (models["draws"] == k) & ~models["diverged"].astype(bool)]
        mean, (low, high), (run_low, run_high) = _intervals(
            -part["bound"].to_numpy(float), part["redraw_sd"].to_numpy(float)
        )
        within = "yes" if run_low <= nll <= run_high else "no"
        agreement = within if complete and not math.isnan(run_low) else "not judged"
        count = part["units_published_definition"].astype(float)
        rows.append(
            {
                "row": row_name(model, draws),
                "nll_bound": mean,
                "lower": low,
                "upper": high,
                "published": nll,
                "difference": mean - nll if settings["data"] == "mnist" else math.nan,
                "run_lower": run_low,
                "run_upper": run_high,
                "agrees": agreement,
                "active_units": float(count.mean()),
                "units_range": "–" if count.empty else _range(count),
                "published_units": units,
                "num_seeds": len(part),
            }
        )
    table = pd.DataFrame(rows)
    table.insert(9, "rank", _ranks(table["nll_bound"]))
    table.insert(10, "published_rank", _ranks(table["published"]))
    return table


def _range(count: pd.Series) -> str:
    low, high = int(count.min()), int(count.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _ranks(values: pd.Series) -> list[float]:
    return list(values.round(9).rank(method="min"))


def _intervals(
    nll: np.ndarray, redraw_sd: np.ndarray
) -> tuple[float, tuple[float, float], tuple[float, float]]:
    """Mean over seeds, its t interval, and the range of one more run with a test binarisation of its own."""
    nan = (math.nan, math.nan)
    if nll.size == 0:
        return math.nan, nan, nan
    mean = float(nll.mean())
    if nll.size < 2:
        return mean, nan, nan
    t, variance = float(stats.t.ppf(0.975, nll.size - 1)), float(nll.var(ddof=1))
    half = t * math.sqrt(variance / nll.size)
    binarisation = 2 * float(np.nanmean(redraw_sd**2)) if np.isfinite(redraw_sd).any() else 0.0
    more = t * math.sqrt(variance * (1 + 1 / nll.size) + binarisation)
    return mean, (mean - half, mean + half), (mean - more, mean + more)


def order_table(
    settings: Mapping[str, Any], models: pd.DataFrame, results: Mapping[str, va.CellResult]
) -> pd.DataFrame:
    """Every pair of rows: does the one that was published as better come out better here?"""
    distinct = [row for row in PUBLISHED if row[1] in settings["draws"] and measured_as(*row[:2]) == row[:2]]
    ranked = sorted(distinct, key=lambda row: row[2])
    sound = models[~models["diverged"].astype(bool)].set_index(["model", "draws", "seed"])["bound"]
    rows = []
    for better, worse in itertools.combinations(ranked, 2):
        pairs = [
            (seed, sound[(*better[:2], seed)] - sound[(*worse[:2], seed)])
            for seed in settings["seeds"]
            if (*better[:2], seed) in sound.index and (*worse[:2], seed) in sound.index
        ]
        value, lower, upper = _paired(pairs, better, worse, results)
        verdict = "supported" if lower > 0 else "contradicted" if upper < 0 else "undecided"
        rows.append(
            {
                "better": row_name(*better[:2]),
                "than": row_name(*worse[:2]),
                "published": worse[2] - better[2],
                "here": value,
                "lower": lower,
                "upper": upper,
                "verdict": verdict,
            }
        )
    columns = ["better", "than", "published", "here", "lower", "upper", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _paired(
    pairs: list[tuple[int, float]], better: Any, worse: Any, results: Mapping[str, va.CellResult]
) -> tuple[float, float, float]:
    """Mean difference with its interval: over seeds, or over the test data where there is one seed."""
    if not pairs:
        return math.nan, math.nan, math.nan
    if len(pairs) == 1:
        values = {
            side: pd.Series(results[f"measure k={row[1]}"].arrays[f"bound {row[0]} {pairs[0][0]}"])
            for side, row in (("worse", worse), ("better", better))
        }
        found = va.tables.compare_paired(values, quantity="bound", baseline="worse").iloc[0]
        return float(found["difference"]), float(found["lower"]), float(found["upper"])
    frame = pd.DataFrame(pairs, columns=["seed", "difference"]).assign(what="bound")
    found = va.tables.over_seeds(frame, by=["what"], values=["difference"]).iloc[0]
    return float(found["value"]), float(found["lower"]), float(found["upper"])


def _judged(value: float, lower: float, upper: float, verdict: str) -> str:
    """A number with its interval, or with the reason why there is none."""
    text = va.tables.with_interval(value, lower, upper)
    return text if verdict in ("ok", "exact") else f"{text} ({verdict})"


def evidence_table(models: pd.DataFrame) -> pd.DataFrame:
    """One row per model: L_K, our log p(x) and annealing alone, on the same images."""
    sound = models[~models["diverged"].astype(bool)]
    return pd.DataFrame(
        [
            {
                "row": row_name(r.model, r.draws),
                "seed": r.seed,
                "L_K": r.bound_there,
                "log p(x)": _judged(r.evidence, r.evidence_lower, r.evidence_upper, r.evidence_verdict),
                "annealed": f"{r.annealed_share:.0%}",
                "annealing alone": _judged(r.ais, r.ais_lower, r.ais_upper, r.ais_verdict),
            }
            for r in sound.itertuples()
        ]
    )


def units_table(models: pd.DataFrame) -> pd.DataFrame:
    """One row per model: the published count, ours with its interval, and whether there is a plateau."""
    sound = models[~models["diverged"].astype(bool)]
    rows = []
    for r in sound.itertuples():
        plateau = f"{int(r.plateau_units)} over {r.plateau_decades:.1f} decades" if r.plateau else "none"
        rows.append(
            {
                "row": row_name(r.model, r.draws),
                "seed": r.seed,
                "500 training images": int(r.units_published_definition),
                "test images": va.tables.with_interval(r.units, r.units_lower, r.units_upper, ".0f"),
                "plateau": plateau,
            }
        )
    return pd.DataFrame(rows)


def shown_table(table: pd.DataFrame) -> pd.DataFrame:
    """The published table as the page shows it: intervals beside their values."""
    return pd.DataFrame(
        [
            {
                "row": r.row,
                "here": va.tables.with_interval(r.nll_bound, r.lower, r.upper),
                "published": r.published,
                "difference": r.difference,
                "agrees": r.agrees,
                "rank (published)": "–" if math.isnan(r.rank) else f"{r.rank:.0f} ({r.published_rank:.0f})",
                "units (published)": f"{r.units_range} ({r.published_units})",
            }
            for r in table.itertuples()
        ]
    )


def long_table(table: pd.DataFrame) -> pd.DataFrame:
    """Tidy frame of the figure: ours with intervals, published without where the data are the same."""
    ours = table[["row", "lower", "upper"]].assign(value=table["nll_bound"], quantity="here")
    parts = [ours]
    if table["difference"].notna().any():
        parts.append(
            table[["row"]].assign(
                value=table["published"], quantity="published", lower=math.nan, upper=math.nan
            )
        )
    return pd.concat(parts, ignore_index=True)[["row", "quantity", "value", "lower", "upper"]]


def redraw_sd(models: pd.DataFrame) -> float:
    """How far another binarisation of the test images moves a model's mean: root mean square over models."""
    values = models["redraw_sd"].dropna().to_numpy(float)
    return float(np.sqrt(np.mean(values**2))) if values.size else math.nan
