"""Alignment against gradients of closed-form expressions of a linear-Gaussian model, and the refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError, UnknownNameError
from vaeaudit.estimators.gradients import TARGETS, gradient_alignment

NAMES = ("weight", "bias", "noise_scale", "enc_weight", "enc_bias", "enc_scale")


@pytest.fixture(scope="module")
def linear():
    model = va.LinearGaussianVAE.random(3, data_dim=5, latent_dim=2, noise_scale=0.4)
    x = np.asarray(model.generative.sample(np.random.default_rng(0), 16)[1] + 0.3, np.float32)
    return model.mismatched(1.5, 0.3), x


def closed_form_gradients(model, x):
    """θ and φ gradients of E_q log p(x|z), KL, W₂² and log p(x), from expressions written out here."""
    p = {n: jnp.asarray(getattr(model, n)) for n in NAMES}
    d = x.shape[1]

    def loc(p):
        return x @ p["enc_weight"].T + p["enc_bias"]

    def likelihood(p):
        u = x - loc(p) @ p["weight"].T - p["bias"]
        spread = jnp.sum((p["weight"] * p["enc_scale"]) ** 2)
        s2 = p["noise_scale"] ** 2
        return jnp.mean(-0.5 * (jnp.sum(u**2, 1) + spread) / s2 - 0.5 * d * jnp.log(2 * jnp.pi * s2))

    def kl(p):
        s2 = p["enc_scale"] ** 2
        return jnp.mean(jnp.sum(0.5 * (loc(p) ** 2 + s2 - 1 - jnp.log(s2)), 1))

    def wasserstein(p):
        return jnp.mean(jnp.sum(loc(p) ** 2 + (p["enc_scale"] - 1) ** 2, 1))

    def evidence(p):
        cov = p["weight"] @ p["weight"].T + p["noise_scale"] ** 2 * jnp.eye(d)
        return jnp.mean(jax.scipy.stats.multivariate_normal.logpdf(x, p["bias"], cov))

    def vectors(f):
        g = jax.grad(f)(p)
        flat = [np.asarray(g[n], np.float64).ravel() for n in NAMES]
        return {"theta": np.concatenate(flat[:3]), "phi": np.concatenate(flat[3:])}

    return {f.__name__: vectors(f) for f in (likelihood, kl, wasserstein, evidence)}


def exact(model, x, objective_weights, target_weights, group):
    g = closed_form_gradients(model, x)
    a = sum(w * g[n][group] for n, w in objective_weights.items())
    b = sum(w * g[n][group] for n, w in target_weights.items())
    return {
        "cosine": a @ b / np.linalg.norm(a) / np.linalg.norm(b),
        "projection": a @ b / (b @ b),
        "climb": a @ b / np.linalg.norm(a),
    }


OBJECTIVES = {
    "wasserstein_penalty": {"likelihood": 1, "wasserstein": -1},
    "beta(0.1)": {"likelihood": 1, "kl": -0.1},
}
TARGET_WEIGHTS = {
    "log_evidence": {"evidence": 1},
    "elbo": {"likelihood": 1, "kl": -1},
    "posterior_kl": {"likelihood": 1, "kl": -1, "evidence": -1},
    "wasserstein": {"wasserstein": -1},
    "distortion": {"likelihood": 1},
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_intervals_cover_closed_form(linear, name):
    """60 replications × 8 defined rows; cosines known to ±0.15, so that a sign or factor 2 shows."""
    model, x = linear
    inside = {q: [] for q in ("cosine", "projection", "climb")}
    truth = {
        (t, g): exact(model, x, OBJECTIVES[name], TARGET_WEIGHTS[t], g)
        for t in TARGETS
        for g in ("theta", "phi")
        if (t, g) not in (("wasserstein", "theta"), ("log_evidence", "phi"))
    }
    for seed in range(60):
        table = gradient_alignment(name, model, x, rng_key=seed, num_samples=16, num_replicates=16).table
        for row in table.itertuples():
            if (row.target, row.parameters) not in truth:
                assert row.verdict == "undefined"
                continue
            want = truth[row.target, row.parameters]
            assert row.verdict == "ok"
            assert row.upper - row.lower < 0.3
            slack = 1e-5
            inside["cosine"].append(row.lower - slack <= want["cosine"] <= row.upper + slack)
            for q in ("projection", "climb"):
                low, high = getattr(row, f"{q}_lower"), getattr(row, f"{q}_upper")
                slack = 1e-4 * abs(want[q])
                inside[q].append(low - slack <= want[q] <= high + slack)
    for quantity, hits in inside.items():
        # rows share draws within a replication: the bound is that of 60 independent ones
        assert np.mean(hits) >= stats.binom.ppf(0.001, 60, 0.95) / 60, quantity


def test_in_theta_every_stand_in_for_the_kl_pushes_as_the_elbo_does(linear):
    model, x = linear
    for name in ("wasserstein_penalty", "half_quadratic", "moment_penalty", "beta(4)"):
        result = gradient_alignment(name, model, x, ("elbo", "posterior_kl"), num_samples=16)
        cosine = result.cosine("elbo", "theta")
        assert cosine.value == pytest.approx(1.0, abs=1e-6)
        assert result.cosine("elbo", "phi").upper < 0.9999
        same = result.table.query("parameters == 'phi'")["cosine"]
        assert same.iloc[0] == pytest.approx(same.iloc[1], abs=1e-9)  # ∇_φ ELBO = −∇_φ KL to the posterior


def test_refusals(linear):
    model, x = linear
    table = gradient_alignment("elbo", model, x, num_samples=16).table.set_index(["target", "parameters"])
    assert "does not depend on the encoder" in table.loc[("log_evidence", "phi"), "note"]
    assert "does not depend on the decoder" in table.loc[("wasserstein", "theta"), "note"]
    for key in (("log_evidence", "phi"), ("wasserstein", "theta")):
        assert table.loc[key, ["cosine", "lower", "upper", "projection", "climb"]].isna().all()
        assert table.loc[key, "verdict"] == "undefined"


def test_closed_gap_is_undefined_not_zero():
    """At the exact posterior ∇ KL(q ‖ p(z|x)) = 0 in θ and φ: noise must not be given a direction."""
    model = va.LinearGaussianVAE.optimal(np.array([[2.0], [1.0], [-1.0]]), noise_scale=0.5)
    x = np.asarray(model.generative.sample(np.random.default_rng(2), 32)[1], np.float32)
    for seed in range(5):
        result = gradient_alignment("elbo", model, x, ("posterior_kl", "log_evidence"), rng_key=seed)
        for group in ("theta", "phi"):
            estimate = result.cosine("posterior_kl", group)
            assert estimate.verdict in ("undefined", "unreliable")
            assert not estimate.has_interval
        assert result.cosine("log_evidence", "theta").lower > 0.9


def test_autoencoder_and_iwae_run_through(linear):
    model, x = linear
    plain = gradient_alignment("elbo", model, x, ("log_evidence",), num_samples=20)
    tight = gradient_alignment("iwae(10)", model, x, ("log_evidence",), num_samples=20)
    hard = gradient_alignment("autoencoder", model, x, ("log_evidence",), num_samples=20)
    cosines = [r.cosine("log_evidence") for r in (hard, plain, tight)]
    assert cosines[0].upper < cosines[1].lower < cosines[1].upper < cosines[2].lower
    assert (tight.num_samples, hard.num_samples) == (20, 20)


def test_networks_by_quadrature_and_by_weights_agree():
    model = va.mlp_vae(1, event_shape=(6,), latent_dim=2, hidden=(8,))
    x = (np.random.default_rng(0).random((8, 6)) < 0.4).astype(np.float32)
    grid = gradient_alignment("elbo", model, x, ("log_evidence", "posterior_kl"))
    drawn = gradient_alignment("elbo", model, x, ("log_evidence", "posterior_kl"), method="iw", rng_key=1)
    assert (grid.method, drawn.method) == ("quadrature", "iw/fitted")
    for target in ("log_evidence", "posterior_kl"):
        a, b = grid.cosine(target), drawn.cosine(target)
        assert abs(a.value - b.value) < 4 * np.hypot(a.se, b.se)
        assert a.se < 0.02


def test_unreliable_weights_give_no_interval(linear):
    model, x = linear
    narrow = model.mismatched(0.05, 0.0)
    result = gradient_alignment("elbo", narrow, x, ("log_evidence",), method="iw", proposal="encoder")
    estimate = result.cosine("log_evidence")
    assert estimate.verdict == "unreliable"
    assert not estimate.has_interval
    assert "Pareto" in estimate.note


def test_reproducible_and_keys_matter(linear):
    model, x = linear
    one, two, three = (
        gradient_alignment("elbo", model, x, ("elbo", "log_evidence"), rng_key=k) for k in (0, 0, 1)
    )
    assert one.table.equals(two.table)
    assert not one.table.equals(three.table)


def test_errors(linear):
    model, x = linear
    with pytest.raises(UnknownNameError, match="posterior_kl"):
        gradient_alignment("elbo", model, x, ("posterior",))
    with pytest.raises(ArgumentError, match="at least one"):
        gradient_alignment("elbo", model, x, ())
    with pytest.raises(ArgumentError, match="num_replicates"):
        gradient_alignment("elbo", model, x, num_replicates=4)
    with pytest.raises(ArgumentError, match="no row"):
        gradient_alignment("elbo", model, x, ("elbo",)).cosine("distortion")
