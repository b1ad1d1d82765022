"""What objectives claim, held against exact log p(x) on linear-Gaussian models."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from vaeaudit import objectives as o
from vaeaudit.models.vae import AbstractVAE

D, J, S2 = 5, 2, 0.49  # pixels, latents, noise variance


class Linear(AbstractVAE):
    """x|z ~ N(W z, s² I); q(z|x) = N(A x, σ²) with σ free per latent."""

    weight: jax.Array
    enc: jax.Array
    scale: jax.Array
    latent_dim: int = eqx.field(static=True)

    def encode(self, x):
        loc = x @ self.enc.T
        return loc, jnp.broadcast_to(self.scale, loc.shape)

    def log_likelihood(self, x, z):
        u = (x - z @ self.weight.T) ** 2 / S2
        return -0.5 * jnp.sum(u + jnp.log(2 * jnp.pi * S2), -1)

    def head_weight_sq(self):
        return jnp.sum(self.enc**2)

    def decoder_weight_sq(self):
        return jnp.sum(self.weight**2)


def make(kind, seed=0):
    """An exact posterior needs WᵀW diagonal, so that it factorises: orthogonal columns of two lengths."""
    rng = np.random.default_rng(seed)
    w = np.linalg.qr(rng.normal(size=(D, J)))[0] * np.array([1.5, 0.6])
    precision = 1 + (w**2).sum(0) / S2
    enc, scale = (w / S2).T / precision[:, None], precision**-0.5
    if kind == "poor":
        enc, scale = enc * 0.7 + 0.2 * rng.normal(size=enc.shape), scale * np.array([0.4, 1.8])
    if kind == "narrow":
        enc, scale = enc * 0.9, scale * 0.7
    w32, enc32, scale32 = (jnp.asarray(a, jnp.float32) for a in (w, enc, scale))
    model = Linear(weight=w32, enc=enc32, scale=scale32, latent_dim=J)
    x = rng.multivariate_normal(np.zeros(D), w @ w.T + S2 * np.eye(D), size=80).astype(np.float32)
    log_p = multivariate_normal(np.zeros(D), w @ w.T + S2 * np.eye(D)).logpdf(x.astype(np.float64))
    return model, x, log_p


BOUNDS = [
    "elbo",
    "learned_scale",
    "beta(1)",
    "beta(4)",
    "annealed_beta(warmup=0)",
    "free_bits(0.5)",
    "capacity(0, 1)",
    "iwae(1)",
    "iwae(5)",
    "elbo + head_l2(0.01)",
    "iwae(5) + head_l2(0.1)",
    "total_correlation(1)",
]
# objective → settings for which it must exceed log p(x) somewhere, by more than the error
EXCEEDING = {
    "beta(0.1)": "exact",
    "beta(-1)": "exact",
    "capacity(3, 1)": "exact",
    "wasserstein_penalty": "narrow",
    "half_quadratic": "narrow",
    "moment_penalty(0.1)": "exact",
    "head_l2(0.01)": "exact",
    "total_correlation(6)": "exact",
    "autoencoder": "exact",
    "regularized_autoencoder(0.001, 0.1)": "exact",
    "mmd(1)": "exact",
    "beta(0.5) + head_l2(0.001)": "exact",
}


@pytest.mark.parametrize("kind", ["exact", "poor", "narrow"])
@pytest.mark.parametrize("name", BOUNDS)
def test_declared_bounds_hold(name, kind):
    assert o.parse(name).is_lower_bound
    model, x, log_p = make(kind)
    result = o.score(model, name, x, num_samples=400)
    assert result.se.max() < 0.5
    assert np.all(result.value - log_p < 4.5 * result.se + 1e-4)
    # the mean is sharper: an excess of 0.05 nat would show
    assert np.mean(result.value - log_p) < 0.05


@pytest.mark.parametrize("name", EXCEEDING)
def test_the_others_exceed_log_evidence_somewhere(name):
    assert not o.parse(name).is_lower_bound
    model, x, log_p = make(EXCEEDING[name])
    result = o.score(model, name, x, num_samples=200)
    assert np.max(result.value - log_p - 5 * result.se) > 0.01


def test_annealing_exceeds_log_evidence_during_its_warm_up():
    assert not o.annealed_beta().is_lower_bound
    model, x, log_p = make("exact")
    terms = o.compute_terms(model, x, jax.random.key(0), num_samples=500, progress=0.0)
    assert np.max(np.asarray(o.annealed_beta()(terms)) - log_p) > 0.1


def test_elbo_is_tight_at_the_exact_posterior():
    model, x, log_p = make("exact")
    result = o.score(model, "elbo", x, num_samples=400)
    assert result.se.max() < 0.15
    assert np.all(np.abs(result.value - log_p) < 4.5 * result.se)


def test_importance_weights_are_constant_at_the_exact_posterior():
    """Zero variance: any wrong sign, constant or K would show at once."""
    model, x, log_p = make("exact")
    result = o.score(model, "iwae(7)", x, num_samples=4)
    np.testing.assert_allclose(result.value, log_p, atol=2e-4)
    assert result.se.max() < 1e-4


def test_bound_tightens_with_samples():
    model, x, log_p = make("poor")
    gaps = [
        np.mean(log_p - o.score(model, name, x, num_samples=300).value)
        for name in ("iwae(1)", "iwae(5)", "iwae(50)")
    ]
    assert gaps[0] > gaps[1] + 0.1 > gaps[2] + 0.2 > 0.1


def test_iwae_of_one_has_the_mean_of_the_elbo():
    model, x, _ = make("poor")
    a, b = (o.score(model, name, x, num_samples=2000) for name in ("iwae(1)", "elbo"))
    se = np.hypot(a.se, b.se)
    assert se.max() < 0.3
    assert np.all(np.abs(a.value - b.value) < 4.5 * se)


def test_declared_regularisers():
    expected = {
        "elbo": "kl", "wasserstein_penalty": "wasserstein", "half_quadratic": "half_quadratic",
        "moment_penalty": "moment", "head_l2(1)": "l2", "elbo + head_l2(1)": "kl", "autoencoder": "none",
        "mmd(1)": "mmd", "total_correlation(2)": "total_correlation", "regularized_autoencoder": "l2",
    }  # fmt: skip
    assert {name: o.parse(name).regulariser for name in expected} == expected
