"""The linear-Gaussian optima against whole-matrix optimisation, textbook pPCA, and the model class."""

import itertools

import numpy as np
import pytest
from free_bits_oracle import free_bits_optimum
from scipy import integrate, optimize

from vaeaudit.core.errors import ArgumentError, ShapeError, UnknownNameError
from vaeaudit.derivations.linear_direction import best_direction, encoder_given_decoder, threshold
from vaeaudit.derivations.linear_numeric import (
    capacity_cost,
    charges,
    cost_of,
    optimise,
    total_correlation_cost,
)
from vaeaudit.derivations.linear_rate_gap import rate_gap
from vaeaudit.derivations.linear_terms import direction_terms
from vaeaudit.derivations.linear_theory import DEFAULT_OBJECTIVES, linear_gaussian_optima
from vaeaudit.models.linear_gaussian import LinearGaussianVAE
from vaeaudit.objectives import REGISTRY, parse

COV3 = np.array([[2.0, 0.3, 0.1], [0.3, 1.0, -0.2], [0.1, -0.2, 0.5]])

SPECTRA = {
    "steep": [4.0, 2.0, 0.9, 0.3, 0.2],
    "close": [1.6, 1.3, 0.5, 0.4],
    "flat tail": [3.0, 0.6, 0.6, 0.6],
}
SMOOTH = (
    "elbo",
    "beta(0.1)",
    "beta(0.5)",
    "beta(2)",
    "elbo + head_l2(0.1)",
    "beta(0.5) + head_l2(0.02)",
    "regularized_autoencoder(0.01, 1)",
    "total_correlation(4)",
)


def rotated(spectrum, seed):
    basis, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(spectrum),) * 2))
    return basis @ np.diag(spectrum) @ basis.T


def trained(name, spectrum, seed, variance):
    objective, cov = parse(name), rotated(spectrum, seed)
    terms = direction_terms(objective)
    cost = cost_of(objective, terms, cov)
    deterministic = terms.kl == terms.quadratic == 0 and "correlation" not in name
    return optimise(cost, cov, 2, variance=variance, seeds=(seed,), deterministic=deterministic)


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("noise", [0.6, None])
@pytest.mark.parametrize("name", SMOOTH)
def test_whole_matrices_from_random_starts_reach_the_derived_optimum(name, noise, spectrum):
    """Three rotations and starts; relative error at most 10⁻³ in decoder, encoder, scales and noise."""
    values = SPECTRA[spectrum]
    table = linear_gaussian_optima(values, 2, [name], noise_scale=noise)
    for seed in range(3):
        got = trained(name, values, seed, None if noise is None else noise**2)
        assert got.value == pytest.approx(table["value"][0], rel=1e-6, abs=1e-6)
        weight_sq = np.sort(np.linalg.eigvalsh(got.weight.T @ got.weight))[::-1]
        np.testing.assert_allclose(weight_sq, table["weight_sq"], rtol=1e-3, atol=1e-4)
        # A W has the eigenvalues w·a: 1 where the code is read back whole
        through = np.sort(np.linalg.eigvals(got.enc_weight @ got.weight).real)[::-1]
        expected = np.sqrt(table["weight_sq"]) * table["loc_map"]
        np.testing.assert_allclose(through, np.sort(expected)[::-1], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(np.sort(got.scale), np.sort(table["scale"]), rtol=1e-3, atol=1e-3)
        assert np.sqrt(got.variance) == pytest.approx(table["noise_scale"][0], rel=1e-3)


def test_half_quadratic_has_an_interior_optimum_in_its_window_only():
    """λs² < ℓ < 4λs²: w² = 2λs²(√ℓ − s√λ)/(2s√λ − √ℓ)."""
    s2, weight = 0.5, 1.2
    terms = direction_terms(f"half_quadratic({weight})")
    for ratio in (1.5, 2.5, 3.6):
        e = ratio * weight * s2
        root, edge = np.sqrt(e), np.sqrt(weight * s2)
        expected = 2 * weight * s2 * (root - edge) / (2 * edge - root)
        found = best_direction(terms, e, s2)
        assert found.weight_sq == pytest.approx(expected, rel=1e-9)
        got = optimise(charges(terms, np.diag([e])), np.diag([e]), 1, variance=s2)
        assert got.weight[0, 0] ** 2 == pytest.approx(expected, rel=1e-3)
        assert got.scale[0] == pytest.approx(found.scale, rel=1e-3)
    assert best_direction(terms, 0.99 * weight * s2, s2).weight_sq == 0
    assert best_direction(terms, 4.01 * weight * s2, s2).weight_sq == np.inf


@pytest.mark.parametrize(
    "name", ["wasserstein_penalty(1)", "wasserstein_penalty(0.3)", "moment_penalty(1)", "head_l2(0.1)"]
)
def test_bounded_penalties_climb_to_their_limit_as_the_decoder_grows(name):
    """With the decoder held at w an optimiser finds the derived encoder; the value rises to the limit."""
    s2, e = 0.4, 3.0
    terms = direction_terms(name)
    limit = best_direction(terms, e, s2)
    assert limit.weight_sq == np.inf
    heights = []
    for y in (1.0, 10.0, 100.0):
        w = np.sqrt(y)

        def loss(t, w=w):
            a, scale = t[0], (np.exp(t[1]) if terms.quadratic else 0.0)
            error = e * (1 - w * a) ** 2 + w * w * scale**2
            return (
                error / (2 * s2)
                + terms.loc * a * a * e
                + terms.head * a * a
                + terms.quadratic * (scale - 1) ** 2
            )

        got = optimize.minimize(loss, [0.1, -1.0], method="BFGS", options={"gtol": 1e-10})
        loc_map, scale = encoder_given_decoder(terms, e, y, s2)
        assert got.x[0] == pytest.approx(loc_map, rel=1e-4)
        if terms.quadratic:
            assert np.exp(got.x[1]) == pytest.approx(scale, rel=1e-3)
        heights.append(-got.fun)
    assert heights == sorted(heights)
    assert heights[-1] < limit.value
    assert limit.value - heights[-1] < 0.15 * (limit.value - heights[0])


@pytest.mark.parametrize("weight", [0.3, 1.0, 2.5])
def test_wasserstein_value_along_the_ridge_and_its_threshold(weight):
    """φ(y) = −λ(ℓ + y)/(y + 2λs²): monotone, so alive exactly for ℓ > 2λs²."""
    s2 = 0.5
    terms = direction_terms(f"wasserstein_penalty({weight})")
    assert threshold(terms, s2) == pytest.approx(2 * weight * s2, rel=1e-6)
    for e, sign in ((1.5 * 2 * weight * s2, 1), (0.7 * 2 * weight * s2, -1)):
        y = np.array([0.5, 1.0, 5.0, 50.0])
        value = []
        for yy in y:
            a, scale = encoder_given_decoder(terms, e, yy, s2)
            error = e * (1 - np.sqrt(yy) * a) ** 2 + yy * scale**2
            value.append(-error / (2 * s2) - weight * (a * a * e + (scale - 1) ** 2))
        np.testing.assert_allclose(value, -weight * (e + y) / (y + 2 * weight * s2), rtol=1e-12)
        assert (sign * np.diff(value) > 0).all()


@pytest.mark.parametrize(
    ("name", "factor"), [("elbo", 1.0), ("beta(0.1)", 0.1), ("beta(4)", 4.0), ("half_quadratic(2)", 2.0)]
)
def test_collapse_thresholds(name, factor):
    assert threshold(direction_terms(name), 0.3) == pytest.approx(factor * 0.3, rel=1e-6)


def test_ppca_of_tipping_and_bishop():
    """s² = mean of the left-out eigenvalues, w² = ℓ − s², log p(x) from the sample formula."""
    spectrum = np.array([5.0, 2.0, 0.5, 0.3, 0.1])
    table = linear_gaussian_optima(spectrum, 2, ["elbo", "learned_scale"])
    s2 = spectrum[2:].mean()
    assert table["noise_scale"].to_numpy() == pytest.approx(np.sqrt(s2))
    np.testing.assert_allclose(table["weight_sq"][:2], spectrum[:2] - s2)
    best = -0.5 * (5 * np.log(2 * np.pi) + np.log(spectrum[:2]).sum() + 3 * np.log(s2) + 5)
    assert table["log_evidence"].to_numpy() == pytest.approx(best)
    assert table["value"].to_numpy() == pytest.approx(best)
    assert (table["gap"] < 1e-12).all()


@pytest.mark.parametrize("name", ["elbo", "beta(0.5)", "elbo + head_l2(0.1)", "free_bits(0.8)"])
def test_elbo_and_evidence_agree_with_the_linear_model(name):
    """The table's numbers against the model class's own float64 population formulas."""
    spectrum = np.array([4.0, 1.5, 0.4, 0.2])
    table = linear_gaussian_optima(spectrum, 2, [name], noise_scale=0.7)
    weight, encoder = np.zeros((4, 2)), np.zeros((2, 4))
    for j, row in table.iterrows():
        weight[j, j], encoder[j, j] = np.sqrt(row["weight_sq"]), row["loc_map"]
    model = LinearGaussianVAE(
        weight=weight,
        bias=np.zeros(4),
        noise_scale=0.7,
        enc_weight=encoder,
        enc_bias=np.zeros(2),
        enc_scale=table["scale"].to_numpy(),
    )
    truth = model.population(np.zeros(4), np.diag(spectrum))
    assert truth.elbo == pytest.approx(table["elbo"][0], abs=2e-6)
    assert truth.log_evidence == pytest.approx(table["log_evidence"][0], abs=2e-6)
    assert truth.inference_gap == pytest.approx(table["gap"][0], abs=4e-6)


def test_importance_weights_are_constant_at_the_shared_optimum_of_elbo_and_iwae():
    table = linear_gaussian_optima([3.0, 1.0, 0.2], 2, ["iwae(5)"], noise_scale=0.5)
    rng = np.random.default_rng(0)
    x, eps = rng.standard_normal(3) * [3**0.5, 1, 0.2**0.5], rng.standard_normal((500, 2))
    w, a, scale = (
        np.sqrt(table["weight_sq"].to_numpy()),
        table["loc_map"].to_numpy(),
        table["scale"].to_numpy(),
    )
    z = a * x[:2] + scale * eps
    mean = np.concatenate([z * w, np.zeros((500, 1))], axis=1)
    log_w = -0.5 * np.sum((x - mean) ** 2, 1) / 0.25 - 0.5 * np.sum(z**2, 1) + 0.5 * np.sum(eps**2, 1)
    assert np.ptp(log_w) < 1e-9


FREE_BITS = (  # spectrum, latents, floor: all above, all shared, first alone above, one given up
    ([4.0, 2.0, 0.9], 2, 0.3),
    ([4.0, 2.0, 0.9, 0.3], 2, 1.3),
    ([9.0, 1.0, 0.6, 0.3], 3, 0.8),
    ([6.0, 0.9, 0.05, 0.04], 3, 0.7),
)


@pytest.mark.parametrize("noise", [0.5, None])
@pytest.mark.parametrize(("spectrum", "latents", "floor"), FREE_BITS)
def test_free_bits_against_quadratic_programming_on_whole_matrices(spectrum, latents, floor, noise):
    """No axes enter the optimiser: a theory that lets each direction have its own floor is below it."""
    table = linear_gaussian_optima(spectrum, latents, [f"free_bits({floor})"], noise_scale=noise)
    value, variance, weight, encoder, scale = free_bits_optimum(
        np.array(spectrum), latents, floor, None if noise is None else noise**2
    )
    assert table["value"][0] == pytest.approx(value, abs=1e-8)
    assert table["noise_scale"][0] == pytest.approx(variance**0.5, rel=1e-4)
    found = np.sort(np.linalg.eigvalsh(weight.T @ weight))[::-1]
    np.testing.assert_allclose(found, np.sort(table["weight_sq"])[::-1], rtol=1e-3, atol=1e-5)
    through = np.sort(np.linalg.eigvals(encoder @ weight).real)[::-1]
    expected = np.sort(np.sqrt(table["weight_sq"]) * table["loc_map"])[::-1]
    np.testing.assert_allclose(through, expected, atol=1e-4)
    np.testing.assert_allclose(np.sort(scale), np.sort(table["scale"]), atol=1e-4)


def test_free_bits_value_over_random_models():
    """40 seeded spectra, floors and noises, among them the window with one latent of a mixture above."""
    rng, mixed = np.random.default_rng(0), 0
    for _ in range(40):
        latents = int(rng.integers(2, 4))
        spectrum = np.sort(np.exp(rng.normal(0, 1, latents + 1)))[::-1]
        floor, variance = round(rng.uniform(0.1, 1.2), 4), float(np.exp(rng.uniform(-2.5, 0.5)))
        table = linear_gaussian_optima(spectrum, latents, [f"free_bits({floor})"], variance**0.5)
        value, *_ = free_bits_optimum(spectrum, latents, floor, variance, num_starts=2)
        assert table["value"][0] == pytest.approx(value, abs=1e-7)
        mixed += table["weight_sq"].isna().any()
    window = linear_gaussian_optima([4.0, 2.0, 0.9, 0.3, 0.2], 3, ["free_bits(0.5)"], 0.5**0.5)
    spectrum = np.array([4.0, 2.0, 0.9, 0.3, 0.2])
    value, _, _, _, scale = free_bits_optimum(spectrum, 3, 0.5, 0.5)
    assert window["weight_sq"].isna().sum() == 2
    assert window["value"][0] == pytest.approx(value, abs=1e-8)
    assert window["elbo"][0] == window["value"][0]
    np.testing.assert_allclose(np.sort(window["scale"]), np.sort(scale), atol=1e-4)


def test_shared_floor_beats_a_floor_of_ones_own():
    """Directions that keep to their axes at rate λ leave ℓe^{−2λ} each: more than when they share."""
    spectrum, floor, s2 = np.array([4.0, 2.0, 0.9]), 1.3, 0.49
    table = linear_gaussian_optima(spectrum, 2, [f"free_bits({floor})"], noise_scale=0.7)
    own = spectrum[:2] * np.exp(-2 * floor)
    aligned = -1.5 * np.log(2 * np.pi * s2) - (own.sum() + spectrum[2]) / (2 * s2) - 2 * floor
    assert table["value"][0] - aligned == pytest.approx(0.0130034, abs=1e-6)


def test_autoencoder_reconstructs_by_pca_at_any_scale():
    spectrum = [3.0, 1.0, 0.4]
    table = linear_gaussian_optima(spectrum, 2, ["autoencoder"], noise_scale=0.5)
    assert table["weight_sq"].isna().all()
    assert table["log_evidence"].isna().all()
    got = trained("autoencoder", spectrum, 0, 0.25)
    assert got.value == pytest.approx(table["value"][0], abs=1e-8)


GAPS = (([0.7], 0.5), ([1.2, 0.4], 1.0), ([0.9, 0.3, 0.8], 0.2), ([0.18, 0.17, 0.05], 0.8), ([0.5], -0.3))


@pytest.mark.parametrize(("moments", "constant"), GAPS)
def test_rate_gap_against_nested_quadrature(moments, constant):
    """E|Q − c| by scipy, one dimension in closed form (a folded χ²₁), the others by quadrature; and its slopes."""
    from scipy import stats

    def gap(m, c):
        if len(m) == 1:
            edge = np.sqrt(max(2 * c / m[0], 0.0))
            parts = [stats.norm.expect(lambda e: abs(0.5 * m[0] * e * e - c), lb=lo, ub=hi)
                     for lo, hi in ((0, edge), (edge, 12)) if hi > lo]  # fmt: skip
            return 2 * sum(parts)
        edges = sorted({0.0, min(np.sqrt(max(2 * c / m[0], 0.0)), 12.0), 12.0})
        return 2 * sum(
            integrate.quad(lambda e: gap(m[1:], c - 0.5 * m[0] * e * e) * stats.norm.pdf(e), lo, hi,
                           epsabs=1e-7, epsrel=1e-7)[0]
            for lo, hi in itertools.pairwise(edges)
        )  # fmt: skip

    m = np.array(moments)
    value, by_moment, by_constant = rate_gap(m, constant)
    if len(m) < 3:
        assert value == pytest.approx(gap(list(m), constant), abs=1e-6)
    h = 1e-5
    slope = (rate_gap(m, constant + h)[0] - rate_gap(m, constant - h)[0]) / (2 * h)
    assert by_constant == pytest.approx(slope, abs=1e-8)
    for j, step in enumerate(h * np.eye(len(m))):
        slope = (rate_gap(m + step, constant)[0] - rate_gap(m - step, constant)[0]) / (2 * h)
        assert by_moment[j] == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize(("moments", "constant"), GAPS)
def test_rate_gap_against_simulation(moments, constant):
    """Tolerance 4 standard errors, themselves below 0.5 % of the value."""
    draws = np.random.default_rng(0).standard_normal((400_000, len(moments)))
    gaps = np.abs(0.5 * draws**2 @ np.array(moments) - constant)
    se = gaps.std() / len(gaps) ** 0.5
    assert se < 0.005 * gaps.mean()
    assert abs(rate_gap(np.array(moments), constant)[0] - gaps.mean()) < 4 * se


@pytest.mark.parametrize("cost", [total_correlation_cost(4.0, COV3), capacity_cost(2.0, 4.0, COV3)])
def test_slopes_of_the_costs_against_differences(cost):
    rng = np.random.default_rng(1)
    w, a, log_scale = rng.standard_normal((3, 2)), 0.5 * rng.standard_normal((2, 3)), np.array([-0.9, -0.4])
    _, _, by_a, by_scale = cost(w, a, log_scale)
    h = 1e-6
    for i in range(2):
        for j in range(3):
            step = np.zeros((2, 3))
            step[i, j] = h
            slope = (cost(w, a + step, log_scale)[0] - cost(w, a - step, log_scale)[0]) / (2 * h)
            assert by_a[i, j] == pytest.approx(slope, abs=1e-7)
        step = h * np.eye(2)[i]
        slope = (cost(w, a, log_scale + step)[0] - cost(w, a, log_scale - step)[0]) / (2 * h)
        assert by_scale[i] == pytest.approx(slope, abs=1e-7)


def test_capacity_optimum_against_nelder_mead_along_the_axis():
    e, s2, target, weight = 2.0, 0.3, 1.0, 3.0
    cov = np.diag([e])
    got = optimise(capacity_cost(target, weight, cov), cov, 1, variance=s2)
    grid = np.linspace(-9, 9, 20_001)
    density = np.exp(-0.5 * grid**2) * (grid[1] - grid[0]) / np.sqrt(2 * np.pi)

    def loss(t):
        w, a, scale = t[0], t[1], np.exp(t[2])
        rate = 0.5 * (a * a * e * grid**2 + scale**2 - 1) - np.log(scale)
        error = e * (1 - w * a) ** 2 + w * w * scale**2
        return 0.5 * np.log(2 * np.pi * s2) + error / (2 * s2) + weight * density @ np.abs(rate - target)

    found = optimize.minimize(
        loss, [1.0, 0.5, -1.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-11}
    )
    assert got.value == pytest.approx(-found.fun, abs=1e-5)
    assert got.weight[0, 0] ** 2 == pytest.approx(found.x[0] ** 2, rel=1e-3)


def test_total_correlation_vanishes_on_the_axes_only():
    cov = np.diag([2.0, 1.0])
    aligned = total_correlation_cost(4.0, cov)(np.zeros((2, 2)), np.eye(2), np.zeros(2))[0]
    plain = total_correlation_cost(1.0, cov)(np.zeros((2, 2)), np.eye(2), np.zeros(2))[0]
    turned = np.array([[1.0, 1.0], [-1.0, 1.0]]) / 2**0.5
    assert aligned == pytest.approx(plain)
    mixed = [total_correlation_cost(b, cov)(np.zeros((2, 2)), turned, np.zeros(2))[0] for b in (1.0, 4.0)]
    assert mixed[1] > mixed[0]


def test_beta_is_the_rescaled_decoder():
    """β at noise s has the ELBO's optimum at noise √β s, and its log p(x) once that noise is used."""
    spectrum = [4.0, 1.5, 0.4]
    scaled = linear_gaussian_optima(spectrum, 2, ["beta(0.25)"], noise_scale=0.8)
    plain = linear_gaussian_optima(spectrum, 2, ["elbo"], noise_scale=0.4)
    for column in ("weight_sq", "loc_map", "scale"):
        np.testing.assert_allclose(scaled[column], plain[column], rtol=1e-12)
    np.testing.assert_allclose(scaled["log_evidence_implied"], plain["log_evidence"], rtol=1e-12)
    assert (scaled["implied_noise_scale"] == 0.4).all()
    assert (
        scaled["log_evidence"]
        < linear_gaussian_optima(spectrum, 2, ["elbo"], noise_scale=0.8)["log_evidence"]
    ).all()


def test_no_objective_passes_the_maximum_of_log_evidence():
    for noise in (0.7, None):
        table = linear_gaussian_optima([4.0, 2.0, 0.9, 0.3], 2, noise_scale=noise)
        kept = table[table["log_evidence"].notna()]
        assert (kept["log_evidence"] <= kept["log_evidence_max"] + 1e-9).all()
        assert set(table["objective"]) == {parse(o).name for o in DEFAULT_OBJECTIVES}
        assert {o.split("(")[0].split(" ")[0] for o in table["objective"]} == set(REGISTRY)


def test_a_full_set_of_latents_with_learned_noise_is_unbounded():
    table = linear_gaussian_optima([2.0, 1.0], 2, ["autoencoder", "regularized_autoencoder(0.1, 1)"])
    assert (table["value"] == np.inf).any()


def test_errors_name_what_is_wrong():
    with pytest.raises(ArgumentError, match="positive eigenvalues"):
        linear_gaussian_optima([1.0, -0.1], 1)
    with pytest.raises(ShapeError, match="latent_dim"):
        linear_gaussian_optima([1.0, 0.5], 3)
    with pytest.raises(ArgumentError, match="noise_scale"):
        linear_gaussian_optima([1.0, 0.5], 1, noise_scale=0.0)
    with pytest.raises(UnknownNameError):
        linear_gaussian_optima([1.0, 0.5], 1, ["elbow"])
    with pytest.raises(ArgumentError, match="without bound"):
        linear_gaussian_optima([1.0, 0.5], 1, ["beta(-1)"])


def test_wasserstein_autoencoder_cannot_pass_its_limit():
    """Population MMD by quadrature: every (w, a, σ) is below the derived value, σ → 0 with w² = ℓ reaches it."""
    e, s2, weight = 2.0, 0.3, 10.0
    table = linear_gaussian_optima([e], 1, [f"mmd({weight})"], noise_scale=s2**0.5)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()

    def kernel_mean(variance):  # E C/(C + r²), r ~ N(0, variance), C = 2J
        return float(weights @ (2 / (2 + variance * nodes**2)))

    def value(w, a, scale):
        total = a * a * e + scale**2
        mmd = kernel_mean(2 * total) + kernel_mean(2.0) - 2 * kernel_mean(total + 1)
        error = e * (1 - w * a) ** 2 + w * w * scale**2
        return -0.5 * np.log(2 * np.pi * s2) - error / (2 * s2) - weight * mmd

    rng = np.random.default_rng(0)
    drawn = [value(*rng.uniform([0, 0, 0.001], [3, 2, 1.5])) for _ in range(2000)]
    assert max(drawn) < table["value"][0]
    near = value(np.sqrt(table["weight_sq"][0]), table["loc_map"][0], 1e-4)
    assert near == pytest.approx(table["value"][0], abs=1e-6)


def test_small_total_correlation_weight_goes_to_the_optimiser():
    table = linear_gaussian_optima([3.0, 1.0, 0.3], 2, ["total_correlation(0.5)", "elbo"], noise_scale=0.6)
    assert list(table["how"]) == ["optimiser"] * 2 + ["closed form"] * 2
    assert table["value"][0] >= table["value"][2] - 1e-6  # the term only adds for β < 1


def test_directions_exactly_at_the_threshold_are_collapsed():
    """Learned noise on a flat tail: ℓ₂ = ℓ₃ = s² to rounding, so w² = 0, and training agrees."""
    from vaeaudit import verify_linear_gaussian_optima

    spectrum = [3.0, 0.6, 0.6, 0.6, 0.6]
    table = linear_gaussian_optima(spectrum, 3, ["elbo"])
    assert list(table["alive"]) == [True, False, False]
    checked = verify_linear_gaussian_optima(spectrum, 3, ["elbo"], seeds=(0,))
    assert checked["relative_error"].max() < 1e-3
