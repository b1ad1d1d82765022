"""Parts of the training program against JAX's own generators, numpy, and what objectives say they read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError
from vaeaudit.training.noise import fold_in, standard_normal, uniform
from vaeaudit.training.packing import SMALL, pack, unpack
from vaeaudit.training.reads import terms_read


def words(key):
    data = jax.random.key_data(key)
    return data[0], data[1]


@pytest.mark.parametrize("seed", [0, 7, 2**31 + 5])
def test_the_noise_is_that_of_jax_to_the_bit(seed):
    key = jax.random.key(seed)
    folded = jax.random.fold_in(key, 12)
    np.testing.assert_array_equal(
        jnp.stack(fold_in(words(key), 12)), jax.random.key_data(folded), strict=False
    )
    np.testing.assert_array_equal(uniform(words(folded), 1001), jax.random.uniform(folded, (1001,)))
    ours, theirs = standard_normal(words(folded), 4099), jax.random.normal(folded, (4099,))
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-7)  # the kernels' own roundings of log1p


def test_many_keys_at_once_give_the_numbers_of_each():
    key = words(jax.random.key(3))
    keys = fold_in(key, jnp.arange(5))
    together = standard_normal(keys, 300)
    for i in range(5):
        np.testing.assert_allclose(together[i], standard_normal(fold_in(key, i), 300), rtol=2e-6, atol=1e-7)
    flat = np.sort(np.asarray(together).ravel())
    assert len(np.unique(flat)) > 0.99 * flat.size  # no stream repeats another
    assert abs(flat.mean()) < 4 / np.sqrt(flat.size)
    assert abs(flat.std() - 1) < 4 / np.sqrt(2 * flat.size)


@pytest.mark.parametrize("lead", [(), (3,)])
def test_packing_and_back(lead):
    shapes = [
        ((4,), "float32"),
        ((SMALL, 2), "float32"),
        ((), "float32"),
        ((2, 3), "float16"),
        ((5, 2), "float32"),
    ]
    rng = np.random.default_rng(0)
    leaves = [rng.normal(size=(*lead, *shape)).astype(dtype) for shape, dtype in shapes]
    packed = pack(shapes, leaves)
    assert [p.shape for p in packed] == [(*lead, SMALL, 2), (*lead, 2, 3), (*lead, 4 + 1 + 10)]
    for a, b in zip(unpack(shapes, packed), leaves, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def test_what_objectives_read():
    read = lambda name: terms_read(jax.tree.structure(va.objectives.parse(name)))  # noqa: E731
    assert read("elbo") == {"log_likelihood", "loc", "scale"}
    assert read("autoencoder") == {"log_likelihood"}
    assert read("iwae(3)") == {"log_likelihood", "log_prior", "log_q"}
    assert read("elbo + head_l2(1)") == {"log_likelihood", "loc", "scale", "head_weight_sq"}
    assert "prior_z" in read("mmd(1)")
    assert "progress" in read("capacity(1)")
    assert {"z", "num_data"} <= read("total_correlation(2)")
    assert "decoder_weight_sq" in read("regularized_autoencoder(1, 1)")


def test_terms_from_given_noise():
    model = va.mlp_vae(0, event_shape=(4,), latent_dim=2, hidden=())
    x = np.zeros((3, 4), np.float32)
    key = jax.random.key(5)
    drawn = va.objectives.compute_terms(model, x, key, num_samples=2)
    noise = (drawn.z - drawn.loc) / drawn.scale
    given = va.objectives.compute_terms(model, x, noise=noise, num_samples=2, with_prior_draws=False)
    np.testing.assert_allclose(given.log_likelihood, drawn.log_likelihood, rtol=1e-5)
    with pytest.raises(ArgumentError, match="rng_key"):
        va.objectives.compute_terms(model, x, num_samples=2)
