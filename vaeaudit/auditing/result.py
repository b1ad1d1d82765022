"""What `audit` returns."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vaeaudit.core.records import Bracket, Estimate
from vaeaudit.models.vae import AbstractVAE
from vaeaudit.report.page import Finding
from vaeaudit.tables.rows import json_rows


@dataclass(frozen=True)
class AuditPaths:
    """Files of a saved audit; ``pdf`` is None where the PDF renderer is not installed."""

    folder: Path
    results_json: Path
    html: Path
    pdf: Path | None


@dataclass(frozen=True, repr=False)
class Audit:
    """The result of an audit.

    Attributes
    ----------
    table
        One row per quantity: quantity, value, se, lower, upper, unit, num_data, num_samples, verdict, note.
    per_datum
        One row per datum: elbo, rate, distortion, log_evidence with its reliability.
    findings
        Level (pass, info, warn, unreliable), what, why, what to do; the gravest first.
    quantities
        The estimates and brackets behind ``table``.
    by_latent, active_units, bounds
        One row per latent, per threshold, per bound on the aggregate posterior.
    """

    name: str
    preset: str
    target: str
    table: pd.DataFrame
    per_datum: pd.DataFrame
    findings: list[Finding]
    quantities: Mapping[str, Estimate | Bracket]
    by_latent: pd.DataFrame
    active_units: pd.DataFrame
    bounds: pd.DataFrame
    loc: np.ndarray
    scale: np.ndarray
    model: AbstractVAE
    x: np.ndarray
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The audit in a sentence or two, computed from the findings and the table."""
        from vaeaudit.auditing.page import verdict

        return verdict(self)

    def results(self) -> dict[str, Any]:
        """Every number of the tables, for JSON."""
        return {
            "audit": self.name,
            "preset": self.preset,
            "target": self.target,
            "verdict": self.verdict,
            "findings": [asdict(finding) for finding in self.findings],
            "table": json_rows(self.table),
            "by_latent": json_rows(self.by_latent),
            "active_units": json_rows(self.active_units),
            "bounds": json_rows(self.bounds),
        }

    def save(self, folder: str | os.PathLike[str]) -> AuditPaths:
        """Write tables, figures, ``results.json``, ``report.html`` and ``report.pdf``.

        Raises
        ------
        StoreError
            If the folder cannot be written to.
        """
        from vaeaudit.auditing.page import page
        from vaeaudit.report import write
        from vaeaudit.tables.files import write_text

        target = Path(folder)
        document = json.dumps(self.results(), indent=1, ensure_ascii=False, allow_nan=False)
        results_json = write_text(target / "results.json", document + "\n")
        paths = write(page(self), target)
        return AuditPaths(target, results_json, paths.html, paths.pdf)

    def __repr__(self) -> str:
        lines = [self.verdict, ""]
        lines += [f"{name:20s}{value}" for name, value in self.quantities.items()]
        lines += ["", *(f"{f.level}: {f.what}" for f in self.findings)]
        return "\n".join(lines)
