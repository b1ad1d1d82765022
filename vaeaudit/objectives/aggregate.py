"""Objectives on the aggregate posterior: total_correlation (β-TCVAE) and mmd (Wasserstein autoencoder)."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from vaeaudit.core.gaussian import LOG_2PI
from vaeaudit.objectives.base import Objective, Regulariser, Terms, at_least, number, text


def stratified_log_weights(batch: int, num_data: Array) -> Array:
    r"""Log weights (batch, batch) that make a minibatch mixture unbiased for q_N(z_i).

    row i:  1/N at i itself,  (N − 1) / (N (B − 1)) at every other datum of the batch

    Notes
    -----
    Given x_i, the others are a uniform draw from the remaining N − 1 data, so that the weighted mean of
    densities is unbiased for q_N(z_i) = (1/N) Σₙ q(z_i|xₙ). Each row sums to 1. It is the symmetric
    form of minibatch stratified sampling: the own weight 1/N is on the diagonal (a widely copied matrix
    has it in column 0), the rest spread evenly instead of on one odd neighbour.

    References
    ----------
    Chen et al. (2018), appendix C.2.
    """
    own = -jnp.log(num_data)
    # N = B gives 1/N everywhere; a batch of one has no others
    others = jnp.log(jnp.maximum(num_data - 1.0, 1e-12)) - jnp.log(num_data) - jnp.log(max(batch - 1, 1))
    return jnp.where(jnp.eye(batch, dtype=bool), own, others)


class TotalCorrelation(Objective):
    r"""β-TCVAE: the ELBO with the total correlation weighted β instead of 1.

    E_q log p(x|z) − KL(q(z|x) ‖ p(z)) − (β − 1) [log q(z) − Σ_j log q(z_j)]

    Notes
    -----
    The paper's −I − β·TC − dimwise KL with α = γ = 1; the KL that the three sum to is exact, only the
    extra (β − 1)·TC is estimated, by `stratified_log_weights` over the batch. That estimate is biased
    (a log of an unbiased mean) and can be negative. Per datum no bound is claimed unless β = 1.

    References
    ----------
    Chen et al. (2018), eq. 4 and appendix C.2.
    """

    weight: Array = eqx.field(converter=number)  # β

    def __check_init__(self) -> None:
        at_least("weight", self.weight, 0.0)

    @property
    def name(self) -> str:
        return f"total_correlation({text(self.weight)})"

    @property
    def is_lower_bound(self) -> bool:
        return float(self.weight) == 1.0

    @property
    def regulariser(self) -> Regulariser:
        return "total_correlation"

    @property
    def couples_batch(self) -> bool:
        return True

    def log_ratio(self, terms: Terms) -> Array:
        """Estimate of log q(z) − Σ_j log q(z_j) at the first sample of each datum, (batch,)."""
        z, loc, scale = terms.z[0].T, terms.loc.T, terms.scale.T  # latent first: sums run along rows
        # a product, not a quotient: compilers rewrite the latter in some programs only, and bits differ
        u = (z[:, :, None] - loc[:, None]) * (1.0 / scale)[:, None]  # row: z_i, column: q(·|x_k)
        log_q = -0.5 * u * u - jnp.log(scale)[:, None] - 0.5 * LOG_2PI  # (latent, batch, batch)
        log_weight = stratified_log_weights(z.shape[1], terms.num_data)
        joint = jax.nn.logsumexp(log_weight + jnp.sum(log_q, axis=0), axis=-1)
        marginals = jax.nn.logsumexp(log_weight + log_q, axis=-1)  # one weight per dimension
        return joint - jnp.sum(marginals, axis=0)

    def __call__(self, terms: Terms) -> Array:
        return terms.expected_log_likelihood - terms.rate - (self.weight - 1.0) * self.log_ratio(terms)


class MMD(Objective):
    r"""Wasserstein autoencoder with the maximum mean discrepancy of the codes to the prior.

    E_q log p(x|z) − λ MMD²({z_i}, {z̃_i}),   z̃_i ~ p(z),   k(a, b) = C / (C + ‖a − b‖²),  C = 2J

    Notes
    -----
    The unbiased U-statistic over the batch, so that it can be negative; the same for every datum.
    A batch of one gives a penalty of λ·(−2 k(z, z̃)) without the within-sample terms.

    References
    ----------
    Tolstikhin et al. (2018), algorithm 2; Gretton et al. (2012), eq. 3.
    """

    weight: Array = eqx.field(converter=number)  # λ

    def __check_init__(self) -> None:
        at_least("weight", self.weight, 0.0)

    @property
    def name(self) -> str:
        return f"mmd({text(self.weight)})"

    @property
    def is_lower_bound(self) -> bool:
        return False

    @property
    def regulariser(self) -> Regulariser:
        return "mmd"

    @property
    def couples_batch(self) -> bool:
        return True

    @property
    def needs_prior_draws(self) -> bool:
        return True

    @staticmethod
    def squared_mmd(a: Array, b: Array) -> Array:
        """Unbiased MMD² between samples a and b, (n, latent) each."""
        n, latent = a.shape
        c = 2.0 * latent

        def kernel(s: Array, t: Array) -> Array:
            return c / (c + jnp.sum((s[:, None] - t[None]) ** 2, axis=-1))

        pairs = max(n * (n - 1), 1)
        within = jnp.sum(kernel(a, a)) + jnp.sum(kernel(b, b)) - 2.0 * n  # k(a, a) = 1 on both diagonals
        return within / pairs - 2.0 * jnp.mean(kernel(a, b))

    def __call__(self, terms: Terms) -> Array:
        return terms.expected_log_likelihood - self.weight * self.squared_mmd(terms.z[0], terms.prior_z)
