"""Transport distances and MMD of the aggregate posterior against closed forms for Gaussians."""

import numpy as np
import pytest
from scipy.stats import norm

from vaeaudit.core.errors import ArgumentError, ShapeError
from vaeaudit.estimators.distances import aggregate_distances, gelbrich_bound, gelbrich_influence
from vaeaudit.estimators.mean_discrepancy import squared_mmd
from vaeaudit.estimators.transport import MonotoneMap, dual_lower, normal_bin_means, plug_in_upper


def pair(num_data, latent, spread, scale, mean, seed=0):
    loc = np.random.default_rng(seed).normal(size=(num_data, latent)) * spread + mean
    return loc, np.full((num_data, latent), scale)


@pytest.mark.parametrize(("spread", "scale", "mean"), [(0.8, 0.6, 0.0), (0.8, 0.3, 0.5), (1.2, 0.4, 0.0)])
def test_gaussian_aggregate_in_every_distance(spread, scale, mean):
    latent, variance = 3, spread**2 + scale**2
    one = mean**2 + (np.sqrt(variance) - 1) ** 2
    found = aggregate_distances(pair(2000, latent, spread, scale, mean, seed=1))
    truth = {
        "per_datum_wasserstein": latent * (spread**2 + mean**2 + (scale - 1) ** 2),
        "wasserstein": latent * one,
        "dimwise_wasserstein": latent * one,
        "sliced_wasserstein": one,
        "squared_mmd": mmd_of_gaussians(latent, variance, mean),
    }
    for name, value in found.quantities().items():
        low, high = value.interval if hasattr(value, "interval") else (value.lower, value.upper)
        assert low - 1e-9 <= truth[name] <= high + 1e-9, name
    assert found.sliced_wasserstein.width < 0.12
    assert found.squared_mmd.upper - found.squared_mmd.lower < 0.03
    assert found.wasserstein.interval[1] <= found.per_datum_wasserstein.upper + 1e-9
    for row in found.by_latent.itertuples():
        assert row.lower - 0.02 <= one <= row.upper + 0.02


def mmd_of_gaussians(latent, variance, mean):
    h2 = latent
    cross = (h2 / (h2 + 1 + variance)) ** (latent / 2) * np.exp(-0.5 * latent * mean**2 / (h2 + 1 + variance))
    return (h2 / (h2 + 2 * variance)) ** (latent / 2) - 2 * cross + (h2 / (h2 + 2)) ** (latent / 2)


def test_intervals_cover_at_and_away_from_zero():
    """200 data sets of 200; at zero the plug-in alone would always be above the truth."""
    for spread, mean in ((0.8, 0.0), (0.5, 0.4)):
        truth = mean**2 + (np.hypot(spread, 0.6) - 1) ** 2
        mmd = mmd_of_gaussians(1, spread**2 + 0.36, mean)
        missed, missed_mmd = 0, 0
        for seed in range(200):
            loc, scale = pair(200, 1, spread, 0.6, mean, seed)
            z = loc[:, 0] + 0.6 * np.random.default_rng(1000 + seed).normal(size=(2, 200))
            high, low = plug_in_upper(z), dual_lower(z, np.arange(200) % 2)
            missed += truth > high.mean() + 1.96 * high.std(ddof=1) / np.sqrt(200) + 1e-9
            missed += truth < low.mean() - 1.96 * low.std(ddof=1) / np.sqrt(200) - 1e-9
            estimate = squared_mmd(loc, scale)
            missed_mmd += not estimate.lower - 1e-9 <= mmd <= estimate.upper + 1e-9
        assert missed <= 17  # 5 % of 200 is 10, standard error 3.1
        assert missed_mmd <= 17


def test_plug_in_equals_the_quantile_integral():
    values = np.random.default_rng(0).gamma(2.0, size=(1, 300))
    nodes = (np.arange(400_000) + 0.5) / 400_000
    quantile = np.sort(values[0])[np.minimum((nodes * 300).astype(int), 299)]
    assert plug_in_upper(values).mean() == pytest.approx(np.mean((quantile - norm.ppf(nodes)) ** 2), abs=1e-3)
    assert normal_bin_means(300).sum() == pytest.approx(0, abs=1e-9)


def test_potentials_are_feasible_whatever_they_were_fitted_to():
    """Ψ(v) + Ψ*(y) ≥ v y for all v and y: what makes the dual value a lower bound."""
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=200) * 3 + 1, rng.choice([-1.0, 2.0], 200), rng.standard_cauchy(200)):
        fitted = MonotoneMap(values)
        v, y = rng.uniform(-12, 12, 2000), rng.uniform(-8, 8, 2000)
        assert (fitted.potential(v) + fitted.conjugate(y) - v * y).min() > -1e-9


def test_gelbrich_bound_and_its_influence():
    mean, root = np.array([0.5, -0.2]), np.array([[1.2, 0.0], [0.4, 0.7]])
    cov = root @ root.T
    values, vectors = np.linalg.eigh(cov)
    half = vectors @ np.diag(np.sqrt(values)) @ vectors.T
    assert gelbrich_bound(mean, cov) == pytest.approx(mean @ mean + np.trace(cov + np.eye(2) - 2 * half))
    loc, scale = pair(300, 2, 0.9, 0.5, 0.3)
    influence = gelbrich_influence(loc, scale)
    from vaeaudit.estimators.density_fits import moments

    for i in (0, 17):  # derivative by weight of one datum, numerically
        keep = np.arange(300) != i
        change = gelbrich_bound(*moments(loc, scale)) - gelbrich_bound(*moments(loc[keep], scale[keep]))
        assert influence[i] / 300 == pytest.approx(change, rel=0.05, abs=2e-5)


def test_mmd_is_unbiased_under_the_prior():
    values = [squared_mmd(*pair(60, 2, 0.8, 0.6, 0.0, s)).value for s in range(5)]
    assert min(values) >= 0
    raw = []
    for s in range(200):
        loc, scale = pair(30, 2, 0.8, 0.6, 0.0, s)
        note = squared_mmd(loc, scale)
        raw.append(float(note.note.split("; ")[1].split(" ")[0]) if "raised" in note.note else note.value)
    assert abs(np.mean(raw)) < 4 * np.std(raw) / np.sqrt(200)


def test_bad_arguments():
    with pytest.raises(ShapeError):
        aggregate_distances(pair(10, 2, 1, 1, 0))
    with pytest.raises(ArgumentError):
        aggregate_distances(pair(100, 2, 1, 1, 0), num_directions=1)
