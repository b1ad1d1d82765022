"""Objectives with a penalty in place of the KL: on μ and σ, on μ alone, or on the encoder's heads."""

from __future__ import annotations

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from vaeaudit.objectives.base import Objective, Regulariser, Terms, at_least, number, text


class _Penalty(Objective):
    """E_q log p(x|z) − λ · (penalty per datum): no lower bound is claimed."""

    weight: Array = eqx.field(converter=number, default=1.0)  # λ

    def __check_init__(self) -> None:
        at_least("weight", self.weight, 0.0)

    @property
    def is_lower_bound(self) -> bool:
        return False

    @abstractmethod
    def penalty(self, terms: Terms) -> Array:
        """Penalty per datum, (batch,)."""

    def __call__(self, terms: Terms) -> Array:
        return terms.expected_log_likelihood - self.weight * self.penalty(terms)


class WassersteinPenalty(_Penalty):
    r"""The parameter penalty Σ μ² + (σ − 1)² in place of the KL.

    E_q log p(x|z) − λ Σ_j μ_j² + (σ_j − 1)²,   the sum being W₂²(q(z|x), N(0, I))

    Notes
    -----
    Not a lower bound: the penalty is below the KL for σ < 1 and small |μ|, and the value then
    exceeds the ELBO, with a good q also log p(x).

    References
    ----------
    Claim A3 of the register; Olkin & Pukelsheim (1982) for W₂.
    """

    @property
    def name(self) -> str:
        return f"wasserstein_penalty({text(self.weight)})"

    @property
    def regulariser(self) -> Regulariser:
        return "wasserstein"

    def penalty(self, terms: Terms) -> Array:
        return terms.wasserstein_penalty


class HalfQuadratic(_Penalty):
    r"""The second-order match of the KL at its minimum.

    E_q log p(x|z) − λ Σ_j ½μ_j² + (σ_j − 1)²
    """

    @property
    def name(self) -> str:
        return f"half_quadratic({text(self.weight)})"

    @property
    def regulariser(self) -> Regulariser:
        return "half_quadratic"

    def penalty(self, terms: Terms) -> Array:
        return jnp.sum(0.5 * terms.loc**2 + (terms.scale - 1.0) ** 2, axis=-1)


class MomentPenalty(_Penalty):
    r"""A penalty on the means alone: nothing keeps σ from 0.

    E_q log p(x|z) − λ Σ_j μ_j²
    """

    @property
    def name(self) -> str:
        return f"moment_penalty({text(self.weight)})"

    @property
    def regulariser(self) -> Regulariser:
        return "moment"

    def penalty(self, terms: Terms) -> Array:
        return jnp.sum(terms.loc**2, axis=-1)


class ParameterPenalty(Objective):
    """A penalty on parameters: can be added to an objective, or stand alone in place of the KL."""

    @abstractmethod
    def penalty(self, terms: Terms) -> Array:
        """Penalty per datum, a scalar shared by the batch."""

    @property
    def is_lower_bound(self) -> bool:
        return False

    @property
    def regulariser(self) -> Regulariser:
        return "l2"

    def __call__(self, terms: Terms) -> Array:
        return terms.expected_log_likelihood - self.penalty(terms)


class HeadL2(ParameterPenalty):
    r"""L2 on the weights of the layers that output μ and log σ.

    E_q log p(x|z) − λ (‖W_loc‖² + ‖W_log-scale‖²)

    Notes
    -----
    Weights only, no biases; λ counts per datum, as a framework's layer regulariser beside a batch mean.
    Alone it has no KL. ``elbo() + head_l2(λ)`` keeps the KL and stays a lower bound. NaN for a model
    whose encoder has no ``loc_head`` and ``log_scale_head``.

    Examples
    --------
    >>> from vaeaudit.objectives import elbo, head_l2
    >>> (elbo() + head_l2(1e-3)).name
    'elbo + head_l2(0.001)'
    """

    weight: Array = eqx.field(converter=number)  # λ

    def __check_init__(self) -> None:
        at_least("weight", self.weight, 0.0)

    @property
    def name(self) -> str:
        return f"head_l2({text(self.weight)})"

    def penalty(self, terms: Terms) -> Array:
        return self.weight * terms.head_weight_sq
