"""One model under one objective."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from vaeaudit.core.arrays import KeyLike
from vaeaudit.models.vae import AbstractVAE
from vaeaudit.objectives.base import Objective
from vaeaudit.objectives.registry import parse
from vaeaudit.training.inputs import Schedule
from vaeaudit.training.outcome import Progress, Run
from vaeaudit.training.sweep import run_all


@dataclass(frozen=True)
class Fit:
    """A trained model and its history, one row per epoch."""

    model: AbstractVAE
    history: pd.DataFrame


def fit(
    model: AbstractVAE,
    objective: Objective | str,
    data: Any,
    *,
    rng_key: KeyLike = 0,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    schedule: Schedule = "constant",
    binarise: Literal["dynamic"] | None = None,
    adam: tuple[float, float, float] = (0.9, 0.999, 1e-8),
    patience: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    progress: Progress | None = None,
) -> Fit:
    """Train one model under one objective with Adam.

    Parameters
    ----------
    model
        Where training starts; it is not changed.
    objective
        An objective or its name, e.g. ``"beta(0.1)"``.
    data
        A `Dataset`, or an array (N, *event).
    rng_key
        Seed or key of the order of the data and of the noise.
    epochs, batch_size, learning_rate, schedule, binarise, adam, patience, checkpoint, progress
        As in `sweep`.

    Returns
    -------
    Fit
        ``model`` and ``history`` (epoch, objective_value, elbo, rate, distortion and the same on the
        validation data).

    Raises
    ------
    TrainingError
        If the numbers broke down.

    Notes
    -----
    Equal to the last bit to the same run inside a sweep.

    Examples
    --------
    >>> import vaeaudit as va
    >>> model = va.mlp_vae(0, event_shape=(8, 8), latent_dim=2, hidden=(16,))
    >>> result = va.fit(model, "elbo", va.load_data("digits"), epochs=2)
    >>> len(result.history)
    2
    """
    run = Run(model, parse(objective), rng_key, learning_rate)
    (trained,) = run_all(
        [run],
        data,
        epochs=epochs,
        batch_size=batch_size,
        schedule=schedule,
        binarise=binarise,
        adam=adam,
        patience=patience,
        mode="map",
        num_devices=1,
        checkpoint=checkpoint,
        checkpoint_seconds=checkpoint_seconds,
        progress=progress,
    )
    return Fit(trained.model, trained.history(run.objective))
