"""Any model under any objective: values per datum with their Monte-Carlo error."""

from __future__ import annotations

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
    model: AbstractVAE, objective: Objective, x: Array, keys: Array, num_data: Array
) -> tuple[Array, Array]:
    def one(rng_key: Array) -> Array:
        terms = compute_terms(
            model,
            x,
            rng_key,
            num_samples=objective.num_samples,
            deterministic=objective.deterministic,
            num_data=num_data,
            with_prior_draws=objective.needs_prior_draws,
        )
        return jnp.broadcast_to(objective(terms), (x.shape[0],))

    values = jax.lax.map(one, keys)  # (replicate, batch)
    return jnp.mean(values, axis=0), jnp.var(values - values[:1], axis=0)


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
    objective = parse(objective)
    x = as_float_array("x", x)
    check_count("num_samples", num_samples, minimum=2)
    check_count("batch_size", batch_size)
    total = x.shape[0]
    replicates = 1 if objective.deterministic and not objective.needs_prior_draws else num_samples
    base = as_key(rng_key)
    means, variances = [], []
    for index, start in enumerate(range(0, total, batch_size)):
        keys = jax.random.split(jax.random.fold_in(base, index), replicates)
        size = jnp.asarray(total if num_data is None else num_data, jnp.float32)
        mean, variance = _replicates(model, objective, x[start : start + batch_size], keys, size)
        means.append(np.asarray(mean, dtype=np.float64))
        variances.append(np.asarray(variance, dtype=np.float64))
    value = np.concatenate(means)
    if not np.isfinite(value).all():
        raise NonFiniteError(
            f"{objective.name}: {int((~np.isfinite(value)).sum())} of {value.size} values are not finite. "
            "Either the model's parameters are (a diverged run), or the objective reads something this "
            "model lacks (head_l2 needs an encoder with `loc_head` and `log_scale_head`)."
        )
    se = np.sqrt(np.concatenate(variances) / max(replicates - 1, 1))
    return Score(objective.name, value, se, replicates * objective.num_samples)
