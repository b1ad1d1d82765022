"""Numbers as people read them: one precision per column, minus signs, dashes for what is missing."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from vaeaudit.core.errors import ArgumentError
from vaeaudit.tables.schema import column

MISSING = "–"
MINUS = "−"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_FIXED = re.compile(r"\+?,?\.(\d+)f")  # a spec with a fixed number of decimals


def is_numeric(series: pd.Series) -> bool:
    """Whether a column holds numbers (booleans are words: yes, no)."""
    if pd.api.types.is_bool_dtype(series):
        return False
    if pd.api.types.is_numeric_dtype(series):
        return True
    present = [x for x in series if not _is_missing(x)]
    return bool(present) and all(
        (isinstance(x, numbers.Real) and not isinstance(x, bool | numbers.Integral)) or _is_int(x)
        for x in present
    )


def _is_int(x: Any) -> bool:
    return isinstance(x, numbers.Integral) and not isinstance(x, bool)


def _is_missing(x: Any) -> bool:
    return x is None or x is pd.NA or (isinstance(x, float) and math.isnan(x))


def _decimals(values: Sequence[float]) -> int | None:
    """Decimals that show three digits of the largest value, two at least below a thousand.

    Fewer where no value needs them; None if the column spans too much for one number of decimals.
    """
    sizes = [abs(v) for v in values if math.isfinite(v) and v != 0]
    if not sizes:
        return 0
    largest = max(sizes)
    if largest >= 1e6 or largest < 1e-4 or largest / min(sizes) > 1e5:
        return None
    decimals = max(2 - math.floor(math.log10(largest)), 2 if largest < 1e3 else 1 if largest < 1e4 else 0)
    while decimals > 0 and all(math.isclose(s, round(s, decimals - 1), rel_tol=1e-6) for s in sizes):
        decimals -= 1
    return decimals


def format_number(x: Any, spec: str = "", *, minus: str = MINUS) -> str:
    """One number under a format spec (four significant digits without one).

    With the true minus sign powers of ten are written out; with another one (terminals) they stay
    as Python writes them.

    Examples
    --------
    >>> format_number(-1.25, ".1f"), format_number(float("nan")), format_number(1234.5678)
    ('−1.2', '–', '1235')
    >>> format_number(-3.2e-5, ".1e"), format_number(-3.2e-5, ".1e", minus="-")
    ('−3.2·10⁻⁵', '-3.2e-05')
    """
    if _is_missing(x):
        return MISSING
    if isinstance(x, bool) or type(x).__name__ == "bool":
        return "yes" if x else "no"
    value = float(x)
    if math.isinf(value):
        text = "∞" if value > 0 else "-∞"
    else:
        try:
            text = format(int(x) if spec.endswith("d") and value.is_integer() else value, spec or ".4g")
        except (ValueError, TypeError) as error:
            raise ArgumentError(
                f"format spec {spec!r} does not fit the number {x!r}: {error}. "
                "Use a Python number format such as '.3f', '.2e', ',d' or '.1%'."
            ) from error
        if set(text) <= set("-0.,%"):  # no minus zero
            text = text.lstrip("-")
        if value == 0 and "e" in text:
            text = "0"
        if minus == MINUS and "e" in text:
            mantissa, _, exponent = text.partition("e")
            text = f"{mantissa}·10{str(int(exponent)).translate(_RAISED)}"
    return text.replace("-", minus)


def with_interval(value: float, lower: float, upper: float, spec: str = ".2f") -> str:
    """A number and its interval as a sentence or a cell holds them.

    The interval is left out where it has no finite ends; a missing number is a dash.

    Examples
    --------
    >>> with_interval(1.25, 1.0, 1.5), with_interval(2.0, float("nan"), 3.0, "+.1f")
    ('1.25 [1.00, 1.50]', '+2.0')
    """
    if not math.isfinite(value):
        return MISSING

    def written(number: float) -> str:
        text = format(number, spec)
        if set(text) <= set("-0.,%"):  # no minus zero
            text = text.replace("-", "+" if spec.startswith("+") else "")
        return text

    if not (math.isfinite(lower) and math.isfinite(upper)):
        return written(value)
    return f"{written(value)} [{written(lower)}, {written(upper)}]"


def format_column(series: pd.Series, spec: str = "", *, minus: str = MINUS) -> list[str]:
    """Every cell of a column as text.

    A column of floats without a spec (its own or the schema's) gets one number of decimals, so that
    the digits line up; if it spans more than five orders of magnitude, four significant digits each.
    """
    spec = spec or column(str(series.name)).format
    if pd.api.types.is_bool_dtype(series) or not is_numeric(series):
        return [
            MISSING
            if _is_missing(x)
            else format_number(x, spec, minus=minus)
            if isinstance(x, numbers.Number) or type(x).__name__ == "bool"
            else str(x)
            for x in series
        ]
    values = [x for x in series if not _is_missing(x)]
    if not spec and all(_is_int(x) or float(x).is_integer() for x in values) and any(map(_is_int, values)):
        spec = "d"
    if not spec:
        decimals = _decimals([float(x) for x in values])
        spec = "" if decimals is None else f".{decimals}f"
    return [format_number(x, spec, minus=minus) for x in series]


def format_frame(
    frame: pd.DataFrame, formats: Mapping[str, str] | None = None, *, minus: str = MINUS
) -> list[list[str]]:
    """Every column as text, an estimate and the ends of its interval with one number of decimals.

    Columns lower, upper and se belong to the number on their left, and x_lower, x_upper and x_se to x;
    a standard error has a decimal more. A column with a format of its own keeps it.
    """
    formats = formats or {}
    names = [str(name) for name in frame.columns]
    specs = {name: formats.get(name) or column(name).format for name in names}
    own = {j: _member(names, j) for j in range(len(names)) if _is_float(frame.iloc[:, j])}
    chosen = [specs[name] for name in names]
    for centre in dict.fromkeys(c for c, role in own.values() if role):
        members = [j for j, (c, role) in own.items() if c == centre and role != "se"]
        fixed = _FIXED.fullmatch(chosen[centre])
        if chosen[centre] and not fixed:
            continue
        values = [float(x) for j in members for x in frame.iloc[:, j] if not _is_missing(x)]
        decimals = int(fixed[1]) if fixed else _decimals(values)
        if decimals is None:
            continue
        for j, (c, role) in own.items():
            if c == centre and not chosen[j]:
                spread = [abs(float(x)) for x in frame.iloc[:, j] if not _is_missing(x)]
                extra = 1 if role == "se" else 0
                if max(spread, default=0.0) >= 0.5 * 10.0 ** -(decimals + extra):  # else all would be 0
                    chosen[j] = f".{decimals + extra}f"
    return [format_column(frame.iloc[:, j], spec, minus=minus) for j, spec in enumerate(chosen)]


def _is_float(series: pd.Series) -> bool:
    return is_numeric(series) and not all(_is_int(x) for x in series if not _is_missing(x))


def _member(names: Sequence[str], j: int) -> tuple[int, str]:
    """Position of the estimate that column ``j`` belongs to, and its part: lower, upper, se, or the estimate."""
    stem, _, part = names[j].rpartition("_")
    if part not in ("lower", "upper", "se"):
        return j, ""
    if stem:
        return (names.index(stem), part) if stem in names else (j, "")
    left = [i for i in range(j) if names[i] not in ("lower", "upper", "se")]
    return (left[-1], part) if left else (j, "")
