"""Mean of log p(x) − ELBO from per-datum differences, on a linear model whose gap is known."""

import math

import numpy as np
import pytest
from scipy import stats

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError, ShapeError

WEIGHT, ENCODER, SCALE = np.array([[1.5, 0.0], [0.4, 0.8], [0.0, -0.6]]), 0.25, np.array([0.9, 0.6])
MODEL = va.LinearGaussianVAE(
    weight=WEIGHT,
    bias=np.zeros(3),
    noise_scale=0.7,
    enc_weight=ENCODER * WEIGHT.T,
    enc_bias=np.zeros(2),
    enc_scale=SCALE,
)
COV = WEIGHT @ WEIGHT.T + 0.49 * np.eye(3)  # of the data, which are the model's own


def population_gap():
    """E KL(q(z|x) ‖ p(z|x)) by the textbook formulas, in numpy alone."""
    precision = np.eye(2) + WEIGHT.T @ WEIGHT / 0.49
    off = ENCODER * WEIGHT.T - np.linalg.solve(precision, WEIGHT.T / 0.49)  # loc − posterior mean = off · x
    spread = np.trace(precision @ off @ COV @ off.T)
    return 0.5 * (np.sum(np.diag(precision) * SCALE**2) - 2 - np.linalg.slogdet(precision)[1]
                  - 2 * np.log(SCALE).sum() + spread)  # fmt: skip


def data(seed, size):
    rng = np.random.default_rng(seed)
    return rng.multivariate_normal(np.zeros(3), COV, size).astype(np.float32)


def test_the_interval_covers_the_populations_gap_and_is_that_of_differences():
    """300 replications of 80 data; a gap off by a tenth, or an interval of separate errors, would be seen."""
    inside, ratios = 0, []
    for seed in range(300):
        x = data(seed, 80)
        spread = va.rate_distortion(MODEL, x, seed, num_samples=64)
        log_evidence = MODEL.exact_log_evidence(x)
        gap = va.mean_inference_gap(log_evidence, spread)
        inside += gap.lower <= population_gap() <= gap.upper
        ratios.append(gap.se / math.hypot(log_evidence.std(ddof=1) / math.sqrt(80), spread.elbo.se))
    assert inside >= stats.binom.ppf(0.001, 300, 0.95)
    assert np.median(ratios) < 0.6
    assert np.median(ratios) > 0.05


def test_an_estimated_log_evidence_gives_the_gap_of_the_exact_one():
    x = data(0, 40)
    spread = va.rate_distortion(MODEL, x, 1, num_samples=2000, target="data")
    evidence = va.log_evidence(MODEL, x, 2, method="iw", proposal="adapted")
    exact = va.mean_inference_gap(MODEL.exact_log_evidence(x), spread, "data")
    found = va.mean_inference_gap(evidence, spread, "data")
    assert found.has_interval
    assert found.bias_bound >= 0
    assert exact.se <= found.se < 0.02
    assert abs(found.value - exact.value) < 4 * found.se + found.bias_bound


def test_other_data_and_unknown_targets_are_refused():
    spread = va.rate_distortion(MODEL, data(0, 5))
    with pytest.raises(ShapeError, match="4 and 5 data"):
        va.mean_inference_gap(np.zeros(4), spread)
    with pytest.raises(ArgumentError, match="target"):
        va.mean_inference_gap(np.zeros(5), spread, "sample")
