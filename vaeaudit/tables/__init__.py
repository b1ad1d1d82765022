"""Tidy tables: columns and units, collection, comparison, files, terminal.

Public names are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaeaudit.tables.collection import collect, gather, mean_over_seeds, over_seeds
    from vaeaudit.tables.comparison import compare, compare_paired
    from vaeaudit.tables.formatting import format_number, with_interval
    from vaeaudit.tables.schema import ESTIMATE_COLUMNS, Column, column, describe
    from vaeaudit.tables.terminal import render
    from vaeaudit.tables.tidying import bits_per_dim, tidy
    from vaeaudit.tables.writing import csv_text, write_csv, write_parquet

_PUBLIC = {
    "ESTIMATE_COLUMNS": "schema",
    "Column": "schema",
    "bits_per_dim": "tidying",
    "collect": "collection",
    "column": "schema",
    "compare": "comparison",
    "compare_paired": "comparison",
    "csv_text": "writing",
    "describe": "schema",
    "format_number": "formatting",
    "gather": "collection",
    "mean_over_seeds": "collection",
    "over_seeds": "collection",
    "render": "terminal",
    "tidy": "tidying",
    "with_interval": "formatting",
    "write_csv": "writing",
    "write_parquet": "writing",
}

__all__ = [
    "ESTIMATE_COLUMNS",
    "Column",
    "bits_per_dim",
    "collect",
    "column",
    "compare",
    "compare_paired",
    "csv_text",
    "describe",
    "format_number",
    "gather",
    "mean_over_seeds",
    "over_seeds",
    "render",
    "tidy",
    "with_interval",
    "write_csv",
    "write_parquet",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(f"vaeaudit.tables.{_PUBLIC[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'vaeaudit.tables' has no attribute {name!r}")
