"""Where a result comes from: command, revision, versions, device."""

from __future__ import annotations

import functools
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import vaeaudit

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
def _git_revision() -> str:
    """Revision of the checkout that this package runs from; empty for an installed wheel."""
    root = Path(vaeaudit.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return ""
    try:
        revision, changes = (
            subprocess.run(  # noqa: S603
                ["git", "-C", str(root), *words],  # noqa: S607
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            ).stdout.strip()
            for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "-uno"))
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return revision + (" with local changes" if changes else "")


def _devices() -> str:
    """The devices of JAX if it is loaded in this process; asking would load it otherwise."""
    jax = sys.modules.get("jax")
    if jax is None or not hasattr(jax, "devices"):
        return "jax was not used"
    devices = jax.devices()
    return f"{len(devices)} × {devices[0].device_kind} ({devices[0].platform})"


def environment() -> dict[str, Any]:
    """What a number may depend on besides its configuration; stored with each cell."""
    return {
        "vaeaudit": vaeaudit.__version__,
        "revision": _git_revision(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "devices": _devices(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
