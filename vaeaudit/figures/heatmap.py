"""The cross table: what each objective's model scores under every objective."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vaeaudit.core.errors import ArgumentError
from vaeaudit.figures.style import FULL, new_figure, style
from vaeaudit.tables.formatting import format_number
from vaeaudit.tables.schema import require

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def cross_table_heatmap(
    frame: pd.DataFrame,
    *,
    rows: str = "trained_under",
    columns: str = "scored_under",
    value: str = "value",
    unit: str = "nats",
) -> Figure:
    """Scores as numbers; the shade of a cell is its distance from the best of its column.

    Parameters
    ----------
    frame
        Tidy: one row per pair (trained under, scored under).
    rows, columns, value
        Column names.
    unit
        Unit of the value.

    Raises
    ------
    ArgumentError
        If a pair occurs twice (average over seeds first) or nothing is finite.

    Notes
    -----
    Objectives have their own scales, so colours compare cells of one column only: how far a cell lies
    below the best of its column, on a scale that is linear near zero and logarithmic above one. The
    best is framed.
    """
    import seaborn as sns
    from matplotlib.colors import FuncNorm
    from matplotlib.patches import Rectangle

    require(frame, [rows, columns, value], what="cross_table_heatmap")
    if frame.duplicated([rows, columns]).any():
        raise ArgumentError(
            f"cross_table_heatmap needs one value per ({rows}, {columns}); some pairs occur more than once. "
            "Average over seeds first: tables.over_seeds."
        )
    wide = frame.pivot_table(index=rows, columns=columns, values=value, aggfunc="first", dropna=False)
    wide = wide.reindex(index=list(dict.fromkeys(frame[rows])), columns=list(dict.fromkeys(frame[columns])))
    table = np.where(np.isfinite(wide.to_numpy()), wide.to_numpy(), np.nan)
    if not np.isfinite(table).any():
        raise ArgumentError("cross_table_heatmap has nothing to draw: no value is finite.")
    filled = np.isfinite(table).any(axis=0)
    best = np.full(table.shape[1], np.nan)
    best[filled] = np.nanmax(table[:, filled], axis=0)
    below = best - table
    furthest = max(float(np.nanmax(below)), 1.0)
    with style():
        figure = new_figure(FULL, 1.3 + 0.34 * table.shape[0])
        axes = figure.subplots()
        sns.heatmap(
            below,
            ax=axes,
            annot=np.array([[format_number(v, ".1f") for v in row] for row in table]),
            fmt="",
            annot_kws={"fontsize": min(7.5, 58 / max(table.shape[1], 1))},
            cmap=sns.light_palette("#0072B2", as_cmap=True, reverse=True),
            norm=FuncNorm((np.log1p, np.expm1), vmin=0.0, vmax=furthest),
            linewidths=0.8,
            linecolor="white",
            xticklabels=list(wide.columns.astype(str)),
            yticklabels=list(wide.index.astype(str)),
            cbar_kws={
                "label": f"{unit} below the best of its column",
                "shrink": 0.85,
                "ticks": [t for t in (0, 1, 3, 10, 30, 100, 300, 1000, 3000) if t <= furthest],
                "format": "%g",
            },
        )
        for j in np.flatnonzero(filled):
            i = int(np.nanargmax(table[:, j]))
            axes.add_patch(
                Rectangle((float(j), float(i)), 1, 1, fill=False, edgecolor="#D55E00", linewidth=1.6)
            )
        axes.set(xlabel=f"scored under ({unit} per datum)", ylabel="trained under")
        axes.tick_params(length=0)
        axes.set_xticklabels(axes.get_xticklabels(), rotation=35, ha="right")
        axes.set_yticklabels(axes.get_yticklabels(), rotation=0)
    return figure
