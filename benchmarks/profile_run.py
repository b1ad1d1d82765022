"""Where a quick run of a study spends its time, in a fresh process, with a cold and a warm compilation cache.

    python benchmarks/profile_run.py [--study objectives] [--preset quick] [--rounds 1] [--report-only FOLDER]

Every instant of the process is booked once, to the first of these that covers it: importing, writing the report
(its figures, HTML and PDF apart), training, compiling (tracing and lowering included), else the study's own
work: estimators and tables. Imports made late by the code count as imports wherever they happen. With
``--report-only`` only the page of a finished run is written again, ``--rounds`` times in fresh processes: what
a change to the report part is judged by.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from timing import RESULTS, machine, table, write

PHASES = ("start", "import", "figures", "html", "pdf", "page", "train", "compile", "estimate", "rest")
WORDS = {
    "start": "Python starts",
    "import": "imports",
    "compile": "tracing, lowering, compiling or reading compiled programs",
    "train": "training programs run",
    "estimate": "estimators and tables of the cells",
    "figures": "figures drawn, written as SVG and PNG",
    "html": "report.html",
    "pdf": "report.pdf",
    "page": "page model, CSV files, JSON",
    "rest": "everything else",
}


class Book:
    """Intervals of the process by phase, and import time by package."""

    def __init__(self) -> None:
        self.intervals: list[tuple[str, float, float]] = []
        self.packages: dict[str, float] = defaultdict(float)
        self._depth = threading.local()

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its calls booked under a phase."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            start = time.time()
            try:
                return function(*args, **kwargs)
            finally:
                self.intervals.append((phase, start, time.time()))

        return wrapped

    def watch_imports(self) -> None:
        """Book every first import of a module, and what each package takes without those it imports."""
        bootstrap: Any = importlib._bootstrap  # type: ignore[attr-defined]
        original = bootstrap._find_and_load

        def find_and_load(name: str, import_: Any) -> Any:
            stack: list[float] = getattr(self._depth, "stack", [])
            self._depth.stack = stack
            stack.append(0.0)
            start = time.time()
            try:
                return original(name, import_)
            finally:
                end = time.time()
                inner = stack.pop()
                self.packages[name.partition(".")[0]] += end - start - inner
                if stack:
                    stack[-1] += end - start
                else:
                    self.intervals.append(("import", start, end))

        bootstrap._find_and_load = find_and_load

    def watch_compiling(self) -> None:
        """Book what JAX reports of tracing, lowering and compiling."""
        import jax.monitoring

        def listen(event: str, seconds: float, **_: Any) -> None:
            if "compile" in event or "trace" in event or "mlir" in event:
                now = time.time()
                self.intervals.append(("compile", now - seconds, now))

        jax.monitoring.register_event_duration_secs_listener(listen)

    def shares(self, start: float, end: float) -> dict[str, float]:
        """Seconds of each phase between start and end; every instant counts once, in the order of PHASES."""
        rank = {phase: i for i, phase in enumerate(PHASES)}
        marks = sorted({start, end, *(t for _, a, b in self.intervals for t in (a, b) if start < t < end)})
        changes: dict[float, list[tuple[str, int]]] = defaultdict(list)
        for phase, a, b in self.intervals:
            if b > start and a < end:
                changes[max(a, start)].append((phase, 1))
                changes[min(b, end)].append((phase, -1))
        active: dict[str, int] = defaultdict(int)
        out = dict.fromkeys(PHASES, 0.0)
        for left, right in zip(marks, [*marks[1:], end], strict=True):
            for phase, step in changes[left]:
                active[phase] += step
            now = min((p for p, n in active.items() if n > 0), key=rank.__getitem__, default="rest")
            out[now] += right - left
        return out


def child(options: argparse.Namespace) -> dict[str, Any]:
    """Run the study in this process and book its time."""
    begin = float(os.environ["PROFILE_START"])
    book = Book()
    book.intervals.append(("start", begin, time.time()))
    book.watch_imports()
    from vaeaudit.core.devices import configure_devices
    from vaeaudit.report import html, pdf, prepare
    from vaeaudit.study import runner
    from vaeaudit.study.find import load_study

    study = load_study(options.study)
    configure_devices()
    book.watch_compiling()
    import vaeaudit.training.driver as driver

    driver._run = book.timed("train", driver._run)
    prepare.prepare_figure = book.timed("figures", prepare.prepare_figure)
    if hasattr(prepare, "draw_all"):
        prepare.draw_all = book.timed("figures", prepare.draw_all)
    html.to_html = book.timed("html", html.to_html)
    pdf.to_pdf = book.timed("pdf", pdf.to_pdf)
    object.__setattr__(study, "compute", book.timed("estimate", study.compute))
    object.__setattr__(study, "page", book.timed("page", study.page))
    runner._write_tables = book.timed("page", runner._write_tables)
    runner.run_study(study, options.preset, options.child, compute=not options.report_only)
    end = time.time()
    packages = sorted(book.packages.items(), key=lambda item: -item[1])[:12]
    return {
        "total": end - begin,
        "cpu_seconds": time.process_time(),
        "phases": book.shares(begin, end),
        "imports": {name: round(seconds, 3) for name, seconds in packages},
    }


def run_child(options: argparse.Namespace, folder: Path, cache: Path) -> dict[str, Any]:
    """One fresh process."""
    words = [sys.executable, __file__, "--child", str(folder), "--study", options.study]
    words += ["--preset", options.preset] + (["--report-only", str(folder)] if options.report_only else [])
    env = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    env |= {"VAEAUDIT_CACHE_DIR": str(cache), "PROFILE_START": repr(time.time())}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise SystemExit(f"the run failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def medians(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Phase by phase."""
    middle = statistics.median
    return {
        "total": middle([r["total"] for r in rounds]),
        "cpu_seconds": middle([r["cpu_seconds"] for r in rounds]),
        "phases": {p: middle([r["phases"][p] for r in rounds]) for p in PHASES},
        "imports": rounds[-1]["imports"],
        "rounds": len(rounds),
    }


def report(options: argparse.Namespace, found: dict[str, dict[str, Any]], where: dict[str, Any]) -> str:
    """The tables as text."""
    head = f"vaeaudit run {options.study} --preset {options.preset}, in a fresh process"
    if options.report_only:
        head = f"page of {options.study} ({options.preset}) written again from finished cells, in a fresh process"
    columns = list(found)
    rows = []
    for phase in PHASES:
        cells = []
        for name in columns:
            seconds = found[name]["phases"][phase]
            cells.append(f"{seconds:.2f} ({seconds / found[name]['total']:.0%})")
        rows.append([WORDS[phase], *cells])
    rows.append(["total", *(f"{found[name]['total']:.2f}" for name in columns)])
    rows.append(["CPU seconds of all threads", *(f"{found[name]['cpu_seconds']:.2f}" for name in columns)])
    imports = [[name, f"{seconds:.2f}"] for name, seconds in found[columns[-1]]["imports"].items()]
    return "\n".join(
        [
            f"{head}; medians of {options.rounds} round(s), seconds of wall time (share)",
            f"{where['cpu']}, {where['cores']} cores, load {where['load_at_start']}, commit {where['commit']}",
            "",
            table(["phase", *columns], rows),
            "",
            f"imports by package ({columns[-1]}), without what they import",
            "",
            table(["package", "seconds"], imports),
            "",
        ]
    )


def main() -> None:
    """Profile, print, and write JSON and text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", default="objectives")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--report-only", metavar="FOLDER", type=Path, help="output folder of a finished run")
    parser.add_argument("--name", help="stem of the files in benchmarks/results")
    parser.add_argument("--child", type=Path, help="run in this process (used internally)")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options)))
        return
    where = machine()
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="profile-") as name:
        for r in range(options.rounds):
            cache = Path(name) / f"cache{r}"
            if options.report_only:
                found["finished cells"].append(run_child(options, options.report_only, cache))
                continue
            for state in ("cold cache", "warm cache"):
                found[state].append(run_child(options, Path(name) / f"{state} {r}", cache))
    result = {state: medians(rounds) for state, rounds in found.items()}
    text = report(options, result, where)
    print(text)
    stem = options.name or ("profile_report" if options.report_only else "profile_run")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{stem}.txt").write_text(text, encoding="utf-8")
    write(stem, {"machine": where, "study": options.study, "preset": options.preset, "results": result})


if __name__ == "__main__":
    main()
