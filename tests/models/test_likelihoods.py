"""Likelihoods against scipy, numpyro and quadrature: densities, means, samples, gradients."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import oracles
import pytest
from scipy import special, stats
from statistical import assert_mean

from vaeaudit.core.errors import NonFiniteError, SupportError
from vaeaudit.models.likelihoods import (
    LIKELIHOODS,
    BernoulliLogits,
    BernoulliProbs,
    CategoricalLogits,
    ContinuousBernoulliLogits,
    Gaussian,
    Laplace,
    softplus,
)

RNG = np.random.default_rng(0)
SAMPLES, BATCH, EVENT = 3, 5, (4, 2)
OUT = RNG.normal(size=(SAMPLES, BATCH, *EVENT)).astype(np.float32) * 2
GREY = RNG.uniform(size=(BATCH, *EVENT)).astype(np.float32)
BINARY = (GREY > 0.5).astype(np.float32)
REAL = RNG.normal(size=(BATCH, *EVENT)).astype(np.float32)
LOGITS = [0.0, 1e-6, 1e-3, 0.049, 0.051, -0.3, 0.499, 0.501, 1.0, -4.0, 12.0, 50.0, -50.0]


def event_sum(values):
    return values.sum(axis=(-2, -1))


def test_bernoulli_against_scipy_and_numpyro():
    ours = BernoulliLogits().log_prob(BINARY, OUT)
    p = special.expit(OUT.astype(np.float64))
    np.testing.assert_allclose(ours, event_sum(stats.bernoulli(p).logpmf(BINARY)), rtol=2e-6)
    np.testing.assert_allclose(ours, event_sum(dist.BernoulliLogits(OUT).log_prob(BINARY)), rtol=2e-6)
    np.testing.assert_allclose(BernoulliLogits().mean(OUT), p, rtol=2e-6)


def test_bernoulli_probs_agree_with_logits_inside_the_clip():
    p = jax.nn.sigmoid(OUT)
    np.testing.assert_allclose(
        BernoulliProbs().log_prob(BINARY, p), BernoulliLogits().log_prob(BINARY, OUT), rtol=1e-4
    )


def test_a_sure_and_wrong_probability_costs_the_clip():
    x = jnp.zeros((1, 1, 1))
    cost = -BernoulliProbs().log_prob(x, jnp.ones((1, 1, 1, 1)))
    assert float(cost[0, 0]) == pytest.approx(-math.log(1e-7), rel=0.02)


@pytest.mark.parametrize("learned", [False, True])
def test_gaussian_against_scipy(learned):
    ours = Gaussian(0.3, learned=learned).log_prob(REAL, OUT)
    np.testing.assert_allclose(ours, event_sum(stats.norm(OUT, np.float32(0.3)).logpdf(REAL)), rtol=2e-5)


def test_laplace_against_scipy():
    ours = Laplace(0.3).log_prob(REAL, OUT)
    np.testing.assert_allclose(ours, event_sum(stats.laplace(OUT, np.float32(0.3)).logpdf(REAL)), rtol=2e-5)


def test_categorical_against_scipy():
    classes = RNG.integers(0, 2, size=(BATCH, 4))
    x = np.eye(2, dtype=np.float32)[classes]
    exact = special.log_softmax(OUT.astype(np.float64), axis=-1)
    exact = np.take_along_axis(exact, np.broadcast_to(classes, (SAMPLES, BATCH, 4))[..., None], -1)
    np.testing.assert_allclose(CategoricalLogits().log_prob(x, OUT), exact.sum((-1, -2)), rtol=2e-5)
    np.testing.assert_allclose(CategoricalLogits().mean(OUT), special.softmax(OUT, -1), rtol=1e-5)


@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_normaliser_against_quadrature(logit):
    exact = oracles.continuous_bernoulli_log_normaliser(float(np.float32(logit)))
    ours = float(ContinuousBernoulliLogits.log_normaliser(jnp.float32(logit)))
    assert ours == pytest.approx(exact, rel=1e-6, abs=5e-7)


@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_mean_against_quadrature(logit):
    exact = oracles.continuous_bernoulli_moment(float(np.float32(logit)), 1)
    assert float(ContinuousBernoulliLogits().mean(jnp.float32(logit))) == pytest.approx(exact, rel=3e-6)


def test_continuous_bernoulli_density_against_numpyro_free_quadrature():
    """log p = x l − log(1 + eˡ) + log C: the parts together, by the oracle's normaliser."""
    normaliser = np.vectorize(oracles.continuous_bernoulli_log_normaliser)(OUT[:1].astype(np.float64))
    exact = event_sum(GREY * OUT[:1] - np.logaddexp(0, OUT[:1].astype(np.float64)) + normaliser)
    np.testing.assert_allclose(
        ContinuousBernoulliLogits().log_prob(GREY, OUT[:1]), exact, rtol=1e-5, atol=1e-5
    )


def test_bernoulli_on_grey_is_at_least_log_2_per_pixel_below_the_density():
    difference = ContinuousBernoulliLogits().log_prob(GREY, OUT) - BernoulliLogits().log_prob(GREY, OUT)
    assert (np.asarray(difference) >= GREY[0].size * math.log(2) - 1e-5).all()
    at_zero = ContinuousBernoulliLogits().log_prob(GREY, 0 * OUT) - BernoulliLogits().log_prob(GREY, 0 * OUT)
    np.testing.assert_allclose(at_zero, GREY[0].size * math.log(2), rtol=1e-6)


@pytest.mark.parametrize("logit", LOGITS)
def test_gradients_are_finite_and_right_for_the_continuous_bernoulli(logit):
    """∂ log p / ∂l = x − E[x], as for every exponential family."""
    x = jnp.full((1, 1), 0.3, jnp.float32)
    gradient = jax.grad(lambda out: ContinuousBernoulliLogits().log_prob(x, out.reshape(1, 1, 1))[0, 0])
    mean = oracles.continuous_bernoulli_moment(float(np.float32(logit)), 1)
    assert float(gradient(jnp.float32(logit))) == pytest.approx(0.3 - mean, rel=3e-6, abs=1e-6)


@pytest.mark.parametrize("name", sorted(LIKELIHOODS))
@pytest.mark.parametrize("size", [0.0, 1.0, 50.0, 1e4])
def test_values_and_gradients_are_finite_at_extreme_outputs(name, size):
    likelihood = LIKELIHOODS[name]()
    x = {"binary": BINARY, "one-hot": np.eye(2, dtype=np.float32)[[[0, 1, 0, 1]] * BATCH]}.get(
        likelihood.support, GREY
    )
    sign = np.where(RNG.uniform(size=OUT.shape) < 0.5, -1, 1).astype(np.float32)
    value, gradient = jax.value_and_grad(lambda out: likelihood.log_prob(x, out).sum())(sign * size)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_softplus_and_its_gradient_at_zero_and_far_out():
    logits = np.array([-80.0, -30.0, -1.0, 0.0, 2.0, 88.0, 200.0], np.float32)
    np.testing.assert_allclose(softplus(logits), np.logaddexp(0, logits.astype(float)), rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(softplus))(logits), special.expit(logits), rtol=1e-6)


def test_a_fixed_gaussian_scale_gets_no_gradient_and_a_learned_one_does():
    def slope(learned):
        value = jax.grad(lambda g: Gaussian.log_prob(g, REAL, OUT).sum(), allow_int=True)
        return float(value(Gaussian(0.5, learned=learned)).log_scale)

    u = (REAL - OUT) / 0.5
    assert slope(False) == 0.0
    assert slope(True) == pytest.approx(float((u**2 - 1).sum()), rel=1e-4)  # ∂/∂log s = u² − 1


@pytest.mark.parametrize("logit", [-50.0, -3.0, 0.0, 5e-4, 1.0, 30.0])
def test_continuous_bernoulli_samples_have_its_moments(logit):
    out = jnp.full((40_000,), logit, jnp.float32)
    x = np.asarray(ContinuousBernoulliLogits().sample(jax.random.key(1), out))
    assert x.min() >= 0
    assert x.max() <= 1
    assert_mean(x, oracles.continuous_bernoulli_moment(logit, 1), detects=0.02)
    assert_mean(x**2, oracles.continuous_bernoulli_moment(logit, 2), detects=0.02)


@pytest.mark.parametrize(
    ("likelihood", "variance"),
    [
        (BernoulliLogits(), lambda out: special.expit(out) * special.expit(-out)),
        (Gaussian(0.7), lambda out: 0.49 + 0 * out),
        (Laplace(0.7), lambda out: 2 * 0.49 + 0 * out),
    ],
)
def test_samples_have_mean_and_variance(likelihood, variance):
    out = np.array([-1.0, 0.0, 2.0], np.float32)
    x = np.asarray(likelihood.sample(jax.random.key(2), jnp.broadcast_to(out, (40_000, 3))))
    mean = np.asarray(likelihood.mean(out))
    assert_mean(x, mean, detects=0.06)
    assert_mean((x - mean) ** 2, variance(out), detects=0.12)


def test_categorical_samples_are_one_hot_with_its_probabilities():
    out = np.array([0.0, 1.0, -1.0], np.float32)
    x = np.asarray(CategoricalLogits().sample(jax.random.key(3), jnp.broadcast_to(out, (20_000, 3))))
    assert (x.sum(-1) == 1).all()
    assert_mean(x, special.softmax(out), detects=0.04)


@pytest.mark.parametrize("name", ["bernoulli_logits", "bernoulli_probs"])
def test_grey_pixels_under_a_bernoulli_are_refused_with_the_size_of_the_error(name):
    with pytest.raises(
        SupportError, match=r"not a density.*8 · log 2 = 5\.5 nats.*continuous_bernoulli_logits"
    ):
        LIKELIHOODS[name]().check_support(GREY)
    LIKELIHOODS[name]().check_support(BINARY)


def test_support_of_the_others():
    ContinuousBernoulliLogits().check_support(GREY)
    Gaussian().check_support(REAL)
    with pytest.raises(SupportError, match="divide pixels"):
        ContinuousBernoulliLogits().check_support(255 * GREY)
    with pytest.raises(SupportError, match="rescale"):
        BernoulliLogits().check_support(REAL)
    bad = REAL.copy()
    bad[0, 0, 0] = np.nan
    with pytest.raises(NonFiniteError, match="1 of 40"):
        Gaussian().check_support(bad)
    CategoricalLogits().check_support(np.eye(3)[[0, 1]])
    with pytest.raises(SupportError, match="exactly one 1"):
        CategoricalLogits().check_support(np.ones((2, 3)))
