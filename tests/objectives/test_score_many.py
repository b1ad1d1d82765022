import numpy as np

import vaeaudit as va


def test_together_or_alone_the_scores_are_the_same():
    model = va.mlp_vae(0, event_shape=(5,), latent_dim=2, hidden=(4,))
    x = np.random.default_rng(0).integers(0, 2, (7, 5)).astype(np.float32)
    names = ["elbo", "beta(0.1)", "wasserstein_penalty", "iwae(3)", "autoencoder", "mmd(10)"]
    together = va.objectives.score_many(model, names, x, num_samples=8)
    for name, score in zip(names, together, strict=True):
        alone = va.objectives.score(model, name, x, num_samples=8)
        np.testing.assert_allclose(score.value, alone.value, rtol=1e-5)
        np.testing.assert_allclose(score.se, alone.se, rtol=1e-3, atol=1e-5)
        assert score.num_samples == alone.num_samples


def test_common_noise_makes_differences_exact():
    # elbo − beta(0.5) = −½·rate whatever the noise: equal noise leaves no Monte-Carlo error in it
    model = va.mlp_vae(1, event_shape=(5,), latent_dim=2, hidden=(4,))
    x = np.random.default_rng(1).integers(0, 2, (6, 5)).astype(np.float32)
    elbo, beta = va.objectives.score_many(model, ["elbo", "beta(0.5)"], x, num_samples=2)
    loc, scale = (np.asarray(a, np.float64) for a in model.encode(x))
    rate = 0.5 * np.sum(loc**2 + scale**2 - 1 - 2 * np.log(scale), axis=1)
    np.testing.assert_allclose(elbo.value - beta.value, -0.5 * rate, atol=2e-5)
