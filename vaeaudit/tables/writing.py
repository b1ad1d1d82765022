"""Tables as files: CSV with the same bytes every time, parquet where pyarrow is installed."""

from __future__ import annotations

import importlib.util
import io
import os
from pathlib import Path

import pandas as pd

from vaeaudit.core.errors import ArgumentError, MissingDependencyError
from vaeaudit.tables.files import write_bytes


def csv_text(frame: pd.DataFrame) -> str:
    """A frame as CSV text: no index, LF line ends, floats in shortest exact form, NaN empty."""
    if frame.columns.has_duplicates:
        twice = sorted({str(c) for c in frame.columns[frame.columns.duplicated()]})
        raise ArgumentError(f"a table's columns must be unique; {', '.join(twice)} occurs more than once.")
    return frame.to_csv(index=False, lineterminator="\n")


def write_csv(frame: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Write a frame as CSV, atomically and with bytes that depend on its content alone.

    Floats are written in the shortest form that reads back as the same number.

    Raises
    ------
    ArgumentError
        If two columns share a name.
    StoreError
        If the file cannot be written.
    """
    return write_bytes(path, csv_text(frame).encode("utf-8"))


def write_parquet(frame: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
    """Write a frame as parquet, atomically.

    Raises
    ------
    MissingDependencyError
        If pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingDependencyError(
            "writing parquet needs pyarrow, which is not installed. Run: pip install 'vaeaudit[parquet]'"
        )
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, engine="pyarrow")
    return write_bytes(path, buffer.getvalue())
