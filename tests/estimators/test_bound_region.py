"""Where a penalty is below the KL: closed forms against quadrature of the KL and a search on a grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from vaeaudit.core.errors import ArgumentError, ScaleError, UnknownNameError
from vaeaudit.estimators.bound_region import kl_excess, loc_range_below_kl

REGULARISERS = {
    "wasserstein": lambda m, s: m**2 + (s - 1) ** 2,
    "half_quadratic": lambda m, s: 0.5 * m**2 + (s - 1) ** 2,
    "moment": lambda m, s: m**2,
    "none": lambda m, s: 0.0,
}


def kl_by_quadrature(m, s):
    q, p = stats.norm(m, s), stats.norm()
    value, _ = integrate.quad(
        lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), m - 12 * s, m + 12 * s, epsabs=1e-12, limit=200
    )
    return value


@pytest.mark.parametrize("name", [*REGULARISERS, "kl"])
@pytest.mark.parametrize(
    ("m", "s", "weight"), [(0.0, 0.1, 1.0), (1.3, 0.4, 0.3), (-2.0, 1.7, 2.5), (0.4, 1.0, 0.0)]
)
def test_excess_against_quadrature(name, m, s, weight):
    kl = kl_by_quadrature(m, s)
    penalty = kl if name == "kl" else REGULARISERS[name](m, s)
    assert abs(kl_excess(name, m, s, weight=weight) - (kl - weight * penalty)) < 1e-9


def test_the_printed_region_of_the_penalty():
    s = np.linspace(0.01, 3.0, 400)
    f = 0.5 * s**2 - 2 * s + 1.5 + np.log(s)
    lower, upper = loc_range_below_kl("wasserstein", s)
    inside = s < 1 - 1e-9
    assert np.allclose(upper[inside] ** 2, -2 * f[inside], rtol=1e-6, atol=1e-12)
    assert np.all(lower[inside] == 0)
    assert np.isnan(upper[s > 1 + 1e-9]).all()


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from([*REGULARISERS, "kl"]),
    m=st.floats(0, 6),
    s=st.floats(0.01, 5),
    weight=st.floats(0, 4),
)
def test_range_agrees_with_the_sign_of_the_excess(name, m, s, weight):
    excess = kl_excess(name, m, s, weight=weight)
    lower, upper = loc_range_below_kl(name, s, weight=weight)
    if abs(excess) > 1e-9:  # a rounding error away from the region's edge either answer is right
        assert bool(lower <= m <= upper) == bool(excess > 0)


def test_half_quadratic_breaks_for_every_mean_below_one_and_moment_at_every_scale():
    assert loc_range_below_kl("half_quadratic", 0.5) == (0.0, np.inf)
    assert np.isnan(loc_range_below_kl("half_quadratic", 1.5).upper)
    assert np.all(loc_range_below_kl("moment", [0.5, 1.5]).upper > 0)


def test_errors():
    with pytest.raises(ScaleError, match="positive"):
        kl_excess("wasserstein", 0.0, [1.0, 0.0])
    with pytest.raises(UnknownNameError, match="wasserstein"):
        loc_range_below_kl("wassertein", 1.0)
    with pytest.raises(ArgumentError, match="weight"):
        loc_range_below_kl("moment", 1.0, weight=-1.0)
