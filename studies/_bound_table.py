"""Who exceeds log p(x), and how often: a table that several studies print."""

from __future__ import annotations

import pandas as pd


def bound_table(bounds: pd.DataFrame) -> pd.DataFrame:
    """Share of held-out data certified above log p(x), seeds together."""
    pooled = bounds.groupby(["group", "objective", "claims_bound"], sort=False, as_index=False).agg(
        num_data=("num_data", "sum"),
        num_exceeding=("num_exceeding", "sum"),
        num_undecided=("num_undecided", "sum"),
        mean_excess=("mean_excess", "mean"),
        largest_excess=("largest_excess", "max"),
    )
    pooled.insert(5, "share_exceeding", pooled["num_exceeding"] / pooled["num_data"])
    return pooled
