"""Active units against an independent count, and the definitions where they must disagree."""

import jax.numpy as jnp
import numpy as np
import pytest

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError, ShapeError
from vaeaudit.estimators.active_units import active_units
from vaeaudit.estimators.unit_definitions import ablation_loss, collapsed_share, compare_definitions


def codes(scales, num_data=800, seed=0):
    return np.random.default_rng(seed).normal(size=(num_data, len(scales))) * np.asarray(scales)


def test_counts_equal_an_independent_computation():
    loc = codes(np.logspace(-3, 0, 12))
    units = active_units(loc)
    for row in units.table.itertuples():
        count = 0
        for j in range(12):
            mean = sum(loc[:, j]) / 800
            count += sum((v - mean) ** 2 for v in loc[:, j]) / 799 > row.threshold
        assert row.count == count
        assert units.count(row.threshold) == count
    np.testing.assert_allclose(units.variance, np.cov(loc.T).diagonal())


def test_invariant_to_permuting_flipping_and_shifting():
    loc = codes([1, 0.5, 0.1, 0.05, 0.001])
    one = active_units(loc)
    two = active_units(loc[:, [3, 1, 4, 0, 2]] * [-1, 1, -1, 1, -1] + 7.0)
    assert one.table["count"].tolist() == two.table["count"].tolist()
    assert one.mode_gap.count == two.mode_gap.count
    assert one.mode_gap.decades == pytest.approx(two.mode_gap.decades, abs=1e-4)  # float32 codes around 7


def test_plateau_where_there_is_one_and_none_where_there_is_not():
    two_groups = active_units(codes([1.0, 0.8, 0.9, 0.011, 0.012, 0.013]))
    assert two_groups.mode_gap.exists
    assert two_groups.mode_gap.count == 3
    assert two_groups.mode_gap.lower < 0.01 < two_groups.mode_gap.upper
    assert "plateau of 3" in str(two_groups)
    continuum = active_units(codes(np.sqrt(np.logspace(-4.2, -0.8, 24))))
    assert not continuum.mode_gap.exists
    assert "no plateau" in str(continuum)


def test_a_gap_between_two_groups_comes_before_the_empty_end_of_the_sweep():
    """Units at 0.3 and 0.02: from 10⁻⁴ to 0.02 no count changes, but nothing lies below either."""
    groups = active_units(codes(np.sqrt([0.9, 0.6, 0.3, 0.02, 0.015]))).mode_gap
    assert groups.exists
    assert groups.count == 3
    assert groups.lower == pytest.approx(0.02, rel=0.2)
    assert groups.upper == pytest.approx(0.3, rel=0.2)
    alone = active_units(codes(np.sqrt([0.9, 0.6, 0.3, 0.05, 0.03]))).mode_gap
    assert alone.count == 5  # less than a decade between: the sweep's lower end is the wider gap
    assert alone.lower == 1e-4
    every = active_units(codes([1.0, 0.9])).mode_gap
    assert (every.count, every.lower, every.upper) == (2, 1e-4, 0.1)
    none = active_units(codes([1e-3, 0.0])).mode_gap
    assert (none.count, none.exists) == (0, True)


def test_band_covers_the_population_count_near_the_threshold():
    """Variances at the threshold: single counts scatter, the band must cover the truth."""
    scales = np.sqrt(np.array([1.0, 0.0115, 0.0087, 0.001]))
    covered = 0
    for seed in range(60):
        estimate = active_units(codes(scales, 200, seed), num_bootstrap=200).estimate(0.01)
        covered += estimate.lower <= 2 <= estimate.upper
    assert covered >= 54  # 95 % nominal; standard error 2.8 %
    assert estimate.unit == "units"


def test_bootstrap_spread_is_that_of_the_sample_variance():
    units = active_units(codes([0.5], 2000), num_bootstrap=1000)
    assert units.resampled.std() == pytest.approx(0.25 * np.sqrt(2 / 2000), rel=0.15)


@pytest.mark.parametrize(
    ("loc", "keywords", "error"),
    [
        (np.zeros(5), {}, ShapeError),
        (np.zeros((1, 5)), {}, ShapeError),
        (np.zeros((5, 2)), {"thresholds": []}, ArgumentError),
        (np.zeros((5, 2)), {"thresholds": [0.0]}, ArgumentError),
        (np.zeros((5, 2)), {"num_bootstrap": 3}, ArgumentError),
    ],
)
def test_bad_arguments(loc, keywords, error):
    with pytest.raises(error):
        active_units(loc, **keywords)


def test_collapse_needs_nearly_all_data():
    rate = np.zeros((100, 3))
    rate[:, 0] = 1.0
    rate[:2, 1] = 1.0  # two of a hundred are informed
    np.testing.assert_allclose(collapsed_share(rate, 0.01), [0.0, 0.98, 1.0])


def test_a_unit_informed_by_few_data_is_not_collapsed():
    """5 % of the data use the unit: its mean rate is small, yet (0.01, 0.01)-collapse needs 99 %."""
    loc = np.zeros((400, 2))
    loc[:20, 0] = 0.3
    loc[:2, 1] = 0.3
    table = compare_definitions((loc, np.ones((400, 2)))).table.set_index("definition")
    assert table.loc["(ε, δ) not collapsed", "units"] == "0"
    assert table.loc["mean rate", "count"] == 0


def linear_model():
    """Unit 0 used, 1 encoded but ignored by the decoder, 2 constant off the prior, 3 collapsed."""
    enc = jnp.array([0.8, 0.6, 0.0, 0.0])
    return va.vae(
        encode=lambda x: (
            x[:, :1] * enc + jnp.array([0.0, 0.0, 1.0, 0.0]),
            jnp.broadcast_to(jnp.array([0.4, 0.5, 1.0, 1.0]), (x.shape[0], 4)),
        ),
        log_likelihood=lambda x, z: -0.5 * ((x[:, 0] - z[..., 0]) / 0.5) ** 2,
        latent_dim=4,
    )


def test_definitions_disagree_where_they_must():
    x = np.random.default_rng(0).normal(size=(600, 1)).astype(np.float32)
    found = compare_definitions(linear_model(), x)
    units = found.table.set_index("definition")["units"]
    assert units["variance of the mean"] == "0 1"
    assert units["mean rate"] == "0 1 2"
    assert units["(ε, δ) not collapsed"] == "0 1 2"
    assert units["mean scale"] == "0 1"
    assert units["loss when ablated"] == "0"
    assert not found.agree
    assert "between 1 and 3" in str(found)


def test_ablation_loss_against_the_closed_form():
    x = np.random.default_rng(0).normal(size=(600, 1)).astype(np.float32)
    losses = ablation_loss(linear_model(), x, num_samples=200)
    square = float(np.mean(x.astype(np.float64) ** 2))
    with_unit = -((0.2**2) * square + 0.16) / 0.5 - 0.5 * (0.64 * square + 0.16 - 1 - np.log(0.16))
    assert losses[0].value == pytest.approx(with_unit + square / 0.5, abs=0.05)
    rate_of_unit_1 = 0.5 * (0.36 * square + 0.25 - 1 - np.log(0.25))
    assert losses[1].value == pytest.approx(-rate_of_unit_1, abs=1e-3)  # the bound gains what the unit cost
    assert losses[2].value == pytest.approx(-0.5, abs=1e-3)
    assert losses[3].value == pytest.approx(0.0, abs=1e-4)


def test_ablation_takes_any_score():
    x = np.random.default_rng(0).normal(size=(50, 1)).astype(np.float32)

    def score(model, data):
        return model.log_likelihood(jnp.asarray(data), model.encode(jnp.asarray(data))[0][None])[0]

    losses = ablation_loss(linear_model(), x, score=score)
    assert losses[0].value > 0.5
    assert [round(loss.value, 6) for loss in losses[1:]] == [0.0, 0.0, 0.0]
    with pytest.raises(ShapeError):
        ablation_loss(linear_model(), x, score=lambda model, data: np.zeros(3))
