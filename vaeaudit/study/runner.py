"""Run a study: plan, skip what is finished, compute the rest, write tables and the page."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from vaeaudit import tables
from vaeaudit.core import processes
from vaeaudit.core.errors import ArgumentError, StoreError, unknown_name
from vaeaudit.report.page import Page, Table
from vaeaudit.study.atomic import make_folder, remove_leftovers, write_bytes
from vaeaudit.study.lock import hold
from vaeaudit.study.provenance import command_line, environment
from vaeaudit.study.store import CellStore, Stored, cell_hashes, plain
from vaeaudit.study.study import Cell, CellResult, Study
from vaeaudit.study.together import REPORT, Orders, agree_on_plan, follow, side_by_side
from vaeaudit.tables.rows import json_rows

Kind = Literal["start", "skip", "damaged", "compute", "done", "page", "report"]


@dataclass(frozen=True)
class Event:
    """One step of a run, for whoever shows progress."""

    kind: Kind
    key: str = ""
    index: int = 0  # of this cell, from 1
    total: int = 0  # cells in the plan
    seconds: float = math.nan
    message: str = ""


@dataclass(frozen=True)
class RunResult:
    """Where everything is, and the short table for the terminal."""

    folder: Path
    summary: pd.DataFrame
    tables: list[Path]
    results_json: Path
    html: Path | None
    pdf: Path | None
    computed: int
    reused: int
    seconds: float
    verdict: str = ""


@dataclass(frozen=True)
class Plan:
    """Cells of a run with their hashes and which of them are finished."""

    settings: dict[str, Any]
    cells: list[Cell]
    hashes: dict[str, str]
    finished: dict[str, bool] = field(default_factory=dict)


class _Results(Mapping[str, CellResult]):
    """Finished cells by key, read from disk on first use; only those a reader declared."""

    def __init__(self, known: Mapping[str, CellResult], allowed: Sequence[str], reader: str) -> None:
        self._known, self._allowed, self._reader = known, list(allowed), reader

    def __getitem__(self, key: str) -> CellResult:
        if key not in self._allowed:
            raise ArgumentError(
                f"cell {self._reader!r} reads the result of {key!r} without naming it in its `needs`; "
                "a change there would go unnoticed."
            )
        return self._known[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._allowed)

    def __len__(self) -> int:
        return len(self._allowed)


def resolve_settings(study: Study, preset: str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the preset's settings with some replaced; a mistyped preset or setting gets a suggestion."""
    if preset not in study.presets:
        raise unknown_name("preset", preset, list(study.presets))
    settings = dict(study.presets[preset])
    for name, value in (overrides or {}).items():
        if name not in settings:
            raise unknown_name(f"{study.name} setting", name, list(settings))
        settings[name] = value
    return settings


def plan_study(
    study: Study, preset: str, folder: str | Path, overrides: Mapping[str, Any] | None = None
) -> Plan:
    """List the cells of a run and which are finished in ``folder``; computes nothing."""
    settings = resolve_settings(study, preset, overrides)
    cells = list(study.plan(settings))
    hashes = cell_hashes(study, cells)
    store = CellStore(Path(folder) / "cells")
    return Plan(settings, cells, hashes, {key: store.has(key, digest) for key, digest in hashes.items()})


def _ignore(event: Event) -> None:
    pass


def run_study(
    study: Study,
    preset: str = "standard",
    folder: str | Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    fresh: bool = False,
    compute: bool = True,
    report: bool = True,
    on_event: Callable[[Event], None] = _ignore,
) -> RunResult:
    """Run a study into a folder, or go on with a run that was cut short.

    Parameters
    ----------
    study, preset
        What to run, at which size.
    folder
        Output folder; ``reports/<name>`` under the current directory when omitted.
    overrides
        Settings to replace in the preset.
    fresh
        Compute every cell again, finished or not.
    compute
        False renders from finished cells only.
    report
        False writes tables and ``results.json`` without the HTML and PDF pages.
    on_event
        Called with each `Event`.

    Returns
    -------
    RunResult
        Paths and the summary table.

    Raises
    ------
    StoreBusyError
        If another process writes to the folder.
    StoreError
        If the folder cannot be written to, or cells are missing with ``compute=False``.

    Notes
    -----
    A cell is stored whole or not at all and read back from disk before use, so that an interrupted
    and resumed run gives the same bytes in ``tables/`` and ``results.json`` as an uninterrupted one.
    Durations and the environment go to ``provenance.json`` and the page's last section.
    """
    begin = time.perf_counter()
    target = Path("reports") / study.name if folder is None else Path(folder)
    make_folder(target)
    with hold(target):
        remove_leftovers(target)
        plan = plan_study(study, preset, target, overrides)
        agree_on_plan(study, plan.settings, plan.hashes)
        on_event(Event("start", total=len(plan.cells), message=study.title))
        results, durations, origins, computed = _cells(study, plan, target, fresh, compute, on_event)
        on_event(Event("page", total=len(plan.cells)))
        processes.set_context(REPORT)
        with processes.alone():
            page = study.page(plan.settings, results)
            summary = study.summary(plan.settings, results)
        paths = _write_tables(target, page, summary)
        results_json = target / "results.json"
        write_bytes(results_json, _results_json(study, preset, plan.settings, page, summary))
        seconds = time.perf_counter() - begin
        provenance = {
            "command": command_line(),
            "study": f"{study.name}, version {study.version}",
            "preset": preset,
            "settings": plain(plan.settings),
            **page.provenance,
            **environment(),
            "other environments of reused cells": [e for e in origins if e != environment()],
            "seconds per cell": {key: round(value, 3) for key, value in durations.items()},
            "seconds in cells": round(sum(durations.values()), 3),
            "seconds of this run": round(seconds, 3),
        }
        provenance = {key: value for key, value in provenance.items() if value != []}
        write_bytes(target / "provenance.json", (json.dumps(plain(provenance), indent=1) + "\n").encode())
        html = pdf = None
        if report:
            from vaeaudit.report import write

            written = write(dataclasses.replace(page, provenance=provenance), target)
            html, pdf = written.html, written.pdf
        on_event(Event("report", total=len(plan.cells), seconds=time.perf_counter() - begin))
    return RunResult(
        folder=target,
        summary=summary,
        tables=paths,
        results_json=results_json,
        html=html,
        pdf=pdf,
        computed=computed,
        reused=len(plan.cells) - computed,
        seconds=time.perf_counter() - begin,
        verdict=page.verdict,
    )


def follow_study(study: Study, preset: str, overrides: Mapping[str, Any] | None = None) -> None:
    """Compute along with the process that calls `run_study`: the same cells, nothing read or written here.

    Raises
    ------
    ProcessError
        If process 0 or another one fails, dies, or runs something else.
    """
    follow(study, resolve_settings(study, preset, overrides), _Results)


def _cells(
    study: Study, plan: Plan, target: Path, fresh: bool, compute: bool, on_event: Callable[[Event], None]
) -> tuple[dict[str, CellResult], dict[str, float], list[dict[str, Any]], int]:
    """Results of all cells in the plan's order, with durations and environments."""
    store = CellStore(target / "cells")
    results: dict[str, CellResult] = {}
    durations: dict[str, float] = {}
    origins: list[dict[str, Any]] = []
    computed = place = 0
    total = len(plan.cells)
    orders = Orders(study, lambda cell: _Results(results, cell.needs, cell.key))

    def keep(cell: Cell, stored: Stored) -> None:
        store.clear_scratch(cell.key, plan.hashes[cell.key])
        results[cell.key] = stored.result
        durations[cell.key] = stored.seconds
        if stored.environment not in origins:
            origins.append(stored.environment)

    while place < total:
        cell = plan.cells[place]
        stored = None
        if not fresh:
            try:
                stored = store.load(cell.key, plan.hashes[cell.key])
            except StoreError as error:
                if not compute:
                    raise
                on_event(Event("damaged", cell.key, place + 1, total, message=str(error)))
        if stored is not None:
            keep(cell, stored)
            place += 1
            on_event(Event("skip", cell.key, place, total, seconds=stored.seconds))
            continue
        if not compute:
            raise StoreError(
                f"cell {cell.key!r} of study {study.name!r} is not finished in {target}. "
                f"Run `vaeaudit run {study.name}` with the same preset and --output first."
            )
        more = takewhile(lambda c: fresh or not plan.finished[c.key], plan.cells[place + 1 :])
        group = side_by_side([cell, *more], results)
        for index, member in enumerate(group, start=place + 1):
            if fresh:
                store.clear_scratch(member.key, plan.hashes[member.key])
            on_event(Event("compute", member.key, index, total))
        at_work = [dataclasses.replace(c, scratch=store.scratch(c.key, plan.hashes[c.key])) for c in group]
        found = orders.compute(at_work, results, more=place + len(group) < total)
        for member, (result, seconds) in zip(group, found, strict=True):
            digest = plan.hashes[member.key]
            store.discard(member.key, digest)
            store.save(member.key, digest, result, seconds=seconds, environment=environment())
            stored = store.load(member.key, digest)
            if stored is None:
                raise StoreError(f"cell {member.key!r} vanished from {target} after it was written.")
            keep(member, stored)
            place += 1
            on_event(Event("done", member.key, place, total, seconds=seconds))
        computed += len(group)
    orders.end()
    return results, durations, origins, computed


def _write_tables(target: Path, page: Page, summary: pd.DataFrame) -> list[Path]:
    """Write every table of the page, whole, and the summary as CSV under ``tables/``."""
    folder = make_folder(target / "tables")
    frames = {
        block.name: block.frame
        for section in page.sections
        for block in section.blocks
        if isinstance(block, Table)
    }
    frames["summary"] = summary
    paths = []
    for name, frame in frames.items():
        path = folder / f"{name}.csv"
        write_bytes(path, tables.csv_text(frame).encode())
        paths.append(path)
    return paths


def _results_json(
    study: Study, preset: str, settings: Mapping[str, Any], page: Page, summary: pd.DataFrame
) -> bytes:
    """Every number of the run in one file: NaN and infinities as null, no dates, no durations."""
    page_tables = {
        block.name: {"caption": block.caption, "note": block.note, "rows": json_rows(block.frame)}
        for section in page.sections
        for block in section.blocks
        if isinstance(block, Table)
    }
    document = {
        "study": study.name,
        "version": study.version,
        "question": study.question,
        "preset": preset,
        "settings": plain(settings),
        "verdict": page.verdict,
        "findings": [dataclasses.asdict(finding) for finding in page.findings],
        "summary": json_rows(summary),
        "tables": page_tables,
    }
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
