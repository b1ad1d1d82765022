"""Write a page to a folder, as HTML and PDF."""

from __future__ import annotations

import importlib.util
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from vaeaudit.core.errors import ReportError
from vaeaudit.report.page import Page


@dataclass(frozen=True)
class ReportPaths:
    """Where a report was written; ``pdf`` is None where typst is not installed."""

    html: Path
    pdf: Path | None


def write(page: Page, folder: str | os.PathLike[str]) -> ReportPaths:
    """Render a page to ``report.html`` and ``report.pdf`` in a folder.

    Tables go to ``tables/NAME.csv``, figures to ``figures/NAME.svg``, ``.png`` and, where they have
    a frame, ``.csv``. Every file is written whole or not at all, and the same page gives the same
    bytes.

    Parameters
    ----------
    page
        What to say.
    folder
        Made if it does not exist.

    Raises
    ------
    ReportError
        If the page cannot be rendered: an unknown LaTeX command, a repeated or unsafe name, a page
        of more than 2 MB.
    StoreError
        If a file cannot be written.

    Notes
    -----
    Where the ``typst`` package cannot be imported, the PDF is left out with a warning.
    """
    if not isinstance(page, Page):
        raise ReportError(f"`page` must be a vaeaudit.report.page.Page; got {type(page).__name__}.")
    from vaeaudit.report.html import to_html
    from vaeaudit.report.prepare import prepare
    from vaeaudit.tables.files import write_bytes, write_text

    target = Path(folder)
    prepared = prepare(page, target)
    html = write_text(target / "report.html", to_html(prepared))
    if importlib.util.find_spec("typst") is None:
        warnings.warn(
            "report.pdf was not written: the `typst` package is not installed. Run: pip install typst",
            stacklevel=2,
        )
        return ReportPaths(html, None)
    from vaeaudit.report.pdf import to_pdf

    return ReportPaths(html, write_bytes(target / "report.pdf", to_pdf(prepared)))
