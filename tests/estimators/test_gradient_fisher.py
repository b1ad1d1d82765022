"""∇ log p(x): closed form against finite differences of scipy's density, the others against closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError, UnknownNameError
from vaeaudit.estimators.fisher_identity import jackknife_weights, log_evidence_gradient, norm_radius
from vaeaudit.estimators.parameter_split import split_parameters


def linear(latent=2, seed=3):
    model = va.LinearGaussianVAE.random(seed, data_dim=5, latent_dim=latent, noise_scale=0.4)
    x = np.asarray(model.generative.sample(np.random.default_rng(0), 8)[1] + 0.2, np.float32)
    return model.mismatched(1.3, 0.2), x


def neural():
    model = va.mlp_vae(1, event_shape=(6,), latent_dim=2, hidden=(8,))
    model = jax.tree.map(lambda a: 1.5 * a if isinstance(a, jax.Array) else a, model)  # a stronger decoder
    return model, (np.random.default_rng(0).random((8, 6)) < 0.5).astype(np.float32)


def test_a_coarse_grid_is_refined_before_it_is_refused(monkeypatch):
    """With 13 nodes per axis the first grid misses a hundredth; the refined one is vouched for and right."""
    from vaeaudit.estimators import fisher_identity

    model, x = linear()
    exact = log_evidence_gradient(model, x)
    monkeypatch.setattr(fisher_identity, "GRID_NODES", {2: 13})
    coarse, error = fisher_identity._on_grid(model, x, split_parameters(model), 13)
    assert error > fisher_identity.ALLOWED_ERROR * np.linalg.norm(coarse)
    got = log_evidence_gradient(model, x, method="quadrature")
    assert got.reliable
    assert np.linalg.norm(got.value - exact.value) < got.radius < 0.01 * np.linalg.norm(exact.value)


def scipy_log_evidence(w, b, s, x):
    return stats.multivariate_normal(b, w @ w.T + s**2 * np.eye(len(b))).logpdf(x).mean()


def test_closed_form_against_finite_differences_of_scipy():
    model, x = linear()
    got = log_evidence_gradient(model, x).named
    w, b, s = (np.asarray(a, np.float64) for a in (model.weight, model.bias, model.noise_scale))
    h = 1e-5
    for path, base in ((".weight", w), (".bias", b), (".noise_scale", s)):
        want = np.empty(base.shape)
        for index in np.ndindex(base.shape):
            values = []
            for sign in (1, -1):
                moved = {".weight": w, ".bias": b, ".noise_scale": s}
                shifted = np.array(base, dtype=np.float64)
                shifted[index] += sign * h
                moved[path] = shifted
                values.append(scipy_log_evidence(moved[".weight"], moved[".bias"], moved[".noise_scale"], x))
            want[index] = (values[0] - values[1]) / (2 * h)
        assert np.allclose(got[path], want, rtol=1e-5, atol=1e-6), path


@pytest.mark.parametrize("latent", [1, 2, 3])
def test_quadrature_against_closed_form(latent):
    model, x = linear(latent)
    exact = log_evidence_gradient(model, x)
    grid = log_evidence_gradient(model, x, method="quadrature")
    distance = np.linalg.norm(grid.value - exact.value)
    assert distance < 2e-5 * np.linalg.norm(exact.value)
    assert distance <= grid.radius + exact.radius
    assert (exact.method, grid.method) == ("closed form", "quadrature")


def test_quadrature_of_a_network_against_differences_of_its_own_evidence():
    model, x = neural()
    got = log_evidence_gradient(model, x)
    assert got.method == "quadrature"
    bias = model.decoder.layers[-1].bias
    axis = np.linspace(-9, 9, 401)
    z = jnp.asarray(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 1, 2), jnp.float32)

    def mean_log_evidence(shift):  # a plain global grid, accumulated in float64
        import equinox as eqx

        moved = eqx.tree_at(lambda m: m.decoder.layers[-1].bias, model, bias + jnp.asarray(shift))
        total = np.zeros(len(x))
        for start in range(0, len(z), 40_000):
            part = jnp.broadcast_to(z[start : start + 40_000], (len(z[start : start + 40_000]), len(x), 2))
            total += np.exp(
                np.asarray(moved.log_likelihood(x, part) + moved.log_prior(part), np.float64)
            ).sum(0)
        return np.log(total * (axis[1] - axis[0]) ** 2).mean()

    path = next(p for p in got.named if p.endswith("layers[1].bias"))
    for i in (0, 3):
        step = np.zeros(6, np.float32)
        step[i] = 0.03125
        slope = (mean_log_evidence(step) - mean_log_evidence(-step)) / 0.0625
        assert abs(slope - got.named[path][i]) < 3e-4


def coverage(model, x, replications, **options):
    exact = log_evidence_gradient(model, x)
    inside, components, radius = 0, [], []
    for seed in range(replications):
        got = log_evidence_gradient(model, x, method="iw", rng_key=seed, num_replicates=16, **options)
        inside += np.linalg.norm(got.value - exact.value) <= got.radius + exact.radius
        low, high = got.interval()
        components.append(np.mean((low - 1e-6 <= exact.value) & (exact.value <= high + 1e-6)))
        radius.append(got.radius)
    return inside, np.mean(components), np.mean(radius) / np.linalg.norm(exact.value)


@pytest.mark.parametrize("make", [linear, neural])
def test_importance_gradient_covers_the_exact_one(make):
    """150 replications; a factor 1.1, a missing log r or an uncorrected bias at K = 32 would be seen."""
    model, x = make()
    inside, components, size = coverage(model, x, 150, num_samples=32)
    assert size < 0.1  # the interval is short enough to see an error of a tenth
    assert inside >= stats.binom.ppf(0.001, 150, 0.95)
    assert components > 0.93


@pytest.mark.slow
@pytest.mark.parametrize("make", [linear, neural])
def test_importance_gradient_covers_in_95_of_100_replications(make):
    model, x = make()
    inside, components, size = coverage(model, x, 1000, num_samples=128)
    print(f"{make.__name__}: joint {inside / 10:.1f} %, components {components:.2%}, radius/norm {size:.3f}")
    assert size < 0.05
    assert inside >= stats.binom.ppf(0.005, 1000, 0.95)
    assert components > 0.94


def test_jackknife_weights_remove_the_first_order_bias():
    """Mean of z under p ∝ N(0,1) from draws of N(½, 1.2²): the plain estimate is biased at K = 16."""
    rng = np.random.default_rng(0)
    z = 0.5 + 1.2 * rng.standard_normal((32, 200_000))
    log_w = stats.norm.logpdf(z) - stats.norm.logpdf(z, 0.5, 1.2)
    corrected = np.asarray(jackknife_weights(jnp.asarray(log_w, jnp.float32)), np.float64)
    assert np.allclose(corrected.sum(0), 1.0, atol=1e-4)
    plain = np.exp(log_w) / np.exp(log_w).sum(0)
    bias_plain, bias = ((w * z).sum(0).mean() for w in (plain, corrected))
    se = (corrected * z).sum(0).std() / np.sqrt(z.shape[1])
    assert se < abs(bias_plain) / 10  # small enough to see the plain bias
    assert abs(bias_plain) > 8 * se
    assert abs(bias) < 0.25 * abs(bias_plain)


def test_radius_covers_for_correlated_noise():
    rng = np.random.default_rng(1)
    root = np.diag(np.geomspace(1.0, 0.05, 30)) @ rng.standard_normal((30, 30))
    inside = 0
    for _ in range(600):
        draws = rng.standard_normal((16, 30)) @ root.T
        inside += np.linalg.norm(draws.mean(0)) <= norm_radius(draws)
    assert stats.binom.ppf(0.001, 600, 0.95) <= inside <= stats.binom.ppf(0.999, 600, 0.95) + 12


def test_bad_weights_are_refused():
    model, x = linear()
    narrow = model.mismatched(0.05, 0.0)
    got = log_evidence_gradient(narrow, x, method="iw", proposal="encoder", num_replicates=8)
    assert not got.reliable
    assert got.bad_share > 0.5
    assert log_evidence_gradient(narrow, x, method="iw", num_replicates=8).reliable  # the fit rescues it


def test_split_follows_names_or_the_given_rule():
    split = split_parameters(neural()[0])
    assert all(
        phi == path.startswith(".encoder") for path, phi in zip(split.paths, split.encoder, strict=True)
    )
    other = split_parameters(neural()[0], lambda path: "head" in path)
    assert sum(other.encoder) == 4
    theta, phi = split.vectors(split.leaves)
    assert theta.size + phi.size == sum(leaf.size for leaf in split.leaves)
    named = split.unravel(np.asarray(theta))
    assert np.array_equal(named[".decoder.layers[0].weight"], neural()[0].decoder.layers[0].weight)


def test_errors():
    model, x = neural()
    functions = va.vae(encode=lambda v: (v, v), log_likelihood=lambda v, z: z[..., 0], latent_dim=6)
    with pytest.raises(ArgumentError, match="shows none"):
        log_evidence_gradient(functions, x)
    with pytest.raises(ArgumentError, match="is_encoder"):
        log_evidence_gradient(model, x, is_encoder=lambda path: False)
    with pytest.raises(ArgumentError, match="LinearGaussianVAE"):
        log_evidence_gradient(model, x, method="closed form")
    with pytest.raises(UnknownNameError, match="fitted"):
        log_evidence_gradient(model, x, method="iw", proposal="fited")
    with pytest.raises(UnknownNameError, match="quadrature"):
        log_evidence_gradient(model, x, method="quad")
    with pytest.raises(ArgumentError, match="num_replicates"):
        log_evidence_gradient(model, x, num_replicates=2)
