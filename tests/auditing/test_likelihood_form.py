"""The form of a log-likelihood is recognised from values and gradients; formulas here are written by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

import vaeaudit as va
from vaeaudit.auditing.checks import form_findings
from vaeaudit.auditing.likelihood_form import recognise

rng = np.random.default_rng(3)
B, J = 4, 2


def setup(dims):
    weight = jnp.asarray(rng.normal(size=(J, dims)), jnp.float32)
    x = jnp.asarray(rng.uniform(size=(B, dims)), jnp.float32)
    z = jnp.asarray(rng.normal(size=(1, B, J)), jnp.float32)
    return weight, x, z


def log_c(logits):
    """log C(λ) = log(2 atanh(1 − 2λ) / (1 − 2λ)); λ ≠ ½ here."""
    t = jnp.tanh(logits / 2)  # 1 − 2λ = −t
    return jnp.log(jnp.abs(2 * jnp.arctanh(t) / t))


def log_normal(x, o):
    return -0.5 * ((x - o) / 0.3) ** 2 - jnp.log(0.3) - 0.5 * jnp.log(2 * jnp.pi)


FORMS = {
    ("bernoulli", "sum"): lambda x, o: jnp.sum(x * o - jnp.logaddexp(0.0, o), -1),
    ("bernoulli", "mean"): lambda x, o: jnp.mean(x * o - jnp.logaddexp(0.0, o), -1),
    ("continuous_bernoulli", "sum"): lambda x, o: jnp.sum(x * o - jnp.logaddexp(0.0, o) + log_c(o), -1),
    ("continuous_bernoulli", "mean"): lambda x, o: jnp.mean(x * o - jnp.logaddexp(0.0, o) + log_c(o), -1),
    ("gaussian", "sum"): lambda x, o: jnp.sum(log_normal(x, o), -1),
    ("gaussian", "mean"): lambda x, o: jnp.mean(log_normal(x, o), -1),
}  # fmt: skip


def made(function, dims):
    weight, x, z = setup(dims)
    model = va.vae(
        encode=lambda x: (x[:, :J], x[:, :J] + 1),
        log_likelihood=lambda x, z: function(x, z @ weight),
        latent_dim=J,
    )
    return model, x, z


@pytest.mark.parametrize("dims", [6, 64, 400])
@pytest.mark.parametrize("form", FORMS)
def test_each_form_and_reduction_is_recognised(form, dims):
    found = recognise(*made(FORMS[form], dims))
    assert (found.form, found.reduction) == form
    if form[1] == "sum":
        assert found.log_mass == 0.0


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_a_dropped_constant_is_measured(scale):
    """−½‖x − x̂‖²/s² alone integrates to (2π s²)^{D/2}."""
    dims = 16
    found = recognise(*made(lambda x, o: -0.5 * jnp.sum(((x - o) / scale) ** 2, -1), dims))
    assert (found.form, found.reduction) == ("gaussian", "unknown")
    assert found.log_mass == pytest.approx(0.5 * dims * np.log(2 * np.pi * scale**2), abs=0.05)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, o: -jnp.sum(jnp.abs(x - o), -1),
        lambda x, o: -jnp.sum((x - o) ** 4, -1),
        lambda x, o: -(jnp.sum((x - o) ** 2, -1) ** 0.5),
        lambda x, o: jnp.sum(x * o, -1),
        lambda x, o: jnp.sum(x * o - 0.9 * jnp.logaddexp(0.0, o), -1),
    ],
)
def test_other_functions_stay_unknown(function):
    assert recognise(*made(function, 16)).form == "unknown"


def test_findings_name_averages_missing_constants_and_grey_data():
    def found(function, x_values, dims=16):
        model, x, z = made(function, dims)
        return [f.what for f in form_findings(recognise(model, x, z), x_values)]

    grey, binary = np.full((3, 16), 0.4), np.ones((3, 16))
    assert found(FORMS["bernoulli", "sum"], binary) == []
    assert "not a density" in found(FORMS["bernoulli", "sum"], grey)[0]
    assert found(FORMS["continuous_bernoulli", "sum"], grey) == []
    assert found(FORMS["gaussian", "sum"], grey) == []
    assert "averaged over the 16 elements" in found(FORMS["gaussian", "mean"], grey)[0]
    assert "not a normalised density" in found(lambda x, o: -jnp.sum((x - o) ** 2, -1), grey)[0]


def test_minus_squared_error_is_a_gaussian_only_with_its_constant():
    """‖x − x̂‖² has s² = ½, whose normaliser is −(D/2) log π."""
    found = recognise(*made(lambda x, o: -jnp.sum((x - o) ** 2, -1) - 8 * jnp.log(jnp.pi), 16))
    assert (found.form, found.reduction) == ("gaussian", "sum")
