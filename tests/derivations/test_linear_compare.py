"""The comparison of trained linear models: alignment, the shift that noise explains, optima on finite data."""

import numpy as np
import pytest
from scipy import stats

from vaeaudit.derivations.linear_compare import aligned, on_axes, quantities, scatter_bias, turned, unit_of
from vaeaudit.derivations.linear_models import Matrices, ReachedCapacity, gaussian_data, principal_basis
from vaeaudit.derivations.linear_numeric import capacity_cost, optimise
from vaeaudit.derivations.linear_on_data import (
    _log_ratio_slopes,
    capacity_on_data,
    capacity_value,
    from_flat,
    to_flat,
    total_correlation_on_data,
)
from vaeaudit.derivations.linear_theory import linear_gaussian_optima
from vaeaudit.derivations.linear_value import mmd_given_scale, population_value
from vaeaudit.objectives import parse

SPECTRUM = np.array([3.0, 1.2, 0.6, 0.6, 0.6])
NOISE = 0.7


def optimum(name, spectrum=SPECTRUM, latent_dim=3):
    table = linear_gaussian_optima(spectrum, latent_dim, [name], NOISE)
    size = len(spectrum)
    weight, encoder = np.zeros((size, latent_dim)), np.zeros((latent_dim, size))
    np.fill_diagonal(weight, np.sqrt(table["weight_sq"]))
    np.fill_diagonal(encoder, table["loc_map"])
    scale = np.maximum(table["scale"].to_numpy(), 1e-12)
    return Matrices(weight, np.zeros(size), encoder, np.zeros(latent_dim), scale, NOISE)


def moved(model, rng, size):
    """Every parameter displaced by a normal of this standard deviation."""
    shake = lambda a: a + size * rng.standard_normal(a.shape)  # noqa: E731
    weight, bias, enc_weight, enc_bias = map(
        shake, (model.weight, model.bias, model.enc_weight, model.enc_bias)
    )
    scale = np.exp(shake(np.log(model.scale)))
    return Matrices(weight, bias, enc_weight, enc_bias, scale, model.noise_scale)


def disguised(model, rng):
    """Latents permuted and flipped, the axes of equal eigenvalue rotated, all on random data axes."""
    order, sign = rng.permutation(3), rng.choice([-1.0, 1.0], 3)
    turn = np.eye(5)
    turn[2:, 2:] = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    return Matrices(
        turn @ model.weight[:, order] * sign,
        turn @ model.bias,
        (model.enc_weight @ turn.T)[order] * sign[:, None],
        model.enc_bias[order] * sign,
        model.scale[order],
        model.noise_scale,
    )


@pytest.mark.parametrize("seed", range(5))
def test_alignment_undoes_what_neither_data_nor_objective_distinguish(seed):
    rng = np.random.default_rng(seed)
    reference = optimum("elbo")
    model = moved(reference, rng, 0.01)
    back = aligned(disguised(model, rng), reference, SPECTRUM)
    for name in ("weight", "bias", "enc_weight", "enc_bias", "scale"):
        assert np.abs(getattr(back, name) - getattr(reference, name)).max() < 0.04  # displaced by 0.01 each
    cov = np.diag(SPECTRUM)
    before, after = (quantities(parse("elbo"), m, cov) for m in (model, back))
    for key in set(before) - {("offset", 0)}:  # the largest of |b + Wc| depends on the axes
        assert before[key] == pytest.approx(after[key], abs=1e-12)


def test_on_axes_gives_the_quantities_of_the_rotated_data():
    basis = principal_basis(5, 3)
    model = moved(optimum("elbo"), np.random.default_rng(0), 0.1)
    rotated = Matrices(
        basis @ model.weight,
        basis @ model.bias,
        model.enc_weight @ basis.T,
        model.enc_bias,
        model.scale,
        NOISE,
    )
    cov = (basis * SPECTRUM) @ basis.T
    back = on_axes(rotated, basis)
    np.testing.assert_allclose(back.weight, model.weight, atol=1e-12)
    value = population_value("elbo", rotated, cov)
    assert value == pytest.approx(population_value("elbo", back, np.diag(SPECTRUM)), abs=1e-10)


def test_a_rotated_code_has_the_same_mmd_objective():
    rng = np.random.default_rng(1)
    reference = mmd_given_scale(10.0, SPECTRUM, np.full(3, 0.01), NOISE)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    model = Matrices(
        reference.weight @ turn.T, reference.bias, turn @ reference.enc_weight, reference.enc_bias,
        reference.scale, NOISE,
    )  # fmt: skip
    back, cov = turned(model, reference), np.diag(SPECTRUM)
    np.testing.assert_allclose(back.weight, reference.weight, atol=1e-10)
    values = [population_value("mmd(10)", m, cov) for m in (reference, model, back)]
    np.testing.assert_allclose(values, values[0], atol=1e-10)


def test_mmd_given_its_scales_is_a_maximum_below_the_derived_limit():
    """No nearby decoder or loc map is better, and as σ falls it approaches w² = ℓ and the limit's value."""
    limit = linear_gaussian_optima(SPECTRUM, 3, ["mmd(10)"], NOISE)
    rng, cov, values = np.random.default_rng(0), np.diag(SPECTRUM), []
    for s in (0.1, 0.01, 0.001):
        best = mmd_given_scale(10.0, SPECTRUM, np.full(3, s), NOISE)
        values.append(population_value("mmd(10)", best, cov))
        for _ in range(20):
            other = moved(best, rng, 0.02)
            other = Matrices(other.weight, best.bias, other.enc_weight, best.enc_bias, best.scale, NOISE)
            assert population_value("mmd(10)", other, cov) < values[-1] + 1e-9
    assert values == sorted(values)
    assert values[-1] == pytest.approx(limit["value"][0], abs=1e-4)
    np.testing.assert_allclose(np.sum(best.weight**2, axis=0), limit["weight_sq"], rtol=1e-3)


@pytest.mark.parametrize("name", ["iwae(5)", "total_correlation(4)"])
def test_scatter_bias_is_the_shift_that_noise_around_the_optimum_gives(name):
    """400 disguised runs scattered about the optimum by 0.02: their mean quantities less the shift are exact.

    Within 4 standard errors, themselves below 0.3 % of the quantity; without the shift the value misses by more
    than 20.
    """
    rng = np.random.default_rng(0)
    objective, reference, cov = parse(name), optimum(name), np.diag(SPECTRUM)
    runs = [disguised(moved(reference, rng, 0.02), rng) for _ in range(400)]
    bias, exact = scatter_bias(objective, runs, reference, SPECTRUM), quantities(objective, reference, cov)
    for key, number in exact.items():
        if key[0] == "offset":
            continue  # in a disguise the axes of equal eigenvalue turn, and with them the largest element
        drawn = np.array([quantities(objective, run, cov)[key] for run in runs])
        se = drawn.std() / 20
        assert se < 0.003 * max(abs(number), 0.3)
        assert abs(drawn.mean() - bias[key] - number) < 4 * se, key
        if key[0] in ("value", "elbo"):
            assert bias[key] < 0
            assert abs(drawn.mean() - number) > 20 * se


def test_units():
    assert unit_of("scale", 1, 0.3, SPECTRUM) == 1.0
    assert unit_of("weight_sq", 2, 0.0, SPECTRUM) == 1.2
    assert unit_of("weight_sq", 2, 0.5, SPECTRUM) == 0.5
    assert unit_of("value", 0, -6.5, SPECTRUM) == 6.5


def test_capacity_on_data_is_a_maximum_there():
    """No displacement of any size is better; two random starts agree; the mean is written out anew here."""
    spectrum = np.array([2.5, 1.4, 0.7, 0.4, 0.25])
    x = gaussian_data(spectrum, 256, 0) @ principal_basis(5, 0)
    best, value = capacity_on_data(x, 3, 2.0, 4.0, NOISE, num_starts=2)
    loc = x @ best.enc_weight.T + best.enc_bias
    spread = best.scale**2
    error = np.sum((x - loc @ best.weight.T - best.bias) ** 2, 1) + spread @ np.sum(best.weight**2, 0)
    rate = np.sum(0.5 * (loc**2 + spread - 1 - np.log(spread)), 1)
    by_hand = np.mean(-2.5 * np.log(2 * np.pi * 0.49) - error / 0.98 - 4 * np.abs(rate - 2))
    assert value == pytest.approx(by_hand, abs=1e-9)
    _, same = capacity_on_data(x, 3, 2.0, 4.0, NOISE, start=moved(best, np.random.default_rng(5), 0.01))
    assert same == pytest.approx(value, abs=1e-6)
    rng = np.random.default_rng(0)
    for size in (1e-4, 1e-3, 1e-2):
        for _ in range(30):
            assert capacity_value(x, moved(best, rng, size), 2.0, 4.0) < value + 1e-8


def test_capacity_on_many_data_is_that_of_the_gaussian():
    """8,192 points: value within 2·10⁻⁵ relative, w·a and scales within 2·10⁻³ of the closed-form expectation's."""
    spectrum = np.array([2.5, 1.4, 0.7, 0.4, 0.25])
    x = gaussian_data(spectrum, 8192, 0) @ principal_basis(5, 0)
    got, value = capacity_on_data(x, 3, 2.0, 4.0, NOISE, num_starts=1)
    whole = optimise(capacity_cost(2.0, 4.0, np.diag(spectrum)), np.diag(spectrum), 3, variance=0.49)
    assert value == pytest.approx(whole.value, rel=2e-5)
    np.testing.assert_allclose(np.sort(got.scale), np.sort(whole.scale), atol=2e-3)
    through = [np.sort(np.linalg.eigvals(m.enc_weight @ m.weight).real) for m in (got, whole)]
    np.testing.assert_allclose(*through, atol=2e-3)


def test_capacity_with_its_target_reached_ignores_progress():
    """At every progress it has the value that `capacity` has at the end of its ramp, under the same name."""
    from types import SimpleNamespace

    import jax.numpy as jnp

    from vaeaudit.objectives.base import Terms

    rng = np.random.default_rng(0)
    loc, scale = rng.standard_normal((4, 2)).astype(np.float32), np.full((4, 2), 0.5, np.float32)
    zero = jnp.zeros(())
    shape = {"log_likelihood": jnp.ones((1, 4)), "log_prior": jnp.ones((1, 4)), "log_q": jnp.ones((1, 4))}
    plain = SimpleNamespace(z=jnp.zeros((1, 4, 2)), prior_z=jnp.zeros((4, 2)), zero=zero)

    def terms(progress):
        return Terms(
            **shape, z=plain.z, loc=jnp.asarray(loc), scale=jnp.asarray(scale), prior_z=plain.prior_z,
            head_weight_sq=zero, decoder_weight_sq=zero, progress=jnp.asarray(progress), num_data=jnp.asarray(4.0),
        )  # fmt: skip

    ramp, reached = parse("capacity(2, 4)"), ReachedCapacity(2.0, 4.0)
    assert reached.name == ramp.name
    end = np.asarray(ramp(terms(1.0)))
    for progress in (0.0, 0.4, 1.0):
        np.testing.assert_array_equal(np.asarray(reached(terms(progress))), end)
    assert np.abs(np.asarray(ramp(terms(0.4))) - end).max() > 0.1


def test_log_ratio_of_the_mixture_against_scipy():
    """Joint and marginal mixture densities by scipy.stats; slopes by differences."""
    rng = np.random.default_rng(0)
    x, a = rng.standard_normal((12, 4)), rng.standard_normal((3, 4))
    log_scale, noise = np.array([-0.5, -0.2, 0.1]), rng.standard_normal((12, 3))
    value, by_a, by_scale = _log_ratio_slopes(x, a, log_scale, noise)
    loc, scale = x @ a.T, np.exp(log_scale)
    z = loc + scale * noise
    density = stats.norm.pdf(z[:, None], loc[None], scale)  # (z, component, latent)
    joint, marginals = np.log(density.prod(2).mean(1)), np.log(density.mean(1)).sum(1)
    assert value == pytest.approx(np.mean(joint - marginals), abs=1e-12)
    h = 1e-6
    for i in range(3):
        for j in range(4):
            step = np.zeros((3, 4))
            step[i, j] = h
            ends = [_log_ratio_slopes(x, a + d * step, log_scale, noise)[0] for d in (1, -1)]
            assert by_a[i, j] == pytest.approx((ends[0] - ends[1]) / (2 * h), abs=1e-7)
        step = h * np.eye(3)[i]
        ends = [_log_ratio_slopes(x, a, log_scale + d * step, noise)[0] for d in (1, -1)]
        assert by_scale[i] == pytest.approx((ends[0] - ends[1]) / (2 * h), abs=1e-7)


def test_total_correlation_on_data_approaches_the_gaussian_as_one_over_n():
    """Twice the data, half the distance of the scales from the optimum for N(0, S): ratio within [1.4, 2.9]."""
    spectrum = np.array([4.0, 1.5, 0.3])
    limit = optimum("total_correlation(4)", spectrum, 2)
    away = []
    for num_data in (64, 128):
        x = gaussian_data(spectrum, num_data, 0) @ principal_basis(3, 0)
        model, by_group = total_correlation_on_data(x, limit, 4.0)
        spread = [from_flat(to_flat(model) + step, model).scale for step in by_group]
        shift = np.linalg.norm(model.scale - limit.scale)
        assert np.linalg.norm(np.std(spread, axis=0, ddof=1)) / len(spread) ** 0.5 < 0.2 * shift
        away.append(shift)
    assert 1.4 < away[0] / away[1] < 2.9
