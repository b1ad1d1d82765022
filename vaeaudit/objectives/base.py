"""What an objective is: a pure function of named terms, maximised, in nats per datum."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaeaudit.core.errors import ArgumentError
from vaeaudit.core.gaussian import kl_to_standard_normal, squared_wasserstein

if TYPE_CHECKING:
    from vaeaudit.objectives.composition import Penalised

Regulariser = Literal[
    "kl", "wasserstein", "half_quadratic", "moment", "l2", "mmd", "total_correlation", "none"
]


class Terms(eqx.Module):
    """The quantities that objectives combine, for one batch.

    S samples, B data, J latents. All log quantities in nats.
    """

    log_likelihood: Array  # log p(x|zₛ), (sample, batch)
    log_prior: Array  # log p(zₛ), (sample, batch)
    log_q: Array  # log q(zₛ|x), (sample, batch)
    z: Array  # zₛ, (sample, batch, latent)
    loc: Array  # μ, (batch, latent)
    scale: Array  # σ, (batch, latent)
    prior_z: Array  # draws from p(z), (batch, latent): for distances between samples
    head_weight_sq: Array  # ‖W_loc‖² + ‖W_log-scale‖², ()
    decoder_weight_sq: Array  # Σ‖W‖² over the decoder's layers, ()
    progress: Array  # share of training done, in [0, 1], ()
    num_data: Array  # size N of the training set, ()

    @property
    def expected_log_likelihood(self) -> Array:
        """E_q log p(x|z) = −distortion, (batch,)."""
        return jnp.mean(self.log_likelihood, axis=0)

    @property
    def rate_by_latent(self) -> Array:
        """KL(q(z_j|x) ‖ N(0,1)), (batch, latent)."""
        return kl_to_standard_normal(self.loc, self.scale)

    @property
    def rate(self) -> Array:
        """KL(q(z|x) ‖ p(z)), (batch,)."""
        return jnp.sum(self.rate_by_latent, axis=-1)

    @property
    def wasserstein_penalty(self) -> Array:
        """Σ_j μ_j² + (σ_j − 1)², (batch,)."""
        return jnp.sum(squared_wasserstein(self.loc, self.scale), axis=-1)


class Objective(eqx.Module):
    """An objective to maximise.

    Numbers that a sweep may vary (β, λ, C, …) are array fields, so that settings share one compiled
    program; everything that changes the program's shape is static.

    Class attributes say what the objective claims; tests hold it to the claim:
    ``is_lower_bound`` (of log p(x) at every parameter value, for the fields at hand),
    ``regulariser`` (one of kl, wasserstein, half_quadratic, moment, l2, mmd, total_correlation, none),
    ``deterministic`` (σ = 0: z = loc, no noise is injected).
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Name with its setting, e.g. ``beta(0.1)``."""

    @property
    @abstractmethod
    def is_lower_bound(self) -> bool:
        """Whether the value is a lower bound on log p(x) for every model."""

    @property
    @abstractmethod
    def regulariser(self) -> Regulariser:
        """What stands in the place of the KL."""

    @property
    def num_samples(self) -> int:
        """Draws of z per datum that one evaluation needs."""
        return 1

    @property
    def deterministic(self) -> bool:
        """Whether the encoder's scale is ignored (z = loc)."""
        return False

    @property
    def learns_scale(self) -> bool:
        """Whether the likelihood's scale is trained with the networks."""
        return False

    @property
    def couples_batch(self) -> bool:
        """Whether a datum's value depends on the other data of its batch."""
        return False

    @property
    def needs_prior_draws(self) -> bool:
        """Whether `Terms.prior_z` is read."""
        return False

    @abstractmethod
    def __call__(self, terms: Terms) -> Array:
        """Value per datum, (batch,), in nats; larger is better."""

    def __add__(self, other: Objective) -> Penalised:
        """``objective + head_l2(λ)``: the same objective less a penalty on parameters."""
        from vaeaudit.objectives.composition import Penalised
        from vaeaudit.objectives.penalties import ParameterPenalty

        if not isinstance(other, ParameterPenalty):
            raise ArgumentError(
                f"only a penalty on parameters can be added to an objective, as in elbo() + head_l2(1e-3); "
                f"got {getattr(other, 'name', type(other).__name__)}. Adding two whole objectives would "
                "count the reconstruction twice."
            )
        return Penalised(base=self, penalty=other)


def number(value: Any) -> Any:
    """Field converter: a finite float32 scalar, kept as it is where it is already traced."""
    if isinstance(value, jax.Array):
        return value
    scalar = np.asarray(value, dtype=np.float32)
    if scalar.shape != () or not np.isfinite(scalar):
        raise ArgumentError(f"an objective's setting must be one finite number; got {value!r}.")
    return scalar


def text(value: Any) -> str:
    """A setting as it appears in a name: the shortest decimal that reads back as the same float32."""
    short = f"{float(value):.6g}"
    return short if np.float32(short) == np.float32(value) else repr(float(value))


def at_least(name: str, value: Any, minimum: float) -> None:
    """Refuse a setting below ``minimum``; traced values pass."""
    if not isinstance(value, jax.core.Tracer) and float(value) < minimum:
        raise ArgumentError(f"`{name}` must be ≥ {minimum:g}; got {text(value)}.")
