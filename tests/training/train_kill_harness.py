"""Kill a small sweep at random instants of its training until it finishes; compare every byte.

Run as a script: ``python train_kill_harness.py FOLDER KILLS SEED``. It imports JAX once and forks before
JAX's backend starts, so that a kill costs a compilation from the cache and little else.
"""

import functools
import os
import random
import select
import signal
import sys
import warnings
from pathlib import Path

import jax
import numpy as np

import vaeaudit as va
from vaeaudit.core.devices import backend_started
from vaeaudit.training import driver

EPOCHS = 30
DATA = va.load_data("digits")
BUILD = functools.partial(va.mlp_vae, event_shape=(8, 8), latent_dim=2, hidden=())


def sweep(folder, target, began=None):
    """Two programs, with early stopping's state; a checkpoint after every epoch."""
    warnings.simplefilter("error")
    driver.CHUNK_SECONDS = 0.0

    def tell(epoch, epochs, info):
        if began is not None and epoch:
            os.write(began, b"t")

    result = va.sweep(
        BUILD, ["elbo", "iwae(2)"], DATA, seeds=[0, 1], epochs=EPOCHS, patience=EPOCHS + 1,
        checkpoint=folder, checkpoint_seconds=0.0, progress=tell,
    )  # fmt: skip
    arrays = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(result.models))
    table = result.history.to_csv(index=False) + result.settings.to_csv(index=False)
    temporary = Path(f"{target}.tmp")
    temporary.write_bytes(arrays + table.encode())
    os.replace(temporary, target)


def start(folder, target):
    """A forked process that trains; its pid and the pipe on which it tells of epochs."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(read)
            sweep(folder, target, write)
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    return pid, read


def attempt(folder, target, rng):
    """One run, killed at a random instant or left to end; (whether it was killed, epochs it told of)."""
    pid, told = start(folder, target)
    anywhere = rng.random() < 0.2  # also while it imports, compiles, reads the checkpoint
    if not anywhere:
        select.select([told], [], [], 120)  # until the first epoch, or its end
    try:
        select.select([], [], [], rng.expovariate(1 / 0.15) if not anywhere else rng.uniform(0, 1.5))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        epochs = len(os.read(told, 10_000)) if not anywhere else 0
    finally:
        os.close(told)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, "a run failed"
        return False, epochs
    return True, epochs


def main(folder, kills, seed):
    folder = Path(folder)
    pid, told = start(folder / "none", folder / "whole")
    assert os.waitpid(pid, 0)[1] == 0
    os.close(told)
    reference = (folder / "whole").read_bytes()
    rng = random.Random(seed)
    killed = runs = within = 0
    while killed < kills:
        target, place = folder / f"run{runs}", folder / f"checkpoints{runs}"
        for _ in range(200):
            was, epochs = attempt(place, target, rng)
            if not was:
                break
            killed += 1
            within += epochs > 0
            if killed >= kills:
                pid, told = start(place, target)
                assert os.waitpid(pid, 0)[1] == 0
                os.close(told)
                break
        runs += 1
        assert target.read_bytes() == reference, f"run {runs} differs from the uninterrupted one"
        assert not list(place.glob("*")), "checkpoints stayed behind"
    assert not backend_started()
    print(f"{killed} kills over {runs} runs, {within} of them between epochs")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
