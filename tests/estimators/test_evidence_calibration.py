"""Long calibrations: coverage, unbiasedness, brackets, memory and cost. Run with

    pytest -m slow tests/estimators/test_evidence_calibration.py

The same numbers as tables: ``python studies/estimator_calibration.py --preset full``.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vaeaudit as va
from vaeaudit.estimators.annealed import ais_log_evidence

STUDIES = Path(__file__).parents[2] / "studies"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def calibration():
    sys.path.insert(0, str(STUDIES))
    try:
        import estimator_calibration
    finally:
        sys.path.remove(str(STUDIES))
    return estimator_calibration


SETTINGS = [
    (2, 0.6, 0.0), (2, 0.8, 0.0), (2, 1.2, 0.5), (5, 0.7, 0.0), (5, 0.9, 0.5), (5, 1.5, 0.0), (10, 0.6, 0.0),
    (10, 0.8, 0.0), (10, 0.9, 0.5), (10, 1.2, 0.0), (20, 0.7, 0.0), (20, 0.9, 0.0), (20, 1.5, 0.0), (32, 0.8, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("latents", "scale", "shift"), SETTINGS)
def test_coverage_lies_between_94_and_96_percent(calibration, latents, scale, shift):
    """10,000 replications: one standard error is 0.22 %."""
    frame = calibration.coverage(latents, scale, shift, 10_000, 500).set_index("method")
    auto = frame.loc["auto"]
    assert auto["refused"] <= 0.05
    assert 0.94 <= auto["coverage"] <= 0.96
    assert 0.935 <= auto["coverage_mean"] <= 0.965  # groups overlap: about 500 independent ones


def test_both_estimators_are_unbiased_over_10_000_runs(calibration):
    model = calibration.exact_model(5).mismatched(1.3)
    x = np.repeat(calibration.draw_data(model, 1, seed=5), 10_000, axis=0)
    truth = model.exact_log_evidence(x[:1])[0]
    iw = va.log_evidence(model, x, 0, "iw", 20, batch_size=5000)
    annealed = ais_log_evidence(
        model, x, 0, num_chains=2, num_temperatures=30, num_leapfrog=2, start="encoder", batch_size=5000
    )
    for found in (iw, annealed):
        ratio = np.exp(found.value - truth)
        error = ratio.std(ddof=1) / 100
        assert error < 0.005
        assert abs(ratio.mean() - 1) < 5 * error


ANNEALED = [
    (2, 1.2, 0.5, "encoder", 300), (5, 1.5, 0.0, "encoder", 300), (10, 0.6, 0.0, "encoder", 300),
    (10, 0.9, 0.5, "encoder", 100), (20, 0.8, 0.3, "encoder", 300), (20, 0.8, 0.3, "laplace", 300),
]  # fmt: skip


@pytest.mark.parametrize(("latents", "scale", "shift", "start", "temperatures"), ANNEALED)
def test_annealing_intervals_that_are_given_hold(calibration, latents, scale, shift, start, temperatures):
    """3,000 data: 94 to 96 %, give or take three standard errors of 0.4 %."""
    row = calibration.annealing(latents, scale, shift, start, temperatures, 3000).iloc[0]
    assert row["refused"] < 0.6
    wobble = 3 * row["coverage_se"]
    assert 0.94 - wobble <= row["coverage"] <= 0.96 + wobble
    assert abs(row["mean_ratio"] - 1) < 5 * row["mean_ratio_se"]


BRACKETS = [
    (2, 0.8, 0.3, 300, 0.1), (10, 0.8, 0.3, 300, 0.1), (10, 0.6, 0.0, 3000, 0.1), (32, 0.8, 0.3, 300, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("latents", "scale", "shift", "temperatures", "widest"), BRACKETS)
def test_brackets_hold_the_truth_and_are_narrow(calibration, latents, scale, shift, temperatures, widest):
    """350 data each, 1,400 in all: each datum's bracket errs in 2.5 %, so that 95 % is three se away."""
    model = calibration.exact_model(latents).mismatched(scale, shift)
    found = va.evidence_bracket(model, 4, 350, num_temperatures=temperatures, start="encoder", batch_size=350)
    truth = model.exact_log_evidence(found.x)
    frame = found.per_datum
    low, high = found.interval
    assert low < truth.mean() < high
    assert np.mean((frame["lower"] <= truth) & (truth <= frame["upper"])) >= 0.95
    assert abs(found.gap) <= widest
    assert (frame["upper"] - frame["lower"]).mean() <= widest


PROGRAM = """
import json, resource, sys, time
import numpy as np, vaeaudit as va
model = va.LinearGaussianVAE.random(0, data_dim=8, latent_dim=4).mismatched(1.2)
x = np.zeros((4, 8), np.float32)
va.log_evidence(model, x, 0, "iw", 200_000)
start = time.process_time()
va.log_evidence(model, x, 0, "iw", int(sys.argv[1]))
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.process_time() - start]))
"""


def test_memory_is_flat_and_cost_linear_up_to_a_million_draws():
    def measure(num):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(num)], capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout.splitlines()[-1])

    small, _ = measure(100)
    large, seconds = measure(1_000_000)
    _, longer = measure(4_000_000)
    assert large - small < 60  # MiB; a million draws of 4 data in one piece would be 128 and more
    assert 3.0 < longer / seconds < 5.0
