"""`log_evidence`: log p(x) per datum by the method asked for, or by the cheapest one that can be believed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from jax import random
from jaxtyping import Array

from vaeaudit.core.arrays import KeyLike, as_float_array, as_key, check_count
from vaeaudit.core.errors import ArgumentError, ShapeError, unknown_name
from vaeaudit.estimators import proposals
from vaeaudit.estimators.annealed import ais_log_evidence
from vaeaudit.estimators.encoding import check_model, encode_all
from vaeaudit.estimators.evidence_result import LogEvidence, concatenate
from vaeaudit.estimators.importance import (
    MakeProposal,
    encoder_output,
    iw_log_evidence,
    pilot_size,
    pilot_summary,
    stream_log_evidence,
)
from vaeaudit.estimators.laplace import laplace_fit
from vaeaudit.estimators.quadrature import quadrature_log_evidence
from vaeaudit.models.vae import AbstractVAE

__all__ = ["LogEvidence", "iw_log_evidence", "log_evidence"]

Method = Literal["auto", "iw", "ais", "quadrature"]


def _encoder(model: AbstractVAE, x: Array) -> proposals.Proposal:
    return proposals.gaussian(*encoder_output(model, x))


def _guarded(model: AbstractVAE, x: Array) -> proposals.Proposal:
    return proposals.guarded(*encoder_output(model, x))


def _widened(model: AbstractVAE, x: Array) -> proposals.Proposal:
    return proposals.gaussian(*encoder_output(model, x), factor=1.2)


def _defensive(model: AbstractVAE, x: Array) -> proposals.Proposal:
    return proposals.defensive(*encoder_output(model, x))


def _adapted(model: AbstractVAE, x: Array) -> proposals.Proposal:
    loc, scale = encoder_output(model, x)
    return proposals.around_mode(*laplace_fit(model, x, loc), loc, scale)


Stage = Callable[[np.ndarray, Array, int], LogEvidence]  # (rows, key, batch size) → their result
FEW = 16  # data per batch of a subset: one size, so that one set of programs serves every model
MANY = 1024  # larger subsets go in batches of the caller's size first
AUTO_K = 0.3  # largest pilot k̂ at which `auto` keeps the encoder: better proposals are cheap
AUTO_SHARE = 0.2  # and smallest effective share of the pilot draws: a lucky k̂ alone is not enough
PROPOSALS: dict[str, MakeProposal] = {
    "encoder": _encoder,
    "guarded": _guarded,
    "widened": _widened,
    "defensive": _defensive,
    "adapted": _adapted,
}


def log_evidence(
    model: AbstractVAE,
    x: Any,
    rng_key: KeyLike = 0,
    method: Method = "auto",
    num_samples: int = 5000,
    *,
    proposal: str = "encoder",
    batch_size: int = 128,
) -> LogEvidence:
    """Log p(x) per datum, each with an interval or a reason why there is none (nats).

    Parameters
    ----------
    model
        The VAE.
    x
        Data (batch, *event).
    rng_key
        Integer seed or JAX key.
    method
        ``"iw"`` (importance weighting), ``"quadrature"`` (at most 3 latents), ``"ais"`` (annealing), or
        ``"auto"``: the guarded encoder as proposal where pilot draws find it good enough, elsewhere a proposal
        adapted to the datum's posterior, then quadrature (at most 2 latents) and annealing for what is
        still open. Models without gradients get a defensive mixture instead.
    num_samples
        Draws per datum K at each stage.
    proposal
        For ``method="iw"``: ``"encoder"``, ``"guarded"`` (a fifth of it widened), ``"widened"``, ``"defensive"`` or
        ``"adapted"``.
    batch_size
        Data per call of the decoder.

    Returns
    -------
    LogEvidence
        ``value se lower upper pareto_k ess max_weight_share bias_bound reliable method num_samples
        reason`` of shape (batch,); ``mean``, ``population_mean``, ``errors``, ``per_datum``, ``unsettled``.

    Raises
    ------
    ArgumentError, UnknownNameError
        For an unknown method or proposal, or fewer than 2 samples.
    ShapeError, DtypeError, NonFiniteError, ScaleError
        For bad data or a bad encoder output.

    Notes
    -----
    Monte-Carlo values are low in expectation. A decoder that returns NaN for a datum gives that datum
    the value NaN and a reason, and the mean is then refused.

    References
    ----------
    Burda et al. (2016), eq. 8; Neal (2001); Wu et al. (2017).

    Examples
    --------
    >>> import vaeaudit as va
    >>> model = va.LinearGaussianVAE.random(0, data_dim=4, latent_dim=2)
    >>> result = va.log_evidence(model, model.generative.bias[None], method="iw", num_samples=1000)
    >>> bool(result.lower[0] < model.exact_log_evidence(model.generative.bias[None])[0] < result.upper[0])
    True
    """
    check_model(model)
    key = as_key(rng_key)
    if method == "iw" and proposal == "adapted" and not model.differentiable:
        raise ArgumentError(
            "proposal='adapted' needs the gradient of log p(x|z), and this model runs outside JAX. Use "
            "proposal='defensive'."
        )
    if method not in get_args(Method):
        raise unknown_name("method", str(method), list(get_args(Method)))
    if proposal not in PROPOSALS:
        raise unknown_name("proposal", str(proposal), list(PROPOSALS))
    if isinstance(num_samples, int) and num_samples == 1:
        raise ArgumentError("`num_samples` must be at least 2: one draw has no standard error.")
    check_count("num_samples", num_samples, minimum=2)
    check_count("batch_size", batch_size)
    x = as_float_array("x", x)
    if x.ndim < 2:
        raise ShapeError(f"`x` must be (batch, *event); got shape {tuple(x.shape)}.")
    encode_all(model, x)  # shapes, finiteness and positive scale before any number
    if method == "quadrature":
        return quadrature_log_evidence(model, x)
    if method == "ais":
        return ais_log_evidence(model, x, key)
    if method == "iw":
        return _iw(model, x, key, proposal, num_samples, batch_size)
    return _auto(model, x, key, num_samples, batch_size)


def _iw(
    model: AbstractVAE, x: Array, key: Array, proposal: str, num_samples: int, batch_size: int
) -> LogEvidence:
    return stream_log_evidence(
        model, x, key, PROPOSALS[proposal], num_samples, method=f"iw/{proposal}", batch_size=batch_size
    )


def _auto(model: AbstractVAE, x: Array, key: Array, num_samples: int, batch_size: int) -> LogEvidence:
    """Pilot the encoder on all data; settle each datum by the first proposal or method that passes."""
    pilot = max(pilot_size(num_samples), 1000)
    shape, share, seen = pilot_summary(
        model, x, random.fold_in(key, 0), PROPOSALS["guarded"], pilot, batch_size=batch_size
    )
    settled = (shape <= AUTO_K) & (share >= AUTO_SHARE)
    second = "adapted" if model.differentiable else "defensive"
    host = np.asarray(x)  # its rows are picked without a program for each number of them

    def weigh(name: str) -> Stage:
        def run(index: np.ndarray, stage_key: Array, batch: int) -> LogEvidence:
            return stream_log_evidence(
                model,
                host[index],
                stage_key,
                PROPOSALS[name],
                num_samples,
                method=f"iw/{name}",
                pilot_k=shape[index] if name == "guarded" else None,
                batch_size=batch,
            )

        return run

    parts: list[tuple[np.ndarray, LogEvidence]] = []
    for stage, (name, rows) in enumerate((("guarded", settled), (second, ~settled)), start=1):
        index = np.flatnonzero(rows)
        if index.size:
            parts.append((index, _for_some(weigh(name), index, random.fold_in(key, stage), batch_size)))
    order = np.argsort(np.concatenate([index for index, _ in parts]))
    result = concatenate([part for _, part in parts]).rows(order)
    todo = _open(result)
    if todo.size and model.latent_dim <= 2:
        grid = _for_some(
            lambda index, _, batch: quadrature_log_evidence(model, host[index], batch_size=batch),
            todo,
            key,
            min(batch_size, 64),
        )
        result = result.replaced(todo, grid)
    todo = _open(result)
    if todo.size and model.differentiable:
        last = _for_some(
            lambda index, k, batch: ais_log_evidence(model, host[index], k, batch_size=batch),
            todo,
            random.fold_in(key, 3),
            min(batch_size, 64),
        )
        result = result.replaced(todo, last)
    return result.flagged(
        seen - math.log(100.0) > result.upper, "the encoder's draws and the later method disagree"
    )


def _for_some(run: Stage, index: np.ndarray, key: Array, batch_size: int) -> LogEvidence:
    """Apply a stage to the data ``index`` in batches of one size, whatever their number.

    Up to `MANY` data go in batches of `FEW`, the last padded with its last datum: every model of one
    architecture then runs the same compiled programs. Above that, batches of ``batch_size`` come first.
    """
    few = min(FEW, batch_size)
    whole = index.size // batch_size * batch_size if index.size > MANY else 0
    parts = [run(index[:whole], key, batch_size)] if whole else []
    rest = index[whole:]
    if rest.size:
        padded = np.concatenate([rest, np.repeat(rest[-1:], -rest.size % few)])
        part = run(padded, random.fold_in(key, MANY), few)
        parts.append(part.rows(np.arange(rest.size)))
    return concatenate(parts)


def _open(result: LogEvidence) -> np.ndarray:
    """Data that are not settled and may still be: a NaN from the model stays one."""
    return np.flatnonzero(~result.reliable & ~np.isnan(result.value))
