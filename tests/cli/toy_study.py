"""A small study that the command-line tests run: no JAX, a few milliseconds."""

import os
import time

import pandas as pd

from vaeaudit.report.page import Finding, Page, Section, Table
from vaeaudit.study.study import Cell, CellResult, Study


def plan(settings):
    cells = [Cell(f"cell {i}", {"i": i, "factor": settings["factor"]}) for i in settings["seeds"]]
    return [*cells, Cell("sum", {}, needs=[cell.key for cell in cells])]


def compute(cell, results):
    time.sleep(float(os.environ.get("TOY_SECONDS", "0")))
    if cell.key == "sum":
        return CellResult({"sum": pd.DataFrame({"sum": [sum(r.record["x"] for r in results.values())]})})
    return CellResult(record={"x": cell.config["i"] * cell.config["factor"]})


def page(settings, results):
    table = Table("sum", "The sum", results["sum"].frames["sum"])
    return Page("toy", "A toy", "Is it?", "It is.", [Finding("pass", "fine")], [Section("One", [table])])


study = Study(
    name="toy",
    title="A toy",
    question="Is it?",
    presets={
        "quick": {"seeds": [0, 1], "factor": 1.0},
        "standard": {"seeds": [0, 1, 2, 3], "factor": 1.0},
    },
    plan=plan,
    compute=compute,
    page=page,
    summary=lambda settings, results: results["sum"].frames["sum"],
)

if __name__ == "__main__":
    study.main()
