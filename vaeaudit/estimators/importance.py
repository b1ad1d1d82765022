"""Importance-weighted log p(x): from an array of log weights, or streamed from a model and a proposal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaeaudit.core.processes import spread
from vaeaudit.estimators.evidence_result import LogEvidence, from_weights
from vaeaudit.estimators.fast_likelihood import log_likelihood
from vaeaudit.estimators.proposals import Proposal
from vaeaudit.estimators.reliability import Floats, check_log_weights
from vaeaudit.estimators.shares import Rows, evidence_by_batch
from vaeaudit.estimators.weights import WeightSummary
from vaeaudit.models.vae import AbstractVAE

ELEMENTS = 1 << 20  # decoder outputs per chunk (samples × data × event): activations stay near the cache
CHUNKS = 4  # chunks per call

MakeProposal = Callable[[AbstractVAE, Array], Proposal]  # (model, x) → proposal, without randomness


def iw_log_evidence(log_w: Any) -> LogEvidence:
    r"""Importance-weighted estimate of log p(x), one value per datum (nats).

    log p̂(x) = log (1/K) Σₖ wₖ,   wₖ = p(x, zₖ) / r(zₖ)

    Parameters
    ----------
    log_w
        Log weights (sample, batch), nats; draws independent along ``sample``. −∞ is a weight of zero.

    Returns
    -------
    LogEvidence
        Value, se, skewness-corrected interval, pareto_k, ess, max_weight_share and bias bound per datum.

    Raises
    ------
    ShapeError
        If ``log_w`` has not two axes or fewer than 2 samples.
    NonFiniteError
        If it holds NaN or +∞.

    Notes
    -----
    Low in expectation; leading bias −se²/2 (``bias``; the dataset mean is corrected by it). Cost: one
    pass in float64. NaN never: bad input raises.

    References
    ----------
    Burda et al. (2016), eq. 8; Hall (1992) for the interval; Vehtari et al. (2024) for pareto_k.

    Examples
    --------
    >>> import numpy as np
    >>> result = iw_log_evidence(np.full((10, 1), -3.0))  # zero variance: exact
    >>> float(result.value[0]), float(result.se[0])
    (-3.0, 0.0)
    """
    array = check_log_weights(log_w)
    summary = WeightSummary(array.shape[1], array.shape[0])
    summary.add(array)
    return from_weights(summary, "iw")


@eqx.filter_jit
def _log_weights(
    model: AbstractVAE, proposal: Proposal, x: Array, rng_key: Array, span: Array, size: int
) -> Array:
    """Log p(x, z) − log r(z) in chunks of ``size`` draws; ``span`` holds the first's number and how many.

    (CHUNKS · size, batch), of which the chunks computed fill the first rows. One call for several
    chunks: the activations of one stay near the cache, and what a call costs the host is shared.
    """

    def fill(number: Array, out: Array) -> Array:
        z, log_r = proposal.draw(jax.random.fold_in(rng_key, span[0] + number), size)
        return out.at[number].set(log_likelihood(model, x, z) + model.log_prior(z) - log_r)

    empty = jnp.zeros((CHUNKS, size, x.shape[0]), jnp.result_type(x, jnp.float32))
    return jax.lax.fori_loop(0, span[1], fill, empty).reshape(CHUNKS * size, x.shape[0])


def pilot_size(num_samples: int) -> int:
    """Pilot draws per datum: K/5, at least 1000 (2K or 200 where that is less), at most 2000."""
    return int(np.clip(num_samples // 5, min(max(2 * num_samples, 200), 1000), 2000))


def chunk_size(x: Array) -> int:
    """Samples per chunk for a batch x, from the size of the decoder's output."""
    event = max(int(np.prod(x.shape[1:])), 16)
    return max(ELEMENTS // (event * x.shape[0]), 1)


def batches(n: int, batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Indices of each batch, padded with the last datum to one size, and how many of them are real."""
    batch = min(batch_size, n)
    for start in range(0, n, batch):
        yield np.minimum(np.arange(start, start + batch), n - 1), min(batch, n - start)


def pilot_summary(
    model: AbstractVAE,
    x: Array,
    rng_key: Array,
    make_proposal: MakeProposal,
    num_samples: int,
    *,
    batch_size: int = 128,
) -> tuple[Floats, Floats, Floats]:
    """k̂, effective share of the draws and log p̂ per datum, from pilot draws under ``rng_key`` alone."""
    host, rows = np.asarray(x), list(batches(x.shape[0], batch_size))

    def of_batch(number: int) -> tuple[Floats, Floats, Floats]:
        index, real = rows[number]
        batch_key = jax.random.fold_in(rng_key, number)
        xb = jnp.asarray(host[index])
        summary = _accumulate(model, make_proposal(model, xb), xb, batch_key, num_samples, real)
        return summary.pareto_k(), summary.ess() / num_samples, summary.moments()[0]

    columns = spread(of_batch, len(rows), "pilot draws for log p(x)")
    shape, share, value = (np.concatenate(part) for part in zip(*columns, strict=True))
    return shape, share, value


def stream_log_evidence(
    model: AbstractVAE,
    x: Array | np.ndarray,
    rng_key: Array,
    make_proposal: MakeProposal,
    num_samples: int,
    *,
    method: str,
    pilot_k: Floats | None = None,
    batch_size: int = 128,
) -> LogEvidence:
    """IW estimate with ``num_samples`` draws per datum at constant memory.

    Data go through in batches of one fixed size (the last padded), samples in chunks of one fixed
    size (the last cut on the host), so that one program is compiled. Draws depend on ``rng_key``,
    batch number and chunk number. Without ``pilot_k`` pilot draws under another key are made first,
    and decide (`judge`) which intervals are given.
    """
    pilot = pilot_size(num_samples)
    host = np.asarray(x)

    def of_batch(number: int, rows: Rows) -> LogEvidence:
        index, real = rows
        pilot_key, main_key = jax.random.split(jax.random.fold_in(rng_key, number))
        xb = jnp.asarray(host[index])
        proposal = make_proposal(model, xb)
        if pilot_k is None:
            shape = _accumulate(model, proposal, xb, pilot_key, pilot, real).pareto_k()
        else:
            shape = pilot_k[index[:real]]
        summary = _accumulate(model, proposal, xb, main_key, num_samples, real)
        return from_weights(summary, method, rounding=_rounding(summary), pilot_k=shape, pilot_samples=pilot)

    return evidence_by_batch(of_batch, list(batches(x.shape[0], batch_size)), f"log p(x) by {method}")


def _accumulate(
    model: AbstractVAE, proposal: Proposal, x: Array, rng_key: Array, num_samples: int, real: int
) -> WeightSummary:
    """Summary of ``num_samples`` weights per datum, one call folded in while the next is computed."""
    chunk = min(chunk_size(x), -(-num_samples // 256) * 256)
    total = -(-num_samples // chunk)
    summary = WeightSummary(real, num_samples)
    pending: list[Array] = []
    done = 0
    for first in range(0, total, CHUNKS):
        span = jnp.asarray(np.array([first, min(CHUNKS, total - first)], np.int32))
        pending.append(_log_weights(model, proposal, x, rng_key, span, chunk))
        if len(pending) > 1:
            done += _fold(summary, pending.pop(0), real, num_samples - done)
    for log_w in pending:
        done += _fold(summary, log_w, real, num_samples - done)
    return summary


def _fold(summary: WeightSummary, log_w: Array, real: int, left: int) -> int:
    host = np.asarray(log_w)[: min(left, log_w.shape[0]), :real]
    summary.add(host)
    return host.shape[0]


def _rounding(summary: WeightSummary) -> Any:
    """Float32 rounding of one log weight: a few ulps of its magnitude."""
    return 4 * np.finfo(np.float32).eps * np.maximum(np.abs(np.where(summary.alive, summary.peak, 0.0)), 1.0)


def encoder_output(model: AbstractVAE, x: Array) -> tuple[Array, Array]:
    """Loc and scale of q(z|x) under jit."""
    return _encode(model, x)


@eqx.filter_jit
def _encode(model: AbstractVAE, x: Array) -> tuple[Array, Array]:
    loc, scale = model.encode(x)
    return jnp.asarray(loc), jnp.asarray(scale)
