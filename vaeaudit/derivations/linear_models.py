"""Trainable linear VAEs whose expectation over z is in closed form, data for them, and their matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy import special
from scipy.stats import qmc

from vaeaudit.core.arrays import Data, Latents, PerSample
from vaeaudit.models.build import mlp_vae
from vaeaudit.models.vae import NeuralVAE
from vaeaudit.objectives.base import Terms
from vaeaudit.objectives.kl_family import Capacity

LOG_2PI = float(np.log(2 * np.pi))


class ExpectedFitVAE(NeuralVAE):
    r"""A linear Gaussian VAE that reports E_q log p(x|z) in the place of log p(x|z).

    E_q log p(x|z) = −½ D log 2πs² − (‖x − Wμ − b‖² + Σ_j σ_j² ‖w_j‖²)/(2s²)

    Notes
    -----
    Any objective that reads the likelihood through its mean over q gets its exact value and gradient:
    training has no noise. Not for objectives of single draws (importance weights).
    """

    @property
    def weight(self) -> Array:
        """Decoder matrix W, (D, J)."""
        return self.decoder.layers[0].weight

    def log_likelihood(self, x: Data, z: Latents) -> PerSample:
        loc, scale = self.encode(x)
        spread = scale**2 @ jnp.sum(self.weight**2, axis=0)
        error = jnp.sum((x - self.decode(loc)) ** 2, axis=1) + spread
        log_s = self.likelihood.log_scale  # type: ignore[attr-defined]
        value = -x.shape[1] * (0.5 * LOG_2PI + log_s) - 0.5 * error * jnp.exp(-2 * log_s)
        return jnp.broadcast_to(value, z.shape[:-1])


class HeldDecoderVAE(ExpectedFitVAE):
    """The same with the decoder held still: training moves the encoder alone."""

    @property
    def weight(self) -> Array:
        return jax.lax.stop_gradient(self.decoder.layers[0].weight)

    def decode(self, z: Latents) -> Array:
        return z @ self.weight.T + jax.lax.stop_gradient(self.decoder.layers[0].bias)


def linear_network(
    rng_key: Any, *, kind: type[NeuralVAE], data_dim: int, latent_dim: int, noise_scale: float
) -> NeuralVAE:
    """A linear encoder and decoder with random weights, one scale vector for all data."""
    base = mlp_vae(
        rng_key,
        event_shape=(data_dim,),
        latent_dim=latent_dim,
        hidden=(),
        likelihood="gaussian",
        likelihood_scale=noise_scale,
        shared_scale=True,
    )
    return kind(encoder=base.encoder, decoder=base.decoder, likelihood=base.likelihood, latent_dim=latent_dim)


def with_decoder(model: NeuralVAE, weight: np.ndarray) -> NeuralVAE:
    """The model with this decoder matrix (D, J)."""
    return eqx.tree_at(lambda m: m.decoder.layers[0].weight, model, jnp.asarray(weight, jnp.float32))


def principal_basis(size: int, seed: int) -> np.ndarray:
    """A random orthogonal basis: the principal axes of the data."""
    return np.linalg.qr(np.random.default_rng([seed, 1]).standard_normal((size, size)))[0]


def gaussian_data(spectrum: np.ndarray, num_data: int, seed: int) -> np.ndarray:
    """Quasi-random normal points moved to mean zero and exactly this covariance (divisor N), rotated.

    A scrambled Sobol sequence through the normal quantile: averages over the points are close to those
    over N(0, S) also for functions that are not quadratic.
    """
    points = qmc.Sobol(len(spectrum), seed=seed).random(num_data)
    z = special.ndtri(points)
    z -= z.mean(axis=0)
    white = z @ np.linalg.inv(np.linalg.cholesky(z.T @ z / num_data)).T
    return ((white * np.sqrt(spectrum)) @ principal_basis(len(spectrum), seed).T).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Matrices:
    """A linear VAE in float64: x̂ = W z + b, q(z|x) = N(A x + c, diag σ²), noise s."""

    weight: np.ndarray  # W (D, J)
    bias: np.ndarray  # b (D,)
    enc_weight: np.ndarray  # A (J, D)
    enc_bias: np.ndarray  # c (J,)
    scale: np.ndarray  # σ (J,)
    noise_scale: float  # s

    @classmethod
    def of(cls, model: Any, *, deterministic: bool = False) -> Matrices:
        """Read a trained network; σ = 0 under a deterministic objective, which never uses it."""
        decoder, encoder = model.decoder.layers[0], model.encoder
        scale = np.exp(np.asarray(encoder.log_scale_head.bias, dtype=np.float64))
        arrays = (decoder.weight, decoder.bias, encoder.loc_head.weight, encoder.loc_head.bias)
        weight, bias, enc_weight, enc_bias = (np.asarray(a, dtype=np.float64) for a in arrays)
        noise_scale = float(np.exp(np.float64(model.likelihood.log_scale)))
        scale = np.zeros_like(scale) if deterministic else scale
        return cls(weight, bias, enc_weight, enc_bias, scale, noise_scale)

    @property
    def offset(self) -> float:
        """Largest |b + W c|, the mean's reconstruction: zero at the optimum on centred data."""
        return float(np.abs(self.bias + self.weight @ self.enc_bias).max())

    def expected_fit(self, cov: np.ndarray) -> float:
        """E log p(x|z) over data N(0, S)."""
        through = np.eye(len(cov)) - self.weight @ self.enc_weight
        error = np.trace(through @ cov @ through.T) + np.sum(self.weight**2 @ self.scale**2)
        error += np.sum((self.bias + self.weight @ self.enc_bias) ** 2)
        v = self.noise_scale**2
        return float(-0.5 * len(cov) * (LOG_2PI + np.log(v)) - error / (2 * v))

    def rate_by_latent(self, cov: np.ndarray) -> np.ndarray:
        """E KL(q(z_j|x) ‖ p(z_j)) per latent."""
        moment = np.diag(self.enc_weight @ cov @ self.enc_weight.T) + self.enc_bias**2
        with np.errstate(divide="ignore"):
            return 0.5 * (moment + self.scale**2 - 1) - np.log(self.scale)

    def log_evidence(self, cov: np.ndarray) -> float:
        """E log p(x) over data N(0, S)."""
        model = self.weight @ self.weight.T + self.noise_scale**2 * np.eye(len(cov))
        moment = cov + np.outer(self.bias, self.bias)
        log_det = np.linalg.slogdet(model)[1]
        return float(-0.5 * (len(cov) * LOG_2PI + log_det + np.trace(np.linalg.solve(model, moment))))


class ReachedCapacity(Capacity):
    """`capacity` with its target held at C: the objective as its ramp leaves it, from the first step on.

    Notes
    -----
    While C(t) grows, directions collapse and nothing without noise wakes them; and as it grows to the
    last step, parameters trail behind it. Neither says anything about the optimum at C.
    """

    def __call__(self, terms: Terms) -> Array:
        return super().__call__(eqx.tree_at(lambda t: t.progress, terms, jnp.ones(())))
