"""Every formula of the register and of its page prints in HTML and in PDF."""

import sys
from pathlib import Path

import pytest

import vaeaudit as va
from vaeaudit.derivations.register import claims
from vaeaudit.report.inline import spans
from vaeaudit.report.latex import to_mathml, to_typst

STUDIES = Path(va.__file__).resolve().parent.parent / "studies"


def formulas():
    for claim in claims():
        yield claim.latex
        if claim.correction:
            yield claim.correction
        for text in (claim.conditions, claim.met_in, claim.statement):
            yield from (value for kind, value in spans(text) if kind == "math")


@pytest.mark.parametrize("latex", sorted(set(formulas())))
def test_formula_converts(latex):
    assert "<math" in to_mathml(latex, display=True)
    assert to_typst(latex)


def test_the_study_computes_and_its_page_says_what_the_tables_say(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDIES))
    import derivations as script

    monkeypatch.setattr(script, "FEW", ("elbo",))
    settings = {"spectra": ["close"], "grid": 3, "seeds": [0], "trained": "few"}
    results = {}
    for cell in script.study.plan(settings):
        if cell.key != "claims":
            results[cell.key] = script.study.compute(cell, results)
    results["claims"] = va.CellResult(
        {"claims": va.check_derivations(["A3", "A5", "T2", "C4a", "B2a", "B2b", "E5", "C7", "M14b"])}
    )
    page = script.study.page(settings, results)
    said = " ".join(f.what for f in page.findings)
    assert "9 of 9 claims" in said
    assert "`wasserstein_penalty(1)`" in said
    assert "1 of 1 settings of objective and spectrum without noise reach" in said
    assert "not equivalent" in page.verdict
    figures = [b for s in page.sections for b in s.blocks if hasattr(b, "draw")]
    assert len(figures) == 7
    assert all(f.draw().axes for f in figures)
    assert set(script.study.summary(settings, results)["claims"]) <= set(range(10))
    sys.modules.pop("derivations", None)
