"""An objective's value against log p(x), datum by datum."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from vaeaudit.figures.style import COLOURS, FULL, INK, SOFT, finite, new_figure, style
from vaeaudit.tables.schema import require

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def bound_scatter(
    frame: pd.DataFrame,
    *,
    x: str = "log_evidence",
    y: str = "objective_value",
    upper: str = "log_evidence_upper",
    facet: str | None = "objective",
    columns: int = 4,
) -> Figure:
    """Objective value over log p(x) per datum; points above the diagonal break the bound.

    Parameters
    ----------
    frame
        One row per datum: log_evidence, objective_value and, if there, log_evidence_upper and a
        setting.
    x, y
        Column names.
    upper
        Column with an upper bound on log p(x): a point counts as above only where it exceeds this.
        Where the frame lacks it, log p(x) itself is used.
    facet
        Column whose values get a panel each; None, or absent, for one panel.
    columns
        Panels per row.

    Notes
    -----
    Points are rasterised. Each panel's title gives the share of data above.
    """
    from matplotlib.ticker import MaxNLocator

    require(frame, [x, y], what="bound_scatter")
    kept = finite(frame, [x, y], what="bound_scatter")
    panels = list(dict.fromkeys(kept[facet].astype(str))) if facet and facet in kept else [""]
    across = min(columns, len(panels))
    down = math.ceil(len(panels) / across)
    ends = np.quantile(kept[[x, y]].to_numpy(float), [0.002, 0.998])
    pad = 0.05 * float(ends[1] - ends[0]) or 1.0
    low, high = float(ends[0]) - pad, float(ends[1]) + pad
    with style():
        side = FULL / max(across, 2)
        title = 0.3 if panels != [""] else 0.0  # inches; two lines where panels have names
        figure = new_figure(side * across, (side + title) * down + 0.3)
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, name in zip(grid, panels, strict=False):
            part = kept[kept[facet].astype(str) == name] if name and facet else kept
            limit = part[upper].fillna(np.inf) if upper in part else part[x]
            above = (part[y] > limit).to_numpy()
            for mask, colour, marker in ((~above, COLOURS[0], "o"), (above, COLOURS[1], "^")):
                axes.scatter(
                    part[x][mask].clip(low, high), part[y][mask].clip(low, high), s=7, c=colour,
                    marker=marker, alpha=0.6, linewidths=0, rasterized=True,
                )  # fmt: skip
            axes.plot([low, high], [low, high], color=INK, linewidth=0.8)
            axes.set(xlim=(low, high), ylim=(low, high), aspect="equal", xlabel="", ylabel="")
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.set_title(f"{name}\n{above.mean():.1%} above".strip())
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        figure.supxlabel("log p(x) (nats)", fontsize=8.5, color=SOFT)
        figure.supylabel("value of the objective (nats)", fontsize=8.5, color=SOFT)
    return figure
