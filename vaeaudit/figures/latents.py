"""Two latents as a scatter, with the prior's contours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from vaeaudit.figures.style import COLOURS, FULL, INK, SOFT, finite, new_figure, style
from vaeaudit.tables.schema import require

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MASSES = (0.5, 0.95)  # prior mass inside the contours


def latent_scatter(
    frame: pd.DataFrame,
    *,
    x: str = "z0",
    y: str = "z1",
    label: str | None = "label",
    facet: str | None = "objective",
    columns: int = 4,
) -> Figure:
    """Points of two latents, one panel per setting, with circles holding 50 % and 95 % of N(0, I).

    Parameters
    ----------
    frame
        One row per datum: two latent coordinates and, if there, a label and a setting.
    x, y
        Columns of the coordinates (posterior means, or draws of q(z|x)).
    label
        Column of class labels (drawn in colour); None, or absent, for none.
    facet
        Column whose values get a panel each; None, or absent, for one panel.
    columns
        Panels per row.

    Notes
    -----
    Points are rasterised. All panels share their axes.
    """
    from matplotlib.patches import Circle

    require(frame, [x, y], what="latent_scatter")
    kept = finite(frame, [x, y], what="latent_scatter")
    panels = list(dict.fromkeys(kept[facet].astype(str))) if facet and facet in kept else [""]
    classes = sorted(kept[label].dropna().unique()) if label and label in kept else []
    colour = {c: _class_colour(i, len(classes)) for i, c in enumerate(classes)}
    across = min(columns, len(panels))
    down = math.ceil(len(panels) / across)
    reach = float(np.quantile(np.abs(kept[[x, y]].to_numpy(float)), 0.998)) * 1.08
    reach = max(reach, 2.8)
    with style():
        side = FULL / max(across, 2)
        figure = new_figure(side * across, side * down + 0.35)
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, name in zip(grid, panels, strict=False):
            part = kept[kept[facet].astype(str) == name] if name else kept
            shades = [colour[c] for c in part[label]] if classes and label else COLOURS[0]
            axes.scatter(part[x], part[y], s=4, c=shades, alpha=0.65, linewidths=0, rasterized=True)
            for mass in MASSES:
                radius = math.sqrt(-2 * math.log(1 - mass))  # χ² with 2 degrees of freedom
                axes.add_patch(
                    Circle((0, 0), radius, fill=False, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
                )
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="", ylabel="")
            axes.set_title(name)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        figure.supxlabel("z₁", fontsize=8.5, color=INK)
        figure.supylabel("z₂", fontsize=8.5, color=INK)
        if classes:
            handles = [
                axes.plot([], [], linestyle="none", marker="o", markersize=4, color=colour[c])[0]
                for c in classes
            ]
            figure.legend(
                handles, [str(c) for c in classes], loc="outside upper center", ncols=len(classes) if across > 1 else 5,
                handletextpad=0.1, columnspacing=0.9, labelcolor=SOFT,
            )  # fmt: skip
    return figure


def _class_colour(i: int, count: int) -> Any:
    import seaborn as sns

    if count <= len(COLOURS):
        return COLOURS[i]
    lightness = 0.5 if i % 2 else 0.66  # of middling lightness, so that they show on dark and light ground
    return sns.husl_palette(count, s=0.85, l=lightness)[i]
