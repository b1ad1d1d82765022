"""In which direction does an objective push? Its gradient against those of log p(x), the ELBO and others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array

from vaeaudit.core.arrays import Data, KeyLike, as_float_array, as_key, check_count
from vaeaudit.core.errors import ArgumentError, NonFiniteError, unknown_name
from vaeaudit.core.records import Estimate
from vaeaudit.estimators.fisher_identity import EvidenceGradient, Method, ProposalName, log_evidence_gradient
from vaeaudit.estimators.gram_statistics import NormTest, norm_test, pair_statistics
from vaeaudit.estimators.parameter_split import IsEncoder, ParameterSplit, split_parameters
from vaeaudit.models.vae import AbstractVAE
from vaeaudit.objectives.base import Objective
from vaeaudit.objectives.registry import parse
from vaeaudit.objectives.terms import compute_terms

TARGETS = ("log_evidence", "elbo", "posterior_kl", "wasserstein", "distortion")
BASES = ("objective", "elbo", "distortion", "wasserstein", "log_evidence")
# target → weights on the bases whose sum is the function climbed
RECIPES: dict[str, dict[str, float]] = {
    "log_evidence": {"log_evidence": 1.0},  # log p(x)
    "elbo": {"elbo": 1.0},
    "posterior_kl": {"elbo": 1.0, "log_evidence": -1.0},  # −KL(q ‖ p(z|x)) = ELBO − log p(x)
    "wasserstein": {"wasserstein": 1.0},  # −W₂²(q, p)
    "distortion": {"distortion": 1.0},  # −distortion = E_q log p(x|z)
}
NO_DEPENDENCE = {
    ("log_evidence", "phi"): "log p(x) does not depend on the encoder: its gradient in φ is exactly zero",
    ("wasserstein", "theta"): "W₂²(q, p) does not depend on the decoder: its gradient in θ is exactly zero",
}
COLUMNS = (
    "target", "parameters", "cosine", "se", "lower", "upper", "projection", "projection_se",
    "projection_lower", "projection_upper", "climb", "climb_se", "climb_lower", "climb_upper",
    "objective_norm", "target_norm", "verdict", "note",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class GradientAlignment:
    """Direction of one objective's gradient, target by target, θ and φ apart.

    ``table`` has one row per target and parameter group. ``cosine``: of the angle between the two
    gradients. ``projection``: ⟨objective, target⟩ / ‖target‖², 1 where the objective pushes along the
    target exactly as the target's own gradient does. ``climb``: change of the target, in nats per
    datum (its own unit for W₂²), per unit step along the objective's gradient; negative means that it
    descends. Rows without an interval say why in ``note``.
    """

    objective: str
    table: pd.DataFrame
    method: str
    num_data: int
    num_samples: int
    num_replicates: int

    def cosine(self, target: str, parameters: str = "theta") -> Estimate:
        """The cosine with one target as an `Estimate`."""
        match = self.table[(self.table["target"] == target) & (self.table["parameters"] == parameters)]
        if match.empty:
            raise ArgumentError(
                f"no row for target {target!r} and parameters {parameters!r}; targets here: "
                f"{', '.join(self.table['target'].unique())}; parameters are 'theta' and 'phi'."
            )
        row = match.iloc[0]
        return Estimate(
            value=float(row["cosine"]),
            se=float(row["se"]),
            lower=float(row["lower"]),
            upper=float(row["upper"]),
            unit="cosine",
            verdict=row["verdict"],
            note=row["note"],
            num_samples=self.num_samples * self.num_replicates,
            num_data=self.num_data,
        )

    def __str__(self) -> str:
        shown = self.table[["target", "parameters", "cosine", "lower", "upper", "verdict"]]
        return f"{self.objective} ({self.method})\n{shown.to_string(index=False, float_format='%.3f')}"

    __repr__ = __str__


@eqx.filter_jit
def _base_draws(
    split: ParameterSplit,
    objective: Objective,
    x: Array,
    keys: Array,
    groups: int,
    progress: Array,
    num_data: Array,
) -> tuple[Array, Array]:
    """Gradients of objective, ELBO, −distortion, −W₂² per key: θ (replicate, 4, P), φ (replicate, 4, Q)."""

    def values(leaves: list[Array], rng_key: Array) -> Array:
        model = split.combine(leaves)

        def one(key: Array) -> Array:
            terms = compute_terms(
                model,
                x,
                key,
                num_samples=objective.num_samples,
                progress=progress,
                num_data=num_data,
                with_prior_draws=objective.needs_prior_draws,
            )
            own = terms
            if objective.deterministic:
                own = compute_terms(model, x, key, num_samples=1, deterministic=True, num_data=num_data)
            likelihood = jnp.mean(terms.expected_log_likelihood)
            return jnp.stack(
                [
                    jnp.mean(jnp.broadcast_to(objective(own), (x.shape[0],))),
                    likelihood - jnp.mean(terms.rate),
                    likelihood,
                    -jnp.mean(terms.wasserstein_penalty),
                ]
            )

        return jnp.mean(jax.vmap(one)(jax.random.split(rng_key, groups)), axis=0)

    def one_replicate(rng_key: Array) -> tuple[Array, Array]:
        return split.vectors(jax.jacrev(values)(split.leaves, rng_key))

    return jax.lax.map(one_replicate, keys)


def gradient_alignment(
    objective: Objective | str,
    model: AbstractVAE,
    x: Data,
    targets: Sequence[str] = TARGETS,
    *,
    rng_key: KeyLike = 0,
    num_samples: int = 64,
    num_replicates: int = 32,
    method: Method = "auto",
    num_importance: int = 256,
    proposal: ProposalName = "fitted",
    is_encoder: IsEncoder | None = None,
    progress: float = 1.0,
    num_data: int | None = None,
) -> GradientAlignment:
    r"""Cosine and projection of an objective's gradient on the gradients of what it is taken to climb.

    cos(∇ objective, ∇ target) in θ (generative model) and in φ (encoder), over the data given

    Parameters
    ----------
    objective
        An objective or its name; its value's mean over ``x`` is differentiated.
    model
        A differentiable VAE with parameters in its pytree.
    x
        Data (batch, *event); the answer is about this batch, not a population.
    targets
        Among "log_evidence" (log p(x)), "elbo", "posterior_kl" (−KL(q ‖ p(z|x))), "wasserstein"
        (−W₂²(q, p)) and "distortion" (E_q log p(x|z)); each is climbed.
    rng_key
        Seed or key.
    num_samples
        Draws of z per datum and replicate for the objective and the ELBO.
    num_replicates
        Independent replicates R ≥ 8; intervals come from their spread.
    method, num_importance, proposal
        How ∇ log p(x) is found; see `log_evidence_gradient`.
    is_encoder
        Which parameters are the encoder's; see `split_parameters`.
    progress
        Share of training done, for schedules.
    num_data
        Size of the data set behind the batch.

    Returns
    -------
    GradientAlignment

    Raises
    ------
    UnknownNameError
        For an unknown target or objective.
    ArgumentError
        For a model without parameters, or counts too small.
    NonFiniteError
        If the objective's gradient is not finite.

    Notes
    -----
    Cosines of averaged noisy gradients are biased towards zero; here every inner product leaves out
    the products of a replicate with itself, which makes it unbiased, and a jackknife over replicates
    gives the interval. Objective and ELBO share their draws, so that equal gradients give a cosine of
    1 without noise. A row is refused ("undefined") where a gradient is exactly zero or not told apart
    from zero (sign-flip test at 1 %), and "unreliable" where a squared norm is known to no better than
    30 % or more than 5 % of the data fail the Pareto test. Euclidean geometry in the model's own
    parameters: a preconditioned optimiser moves in another direction. Cost: R·(num_samples +
    num_importance)·B decoder evaluations, forward and back, and 5 R gradient vectors in memory.

    References
    ----------
    Fisher's identity: Cappé, Moulines & Rydén (2005), proposition 10.1.6; Hoeffding (1948).

    Examples
    --------
    >>> import vaeaudit as va
    >>> model = va.LinearGaussianVAE.random(0, data_dim=3, latent_dim=1).mismatched(1.5, 0.4)
    >>> result = gradient_alignment("beta(1)", model, np.ones((4, 3)), num_samples=16)
    >>> round(result.cosine("elbo", "phi").value, 3)
    1.0
    >>> result.cosine("log_evidence", "phi").verdict
    'undefined'
    """
    objective = parse(objective)
    unknown = [t for t in targets if t not in RECIPES]
    if unknown:
        raise unknown_name("target", str(unknown[0]), list(RECIPES))
    if not targets:
        raise ArgumentError(f"`targets` must name at least one of {', '.join(RECIPES)}.")
    x = as_float_array("x", x)
    check_count("num_samples", num_samples)
    check_count("num_replicates", num_replicates, minimum=8)
    split = split_parameters(model, is_encoder)
    key = as_key(rng_key)
    groups = max(1, math.ceil(num_samples / objective.num_samples))
    draws = _base_draws(
        split,
        objective,
        x,
        jax.random.split(jax.random.fold_in(key, 0), num_replicates),
        groups,
        jnp.asarray(progress, jnp.float32),
        jnp.asarray(x.shape[0] if num_data is None else num_data, jnp.float32),
    )
    theta, phi = (np.moveaxis(np.asarray(d), 1, 0) for d in draws)  # (base, replicate, parameter)
    if not (np.isfinite(theta).all() and np.isfinite(phi).all()):
        raise NonFiniteError(
            f"the gradient of {objective.name} is not finite on these data. Either the model diverged, or "
            "the objective reads something this model lacks."
        )
    evidence = None
    if any("log_evidence" in RECIPES[t] for t in targets):
        evidence = log_evidence_gradient(
            model,
            x,
            rng_key=jax.random.fold_in(key, 1),
            method=method,
            num_samples=num_importance,
            num_replicates=num_replicates,
            proposal=proposal,
            is_encoder=is_encoder,
        )
    rows = []
    for name, bases, extra in (
        ("theta", theta, None if evidence is None else evidence.draws),
        ("phi", phi, None if evidence is None else np.zeros((1, phi.shape[-1]))),
    ):
        gram = _block_gram(bases, extra)
        rows += [_row(target, name, gram, evidence) for target in targets]
    return GradientAlignment(
        objective=objective.name,
        table=pd.DataFrame(rows, columns=list(COLUMNS)),
        method="–" if evidence is None else evidence.method,
        num_data=int(x.shape[0]),
        num_samples=groups * objective.num_samples,
        num_replicates=num_replicates,
    )


def _block_gram(bases: np.ndarray, evidence: np.ndarray | None) -> np.ndarray:
    """Inner products ⟨base_i draw r, base_j draw s⟩ as (base, replicate, base, replicate), float64."""
    num_bases, num, size = bases.shape
    flat = bases.reshape(num_bases * num, size).astype(np.float64)
    if evidence is not None:
        flat = np.concatenate([flat, np.broadcast_to(evidence, (num, size)).astype(np.float64)])
        num_bases += 1
    return (flat @ flat.T).reshape(num_bases, num, num_bases, num)


def _combine(gram: np.ndarray, left: dict[str, float], right: dict[str, float]) -> np.ndarray:
    """Gram matrix (replicate, replicate) of two weighted sums of bases."""
    out = np.zeros((gram.shape[1], gram.shape[1]))
    for a, wa in left.items():
        for b, wb in right.items():
            out += wa * wb * gram[BASES.index(a), :, BASES.index(b), :]
    return out


def _row(target: str, parameters: str, gram: np.ndarray, evidence: EvidenceGradient | None) -> dict[str, Any]:
    recipe = RECIPES[target]
    own = {"objective": 1.0}
    aa, ab, bb = _combine(gram, own, own), _combine(gram, own, recipe), _combine(gram, recipe, recipe)
    row: dict[str, Any] = dict.fromkeys(COLUMNS, np.nan)
    row |= {"target": target, "parameters": parameters, "verdict": "ok", "note": ""}
    tests = (norm_test(aa, seed=0), norm_test(bb, seed=1))
    uses_weights = parameters == "theta" and "log_evidence" in recipe and evidence is not None
    reason = NO_DEPENDENCE.get((target, parameters)) or _undefined(target, tests)
    if reason:
        return row | {"verdict": "undefined", "note": reason}
    pair = pair_statistics(aa, ab, bb)
    row |= {"cosine": pair.cosine.value, "projection": pair.projection.value, "climb": pair.climb.value}
    row |= {"objective_norm": pair.norm_a, "target_norm": pair.norm_b}
    if uses_weights and not evidence.reliable:  # type: ignore[union-attr]
        return row | {"verdict": "unreliable", "note": _not_vouched_for(evidence)}  # type: ignore[arg-type]
    if not all(test.well_known for test in tests):
        worst = max(test.relative_se for test in tests)
        note = (
            f"a squared gradient norm is known to ±{worst:.0%} only; raise `num_samples` or `num_replicates`"
        )
        return row | {"verdict": "unreliable", "note": note}
    row |= {"se": pair.cosine.se, "lower": pair.cosine.lower, "upper": pair.cosine.upper}
    for name, interval in (("projection", pair.projection), ("climb", pair.climb)):
        row |= {f"{name}_se": interval.se, f"{name}_lower": interval.lower, f"{name}_upper": interval.upper}
    return row


def _not_vouched_for(evidence: EvidenceGradient) -> str:
    """Why the gradient of log p(x) has no interval."""
    if evidence.method == "quadrature":
        return "the grid does not resolve the posterior of some data; use method='iw'"
    return (
        f"importance weights of {evidence.bad_share:.0%} of the data fail the Pareto test; raise "
        "`num_importance` or use method='quadrature' (at most 3 latents)"
    )


def _undefined(target: str, tests: tuple[NormTest, NormTest]) -> str:
    for test, what in zip(tests, ("the objective's gradient", f"the gradient of {target}"), strict=True):
        if test.exactly_zero:
            return f"{what} is exactly zero in these parameters"
        if not test.different_from_zero:
            return (
                f"{what} is not told apart from zero (p = {test.p_value:.2g}): a stationary point, or too "
                "few draws; raise `num_samples` or `num_replicates`"
            )
    return ""
