"""A short table as plain aligned text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from unicodedata import combining, east_asian_width

import pandas as pd

from vaeaudit.core.errors import ArgumentError
from vaeaudit.tables.formatting import format_frame, is_numeric
from vaeaudit.tables.schema import require

GAP = "  "
NARROWEST = 6  # text columns are not squeezed below this


def _width(text: str) -> int:
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    while _width(text) > width - 1:
        text = text[:-1]
    return text.rstrip() + "…"


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space


def render(
    frame: pd.DataFrame,
    *,
    columns: Sequence[str] | None = None,
    width: int = 80,
    formats: Mapping[str, str] | None = None,
    max_rows: int = 40,
) -> str:
    """Lay a frame out as text that is at most ``width`` characters wide.

    Numbers are right-aligned with one precision per column. Where the table is too wide, its widest
    text columns are cut with an ellipsis; columns that still do not fit are left out from the right
    and named in a last line, and so are rows beyond ``max_rows``.

    Raises
    ------
    ArgumentError
        If the frame is empty, lacks a named column, or ``width`` is below 20.

    Examples
    --------
    >>> print(render(pd.DataFrame({"objective": ["elbo", "beta(4)"], "rate": [12.5, 3.25]})))
    objective   rate
    ─────────  ─────
    elbo       12.50
    beta(4)     3.25
    """
    require(frame, list(columns or ()), what="the terminal table")
    if width < 20:
        raise ArgumentError(f"`width` must be at least 20 characters; got {width}.")
    shown = (frame[list(columns)] if columns else frame).head(max_rows)
    names = [str(c) for c in shown.columns]
    numeric = [is_numeric(shown.iloc[:, j]) for j in range(len(names))]
    cells = format_frame(shown, formats, minus="-")
    cells = [["".join(c if c.isprintable() else " " for c in cell) for cell in column] for column in cells]
    widths = [max(_width(name), *map(_width, column)) for name, column in zip(names, cells, strict=True)]

    def total(kept: int) -> int:
        return sum(widths[:kept]) + len(GAP) * (kept - 1)

    kept = len(names)
    while total(kept) > width:
        text = [j for j in range(kept) if not numeric[j] and widths[j] > NARROWEST]
        excess = total(kept) - width
        if sum(widths[j] - NARROWEST for j in text) >= excess:
            widest = max(text, key=lambda j: widths[j])
            widths[widest] -= 1
        elif kept > 1:
            kept -= 1
        else:
            widths[0] = width
    lines = [
        GAP.join(_pad(_cut(names[j], widths[j]), widths[j], numeric[j]) for j in range(kept)),
        GAP.join("─" * widths[j] for j in range(kept)),
    ]
    for i in range(len(shown)):
        lines.append(GAP.join(_pad(_cut(cells[j][i], widths[j]), widths[j], numeric[j]) for j in range(kept)))
    left_out = []
    if more := len(frame) - len(shown):
        left_out.append(f"{more} more row{'s' if more > 1 else ''}")
    if kept < len(names):
        left_out.append("columns not shown: " + ", ".join(names[kept:]))
    if left_out:
        lines += textwrap.wrap(f"({'; '.join(left_out)})", width, subsequent_indent=" ")
    return "\n".join(line.rstrip() for line in lines)
