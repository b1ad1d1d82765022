"""Split the batch axis over the devices there are; one device changes nothing."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def over_devices(tree: Any, axis: int) -> Any:
    """The arrays of ``tree`` with ``axis`` split over the devices of this process; as they are if it does not divide.

    Notes
    -----
    The batch rows are independent, so no device waits for another; random draws are the same as on one
    device (JAX's counter-based keys do not depend on the layout).
    """
    devices = jax.local_devices()
    if len(devices) == 1:
        return tree
    if any(leaf.shape[axis] % len(devices) for leaf in jax.tree.leaves(tree)):
        return tree
    mesh = Mesh(np.array(devices), ("data",))
    spec = PartitionSpec(*([None] * axis), "data")
    return jax.tree.map(lambda leaf: jax.device_put(leaf, NamedSharding(mesh, spec)), tree)
