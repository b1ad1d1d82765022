"""Where a report's numbers come from."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("jax", "jaxlib", "equinox", "optax", "numpyro", "numpy", "scipy", "pandas", "matplotlib", "typst")


def collect_provenance(
    *,
    command: str | None = None,
    seeds: Sequence[int] | None = None,
    data: Any = None,
    settings: Mapping[str, Any] | None = None,
    durations: Mapping[str, float] | None = None,
    date: str | None = None,
    packages: Sequence[str] = PACKAGES,
) -> dict[str, Any]:
    """Collect what someone else needs to repeat a run.

    Parameters
    ----------
    command
        The command line that made the report.
    seeds
        Random seeds used.
    data
        A data set (anything with ``name``, ``form``, ``sha256``, ``source``), a mapping, or a list of
        such.
    settings
        The preset and its settings.
    durations
        Part → seconds.
    date
        Date to print; left out if not given, so that a repeated run gives the same bytes.
    packages
        Distributions whose versions are recorded.

    Returns
    -------
    dict
        JSON-able, for ``Page.provenance``. Holds no path and no host name.
    """
    import vaeaudit

    record: dict[str, Any] = {}
    if command:
        record["command"] = command
    if date:
        record["date"] = date
    record["vaeaudit"] = vaeaudit.__version__
    if commit := git_commit():
        record["git commit"] = commit
    if settings:
        record["settings"] = dict(settings)
    if seeds is not None:
        record["seeds"] = [int(s) for s in seeds]
    if data is not None:
        record["data"] = describe_data(data)
    record["device"] = device()
    record["python"] = platform.python_version()
    record["platform"] = f"{platform.system()} {platform.machine()}"
    record["versions"] = versions(packages)
    if durations:
        record["durations"] = {part: f"{seconds:.1f} s" for part, seconds in durations.items()}
    return record


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Installed versions of the packages, those not installed left out."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_commit(folder: Path | None = None) -> str | None:
    """Commit of the package's checkout, ``…, modified`` if files differ; None without one."""
    here = folder or Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():  # an installed package may lie inside someone else's checkout
        return None
    try:
        commit = _git(here, "rev-parse", "HEAD")
        changed = _git(here, "status", "--porcelain", "--untracked-files=no", "--", "vaeaudit", "studies")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}, modified" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603
        ["git", "-C", str(folder), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout.strip()


def device() -> str:
    """The accelerator or processor that jax computes on."""
    import os

    import jax

    first = jax.devices()[0]
    if first.platform == "cpu":
        return f"CPU, {os.cpu_count()} cores"
    return f"{len(jax.devices())} × {first.device_kind}"


def describe_data(data: Any) -> dict[str, Any]:
    """Name, form, sha256 and source of a data set, or of several under their names."""
    if isinstance(data, list | tuple):
        parts = [describe_data(d) for d in data]
        return {
            " ".join(str(p.pop(k)) for k in ("name", "form") if p.get(k)) or str(i): p
            for i, p in enumerate(parts)
        }
    read = data.get if isinstance(data, Mapping) else lambda key: getattr(data, key, None)
    found = {key: read(key) for key in ("name", "form", "sha256", "source")}
    return {key: str(value) for key, value in found.items() if value is not None}
