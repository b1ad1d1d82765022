"""Does a model keep its contract? Checked on a few data before any number is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaeaudit.core.arrays import KeyLike, as_float_array, as_key, check_finite, check_loc_scale
from vaeaudit.core.errors import ArgumentError, DtypeError, ShapeError, VaeauditError
from vaeaudit.models.likelihoods import AbstractLikelihood
from vaeaudit.models.vae import AbstractVAE

NUM_CHECKED = 8


def check_model(
    model: AbstractVAE, x: Any, rng_key: KeyLike = 0, *, check_support: bool = True
) -> tuple[Array, Array]:
    """Run encoder, likelihood and prior on the first data and hold them to the contract.

    Parameters
    ----------
    model
        Any VAE.
    x
        Data (batch, *event). All of them are checked for finiteness and support, the first 8 are run.
    rng_key
        Seed for the latents at which likelihood and prior are tried.
    check_support
        Whether data outside the likelihood's support are an error, where the likelihood is known.

    Returns
    -------
    tuple
        loc and scale (n, latent) of the data that were run, n ≤ 8.

    Raises
    ------
    ShapeError
        For a wrong shape, named with the function that returned it; for latents whose axes are mixed
        up; for an encoding of a datum that depends on the rest of its batch.
    DtypeError, NonFiniteError, ScaleError, SupportError
        For half precision or objects; NaN or infinity; a scale that is not positive; data outside
        the support, or a decoder's output that is no parameter of the likelihood.
    ArgumentError
        For a function that cannot be traced by JAX, or that draws other random numbers at each call.

    Notes
    -----
    Cost: a few small compilations; the model is called on at most 8 data.
    """
    x = as_float_array("x", x)
    if x.ndim < 2:
        raise ShapeError(f"`x` must be (batch, *event); got shape {x.shape}. Pass one datum as x[None].")
    likelihood = getattr(model, "likelihood", None)
    if check_support and isinstance(likelihood, AbstractLikelihood):
        likelihood.check_support(x)
    x = x[:NUM_CHECKED]
    loc, scale = _encoded(model, x)
    again, _ = _encoded(model, x)
    if not _close(loc, again):
        raise ArgumentError(
            "`encode` must give the same q(z|x) at each call; two calls on the same data differ. Switch the "
            "encoder to evaluation mode (dropout off); sampling z is the estimators' work."
        )
    if len(x) > 1:
        alone, _ = _encoded(model, x[:1])
        if not _close(loc[:1], alone):
            raise ShapeError(
                "`encode` must treat every datum by itself; the first datum is encoded differently alone and "
                f"in a batch of {len(x)}. Switch batch normalisation to evaluation mode, or reduce over the "
                "event axes only."
            )
    noise = jax.random.normal(as_key(rng_key), (2, *loc.shape), loc.dtype)
    z = loc + scale * noise
    z = jnp.stack([z[0], z[1], z[0]])  # the third sample must repeat the first
    if isinstance(likelihood, AbstractLikelihood) and hasattr(model, "decode"):
        likelihood.check_output(_call("decode", _decode, model, x, z))
    _check_samples("log_likelihood", _log_likelihood, model, x, z)
    _check_samples("log_prior", _log_prior, model, x, z)
    return loc, scale


def _encode(model: AbstractVAE, x: Array, z: Array | None) -> Any:
    return model.encode(x)


def _decode(model: Any, x: Array, z: Array) -> Any:
    return model.decode(z)


def _log_likelihood(model: AbstractVAE, x: Array, z: Array) -> Any:
    return model.log_likelihood(x, z)


def _log_prior(model: AbstractVAE, x: Array, z: Array) -> Any:
    return model.log_prior(z)


def _encoded(model: AbstractVAE, x: Array) -> tuple[Array, Array]:
    pair = _call("encode", _encode, model, x, None)
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ShapeError(f"`encode` must return the pair (loc, scale); got {type(pair).__name__}.")
    for name, value in zip(("loc", "scale"), pair, strict=True):
        _check_dtype(f"encode's {name}", value)
    loc, scale = check_loc_scale(*pair, latent_dim=model.latent_dim)
    if len(loc) != len(x):
        raise ShapeError(f"`encode` must return one row per datum, {len(x)}; got {loc.shape}.")
    return loc, scale


def _check_samples(name: str, function: Callable[..., Any], model: AbstractVAE, x: Array, z: Array) -> None:
    value = _call(name, function, model, x, z)
    _check_dtype(name, value)
    expected = z.shape[:2]
    if tuple(np.shape(value)) != expected:
        cause = " It looks averaged or summed over the batch." if np.ndim(value) < 2 else ""
        cause = " It must be summed over the event and latent axes." if np.ndim(value) > 2 else cause
        raise ShapeError(
            f"`{name}` must return nats of shape (sample, batch) = {expected} for z of shape {z.shape} "
            f"(sample, batch, latent); got {np.shape(value)}.{cause}"
        )
    check_finite(
        name,
        value,
        "It must be finite at draws from q(z|x): compute it from logits, not from probabilities.",
    )
    if not _close(value[0], value[2]):
        raise ShapeError(
            f"`{name}` must treat every sample by itself; two equal samples of z got different values. The "
            "axes of z are (sample, batch, latent): check reshapes in the decoder, and that it draws nothing."
        )


def _check_dtype(name: str, value: Any) -> None:
    dtype = getattr(value, "dtype", None)
    if dtype not in (jnp.float32, jnp.float64):
        raise DtypeError(
            f"`{name}` must be a float32 or float64 array; got {dtype or type(value).__name__}. "
            "Half precision rounds by more than the intervals reported here."
        )


@eqx.filter_jit
def _traced(function: Callable[..., Any], model: AbstractVAE, x: Array, z: Array | None) -> Any:
    return function(model, x, z)


def _call(name: str, function: Callable[..., Any], model: AbstractVAE, x: Array, z: Array | None) -> Any:
    """Call under jit, as the estimators do, and name what went wrong."""
    shapes = f"x of shape {x.shape}" + ("" if z is None else f" and z of shape {z.shape}")
    try:
        return _traced(function, model, x, z)
    except VaeauditError:
        raise
    except jax.errors.JAXTypeError as error:
        raise ArgumentError(
            f"`{name}` must be written in JAX, as it is compiled. On {shapes}: {_first_line(error)} "
            "Use jax.numpy, or wrap NumPy or PyTorch functions with va.from_decoder(framework=…)."
        ) from error
    except (TypeError, ValueError, IndexError) as error:
        raise ShapeError(
            f"`{name}` failed on {shapes}: {_first_line(error)} Axes are (batch, *event) for x and "
            "(sample, batch, latent) for z."
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0][:300]}"


def _close(a: Array, b: Array) -> bool:
    return bool(jnp.allclose(a, b, rtol=1e-3, atol=1e-3))
