"""From records to tidy frames, and unit conversion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from vaeaudit.core.errors import ArgumentError
from vaeaudit.core.records import NAN, Bracket, Estimate
from vaeaudit.tables.schema import ESTIMATE_COLUMNS, require

_IN_UNITS = ("value", "se", "lower", "upper")


def _bracket_row(bracket: Bracket) -> dict[str, Any]:
    lower, upper = bracket.interval
    held = math.isfinite(lower) and math.isfinite(upper)
    ends = [bracket.lower, bracket.upper]
    refused = [e.verdict for e in ends if not e.has_interval]
    counts = {
        name: max((n for e in ends if (n := getattr(e, name)) is not None), default=None)
        for name in ("num_data", "num_samples")
    }
    verdict = "ok" if held else refused[0] if refused else "unreliable"
    if not held and len(set(refused)) == 1 and len(refused) == 1:  # one end still stands
        verdict = "lower bound only" if math.isfinite(lower) else "upper bound only"
    notes = [n for n in dict.fromkeys((bracket.note, *(e.note for e in ends if not e.has_interval))) if n]
    return {
        "value": NAN,
        "se": NAN,
        "lower": lower if math.isfinite(lower) else NAN,
        "upper": upper if math.isfinite(upper) else NAN,
        "unit": bracket.unit,
        **counts,
        "verdict": verdict,
        "note": "; ".join(notes),
    }


def tidy(quantities: Mapping[str, Estimate | Bracket], **settings: Any) -> pd.DataFrame:
    """Estimates and brackets as one tidy frame, one row per quantity.

    Parameters
    ----------
    quantities
        Quantity name → `Estimate` or `Bracket`.
    **settings
        Constant columns put first, e.g. ``objective="elbo", seed=0``.

    Returns
    -------
    DataFrame
        The settings, then quantity, value, se, lower, upper, unit, num_data, num_samples, verdict,
        note. A bracket fills ``lower`` and ``upper`` with its outer 95 % bounds and leaves ``value``
        empty; an end for which nothing is claimed is NaN, and the verdict says so.

    Raises
    ------
    ArgumentError
        If a value is neither an `Estimate` nor a `Bracket`.

    Examples
    --------
    >>> from vaeaudit.core.records import Estimate
    >>> frame = tidy({"rate": Estimate.exact(2.0)}, seed=3)
    >>> frame[["seed", "quantity", "value", "verdict"]].to_dict("records")
    [{'seed': 3, 'quantity': 'rate', 'value': 2.0, 'verdict': 'exact'}]
    """
    rows = []
    for name, quantity in quantities.items():
        if isinstance(quantity, Estimate):
            row = {key: value for key, value in quantity.row().items() if key in ESTIMATE_COLUMNS}
        elif isinstance(quantity, Bracket):
            row = _bracket_row(quantity)
        else:
            raise ArgumentError(
                f"quantity {name!r} must be an Estimate or a Bracket; got {type(quantity).__name__}. "
                "Wrap a number known without error as Estimate.exact(number)."
            )
        rows.append({**settings, "quantity": name, **row})
    frame = pd.DataFrame(rows, columns=[*settings, *ESTIMATE_COLUMNS])
    counts = dict.fromkeys(("num_data", "num_samples"), "Int64")
    return frame.astype({**counts, **dict.fromkeys(_IN_UNITS, "float64")})


def bits_per_dim(frame: pd.DataFrame, num_dims: int) -> pd.DataFrame:
    r"""Convert a tidy frame's rows in nats to bits per dimension; the sign is kept.

    value / (D log 2)

    Parameters
    ----------
    frame
        As `tidy` returns it.
    num_dims
        D, the number of data dimensions (pixels × channels).

    Returns
    -------
    DataFrame
        The rows whose unit was nats, with ``_bits_per_dim`` put behind the quantity's name. Log
        densities stay log densities: the usual "bits per dimension" of a model is the negative of
        ``log_evidence_bits_per_dim``.

    Raises
    ------
    ArgumentError
        If ``num_dims`` is not a positive integer or a column is missing.
    """
    require(frame, ("quantity", "unit", *_IN_UNITS), what="bits_per_dim")
    if isinstance(num_dims, bool) or not isinstance(num_dims, int) or num_dims < 1:
        raise ArgumentError(
            f"`num_dims` must be a positive integer (784 for 28×28 pixels); got {num_dims!r}."
        )
    converted = frame[frame["unit"] == "nats"].copy()
    for name in _IN_UNITS:
        converted[name] = converted[name] / (num_dims * math.log(2.0))
    converted["quantity"] = converted["quantity"] + "_bits_per_dim"
    converted["unit"] = "bits/dim"
    return converted.reset_index(drop=True)
