"""Intervals and brackets as horizontal bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vaeaudit.core.errors import ArgumentError
from vaeaudit.figures.style import FAINT, FULL, SOFT, axis_label, legend_below, looks, new_figure, style
from vaeaudit.tables.schema import require

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def evidence_intervals(
    frame: pd.DataFrame,
    *,
    label: str = "objective",
    value: str = "value",
    lower: str = "lower",
    upper: str = "upper",
    hue: str | None = "quantity",
    x_label: str | None = None,
) -> Figure:
    """Estimates with their intervals, and brackets, one line each, grouped by ``label``.

    Parameters
    ----------
    frame
        Tidy, as `vaeaudit.tables.tidy` returns it, with a column ``label``. A row without a value is a
        bracket (a bar with end marks); one without an interval is an open marker; one with neither is
        left out.
    label, value, lower, upper, hue
        Column names.
    x_label
        Axis label.

    Raises
    ------
    ArgumentError
        If no row has a value or an interval.
    """
    require(frame, [label, value, lower, upper], what="evidence_intervals")
    ends = frame[[value, lower, upper]].astype(float)
    interval = np.isfinite(ends[[lower, upper]]).all(axis=1)
    kept = frame[interval | np.isfinite(ends[value])]
    if kept.empty:
        raise ArgumentError("evidence_intervals has nothing to draw: no row has a value or an interval.")
    groups = list(dict.fromkeys(kept[label].astype(str)))
    look = looks(kept[hue]) if hue and hue in kept else looks([value])
    with style():
        figure = new_figure(FULL, 0.9 + 0.16 * len(groups) * max(len(look), 1.6))
        axes = figure.subplots()
        handles = {}
        step = 0.7 / len(look)
        for k, (name, appearance) in enumerate(look.items()):
            part = kept[kept[hue].astype(str) == name] if hue and hue in kept else kept
            for _, row in part.iterrows():
                y = groups.index(str(row[label])) + (k - (len(look) - 1) / 2) * step
                point, low, high = (float(row[c]) for c in (value, lower, upper))
                bracket = not np.isfinite(point)
                if np.isfinite(low) and np.isfinite(high):
                    axes.plot(
                        [low, high], [y, y], color=appearance.colour, linewidth=3.2 if bracket else 1.3,
                        alpha=0.75 if bracket else 1.0, solid_capstyle="butt",
                        marker="|" if bracket else None, markersize=7,
                    )  # fmt: skip
                handles[name] = axes.plot(
                    [point], [y], linestyle="none", marker=appearance.marker, color=appearance.colour,
                    markersize=4.5, markerfacecolor=appearance.colour if np.isfinite(low) else "none",
                )[0]  # fmt: skip
        axes.set_yticks(range(len(groups)), groups)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        for boundary in range(1, len(groups)):
            axes.axhline(boundary - 0.5, color=FAINT, linewidth=0.5, zorder=0)
        units = kept["unit"].dropna().unique() if "unit" in kept else []
        axes.set_xlabel(x_label or (str(units[0]) if len(units) == 1 else axis_label(value)), color=SOFT)
        legend_below(figure, list(handles.values()), list(handles))
    return figure
