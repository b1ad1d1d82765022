"""Formulas of the checks in the page's letters."""

import pytest


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("limit -lambda as y → -oo", "limit −λ as y → −∞"),
        ("2*sigma**4*w**2/s**4", "2·σ⁴·w²/s⁴"),
        ("mu = -0.5, ell1 = 1", "μ = −0.5, ℓ1 = 1"),
        ("1/(2*v) - 1/sqrt(v)", "1/(2·v) − 1/√v"),
        ("σ² = e^{-2R}", "σ² = exp(−2R)"),
        ("(`vaeaudit run kl_scale --preset standard`)", "(`vaeaudit run kl_scale --preset standard`)"),
        ("beta(2) mig 2.0e-05, held-out", "beta(2) mig 2.0e-05, held-out"),
    ],
)
def test_plain_text_of_formulas(monkeypatch, printed, shown):
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "studies"))
    from _derivations_page import _plain

    assert _plain(printed) == shown
