"""Names, settings and the parser."""

import jax
import numpy as np
import pytest

from vaeaudit import objectives as o
from vaeaudit.core.errors import ArgumentError, UnknownNameError

EXAMPLES = [
    "elbo",
    "beta(0.1)",
    "beta(-1)",
    "annealed_beta('cyclical', weight=4)",
    "free_bits(0.25)",
    "capacity(25, 1000)",
    "wasserstein_penalty",
    "half_quadratic(0.5)",
    "moment_penalty",
    "head_l2(1e-3)",
    "elbo+head_l2(0.001)",
    "beta(0.1) + head_l2(1e-5)",
    "iwae(50)",
    "total_correlation(6)",
    "autoencoder",
    "regularized_autoencoder(1e-4)",
    "learned_scale",
    "mmd(10)",
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_a_name_reads_back_as_the_same_objective(text):
    objective = o.parse(text)
    again = o.parse(objective.name)
    assert again.name == objective.name
    assert jax.tree.structure(again) == jax.tree.structure(objective)
    assert jax.tree.leaves(again) == jax.tree.leaves(objective)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-7, 12345.678, 0.30000001])
def test_names_keep_the_setting_to_float32(value):
    assert o.parse(o.beta(value).name).weight == np.float32(value)


def test_settings_share_one_structure():
    assert jax.tree.structure(o.beta(0.1)) == jax.tree.structure(o.beta(4))
    assert jax.tree.structure(o.iwae(5)) != jax.tree.structure(o.iwae(50))


def test_unknown_names_suggest():
    with pytest.raises(UnknownNameError, match="wasserstein_penalty"):
        o.parse("wasserstein_penality(1)")


@pytest.mark.parametrize(
    "text",
    ["beta(", "beta(x)", "1 + 2", "elbo * 2", "beta(__import__('os'))", "beta(1, 2, 3)", "iwae(0)", ""],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ArgumentError):
        o.parse(text)


def test_two_whole_objectives_cannot_be_added():
    with pytest.raises(ArgumentError, match="reconstruction twice"):
        o.elbo() + o.beta(2)


@pytest.mark.parametrize("make", [lambda: o.head_l2(-1), lambda: o.beta(np.nan), lambda: o.free_bits(-0.1)])
def test_bad_settings_are_refused(make):
    with pytest.raises(ArgumentError):
        make()
