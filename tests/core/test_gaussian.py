"""Gaussian building blocks against mpmath quadrature, scipy densities and numpyro's KL."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpyro.distributions.kl import kl_divergence
from scipy import stats

from vaeaudit.core import gaussian as g

PAIRS = [(0.0, 1.0), (0.0, 0.1), (1.5, 0.3), (-2.0, 2.5), (0.01, 0.99), (4.0, 1e-3)]


@pytest.mark.parametrize(("mu", "sigma"), PAIRS)
def test_kl_against_quadrature_of_its_definition(mu, sigma):
    ours = g.kl_to_standard_normal(jnp.float32(mu), jnp.float32(sigma))
    exact = oracles.kl_to_standard_normal(float(np.float32(mu)), float(np.float32(sigma)))
    assert float(ours) == pytest.approx(exact, rel=3e-6, abs=1e-12)


def test_kl_against_numpyro():
    loc, scale = np.random.default_rng(0).normal(size=(2, 50, 3)).astype(np.float32)
    scale = np.exp(scale)
    theirs = kl_divergence(dist.Normal(loc, scale), dist.Normal(0.0, 1.0))
    np.testing.assert_allclose(g.kl_to_standard_normal(loc, scale), theirs, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("excess", [1e-2, -1e-2, 1e-3, -1e-3])
def test_small_kl_keeps_its_digits(excess):
    sigma = np.float32(1.0 + excess)
    exact = oracles.kl_to_standard_normal(0.0, float(sigma))
    # log σ is itself rounded: relative error of the KL ≈ 2 ulp / |log σ|
    tolerance = 4 * 6e-8 / abs(excess) + 1e-5
    assert float(g.kl_to_standard_normal(jnp.float32(0), sigma)) == pytest.approx(exact, rel=tolerance)


@settings(max_examples=60, deadline=None)
@given(st.floats(-6, 6, width=32), st.floats(0.015625, 8, width=32))
def test_kl_is_zero_only_at_the_prior_and_never_negative(mu, sigma):
    assert float(g.kl_to_standard_normal(jnp.float32(mu), jnp.float32(sigma))) >= 0


@pytest.mark.parametrize(("mu", "sigma"), PAIRS)
def test_squared_wasserstein_against_its_quantile_integral(mu, sigma):
    exact = oracles.squared_w2_to_standard_normal(mu, sigma)
    assert float(g.squared_wasserstein(mu, sigma)) == pytest.approx(exact, rel=1e-6, abs=1e-9)


def test_log_densities_against_scipy():
    rng = np.random.default_rng(1)
    z, loc = rng.normal(size=(2, 5, 4, 3)).astype(np.float32)
    scale = np.exp(0.5 * rng.normal(size=(4, 3))).astype(np.float32)
    exact = stats.norm(loc, scale).logpdf(z).sum(-1)
    np.testing.assert_allclose(g.log_normal(z, loc, scale), exact, rtol=2e-5)
    np.testing.assert_allclose(g.log_standard_normal(z), stats.norm.logpdf(z).sum(-1), rtol=1e-5)
    noise = ((z - loc) / scale).astype(np.float32)
    np.testing.assert_allclose(g.log_normal_from_noise(noise, scale), exact, rtol=2e-5)


def test_density_from_the_noise_does_not_cancel_at_small_scale():
    noise, scale, loc = jnp.float32([0.7]), jnp.float32([1e-5]), jnp.float32([30.0])
    exact = stats.norm.logpdf(np.float32(0.7)) - np.log(np.float64(scale[0]))
    assert float(g.log_normal_from_noise(noise, scale)) == pytest.approx(exact, rel=1e-6)
    z = loc + scale * noise  # rounding of z is 2·10⁻⁶, a fifth of σ: the direct form must be off
    assert abs(float(g.log_normal(z, loc, scale)) - exact) > 1e-3


def test_gradients_match_the_derivatives():
    d_mu, d_sigma = jax.grad(lambda m, s: g.kl_to_standard_normal(m, s), argnums=(0, 1))(1.5, 0.25)
    assert float(d_mu) == pytest.approx(1.5, rel=1e-6)  # ∂KL/∂μ = μ
    assert float(d_sigma) == pytest.approx(0.25 - 4.0, rel=1e-6)  # σ − 1/σ
