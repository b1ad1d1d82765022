"""Disentanglement scores at the ends of their scale, and against an independent mutual information."""

import numpy as np
import pytest
from scipy.stats import ortho_group
from sklearn.metrics import mutual_info_score

from vaeaudit.core.errors import ArgumentError, ShapeError
from vaeaudit.estimators.disentanglement import disentanglement, factor_information, over_seeds

RNG = np.random.default_rng(0)
FACTORS = RNG.integers(5, size=(1500, 3))
CLEAN = (FACTORS - 2.0) + 0.05 * RNG.normal(size=(1500, 3))


@pytest.fixture(scope="module")
def clean():
    return disentanglement(CLEAN, FACTORS)


@pytest.fixture(scope="module")
def mixed():
    return disentanglement(CLEAN @ ortho_group.rvs(3, random_state=1), FACTORS)


def test_one_latent_per_factor_scores_one(clean):
    assert clean.mig > 0.9
    assert clean.disentanglement > 0.97
    assert clean.completeness > 0.97
    assert clean.informativeness > 0.99
    assert clean.sap > 0.6


def test_a_rotation_keeps_the_information_and_loses_the_rest(clean, mixed):
    assert mixed.informativeness > 0.8
    assert mixed.mig < 0.3
    assert mixed.disentanglement < 0.6 * clean.disentanglement
    assert mixed.sap < 0.5 * clean.sap


def test_noise_scores_zero():
    scores = disentanglement(RNG.normal(size=(1500, 3)), FACTORS)
    assert scores.mig < 0.02
    assert scores.informativeness < 0.3
    assert scores.sap < 0.06


def test_invariant_to_permuting_and_flipping(clean):
    other = disentanglement(CLEAN[:, [2, 0, 1]] * [-1, 1, -1], FACTORS[:, [1, 2, 0]])
    for name, value in clean.row().items():
        assert getattr(other, name) == pytest.approx(value, abs=0.03), name


def test_information_against_scikit_learn():
    latent = np.round(CLEAN[:, :1] * 2)
    found = factor_information(latent, FACTORS, num_bins=400)
    edges = np.unique(np.quantile(latent[:, 0], np.linspace(0, 1, 401)[1:-1]))
    binned = np.searchsorted(edges, latent[:, 0])
    for k in range(3):
        assert found[k, 0] == pytest.approx(mutual_info_score(binned, FACTORS[:, k]), abs=1e-9)


def test_interval_over_seeds(clean, mixed):
    found = over_seeds([clean, mixed, clean])
    assert found["mig"].lower < found["mig"].value < found["mig"].upper
    assert found["mig"].value == pytest.approx((2 * clean.mig + mixed.mig) / 3)
    half = 4.303 * np.std([clean.mig, mixed.mig, clean.mig], ddof=1) / np.sqrt(3)
    assert found["mig"].upper - found["mig"].value == pytest.approx(half, rel=1e-3)
    with pytest.raises(ArgumentError):
        over_seeds([clean])


def test_bad_arguments():
    with pytest.raises(ShapeError):
        disentanglement(CLEAN, FACTORS[:10])
    with pytest.raises(ShapeError):
        disentanglement(CLEAN, FACTORS + 0.5)
    with pytest.raises(ArgumentError):
        disentanglement(CLEAN, FACTORS * 0)
