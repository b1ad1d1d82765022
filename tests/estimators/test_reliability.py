"""Pareto k̂ and weight summaries against scipy, a written-out reference and closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logsumexp

from vaeaudit.core.errors import NonFiniteError, ShapeError
from vaeaudit.estimators.reliability import LIGHT, pareto_k, pareto_k_threshold, tail_length
from vaeaudit.estimators.weights import WeightSummary


def reference_k(log_w):
    """Zhang & Stephens (2009) written out for one datum with plain loops."""
    log_w = np.sort(np.asarray(log_w, float)) - np.max(log_w)
    tail = math.ceil(min(len(log_w) / 5, 3 * math.sqrt(len(log_w))))
    cutoff = log_w[-tail - 1]
    x = np.exp(log_w[-tail:]) - math.exp(cutoff)
    n, m = len(x), 30 + int(math.sqrt(len(x)))
    quartile = x[int(n / 4 + 0.5) - 1]
    b = [(1 - math.sqrt(m / (j - 0.5))) / (3 * quartile) + 1 / x[-1] for j in range(1, m + 1)]
    profile = []
    for bj in b:
        k = sum(math.log1p(-bj * xi) for xi in x) / n
        profile.append(n * (math.log(-bj / k) - k - 1))
    weight = [1 / sum(math.exp(min(other - mine, 700)) for other in profile) for mine in profile]
    total = sum(w for w in weight if w >= 10 * 2.220446e-16)
    b_hat = sum(w * bj for w, bj in zip(weight, b, strict=True) if w >= 10 * 2.220446e-16) / total
    k_hat = sum(math.log1p(-b_hat * xi) for xi in x) / n
    return (n * k_hat + 5) / (n + 10)


@pytest.mark.parametrize("num", [100, 1000, 2500])
def test_agrees_with_the_written_out_reference(num):
    rng = np.random.default_rng(num)
    log_w = np.stack(
        [rng.normal(size=num) * 1.5, rng.standard_t(3, num), -300 + rng.gumbel(size=num)], axis=1
    )
    expected = [reference_k(column) for column in log_w.T]
    np.testing.assert_allclose(pareto_k(log_w), expected, rtol=1e-8)


def test_agrees_with_arviz_stats():
    arviz_stats = pytest.importorskip("arviz_stats.base")
    rng = np.random.default_rng(4)
    log_w = rng.normal(size=(2500, 4)) * np.array([0.1, 0.7, 1.5, 2.5])  # 3√2500 = 150 in both
    expected = [float(arviz_stats.array_stats.psislw(-column, r_eff=1.0)[1]) for column in log_w.T]
    np.testing.assert_allclose(pareto_k(log_w), expected, rtol=1e-6)


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_recovers_the_shape_of_a_pareto_tail(k):
    """64 sets of 10,000 draws: the mean k̂ has a standard error below 0.016, the prior pulls by < 0.02."""
    draws = stats.genpareto(c=k).rvs((10_000, 64), random_state=np.random.default_rng(1))
    found = pareto_k(np.log(draws))
    error = found.std(ddof=1) / 8
    assert error < 0.016
    assert abs(found.mean() - k) < 4 * error + 0.02


def test_agrees_with_scipy_maximum_likelihood_on_exceedances():
    rng = np.random.default_rng(3)
    log_w = np.log(rng.pareto(2.0, size=(20_000, 1)) + 1)
    w = np.sort(np.exp(log_w[:, 0]))
    tail = tail_length(20_000)
    shape, _, _ = stats.genpareto.fit(w[-tail:] - w[-tail - 1], floc=0)
    assert abs(pareto_k(log_w)[0] - shape) < 0.05


@settings(max_examples=25, deadline=None)
@given(shift=st.floats(-500, 500), seed=st.integers(0, 1000))
def test_is_unchanged_by_shifts_and_permutations(shift, seed):
    rng = np.random.default_rng(seed)
    log_w = rng.normal(size=(500, 3)) * 1.2
    base = pareto_k(log_w)
    np.testing.assert_allclose(pareto_k(rng.permutation(log_w) + shift), base, rtol=1e-6, atol=1e-6)


def test_equal_weights_and_short_tails():
    assert pareto_k(np.full((100, 1), -7.0))[0] == LIGHT
    assert pareto_k(np.zeros((10, 1)) + np.arange(10)[:, None])[0] == np.inf


def test_bad_weights_are_named():
    with pytest.raises(ShapeError, match="at least 2 samples"):
        pareto_k(np.zeros((1, 5)))
    with pytest.raises(ShapeError, match="sample, batch"):
        pareto_k(np.zeros(5))
    bad = np.zeros((10, 2))
    bad[3, 1] = np.nan
    with pytest.raises(NonFiniteError, match=r"\(3, 1\)"):
        pareto_k(bad)


def test_threshold_grows_with_the_sample_size():
    assert pareto_k_threshold(100) == pytest.approx(0.5)
    assert pareto_k_threshold(1000) == pytest.approx(1 - 1 / 3)
    assert pareto_k_threshold(10**6) == 0.7


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(1, 399), max_size=4))
def test_summary_is_the_same_however_the_draws_are_chunked(seed, cuts):
    rng = np.random.default_rng(seed)
    log_w = (rng.normal(size=(400, 3)) * 2 - 400).astype(np.float32)
    summary = WeightSummary(3, 400)
    for part in np.split(log_w, sorted(set(cuts))):
        summary.add(part)
    value, variance, third = summary.moments()
    w = np.exp(log_w.astype(float) + 400)
    u = w / w.mean(axis=0)
    np.testing.assert_allclose(value, logsumexp(log_w.astype(float), axis=0) - math.log(400), rtol=1e-12)
    np.testing.assert_allclose(variance, u.var(axis=0, ddof=1), rtol=1e-9)
    np.testing.assert_allclose(third, stats.moment(u, 3, axis=0), rtol=1e-6)
    np.testing.assert_allclose(summary.ess(), w.sum(axis=0) ** 2 / (w**2).sum(axis=0), rtol=1e-10)
    np.testing.assert_allclose(summary.max_weight_share(), w.max(axis=0) / w.sum(axis=0), rtol=1e-10)
    np.testing.assert_allclose(summary.pareto_k(), [reference_k(c) for c in log_w.T], rtol=1e-6)


def test_summary_keeps_accuracy_over_a_million_draws_and_extreme_magnitudes():
    summary = WeightSummary(2, 10**6)
    rng = np.random.default_rng(0)
    total = []
    for _ in range(100):
        chunk = rng.normal(size=(10_000, 2)).astype(np.float32) + np.array([-2e4, 3e3], np.float32)
        summary.add(chunk)
        total.append(logsumexp(chunk.astype(float), axis=0))
    np.testing.assert_allclose(summary.moments()[0], logsumexp(total, axis=0) - math.log(10**6), rtol=1e-12)


def test_a_datum_with_nan_is_marked_and_the_others_are_not():
    summary = WeightSummary(3, 20)
    log_w = np.zeros((20, 3))
    log_w[4, 1] = np.nan
    log_w[:, 2] = -np.inf
    summary.add(log_w[:10])
    summary.add(log_w[10:])
    value = summary.moments()[0]
    assert value[0] == 0.0
    assert np.isnan(value[1])
    assert not summary.alive[2]
