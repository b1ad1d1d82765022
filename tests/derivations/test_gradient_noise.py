"""Measured gradient noise against its derivation: slope −1 per datum, a floor when shared."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError


def test_measured_variance_is_the_derived_one():
    """Every cell within 4.5 standard errors, all of them below 5 %."""
    table = va.gradient_noise((1, 8, 64, 512), num_batches=300, num_draws=60)
    assert (table["se"] < 0.05 * table["derived"]).all()
    assert (np.abs(table["variance"] - table["derived"]) < 4.5 * table["se"]).all()
    slope = table.groupby("noise")["slope"].first()
    assert slope["separate"] == pytest.approx(-1, abs=0.03)
    assert slope["shared"] > -0.15


def test_gradient_is_that_of_the_objective():
    """∂/∂w of log N(x; wz, s²) by automatic differentiation has the derived noise (4 standard errors)."""
    w, s, batch, draws = 1.2, 0.7, 16, 20_000
    sigma = s / (w * w + s * s) ** 0.5
    x = jax.random.normal(jax.random.key(0), (batch,)) * (w * w + s * s) ** 0.5

    def gradient(noise):
        z = w * x / (w * w + s * s) + sigma * noise
        return jax.grad(lambda v: jnp.mean(-0.5 * ((x - v * z) / s) ** 2))(w)

    shared = jax.vmap(gradient)(jax.random.normal(jax.random.key(1), (draws, 1)))
    separate = jax.vmap(gradient)(jax.random.normal(jax.random.key(2), (draws, batch)))
    slope = sigma * np.asarray(x) * (s * s - w * w) / ((w * w + s * s) * s * s)  # bᵢ
    square = -w * sigma**2 / s**2
    for found, expected in (
        (shared, slope.mean() ** 2 + 2 * square**2),
        (separate, np.mean(slope**2 + 2 * square**2) / batch),
    ):
        deviations = (np.asarray(found) - np.mean(found)) ** 2
        se = deviations.std() / draws**0.5
        assert se < 0.05 * expected
        assert abs(deviations.mean() - expected) < 4 * se


def test_errors():
    with pytest.raises(ArgumentError, match="two sizes"):
        va.gradient_noise((4,))
    with pytest.raises(ArgumentError, match="num_draws"):
        va.gradient_noise((4, 8), num_draws=1)
