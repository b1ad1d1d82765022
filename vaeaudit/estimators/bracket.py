"""Brackets of log p(x): annealing forward and back, and bounds from exact posterior draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array

from vaeaudit.core.arrays import KeyLike, as_float_array, as_key, check_count
from vaeaudit.core.errors import ArgumentError, ShapeError
from vaeaudit.core.records import Bracket, Estimate
from vaeaudit.estimators.annealed import Start, check_annealing, choose_schedule, make_path, run_schedule
from vaeaudit.estimators.encoding import encode_all
from vaeaudit.estimators.hmc import decorrelate, start_chains
from vaeaudit.estimators.importance import batches
from vaeaudit.estimators.intervals import chain_interval
from vaeaudit.estimators.reliability import Floats
from vaeaudit.models.likelihoods import Gaussian
from vaeaudit.models.linear_gaussian import LinearGaussianVAE
from vaeaudit.models.vae import AbstractVAE, NeuralVAE

LOG40 = math.log(40.0)  # Markov at 2.5 % for each end
PER_DATUM = 0.975  # level of each chain interval: its outer end errs with probability 1/80
DECORRELATE = 30  # transitions at β = 1 between the one exact draw and each chain

Simulate = Callable[[Array, Array], Array]  # (rng_key, z (batch, latent)) → x (batch, *event)


@dataclass(frozen=True)
class EvidenceBracket(Bracket):
    """Bracket of the mean log p(x), with one row per datum.

    ``per_datum`` has ``forward`` and ``reverse`` (stochastic lower and upper bounds), ``lower`` and
    ``upper`` (their 98.75 % one-sided ends) and ``gap`` = reverse − forward.
    """

    per_datum: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False, compare=False)
    x: np.ndarray | None = field(default=None, repr=False, compare=False)
    gradients_per_datum: int = 0

    @property
    def gap(self) -> float:
        """Mean of upper minus mean of lower bound (nats)."""
        return self.upper.value - self.lower.value


def simulate(
    model: AbstractVAE, rng_key: Array, num_data: int, sampler: Simulate | None
) -> tuple[Array, Array]:
    """Draw z from the prior and x from p(x|z): z is then an exact draw from p(z|x)."""
    z_key, x_key = jax.random.split(rng_key)
    if not model.standard_prior:
        raise ArgumentError(
            "simulated data need draws from the prior, and this model has a prior of its own. Pass data "
            "and exact posterior draws: evidence_bracket(model, x=..., posterior_draws=...)."
        )
    z = jax.random.normal(z_key, (num_data, model.latent_dim))
    if sampler is not None:
        return jnp.asarray(sampler(x_key, z), jnp.float32), z
    if isinstance(model, LinearGaussianVAE):
        return Gaussian(model.noise_scale).sample(x_key, model.decode(z)), z
    if isinstance(model, NeuralVAE):
        return model.likelihood.sample(x_key, model.decode(z[None]))[0], z
    raise ArgumentError(
        "this model has no likelihood to draw data from. Pass `sampler=lambda rng_key, z: x` that "
        "draws x (batch, *event) from p(x|z) for z (batch, latent)."
    )


def evidence_bracket(
    model: AbstractVAE,
    rng_key: KeyLike = 0,
    num_data: int = 100,
    *,
    x: Any = None,
    posterior_draws: Any = None,
    sampler: Simulate | None = None,
    num_chains: int = 16,
    num_temperatures: int = 500,
    num_leapfrog: int = 4,
    start: Start = "laplace",
    batch_size: int = 64,
) -> EvidenceBracket:
    r"""Bidirectional annealing: the mean log p(x) of simulated data between two bounds (nats).

    E p̂ = p forward from r;   E 1/p̌ = 1/p backward from an exact posterior draw

    Parameters
    ----------
    model
        A differentiable VAE.
    rng_key
        Integer seed or JAX key.
    num_data
        Data simulated from the model, where ``x`` is not given.
    x, posterior_draws
        Real data (batch, *event) and exact draws from p(z|x), (chain, batch, latent): from
        `posterior_draws` on a grid or a closed form. Draws that are not exact make the upper end
        approximate, and nothing here can tell.
    sampler
        ``sampler(rng_key, z) -> x`` for models without a ``likelihood``.
    num_chains, num_temperatures, num_leapfrog, start, batch_size
        As in `ais_log_evidence`.

    Returns
    -------
    EvidenceBracket
        ``lower`` and ``upper`` are the means of the forward and reverse bounds. `interval` holds the
        mean log p(x) with probability 0.95 without any assumption: by Markov's inequality on the
        products Π p̂/p and Π p/p̌ the ends move out by log(40)/N. ``per_datum`` has each datum's own
        bounds with 98.75 % one-sided ends: 97.5 % together, half of which is kept against chains that are
        few and that share one exact draw.

    Raises
    ------
    ArgumentError, ShapeError
        For models that cannot be simulated or annealed, or draws of the wrong shape.

    Notes
    -----
    Cost: 2·C·T·L gradients per datum. One simulated datum has one exact draw; its chains are moved
    30 transitions at β = 1 first, which keeps them exact and makes them nearly independent.

    References
    ----------
    Grosse, Ghahramani & Adams (2015), section 3; Wu et al. (2017), section 3.2.

    Examples
    --------
    >>> import vaeaudit as va
    >>> model = va.LinearGaussianVAE.random(0, data_dim=6, latent_dim=2)
    >>> bracket = va.evidence_bracket(model, num_data=50, num_temperatures=100)
    >>> low, high = bracket.interval
    >>> bool(low < model.exact_log_evidence(bracket.x).mean() < high)
    True
    """
    check_annealing(model, start, num_chains, num_temperatures, num_leapfrog)
    key = as_key(rng_key)
    sim_key, run_key = jax.random.split(key)
    if x is None:
        check_count("num_data", num_data, minimum=2)
        data, z = simulate(model, sim_key, num_data, sampler)
        exact = z[None]
    else:
        data = as_float_array("x", x)
        exact = as_float_array("posterior_draws", posterior_draws if posterior_draws is not None else [])
        if exact.ndim != 3 or exact.shape[1:] != (data.shape[0], model.latent_dim):
            raise ShapeError(
                f"`posterior_draws` must be (chain, {data.shape[0]}, {model.latent_dim}); got {exact.shape}."
            )
    loc, scale = encode_all(model, data)
    forward, reverse = [], []
    for number, (index, real) in enumerate(batches(data.shape[0], batch_size)):
        keys = jax.random.split(jax.random.fold_in(run_key, number), 5)
        path = make_path(model, data[index], loc[index], scale[index], start)
        schedule = choose_schedule(path, keys[0], num_temperatures, num_leapfrog)
        ahead, _ = run_schedule(
            path, start_chains(path, keys[1], num_chains), keys[2], schedule, num_leapfrog
        )
        rows = np.arange(num_chains) % exact.shape[0]
        last = jnp.asarray(schedule.steps[-1], jnp.float32)
        at_end = decorrelate(path, exact[rows][:, index], keys[3], last, DECORRELATE, num_leapfrog)
        back, _ = run_schedule(path, at_end, keys[4], schedule.reversed(), num_leapfrog)
        forward.append(ahead[:, :real])
        reverse.append(back[:, :real])
    cost = 2 * num_chains * num_temperatures * num_leapfrog
    return _assemble(np.concatenate(forward, axis=1), np.concatenate(reverse, axis=1), np.asarray(data), cost)


def _assemble(forward: Floats, reverse: Floats, x: np.ndarray, cost: int) -> EvidenceBracket:
    n = forward.shape[1]
    below, above = _log_mean_exp(forward), -_log_mean_exp(reverse)
    lower, _, spread_forward = chain_interval(forward, level=PER_DATUM)
    upper_of_inverse, _, spread_reverse = chain_interval(reverse, level=PER_DATUM)
    frame = pd.DataFrame(
        {
            "forward": below,
            "reverse": above,
            "lower": lower,
            "upper": -upper_of_inverse,
            "gap": above - below,
            "spread_forward": spread_forward,
            "spread_reverse": spread_reverse,
        }
    )
    common: dict[str, Any] = {"num_data": n, "num_samples": cost * n}
    if not (np.isfinite(below).all() and np.isfinite(above).all()):
        note = "the model returned NaN or infinity on some data"
        refused = Estimate.refused("unreliable", note, **common)
        return EvidenceBracket(refused, refused, note, per_datum=frame, x=x, gradients_per_datum=cost)
    ends: list[Estimate] = []
    for value, sign in ((below, -1.0), (above, 1.0)):
        centre = float(np.mean(value))
        reach = centre + sign * LOG40 / n
        ends.append(
            Estimate(
                centre,
                se=float(np.std(value, ddof=1) / math.sqrt(n)) if n > 1 else math.nan,
                lower=min(centre, reach),
                upper=max(centre, reach),
                note="97.5 % by Markov's inequality, no assumption on the weights",
                **common,
            )
        )
    return EvidenceBracket(ends[0], ends[1], note=f"{n} data", per_datum=frame, x=x, gradients_per_datum=cost)


def _log_mean_exp(log_w: Floats) -> Floats:
    top = log_w.max(axis=0)
    return top + np.log(np.mean(np.exp(log_w - top), axis=0))


@eqx.filter_jit
def _log_ratio(model: AbstractVAE, x: Array, loc: Array, scale: Array, z: Array) -> Array:
    """Log r(z) − log p(x, z) for r the encoder's Gaussian narrowed by half."""
    narrow = 0.7 * scale
    u = (z - loc) / narrow
    log_r = jnp.sum(-0.5 * u * u - jnp.log(narrow) - 0.5 * math.log(2 * math.pi), axis=-1)
    return log_r - model.log_likelihood(x, z) - model.log_prior(z)


def posterior_upper_bound(model: AbstractVAE, x: Any, posterior_draws: Any) -> tuple[Floats, Floats]:
    r"""Upper bound on log p(x) from exact posterior draws, per datum (nats).

    log p(x) ≤ E[−log (1/K) Σ_k r(z_k)/p(x, z_k)],   z_k ~ p(z|x)

    Parameters
    ----------
    model
        Any VAE.
    x
        Data (batch, *event).
    posterior_draws
        Exact independent draws (sample, batch, latent).

    Returns
    -------
    tuple of arrays
        The bound (high in expectation) and its standard error, (batch,).

    Notes
    -----
    r is the encoder's Gaussian with scale × 0.7: light tails keep r/p(x, ·) bounded in practice. The
    bound is worth as much as the draws are exact.

    References
    ----------
    Grosse, Ghahramani & Adams (2015), section 3, with no intermediate temperature.
    """
    data = as_float_array("x", x)
    z = as_float_array("posterior_draws", posterior_draws, ndim=3)
    if z.shape[1:] != (data.shape[0], model.latent_dim):
        raise ShapeError(
            f"`posterior_draws` must be (sample, {data.shape[0]}, {model.latent_dim}); got {z.shape}."
        )
    loc, scale = encode_all(model, data)
    log_v = np.asarray(_log_ratio(model, data, jnp.asarray(loc), jnp.asarray(scale), z), np.float64)
    v = np.exp(log_v - log_v.max(axis=0))
    se = np.std(v, axis=0, ddof=1) / np.mean(v, axis=0) / math.sqrt(len(v))
    return -_log_mean_exp(log_v), se
