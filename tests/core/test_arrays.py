"""Keys, conversions and checks that run before any number is computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaeaudit.core.arrays import as_float_array, as_key, check_count, check_finite, check_loc_scale
from vaeaudit.core.errors import ArgumentError, DtypeError, NonFiniteError, ScaleError, ShapeError


def data_of(key):
    return jax.random.key_data(key).tolist()


def test_integers_typed_and_raw_keys_give_the_same_key():
    typed = jax.random.key(7)
    assert data_of(as_key(7)) == data_of(as_key(np.int64(7))) == data_of(as_key(typed))
    assert data_of(as_key(jax.random.PRNGKey(7))) == data_of(typed)
    assert data_of(as_key(8)) != data_of(typed)


@pytest.mark.parametrize("bad", [None, True, -1, 1.5, "0", np.zeros(2), np.zeros(3, np.uint32)])
def test_what_is_no_key_is_refused(bad):
    with pytest.raises(ArgumentError, match="rng_key"):
        as_key(bad)


def test_an_array_of_keys_is_refused():
    with pytest.raises(ShapeError, match="one key"):
        as_key(jax.random.split(jax.random.key(0), 3))


def test_seeds_of_more_than_32_bits_keep_their_upper_word():
    seed = 2**33 + 3
    with jax.enable_x64(True):
        expected = data_of(jax.random.key(seed))
    assert data_of(as_key(seed)) == expected != data_of(as_key(3))
    with pytest.raises(ArgumentError, match="2⁶⁴"):
        as_key(2**64)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8, bool])
def test_numbers_become_float32(dtype):
    a = as_float_array("x", np.ones((2, 3), dtype), ndim=2)
    assert a.dtype == jnp.float32
    assert a.shape == (2, 3)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_refused(dtype):
    with pytest.raises(DtypeError, match="float32 or float64"):
        as_float_array("x", jnp.ones(3, dtype))


@pytest.mark.parametrize("value", [np.array(["a"]), np.array([1j]), np.array([object()])])
def test_what_is_no_real_number_is_refused(value):
    with pytest.raises(DtypeError, match="`x`"):
        as_float_array("x", value)


def test_rank_emptiness_and_finiteness():
    with pytest.raises(ShapeError, match="needs 2 axes"):
        as_float_array("x", np.ones(3), ndim=2)
    with pytest.raises(ShapeError, match="empty"):
        as_float_array("x", np.ones((0, 3)))
    with pytest.raises(NonFiniteError, match=r"2 of 4 .* index \(0, 1\)"):
        as_float_array("x", np.array([[1.0, np.nan], [np.inf, 0.0]]))
    assert np.isnan(as_float_array("x", np.array([np.nan]), finite=False)).all()
    with pytest.raises(NonFiniteError, match=r"Use logits\."):
        check_finite("x", np.array([-np.inf]), "Use logits.")


def test_loc_and_scale():
    loc, scale = check_loc_scale(np.zeros((4, 2)), np.ones((4, 2)), latent_dim=2)
    assert loc.shape == scale.shape == (4, 2)
    with pytest.raises(ShapeError, match="broadcast by the encoder"):
        check_loc_scale(np.zeros((4, 2)), np.ones((1, 2)))
    with pytest.raises(ShapeError, match="latent_dim"):
        check_loc_scale(np.zeros((4, 2)), np.ones((4, 2)), latent_dim=3)
    with pytest.raises(ScaleError, match="loc_log_var"):
        check_loc_scale(np.zeros((4, 2)), np.full((4, 2), -0.7))
    with pytest.raises(ScaleError, match="positive"):
        check_loc_scale(np.zeros((4, 2)), np.zeros((4, 2)))
    with pytest.raises(NonFiniteError, match="scale"):
        check_loc_scale(np.zeros((4, 2)), np.full((4, 2), np.nan))


def test_counts():
    assert check_count("n", np.int32(3)) == 3
    assert check_count("n", 0, minimum=0) == 0
    for bad in (0, -1, 1.0, True, "3", None):
        with pytest.raises(ArgumentError, match="`n` must be an integer ≥ 1"):
            check_count("n", bad)
