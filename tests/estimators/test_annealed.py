"""Annealing and brackets against closed forms: unbiasedness, intervals, exactness of transitions, errors."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError, ShapeError, UnknownNameError
from vaeaudit.estimators import annealed, sharding
from vaeaudit.estimators.annealed import ais_log_evidence, choose_schedule, make_path
from vaeaudit.estimators.bracket import posterior_upper_bound
from vaeaudit.estimators.hmc import first_state, start_chains, transition


def gaussian_vae(latent_dim=3, noise_scale=0.5, enc_scale=1.0):
    """x = z W' + noise with orthonormal W: the posterior is N(xW/(1+s²), s²/(1+s²))."""
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(latent_dim + 1, latent_dim)))
    w = jnp.asarray(basis, jnp.float32)
    variance = noise_scale**2
    sd = math.sqrt(variance / (1 + variance))

    def log_likelihood(x, z):
        u = (x - z @ w.T) / noise_scale
        return jnp.sum(-0.5 * u * u - math.log(noise_scale) - 0.5 * math.log(2 * math.pi), axis=-1)

    model = va.vae(
        encode=lambda x: ((x @ w) / (1 + variance), jnp.full((x.shape[0], latent_dim), sd * enc_scale)),
        log_likelihood=log_likelihood,
        latent_dim=latent_dim,
    )
    marginal = multivariate_normal(
        np.zeros(latent_dim + 1), basis @ basis.T + variance * np.eye(latent_dim + 1)
    )

    def posterior(x, num, rng):
        return (x @ basis) / (1 + variance) + sd * rng.normal(size=(num, len(x), latent_dim))

    return model, marginal, posterior


@pytest.mark.parametrize("start", ["laplace", "encoder", "prior"])
def test_the_estimate_is_unbiased(start):
    """600 data × 8 chains: the mean of p̂/p has a standard error below 2 %."""
    model, marginal, _ = gaussian_vae(enc_scale=1.2)
    x = np.repeat(marginal.rvs(1, random_state=1)[None].astype(np.float32), 600, axis=0)
    found = ais_log_evidence(
        model, x, 2, num_chains=8, num_temperatures=40, num_leapfrog=3, start=start, batch_size=600
    )
    ratio = np.exp(found.value - marginal.logpdf(x[0]))
    error = ratio.std(ddof=1) / math.sqrt(600)
    assert error < 0.02
    assert abs(ratio.mean() - 1) < 5 * error


def test_the_interval_holds_and_narrows_with_more_temperatures():
    model, marginal, _ = gaussian_vae(enc_scale=0.8)
    x = marginal.rvs(300, random_state=2).astype(np.float32)
    truth = marginal.logpdf(x)
    widths = []
    for number in (40, 160):
        found = ais_log_evidence(model, x, 0, num_temperatures=number, num_leapfrog=3, batch_size=300)
        inside = ((found.lower < truth) & (truth < found.upper))[found.reliable]
        assert found.reliable.mean() > 0.95
        assert abs(inside.mean() - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 300)
        widths.append(np.median(found.se))
    assert widths[1] < 0.7 * widths[0]


def test_a_transition_leaves_its_target_invariant():
    """4000 exact draws at β = 0.5, moved three times: mean, variance and acceptance; errors below 2.5 %."""
    model, _, _ = gaussian_vae(latent_dim=2, enc_scale=1.0)
    x = jnp.asarray([[0.3, -0.2, 0.5]])
    loc, scale = model.encode(x)
    path = make_path(model, x, np.asarray(loc), np.asarray(scale), "prior")
    beta, precision = 0.5, 1 / float(scale[0, 0]) ** 2
    blend = (1 - beta) + beta * precision  # precision of f_β
    mean = beta * precision * np.asarray(loc[0]) / blend
    z = mean + np.random.default_rng(0).normal(size=(4000, 1, 2)) / math.sqrt(blend)
    state = first_state(path, path.whiten(jnp.asarray(z, jnp.float32)))
    accepted = []
    for i in range(3):
        state, probability = transition(
            path, state, jax.random.key(i), jnp.array([beta]), jnp.array([0.4]), 4
        )
        accepted.append(float(probability.mean()))
    white = (np.asarray(path.latents(state.u))[:, 0] - mean) * math.sqrt(blend)
    assert np.max(np.abs(white.mean(axis=0))) < 4.5 / math.sqrt(4000)
    np.testing.assert_allclose(white.var(axis=0), 1.0, atol=4.5 * math.sqrt(2 / 4000))
    assert 0.5 < np.mean(accepted) < 1.0


def test_the_gradient_kept_in_the_state_is_the_gradient_there():
    model, _, _ = gaussian_vae(latent_dim=2)
    x = jnp.asarray([[0.3, -0.2, 0.5], [1.0, 0.0, 0.2]])
    path = make_path(model, x, *(np.asarray(a) for a in model.encode(x)), "encoder")
    state = start_chains(path, jax.random.key(0), 5)
    moved, _ = transition(path, state, jax.random.key(1), jnp.ones(2), jnp.full(2, 0.3), 3)
    log_joint, gradient = path.value_and_gradient(moved.u)
    np.testing.assert_allclose(moved.log_joint, log_joint, rtol=1e-5)
    np.testing.assert_allclose(moved.gradient, gradient, rtol=1e-4, atol=1e-5)


def test_the_schedule_is_frozen_and_comes_from_the_pilot_key_alone():
    model, marginal, _ = gaussian_vae()
    x = jnp.asarray(marginal.rvs(4, random_state=0), jnp.float32)
    path = make_path(model, x, *(np.asarray(a) for a in model.encode(x)), "encoder")
    first = choose_schedule(path, jax.random.key(0), 30, 3)
    again = choose_schedule(path, jax.random.key(0), 30, 3)
    np.testing.assert_array_equal(first.betas, again.betas)
    np.testing.assert_array_equal(first.steps, again.steps)
    assert np.all(np.diff(first.betas, axis=0) > 0)
    assert np.all(first.betas[0] == 0)
    assert np.all(first.betas[-1] == 1)
    np.testing.assert_array_equal(first.reversed().steps, first.steps[::-1])


def test_the_bracket_holds_the_truth_with_confidence_on_both_ends():
    model = va.LinearGaussianVAE.random(0, data_dim=12, latent_dim=10).mismatched(0.9, 0.2)
    found = va.evidence_bracket(model, 0, 80, num_temperatures=150, num_chains=12)
    truth = model.exact_log_evidence(found.x)
    low, high = found.interval
    assert low < truth.mean() < high
    assert found.lower.lower < found.lower.value
    assert found.upper.upper > found.upper.value
    assert abs(found.gap) < 0.1
    frame = found.per_datum
    assert np.mean((frame["lower"] <= truth) & (truth <= frame["upper"])) >= 0.87  # 95 % less 3 se
    assert high - low < 0.2


def test_brackets_take_a_sampler_or_data_with_exact_draws():
    model, marginal, posterior = gaussian_vae(enc_scale=0.9)
    with pytest.raises(ArgumentError, match="sampler"):
        va.evidence_bracket(model, num_data=10)
    x = marginal.rvs(30, random_state=1).astype(np.float32)
    draws = posterior(x, 16, np.random.default_rng(0)).astype(np.float32)
    found = va.evidence_bracket(model, 0, x=x, posterior_draws=draws, num_temperatures=50)
    low, high = found.interval
    assert low < marginal.logpdf(x).mean() < high
    with pytest.raises(ShapeError, match="posterior_draws"):
        va.evidence_bracket(model, 0, x=x, posterior_draws=draws[:, :5])


def test_exact_draws_bound_from_above():
    model, marginal, posterior = gaussian_vae()
    x = marginal.rvs(200, random_state=3).astype(np.float32)
    bound, se = posterior_upper_bound(
        model, x, posterior(x, 400, np.random.default_rng(1)).astype(np.float32)
    )
    excess = bound - marginal.logpdf(x)
    assert np.all(se < 0.1)
    assert abs(excess.mean() - 0.5 * np.mean(se**2)) < 4 * excess.std() / math.sqrt(200)
    assert excess.mean() > -0.005


def test_splitting_the_data_over_devices_changes_no_draw(monkeypatch):
    model, marginal, _ = gaussian_vae()
    x = marginal.rvs(4, random_state=0).astype(np.float32)
    split = ais_log_evidence(model, x, 0, num_temperatures=20)
    monkeypatch.setattr(annealed, "over_devices", lambda tree, axis: tree)
    whole = ais_log_evidence(model, x, 0, num_temperatures=20)
    np.testing.assert_allclose(split.value, whole.value, atol=1e-5)  # other draws would differ by 1e−2
    assert len(sharding.over_devices(jnp.zeros((4, 2)), axis=0).sharding.device_set) == jax.device_count()
    assert len(sharding.over_devices(jnp.zeros((3, 2)), axis=0).sharding.device_set) == 1


def test_bad_arguments_are_named():
    model, marginal, _ = gaussian_vae()
    x = marginal.rvs(2, random_state=0).astype(np.float32)
    with pytest.raises(UnknownNameError, match="laplace"):
        ais_log_evidence(model, x, start="posterior")
    with pytest.raises(ArgumentError, match="num_chains"):
        ais_log_evidence(model, x, num_chains=1)
    few = ais_log_evidence(model, x, num_chains=4, num_temperatures=20)
    assert not few.reliable.any()
    assert "fewer than 8 chains" in few.reason[0]
    assert few.mean.verdict == "lower bound only"
    own_prior = va.vae(
        encode=model.encode_fn,
        log_likelihood=model.log_likelihood_fn,
        log_prior=lambda z: jnp.sum(-0.5 * z * z, -1),
        latent_dim=3,
    )
    with pytest.raises(ArgumentError, match="start='laplace'"):
        ais_log_evidence(own_prior, x, start="prior")
    with pytest.raises(ArgumentError, match="posterior_draws"):
        va.evidence_bracket(own_prior)
