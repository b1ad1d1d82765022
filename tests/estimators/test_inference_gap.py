"""The inference gap and its two parts against closed forms of the linear-Gaussian model."""

import numpy as np
import pytest

import vaeaudit as va
from vaeaudit.core.errors import UnknownNameError


@pytest.fixture(scope="module")
def models():
    best = va.LinearGaussianVAE.random(3, data_dim=8, latent_dim=3)
    poor = best.mismatched(1.4, 0.5)
    _, x = best.generative.sample(np.random.default_rng(0), 40)
    return best, poor, x.astype(np.float32)


@pytest.fixture(scope="module")
def gap(models):
    _, poor, x = models
    return va.inference_gap(poor, x, 0, num_samples=2000, steps=100, elbo_samples=600)


def test_the_parts_are_those_of_the_closed_form(models, gap):
    """The best diagonal Gaussian is known; standard errors are a fiftieth of the gaps or less."""
    best, poor, x = models
    whole, approximation = poor.exact_inference_gap(x).mean(), best.exact_inference_gap(x).mean()
    assert gap.inference_gap.se < whole / 50
    assert abs(gap.inference_gap.value - whole) < 4 * gap.inference_gap.se
    assert abs(gap.approximation_gap.value - approximation) < 4 * gap.approximation_gap.se + 0.003
    assert abs(gap.amortization_gap.value - (whole - approximation)) < 4 * gap.amortization_gap.se + 0.003
    assert gap.inference_gap.lower < whole < gap.inference_gap.upper


def test_the_parts_sum_to_the_whole(gap):
    total = gap.approximation_gap.value + gap.amortization_gap.value
    assert total == pytest.approx(gap.inference_gap.value, abs=1e-9)
    frame = gap.per_datum
    np.testing.assert_allclose(
        frame["inference_gap"], frame["approximation_gap"] + frame["amortization_gap"], atol=1e-9
    )
    assert set(gap.table) == {"inference_gap", "approximation_gap", "amortization_gap"}


def test_a_full_covariance_leaves_no_approximation_gap(models):
    _, poor, x = models
    found = va.inference_gap(
        poor, x[:20], 0, family="full", num_samples=2000, steps=40, elbo_samples=400
    ).approximation_gap
    assert found.se < 0.01
    assert abs(found.value) < 4 * found.se + 1e-3


def test_an_unknown_family_is_named(models):
    with pytest.raises(UnknownNameError, match="diagonal"):
        va.inference_gap(models[0], models[2], family="diag")
