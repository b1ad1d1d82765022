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
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=4)
    return figure


def alignment(path: pd.DataFrame, group: str, target: str, parameters: str, y: str) -> Any:
    """One quantity of the alignment over epochs, one line per objective."""
    part = path[(path["group"] == group) & (path["target"] == target) & (path["parameters"] == parameters)]
    lower, upper = ("lower", "upper") if y == "cosine" else (f"{y}_lower", f"{y}_upper")
    label = "cosine" if y == "cosine" else "nats per unit step"
    return va.figures.curves(
        part.dropna(subset=[y]), x="epoch", y=y, hue="objective", lower=lower, upper=upper,
        log_x=True, reference=0.0, y_label=label,
    )  # fmt: skip
