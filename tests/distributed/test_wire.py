"""What processes send comes back bit for bit, and what cannot is refused."""

import numpy as np
import pytest

from vaeaudit.core.errors import ArgumentError
from vaeaudit.core.wire import pack, unpack

ARRAYS = [
    np.array([0.1, -0.0, np.nan, np.inf], np.float32),
    np.linspace(0, 1, 6).reshape(2, 3)[:, ::-1],
    np.array(3),
    np.zeros((0, 4), np.int32),
    np.array([True, False]),
    np.array(["a", "bcd"]),
    np.array([["", "ä"], [None, "x"]], object),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: str(a.dtype))
def test_arrays_keep_bits_shape_and_dtype(array):
    back = unpack(pack({"deep": [array]}))["deep"][0]
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tolist() == array.tolist() if array.dtype == object else back.tobytes() == array.tobytes()
    if array.size and array.dtype.kind == "f" and array.ndim:
        back[...] = 0  # writable


def test_plain_values_and_half_floats():
    import jax.numpy as jnp

    tree = {"x": [None, True, 1, 0.1, "text", {"y": (2, 3)}], "half": jnp.ones(2, jnp.bfloat16)}
    back = unpack(pack(tree))
    assert back["x"] == [None, True, 1, 0.1, "text", {"y": [2, 3]}]
    assert back["half"].dtype == jnp.bfloat16
    assert pack(tree) == pack(tree)


@pytest.mark.parametrize("tree", [{1: 2}, [object()], np.array([{}], object)])
def test_what_is_not_exact_is_refused(tree):
    with pytest.raises(ArgumentError):
        pack(tree)
