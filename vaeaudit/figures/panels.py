"""Several curves over one axis, side by side, under one legend."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from vaeaudit.figures.lines import draw_lines
from vaeaudit.figures.style import FULL, SOFT, axis_label, finite, legend_below, new_figure, style
from vaeaudit.tables.schema import require

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def curve_panels(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str = "value",
    panel: str = "quantity",
    hue: str | None = None,
    lower: str | None = None,
    upper: str | None = None,
    titles: Mapping[str, str] | None = None,
    x_label: str | None = None,
    log_x: bool = False,
    log_y: Collection[str] = (),
    reference: Mapping[str, float] | None = None,
    columns: int = 3,
) -> Figure:
    """Lines of ``y`` over ``x``, one panel per value of ``panel``, each with a scale of its own.

    Parameters
    ----------
    frame
        Tidy: one row per point.
    x, y, panel, hue, lower, upper
        Column names; a point whose band has no ends gets none.
    titles
        Panel → its title with the unit; the panel's name and unit if not given.
    x_label
        Label of the shared axis; the column's name and unit if not given.
    log_x, log_y
        A logarithmic x axis; panels with a logarithmic y axis.
    reference
        Panel → height of a dotted line.
    columns
        Panels per row, at most.

    Raises
    ------
    ArgumentError
        If a column is missing, or nothing is finite.
    """
    require(frame, [c for c in (x, y, panel, hue, lower, upper) if c], what="curve_panels")
    kept = finite(frame, [x, y], what="curve_panels")
    names = list(dict.fromkeys(kept[panel].astype(str)))
    labels = [str(v) for v in dict.fromkeys(kept[hue])] if hue else None
    across = min(columns, len(names))
    down = math.ceil(len(names) / across)
    with style():
        figure = new_figure(FULL, 2.35 * down + 0.35)
        grid = figure.subplots(down, across, squeeze=False, sharex=True).ravel()
        lines: dict[str, Any] = {}
        for axes, name in zip(grid, names, strict=False):
            part = kept[kept[panel].astype(str) == name]
            drawn = draw_lines(axes, part, x=x, y=y, hue=hue, lower=lower, upper=upper, labels=labels)
            lines = {**drawn, **lines}
            if log_x:
                axes.set_xscale("log")
            if name in log_y:
                axes.set_yscale("log")
            if reference and name in reference:
                axes.axhline(reference[name], color=SOFT, linewidth=0.9, linestyle=(0, (1, 2)))
            axes.set(xlabel="", ylabel="")
            if names.index(name) + across >= len(names):  # nothing below it
                axes.set_xlabel(x_label or axis_label(x))
            axes.set_title((titles or {}).get(name, axis_label(name)))
            axes.tick_params(labelbottom=True)
        for axes in grid[len(names) :]:
            axes.set_visible(False)
        if labels:
            legend_below(figure, [lines[label] for label in labels], labels)
    return figure
