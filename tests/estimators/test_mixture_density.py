"""The mixture kernel against float64 brute force and mpmath, on cases chosen to break it."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import norm

from vaeaudit.core.errors import ArgumentError, NonFiniteError, ScaleError, ShapeError
from vaeaudit.estimators.mixture_density import log_mixture_density, product_error_bound
from vaeaudit.estimators.mixture_kernel import log_sums


def brute(z, loc, scale, own=None):
    """Float64, one point at a time, scipy's densities."""
    out = []
    for i, point in enumerate(np.asarray(z, np.float64)):
        log_q = norm.logpdf(point, np.asarray(loc, np.float64), np.asarray(scale, np.float64)).sum(1)
        if own is not None:
            log_q = np.delete(log_q, own[i])
        out.append(logsumexp(log_q) - np.log(log_q.size))
    return np.array(out)


def hard_case(name, latent, num_data, rng):
    if name == "spread":
        return rng.uniform(-10, 10, (num_data, latent)), np.full((num_data, latent), 1e-3)
    if name == "mixed":
        return rng.uniform(-10, 10, (num_data, latent)), 10 ** rng.uniform(-3, 0.5, (num_data, latent))
    if name == "mild":
        return rng.normal(size=(num_data, latent)), rng.uniform(0.3, 1.0, (num_data, latent))
    clusters = int(name.removeprefix("clusters"))
    centre = rng.uniform(-10, 10, (clusters, latent))[rng.integers(clusters, size=num_data)]
    return centre + 1e-3 * rng.normal(size=(num_data, latent)), np.full((num_data, latent), 1e-3)


@pytest.mark.parametrize("latent", [2, 20, 50])
@pytest.mark.parametrize("name", ["spread", "mixed", "mild", "clusters1", "clusters2", "clusters64"])
def test_within_1e4_nat_of_float64_on_hard_cases(name, latent):
    rng = np.random.default_rng(3)
    num_data, num_points = 1501, 203  # divisible by no tile
    loc, scale = (a.astype(np.float32) for a in hard_case(name, latent, num_data, rng))
    own = rng.integers(num_data, size=num_points)
    z = (loc[own] + scale[own] * rng.normal(size=(num_points, latent))).astype(np.float32)
    found = log_mixture_density(z, loc, scale, own=own, method="direct")
    error = np.abs(found.log_q - brute(z, loc, scale)).max()
    assert error < 1e-4
    assert error <= found.max_error  # the stated bound is one
    others = brute(z, loc, scale, own)
    assert np.abs(found.log_q_others - others).max() <= found.max_error_others
    np.testing.assert_allclose(found.log_q_others, others, rtol=3e-6, atol=1e-4)
    double = log_mixture_density(z, loc, scale, own=own, method="float64")
    assert np.abs(double.log_q - brute(z, loc, scale)).max() < 1e-9


def test_auto_repairs_points_whose_bound_is_too_large():
    rng = np.random.default_rng(0)
    loc, scale = (a.astype(np.float32) for a in hard_case("spread", 3, 400, rng))
    z = (loc[:50] + 0.5).astype(np.float32)  # far from everything: log q near −10⁵, float32 keeps two digits
    direct = log_mixture_density(z, loc, scale, method="direct")
    auto = log_mixture_density(z, loc, scale)
    truth = brute(z, loc, scale)
    assert direct.max_error > 1e-3
    assert auto.method == "direct+float64"
    assert auto.max_error < 1e-6
    assert np.abs(auto.log_q - truth).max() < 1e-6


def test_against_mpmath():
    loc, scale = np.array([[0.5, -1.0], [2.0, 0.25]]), np.array([[0.125, 0.5], [1.0, 0.0625]])
    z = np.array([[0.75, -0.5]])
    with mpmath.workdps(30):
        total = mpmath.mpf(0)
        for m, s in zip(loc, scale, strict=True):
            total += mpmath.mpf(0.5) * mpmath.fprod(
                mpmath.npdf(mpmath.mpf(a), mpmath.mpf(b), mpmath.mpf(c))
                for a, b, c in zip(z[0], m, s, strict=True)
            )
        truth = float(mpmath.log(total))
    assert log_mixture_density(z, loc, scale).log_q[0] == pytest.approx(truth, abs=2e-6)


def test_digits_of_float64_points_are_kept():
    """z = 10 rounded to float32 is off by 5e-7: half a σ at σ = 1e-6."""
    loc, scale = np.full((2, 1), 10.0), np.full((2, 1), 1e-6)
    z = np.array([[10.0 + 3e-7]])
    assert log_mixture_density(z, loc, scale).log_q[0] == pytest.approx(brute(z, loc, scale)[0], abs=1e-4)


def test_product_stays_within_its_bound_and_the_bound_warns():
    rng = np.random.default_rng(1)
    for name in ("mild", "clusters64"):
        loc, scale = (a.astype(np.float32) for a in hard_case(name, 20, 500, rng))
        z = loc[:100]
        found = log_mixture_density(z, loc, scale, method="product")
        error = np.abs(found.log_q - brute(z, loc, scale)).max()
        assert error <= found.max_error
        bound = product_error_bound(z - loc.mean(0), loc - loc.mean(0), scale, 2.0**-24)
        assert (bound > 1.0) == (name == "clusters64")


def test_marginals_are_one_dimensional_mixtures():
    rng = np.random.default_rng(5)
    loc, scale = hard_case("mild", 3, 333, rng)
    own = rng.integers(333, size=70)
    z = loc[own] + scale[own] * rng.normal(size=(70, 3))
    found = log_mixture_density(z, loc, scale, own=own, marginals=True)
    for j in range(3):
        one = np.s_[:, j : j + 1]
        np.testing.assert_allclose(found.log_marginals[:, j], brute(z[one], loc[one], scale[one]), atol=3e-5)
        np.testing.assert_allclose(
            found.log_marginals_others[:, j], brute(z[one], loc[one], scale[one], own), atol=3e-5
        )


def test_own_component_comes_from_the_noise():
    loc, scale = np.array([[9.0], [-9.0]], np.float32), np.full((2, 1), 1e-7, np.float32)
    noise = np.array([[1.5]])
    z = loc[:1] + scale[:1] * noise  # rounds to loc: the noise is lost in z
    found = log_mixture_density(z.astype(np.float32), loc, scale, own=[0], noise=noise)
    assert found.log_q[0] == pytest.approx(norm.logpdf(1.5) - np.log(1e-7) - np.log(2), abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(
    num_data=st.sampled_from([1, 2, 127, 128, 129, 300]),
    num_points=st.sampled_from([1, 7, 128, 129]),
    latent=st.sampled_from([1, 2, 9]),
    seed=st.integers(0, 99),
)
def test_any_sizes_and_any_order(num_data, num_points, latent, seed):
    rng = np.random.default_rng(seed)
    loc, scale = rng.normal(size=(num_data, latent)), rng.uniform(0.2, 2, (num_data, latent))
    z = rng.normal(size=(num_points, latent))
    found = log_mixture_density(z, loc, scale).log_q
    np.testing.assert_allclose(found, brute(z, loc, scale), atol=5e-5)
    rows, columns = rng.permutation(num_data), rng.permutation(latent)
    again = log_mixture_density(z[:, columns], loc[rows][:, columns], scale[rows][:, columns]).log_q
    np.testing.assert_allclose(again, found, atol=5e-5)


def test_one_component_has_no_others():
    found = log_mixture_density(np.zeros((1, 2)), np.zeros((1, 2)), np.ones((1, 2)), own=[0])
    assert np.isneginf(found.log_q_others[0])
    assert found.log_q[0] == pytest.approx(2 * norm.logpdf(0))


def test_many_sizes_share_compilations():
    rng = np.random.default_rng(0)
    log_mixture_density(rng.normal(size=(900, 4)), rng.normal(size=(2100, 4)), np.ones((2100, 4)))
    before = log_sums._cache_size()
    for num_data in (2200, 3000, 4000):
        log_mixture_density(rng.normal(size=(900, 4)), rng.normal(size=(num_data, 4)), np.ones((num_data, 4)))
    assert log_sums._cache_size() == before


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"z": np.zeros((3, 4))}, ShapeError),
        ({"scale": np.zeros((5, 2))}, ScaleError),
        ({"loc": np.full((5, 2), np.nan)}, NonFiniteError),
        ({"own": [7, 0, 0]}, ShapeError),
        ({"own": [0]}, ShapeError),
        ({"method": "fast"}, ArgumentError),
        ({"own": [0, 1, 2], "noise": np.zeros((3, 1))}, ShapeError),
    ],
)
def test_bad_arguments(change, error):
    arguments = {"z": np.zeros((3, 2)), "loc": np.zeros((5, 2)), "scale": np.ones((5, 2))} | change
    with pytest.raises(error):
        log_mixture_density(**arguments)
