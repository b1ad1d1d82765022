"""Brackets of the aggregate posterior against closed forms and quadrature; bugs in use as regressions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError, ShapeError
from vaeaudit.estimators.aggregate_posterior import aggregate_posterior
from vaeaudit.estimators.control_variates import noise_regressors, reduce_variance
from vaeaudit.estimators.density_fits import folds_of, held_out_gaussian, held_out_mixtures, stack
from vaeaudit.estimators.mixture_density import log_mixture_density

QUANTITIES = ("rate", "mutual_information", "marginal_kl", "total_correlation", "dimwise_kl")


def gaussian_truth(mean, cov_loc, scale):
    """Closed form for loc ~ N(mean, cov_loc) and constant scale."""
    cov = cov_loc + np.diag(scale**2)
    variance = np.diag(cov)
    rate = 0.5 * (np.sum(variance + mean**2 - 1) - 2 * np.log(scale).sum())
    log_det = np.linalg.slogdet(cov)[1]
    information = 0.5 * log_det - np.log(scale).sum()
    correlation = 0.5 * (np.log(variance).sum() - log_det)
    return dict(
        zip(
            QUANTITIES,
            (rate, information, rate - information, correlation, rate - information - correlation),
            strict=True,
        )
    )


def gaussian_posteriors(num_data, mean, root, scale, seed):
    loc = np.random.default_rng(seed).normal(size=(num_data, len(scale))) @ root.T + mean
    return loc, np.tile(scale, (num_data, 1))


def covers(result, truth):
    found = {}
    for name, value in result.quantities().items():
        low, high = value.interval if isinstance(value, va.Bracket) else (value.lower, value.upper)
        found[name] = low - 1e-6 <= truth[name] <= high + 1e-6
    return found


def test_two_latents_ten_thousand_data_within_a_twentieth_of_a_nat():
    mean, root, scale = np.array([0.2, 0.0]), np.array([[0.8, 0.0], [0.3, 0.6]]), np.array([0.5, 0.7])
    pair = gaussian_posteriors(10_000, mean, root, scale, seed=2)
    result = aggregate_posterior(pair)
    truth = gaussian_truth(mean, root @ root.T, scale)
    assert all(covers(result, truth).values())
    for name in ("mutual_information", "marginal_kl", "total_correlation", "dimwise_kl"):
        assert getattr(result, name).width <= 0.05, name
    assert not result.saturated
    assert result.num_data_needed is None
    variance = np.diag(root @ root.T) + scale**2
    for j, row in enumerate(result.by_latent.itertuples()):
        kl = 0.5 * (variance[j] + mean[j] ** 2 - 1 - np.log(variance[j]))
        assert row.kl_lower - 1e-4 <= kl <= row.kl_upper + 1e-4
        assert row.kl_upper - row.kl_lower < 0.02


def test_saturated_at_24_nats_and_still_a_bound():
    rng = np.random.default_rng(0)
    scale = np.full(20, 0.25)
    root = np.linalg.qr(rng.normal(size=(20, 20)))[0] * np.sqrt(np.linspace(0.2, 1.4, 20))
    truth = gaussian_truth(np.full(20, 0.3), root @ root.T, scale)
    assert 24 < truth["mutual_information"] < 26
    result = aggregate_posterior(
        gaussian_posteriors(2000, np.full(20, 0.3), root, scale, seed=2), num_samples=2
    )
    assert result.saturated
    assert all(covers(result, truth).values())
    low = result.marginal_kl.interval[0]
    assert low > 0.8 * truth["marginal_kl"]  # more than nine tenths of a nat, where rate − I_loo says nothing
    naive = result.bounds.query("quantity == 'marginal_kl' and name == 'leave-one-out mixture'")[
        "value"
    ].item()
    assert naive < 0
    assert result.mutual_information.interval[0] == pytest.approx(np.log(2000), abs=1e-3)
    assert result.mutual_information.interval[1] < truth["mutual_information"] + 1.5
    needed = result.num_data_needed.interval
    assert needed[0] < np.exp(truth["mutual_information"] + 1) < needed[1]
    assert "saturated" in str(result)
    assert "log N = 7.60" in str(result)


def test_gaussian_mixture_by_quadrature():
    """x picks one of three components: q(z) is a mixture of three, its KL a one-dimensional integral."""
    weight, loc, scale = np.array([0.3, 0.5, 0.2]), np.array([-2.0, 0.5, 1.5]), np.array([0.3, 0.8, 0.15])

    def integrand(z):
        log_q = logsumexp(norm.logpdf(z, loc, scale), b=weight)
        return np.exp(log_q) * (log_q - norm.logpdf(z))

    marginal = sum(integrate.quad(integrand, a, a + 1, limit=200)[0] for a in range(-9, 9))
    rate = float(np.sum(weight * 0.5 * (loc**2 + scale**2 - 1 - 2 * np.log(scale))))
    truth = dict(zip(QUANTITIES, (rate, rate - marginal, marginal, 0.0, marginal), strict=True))
    pick = np.random.default_rng(4).choice(3, size=2000, p=weight)
    result = aggregate_posterior((loc[pick][:, None], scale[pick][:, None]), num_samples=4)
    assert all(covers(result, truth).values())
    assert result.marginal_kl.width < 0.15  # narrow enough to see a missing log or a factor of two
    # the finite mixture with exactly these shares is the population: one estimate, same truth
    exact = np.repeat([0, 1, 2], [300, 500, 200])
    finite = aggregate_posterior((loc[exact][:, None], scale[exact][:, None]), target="data", num_samples=20)
    assert all(covers(finite, truth).values())
    assert finite.marginal_kl.width < 0.02
    latent = finite.by_latent.iloc[0]
    assert latent.kl_lower < marginal < latent.kl_upper < latent.kl_lower + 0.1
    assert latent.rate == pytest.approx(rate, abs=1e-6)
    assert finite.rate.verdict == "exact"
    assert finite.rate.value == pytest.approx(rate, abs=1e-6)


def test_identities_hold_to_rounding_on_the_finite_mixture():
    rng = np.random.default_rng(7)
    pair = rng.normal(size=(257, 6)) * 0.9, rng.uniform(0.2, 1.1, (257, 6))
    terms = aggregate_posterior(pair, target="data", num_samples=3).terms
    assert terms["rate"] == pytest.approx(terms["mutual_information"] + terms["marginal_kl"], abs=1e-10)
    assert terms["marginal_kl"] == pytest.approx(terms["total_correlation"] + terms["dimwise_kl"], abs=1e-10)
    # the second route: Σ_j E log q_N(z_j)/p(z_j) from draws of our own, by scipy
    owner = np.repeat(np.arange(257), 40)
    z = pair[0][owner] + pair[1][owner] * rng.normal(size=(owner.size, 6))
    total, square = 0.0, 0.0
    for j in range(6):
        log_q = logsumexp(norm.logpdf(z[:, j, None], pair[0][:, j], pair[1][:, j]), axis=1) - np.log(257)
        ratio = (log_q - norm.logpdf(z[:, j])).reshape(257, 40)
        total += ratio.mean()
        square += ratio.var(axis=1, ddof=1).mean() / ratio.size
    se = 3 * np.sqrt(6 * square)  # latents of one datum may go together
    assert se < 0.05
    assert terms["dimwise_kl"] == pytest.approx(total, abs=2 * se)


def test_linear_gaussian_model_against_its_closed_form():
    rng = np.random.default_rng(11)
    weight = rng.normal(size=(5, 3)) * 0.8
    model = va.LinearGaussianVAE(
        weight=weight,
        bias=np.zeros(5),
        noise_scale=0.7,
        enc_weight=rng.normal(size=(3, 5)) * 0.4,
        enc_bias=np.array([0.1, 0.0, -0.2]),
        enc_scale=np.array([0.5, 0.6, 0.9]),
    )
    cov = weight @ weight.T + 0.49 * np.eye(5)
    x = rng.multivariate_normal(np.zeros(5), cov, size=4000)
    enc, scale = np.asarray(model.enc_weight, np.float64), np.asarray(model.enc_scale, np.float64)
    truth = gaussian_truth(np.asarray(model.enc_bias, np.float64), enc @ cov @ enc.T, scale)
    result = va.aggregate_posterior(model, x, rng_key=1)
    assert all(covers(result, truth).values())
    assert result.marginal_kl.width < 0.25


def test_models_that_run_outside_jax():
    """Encoder and prior through a callback: no gradients, same numbers."""

    def encode(x):
        shape = jax.ShapeDtypeStruct((x.shape[0], 2), jnp.float32)
        loc = jax.pure_callback(lambda a: np.tanh(np.asarray(a)[:, :2]), shape, x)
        return loc, jnp.full(shape.shape, 0.5)

    model = va.vae(encode=encode, log_likelihood=lambda x, z: -jnp.sum(z**2, -1), latent_dim=2)
    x = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    from_model = aggregate_posterior(model, x, fits="moments")
    from_pair = aggregate_posterior((np.tanh(x[:, :2]), np.full((500, 2), 0.5)), fits="moments")
    assert from_model.marginal_kl.interval == pytest.approx(from_pair.marginal_kl.interval, abs=1e-4)


def test_another_prior():
    """p = N(0, 4 I) given as a function: rate by Monte Carlo, no split into dimensions."""
    model = va.vae(
        encode=lambda x: (x, jnp.full_like(x, 0.5)),
        log_likelihood=lambda x, z: -jnp.sum((x - z) ** 2, -1),
        latent_dim=2,
        log_prior=lambda z: jnp.sum(-0.125 * z**2 - 0.5 * jnp.log(2 * jnp.pi) - jnp.log(2.0), -1),
    )
    x = np.random.default_rng(0).normal(size=(3000, 2)).astype(np.float32)
    result = aggregate_posterior(model, x, num_samples=4)
    kl = 2 * 0.5 * (1.25 / 4 - 1 - np.log(1.25 / 4))
    assert result.marginal_kl.interval[0] <= kl <= result.marginal_kl.interval[1]
    assert result.marginal_kl.width < 0.2
    assert result.dimwise_kl.lower.verdict == "undefined"


def test_impossible_values_are_never_printed():
    """Tiny data, posteriors equal to the prior: every Monte-Carlo value is noise around 0."""
    for seed in range(20):
        pair = np.random.default_rng(seed).normal(size=(40, 2)) * 1e-3, np.ones((40, 2))
        for target in ("data", "population"):
            result = aggregate_posterior(pair, rng_key=seed, num_samples=1, target=target, fits="moments")
            for name in QUANTITIES[1:]:
                bracket = getattr(result, name)
                for end in (bracket.lower, bracket.upper):
                    assert end.value >= 0
                    assert end.lower >= 0 or end is bracket.upper
                assert bracket.interval[0] <= bracket.interval[1]
    apart = np.arange(50.0)[:, None] * 100, np.full((50, 1), 0.1)
    finite = aggregate_posterior(apart, target="data")
    assert finite.mutual_information.upper.value <= np.log(50)
    assert finite.saturated


def test_invariant_to_permuting_and_flipping_latents():
    rng = np.random.default_rng(2)
    loc, scale = rng.normal(size=(400, 3)) * [1.0, 0.5, 0.1], rng.uniform(0.3, 1, (400, 3))
    one = aggregate_posterior((loc, scale), target="data", num_samples=8)
    two = aggregate_posterior(
        (loc[:, [2, 0, 1]] * [-1, 1, -1], scale[:, [2, 0, 1]]), target="data", num_samples=8
    )
    for name in QUANTITIES[1:]:
        a, b = getattr(one, name).lower, getattr(two, name).lower
        assert a.value == pytest.approx(b.value, abs=4 * np.hypot(a.se, b.se) + 1e-9)
        assert a.se < 0.02


# The bugs in use ---------------------------------------------------------------------------------


def minibatch_case(seed=0, num_data=512, latent=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num_data, latent)) * 0.9, np.full((num_data, latent), 0.4), rng


def test_log_batch_ceiling_is_not_ours():
    """An estimate within one batch of 50 cannot pass log 50 = 3.9; ours from all data passes it."""
    loc, scale, rng = minibatch_case(num_data=4000, latent=4)
    scale = 0.75 * scale
    truth = gaussian_truth(np.zeros(4), 0.81 * np.eye(4), np.full(4, 0.3))["mutual_information"]
    z = loc[:50] + scale[:50] * rng.normal(size=(50, 4))
    own = norm.logpdf(z, loc[:50], scale[:50]).sum(1)
    in_batch = np.mean(own - log_mixture_density(z, loc[:50], scale[:50]).log_q)
    assert in_batch <= np.log(50) < truth
    result = aggregate_posterior((loc, scale))
    assert result.mutual_information.interval[0] > np.log(50)
    assert result.mutual_information.interval[0] < truth < result.mutual_information.interval[1]


def test_self_inclusion_is_a_lower_and_leaving_out_an_upper_bound_on_information():
    loc, scale, _ = minibatch_case(num_data=150)
    truth = gaussian_truth(np.zeros(3), 0.81 * np.eye(3), np.full(3, 0.4))["mutual_information"]
    bounds = aggregate_posterior((loc, scale)).bounds.query("quantity == 'mutual_information'")
    value = bounds.set_index(["side", "name"])["value"]
    assert (
        value["lower", "self-inclusive mixture"] + 0.1 < truth < value["upper", "leave-one-out mixture"] - 0.1
    )


def test_others_leave_out_the_diagonal_and_not_column_zero():
    loc, scale, rng = minibatch_case()
    owner = np.arange(512)
    noise = rng.normal(size=(512, 3))
    z = loc + scale * noise
    found = log_mixture_density(z, loc, scale, own=owner, noise=noise).log_q_others
    pairs = norm.logpdf(z[:, None, :], loc, scale).sum(-1)
    diagonal, column = pairs.copy(), pairs.copy()
    np.fill_diagonal(diagonal, -np.inf)
    column[:, 0] = -np.inf
    np.testing.assert_allclose(found, logsumexp(diagonal, axis=1) - np.log(511), atol=3e-5)
    assert np.abs(found - (logsumexp(column, axis=1) - np.log(511))).max() > 0.1


def test_the_weight_enters_once_and_not_per_latent():
    loc, scale, rng = minibatch_case()
    noise = rng.normal(size=loc.shape)
    z, owner = loc + scale * noise, np.arange(512)
    pairs = norm.logpdf(z[:, None, :], loc, scale)
    joint, single = logsumexp(pairs.sum(-1), axis=1), logsumexp(pairs, axis=1)
    for own in ({}, {"own": owner}, {"own": owner, "noise": noise}):
        found = log_mixture_density(z, loc, scale, marginals=True, **own)
        assert np.abs(found.log_q - (joint - np.log(512))).max() < 3e-5
        assert np.abs(found.log_q - (joint - 3 * np.log(512))).min() > 12
        assert np.abs(found.log_marginals - (single - np.log(512))).max() < 3e-5


def test_all_data_enter_and_not_one_batch():
    loc, scale, _ = minibatch_case(num_data=1003)  # not divisible by any tile
    full = log_mixture_density(loc[:10], loc, scale).log_q
    split = [
        log_mixture_density(loc[:10], loc[a:b], scale[a:b]).log_q + np.log(b - a)
        for a, b in ((0, 400), (400, 1003))
    ]
    np.testing.assert_allclose(full, np.logaddexp(*split) - np.log(1003), atol=3e-5)


# Parts -----------------------------------------------------------------------------------------------


def test_regressors_have_mean_zero_given_x_and_keep_sums():
    rng = np.random.default_rng(0)
    loc, scale = np.array([[0.7, -1.2]]), np.array([[0.3, 0.8]])
    noise = rng.normal(size=(200_000, 2))
    columns = noise_regressors(noise, loc, scale)
    z_score = columns.mean(0) / (columns.std(0) / np.sqrt(len(columns)))
    assert np.abs(z_score).max() < 4
    values = rng.normal(size=(200_000, 2)) + columns[:, :2]
    values = np.column_stack([values, values.sum(1)])
    reduced = reduce_variance(values, columns)
    np.testing.assert_allclose(reduced[:, 0] + reduced[:, 1], reduced[:, 2], atol=1e-9)
    assert reduced[:, 0].var() < 0.6 * values[:, 0].var()


def test_held_out_densities_are_blind_to_their_own_fold():
    rng = np.random.default_rng(0)
    loc, scale = rng.normal(size=(400, 1)), np.full((400, 1), 0.5)
    folds, owner = folds_of(400, 2, seed=0), np.arange(400)
    spoiled = loc.copy()
    spoiled[folds == 0] += 100.0  # fold 0's scores must not change: they come from fold 1
    a, _ = held_out_gaussian(loc, owner, loc, scale, folds)
    b, _ = held_out_gaussian(loc, owner, spoiled, scale, folds)
    np.testing.assert_allclose(a[folds == 0], b[folds == 0])
    assert np.abs(a[folds == 1] - b[folds == 1]).max() > 1
    truth = multivariate_normal(loc[folds == 1].mean(), loc[folds == 1].var() + 0.25).logpdf(
        loc[folds == 0][:, 0]
    )
    np.testing.assert_allclose(a[folds == 0], truth, atol=1e-9)
    fitted = held_out_mixtures(loc, owner, folds)
    assert fitted
    stacked, weights = stack({"gauss": a, **fitted}, owner, folds)
    assert sum(weights.values()) == pytest.approx(1.0)
    best = np.max([a, *fitted.values()], axis=0)
    assert np.all(stacked <= best + 1e-9)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error"),
    [
        (((np.zeros((1, 2)), np.ones((1, 2))),), {}, ShapeError),
        (((np.zeros((5, 2)), np.ones((5, 2))),), {"target": "world"}, ArgumentError),
        (((np.zeros((5, 2)), np.ones((5, 2))),), {"fits": "none"}, ArgumentError),
        (((np.zeros((5, 2)), np.ones((5, 2))), np.zeros((5, 3))), {}, ArgumentError),
        (("model", np.zeros((5, 3))), {}, ArgumentError),
        (((np.zeros((5, 2)), np.ones((5, 2))),), {"num_samples": 0}, ArgumentError),
    ],
)
def test_bad_arguments(arguments, keywords, error):
    with pytest.raises(error):
        aggregate_posterior(*arguments, **keywords)


def test_same_key_same_result():
    pair = np.random.default_rng(0).normal(size=(300, 2)), np.full((300, 2), 0.5)
    assert str(aggregate_posterior(pair, rng_key=3)) == str(
        aggregate_posterior(pair, rng_key=jax.random.key(3))
    )
