"""Small parameters side by side in one vector, so that the optimiser takes one step for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

SMALL = 1024  # elements; larger arrays stay by themselves, as packing would copy them

Shapes = Sequence[tuple[tuple[int, ...], str]]


def _small(shape: tuple[int, ...], dtype: str) -> bool:
    return dtype == "float32" and math.prod(shape) < SMALL


def pack(shapes: Shapes, leaves: Sequence[Any]) -> list[Any]:
    """Large arrays in their order, then all small ones as one vector; leading axes are kept."""
    xp: Any = np if all(isinstance(leaf, np.ndarray) for leaf in leaves) else jnp
    lead = leaves[0].shape[: leaves[0].ndim - len(shapes[0][0])]
    large = [leaf for leaf, shape in zip(leaves, shapes, strict=True) if not _small(*shape)]
    small = [leaf.reshape(*lead, -1) for leaf, shape in zip(leaves, shapes, strict=True) if _small(*shape)]
    return [*large, xp.concatenate(small, axis=-1)] if small else large


def unpack(shapes: Shapes, packed: Sequence[Any]) -> list[Any]:
    """Inverse of `pack`."""
    large, start, leaves = iter(packed), 0, []
    for shape, dtype in shapes:
        if not _small(shape, dtype):
            leaves.append(next(large))
            continue
        size = math.prod(shape)
        part = packed[-1][..., start : start + size]
        leaves.append(part.reshape((*part.shape[:-1], *shape)))
        start += size
    return leaves
