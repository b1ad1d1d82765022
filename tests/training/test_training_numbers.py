"""Training against hand-written Adam, and against optima known in closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaeaudit as va
from vaeaudit.models.vae import AbstractVAE
from vaeaudit.training.streams import batch_rows, epoch_order, noise_key, seed_words


class Linear(AbstractVAE):
    """x|z ~ N(W z, I), loc = A x, log σ free; all three trained."""

    weight: jax.Array
    enc: jax.Array
    log_scale: jax.Array
    latent_dim: int = eqx.field(static=True)

    def encode(self, x):
        loc = x @ self.enc.T
        return loc, jnp.broadcast_to(jnp.exp(self.log_scale), loc.shape)

    def log_likelihood(self, x, z):
        return -0.5 * jnp.sum((x - z @ self.weight.T) ** 2 + jnp.log(2 * jnp.pi), -1)


class Scalar(AbstractVAE):
    """x|z ~ N(w z, s²) with w, s fixed; loc = slope·x, σ constant: the encoder alone is trained."""

    slope: jax.Array
    log_scale: jax.Array
    w: float = eqx.field(static=True)
    s: float = eqx.field(static=True)
    latent_dim: int = eqx.field(static=True)

    def encode(self, x):
        return self.slope * x, jnp.broadcast_to(jnp.exp(self.log_scale), x.shape)

    def log_likelihood(self, x, z):
        u = (x - self.w * z) / self.s
        return jnp.sum(-0.5 * u**2 - jnp.log(self.s) - 0.5 * jnp.log(2 * jnp.pi), -1)


def test_steps_equal_adam_written_by_hand():
    """Two epochs of three batches of a linear autoencoder: gradient and Adam in float64 numpy."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(14, 4)).astype(np.float32)  # 3 batches of 4, two data left out per epoch
    w, a = rng.normal(size=(4, 2)), rng.normal(size=(2, 4))
    model = Linear(
        weight=jnp.asarray(w, jnp.float32),
        enc=jnp.asarray(a, jnp.float32),
        log_scale=jnp.zeros(2),
        latent_dim=2,
    )
    rate = lambda epoch, epochs: 1.0 if epoch == 0 else 0.25  # noqa: E731
    got = va.fit(
        model, "autoencoder", x, rng_key=5, epochs=2, batch_size=4, learning_rate=0.01, schedule=rate
    )

    params = [w.copy(), a.copy()]
    m, v, count, values = [0, 0], [0, 0], 0, []
    for epoch in range(2):
        order = epoch_order(seed_words(5), epoch, 14)[:12].reshape(3, 4)
        for rows in order:
            batch = x[rows].astype(np.float64)
            w_, a_ = params
            z = batch @ a_.T
            r = batch - z @ w_.T
            values.append(np.mean(-0.5 * (r**2).sum(1) - 2 * np.log(2 * np.pi)))
            ascent = [r.T @ z / 4, (r @ w_).T @ batch / 4]
            count += 1
            for i, g in enumerate(ascent):
                m[i] = 0.9 * m[i] + 0.1 * g
                v[i] = 0.999 * v[i] + 0.001 * g**2
                step = (m[i] / (1 - 0.9**count)) / (np.sqrt(v[i] / (1 - 0.999**count)) + 1e-8)
                params[i] = params[i] + 0.01 * (1.0 if epoch == 0 else 0.25) * step
    np.testing.assert_allclose(got.model.weight, params[0], rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(got.model.enc, params[1], rtol=2e-4, atol=2e-5)
    np.testing.assert_array_equal(got.model.log_scale, np.zeros(2))  # no gradient reaches it
    np.testing.assert_allclose(
        got.history["objective_value"], [np.mean(values[:3]), np.mean(values[3:])], rtol=1e-4
    )
    assert got.history[["elbo", "rate"]].isna().all(axis=None)


W, S = 1.3, 0.8
A = W**2 / S**2
OPTIMA = {  # σ and slope at the optimum of the scalar model (data variance 1 does not enter)
    "elbo": ((1 + A) ** -0.5, W / (W**2 + S**2)),
    "beta(0.5)": ((1 + A / 0.5) ** -0.5, W / (W**2 + 0.5 * S**2)),
    "wasserstein_penalty": (1 / (1 + A / 2), W / (W**2 + 2 * S**2)),
    "half_quadratic": (1 / (1 + A / 2), W / (W**2 + S**2)),
    "iwae(3)": ((1 + A) ** -0.5, W / (W**2 + S**2)),  # tight at the exact posterior
}


def test_training_finds_the_closed_form_optimum():
    """Each σ and slope within 2 % (iwae, flatter there, 5 %); ELBO and penalty differ by 20 %."""
    x = np.random.default_rng(1).normal(0, np.hypot(W, S), size=(512, 1)).astype(np.float32)

    def build(rng_key):
        return Scalar(slope=jnp.zeros(()), log_scale=jnp.zeros(()), w=W, s=S, latent_dim=1)

    result = va.sweep(
        build,
        [*OPTIMA, "beta(-1)"],
        x,
        seeds=[0],
        epochs=150,
        batch_size=64,
        learning_rate=0.02,
        schedule="cosine",
    )
    for model, name in zip(result.models, OPTIMA, strict=False):
        scale, slope = OPTIMA[name]
        assert float(jnp.exp(model.log_scale)) == pytest.approx(scale, rel=0.02), name
        assert float(model.slope) == pytest.approx(slope, rel=0.05 if "iwae" in name else 0.02), name
    flipped = result.history.query("objective == 'beta(-1)'")["rate"].to_numpy()
    assert flipped[20] > 10 * flipped[0] > 0  # the sign turned round: the rate grows


def test_a_learned_scale_ends_at_the_mean_squared_error():
    """At the optimum s² = mean squared residual; the fixed scale stays to the bit."""
    rng = np.random.default_rng(0)
    x = (0.3 * rng.normal(size=(512, 3))).astype(np.float32)

    def build(rng_key):
        return va.mlp_vae(
            rng_key, event_shape=(3,), latent_dim=1, hidden=(), likelihood="gaussian", likelihood_scale=1.0
        )

    learned, fixed = va.sweep(
        build,
        ["learned_scale", "elbo"],
        x,
        seeds=[0],
        epochs=120,
        batch_size=128,
        learning_rate=0.02,
        schedule="cosine",
    ).models
    terms = va.objectives.compute_terms(learned, x, jax.random.key(1), num_samples=64)
    residual = np.mean((x - np.asarray(learned.decode(terms.z))) ** 2)
    assert float(learned.likelihood.scale) ** 2 == pytest.approx(residual, rel=0.03)
    assert learned.likelihood.learned
    assert not fixed.likelihood.learned
    assert float(fixed.likelihood.scale) == 1.0


def test_history_is_the_mean_over_the_epochs_batches_and_the_validation_data():
    """At learning rate → 0 the model stands still: every column has an independent value."""
    data = va.load_data("digits")
    model = va.mlp_vae(0, event_shape=(8, 8), latent_dim=2, hidden=(8,))
    history = va.fit(model, "beta(2)", data, epochs=2, batch_size=1297, learning_rate=1e-12).history
    loc, scale = (np.asarray(a, np.float64) for a in model.encode(data.train))
    rate = np.mean(np.sum(0.5 * (loc**2 + scale**2 - 1) - np.log(scale), 1))
    np.testing.assert_allclose(history["rate"], rate, rtol=1e-5)
    loc, scale = (np.asarray(a, np.float64) for a in model.encode(data.validation))
    rate = np.mean(np.sum(0.5 * (loc**2 + scale**2 - 1) - np.log(scale), 1))
    np.testing.assert_allclose(history["validation_rate"], rate, rtol=1e-5)
    for prefix, split in (("", data.train), ("validation_", data.validation)):
        elbo = va.objectives.score(model, "elbo", split, num_samples=64).mean
        assert elbo.se < 0.6
        assert np.all(np.abs(history[prefix + "elbo"] - elbo.value) < 5 * elbo.se)
        assert np.ptp(history[prefix + "elbo"]) > 0  # new noise each epoch
        np.testing.assert_allclose(
            history[prefix + "elbo"], -(history[prefix + "rate"] + history[prefix + "distortion"]), rtol=1e-5
        )
        np.testing.assert_allclose(
            history[prefix + "objective_value"],
            -(2 * history[prefix + "rate"] + history[prefix + "distortion"]),
            rtol=1e-5,
        )


def test_every_datum_is_seen_once_per_epoch_in_a_new_order():
    rows = batch_rows([seed_words(0), seed_words(1)], range(3, 5), 4, 12, 3, 4)
    assert rows.shape == (2, 4, 3, 4)
    for m in range(2):
        for e in range(2):
            assert sorted(rows[m, e].ravel()) == list(range(12))
    assert not np.array_equal(rows[0, 0], rows[0, 1])
    assert not np.array_equal(rows[0, 0], rows[1, 0])
    np.testing.assert_array_equal(rows[0, 1], batch_rows([seed_words(0)], range(4, 5), 1, 12, 3, 4)[0, 0])


@pytest.mark.parametrize("seed", [0, 1, 2**31 + 3, jax.random.key(9)])
def test_a_noise_stream_is_the_seeds_key_folded_with_one(seed):
    key = seed if isinstance(seed, jax.Array) else jax.random.key(seed)
    np.testing.assert_array_equal(
        noise_key(seed_words(seed)), jax.random.key_data(jax.random.fold_in(key, 1))
    )


def test_dynamic_binarisation_draws_pixels_anew():
    """Grey pixels ½ under a Bernoulli: a constant decoder learns ½, and its value is −log 2 per pixel."""
    x = np.full((256, 4), 0.5, np.float32)
    model = va.mlp_vae(0, event_shape=(4,), latent_dim=1, hidden=())
    fit = va.fit(model, "beta(4)", x, epochs=60, batch_size=128, learning_rate=0.03, binarise="dynamic")
    assert fit.history["distortion"].iloc[-5:].mean() == pytest.approx(4 * np.log(2), abs=0.06)
