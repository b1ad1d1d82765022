"""Histograms of the posterior's means and standard deviations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vaeaudit.core.errors import ArgumentError
from vaeaudit.figures.style import FULL, SOFT, looks, new_figure, style
from vaeaudit.tables.schema import require

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

BINS = 60


def posterior_histograms(frame: pd.DataFrame, *, hue: str = "objective") -> Figure:
    """Histograms of μ and σ over data and latents, a row per setting.

    Parameters
    ----------
    frame
        One row per datum and latent: loc, scale and the column ``hue``.
    hue
        Column that names the setting.

    Notes
    -----
    The dotted line marks where KL(q‖p) is least: μ = 0 and σ = 1. σ is on a logarithmic axis; the
    axes are shared by all rows and cut at the 0.1 % and 99.9 % quantiles of all values.
    """
    import seaborn as sns
    from matplotlib.ticker import LogLocator, NullLocator

    require(frame, ["loc", "scale", hue], what="posterior_histograms")
    values = frame[["loc", "scale"]].to_numpy(dtype=float)
    kept = frame.loc[np.isfinite(values).all(axis=1) & (values[:, 1] > 0)]
    if kept.empty:
        raise ArgumentError(
            "posterior_histograms has nothing to draw: no row has finite loc and positive scale."
        )
    with style():
        look = looks(kept[hue])
        figure = new_figure(FULL, 0.5 + 0.72 * len(look))
        grid = figure.subplots(len(look), 2, sharex="col", squeeze=False)
        edges = {
            "loc": _edges(kept["loc"].to_numpy(float)),
            "scale": _edges(np.log(kept["scale"].to_numpy(float))),
        }
        edges["scale"] = np.exp(edges["scale"])
        for (label, appearance), row in zip(look.items(), grid, strict=True):
            part = kept[kept[hue].astype(str) == label]
            for axes, name, centre in zip(row, ("loc", "scale"), (0.0, 1.0), strict=True):
                inside = part[name].clip(edges[name][0], edges[name][-1])
                sns.histplot(
                    x=inside.to_numpy(float),
                    bins=edges[name].tolist(),
                    stat="proportion",
                    element="step",
                    color=appearance.colour,
                    alpha=0.45,
                    linewidth=0.9,
                    ax=axes,
                )
                axes.axvline(centre, color=SOFT, linewidth=0.9, linestyle=(0, (1, 2)))
                axes.set(xlabel="", ylabel="", yticks=[])
                axes.spines["left"].set_visible(False)
            row[0].set_ylabel(label, rotation=0, ha="right", va="center")
        grid[0][1].set_xscale("log")  # shared by the column; seaborn would bin in logs if set before
        for row in grid:
            row[1].xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            row[1].xaxis.set_major_formatter("{x:g}")
            row[1].xaxis.set_minor_locator(NullLocator())
        grid[-1][0].set_xlabel("μ, mean of q(z|x)")
        grid[-1][1].set_xlabel("σ, standard deviation of q(z|x)")
    return figure


def _edges(values: np.ndarray) -> np.ndarray:
    low, high = np.quantile(values, [0.001, 0.999])
    pad = 0.03 * (high - low) or 0.5
    return np.linspace(low - pad, high + pad, BINS + 1)
