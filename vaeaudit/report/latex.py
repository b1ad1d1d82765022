"""LaTeX math to Typst math and to MathML, through one parser that refuses what it does not know."""

from __future__ import annotations

from functools import lru_cache
from html import escape

from vaeaudit.report.latex_parser import parse
from vaeaudit.report.mathml import mathml
from vaeaudit.report.typst_math import typst_math


@lru_cache(maxsize=1024)
def to_typst(latex: str) -> str:
    r"""Translate LaTeX math to Typst math.

    Raises
    ------
    ReportError
        For a command outside the subset, an unbalanced brace or a missing argument.

    Examples
    --------
    >>> to_typst(r"\frac{1}{2}\mu^2")
    'frac(1, 2) attach(μ, t: 2)'
    """
    return typst_math(parse(latex))


@lru_cache(maxsize=1024)
def to_mathml(latex: str, *, display: bool = False) -> str:
    r"""Translate LaTeX math to MathML, with the LaTeX as its annotation.

    Raises
    ------
    ReportError
        As `to_typst`.

    Examples
    --------
    >>> to_mathml("x")
    '<math><semantics><mi>x</mi><annotation encoding="application/x-tex">x</annotation></semantics></math>'
    """
    body = mathml(parse(latex))
    note = f'<annotation encoding="application/x-tex">{escape(latex)}</annotation>'
    attribute = ' display="block"' if display else ""
    return f"<math{attribute}><semantics>{body}{note}</semantics></math>"
