"""The page model: what a report says, independent of HTML and PDF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

Level = Literal["pass", "info", "warn", "unreliable"]


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict: what, why, and what to do."""

    level: Level
    what: str
    why: str = ""
    what_to_do: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph. ``$…$`` marks inline math (LaTeX), ``**…**`` emphasis, backticks code."""

    text: str


@dataclass(frozen=True)
class Math:
    """A displayed formula in LaTeX."""

    latex: str
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    ``name`` is its file stem (CSV beside the page). Long frames are cut on the page to ``max_rows``
    with a pointer to the CSV, which is always whole.
    """

    name: str
    caption: str
    frame: pd.DataFrame
    columns: Sequence[str] | None = None
    note: str = ""
    max_rows: int = 60
    formats: dict[str, str] = field(default_factory=dict)  # column → format spec, e.g. ".3f"


@dataclass(frozen=True)
class Figure:
    """A figure. ``draw`` returns a matplotlib figure drawn from ``frame`` (its data, saved as CSV)."""

    name: str
    caption: str
    alt: str
    draw: Callable[[], Any]
    frame: pd.DataFrame | None = None
    width: Literal["half", "full"] = "full"


Block = Text | Math | Table | Figure


@dataclass(frozen=True)
class Section:
    """A titled part of a page; ``collapsed`` sections open on click in HTML."""

    title: str
    blocks: Sequence[Block]
    collapsed: bool = False


@dataclass(frozen=True)
class Page:
    """A report: verdict first, then sections, then provenance."""

    name: str  # file-safe identifier, e.g. "objectives"
    title: str
    question: str
    verdict: str  # the answer in one or two plain sentences
    findings: Sequence[Finding]
    sections: Sequence[Section]
    provenance: dict[str, Any] = field(default_factory=dict)
