"""Every objective against its definition, written out with numpy and scipy in float64."""

import jax
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from vaeaudit import objectives as o
from vaeaudit.objectives.aggregate import MMD, stratified_log_weights
from vaeaudit.objectives.base import Terms

S, B, J, N = 3, 7, 4, 50


def draw(num_samples=S, seed=0, progress=0.3):
    """Terms of a made-up model; every array independent of the others where it can be."""
    rng = np.random.default_rng(seed)
    loc, scale = rng.normal(size=(B, J)), np.exp(0.5 * rng.normal(size=(B, J)))
    z = loc + scale * rng.normal(size=(num_samples, B, J))
    raw = {
        "log_likelihood": -30 + 5 * rng.normal(size=(num_samples, B)),
        "log_prior": norm.logpdf(z).sum(-1),
        "log_q": norm.logpdf(z, loc, scale).sum(-1),
        "z": z,
        "loc": loc,
        "scale": scale,
        "prior_z": rng.normal(size=(B, J)),
        "head_weight_sq": 12.5,
        "decoder_weight_sq": 31.0,
        "progress": progress,
        "num_data": float(N),
    }
    return raw, Terms(**{k: np.asarray(v, np.float32) for k, v in raw.items()})


def kl(t):
    """KL(N(μ, σ²) ‖ N(0, 1)) per latent as E_q[log q − log p], by its moments."""
    entropy = norm.entropy(t["loc"], t["scale"])
    cross = 0.5 * np.log(2 * np.pi) + 0.5 * (t["loc"] ** 2 + t["scale"] ** 2)
    return cross - entropy


def fit_term(t):
    return t["log_likelihood"].mean(0)


def elbo(t):
    return fit_term(t) - kl(t).sum(-1)


def tc_ratio(t):
    """log q̂(z) − Σ log q̂_j(z_j), datum by datum, from the definition of the weights."""
    z, out = t["z"][0], []
    for i in range(B):
        w = np.full(B, (N - 1) / (N * (B - 1)))
        w[i] = 1 / N
        density = norm.pdf(z[i], t["loc"], t["scale"])  # (B, J): q(z_ij | x_k)
        joint = np.log(np.sum(w * density.prod(1)))
        out.append(joint - sum(np.log(np.sum(w * density[:, j])) for j in range(J)))
    return np.array(out)


def mmd(t):
    a, b, c = t["z"][0], t["prior_z"], 2 * J
    k = lambda u, v: c / (c + np.sum((u - v) ** 2))  # noqa: E731
    n = len(a)
    within = sum(k(a[i], a[j]) + k(b[i], b[j]) for i in range(n) for j in range(n) if i != j)
    between = sum(k(a[i], b[j]) for i in range(n) for j in range(n))
    return within / (n * (n - 1)) - 2 * between / n**2


def free_bits(t, threshold):
    """Batch mean Σ_j max(λ, mean KL_j), spread over the data so that only the excess is shared."""
    return elbo(t) - np.maximum(threshold - kl(t).mean(0), 0).sum()


FORMULAS = {
    "elbo": elbo,
    "learned_scale": elbo,
    "beta(0.1)": lambda t: fit_term(t) - 0.1 * kl(t).sum(-1),
    "beta(-1)": lambda t: fit_term(t) + kl(t).sum(-1),
    # linear: 0.3 of training over a warm-up of 0.5; cyclical: 4 × 0.3 = cycle 1, phase 0.2 of 0.5
    "annealed_beta": lambda t: fit_term(t) - 0.6 * kl(t).sum(-1),
    "annealed_beta('cyclical', weight=2)": lambda t: fit_term(t) - 2 * 0.4 * kl(t).sum(-1),
    "free_bits(0.7)": lambda t: free_bits(t, 0.7),
    "capacity(20, 3)": lambda t: fit_term(t) - 3 * np.abs(kl(t).sum(-1) - 0.3 * 20),
    "wasserstein_penalty(2)": lambda t: fit_term(t) - 2 * (t["loc"] ** 2 + (t["scale"] - 1) ** 2).sum(-1),
    "half_quadratic": lambda t: fit_term(t) - (t["loc"] ** 2 / 2 + (t["scale"] - 1) ** 2).sum(-1),
    "moment_penalty(3)": lambda t: fit_term(t) - 3 * (t["loc"] ** 2).sum(-1),
    "head_l2(0.2)": lambda t: fit_term(t) - 0.2 * 12.5,
    "elbo + head_l2(0.2)": lambda t: elbo(t) - 0.2 * 12.5,
    "iwae(3)": lambda t: logsumexp(t["log_likelihood"] + t["log_prior"] - t["log_q"], axis=0) - np.log(3),
    "total_correlation(4)": lambda t: elbo(t) - 3 * tc_ratio(t),
    "autoencoder": fit_term,
    "regularized_autoencoder(0.5, 2)": lambda t: fit_term(t) - (t["loc"] ** 2).sum(-1) - 0.5 * 31,
    "mmd(10)": lambda t: fit_term(t) - 10 * mmd(t),
}


@pytest.fixture(scope="module")
def computed():
    """Values and gradients of all objectives for two made-up models: one compilation."""
    objectives = {name: o.parse(name) for name in FORMULAS}
    both = {name: lambda t, f=f: (f(t), jax.grad(lambda u: f(u).mean())(t)) for name, f in objectives.items()}
    every = jax.jit(lambda terms: {name: f(terms) for name, f in both.items()})
    return {seed: (draw(seed=seed)[0], every(draw(seed=seed)[1])) for seed in (0, 1)}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("seed", [0, 1])
def test_matches_its_definition(name, seed, computed):
    raw, results = computed[seed]
    values, gradient = results[name]
    np.testing.assert_allclose(values, np.broadcast_to(FORMULAS[name](raw), (B,)), rtol=2e-5, atol=2e-4)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_every_registered_objective_has_a_formula_here():
    assert {name.split("(")[0].split(" ")[0] for name in FORMULAS} == set(o.REGISTRY)


@pytest.mark.parametrize(
    ("progress", "weight"), [(0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (0.9, 1.0), (1.0, 1.0)]
)
def test_linear_warm_up(progress, weight):
    assert float(o.annealed_beta().current_weight(progress)) == pytest.approx(weight)


@pytest.mark.parametrize(
    ("progress", "weight"), [(0.0, 0.0), (0.125, 1.0), (0.2499, 1.0), (0.26, 0.08), (0.75, 0.0), (1.0, 1.0)]
)
def test_cyclical_warm_up_ends_at_full_weight(progress, weight):
    assert float(o.annealed_beta("cyclical").current_weight(progress)) == pytest.approx(weight, abs=2e-6)


def test_no_warm_up_is_beta():
    raw, terms = draw(progress=0.0)
    np.testing.assert_allclose(o.annealed_beta(warmup=0)(terms), elbo(raw), rtol=1e-5)


def test_stratified_weights_are_unbiased_over_all_batches():
    """Averaged over every batch that holds datum i, the weighted mixture is the full one exactly."""
    from itertools import combinations

    num_data, batch = 6, 3
    density = np.random.default_rng(3).uniform(size=(num_data, num_data))  # q(z_i | x_k)
    weight = np.exp(np.asarray(stratified_log_weights(batch, np.float32(num_data)), np.float64))
    np.testing.assert_allclose(weight.sum(1), 1, rtol=1e-6)
    for i in range(num_data):
        others = [k for k in range(num_data) if k != i]
        for position in range(batch):  # wherever datum i stands in its batch
            estimates = []
            for rest in combinations(others, batch - 1):
                members = [*rest[:position], i, *rest[position:]]
                estimates.append(weight[position] @ density[i, members])
            assert np.mean(estimates) == pytest.approx(density[i].mean(), rel=1e-6)


def test_own_weight_in_column_zero_would_be_biased():
    """The mutant this guards against: 1/N in column 0 of every row."""
    weight = np.exp(np.asarray(stratified_log_weights(4, np.float32(100))))
    assert np.allclose(np.diag(weight), 0.01)
    assert not np.allclose(weight[1:, 0], 0.01)


def test_mmd_is_unbiased_for_equal_distributions():
    """Mean over 400 pairs of samples is zero within 4 se; a V-statistic would be off by ~2/n = 0.1."""
    rng = np.random.default_rng(0)
    values = [float(MMD.squared_mmd(*rng.normal(size=(2, 20, 2)).astype(np.float32))) for _ in range(400)]
    se = np.std(values, ddof=1) / 20
    assert se < 0.01
    assert abs(np.mean(values)) < 4 * se


def test_weight_zero_leaves_reconstruction():
    raw, terms = draw()
    for name in ("beta(0)", "wasserstein_penalty(0)", "half_quadratic(0)", "moment_penalty(0)", "mmd(0)"):
        np.testing.assert_allclose(o.parse(name)(terms), fit_term(raw), rtol=1e-6)


def test_total_correlation_at_one_is_the_elbo():
    raw, terms = draw()
    np.testing.assert_allclose(o.total_correlation(1)(terms), elbo(raw), rtol=1e-5)
