"""Models of one architecture as a dictionary of stacked arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from vaeaudit.core.errors import ArgumentError, ShapeError
from vaeaudit.models.vae import AbstractVAE


def _paths(model: AbstractVAE) -> tuple[list[str], list[Any], Any]:
    arrays = eqx.filter(model, eqx.is_array)
    leaves, treedef = jax.tree_util.tree_flatten_with_path(arrays)
    return [jax.tree_util.keystr(path).strip(".") for path, _ in leaves], [a for _, a in leaves], treedef


def stack_models(models: Sequence[AbstractVAE]) -> dict[str, np.ndarray]:
    """Stack the arrays of models of one architecture along a new first axis.

    Parameters
    ----------
    models
        At least one model; all of one pytree structure.

    Returns
    -------
    dict
        Path of the parameter → array (model, …), in the order of the pytree.

    Raises
    ------
    ArgumentError
        If there is no model or the structures differ.

    Examples
    --------
    >>> import vaeaudit as va
    >>> models = [va.mlp_vae(seed, event_shape=(4,), latent_dim=1, hidden=()) for seed in range(3)]
    >>> {name: array.shape for name, array in stack_models(models).items()}["encoder.loc_head.weight"]
    (3, 1, 4)
    """
    if not models:
        raise ArgumentError("`models` is empty; there is nothing to stack.")
    names, _, treedef = _paths(models[0])
    parts = []
    for index, model in enumerate(models):
        _, leaves, other = _paths(model)
        if other != treedef:
            raise ArgumentError(
                f"`models` must share one architecture; model {index} differs from model 0. "
                "Stack each architecture by itself."
            )
        parts.append(leaves)
    return {name: np.stack([np.asarray(p[i]) for p in parts]) for i, name in enumerate(names)}


def unstack_models(like: AbstractVAE, arrays: Mapping[str, np.ndarray]) -> list[AbstractVAE]:
    """Rebuild the models that `stack_models` took apart.

    Parameters
    ----------
    like
        A model of the same architecture; its arrays are replaced.
    arrays
        What `stack_models` returned.

    Returns
    -------
    list
        One model per row.

    Raises
    ------
    ArgumentError, ShapeError
        If a parameter is missing or has another shape than in ``like``.
    """
    names, leaves, treedef = _paths(like)
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ArgumentError(f"`arrays` lacks {', '.join(missing)}; it was stacked from another architecture.")
    for name, leaf in zip(names, leaves, strict=True):
        if arrays[name].shape[1:] != leaf.shape:
            raise ShapeError(
                f"parameter {name} has shape {arrays[name].shape[1:]} in `arrays` and {leaf.shape} in `like`; "
                "build `like` with the settings that the stored models had."
            )
    static = eqx.filter(like, eqx.is_array, inverse=True)
    return [
        eqx.combine(jax.tree.unflatten(treedef, [jnp.asarray(arrays[name][i]) for name in names]), static)
        for i in range(len(arrays[names[0]]))
    ]
