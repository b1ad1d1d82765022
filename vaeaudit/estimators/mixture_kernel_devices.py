"""Where the mixture kernel runs: threads on one device, or the points split over several."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from vaeaudit.estimators.mixture_kernel import Components, log_sums


def cores() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_in_threads(function: Callable[[int], Any], count: int, num_threads: int) -> list[Any]:
    """``[function(0), …]`` in ``num_threads`` threads; the first call alone, so that it compiles once.

    XLA and numpy release the interpreter lock while they compute, and XLA runs calls from several threads at
    once even on a single CPU device.
    """
    num_threads = min(num_threads, count)
    if num_threads <= 1:
        return [function(i) for i in range(count)]
    first = function(0)
    with ThreadPoolExecutor(num_threads) as pool:
        return [first, *pool.map(function, range(1, count))]


@functools.lru_cache(maxsize=16)
def _split_program(devices: tuple[Any, ...], product: bool) -> Callable[..., jax.Array]:
    """`log_sums` with the tiles of points split over devices, every component on each."""
    body = jax.shard_map(
        functools.partial(log_sums, product=product),
        mesh=Mesh(np.array(devices), ("points",)),
        in_specs=(P("points"), P("points"), P("points"), P()),
        out_specs=P("points"),
        check_vma=False,
    )
    return jax.jit(body)


class Layout:
    """The devices to use, and one call of the kernel on them.

    Notes
    -----
    Points are independent of each other: no device waits for another until the results are collected, and
    the sums are those of one device. Every device holds all components (N · (2J + 1) numbers) and its share
    of the points of one call.
    """

    def __init__(self) -> None:
        self.devices = tuple(jax.local_devices())
        self.on_cpu = self.devices[0].platform == "cpu"

    @property
    def num_devices(self) -> int:
        """How many devices share one call."""
        return len(self.devices)

    @property
    def num_threads(self) -> int:
        """Calls in flight: a single CPU device takes one per core, other layouts one that fills them."""
        return cores() if self.on_cpu and self.num_devices == 1 else 1

    def place(self, components: Components) -> Components:
        """Copy the mixture to every device once."""
        if self.num_devices == 1:
            return components
        everywhere = NamedSharding(Mesh(np.array(self.devices), ("points",)), P())
        return jax.device_put(components, everywhere)

    def sums(
        self, z: np.ndarray, z_low: np.ndarray | None, own: np.ndarray, components: Components, product: bool
    ) -> np.ndarray:
        """`log_sums` of point tiles (tiles, J, m) on all devices, on the host in float64."""
        if self.num_devices == 1:
            found = log_sums(z, z_low, own, components, product=product)
        else:
            found = _split_program(self.devices, product)(z, z_low, own, components)
        return np.asarray(found, np.float64)
