"""Deterministic objectives, z = loc: autoencoder and regularized_autoencoder."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from vaeaudit.objectives.base import Objective, Regulariser, Terms, at_least, number, text


class Autoencoder(Objective):
    r"""Reconstruction alone, without noise: log p(x | z = loc(x)).

    Notes
    -----
    The encoder's scale is not used, so that training leaves it where it started.
    """

    @property
    def name(self) -> str:
        return "autoencoder"

    @property
    def is_lower_bound(self) -> bool:
        return False

    @property
    def regulariser(self) -> Regulariser:
        return "none"

    @property
    def deterministic(self) -> bool:
        return True

    def __call__(self, terms: Terms) -> Array:
        return terms.expected_log_likelihood


class RegularizedAutoencoder(Objective):
    r"""Deterministic autoencoder with a penalty on the code and on the decoder's weights.

    log p(x | z) − β ½‖z‖² − λ Σ‖W‖²,   z = loc(x)

    Notes
    -----
    At β = 1, λ = 0 it is MAP on z up to a constant: the KL's cross-entropy without its entropy.

    References
    ----------
    Ghosh et al. (2020), eq. 11 with the L2 decoder penalty.
    """

    weight: Array = eqx.field(converter=number, default=1e-4)  # λ, on the decoder's weights
    latent_weight: Array = eqx.field(converter=number, default=1.0)  # β, on the code

    def __check_init__(self) -> None:
        at_least("weight", self.weight, 0.0)
        at_least("latent_weight", self.latent_weight, 0.0)

    @property
    def name(self) -> str:
        return f"regularized_autoencoder({text(self.weight)}, {text(self.latent_weight)})"

    @property
    def is_lower_bound(self) -> bool:
        return False

    @property
    def regulariser(self) -> Regulariser:
        return "l2"

    @property
    def deterministic(self) -> bool:
        return True

    def __call__(self, terms: Terms) -> Array:
        code = 0.5 * jnp.sum(terms.loc**2, axis=-1)
        return (
            terms.expected_log_likelihood - self.latent_weight * code - self.weight * terms.decoder_weight_sq
        )
