"""Training curves: every run thin, the mean over seeds bold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vaeaudit.figures.style import FULL, axis_label, legend_below, looks, new_figure, style
from vaeaudit.tables.schema import require

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def training_curves(
    history: pd.DataFrame,
    *,
    quantities: Sequence[str] = ("elbo", "rate", "distortion"),
    hue: str = "objective",
    seed: str = "seed",
) -> Figure:
    """Quantities over epochs, one panel each; a thin line per run, a bold one for the mean over seeds.

    Parameters
    ----------
    history
        Tidy: objective, seed, epoch and the quantities.
    quantities
        Columns to draw; those that the frame lacks are an error.
    hue, seed
        Columns that name the setting and the run.

    Notes
    -----
    A run that became non-finite ends where it did; the mean is then over the runs still finite.
    """
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    require(history, [hue, "epoch", *quantities], what="training_curves")
    with style():
        figure = new_figure(FULL, 2.9)
        panels = np.atleast_1d(figure.subplots(1, len(quantities)))
        look = looks(history[hue])
        lines: dict[str, Any] = {}
        for axes, quantity in zip(panels, quantities, strict=True):
            kept = history[np.isfinite(history[quantity].astype(float))]
            for label, appearance in look.items():
                part = kept[kept[hue].astype(str) == label]
                if seed in part and len(part[seed].unique()) > 1:
                    for _, run in part.groupby(seed):
                        axes.plot(
                            run["epoch"], run[quantity], color=appearance.colour, linewidth=0.6, alpha=0.35
                        )
                mean = part.groupby("epoch")[quantity].mean()
                line = axes.plot(mean.index, mean, color=appearance.colour, linestyle=appearance.dash)[0]
                lines.setdefault(label, line)
            axes.set(xlabel="epoch", ylabel="")
            axes.set_title(axis_label(quantity))
            _ignore_start(axes, kept, quantity)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        legend_below(figure, list(lines.values()), list(lines))
    return figure


def _ignore_start(axes: Any, frame: pd.DataFrame, quantity: str) -> None:
    """Keep the first epochs' fall from squeezing everything after it into one line."""
    last = frame["epoch"].max()
    late = frame[frame["epoch"] > last * 0.1][quantity]
    if last < 10 or late.empty:
        return
    low, high = float(late.min()), float(late.max())
    margin = 0.06 * (high - low or 1.0)
    drawn = axes.get_ylim()
    axes.set_ylim(max(drawn[0], low - margin), min(drawn[1], high + margin))
