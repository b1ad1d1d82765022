"""The minibatch forms in use: the right one is right, the faulty ones have exactly the known faults."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from vaeaudit.estimators.minibatch_forms import (
    FORMS,
    minibatch_estimates,
    minibatch_log_density,
    pair_log_densities,
    stratified_weights,
)
from vaeaudit.estimators.mixture_density import log_mixture_density


def test_stratified_weights_have_the_own_one_on_the_diagonal():
    right, wrong = stratified_weights(5, 100), stratified_weights(5, 100, own_column=True)
    np.testing.assert_allclose(right.diagonal(), 0.01)
    np.testing.assert_allclose(wrong[:, 0][[0, 1, 2, 4]], 0.01)  # the fault: column 0
    assert np.isclose(wrong.diagonal()[1:], 0.01).sum() == 0
    np.testing.assert_allclose(np.sort(right, axis=1), np.sort(np.tile(right[0], (5, 1)), axis=1))
    np.testing.assert_allclose(right.sum(1), 1.0)


def test_right_weights_are_unbiased_and_wrong_ones_are_not():
    rng = np.random.default_rng(0)
    loc, scale = rng.normal(size=(40, 2)), np.full((40, 2), 0.3)
    z0 = loc[:1] + 0.3 * rng.normal(size=(1, 2))
    truth = np.exp(log_mixture_density(z0, loc, scale).log_q[0])
    values = {"stratified": [], "stratified, own weight in column 0": []}
    for _ in range(4000):
        rows = np.concatenate([[0], 1 + rng.choice(39, 7, replace=False)])
        order = rng.permutation(8)
        rows = rows[order]
        at = int(np.flatnonzero(rows == 0)[0])
        z = loc[rows].copy()
        z[at] = z0[0]
        for form, kept in values.items():
            kept.append(np.exp(minibatch_log_density(form, z, loc[rows], scale[rows], 40)[0][at]))
    error = {form: (np.mean(v) - truth) / (np.std(v) / np.sqrt(4000)) for form, v in values.items()}
    assert abs(error["stratified"]) < 4
    assert error["stratified, own weight in column 0"] > 8
    assert np.std(values["stratified"]) / np.sqrt(4000) < 0.1 * truth


def test_weight_per_latent_is_off_by_log_n_per_extra_latent():
    rng = np.random.default_rng(1)
    latent, num_data, batch = 6, 60_000, 32
    loc = rng.normal(size=(num_data, latent)) * 5
    scale = np.full((num_data, latent), 0.01)  # isolated: only the own component counts
    right = minibatch_estimates("stratified", loc, scale, batch, num_batches=4)["mutual_information"]
    wrong = minibatch_estimates(FORMS[4], loc, scale, batch, num_batches=4)["mutual_information"]
    np.testing.assert_allclose(right, np.log(num_data), atol=1e-6)
    np.testing.assert_allclose(wrong, latent * np.log(num_data), atol=1e-6)  # 66 where ln N is 11


def test_in_batch_estimate_sits_at_log_batch():
    rng = np.random.default_rng(2)
    loc, scale = rng.normal(size=(5000, 10)), np.full((5000, 10), 0.1)
    found = minibatch_estimates("in batch", loc, scale, 50, num_batches=4)
    np.testing.assert_allclose(found["mutual_information"], np.log(50), atol=1e-3)
    weighted = minibatch_estimates("weighted", loc, scale, 50, num_batches=4)["mutual_information"]
    np.testing.assert_allclose(weighted - found["mutual_information"], np.log(5000), atol=1e-9)


def test_pairs_against_scipy_and_unknown_form():
    rng = np.random.default_rng(3)
    z, loc, scale = rng.normal(size=(4, 3)), rng.normal(size=(5, 3)), rng.uniform(0.2, 1, (5, 3))
    np.testing.assert_allclose(pair_log_densities(z, loc, scale), norm.logpdf(z[:, None], loc, scale))
    found, single = minibatch_log_density("in batch", z, loc[:4], scale[:4], 9)
    pairs = norm.logpdf(z[:, None], loc[:4], scale[:4])
    np.testing.assert_allclose(found, logsumexp(pairs.sum(2), axis=1) - np.log(4))
    np.testing.assert_allclose(single, logsumexp(pairs, axis=1) - np.log(4))
    with pytest.raises(KeyError):
        minibatch_log_density("guess", z, loc[:4], scale[:4], 9)
