"""Differences between models or settings, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from vaeaudit.core.errors import ArgumentError, unknown_name
from vaeaudit.core.records import Z95
from vaeaudit.tables.schema import require

COMPARED = ("quantity", "value", "se", "lower", "upper", "unit", "verdict")
COLUMNS = ("model", "baseline", "quantity", "difference", "se", "lower", "upper", "unit", "verdict", "note")


def _known(x: Any) -> bool:
    return not pd.isna(x)


def _difference(row: pd.Series, base: pd.Series) -> dict[str, Any]:
    if not all(_known(r[end]) for r in (row, base) for end in ("lower", "upper")):
        which = [str(r["verdict"]) for r in (row, base) if not (_known(r["lower"]) and _known(r["upper"]))]
        note = f"no interval on one side ({', '.join(dict.fromkeys(which))})"
        return {
            "difference": math.nan, "se": math.nan, "lower": math.nan, "upper": math.nan,
            "verdict": "unreliable", "note": note,
        }  # fmt: skip
    if not all(_known(r["value"]) and _known(r["se"]) for r in (row, base)):
        return {
            "difference": math.nan, "se": math.nan,
            "lower": row["lower"] - base["upper"], "upper": row["upper"] - base["lower"],
            "verdict": "ok", "note": "difference of brackets",
        }  # fmt: skip
    difference = row["value"] - base["value"]
    se = math.hypot(row["se"], base["se"])
    # what an interval holds beyond 1.96 se is a bound on bias: such parts add, standard errors do not
    down = sum(
        max(d - Z95 * r["se"], 0.0)
        for r, d in ((row, row["value"] - row["lower"]), (base, base["upper"] - base["value"]))
    )
    up = sum(
        max(d - Z95 * r["se"], 0.0)
        for r, d in ((row, row["upper"] - row["value"]), (base, base["value"] - base["lower"]))
    )
    return {
        "difference": difference, "se": se,
        "lower": difference - Z95 * se - down, "upper": difference + Z95 * se + up,
        "verdict": "ok", "note": "",
    }  # fmt: skip


def compare(tables: Mapping[str, pd.DataFrame], *, baseline: str | None = None) -> pd.DataFrame:
    """Each model's quantities minus the baseline's, from tidy tables of independent estimates.

    Parameters
    ----------
    tables
        Model or setting → frame as `tidy` returns it.
    baseline
        Key of the frame to subtract; the first one if not given.

    Returns
    -------
    DataFrame
        model, baseline, quantity, difference, se, lower, upper, unit, verdict, note, for every
        quantity both sides hold. The interval is empty where a side has none.

    Raises
    ------
    ArgumentError
        If fewer than two tables are given, or two rows of a table name the same quantity.

    Notes
    -----
    Standard errors add in quadrature: right for estimates from different data or noise,
    conservative for positively correlated ones (two models on the same data; then `compare_paired`
    is sharper). Bounds on bias add linearly.
    """
    base_name = _baseline(tables, baseline)
    for name, table in tables.items():
        require(table, COMPARED, what=f"compare (table {name!r})")
        if table["quantity"].duplicated().any():
            raise ArgumentError(
                f"table {name!r} holds a quantity twice; compare one model or setting per table."
            )
    base = tables[base_name].set_index("quantity")
    rows = []
    for name, table in tables.items():
        if name == base_name:
            continue
        for _, row in table.iterrows():
            if row["quantity"] not in base.index:
                continue
            other = base.loc[row["quantity"]]
            if row["unit"] != other["unit"]:
                raise ArgumentError(
                    f"{row['quantity']!r} is in {row['unit']!r} for {name!r} and in {other['unit']!r} for "
                    f"{base_name!r}. Convert one of them first (tables.bits_per_dim)."
                )
            head = {"model": name, "baseline": base_name, "quantity": row["quantity"], "unit": row["unit"]}
            rows.append({**head, **_difference(row, other)})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def compare_paired(
    per_datum: Mapping[str, pd.Series], *, quantity: str, unit: str = "nats", baseline: str | None = None
) -> pd.DataFrame:
    """Mean per-datum difference from the baseline, on the same data in the same order.

    The standard error is that of the mean of the differences, so what varies between data but not
    between models cancels.

    Parameters
    ----------
    per_datum
        Model or setting → one value per datum (equal lengths, same data).
    quantity, unit
        Name and unit of the value.
    baseline
        Key of the series to subtract; the first one if not given.

    Returns
    -------
    DataFrame
        Columns as `compare` returns them.
    """
    base_name = _baseline(per_datum, baseline)
    base = pd.Series(per_datum[base_name], dtype=float).reset_index(drop=True)
    rows = []
    for name, values in per_datum.items():
        if name == base_name:
            continue
        other = pd.Series(values, dtype=float).reset_index(drop=True)
        if len(other) != len(base):
            raise ArgumentError(
                f"{name!r} has {len(other)} data and {base_name!r} has {len(base)}; a paired comparison "
                "needs the same data in the same order. Use compare for independent estimates."
            )
        difference = other - base
        head = {"model": name, "baseline": base_name, "quantity": quantity, "unit": unit}
        if len(base) < 2 or not difference.map(math.isfinite).all():
            why = "fewer than two data" if len(base) < 2 else "some data have no finite value"
            rows.append({**head, "difference": math.nan, "verdict": "unreliable", "note": why})
            continue
        mean, se = float(difference.mean()), float(difference.std(ddof=1)) / math.sqrt(len(base))
        rows.append(
            {**head, "difference": mean, "se": se, "lower": mean - Z95 * se, "upper": mean + Z95 * se,
             "verdict": "ok", "note": "paired by datum"}
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _baseline(tables: Mapping[str, Any], baseline: str | None) -> str:
    if len(tables) < 2:
        raise ArgumentError(f"a comparison needs at least two models or settings; got {len(tables)}.")
    if baseline is None:
        return next(iter(tables))
    if baseline not in tables:
        raise unknown_name("baseline", baseline, [str(k) for k in tables])
    return baseline
