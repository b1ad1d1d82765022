"""The linear-Gaussian VAE's closed forms against scipy, 50-digit KLs, grids and simulation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from statistical import assert_mean

from vaeaudit.core.errors import ArgumentError, ScaleError, ShapeError
from vaeaudit.models.linear_gaussian import LinearGaussianVAE

MODELS = {
    "correlated posterior": LinearGaussianVAE.random(0, data_dim=6, latent_dim=3),
    "more latents than data": LinearGaussianVAE.random(1, data_dim=2, latent_dim=4),
    "mismatched": LinearGaussianVAE.random(2, data_dim=5, latent_dim=2).mismatched(1.6, 0.4),
    "one latent": LinearGaussianVAE.random(3, data_dim=3, latent_dim=1).mismatched(0.3),
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def parts(model):
    return [np.asarray(a, np.float64) for a in (model.weight, model.bias, model.noise_scale)]


def draw(model, n, seed=0):
    return model.generative.sample(np.random.default_rng(seed), n)[1].astype(np.float32)


@every_model
def test_log_evidence_and_posterior(model):
    x = draw(model, 20)
    np.testing.assert_allclose(
        model.exact_log_evidence(x), oracles.linear_gaussian_log_evidence(*parts(model), x), rtol=1e-9
    )
    mean, cov = model.posterior(x)
    mean_oracle, cov_oracle = oracles.linear_gaussian_posterior(*parts(model), x)
    np.testing.assert_allclose(mean, mean_oracle, atol=1e-9)
    np.testing.assert_allclose(cov, cov_oracle, atol=1e-9)


@every_model
def test_elbo_rate_and_gap(model):
    x = draw(model, 8)
    loc, scale = (np.asarray(a, np.float64) for a in model.encode(x))
    elbo = oracles.linear_gaussian_elbo(*parts(model), x, loc, scale)
    np.testing.assert_allclose(model.exact_elbo(x), elbo, rtol=1e-5)
    rate = [
        sum(oracles.kl_to_standard_normal(m, s) for m, s in zip(loc[i], scale[i], strict=True))
        for i in range(2)
    ]
    np.testing.assert_allclose(model.exact_rate(x)[:2], rate, rtol=1e-5)
    # three numbers by three formulas
    np.testing.assert_allclose(
        model.exact_log_evidence(x), model.exact_elbo(x) + model.exact_inference_gap(x), rtol=1e-12
    )


@every_model
def test_float32_methods_agree_with_the_exact_ones_in_expectation(model):
    """Detects 0.3 nats in the mean of E_q log p(x|z) over the batch, a missing ½ log 2π among others."""
    x = jnp.asarray(draw(model, 4))
    loc, scale = model.encode(x)
    z = loc + scale * jax.random.normal(jax.random.key(0), (20_000, *loc.shape))
    assert_mean(model.log_likelihood(x, z), -model.exact_distortion(x), detects=0.5)


def test_one_latent_evidence_on_a_grid():
    model = MODELS["one latent"]
    x = draw(model, 3)
    z, log_volume = oracles.grid(1, num=4001)
    w, b, s = parts(model)
    log_joint = np.stack([
        -0.5 * ((x - (w @ point + b)) ** 2).sum(1) / s**2 - 3 * np.log(s) - 1.5 * np.log(2 * np.pi)
        - 0.5 * point @ point - 0.5 * np.log(2 * np.pi)
        for point in z
    ])  # fmt: skip
    np.testing.assert_allclose(
        model.exact_log_evidence(x), oracles.log_evidence_on_grid(log_joint, log_volume), rtol=1e-8
    )


@every_model
def test_population_identities(model):
    s = np.cov(np.random.default_rng(1).normal(size=(len(model.bias), 40)))
    for p in (model.population(), model.population(np.ones(len(model.bias)), s)):
        assert p.rate == pytest.approx(p.mutual_information + p.marginal_kl, rel=1e-11)
        assert p.marginal_kl == pytest.approx(p.total_correlation + p.dimwise_kl, rel=1e-9)
        assert p.log_evidence == pytest.approx(p.elbo + p.inference_gap, rel=1e-11)


@every_model
def test_population_divergences_against_50_digits(model):
    p = model.population()
    zero, eye = np.zeros(model.latent_dim), np.eye(model.latent_dim)
    assert p.marginal_kl == pytest.approx(oracles.gaussian_kl(p.mean, p.cov, zero, eye), rel=1e-9)
    product = np.diag(np.diag(p.cov))
    assert p.total_correlation == pytest.approx(
        oracles.gaussian_kl(p.mean, p.cov, p.mean, product), rel=1e-8, abs=1e-13
    )
    dimwise = sum(
        oracles.kl_to_standard_normal(m, v**0.5) for m, v in zip(p.mean, np.diag(p.cov), strict=True)
    )
    assert p.dimwise_kl == pytest.approx(dimwise, rel=1e-8, abs=1e-13)


@every_model
def test_population_by_simulation(model):
    """Aggregate moments and averages of the per-datum closed forms; detects errors of 0.3 nats."""
    x = draw(model, 20_000)
    p = model.population()
    loc, scale = (np.asarray(a, np.float64) for a in model.encode(x))
    z = loc + scale * np.random.default_rng(5).standard_normal(loc.shape)
    assert_mean(z, p.mean, detects=0.2)
    u = z - p.mean
    assert_mean(u[:, :, None] * u[:, None, :], p.cov, detects=0.4)
    assert_mean(model.exact_rate(x), p.rate, detects=0.3)
    assert_mean(model.exact_elbo(x), p.elbo, detects=0.7)
    assert_mean(model.exact_log_evidence(x), p.log_evidence, detects=0.3)


def test_population_of_a_finite_sample_is_its_average():
    model = MODELS["mismatched"]
    x = draw(model, 50).astype(np.float64)
    p = model.population(x.mean(0), np.cov(x.T, bias=True))
    assert p.rate == pytest.approx(model.exact_rate(x).mean(), rel=1e-12)
    assert p.elbo == pytest.approx(model.exact_elbo(x).mean(), rel=1e-12)
    assert p.log_evidence == pytest.approx(model.exact_log_evidence(x).mean(), rel=1e-12)
    assert p.inference_gap == pytest.approx(model.exact_inference_gap(x).mean(), rel=1e-12)


def test_mutual_information_of_one_latent_by_mixture_quadrature():
    """150 data stand for the population: the mixture's information is within 3 % of the closed form."""
    model = LinearGaussianVAE.optimal(np.array([[1.0], [0.5]]), noise_scale=0.8)
    loc, scale = (np.asarray(a) for a in model.encode(jnp.asarray(draw(model, 150))))
    mixture = oracles.aggregate_of_mixture(loc, scale)
    assert mixture["rate"] == pytest.approx(mixture["mutual_information"] + mixture["marginal_kl"], rel=1e-6)
    p = model.population(data_cov=np.cov(draw(model, 150).T, bias=True))
    assert mixture["mutual_information"] == pytest.approx(p.mutual_information, rel=0.03)


def test_ppca_is_the_maximum_of_the_likelihood():
    x = draw(MODELS["correlated posterior"], 300)
    cov = np.cov(x.T, bias=True)
    model = LinearGaussianVAE.ppca(cov, 2, data_mean=x.mean(0))
    best = model.exact_log_evidence(x).mean()
    values = np.linalg.eigvalsh(cov)[::-1]
    assert float(model.noise_scale) ** 2 == pytest.approx(values[2:].mean(), rel=1e-6)
    # Tipping & Bishop (1999), eq. 4 at the maximum: −½ {D log 2π + Σ log λ_kept + (D−J) log s² + D}
    exact = -0.5 * (6 * np.log(2 * np.pi) + np.log(values[:2]).sum() + 4 * np.log(values[2:].mean()) + 6)
    assert best == pytest.approx(exact, rel=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(10):
        other = LinearGaussianVAE.optimal(
            np.asarray(model.weight) + 0.05 * rng.normal(size=(6, 2)),
            model.bias,
            float(model.noise_scale) * np.exp(0.05 * rng.normal()),
        )
        assert other.exact_log_evidence(x).mean() < best
    assert model.with_exact_posterior().exact_inference_gap(x).max() < 1e-9


def test_ppca_with_a_given_noise_and_its_refusals():
    cov = np.diag([4.0, 2.0, 1.0])
    model = LinearGaussianVAE.ppca(cov, 3, noise_scale=0.5)
    np.testing.assert_allclose(model.generative.cov, cov, rtol=1e-6)
    with pytest.raises(ArgumentError, match="no best noise scale"):
        LinearGaussianVAE.ppca(cov, 3)
    with pytest.raises(ArgumentError, match="1…3"):
        LinearGaussianVAE.ppca(cov, 4)
    with pytest.raises(ShapeError, match="square"):
        LinearGaussianVAE.ppca(np.ones((2, 3)), 1)
    with pytest.raises(ScaleError, match="unbounded"):
        LinearGaussianVAE.ppca(np.diag([1.0, 0.0, 0.0]), 1)


def test_optimal_encoder_is_a_maximum_and_narrower_than_a_correlated_posterior():
    model = MODELS["correlated posterior"]
    x = draw(model, 30)
    best = model.exact_elbo(x).mean()
    for other in (model.mismatched(1.05), model.mismatched(0.95), model.mismatched(1.0, 0.05)):
        assert other.exact_elbo(x).mean() < best
    sd = np.sqrt(np.diag(model.posterior(x)[1]))
    assert (np.asarray(model.enc_scale) < sd - 1e-4).all()
    with pytest.raises(ArgumentError, match="partial correlations"):
        model.with_exact_posterior()


def test_mismatch_is_measured_in_posterior_standard_deviations():
    model = LinearGaussianVAE.ppca(np.diag([4.0, 2.0, 1.0, 1.0]), 2)
    off = model.mismatched(2.0, 0.5)
    x = draw(model, 5)
    # both latents: ½ (r² − 1 − log r²) + ½ δ² with r = 2, δ = ½
    gap = 2 * (0.5 * (4 - 1 - np.log(4)) + 0.5 * 0.25)
    np.testing.assert_allclose(off.exact_inference_gap(x), gap, rtol=1e-5)
    with pytest.raises(ScaleError, match="scale_factor"):
        model.mismatched(0.0)


def test_is_a_trainable_pytree_that_flattens_pictures():
    model = LinearGaussianVAE.random(0, data_dim=6, latent_dim=3)
    arrays = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    assert len(arrays) == 6
    x = jnp.asarray(draw(model, 4))
    z = jnp.zeros((2, 4, 3))
    picture = x.reshape(4, 2, 3)
    np.testing.assert_array_equal(model.encode(picture)[0], model.encode(x)[0])
    np.testing.assert_array_equal(model.log_likelihood(picture, z), model.log_likelihood(x, z))
    np.testing.assert_array_equal(model.exact_elbo(picture), model.exact_elbo(x))
    gradient = eqx.filter_grad(lambda m: m.log_likelihood(x, z + m.encode(x)[0]).sum())(model)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
    assert float(model.head_weight_sq()) == pytest.approx(float((np.asarray(model.enc_weight) ** 2).sum()))
    assert float(model.decoder_weight_sq()) == pytest.approx(float((np.asarray(model.weight) ** 2).sum()))


def test_shapes_are_checked():
    model = MODELS["one latent"]
    with pytest.raises(ShapeError, match="`enc_scale` must have shape"):
        model.with_encoder(model.enc_weight, model.enc_bias, np.ones(2))
    with pytest.raises(ShapeError, match="3 values per datum"):
        model.exact_elbo(np.ones((4, 5)))
    with pytest.raises(ShapeError, match="`data_mean` and `data_cov`"):
        model.population(np.ones(2), np.eye(3))
    with pytest.raises(ScaleError, match="noise_scale"):
        LinearGaussianVAE.optimal(np.ones((3, 1)), noise_scale=0.0)
