"""Proposals for importance sampling: Gaussian, widened, and defensive mixtures, all with exact densities."""

from __future__ import annotations

import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from vaeaudit.core.gaussian import LOG_2PI, log_standard_normal


class Proposal(eqx.Module):
    r"""A mixture of scaled copies of one Gaussian, with an optional share of N(0, I).

    r(z) = (1 − a) Σ_c s_c N(z; loc, f_c² L Lᵀ) + a N(z; 0, I)

    ``scale`` (batch, latent) is the diagonal of L, or ``tril`` (batch, latent, latent) is L whole.
    """

    loc: Array
    scale: Array | None
    tril: Array | None
    factors: tuple[float, ...] = eqx.field(static=True)
    shares: tuple[float, ...] = eqx.field(static=True)
    prior_share: float = eqx.field(static=True)

    @property
    def _diagonal(self) -> Array:
        assert self.scale is not None
        return self.scale

    def log_det(self) -> Array:
        """Log |L|, (batch,)."""
        diagonal = self._diagonal if self.tril is None else jnp.diagonal(self.tril, axis1=-2, axis2=-1)
        return jnp.sum(jnp.log(diagonal), axis=-1)

    def whiten(self, z: Array) -> Array:
        """L⁻¹(z − loc) for z (sample, batch, latent)."""
        if self.tril is None:
            return (z - self.loc) / self._diagonal
        inverse = jax.scipy.linalg.solve_triangular(
            self.tril, jnp.broadcast_to(jnp.eye(self.loc.shape[-1]), self.tril.shape), lower=True
        )
        return jnp.einsum("bij,sbj->sbi", inverse, z - self.loc)

    def draw(self, rng_key: Array, num_samples: int) -> tuple[Array, Array]:
        """Independent draws z (sample, batch, latent) and log r(z) (sample, batch)."""
        shape = (num_samples, *self.loc.shape)
        normal_key, factor_key, prior_key = jax.random.split(rng_key, 3)
        noise = jax.random.normal(normal_key, shape, self.loc.dtype)
        whitened = noise
        if len(self.factors) > 1:
            which = jax.random.choice(
                factor_key, len(self.factors), shape[:2], p=jnp.asarray(self.shares, noise.dtype)
            )
            whitened = noise * jnp.asarray(self.factors, noise.dtype)[which][..., None]
        elif self.factors[0] != 1.0:
            whitened = noise * self.factors[0]
        spread = (
            whitened * self._diagonal
            if self.tril is None
            else jnp.einsum("bij,sbj->sbi", self.tril, whitened)
        )
        z = self.loc + spread
        if self.prior_share > 0:
            defend = jax.random.bernoulli(prior_key, self.prior_share, shape[:2])[..., None]
            z = jnp.where(defend, noise, z)
            whitened = jnp.where(defend, self.whiten(z), whitened)
        return z, self._log_density(z, whitened)

    def log_prob(self, z: Array) -> Array:
        """Log r(z) (sample, batch) for any z."""
        return self._log_density(z, self.whiten(z))

    def _log_density(self, z: Array, whitened: Array) -> Array:
        latent_dim = self.loc.shape[-1]
        square = jnp.sum(whitened * whitened, axis=-1)
        terms = [
            math.log(share) - latent_dim * math.log(factor) - square * (0.5 / factor**2)
            for share, factor in zip(self.shares, self.factors, strict=True)
        ]
        log_r = terms[0] if len(terms) == 1 else jax.nn.logsumexp(jnp.stack(terms), axis=0)
        log_r = log_r - (self.log_det() + 0.5 * latent_dim * LOG_2PI)
        if self.prior_share > 0:
            log_r = jnp.logaddexp(
                log_r + math.log1p(-self.prior_share), log_standard_normal(z) + math.log(self.prior_share)
            )
        return log_r


def gaussian(loc: Array, scale: Array, factor: float = 1.0) -> Proposal:
    """N(loc, (factor·scale)²): the encoder itself at factor 1, widened above."""
    return Proposal(loc, scale, None, (float(factor),), (1.0,), 0.0)


def defensive(loc: Array, scale: Array, factors: Sequence[float] = (1.0, 1.5, 3.0)) -> Proposal:
    """Encoder, two widened copies and a tenth of N(0, I): weights stay bounded wherever p(x|z) is.

    References
    ----------
    Hesterberg (1995), Weighted average importance sampling and defensive mixture distributions.
    """
    shares = (0.5,) + (0.5 / (len(factors) - 1),) * (len(factors) - 1)
    return Proposal(loc, scale, None, tuple(float(f) for f in factors), shares, 0.1)


def full_rank(loc: Array, tril: Array, factors: Sequence[float], shares: Sequence[float]) -> Proposal:
    """Scale mixture around loc with a full Cholesky factor, as the Laplace fit gives."""
    return Proposal(loc, None, tril, tuple(float(f) for f in factors), tuple(shares), 0.0)
