"""Hamiltonian transitions along an annealing path, with the target's gradient kept between temperatures."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from vaeaudit.core.gaussian import LOG_2PI
from vaeaudit.models.vae import AbstractVAE

JITTER = (0.7, 1.2)  # range of the factor on the step size


class Path(eqx.Module):
    r"""The annealing path in whitened coordinates, z = loc + L u.

    log f_β(z) = (1 − β) log r(z) + β log p(x, z),   r = N(loc, L Lᵀ)

    ``spread`` holds L: its diagonal (batch, latent), or a triangle (batch, latent, latent).
    """

    model: AbstractVAE
    x: Array
    loc: Array
    spread: Array

    def latents(self, u: Array) -> Array:
        """Z (chain, batch, latent) for u of that shape."""
        if self.spread.ndim == 2:
            return self.loc + self.spread * u
        return self.loc + jnp.einsum("bij,sbj->sbi", self.spread, u)

    def whiten(self, z: Array) -> Array:
        """Return u for z (chain, batch, latent)."""
        if self.spread.ndim == 2:
            return (z - self.loc) / self.spread
        offset = (z - self.loc).transpose(1, 2, 0)
        return jax.scipy.linalg.solve_triangular(self.spread, offset, lower=True).transpose(2, 0, 1)

    def log_start(self, u: Array) -> Array:
        """Log r(z), (chain, batch)."""
        full = self.spread.ndim == 3
        diagonal = jnp.diagonal(self.spread, axis1=-2, axis2=-1) if full else self.spread
        log_norm = jnp.sum(jnp.log(diagonal) + 0.5 * LOG_2PI, axis=-1)
        return -0.5 * jnp.sum(u * u, axis=-1) - log_norm

    def log_joint(self, u: Array) -> Array:
        """Log p(x, z), (chain, batch)."""
        z = self.latents(u)
        return self.model.log_likelihood(self.x, z) + self.model.log_prior(z)

    def gradient(self, u: Array) -> Array:
        """Gradient of `log_joint` in u; its value is not computed."""
        return jax.grad(lambda v: jnp.sum(self.log_joint(v)))(u)

    def value_and_gradient(self, u: Array) -> tuple[Array, Array]:
        """`log_joint` and its gradient."""

        def total(v: Array) -> tuple[Array, Array]:
            values = self.log_joint(v)
            return jnp.sum(values), values

        gradient, values = jax.grad(total, has_aux=True)(u)
        return values, gradient


class State(eqx.Module):
    """Position u, and log p(x, z) with its gradient there: valid at every temperature."""

    u: Array
    log_joint: Array
    gradient: Array


def first_state(path: Path, u: Array) -> State:
    """State at u."""
    return State(u, *path.value_and_gradient(u))


def transition(
    path: Path, state: State, rng_key: Array, beta: Array, step: Array, num_leapfrog: int
) -> tuple[State, Array]:
    """One HMC transition that leaves f_β invariant.

    Parameters
    ----------
    path
        The annealing path.
    state
        Chains (chain, batch, latent).
    rng_key
        For momenta and acceptance.
    beta, step
        Inverse temperature and step size, (batch,) each.
    num_leapfrog
        Leapfrog steps L.

    Returns
    -------
    tuple
        The new state and the acceptance probability (chain, batch).

    Notes
    -----
    L gradients per transition, of which one brings the value too; none is spent on a change of
    temperature, since log r and its gradient −u are known. A proposal whose energy is not finite is
    rejected. Each chain draws its step size from `JITTER` times ``step``: in whitened coordinates all
    directions swing at one frequency, and at a fixed step L steps can end where they began.

    References
    ----------
    Neal (2011), MCMC using Hamiltonian dynamics, section 3.2, for random step sizes.
    """
    momentum_key, accept_key, step_key = jax.random.split(rng_key, 3)
    b = beta[:, None]
    jitter = jax.random.uniform(step_key, (*state.log_joint.shape, 1), step.dtype, *JITTER)
    e = step[:, None] * jitter  # (chain, batch, 1): independent of the state, so f_β stays invariant
    momentum = jax.random.normal(momentum_key, state.u.shape, state.u.dtype)

    def force(u: Array, gradient: Array) -> Array:
        return b * gradient - (1.0 - b) * u

    p = momentum + 0.5 * e * force(state.u, state.gradient)
    u = state.u + e * p

    def inner(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        u, p = carry
        p = p + e * force(u, path.gradient(u))
        return u + e * p, p

    u, p = jax.lax.fori_loop(0, num_leapfrog - 1, inner, (u, p))
    log_joint, gradient = path.value_and_gradient(u)
    p = p + 0.5 * e * force(u, gradient)

    def energy(v: Array, log_p: Array, q: Array) -> Array:
        return beta * log_p + (1.0 - beta) * path.log_start(v) - 0.5 * jnp.sum(q * q, axis=-1)

    change = energy(u, log_joint, p) - energy(state.u, state.log_joint, momentum)
    probability = jnp.where(jnp.isfinite(change), jnp.exp(jnp.minimum(change, 0.0)), 0.0)
    accept = jax.random.uniform(accept_key, probability.shape) < probability
    wide = accept[..., None]
    new = State(
        jnp.where(wide, u, state.u),
        jnp.where(accept, log_joint, state.log_joint),
        jnp.where(wide, gradient, state.gradient),
    )
    return new, probability


@eqx.filter_jit
def anneal(
    path: Path, state: State, rng_key: Array, betas: Array, steps: Array, num_leapfrog: int
) -> tuple[Array, State, Array]:
    """Log weights Σ_t (β_{t+1} − β_t) [log p(x, z_t) − log r(z_t)] along the temperatures given.

    ``betas`` and ``steps`` are (temperature, batch); steps[t] is used at betas[t]. Ascending betas run
    from the start to the posterior, descending ones back. Returns log weights (chain, batch), the last
    state, and the mean acceptance (temperature − 1, batch).
    """

    def move(carry: tuple[State, Array], inputs: tuple[Array, ...]) -> tuple[tuple[State, Array], Array]:
        state, log_w = carry
        before, beta, step, key = inputs
        log_w = log_w + (beta - before) * (state.log_joint - path.log_start(state.u))
        state, probability = transition(path, state, key, beta, step, num_leapfrog)
        return (state, log_w), jnp.mean(probability, axis=0)

    keys = jax.random.split(rng_key, betas.shape[0] - 2)
    log_w = jnp.zeros(state.log_joint.shape)
    (state, log_w), accepted = jax.lax.scan(
        move, (state, log_w), (betas[:-2], betas[1:-1], steps[1:-1], keys)
    )
    # the last change of temperature needs no transition after it
    log_w = log_w + (betas[-1] - betas[-2]) * (state.log_joint - path.log_start(state.u))
    return log_w, state, accepted


@eqx.filter_jit
def start_chains(path: Path, rng_key: Array, num_chains: int) -> State:
    """Independent draws from r."""
    return first_state(path, jax.random.normal(rng_key, (num_chains, *path.loc.shape), path.loc.dtype))


@eqx.filter_jit
def decorrelate(
    path: Path, z: Array, rng_key: Array, step: Array, num_transitions: int, num_leapfrog: int
) -> State:
    """Move exact posterior draws z (chain, batch, latent) by transitions at β = 1: still exact."""
    state = first_state(path, path.whiten(z))
    one = jnp.ones(path.loc.shape[0])

    def move(state: State, key: Array) -> tuple[State, None]:
        return transition(path, state, key, one, step, num_leapfrog)[0], None

    return jax.lax.scan(move, state, jax.random.split(rng_key, num_transitions))[0]


@eqx.filter_jit
def pilot_run(
    path: Path, rng_key: Array, betas: Array, num_chains: int, num_leapfrog: int, target: float = 0.8
) -> tuple[Array, Array]:
    """Step sizes that reach the target acceptance, and the spread of log p(x, z) − log r(z), per temperature.

    Returns steps and standard deviations over chains, each (temperature, batch), for ``betas``
    (temperature,). The step follows the acceptance within the run: for tuning only, never for weights.
    """
    start_key, rng_key = jax.random.split(rng_key)
    state = start_chains(path, start_key, num_chains)
    batch = path.loc.shape[0]
    step = jnp.full(batch, 0.5 * path.loc.shape[1] ** -0.25)

    def move(carry: tuple[State, Array], inputs: tuple[Array, Array]) -> tuple[tuple[State, Array], tuple]:
        state, step = carry
        beta, key = inputs
        used, spread = [], []
        for k in jax.random.split(key, 2):
            state, probability = transition(path, state, k, jnp.full(batch, beta), step, num_leapfrog)
            rate = jnp.mean(probability, axis=0)
            used.append(jnp.log(step))
            step = step * jnp.exp(jnp.clip(0.6 * (rate - target), -0.4, 0.1))
            spread.append(jnp.std(state.log_joint - path.log_start(state.u), axis=0))
        return (state, step), (jnp.exp((used[1] + jnp.log(step)) / 2), (spread[0] + spread[1]) / 2)

    _, (steps, spreads) = jax.lax.scan(
        move, (state, step), (betas, jax.random.split(rng_key, betas.shape[0]))
    )
    return steps, spreads
