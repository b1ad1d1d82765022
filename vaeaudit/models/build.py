"""Models from a handful of settings: an MLP pair or a convolutional pair with a likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence

import equinox as eqx
import jax
from jaxtyping import Array

from vaeaudit.core.arrays import KeyLike, as_key, check_count
from vaeaudit.core.errors import ArgumentError, unknown_name
from vaeaudit.models.convolutional import ConvDecoder, ConvEncoder
from vaeaudit.models.likelihoods import LIKELIHOODS, AbstractLikelihood, Gaussian, Laplace
from vaeaudit.models.networks import MLPDecoder, MLPEncoder
from vaeaudit.models.vae import NeuralVAE


def build_likelihood(name: str, *, scale: float = 1.0, learn_scale: bool = False) -> AbstractLikelihood:
    """Likelihood by name; ``scale`` and ``learn_scale`` are used by those that have a scale."""
    if name not in LIKELIHOODS:
        raise unknown_name("likelihood", name, list(LIKELIHOODS))
    if not (math.isfinite(scale) and scale > 0):
        raise ArgumentError(f"`likelihood_scale` must be positive and finite; got {scale!r}.")
    if name == "gaussian":
        return Gaussian(scale, learned=learn_scale)
    if learn_scale:
        raise ArgumentError(f"`learn_scale` needs likelihood='gaussian'; got {name!r}.")
    if name == "laplace":
        return Laplace(scale)
    if scale != 1.0:
        raise ArgumentError(f"likelihood {name!r} has no scale; got likelihood_scale={scale!r}.")
    return LIKELIHOODS[name]()


def _check_architecture(
    event_shape: Sequence[int], latent_dim: int, widths: Sequence[int], name: str
) -> tuple[int, ...]:
    check_count("latent_dim", latent_dim)
    if len(event_shape) == 0:
        raise ArgumentError("`event_shape` must have at least one axis, for example (8, 8); got ().")
    for size in event_shape:
        check_count("event_shape", size)
    for width in widths:
        check_count(name, width)
    return tuple(int(size) for size in event_shape)


# one compiled program per architecture: op by op it would be a dozen


@eqx.filter_jit
def _init_mlp(
    rng_key: Array, event: tuple[int, ...], latent_dim: int, hidden: tuple[int, ...], shared_scale: bool
) -> tuple[MLPEncoder, MLPDecoder]:
    enc_key, dec_key = jax.random.split(rng_key)
    encoder = MLPEncoder(enc_key, math.prod(event), hidden, latent_dim, shared_scale=shared_scale)
    return encoder, MLPDecoder(dec_key, latent_dim, hidden[::-1], event)


@eqx.filter_jit
def _init_conv(
    rng_key: Array, event: tuple[int, ...], latent_dim: int, channels: tuple[int, ...]
) -> tuple[ConvEncoder, ConvDecoder]:
    enc_key, dec_key = jax.random.split(rng_key)
    encoder = ConvEncoder(enc_key, event, channels, latent_dim)
    return encoder, ConvDecoder(dec_key, latent_dim, channels[::-1], event)


def mlp_vae(
    rng_key: KeyLike,
    *,
    event_shape: Sequence[int],
    latent_dim: int,
    hidden: Sequence[int] = (64,),
    likelihood: str = "bernoulli_logits",
    likelihood_scale: float = 1.0,
    learn_scale: bool = False,
    shared_scale: bool = False,
) -> NeuralVAE:
    """Build a VAE with MLP encoder and decoder (tanh) and Glorot-uniform weights.

    Parameters
    ----------
    rng_key
        Integer seed or JAX key for the initial weights.
    event_shape
        Shape of one datum, for example (8, 8).
    latent_dim
        Number of latent dimensions J.
    hidden
        Widths of the encoder's hidden layers; the decoder has them in reverse.
    likelihood
        Name in `LIKELIHOODS`.
    likelihood_scale
        Scale s of a Gaussian or Laplace likelihood.
    learn_scale
        Whether the Gaussian's s is trained.
    shared_scale
        Whether the encoder's scale is one vector for all data, as the exact posterior of a
        linear-Gaussian model has it.

    Returns
    -------
    NeuralVAE
        The model; equal settings give equal pytree structures.

    Raises
    ------
    ArgumentError
        For a size that is not positive or a scale where the likelihood has none.
    UnknownNameError
        For an unknown likelihood.

    Examples
    --------
    >>> from vaeaudit.models.build import mlp_vae
    >>> model = mlp_vae(0, event_shape=(8, 8), latent_dim=2, hidden=(32,))
    >>> model.encoder.loc_head.weight.shape
    (2, 32)
    """
    event = _check_architecture(event_shape, latent_dim, hidden, "hidden")
    encoder, decoder = _init_mlp(as_key(rng_key), event, latent_dim, tuple(hidden), shared_scale)
    return NeuralVAE(
        encoder=encoder,
        decoder=decoder,
        likelihood=build_likelihood(likelihood, scale=likelihood_scale, learn_scale=learn_scale),
        latent_dim=latent_dim,
    )


def conv_vae(
    rng_key: KeyLike,
    *,
    event_shape: Sequence[int],
    latent_dim: int,
    channels: Sequence[int] = (16, 32),
    likelihood: str = "bernoulli_logits",
    likelihood_scale: float = 1.0,
    learn_scale: bool = False,
) -> NeuralVAE:
    """Build a VAE with a convolutional encoder and decoder (ReLU) and Glorot-uniform weights.

    Parameters
    ----------
    rng_key
        Integer seed or JAX key for the initial weights.
    event_shape
        (H, W) or (H, W, C).
    latent_dim
        Number of latent dimensions J.
    channels
        Channels after each strided convolution, each of which halves H and W; the decoder has them
        in reverse.
    likelihood, likelihood_scale, learn_scale
        As for `mlp_vae`.

    Returns
    -------
    NeuralVAE
        The model; equal settings give equal pytree structures.

    Raises
    ------
    ArgumentError
        For an event that is no picture, a size that is not positive, more halvings than the picture
        allows, or a scale where the likelihood has none.
    UnknownNameError
        For an unknown likelihood.

    Examples
    --------
    >>> from vaeaudit.models.build import conv_vae
    >>> model = conv_vae(0, event_shape=(28, 28), latent_dim=10)
    >>> model.encoder.loc_head.weight.shape  # 7 · 7 · 32 features
    (10, 1568)
    """
    event = _check_architecture(event_shape, latent_dim, channels, "channels")
    if len(event) not in (2, 3):
        raise ArgumentError(f"`event_shape` must be (H, W) or (H, W, C) for convolutions; got {event}.")
    if not channels or min(event[:2]) < 2 ** len(channels):
        raise ArgumentError(
            f"`channels` must name 1 to {int(math.log2(min(event[:2])))} layers for pictures of {event[:2]}, "
            f"as each layer halves both axes; got {tuple(channels)}."
        )
    encoder, decoder = _init_conv(as_key(rng_key), event, latent_dim, tuple(channels))
    return NeuralVAE(
        encoder=encoder,
        decoder=decoder,
        likelihood=build_likelihood(likelihood, scale=likelihood_scale, learn_scale=learn_scale),
        latent_dim=latent_dim,
    )
