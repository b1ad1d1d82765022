"""The gradient of log p(x) in the generative model's parameters, by Fisher's identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy import stats

from vaeaudit.core.arrays import Data, KeyLike, as_float_array, as_key, check_count
from vaeaudit.core.errors import ArgumentError, unknown_name
from vaeaudit.estimators import proposals
from vaeaudit.estimators.laplace import laplace_fit
from vaeaudit.estimators.parameter_split import IsEncoder, ParameterSplit, split_parameters
from vaeaudit.estimators.quadrature import Box, locate_mass
from vaeaudit.estimators.reliability import pareto_k, pareto_k_threshold
from vaeaudit.models.linear_gaussian import LinearGaussianVAE
from vaeaudit.models.vae import AbstractVAE

Method = Literal["auto", "closed form", "quadrature", "iw"]
ProposalName = Literal["fitted", "defensive", "encoder"]
GROUPS = 16  # of the jackknife that removes the self-normalised estimate's O(1/K) bias
GRID_NODES = {1: 257, 2: 49, 3: 25}  # per axis of the box that holds all but e⁻²⁸ of the posterior
ALLOWED_ERROR = 0.01  # of the gradient's norm, for an exact method to be vouched for
ALLOWED_SHARE = 0.05  # of data whose weights fail the Pareto test before the gradient is refused


@dataclass(frozen=True, eq=False)
class EvidenceGradient:
    """∇_θ of the mean of log p(x) over the data.

    ``value`` and ``se`` are vectors over θ (`named` gives arrays by path). ``radius`` is a 95 % bound on
    the Euclidean distance from the exact gradient. ``draws`` (replicate, θ) are independent estimates
    whose mean is ``value``; one row where the answer is exact. ``bad_share`` is the share of data whose
    importance weights fail the Pareto test; ``reliable`` says whether the intervals are vouched for.
    """

    value: np.ndarray
    se: np.ndarray
    radius: float
    draws: np.ndarray
    method: str
    num_samples: int
    pareto_k: np.ndarray
    bad_share: float
    reliable: bool
    split: ParameterSplit

    @property
    def named(self) -> dict[str, np.ndarray]:
        """The gradient as {parameter path: array}."""
        return self.split.unravel(self.value)

    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """95 % interval per component, from Student's t over the replicates."""
        quantile = stats.t.isf(0.025, len(self.draws) - 1) if len(self.draws) > 1 else 0.0
        return self.value - quantile * self.se, self.value + quantile * self.se


def log_evidence_gradient(
    model: AbstractVAE,
    x: Data,
    *,
    rng_key: KeyLike = 0,
    method: Method = "auto",
    num_samples: int = 256,
    num_replicates: int = 32,
    proposal: ProposalName = "fitted",
    is_encoder: IsEncoder | None = None,
) -> EvidenceGradient:
    r"""Estimate ∇_θ (1/B) Σ_b log p(x_b) with its error.

    ∇_θ log p(x) = E_{p(z|x)} ∇_θ log p(x, z) ≈ Σₖ w̃ₖ ∇_θ log p(x, zₖ),   w̃ₖ = wₖ / Σ w

    Parameters
    ----------
    model
        A differentiable VAE with parameters in its pytree.
    x
        Data (batch, *event).
    rng_key
        Seed or key.
    method
        "closed form" (linear-Gaussian models), "quadrature" (at most 3 latents), "iw" (self-normalised
        importance weights), or "auto": the first of these that applies, quadrature up to 2 latents.
    num_samples
        Draws K per datum and replicate ("iw").
    num_replicates
        Independent replicates R, at least 8 ("iw").
    proposal
        "fitted" (a Laplace fit per datum, widened, beside the encoder and the prior), "defensive" (the
        encoder, widened, with a share of the prior) or "encoder".
    is_encoder
        Which parameters are the encoder's; see `split_parameters`.

    Returns
    -------
    EvidenceGradient

    Raises
    ------
    ArgumentError
        If ``method`` does not apply to this model, or for a model without parameters.

    Notes
    -----
    log p(x) does not depend on φ. The self-normalised weights' bias of order 1/K is removed by a
    jackknife over 16 groups, leaving order 1/K². ``radius``: the squared distance is a weighted sum of
    χ² variables, approximated by an F law with matched moments. Where more than 5 % of the data fail
    the Pareto test, ``reliable`` is false. Cost of "iw": K·R·B decoder evaluations, forward and back.

    References
    ----------
    Fisher's identity: Cappé, Moulines & Rydén (2005), proposition 10.1.6; jackknife: Quenouille (1956);
    Satterthwaite (1946).

    Examples
    --------
    >>> import vaeaudit as va
    >>> model = va.LinearGaussianVAE.random(0, data_dim=3, latent_dim=1)
    >>> x = np.ones((4, 3))
    >>> exact = log_evidence_gradient(model, x)
    >>> exact.method, sorted(exact.named)
    ('closed form', ['.bias', '.noise_scale', '.weight'])
    >>> estimate = log_evidence_gradient(model, x, method="iw")
    >>> bool(np.linalg.norm(estimate.value - exact.value) < estimate.radius)
    True
    """
    x = as_float_array("x", x)
    check_count("num_samples", num_samples, minimum=GROUPS)
    check_count("num_replicates", num_replicates, minimum=8)
    split = split_parameters(model, is_encoder)
    chosen = _choose(method, model)
    if chosen == "closed form":
        exact = _closed_form(model, x, split)  # type: ignore[arg-type]
        return _exact(exact, float(np.finfo(np.float32).eps * np.linalg.norm(exact)), chosen, 0, split)
    if chosen == "quadrature":
        return _quadrature(model, x, split)
    if proposal not in get_args(ProposalName):
        raise unknown_name("proposal", str(proposal), list(get_args(ProposalName)))
    draws, log_w = importance_draws(
        model, x, split, as_key(rng_key), num_samples, num_replicates, proposal=proposal
    )
    k_hat = pareto_k(log_w.reshape(-1, x.shape[0]))
    total = num_samples * num_replicates
    bad = float(np.mean(~(k_hat <= pareto_k_threshold(total))))
    value = draws.mean(axis=0)
    return EvidenceGradient(
        value=value,
        se=draws.std(axis=0, ddof=1) / np.sqrt(num_replicates),
        radius=norm_radius(draws),
        draws=draws,
        method=f"iw/{proposal}",
        num_samples=total,
        pareto_k=k_hat,
        bad_share=bad,
        reliable=bad <= ALLOWED_SHARE and bool(np.isfinite(value).all()),
        split=split,
    )


def _choose(method: str, model: AbstractVAE) -> str:
    if method not in get_args(Method):
        raise unknown_name("method", method, list(get_args(Method)))
    linear = isinstance(model, LinearGaussianVAE)
    if method == "closed form" and not linear:
        raise ArgumentError("method='closed form' needs a LinearGaussianVAE; use 'auto' for other models.")
    if method == "quadrature" and model.latent_dim > 3:
        raise ArgumentError(
            f"method='quadrature' needs at most 3 latents; the model has {model.latent_dim}. Use 'iw'."
        )
    if method != "auto":
        return method
    return "closed form" if linear else "quadrature" if model.latent_dim <= 2 else "iw"


def _exact(value: np.ndarray, error: float, method: str, num: int, split: ParameterSplit) -> EvidenceGradient:
    return EvidenceGradient(
        value=value,
        se=np.zeros_like(value),
        radius=error,
        draws=value[None],
        method=method,
        num_samples=num,
        pareto_k=np.zeros(0),
        bad_share=0.0,
        reliable=bool(np.isfinite(value).all())
        and error <= ALLOWED_ERROR * float(np.linalg.norm(value)) + 1e-12,
        split=split,
    )


def _closed_form(model: LinearGaussianVAE, x: Array, split: ParameterSplit) -> np.ndarray:
    r"""C = WWᵀ + s²I, u = x − b, M = C⁻¹(ū̄uᵀ)C⁻¹ − C⁻¹:  ∇_W = M W, ∇_b = C⁻¹ū, ∇_s = s tr M."""
    g = model.generative
    u = np.asarray(x, dtype=np.float64).reshape(x.shape[0], -1) - g.bias
    inverse = np.linalg.inv(g.cov)
    m = inverse @ (u.T @ u / len(u)) @ inverse - inverse
    gradient = {
        ".weight": m @ g.weight,
        ".bias": inverse @ u.mean(axis=0),
        ".noise_scale": np.asarray(g.noise_scale * np.trace(m)),
    }
    theta = [path for path, phi in zip(split.paths, split.encoder, strict=True) if not phi]
    return np.concatenate([gradient[path].reshape(-1) for path in theta])


@eqx.filter_jit
def _weighted_gradient(split: ParameterSplit, x: Array, z: Array, weight: Array) -> Array:
    """∇_θ (1/B) Σ_b Σ_s weight_sb log p(x_b, z_sb) as a vector."""

    def total(leaves: list[Array]) -> Array:
        model = split.combine(leaves)
        return jnp.sum(weight * (model.log_likelihood(x, z) + model.log_prior(z))) / x.shape[0]

    return split.vectors(jax.grad(total)(split.leaves))[0]


def _grid(box: Box, nodes: int) -> np.ndarray:
    """Nodes of the box's grid, (nodes^latent, batch, latent)."""
    latent = box.centre.shape[1]
    unit = np.linspace(0.0, 1.0, nodes)
    mesh = np.stack(np.meshgrid(*[unit] * latent, indexing="ij"), axis=-1).reshape(-1, 1, latent)
    u = box.lower + mesh * (box.upper - box.lower)
    return box.centre + np.einsum("bij,sbj->sbi", box.frame, u)


@eqx.filter_jit
def _encode(model: AbstractVAE, x: Array) -> tuple[Array, Array]:
    return model.encode(x)


@eqx.filter_jit
def _log_joint(model: AbstractVAE, x: Array, z: Array) -> Array:
    return model.log_likelihood(x, z) + model.log_prior(z)


def _quadrature(model: AbstractVAE, x: Array, split: ParameterSplit) -> EvidenceGradient:
    """Posterior expectation on a grid, refined once if its error exceeds `ALLOWED_ERROR` (≤ 2 latents)."""
    nodes, latent = GRID_NODES[model.latent_dim], model.latent_dim
    value, error = _on_grid(model, x, split, nodes)
    if latent <= 2 and not error <= ALLOWED_ERROR * np.linalg.norm(value):
        nodes = 2 * nodes - 1
        value, error = _on_grid(model, x, split, nodes)
    return _exact(value, error, "quadrature", nodes**latent, split)


def _on_grid(
    model: AbstractVAE, x: Array, split: ParameterSplit, nodes: int, *, batch_size: int = 32
) -> tuple[np.ndarray, float]:
    """The gradient on one grid and its error: change with half the nodes, and mass at the edge."""
    loc, scale = (np.asarray(a, dtype=np.float64) for a in _encode(model, x))
    latent = model.latent_dim
    keep = np.zeros([nodes] * latent, dtype=bool)
    keep[tuple([slice(0, None, 2)] * latent)] = True
    inner = np.zeros([nodes] * latent, dtype=bool)
    inner[tuple([slice(1, -1)] * latent)] = True
    totals = [np.zeros(1), np.zeros(1)]  # on all nodes, on every second one
    edge = 0.0  # largest share of a posterior's mass on the box's surface
    for start in range(0, x.shape[0], batch_size):
        rows = slice(start, start + batch_size)
        part = x[rows]
        with np.errstate(invalid="ignore", divide="ignore"):
            box, _ = locate_mass(model, part, loc[rows], scale[rows])
        z = jnp.asarray(_grid(box, nodes), jnp.float32)
        log_w = np.asarray(_log_joint(model, part, z), dtype=np.float64)
        for which, values in enumerate((log_w, np.where(keep.reshape(-1, 1), log_w, -np.inf))):
            w = np.exp(values - values.max(axis=0))
            w /= w.sum(axis=0)
            edge = max(edge, float(w[~inner.reshape(-1)].sum(axis=0).max()))
            gradient = _weighted_gradient(split, part, z, jnp.asarray(w, jnp.float32))
            share = part.shape[0] / x.shape[0]
            totals[which] = totals[which] + np.asarray(gradient, dtype=np.float64) * share
    value, coarse = totals
    norm = np.linalg.norm(value)
    return value, float(np.linalg.norm(value - coarse) + (1e-5 + nodes * edge) * norm)


@eqx.filter_jit
def _replicate(
    split: ParameterSplit, proposal: proposals.Proposal, x: Array, keys: Array, num: int
) -> tuple[Array, Array]:
    """Self-normalised gradient of each key, (replicate, θ), and its log weights."""
    model = split.combine(split.leaves)

    def one(rng_key: Array) -> tuple[Array, Array]:
        z, log_r = proposal.draw(rng_key, num)
        log_w = model.log_likelihood(x, z) + model.log_prior(z) - log_r
        return _weighted_gradient(split, x, z, jackknife_weights(log_w)), log_w

    return jax.lax.map(one, keys)


def jackknife_weights(log_w: Array) -> Array:
    r"""Weights (sample, batch) whose weighted mean has no bias of order 1/K.

    cₖ = G wₖ/W − (G−1)/G Σ_{j ≠ g(k)} wₖ/(W − W_j),   W_j the weight of group j of G

    Notes
    -----
    They sum to one; some can be negative. Groups are interleaved samples; trailing samples beyond a
    multiple of G stay in no group.
    """
    w = jnp.exp(log_w - jnp.max(log_w, axis=0))
    total = jnp.sum(w, axis=0)
    size = w.shape[0] // GROUPS
    group = jnp.sum(w[: size * GROUPS].reshape(size, GROUPS, -1), axis=0)  # (group, batch)
    inverse = 1.0 / jnp.maximum(total - group, 0.1 * total)  # one group with all the weight: no correction
    all_others = jnp.sum(inverse, axis=0)
    own = jnp.tile(inverse, (size, 1))
    own = jnp.concatenate([own, jnp.zeros((w.shape[0] - size * GROUPS, w.shape[1]), w.dtype)])
    return w * (GROUPS / total - (GROUPS - 1) / GROUPS * (all_others - own))


def importance_draws(
    model: AbstractVAE,
    x: Array,
    split: ParameterSplit,
    rng_key: Array,
    num_samples: int,
    num_replicates: int,
    *,
    proposal: ProposalName = "fitted",
) -> tuple[np.ndarray, np.ndarray]:
    """Independent estimates of ∇_θ, (replicate, θ), and their log weights (replicate, sample, batch)."""
    loc, scale = _encode(model, x)
    if proposal == "fitted":
        source = proposals.around_mode(*laplace_fit(model, x, loc), loc, scale)
    else:
        source = (proposals.defensive if proposal == "defensive" else proposals.gaussian)(loc, scale)
    keys = jax.random.split(rng_key, num_replicates)
    draws, log_w = _replicate(split, source, x, keys, num_samples)
    return np.asarray(draws, dtype=np.float64), np.asarray(log_w, dtype=np.float64)


def norm_radius(draws: np.ndarray, level: float = 0.05) -> float:
    r"""Bound on ‖mean − expectation‖ with probability 1 − ``level``, from independent rows.

    R ‖ḡ − g‖² / tr Σ̂ ≈ F(ν, ν(R−1)),   ν = (tr Σ)² / tr Σ²

    References
    ----------
    Satterthwaite (1946); unbiased tr Σ²: Srivastava (2005), eq. 2.11.
    """
    num = len(draws)
    centred = draws - draws.mean(axis=0)
    gram = centred @ centred.T / (num - 1)
    trace = float(np.trace(gram))
    if trace <= 0:
        return 0.0
    square = float(np.sum(gram**2))  # tr S²
    n = num - 1
    unbiased = n**2 / ((n - 1) * (n + 2)) * (square - trace**2 / n)
    freedom = trace**2 / unbiased if unbiased > trace**2 / draws.shape[1] else draws.shape[1]
    freedom = min(max(freedom, 1.0), draws.shape[1])
    return float(np.sqrt(stats.f.isf(level, freedom, freedom * n) * trace / num))
