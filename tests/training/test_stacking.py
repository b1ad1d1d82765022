import jax
import numpy as np
import pytest

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError, ShapeError


def build(seed, latent_dim=2):
    return va.mlp_vae(seed, event_shape=(4,), latent_dim=latent_dim, hidden=(3,))


def test_models_come_back_bit_for_bit_in_order():
    models = [build(seed) for seed in range(3)]
    again = va.unstack_models(build(9), va.stack_models(models))
    x = np.ones((2, 4), np.float32)
    for model, copy in zip(models, again, strict=True):
        assert jax.tree.structure(model) == jax.tree.structure(copy)
        assert all(np.array_equal(a, b) for a, b in zip(model.encode(x), copy.encode(x), strict=True))


def test_other_architectures_are_refused():
    arrays = va.stack_models([build(0)])
    with pytest.raises(ShapeError, match="loc_head"):
        va.unstack_models(build(0, latent_dim=3), arrays)
    with pytest.raises(ArgumentError, match="lacks"):
        va.unstack_models(build(0), {})
    with pytest.raises(ArgumentError, match="empty"):
        va.stack_models([])
