"""The main study at a tiny size: its sentences follow its tables."""

import pytest

from vaeaudit.study.find import load_study
from vaeaudit.study.runner import run_study

TINY = {
    "groups": ["linear"],
    "objectives": ["elbo", "beta(0.1)", "autoencoder"],
    "seeds": [0, 1],
    "epochs": 3,
    "num_test": 16,
    "num_samples": 100,
    "score_samples": 4,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    study = load_study("objectives")
    folder = tmp_path_factory.mktemp("objectives")
    return study, folder, run_study(study, "quick", folder, overrides=TINY, report=False)


def test_tables_hold_every_model_and_the_elbo_is_a_bound(run):
    import pandas as pd

    _, folder, result = run
    assert result.computed == 4
    cross = pd.read_csv(folder / "tables" / "cross.csv")
    assert len(cross) == 3 * 3 * 2  # trained × scored × seeds
    bounds = pd.read_csv(folder / "tables" / "bounds.csv")
    assert (bounds.query("objective == 'elbo'")["num_exceeding"] == 0).all()
    assert (bounds.query("objective == 'autoencoder'")["num_exceeding"] > 0).all()
    quantities = pd.read_csv(folder / "tables" / "quantities.csv")
    undefined = quantities.query("objective == 'autoencoder' and quantity == 'rate'")
    assert (undefined["verdict"] == "undefined").all()
    assert undefined["value"].isna().all()


def test_a_second_run_computes_nothing_and_writes_the_same_bytes(run):
    study, folder, result = run
    before = {p.name: p.read_bytes() for p in (folder / "tables").iterdir()}
    again = run_study(study, "quick", folder, overrides=TINY, report=False)
    assert again.computed == 0
    assert again.verdict == result.verdict
    assert {p.name: p.read_bytes() for p in (folder / "tables").iterdir()} == before


def test_findings_follow_the_tables(run):
    import _objectives_findings as page  # beside the study's script

    from vaeaudit.tables import gather

    study, folder, _ = run
    settings = {**study.presets["quick"], **TINY}
    from vaeaudit.study.runner import plan_study
    from vaeaudit.study.store import CellStore

    plan = plan_study(study, "quick", folder, TINY)
    store = CellStore(folder / "cells")
    frames = gather({key: store.load(key, digest).result for key, digest in plan.hashes.items()})
    assert not [f for f in page.findings(settings, frames) if f.level == "unreliable"]
    bounds = frames["bounds"].copy()
    bounds.loc[bounds["objective"] == "elbo", "num_exceeding"] = 3  # as if the ELBO had been above log p(x)
    changed = page.findings(settings, {**frames, "bounds": bounds})
    assert "`elbo`" in next(f.what for f in changed if f.level == "unreliable")
