"""Bounds and identities of the register at parameters that Hypothesis chooses, shrinking to a counterexample."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaeaudit.derivations.checks import evaluate
from vaeaudit.derivations.finite import BOX as FINITE
from vaeaudit.derivations.linear_direction import at_weight, best_direction, threshold
from vaeaudit.derivations.linear_terms import direction_terms
from vaeaudit.derivations.register import claims

BY_ID = {claim.id: claim for claim in claims()}
LOC_SCALE = {"mu": (-5.0, 5.0), "sigma": (1e-3, 10.0)}


def points(box):
    return st.fixed_dictionaries({k: st.floats(*r, allow_nan=False) for k, r in box.items()})


def value(claim, name, point):
    return float(evaluate(BY_ID[claim].formulas[name], point))


@settings(max_examples=200, deadline=None)
@given(points(LOC_SCALE))
def test_penalty_is_at_most_twice_the_kl(point):
    assert value("A10a", "penalty", point) <= value("A10a", "twice kl", point) + 1e-9


@settings(max_examples=200, deadline=None)
@given(points(LOC_SCALE))
def test_sign_of_penalty_minus_kl(point):
    gap = value("M3a", "difference", point)
    excess = value("M3a", "excess", {"sigma": point["sigma"]})
    if abs(gap) > 1e-9:
        assert (gap > 0) == (point["mu"] ** 2 > -2 * excess)


@settings(max_examples=200, deadline=None)
@given(points(FINITE))
def test_bounds_on_a_finite_latent_space(point):
    heights = [value("M9b", name, point) for name in ("L1", "L2", "L3", "log evidence")]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(heights))
    assert value("A7c", "printed plus one", point) <= value("A7c", "elbo", point) + 1e-12


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(
        ["elbo", "beta({})", "wasserstein_penalty({})", "half_quadratic({})", "elbo + head_l2({})"]
    ),
    st.floats(0.05, 5.0),
    st.floats(0.05, 10.0),
    st.floats(0.05, 3.0),
    st.floats(0.0, 30.0),
)
def test_no_decoder_weight_beats_the_derived_direction(pattern, weight, eigenvalue, variance, other):
    """The closed form is a global maximum: a free choice of w² with its best encoder is never better."""
    terms = direction_terms(pattern.format(f"{weight:.4g}"))
    best = best_direction(terms, eigenvalue, variance)
    assert at_weight(terms, eigenvalue, other, variance).value <= best.value + 1e-9 * (1 + abs(best.value))


@settings(max_examples=50, deadline=None)
@given(st.floats(0.05, 5.0), st.floats(0.05, 3.0))
def test_thresholds_scale_with_weight_and_noise(weight, variance):
    text = f"{weight:.4g}"
    for name, factor in (("beta", 1), ("wasserstein_penalty", 2), ("half_quadratic", 1)):
        found = threshold(direction_terms(f"{name}({text})"), variance)
        assert math.isclose(found, factor * float(text) * variance, rel_tol=1e-5)


@pytest.mark.parametrize("claim_id", ["M3b", "A10b", "M10", "E7b"])
def test_counterexamples_hold_when_put_back(claim_id):
    """The reported point does violate the claimed inequality."""
    claim = BY_ID[claim_id]
    search = next(check for check in claim.checks if check.kind == "search")
    text = search.run(claim.formulas).counterexample.split(":")[0]
    point = {k.strip(): float(v) for k, v in (part.split("=") for part in text.split(","))}
    lower, upper = {
        "M3b": ("kl", "penalty"),
        "A10b": ("kl", "twice penalty"),
        "M10": ("beta elbo", "log evidence"),
        "E7b": ("flipped", "log evidence"),
    }[claim_id]
    assert value(claim_id, lower, point) > value(claim_id, upper, point)
