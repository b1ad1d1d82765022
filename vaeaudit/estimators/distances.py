"""The aggregate posterior against the prior in transport distance and in maximum mean discrepancy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pandas as pd

from vaeaudit.core.arrays import KeyLike, as_key, check_count
from vaeaudit.core.errors import ArgumentError, ShapeError
from vaeaudit.core.records import Bracket, Estimate
from vaeaudit.estimators.aggregate_result import Side, at_least, choose
from vaeaudit.estimators.density_fits import moments
from vaeaudit.estimators.encoding import encoder_output
from vaeaudit.estimators.mean_discrepancy import squared_mmd
from vaeaudit.estimators.transport import dual_lower, plug_in_upper

Floats = np.ndarray
MIN_DATA = 50


@dataclass(frozen=True)
class AggregateDistances:
    """Distances of q(z) to N(0, I); transport distances are squared and in squared latent units.

    Attributes
    ----------
    per_datum_wasserstein
        E W₂²(q(z|x), p) = E Σ_j μ_j² + (σ_j − 1)²: the upper bound that the per-datum penalty trains.
    wasserstein
        W₂²(q(z), p) in a bracket: at least Σ_j W₂²(q(z_j), p(z_j)) and Gelbrich's bound from the moments, at
        most ``per_datum_wasserstein``.
    sliced_wasserstein
        Average of W₂² over random directions.
    dimwise_wasserstein
        Σ_j W₂²(q(z_j), p(z_j)).
    squared_mmd
        MMD² under a Gaussian kernel with h² = J.
    by_latent
        One row per latent: lower and upper ends of a 95 % interval for W₂²(q(z_j), p(z_j)).
    """

    per_datum_wasserstein: Estimate
    wasserstein: Bracket
    sliced_wasserstein: Bracket
    dimwise_wasserstein: Bracket
    squared_mmd: Estimate
    by_latent: pd.DataFrame

    def quantities(self) -> dict[str, Estimate | Bracket]:
        """Name → estimate or bracket, as the tables take them."""
        return {
            "per_datum_wasserstein": self.per_datum_wasserstein,
            "wasserstein": self.wasserstein,
            "dimwise_wasserstein": self.dimwise_wasserstein,
            "sliced_wasserstein": self.sliced_wasserstein,
            "squared_mmd": self.squared_mmd,
        }


def gelbrich_bound(mean: Floats, cov: Floats) -> float:
    """‖m‖² + tr(C + I − 2 C^½): W₂² between two laws is at least that of Gaussians with their moments."""
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(cov), 0.0))
    return float(mean @ mean + np.sum((roots - 1.0) ** 2))


def gelbrich_influence(loc: Floats, scale: Floats) -> Floats:
    """First-order effect of each datum on `gelbrich_bound`, centred, (batch,)."""
    mean, cov = moments(loc, scale)
    values, vectors = np.linalg.eigh(cov)
    slope = (vectors * (1.0 - 1.0 / np.sqrt(np.maximum(values, 1e-12)))) @ vectors.T  # ∂/∂C
    centred = loc - mean
    effect = (
        2.0 * centred @ mean + np.einsum("ni,ij,nj->n", centred, slope, centred) + scale**2 @ np.diag(slope)
    )
    return effect - effect.mean()


def aggregate_distances(
    model: Any,
    x: Any = None,
    rng_key: KeyLike = 0,
    *,
    num_samples: int | None = None,
    num_directions: int = 64,
) -> AggregateDistances:
    r"""Measure how far q(z) lies from N(0, I) in W₂ and MMD, with intervals over the draw of the data.

    Σ_j W₂²(q(z_j), p(z_j)) ≤ W₂²(q(z), p) ≤ E W₂²(q(z|x), p)

    Parameters
    ----------
    model, x
        A model with data, or the pair ``(loc, scale)`` alone, as for `aggregate_posterior`.
    rng_key
        Seed or JAX key.
    num_samples
        Draws of z per datum; enough for 10,000 in all when omitted, at most 8.
    num_directions
        Random directions of the sliced distance.

    Returns
    -------
    AggregateDistances

    Raises
    ------
    ArgumentError, ShapeError, NonFiniteError, ScaleError
        If arguments or the encoder's output are not what they must be, or the prior is not standard normal.

    Notes
    -----
    In one dimension the plug-in W₂² is biased upward (convexity) and the dual objective of a potential
    fitted to the other half of the data is biased downward; each end of a bracket is one of them with its
    sampling error, so the bracket stays honest near zero, where the plug-in's own interval is not. The
    right-hand inequality is the joint convexity of W₂², the left one holds for every coupling. MMD² is a
    U-statistic in
    closed form over pairs of posteriors (no draws); it may be slightly negative and is then clipped at 0.
    Cost: (J + directions) sorts of the draws; MMD takes at most 2,000 data.

    References
    ----------
    Villani (2009), Optimal Transport, theorems 4.8 and 5.10; Gelbrich (1990); Bonneel et al. (2015);
    Gretton et al. (2012), lemma 6; Tolstikhin et al. (2018) for the objective.

    Examples
    --------
    >>> import numpy as np
    >>> loc = np.random.default_rng(0).normal(size=(500, 2)) * 0.8
    >>> found = aggregate_distances((loc, np.full((500, 2), 0.6)))
    >>> bool(found.wasserstein.interval[0] < 0.01 < found.per_datum_wasserstein.lower)
    True
    """
    rng_key = as_key(rng_key)
    num_directions = check_count("num_directions", num_directions, minimum=2)
    loc, scale, prior_of = encoder_output(model, x)
    if prior_of is not None:
        raise ArgumentError(
            "distances are measured to a standard normal prior, the only one whose quantiles are known here; "
            "got a model with its own `log_prior`."
        )
    num_data, latent = loc.shape
    if num_data < MIN_DATA:
        raise ShapeError(f"intervals for transport distances need at least {MIN_DATA} data; got {num_data}.")
    samples = (
        max(1, min(8, -(-10_000 // num_data)))
        if num_samples is None
        else check_count("num_samples", num_samples)
    )
    noise_key, direction_key = jax.random.split(rng_key)
    loc, scale = loc.astype(np.float64), scale.astype(np.float64)
    noise = np.asarray(jax.random.normal(noise_key, (samples, num_data, latent)), np.float64)
    z = loc + scale * noise
    half = np.random.default_rng(0).permutation(num_data) % 2
    fields: dict[str, Any] = {"num_data": num_data, "num_samples": samples, "unit": "z²"}

    def both(values: Floats) -> tuple[Floats, Floats]:  # per-datum values of the two bounds
        return dual_lower(values, half), plug_in_upper(values)

    by_axis = [both(z[..., j]) for j in range(latent)]
    dim_lower, dim_upper = (np.sum([pair[k] for pair in by_axis], axis=0) for k in (0, 1))
    directions = np.asarray(jax.random.normal(direction_key, (num_directions, latent)), np.float64)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    by_direction = [both(z @ d) for d in directions] if latent > 1 else by_axis
    sliced = [
        _with_direction_error(np.stack([pair[k] for pair in by_direction]), side, fields)
        for k, side in enumerate(("lower", "upper"))
    ]
    penalty = np.sum(loc**2 + (scale - 1.0) ** 2, axis=1)
    gelbrich = gelbrich_bound(*moments(loc, scale)) + gelbrich_influence(loc, scale)
    latent_rows = [
        (choose([Side("dual", low)], "lower"), choose([Side("plug-in", high)], "upper"))
        for low, high in by_axis
    ]
    return AggregateDistances(
        per_datum_wasserstein=choose([Side("mean of the per-datum penalty", penalty)], "upper", **fields),
        wasserstein=Bracket(
            _floor(
                choose(
                    [Side("sum over latents", dim_lower), Side("Gelbrich's bound", gelbrich)],
                    "lower",
                    **fields,
                )
            ),
            choose([Side("mean of the per-datum penalty", penalty)], "upper", **fields),
        ),
        sliced_wasserstein=Bracket(_floor(sliced[0]), _floor(sliced[1])),
        dimwise_wasserstein=Bracket(
            _floor(choose([Side("dual potentials", dim_lower)], "lower", **fields)),
            choose([Side("plug-in quantiles", dim_upper)], "upper", **fields),
        ),
        squared_mmd=squared_mmd(loc, scale),
        by_latent=pd.DataFrame(
            {
                "latent": np.arange(latent),
                "lower": [max(low.lower, 0.0) for low, _ in latent_rows],
                "upper": [high.upper for _, high in latent_rows],
            }
        ),
    )


def _floor(estimate: Estimate) -> Estimate:
    return at_least(estimate, 0.0, "no distance is negative")


def _with_direction_error(values: Floats, side: Any, fields: dict[str, Any]) -> Estimate:
    """Average over directions (directions, batch): error over data and over directions added."""
    over_data = Side("", values.mean(0)).se
    over_directions = float(values.mean(1).std(ddof=1)) / math.sqrt(values.shape[0])
    name = "dual potentials" if side == "lower" else "plug-in quantiles"
    return Estimate.normal(
        float(values.mean()), math.hypot(over_data, over_directions), note=f"{side} bound: {name}", **fields
    )
