"""From a list of runs to compiled groups, chunks of epochs, and trained models in the same order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from vaeaudit.core.errors import TrainingError
from vaeaudit.objectives.base import Objective
from vaeaudit.training.inputs import TrainingData
from vaeaudit.training.outcome import Progress, Run, Trained
from vaeaudit.training.program import VALIDATION_BLOCK, Plan, Runs, Shared, State, initial_state, jitted
from vaeaudit.training.skeleton import Skeleton, split, with_learned_scale
from vaeaudit.training.streams import batch_rows, noise_key, seed_words

NUMBERS = 4  # settings per objective, padded, so that all objectives share a shape
CHUNK = 16  # most epochs per call of the program
MAX_ROWS = 2**25  # most row indices per call: bounds memory
CHUNK_SECONDS = 1.0  # aim: progress is reported and Ctrl-C obeyed this often


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


@dataclass
class _Group:
    """Runs that share one program."""

    plan: Plan
    members: list[int]  # positions in the caller's list, in the order of the model axis
    padded: int  # length of the model axis
    params: list[list[np.ndarray]]
    learned: list[bool]


_COMPILED: dict[Any, Any] = {}  # (plan, argument shapes) → program


def train(
    runs: Sequence[Run], data: TrainingData, options: Options, progress: Progress | None = None
) -> list[Trained]:
    """Train every run; results come back in the order of ``runs``.

    Raises
    ------
    TrainingError
        If no run ends with finite numbers.
    """
    tell = progress or (lambda epoch, epochs, info: None)
    results: list[Trained | None] = [None] * len(runs)
    groups = _group(runs, data, options)
    for index, group in enumerate(groups):
        info = {"group": index, "num_groups": len(groups), "num_models": len(group.members)}
        for position, result in zip(
            group.members, _train_group(group, runs, data, options, tell, info), strict=True
        ):
            results[position] = result
    finished = [r for r in results if r is not None]
    if all(r.diverged for r in finished):
        raise TrainingError(
            f"none of the {len(finished)} runs ended with finite numbers. Lower the learning rate "
            f"(now {', '.join(sorted({f'{r.learning_rate:g}' for r in runs}))}), or look at the data's range."
        )
    return finished


def _group(runs: Sequence[Run], data: TrainingData, options: Options) -> list[_Group]:
    parts = [split(run.model) for run in runs]
    by_program: dict[tuple[Skeleton, int], list[int]] = {}
    for i, run in enumerate(runs):
        by_program.setdefault((parts[i][0], run.objective.num_samples), []).append(i)
    groups = []
    for (skeleton, num_samples), members in by_program.items():
        kinds = _kinds([runs[i].objective for i in members])
        devices = min(options.num_devices, len(members))
        members.sort(key=lambda i: kinds.index(jax.tree.structure(runs[i].objective)))
        # deal runs of one kind out over the devices, as kinds differ in cost
        members = [i for d in range(devices) for i in members[d::devices]]
        per_device = -(-len(members) // devices)
        sizes = [len(members[d::devices]) for d in range(devices)]
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
        )
        groups.append(
            _Group(
                plan,
                _pad(members, sizes, per_device),
                per_device * devices,
                [parts[i][1] for i in range(len(runs))],
                [part[2] for part in parts],
            )
        )
    return groups


def _pad(members: list[int], sizes: list[int], per_device: int) -> list[int]:
    """Fill every device's share to the same length by repeating its last run."""
    out: list[int] = []
    start = 0
    for size in sizes:
        share = members[start : start + size]
        out += share + [share[-1]] * (per_device - size)
        start += size
    return out


def _kinds(objectives: list[Objective]) -> tuple[Any, ...]:
    """Distinct structures of the objectives, in an order that does not depend on theirs."""
    named = {jax.tree.structure(o): f"{type(o).__name__} {jax.tree.structure(o)}" for o in objectives}
    return tuple(sorted(named, key=named.__getitem__))


def _settings(group: _Group, runs: Sequence[Run]) -> Runs:
    numbers = np.zeros((group.padded, NUMBERS), np.float32)
    chosen = [runs[i] for i in group.members]
    for m, run in enumerate(chosen):
        leaves = jax.tree.leaves(run.objective)
        numbers[m, : len(leaves)] = [float(leaf) for leaf in leaves]
    learn = [
        run.objective.learns_scale or group.learned[i] for i, run in zip(group.members, chosen, strict=True)
    ]
    return Runs(
        kind=np.asarray([group.plan.kinds.index(jax.tree.structure(r.objective)) for r in chosen], np.int32),
        numbers=np.asarray(numbers),
        deterministic=np.asarray([r.objective.deterministic for r in chosen]),
        learn_scale=np.asarray(learn, np.float32),
        noise_key=np.asarray(np.stack([noise_key(r.rng_key) for r in chosen])),
        learning_rate=np.asarray([r.learning_rate for r in chosen], np.float32),
    )


def _shared(data: TrainingData, chunk: int, epochs: int) -> Shared:
    held = data.validation if data.validation is not None else data.train[:1]
    weight = np.full(len(held), 0.0 if data.validation is None else 1.0, np.float32)
    block = min(VALIDATION_BLOCK, len(held))
    blocks = -(-len(held) // block)
    rows = np.arange(blocks * block) % len(held)
    weight = np.where(np.arange(blocks * block) < len(held), weight[rows], 0.0).astype(np.float32)
    return Shared(
        train=jnp.asarray(data.train),
        validation=jnp.asarray(held[rows].reshape(blocks, block, *held.shape[1:])),
        validation_weight=np.asarray(weight.reshape(blocks, block)),
        rate_factor=np.ones(chunk, np.float32),
        first_epoch=np.asarray(0, np.int32),
        num_epochs=np.asarray(0, np.int32),
        total_epochs=np.asarray(epochs, np.int32),
    )


def _compiled(plan: Plan, arguments: tuple[Any, ...], announce: Callable[[], None]) -> Any:
    devices = jax.devices()[: plan.num_devices]
    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(arguments))
    key = (plan, shapes, tuple(devices))
    if key not in _COMPILED:
        announce()
        _COMPILED[key] = jitted(plan, devices).lower(*arguments).compile()
    return _COMPILED[key]


def _train_group(
    group: _Group,
    runs: Sequence[Run],
    data: TrainingData,
    options: Options,
    tell: Progress,
    info: dict[str, Any],
) -> list[Trained]:
    plan, epochs = group.plan, options.epochs
    chunk = max(1, min(CHUNK, MAX_ROWS // (group.padded * plan.num_steps * plan.batch_size)))
    stacked = [np.stack(leaves) for leaves in zip(*(group.params[i] for i in group.members), strict=True)]
    state = initial_state(plan, stacked)
    settings, shared = _settings(group, runs), _shared(data, chunk, epochs)
    words = [seed_words(runs[i].rng_key) for i in group.members]
    rows_of = lambda span: batch_rows(words, span, chunk, data.num_train, plan.num_steps, plan.batch_size)  # noqa: E731
    start = time.perf_counter()
    program = _compiled(
        plan,
        (shared, state, settings, rows_of(range(0))),
        lambda: tell(0, epochs, {**info, "event": "compiling"}),
    )
    compile_seconds = time.perf_counter() - start
    start = time.perf_counter()
    done, size, parts = 0, 1, []
    while done < epochs:
        size = min(size, epochs - done, chunk)
        span = range(done, done + size)
        factor = np.ones(chunk, np.float32)
        factor[:size] = [options.schedule(e, epochs) for e in span]
        shared = shared._replace(
            rate_factor=factor,
            first_epoch=np.asarray(done, np.int32),
            num_epochs=np.asarray(size, np.int32),
        )
        state, history = program(shared, state, settings, rows_of(span))
        parts.append(np.asarray(history)[:, :size])
        done += size
        stopped = state.kept is not None and bool(np.all(np.asarray(state.kept.waited) >= plan.patience))
        seconds = time.perf_counter() - start
        tell(
            done,
            epochs,
            {**info, "event": "training", "seconds": seconds, "compile_seconds": compile_seconds},
        )
        if stopped:
            break
        size = max(1, round(CHUNK_SECONDS * done / max(seconds, 1e-9)))
    return _results(group, runs, state, np.concatenate(parts, axis=1))


def _results(group: _Group, runs: Sequence[Run], state: State, metrics: np.ndarray) -> list[Trained]:
    best = state.params if state.kept is None else state.kept.params
    host, last = [np.asarray(leaf) for leaf in best], [np.asarray(leaf) for leaf in state.params]
    waited = None if state.kept is None else np.asarray(state.kept.waited)
    out = []
    for m, i in enumerate(group.members):
        model = group.plan.skeleton.join([jnp.asarray(leaf[m]) for leaf in host])
        if group.plan.skeleton.scale_index is not None:
            model = with_learned_scale(model, runs[i].objective.learns_scale or group.learned[i])
        rows = metrics[m]
        if waited is not None and group.plan.patience is not None and waited[m] >= group.plan.patience:
            rows = rows[: _last_row(rows) + 1]
        finite = all(np.isfinite(leaf[m]).all() for leaf in last) and np.isfinite(rows[:, :4]).all()
        out.append(Trained(model, rows, not finite))
    return out


def _last_row(rows: np.ndarray) -> int:
    """Last epoch of a run that stopped: epochs after it are all NaN."""
    filled = np.flatnonzero(~np.isnan(rows).all(axis=1))
    return int(filled[-1]) if filled.size else 0
