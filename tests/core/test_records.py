"""Estimates and brackets: intervals, refusals, and the line they print."""

import math

import pytest
from scipy import stats

from vaeaudit.core.errors import ArgumentError
from vaeaudit.core.records import NO_INTERVAL, Bracket, Estimate


def test_normal_interval_covers_95_percent_of_a_gaussian():
    e = Estimate.normal(2.0, 0.5)
    assert stats.norm(2.0, 0.5).cdf(e.upper) - stats.norm(2.0, 0.5).cdf(e.lower) == pytest.approx(
        0.95, abs=1e-12
    )


def test_bias_bound_widens_both_sides():
    plain, wide = Estimate.normal(0.0, 1.0), Estimate.normal(0.0, 1.0, bias_bound=0.3)
    assert wide.lower == pytest.approx(plain.lower - 0.3)
    assert wide.upper == pytest.approx(plain.upper + 0.3)
    assert wide.bias_bound == 0.3


def test_exact_has_zero_width_and_says_so():
    e = Estimate.exact(1.25, num_data=10)
    assert (e.lower, e.upper, e.se, e.verdict) == (1.25, 1.25, 0.0, "exact")
    assert str(e) == "1.250 nats (exact), 10 data"


@pytest.mark.parametrize("verdict", sorted(NO_INTERVAL))
def test_a_refused_estimate_cannot_carry_an_interval(verdict):
    e = Estimate.refused(verdict, "why", value=3.0)
    assert not e.has_interval
    assert math.isnan(e.lower)
    assert f"({verdict})" in str(e)
    assert str(e).endswith("— why")
    with pytest.raises(ArgumentError, match="must not carry an interval"):
        Estimate(1.0, lower=0.0, upper=2.0, verdict=verdict)


def test_one_sided_interval_is_refused_too():
    with pytest.raises(ArgumentError, match="must not carry an interval"):
        Estimate(1.0, lower=0.0, verdict="unreliable")


def test_unknown_verdict_is_an_error():
    with pytest.raises(ArgumentError, match="perhaps"):
        Estimate(1.0, verdict="perhaps")


def test_line_shows_value_interval_unit_and_counts():
    e = Estimate(-95.1234, 0.1, -95.3, -94.9, num_samples=5000, num_data=300, note="n")
    assert str(e) == "-95.123 nats [-95.300, -94.900] 95 %, 300 data, 5000 samples — n"


def test_row_holds_every_field_and_with_note_keeps_the_rest():
    e = Estimate.normal(1.0, 0.1, num_data=5)
    assert set(e.row()) == {
        "value", "se", "lower", "upper", "num_samples", "unit", "verdict", "note", "bias_bound", "num_data",
    }  # fmt: skip
    changed = e.with_note("new")
    assert changed.note == "new"
    assert (changed.value, changed.lower, changed.num_data) == (e.value, e.lower, e.num_data)


def test_estimate_is_immutable():
    with pytest.raises(AttributeError):
        Estimate.exact(1.0).value = 2.0


def test_bracket_takes_the_outer_ends():
    b = Bracket(Estimate(1.0, 0.1, 0.8, 1.2), Estimate(2.0, 0.1, 1.8, 2.2))
    assert b.interval == (0.8, 2.2)
    assert b.width == pytest.approx(1.4)
    assert b.unit == "nats"
    assert str(b) == "between 0.8 and 2.200 nats (95 %)"


def test_bracket_claims_nothing_at_an_end_without_interval():
    b = Bracket(Estimate(1.0, 0.1, 0.8, 1.2), Estimate.refused("saturated", "log N"))
    assert b.interval == (0.8, math.inf)
    b = Bracket(Estimate.refused("unreliable", "k"), Estimate(2.0, 0.1, 1.8, 2.2))
    assert b.interval == (-math.inf, 2.2)
