"""A VAE from its encoder and decoder functions, in any parameterisation and four frameworks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from vaeaudit.adapters.host import HostFunction, host_function
from vaeaudit.core.arrays import Data, Latents, PerLatent, PerSample, check_count
from vaeaudit.core.errors import ArgumentError, ShapeError, unknown_name
from vaeaudit.models.likelihoods import LIKELIHOODS, AbstractLikelihood, Gaussian, Laplace
from vaeaudit.models.vae import AbstractVAE

EncoderOutput = Literal["loc_scale", "loc_log_scale", "loc_log_var", "loc_var"]
Framework = Literal["jax", "numpy", "torch", "keras"]


def to_scale(spread: Array, encoder_output: EncoderOutput) -> Array:
    """Standard deviation σ from what an encoder returns beside loc.

    σ,   σ = exp(log σ),   σ = exp(½ log σ²),   σ = √σ²
    """
    if encoder_output == "loc_scale":
        return spread
    if encoder_output == "loc_log_scale":
        return jnp.exp(spread)
    if encoder_output == "loc_log_var":
        return jnp.exp(0.5 * spread)
    return jnp.sqrt(spread)  # NaN for a negative variance, which the checks then name


class DecoderVAE(AbstractVAE):
    """A VAE from an encoder function, a decoder function and a named likelihood; see `from_decoder`."""

    encode_fn: Any
    decode_fn: Any
    likelihood: AbstractLikelihood
    latent_dim: int = eqx.field(static=True)
    encoder_output: EncoderOutput = eqx.field(static=True)
    on_host: bool = eqx.field(static=True)

    def encode(self, x: Data) -> tuple[PerLatent, PerLatent]:
        if self.on_host:
            shape = (x.shape[0], self.latent_dim)
            loc, spread = self.encode_fn.call((shape, shape), x)
        else:
            out = self.encode_fn(x)
            if not isinstance(out, tuple | list) or len(out) != 2:
                raise ShapeError(_pair_message(out))
            loc, spread = out
        return loc, to_scale(spread, self.encoder_output)

    def decode(self, z: Latents) -> Array:
        """Likelihood parameters for latents of any leading shape: (..., latent) → (..., *event)."""
        flat = z.reshape(-1, self.latent_dim)
        if self.on_host:
            [out] = self.decode_fn.call(((flat.shape[0], *self.decode_fn.event_shape),), flat)
        else:
            out = self.decode_fn(flat)
        return out.reshape(*z.shape[:-1], *out.shape[1:])

    def log_likelihood(self, x: Data, z: Latents) -> PerSample:
        out = self.decode(z)
        if out.shape[z.ndim - 1 :] != x.shape[1:]:
            wanted = ", ".join(map(str, x.shape[1:]))
            raise ShapeError(
                f"`decode` must return one parameter per element of x, (n, {wanted}); got "
                f"shape {out.shape[z.ndim - 1 :]} for x of shape {x.shape}. Reshape the decoder's "
                "output, or the data, to the same event shape."
            )
        return self.likelihood.log_prob(x, out)

    def check_host(self, x: Any) -> None:
        """Try functions outside JAX directly on data, where errors keep their names.

        Raises
        ------
        ShapeError
        """
        if not self.on_host:
            return
        loc, spread = self.encode_fn.eager(x)
        expected = (len(x), self.latent_dim)
        for name, part in (("loc", loc), ("spread", spread)):
            if part.shape != expected:
                raise ShapeError(f"`encode` must return {name} of shape {expected}; got {part.shape}.")
        self.decode_fn.eager(loc)

    @property
    def differentiable(self) -> bool:
        return not self.on_host


def _pair_message(out: Any) -> str:
    got = f"{type(out).__name__} of {len(out)}" if isinstance(out, tuple | list) else type(out).__name__
    return (
        f"`encode` must return a pair (loc, spread), each (batch, latent); got {got}. An encoder that also "
        "returns z: pass encode=lambda x: encoder(x)[:2]."
    )


def build_likelihood(name: str, scale: float | None) -> AbstractLikelihood:
    """Likelihood by name, with its scale where it has one.

    Raises
    ------
    UnknownNameError, ArgumentError
    """
    if name not in LIKELIHOODS:
        raise unknown_name("likelihood", name, list(LIKELIHOODS))
    kind = LIKELIHOODS[name]
    if kind is Gaussian or kind is Laplace:
        if scale is None:
            raise ArgumentError(
                f"likelihood {name!r} needs `likelihood_scale`. A squared error ‖x−x̂‖² in the loss is a "
                "Gaussian with scale √½ ≈ 0.7071; ½‖x−x̂‖² is one with scale 1."
            )
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < float("inf"):
            raise ArgumentError(f"`likelihood_scale` must be a positive number; got {scale!r}.")
        return kind(float(scale))
    if scale is not None:
        raise ArgumentError(
            f"likelihood {name!r} has no scale; leave out `likelihood_scale` (got {scale!r})."
        )
    return kind()


def from_decoder(
    *,
    encode: Callable[..., Any],
    decode: Callable[..., Any],
    latent_dim: int,
    likelihood: str = "bernoulli_logits",
    encoder_output: EncoderOutput = "loc_scale",
    likelihood_scale: float | None = None,
    framework: Framework = "jax",
) -> DecoderVAE:
    r"""Describe a VAE by its encoder and decoder functions and the name of its likelihood.

    Parameters
    ----------
    encode
        x (batch, \*event) → pair (loc, spread), each (batch, latent).
    decode
        z (n, latent) → parameters of p(x|z), (n, \*event): logits, probabilities or means, as the
        likelihood's name says.
    latent_dim
        Number of latent dimensions.
    likelihood
        ``bernoulli_logits``, ``bernoulli_probs``, ``continuous_bernoulli_logits``, ``gaussian``,
        ``laplace`` or ``categorical_logits`` (over the last event axis).
    encoder_output
        What ``encode`` returns beside loc: ``"loc_scale"`` σ, ``"loc_log_scale"`` log σ,
        ``"loc_log_var"`` log σ², ``"loc_var"`` σ².
    likelihood_scale
        Standard deviation of ``gaussian``, scale of ``laplace``; required there.
    framework
        ``"jax"``, or the framework of functions that run outside JAX: ``"numpy"`` (arrays in and out),
        ``"torch"`` (CPU or device tensors, without gradients) or ``"keras"`` (tensors of its backend).

    Returns
    -------
    DecoderVAE
        The model, for every estimator here; ``differentiable`` is false outside JAX.

    Raises
    ------
    ArgumentError, UnknownNameError
        For an unknown name, a missing or superfluous scale, something that cannot be called, or a PyTorch
        module with dropout or batch normalisation in training mode.
    MissingDependencyError
        If the framework is not installed.
    ShapeError
        If ``decode`` does not return one array (n, \*event), tried on a zero latent.

    Notes
    -----
    Functions outside JAX are called back from compiled programs (`jax.pure_callback`), with float32 arrays.
    They must not call JAX themselves, and must give the same output for the same input. A dropped constant
    of a training loss does not matter here: the likelihood is normalised by its name.

    Examples
    --------
    >>> import numpy as np
    >>> weight = np.array([[1.0, -2.0, 0.5]])
    >>> model = from_decoder(
    ...     encode=lambda x: (x[:, :1] / 2, np.full((len(x), 1), -0.7)),
    ...     decode=lambda z: z @ weight,
    ...     latent_dim=1,
    ...     likelihood="gaussian",
    ...     likelihood_scale=0.5,
    ...     encoder_output="loc_log_scale",
    ...     framework="numpy",
    ... )
    >>> model.differentiable, model.decode(jnp.ones((4, 5, 1))).shape
    (False, (4, 5, 3))
    """
    for name, function in (("encode", encode), ("decode", decode)):
        if not callable(function):
            raise ArgumentError(f"`{name}` must be a function; got {type(function).__name__}.")
    check_count("latent_dim", latent_dim)
    if encoder_output not in get_args(EncoderOutput):
        raise unknown_name("encoder_output", str(encoder_output), list(get_args(EncoderOutput)))
    if framework not in get_args(Framework):
        raise unknown_name("framework", str(framework), list(get_args(Framework)))
    built = build_likelihood(likelihood, likelihood_scale)
    if framework == "jax":
        return DecoderVAE(
            encode_fn=encode,
            decode_fn=decode,
            likelihood=built,
            latent_dim=latent_dim,
            encoder_output=encoder_output,
            on_host=False,
        )
    run_encode = HostFunction("encode", host_function(encode, framework, "encode"), 2)
    run_decode = HostFunction("decode", host_function(decode, framework, "decode"), 1)
    return DecoderVAE(
        encode_fn=run_encode,
        decode_fn=run_decode.with_event_shape(latent_dim),
        likelihood=built,
        latent_dim=latent_dim,
        encoder_output=encoder_output,
        on_host=True,
    )
