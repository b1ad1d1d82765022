"""Claims that a study decides: a table, and one finding per row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from vaeaudit.report import Finding, Table

COLUMNS = ["claim", "statement", "verdict", "evidence"]
LEVELS = {
    "supported": "pass",
    "contradicted": "warn",
    "undecided": "unreliable",
    "holds under conditions": "info",
}


def claims_table(rows: Iterable[tuple[str, str, str, str]]) -> pd.DataFrame:
    """Claims with their verdicts and evidence, one row each."""
    return pd.DataFrame(list(rows), columns=COLUMNS)


def by_sign(row: Any) -> str:
    """What an interval says of the claim that its quantity is positive."""
    return "supported" if row["lower"] > 0 else "contradicted" if row["upper"] < 0 else "undecided"


def claim_findings(judged: pd.DataFrame) -> list[Finding]:
    """Each claim with its verdict, and its evidence as the reason."""
    return [
        Finding(
            LEVELS[row.verdict],
            f"{row.statement}: {row.verdict} ({row.claim}).",
            row.evidence[0].upper() + row.evidence[1:] + ".",
        )
        for row in judged.itertuples()
    ]


def claims_block(judged: pd.DataFrame) -> Table:
    """The table of a page; its reasons are those of `claim_findings`, and stand in the file."""
    return Table(
        "claims",
        "The claims that this study decides, by the tables below. The first column is the name under which "
        "`vaeaudit check` knows each.",
        judged,
        columns=["claim", "statement", "verdict"],
        note="The evidence for each stands with the findings above, and in the file.",
    )
