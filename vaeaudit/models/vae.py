"""What every estimator takes: an encoder, a likelihood and a prior behind four methods."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from vaeaudit.core.arrays import Data, Latents, PerLatent, PerSample, check_count
from vaeaudit.core.errors import ArgumentError, ShapeError
from vaeaudit.core.gaussian import log_standard_normal
from vaeaudit.models.likelihoods import AbstractLikelihood


class AbstractVAE(eqx.Module):
    """A variational autoencoder as the estimators see it.

    It is a pytree: arrays inside are traced, functions are static. Two models of one architecture
    therefore share a compiled estimator. ``differentiable`` says whether gradients through
    `log_likelihood` exist (false for models that run outside JAX).
    """

    latent_dim: eqx.AbstractVar[int]

    @abstractmethod
    def encode(self, x: Data) -> tuple[PerLatent, PerLatent]:
        """Return loc and scale of q(z|x), each (batch, latent)."""

    @abstractmethod
    def log_likelihood(self, x: Data, z: Latents) -> PerSample:
        """Return log p(x|z) in nats, (sample, batch), for z of (sample, batch, latent)."""

    def log_prior(self, z: Latents) -> PerSample:
        """Return log p(z) in nats over the last axis; standard normal unless overridden."""
        return log_standard_normal(z)

    @property
    def differentiable(self) -> bool:
        """Whether gradients of `log_likelihood` in x and z exist."""
        return True

    @property
    def standard_prior(self) -> bool:
        """Whether p(z) = N(0, I), for which the rate has a closed form."""
        return True

    def head_weight_sq(self) -> Array:
        """‖W_loc‖² + ‖W_log-scale‖² over the weight matrices of the encoder's two heads, ()."""
        raise ArgumentError(
            f"{type(self).__name__} does not say which of its weights are the encoder's heads, so an L2 "
            "objective cannot be formed. Use a NeuralVAE, or override `head_weight_sq`."
        )

    def decoder_weight_sq(self) -> Array:
        """Σ‖W‖² over the weight arrays of the decoder's layers, biases left out, ()."""
        raise ArgumentError(
            f"{type(self).__name__} does not say which of its weights are the decoder's, so an L2 "
            "objective cannot be formed. Use a NeuralVAE, or override `decoder_weight_sq`."
        )


class FunctionVAE(AbstractVAE):
    """A VAE given as plain functions; see `vae`."""

    encode_fn: Callable[..., Any]
    log_likelihood_fn: Callable[..., Any]
    log_prior_fn: Callable[..., Any] | None
    latent_dim: int = eqx.field(static=True)

    def encode(self, x: Data) -> tuple[PerLatent, PerLatent]:
        return self.encode_fn(x)

    def log_likelihood(self, x: Data, z: Latents) -> PerSample:
        return self.log_likelihood_fn(x, z)

    def log_prior(self, z: Latents) -> PerSample:
        return log_standard_normal(z) if self.log_prior_fn is None else self.log_prior_fn(z)

    @property
    def standard_prior(self) -> bool:
        return self.log_prior_fn is None


class NeuralVAE(AbstractVAE):
    """Encoder network, decoder network and likelihood, trained here or assembled from parts.

    ``encoder(x)`` gives loc and log scale, each (batch, latent); ``decoder(z)`` maps (n, latent) to
    the likelihood's parameters, (n, *event).
    """

    encoder: Any
    decoder: Any
    likelihood: AbstractLikelihood
    latent_dim: int = eqx.field(static=True)

    def encode(self, x: Data) -> tuple[PerLatent, PerLatent]:
        loc, log_scale = self.encoder(x)
        return loc, jnp.exp(log_scale)

    def decode(self, z: Latents) -> Array:
        """Likelihood parameters for latents of any leading shape: (..., latent) → (..., *event)."""
        out = self.decoder(z.reshape(-1, self.latent_dim))
        return out.reshape(*z.shape[:-1], *out.shape[1:])

    def log_likelihood(self, x: Data, z: Latents) -> PerSample:
        out = self.decode(z)
        event = out.shape[z.ndim - 1 :]
        if event != x.shape[1:]:  # would broadcast
            raise ShapeError(
                f"`x` must be (batch, {', '.join(map(str, event))}) as the decoder's output is; got "
                f"{x.shape}. Reshape the data, or build the model with their event shape."
            )
        return self.likelihood.log_prob(x, out)

    def with_likelihood_scale(self, scale: float) -> NeuralVAE:
        """Read the same networks under another scale of the Gaussian or Laplace likelihood.

        Raises
        ------
        ArgumentError
            If the likelihood has no scale, or ``scale`` is not positive.
        """
        if not hasattr(self.likelihood, "log_scale"):
            raise ArgumentError(f"likelihood {self.likelihood.name!r} has no scale to replace.")
        if not scale > 0:
            raise ArgumentError(f"`scale` must be positive; got {scale!r}.")
        log_scale = jnp.log(jnp.asarray(scale, dtype=jnp.float32))
        return eqx.tree_at(lambda m: m.likelihood.log_scale, self, log_scale)

    def head_weight_sq(self) -> Array:
        return jnp.sum(self.encoder.loc_head.weight**2) + jnp.sum(self.encoder.log_scale_head.weight**2)

    def decoder_weight_sq(self) -> Array:
        return jnp.sum(jnp.stack([jnp.sum(layer.weight**2) for layer in self.decoder.layers]))


def vae(
    *,
    encode: Callable[[Array], tuple[Array, Array]],
    log_likelihood: Callable[[Array, Array], Array],
    latent_dim: int,
    log_prior: Callable[[Array], Array] | None = None,
) -> FunctionVAE:
    """Describe any VAE written in JAX by its functions.

    Parameters
    ----------
    encode
        ``encode(x) -> (loc, scale)``: x (batch, *event) → two arrays (batch, latent), scale > 0, the
        mean and standard deviation of q(z|x).
    log_likelihood
        ``log_likelihood(x, z) -> nats``: z (sample, batch, latent) → (sample, batch), log p(x|z)
        summed over the event.
    latent_dim
        Number of latent dimensions.
    log_prior
        ``log_prior(z) -> nats``: (sample, batch, latent) → (sample, batch). Standard normal when
        omitted, which gives the rate in closed form.

    Returns
    -------
    FunctionVAE
        The model, for every estimator here.

    Raises
    ------
    ArgumentError
        If an argument is not callable or ``latent_dim`` is not a positive integer.

    Notes
    -----
    The functions are called under ``jax.jit``: arrays they close over become constants of the
    compiled program, and a new closure compiles anew. They are checked on the first batch by
    `vaeaudit.audit` and `vaeaudit.log_evidence`: shapes, finiteness, positive scale.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import vaeaudit as va
    >>> model = va.vae(
    ...     encode=lambda x: (x / 2, jnp.full_like(x, 0.5**0.5)),
    ...     log_likelihood=lambda x, z: -0.5 * jnp.sum((x - z) ** 2 + jnp.log(2 * jnp.pi), -1),
    ...     latent_dim=1,
    ... )
    >>> model.latent_dim
    1
    """
    for name, function in (("encode", encode), ("log_likelihood", log_likelihood)):
        if not callable(function):
            raise ArgumentError(f"`{name}` must be a function; got {type(function).__name__}.")
    if log_prior is not None and not callable(log_prior):
        raise ArgumentError(f"`log_prior` must be a function or None; got {type(log_prior).__name__}.")
    check_count("latent_dim", latent_dim)
    return FunctionVAE(
        encode_fn=encode, log_likelihood_fn=log_likelihood, log_prior_fn=log_prior, latent_dim=latent_dim
    )
