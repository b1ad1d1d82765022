"""How figures look: one palette, line styles and markers for those who do not see the colours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from vaeaudit.core.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd

# Okabe & Ito (2008), without its yellow, which vanishes on paper
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D", "#8C6D31")
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h")
INK, SOFT, FAINT = "#22272d", "#5c6670", "#c9ced4"
FULL, HALF = 7.2, 4.2  # inches

RC: Any = {  # matplotlib settings
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "normal",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the report's style; settings outside are left as they were."""
    with mpl.rc_context(RC):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of the given size in inches that arranges its parts by itself."""
    engine = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.04, wspace=0.045, hspace=0.045)
    return Figure(figsize=(width, height), layout=engine)


@dataclass(frozen=True)
class Look:
    """Colour, line style and marker of one label."""

    colour: str
    dash: Any
    marker: str


def looks(labels: Iterable[Any]) -> dict[str, Look]:
    """A look for each label, in order of appearance; no two of the first 32 share colour and dash.

    Examples
    --------
    >>> a, b = looks(["elbo", "beta(4)"]).values()
    >>> a.colour != b.colour and a.marker != b.marker
    True
    """
    names = list(dict.fromkeys(str(x) for x in labels))
    n = len(COLOURS)
    return {
        name: Look(COLOURS[i % n], DASHES[(i // n + i) % len(DASHES)], MARKERS[i % len(MARKERS)])
        for i, name in enumerate(names)
    }


def legend_below(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """One legend for the whole figure, under it, in as many columns as fit."""
    if len(labels) < 2:
        return
    per_row = max(1, int(figure.get_figwidth() / (0.55 + 0.075 * max(map(len, labels)))))
    rows = -(-len(labels) // per_row)
    figure.legend(
        handles, labels, loc="outside lower center", ncols=-(-len(labels) // rows), handlelength=2.6
    )


def axis_label(name: str) -> str:
    """A column's name with its unit, as an axis label.

    Examples
    --------
    >>> axis_label("log_evidence")
    'log evidence (nats)'
    """
    from vaeaudit.tables.schema import column

    unit = column(name).unit
    text = {
        "loc": "μ",
        "scale": "σ",
        "elbo": "ELBO",
        "marginal_kl": "marginal KL",
        "dimwise_kl": "dimension-wise KL",
    }
    return text.get(name, name.replace("_", " ")) + (
        f" ({unit})" if unit and name not in ("loc", "scale") else ""
    )


def finite(frame: pd.DataFrame, columns: Sequence[str], *, what: str) -> pd.DataFrame:
    """The rows with finite numbers in ``columns``.

    Raises
    ------
    ArgumentError
        If none is left: an empty plot would look like a result.
    """
    import numpy as np

    kept = frame.loc[np.isfinite(frame[list(columns)].to_numpy(dtype=float, na_value=np.nan)).all(axis=1)]
    if kept.empty:
        raise ArgumentError(
            f"{what} has nothing to draw: none of the {len(frame)} rows has finite {', '.join(columns)}."
        )
    return kept
