"""A model split into what is trained and what the compiled program fixes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaeaudit.core.errors import ArgumentError
from vaeaudit.models.likelihoods import Gaussian
from vaeaudit.models.vae import AbstractVAE


@dataclass(frozen=True)
class Skeleton:
    """Structure of a model without its trainable arrays; hashable, equal for equal architectures.

    A Gaussian's scale is always part of the trainable arrays, so that fixed and learned scales share a
    program; `gate_scale` holds it still where it is fixed.
    """

    treedef: Any
    leaves: tuple[Hashable, ...]  # what is not a trainable array; a marker where one belongs
    shapes: tuple[tuple[tuple[int, ...], str], ...]
    scale_index: int | None  # position of a Gaussian's log scale among the trainable arrays
    latent_dim: int

    def join(self, params: list[Any]) -> AbstractVAE:
        """Put trainable arrays back into the model."""
        arrays = iter(params)
        leaves = [next(arrays) if leaf is _HOLE else leaf for leaf in self.leaves]
        return jax.tree.unflatten(self.treedef, leaves)

    def gate_scale(self, gradient: list[Array], learn_scale: Array) -> list[Array]:
        """Zero the gradient of the likelihood's scale where ``learn_scale`` is zero."""
        if self.scale_index is None:
            return gradient
        gated = list(gradient)
        gated[self.scale_index] = jnp.where(learn_scale > 0, gated[self.scale_index], 0.0)
        return gated


class _Hole:
    """Marks the place of a trainable array."""

    def __repr__(self) -> str:
        return "·"


_HOLE = _Hole()


def split(model: AbstractVAE) -> tuple[Skeleton, list[np.ndarray], bool]:
    """Take a model apart.

    Returns
    -------
    tuple
        Skeleton, trainable arrays, and whether the likelihood's scale is to be learned.

    Raises
    ------
    ArgumentError
        For a model that has nothing to train or a part that cannot be held fixed in a program.
    """
    likelihood = getattr(model, "likelihood", None)
    learned = isinstance(likelihood, Gaussian) and likelihood.learned
    if isinstance(likelihood, Gaussian):
        model = with_learned_scale(model, True)
    leaves, treedef = jax.tree.flatten(model)
    trainable = [eqx.is_inexact_array(leaf) for leaf in leaves]
    params = [np.asarray(leaf) for leaf, keep in zip(leaves, trainable, strict=True) if keep]
    if not params:
        raise ArgumentError(f"{type(model).__name__} holds no floating-point array: nothing to train.")
    kept = tuple(_HOLE if keep else leaf for leaf, keep in zip(leaves, trainable, strict=True))
    for leaf in kept:
        if not isinstance(leaf, Hashable):
            raise ArgumentError(
                f"a trained model may hold float arrays and hashable constants; got {type(leaf).__name__} "
                "as a leaf. Make it a static field (eqx.field(static=True)) or a float array."
            )
    scale_index = None
    if isinstance(likelihood, Gaussian):
        # mark the one leaf that is the scale by identity of position
        marked = eqx.tree_at(lambda m: m.likelihood.log_scale, model, _HOLE)
        position = [leaf is _HOLE for leaf in jax.tree.leaves(marked)].index(True)
        scale_index = sum(trainable[:position])
    shapes = tuple((p.shape, str(p.dtype)) for p in params)
    return Skeleton(treedef, kept, shapes, scale_index, model.latent_dim), params, learned


def with_learned_scale(model: Any, learned: bool) -> Any:
    """The model with its Gaussian's ``learned`` flag set."""
    likelihood = model.likelihood
    new = Gaussian(1.0, learned=learned)
    new = eqx.tree_at(lambda g: g.log_scale, new, likelihood.log_scale)
    return eqx.tree_at(lambda m: m.likelihood, model, new)
