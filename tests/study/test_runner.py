"""Runs resume, notice damage, keep out a second writer, and never repeat finished work."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vaeaudit.core.errors import ArgumentError, StoreBusyError, StoreError, UnknownNameError
from vaeaudit.report.page import Finding, Page, Section, Table
from vaeaudit.study.lock import hold
from vaeaudit.study.runner import plan_study, run_study
from vaeaudit.study.study import Cell, CellResult, Study
from vaeaudit.tables.rows import json_rows

HERE = Path(__file__).parent


class Toy:
    """A study that counts what it computes and can fail on demand."""

    def __init__(self):
        self.computed = []
        self.fail = None

    def plan(self, settings):
        cells = [Cell(f"c{i}", {"i": i}) for i in range(settings["count"])]
        return [*cells, Cell("sum", {"scale": settings["scale"]}, needs=[c.key for c in cells])]

    def compute(self, cell, results):
        if cell.key == self.fail:
            raise KeyboardInterrupt
        self.computed.append(cell.key)
        if cell.key == "sum":
            total = sum(r.frames["t"]["x"].sum() for r in results.values())
            return CellResult({"s": pd.DataFrame({"total": [total * cell.config["scale"]]})})
        if cell.key == "spy":
            return CellResult(record={"n": len(results["c0"].frames)})
        x = np.random.default_rng(cell.config["i"]).normal(size=3)
        return CellResult({"t": pd.DataFrame({"x": x.astype(np.float32)})})

    def page(self, settings, results):
        table = Table("sum", "The sum", results["sum"].frames["s"])
        return Page("toy", "Toy", "Is it?", "It is.", [Finding("pass", "fine")], [Section("One", [table])])

    def study(self, **changes):
        fields = {
            "name": "toy", "title": "A toy", "question": "Is it?",
            "presets": {"quick": {"count": 2, "scale": 1.0}, "standard": {"count": 4, "scale": 1.0}},
            "plan": self.plan, "compute": self.compute, "page": self.page,
            "summary": lambda settings, results: results["sum"].frames["s"],
        }  # fmt: skip
        return Study(**{**fields, **changes})


@pytest.fixture
def toy():
    return Toy()


def go(toy, folder, preset="standard", **options):
    toy.computed.clear()
    return run_study(toy.study(), preset, folder, report=False, **options)


def test_a_second_run_computes_nothing_and_writes_the_same_bytes(toy, tmp_path):
    first = go(toy, tmp_path)
    before = {p: p.read_bytes() for p in [*first.tables, first.results_json]}
    again = go(toy, tmp_path)
    assert (first.computed, first.reused) == (5, 0)
    assert (again.computed, again.reused) == (0, 5)
    assert toy.computed == []
    assert {p: p.read_bytes() for p in before} == before
    fresh = go(toy, tmp_path, fresh=True)
    assert fresh.computed == 5
    assert {p: p.read_bytes() for p in before} == before


def test_presets_share_the_cells_they_have_in_common(toy, tmp_path):
    go(toy, tmp_path, "quick")
    go(toy, tmp_path, "standard")
    assert toy.computed == ["c2", "c3", "sum"]
    go(toy, tmp_path, overrides={"scale": 2.0})
    assert toy.computed == ["sum"]


def test_an_interrupted_run_keeps_finished_cells(toy, tmp_path):
    toy.fail = "c2"
    with pytest.raises(KeyboardInterrupt):
        go(toy, tmp_path / "cut")
    assert toy.computed == ["c0", "c1"]
    toy.fail = None
    resumed = go(toy, tmp_path / "cut")
    assert toy.computed == ["c2", "c3", "sum"]
    whole = go(toy, tmp_path / "whole")
    assert resumed.results_json.read_bytes() == whole.results_json.read_bytes()


def test_a_damaged_cell_is_computed_again(toy, tmp_path):
    go(toy, tmp_path)
    [path] = (tmp_path / "cells").glob("c1-*/t.csv")
    path.write_text(path.read_text().replace("x", "y"))
    events = []
    go(toy, tmp_path, on_event=events.append)
    assert toy.computed == ["c1"]
    assert [e.key for e in events if e.kind == "damaged"] == ["c1"]


def test_report_without_compute_needs_finished_cells(toy, tmp_path):
    with pytest.raises(StoreError, match="not finished"):
        go(toy, tmp_path, compute=False)
    go(toy, tmp_path)
    assert go(toy, tmp_path, compute=False).computed == 0
    assert toy.computed == []


def test_a_second_writer_is_refused_by_name_and_the_first_goes_on(toy, tmp_path):
    with hold(tmp_path), pytest.raises(StoreBusyError, match=f"process {os.getpid()}"):
        go(toy, tmp_path)
    assert go(toy, tmp_path).computed == 5


def test_two_processes_on_one_folder(tmp_path):
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); import kill_harness as h\n"
        "compute = h.study.compute\n"
        "object.__setattr__(h.study, 'compute', lambda c, r: (time.sleep(0.4), compute(c, r))[1])\n"
        "print('started', flush=True); h.run(sys.argv[2]); print('finished')"
    )
    words = [sys.executable, "-c", code, str(HERE), str(tmp_path / "out")]
    first = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "started\n"
    while not (tmp_path / "out" / ".lock").exists() or not (tmp_path / "out" / ".lock").read_text():
        assert first.poll() is None
    second = subprocess.run(words, capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert (
        f"StoreBusyError: another process is writing to {tmp_path / 'out'} (process {first.pid})"
        in second.stderr
    )
    assert first.communicate()[0] == "finished\n"
    third = subprocess.run(words, capture_output=True, text=True, check=False)
    assert third.returncode == 0


def test_reading_a_result_that_is_not_declared_is_refused(toy, tmp_path):
    study = toy.study(plan=lambda s: [Cell("c0", {"i": 0}), Cell("spy", {})])
    with pytest.raises(ArgumentError, match="without naming it in its `needs`"):
        run_study(study, "quick", tmp_path, report=False)


def test_mistyped_presets_and_settings_get_suggestions(toy, tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'standard'"):
        run_study(toy.study(), "standrad", tmp_path)
    with pytest.raises(UnknownNameError, match="Did you mean 'count'"):
        run_study(toy.study(), "quick", tmp_path, overrides={"cuont": 3})
    assert not (tmp_path / "cells").exists()


def test_the_plan_says_what_is_finished_and_computes_nothing(toy, tmp_path):
    go(toy, tmp_path, "quick")
    toy.computed.clear()
    plan = plan_study(toy.study(), "standard", tmp_path)
    assert plan.finished == {"c0": True, "c1": True, "c2": False, "c3": False, "sum": False}
    assert toy.computed == []


def test_durations_stay_out_of_tables_and_results(toy, tmp_path):
    result = go(toy, tmp_path)
    provenance = json.loads((tmp_path / "provenance.json").read_text())
    assert set(provenance["seconds per cell"]) == {"c0", "c1", "c2", "c3", "sum"}
    assert "seconds" not in result.results_json.read_text()
    document = json.loads(result.results_json.read_text())
    assert document["tables"]["sum"]["rows"] == document["summary"]
    assert document["verdict"] == "It is."


def test_not_finite_numbers_become_null_in_results_json():
    frame = pd.DataFrame({"x": [1.0, np.nan, np.inf], "n": pd.array([1, None, 2], dtype="Int64")})
    rows = json_rows(frame)
    assert json.loads(json.dumps(rows, allow_nan=False)) == [
        {"x": 1.0, "n": 1}, {"x": None, "n": None}, {"x": None, "n": 2},
    ]  # fmt: skip


def test_a_folder_that_cannot_be_written_is_named(toy, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="Choose another folder"):
        go(toy, tmp_path / "file")
    with pytest.raises(StoreError, match="is a file"):
        go(toy, tmp_path / "file" / "below")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(toy, tmp_path):
    go(toy, tmp_path)
    shutil.rmtree(tmp_path / "tables")
    os.chmod(tmp_path, 0o555)
    try:
        with pytest.raises(StoreError, match="permission denied"):
            go(toy, tmp_path)
    finally:
        os.chmod(tmp_path, 0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_keeps_what_was_finished(tmp_path):
    """A limit on file sizes stands in for a full disk: the system refuses the write half-way."""
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv[1]); import kill_harness as h\n"
        "compute = h.study.compute\n"
        "def limited(cell, results):\n"
        "    if cell.key == 'draw 3': resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))\n"
        "    return compute(cell, results)\n"
        "if sys.argv[3] == 'full': object.__setattr__(h.study, 'compute', limited)\n"
        "print(h.run(sys.argv[2]).reused)"
    )
    words = [sys.executable, "-c", code, str(HERE), str(tmp_path)]
    full = subprocess.run([*words, "full"], capture_output=True, text=True, check=False)
    assert full.returncode == 1
    assert "StoreError: cannot write" in full.stderr
    assert not list(tmp_path.rglob(".tmp-*"))
    again = subprocess.run([*words, "space"], capture_output=True, text=True, check=False)
    assert again.stdout.strip() == "3", again.stderr


def harness(folder, kills, seed):
    words = [sys.executable, str(HERE / "kill_harness.py"), str(folder), str(kills), str(seed)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_sigkill_at_random_instants_changes_no_byte(tmp_path):
    done = harness(tmp_path, 25, 0)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) >= 25


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_sigkill_at_two_hundred_random_instants_changes_no_byte(tmp_path):
    done = harness(tmp_path, 200, 1)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) >= 200
