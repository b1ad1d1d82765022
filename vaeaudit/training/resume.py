"""Checkpoints of a sweep in training: the whole state of each program, written every so often."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

import vaeaudit
from vaeaudit.core import processes
from vaeaudit.core.errors import StoreError
from vaeaudit.core.files import write_atomically
from vaeaudit.training.grouping import Group, Options
from vaeaudit.training.inputs import TrainingData
from vaeaudit.training.outcome import Run
from vaeaudit.training.program import State
from vaeaudit.training.skeleton import split
from vaeaudit.training.streams import seed_words

FORMAT = 1
MANIFEST = "group-{}.json"


def fingerprint(runs: Sequence[Run], data: TrainingData, options: Options) -> str:
    """Sha256 over everything that decides the numbers of a sweep: equal for the same sweep only."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        digest.update(re.sub(r" at 0x[0-9a-f]+", "", repr(value)).encode() + b"\0")

    add((FORMAT, vaeaudit.__version__, jax.__version__, jax.default_backend()))
    add((options.epochs, options.batch_size, options.binarise, options.adam, options.patience))
    add((options.mode, options.num_devices, options.precision))
    add([float(options.schedule(epoch, options.epochs)) for epoch in range(options.epochs)])
    for array in (data.train, data.validation):
        add(None if array is None else (array.shape, array.dtype.str))
        digest.update(b"" if array is None else np.ascontiguousarray(array).data)
    known: dict[int, str] = {}  # seeds of a sweep share a starting model
    for run in runs:
        if id(run.model) not in known:
            skeleton, params, learned = split(run.model)
            content = hashlib.sha256(repr((skeleton.shapes, learned)).encode())
            for leaf in params:
                content.update(np.ascontiguousarray(leaf).data)
            known[id(run.model)] = f"{content.hexdigest()} {skeleton.treedef} {skeleton.leaves}"
        numbers = [float(leaf) for leaf in jax.tree.leaves(run.objective)]
        add((known[id(run.model)], run.objective.name, str(jax.tree.structure(run.objective)), numbers))
        add((seed_words(run.rng_key), run.learning_rate))
    return digest.hexdigest()


class Checkpoints:
    """Checkpoints of one sweep under ``folder``, in a folder named by the sweep's fingerprint.

    A group of runs has a manifest (epoch, sha256, fingerprint) and the arrays it names. The manifest is
    moved into place last, so that a kill at any instant leaves the older checkpoint or the newer one.

    Notes
    -----
    A damaged checkpoint, or one of another sweep, is named in a warning and not used: starting anew gives
    the same numbers, later. A folder that cannot be written is an error, as the caller relies on it.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: str, seconds: float) -> None:
        self.identity, self.seconds = identity, seconds
        self.parent = Path(folder)
        self.folder = self.parent / identity[:16]
        if not self.folder.exists() and processes.num_processes() == 1:
            for other in sorted(self.parent.glob("*/" + MANIFEST.format(0))):
                warnings.warn(
                    f"the checkpoint in {other.parent} is of another sweep (other runs, data, options or "
                    "versions); it is left alone and this sweep starts at its first epoch.",
                    stacklevel=2,
                )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        self.last = time.monotonic()

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(
            f"cannot write a checkpoint to {self.folder}: {error.strerror or error}. The last one is kept; "
            "free space or choose a writable folder, and run again to go on from it."
        )

    def due(self) -> bool:
        """Whether the last checkpoint is old enough for a new one."""
        return time.monotonic() - self.last >= self.seconds

    def save(self, index: int, state: State, history: np.ndarray, *, finished: bool) -> None:
        """Write the state of a group after the epochs in ``history`` (model, epoch, metric)."""
        arrays = {f"state.{i:04d}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
        payload = save_tensors({**arrays, "history": np.ascontiguousarray(history)})
        name = f"group-{index}-{history.shape[1]:08d}.safetensors"
        manifest = {
            "format": FORMAT,
            "fingerprint": self.identity,
            "arrays": name,
            "sha256": hashlib.sha256(payload).hexdigest(),
            "epoch": history.shape[1],
            "finished": finished,
        }
        text = json.dumps(manifest, indent=1, sort_keys=True)
        try:
            write_atomically(self.folder / name, payload)
            write_atomically(self.folder / MANIFEST.format(index), text.encode())
            for old in self.folder.glob(f"group-{index}-*.safetensors"):
                if old.name != name:
                    old.unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        self.last = time.monotonic()

    def load(self, index: int, like: State) -> tuple[State, np.ndarray, bool] | None:
        """State, history and whether the group had finished; None where there is nothing to go on from."""
        path = self.folder / MANIFEST.format(index)
        if not path.exists():
            return None
        leaves, treedef = jax.tree.flatten(like)
        try:
            manifest = json.loads(path.read_bytes())
            if manifest["format"] != FORMAT or manifest["fingerprint"] != self.identity:
                raise ValueError("it is of another sweep or another format")
            payload = (self.folder / manifest["arrays"]).read_bytes()
            if hashlib.sha256(payload).hexdigest() != manifest["sha256"]:
                raise ValueError(f"{manifest['arrays']} does not have the sha256 that it names")
            arrays = load_tensors(payload)
            history, epoch = arrays.pop("history"), manifest["epoch"]
            stored = [arrays[name] for name in sorted(arrays)]
            fits = [
                a.shape == np.shape(b) and a.dtype == b.dtype for a, b in zip(stored, leaves, strict=True)
            ]
            if not all(fits) or history.shape[1] != epoch:
                raise ValueError("its arrays have other shapes than this sweep's")
            finished = bool(manifest["finished"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            warnings.warn(
                f"the checkpoint {path} is damaged: {error}. It is not used; its runs start at their first "
                "epoch.",
                stacklevel=2,
            )
            return None
        return jax.tree.unflatten(treedef, stored), history, finished

    def remove(self) -> None:
        """Delete this sweep's checkpoints once its results are in the caller's hands."""
        shutil.rmtree(self.folder, ignore_errors=True)


def open_checkpoints(
    folder: str | os.PathLike[str],
    groups: Sequence[Group],
    runs: Sequence[Run],
    data: TrainingData,
    options: Options,
) -> Checkpoints:
    """Checkpoints of a sweep in ``folder``."""
    identity = fingerprint(runs, data, options)
    layout = repr([group.members for group in groups])  # programs as they were split
    identity = hashlib.sha256(f"{identity} {layout}".encode()).hexdigest()
    return Checkpoints(folder, identity, options.checkpoint_seconds)
