"""Many runs as one program: objectives × seeds (× architectures × step sizes)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import equinox as eqx
import jax
import numpy as np
import pandas as pd

from vaeaudit.core.arrays import as_key, check_count
from vaeaudit.core.errors import ArgumentError
from vaeaudit.models.vae import AbstractVAE
from vaeaudit.objectives.base import Objective
from vaeaudit.objectives.registry import parse
from vaeaudit.training.driver import check_some_finite, train
from vaeaudit.training.grouping import Options
from vaeaudit.training.inputs import (
    Schedule,
    check_numbers,
    check_objective,
    check_support,
    schedule_function,
    training_data,
)
from vaeaudit.training.outcome import Progress, Run
from vaeaudit.training.share import train_shares

Build = Callable[[Any], AbstractVAE]


@dataclass(frozen=True)
class Sweep:
    """Trained models in the order of the rows of ``settings``, and their history per epoch."""

    models: list[AbstractVAE]
    settings: pd.DataFrame
    history: pd.DataFrame

    def select(self, **labels: Any) -> list[AbstractVAE]:
        """Models whose settings match, e.g. ``select(objective="elbo")``."""
        match = pd.Series(True, index=self.settings.index)
        for column, value in labels.items():
            match &= self.settings[column] == value
        return [self.models[i] for i in self.settings.index[match]]


def sweep(
    build: Build | Mapping[str, Build],
    objectives: Sequence[Objective | str],
    data: Any,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int,
    batch_size: int = 128,
    learning_rate: float | Sequence[float] = 1e-3,
    schedule: Schedule = "constant",
    binarise: Literal["dynamic"] | None = None,
    adam: tuple[float, float, float] = (0.9, 0.999, 1e-8),
    patience: int | None = None,
    mode: Literal["auto", "map", "vmap"] = "auto",
    num_devices: int | None = None,
    precision: Literal["float32", "bfloat16"] = "float32",
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    progress: Progress | None = None,
) -> Sweep:
    r"""Train every objective from every seed, as few compiled programs as the shapes allow.

    Parameters
    ----------
    build
        ``build(rng_key) -> model``; or several by name, which adds a column ``model``.
    objectives
        Objectives or their names.
    data
        A `Dataset`, or an array (N, *event).
    seeds
        One run per seed and setting. A seed fixes initial weights, order of the data and noise, so
        that runs of one seed differ in their settings only.
    epochs
        Passes over the training data; the last N mod ``batch_size`` data of each pass are left out.
    batch_size, learning_rate
        Of Adam's steps. Several learning rates add a column ``learning_rate``.
    schedule
        "constant", "cosine", or ``(epoch, epochs) -> factor`` on the learning rate.
    binarise
        "dynamic" draws each pixel anew from Bernoulli(x) at each step.
    adam
        β₁, β₂, ε.
    patience
        Stop a run after this many epochs without a better objective value on the validation data, and
        return its best parameters; each run by itself, inside the program. Never, if omitted.
    mode
        "map" runs a device's models one after another, "vmap" all at once, or in as large parts as the
        device's memory holds; "auto" takes map on CPU and vmap elsewhere.
    num_devices
        Devices to spread the models over; all of this process if omitted.
    precision
        "bfloat16" rounds the factors of matrix products and adds up in float32: faster on accelerators that
        have it, and not the same numbers. Measure its effect with the estimators before relying on it.
    checkpoint
        Folder for checkpoints of the training itself. A sweep that was killed and is called again with the
        same arguments goes on from the last one, to the same numbers; they are removed at the end.
    checkpoint_seconds
        Least time between two checkpoints; they are written between epochs.
    progress
        ``progress(epoch, num_epochs, info)``; ``info["event"]`` is "compiling" or "training".

    Returns
    -------
    Sweep
        ``models`` in the order of ``settings`` (objective, seed, …, diverged), and ``history`` with
        one row per run and epoch: means over the epoch's batches, and over the validation data.

    Raises
    ------
    SupportError
        For data outside the likelihood's support.
    TrainingError
        If every run broke down; a single broken run is a ``diverged`` flag.
    StoreError
        If ``checkpoint`` cannot be written.

    Notes
    -----
    A run's numbers do not depend on its company: trained alone, or on another number of devices, it
    gives the same bits under "map".

    References
    ----------
    Kingma & Ba (2015), algorithm 1, as in optax.

    Examples
    --------
    >>> import vaeaudit as va
    >>> data = va.load_data("digits")
    >>> build = lambda rng_key: va.mlp_vae(rng_key, event_shape=(8, 8), latent_dim=2, hidden=(16,))
    >>> result = va.sweep(build, ["elbo", "beta(0.1)"], data, seeds=[0], epochs=2)
    >>> result.settings["objective"].tolist()
    ['elbo', 'beta(0.1)']
    """
    builds = dict(build) if isinstance(build, Mapping) else {"": build}
    chosen = [parse(o) for o in objectives]
    rates = (
        [float(r) for r in learning_rate] if isinstance(learning_rate, Sequence) else [float(learning_rate)]
    )
    if not (builds and chosen and seeds and rates):
        raise ArgumentError(
            "a sweep needs at least one builder, one objective, one seed and one learning rate."
        )
    runs = []
    for label, builder in builds.items():
        models = initialise(builder, list(seeds))
        for objective in chosen:
            for rate in rates:
                for seed, model in zip(seeds, models, strict=True):
                    labels = {"objective": objective.name, "seed": int(seed)}
                    labels |= {"model": label} if isinstance(build, Mapping) else {}
                    labels |= {"learning_rate": rate} if len(rates) > 1 else {}
                    runs.append(Run(model, objective, int(seed), rate, labels))
    trained = run_all(
        runs,
        data,
        epochs=epochs,
        batch_size=batch_size,
        schedule=schedule,
        binarise=binarise,
        adam=adam,
        patience=patience,
        mode=mode,
        num_devices=num_devices,
        precision=precision,
        checkpoint=checkpoint,
        checkpoint_seconds=checkpoint_seconds,
        progress=progress,
    )
    settings = pd.DataFrame([run.labels for run in runs])
    settings["diverged"] = [t.diverged for t in trained]
    parts = [
        t.history(run.objective).assign(**run.labels)[[*run.labels, *t.history(run.objective).columns]]
        for t, run in zip(trained, runs, strict=True)
    ]
    return Sweep([t.model for t in trained], settings, pd.concat(parts, ignore_index=True))


def run_all(
    runs: list[Run],
    data: Any,
    *,
    epochs: int,
    batch_size: int,
    schedule: Schedule,
    binarise: Literal["dynamic"] | None,
    adam: tuple[float, float, float],
    patience: int | None,
    mode: Literal["auto", "map", "vmap"],
    num_devices: int | None,
    progress: Progress | None,
    precision: Literal["float32", "bfloat16"] = "float32",
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
) -> list[Any]:
    """Check the arguments and train; what `fit` and `sweep` share."""
    check_numbers(epochs, batch_size, [run.learning_rate for run in runs])
    if binarise not in (None, "dynamic"):
        raise ArgumentError(f"`binarise` must be None or 'dynamic'; got {binarise!r}.")
    if mode not in ("auto", "map", "vmap"):
        raise ArgumentError(f"`mode` must be 'auto', 'map' or 'vmap'; got {mode!r}.")
    if precision not in ("float32", "bfloat16"):
        raise ArgumentError(f"`precision` must be 'float32' or 'bfloat16'; got {precision!r}.")
    arrays = training_data(data)
    if patience is not None:
        check_count("patience", patience)
        if arrays.validation is None:
            raise ArgumentError("`patience` needs validation data; a plain array has none. Pass a Dataset.")
    for run in runs:
        check_objective(run.model, run.objective)
    by_support = {getattr(getattr(run.model, "likelihood", None), "support", None): run.model for run in runs}
    for model in by_support.values():
        check_support(model, arrays, dynamic=binarise == "dynamic")
    on_cpu = jax.default_backend() == "cpu"
    options = Options(
        epochs=epochs,
        batch_size=batch_size,
        schedule=schedule_function(schedule),
        binarise=binarise == "dynamic",
        adam=adam,
        patience=patience,
        mode=("map" if on_cpu else "vmap") if mode == "auto" else mode,
        num_devices=min(num_devices or jax.local_device_count(), jax.local_device_count()),
        precision=precision,
        checkpoint=checkpoint,
        checkpoint_seconds=float(checkpoint_seconds),
    )
    trained = train_shares(lambda some: train(some, arrays, options, progress), runs, arrays)
    check_some_finite(trained, runs)
    return trained


@lru_cache(maxsize=32)
def _initialiser(build: Build) -> tuple[Any, Any]:
    """Compiled ``build`` (arrays by key) and what it returns besides arrays."""
    static = None

    def arrays(rng_key: Any) -> Any:
        nonlocal static
        made, static = eqx.partition(build(rng_key), eqx.is_array)
        return made

    # runs once per seed: half the compilation time without optimisation
    options: dict[str, Any] = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
    compiled = jax.jit(arrays).lower(jax.random.key(0)).compile(compiler_options=options)
    return compiled, static


def initialise(build: Build, seeds: Sequence[Any]) -> list[AbstractVAE]:
    """``build(key(seed))`` for every seed, compiled once; a seed's weights do not depend on the others."""
    arrays, static = _initialiser(build)
    return [eqx.combine(jax.tree.map(np.asarray, arrays(as_key(seed))), static) for seed in seeds]
