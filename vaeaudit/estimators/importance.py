"""Importance-weighted log p(x): from an array of log weights, or streamed from a model and a proposal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaeaudit.estimators.evidence_result import LogEvidence, concatenate, from_weights
from vaeaudit.estimators.proposals import Proposal
from vaeaudit.estimators.reliability import check_log_weights
from vaeaudit.estimators.weights import WeightSummary
from vaeaudit.models.vae import AbstractVAE

ROWS = 4096  # decoder rows (samples × data) per call: activations stay in cache

MakeProposal = Callable[[AbstractVAE, Array, Array], Proposal]  # (model, x, rng_key) → proposal


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
def _log_weights(model: AbstractVAE, proposal: Proposal, x: Array, rng_key: Array, num: int) -> Array:
    """Log p(x, z) − log r(z) for ``num`` draws per datum, (sample, batch)."""
    z, log_r = proposal.draw(rng_key, num)
    return model.log_likelihood(x, z) + model.log_prior(z) - log_r


def stream_log_evidence(
    model: AbstractVAE,
    x: Array,
    rng_key: Array,
    make_proposal: MakeProposal,
    num_samples: int,
    *,
    method: str,
    rows: int = ROWS,
    batch_size: int = 128,
) -> LogEvidence:
    """IW estimate with ``num_samples`` draws per datum at constant memory.

    Data go through in batches of one fixed size (the last padded), samples in chunks of one fixed
    size (the last cut on the host), so that one program is compiled. Draws depend on
    (``rng_key``, batch number, chunk number).
    """
    n = x.shape[0]
    batch = min(batch_size, n)
    chunk = int(min(max(rows // batch, 1), num_samples))
    parts = []
    for number, start in enumerate(range(0, n, batch)):
        index = np.minimum(np.arange(start, start + batch), n - 1)  # pad with the last datum
        real = min(batch, n - start)
        xb = x[index]
        batch_key = jax.random.fold_in(rng_key, number)
        proposal = make_proposal(model, xb, jax.random.fold_in(batch_key, 0))
        summary = WeightSummary(real, num_samples)
        pending: list[Array] = []
        done = 0
        for step in range(-(-num_samples // chunk)):
            pending.append(_log_weights(model, proposal, xb, jax.random.fold_in(batch_key, step + 1), chunk))
            if len(pending) > 1:  # fold one chunk in while the next is computed
                done += _fold(summary, pending.pop(0), real, num_samples - done)
        for log_w in pending:
            done += _fold(summary, log_w, real, num_samples - done)
        parts.append(from_weights(summary, method, rounding=_rounding(summary)))
    return concatenate(parts)


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
