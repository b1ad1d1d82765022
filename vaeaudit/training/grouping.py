"""Runs that share a program: which they are, and their numbers as arrays with a model axis."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from vaeaudit.objectives.base import Objective
from vaeaudit.training.inputs import TrainingData
from vaeaudit.training.outcome import Run
from vaeaudit.training.program import VALIDATION_BLOCK, Plan, Runs, Shared, State, initial_state
from vaeaudit.training.reads import terms_read
from vaeaudit.training.skeleton import Skeleton, split
from vaeaudit.training.streams import noise_key, seed_words

NUMBERS = 4  # settings per objective, padded, so that all objectives share a shape


@dataclass(frozen=True)
class Options:
    """How a set of runs is trained; the same for all of them."""

    epochs: int
    batch_size: int
    schedule: Callable[[int, int], float]  # (epoch, epochs) → learning-rate factor
    binarise: bool
    adam: tuple[float, float, float]
    patience: int | None
    mode: Literal["map", "vmap"]
    num_devices: int
    checkpoint: str | os.PathLike[str] | None = None  # folder
    checkpoint_seconds: float = 60.0
    precision: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True)
class Group:
    """Runs that share one program.

    ``members`` are positions in the caller's list in the order of the model axis, device by device;
    a device with fewer runs repeats its last one.
    """

    plan: Plan
    members: list[int]
    runs: list[Run]
    params: list[list[np.ndarray]]
    learned: list[bool]  # whether the likelihood's scale is trained
    words: list[tuple[int, ...]]  # of the runs' seeds


def group_runs(runs: Sequence[Run], data: TrainingData, options: Options) -> list[Group]:
    """Sort runs into programs by architecture and number of samples."""
    parts = [split(run.model) for run in runs]
    by_program: dict[tuple[Skeleton, int], list[int]] = {}
    for i, run in enumerate(runs):
        by_program.setdefault((parts[i][0], run.objective.num_samples), []).append(i)
    groups = []
    for (skeleton, num_samples), positions in by_program.items():
        kinds = _kinds([runs[i].objective for i in positions])
        devices = min(options.num_devices, len(positions))
        plan = Plan(
            skeleton=skeleton,
            kinds=kinds,
            num_samples=num_samples,
            batch_size=min(options.batch_size, data.num_train),
            num_steps=max(data.num_train // options.batch_size, 1),
            binarise=options.binarise,
            adam=options.adam,
            patience=options.patience,
            mode=options.mode,
            num_devices=devices,
            reads=frozenset().union(*map(terms_read, kinds)),
            validates=data.validation is not None,
            precision=options.precision,
        )
        members = _deal(sorted(positions, key=lambda i: _kind(kinds, runs[i])), devices)
        groups.append(
            Group(
                plan=plan,
                members=members,
                runs=[runs[i] for i in members],
                params=[parts[i][1] for i in members],
                learned=[parts[i][2] or runs[i].objective.learns_scale for i in members],
                words=[seed_words(runs[i].rng_key) for i in members],
            )
        )
    return groups


def split_group(group: Group, models: int) -> list[Group]:
    """The group in parts of at most ``models`` runs per device, all of one size, so that they share a program.

    The last part repeats its last run until it is as large as the others.
    """
    devices = group.plan.num_devices
    share = len(group.members) // devices
    parts = -(-share // models)
    size = -(-share // parts)
    pieces = []
    for part in range(parts):
        chosen = [
            d * share + min(part * size + i, share - 1) for d in range(devices) for i in range(size)
        ]  # positions on the group's model axis, device by device
        pieces.append(
            Group(
                plan=group.plan,
                members=[group.members[i] for i in chosen],
                runs=[group.runs[i] for i in chosen],
                params=[group.params[i] for i in chosen],
                learned=[group.learned[i] for i in chosen],
                words=[group.words[i] for i in chosen],
            )
        )
    return pieces


def _deal(members: list[int], devices: int) -> list[int]:
    """Deal runs out over the devices in turn, as kinds differ in cost, and fill up to equal shares."""
    share = -(-len(members) // devices)
    dealt = [members[d::devices] for d in range(devices)]
    return [i for hand in dealt for i in hand + [hand[-1]] * (share - len(hand))]


def _kinds(objectives: list[Objective]) -> tuple[Any, ...]:
    """Distinct structures of the objectives, in an order that does not depend on theirs."""
    named = {jax.tree.structure(o): f"{type(o).__name__} {jax.tree.structure(o)}" for o in objectives}
    return tuple(sorted(named, key=named.__getitem__))


def _kind(kinds: tuple[Any, ...], run: Run) -> int:
    return kinds.index(jax.tree.structure(run.objective))


def settings_of(group: Group) -> Runs:
    """The numbers in which the runs differ."""
    numbers = np.zeros((len(group.runs), NUMBERS), np.float32)
    for m, run in enumerate(group.runs):
        leaves = jax.tree.leaves(run.objective)
        numbers[m, : len(leaves)] = [float(leaf) for leaf in leaves]
    return Runs(
        kind=np.asarray([_kind(group.plan.kinds, run) for run in group.runs], np.int32),
        numbers=numbers,
        deterministic=np.asarray([run.objective.deterministic for run in group.runs]),
        learn_scale=np.asarray(group.learned, np.float32),
        noise_key=np.stack([noise_key(words) for words in group.words]),
        learning_rate=np.asarray([run.learning_rate for run in group.runs], np.float32),
    )


def state_of(group: Group) -> State:
    """Parameters of all runs, stacked, and the optimiser's start."""
    return initial_state(group.plan, [np.stack(leaves) for leaves in zip(*group.params, strict=True)])


def shared_data(data: TrainingData, chunk: int, epochs: int) -> Shared:
    """Training and validation data on the device; validation in blocks padded with weight zero."""
    held = data.validation if data.validation is not None else data.train[:1]
    block = min(VALIDATION_BLOCK, len(held))
    blocks = -(-len(held) // block)
    position = np.arange(blocks * block)
    weight = (position < len(held)) & (data.validation is not None)
    return Shared(
        train=jnp.asarray(data.train),
        validation=jnp.asarray(held[position % len(held)].reshape(blocks, block, *held.shape[1:])),
        validation_weight=weight.astype(np.float32).reshape(blocks, block),
        rate_factor=np.ones(chunk, np.float32),
        first_epoch=np.asarray(0, np.int32),
        num_epochs=np.asarray(0, np.int32),
        total_epochs=np.asarray(epochs, np.int32),
        num_data=np.asarray(data.num_train, np.float32),
    )
