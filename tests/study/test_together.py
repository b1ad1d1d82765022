"""Which cells processes compute side by side, and what process 0 and the others exchange for it."""

import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vaeaudit.core import processes
from vaeaudit.core.cluster import Place
from vaeaudit.study.runner import _Results, run_study
from vaeaudit.study.study import Cell, CellResult
from vaeaudit.study.together import follow, side_by_side


@pytest.mark.parametrize(
    ("count", "done", "expected"),
    [
        (1, ["t"], ["a"]),
        (2, ["t"], ["a", "b"]),
        (3, ["t"], ["a", "b", "c"]),
        (4, ["t"], ["a"]),  # "d" needs "c"
        (2, [], ["a"]),
    ],
)
def test_cells_that_need_nothing_more_go_side_by_side(monkeypatch, count, done, expected):
    cells = [Cell(key, {}, needs=["t"]) for key in "abc"] + [Cell("d", {}, needs=["c"])]
    monkeypatch.setattr(processes, "num_processes", lambda: count)
    results = {key: CellResult() for key in done}
    assert [cell.key for cell in side_by_side(cells, results)] == expected
    roots = [Cell(key, {}) for key in "abcd"]
    assert side_by_side(roots, {}) == roots[:1], "what needs no other cell is computed by all together"


class Team:
    """Two processes as two threads that meet; the second one is the thread named "follower"."""

    def __init__(self):
        self.meeting, self.sent, self.labels = threading.Barrier(2, timeout=20), [None, None], []
        self.step = self.context = ""

    @property
    def place(self):
        return Place("a:1", 2, int(threading.current_thread().name == "follower"))

    def exchange(self, label, payload):
        self.sent[self.place.process_id] = payload
        if self.place.process_id == 0:
            self.labels.append(label)
        self.meeting.wait()
        both = list(self.sent)
        self.meeting.wait()
        return both


@pytest.fixture
def pair(monkeypatch):
    """Run a study as two processes would; who computed what, in order."""
    monkeypatch.setattr(processes, "_team", Team())
    monkeypatch.setattr(processes, "_in_share", False)
    monkeypatch.setattr(processes, "divided", lambda count: count > 1)  # both threads count as main threads
    return processes._team


def plan(settings):
    return [
        Cell("train", {}),
        *(Cell(f"m{i}", {"i": i}, needs=["train"]) for i in range(5)),
        Cell("end", {}, needs=["m0", "m4"]),
    ]


def study_of(computed):
    from vaeaudit.report.page import Finding, Page, Section, Table
    from vaeaudit.study.study import Study

    def compute(cell, results):
        computed.append((threading.current_thread().name == "follower", cell.key))
        assert list(results) == list(cell.needs)
        x = np.random.default_rng(len(cell.key) + cell.config.get("i", 0)).normal(size=3)
        x = x + sum(float(results[key].arrays["x"].sum()) for key in cell.needs)
        frame = pd.DataFrame({"x": x.astype(np.float32), "who": [None, "", "a,b"]})
        return CellResult({"t": frame}, {"x": x}, {"pair": (1, np.float32(0.1)), "nan": float("nan")})

    def page(settings, results):
        blocks = [Table(key, key, result.frames["t"]) for key, result in results.items()]
        return Page("toy", "Toy", "?", "Done.", [Finding("pass", "fine")], [Section("All", blocks)])

    return Study(
        "toy", "Toy", "?", {"standard": {}}, plan, compute, page,
        lambda settings, results: results["end"].frames["t"],
    )  # fmt: skip


def files(folder):
    kept = [p for p in Path(folder).rglob("*") if p.is_file() and p.suffix in (".csv", ".npz", ".json")]
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in kept
        if p.name not in ("provenance.json", "manifest.json")
    }


def run_pair(folder):
    computed, ended = [], []
    study = study_of(computed)

    def behind():
        follow(study, {}, _Results)
        ended.append(True)

    thread = threading.Thread(target=behind, name="follower")
    thread.start()
    run_study(study, folder=folder, report=False)
    thread.join(20)
    assert not thread.is_alive()
    assert ended, "the second process failed"
    return computed


def test_two_processes_share_out_cells_and_keep_the_bytes(tmp_path, pair):
    computed = run_pair(tmp_path / "two")
    by = [{key for follower, key in computed if follower is who} for who in (False, True)]
    assert by[0] == {"train", "m0", "m2", "m4", "end"}
    assert by[1] == {"train", "m1", "m3", "m4", "end"}, "m4 is left over: both compute it together"
    assert pair.labels.count("the next cell") == 5
    processes._team = None
    alone = []
    run_study(study_of(alone), folder=tmp_path / "one", report=False)
    assert [key for _, key in alone] == ["train", "m0", "m1", "m2", "m3", "m4", "end"]
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert len(files(tmp_path / "one")) == 7 * 3 + 7 + 2


def test_what_is_finished_is_not_computed_again(tmp_path, pair):
    run_pair(tmp_path)
    before = files(tmp_path)
    for path in [*tmp_path.glob("cells/m1-*/manifest.json"), *tmp_path.glob("cells/m2-*/manifest.json")]:
        path.unlink()
    pair.labels.clear()
    computed = run_pair(tmp_path)
    assert sorted(computed) == [(False, "m1"), (True, "m2")]
    assert pair.labels.count("the next cell") == 2, "one order, and the word that nothing is left"
    assert files(tmp_path) == before
