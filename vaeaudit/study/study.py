"""A study: settings by preset, a plan of cells, their computation, and the page made from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vaeaudit.report.page import Page

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """One unit of work that is stored whole or not at all.

    ``config`` is JSON-able and decides the cell's hash together with the study's name and version;
    ``needs`` names cells (by key) whose results `compute` reads. The runner sets ``scratch``, a folder for
    what a long computation wants to find again if it is cut short (``va.sweep(…, checkpoint=cell.scratch)``);
    it is removed once the cell is stored, and is no part of the hash.
    """

    key: str
    config: Mapping[str, Any]
    needs: Sequence[str] = ()
    scratch: Path | None = None


@dataclass
class CellResult:
    """What a cell stores: tidy frames (CSV), arrays (npz, no pickle) and a small JSON record."""

    frames: dict[str, pd.DataFrame] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A question and how it is answered.

    Parameters
    ----------
    name
        File-safe identifier, as in ``vaeaudit run NAME``.
    title, question
        For the list and the page.
    presets
        ``{"quick": {...}, "standard": {...}, "full": {...}}``: JSON-able settings.
    plan
        ``plan(settings) -> [Cell, …]`` in the order of computation.
    compute
        ``compute(cell, results) -> CellResult`` where ``results[key]`` is a finished cell's result.
    page
        ``page(settings, results) -> Page``; reads frames only.
    summary
        ``summary(settings, results) -> DataFrame``: the short table printed in the terminal.
    version
        Raised when ``compute`` changes meaning, so that stored cells are not reused.
    """

    name: str
    title: str
    question: str
    presets: Mapping[str, Settings]
    plan: Callable[[Settings], Sequence[Cell]]
    compute: Callable[[Cell, Mapping[str, CellResult]], CellResult]
    page: Callable[[Settings, Mapping[str, CellResult]], Page]
    summary: Callable[[Settings, Mapping[str, CellResult]], pd.DataFrame]
    version: int = 1

    def main(self, args: Sequence[str] | None = None) -> None:
        """Run as a script does: the options, messages and exit codes of ``vaeaudit run NAME``."""
        from vaeaudit.study.command import script_command
        from vaeaudit.study.console import execute

        execute(script_command(self), args)
