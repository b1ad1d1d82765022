"""Annealed importance sampling: chains that walk from the encoder (or prior) to the posterior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaeaudit.core.arrays import KeyLike, as_float_array, as_key, check_count
from vaeaudit.core.errors import ArgumentError, unknown_name
from vaeaudit.estimators.encoding import check_model, encode_all
from vaeaudit.estimators.evidence_result import LogEvidence, from_chains
from vaeaudit.estimators.hmc import Path, anneal, pilot_run, start_chains
from vaeaudit.estimators.importance import batches
from vaeaudit.estimators.laplace import laplace_fit
from vaeaudit.estimators.sharding import over_devices
from vaeaudit.estimators.shares import Rows, evidence_by_batch
from vaeaudit.models.vae import AbstractVAE

Start = Literal["laplace", "encoder", "prior"]
WIDEN = {"laplace": 1.15, "encoder": 1.3}  # a start narrower than the posterior gives heavy weights
PILOT_TEMPERATURES = 40
PILOT_CHAINS = 8
JUDGES = 8  # chains beside the C that count: their spread alone decides whether the interval is given


@dataclass(frozen=True)
class Schedule:
    """Frozen inverse temperatures from 0 to 1 and the step size at each, (temperature, batch)."""

    betas: np.ndarray
    steps: np.ndarray

    def reversed(self) -> Schedule:
        """From 1 to 0, each step size at its own temperature."""
        return Schedule(self.betas[::-1], self.steps[::-1])


def choose_schedule(path: Path, rng_key: Array, num_temperatures: int, num_leapfrog: int) -> Schedule:
    r"""Temperatures at equal distance and step sizes, per datum, from a pilot run under ``rng_key``.

    distance between β and β′:  ∫ sd_β[log p(x, z) − log r(z)] dβ

    Notes
    -----
    The pilot's draws are thrown away, so that the main run's weights stay unbiased.

    References
    ----------
    Neal (2001), section 3; Grosse et al. (2013), eq. 14 for the distance.
    """
    grid = np.sin(np.linspace(0.0, np.pi / 2, PILOT_TEMPERATURES)) ** 2  # denser at both ends
    steps, spreads = pilot_run(path, rng_key, jnp.asarray(grid, jnp.float32), PILOT_CHAINS, num_leapfrog)
    log_steps = np.log(np.asarray(steps, np.float64))
    spread = np.asarray(spreads, np.float64)
    spread = np.where(np.isfinite(spread), spread, 1.0)
    spread += 0.05 * spread.max(axis=0) + 1e-6
    pieces = 0.5 * (spread[1:] + spread[:-1]) * np.diff(grid)[:, None]
    length = np.concatenate([np.zeros((1, pieces.shape[1])), np.cumsum(pieces, axis=0)])
    length /= length[-1]
    wanted = np.linspace(0.0, 1.0, num_temperatures + 1)
    betas = np.stack([np.interp(wanted, length[:, b], grid) for b in range(length.shape[1])], axis=1)
    betas[0], betas[-1] = 0.0, 1.0
    chosen = np.stack([np.interp(betas[:, b], grid, log_steps[:, b]) for b in range(length.shape[1])], axis=1)
    return Schedule(betas, np.exp(chosen))


def make_path(model: AbstractVAE, x: Array, loc: np.ndarray, scale: np.ndarray, start: Start) -> Path:
    """Path from a Laplace fit, from the encoder's Gaussian (both widened), or from N(0, I)."""
    centre, spread = jnp.asarray(loc, jnp.float32), jnp.asarray(scale, jnp.float32)
    if start == "prior":
        return Path(model, x, jnp.zeros_like(centre), jnp.ones_like(spread))
    if start == "laplace":
        centre, spread = laplace_fit(model, x, centre)
    return Path(model, x, centre, spread * WIDEN[start])


def run_schedule(
    path: Path, state: Any, rng_key: Array, schedule: Schedule, num_leapfrog: int
) -> tuple[np.ndarray, np.ndarray]:
    """Log weights (chain, batch) in float64 and mean acceptance (batch,)."""
    betas, steps = over_devices(
        (jnp.asarray(schedule.betas, jnp.float32), jnp.asarray(schedule.steps, jnp.float32)), axis=1
    )
    arrays = over_devices((path.x, path.loc, path.spread), axis=0)
    path, state = Path(path.model, *arrays), over_devices(state, axis=1)
    log_w, _, accepted = anneal(path, state, rng_key, betas, steps, num_leapfrog)
    return np.asarray(log_w, np.float64), np.asarray(accepted).mean(axis=0)


def check_annealing(
    model: AbstractVAE, start: str, num_chains: int, num_temperatures: int, num_leapfrog: int
) -> None:
    """Refuse models without gradients and counts that make no estimate."""
    check_model(model)
    if not model.differentiable:
        raise ArgumentError(
            "annealing needs the gradient of log p(x|z), and this model runs outside JAX. Use "
            "method='iw' with proposal='defensive', or give the decoder as JAX functions."
        )
    if start not in get_args(Start):
        raise unknown_name("start", str(start), list(get_args(Start)))
    if start == "prior" and not model.standard_prior:
        raise ArgumentError(
            "start='prior' means N(0, I), and this model has a prior of its own; use start='laplace'."
        )
    check_count("num_chains", num_chains, minimum=2)
    check_count("num_temperatures", num_temperatures, minimum=2)
    check_count("num_leapfrog", num_leapfrog)


def ais_log_evidence(
    model: AbstractVAE,
    x: Any,
    rng_key: KeyLike = 0,
    *,
    num_chains: int = 16,
    num_temperatures: int = 300,
    num_leapfrog: int = 4,
    start: Start = "laplace",
    batch_size: int = 64,
) -> LogEvidence:
    r"""Annealed importance sampling for log p(x), per datum (nats).

    log p̂ = log (1/C) Σ_c exp Σ_t (β_{t+1} − β_t)[log p(x, z_{c,t}) − log r(z_{c,t})]

    Parameters
    ----------
    model
        A differentiable VAE.
    x
        Data (batch, *event).
    rng_key
        Integer seed or JAX key.
    num_chains
        Independent chains C per datum.
    num_temperatures
        Changes of temperature T.
    num_leapfrog
        Leapfrog steps per transition.
    start
        ``"laplace"`` (r = N at the mode near the encoder's mean, with the curvature there, widened by
        1.15), ``"encoder"`` (q(z|x) widened by 1.3) or ``"prior"`` (N(0, I)).
    batch_size
        Data per program call.

    Returns
    -------
    LogEvidence
        ``value`` is low in expectation (p̂ is unbiased: step sizes and temperatures come from a pilot
        run under another key and are frozen). ``num_samples`` counts gradients, pilot included.

    Raises
    ------
    ArgumentError
        For a model without gradients, or counts that are too small.

    Notes
    -----
    Cost: (C + 8)·T·L gradients per datum, plus the pilot's 640·L. The interval is `chain_interval`; it is
    refused where eight further chains, which enter nothing else, spread by more than 0.4 nats: more
    temperatures narrow the spread as T^−½. All chains can miss a mode that the start does not reach:
    compare starts where that is in doubt.

    References
    ----------
    Neal (2001), eqs. 4–9; Wu et al. (2017), section 3.

    Examples
    --------
    >>> import vaeaudit as va
    >>> model = va.LinearGaussianVAE.random(0, data_dim=4, latent_dim=2)
    >>> x = model.generative.bias[None]
    >>> from vaeaudit.estimators.annealed import ais_log_evidence
    >>> result = ais_log_evidence(model, x, num_temperatures=50)
    >>> bool(abs(result.value[0] - model.exact_log_evidence(x)[0]) < 0.1)
    True
    """
    check_annealing(model, start, num_chains, num_temperatures, num_leapfrog)
    key = as_key(rng_key)
    host = np.asarray(as_float_array("x", x))

    def of_batch(number: int, rows: Rows) -> LogEvidence:
        index, real = rows
        pilot_key, start_key, run_key = jax.random.split(jax.random.fold_in(key, number), 3)
        xb = jnp.asarray(host[index])
        path = make_path(model, xb, *encode_all(model, xb), start)
        schedule = choose_schedule(path, pilot_key, num_temperatures, num_leapfrog)
        chains = num_chains + JUDGES
        state = start_chains(path, start_key, chains)
        log_w = run_schedule(path, state, run_key, schedule, num_leapfrog)[0][:, :real]
        cost = (chains * (num_temperatures - 1) + 2 * PILOT_CHAINS * PILOT_TEMPERATURES) * num_leapfrog
        return from_chains(log_w[JUDGES:], log_w[:JUDGES], f"ais/{start}", cost)

    return evidence_by_batch(of_batch, list(batches(host.shape[0], batch_size)), "annealing")


def __getattr__(name: str) -> Any:
    if name == "evidence_bracket":  # its home is beside this file; the public name lives here
        from vaeaudit.estimators.bracket import evidence_bracket

        return evidence_bracket
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
