"""From a list of runs to compiled programs, chunks of epochs, and trained models in the same order."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from vaeaudit.core.errors import TrainingError
from vaeaudit.training.grouping import (
    Group,
    Options,
    group_runs,
    settings_of,
    shared_data,
    split_group,
    state_of,
)
from vaeaudit.training.inputs import TrainingData
from vaeaudit.training.memory import models_that_fit
from vaeaudit.training.outcome import Progress, Run, Trained
from vaeaudit.training.packing import unpack
from vaeaudit.training.program import Runs, Shared, State, jitted
from vaeaudit.training.skeleton import with_learned_scale
from vaeaudit.training.streams import batch_rows

if TYPE_CHECKING:
    from vaeaudit.training.resume import Checkpoints

CHUNK = 16  # most epochs per call of the program
MAX_ROWS = 2**25  # most row indices per call: bounds memory
CHUNK_SECONDS = 1.0  # aim: progress is reported and Ctrl-C obeyed this often

_COMPILED: dict[Any, Any] = {}  # (plan, argument shapes, devices) → program


@dataclass
class _Job:
    """A group with its arguments, ready to run."""

    group: Group
    chunk: int
    shared: Shared
    state: State
    settings: Runs
    info: dict[str, Any]
    compile_seconds: float = 0.0

    def rows(self, span: range, num_data: int) -> np.ndarray:
        """Row indices of the batches of some epochs."""
        plan = self.group.plan
        return batch_rows(self.group.words, span, self.chunk, num_data, plan.num_steps, plan.batch_size)


def train(
    runs: Sequence[Run], data: TrainingData, options: Options, progress: Progress | None = None
) -> list[Trained]:
    """Train every run; results come back in the order of ``runs``."""
    tell = progress or (lambda epoch, epochs, info: None)
    groups = group_runs(runs, data, options)
    jobs = [_job(group, data, options, index, len(groups)) for index, group in enumerate(groups)]
    programs = _compile(jobs, data, options, tell)
    fitting = [models_that_fit(job.group, p) for job, p in zip(jobs, programs, strict=True)]
    if any(fitting):
        groups = [
            part
            for group, models in zip(groups, fitting, strict=True)
            for part in (split_group(group, models) if models else [group])
        ]
        jobs = [_job(group, data, options, index, len(groups)) for index, group in enumerate(groups)]
        programs = _compile(jobs, data, options, tell)
    checkpoints = _checkpoints(groups, runs, data, options)
    results: dict[int, Trained] = {}
    for job, program in zip(jobs, programs, strict=True):
        results |= zip(job.group.members, _run(job, program, data, options, tell, checkpoints), strict=True)
    if checkpoints is not None:
        checkpoints.remove()
    return [results[i] for i in range(len(runs))]


def _checkpoints(
    groups: list[Group], runs: Sequence[Run], data: TrainingData, options: Options
) -> Checkpoints | None:
    """Checkpoints where a folder is given; only then is what reads and writes them imported."""
    if options.checkpoint is None:
        return None
    from vaeaudit.training.resume import open_checkpoints

    return open_checkpoints(options.checkpoint, groups, runs, data, options)


def check_some_finite(trained: Sequence[Trained], runs: Sequence[Run]) -> None:
    """Raise `TrainingError` if no run ended with finite numbers."""
    if all(result.diverged for result in trained):
        raise TrainingError(
            f"none of the {len(trained)} runs ended with finite numbers. Lower the learning rate "
            f"(now {', '.join(sorted({f'{r.learning_rate:g}' for r in runs}))}), or look at the data's range."
        )


def _job(group: Group, data: TrainingData, options: Options, index: int, count: int) -> _Job:
    per_epoch = len(group.runs) * group.plan.num_steps * group.plan.batch_size
    chunk = max(1, min(CHUNK, MAX_ROWS // per_epoch))
    info = {"group": index, "num_groups": count, "num_models": len(set(group.members))}
    shared = shared_data(data, chunk, options.epochs)
    return _Job(group, chunk, shared, state_of(group), settings_of(group), info)


def _compile(jobs: list[_Job], data: TrainingData, options: Options, tell: Progress) -> list[Any]:
    """A program for each job, from memory where it was compiled before; new ones side by side."""
    keys, lowered = [], {}
    for job in jobs:
        plan = job.group.plan
        devices = jax.local_devices()[: plan.num_devices]
        arguments = (job.shared, job.state, job.settings, job.rows(range(0), data.num_train))
        shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(arguments))
        key = (plan, shapes, tuple(devices))
        keys.append(key)
        if key not in _COMPILED and key not in lowered:
            tell(0, options.epochs, {**job.info, "event": "compiling"})
            lowered[key] = jitted(plan, devices).lower(*arguments)
    start = time.perf_counter()
    if lowered:
        with ThreadPoolExecutor(len(lowered)) as pool:
            _COMPILED.update(
                zip(lowered, pool.map(lambda program: program.compile(), lowered.values()), strict=True)
            )
    for job in jobs:
        job.compile_seconds = time.perf_counter() - start
    return [_COMPILED[key] for key in keys]


def _run(
    job: _Job,
    program: Any,
    data: TrainingData,
    options: Options,
    tell: Progress,
    checkpoints: Checkpoints | None,
) -> list[Trained]:
    epochs, patience, index = options.epochs, options.patience, job.info["group"]
    shared, state = job.shared, job.state
    parts: list[np.ndarray] = []
    start, size, finished = time.perf_counter(), 1, False
    if checkpoints is not None and (stored := checkpoints.load(index, state)) is not None:
        state, history, finished = stored
        parts.append(history)
    begun = done = parts[0].shape[1] if parts else 0
    rows = job.rows(range(done, done + size), data.num_train)
    while done < epochs and not finished:
        span = range(done, done + size)
        factor = np.ones(job.chunk, np.float32)
        factor[:size] = [options.schedule(epoch, epochs) for epoch in span]
        shared = shared._replace(
            rate_factor=factor,
            first_epoch=np.asarray(done, np.int32),
            num_epochs=np.asarray(size, np.int32),
        )
        state, history = program(shared, state, job.settings, rows)
        following = range(done + size, min(done + size + min(2 * size, job.chunk), epochs))
        rows = job.rows(following, data.num_train)  # made while the devices train
        parts.append(np.asarray(history)[:, :size])
        done += size
        seconds = time.perf_counter() - start
        tell(
            done,
            epochs,
            {**job.info, "event": "training", "seconds": seconds, "compile_seconds": job.compile_seconds},
        )
        stopped = patience is not None and state.kept is not None and np.all(state.kept.waited >= patience)
        finished = done == epochs or bool(stopped)
        if checkpoints is not None and (
            checkpoints.due() or (finished and index + 1 < job.info["num_groups"])
        ):
            checkpoints.save(index, state, np.concatenate(parts, axis=1), finished=finished)
        size = min(len(following), max(1, round(CHUNK_SECONDS * (done - begun) / max(seconds, 1e-9))))
    return _results(job.group, state, np.concatenate(parts, axis=1))


def _results(group: Group, state: State, metrics: np.ndarray) -> list[Trained]:
    shapes = group.plan.skeleton.shapes
    last = unpack(shapes, [np.asarray(leaf) for leaf in state.params])
    best, waited = last, None
    if state.kept is not None:
        best = unpack(shapes, [np.asarray(leaf) for leaf in state.kept.params])
        waited = np.asarray(state.kept.waited)
    out = []
    for m, learned in enumerate(group.learned):
        model = group.plan.skeleton.join(jax.device_put([leaf[m] for leaf in best]))
        if group.plan.skeleton.scale_index is not None:
            model = with_learned_scale(model, learned)
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
