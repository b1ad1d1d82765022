"""One-dimensional mixtures by the linear-time series: its bound, its value, its repair of hard points."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from vaeaudit.estimators import mixture_density_marginals
from vaeaudit.estimators.mixture_density import log_mixture_density
from vaeaudit.estimators.mixture_kernel_series import (
    PANEL,
    _clenshaw,
    _nodes,
    applies,
    gaussian_sums,
    interpolation_error,
)

CASES = ("spread", "wide", "mixed", "clusters 1", "clusters 2", "clusters 64", "isolated", "offset")


def components(name, num_data, rng):
    """Scales of 10⁻³ with |μ| ≤ 10, one octave, seven octaves, tight clusters, points far apart, far from 0."""
    loc = rng.uniform(-10, 10, num_data)
    if name == "spread":
        return loc, np.full(num_data, 1e-3)
    if name == "wide":
        return rng.normal(size=num_data), rng.uniform(0.5, 1.0, num_data)
    if name == "mixed":
        return loc, 10 ** rng.uniform(-3, 0.5, num_data)
    if name == "isolated":
        return loc, 10 ** rng.uniform(-6, -5, num_data)
    if name == "offset":
        return 1e4 + rng.normal(size=num_data), np.full(num_data, 0.01)
    centres = rng.uniform(-10, 10, int(name.removeprefix("clusters ")))
    return rng.choice(centres, num_data) + 1e-3 * rng.normal(size=num_data), np.full(num_data, 1e-3)


def brute(z, loc, scale):
    return np.array([logsumexp(norm.logpdf(point, loc, scale)) for point in z])


@pytest.mark.parametrize("name", CASES)
def test_sum_within_its_own_bound_of_float64(name):
    rng = np.random.default_rng(1)
    loc, scale = components(name, 1701, rng)
    own = rng.integers(1701, size=300)
    z = loc[own] + scale[own] * rng.normal(size=300)
    total, error = gaussian_sums(z, loc, scale)
    truth = np.exp(brute(z, loc, scale))
    assert np.all(np.abs(total - truth) <= error + 1e-11 * truth)  # the reference rounds too
    assert np.all(error <= 1e-6 * truth)  # no point of these is in need of repair
    assert np.abs(np.log(total) - np.log(truth)).max() < 1e-9
    between = np.linspace(z.min() - 1, z.max() + 1, 301)  # where the sum may be next to nothing
    total, error = gaussian_sums(between, loc, scale)
    assert np.all(np.abs(total - np.exp(brute(between, loc, scale))) <= error * (1 + 1e-9) + 1e-11 * total)


def test_the_bound_on_interpolation_is_one_and_not_idle():
    """Gaussians of the narrowest σ of an octave, anywhere around the panel, against the interpolant."""
    node, to_coefficients = _nodes()
    t = np.linspace(-1, 1, 2001)
    worst = 0.0
    for centre in np.linspace(-3, 3, 121):

        def density(u, centre=centre):
            return np.exp(-0.5 * (0.5 * PANEL * (u - centre)) ** 2)

        found = _clenshaw(np.tile(to_coefficients @ density(node), (t.size, 1)), t)
        worst = max(worst, np.abs(found - density(t)).max())
    assert worst <= interpolation_error() < 1e-12
    assert worst > 1e-4 * interpolation_error()


@pytest.mark.parametrize("name", CASES)
def test_marginals_of_many_pairs_within_1e4_nat_of_float64(name):
    """2,100 × 1,000 pairs per latent: the series answers, and hard points are computed again."""
    rng = np.random.default_rng(2)
    num_data, num_points, latent = 2100, 1000, 3
    assert num_data * num_points > mixture_density_marginals.PAIRS
    columns = [components(name if j else "mixed", num_data, rng) for j in range(latent)]
    loc, scale = (np.stack([c[k] for c in columns], axis=1) for k in (0, 1))
    own = rng.integers(num_data, size=num_points)
    noise = rng.normal(size=(num_points, latent))
    z = loc[own] + scale[own] * noise
    found = log_mixture_density(z, loc, scale, own=own, noise=noise, marginals=True)
    rows = rng.choice(num_points, 40, replace=False)
    total = np.zeros(40)
    for j in range(latent):
        every = np.stack([norm.logpdf(point, loc[:, j], scale[:, j]) for point in z[rows, j]])
        rest = every.copy()
        rest[np.arange(40), own[rows]] = -np.inf
        others = logsumexp(rest, axis=1) - np.log(num_data - 1)
        np.testing.assert_allclose(found.log_marginals_others[rows, j], others, rtol=1e-9, atol=4e-5)
        inclusive = logsumexp(every, axis=1) - np.log(num_data)
        np.testing.assert_allclose(found.log_marginals[rows, j], inclusive, atol=4e-5)
        total += found.log_marginals[rows, j] - inclusive
    assert found.max_error_marginals <= 1e-4
    assert np.abs(total).max() <= found.max_error_marginals + 1e-6  # z rounds: own from noise, oracle from z


def test_series_and_kernel_agree_on_one_latent():
    rng = np.random.default_rng(3)
    loc, scale = rng.normal(size=(3000, 1)), rng.uniform(0.05, 1.0, (3000, 1))
    own = rng.integers(3000, size=1000)
    z = loc[own] + scale[own] * rng.normal(size=(1000, 1))
    one, two = (log_mixture_density(z, loc, scale, own=own, method=m) for m in ("auto", "float64"))
    assert (one.method, two.method) == ("series", "float64")
    np.testing.assert_allclose(one.log_q, two.log_q, atol=1e-9)
    np.testing.assert_allclose(one.log_q_others, two.log_q_others, atol=1e-9)
    assert np.abs(one.log_q - two.log_q).max() <= one.max_error < 1e-6
    without = log_mixture_density(z, loc, scale)
    assert without.log_q_others is None
    assert without.log_marginals is None
    np.testing.assert_allclose(without.log_q, two.log_q, atol=1e-9)


def test_points_the_series_cannot_answer_are_computed_over_all_pairs():
    """Far below every peak, and panels too small to be told apart."""
    rng = np.random.default_rng(4)
    loc, scale = rng.normal(size=(2500, 1)), np.full((2500, 1), 0.1)
    z = np.concatenate([loc[:990, 0], np.linspace(6, 30, 10)])[:, None]  # log q down to −30,000
    found = log_mixture_density(z, loc, scale)
    assert found.method == "series"
    truth = brute(z[:, 0], loc[:, 0], scale[:, 0]) - np.log(2500)
    np.testing.assert_allclose(found.log_q, truth, rtol=1e-12, atol=1e-6)
    far = loc + 1e6, np.full((2500, 1), 1e-9)
    assert not applies(*(a[:, 0] for a in (far[0], *far)))
    found = log_mixture_density(far[0][:1000], *far)
    truth = brute(far[0][:1000, 0], far[0][:, 0], far[1][:, 0]) - np.log(2500)
    np.testing.assert_allclose(found.log_q, truth, atol=1e-6)


def test_order_of_points_and_components_does_not_matter():
    rng = np.random.default_rng(5)
    loc, scale = components("mixed", 5000, rng)  # more than two steps of the sum
    z = rng.normal(size=700) * 3
    total, error = gaussian_sums(z, loc, scale)
    a, b = rng.permutation(700), rng.permutation(5000)
    again, error_again = gaussian_sums(z[a], loc[b], scale[b])
    np.testing.assert_allclose(again, total[a], rtol=1e-11)
    np.testing.assert_allclose(error_again, error[a], rtol=1e-6)
    mirrored, _ = gaussian_sums(-z, -loc, scale)
    np.testing.assert_allclose(mirrored, total, rtol=1e-9)
