"""Terms from a model, and scores with their Monte-Carlo error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import vaeaudit as va
from vaeaudit import objectives as o
from vaeaudit.core.errors import ArgumentError, NonFiniteError


@pytest.fixture(scope="module")
def model():
    return va.mlp_vae(
        3, event_shape=(4,), latent_dim=2, hidden=(5,), likelihood="gaussian", likelihood_scale=0.7
    )


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def test_terms_against_scipy(model, x):
    terms = o.compute_terms(model, x, jax.random.key(0), num_samples=3)
    loc, scale = model.encode(x)
    np.testing.assert_allclose(terms.log_q, norm.logpdf(terms.z, loc, scale).sum(-1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(terms.log_prior, norm.logpdf(terms.z).sum(-1), rtol=1e-5)
    mean = np.asarray(model.decode(terms.z))
    np.testing.assert_allclose(terms.log_likelihood, norm.logpdf(x, mean, 0.7).sum(-1), rtol=1e-4)
    weights = [model.encoder.loc_head.weight, model.encoder.log_scale_head.weight]
    assert float(terms.head_weight_sq) == pytest.approx(
        sum(float((np.asarray(w) ** 2).sum()) for w in weights)
    )
    matrices = [w for w in jax.tree.leaves(model.decoder) if w.ndim == 2]
    assert len(matrices) == 2
    assert float(terms.decoder_weight_sq) == pytest.approx(
        sum(float((np.asarray(w) ** 2).sum()) for w in matrices), rel=1e-5
    )
    assert float(terms.num_data) == 6
    assert float(terms.progress) == 1


def test_noise_differs_by_datum_and_sample_and_is_standard_normal(model):
    x = np.zeros((500, 4), np.float32)
    terms = o.compute_terms(model, x, jax.random.key(1), num_samples=4)
    noise = np.asarray((terms.z - terms.loc) / terms.scale)
    assert len(np.unique(noise.round(5))) > 0.98 * noise.size
    n = noise.size
    assert abs(noise.mean()) < 4 / np.sqrt(n)
    assert abs(noise.var() - 1) < 4 * np.sqrt(2 / n)


def test_deterministic_terms_sit_at_loc_whether_static_or_traced(model, x):
    key = jax.random.key(0)
    static = o.compute_terms(model, x, key, deterministic=True)
    traced = jax.jit(lambda flag: o.compute_terms(model, x, key, deterministic=flag))(jnp.asarray(True))
    for terms in (static, traced):
        np.testing.assert_allclose(terms.z[0], terms.loc, rtol=1e-6)


def test_prior_draws_are_a_stream_of_their_own(model, x):
    with_draws = o.compute_terms(model, x, jax.random.key(0))
    without = o.compute_terms(model, x, jax.random.key(0), with_prior_draws=False)
    np.testing.assert_array_equal(with_draws.z, without.z)
    assert not np.any(np.asarray(without.prior_z))
    assert not np.allclose(with_draws.prior_z, (with_draws.z[0] - with_draws.loc) / with_draws.scale)


def test_another_prior_is_refused(x):
    model = va.vae(
        encode=lambda x: (x[:, :2], jnp.ones((x.shape[0], 2))),
        log_likelihood=lambda x, z: jnp.zeros(z.shape[:2]),
        log_prior=lambda z: -jnp.sum(jnp.abs(z), -1),
        latent_dim=2,
    )
    with pytest.raises(ArgumentError, match="N\\(0, I\\)"):
        o.compute_terms(model, x, jax.random.key(0))


def test_score_is_the_same_for_any_name_and_repeats(model, x):
    a = o.score(model, o.beta(0.5), x, rng_key=3)
    b = o.score(model, "beta(0.5)", x, rng_key=3)
    np.testing.assert_array_equal(a.value, b.value)
    assert a.value.dtype == np.float64
    assert a.num_samples == 16
    assert not np.array_equal(a.value, o.score(model, "beta(0.5)", x, rng_key=4).value)


def test_se_covers(model, x):
    """z-scores of 60 small scores against a long one have unit variance (χ², 4 se); √R mutants fail."""
    truth = o.score(model, "elbo", x[:1], rng_key=99, num_samples=40_000)
    scores = [o.score(model, "elbo", x[:1], rng_key=k, num_samples=64) for k in range(60)]
    z = np.array([(s.value[0] - truth.value[0]) / s.se[0] for s in scores])
    assert abs(np.mean(z**2) - 1) < 4 * np.sqrt(2 / 60)


def test_se_of_two_replicates_is_not_too_small(model, x):
    """400 copies of one datum: mean se² is Var/2 within 4 of its errors (28 %); 1/R for 1/(R−1) halves it."""
    copies = np.repeat(x[:1], 400, axis=0)
    two = o.score(model, "elbo", copies, num_samples=2)
    many = o.score(model, "elbo", x[:1], rng_key=1, num_samples=4000)
    variance = many.se[0] ** 2 * 4000
    assert np.mean(two.se**2) == pytest.approx(variance / 2, rel=4 * np.sqrt(2 / 400))


def test_deterministic_objectives_have_no_error(model, x):
    result = o.score(model, "autoencoder", x)
    loc, _ = model.encode(x)
    expected = norm.logpdf(x, np.asarray(model.decode(loc[None]))[0], 0.7).sum(-1)
    np.testing.assert_allclose(result.value, expected, rtol=1e-4)
    assert not result.se.any()


def test_batches_do_not_matter_to_uncoupled_objectives_in_expectation(model, x):
    a = o.score(model, "elbo", x, num_samples=2000, batch_size=6)
    b = o.score(model, "elbo", x, num_samples=2000, batch_size=4)
    se = np.hypot(a.se, b.se)
    assert se.max() < 0.5
    assert np.all(np.abs(a.value - b.value) < 4.5 * se)


def test_missing_heads_are_named(x):
    model = va.vae(
        encode=lambda x: (x[:, :2], jnp.ones((x.shape[0], 2))),
        log_likelihood=lambda x, z: jnp.zeros(z.shape[:2]),
        latent_dim=2,
    )
    with pytest.raises(NonFiniteError, match="loc_head"):
        o.score(model, "head_l2(1)", x)


def test_mean_is_an_estimate(model, x):
    mean = o.score(model, "elbo", x).mean
    assert mean.num_data == 6
    assert mean.lower < mean.value < mean.upper
