"""Quadrature against scipy's marginals and integrators, its convergence error, and draws from its grid."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError
from vaeaudit.estimators.quadrature import posterior_draws, quadrature_log_evidence


def linear(latent_dim, noise_scale, *, seed=0, enc_shift=0.0):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(latent_dim + 2, latent_dim))
    w = jnp.asarray(weight, jnp.float32)

    def log_likelihood(x, z):
        u = (x - z @ w.T) / noise_scale
        return jnp.sum(-0.5 * u * u - math.log(noise_scale) - 0.5 * math.log(2 * math.pi), axis=-1)

    model = va.vae(
        encode=lambda x: (jnp.full((x.shape[0], latent_dim), enc_shift), jnp.ones((x.shape[0], latent_dim))),
        log_likelihood=log_likelihood,
        latent_dim=latent_dim,
    )
    cov = weight @ weight.T + noise_scale**2 * np.eye(latent_dim + 2)
    return model, weight, stats.multivariate_normal(np.zeros(latent_dim + 2), cov)


@pytest.mark.parametrize(("latent_dim", "noise_scale"), [(1, 0.5), (1, 0.003), (2, 0.5), (2, 0.02), (3, 0.3)])
def test_agrees_with_the_marginal_for_wide_and_narrow_posteriors(latent_dim, noise_scale):
    """A narrow posterior (σ ≈ 0.003) far from a useless encoder must still be found."""
    model, _, marginal = linear(latent_dim, noise_scale, enc_shift=1.5)
    x = marginal.rvs(6, random_state=1).astype(np.float32)
    found = quadrature_log_evidence(model, x)
    truth = marginal.logpdf(x)
    assert found.reliable.all()
    assert np.max(np.abs(found.value - truth) / np.maximum(1, np.abs(truth))) < 2e-4
    if noise_scale >= 0.02:
        assert np.max(np.abs(found.value - truth)) < 2e-3


def bimodal(separation, width):
    """p(x|z) has two bumps at ±separation in one latent."""

    def log_likelihood(x, z):
        a = -0.5 * ((z[..., 0] - separation) / width) ** 2
        b = -0.5 * ((z[..., 0] + separation) / width) ** 2 + x[:, 0]
        return jnp.logaddexp(a, b)

    return va.vae(
        encode=lambda x: (jnp.full((x.shape[0], 1), separation), jnp.full((x.shape[0], 1), width)),
        log_likelihood=log_likelihood,
        latent_dim=1,
    )


def test_two_modes_of_which_the_encoder_knows_one():
    model = bimodal(1.5, 0.1)
    x = np.array([[0.0], [3.0]], np.float32)
    found = quadrature_log_evidence(model, x)
    for i, tilt in enumerate(x[:, 0]):
        truth, _ = integrate.quad(
            lambda z, tilt=tilt: (
                (math.exp(-0.5 * ((z - 1.5) / 0.1) ** 2) + math.exp(-0.5 * ((z + 1.5) / 0.1) ** 2 + tilt))
                * stats.norm.pdf(z)
            ),
            -5,
            5,
            points=[-1.5, 1.5],
            limit=200,
        )
        assert found.value[i] == pytest.approx(math.log(truth), abs=1e-4)
    assert found.reliable.all()
    one_mode = va.log_evidence(model, x, 0, "iw", 1000)
    assert np.all(one_mode.value < found.value - 0.3)  # the encoder alone misses half the mass


def test_the_convergence_error_bounds_the_error_and_falls_fast():
    """A kinked integrand (ReLU) converges algebraically: the error stated must still cover the truth."""

    def log_likelihood(x, z):
        return -3.0 * jnp.sum(jnp.maximum(z - x, 0.0), axis=-1) - 8.0 * jnp.sum(jnp.maximum(x - z, 0.0), -1)

    model = va.vae(encode=lambda x: (x, jnp.full_like(x, 0.3)), log_likelihood=log_likelihood, latent_dim=2)
    x = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    found = quadrature_log_evidence(model, x)

    def exact(c):
        up = integrate.quad(lambda z: math.exp(-3 * (z - c)) * stats.norm.pdf(z), c, c + 12)[0]
        down = integrate.quad(lambda z: math.exp(-8 * (c - z)) * stats.norm.pdf(z), c - 12, c)[0]
        return math.log(up + down)

    truth = np.array([sum(exact(float(c)) for c in row) for row in x])
    assert np.all(np.abs(found.value - truth) <= found.bias_bound + 1e-6)
    assert found.reliable.mean() > 0.5
    strict = quadrature_log_evidence(model, x[:4], tolerance=1e-9)
    assert not strict.reliable.any()
    assert np.isnan(strict.lower).all()
    assert "did not converge" in strict.reason[0]


def test_draws_from_the_grid_have_the_posteriors_moments():
    """4000 draws: standard errors of mean and covariance are below 3 % of the posterior's scale."""
    model, weight, marginal = linear(2, 0.4)
    x = marginal.rvs(3, random_state=2).astype(np.float32)
    draws = posterior_draws(model, x, 4000, rng_key=1)
    precision = np.eye(2) + weight.T @ weight / 0.16
    cov = np.linalg.inv(precision)
    mean = x @ (cov @ weight.T / 0.16).T
    white = np.einsum("ij,sbj->sbi", np.linalg.inv(np.linalg.cholesky(cov)), draws - mean)
    assert np.max(np.abs(white.mean(axis=0))) < 5 / math.sqrt(4000)
    for b in range(3):
        np.testing.assert_allclose(np.cov(white[:, b].T), np.eye(2), atol=5 * math.sqrt(2 / 4000))
        for j in range(2):
            assert stats.kstest(white[:, b, j], "norm").pvalue > 1e-4


def test_four_latents_are_refused_with_advice():
    model, _, marginal = linear(4, 0.5)
    with pytest.raises(ArgumentError, match="method='auto'"):
        va.log_evidence(model, marginal.rvs(2, random_state=0).astype(np.float32), method="quadrature")


@pytest.mark.slow
def test_auto_is_within_a_twentieth_nat_of_quadrature_on_a_trained_model():
    """A 2-latent model trained on binary digits: ≥ 99 % of data within 0.05 nat, the rest flagged."""
    data = va.load_data("digits", form="binary")
    model = va.fit(
        lambda key: va.mlp_vae(key, event_shape=(8, 8), latent_dim=2),
        va.objectives.elbo(),
        data,
        rng_key=0,
        epochs=150,
    )
    model = getattr(model, "model", model)
    x = data.test[:400]
    truth = va.log_evidence(model, x, method="quadrature")
    found = va.log_evidence(model, x, 1, "auto")
    assert truth.reliable.mean() >= 0.99
    close = np.abs(found.value - truth.value) <= 0.05
    assert np.mean(close | ~found.reliable) >= 0.99
    assert found.reliable.mean() >= 0.95
