"""A sweep that was cut off at any instant goes on from its checkpoint to the same bytes."""

import functools
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

import vaeaudit as va
from vaeaudit.core.errors import StoreError
from vaeaudit.training import driver, resume

HERE = Path(__file__).parent
BUILD = functools.partial(va.mlp_vae, event_shape=(8, 8), latent_dim=2, hidden=())
EPOCHS = 4


@pytest.fixture(scope="module")
def data():
    return va.load_data("digits")


@pytest.fixture(autouse=True)
def _one_epoch_at_a_time(monkeypatch):
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 0.0)


def sweep(data, folder=None, progress=None, **options):
    settings = {"epochs": EPOCHS, "patience": 50, "checkpoint_seconds": 0.0, **options}
    return va.sweep(
        BUILD, ["elbo", "iwae(2)"], data, seeds=[0, 1], checkpoint=folder, progress=progress, **settings
    )


def content(result):
    arrays = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(result.models))
    return arrays + result.history.to_csv().encode() + result.settings.to_csv().encode()


@pytest.fixture(scope="module")
def whole(data):
    return content(sweep(data))


class Killed(BaseException):
    pass


def stop_after(count, seen=None):
    """A progress callback that ends the sweep at its ``count``-th epoch report."""
    told = []

    def tell(epoch, epochs, info):
        if epoch:
            told.append(epoch)
            if seen is not None:
                seen.append((info["group"], epoch))
            if len(told) == count:
                raise Killed

    return tell


@pytest.mark.parametrize("count", [2, EPOCHS, EPOCHS + 3])
def test_a_cut_off_sweep_goes_on(count, data, whole, tmp_path):
    with pytest.raises(Killed):
        sweep(data, tmp_path, stop_after(count))
    assert list(tmp_path.glob("*/group-*.json"))
    seen = []
    again = sweep(data, tmp_path, stop_after(-1, seen))
    assert content(again) == whole
    before = count - 1  # the epoch in whose report it was cut off was not yet written
    assert len(seen) == 2 * EPOCHS - before, "it did not go on from the checkpoint"
    assert not list(tmp_path.iterdir()), "checkpoints stay behind after the end"


def test_fit_goes_on_too(data, tmp_path):
    def fit(folder, progress=None):
        return va.fit(
            BUILD(0), "elbo", data, epochs=EPOCHS, checkpoint=folder, checkpoint_seconds=0.0, progress=progress
        )  # fmt: skip

    with pytest.raises(Killed):
        fit(tmp_path, stop_after(3))
    seen = []
    again, alone = fit(tmp_path, stop_after(-1, seen)), fit(None)
    assert seen[0] == (0, 3)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(again.model), jax.tree.leaves(alone.model), strict=True)
    )
    assert again.history.equals(alone.history)


def test_a_crash_at_every_file_operation_changes_no_byte(data, whole, tmp_path, monkeypatch):
    """Every mkstemp, fsync, replace and unlink of a sweep in turn is where the process ends."""
    calls = []

    def counted(name, function):
        def call(*arguments, **options):
            calls.append(name)
            if dead or len(calls) == limit:
                dead.append(True)  # a killed process tidies nothing
                raise Killed
            return function(*arguments, **options)

        return call

    limit, dead = -1, []
    with monkeypatch.context() as patch:
        for module, name in ((tempfile, "mkstemp"), (os, "fsync"), (os, "replace")):
            patch.setattr(module, name, counted(name, getattr(module, name)))
        patch.setattr(Path, "unlink", counted("unlink", Path.unlink))
        assert content(sweep(data, tmp_path / "count")) == whole
        total = len(calls)
        assert {"mkstemp", "fsync", "replace", "unlink"} <= set(calls)
        for position in range(1, total + 1, 3):
            limit = position
            calls.clear()
            dead.clear()
            with pytest.raises(Killed):
                sweep(data, tmp_path / str(position))
    for position in range(1, total + 1, 3):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # no crash leaves a damaged checkpoint
            assert content(sweep(data, tmp_path / str(position))) == whole, position


def test_a_damaged_checkpoint_is_named_and_not_used(data, whole, tmp_path):
    def cut():
        with pytest.raises(Killed):
            sweep(data, tmp_path, stop_after(3))
        (manifest,) = tmp_path.glob("*/group-0.json")
        return manifest, manifest.parent / json.loads(manifest.read_text())["arrays"]

    def flip(manifest, arrays):
        raw = bytearray(arrays.read_bytes())
        raw[-3] ^= 1
        arrays.write_bytes(raw)

    for damage in (
        flip,
        lambda manifest, arrays: arrays.write_bytes(arrays.read_bytes()[:100]),
        lambda manifest, arrays: arrays.unlink(),
        lambda manifest, arrays: manifest.write_text("{"),
        lambda manifest, arrays: manifest.write_text("[]"),
    ):
        damage(*cut())
        with pytest.warns(UserWarning, match=r"group-0.json is damaged"):
            assert content(sweep(data, tmp_path)) == whole


def test_a_checkpoint_of_another_sweep_is_named_and_left_alone(data, whole, tmp_path):
    with pytest.raises(Killed):
        sweep(data, tmp_path, stop_after(3), learning_rate=2e-3)
    (foreign,) = tmp_path.iterdir()
    with pytest.warns(UserWarning, match="another sweep"):
        assert content(sweep(data, tmp_path)) == whole
    assert list(tmp_path.iterdir()) == [foreign]
    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sweep(data, tmp_path, stop_after(-1, seen), learning_rate=2e-3)
    assert seen[0] == (0, 3)


def test_what_makes_a_sweep_another_one(data):
    def identity(data=data, objectives=("elbo",), seed=0, rate=1e-3, **changes):
        model = BUILD(0)
        runs = [resume.Run(model, va.objectives.parse(o), seed, rate) for o in objectives]
        options = {
            "epochs": 2, "batch_size": 8, "schedule": lambda e, n: 1.0, "binarise": False,
            "adam": (0.9, 0.999, 1e-8), "patience": None, "mode": "map", "num_devices": 1, **changes,
        }  # fmt: skip
        from vaeaudit.training.inputs import training_data

        return resume.fingerprint(runs, training_data(data), resume.Options(**options))

    kinds = [
        identity(), identity(data.validation), identity(objectives=("beta(0.5)",)),
        identity(objectives=("beta(0.25)",)), identity(seed=1), identity(rate=2e-3), identity(epochs=3),
        identity(batch_size=9), identity(schedule=lambda e, n: 0.5), identity(adam=(0.8, 0.999, 1e-8)),
        identity(patience=3), identity(binarise=True), identity(mode="vmap"),
    ]  # fmt: skip
    assert len(set(kinds)) == len(kinds)
    assert identity(schedule=lambda e, n: 1) == identity()


def test_a_folder_that_cannot_be_written_is_a_named_error(data, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot write a checkpoint"):
        sweep(data, tmp_path / "file")

    def full(path, payload):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resume, "write_atomically", full)
    with pytest.raises(StoreError, match="No space left"):
        sweep(data, tmp_path / "full")


def harness(folder, kills, seed):
    words = [sys.executable, str(HERE / "train_kill_harness.py"), str(folder), str(kills), str(seed)]
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{kills} kills" in done.stdout


def test_sigkill_at_random_instants_changes_no_byte(tmp_path):
    """A few real kills; the file operations are gone through one by one above."""
    harness(tmp_path, 4, 0)


@pytest.mark.slow
def test_sigkill_at_two_hundred_random_instants_changes_no_byte(tmp_path):
    harness(tmp_path, 200, 1)
