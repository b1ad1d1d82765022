"""Exact Gaussian algebra in float64 on the host: the model x = W z + b + s ε and KLs between Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from vaeaudit.core.gaussian import LOG_2PI


def log_normal_density(x: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> np.ndarray:
    """Log density of N(mean, cov) at the rows of x, (batch,), by Cholesky (nats)."""
    factor = cho_factor(cov, lower=True)
    u = np.atleast_2d(x) - mean
    squares = np.einsum("bd,db->b", u, cho_solve(factor, u.T))
    log_det = 2.0 * np.sum(np.log(np.diag(factor[0])))
    return -0.5 * (squares + log_det + len(cov) * LOG_2PI)


def gaussian_kl(mean_q: np.ndarray, cov_q: np.ndarray, mean_p: np.ndarray, cov_p: np.ndarray) -> np.ndarray:
    r"""KL(N(mean_q, cov_q) ‖ N(mean_p, cov_p)) in nats.

    KL = ½ (tr(Σp⁻¹Σq) − J − log det(Σp⁻¹Σq) + (μq−μp)ᵀ Σp⁻¹ (μq−μp))

    Parameters
    ----------
    mean_q, mean_p
        Means (J,) or, for one KL per row, (batch, J).
    cov_q, cov_p
        Covariances (J, J), positive definite.

    Returns
    -------
    ndarray
        () or (batch,), float64.

    Notes
    -----
    The trace and the determinant are taken from the eigenvalues λ of Lp⁻¹ Σq Lp⁻ᵀ as
    Σ (λ−1) − log1p(λ−1), which keeps the digits of a small KL.
    """
    chol = np.linalg.cholesky(cov_p)
    half = np.linalg.solve(chol, cov_q)
    excess = np.linalg.eigvalsh(np.linalg.solve(chol, half.T)) - 1.0
    u = np.linalg.solve(chol, np.atleast_2d(mean_q - mean_p).T)  # Lp⁻¹ (μq − μp)
    spread = np.sum(excess - np.log1p(excess))
    kl = 0.5 * (spread + np.sum(u * u, axis=0))
    return kl if np.ndim(mean_q - mean_p) == 2 else kl[0]


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """The generative model z ~ N(0, I_J), x | z ~ N(W z + b, s² I_D), in float64.

    J may be smaller or larger than D.
    """

    weight: np.ndarray  # W, (D, J)
    bias: np.ndarray  # b, (D,)
    noise_scale: float  # s

    @property
    def cov(self) -> np.ndarray:
        """Covariance of x: W Wᵀ + s² I, (D, D)."""
        return self.weight @ self.weight.T + self.noise_scale**2 * np.eye(len(self.bias))

    @property
    def posterior_precision(self) -> np.ndarray:
        """I + WᵀW / s², (J, J): the precision of p(z|x), the same for every x."""
        return np.eye(self.weight.shape[1]) + self.weight.T @ self.weight / self.noise_scale**2

    @property
    def posterior_cov(self) -> np.ndarray:
        """Covariance of p(z|x), (J, J)."""
        return np.linalg.inv(self.posterior_precision)

    @property
    def posterior_weight(self) -> np.ndarray:
        """A of E[z|x] = A (x − b), (J, D): (I + WᵀW/s²)⁻¹ Wᵀ/s²."""
        return np.linalg.solve(self.posterior_precision, self.weight.T / self.noise_scale**2)

    def log_evidence(self, x: np.ndarray) -> np.ndarray:
        """Log p(x), (batch,), nats."""
        return log_normal_density(np.asarray(x, dtype=np.float64), self.bias, self.cov)

    def posterior(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (batch, J) and covariance (J, J) of p(z|x)."""
        u = np.asarray(x, dtype=np.float64) - self.bias
        return u @ self.posterior_weight.T, self.posterior_cov

    def sample(self, rng: np.random.Generator, num_data: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw z (num_data, J) and x (num_data, D)."""
        z = rng.standard_normal((num_data, self.weight.shape[1]))
        noise = rng.standard_normal((num_data, len(self.bias)))
        return z, z @ self.weight.T + self.bias + self.noise_scale * noise

    @property
    def mutual_information(self) -> float:
        """I(x; z) = ½ log det(I + WᵀW/s²) under the model, nats."""
        return 0.5 * float(np.linalg.slogdet(self.posterior_precision)[1])

    @property
    def entropy(self) -> float:
        """Differential entropy of x, nats: −E log p(x)."""
        return 0.5 * (float(np.linalg.slogdet(self.cov)[1]) + len(self.bias) * (1.0 + LOG_2PI))
