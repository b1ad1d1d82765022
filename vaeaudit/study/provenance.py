"""Where a result comes from: command, revision, versions, device."""

from __future__ import annotations

import functools
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import vaeaudit
from vaeaudit.report.provenance import git_commit, versions

_PACKAGES = ("jax", "jaxlib", "numpyro", "equinox", "optax", "numpy", "scipy", "pandas")


def command_line() -> str:
    """The command of this process as one would type it, without ``--fresh``."""
    program, *arguments = sys.argv
    path = Path(program)
    if path.name == "__main__.py":
        words = ["python", "-m", path.parent.name]
    elif path.suffix == ".py":
        words = ["python", program]
    else:
        words = [path.name or "python"]
    return shlex.join(words + [word for word in arguments if word != "--fresh"])


@functools.cache
def _revision() -> str:
    return git_commit() or ""


def _devices() -> str:
    """The devices of JAX if it is loaded in this process; asking would load it otherwise."""
    jax = sys.modules.get("jax")
    if jax is None or not hasattr(jax, "devices"):
        return "jax was not used"
    devices = jax.devices()
    from vaeaudit.core.processes import num_processes  # loads numpy, which --help must not wait for

    many = f" in {num_processes()} processes" if num_processes() > 1 else ""
    return f"{len(devices)} × {devices[0].device_kind} ({devices[0].platform}){many}"


def environment() -> dict[str, Any]:
    """What a number may depend on besides its configuration; stored with each cell."""
    return {
        "vaeaudit": vaeaudit.__version__,
        "revision": _revision(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "devices": _devices(),
        "packages": versions(_PACKAGES),
    }
