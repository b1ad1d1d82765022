"""How many models a device's memory holds at once, from the compiled program itself."""

from __future__ import annotations

from typing import Any

import jax

from vaeaudit.training.grouping import Group

SHARE = 0.9  # of the free memory, to leave room for what others allocate meanwhile
LIMIT: int | None = None  # bytes per device; what the device reports if None


def free_bytes(device: Any) -> int | None:
    """Bytes that may still be allocated on a device; None where it does not say, as on CPU."""
    if LIMIT is not None:
        return LIMIT
    stats = device.memory_stats() if device.platform != "cpu" else None
    if not stats or "bytes_limit" not in stats:
        return None
    return int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0))


def program_bytes(program: Any) -> int | None:
    """Bytes per device of a compiled program's arguments, results and temporaries; None if unknown."""
    analysis = program.memory_analysis()
    if analysis is None:
        return None
    return int(
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
        - analysis.alias_size_in_bytes
    )


def models_that_fit(group: Group, program: Any) -> int | None:
    """Models per device that fit at once, at least 1; None if the whole group does.

    Only where models are trained at once: one after another they need the memory of one. The data are
    counted as if they grew with the models, which errs towards smaller parts.
    """
    if group.plan.mode != "vmap":
        return None
    free, needed = free_bytes(jax.local_devices()[0]), program_bytes(program)
    share = len(group.members) // group.plan.num_devices
    if free is None or needed is None or needed <= SHARE * free or share == 1:
        return None
    return max(1, min(share - 1, int(share * SHARE * free / needed)))
