"""The definitions of an "active" latent unit in use, side by side, and what ablating a unit costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array

from vaeaudit.core.arrays import Data, KeyLike, Latents, PerLatent, PerSample, as_float_array, as_key
from vaeaudit.core.errors import ArgumentError, ShapeError
from vaeaudit.core.records import Estimate
from vaeaudit.estimators.active_units import active_units
from vaeaudit.estimators.encoding import check_model, encoder_output
from vaeaudit.estimators.rate_distortion import average, rate_distortion
from vaeaudit.models.vae import AbstractVAE

Score = Callable[[AbstractVAE, Any], Any]


class AblatedVAE(AbstractVAE):
    """A model without one latent unit: p(x|z) sees z_j = 0, and q(z_j|x) = p(z_j)."""

    model: AbstractVAE
    keep: Array  # 1 for units that stay, 0 for the ablated one, (latent,)
    latent_dim: int = eqx.field(static=True)  # the ablated one included

    def encode(self, x: Data) -> tuple[PerLatent, PerLatent]:
        loc, scale = self.model.encode(x)
        return loc * self.keep, jnp.where(self.keep > 0, scale, 1.0)

    def log_likelihood(self, x: Data, z: Latents) -> PerSample:
        return self.model.log_likelihood(x, z * self.keep)

    def log_prior(self, z: Latents) -> PerSample:
        return self.model.log_prior(z)

    @property
    def differentiable(self) -> bool:
        return self.model.differentiable

    @property
    def standard_prior(self) -> bool:
        return self.model.standard_prior


@dataclass(frozen=True)
class UnitDefinitions:
    """Which units are active under each definition.

    ``table`` has one row per definition: definition, threshold, count, units; ``by_latent`` one row per
    latent with the numbers behind it; ``agree`` says whether all definitions give the same set.
    """

    table: pd.DataFrame
    by_latent: pd.DataFrame
    agree: bool

    def __str__(self) -> str:
        low, high = int(self.table["count"].min()), int(self.table["count"].max())
        if self.agree:
            return f"{low} active units under all {len(self.table)} definitions"
        return f"between {low} and {high} active units, depending on the definition"

    __repr__ = __str__


def collapsed_share(rate_by_latent: np.ndarray, epsilon: float) -> np.ndarray:
    """P_x[KL(q(z_j|x) ‖ p(z_j)) < ε] per latent; a unit is (ε, δ)-collapsed where this is at least 1 − δ."""
    return np.mean(rate_by_latent < epsilon, axis=0)


def ablation_loss(
    model: AbstractVAE,
    x: Any,
    rng_key: KeyLike = 0,
    *,
    score: Score | None = None,
    num_samples: int = 64,
) -> list[Estimate]:
    r"""How much log p(x) falls when a latent unit is taken away, one estimate per unit (nats per datum).

    Δ_j = E[score(model, x) − score(model without unit j, x)]

    Parameters
    ----------
    model, x
        Any model and data.
    rng_key
        Seed or JAX key, shared by all evaluations: differences are paired.
    score
        ``score(model, x) -> (batch,)`` in nats, such as ``lambda m, x: va.log_evidence(m, x).value``. The
        ELBO when omitted.
    num_samples
        Draws of z per datum for the ELBO.

    Returns
    -------
    list of Estimate

    Raises
    ------
    ArgumentError
        If the prior is not a standard normal, under which alone z_j = 0 and q(z_j|x) = p(z_j) are neutral.
    ShapeError
        If ``score`` does not return one number per datum.

    Notes
    -----
    The ablated model's decoder sees z_j = 0, its encoder gives up the unit's rate. With the ELBO, Δ_j is the
    loss of the bound, not of log p(x): a unit may cost rate and bring little. Cost: J + 1 evaluations.

    References
    ----------
    Lucas et al. (2019), Don't blame the ELBO, section 3, for what collapse does to the evidence.
    """
    check_model(model)
    if not model.standard_prior:
        raise ArgumentError("`ablation_loss` needs a standard normal prior; this model brings its own.")
    rng_key = as_key(rng_key)
    x = as_float_array("x", x)

    def elbo(candidate: AbstractVAE, data: Any) -> Any:
        return rate_distortion(candidate, data, rng_key, num_samples).per_datum["elbo"].to_numpy()

    of = elbo if score is None else score

    def values(keep: np.ndarray) -> np.ndarray:
        found = np.asarray(
            of(AblatedVAE(model=model, keep=jnp.asarray(keep), latent_dim=model.latent_dim), x), np.float64
        )
        if found.shape != (x.shape[0],):
            raise ShapeError(f"`score` must return one number per datum, ({x.shape[0]},); got {found.shape}.")
        return found

    ones = np.ones(model.latent_dim, np.float32)
    whole = values(ones)  # through the same wrapper: one compilation, common random numbers
    losses = []
    for j in range(model.latent_dim):
        keep = ones.copy()
        keep[j] = 0.0
        difference = whole - values(keep)
        note = f"loss of {'the ELBO' if score is None else 'the score'} without unit {j}"
        losses.append(average(difference, np.zeros_like(difference), "population", num_samples, note))
    return losses


def compare_definitions(
    model: Any,
    x: Any = None,
    rng_key: KeyLike = 0,
    *,
    variance_threshold: float = 0.01,
    rate_threshold: float = 0.01,
    epsilon: float = 0.01,
    delta: float = 0.01,
    scale_threshold: float = 0.95,
    ablation: bool = True,
    score: Score | None = None,
    ablation_threshold: float = 0.01,
    num_samples: int = 64,
) -> UnitDefinitions:
    r"""Count active units under every definition in use, on the same data.

    Parameters
    ----------
    model, x
        A model with data, or the pair ``(loc, scale)`` alone (then nothing is ablated).
    rng_key
        Seed or JAX key.
    variance_threshold
        Var_x E[z_j|x] above it: active (Burda et al.).
    rate_threshold
        E KL(q(z_j|x) ‖ p(z_j)) above it, in nats: active.
    epsilon, delta
        Active unless the KL is below ε for a share 1 − δ of the data (Lucas et al.).
    scale_threshold
        E σ_j below it: active.
    ablation, score, ablation_threshold
        Active where ablating the unit costs more than the threshold, see `ablation_loss`.
    num_samples
        Draws of z per datum for the ELBO.

    Returns
    -------
    UnitDefinitions

    Raises
    ------
    ArgumentError, ShapeError, NonFiniteError, ScaleError
        If arguments or the encoder's output are not what they must be.

    Notes
    -----
    The definitions differ in kind: a constant μ_j ≠ 0 has rate but no variance, a σ_j ≠ 1 at constant μ_j
    likewise; a unit may carry information that the decoder ignores: only ablation shows it.

    References
    ----------
    Burda et al. (2016), section 5.2; Lucas et al. (2019), definition 1; Hoffman & Johnson (2016).

    Examples
    --------
    >>> import numpy as np
    >>> loc = np.random.default_rng(0).normal(size=(1000, 3)) * [1.0, 0.0, 0.0] + np.array([0, 1, 0])
    >>> scale = np.ones((1000, 3)) * [0.3, 1.0, 1.0]
    >>> compare_definitions((loc, scale)).table["count"].tolist()
    [1, 2, 2, 1]
    """
    loc, scale, prior_of = encoder_output(model, x)
    loc, scale = loc.astype(np.float64), scale.astype(np.float64)
    t = 2.0 * np.log(scale)
    rate = 0.5 * (loc**2 + np.expm1(t) - t)
    units = active_units(loc)
    share = collapsed_share(rate, epsilon)
    frame: dict[str, Any] = {
        "latent": np.arange(loc.shape[1]),
        "variance_of_loc": units.variance,
        "rate": rate.mean(0),
        "collapsed_share": share,
        "mean_scale": scale.mean(0),
    }
    rules: list[tuple[str, float, np.ndarray]] = [
        ("variance of the mean", variance_threshold, units.variance > variance_threshold),
        ("mean rate", rate_threshold, frame["rate"] > rate_threshold),
        ("(ε, δ) not collapsed", epsilon, share < 1.0 - delta),
        ("mean scale", scale_threshold, frame["mean_scale"] < scale_threshold),
    ]
    if ablation and not isinstance(model, tuple | list) and prior_of is None:
        losses = ablation_loss(model, x, rng_key, score=score, num_samples=num_samples)
        frame["ablation_loss"] = [loss.value for loss in losses]
        frame["ablation_lower"] = [loss.lower for loss in losses]
        frame["ablation_upper"] = [loss.upper for loss in losses]
        hit = np.asarray(frame["ablation_loss"]) > ablation_threshold
        rules.append(("loss when ablated", ablation_threshold, hit))
    table = pd.DataFrame(
        [
            {
                "definition": name,
                "threshold": threshold,
                "count": int(hit.sum()),
                "units": " ".join(str(j) for j in np.flatnonzero(hit)),
            }
            for name, threshold, hit in rules
        ]
    )
    return UnitDefinitions(table, pd.DataFrame(frame), len(set(table["units"])) == 1)
