"""Tables of the calibration study: coverage by method, the slope of the bias, which method to use when."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

import vaeaudit as va

GUIDE = pd.DataFrame(
    [
        ("1 to 3 latents", "quadrature", "Exact up to a convergence error that is reported."),
        (
            "any model in JAX",
            "auto",
            "The encoder where pilot draws find it good, a proposal fitted to each datum elsewhere, annealing last.",
        ),
        (
            "a decoder outside JAX",
            "auto, or iw with the defensive mixture",
            "No gradients: more data stay unsettled, and are named.",
        ),
        (
            "many data, one number per model",
            "iw with the adapted proposal",
            "One fit per datum and one pass; refused data are named.",
        ),
        (
            "data that stay unsettled",
            "ais_log_evidence with more temperatures",
            "The spread of the chains falls as one over the root of the number of temperatures.",
        ),
        (
            "a proof that the method works on this model",
            "evidence_bracket",
            "Bounds on both sides, on data simulated from the model.",
        ),
        (
            "comparison with published numbers only",
            "iw with the encoder",
            "What papers report: biased low, and its interval is mostly refused.",
        ),
    ],
    columns=["case", "use", "because"],
)


def frame_of(results: Mapping[str, va.CellResult], name: str) -> pd.DataFrame:
    """All frames of one kind in one; empty where the run has none."""
    return va.tables.gather(results).get(name, pd.DataFrame())


def recommendations(results: Mapping[str, va.CellResult]) -> pd.DataFrame:
    """Per method: settings, refusals, and the lowest and highest coverage of the intervals given."""
    frame = frame_of(results, "coverage")
    rows = []
    for method, part in frame.groupby("method", sort=False):
        given = part[part["refused"] < 0.95]
        rows.append(
            {
                "method": "iw, encoder as proposal" if method == "iw" else method,
                "settings": len(part),
                "settings with intervals": len(given),
                "refused": part["refused"].mean(),
                "coverage, lowest": given["coverage"].min(),
                "coverage, mean": given["coverage"].mean(),
                "coverage, highest": given["coverage"].max(),
                "coverage of data-set means": given["coverage_mean"].mean(),
                "1.96 se, lowest": part["coverage_delta"].min(),
            }
        )
    return pd.DataFrame(rows).round(3)


def slope(frame: pd.DataFrame) -> float:
    """Slope of log |bias| on log K over the numbers whose bias is ten standard errors from zero."""
    clear = frame[np.abs(frame["bias"]) > 10 * frame["bias_se"]]
    clear = clear[clear["num_samples"] >= 16]
    if len(clear) < 3:
        return float("nan")
    return float(np.polyfit(np.log(clear["num_samples"]), np.log(-clear["bias"]), 1)[0])
