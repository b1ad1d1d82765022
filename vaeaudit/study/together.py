"""A study run by several processes: the first one decides, writes and reports; the others compute along."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import vaeaudit
from vaeaudit.core import processes
from vaeaudit.core.cluster import Place
from vaeaudit.core.errors import ProcessError, VaeauditError
from vaeaudit.report.provenance import versions
from vaeaudit.study.frames import decode, encode
from vaeaudit.study.lock import LOCK_NAME
from vaeaudit.study.store import canonical_json, cell_hashes, plain
from vaeaudit.study.study import Cell, CellResult, Study

NEXT = "the next cell"  # the step before each
REPORT = "tables and report"  # the step after the last cell


@contextmanager
def joined(place: Place, timeout: float) -> Iterator[None]:
    """Join the other processes for the ``with`` block; if it fails they learn why."""
    processes.start(place, timeout)
    try:
        yield
        processes.finish()
    finally:
        error = sys.exception()
        if error is not None:
            words = (
                str(error) if isinstance(error, VaeauditError) else f"{type(error).__name__} {error}".strip()
            )
            processes.fail(words, echo=isinstance(error, ProcessError))


def agree_on_plan(study: Study, settings: Mapping[str, Any], hashes: Mapping[str, str]) -> None:
    """Refuse processes that differ in versions, study, settings or cells."""
    processes.agree(
        "the plan",
        {
            "vaeaudit": vaeaudit.__version__,
            **versions(("jax", "jaxlib", "numpy")),
            "study": f"{study.name}, version {study.version}",
            "settings": canonical_json(settings),
            **{f"cell {key!r}": digest for key, digest in hashes.items()},
        },
    )


def side_by_side(cells: Sequence[Cell], results: Mapping[str, CellResult]) -> list[Cell]:
    """The first of some cells that are left, or as many as there are processes, one for each.

    Cells that need no others are computed by all processes together, which share out the runs they train; so
    are those of which fewer are left than there are processes. ``results`` are those at hand.
    """
    count = processes.num_processes()
    able = [c for c in cells[:count] if c.needs and all(key in results for key in c.needs)]
    return list(cells[:count]) if len(able) == count > 1 else [cells[0]]


def _compute(
    study: Study, cells: Sequence[Cell], results_of: Callable[[Cell], Mapping[str, CellResult]]
) -> list[tuple[CellResult, float]]:
    """Results and seconds: of one cell by all processes together, or of many by one process each."""

    def timed(cell: Cell) -> tuple[CellResult, float]:
        clock = time.perf_counter()
        return study.compute(cell, results_of(cell)), time.perf_counter() - clock

    def packed(i: int) -> dict[str, Any]:
        result, seconds = timed(cells[i])
        return {"result": _plain(result), "seconds": seconds}

    if len(cells) == 1:
        processes.set_context(f"cell {cells[0].key!r}")
        return [timed(cells[0])]
    processes.set_context(f"cells {cells[0].key!r} to {cells[-1].key!r}")
    done = processes.spread(packed, len(cells), "one per process")
    return [(_result(content["result"]), content["seconds"]) for content in done]


class Orders:
    """What process 0 tells the others before they compute: which cells, and the results that these need."""

    def __init__(self, study: Study, results_of: Callable[[Cell], Mapping[str, CellResult]]) -> None:
        self._study, self._results_of = study, results_of
        self._sent: set[str] = set()
        self._more = True  # whether the others wait for another order

    def compute(
        self, cells: Sequence[Cell], results: Mapping[str, CellResult], *, more: bool
    ) -> list[tuple[CellResult, float]]:
        """Announce cells and compute them with the others; results and seconds in the order of ``cells``.

        Results that an earlier cell needed are there already. Without ``more`` these are the plan's last cells.
        """
        if processes.num_processes() > 1:
            needed = dict.fromkeys(key for cell in cells for key in cell.needs if key not in self._sent)
            self._sent.update(needed)
            self._give(cells, {key: _plain(results[key]) for key in needed}, more)
        return _compute(self._study, cells, self._results_of)

    def end(self) -> None:
        """Nothing is left to compute."""
        if processes.num_processes() > 1 and self._more:
            self._give([], {}, False)

    def _give(self, cells: Sequence[Cell], results: Mapping[str, Any], more: bool) -> None:
        self._more = more
        processes.set_context("")
        scratch = {cell.key: str(cell.scratch.absolute()) for cell in cells if cell.scratch}
        mark = next((_mark(cell.scratch) for cell in cells if cell.scratch), None)
        order = {"cells": scratch, "results": results, "mark": mark, "more": more}
        processes.from_first(NEXT, order)


def follow(study: Study, settings: Mapping[str, Any], results_of: Any) -> None:
    """Do what every process but the first does: compute the cells that process 0 announces, write nothing.

    ``results_of(results, needs, key)`` restricts finished results to those a cell declares.
    """
    plan = list(study.plan(settings))
    agree_on_plan(study, settings, cell_hashes(study, plan))
    cells = {cell.key: cell for cell in plan}
    results: dict[str, CellResult] = {}
    more = True
    while more:
        processes.set_context("")
        order = processes.from_first(NEXT)
        more = order["more"]
        results.update({key: _result(content) for key, content in order["results"].items()})
        at_work = []
        for key, path in order["cells"].items():
            seen = order["mark"] is not None and _mark(Path(path)) == order["mark"]
            at_work.append(dataclasses.replace(cells[key], scratch=Path(path) if seen else None))
        if at_work:
            _compute(study, at_work, lambda cell: results_of(results, cell.needs, cell.key))
    processes.set_context(REPORT)


def _mark(scratch: Path) -> str | None:
    """What the lock of the run's folder says: the same in every process that sees the same folder."""
    lock = scratch.absolute().parents[2] / LOCK_NAME
    try:
        return f"{lock.stat().st_mtime_ns} {lock.read_text(encoding='utf-8')}"
    except OSError:
        return None


def _plain(result: CellResult) -> dict[str, Any]:
    frames = {}
    for name, frame in result.frames.items():
        content, kinds = encode(frame)
        frames[name] = {"csv": content.decode(), "kinds": kinds}
    return {"frames": frames, "arrays": result.arrays, "record": plain(result.record)}


def _result(content: Mapping[str, Any]) -> CellResult:
    frames = {
        name: decode(frame["csv"].encode(), frame["kinds"]) for name, frame in content["frames"].items()
    }
    return CellResult(frames, content["arrays"], content["record"])
