"""The rate–distortion plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vaeaudit.figures.style import (
    FAINT,
    FULL,
    SOFT,
    axis_label,
    finite,
    legend_below,
    looks,
    new_figure,
    style,
)
from vaeaudit.tables.schema import require

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def rate_distortion_plane(frame: pd.DataFrame, *, hue: str = "objective") -> Figure:
    """Each model as a point (rate, distortion), with lines of equal ELBO.

    Parameters
    ----------
    frame
        One row per model: rate, distortion, the column ``hue`` and, if there, rate_lower, rate_upper,
        distortion_lower, distortion_upper for its intervals.
    hue
        Column that names the setting.

    Notes
    -----
    ELBO = −(rate + distortion): models on one slanted line have the same ELBO.
    """
    require(frame, ["rate", "distortion", hue], what="rate_distortion_plane")
    kept = finite(frame, ["rate", "distortion"], what="rate_distortion_plane")
    with style():
        figure = new_figure(FULL, 4.2)
        axes = figure.subplots()
        handles = []
        look = looks(kept[hue])
        for label, appearance in look.items():
            part = kept[kept[hue].astype(str) == label]
            errors: Any = {
                f"{side}err": _reach(part, column)
                for side, column in (("x", "rate"), ("y", "distortion"))
                if f"{column}_lower" in part and f"{column}_upper" in part
            }
            handles.append(
                axes.errorbar(
                    part["rate"],
                    part["distortion"],
                    **errors,
                    fmt=appearance.marker,
                    color=appearance.colour,
                    markersize=5.5,
                    elinewidth=0.9,
                    capsize=0,
                    linestyle="none",
                    label=label,
                )
            )
        axes.margins(0.08)
        _equal_elbo(axes)
        axes.set(xlabel=axis_label("rate"), ylabel=axis_label("distortion"))
        legend_below(figure, handles, list(look))
    return figure


def _reach(frame: pd.DataFrame, column: str) -> np.ndarray:
    """Distances from the value to the ends of its interval, (2, rows); 0 where there is none."""
    value = frame[column].to_numpy(float)
    ends = [
        value - frame[f"{column}_lower"].to_numpy(float),
        frame[f"{column}_upper"].to_numpy(float) - value,
    ]
    return np.clip(np.nan_to_num(np.stack(ends)), 0.0, None)


def _equal_elbo(axes: Axes) -> None:
    """Lines rate + distortion = constant, at round values inside the plot."""
    from matplotlib.ticker import MaxNLocator

    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    sums = [s for s in MaxNLocator(6).tick_values(left + low, right + high) if left + low < s < right + high]
    for total in sums:
        start, end = max(left, total - high), min(right, total - low)
        axes.plot(
            [start, end], [total - start, total - end], color=FAINT, linewidth=0.7, zorder=0, gid="equal-elbo"
        )
        aside = end == right  # beside the plot; else to the right of the line's foot
        axes.annotate(
            f"ELBO {0.0 - total:g}".replace("-", "−"),
            (end, total - end),
            xytext=(4, 0) if aside else (3, 2),
            textcoords="offset points",
            color=SOFT,
            fontsize=6.5,
            va="center" if aside else "bottom",
            annotation_clip=False,
        )
    axes.set(xlim=(left, right), ylim=(low, high))
