"""Models on disk."""

import json
import os
import stat

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError, StoreError
from vaeaudit.training.checkpoint import load_model, save_model

MODELS = {
    "mlp": lambda: va.mlp_vae(1, event_shape=(3, 2), latent_dim=2, hidden=(5, 4)),
    "no hidden layer": lambda: va.mlp_vae(1, event_shape=(3,), latent_dim=2, hidden=()),
    "learned scale": lambda: va.mlp_vae(
        1, event_shape=(4,), latent_dim=1, hidden=(3,), likelihood="gaussian", likelihood_scale=0.3,
        learn_scale=True,
    ),
    "shared scale": lambda: va.mlp_vae(1, event_shape=(4,), latent_dim=1, hidden=(3,), shared_scale=True),
    "laplace": lambda: va.mlp_vae(1, event_shape=(4,), latent_dim=1, hidden=(3,), likelihood="laplace"),
    "conv": lambda: va.conv_vae(1, event_shape=(8, 8), latent_dim=2, channels=(3, 5)),
    "linear": lambda: va.LinearGaussianVAE(
        weight=np.ones((3, 2)), bias=np.zeros(3), noise_scale=0.5,
        enc_weight=np.ones((2, 3)), enc_bias=np.zeros(2), enc_scale=np.ones(2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_to_the_last_bit(name, tmp_path):
    model = MODELS[name]()
    again = load_model(save_model(model, tmp_path / "deep" / "folder"))
    assert jax.tree.structure(again) == jax.tree.structure(model)
    for a, b in zip(jax.tree.leaves(model), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype
    assert sorted(p.name for p in (tmp_path / "deep" / "folder").iterdir()) == [
        "model.json",
        "model.safetensors",
    ]


def test_saving_again_replaces(tmp_path):
    save_model(MODELS["mlp"](), tmp_path)
    other = va.mlp_vae(2, event_shape=(3, 2), latent_dim=2, hidden=(5, 4))
    save_model(other, tmp_path)
    np.testing.assert_array_equal(load_model(tmp_path).encoder.loc_head.weight, other.encoder.loc_head.weight)


def test_models_that_cannot_be_rebuilt_are_refused(tmp_path):
    functions = va.vae(encode=lambda x: (x, x), log_likelihood=lambda x, z: z.sum(-1), latent_dim=1)
    with pytest.raises(ArgumentError, match="stack_models"):
        save_model(functions, tmp_path)
    from vaeaudit.models.networks import MLPDecoder, MLPEncoder

    key = jax.random.key(0)
    other = va.NeuralVAE(
        encoder=MLPEncoder(key, 4, (3,), 2, jnp.sin),
        decoder=MLPDecoder(key, 2, (3,), (4,)),
        likelihood=MODELS["mlp"]().likelihood,
        latent_dim=2,
    )
    with pytest.raises(ArgumentError, match="activation"):
        save_model(other, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "damage", ["truncate", "flip", "no json", "no arrays", "not json", "format", "builder", "width"]
)
def test_damage_is_named(damage, tmp_path):
    save_model(MODELS["mlp"](), tmp_path)
    arrays, config = tmp_path / "model.safetensors", tmp_path / "model.json"
    payload, text = arrays.read_bytes(), json.loads(config.read_text())
    if damage == "truncate":
        arrays.write_bytes(payload[:-8])
    elif damage == "flip":
        arrays.write_bytes(payload[:-1] + bytes([payload[-1] ^ 1]))
    elif damage == "no json":
        config.unlink()
    elif damage == "no arrays":
        arrays.unlink()
    elif damage == "not json":
        config.write_text("{")
    elif damage == "format":
        config.write_text(json.dumps({**text, "format": 99}))
    elif damage == "builder":
        config.write_text(json.dumps({**text, "builder": "os.system"}))
    else:
        config.write_text(json.dumps({**text, "settings": {**text["settings"], "hidden": [5, 9]}}))
    with pytest.raises(StoreError):
        load_model(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="folder permissions are POSIX's")
def test_an_unwritable_place_is_a_store_error(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert stat.S_ISREG(blocked.stat().st_mode)
    with pytest.raises(StoreError, match="writable"):
        save_model(MODELS["mlp"](), blocked)
