"""ELBO, rate and distortion against closed forms of a linear-Gaussian model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError, NonFiniteError, ScaleError, ShapeError
from vaeaudit.estimators.rate_distortion import average, rate_distortion
from vaeaudit.estimators.skewed_mean import skewed_mean_interval


def scalar_model(weight=1.3, noise=0.6, enc_weight=0.5, enc_scale=0.4, **more):
    return va.vae(
        encode=lambda x: (enc_weight * x, jnp.full_like(x, enc_scale)),
        log_likelihood=lambda x, z: jnp.sum(jax.scipy.stats.norm.logpdf(x, weight * z, noise), -1),
        latent_dim=1,
        **more,
    )


def closed_form(x, weight=1.3, noise=0.6, enc_weight=0.5, enc_scale=0.4):
    x = x[:, 0].astype(np.float64)
    mean = enc_weight * x
    rate = 0.5 * (mean**2 + enc_scale**2 - 1 - np.log(enc_scale**2))
    expected = (x - weight * mean) ** 2 + weight**2 * enc_scale**2
    return rate, 0.5 * np.log(2 * np.pi * noise**2) + expected / (2 * noise**2)


X = np.random.default_rng(0).normal(size=(203, 1)).astype(np.float32) * 1.5


def test_per_datum_and_means_against_the_closed_form():
    found = rate_distortion(scalar_model(), X, rng_key=1, num_samples=400, target="data")
    rate, distortion = closed_form(X)
    np.testing.assert_allclose(found.per_datum["rate"], rate, rtol=1e-6)
    error = found.per_datum["distortion"] - distortion
    z_score = error / found.per_datum["distortion_se"]
    assert np.abs(z_score).max() < 4.5
    assert 0.8 < z_score.std() < 1.2  # the stated standard error is the true one
    assert found.rate.verdict == "exact"
    assert found.rate.value == pytest.approx(rate.mean(), rel=1e-6)
    assert found.distortion.lower < distortion.mean() < found.distortion.upper
    assert found.distortion.se < 0.01  # sees a missing ½ log 2π
    assert found.elbo.value == pytest.approx(-(found.rate.value + found.distortion.value), abs=1e-9)


def test_population_interval_covers_the_population_mean():
    """1,000 data sets of 100: x ~ N(0, 1.5²), rate skewed like χ²."""
    truth = 0.5 * (0.25 * 2.25 + 0.16 - 1 - np.log(0.16))
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(1000):
        rate, _ = closed_form(rng.normal(size=(100, 1)) * 1.5)
        _, low, high = skewed_mean_interval(rate)
        missed += not low <= truth <= high
    assert missed <= 75  # 5 % nominal, standard error 0.7 %; plain normal intervals miss about 80
    found = rate_distortion(scalar_model(), X, num_samples=4)
    assert found.rate.lower < truth < found.rate.upper


def test_another_prior_costs_monte_carlo_error():
    model = scalar_model(log_prior=lambda z: jax.scipy.stats.norm.logpdf(z[..., 0], 0.5, 2.0))
    found = rate_distortion(model, X, num_samples=500, target="data")
    mean = 0.5 * X[:, 0].astype(np.float64)
    rate = np.log(2.0 / 0.4) + (0.16 + (mean - 0.5) ** 2) / 8 - 0.5
    assert found.rate.verdict == "ok"
    assert found.rate.lower < rate.mean() < found.rate.upper
    assert found.rate.se < 0.005
    assert (found.per_datum["rate_se"] > 0).all()
    total = found.per_datum["rate"] + found.per_datum["distortion"] + found.per_datum["elbo"]
    np.testing.assert_allclose(total, 0, atol=1e-4)


def test_zero_variance_when_the_encoder_is_the_exact_posterior():
    """ELBO = log p(x) for every draw then, and its error is rounding alone."""
    weight, noise = 1.3, 0.6
    variance = 1 / (1 + weight**2 / noise**2)
    model = scalar_model(weight, noise, variance * weight / noise**2, variance**0.5)
    found = rate_distortion(model, X, num_samples=2000)
    evidence = norm.logpdf(X[:, 0], 0, np.hypot(weight, noise))
    z_score = (found.per_datum["elbo"] - evidence) / found.per_datum["elbo_se"]
    assert np.abs(z_score).max() < 4.5
    assert found.per_datum["elbo_se"].max() < 0.05


def test_chunks_and_groups_of_draws_cover_everything():
    x = np.random.default_rng(1).normal(size=(2503, 1)).astype(np.float32)
    found = rate_distortion(scalar_model(), x, num_samples=130, target="data")
    rate, distortion = closed_form(x)
    assert len(found.per_datum) == 2503
    np.testing.assert_allclose(found.per_datum["rate"], rate, rtol=1e-5, atol=1e-6)
    assert found.distortion.num_samples >= 130
    z_score = (found.per_datum["distortion"] - distortion) / found.per_datum["distortion_se"]
    assert 0.9 < z_score.std() < 1.15  # draws are skewed: single scores reach 6
    assert np.abs(z_score).max() < 8


def test_models_that_run_outside_jax():
    def log_likelihood(x, z):
        shape = jax.ShapeDtypeStruct(z.shape[:2], jnp.float32)
        return jax.pure_callback(lambda a, b: norm.logpdf(a, 1.3 * b, 0.6).sum(-1).astype("f"), shape, x, z)

    plain, called = scalar_model(), scalar_model()
    called = va.vae(encode=plain.encode, log_likelihood=log_likelihood, latent_dim=1)
    one = rate_distortion(plain, X, rng_key=2, num_samples=8).per_datum
    two = rate_distortion(called, X, rng_key=2, num_samples=8).per_datum
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_one_draw_has_no_standard_error_given_the_data():
    found = rate_distortion(scalar_model(), X, num_samples=1, target="data")
    assert found.elbo.verdict == "unreliable"
    assert not found.elbo.has_interval
    assert rate_distortion(scalar_model(), X, num_samples=1).elbo.has_interval
    assert average(np.ones(1), np.zeros(1), "population", 3).verdict == "unreliable"


@pytest.mark.parametrize(
    ("model", "x", "keywords", "error"),
    [
        (scalar_model(), X[:, 0], {}, ShapeError),
        (scalar_model(), np.full_like(X, np.nan), {}, NonFiniteError),
        (scalar_model(enc_scale=0.0), X, {}, ScaleError),
        (scalar_model(noise=0.0), X, {}, NonFiniteError),
        (scalar_model(), X, {"target": "both"}, ArgumentError),
        (scalar_model(), X, {"num_samples": 0}, ArgumentError),
        (None, X, {}, ArgumentError),
    ],
)
def test_bad_arguments(model, x, keywords, error):
    with pytest.raises(error):
        rate_distortion(model, x, **keywords)
