"""Kill a small study at random instants until it finishes; print how often and when.

Run as a script: ``python kill_harness.py FOLDER KILLS SEED``. It loads pandas once and forks, so that a
kill costs milliseconds. It must not load JAX: forking a process with JAX's threads can hang.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from vaeaudit.report.page import Finding, Page, Section, Table
from vaeaudit.study.runner import run_study
from vaeaudit.study.study import Cell, CellResult, Study

CELLS = 6


def plan(settings):
    cells = [Cell(f"draw {i}", {"seed": i, "size": settings["size"]}) for i in range(CELLS)]
    return [*cells, Cell("total", {}, needs=[cell.key for cell in cells])]


def compute(cell, results):
    time.sleep(0.002)
    if cell.key == "total":
        value = sum(results[key].arrays["x"].sum() for key in results)
        return CellResult(frames={"total": pd.DataFrame({"total": [value]})})
    rng = np.random.default_rng(cell.config["seed"])
    x = rng.normal(size=cell.config["size"])
    frame = pd.DataFrame({"seed": cell.config["seed"], "x": x.astype(np.float32), "note": 'a,"b"'})
    return CellResult({"draws": frame}, {"x": x}, {"mean": float(x.mean())})


def page(settings, results):
    draws = pd.concat([r.frames["draws"] for k, r in results.items() if k != "total"])
    tables = [Table("draws", "Draws", draws), Table("total", "Total", results["total"].frames["total"])]
    return Page("toy", "Toy", "?", "Done.", [Finding("pass", "fine")], [Section("All", tables)])


def summary(settings, results):
    means = {k: r.record["mean"] for k, r in results.items() if k != "total"}
    return pd.DataFrame({"cell": list(means), "mean": list(means.values())})


study = Study(
    name="toy",
    title="Toy",
    question="?",
    presets={"standard": {"size": 50}},
    plan=plan,
    compute=compute,
    page=page,
    summary=summary,
)


def run(folder):
    return run_study(study, "standard", folder, report=False)


def contents(folder):
    """Bytes of everything that must not depend on interruptions."""
    files = [*sorted((Path(folder) / "tables").glob("*")), Path(folder) / "results.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def child(work):
    """Run ``work`` in a forked process; return its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def main(folder, kills, seed):
    folder = Path(folder)
    clock = time.perf_counter()
    run(folder / "whole")
    length = time.perf_counter() - clock
    reference = contents(folder / "whole")
    rng = random.Random(seed)
    killed = runs = 0
    while killed < kills:
        target = folder / f"run{runs}"
        runs += 1
        for _ in range(100):
            pid = child(lambda target=target: run(target))
            time.sleep(rng.uniform(0, length / 2))
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            if os.WIFEXITED(status):
                assert os.WEXITSTATUS(status) == 0, "an uninterrupted run failed"
                break
            killed += 1
        else:
            run(target)
        result = run(target)
        assert result.computed == 0, "a finished run computed cells again"
        assert contents(target) == reference, f"run {runs} differs from the uninterrupted one"
        assert not list(target.rglob(".tmp-*")), "a killed writer's temporary file stayed"
    assert "jax" not in sys.modules
    print(f"{killed} kills over {runs} runs")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
