"""A prepared page as PDF, set by typst."""

from __future__ import annotations

import json
import math
import re
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from vaeaudit.core.errors import MissingDependencyError, ReportError
from vaeaudit.report.html import LEVELS
from vaeaudit.report.inline import paragraphs, spans
from vaeaudit.report.latex import to_typst
from vaeaudit.report.page import Math, Text
from vaeaudit.report.prepare import PreparedColumn, PreparedFigure, PreparedPage, PreparedTable

PORTRAIT, LANDSCAPE = 470.0, 700.0  # width of the text in points
TALLEST = 600.0  # height of a figure in points, so that heading and caption fit on its page
SIZES = (8.5, 7.5, 6.5)  # points, tried in this order on each format
ENLARGED = 1.2  # most a figure is magnified over the size it was drawn at
CHAR, GUTTER = 0.45, 8.0  # mean width of a character in em; space between columns in points
WRAP = 30  # characters; longer cells are wrapped


def to_pdf(page: PreparedPage) -> bytes:
    """Render a prepared page; the same page gives the same bytes.

    All strings reach typst as data (JSON), so that nothing in them is read as markup; formulas go
    through `vaeaudit.report.latex.to_typst`.

    Raises
    ------
    MissingDependencyError
        If typst is not installed.
    ReportError
        If typst refuses the document, or a formula is outside the LaTeX subset.
    """
    try:
        import typst
    except ImportError as error:
        raise MissingDependencyError("report.pdf needs the typst package. Run: pip install typst") from error
    with tempfile.TemporaryDirectory(prefix="vaeaudit-") as name:
        root = Path(name)
        (root / "page.typ").write_bytes((files("vaeaudit.report") / "templates" / "page.typ").read_bytes())
        (root / "page.json").write_text(
            json.dumps(document(page, root), ensure_ascii=False), encoding="utf-8"
        )
        try:
            compiler = typst.Compiler(str(root / "page.typ"), root=str(root), ignore_system_fonts=True)
            content = compiler.compile(format="pdf")
        except typst.TypstError as error:
            raise ReportError(
                f"typst could not set the page {page.name!r}: {error.message}. "
                "This is a fault of the report's template or of a formula; report.html is complete."
            ) from error
    assert isinstance(content, bytes)
    return content


def document(page: PreparedPage, root: Path) -> dict[str, Any]:
    """The page as JSON-able data; pictures are written into ``root``."""
    return {
        "title": page.title,
        "question": inline(page.question),
        "verdict": [inline(p) for p in paragraphs(page.verdict)],
        "findings": [
            {
                "level": f.level,
                "symbol": LEVELS[f.level][0],
                "word": LEVELS[f.level][1],
                "what": inline(f.what),
                "why": inline(f.why),
                "remedy": inline(f.what_to_do),
            }
            for f in page.findings
        ],
        "sections": [
            {"title": inline(s.title), "blocks": [part for b in s.blocks for part in _block(b, root)]}
            for s in page.sections
        ],
        "provenance": [[breakable(name), breakable(value)] for name, value in page.provenance],
    }


def inline(text: str) -> list[list[str]]:
    """Spans as [kind, value]; math is Typst source."""
    return [[kind, to_typst(value) if kind == "math" else value] for kind, value in spans(text)]


def breakable(text: str) -> str:
    """Allow line breaks after the marks inside long names and hashes."""
    for mark in "_/·|":
        text = text.replace(mark, mark + "\u200b")
    words = text.split(" ")
    return " ".join("\u200b".join(w[i : i + 32] for i in range(0, len(w), 32)) or w for w in words)


def _cell(text: str) -> str:
    return text if len(text) <= WRAP else breakable(text)


def _block(block: Text | Math | PreparedTable | PreparedFigure, root: Path) -> list[dict[str, Any]]:
    if isinstance(block, Text):
        return [{"kind": "text", "paragraphs": [inline(p) for p in paragraphs(block.text)]}]
    if isinstance(block, Math):
        return [
            {
                "kind": "math",
                "source": to_typst(block.latex),
                "latex": block.latex,
                "caption": inline(block.caption),
            }
        ]
    if isinstance(block, PreparedTable):
        return _table(block)
    return [_figure(block, root)]


def _figure(figure: PreparedFigure, root: Path) -> dict[str, Any]:
    file = f"{figure.name}.{'png' if figure.svg is None else 'svg'}"
    (root / file).write_bytes(figure.png if figure.svg is None else figure.svg)
    return {
        "kind": "figure",
        "file": file,
        "alt": figure.alt,
        "number": figure.number,
        "caption": inline(figure.caption),
        "width": min(
            PORTRAIT if figure.width == "full" else 0.78 * PORTRAIT,
            ENLARGED * 72.0 * figure.size[0],
            TALLEST * figure.size[0] / figure.size[1],
        ),
    }


def _natural(column: PreparedColumn, cells: list[str]) -> int:
    """Width of a column in characters, after wrapping."""
    heading = (
        math.ceil(1.15 * max(map(len, re.split("[_ ]", column.name)))) + 1
    )  # bold; broken as in `heading`
    body = max(map(len, cells), default=0)
    return max(heading, len(column.unit), body if column.numeric else min(body, WRAP))


def heading(name: str, width: int) -> str:
    r"""A column's name, broken after underscores and at spaces into lines of at most ``width`` characters.

    Examples
    --------
    >>> heading("mutual_information", 12)
    'mutual_\ninformation'
    """
    lines = [""]
    for part in re.findall(r"[^_ ]*[_ ]|[^_ ]+", name):
        if lines[-1] and len(lines[-1] + part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def layout(widths: list[int]) -> tuple[bool, float, list[list[int]]]:
    """Paper format, type size and column groups for columns of the given widths in characters.

    Returns (landscape, points, groups); there is more than one group, each repeating column 0, only
    where even the smallest type on a landscape page is too wide.
    """

    def total(columns: list[int], size: float) -> float:
        return sum(widths[j] for j in columns) * CHAR * size + GUTTER * (len(columns) - 1)

    everything = list(range(len(widths)))
    for landscape, room in ((False, PORTRAIT), (True, LANDSCAPE)):
        for size in SIZES:
            if total(everything, size) <= room:
                return landscape, size, [everything]
    groups: list[list[int]] = [[0]]
    for j in everything[1:]:
        if len(groups[-1]) > 1 and total([*groups[-1], j], SIZES[-1]) > LANDSCAPE:
            groups.append([0])
        groups[-1].append(j)
    return True, SIZES[-1], groups


def _table(table: PreparedTable) -> list[dict[str, Any]]:
    if not table.columns:
        return []
    by_column = [[row[j] for row in table.rows] for j in range(len(table.columns))]
    widths = [_natural(column, cells) for column, cells in zip(table.columns, by_column, strict=True)]
    landscape, size, groups = layout(widths)
    parts = []
    for k, group in enumerate(groups):
        caption = table.caption if k == 0 else f"{table.caption} (continued: further columns)"
        columns = [table.columns[j] for j in group]
        more = f"The first {len(table.rows)} of {table.num_rows} rows; all are in {table.file}."
        parts.append(
            {
                "kind": "table",
                "number": table.number,
                "caption": inline(caption),
                "note": inline(table.note) if k == len(groups) - 1 else [],
                "more": more if table.num_rows > len(table.rows) and k == len(groups) - 1 else "",
                "landscape": landscape,
                "first": k == 0,
                "size": size,
                "heads": [[heading(c.name, widths[j]), c.unit] for j, c in zip(group, columns, strict=True)],
                "numeric": [c.numeric for c in columns],
                "share": [
                    0 if c.numeric or max(map(len, by_column[j]), default=0) <= WRAP
                    else min(max(map(len, by_column[j])), 90)
                    for j, c in zip(group, columns, strict=True)
                ],
                "rows": [
                    [_cell(row[j]) for j in group] for row in table.rows
                ],
            }
        )  # fmt: skip
    return parts
