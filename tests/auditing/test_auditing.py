"""An audit holds the closed forms of a linear-Gaussian model, and refuses what cannot be measured."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import vaeaudit as va
from vaeaudit.auditing.checks import check_all
from vaeaudit.auditing.findings import aggregate_findings
from vaeaudit.core.errors import (
    ArgumentError,
    NonFiniteError,
    ScaleError,
    ShapeError,
    SupportError,
    UnknownNameError,
)

rng = np.random.default_rng(7)
D, J, N, FEW = 5, 2, 1500, 100
WEIGHT = rng.normal(size=(J, D))
NOISE = 0.6
GAIN = (np.linalg.inv(np.eye(J) + WEIGHT @ WEIGHT.T / NOISE**2) @ WEIGHT / NOISE**2).T  # E[z|x] = x GAIN
SIGMA = 1.3 * np.sqrt(np.diag(np.linalg.inv(np.eye(J) + WEIGHT @ WEIGHT.T / NOISE**2)))
X = (rng.normal(size=(N, J)) @ WEIGHT + NOISE * rng.normal(size=(N, D))).astype(np.float32)


class Code(eqx.Module):
    """loc = x @ gain, scale = sigma: arrays inside, so that all audits here share compiled programs."""

    gain: jax.Array
    sigma: jax.Array

    def __call__(self, x):
        return x @ self.gain, jnp.broadcast_to(self.sigma, (len(x), J))


class Map(eqx.Module):
    weight: jax.Array

    def __call__(self, z):
        return z @ self.weight


def code(gain=GAIN, sigma=SIGMA):
    return Code(jnp.asarray(gain, jnp.float32), jnp.broadcast_to(jnp.asarray(sigma, jnp.float32), (J,)))


def model(**changes):
    fields = {
        "encode": code(),
        "decode": Map(jnp.asarray(WEIGHT, jnp.float32)),
        "latent_dim": J,
        "likelihood": "gaussian",
        "likelihood_scale": NOISE,
        **changes,
    }
    return va.from_decoder(**fields)


def exact_elbo(x):
    """E_q log p(x|z) − KL(q‖p) by hand: q = N(x GAIN, diag SIGMA²)."""
    loc = x.astype(float) @ GAIN
    fit = stats.norm.logpdf(x, loc @ WEIGHT, NOISE).sum(1)
    fit = fit - 0.5 * np.sum(SIGMA**2 * (WEIGHT**2).sum(1)) / NOISE**2
    return fit - 0.5 * np.sum(loc**2 + SIGMA**2 - 1 - 2 * np.log(SIGMA), axis=1)


def exact_log_evidence(x):
    return stats.multivariate_normal(np.zeros(D), WEIGHT.T @ WEIGHT + NOISE**2 * np.eye(D)).logpdf(x)


def population():
    """Closed forms under x ~ N(0, WᵀW + s² I): q(z) = N(0, C)."""
    cov_x = WEIGHT.T @ WEIGHT + NOISE**2 * np.eye(D)
    cov_z = GAIN.T @ cov_x @ GAIN + np.diag(SIGMA**2)
    logdet = np.linalg.slogdet(cov_z)[1]
    mutual = 0.5 * (logdet - 2 * np.log(SIGMA).sum())
    marginal = 0.5 * (np.trace(cov_z) - J - logdet)
    total = 0.5 * (np.log(np.diag(cov_z)).sum() - logdet)
    return {
        "mutual_information": mutual,
        "marginal_kl": marginal,
        "total_correlation": total,
        "dimwise_kl": marginal - total,
        "rate": mutual + marginal,
    }


@pytest.fixture(scope="module")
def whole():
    return va.audit(model(), X, 0, "quick")


def row(audit, quantity):
    return audit.table.set_index("quantity").loc[quantity]


def test_intervals_hold_the_closed_forms_on_these_data():
    """Monte-Carlo error alone; 5 standard errors, each small enough to see a quarter of a nat."""
    x = X[:FEW]
    audit = va.audit(model(), x, 1, "quick", target="data")
    truth = {
        "elbo": exact_elbo(x).mean(),
        "log_evidence": exact_log_evidence(x).mean(),
        "inference_gap": (exact_log_evidence(x) - exact_elbo(x)).mean(),
    }
    for quantity, value in truth.items():
        found = row(audit, quantity)
        assert found["se"] < 0.05, quantity
        assert abs(found["value"] - value) < 5 * found["se"] + 2e-3, quantity
    assert row(audit, "rate")["verdict"] == "exact"
    assert row(audit, "elbo")["value"] == pytest.approx(
        -row(audit, "rate")["value"] - row(audit, "distortion")["value"]
    )


def test_intervals_hold_the_closed_forms_of_the_population(whole):
    """The width is asserted too: an interval from 0 to 10 would hold everything."""
    for quantity, value in population().items():
        found = row(whole, quantity)
        assert found["lower"] - 1e-6 <= value <= found["upper"] + 1e-6, quantity
        assert found["upper"] - found["lower"] < 0.35, quantity


def test_the_table_is_tidy_and_one_row_per_quantity(whole):
    assert list(whole.table["quantity"]) == [
        "elbo", "log_evidence", "inference_gap", "rate", "distortion", "mutual_information", "marginal_kl",
        "total_correlation", "dimwise_kl", "active_units", "unreliable_share",
    ]  # fmt: skip
    columns = [
        "quantity",
        "value",
        "se",
        "lower",
        "upper",
        "unit",
        "num_data",
        "num_samples",
        "verdict",
        "note",
    ]
    assert list(whole.table.columns) == columns
    assert len(whole.per_datum) == N
    assert row(whole, "active_units")["value"] == J


def test_an_audit_of_another_model_of_the_same_shape_differs(whole):
    """The same code with the KL's other half missing would still pass a test of one model."""
    wide = model(encode=code(sigma=1.6))
    audit = va.audit(wide, X[:FEW], 0, "quick", target="data")
    loc = X[:FEW].astype(float) @ GAIN
    rate = 0.5 * np.sum(loc**2 + 1.6**2 - 1 - 2 * np.log(1.6), axis=1).mean()
    assert row(audit, "rate")["value"] == pytest.approx(rate, rel=1e-5)
    assert any("wider than the prior" in f.what for f in audit.findings)


def test_saving_writes_the_page_and_the_same_tables_each_time(whole, tmp_path):
    first, second = whole.save(tmp_path / "a"), whole.save(tmp_path / "b")
    assert first.html.read_text().count("<table") >= 6
    assert first.pdf.read_bytes().startswith(b"%PDF")
    for path in sorted((tmp_path / "a").rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path
    document = json.loads(first.results_json.read_text())
    assert [r["quantity"] for r in document["table"]] == list(whole.table["quantity"])
    assert document["table"][0]["value"] == whole.table["value"][0]
    assert document["verdict"] == whole.verdict
    assert {p.name for p in (tmp_path / "a" / "tables").iterdir()} >= {"audit.csv", "per_datum.csv"}
    assert second.results_json.read_bytes() == first.results_json.read_bytes()


def test_the_same_seed_gives_the_same_table_and_another_seed_does_not():
    x = X[:FEW]
    tables = [va.audit(model(), x, seed, "quick").table.to_csv() for seed in (3, 3, 4)]
    assert tables[0] == tables[1] != tables[2]


class Pixels(eqx.Module):
    """A faint decoder: the posterior is near the prior, which the encoder returns."""

    weight: jax.Array

    def __call__(self, z):
        return (z @ self.weight).reshape(-1, 6, 6)


class NearPrior(eqx.Module):
    weight: jax.Array

    def __call__(self, x):
        return 0.1 * x.reshape(len(x), -1) @ self.weight.T, jnp.full((len(x), 2), 0.95)


def pictures(likelihood, x_values, **options):
    numbers = np.random.default_rng(11)
    weight = jnp.asarray(0.1 * numbers.normal(size=(2, 36)), jnp.float32)
    x = numbers.choice(x_values, size=(40, 6, 6)).astype(np.float32)
    built = va.from_decoder(
        encode=NearPrior(weight), decode=Pixels(weight), latent_dim=2, likelihood=likelihood, **options
    )
    return built, x


def test_grey_pixels_under_a_bernoulli_are_no_density(tmp_path):
    built, x = pictures("bernoulli_logits", [0.0, 0.3, 1.0])
    audit = va.audit(built, x, 0, "quick")
    assert audit.findings[0].level == "unreliable"
    assert "not a density" in audit.findings[0].what
    assert "not log densities" in audit.verdict
    assert not audit.table["unit"].eq("bits/dim").any()
    assert (audit.save(tmp_path).folder / "figures" / "pictures.png").exists()


def test_binary_pixels_get_bits_per_dimension_by_hand():
    built, x = pictures("bernoulli_logits", [0.0, 1.0])
    audit = va.audit(built, x, 0, "quick")
    assert not any("not a density" in f.what for f in audit.findings)
    expected = row(audit, "elbo")["value"] / (36 * np.log(2))
    assert row(audit, "elbo_bits_per_dim")["value"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("likelihood", "values", "words"),
    [
        ("bernoulli_logits", [0.0, 255.0], "255"),
        ("continuous_bernoulli_logits", [-1.0, 1.0], r"\[0, 1\]"),
        ("categorical_logits", [1.0], "one"),
    ],
)
def test_data_outside_the_support_are_refused(likelihood, values, words):
    built, x = pictures(likelihood, values)
    with pytest.raises(SupportError, match=words):
        va.audit(built, x)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"encode": lambda x: (x @ GAIN, -jnp.ones((len(x), J)))}, ScaleError, "encoder_output"),
        ({"encode": lambda x: (x @ GAIN, jnp.zeros((len(x), J)))}, ScaleError, "positive"),
        ({"encode": lambda x: (x @ GAIN / 0, jnp.ones((len(x), J)))}, NonFiniteError, "loc"),
        ({"encode": lambda x: (x, x)}, ShapeError, "latent_dim"),
        ({"decode": lambda z: z @ WEIGHT / 0}, NonFiniteError, "log_likelihood"),
        ({"decode": lambda z: (z @ WEIGHT)[:, :3]}, ShapeError, "one parameter per element"),
    ],
)
def test_bad_models_are_refused_by_name(changes, error, words):
    with pytest.raises(error, match=words):
        va.audit(model(**changes), X)


def test_bad_calls_are_refused_by_name():
    with pytest.raises(UnknownNameError, match="Did you mean 'standard'"):
        va.audit(model(), X, preset="standart")
    with pytest.raises(ArgumentError, match="target"):
        va.audit(model(), X, target="everything")
    with pytest.raises(ArgumentError, match="from_decoder"):
        va.audit(lambda x: x, X)
    with pytest.raises(ShapeError, match="at least 2 data"):
        va.audit(model(), X[:1])
    with pytest.raises(NonFiniteError, match="`x` must be finite"):
        va.audit(model(), np.where(X > 2, np.nan, X))


def function_model(log_likelihood):
    return va.vae(
        encode=lambda x: (x @ GAIN, jnp.broadcast_to(jnp.asarray(SIGMA, jnp.float32), (len(x), J))),
        log_likelihood=log_likelihood,
        latent_dim=J,
    )


@pytest.mark.parametrize(
    ("log_likelihood", "words"),
    [
        (lambda x, z: -0.5 * jnp.sum((x - z @ WEIGHT) ** 2, -1).T, "sample, batch"),
        (lambda x, z: -0.5 * (x - z @ WEIGHT) ** 2, "summed over the event"),
        (lambda x, z: -0.5 * jnp.sum((x - z @ WEIGHT) ** 2), "averaged or summed over the batch"),
    ],
)
def test_log_likelihoods_of_a_wrong_shape_are_explained(log_likelihood, words):
    with pytest.raises(ShapeError, match=words):
        va.audit(function_model(log_likelihood), X)


def test_a_likelihood_that_depends_on_the_batch_is_found():
    def centred(x, z):
        out = z @ WEIGHT
        out = out - out.mean(axis=1, keepdims=True)
        return jnp.sum(-0.5 * (x - out) ** 2 - 0.5 * jnp.log(2 * jnp.pi), -1)

    _, findings = check_all(function_model(centred), X, jax.random.key(0))
    assert any("depends on the other data" in f.what for f in findings)
    _, findings = check_all(function_model(lambda x, z: centred(x, z) + z[..., 0]), X, jax.random.key(0))
    assert any("depends on the other data" in f.what for f in findings)


def test_a_random_decoder_outside_jax_is_found():
    generator = np.random.default_rng(0)
    noisy = model(
        encode=lambda x: (x @ GAIN, np.broadcast_to(SIGMA, (len(x), J))),
        decode=lambda z: z @ WEIGHT + generator.normal(size=(len(z), D)),
        framework="numpy",
    )
    with pytest.raises(ShapeError, match="draws nothing"):  # equal samples of z get different values
        va.audit(noisy, X[:FEW], 0, "quick")


def test_collapse_and_a_constant_encoder_are_told_apart():
    faint = Map(jnp.asarray(0.05 * WEIGHT, jnp.float32))  # the posterior is near the prior
    constant = model(encode=code(0 * GAIN, 1.0), decode=faint)
    found = [f.what for f in va.audit(constant, X[:FEW], 0, "quick").findings]
    assert any("same loc and scale for every datum" in what for what in found)
    weak = model(encode=code(1e-4 * GAIN, 1.0), decode=faint)
    found = [f.what for f in va.audit(weak, X[:FEW], 0, "quick").findings]
    assert any("posterior collapse" in what for what in found)
    assert not any("same loc" in what for what in found)


def test_a_saturated_mixture_is_said():
    """σ = 10⁻³ in 2 latents: far more information than log 100 nats."""
    loc = np.random.default_rng(0).normal(size=(100, 2))
    found = aggregate_findings(va.aggregate_posterior((loc, np.full((100, 2), 1e-3))))
    assert any("limited by the 100 data" in f.what for f in found)
    found = aggregate_findings(va.aggregate_posterior((loc, np.full((100, 2), 0.9))))
    assert not any("limited" in f.what for f in found)


def test_another_model_of_the_same_architecture_is_not_traced_again():
    traced = []

    class Counted(Map):
        def __call__(self, z):
            traced.append(1)
            return z @ self.weight

    for factor in (1.0, 1.01):
        weight = jnp.asarray(WEIGHT * factor, jnp.float32)
        audit = va.audit(model(decode=Counted(weight)), X[:FEW], 0, "quick")
        assert audit.per_datum["reliable"].all(), "only the first stage of log p(x) is meant to run here"
        count, traced = len(traced), []
        if factor == 1.0:
            assert count > 0
    assert count == 0
