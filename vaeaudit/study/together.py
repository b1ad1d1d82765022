"""A study run by several processes: the first one decides, writes and reports; the others compute along."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
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
from vaeaudit.study.store import canonical_json, cell_hashes
from vaeaudit.study.study import Cell, CellResult, Study

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


class Orders:
    """What process 0 tells the others before each cell: whether to compute it, and the results it needs."""

    def __init__(self) -> None:
        self._sent: set[str] = set()

    def give(self, cell: Cell, compute: bool, results: Mapping[str, CellResult], scratch: Path) -> None:
        """Announce a cell; results that an earlier cell needed are there already."""
        if processes.num_processes() == 1:
            return
        new = [key for key in cell.needs if compute and key not in self._sent]
        self._sent.update(new)
        processes.set_context(f"cell {cell.key!r}")
        mark = _mark(scratch)
        processes.from_first(
            "its order",
            {
                "compute": compute,
                "results": {key: _plain(results[key]) for key in new},
                "scratch": str(scratch.absolute()),
                "mark": mark,
            },
        )


def follow(study: Study, settings: Mapping[str, Any], results_of: Any) -> None:
    """Do what every process but the first does: compute the cells that process 0 announces, write nothing.

    ``results_of(results, cell)`` restricts finished results to those a cell declares.
    """
    cells = list(study.plan(settings))
    agree_on_plan(study, settings, cell_hashes(study, cells))
    results: dict[str, CellResult] = {}
    for cell in cells:
        processes.set_context(f"cell {cell.key!r}")
        order = processes.from_first("its order")
        results |= {key: _result(content) for key, content in order["results"].items()}
        if order["compute"]:
            scratch = Path(order["scratch"])
            seen = order["mark"] is not None and _mark(scratch) == order["mark"]
            at_work = dataclasses.replace(cell, scratch=scratch if seen else None)
            study.compute(at_work, results_of(results, cell.needs, cell.key))
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
    return {"frames": frames, "arrays": result.arrays, "record": result.record}


def _result(content: Mapping[str, Any]) -> CellResult:
    frames = {
        name: decode(frame["csv"].encode(), frame["kinds"]) for name, frame in content["frames"].items()
    }
    return CellResult(frames, content["arrays"], content["record"])
