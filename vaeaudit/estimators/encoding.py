"""Run a model's encoder and likelihood over a data set in chunks of one shape: one compilation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaeaudit.core.arrays import as_float_array, check_loc_scale
from vaeaudit.core.errors import ArgumentError, ShapeError
from vaeaudit.core.processes import spread
from vaeaudit.models.vae import AbstractVAE

CHUNK = 1000  # data per call of the encoder


@eqx.filter_jit
def _encode(model: AbstractVAE, x: Array) -> tuple[Array, Array]:
    return model.encode(x)


def chunks(num_data: int, size: int) -> Iterator[tuple[int, int]]:
    """Start and stop of consecutive chunks."""
    for start in range(0, num_data, size):
        yield start, min(start + size, num_data)


def pad_to(array: np.ndarray | Array, size: int) -> Array:
    """Repeat the last row until axis 0 has ``size`` rows, so that every chunk has one shape."""
    short = size - array.shape[0]
    if short == 0:
        return jnp.asarray(array)
    return jnp.concatenate([jnp.asarray(array), jnp.repeat(jnp.asarray(array[-1:]), short, axis=0)])


def over_chunks(
    function: Callable[[Array, int], Any], x: np.ndarray | Array, *, size: int = CHUNK, label: str = ""
) -> list[np.ndarray]:
    """Apply ``function(x_chunk, chunk_number) -> arrays (batch, …)`` and join the outputs on the host.

    With a ``label`` several processes share out the chunks, which pays where a chunk costs more than to send.
    """
    num_data = x.shape[0]
    size = min(size, num_data)
    spans = list(chunks(num_data, size))

    def of_chunk(number: int) -> list[np.ndarray]:
        start, stop = spans[number]
        out = function(pad_to(x[start:stop], size), number)
        return [np.asarray(leaf)[: stop - start] for leaf in jax.tree.leaves(out)]

    parts = spread(of_chunk, len(spans), label) if label else [of_chunk(i) for i in range(len(spans))]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def check_model(model: Any) -> AbstractVAE:
    """Refuse what is not a model, naming the two ways to make one."""
    if not isinstance(model, AbstractVAE):
        raise ArgumentError(
            f"`model` must be a VAE of this package; got {type(model).__name__}. Wrap the functions with "
            "`va.vae(...)` or `va.from_decoder(...)`, or pass (loc, scale) where no decoder is needed."
        )
    return model


def encode_all(model: AbstractVAE, x: Any, *, size: int = CHUNK) -> tuple[np.ndarray, np.ndarray]:
    """Loc and scale of q(z|x) for a whole data set, each (batch, latent), checked.

    Raises
    ------
    ShapeError, NonFiniteError, ScaleError
        If the data or the encoder's output cannot be what they claim to be.
    """
    x = as_float_array("x", x)
    if x.ndim < 2:
        raise ShapeError(
            f"`x` must be (batch, *event); got shape {tuple(x.shape)}. Pass x[:, None] for scalars."
        )
    check_model(model)
    loc, scale = over_chunks(lambda chunk, _: _encode(model, chunk), x, size=size)
    check_loc_scale(loc, scale, latent_dim=model.latent_dim)
    return np.asarray(loc), np.asarray(scale)


def encoder_output(model: Any, x: Any) -> tuple[np.ndarray, np.ndarray, Any]:
    """Loc, scale, and None for a standard normal prior or its log density."""
    if isinstance(model, tuple | list):
        if x is not None or len(model) != 2:
            raise ArgumentError(
                "pass either (model, x) or the pair (loc, scale) alone; got a "
                f"{type(model).__name__} of {len(model)} and x={type(x).__name__}."
            )
        checked = check_loc_scale(*model)
        return np.asarray(checked[0]), np.asarray(checked[1]), None
    check_model(model)
    if x is None:
        raise ArgumentError("`x` is missing: an aggregate over data needs them. Pass (model, x).")
    return (*encode_all(model, x), None if model.standard_prior else model.log_prior)
