"""Runs of a sweep shared out over processes; every process ends with every trained model."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from vaeaudit.core import processes
from vaeaudit.training.inputs import TrainingData
from vaeaudit.training.outcome import Run, Trained
from vaeaudit.training.skeleton import split, with_learned_scale


def train_shares(
    train: Callable[[Sequence[Run]], list[Trained]], runs: Sequence[Run], data: TrainingData
) -> list[Trained]:
    """``train(runs)``, of which each process does every P-th run, on its own devices.

    Notes
    -----
    A run's numbers do not depend on its company, so that they are those of one process: to the bit where
    models are trained one after another, to rounding under vmap.
    """
    shares = min(processes.num_processes(), len(runs))
    if not processes.divided(shares):
        return train(runs)
    processes.agree(
        "what is trained",
        {
            "runs": [f"{dict(run.labels)} {run.learning_rate}" for run in runs],
            "training data": _fingerprint(data.train),
            "validation data": _fingerprint(data.validation),
        },
    )
    parts = processes.spread(
        lambda p: [_plain(trained) for trained in train(runs[p::shares])], shares, "training"
    )
    results: list[Any] = [None] * len(runs)
    for p, part in enumerate(parts):
        results[p::shares] = [
            _trained(run, content) for run, content in zip(runs[p::shares], part, strict=True)
        ]
    return results


def _fingerprint(array: np.ndarray | None) -> str:
    return (
        "none" if array is None else f"{array.shape} {zlib.crc32(np.ascontiguousarray(array).tobytes()):08x}"
    )


def _plain(trained: Trained) -> dict[str, Any]:
    return {
        "params": split(trained.model)[1],
        "metrics": trained.metrics,
        "diverged": bool(trained.diverged),
    }


def _trained(run: Run, content: dict[str, Any]) -> Trained:
    """The trained model from its arrays and the structure of the model that its run began with."""
    skeleton, _, learned = split(run.model)
    model = skeleton.join([jnp.asarray(leaf) for leaf in content["params"]])
    if skeleton.scale_index is not None:
        model = with_learned_scale(model, learned or run.objective.learns_scale)
    return Trained(model, content["metrics"], content["diverged"])
