"""Rows of a frame for standard JSON."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd


def _value(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def json_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One dictionary per row, of plain Python values: missing and infinite numbers become None.

    Examples
    --------
    >>> json_rows(pd.DataFrame({"rate": [1.5, float("nan")]}))
    [{'rate': 1.5}, {'rate': None}]
    """
    columns = [[_value(value) for value in frame[name]] for name in frame.columns]
    names = [str(name) for name in frame.columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
