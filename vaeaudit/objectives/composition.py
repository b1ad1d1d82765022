"""An objective less a penalty on parameters: ``elbo() + head_l2(1e-3)``."""

from __future__ import annotations

from jaxtyping import Array

from vaeaudit.objectives.base import Objective, Regulariser, Terms
from vaeaudit.objectives.penalties import ParameterPenalty


class Penalised(Objective):
    """``base`` − penalty. The penalty is ≥ 0, so that a lower bound stays one."""

    base: Objective
    penalty: ParameterPenalty

    @property
    def name(self) -> str:
        return f"{self.base.name} + {self.penalty.name}"

    @property
    def is_lower_bound(self) -> bool:
        return self.base.is_lower_bound

    @property
    def regulariser(self) -> Regulariser:
        return self.base.regulariser

    @property
    def num_samples(self) -> int:
        return self.base.num_samples

    @property
    def deterministic(self) -> bool:
        return self.base.deterministic

    @property
    def learns_scale(self) -> bool:
        return self.base.learns_scale

    @property
    def couples_batch(self) -> bool:
        return self.base.couples_batch

    @property
    def needs_prior_draws(self) -> bool:
        return self.base.needs_prior_draws

    def __call__(self, terms: Terms) -> Array:
        return self.base(terms) - self.penalty.penalty(terms)
