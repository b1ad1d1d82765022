"""Closed forms of a linear-Gaussian VAE, per datum and on average over Gaussian data (float64)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vaeaudit.core.exact_gaussian import LinearGaussian, gaussian_kl
from vaeaudit.core.gaussian import LOG_2PI


@dataclass(frozen=True, eq=False)
class PopulationTruth:
    """What a linear-Gaussian VAE does on average over data x ~ N(m, S); nats, float64.

    The identities rate = mutual_information + marginal_kl, marginal_kl = total_correlation +
    dimwise_kl and log_evidence = elbo + inference_gap hold between numbers that are computed by
    formulas of their own.
    """

    mean: np.ndarray  # of the aggregate posterior q(z), (J,)
    cov: np.ndarray  # of q(z), (J, J)
    rate: float  # E KL(q(z|x) ‖ p(z))
    mutual_information: float  # I_q(x; z)
    marginal_kl: float  # KL(q(z) ‖ p(z))
    total_correlation: float  # KL(q(z) ‖ Π q(z_j))
    dimwise_kl: float  # Σ_j KL(q(z_j) ‖ p(z_j))
    distortion: float  # −E E_q log p(x|z)
    elbo: float  # −(rate + distortion)
    log_evidence: float  # E log p(x)
    inference_gap: float  # E KL(q(z|x) ‖ p(z|x))


@dataclass(frozen=True, eq=False)
class LinearEncoder:
    """q(z|x) = N(A x + c, diag σ²) beside a decoder x|z ~ N(W z + b, s² I)."""

    decoder: LinearGaussian
    weight: np.ndarray  # A, (J, D)
    bias: np.ndarray  # c, (J,)
    scale: np.ndarray  # σ, (J,)

    def loc(self, x: np.ndarray) -> np.ndarray:
        """A x + c, (batch, J)."""
        return x @ self.weight.T + self.bias

    @property
    def cov(self) -> np.ndarray:
        """Diag σ², (J, J)."""
        return np.diag(self.scale**2)

    def rate(self, x: np.ndarray) -> np.ndarray:
        """KL(q(z|x) ‖ N(0, I)), (batch,)."""
        j = len(self.bias)
        return gaussian_kl(self.loc(x), self.cov, np.zeros(j), np.eye(j))

    def distortion(self, x: np.ndarray) -> np.ndarray:
        r"""−E_q log p(x|z), (batch,).

        (‖x − W(Ax + c) − b‖² + Σ_j σ_j² ‖W_j‖²) / 2s² + ½ D log 2πs²
        """
        g = self.decoder
        u = x - self.loc(x) @ g.weight.T - g.bias
        spread = np.sum(g.weight**2 @ self.scale**2)
        log_norm = len(g.bias) * (np.log(g.noise_scale) + 0.5 * LOG_2PI)
        return 0.5 * (np.sum(u * u, axis=1) + spread) / g.noise_scale**2 + log_norm

    def inference_gap(self, x: np.ndarray) -> np.ndarray:
        """KL(q(z|x) ‖ p(z|x)), (batch,), by its own formula and not as a difference."""
        mean, cov = self.decoder.posterior(x)
        return gaussian_kl(self.loc(x), self.cov, mean, cov)

    def population(self, m: np.ndarray, s: np.ndarray) -> PopulationTruth:
        """Averages over x ~ N(m, S), with S positive semi-definite.

        q(z) = N(A m + c, A S Aᵀ + diag σ²);   I_q(x; z) = ½ log det(I + diag σ⁻¹ A S Aᵀ diag σ⁻¹)
        """
        g, a, j = self.decoder, self.weight, len(self.bias)
        eye, zero = np.eye(j), np.zeros(j)
        mean, loc_cov = a @ m + self.bias, a @ s @ a.T
        cov = loc_cov + self.cov
        sd = np.sqrt(np.diag(cov))
        signal = loc_cov / np.outer(self.scale, self.scale)
        at_mean = m[None, :]
        # averages of quadratic forms: their value at m plus ½ tr(curvature · S)
        residual = np.eye(len(m)) - g.weight @ a
        rate = self.rate(at_mean)[0] + 0.5 * np.trace(loc_cov)
        distortion = (
            self.distortion(at_mean)[0] + 0.5 * np.trace(residual @ s @ residual.T) / g.noise_scale**2
        )
        evidence = g.log_evidence(at_mean)[0] - 0.5 * np.trace(np.linalg.solve(g.cov, s))
        offset = a - g.posterior_weight
        gap = self.inference_gap(at_mean)[0] + 0.5 * np.trace(g.posterior_precision @ offset @ s @ offset.T)
        dimwise = gaussian_kl(mean, np.diag(np.diag(cov)), zero, eye)
        return PopulationTruth(
            mean=mean,
            cov=cov,
            rate=float(rate),
            mutual_information=0.5 * float(np.linalg.slogdet(eye + signal)[1]),
            marginal_kl=float(gaussian_kl(mean, cov, zero, eye)),
            total_correlation=float(gaussian_kl(zero, cov / np.outer(sd, sd), zero, eye)),
            dimwise_kl=float(dimwise),
            distortion=float(distortion),
            elbo=float(-(rate + distortion)),
            log_evidence=float(evidence),
            inference_gap=float(gap),
        )
