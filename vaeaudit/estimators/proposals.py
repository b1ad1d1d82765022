"""Proposals for importance sampling: mixtures of Gaussians around each datum's latents, densities exact."""

from __future__ import annotations

import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from vaeaudit.core.gaussian import LOG_2PI


class Component(eqx.Module):
    """N(loc, factor² L Lᵀ) per datum.

    ``spread`` holds L: its diagonal (batch, latent), or a whole triangle (batch, latent, latent).
    """

    loc: Array
    spread: Array
    factor: float = eqx.field(static=True, default=1.0)

    @property
    def full(self) -> bool:
        """Whether the covariance is a whole matrix."""
        return self.spread.ndim == 3

    def place(self, noise: Array) -> Array:
        """Map standard-normal noise (sample, batch, latent) to draws."""
        scaled = noise if self.factor == 1.0 else noise * self.factor
        moved = jnp.einsum("bij,sbj->sbi", self.spread, scaled) if self.full else self.spread * scaled
        return self.loc + moved

    def square(self, z: Array) -> Array:
        """Squared length of L⁻¹(z − loc), (sample, batch)."""
        if self.full:
            eye = jnp.broadcast_to(jnp.eye(self.loc.shape[-1], dtype=z.dtype), self.spread.shape)
            inverse = jax.scipy.linalg.solve_triangular(self.spread, eye, lower=True)
            u = jnp.einsum("bij,sbj->sbi", inverse, z - self.loc)
        else:
            u = (z - self.loc) / self.spread
        return jnp.sum(u * u, axis=-1)

    def log_density(self, square: Array) -> Array:
        """Log density in nats from `square`."""
        diagonal = jnp.diagonal(self.spread, axis1=-2, axis2=-1) if self.full else self.spread
        latent_dim = self.loc.shape[-1]
        log_norm = jnp.sum(jnp.log(diagonal), axis=-1) + latent_dim * (0.5 * LOG_2PI + math.log(self.factor))
        return -square * (0.5 / self.factor**2) - log_norm


class Proposal(eqx.Module):
    r"""r(z) = Σ_c s_c N(z; loc_c, f_c² L_c L_cᵀ), one mixture per datum."""

    components: tuple[Component, ...]
    shares: tuple[float, ...] = eqx.field(static=True)

    def draw(self, rng_key: Array, num_samples: int) -> tuple[Array, Array]:
        """Independent draws z (sample, batch, latent) and log r(z) (sample, batch)."""
        shape = (num_samples, *self.components[0].loc.shape)
        noise_key, choice_key = jax.random.split(rng_key)
        noise = jax.random.normal(noise_key, shape, self.components[0].loc.dtype)
        if len(self.components) == 1:  # the density from the noise: no cancellation at small scales
            only = self.components[0]
            return only.place(noise), only.log_density(jnp.sum(noise * noise, axis=-1) * only.factor**2)
        u = jax.random.uniform(choice_key, shape[:2])
        z = self.components[-1].place(noise)
        ends = [sum(self.shares[: i + 1]) for i in range(len(self.shares) - 1)]
        for end, component in reversed(list(zip(ends, self.components, strict=False))):
            z = jnp.where((u < end)[..., None], component.place(noise), z)
        return z, self.log_prob(z)

    def log_prob(self, z: Array) -> Array:
        """Log r(z) (sample, batch) for any z."""
        terms = [
            component.log_density(component.square(z)) + math.log(share)
            for component, share in zip(self.components, self.shares, strict=True)
        ]
        top = terms[0]
        for term in terms[1:]:
            top = jnp.maximum(top, term)
        return top + jnp.log(sum(jnp.exp(term - top) for term in terms))


def gaussian(loc: Array, scale: Array, factor: float = 1.0) -> Proposal:
    """N(loc, (factor·scale)²): the encoder itself at factor 1, widened above."""
    return Proposal((Component(loc, scale, float(factor)),), (1.0,))


def scale_mixture(
    loc: Array, spread: Array, factors: Sequence[float], shares: Sequence[float]
) -> tuple[tuple[Component, ...], tuple[float, ...]]:
    """Concentric copies of one Gaussian with the given factors and shares."""
    return tuple(Component(loc, spread, float(f)) for f in factors), tuple(float(s) for s in shares)


def prior_component(loc: Array) -> Component:
    """N(0, I), the prior of a standard model and a wide guess for any other."""
    return Component(jnp.zeros_like(loc), jnp.ones_like(loc))


def defensive(loc: Array, scale: Array) -> Proposal:
    """Encoder, three widened copies and a tenth of N(0, I): weights stay bounded wherever p(x|z) is.

    References
    ----------
    Hesterberg (1995), Weighted average importance sampling and defensive mixture distributions.
    """
    components, shares = scale_mixture(loc, scale, (1.0, 1.2, 1.6, 3.0), (0.3, 0.3, 0.2, 0.1))
    return Proposal((*components, prior_component(loc)), (*shares, 0.1))


def around_mode(mode: Array, tril: Array, loc: Array, scale: Array) -> Proposal:
    """The adapted proposal: copies of a full-rank Gaussian at the mode, the widened encoder, N(0, I)."""
    components, shares = scale_mixture(mode, tril, (1.0, 1.2, 1.6, 3.0), (0.4, 0.2, 0.1, 0.1))
    return Proposal((*components, Component(loc, scale, 1.3), prior_component(loc)), (*shares, 0.1, 0.1))
