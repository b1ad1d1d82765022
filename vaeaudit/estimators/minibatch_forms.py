"""Estimates of log q(z) from one minibatch, as they are in use, two of them with their faults.

They exist to show, beside the exact answer, what published numbers are made of. Use `aggregate_posterior`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp

from vaeaudit.core.gaussian import LOG_2PI

Floats = np.ndarray
FORMS = (
    "in batch",
    "weighted",
    "stratified",
    "stratified, own weight in column 0",
    "stratified, weight once per latent",
)


def pair_log_densities(z: Floats, loc: Floats, scale: Floats) -> Floats:
    """Log N(z_ij; μ_nj, σ_nj²), (point, component, latent): the broadcast form."""
    u = (z[:, None, :] - loc) / scale
    return -0.5 * u * u - np.log(scale) - 0.5 * LOG_2PI


def stratified_weights(batch: int, num_data: int, *, own_column: bool = False) -> Floats:
    r"""Weights (batch, batch) of stratified sampling, M = B − 1.

    own: 1/N,   one neighbour: (N − M)/(N M),   the others: 1/M

    Parameters
    ----------
    batch, num_data
        B and N.
    own_column
        Whether to repeat the copied fault: a flat index with step M + 1 in a matrix with M + 1 columns walks
        down column 0, so that the own weight 1/N lands on datum 0 instead of the diagonal, and the
        neighbour's in column 1.

    References
    ----------
    Chen et al. (2018), appendix C.2.
    """
    m = batch - 1
    weights = np.full((batch, batch), 1.0 / m)
    special = (num_data - m) / (num_data * m)
    step = m + 1 if own_column else m + 2
    flat = weights.reshape(-1)
    flat[::step] = 1.0 / num_data
    flat[1::step] = special
    weights[m - 1 if own_column else m, 0] = special
    return weights


def minibatch_log_density(
    form: str, z: Floats, loc: Floats, scale: Floats, num_data: int
) -> tuple[Floats, Floats]:
    r"""Log q(z_i), (batch,), and log q(z_ij), (batch, latent), of a batch's own draws under one of `FORMS`.

    Notes
    -----
    "in batch": log (1/B) Σ, at least log q(z|x) − log B. "weighted": log 1/(N B) Σ, lower by log N than the
    in-batch mean and so for large N far below the truth. "stratified": unbiased for q_N before the logarithm.
    "weight once per latent": the weights enter the (B, B, J) array before the sum over latents, so that
    log N counts J times in the joint density.

    References
    ----------
    Chen et al. (2018), appendix C; Hoffman & Johnson (2016), section 3.
    """
    pairs = pair_log_densities(z, loc, scale)
    return _mix(form, pairs, pairs.sum(2), num_data)


def _mix(form: str, pairs: Floats, joint: Floats, num_data: int) -> tuple[Floats, Floats]:
    batch, latent = pairs.shape[1:]
    if form in ("in batch", "weighted"):
        log_weight: Floats | float = -math.log(batch) - (math.log(num_data) if form == "weighted" else 0.0)
        return logsumexp(joint, axis=1) + log_weight, logsumexp(pairs, axis=1) + log_weight
    if form not in FORMS:
        raise KeyError(form)
    weights = np.log(stratified_weights(batch, num_data, own_column=form.endswith("column 0")))
    times = latent if form.endswith("per latent") else 1
    return (
        logsumexp(joint + times * weights, axis=1),
        logsumexp(pairs + weights[:, :, None], axis=1),
    )


def minibatch_estimates(
    form: str, loc: Floats, scale: Floats, batch: int, *, num_batches: int, seed: int = 0
) -> dict[str, Floats]:
    """Mutual information, marginal KL and total correlation from each of several batches, (batches,) in nats."""
    return all_minibatch_estimates((form,), loc, scale, batch, num_batches=num_batches, seed=seed)[form]


def all_minibatch_estimates(
    forms: Sequence[str], loc: Floats, scale: Floats, batch: int, *, num_batches: int, seed: int = 0
) -> dict[str, dict[str, Floats]]:
    """Evaluate several forms on the same batches: form → quantity → one value per batch, in nats."""
    rng = np.random.default_rng(seed)
    num_data = loc.shape[0]
    quantities = ("mutual_information", "marginal_kl", "total_correlation")
    found = {form: {name: np.empty(num_batches) for name in quantities} for form in forms}
    for b in range(num_batches):
        rows = rng.choice(num_data, batch, replace=False)
        noise = rng.normal(size=(batch, loc.shape[1]))
        z = loc[rows] + scale[rows] * noise
        own = np.sum(-0.5 * noise**2 - np.log(scale[rows]) - 0.5 * LOG_2PI, axis=1)
        prior = np.sum(-0.5 * z**2 - 0.5 * LOG_2PI, axis=1)
        pairs = pair_log_densities(z, loc[rows], scale[rows])
        together = pairs.sum(2)
        for form in forms:
            joint, single = _mix(form, pairs, together, num_data)
            values = (np.mean(own - joint), np.mean(joint - prior), np.mean(joint - single.sum(1)))
            for name, value in zip(quantities, values, strict=True):
                found[form][name][b] = value
    return found
