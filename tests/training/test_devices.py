"""Devices and caches: each case in a process of its own, as JAX's backend starts once."""

import os
import subprocess
import sys
from pathlib import Path

from vaeaudit.core.devices import cache_folder, usable_cores

SCRIPT = """
from vaeaudit.core.devices import backend_started, configure_devices
before = backend_started()
configure_devices({arguments})
import jax
print(before, jax.device_count(), jax.config.jax_compilation_cache_dir)
configure_devices(5)  # too late to matter, and no error
assert backend_started()
"""


def run(arguments="", **environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XLA_", "JAX_", "VAEAUDIT_"))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(arguments=arguments)],
        env={**kept, "JAX_PLATFORMS": "cpu", **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


def test_one_device_per_core_and_a_cache(tmp_path):
    assert run(VAEAUDIT_CACHE_DIR=str(tmp_path)) == ["False", str(usable_cores()), str(tmp_path / "compiled")]
    assert (tmp_path / "compiled").is_dir()


def test_the_users_settings_win(tmp_path):
    flags = "--xla_force_host_platform_device_count=3"
    assert run(XLA_FLAGS=flags, JAX_COMPILATION_CACHE_DIR=str(tmp_path)) == ["False", "3", str(tmp_path)]


def test_a_cache_that_cannot_be_made_is_no_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert run("4", VAEAUDIT_CACHE_DIR=str(tmp_path / "file")) == ["False", "4", "None"]


def test_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("VAEAUDIT_CACHE_DIR", "~/somewhere")
    assert cache_folder() == Path.home() / "somewhere"
    monkeypatch.delenv("VAEAUDIT_CACHE_DIR")
    assert cache_folder().name == "vaeaudit" or "vaeaudit" in cache_folder().parts
