"""Lines with intervals: the generic curve plot and the active-unit curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vaeaudit.figures.style import (
    FULL,
    HALF,
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


def draw_lines(
    axes: Axes,
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    hue: str | None,
    lower: str | None = None,
    upper: str | None = None,
    markers: bool = True,
    step: bool = False,
    labels: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Draw one line per value of ``hue`` with its band; returns label → line.

    ``labels`` are those of the whole figure where these axes hold a part of them.
    """
    import seaborn as sns

    if labels is None:
        labels = [str(v) for v in dict.fromkeys(frame[hue])] if hue else [y]
    lines: dict[str, Any] = {}
    for label, look in looks(labels).items():
        part = (frame[frame[hue].astype(str) == label] if hue else frame).sort_values(x, kind="stable")
        if part.empty:
            continue
        known = len(axes.lines)
        sns.lineplot(
            part,
            x=x,
            y=y,
            ax=axes,
            errorbar=None,
            estimator=None,
            color=look.colour,
            linestyle=look.dash,
            marker=look.marker if markers and len(part) <= 25 else None,
            markersize=4.5,
            markeredgewidth=0,
            drawstyle="steps-post" if step else "default",
            legend=False,
        )
        lines[label] = axes.lines[known]
        if lower and upper:
            axes.fill_between(
                part[x].astype(float),
                part[lower].astype(float),
                part[upper].astype(float),
                step="post" if step else None,
                color=look.colour,
                alpha=0.18,
                linewidth=0,
            )
    return lines


def curves(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    hue: str | None = None,
    lower: str | None = None,
    upper: str | None = None,
    x_label: str | None = None,
    y_label: str | None = None,
    log_x: bool = False,
    log_y: bool = False,
    reference: float | None = None,
    reference_label: str = "",
) -> Figure:
    """Lines of ``y`` over ``x``, one per ``hue``, with bands from the columns ``lower`` and ``upper``.

    Parameters
    ----------
    frame
        Tidy: one row per point.
    x, y, hue, lower, upper
        Column names; give both ends of the band or neither.
    x_label, y_label
        Axis labels; the column's name and unit if not given.
    log_x, log_y
        Logarithmic axes.
    reference, reference_label
        A horizontal line at this height, with its name.

    Raises
    ------
    ArgumentError
        If a column is missing, one end of the band is given without the other, or nothing is finite.
    """
    from vaeaudit.core.errors import ArgumentError

    if (lower is None) != (upper is None):
        raise ArgumentError(f"give both `lower` and `upper`, or neither; got {lower!r} and {upper!r}.")
    require(frame, [c for c in (x, y, hue, lower, upper) if c], what="curves")
    kept = finite(frame, [x, y], what="curves")
    with style():
        figure = new_figure(FULL, 3.4)
        axes = figure.subplots()
        lines = draw_lines(axes, kept, x=x, y=y, hue=hue, lower=lower, upper=upper)
        if log_x:
            axes.set_xscale("log")
        if log_y:
            axes.set_yscale("log")
        if reference is not None:
            axes.axhline(reference, color=SOFT, linewidth=0.9, linestyle=(0, (1, 2)))
            if reference_label:
                axes.annotate(
                    reference_label,
                    (1.0, reference),
                    xycoords=("axes fraction", "data"),
                    xytext=(0, 3),
                    textcoords="offset points",
                    ha="right",
                    color=SOFT,
                    fontsize=7.5,
                )
        axes.set(xlabel=x_label or axis_label(x), ylabel=y_label or axis_label(y))
        legend_below(figure, list(lines.values()), list(lines))
    return figure


def active_unit_curve(
    frame: pd.DataFrame,
    *,
    x: str = "threshold",
    y: str = "count",
    hue: str = "objective",
    mark: float | None = 0.01,
) -> Figure:
    """Active units against the threshold on Var E[z|x], with bands where the frame has them.

    Parameters
    ----------
    frame
        Columns threshold, count and, if there, objective, lower, upper.
    x, y, hue
        Column names.
    mark
        Threshold to mark with a vertical line (0.01 is the customary one); None for no mark.
    """
    from matplotlib.ticker import MaxNLocator

    require(frame, [x, y], what="active_unit_curve")
    band = "lower" in frame and "upper" in frame
    kept = finite(frame, [x, y], what="active_unit_curve")
    with style():
        figure = new_figure(FULL if hue in frame else HALF, 3.2)
        axes = figure.subplots()
        lines = draw_lines(
            axes,
            kept,
            x=x,
            y=y,
            hue=hue if hue in frame else None,
            lower="lower" if band else None,
            upper="upper" if band else None,
            markers=False,
            step=True,
        )
        for line, width in zip(lines.values(), np.linspace(3.0, 1.0, len(lines)), strict=True):
            line.set_linewidth(width)  # curves that coincide are seen one inside the other
        if (kept[x] > 0).all():
            axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        if mark is not None:
            axes.axvline(mark, color=SOFT, linewidth=0.9, linestyle=(0, (1, 2)))
            axes.annotate(
                f"{mark:g}",
                (mark, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                color=SOFT,
                fontsize=7.5,
            )
        axes.set(xlabel="threshold on Var E[z|x]", ylabel="active units")
        legend_below(figure, list(lines.values()), list(lines))
    return figure
