"""Audits: a model and data in, a table with intervals, findings and a report out."""

from __future__ import annotations

from vaeaudit.auditing.measure import PRESETS, audit
from vaeaudit.auditing.result import Audit

__all__ = ["PRESETS", "Audit", "audit"]
