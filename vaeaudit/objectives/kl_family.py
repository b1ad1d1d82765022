"""Objectives built on the KL to the prior: elbo, beta, annealed_beta, free_bits, capacity, learned_scale."""

from __future__ import annotations

from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from vaeaudit.core.errors import ArgumentError
from vaeaudit.objectives.base import Objective, Regulariser, Terms, at_least, number, text


class ELBO(Objective):
    r"""The evidence lower bound.

    L = E_q log p(x|z) − KL(q(z|x) ‖ p(z))

    Notes
    -----
    A lower bound on log p(x) for every model; the KL is exact, the first term a one-sample average.

    References
    ----------
    Kingma & Welling (2014), eq. 3.

    Examples
    --------
    >>> from vaeaudit.objectives import elbo
    >>> elbo().name, elbo().is_lower_bound
    ('elbo', True)
    """

    @property
    def name(self) -> str:
        return "elbo"

    @property
    def is_lower_bound(self) -> bool:
        return True

    @property
    def regulariser(self) -> Regulariser:
        return "kl"

    def __call__(self, terms: Terms) -> Array:
        return terms.expected_log_likelihood - terms.rate


class LearnedScale(ELBO):
    r"""The ELBO with the scale s of a Gaussian p(x|z) = N(decoder(z), s² I) trained alongside.

    L = E_q log N(x; x̂(z), s² I) − KL(q(z|x) ‖ p(z)),   s a parameter

    Notes
    -----
    The value is the ELBO's; what differs is that training also updates ``likelihood.log_scale``. At the
    optimum s² is the mean squared error per pixel. A likelihood without a scale is refused in training.

    References
    ----------
    Rybkin, Daniilidis & Levine (2021), section 3.
    """

    @property
    def name(self) -> str:
        return "learned_scale"

    @property
    def learns_scale(self) -> bool:
        return True


class Beta(Objective):
    r"""The β-weighted ELBO; any real β, so that β < 0 shows what a flipped sign does.

    L_β = E_q log p(x|z) − β KL(q(z|x) ‖ p(z))

    Notes
    -----
    L_β = ELBO − (β − 1) KL: a lower bound on log p(x) for β ≥ 1; below that it can exceed log p(x).

    References
    ----------
    Higgins et al. (2017), eq. 4.

    Examples
    --------
    >>> from vaeaudit.objectives import beta
    >>> beta(0.1).name, beta(0.1).is_lower_bound, beta(4).is_lower_bound
    ('beta(0.1)', False, True)
    """

    weight: Array = eqx.field(converter=number)  # β

    @property
    def name(self) -> str:
        return f"beta({text(self.weight)})"

    @property
    def is_lower_bound(self) -> bool:
        return float(self.weight) >= 1.0

    @property
    def regulariser(self) -> Regulariser:
        return "kl"

    def __call__(self, terms: Terms) -> Array:
        return terms.expected_log_likelihood - self.weight * terms.rate


class AnnealedBeta(Objective):
    r"""β-ELBO whose weight grows with training, once or in cycles.

    β(t) = β · min(1, phase / warmup),   phase = position within the current of ``cycles`` cycles

    Notes
    -----
    ``schedule`` is "linear" (one ramp) or "cyclical" (4 cycles unless said). ``t`` is
    `Terms.progress`; at t = 1 the weight is β. No lower bound is claimed while the weight is below 1.

    References
    ----------
    Bowman et al. (2016), section 3.1 (linear); Fu et al. (2019), eq. 6 (cyclical).
    """

    schedule: Literal["linear", "cyclical"] = eqx.field(static=True, default="linear")
    weight: Array = eqx.field(converter=number, default=1.0)  # β at the end of a ramp
    warmup: Array = eqx.field(converter=number, default=0.5)  # share of a cycle spent on the ramp
    cycles: Any = eqx.field(converter=lambda c: c if c is None else number(c), default=None)

    def __post_init__(self) -> None:
        if self.schedule not in ("linear", "cyclical"):
            raise ArgumentError(f"`schedule` must be 'linear' or 'cyclical'; got {self.schedule!r}.")
        if self.cycles is None:
            self.cycles = number(1.0 if self.schedule == "linear" else 4.0)
        at_least("warmup", self.warmup, 0.0)
        at_least("cycles", self.cycles, 1.0)

    @property
    def name(self) -> str:
        return (
            f"annealed_beta('{self.schedule}', weight={text(self.weight)}, "
            f"warmup={text(self.warmup)}, cycles={text(self.cycles)})"
        )

    @property
    def is_lower_bound(self) -> bool:
        return float(self.weight) >= 1.0 and float(self.warmup) == 0.0

    @property
    def regulariser(self) -> Regulariser:
        return "kl"

    def current_weight(self, progress: Array) -> Array:
        """β(t) at share ``progress`` of training."""
        position = jnp.asarray(progress) * self.cycles
        cycle = jnp.minimum(jnp.floor(position), self.cycles - 1.0)  # t = 1 ends the last cycle
        ramp = jnp.where(self.warmup > 0, (position - cycle) / jnp.maximum(self.warmup, 1e-12), 1.0)
        return self.weight * jnp.minimum(ramp, 1.0)

    def __call__(self, terms: Terms) -> Array:
        return terms.expected_log_likelihood - self.current_weight(terms.progress) * terms.rate


class FreeBits(Objective):
    r"""ELBO whose rate costs nothing below λ nats per latent, on average over the batch.

    mean over the batch:  E_q log p(x|z) − Σ_j max(λ, mean_x KL_j)

    Notes
    -----
    One group per latent. The value per datum is elbo − Σ_j max(λ − mean_x KL_j, 0), which has the
    batch mean above and stays a lower bound for every datum.

    References
    ----------
    Kingma et al. (2016), eq. 15.
    """

    threshold: Array = eqx.field(converter=number)  # λ, nats per latent

    def __check_init__(self) -> None:
        at_least("threshold", self.threshold, 0.0)

    @property
    def name(self) -> str:
        return f"free_bits({text(self.threshold)})"

    @property
    def is_lower_bound(self) -> bool:
        return True

    @property
    def regulariser(self) -> Regulariser:
        return "kl"

    @property
    def couples_batch(self) -> bool:
        return True

    def __call__(self, terms: Terms) -> Array:
        by_latent = jnp.mean(terms.rate_by_latent, axis=0)  # mean_x KL_j
        unused = jnp.sum(jnp.maximum(self.threshold - by_latent, 0.0))
        return terms.expected_log_likelihood - terms.rate - unused


class Capacity(Objective):
    r"""Rate held at a target that grows with training.

    E_q log p(x|z) − γ |KL(q(z|x) ‖ p(z)) − C(t)|,   C(t) = t C

    Notes
    -----
    Per datum, as printed. A lower bound only for C = 0 and γ ≥ 1; otherwise a rate near C is free.

    References
    ----------
    Burgess et al. (2018), eq. 8.
    """

    target: Array = eqx.field(converter=number)  # C, nats, at the end of training
    weight: Array = eqx.field(converter=number, default=1000.0)  # γ

    def __check_init__(self) -> None:
        at_least("target", self.target, 0.0)
        at_least("weight", self.weight, 0.0)

    @property
    def name(self) -> str:
        return f"capacity({text(self.target)}, {text(self.weight)})"

    @property
    def is_lower_bound(self) -> bool:
        return float(self.target) == 0.0 and float(self.weight) >= 1.0

    @property
    def regulariser(self) -> Regulariser:
        return "kl"

    def __call__(self, terms: Terms) -> Array:
        gap = terms.rate - terms.progress * self.target
        return terms.expected_log_likelihood - self.weight * jnp.abs(gap)
