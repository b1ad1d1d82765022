"""Batches of data shared out over processes; one process changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vaeaudit.core import processes
from vaeaudit.estimators.evidence_result import LogEvidence, concatenate

Rows = tuple[np.ndarray, int]  # padded indices of a batch, and how many of them are real


def evidence_by_batch(work: Callable[[int, Rows], LogEvidence], rows: list[Rows], label: str) -> LogEvidence:
    """Join ``work(number, rows)`` over the batches, each computed by one process and known to all.

    Notes
    -----
    Draws depend on the batch's number, not on who computes it.
    """
    if not processes.divided(len(rows)):
        return concatenate([work(number, batch) for number, batch in enumerate(rows)])

    def fields(number: int) -> dict[str, np.ndarray]:
        part = work(number, rows[number])
        return {name: getattr(part, name) for name in LogEvidence.__dataclass_fields__}

    parts = processes.spread(fields, len(rows), label)
    return concatenate([LogEvidence(**part) for part in parts])
