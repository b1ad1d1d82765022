"""Networks: shapes, convolutions against XLA's, weights, and the builders' checks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vaeaudit.core.errors import ArgumentError, ShapeError, UnknownNameError
from vaeaudit.models.build import conv_vae, mlp_vae
from vaeaudit.models.convolutional import StridedConv, TransposedConv
from vaeaudit.models.vae import NeuralVAE, vae

NHWC = ("NHWC", "HWIO", "NHWC")


@pytest.mark.parametrize("shape", [(8, 8), (7, 5), (9, 12)])
def test_strided_convolution_equals_xla_s(shape):
    x = jax.random.normal(jax.random.key(0), (3, *shape, 2))
    layer = StridedConv(jax.random.normal(jax.random.key(1), (3, 3, 2, 5)))
    exact = lax.conv_general_dilated(
        x, layer.weight, (2, 2), ((1, 1), (1, 1)), dimension_numbers=NHWC, precision="highest"
    )
    np.testing.assert_allclose(layer(x), exact, atol=1e-5)
    layer = eqx.tree_at(lambda m: m.bias, layer, jnp.arange(5.0))
    np.testing.assert_allclose(layer(x), exact + np.arange(5.0), atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 4), (7, 5)])
def test_transposed_convolution_equals_xla_s(shape):
    x = jax.random.normal(jax.random.key(0), (3, *shape, 2))
    layer = TransposedConv(jax.random.normal(jax.random.key(1), (4, 4, 2, 5)))
    exact = lax.conv_transpose(x, layer.weight, (2, 2), "SAME", dimension_numbers=NHWC, precision="highest")
    np.testing.assert_allclose(layer(x), exact, atol=1e-5)
    layer = eqx.tree_at(lambda m: m.bias, layer, jnp.arange(5.0))
    np.testing.assert_allclose(layer(x), exact + np.arange(5.0), atol=1e-5)


@pytest.mark.parametrize("event", [(8, 8), (28, 20), (13, 9, 3)])
@pytest.mark.parametrize("build", [mlp_vae, conv_vae])
def test_shapes_through_a_model(build, event):
    model = build(0, event_shape=event, latent_dim=3)
    x, z = jnp.zeros((4, *event)), jnp.zeros((2, 4, 3))
    loc, scale = jax.eval_shape(model.encode, x)
    assert loc.shape == scale.shape == (4, 3)
    assert jax.eval_shape(model.decode, z).shape == (2, 4, *event)
    assert jax.eval_shape(model.log_likelihood, x, z).shape == (2, 4)
    assert jax.eval_shape(model.log_prior, z).shape == (2, 4)


@pytest.mark.parametrize("build", [mlp_vae, conv_vae])
def test_sample_and_batch_axes_are_not_mixed_up(build):
    model = build(0, event_shape=(8, 8), latent_dim=3)
    x = jax.random.bernoulli(jax.random.key(1), 0.5, (4, 8, 8)).astype(jnp.float32)
    z = jax.random.normal(jax.random.key(2), (2, 4, 3))
    log_likelihood = eqx.filter_jit(lambda x, z: model.log_likelihood(x, z))
    whole = log_likelihood(x, z)
    for s in range(2):
        for b in range(4):
            one = log_likelihood(x[b : b + 1], z[s : s + 1, b : b + 1])
            np.testing.assert_allclose(one[0, 0], whole[s, b], rtol=1e-5)


def test_data_of_another_event_shape_are_refused_not_broadcast():
    model = mlp_vae(0, event_shape=(8, 8), latent_dim=3)
    for event in [(64,), (1, 8, 8), (8, 1)]:
        with pytest.raises(ShapeError, match=r"\(batch, 8, 8\) as the decoder's output"):
            model.log_likelihood(jnp.zeros((4, *event)), jnp.zeros((1, 4, 3)))


def test_encoder_s_second_output_is_the_log_scale():
    model = mlp_vae(0, event_shape=(4,), latent_dim=2, hidden=(3,))
    x = jnp.ones((2, 4))
    loc, log_scale = model.encoder(x)
    np.testing.assert_array_equal(model.encode(x)[0], loc)
    np.testing.assert_allclose(model.encode(x)[1], np.exp(log_scale), rtol=1e-6)


def test_a_shared_scale_is_one_vector_for_all_data():
    model = mlp_vae(0, event_shape=(4,), latent_dim=2, hidden=(3,), shared_scale=True)
    model = eqx.tree_at(lambda m: m.encoder.log_scale_head.bias, model, jnp.array([0.5, -1.0]))
    x = jax.random.normal(jax.random.key(0), (5, 4))
    np.testing.assert_allclose(model.encode(x)[1], np.broadcast_to(np.exp([0.5, -1.0]), (5, 2)), rtol=1e-6)
    assert float(np.ptp(model.encode(x)[0][:, 0])) > 0.1
    loc = model.encoder.loc_head.weight
    assert float(model.head_weight_sq()) == pytest.approx(float(np.sum(np.square(loc))), rel=1e-6)


def test_mlp_against_numpy():
    model = mlp_vae(3, event_shape=(4,), latent_dim=2, hidden=(5, 6))
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    h = x
    for layer in model.encoder.trunk:
        h = np.tanh(h @ np.asarray(layer.weight).T + np.asarray(layer.bias))
    np.testing.assert_allclose(model.encode(x)[0], h @ np.asarray(model.encoder.loc_head.weight).T, atol=1e-5)
    widths = [layer.weight.shape for layer in model.decoder.layers]
    assert widths == [(6, 2), (5, 6), (4, 5)]


@pytest.mark.parametrize("build", [mlp_vae, conv_vae])
def test_weight_sums_leave_biases_out(build):
    model = build(0, event_shape=(8, 8), latent_dim=3)
    loc, spread = model.encoder.loc_head.weight, model.encoder.log_scale_head.weight
    assert float(model.head_weight_sq()) == pytest.approx(
        float(np.sum(np.square(loc)) + np.sum(np.square(spread))), rel=1e-5
    )
    # all decoder arrays with two or more axes are weights
    weights = [a for a in jax.tree.leaves(eqx.filter(model.decoder, eqx.is_array)) if a.ndim > 1]
    assert float(model.decoder_weight_sq()) == pytest.approx(
        sum(float(np.sum(np.square(w))) for w in weights), rel=1e-5
    )
    shifted = jax.tree.map(lambda a: a + 1 if eqx.is_array(a) and a.ndim == 1 else a, model)
    assert float(shifted.decoder_weight_sq()) == float(model.decoder_weight_sq())
    assert float(shifted.head_weight_sq()) == float(model.head_weight_sq())


def test_a_model_of_functions_has_no_weights_to_sum():
    model = vae(encode=lambda x: (x, x), log_likelihood=lambda x, z: z, latent_dim=1)
    for method in (model.head_weight_sq, model.decoder_weight_sq):
        with pytest.raises(ArgumentError, match="NeuralVAE"):
            method()


@pytest.mark.parametrize("build", [mlp_vae, conv_vae])
def test_one_architecture_one_structure_and_seeds_differ(build):
    a, b = build(0, event_shape=(8, 8), latent_dim=3), build(1, event_shape=(8, 8), latent_dim=3)
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert eqx.tree_equal(a, build(0, event_shape=(8, 8), latent_dim=3))
    assert not np.array_equal(a.encoder.loc_head.weight, b.encoder.loc_head.weight)
    heads = a.encoder.loc_head.weight, a.encoder.log_scale_head.weight
    assert not np.array_equal(*heads)


def test_glorot_limits():
    weight = mlp_vae(0, event_shape=(64,), latent_dim=2, hidden=(200,)).encoder.trunk[0].weight
    limit = np.sqrt(6 / 264)
    assert 0.98 * limit < np.abs(weight).max() <= limit
    weight = conv_vae(0, event_shape=(16, 16), latent_dim=2).encoder.trunk[1].weight  # 3·3·16 → 32
    limit = np.sqrt(6 / (9 * 16 + 9 * 32))
    assert 0.98 * limit < np.abs(weight).max() <= limit


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"latent_dim": 0}, ArgumentError, "latent_dim"),
        ({"event_shape": ()}, ArgumentError, "at least one axis"),
        ({"event_shape": (8, 0)}, ArgumentError, "event_shape"),
        ({"hidden": (0,)}, ArgumentError, "hidden"),
        ({"likelihood": "bernouli_logits"}, UnknownNameError, "Did you mean 'bernoulli_logits'"),
        ({"likelihood_scale": 0.5}, ArgumentError, "has no scale"),
        ({"likelihood": "gaussian", "likelihood_scale": -1.0}, ArgumentError, "positive"),
        ({"likelihood": "laplace", "learn_scale": True}, ArgumentError, "needs likelihood='gaussian'"),
    ],
)
def test_mlp_builder_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        mlp_vae(0, **({"event_shape": (8, 8), "latent_dim": 2} | arguments))


@pytest.mark.parametrize(
    ("event", "channels", "message"),
    [((64,), (16,), r"\(H, W\)"), ((8, 8), (), "1 to 3 layers"), ((8, 8), (4, 4, 4, 4), "1 to 3 layers")],
)
def test_conv_builder_refuses(event, channels, message):
    with pytest.raises(ArgumentError, match=message):
        conv_vae(0, event_shape=event, latent_dim=2, channels=channels)


def test_gaussian_scale_reaches_the_model():
    model = mlp_vae(
        0, event_shape=(4,), latent_dim=1, likelihood="gaussian", likelihood_scale=0.2, learn_scale=True
    )
    assert isinstance(model, NeuralVAE)
    assert float(model.likelihood.scale) == pytest.approx(0.2)
    assert model.likelihood.learned


def test_the_same_networks_under_another_scale():
    model = mlp_vae(0, event_shape=(4,), latent_dim=1, likelihood="gaussian", likelihood_scale=0.2)
    other = model.with_likelihood_scale(0.7)
    assert float(other.likelihood.scale) == pytest.approx(0.7)
    assert float(model.likelihood.scale) == pytest.approx(0.2)
    assert eqx.tree_equal(model.decoder, other.decoder)
    assert jax.tree.structure(model) == jax.tree.structure(other)
    with pytest.raises(ArgumentError, match="positive"):
        model.with_likelihood_scale(0.0)
    with pytest.raises(ArgumentError, match="has no scale to replace"):
        mlp_vae(0, event_shape=(4,), latent_dim=1).with_likelihood_scale(1.0)
