"""From a page to what both renderers print: drawn figures, formatted cells, numbered captions."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeaudit.core.errors import ReportError
from vaeaudit.report.inline import prose
from vaeaudit.report.page import Figure, Finding, Math, Page, Section, Table, Text
from vaeaudit.tables.files import write_bytes
from vaeaudit.tables.formatting import MINUS, MISSING, format_frame, is_numeric
from vaeaudit.tables.schema import column
from vaeaudit.tables.writing import write_csv

if TYPE_CHECKING:
    import pandas as pd

MAX_SVG = 180_000  # bytes; a larger drawing is embedded as a picture
DPI = 160
SHORT = 48  # characters; longer values of a record stand on a line of their own
# numbers that come as text: −1.25, 12 %, 3.1 ± 0.2, 3.1 [2.9, 3.3]
_WRITTEN_NUMBER = re.compile(r"[-+−]?\d[\d,]*(\.\d+)?( ?%)?( (±|\[|\().*)?|–")
_CODE = re.compile(r"`([^`]+)`")  # cells are set in one type
_LEADING = re.compile(r"(?<=[\d%]) ?(%|±|\[|\().*")
SALT = "vaeaudit"  # element ids of SVG files depend on it and the drawing alone


@dataclass(frozen=True)
class PreparedColumn:
    """A column's heading and how it is laid out and sorted."""

    name: str
    unit: str
    description: str
    numeric: bool
    sort_keys: Sequence[str]


@dataclass(frozen=True)
class PreparedTable:
    """A table as text, with the file that holds all of it."""

    name: str
    number: int
    caption: str
    note: str
    columns: Sequence[PreparedColumn]
    rows: Sequence[Sequence[str]]
    num_rows: int
    file: str


@dataclass(frozen=True)
class PreparedFigure:
    """A drawn figure: its files beside the page, and the bytes to embed."""

    name: str
    number: int
    caption: str
    alt: str
    width: str
    files: dict[str, str]  # kind → path relative to the page
    svg: bytes | None  # None where the drawing is dense
    png: bytes
    pictorial: bool  # holds pictures or colour maps, which must not be recoloured
    size: tuple[float, float]  # inches


@dataclass(frozen=True)
class PreparedSection:
    """A titled part of the page."""

    title: str
    anchor: str
    blocks: Sequence[Text | Math | PreparedTable | PreparedFigure]
    collapsed: bool


@dataclass(frozen=True)
class PreparedPage:
    """A page whose figures are drawn and whose tables are text."""

    name: str
    title: str
    question: str
    verdict: str
    findings: Sequence[Finding]
    sections: Sequence[PreparedSection]
    provenance: Sequence[tuple[str, str]] = field(default_factory=tuple)


def file_stem(name: str, *, what: str) -> str:
    """A name that is safe as a file name on every system.

    Raises
    ------
    ReportError
        If it is not made of letters, digits, ``-``, ``_`` and ``.``, or starts with a dot.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}", name):
        raise ReportError(
            f"the {what}'s name {name!r} becomes a file name; use letters, digits, '-' and '_' (at most 100)."
        )
    return name


def anchor(title: str, taken: set[str]) -> str:
    """An id for a section, unique on the page."""
    stem = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
    name, n = f"s-{stem}", 2
    while name in taken:
        name, n = f"s-{stem}-{n}", n + 1
    taken.add(name)
    return name


def prepare(page: Page, folder: Path) -> PreparedPage:
    """Draw and format a page; write its figures' and tables' files into ``folder``.

    Raises
    ------
    ReportError
        For an unsafe or repeated name, an empty caption or alt text, an unknown kind of block, or a
        figure whose ``draw`` returns no matplotlib figure.
    """
    file_stem(page.name, what="page")
    taken: set[str] = set()
    names: set[tuple[str, str]] = set()
    counts = {"table": 0, "figure": 0}

    def number(kind: str, name: str) -> int:
        file_stem(name, what=kind)
        if (kind, name) in names:
            raise ReportError(
                f"two {kind}s of the page are named {name!r}; their files would overwrite each other."
            )
        names.add((kind, name))
        counts[kind] += 1
        return counts[kind]

    def block(item: Any) -> Text | Math | PreparedTable | PreparedFigure:
        if isinstance(item, Text | Math):
            return item
        if isinstance(item, Table):
            return prepare_table(item, number("table", item.name), folder)
        if isinstance(item, Figure):
            return prepare_figure(item, number("figure", item.name), folder)
        raise ReportError(f"a section holds Text, Math, Table and Figure blocks; got {type(item).__name__}.")

    def section(item: Section) -> PreparedSection:
        return PreparedSection(
            item.title, anchor(item.title, taken), [block(b) for b in item.blocks], item.collapsed
        )

    return PreparedPage(
        name=page.name,
        title=page.title,
        question=page.question,
        verdict=page.verdict,
        findings=list(page.findings),
        sections=[section(s) for s in page.sections],
        provenance=flatten(page.provenance),
    )


def prepare_table(table: Table, number: int, folder: Path) -> PreparedTable:
    """Write a table's CSV, whole, and format the rows that the page shows."""
    frame = table.frame
    missing = [c for c in table.columns or () if c not in frame.columns]
    if missing:
        raise ReportError(
            f"table {table.name!r} is to show the columns {missing}, which its frame lacks; "
            f"it has {list(map(str, frame.columns))}."
        )
    if not table.caption.strip():
        raise ReportError(f"table {table.name!r} needs a caption.")
    file = f"tables/{table.name}.csv"
    write_csv(frame, folder / file)
    whole = frame[list(table.columns)] if table.columns is not None else _without_empty_note(frame)
    shown = whole.head(table.max_rows)
    columns, cells = [], []
    written = format_frame(shown, table.formats)
    for j, name in enumerate(map(str, shown.columns)):
        series: pd.Series = shown.iloc[:, j]
        known, texts = column(name), written[j]
        if is_numeric(series):
            keys = [_sort_key(x) for x in series]
        elif all(_WRITTEN_NUMBER.fullmatch(text) for text in texts) and (
            known.unit or set(texts) != {MISSING}
        ):
            texts = [text.replace("-", MINUS) for text in texts]
            keys = [_sort_key(_LEADING.sub("", text).replace(",", "").replace(MINUS, "-")) for text in texts]
        else:
            texts, keys = [prose(_CODE.sub(r"\1", text)) for text in texts], []
        columns.append(PreparedColumn(name, known.unit, known.description, bool(keys), keys))
        cells.append(texts)
    rows = [list(row) for row in zip(*cells, strict=True)]
    return PreparedTable(table.name, number, table.caption, table.note, columns, rows, len(whole), file)


def _without_empty_note(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without a ``note`` that says nothing in any row; the file keeps it."""
    empty = "note" in frame and frame["note"].map(lambda x: x in ("", None) or x != x).all()
    return frame.drop(columns="note") if empty and len(frame) else frame


def _sort_key(x: Any) -> str:
    try:
        return repr(float(x))
    except (TypeError, ValueError):
        return "nan"


def prepare_figure(figure: Figure, number: int, folder: Path) -> PreparedFigure:
    """Draw a figure, write its SVG, PNG and CSV, and choose what is embedded."""
    if not figure.alt.strip() or not figure.caption.strip():
        raise ReportError(f"figure {figure.name!r} needs a caption and a text alternative (alt).")
    drawing = figure.draw()
    if not hasattr(drawing, "savefig"):
        raise ReportError(
            f"`draw` of figure {figure.name!r} must return a matplotlib Figure; got {type(drawing).__name__}."
        )
    lay_out(drawing)
    svg, png = render_svg(drawing), render_png(drawing)
    files = {"SVG": f"figures/{figure.name}.svg", "PNG": f"figures/{figure.name}.png"}
    write_bytes(folder / files["SVG"], svg)
    write_bytes(folder / files["PNG"], png)
    if figure.frame is not None:
        files["CSV"] = f"figures/{figure.name}.csv"
        write_csv(figure.frame, folder / files["CSV"])
    light = compact(svg)
    dense = len(light) > MAX_SVG
    prepared = PreparedFigure(
        name=figure.name,
        number=number,
        caption=figure.caption,
        alt=figure.alt,
        width=figure.width,
        files=files,
        svg=None if dense else light,
        png=png,
        pictorial=any(ax.images or any(_is_mesh(c) for c in ax.collections) for ax in drawing.axes),
        size=tuple(drawing.get_size_inches()),
    )
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(drawing)
    return prepared


def _is_mesh(collection: Any) -> bool:
    from matplotlib.collections import QuadMesh

    return isinstance(collection, QuadMesh)


def lay_out(drawing: Any) -> None:
    """Arrange a figure's parts once; each file would otherwise draw the figure an extra time to do so."""
    engine = drawing.get_layout_engine()
    if engine is not None:
        drawing.set_dpi(DPI)
        engine.execute(drawing)
        drawing.set_layout_engine(None)


def render_svg(drawing: Any) -> bytes:
    """A figure as SVG with the same bytes every time: text as paths, fixed ids, no date."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    drawing.patch.set_gid("paper")
    with mpl.rc_context({"svg.hashsalt": SALT, "svg.fonttype": "path"}):
        drawing.savefig(
            buffer, format="svg", dpi=DPI, facecolor="white", metadata={"Date": None, "Creator": None}
        )
    return buffer.getvalue()


def compact(svg: bytes) -> bytes:
    """An SVG for embedding: no white ground (pages bring their own), no comments, shorter coordinates."""
    svg = re.sub(rb'<g id="paper">.*?</g>', b"", svg, count=1, flags=re.S)
    svg = re.sub(rb"<!--.*?-->|<metadata>.*?</metadata>|<!DOCTYPE.*?>", b"", svg, flags=re.S)

    def shorten(match: re.Match[bytes]) -> bytes:
        return re.sub(rb"(\.\d\d)\d+", rb"\1", match[0].replace(b"\n", b" "))

    svg = re.sub(rb' d="[^"]*"', shorten, svg)  # hundredths of a point; scale factors stay exact
    return re.sub(rb">\s+<", b"><", svg)


def render_png(drawing: Any) -> bytes:
    """A figure as PNG on white, without software names or dates."""
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def flatten(record: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A nested record as (name, text) lines; an inner mapping of short values is one line.

    Examples
    --------
    >>> flatten({"seeds": [0, 1], "versions": {"jax": "0.10", "numpy": "2.3"}})
    [('seeds', '0, 1'), ('versions', 'jax 0.10; numpy 2.3')]
    """
    if isinstance(record, Mapping):
        short = {str(key): _scalar(value) for key, value in record.items()}
        if prefix and all(text is not None and len(text) <= SHORT for text in short.values()):
            return [(prefix, "; ".join(f"{key} {text}" for key, text in short.items()))]
        stem = f"{prefix} · " if prefix else ""
        return [line for key, value in record.items() for line in flatten(value, f"{stem}{key}")]
    text = _scalar(record)
    if text is not None:
        return [(prefix, text)]
    return [line for i, value in enumerate(record, 1) for line in flatten(value, f"{prefix} {i}")]


def _scalar(value: Any) -> str | None:
    """A number, a word or a list of such as text; None for anything that holds records."""
    if isinstance(value, list | tuple):
        parts = [_scalar(x) for x in value]
        return None if None in parts else ", ".join(filter(None, parts)) or "none"
    if isinstance(value, Mapping):
        return None
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
