"""How each objective is trained on Gaussian data by the sweep: model, optimiser, starts."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vaeaudit.derivations.linear_models import (
    ExpectedFitVAE,
    HeldDecoderVAE,
    Matrices,
    ReachedCapacity,
    linear_network,
    with_decoder,
)
from vaeaudit.derivations.linear_value import population_value
from vaeaudit.models.vae import NeuralVAE
from vaeaudit.objectives import Objective
from vaeaudit.objectives.aggregate import MMD, TotalCorrelation
from vaeaudit.objectives.importance import IWAE
from vaeaudit.objectives.kl_family import Capacity, FreeBits
from vaeaudit.training.outcome import Progress
from vaeaudit.training.sweep import sweep

EXPECTED, NOISELESS, SAMPLED, HELD = (
    "expectation over z in closed form",
    "no noise in the objective",
    "sampled z",
    "decoder held, expectation in closed form",
)
HELD_WEIGHTS = (1.0, 4.0, 16.0)  # w² at which a decoder is held
STARTS, COARSE_EPOCHS = 6, 3000  # of free bits below the floor
HEAVY_BALL = (0.9, 0.999, 1e4)  # an ε above every gradient: m/(√v + ε) is m/ε, momentum alone
BALL_STEP = 0.1 * HEAVY_BALL[2]


@dataclass(frozen=True)
class Way:
    """How an objective is trained."""

    trained_by: str
    model: type[NeuralVAE]
    sees_shape: bool = False  # whether the data's shape beyond the covariance matters
    creased: bool = False  # a surface with a crease at the optimum: momentum steps, many of them
    starts: int = 1


def is_sampled(objective: Objective) -> bool:
    """Whether the objective reads single draws of z, so that its gradient stays noisy."""
    return isinstance(objective, (IWAE, TotalCorrelation, MMD))


def way_of(objective: Objective, *, attained: bool, scales: np.ndarray) -> Way:
    """The way for an objective with these scales at its derived optimum."""
    if not attained:
        return Way(HELD, HeldDecoderVAE)
    if isinstance(objective, IWAE):
        return Way(SAMPLED, NeuralVAE, sees_shape=True)
    if is_sampled(objective):  # the likelihood's part exact, the aggregate's sampled
        return Way(SAMPLED, ExpectedFitVAE, sees_shape=True)
    if objective.deterministic:
        return Way(NOISELESS, NeuralVAE)
    if isinstance(objective, Capacity):
        return Way(EXPECTED, ExpectedFitVAE, sees_shape=True, creased=True)
    if isinstance(objective, FreeBits) and np.any(scales > (1 - 1e-9) * math.exp(-objective.threshold)):
        return Way(EXPECTED, ExpectedFitVAE, creased=True, starts=STARTS)  # some latent is at its floor
    return Way(EXPECTED, ExpectedFitVAE)


def warm_cosine(epoch: int, epochs: int) -> float:
    """A rise over the first tenth from 0.05, times a cosine down to zero."""
    done = epoch / epochs
    return min(1.0, 0.05 + done / 0.1) * 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Trained:
    """One trained model."""

    objective: Objective
    seed: int
    held: float  # w² of a decoder held still, else NaN
    matrices: Matrices


def train(
    way: Way,
    objectives: Sequence[Objective],
    x: np.ndarray,
    basis: np.ndarray,
    latent_dim: int,
    noise_scale: float,
    *,
    seeds: Sequence[int],
    epochs: int,
    batch_size: int,
    learning_rate: float,
    progress: Progress | None,
) -> list[Trained]:
    """Run the sweep, or for creased objectives a coarse sweep over starts and one with momentum."""
    size = x.shape[1]
    build: Callable[[Any], Any] = functools.partial(
        linear_network, kind=way.model, data_dim=size, latent_dim=latent_dim, noise_scale=noise_scale
    )
    builds = {"nan": build}
    if way.trained_by == HELD:
        axes = basis[:, :latent_dim]
        builds = {
            f"{y:g}": functools.partial(_held, build=build, weight=math.sqrt(y) * axes) for y in HELD_WEIGHTS
        }
    run = functools.partial(sweep, data=x, batch_size=batch_size, progress=progress)
    if way.creased:
        run = functools.partial(
            run, adam=HEAVY_BALL, learning_rate=BALL_STEP, schedule=warm_cosine, epochs=epochs
        )
    else:
        adam = (0.9, 0.99, 1e-12) if way.trained_by == HELD else (0.9, 0.999, 1e-8)
        run = functools.partial(run, adam=adam, learning_rate=learning_rate, schedule="cosine", epochs=epochs)
    aims = [ReachedCapacity(o.target, o.weight) if isinstance(o, Capacity) else o for o in objectives]
    if way.starts == 1:
        results = [run(builds, aims, seeds=seeds)]
    else:
        chosen = _best_starts(way, build, aims, x, seeds, learning_rate)
        results = [run({"nan": _same(chosen[o.name, s])}, [o], seeds=[s]) for o in aims for s in seeds]
    by_name = {o.name: o for o in objectives}
    found = []
    for result in results:
        for row, model in zip(result.settings.itertuples(), result.models, strict=True):
            objective = by_name[str(row.objective)]
            matrices = Matrices.of(model, deterministic=objective.deterministic)
            found.append(Trained(objective, int(str(row.seed)), float(str(row.model)), matrices))
    return found


def _best_starts(
    way: Way,
    build: Callable[[Any], Any],
    aims: Sequence[Objective],
    x: np.ndarray,
    seeds: Sequence[int],
    learning_rate: float,
) -> dict[tuple[str, int], Any]:
    """Of several starts per seed the one with the highest value after a short training."""
    starts = [seed + 1000 * k for seed in seeds for k in range(way.starts)]
    coarse = sweep(
        build, aims, x, seeds=starts, epochs=COARSE_EPOCHS, batch_size=len(x),
        learning_rate=learning_rate, schedule="cosine",
    )  # fmt: skip
    cov = np.asarray(x, dtype=np.float64).T @ x / len(x)
    best: dict[tuple[str, int], tuple[float, Any]] = {}
    by_name = {o.name: o for o in aims}
    for row, model in zip(coarse.settings.itertuples(), coarse.models, strict=True):
        name, seed = str(row.objective), int(str(row.seed)) % 1000
        value = population_value(by_name[name], Matrices.of(model), cov)
        if (name, seed) not in best or value > best[name, seed][0]:
            best[name, seed] = value, model
    return {key: model for key, (_, model) in best.items()}


def _same(model: Any) -> Callable[[Any], Any]:
    return lambda rng_key: model


def _held(rng_key: Any, *, build: Callable[[Any], Any], weight: np.ndarray) -> NeuralVAE:
    return with_decoder(build(rng_key), weight)
