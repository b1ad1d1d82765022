"""Proposals for importance sampling: mixtures of Gaussians around each datum's latents, densities exact."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from vaeaudit.core.gaussian import LOG_2PI


class Component(eqx.Module):
    """Concentric Gaussians N(loc, f² L Lᵀ) per datum, one for each factor f, with their shares.

    ``spread`` holds L: its diagonal (batch, latent), or a whole triangle (batch, latent, latent).
    """

    loc: Array
    spread: Array
    factors: tuple[float, ...] = eqx.field(static=True, default=(1.0,))
    shares: tuple[float, ...] = eqx.field(static=True, default=(1.0,))

    @property
    def full(self) -> bool:
        """Whether the covariance is a whole matrix."""
        return self.spread.ndim == 3

    def scatter(self, noise: Array) -> Array:
        """L · noise for noise (sample, batch, latent)."""
        return jnp.einsum("bij,sbj->sbi", self.spread, noise) if self.full else self.spread * noise

    def square(self, z: Array) -> Array:
        """Squared length of L⁻¹(z − loc), (sample, batch)."""
        if self.full:
            eye = jnp.broadcast_to(jnp.eye(self.loc.shape[-1], dtype=z.dtype), self.spread.shape)
            inverse = jax.scipy.linalg.solve_triangular(self.spread, eye, lower=True)
            u = jnp.einsum("bij,sbj->sbi", inverse, z - self.loc)
        else:
            u = (z - self.loc) / self.spread
        return jnp.sum(u * u, axis=-1)

    def log_terms(self, square: Array) -> list[Array]:
        """Log of share × density for each factor, from `square`."""
        diagonal = jnp.diagonal(self.spread, axis1=-2, axis2=-1) if self.full else self.spread
        latent_dim = self.loc.shape[-1]
        log_norm = jnp.sum(jnp.log(diagonal), axis=-1) + 0.5 * latent_dim * LOG_2PI
        return [
            math.log(share) - latent_dim * math.log(factor) - log_norm - square * (0.5 / factor**2)
            for factor, share in zip(self.factors, self.shares, strict=True)
        ]


class Proposal(eqx.Module):
    r"""r(z) = Σ_c s_c N(z; loc_c, f_c² L_c L_cᵀ), one mixture per datum; the shares sum to one."""

    components: tuple[Component, ...]

    def draw(self, rng_key: Array, num_samples: int) -> tuple[Array, Array]:
        """Independent draws z (sample, batch, latent) and log r(z) (sample, batch)."""
        first = self.components[0]
        shape = (num_samples, *first.loc.shape)
        noise_key, choice_key = jax.random.split(rng_key)
        noise = jax.random.normal(noise_key, shape, first.loc.dtype)
        if len(self.components) == 1 and len(first.factors) == 1:
            # the density from the noise: no cancellation at small scales
            log_r = first.log_terms(jnp.sum(noise * noise, axis=-1) * first.factors[0] ** 2)[0]
            return first.loc + first.scatter(noise) * first.factors[0], log_r
        u = jax.random.uniform(choice_key, shape[:2])
        z, end = jnp.zeros(shape, noise.dtype), 0.0
        for number, component in enumerate(self.components):
            begin, factor = end, jnp.full(shape[:2], component.factors[-1], noise.dtype)
            for f, share in zip(component.factors, component.shares, strict=True):
                factor = jnp.where((u >= end) & (u < end + share), f, factor)
                end += share
            placed = component.loc + component.scatter(noise) * factor[..., None]
            z = placed if number == 0 else jnp.where((u >= begin)[..., None], placed, z)
        return z, self.log_prob(z)

    def log_prob(self, z: Array) -> Array:
        """Log r(z) (sample, batch) for any z."""
        terms = [term for component in self.components for term in component.log_terms(component.square(z))]
        top = terms[0]
        for term in terms[1:]:
            top = jnp.maximum(top, term)
        total = jnp.zeros_like(top)
        for term in terms:
            total = total + jnp.exp(term - top)
        return top + jnp.log(total)


def gaussian(loc: Array, scale: Array, factor: float = 1.0) -> Proposal:
    """N(loc, (factor·scale)²): the encoder itself at factor 1, widened above."""
    return Proposal((Component(loc, scale, (float(factor),), (1.0,)),))


def guarded(loc: Array, scale: Array) -> Proposal:
    """The encoder with a tenth each of it widened by 1.25 and 1.6: a narrow q costs less in few latents."""
    return Proposal((Component(loc, scale, (1.0, 1.25, 1.6), (0.8, 0.1, 0.1)),))


def _prior(loc: Array, share: float) -> Component:
    """N(0, I), the prior of a standard model and a wide guess for any other."""
    return Component(jnp.zeros_like(loc), jnp.ones_like(loc), (1.0,), (share,))


def defensive(loc: Array, scale: Array) -> Proposal:
    """Encoder, three widened copies and a tenth of N(0, I): weights stay bounded wherever p(x|z) is.

    References
    ----------
    Hesterberg (1995), Weighted average importance sampling and defensive mixture distributions.
    """
    copies = Component(loc, scale, (1.0, 1.2, 1.6, 3.0), (0.3, 0.3, 0.2, 0.1))
    return Proposal((copies, _prior(loc, 0.1)))


def around_mode(mode: Array, tril: Array, loc: Array, scale: Array) -> Proposal:
    """The adapted proposal: copies of a full-rank Gaussian at the mode, the widened encoder, N(0, I)."""
    copies = Component(mode, tril, (1.0, 1.2, 1.6, 3.0), (0.4, 0.2, 0.1, 0.1))
    return Proposal((copies, Component(loc, scale, (1.3,), (0.1,)), _prior(loc, 0.1)))
