"""Paired timing: contenders take turns within a run, and ratios are taken round by round."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Timing:
    """Seconds of each round, wall and CPU, and how much work one round was."""

    seconds: np.ndarray
    cpu_seconds: np.ndarray  # of all threads and processes that did the work
    work: float

    @property
    def rate(self) -> float:
        """Work per second, median over rounds."""
        return float(np.median(self.work / self.seconds))

    @property
    def cpu_milliseconds(self) -> float:
        """CPU milliseconds per unit of work, median over rounds: steadier than wall time on a busy machine."""
        return float(1e3 * np.median(self.cpu_seconds) / self.work)


def take_turns(contenders: Mapping[str, tuple[Callable[[], Any], float]], rounds: int) -> dict[str, Timing]:
    """Run every contender once per round, in alternating order, after one unmeasured call each.

    Each contender is (function, work done by one call); a function that works in other processes returns
    the CPU seconds spent there. What disturbs the machine disturbs neighbours
    in time alike, so that ratios within a round are steadier than rates.
    """
    for function, _ in contenders.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for r in range(rounds):
        for name in names if r % 2 == 0 else reversed(names):
            start, cpu_start = time.perf_counter(), time.process_time()
            elsewhere = contenders[name][0]()
            seconds[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - cpu_start + (elsewhere or 0.0))
    return {name: Timing(np.array(seconds[name]), np.array(cpu[name]), contenders[name][1]) for name in names}


def ratio(a: Timing, b: Timing) -> tuple[float, float, float]:
    """Rate of a over rate of b: median, smallest and largest over the rounds."""
    ratios = (a.work / a.seconds) / (b.work / b.seconds)
    return float(np.median(ratios)), float(ratios.min()), float(ratios.max())


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import jax

    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        model = lines[0] if lines else model
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_at_start": round(load, 2),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "devices": [str(d) for d in jax.devices()],
        "commit": _commit(),
    }


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            cwd=RESULTS.parent,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def write(name: str, record: Mapping[str, Any]) -> Path:
    """Store a benchmark's record as JSON in ``benchmarks/results``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def table(header: list[str], rows: list[list[str]]) -> str:
    """A plain table in Markdown."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    line = lambda row: "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"  # noqa: E731
    return "\n".join([line(header), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, rows)])
