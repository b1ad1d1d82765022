"""Thresholds an audit must meet, and which it does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from vaeaudit.core.errors import ArgumentError, unknown_name


@dataclass(frozen=True)
class Threshold:
    """A quantity must lie above (``floor``) or below (not ``floor``) a limit, interval and all."""

    quantity: str
    limit: float
    floor: bool

    def __str__(self) -> str:
        return f"{self.quantity} {'≥' if self.floor else '≤'} {self.limit:g}"


def parse(text: str, *, floor: bool) -> Threshold:
    """Read ``quantity=limit``.

    Raises
    ------
    ArgumentError
    """
    quantity, equals, limit = text.partition("=")
    try:
        value = float(limit)
    except ValueError:
        value = math.nan
    if not equals or not quantity or math.isnan(value):
        raise ArgumentError(f"a threshold is QUANTITY=NUMBER, e.g. log_evidence=-90; got {text!r}.")
    return Threshold(quantity.strip(), value, floor)


def unmet(table: pd.DataFrame, thresholds: Sequence[Threshold]) -> list[str]:
    """Say for each threshold that is not met why: the interval must lie wholly on the right side.

    Raises
    ------
    UnknownNameError
        If a threshold names a quantity that the audit does not have.
    """
    rows = {row["quantity"]: row for row in table.to_dict("records")}
    reasons = []
    for threshold in thresholds:
        if threshold.quantity not in rows:
            raise unknown_name("quantity", threshold.quantity, list(rows))
        row = rows[threshold.quantity]
        end = float(row["lower" if threshold.floor else "upper"])
        if math.isnan(end):
            reasons.append(f"{threshold}: no interval ({row['verdict']}), so it cannot be vouched for")
        elif (end < threshold.limit) if threshold.floor else (end > threshold.limit):
            reasons.append(f"{threshold}: the interval is [{row['lower']:.4g}, {row['upper']:.4g}]")
    return reasons
