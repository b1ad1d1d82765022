"""check_model: every way to break the contract has a named error that says which function broke it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaeaudit.core.errors import (
    ArgumentError,
    DtypeError,
    NonFiniteError,
    ScaleError,
    ShapeError,
    SupportError,
)
from vaeaudit.models.build import mlp_vae
from vaeaudit.models.checks import check_model
from vaeaudit.models.likelihoods import BernoulliProbs
from vaeaudit.models.linear_gaussian import LinearGaussianVAE
from vaeaudit.models.vae import vae

X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)


def good_encode(x):
    return x[:, :2], jnp.exp(0.1 * x[:, 1:])


def good_log_likelihood(x, z):
    return -0.5 * jnp.sum((x[:, :2] - z) ** 2, axis=-1)


def model(encode=good_encode, log_likelihood=good_log_likelihood, latent_dim=2, log_prior=None):
    return vae(encode=encode, log_likelihood=log_likelihood, latent_dim=latent_dim, log_prior=log_prior)


def test_good_models_pass_and_return_the_first_eight_posteriors():
    loc, scale = check_model(model(), X)
    np.testing.assert_allclose(loc, X[:8, :2])
    np.testing.assert_allclose(scale, np.exp(0.1 * X[:8, 1:]), rtol=1e-6)
    assert check_model(model(), X[:1])[0].shape == (1, 2)
    check_model(LinearGaussianVAE.random(0, data_dim=3, latent_dim=2), X)
    binary = (np.random.default_rng(0).uniform(size=(9, 8, 8)) < 0.5).astype(np.float32)
    assert check_model(mlp_vae(0, event_shape=(8, 8), latent_dim=3), binary)[0].shape == (8, 3)


BROKEN_ENCODERS = {
    "no pair": (lambda x: x, ShapeError, r"pair \(loc, scale\)"),
    "three": (lambda x: (x, x, x), ShapeError, r"pair \(loc, scale\)"),
    "latent_dim": (lambda x: (x, jnp.ones_like(x)), ShapeError, r"\(batch, 2\) as `latent_dim` says"),
    "shapes differ": (lambda x: (x[:, :2], jnp.ones(2)), ShapeError, "`scale` needs 2 axes"),
    "one scale for all": (lambda x: (x[:, :2], jnp.ones((1, 2))), ShapeError, "broadcast by the encoder"),
    "rows": (lambda x: (x[:1, :2], x[:1, 1:] ** 2), ShapeError, "one row per datum, 8"),
    "log scale": (lambda x: (x[:, :2], 0.1 * x[:, 1:]), ScaleError, "loc_log_scale"),
    "nan": (lambda x: (jnp.log(x[:, :2]), jnp.ones((len(x), 2))), NonFiniteError, "`loc` must be finite"),
    "half": (lambda x: (x[:, :2].astype(jnp.float16), jnp.ones((len(x), 2))), DtypeError, "encode's loc"),
    "integers": (lambda x: (x[:, :2], jnp.ones((len(x), 2), int)), DtypeError, "encode's scale"),
    "numpy": (lambda x: (np.asarray(x)[:, :2], np.ones((len(x), 2))), ArgumentError, "written in JAX"),
    "branch": (lambda x: good_encode(x if x.sum() > 0 else -x), ArgumentError, "written in JAX"),
    "wrong axes": (lambda x: (x @ x, x), ShapeError, r"`encode` failed on x of shape \(8, 3\)"),
    "batch statistics": (lambda x: (x[:, :2] - x[:, :2].mean(0), x[:, :2] ** 2), ShapeError, "by itself"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN_ENCODERS)
def test_broken_encoders(name):
    encode, error, message = BROKEN_ENCODERS[name]
    with pytest.raises(error, match=message):
        check_model(model(encode=encode), X)


def test_an_encoder_that_draws_is_refused():
    def dropout(x):
        noise = jax.pure_callback(
            lambda: np.random.normal(size=(len(x), 2)).astype(np.float32),  # noqa: NPY002
            jax.ShapeDtypeStruct((len(x), 2), jnp.float32),
        )
        return x[:, :2] + noise, jnp.ones((len(x), 2))

    with pytest.raises(ArgumentError, match="dropout off"):
        check_model(model(encode=dropout), X)


BROKEN_LIKELIHOODS = {
    "scalar": (lambda x, z: jnp.sum(z), ShapeError, r"`log_likelihood` must .* \(3, 8\).*averaged or summed"),
    "not summed": (lambda x, z: x[:, :2] - z, ShapeError, "summed over the event"),
    "transposed": (lambda x, z: good_log_likelihood(x, z).T, ShapeError, r"got \(8, 3\)"),
    "infinite": (lambda x, z: jnp.log(0 * z[..., 0]), NonFiniteError, "from logits"),
    "mixed axes": (lambda x, z: z.reshape(8, 3, 2).sum(-1).T, ShapeError, "every sample by itself"),
    "raises": (lambda x, z: x @ z, ShapeError, r"`log_likelihood` failed on x .* and z of shape \(3, 8, 2\)"),
    "half": (lambda x, z: good_log_likelihood(x, z).astype(jnp.bfloat16), DtypeError, "log_likelihood"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN_LIKELIHOODS)
def test_broken_likelihoods(name):
    log_likelihood, error, message = BROKEN_LIKELIHOODS[name]
    with pytest.raises(error, match=message):
        check_model(model(log_likelihood=log_likelihood), X)


def test_a_broken_prior_is_named():
    with pytest.raises(ShapeError, match="`log_prior` must return nats"):
        check_model(model(log_prior=lambda z: -0.5 * z**2), X)


def test_data_are_checked_first():
    with pytest.raises(ShapeError, match=r"x\[None\]"):
        check_model(model(), X[0])
    with pytest.raises(NonFiniteError, match="`x` must be finite"):
        check_model(model(), np.where(X > 1, np.nan, X))
    grey = np.random.default_rng(0).uniform(size=(20, 8, 8))
    bernoulli = mlp_vae(0, event_shape=(8, 8), latent_dim=2)
    with pytest.raises(SupportError, match=r"64 · log 2 = 44\.4 nats"):
        check_model(bernoulli, grey)
    assert check_model(bernoulli, grey, check_support=False)[0].shape == (8, 2)


def test_a_decoder_that_returns_logits_for_probabilities_is_refused():
    binary = (np.random.default_rng(0).uniform(size=(9, 4)) < 0.5).astype(np.float32)
    logits = mlp_vae(0, event_shape=(4,), latent_dim=2, likelihood="bernoulli_probs")
    with pytest.raises(SupportError, match="If they are logits, use likelihood 'bernoulli_logits'"):
        check_model(logits, binary)
    BernoulliProbs().check_output(np.float32([0.0, 0.5, 1.0]))


def test_support_is_checked_beyond_the_data_that_are_run():
    x = np.zeros((20, 8, 8), np.float32)
    x[19, 0, 0] = 0.5
    with pytest.raises(SupportError, match="not a density"):
        check_model(mlp_vae(0, event_shape=(8, 8), latent_dim=2), x)
