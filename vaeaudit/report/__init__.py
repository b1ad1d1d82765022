"""Reports: one page model, rendered to HTML and PDF.

The page model (`vaeaudit.report.page`) is light; renderers are loaded when something is written.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaeaudit.report.provenance import collect_provenance
    from vaeaudit.report.writer import ReportPaths, write

_PUBLIC = {
    **dict.fromkeys(("Block", "Figure", "Finding", "Math", "Page", "Section", "Table", "Text"), "page"),
    "ReportPaths": "writer",
    "collect_provenance": "provenance",
    "write": "writer",
}

__all__ = ["ReportPaths", "collect_provenance", "write"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(f"vaeaudit.report.{_PUBLIC[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'vaeaudit.report' has no attribute {name!r}")
