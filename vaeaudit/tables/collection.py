"""Gather frames from many cells, and summarise over seeds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol

import pandas as pd

from vaeaudit.core.errors import ArgumentError
from vaeaudit.tables.schema import require


class HasFrames(Protocol):
    """A result with tidy frames by name, such as `vaeaudit.CellResult`."""

    frames: dict[str, pd.DataFrame]


def gather(results: Mapping[str, HasFrames]) -> dict[str, pd.DataFrame]:
    """Stack the frames that share a name over all results, in their order.

    Parameters
    ----------
    results
        Key → result with ``frames``, as a study's ``page`` and ``summary`` are given them.

    Returns
    -------
    dict
        Name → frame with the rows of every result that holds it; a name that no result holds is absent.

    Examples
    --------
    >>> from vaeaudit import CellResult
    >>> cells = {s: CellResult({"rates": pd.DataFrame({"seed": [s], "rate": [1.5]})}) for s in (0, 1)}
    >>> gather(cells)["rates"]["seed"].tolist()
    [0, 1]
    """
    parts: dict[str, list[pd.DataFrame]] = {}
    for result in results.values():
        for name, frame in result.frames.items():
            parts.setdefault(name, []).append(frame)
    return {name: pd.concat(frames, ignore_index=True) for name, frames in parts.items()}


def collect(frames: Mapping[Hashable, pd.DataFrame], names: str | Sequence[str]) -> pd.DataFrame:
    """Stack frames under key columns, in the order given.

    Parameters
    ----------
    frames
        Key → frame. A key is one value, or a tuple with one value per name.
    names
        Name(s) of the key columns, put first.

    Returns
    -------
    DataFrame
        The frames' rows; a column that some frames lack is empty there.

    Raises
    ------
    ArgumentError
        If there is no frame, a key's length differs from that of ``names``, or a frame already has a
        key column with other values.

    Examples
    --------
    >>> collect({("elbo", 0): pd.DataFrame({"rate": [1.5]})}, ("objective", "seed")).to_dict("records")
    [{'objective': 'elbo', 'seed': 0, 'rate': 1.5}]
    """
    columns = [names] if isinstance(names, str) else list(names)
    if not frames:
        raise ArgumentError("`frames` is empty; there is nothing to collect.")
    parts = []
    for key, frame in frames.items():
        values = key if isinstance(key, tuple) and len(columns) > 1 else (key,)
        if len(values) != len(columns):
            raise ArgumentError(f"key {key!r} needs {len(columns)} values, one for each of {columns}.")
        part = frame.copy()
        for column, value in zip(columns, values, strict=True):
            if column in part and not (part[column] == value).all():
                raise ArgumentError(
                    f"the frame under key {key!r} already has a column {column!r} with other values. "
                    "Drop it, or give the key another name."
                )
            part = part.drop(columns=column, errors="ignore")
        for position, (column, value) in enumerate(zip(columns, values, strict=True)):
            part.insert(position, column, value)
        parts.append(part)
    filled = [part for part in parts if not part.empty] or parts[:1]
    return pd.concat(filled, ignore_index=True)


def over_seeds(
    frame: pd.DataFrame, *, by: Sequence[str], values: Sequence[str], seed: str = "seed"
) -> pd.DataFrame:
    r"""Mean over seeds with a Student-t interval, for each setting and quantity.

    x̄ ± t₀.₉₇₅(n − 1) · s / √n

    Parameters
    ----------
    frame
        One row per setting and seed, one column per quantity.
    by
        Columns that name the setting.
    values
        Columns to average.
    seed
        The column that names the run; each may occur once per setting.

    Returns
    -------
    DataFrame
        ``by``, then quantity, value, se, lower, upper, num_seeds, verdict, note. One seed, or a
        missing value, gives no interval and says so.

    Notes
    -----
    The interval speaks about other seeds on the same data and split, not about other data.
    """
    from scipy import stats

    require(frame, [*by, *values, seed], what="over_seeds")
    if frame.duplicated([*by, seed]).any():
        raise ArgumentError(
            f"over_seeds needs one row per setting and {seed!r}; some occur more than once. Put every column "
            "that tells the rows apart into `by`."
        )
    rows = []
    for key, group in frame.groupby(list(by), sort=False, dropna=False):
        for name in values:
            x = group[name].astype(float)
            n, mean = int(x.count()), float(x.mean())
            row = {**dict(zip(by, key, strict=True)), "quantity": name, "value": mean, "num_seeds": n}
            if n >= 2 and n == len(x):
                se = float(x.std(ddof=1)) / math.sqrt(n)
                half = float(stats.t.ppf(0.975, n - 1)) * se
                row |= {"se": se, "lower": mean - half, "upper": mean + half, "verdict": "ok", "note": ""}
            else:
                why = "one seed" if n == len(x) == 1 else f"{len(x) - n} of {len(x)} runs gave no number"
                nan = math.nan
                row |= {"se": nan, "lower": nan, "upper": nan, "verdict": "unreliable", "note": why}
            rows.append(row)
    order = [*by, "quantity", "value", "se", "lower", "upper", "num_seeds", "verdict", "note"]
    return pd.DataFrame(rows, columns=order)


def mean_over_seeds(frame: pd.DataFrame, *, by: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """Mean of each column over the runs of a setting, one row per setting; `over_seeds` gives intervals.

    Parameters
    ----------
    frame
        One row per setting and run, one column per quantity.
    by
        Columns that name the setting.
    values
        Columns to average.

    Returns
    -------
    DataFrame
        ``by``, then ``values``; a mean is missing where one of its runs gave no number, because the mean
        over the others would be compared with means over all.

    Examples
    --------
    >>> runs = pd.DataFrame({"objective": ["elbo"] * 2, "rate": [1.0, 2.0], "elbo": [-3.0, float("nan")]})
    >>> mean_over_seeds(runs, by=["objective"], values=["rate", "elbo"]).to_dict("records")
    [{'objective': 'elbo', 'rate': 1.5, 'elbo': nan}]
    """
    require(frame, [*by, *values], what="mean_over_seeds")
    groups = frame.groupby(list(by), sort=False, dropna=False)[list(values)]
    complete = groups.count().eq(groups.size(), axis=0)
    return groups.mean().where(complete).reset_index()
