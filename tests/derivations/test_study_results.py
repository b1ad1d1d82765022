"""Verdicts of studies on record: read from their tables, held against the register."""

import json

import pytest

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError
from vaeaudit.derivations import study_results as module
from vaeaudit.derivations.register import claims
from vaeaudit.derivations.study_results import COLUMNS, VERDICTS, results_table, study_results

MEASURED = [c for c in claims() if c.registered == "measured"]


def finished(verdict="supported", study="kl_scale"):
    row = {"claim": "C3b", "statement": "s", "verdict": verdict, "evidence": "by 1.0, it falls"}
    return {"study": study, "preset": "quick", "tables": {"claims": {"rows": [row]}}}


@pytest.fixture
def records(tmp_path, monkeypatch):
    """An empty folder in the place of the packaged tables."""
    monkeypatch.setattr(module, "_folder", lambda: tmp_path)
    study_results.cache_clear()
    yield tmp_path
    study_results.cache_clear()


def judged(name):
    return va.check_derivations(name).iloc[0]


def test_packaged_tables_agree_with_the_register():
    for claim in MEASURED:
        found = study_results(claim.measured_by).get(claim.id)
        assert (found is None) == (claim.measured == "")
        if found:
            assert found.verdict == claim.measured
            assert found.verdict in VERDICTS
            assert found.command.startswith(f"vaeaudit run {claim.measured_by} --preset {found.preset}")


def test_without_a_table_the_claim_waits_for_its_study(records):
    row = judged("C3b")
    assert row["verdict"] == "measured by kl_scale (not run here)"
    assert row["agrees"]
    assert "vaeaudit run kl_scale" in row["evidence"]


def test_a_table_decides_and_a_changed_verdict_is_seen(records, tmp_path):
    for verdict in ("supported", "contradicted"):
        source = tmp_path / "results.json"
        source.write_text(json.dumps(finished(verdict)))
        module.main([str(tmp_path)])
        study_results.cache_clear()
        row = judged("C3b")
        assert row["verdict"] == f"measured by kl_scale: {verdict}"
        assert row["agrees"] == (row["verdict"] == row["registered"])
        assert row["evidence"] == "by 1.0, it falls (`vaeaudit run kl_scale --preset quick`)"
    assert not row["agrees"]


def test_table_keeps_preset_and_command(tmp_path):
    source = tmp_path / "results.json"
    source.write_text(json.dumps(finished()))
    lines = results_table(source).splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert lines[1] == 'C3b,supported,"by 1.0, it falls",quick,vaeaudit run kl_scale --preset quick'


def test_command_is_that_of_the_run_without_its_folders(tmp_path):
    source = tmp_path / "results.json"
    source.write_text(json.dumps(finished()))
    words = "vaeaudit run kl_scale --preset quick --set 'seeds=[0]' --data-dir d --output o"
    (tmp_path / "provenance.json").write_text(json.dumps({"command": words}))
    assert results_table(source).endswith(",quick,vaeaudit run kl_scale --preset quick --set 'seeds=[0]'\n")


def test_errors(tmp_path):
    source = tmp_path / "results.json"
    source.write_text(json.dumps(finished("likely")))
    with pytest.raises(ArgumentError, match="likely"):
        results_table(source)
    source.write_text(json.dumps({**finished(), "tables": {}}))
    with pytest.raises(ArgumentError, match="no table"):
        results_table(source)
    with pytest.raises(ArgumentError, match="folders"):
        module.main([])
