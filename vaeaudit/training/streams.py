"""Random streams of a run: they depend on its seed alone, never on its company."""

from __future__ import annotations

import jax
import numpy as np

from vaeaudit.core.arrays import KeyLike, as_key
from vaeaudit.training.noise import threefry

_NOISE, _ORDER = 1, 2  # streams of one seed; the initial weights use the seed's key itself


def seed_words(rng_key: KeyLike) -> tuple[int, ...]:
    """Words of a seed or key, as entropy for numpy."""
    return tuple(int(word) for word in np.asarray(jax.random.key_data(as_key(rng_key))).ravel())


def noise_key(words: tuple[int, ...]) -> np.ndarray:
    """Raw key data of a run's noise stream, (2,): its key folded with the stream's number."""
    first, second, zero, stream = np.array([*words, 0, _NOISE], np.uint32)[:, None]
    return np.concatenate(threefry((first, second), zero, stream))


def epoch_order(words: tuple[int, ...], epoch: int, num_data: int) -> np.ndarray:
    """The order of the data in an epoch, made on the host: a device's sort is slow on CPU."""
    sequence = np.random.SeedSequence([*words, _ORDER, epoch])
    return np.random.Generator(np.random.PCG64(sequence)).permutation(num_data)


def batch_rows(
    words: list[tuple[int, ...]], epochs: range, chunk: int, num_data: int, num_steps: int, batch_size: int
) -> np.ndarray:
    """Row indices (model, chunk, step, batch); epochs beyond ``epochs`` are left at zero.

    Runs with one seed share their order, so that objectives are compared on the same batches. The
    last N mod batch data of an order are left out of its epoch.
    """
    used = num_steps * batch_size
    rows = np.zeros((len(words), chunk, num_steps, batch_size), dtype=np.int32)
    known: dict[tuple[int, ...], int] = {}
    for m, word in enumerate(words):
        if word in known:
            rows[m] = rows[known[word]]
            continue
        known[word] = m
        for e, epoch in enumerate(epochs):
            rows[m, e] = epoch_order(word, epoch, num_data)[:used].reshape(num_steps, batch_size)
    return rows
