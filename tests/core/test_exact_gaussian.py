"""Float64 Gaussian algebra against 50-digit arithmetic, scipy and the conditioned joint."""

import numpy as np
import oracles
import pytest
from statistical import assert_mean

from vaeaudit.core.exact_gaussian import LinearGaussian, gaussian_kl, log_normal_density

RNG = np.random.default_rng(3)


def random_cov(d):
    a = RNG.normal(size=(d, d))
    return a @ a.T + 0.1 * np.eye(d)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_kl_against_50_digits(d):
    m0, m1, s0, s1 = RNG.normal(size=d), RNG.normal(size=d), random_cov(d), random_cov(d)
    assert gaussian_kl(m0, s0, m1, s1) == pytest.approx(oracles.gaussian_kl(m0, s0, m1, s1), rel=1e-10)


def test_a_tiny_kl_keeps_its_digits():
    s = np.eye(3) + 1e-7 * np.diag([1.0, -2.0, 0.5])
    m = np.array([1e-8, 0.0, 0.0])
    exact = oracles.gaussian_kl(m, s, np.zeros(3), np.eye(3))
    assert 0 < exact < 1e-13
    assert gaussian_kl(m, s, np.zeros(3), np.eye(3)) == pytest.approx(exact, rel=1e-6)


def test_kl_by_row_is_one_per_mean():
    s0, s1 = random_cov(3), random_cov(3)
    m = RNG.normal(size=(4, 3))
    rows = gaussian_kl(m, s0, np.ones(3), s1)
    assert rows.shape == (4,)
    np.testing.assert_allclose(rows, [gaussian_kl(r, s0, np.ones(3), s1) for r in m], rtol=1e-12)


def test_density_against_scipy():
    x, mean, cov = RNG.normal(size=(6, 4)), RNG.normal(size=4), random_cov(4)
    np.testing.assert_allclose(
        log_normal_density(x, mean, cov), oracles.normal_log_density(x, mean, cov), rtol=1e-11
    )


@pytest.mark.parametrize(("d", "j"), [(6, 2), (2, 4), (3, 3)])
def test_model_against_conditioning_and_scipy(d, j):
    w, b, s = RNG.normal(size=(d, j)), RNG.normal(size=d), 0.4
    model = LinearGaussian(w, b, s)
    x = RNG.normal(size=(7, d))
    np.testing.assert_allclose(
        model.log_evidence(x), oracles.linear_gaussian_log_evidence(w, b, s, x), rtol=1e-10
    )
    mean, cov = model.posterior(x)
    mean_oracle, cov_oracle = oracles.linear_gaussian_posterior(w, b, s, x)
    np.testing.assert_allclose(mean, mean_oracle, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(cov, cov_oracle, rtol=1e-9, atol=1e-12)
    joint = np.block([[np.eye(j), w.T], [w, w @ w.T + s**2 * np.eye(d)]])
    blocks = np.block([[np.eye(j), np.zeros((j, d))], [np.zeros((d, j)), model.cov]])
    zero = np.zeros(d + j)
    assert model.mutual_information == pytest.approx(oracles.gaussian_kl(zero, joint, zero, blocks), rel=1e-9)


def test_samples_have_the_model_s_moments_and_entropy():
    model = LinearGaussian(np.array([[1.0, 0.5], [0.0, -1.0], [2.0, 0.0]]), np.array([1.0, 0.0, -1.0]), 0.7)
    z, x = model.sample(np.random.default_rng(0), 40_000)
    assert_mean(x, model.bias, detects=0.15)
    u = x - model.bias
    assert_mean(u[:, :, None] * u[:, None, :], model.cov, detects=0.4)
    assert_mean(u[:, :, None] * z[:, None, :], model.weight, detects=0.2)
    assert_mean(-model.log_evidence(x), model.entropy, detects=0.06)
