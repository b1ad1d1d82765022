"""Figures of the study on penalties in the KL's place; each takes the frame that it is drawn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

import vaeaudit as va
from vaeaudit.figures.style import COLOURS, FULL, SOFT, looks, new_figure, style


def region(posterior: pd.DataFrame, group: str) -> Any:
    """Trained (|μ|, σ) of each objective over the region where the penalty is below the KL."""
    part = posterior[posterior["group"] == group]
    scale = np.geomspace(max(1e-30, part["scale"].min() * 0.7), 3.0, 400)
    limit = va.loc_range_below_kl("wasserstein", scale).upper
    with style():
        figure = new_figure(FULL, 3.6)
        axes = figure.subplots()
        axes.fill_between(scale, 0, np.nan_to_num(limit), color=COLOURS[4], alpha=0.25, linewidth=0)
        handles = {}
        for name, look in looks(part["objective"].unique()).items():
            rows = part[part["objective"] == name]
            handles[name] = axes.scatter(
                rows["scale"], rows["loc"].abs(), s=7, c=look.colour, marker=look.marker, alpha=0.5,
                linewidths=0, rasterized=True,
            )  # fmt: skip
        axes.axvline(1.0, color=SOFT, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.set(xscale="log", xlabel="σ", ylabel="|μ|")
        axes.set_ylim(0, float(part["loc"].abs().quantile(0.995)) * 1.05)
        legend = figure.legend(
            list(handles.values()), list(handles), loc="outside lower center", ncols=4, markerscale=2
        )
        for handle in legend.legend_handles:
            handle.set_alpha(1.0)
    return figure


PANELS = {  # title → target, parameters, column
    "climb of log p(x), nats per step": ("log_evidence", "theta", "climb"),
    "cosine in θ with ∇ log p(x)": ("log_evidence", "theta", "cosine"),
    "cosine in φ with −∇ KL(q‖p(z|x))": ("posterior_kl", "phi", "cosine"),
}
HEIGHT = "held-out log p(x) (nats)"


def alignment_frame(path: pd.DataFrame, heights: pd.DataFrame, group: str) -> pd.DataFrame:
    """What each objective's gradient does along its own run, and how high log p(x) stands: tidy, by panel."""
    own, parts = path[path["group"] == group], []
    for panel, (target, parameters, name) in PANELS.items():
        ends = ("lower", "upper") if name == "cosine" else (f"{name}_lower", f"{name}_upper")
        rows = own[(own["target"] == target) & (own["parameters"] == parameters)].dropna(subset=[name])
        columns = dict(zip((name, *ends), ("value", "lower", "upper"), strict=True))
        parts.append(rows[["objective", "epoch", *columns]].rename(columns=columns).assign(panel=panel))
    height = heights[heights["group"] == group].dropna(subset=["log_evidence"])
    height = height[["objective", "epoch", "log_evidence"]].rename(columns={"log_evidence": "value"})
    parts.append(height.assign(lower=np.nan, upper=np.nan, panel=HEIGHT))
    frame = pd.concat([part for part in parts if len(part)], ignore_index=True)
    return frame[["panel", "objective", "epoch", "value", "lower", "upper"]]


def alignment(frame: pd.DataFrame) -> Any:
    """The panels of `alignment_frame`, one line per objective."""
    return va.figures.curve_panels(
        frame, x="epoch", panel="panel", hue="objective", lower="lower", upper="upper",
        titles={name: name for name in frame["panel"]}, log_x=True, reference=dict.fromkeys(PANELS, 0.0),
        columns=2 if frame["panel"].nunique() == 4 else 3,
    )  # fmt: skip
