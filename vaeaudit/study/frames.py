"""Data frames as CSV text that reads back exactly: every float, every dtype."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pandas as pd

from vaeaudit.core.errors import ArgumentError

Kinds = dict[str, str]  # column → float | int | count (int or missing) | bool | text


def _column(name: str, column: pd.Series) -> tuple[pd.Series, str]:
    """One column in a storable dtype, and its kind."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if pd.api.types.is_bool_dtype(column.dtype) and not column.isna().any():
        return column.astype(bool), "bool"
    if pd.api.types.is_integer_dtype(column.dtype):
        return (column.astype("Int64"), "count") if column.isna().any() else (column.astype(np.int64), "int")
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_complex_dtype(column.dtype):
        return column.astype(np.float64), "float"
    present = column[~column.isna()]
    if len(present) == 0 and len(column) > 0:
        return column.astype(np.float64), "float"
    if all(isinstance(value, bool | np.bool_) for value in present) and len(present) == len(column) > 0:
        return column.astype(bool), "bool"
    if all(isinstance(v, int | float | np.number) and not isinstance(v, bool) for v in present) and len(
        present
    ):
        return column.astype(np.float64), "float"
    if all(isinstance(value, str) for value in present):
        return column.astype(object).where(~column.isna(), "").astype(str), "text"
    found = sorted({type(value).__name__ for value in present})
    raise ArgumentError(
        f"column {name!r} of a stored frame must hold numbers, truth values or text; got {', '.join(found)}. "
        "Put arrays into `CellResult.arrays` and nested values into `CellResult.record`."
    )


def normalise(frame: pd.DataFrame) -> tuple[pd.DataFrame, Kinds]:
    """Return the frame with a plain index and storable dtypes, and each column's kind.

    Named index levels become columns; missing text becomes the empty text; float32 becomes float64.
    """
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    elif isinstance(frame.index, pd.RangeIndex) or pd.api.types.is_integer_dtype(frame.index.dtype):
        frame = frame.reset_index(drop=True)
    else:
        raise ArgumentError(
            "a stored frame's index must be named or a plain count; call .reset_index() first."
        )
    names = list(frame.columns)
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise ArgumentError(f"a stored frame's columns must be different texts; got {names}.")
    columns = {name: _column(name, frame[name]) for name in names}
    kinds = {name: kind for name, (_, kind) in columns.items()}
    return pd.DataFrame({name: column for name, (column, _) in columns.items()}, index=frame.index), kinds


def encode(frame: pd.DataFrame) -> tuple[bytes, Kinds]:
    """CSV bytes of a frame and the kinds that `decode` needs.

    Floats are written with the fewest digits that read back to the same bits.
    """
    plain, kinds = normalise(frame)
    text = plain.to_csv(index=False, lineterminator="\n", na_rep="nan", quoting=csv.QUOTE_NONNUMERIC)
    return text.encode(), kinds


def decode(content: bytes, kinds: Kinds) -> pd.DataFrame:
    """Read what `encode` wrote: the same values, bit for bit, in the same dtypes."""
    if not kinds:
        return pd.DataFrame()
    dtypes: dict[str, Any] = {"float": str, "int": np.int64, "count": "Int64", "bool": bool, "text": str}
    frame = pd.read_csv(
        io.BytesIO(content),
        dtype={name: dtypes[kind] for name, kind in kinds.items()},
        keep_default_na=False,
        na_values={name: ["nan"] for name, kind in kinds.items() if kind == "count"},
        skip_blank_lines=False,
    )
    for name, kind in kinds.items():
        if kind == "float":  # Python's float() is correctly rounded on every version of pandas
            frame[name] = np.array([float(text) for text in frame[name]], dtype=np.float64)
    return frame
