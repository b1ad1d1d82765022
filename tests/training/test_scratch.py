"""A study's cell keeps its training's checkpoints in the scratch folder that the runner gives it."""

import functools

import pandas as pd
import pytest

import vaeaudit as va
from vaeaudit.report.page import Finding, Page, Section, Table
from vaeaudit.study.runner import plan_study, run_study
from vaeaudit.study.store import cell_hashes
from vaeaudit.study.study import Cell, CellResult, Study
from vaeaudit.training import driver

BUILD = functools.partial(va.mlp_vae, event_shape=(8, 8), latent_dim=2, hidden=())


class CutOff(BaseException):
    pass


def study(seen, stop):
    def compute(cell, results):
        def tell(epoch, epochs, info):
            if epoch:
                seen.append(epoch)
            if stop and epoch == 3:
                raise CutOff

        assert not (cell.scratch / "old").exists()
        result = va.sweep(
            BUILD, ["elbo"], va.load_data("digits"), seeds=[0], epochs=5, progress=tell,
            checkpoint=cell.scratch, checkpoint_seconds=0.0,
        )  # fmt: skip
        (cell.scratch / "old").write_text("left behind")
        return CellResult({"history": result.history})

    return Study(
        name="scratch", title="Scratch", question="?", presets={"standard": {}},
        plan=lambda settings: [Cell("train", {"epochs": 5})],
        compute=compute,
        page=lambda settings, results: Page(
            "scratch", "Scratch", "?", "Done.", [Finding("pass", "fine")],
            [Section("All", [Table("history", "History", results["train"].frames["history"])])],
        ),
        summary=lambda settings, results: pd.DataFrame({"epochs": [5]}),
    )  # fmt: skip


def test_a_cut_off_cell_goes_on_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 0.0)
    run = functools.partial(run_study, preset="standard", report=False)
    seen = []
    with pytest.raises(CutOff):
        run(study(seen, True), folder=tmp_path / "cut")
    run(study(seen, False), folder=tmp_path / "cut")
    assert seen == [1, 2, 3, 3, 4, 5]
    whole = run(study([], False), folder=tmp_path / "whole")
    assert (tmp_path / "cut/tables/history.csv").read_bytes() == whole.tables[0].read_bytes()
    assert not list(tmp_path.rglob("scratch"))
    seen.clear()
    run(study(seen, False), folder=tmp_path / "cut", fresh=True)
    assert seen == [1, 2, 3, 4, 5]


def test_scratch_is_no_part_of_the_hash(tmp_path):
    plain = plan_study(study([], False), "standard", tmp_path)
    placed = [Cell("train", {"epochs": 5}, scratch=tmp_path)]
    assert cell_hashes(study([], False), placed) == plain.hashes
