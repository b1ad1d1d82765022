"""The compiled program of a group of runs: epochs and steps in one loop, models mapped over devices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from vaeaudit.models.networks import HALF
from vaeaudit.models.vae import AbstractVAE
from vaeaudit.objectives.base import Terms
from vaeaudit.objectives.terms import compute_terms
from vaeaudit.training.noise import Key, fold_in, standard_normal, uniform
from vaeaudit.training.packing import pack, unpack
from vaeaudit.training.skeleton import Skeleton

METRICS = ("objective_value", "elbo", "rate", "distortion")
NOISE_AT_ONCE = 2**20  # noise of an epoch is drawn before its steps where it is no larger
VALIDATION_BLOCK = 1024  # validation data per evaluation: bounds memory, not the result


@dataclass(frozen=True)
class Plan:
    """Everything about a group that changes the program itself; hashable."""

    skeleton: Skeleton
    kinds: tuple[Any, ...]  # tree structures of the objectives, chosen by index at run time
    num_samples: int
    batch_size: int
    num_steps: int  # per epoch
    binarise: bool
    adam: tuple[float, float, float]  # β₁, β₂, ε
    patience: int | None  # epochs without a better validation value before a run stops
    reads: frozenset[str]  # terms that some objective of the group reads
    validates: bool  # whether there are validation data
    precision: Literal["float32", "bfloat16"]  # of the factors of matrix products
    mode: Literal["map", "vmap"]
    num_devices: int


Leaf = Any  # a JAX array, or a numpy array on its way into the program


class Keys(NamedTuple):
    """Keys of the streams of a step, or of many steps."""

    noise: Key
    prior: Key
    pixels: Key  # of dynamic binarisation


def _keys(key: Key) -> Keys:
    """Derived outside of the steps: inside, a kernel would derive them again for every element."""
    return Keys(*(fold_in(key, stream) for stream in range(3)))


class Runs(NamedTuple):
    """The numbers in which the runs of a group differ; a leading model axis on each."""

    kind: Leaf  # index into Plan.kinds, ()
    numbers: Leaf  # the objective's settings, padded, (numbers,)
    deterministic: Leaf  # z = loc, ()
    learn_scale: Leaf  # 1 where the likelihood's scale is trained, ()
    noise_key: Leaf  # raw key data of the run's noise stream, (2,)
    learning_rate: Leaf  # ()


class Kept(NamedTuple):
    """The best parameters so far by the validation value, and how long ago that was."""

    params: list[Leaf]
    value: Leaf
    waited: Leaf  # epochs since


class State(NamedTuple):
    """What a run carries from epoch to epoch; a leading model axis on each leaf."""

    params: list[Leaf]  # packed
    adam: list[Leaf]  # first and second moments of each array of params, (2, …)
    kept: Kept | None  # only where runs may stop early


class Shared(NamedTuple):
    """What all runs of a group read."""

    train: Leaf  # (N, *event)
    validation: Leaf  # (blocks, block, *event)
    validation_weight: Leaf  # (blocks, block), zero for padding
    rate_factor: Leaf  # learning-rate factor by epoch of the chunk, (chunk,)
    first_epoch: Leaf  # ()
    num_epochs: Leaf  # epochs of this chunk to run, ()
    total_epochs: Leaf  # ()
    num_data: (
        Leaf  # N, (); an argument and not a constant, which the compiler would fold with other roundings
    )


def initial_state(plan: Plan, params: list[np.ndarray]) -> State:
    """Adam's zero moments beside the packed parameters (leading model axis), on the host."""
    packed = pack(plan.skeleton.shapes, params)
    models = packed[0].shape[0]
    moments = [np.zeros((models, 2, *leaf.shape[1:]), leaf.dtype) for leaf in packed]
    if plan.patience is None:
        return State(packed, moments, None)
    worst = np.full(models, -np.inf, np.float32)
    return State(packed, moments, Kept([p.copy() for p in packed], worst, np.zeros(models, np.int32)))


def _adam_step(
    plan: Plan, weight: Array, moments: Array, gradient: Array, step_size: Array, damping: Array
) -> tuple[Array, Array]:
    """One ascent step; both moments are one array, so that one kernel updates them.

    wₜ = wₜ₋₁ + α √(1−β₂ᵗ)/(1−β₁ᵗ) · mₜ / (√vₜ + ε √(1−β₂ᵗ))

    ``step_size`` is the factor before mₜ, ``damping`` the last term.
    """
    b1, b2, _ = plan.adam
    first = (slice(None),) + (None,) * gradient.ndim
    decay = jnp.asarray([b1, b2], jnp.float32)[first]
    share = jnp.asarray([1.0 - b1, 1.0 - b2], jnp.float32)[first]
    powers = jnp.stack([jnp.ones_like(gradient), gradient])
    new = decay * moments + share * (gradient * powers)
    return weight + step_size * new[0] / (jnp.sqrt(new[1]) + damping), new


def _branches(plan: Plan, *, gradients: bool) -> list[Any]:
    """One function per kind of objective: (settings, terms, key) → values per datum [and ∂mean/∂terms].

    The gradient with respect to the terms is taken inside the branch. Nothing of one kind enters the
    code of another, so that a run's numbers do not depend on its company.
    """

    def make(kind: Any) -> Any:
        def branch(numbers: Array, terms: Terms, prior: Key) -> Any:
            objective = jax.tree.unflatten(kind, [numbers[i] for i in range(kind.num_leaves)])
            if objective.needs_prior_draws:
                draws = standard_normal(prior, terms.loc.size).reshape(terms.loc.shape)
                terms = eqx.tree_at(lambda t: t.prior_z, terms, draws)

            def mean(t: Terms) -> tuple[Array, Array]:
                values = jnp.broadcast_to(objective(t), (t.loc.shape[0],))
                return jnp.mean(values), values

            if not gradients:
                return mean(terms)[1]
            gradient, values = jax.grad(mean, has_aux=True)(terms)
            return values, gradient

        return branch

    made = [make(kind) for kind in plan.kinds]
    return made if len(made) > 1 else made * 2  # one branch would be inlined and fused differently


def _noise_size(plan: Plan) -> int:
    return plan.num_samples * plan.batch_size * plan.skeleton.latent_dim


def _noise(run: Runs, key: Key, size: int) -> Array:
    """ε of a batch, or of as many batches as there are keys; zeros for a deterministic objective.

    Notes
    -----
    A branch is compiled by itself: elsewhere every kernel that reads the noise would draw it again.
    """
    shape = (*key[0].shape, size)
    draw = lambda key: standard_normal(key, size)  # noqa: E731
    return lax.cond(run.deterministic, lambda key: jnp.zeros(shape, jnp.float32), draw, key)


def _terms(
    plan: Plan, model: AbstractVAE, x: Array, noise: Array, run: Runs, progress: Array, n: Array
) -> Terms:
    terms = compute_terms(
        model,
        x,
        noise=noise.reshape(plan.num_samples, x.shape[0], -1),
        num_samples=plan.num_samples,
        progress=progress,
        num_data=n,
        with_prior_draws=False,  # drawn in the branch that reads them
    )
    # what nobody reads has a gradient of zeros, which need not be carried back
    return Terms(**{k: v if k in plan.reads else lax.stop_gradient(v) for k, v in vars(terms).items()})


def _binarised(plan: Plan, x: Array, key: Key) -> Array:
    return (uniform(key, x.size).reshape(x.shape) < x).astype(x.dtype) if plan.binarise else x


def _measured(values: Array, terms: Terms) -> Array:
    """Per datum, objective value, rate and distortion, (3, batch)."""
    return jnp.stack([values, terms.rate, -terms.expected_log_likelihood])


def _metrics(means: Array) -> Array:
    """From the means of `_measured` to METRICS."""
    value, rate, distortion = means
    return jnp.stack([value, -(distortion + rate), rate, distortion])


def _train_one(plan: Plan, shared: Shared, state: State, run: Runs, rows: Array) -> tuple[State, Array]:
    """All epochs of a chunk for one run; rows (chunk, steps, batch) index the training data."""
    branches = _branches(plan, gradients=True)
    value_branches = _branches(plan, gradients=False)
    run_key: Key = (run.noise_key[0], run.noise_key[1])
    total_steps = jnp.asarray(shared.total_epochs * plan.num_steps, jnp.float32)
    shapes = plan.skeleton.shapes
    b1, b2, eps = plan.adam

    def step(carry: tuple[State, Array], t: tuple[Any, ...]) -> tuple[tuple[State, Array], None]:
        (state, sums), (keys, noise, progress, step_size, damping, batch) = carry, t
        x = _binarised(plan, shared.train[batch], keys.pixels)
        noise = _noise(run, keys.noise, _noise_size(plan)) if noise is None else noise

        def terms_of(params: list[Array]) -> Terms:
            return _terms(plan, plan.skeleton.join(params), x, noise, run, progress, shared.num_data)

        terms, pull_back = jax.vjp(terms_of, unpack(shapes, state.params))
        values, by_terms = lax.switch(run.kind, branches, run.numbers, terms, keys.prior)
        (gradient,) = pull_back(by_terms)
        gradient = pack(shapes, plan.skeleton.gate_scale(gradient, run.learn_scale))
        stepped = [
            _adam_step(plan, w, m, g, step_size, damping)
            for w, m, g in zip(state.params, state.adam, gradient, strict=True)
        ]
        params, moments = [w for w, _ in stepped], [m for _, m in stepped]
        return (State(params, moments, state.kept), sums + _measured(values, terms)), None

    def validate(params: list[Array], epoch: Array) -> Array:
        model = plan.skeleton.join(unpack(shapes, params))
        progress = (epoch + 1).astype(jnp.float32) / shared.total_epochs.astype(jnp.float32)
        # streams of validation start after those of training: no draw is used twice
        key = fold_in(run_key, shared.total_epochs * plan.num_steps + epoch)

        def block(i: Array) -> Array:
            keys = lax.optimization_barrier(_keys(fold_in(key, i)))
            x = _binarised(plan, shared.validation[i], keys.pixels)
            noise = _noise(run, keys.noise, plan.num_samples * x.shape[0] * plan.skeleton.latent_dim)
            terms = _terms(plan, model, x, noise, run, progress, shared.num_data)
            values = lax.switch(run.kind, value_branches, run.numbers, terms, keys.prior)
            return jnp.sum(shared.validation_weight[i] * _measured(values, terms), axis=1)

        sums = lax.map(block, jnp.arange(shared.validation.shape[0]))
        return _metrics(jnp.sum(sums, axis=0) / jnp.sum(shared.validation_weight))

    def one_epoch(state: State, e: Array) -> tuple[State, Array]:
        number = shared.first_epoch + e
        index = number * plan.num_steps + jnp.arange(plan.num_steps)
        power = (index + 1).astype(jnp.float32)  # t of Adam, from 1
        root = jnp.sqrt(1.0 - b2**power)
        keys = lax.optimization_barrier(_keys(fold_in(run_key, index)))
        at_once = plan.num_steps * _noise_size(plan) <= NOISE_AT_ONCE
        per_step = (
            keys,
            _noise(run, keys.noise, _noise_size(plan)) if at_once else None,
            index.astype(jnp.float32) / total_steps,
            run.learning_rate * shared.rate_factor[e] * root / (1.0 - b1**power),
            eps * root,
        )
        zero = jnp.zeros((3, plan.batch_size), jnp.float32)
        (state, sums), _ = lax.scan(step, (state, zero), (*lax.optimization_barrier(per_step), rows[e]))
        metrics = _metrics(jnp.sum(sums, axis=1) / (plan.num_steps * plan.batch_size))
        held = validate(state.params, number) if plan.validates else jnp.full_like(metrics, jnp.nan)
        if state.kept is not None:
            state = state._replace(kept=_keep_better(state.kept, state.params, held[0]))
        return state, jnp.concatenate([metrics, held])

    def epoch(e: Array, carry: tuple[State, Array]) -> tuple[State, Array]:
        state, history = carry
        if state.kept is None:
            state, row = one_epoch(state, e)
        else:
            still = lambda state, e: (state, jnp.full(2 * len(METRICS), jnp.nan, jnp.float32))  # noqa: E731
            state, row = lax.cond(state.kept.waited < plan.patience, one_epoch, still, state, e)
        return state, history.at[e].set(row)

    history = jnp.full((rows.shape[0], 2 * len(METRICS)), jnp.nan, jnp.float32)
    return lax.fori_loop(0, shared.num_epochs, epoch, (state, history))


def _keep_better(kept: Kept, params: list[Array], value: Array) -> Kept:
    """Take the parameters where the validation value improved; NaN never does."""
    better = value > kept.value
    return Kept(
        params=[jnp.where(better, new, old) for new, old in zip(params, kept.params, strict=True)],
        value=jnp.where(better, value, kept.value),
        waited=jnp.where(better, 0, kept.waited + 1),
    )


def _train_many(plan: Plan, shared: Shared, state: State, runs: Runs, rows: Array) -> tuple[State, Array]:
    if plan.precision == "bfloat16":
        with jax.default_matmul_precision(HALF):
            return _mapped(plan, shared, state, runs, rows)
    return _mapped(plan, shared, state, runs, rows)


def _mapped(plan: Plan, shared: Shared, state: State, runs: Runs, rows: Array) -> tuple[State, Array]:
    one = partial(_train_one, plan, shared)
    if plan.mode == "vmap":
        return jax.vmap(one)(state, runs, rows)
    return lax.map(lambda args: one(*args), (state, runs, rows))


def jitted(plan: Plan, devices: list[Any]) -> Any:
    """The program: (shared, state, runs, rows) → (state, history (model, chunk, 8)); state is donated."""
    # a mesh even of one device: the same program text for any number of them
    body = jax.shard_map(
        partial(_train_many, plan),
        mesh=Mesh(devices[: plan.num_devices], ("model",)),
        in_specs=(P(), P("model"), P("model"), P("model")),
        out_specs=(P("model"), P("model")),
        check_vma=False,
    )
    return jax.jit(body, donate_argnums=(1,))
