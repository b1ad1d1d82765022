"""Gradient alignment along a training run, and the epoch at which an objective stops climbing a target."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vaeaudit.core.arrays import Data
from vaeaudit.core.errors import ArgumentError
from vaeaudit.estimators.gradients import TARGETS, gradient_alignment
from vaeaudit.models.vae import AbstractVAE
from vaeaudit.objectives.base import Objective
from vaeaudit.objectives.registry import parse

NEEDED = {"epoch", "target", "parameters", "climb_lower", "climb_upper", "verdict"}


def alignment_along_training(
    objective: Objective | str,
    snapshots: Iterable[tuple[float, AbstractVAE]],
    x: Data,
    targets: Sequence[str] = TARGETS,
    *,
    total_epochs: float | None = None,
    **options: Any,
) -> pd.DataFrame:
    """`gradient_alignment` at each snapshot of a run, in one tidy table.

    Parameters
    ----------
    objective
        What the run maximises.
    snapshots
        Pairs (epoch, model), for example from successive `vaeaudit.fit` calls of a few epochs each.
    x
        The data at which gradients are taken, the same at each snapshot.
    targets, options
        As in `gradient_alignment`; the same random key serves every snapshot.
    total_epochs
        Length of the run, which sets the progress of scheduled objectives; progress is 1 if omitted.

    Returns
    -------
    pandas.DataFrame
        The columns of `GradientAlignment.table` after ``objective`` and ``epoch``.

    Raises
    ------
    ArgumentError
        If there are no snapshots.

    Notes
    -----
    Snapshots share their draws, so that changes between them are less noisy than each row's interval.
    Models of one architecture share a compiled program.
    """
    objective = parse(objective)
    parts = []
    for epoch, model in snapshots:
        progress = 1.0 if total_epochs is None else min(1.0, float(epoch) / float(total_epochs))
        result = gradient_alignment(objective, model, x, targets, progress=progress, **options)
        parts.append(result.table.assign(objective=objective.name, epoch=float(epoch)))
    if not parts:
        raise ArgumentError("`snapshots` is empty; pass pairs (epoch, model), e.g. [(0, model), …].")
    table = pd.concat(parts, ignore_index=True)
    return table[["objective", "epoch", *[c for c in table.columns if c not in ("objective", "epoch")]]]


def stops_climbing(
    path: pd.DataFrame, target: str = "log_evidence", parameters: str = "theta"
) -> pd.DataFrame:
    """When each run of an alignment table stops climbing a target.

    Parameters
    ----------
    path
        Table of `alignment_along_training`, several runs concatenated if wished.
    target, parameters
        Which rows are looked at.

    Returns
    -------
    pandas.DataFrame
        One row per ``objective`` (and ``seed`` where there is such a column): ``last_climbing``, the
        last epoch whose climb lies above 0 with its whole interval; ``first_not_climbing``, the first
        snapshot after it (NaN if it climbs to the end); ``descends``, whether any later interval lies
        below 0; ``num_unreliable``, snapshots left out since their estimate cannot be vouched for;
        ``final_verdict`` and ``final_note`` of the last snapshot.

    Raises
    ------
    ArgumentError
        If the table lacks a column.

    Notes
    -----
    "Not climbing" covers three cases the last columns tell apart: the interval holds 0, lies below 0,
    or the gradient is not told apart from 0 (a stationary point of the objective).
    """
    missing = NEEDED - set(path.columns)
    if missing:
        raise ArgumentError(f"`path` lacks the columns {sorted(missing)}: not a path's table.")
    chosen = path[(path["target"] == target) & (path["parameters"] == parameters)]
    keys = [c for c in ("objective", "seed") if c in path.columns]
    rows = []
    for labels, run in chosen.groupby(keys, sort=False) if keys else [((), chosen)]:
        everything = run.sort_values("epoch")
        ordered = everything[everything["verdict"] != "unreliable"]  # unknown, neither climbing nor not
        climbing = (ordered["climb_lower"] > 0).to_numpy()
        last = int(np.flatnonzero(climbing).max()) if climbing.any() else -1
        epochs = ordered["epoch"].to_numpy()
        rows.append(
            {
                **dict(zip(keys, labels, strict=True)),
                "target": target,
                "parameters": parameters,
                "last_climbing": epochs[last] if last >= 0 else np.nan,
                "first_not_climbing": epochs[last + 1] if last + 1 < len(epochs) else np.nan,
                "descends": bool((ordered["climb_upper"].to_numpy()[last + 1 :] < 0).any()),
                "num_unreliable": len(everything) - len(ordered),
                "final_verdict": everything["verdict"].iloc[-1],
                "final_note": everything["note"].iloc[-1] if "note" in everything else "",
            }
        )
    return pd.DataFrame(rows)
