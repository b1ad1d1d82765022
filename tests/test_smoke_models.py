import jax, jax.numpy as jnp
from vaeaudit.models.networks import MLPEncoder, MLPDecoder
from vaeaudit.models.likelihoods import LIKELIHOODS, BernoulliLogits, Gaussian
from vaeaudit.models.vae import NeuralVAE


def test():
    k = jax.random.key(0)
    m = NeuralVAE(
        encoder=MLPEncoder(k, 64, (32,), 4),
        decoder=MLPDecoder(k, 4, (32,), (8, 8)),
        likelihood=BernoulliLogits(),
        latent_dim=4,
    )
    x = jnp.ones((5, 8, 8))
    loc, scale = m.encode(x)
    z = jnp.zeros((3, 5, 4))
    assert m.log_likelihood(x, z).shape == (3, 5)
    import equinox as eqx

    assert eqx.filter_jit(lambda m, x, z: m.log_likelihood(x, z))(m, x, z).shape == (3, 5)
