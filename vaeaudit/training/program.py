"""The compiled program of a group of runs: epochs and steps in one loop, models mapped over devices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from vaeaudit.models.vae import AbstractVAE
from vaeaudit.objectives.base import Terms
from vaeaudit.objectives.terms import compute_terms, prior_draws
from vaeaudit.training.skeleton import Skeleton

METRICS = ("objective_value", "elbo", "rate", "distortion")
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
    mode: Literal["map", "vmap"]
    num_devices: int


Leaf = Any  # a JAX array, or a numpy array on its way into the program


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

    params: list[Leaf]
    adam: Any
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
    """Adam's zero moments beside the parameters (leading model axis), on the host."""
    shapes = jax.eval_shape(jax.vmap(_adam(plan).init), params)
    adam = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    if plan.patience is None:
        return State(params, adam, None)
    models = params[0].shape[0]
    worst = np.full(models, -np.inf, np.float32)
    return State(params, adam, Kept([p.copy() for p in params], worst, np.zeros(models, np.int32)))


def _adam(plan: Plan) -> optax.GradientTransformation:
    b1, b2, eps = plan.adam
    return optax.scale_by_adam(b1=b1, b2=b2, eps=eps)


def _branches(plan: Plan, *, gradients: bool) -> list[Any]:
    """One function per kind of objective: (settings, terms, key) → values per datum [and ∂mean/∂terms].

    The gradient with respect to the terms is taken inside the branch. Nothing of one kind enters the
    code of another, so that a run's numbers do not depend on its company.
    """

    def make(kind: Any) -> Any:
        def branch(numbers: Array, terms: Terms, key: Array) -> Any:
            objective = jax.tree.unflatten(kind, [numbers[i] for i in range(kind.num_leaves)])
            if objective.needs_prior_draws:
                terms = eqx.tree_at(lambda t: t.prior_z, terms, prior_draws(key, terms.loc))

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


def _terms(
    plan: Plan, model: AbstractVAE, x: Array, key: Array, run: Runs, progress: Array, n: Array
) -> Terms:
    return compute_terms(
        model,
        x,
        key,
        num_samples=plan.num_samples,
        deterministic=run.deterministic,
        progress=progress,
        num_data=n,
        with_prior_draws=False,  # drawn in the branch that reads them
    )


def _measured(values: Array, terms: Terms, weight: Array | float) -> Array:
    """Weighted sums over a batch in the order of METRICS."""
    distortion, rate = -terms.expected_log_likelihood, terms.rate
    return jnp.stack([jnp.sum(weight * v) for v in (values, -(distortion + rate), rate, distortion)])


def _train_one(plan: Plan, shared: Shared, state: State, run: Runs, rows: Array) -> tuple[State, Array]:
    """All epochs of a chunk for one run; rows (chunk, steps, batch) index the training data."""
    branches, adam = _branches(plan, gradients=True), _adam(plan)
    value_branches = _branches(plan, gradients=False)
    run_key = jax.random.wrap_key_data(run.noise_key)
    total_steps = jnp.asarray(shared.total_epochs * plan.num_steps, jnp.float32)

    def step(carry: tuple[State, Array], t: tuple[Array, Array]) -> tuple[tuple[State, Array], None]:
        (state, sums), (index, batch) = carry, t
        key = jax.random.fold_in(run_key, index)
        x = shared.train[batch]
        if plan.binarise:
            draw = jax.random.uniform(jax.random.fold_in(key, 2), x.shape, x.dtype)
            x = (draw < x).astype(x.dtype)
        progress = index.astype(jnp.float32) / total_steps

        def terms_of(params: list[Array]) -> Terms:
            return _terms(plan, plan.skeleton.join(params), x, key, run, progress, shared.num_data)

        terms, pull_back = jax.vjp(terms_of, state.params)
        values, by_terms = lax.switch(run.kind, branches, run.numbers, terms, key)
        (gradient,) = pull_back(by_terms)
        gradient = plan.skeleton.gate_scale(gradient, run.learn_scale)
        update, moments = adam.update(gradient, state.adam)
        epoch = index // plan.num_steps - shared.first_epoch
        step_size = run.learning_rate * shared.rate_factor[epoch]
        params = [w + step_size * u for w, u in zip(state.params, update, strict=True)]  # ascent
        sums = sums + _measured(values, terms, 1.0 / plan.batch_size)
        return (State(params, moments, state.kept), sums), None

    def validate(params: list[Array], epoch: Array) -> Array:
        model = plan.skeleton.join(params)
        progress = (epoch + 1).astype(jnp.float32) / shared.total_epochs.astype(jnp.float32)
        # streams of validation start after those of training: no draw is used twice
        key = jax.random.fold_in(run_key, shared.total_epochs * plan.num_steps + epoch)

        def block(i: Array) -> Array:
            block_key = jax.random.fold_in(key, i)
            x = shared.validation[i]
            if plan.binarise:
                draw = jax.random.uniform(jax.random.fold_in(block_key, 2), x.shape, x.dtype)
                x = (draw < x).astype(x.dtype)
            terms = _terms(plan, model, x, block_key, run, progress, shared.num_data)
            values = lax.switch(run.kind, value_branches, run.numbers, terms, block_key)
            return _measured(values, terms, shared.validation_weight[i])

        sums = lax.map(block, jnp.arange(shared.validation.shape[0]))
        return jnp.sum(sums, axis=0) / jnp.sum(shared.validation_weight)

    def one_epoch(state: State, e: Array) -> tuple[State, Array]:
        number = shared.first_epoch + e
        index = number * plan.num_steps + jnp.arange(plan.num_steps)
        zero = jnp.zeros(len(METRICS), jnp.float32)
        (state, sums), _ = lax.scan(step, (state, zero), (index, rows[e]))
        held = validate(state.params, number)
        if state.kept is not None:
            state = state._replace(kept=_keep_better(state.kept, state.params, held[0]))
        return state, jnp.concatenate([sums / plan.num_steps, held])

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
