"""Bound certificates against closed forms of linear-Gaussian models, and their error rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from vaeaudit import objectives
from vaeaudit.core.errors import ArgumentError, NonFiniteError, ShapeError
from vaeaudit.estimators.bound_certificates import bound_check, holm, skewness_corrected_t
from vaeaudit.models.linear_gaussian import LinearGaussianVAE


@pytest.fixture(scope="module")
def linear():
    model = LinearGaussianVAE.random(3, data_dim=5, latent_dim=2, noise_scale=0.4)
    x = np.asarray(model.generative.sample(np.random.default_rng(0), 60)[1], np.float32)
    return model, x


def exact_objective(model, x, name):
    loc = x @ np.asarray(model.enc_weight, np.float64).T + np.asarray(model.enc_bias, np.float64)
    scale = np.asarray(model.enc_scale, np.float64)
    penalty = {
        "elbo": model.exact_rate(x),
        "beta(0.1)": 0.1 * model.exact_rate(x),
        "beta(4)": 4 * model.exact_rate(x),
        "wasserstein_penalty": np.sum(loc**2 + (scale - 1) ** 2, axis=1),
        "half_quadratic": np.sum(0.5 * loc**2 + (scale - 1) ** 2, axis=1),
    }[name]
    return -model.exact_distortion(x) - penalty


@pytest.mark.parametrize("name", ["elbo", "beta(0.1)", "beta(4)", "wasserstein_penalty", "half_quadratic"])
def test_values_and_status_against_closed_form(linear, name):
    model, x = linear
    truth = model.exact_log_evidence(x)
    check = bound_check(model, name, x, log_evidence=truth, rng_key=1, num_samples=1024)
    excess = exact_objective(model, x, name) - truth
    z = (check.per_datum["excess"] - excess) / check.per_datum["excess_se"]
    assert check.per_datum["se"].max() < 0.15  # small enough to see a factor ½ in any penalty
    assert abs(z.mean()) < 4 / np.sqrt(len(x))
    assert z.abs().max() < 4.5
    assert not (check.per_datum["status"].eq("above") & (excess < -1e-3)).any()
    assert not (check.per_datum["status"].eq("below") & (excess > 1e-3)).any()
    assert check.num_exceeding == check.per_datum["status"].eq("above").sum()
    assert check.largest_excess.lower <= excess.max() <= check.largest_excess.upper
    assert check.agrees_with_claim
    if name in ("elbo", "beta(4)"):
        assert check.verdict == "no excess found"
        assert check.num_exceeding == 0
    if name in ("beta(0.1)", "half_quadratic"):
        assert check.num_exceeding > 0.5 * len(x)
        assert check.share_exceeding.lower <= np.mean(excess > 0)


def test_penalty_exceeds_on_some_data_and_not_on_others():
    """μ² large: the penalty is above the KL; μ near 0 and σ small: below it by more than the gap."""
    model = LinearGaussianVAE.optimal(np.array([[3.0]]), noise_scale=0.3)
    x = np.linspace(-9, 9, 41, dtype=np.float32)[:, None]
    truth = model.exact_log_evidence(x)
    check = bound_check(model, "wasserstein_penalty", x, log_evidence=truth, num_samples=512)
    loc, scale = (np.asarray(a, np.float64)[:, 0] for a in model.encode(jnp.asarray(x)))
    f = 0.5 * scale**2 - 2 * scale + 1.5 + np.log(scale)
    inside = loc**2 < -2 * f  # the encoder is the exact posterior here: gap 0
    margin = np.abs(loc**2 + 2 * f) > 0.3
    above = check.per_datum["status"].eq("above").to_numpy()
    assert 0 < inside.sum() < len(x)
    assert np.array_equal(above[margin], inside[margin])


def test_family_wise_error_at_zero_gap():
    """The encoder is the exact posterior, so the ELBO's excess is 0 for every datum: the hardest case."""
    model = LinearGaussianVAE.optimal(np.array([[2.0], [1.0]]), noise_scale=0.5)
    x = np.asarray(model.generative.sample(np.random.default_rng(1), 200)[1], np.float32)
    truth = model.exact_log_evidence(x)
    wrong = sum(
        bound_check(model, "elbo", x, log_evidence=truth, rng_key=r, num_samples=256).num_exceeding > 0
        for r in range(200)
    )
    # 5 % of 200 is 10; a plain t statistic with the same procedure gives about 56 here
    assert wrong <= stats.binom.ppf(0.95, 200, 0.05)


def test_skewness_correction_restores_the_tail():
    """A left-skewed sample (−χ²₁): the plain t rejects far too often at 10⁻³, the corrected one does not."""
    draws = 1.0 - np.random.default_rng(0).chisquare(1, size=(200_000, 64))
    mean, sd = draws.mean(1), draws.std(1, ddof=1)
    skew = np.mean((draws - mean[:, None]) ** 3, axis=1) / sd**3
    limit = stats.t.isf(1e-3, 63)
    plain = np.mean(mean / (sd / 8) > limit)
    corrected = np.mean(skewness_corrected_t(mean, sd / 8, skew, 64) > limit)
    assert plain > 5e-3
    assert corrected < 2.5e-3


def test_evidence_error_widens_and_undecided_is_said(linear):
    model, x = linear
    truth = model.exact_log_evidence(x)
    sharp = bound_check(model, "beta(0.1)", x, log_evidence=truth)
    blunt = bound_check(model, "beta(0.1)", x, log_evidence=truth, log_evidence_error=50.0)
    assert blunt.num_exceeding == 0 < sharp.num_exceeding
    assert blunt.num_undecided == len(x)


def test_deterministic_objective_has_no_sampling_error(linear):
    model, x = linear
    check = bound_check(model, "autoencoder", x, log_evidence=model.exact_log_evidence(x))
    assert (check.per_datum["se"] == 0).all()
    assert check.num_exceeding == len(x)  # log p(x|z = μ) carries no cost for the code
    assert not check.claims_lower_bound


def test_a_false_claim_is_reported(linear):
    """A log p(x) that is 5 nats too low makes the ELBO look like no bound: the check says so."""
    model, x = linear
    check = bound_check(model, "elbo", x, log_evidence=model.exact_log_evidence(x) - 5.0)
    assert check.num_exceeding > 0
    assert not check.agrees_with_claim
    assert "claims to be a lower bound" in str(check)


def test_iwae_uses_its_own_number_of_draws(linear):
    model, x = linear
    wide = model.mismatched(1.7, 0.3)
    truth = wide.exact_log_evidence(x)
    one = bound_check(wide, objectives.elbo(), x, log_evidence=truth, num_samples=256)
    five = bound_check(wide, objectives.iwae(5), x, log_evidence=truth, num_samples=256)
    assert five.num_exceeding == 0
    assert five.mean_excess.value > one.mean_excess.value + 0.05
    assert five.share_exceeding.num_samples == 5 * 256


def test_holm_is_holms_example():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005]), 0.05).tolist() == [True, False, False, True]


def test_reproducible_and_batch_independent_shape(linear):
    model, x = linear
    truth = model.exact_log_evidence(x)
    a = bound_check(model, "elbo", x, log_evidence=truth, rng_key=jax.random.key(5))
    b = bound_check(model, "elbo", x, log_evidence=truth, rng_key=5)
    assert a.per_datum.equals(b.per_datum)


def test_errors(linear):
    model, x = linear
    with pytest.raises(ShapeError, match="one value per datum"):
        bound_check(model, "elbo", x, log_evidence=np.zeros(3))
    with pytest.raises(NonFiniteError, match="log_evidence"):
        bound_check(model, "elbo", x, log_evidence=np.full(len(x), np.nan))
    with pytest.raises(ArgumentError, match="standard error"):
        bound_check(model, "elbo", x, log_evidence=np.zeros(len(x)), log_evidence_error=-1.0)
    with pytest.raises(ArgumentError, match="num_samples"):
        bound_check(model, "elbo", x, log_evidence=np.zeros(len(x)), num_samples=8)
