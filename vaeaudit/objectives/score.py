"""Any model under any objective: values per datum with their Monte-Carlo error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaeaudit.core.arrays import Data, KeyLike, as_float_array, as_key, check_count
from vaeaudit.core.errors import NonFiniteError
from vaeaudit.core.records import Estimate
from vaeaudit.models.vae import AbstractVAE
from vaeaudit.objectives.base import Objective
from vaeaudit.objectives.registry import parse
from vaeaudit.objectives.terms import compute_terms


@dataclass(frozen=True)
class Score:
    """An objective's value per datum: ``value`` and ``se`` (batch,), float64, in nats."""

    objective: str
    value: np.ndarray
    se: np.ndarray
    num_samples: int

    @property
    def mean(self) -> Estimate:
        """Mean over the data; the interval holds both the data's and the sampling's variation."""
        n = self.value.size
        se = float(np.std(self.value, ddof=1) / np.sqrt(n)) if n > 1 else float(self.se[0])
        return Estimate.normal(float(np.mean(self.value)), se, num_samples=self.num_samples, num_data=n)


@eqx.filter_jit
def _replicates(
    model: AbstractVAE, objectives: tuple[Objective, ...], x: Array, keys: Array, num_data: Array
) -> tuple[list[Array], list[Array]]:
    """Mean and variance over the keys, (batch,) per objective; objectives of one kind share their draws."""

    def one(rng_key: Array) -> list[Array]:
        terms = {}
        for kind in dict.fromkeys((o.num_samples, o.deterministic, o.needs_prior_draws) for o in objectives):
            num_samples, deterministic, with_prior_draws = kind
            terms[kind] = compute_terms(
                model,
                x,
                rng_key,
                num_samples=num_samples,
                deterministic=deterministic,
                num_data=num_data,
                with_prior_draws=with_prior_draws,
            )
        values = [o(terms[o.num_samples, o.deterministic, o.needs_prior_draws]) for o in objectives]
        return [jnp.broadcast_to(value, (x.shape[0],)) for value in values]

    values = jax.lax.map(one, keys)  # each (replicate, batch)
    return [jnp.mean(v, axis=0) for v in values], [jnp.var(v - v[:1], axis=0) for v in values]


def score(
    model: AbstractVAE,
    objective: Objective | str,
    x: Data,
    *,
    rng_key: KeyLike = 0,
    num_samples: int = 16,
    batch_size: int = 512,
    num_data: int | None = None,
) -> Score:
    r"""Score a trained model under any objective, one value per datum (nats).

    value = (1/R) Σᵣ objective(x; zᵣ),   se = sd over r / √R

    Parameters
    ----------
    model
        The VAE.
    objective
        An objective or its name, e.g. ``"beta(0.1)"``.
    x
        Data, (batch, *event).
    rng_key
        Seed or key; each batch and replicate has its own stream.
    num_samples
        Replicates R, each with the objective's own number of draws; at least 2.
    batch_size
        Data per evaluation, in the given order; matters to the value only where an objective couples
        its batch (free_bits, total_correlation, mmd).
    num_data
        Size of the data set behind the batch; the number of rows of ``x`` if omitted.

    Returns
    -------
    Score
        ``value``, ``se`` per datum and ``mean`` as an `Estimate`.

    Raises
    ------
    NonFiniteError
        If a value is not finite, with the likely cause.

    Notes
    -----
    Unbiased for the objective's expectation over z. Schedules are taken at their end (progress 1).
    A deterministic objective has se 0.
    """
    return score_many(
        model,
        [objective],
        x,
        rng_key=rng_key,
        num_samples=num_samples,
        batch_size=batch_size,
        num_data=num_data,
    )[0]


def score_many(
    model: AbstractVAE,
    objectives: Sequence[Objective | str],
    x: Data,
    *,
    rng_key: KeyLike = 0,
    num_samples: int = 16,
    batch_size: int = 512,
    num_data: int | None = None,
) -> list[Score]:
    """Score a model under several objectives in one compiled program.

    Parameters
    ----------
    model, x, rng_key, num_samples, batch_size, num_data
        As for `score`.
    objectives
        Objectives or their names.

    Returns
    -------
    list of Score
        In the order of ``objectives``.

    Raises
    ------
    NonFiniteError
        If a value is not finite, with the likely cause.

    Notes
    -----
    Objectives with the same number of draws see the same noise: their differences have less
    Monte-Carlo error than the values' own ``se`` suggest.
    """
    chosen = tuple(parse(objective) for objective in objectives)
    x = as_float_array("x", x)
    check_count("num_samples", num_samples, minimum=2)
    check_count("batch_size", batch_size)
    total = x.shape[0]
    base = as_key(rng_key)
    size = jnp.asarray(total if num_data is None else num_data, jnp.float32)
    noiseless = all(o.deterministic and not o.needs_prior_draws for o in chosen)
    replicates = 1 if noiseless else num_samples
    parts = [
        _replicates(
            model,
            chosen,
            x[start : start + batch_size],
            jax.random.split(jax.random.fold_in(base, index), replicates),
            size,
        )
        for index, start in enumerate(range(0, total, batch_size))
    ]
    scores = []
    for index, objective in enumerate(chosen):
        value, variance = (
            np.concatenate([np.asarray(part[moment][index], dtype=np.float64) for part in parts])
            for moment in (0, 1)
        )
        _check(objective, value)
        exact = objective.deterministic and not objective.needs_prior_draws
        se = np.zeros_like(value) if exact else np.sqrt(variance / (replicates - 1))
        scores.append(Score(objective.name, value, se, (1 if exact else replicates) * objective.num_samples))
    return scores


def _check(objective: Objective, value: np.ndarray) -> None:
    if not np.isfinite(value).all():
        raise NonFiniteError(
            f"{objective.name}: {int((~np.isfinite(value)).sum())} of {value.size} values are not finite. "
            "Either the model's parameters are (a diverged run), or the objective reads something this "
            "model lacks (head_l2 needs an encoder with `loc_head` and `log_scale_head`)."
        )
