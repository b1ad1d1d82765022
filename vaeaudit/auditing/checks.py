"""What is checked before any number is computed: shapes, supports, finiteness, and behaviour under calls."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaeaudit.adapters.callables import DecoderVAE
from vaeaudit.auditing.likelihood_form import LikelihoodForm, recognise
from vaeaudit.core.arrays import as_float_array
from vaeaudit.core.errors import ShapeError
from vaeaudit.estimators.encoding import check_model as check_type
from vaeaudit.models.checks import check_model
from vaeaudit.models.likelihoods import AbstractLikelihood
from vaeaudit.models.vae import AbstractVAE
from vaeaudit.report.page import Finding

TRIED = 6  # data used by the checks; even
SAME = 1e-3  # relative difference below which two calls count as equal: float32 in another order


@eqx.filter_jit
def _log_likelihood(model: AbstractVAE, x: Array, z: Array) -> Array:
    return model.log_likelihood(x, z)


def _differ(a: Any, b: Any) -> bool:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return bool(np.max(np.abs(a - b)) > SAME * (1.0 + np.max(np.abs(a))))


def check_all(model: Any, x: Any, rng_key: Array) -> tuple[Array, list[Finding]]:
    """Run every check; return the data as an array and what is noteworthy.

    Raises
    ------
    ArgumentError, ShapeError, DtypeError, NonFiniteError, ScaleError, SupportError
        Where no number could be trusted.
    """
    model = check_type(model)
    x = as_float_array("x", x)
    if x.ndim < 2 or x.shape[0] < 2:
        raise ShapeError(
            f"`x` must be (batch, *event) with at least 2 data; got shape {tuple(x.shape)}. Pass x[None] "
            "for a single datum's axis, x[:, None] for scalar data."
        )
    findings = check_support(model, x)
    few = jnp.asarray(np.resize(np.asarray(x[:TRIED]), (TRIED, *x.shape[1:])))
    if isinstance(model, DecoderVAE):
        model.check_host(few)
    loc, scale = check_model(model, few, rng_key, check_support=False)
    z = loc + scale * jax.random.normal(rng_key, (2, *loc.shape), loc.dtype)
    findings += _check_repetition(model, few, z)
    findings += _check_likelihood_form(model, x, few, z)
    return x, findings


def check_support(model: AbstractVAE, x: Array) -> list[Finding]:
    """Hold the data against the support of the model's likelihood, where the model tells it.

    Grey values under a Bernoulli are a finding, since the numbers exist and are widely reported;
    anything else outside the support is an error.
    """
    likelihood = getattr(model, "likelihood", None)
    if not isinstance(likelihood, AbstractLikelihood):
        return []
    values = np.asarray(x)
    if likelihood.support == "binary" and values.min() >= 0.0 and values.max() <= 1.0:
        share = float(np.mean((values != 0) & (values != 1)))
        return [not_a_density(share)] if share > 0 else []
    likelihood.check_support(values)
    return []


def not_a_density(share: float) -> Finding:
    """The finding about a Bernoulli likelihood on values between 0 and 1."""
    return Finding(
        "unreliable",
        f"a Bernoulli likelihood scores grey data ({share:.1%} of the values lie between 0 and 1): "
        "this is not a density",
        "the Bernoulli has mass on 0 and 1 alone; on grey values its formula lacks a normaliser of at least "
        "log 2 per pixel, so no number here is a log density of these data",
        "use continuous_bernoulli_logits, a Gaussian, or binarised data",
    )


def _check_repetition(model: AbstractVAE, few: Array, z: Array) -> list[Finding]:
    """Call the likelihood again: as before, and with the other data of the batch changed."""
    half = TRIED // 2
    what_to_do = "switch training behaviour off before the audit, e.g. module.eval() in PyTorch"
    values = _log_likelihood(model, few, z)
    if _differ(values, _log_likelihood(model, few, z)):
        return [
            Finding(
                "unreliable",
                "log p(x|z) changes when called again with the same x and z",
                "dropout or sampling inside the decoder makes the likelihood random",
                what_to_do,
            )
        ]
    mixed = jnp.concatenate([few[:half], few[:half]])
    mixed_z = jnp.concatenate([z[:, :half], z[:, :half]], axis=1)
    if _differ(values[:, :half], _log_likelihood(model, mixed, mixed_z)[:, :half]):
        return [
            Finding(
                "unreliable",
                "log p(x|z) of a datum depends on the other data of the batch",
                "a mean over the batch, or batch normalisation in training mode",
                what_to_do + "; return one value per sample and datum",
            )
        ]
    return []


def _check_likelihood_form(model: AbstractVAE, x: Array, few: Array, z: Array) -> list[Finding]:
    """Recognise a likelihood that came as a function, and say where it is no density."""
    if not model.differentiable or getattr(model, "likelihood", None) is not None:
        return []
    form = recognise(model, few, z[:1])
    return form_findings(form, np.asarray(x))


def form_findings(form: LikelihoodForm, x: np.ndarray) -> list[Finding]:
    """What the recognised form says about the data's log density."""
    findings = []
    if form.reduction == "mean":
        findings.append(
            Finding(
                "unreliable",
                f"log p(x|z) looks averaged over the {x[0].size} elements of x, not summed",
                f"times {x[0].size} it is exactly a normalised {form.form.replace('_', ' ')} log density; "
                "as it stands it understates the reconstruction against the rate, a hidden β",
                "sum over the event axes",
            )
        )
    elif form.form == "gaussian" and form.log_mass != 0.0:
        findings.append(
            Finding(
                "unreliable",
                "log p(x|z) is quadratic in x but not a normalised density",
                f"its exponential integrates to e^{form.log_mass:.3g} over x, so ELBO and log p(x) are off "
                f"by {form.log_mass:.4g} nats",
                "add −½ log(2π s²) per element for a Gaussian with standard deviation s",
            )
        )
    if form.form == "bernoulli":
        share = float(np.mean((x != 0) & (x != 1)))
        if share > 0:
            findings.append(not_a_density(share))
    return findings
