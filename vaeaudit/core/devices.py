"""What a process is set up with before JAX starts its backend: devices, compilation cache, its end."""

from __future__ import annotations

import atexit
import gc
import os
from pathlib import Path

import jax
from platformdirs import user_cache_path


def cache_folder() -> Path:
    """Folder for compiled programs and downloads: ``VAEAUDIT_CACHE_DIR``, else the user's cache folder."""
    chosen = os.environ.get("VAEAUDIT_CACHE_DIR")
    return Path(chosen).expanduser() if chosen else user_cache_path("vaeaudit")


def usable_cores() -> int:
    """Cores this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else (os.cpu_count() or 1)


def configure_devices(num_devices: int | None = None, *, compilation_cache: bool = True) -> None:
    """Show JAX one CPU device per core and keep compiled programs on disk.

    Parameters
    ----------
    num_devices
        CPU devices; the number of usable cores if omitted.
    compilation_cache
        Whether compiled programs are kept in `cache_folder`.

    Notes
    -----
    Settings already made by the user win: ``jax_num_cpu_devices``, ``XLA_FLAGS`` with
    ``--xla_force_host_platform_device_count``, ``JAX_COMPILATION_CACHE_DIR``. After JAX's backend has
    started the number of devices stays what it is. A cache folder that cannot be made is no error:
    programs are then compiled anew. When the process ends, what JAX holds is not walked by a last garbage
    collection, which would take a quarter of a second.
    """
    atexit.register(gc.freeze)
    forced = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    chosen = "JAX_NUM_CPU_DEVICES" in os.environ or jax.config.jax_num_cpu_devices > 0  # type: ignore[attr-defined]
    if not forced and (num_devices is not None or not chosen) and not backend_started():
        jax.config.update("jax_num_cpu_devices", num_devices or usable_cores())
    if compilation_cache and not jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        folder = cache_folder() / "compiled"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def backend_started() -> bool:
    """Whether JAX has started a backend, after which the number of devices is fixed."""
    from jax._src import xla_bridge  # no public name

    return xla_bridge.backends_are_initialized()
