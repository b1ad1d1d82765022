"""Debiased cosines: unbiased products, covering intervals, and a test that keeps its level."""

import numpy as np
import pytest
from scipy import stats

from vaeaudit.estimators.gram_statistics import leave_one_out, norm_test, off_diagonal_mean, pair_statistics


def grams(a, b):
    return a @ a.T, a @ b.T, b @ b.T


def noisy(rng, mean, num, noise):
    return mean + noise * rng.standard_normal((num, mean.size))


def test_leave_one_out_is_what_it_says():
    rng = np.random.default_rng(0)
    gram = rng.standard_normal((7, 7))
    want = [off_diagonal_mean(np.delete(np.delete(gram, r, 0), r, 1)) for r in range(7)]
    assert np.allclose(leave_one_out(gram), want)


def test_products_are_unbiased_though_noise_is_shared():
    """Shared noise of total variance 4 would add 4/R to a plain inner product of means."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal(400) / 20, rng.standard_normal(400) / 20
    values, plain = [], []
    for _ in range(2000):
        shared = 0.1 * rng.standard_normal((8, 400))
        gram = (a + shared) @ (b + shared).T
        values.append(off_diagonal_mean(gram))
        plain.append(gram.mean())
    se = np.std(values) / np.sqrt(2000)
    assert se < 0.02
    assert abs(np.mean(values) - a @ b) < 4 * se
    assert abs(np.mean(plain) - a @ b) > 20 * se


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.2, np.pi / 2, 2.5])
def test_cosine_interval_covers(angle):
    """500 replications at a noise that pulls the plain cosine of means to two thirds of the true one."""
    rng = np.random.default_rng(2)
    dim, num, noise = 200, 32, 0.28
    a = np.zeros(dim)
    b = np.zeros(dim)
    a[0], b[0], b[1] = 1.0, np.cos(angle), np.sin(angle)
    inside, plain, values = 0, [], []
    for _ in range(500):
        x, y = noisy(rng, a, num, noise), noisy(rng, b, num, noise)
        result = pair_statistics(*grams(x, y)).cosine
        inside += result.lower <= np.cos(angle) <= result.upper
        values.append(result.value)
        mx, my = x.mean(0), y.mean(0)
        plain.append(mx @ my / np.linalg.norm(mx) / np.linalg.norm(my))
    assert inside >= stats.binom.ppf(0.001, 500, 0.95)
    se = np.std(values) / np.sqrt(500)
    assert se < 0.01
    if 0 < angle < np.pi / 2:
        assert abs(np.mean(values) - np.cos(angle)) < 5 * se + 0.005
        assert np.mean(plain) < np.cos(angle) * 0.8


def test_projection_and_climb():
    rng = np.random.default_rng(3)
    a, b = np.array([3.0, 0.0, 1.0]), np.array([2.0, 1.0, 0.0])
    pair = pair_statistics(*grams(noisy(rng, a, 40, 0.05), noisy(rng, b, 40, 0.05)))
    assert pair.projection.lower < 6 / 5 < pair.projection.upper
    assert pair.climb.lower < 6 / np.sqrt(10) < pair.climb.upper
    assert pair.projection.se < 0.02
    assert abs(pair.norm_a - np.sqrt(10)) < 0.05


def test_equal_draws_give_one_without_error():
    rng = np.random.default_rng(4)
    a = noisy(rng, np.ones(50), 16, 1.0)
    pair = pair_statistics(*grams(a, 3.0 * a))
    assert pair.cosine.value == pytest.approx(1.0, abs=1e-12)
    assert pair.cosine.se < 1e-12
    assert pair.projection.value == pytest.approx(1 / 3)


@pytest.mark.parametrize("dim", [2, 300])
def test_zero_mean_is_told_from_signal(dim):
    rng = np.random.default_rng(5)
    wrong = sum(norm_test(g @ g.T).different_from_zero for g in rng.standard_normal((400, 16, dim)))
    assert wrong <= stats.binom.ppf(0.999, 400, 0.01)
    signal = np.ones(dim) * 1.5 / dim**0.25
    found = sum(norm_test(g @ g.T).different_from_zero for g in signal + rng.standard_normal((50, 16, dim)))
    assert found >= 48


def test_exact_zero_and_exact_vectors():
    assert norm_test(np.zeros((8, 8))).exactly_zero
    fixed = norm_test(np.full((8, 8), 2.0))
    assert fixed.different_from_zero
    assert fixed.well_known
