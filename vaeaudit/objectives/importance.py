"""The importance-weighted bound, iwae(K)."""

from __future__ import annotations

import math

import equinox as eqx
import jax
from jaxtyping import Array

from vaeaudit.core.arrays import check_count
from vaeaudit.objectives.base import Objective, Regulariser, Terms


class IWAE(Objective):
    r"""The K-sample importance-weighted bound.

    L_K = E log (1/K) Σₖ wₖ,   wₖ = p(x|zₖ) p(zₖ) / q(zₖ|x)

    Notes
    -----
    A lower bound on log p(x), non-decreasing in K; K = 1 is the ELBO with the KL estimated by
    sampling instead of in closed form: the same mean, more noise.

    References
    ----------
    Burda, Grosse & Salakhutdinov (2016), eq. 8.
    """

    draws: int = eqx.field(static=True)  # K

    def __check_init__(self) -> None:
        check_count("draws", self.draws)

    @property
    def name(self) -> str:
        return f"iwae({self.draws})"

    @property
    def is_lower_bound(self) -> bool:
        return True

    @property
    def regulariser(self) -> Regulariser:
        return "kl"

    @property
    def num_samples(self) -> int:
        return self.draws

    def __call__(self, terms: Terms) -> Array:
        log_w = terms.log_likelihood + terms.log_prior - terms.log_q
        return jax.nn.logsumexp(log_w, axis=0) - math.log(log_w.shape[0])
