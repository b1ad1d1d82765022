"""A model's parameters as two vectors: θ of the generative model and φ of the encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaeaudit.core.errors import ArgumentError
from vaeaudit.models.vae import AbstractVAE

IsEncoder = Callable[[str], bool]  # path such as ".encoder.trunk[0].weight" → belongs to φ?


def is_encoder_path(path: str) -> bool:
    """The default rule: a parameter is φ's if the model's own field that holds it begins with "enc".

    That is ``encoder`` of a `NeuralVAE`, ``enc_weight``, ``enc_bias``, ``enc_scale`` of a
    `LinearGaussianVAE`, ``encode_fn`` of a model built by `vaeaudit.vae`. Everything else is θ's.
    """
    return path.lstrip(".").startswith("enc")


class ParameterSplit(eqx.Module):
    """Differentiable leaves of a model, and which of them are φ's. ``static`` holds the rest."""

    leaves: list[Array]
    static: Any
    treedef: Any = eqx.field(static=True)
    paths: tuple[str, ...] = eqx.field(static=True)
    encoder: tuple[bool, ...] = eqx.field(static=True)

    def combine(self, leaves: list[Array]) -> AbstractVAE:
        """The model with these leaves."""
        return eqx.combine(jax.tree.unflatten(self.treedef, leaves), self.static)

    def vectors(self, leaves: list[Array]) -> tuple[Array, Array]:
        """Leaves (each with the same leading axes as the others beyond its own shape) as θ and φ vectors."""
        parts: tuple[list[Array], list[Array]] = ([], [])
        for leaf, own, phi in zip(leaves, self.leaves, self.encoder, strict=True):
            lead = leaf.shape[: leaf.ndim - own.ndim]
            parts[phi].append(leaf.reshape(*lead, -1))
        empty = jnp.zeros((0,))
        return tuple(jnp.concatenate(p, axis=-1) if p else empty for p in parts)  # type: ignore[return-value]

    def unravel(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """A θ vector as {path: array}."""
        out, start = {}, 0
        for path, own, phi in zip(self.paths, self.leaves, self.encoder, strict=True):
            if not phi:
                out[path] = np.asarray(theta)[start : start + own.size].reshape(own.shape)
                start += own.size
        return out


def split_parameters(model: AbstractVAE, is_encoder: IsEncoder | None = None) -> ParameterSplit:
    """Split a model's floating-point arrays into θ and φ.

    Parameters
    ----------
    model
        A VAE that is a pytree with arrays inside.
    is_encoder
        ``is_encoder(path) -> bool`` for models whose fields are named otherwise; paths read like
        ``.encoder.trunk[0].weight``. Default: `is_encoder_path`.

    Returns
    -------
    ParameterSplit

    Raises
    ------
    ArgumentError
        If the model holds no parameters (plain functions that close over their weights do not show
        them), or if all of them are on one side.

    Examples
    --------
    >>> import vaeaudit as va
    >>> split = split_parameters(va.LinearGaussianVAE.random(0, data_dim=3, latent_dim=2))
    >>> [path for path, phi in zip(split.paths, split.encoder) if phi]
    ['.enc_weight', '.enc_bias', '.enc_scale']
    """
    rule = is_encoder or is_encoder_path
    params, static = eqx.partition(model, eqx.is_inexact_array)
    with_paths, treedef = jax.tree_util.tree_flatten_with_path(params)
    paths = tuple(jax.tree_util.keystr(path) for path, _ in with_paths)
    phi = tuple(bool(rule(path)) for path in paths)
    if not paths or not getattr(model, "differentiable", True):
        raise ArgumentError(
            "gradients need the model's parameters inside its pytree; this model shows none (functions "
            "that close over weights, or a model that runs outside JAX). Build it from Equinox modules: "
            "`va.NeuralVAE(encoder=…, decoder=…, likelihood=…, latent_dim=…)`."
        )
    if all(phi) or not any(phi):
        side = "encoder's (φ)" if all(phi) else "generative model's (θ)"
        raise ArgumentError(
            f"all {len(paths)} parameter arrays were taken for the {side}: {', '.join(paths[:4])} …. "
            "Pass `is_encoder=lambda path: …`, true for the paths of the encoder's parameters."
        )
    return ParameterSplit(
        leaves=[leaf for _, leaf in with_paths], static=static, treedef=treedef, paths=paths, encoder=phi
    )
