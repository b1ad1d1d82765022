"""log_evidence against closed forms: value, se, intervals, refusals, bad input, unbiasedness, one compilation."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import vaeaudit as va
from vaeaudit.core.errors import (
    ArgumentError,
    DtypeError,
    NonFiniteError,
    ScaleError,
    ShapeError,
    UnknownNameError,
)
from vaeaudit.estimators import importance
from vaeaudit.estimators.evidence import iw_log_evidence
from vaeaudit.estimators.evidence_result import from_chains
from vaeaudit.estimators.fast_likelihood import bernoulli_log_prob
from vaeaudit.estimators.intervals import chain_interval, skew_interval


def linear_vae(weight, noise_scale, *, enc_scale=1.0, enc_shift=0.0, loc_exact=True):
    """x|z ~ N(Wz, s²I) with the exact posterior mean, and the exact posterior scale times a factor."""
    weight = np.asarray(weight, float)
    latent = weight.shape[1]
    precision = np.eye(latent) + weight.T @ weight / noise_scale**2
    cov = np.linalg.inv(precision)
    gain = cov @ weight.T / noise_scale**2
    sd = np.sqrt(np.diag(cov))
    w = jnp.asarray(weight, jnp.float32)

    def log_likelihood(x, z):
        u = (x - z @ w.T) / noise_scale
        return jnp.sum(-0.5 * u * u - math.log(noise_scale) - 0.5 * math.log(2 * math.pi), axis=-1)

    def encode(x):
        loc = x @ jnp.asarray(gain.T, jnp.float32) + enc_shift * jnp.asarray(sd, jnp.float32)
        return loc, jnp.broadcast_to(jnp.asarray(sd * enc_scale, jnp.float32), loc.shape)

    model = va.vae(encode=encode, log_likelihood=log_likelihood, latent_dim=latent)
    marginal = multivariate_normal(
        np.zeros(len(weight)), weight @ weight.T + noise_scale**2 * np.eye(len(weight))
    )
    return model, marginal


def orthogonal(data_dim, latent_dim, seed=0):
    basis, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(data_dim, latent_dim)))
    return basis


@pytest.mark.parametrize("method", ["iw", "auto", "quadrature", "ais"])
def test_every_method_agrees_with_scipys_marginal(method):
    """20 data; with errors below 0.05 nat a missing log 2π (0.92 per pixel) or a wrong sign is seen."""
    model, marginal = linear_vae(orthogonal(4, 2), 0.5, enc_scale=1.1)
    x = marginal.rvs(20, random_state=1).astype(np.float32)
    found = va.log_evidence(model, x, 0, method, 2000)
    truth = marginal.logpdf(x)
    assert np.all(found.se < 0.05)
    assert np.all(np.abs(found.value - truth) < 5 * found.se + 1e-4)
    assert found.reliable.all()
    assert found.mean.lower < truth.mean() < found.mean.upper or abs(found.mean.value - truth.mean()) < 4 * (
        found.mean.se + 1e-6
    )


@pytest.mark.parametrize("proposal", ["encoder", "guarded", "widened", "defensive", "adapted"])
def test_every_proposal_is_unbiased(proposal):
    """Mean of p̂/p over 4000 runs of 16 draws: its standard error is below 1 %, K − 1 for K would show 6 %."""
    model, marginal = linear_vae(orthogonal(3, 2), 0.6, enc_scale=1.15, enc_shift=0.2)
    x = np.repeat(marginal.rvs(1, random_state=2)[None].astype(np.float32), 4000, axis=0)
    found = va.log_evidence(model, x, 3, "iw", 16, proposal=proposal, batch_size=4000)
    ratio = np.exp(found.value - marginal.logpdf(x[0]))
    error = ratio.std(ddof=1) / math.sqrt(4000)
    assert error < 0.01
    assert abs(ratio.mean() - 1) < 5 * error


def test_zero_variance_when_q_is_the_posterior():
    model, marginal = linear_vae(orthogonal(6, 3), 0.4)
    x = marginal.rvs(50, random_state=3).astype(np.float32)
    found = va.log_evidence(model, x, 0, "iw", 500)
    np.testing.assert_allclose(found.value, marginal.logpdf(x), atol=2e-5)
    assert np.all(found.se < 2e-5)
    assert found.reliable.all()
    assert np.all((found.lower <= marginal.logpdf(x)) & (marginal.logpdf(x) <= found.upper))


def test_a_correlated_posterior_is_settled_by_the_adapted_proposal():
    rng = np.random.default_rng(4)
    model, marginal = linear_vae(rng.normal(size=(12, 8)), 0.3, enc_scale=0.6)
    x = marginal.rvs(40, random_state=5).astype(np.float32)
    plain = va.log_evidence(model, x, 0, "iw", 1000)
    found = va.log_evidence(model, x, 0, "auto", 1000)
    truth = marginal.logpdf(x)
    assert np.mean(plain.reliable) < 0.1
    assert plain.mean.verdict == "lower bound only"
    assert math.isnan(plain.mean.se)
    assert math.isnan(plain.errors["monte_carlo_se"].value)
    assert plain.per_datum["se"].notna().equals(plain.per_datum["reliable"].astype(bool))
    assert found.reliable.all()
    assert set(found.method) <= {"iw/guarded", "iw/adapted"}
    assert np.max(np.abs(found.value - truth)) < 0.2
    assert found.mean.lower < truth.mean() < found.mean.upper


def test_float64_logsumexp_is_the_oracle_of_the_array_form():
    log_w = np.random.default_rng(0).normal(size=(300, 7)) - 80
    found = iw_log_evidence(log_w)
    np.testing.assert_allclose(found.value, logsumexp(log_w, axis=0) - math.log(300), rtol=1e-13)
    u = np.exp(log_w - found.value)
    np.testing.assert_allclose(found.se, u.std(axis=0, ddof=1) / math.sqrt(300), rtol=1e-10)
    np.testing.assert_allclose(found.bias, -0.5 * found.se**2)


@settings(max_examples=20, deadline=None)
@given(shift=st.floats(-300, 300), seed=st.integers(0, 99))
def test_array_form_follows_a_shift_and_ignores_order(shift, seed):
    rng = np.random.default_rng(seed)
    log_w = rng.normal(size=(200, 4)) * 0.7
    base = iw_log_evidence(log_w)
    moved = iw_log_evidence(rng.permutation(log_w) + shift)
    np.testing.assert_allclose(moved.value, base.value + shift, atol=1e-9)
    np.testing.assert_allclose(moved.se, base.se, rtol=1e-7)
    np.testing.assert_allclose(moved.upper - moved.value, base.upper - base.value, rtol=1e-5)


def test_skew_interval_reduces_to_the_normal_one_and_leans_up_for_positive_skew():
    low, high = skew_interval(np.array([0.01]), np.array([0.0]), 10_000)
    half = 1.959963984540054 * 0.1 / 100
    assert low[0] == pytest.approx(math.log1p(-half), rel=1e-4)
    assert high[0] == pytest.approx(math.log1p(half), rel=1e-4)
    low, high = skew_interval(np.array([4.0]), np.array([60.0]), 400)
    assert high[0] > abs(low[0]) * 1.1


def test_skew_interval_inverts_halls_transformation():
    """At each end of the interval Hall's g must equal ±1.96: g written out here, not taken from the code."""
    variance, third, k = 2.0, 9.0, 500
    low, high = skew_interval(np.array([variance]), np.array([third]), k)
    for end, z in ((low[0], 1.959963984540054), (high[0], -1.959963984540054)):
        t = math.sqrt(k) * (1 - math.exp(end)) / math.sqrt(variance)
        gamma = third / variance**1.5
        g = t + gamma * t**2 / (3 * k**0.5) + gamma**2 * t**3 / (27 * k) + gamma / (6 * k**0.5)
        assert g == pytest.approx(z, abs=1e-8)


@pytest.mark.parametrize("tail", ["left", "none", "right"])
def test_chain_interval_covers_the_mean_of_skewed_weights(tail):
    """20,000 sets of 16 chains with log weights of spread 0.25: three standard errors are 0.5 %.

    χ² with 8 degrees of freedom, as an annealed Gaussian gives, of either sign; E w from its moment
    generating function (1 − 2t)^(−4).
    """
    rng, spread = np.random.default_rng(0), 0.25
    if tail == "none":
        log_w, truth = spread * rng.normal(size=(16, 20_000)), 0.5 * spread**2
    else:
        t = spread / 4 * (1 if tail == "right" else -1)
        log_w, truth = t * rng.chisquare(8, size=(16, 20_000)), -4 * math.log1p(-2 * t)
    low, high, seen = chain_interval(log_w)
    covered = np.mean((low < truth) & (truth < high))
    assert 0.935 < covered < 0.963
    assert np.mean(low > truth) < 0.03
    assert seen.mean() == pytest.approx(spread, rel=0.05)


def test_annealing_is_judged_by_chains_that_enter_nothing_else():
    """Spread out judges refuse the best chains, and quiet ones vouch for theirs; their values stay out."""
    rng = np.random.default_rng(1)
    quiet, loud = 0.05 * rng.normal(size=(16, 1)), 5.0 + 0.9 * rng.normal(size=(8, 1))
    refused = from_chains(quiet, loud, "ais", 1)
    given = from_chains(quiet, 5.0 + 0.1 * loud, "ais", 1)
    assert not refused.reliable[0]
    assert "num_temperatures" in refused.reason[0]
    assert given.reliable[0]
    assert given.value[0] == pytest.approx(float(logsumexp(quiet) - math.log(16)), abs=1e-12)


def test_nan_from_the_decoder_flags_that_datum_and_the_mean_says_so():
    def log_likelihood(x, z):
        value = -0.5 * jnp.sum((x - z) ** 2, axis=-1)
        return jnp.where(x[:, 0] > 100, jnp.nan, value)

    model = va.vae(
        encode=lambda x: (jnp.clip(x, -3, 3) / 2, jnp.full_like(x, 0.5**0.5)),
        log_likelihood=log_likelihood,
        latent_dim=2,
    )
    x = np.array([[0.1, 0.2], [200.0, 0.0], [0.5, -0.5]], np.float32)
    for method in ("iw", "auto", "quadrature"):
        found = va.log_evidence(model, x, 0, method, 500)
        assert np.isnan(found.value[1])
        assert not found.reliable[1]
        assert "NaN" in found.reason[1]
        assert found.reliable[[0, 2]].all()
        assert np.isnan(found.mean.value)
        assert found.mean.verdict == "unreliable"
        assert "1 of 3 data" in found.mean.note


def test_bad_input_gets_its_named_error():
    model, marginal = linear_vae(orthogonal(3, 2), 0.6)
    x = marginal.rvs(4, random_state=0).astype(np.float32)
    with pytest.raises(ArgumentError, match="at least 2"):
        va.log_evidence(model, x, num_samples=1)
    with pytest.raises(DtypeError, match="float16"):
        va.log_evidence(model, x.astype(np.float16))
    with pytest.raises(NonFiniteError):
        va.log_evidence(model, np.where(np.arange(4)[:, None] == 2, np.nan, x))
    with pytest.raises(ShapeError):
        va.log_evidence(model, x[0])
    with pytest.raises(UnknownNameError, match="quadrature"):
        va.log_evidence(model, x, method="quadratur")
    with pytest.raises(UnknownNameError, match="encoder"):
        va.log_evidence(model, x, method="iw", proposal="encodr")
    with pytest.raises(ArgumentError, match=r"va\.vae"):
        va.log_evidence(lambda x: x, x)
    with pytest.raises(ShapeError, match=r"log_w\.T"):
        iw_log_evidence(np.zeros((1, 30)))
    with pytest.raises(NonFiniteError):
        iw_log_evidence(np.full((10, 2), np.inf))
    broken = va.vae(
        encode=lambda x: (x[:, :2], -jnp.ones_like(x[:, :2])),
        log_likelihood=model.log_likelihood_fn,
        latent_dim=2,
    )
    with pytest.raises(ScaleError, match="loc_log_scale"):
        va.log_evidence(broken, x)


def test_a_prior_of_its_own_is_used():
    """p(z) = N(1, 2²) in one latent: the marginal of x = z + noise is N(1, 4 + 0.25)."""
    model = va.vae(
        encode=lambda x: (x, jnp.full_like(x, 0.6)),
        log_likelihood=lambda x, z: jnp.sum(-2.0 * (x - z) ** 2 - 0.5 * math.log(2 * math.pi * 0.25), -1),
        log_prior=lambda z: jnp.sum(-((z - 1) ** 2) / 8 - 0.5 * math.log(2 * math.pi * 4), -1),
        latent_dim=1,
    )
    x = np.linspace(-4, 6, 11, dtype=np.float32)[:, None]
    truth = multivariate_normal(1, 4.25).logpdf(x[:, 0])
    for method in ("iw", "auto", "quadrature", "ais"):
        found = va.log_evidence(model, x, 0, method, 2000)
        assert np.max(np.abs(found.value - truth)) < 0.1, method
        assert found.reliable.all()


def test_a_model_without_gradients_gets_importance_weighting_only():
    class Outside(type(linear_vae(orthogonal(3, 2), 0.6)[0])):
        @property
        def differentiable(self):
            return False

    base, marginal = linear_vae(orthogonal(6, 4), 0.6, enc_scale=0.7)
    model = Outside(
        encode_fn=base.encode_fn, log_likelihood_fn=base.log_likelihood_fn, log_prior_fn=None, latent_dim=4
    )
    x = marginal.rvs(5, random_state=0).astype(np.float32)
    found = va.log_evidence(model, x, 0, "auto", 2000)
    assert set(found.method) <= {"iw/guarded", "iw/defensive"}
    with pytest.raises(ArgumentError, match="defensive"):
        va.log_evidence(model, x, method="iw", proposal="adapted")
    with pytest.raises(ArgumentError, match="outside JAX"):
        va.log_evidence(model, x, method="ais")


def test_means_keep_three_errors_apart():
    model, marginal = linear_vae(orthogonal(5, 3), 0.5, enc_scale=1.2)
    x = marginal.rvs(200, random_state=7).astype(np.float32)
    found = va.log_evidence(model, x, 0, "iw", 200)
    truth = marginal.logpdf(x)
    mc = math.sqrt(np.sum(found.se**2)) / 200
    assert found.errors["monte_carlo_se"].value == pytest.approx(mc)
    assert found.errors["sampling_se"].value == pytest.approx(truth.std(ddof=1) / math.sqrt(200), rel=0.05)
    assert found.mean.value == pytest.approx(found.value.mean() + 0.5 * np.mean(found.se**2), abs=1e-4)
    population = found.population_mean
    assert population.upper - population.lower > 5 * (found.mean.upper - found.mean.lower)
    assert (
        population.lower
        < -0.5 * 5 * math.log(2 * math.pi * math.e) - 0.5 * math.log(np.linalg.det(marginal.cov))
        < population.upper
    )


def test_draws_do_not_depend_on_the_number_of_data_behind_and_keys_matter():
    model, marginal = linear_vae(orthogonal(4, 2), 0.5, enc_scale=1.2)
    x = marginal.rvs(20, random_state=7).astype(np.float32)
    first = va.log_evidence(model, x, 5, "iw", 300, batch_size=10)
    again = va.log_evidence(model, x, jax.random.key(5), "iw", 300, batch_size=10)
    ahead = va.log_evidence(model, x[:10], 5, "iw", 300, batch_size=10)
    np.testing.assert_array_equal(first.value, again.value)
    np.testing.assert_array_equal(first.value[:10], ahead.value)
    assert np.all(first.value != va.log_evidence(model, x, 6, "iw", 300, batch_size=10).value)


def test_one_compilation_for_many_batches_and_sample_numbers():
    model, marginal = linear_vae(orthogonal(4, 2), 0.5, enc_scale=1.2)
    x = marginal.rvs(35, random_state=7).astype(np.float32)
    calls = []

    def counted(x, z):
        calls.append(z.shape)
        return model.log_likelihood_fn(x, z)

    traced = va.vae(encode=model.encode_fn, log_likelihood=counted, latent_dim=2)
    va.log_evidence(traced, x, 0, "iw", 5000, batch_size=10)
    assert len(calls) <= 2  # pilot and main run, not once per batch or chunk


def test_a_second_model_of_one_architecture_compiles_nothing():
    """`auto` through every stage, with other numbers of data at each: no program is compiled again."""
    compiled = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(duration)

    def build(seed, gain):
        model = va.mlp_vae(seed, event_shape=(5,), latent_dim=3, hidden=(4,))
        steeper = [gain * layer.weight for layer in model.decoder.layers]
        return eqx.tree_at(lambda m: [layer.weight for layer in m.decoder.layers], model, steeper)

    x = (np.random.default_rng(0).random((41, 5)) < 0.4).astype(np.float32)
    jax.monitoring.register_event_duration_secs_listener(listen)
    counts = []
    for seed, gain in ((0, 4.0), (1, 2.5)):
        compiled.clear()
        found = va.log_evidence(build(seed, gain), x, seed, "auto", 300)
        counts.append({name: int(np.sum(found.method == name)) for name in set(found.method)})
        if seed == 0:
            assert compiled  # the listener hears
    assert set(counts[0]) == set(counts[1]) == {"iw/guarded", "iw/adapted", "ais/laplace"}
    assert counts[0] != counts[1]
    assert not compiled


def test_memory_is_flat_in_the_number_of_samples(monkeypatch):
    """The largest array that reaches the host per chunk does not grow with K."""
    model, marginal = linear_vae(orthogonal(4, 2), 0.5, enc_scale=1.2)
    x = marginal.rvs(2, random_state=7).astype(np.float32)
    sizes = {}
    for num in (40_000, 400_000):
        seen = []
        original = importance._log_weights

        def watched(*args, original=original, seen=seen):
            out = original(*args)
            seen.append(out.shape[0])
            return out

        monkeypatch.setattr(importance, "_log_weights", watched)
        va.log_evidence(model, x, 0, "iw", num)
        monkeypatch.setattr(importance, "_log_weights", original)
        sizes[num] = max(seen)
    assert sizes[400_000] == sizes[40_000] <= 1 << 18


@pytest.mark.parametrize("pixels", [64, 784, 15])
def test_the_fast_bernoulli_sum_is_the_likelihoods_own(pixels):
    """Against float64 numpy: small, common and hard logits, those up to ±80 of the wrong sign too."""
    rng = np.random.default_rng(pixels)
    scale = np.array([0.1, 3.0, 20.0, 80.0])[:, None, None]
    logits = (rng.uniform(-1, 1, size=(4, 3, pixels)) * scale).astype(np.float32)
    x = (rng.random((3, pixels)) < 0.4).astype(np.float32)
    logits = np.concatenate([logits, 80 * (1 - 2 * x)[None], 80 * (2 * x - 1)[None]])
    wide = logits.astype(float)
    truth = np.sum(x * wide - np.logaddexp(0, wide), axis=-1)
    found = bernoulli_log_prob(jnp.asarray(x), jnp.asarray(logits))
    np.testing.assert_allclose(found, truth, rtol=3e-6, atol=2e-4)


@pytest.mark.slow
def test_bias_falls_as_one_over_k():
    """log |bias| on log K has slope −1 ± 0.15: 40,000 replications, bias over se above 10 at each K."""
    model, marginal = linear_vae(orthogonal(5, 4), 0.5, enc_scale=1.4)
    x = np.repeat(marginal.rvs(1, random_state=2)[None].astype(np.float32), 40_000, axis=0)
    numbers, biases = np.array([16, 32, 64, 128]), []
    for num in numbers:
        error = va.log_evidence(model, x, int(num), "iw", int(num), batch_size=4000).value - marginal.logpdf(
            x[0]
        )
        assert abs(error.mean()) > 10 * error.std() / 200
        biases.append(-error.mean())
    slope = np.polyfit(np.log(numbers), np.log(biases), 1)[0]
    assert abs(slope + 1) < 0.15
