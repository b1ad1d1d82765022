r"""Log density of a Gaussian mixture q_N(z) = (1/N) Σₙ N(z; μₙ, diag σₙ²) at many points.

The kernel under every quantity of the aggregate posterior: M points against N components with a streaming
logsumexp over tiles, so that memory does not grow with M · N, and a stated bound on its rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import numpy as np

from vaeaudit.core.arrays import check_finite, check_loc_scale
from vaeaudit.core.errors import ArgumentError, DtypeError, ShapeError
from vaeaudit.core.gaussian import LOG_2PI
from vaeaudit.estimators.mixture_density_marginals import (
    choose_form,
    log_sums_by_latent,
    marginal_error,
)
from vaeaudit.estimators.mixture_kernel_evaluate import (
    Kind,
    Problem,
    error_bound,
    evaluate,
    product_error_bound,
)

Method = Literal["auto", "direct", "product", "float64"]
METHODS = ("auto", "direct", "product", "float64")
TOLERANCE = 1e-3  # nats of rounding, in the worst case, that `auto` lets pass
NEGLIGIBLE = 40.0  # nats below the own component at which the others no longer count


@dataclass(frozen=True)
class MixtureDensity:
    """Log density of the mixture at M points (nats, float64 on the host).

    Attributes
    ----------
    log_q
        log (1/N) Σₙ q(z|xₙ), (M,), own component included.
    log_q_others
        log 1/(N−1) Σ_{n≠own} q(z|xₙ), (M,); None where no own component was named.
    log_marginals, log_marginals_others
        The same per dimension, (M, J); None where not asked for.
    method
        How ``log_q`` was computed: ``"direct"``, ``"product"``, ``"float64"``, ``"direct+float64"`` where
        some points were computed again in float64, or ``"series"`` for one latent and many pairs.
    max_error
        Bound on the rounding error of every element of ``log_q`` (nats).
    max_error_others
        The same for ``log_q_others``; large where a point lies so far from every other component that its
        value is, say, −10⁶ nats and six digits of it are kept.
    max_error_marginals
        Bound on the rounding error of a row's sum over ``log_marginals``; NaN where not asked for.
    """

    log_q: np.ndarray
    log_q_others: np.ndarray | None
    log_marginals: np.ndarray | None
    log_marginals_others: np.ndarray | None
    method: str
    max_error: float
    max_error_others: float
    max_error_marginals: float = math.nan


def _choose(problem: Problem, method: Method, tolerance: float) -> Kind:
    """For `auto`: the product on an accelerator where its bound allows, else the direct form."""
    if method != "auto":
        return method
    if jax.default_backend() == "cpu" or problem.z.shape[1] < 16:
        return "direct"
    centre = problem.loc.mean(0)
    bound = product_error_bound(problem.z - centre, problem.loc - centre, problem.scale, 2.0**-24)
    return "product" if bound <= tolerance else "direct"


def _host(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype == np.float16 or not np.issubdtype(array.dtype, np.floating):
        raise DtypeError(f"`{name}` must be float32 or float64; got {array.dtype}.")
    check_finite(name, array)
    return array.astype(np.float64)


def log_mixture_density(
    z: Any,
    loc: Any,
    scale: Any,
    *,
    own: Any = None,
    noise: Any = None,
    marginals: bool = False,
    method: Method = "auto",
    tolerance: float = TOLERANCE,
) -> MixtureDensity:
    r"""Log density of the mixture of N diagonal Gaussians at M points, in constant memory.

    log q_N(z) = log (1/N) Σₙ Π_j N(z_j; μₙⱼ, σₙⱼ²)

    Parameters
    ----------
    z
        Points (M, J); of float64 points the digits below float32 are kept.
    loc, scale
        Components (N, J).
    own
        Index (M,) of the component that each point was drawn from; enables the sums over the others.
    noise
        (M, J) with z = loc[own] + scale[own] · noise: the own component is then computed from the noise, free
        of cancellation.
    marginals
        Whether to compute the J one-dimensional mixtures too.
    method
        ``"direct"``: squared differences in float32. ``"product"``: one matrix product in float32, which
        loses digits by cancellation. ``"float64"``: squared differences in float64. ``"auto"``: the direct
        form, or the product on an accelerator where `product_error_bound` allows it; points whose bound
        exceeds ``tolerance`` are computed again in float64. One-dimensional mixtures of more than two million
        pairs go through `gaussian_sums` instead, within 10⁻⁴ nat for all latents of a point together.
    tolerance
        Worst-case rounding, in nats, that ``"auto"`` lets pass.

    Returns
    -------
    MixtureDensity

    Raises
    ------
    ShapeError, NonFiniteError, ScaleError, ArgumentError, DtypeError
        If the arrays do not fit together or cannot be what they claim to be.

    Notes
    -----
    Deterministic; no bias. Cost: M · N · J multiply-adds and M · N exponentials on all cores, or split over
    the points on all devices; ``marginals`` add about (M + N) · J microseconds on a CPU. Memory: the inputs
    and one tile per core. ``max_error`` is a worst-case bound, first order in the unit roundoff; measured
    errors are about a tenth of it. −inf in ``log_q_others`` means that there is no other component, or none
    within the range of floats.

    References
    ----------
    Hoffman & Johnson (2016), section 3; Chen et al. (2018), appendix C, whose estimators this replaces.

    Examples
    --------
    >>> import numpy as np
    >>> loc, scale = np.zeros((3, 1)), np.ones((3, 1))
    >>> round(float(log_mixture_density(np.zeros((1, 1)), loc, scale).log_q[0]), 4)
    -0.9189
    """
    loc, scale = _host("loc", loc), _host("scale", scale)
    check_loc_scale(loc, scale)
    z = _host("z", z)
    if z.ndim != 2 or z.shape[0] == 0 or z.shape[1] != loc.shape[1]:
        raise ShapeError(f"`z` must be (points, {loc.shape[1]}) like the components; got {z.shape}.")
    if method not in METHODS:
        raise ArgumentError(f"`method` must be one of {METHODS}; got {method!r}.")
    num_points, num_data = z.shape[0], loc.shape[0]
    owner = np.full(num_points, -1, np.int32) if own is None else np.asarray(own, np.int32)
    if owner.shape != (num_points,) or (own is not None and (owner.min() < 0 or owner.max() >= num_data)):
        raise ShapeError(
            f"`own` must hold one component index in [0, {num_data}) per point; got shape {owner.shape}"
            + (f" with values in [{owner.min()}, {owner.max()}]." if owner.size else ".")
        )
    problem = Problem(z, loc, scale, owner)
    own_single = None if own is None else _own_by_latent(problem, noise)
    kind = _choose(problem, method, tolerance)
    form = choose_form(problem, method)
    whole = form == "series" and z.shape[1] == 1  # the only latent is the joint density too
    single = single_error = None
    if marginals or whole:
        single, single_error = log_sums_by_latent(problem, kind, form)
    label: str = kind
    if whole:
        assert single is not None
        assert single_error is not None
        others, error, label = single[:, 0].copy(), single_error[:, 0].copy(), "series"
    else:
        others = evaluate(problem, kind)
        error = error_bound(problem, others, kind)
    if method == "auto" and label == "direct":
        matters = True if own_single is None else others > own_single.sum(1) - NEGLIGIBLE
        if np.any(redo := (error > tolerance) & matters):
            rows = np.flatnonzero(redo)
            others[rows] = evaluate(problem.at(rows), "float64")
            error[rows] = error_bound(problem.at(rows), others[rows], "float64")
            label = "direct+float64"
    density = _assemble(num_data, others, single if marginals else None, own_single, label, error)
    if not marginals or single is None or single_error is None:
        return density
    return replace(density, max_error_marginals=marginal_error(single, single_error, own_single))


def _own_by_latent(problem: Problem, noise: Any) -> np.ndarray:
    """Log q(z_j|x_own), (M, J), from the noise where it is given."""
    loc, scale = problem.loc[problem.own], problem.scale[problem.own]
    if noise is None:
        u = (problem.z - loc) / scale
    else:
        u = _host("noise", noise)
        if u.shape != problem.z.shape:
            raise ShapeError(f"`noise` must have the shape of `z`, {problem.z.shape}; got {u.shape}.")
    return -0.5 * u**2 - np.log(scale) - 0.5 * LOG_2PI


def _assemble(
    num_data: int,
    others: np.ndarray,
    others_single: np.ndarray | None,
    own_single: np.ndarray | None,
    method: str,
    error: np.ndarray,
) -> MixtureDensity:
    """Put the own component back in, and divide by N or by N − 1."""
    log_count, log_rest = math.log(num_data), math.log(max(num_data - 1, 1))
    worst = float(error.max())
    if own_single is None:
        marginal = None if others_single is None else others_single - log_count
        return MixtureDensity(others - log_count, None, marginal, None, method, worst, worst)
    own = own_single.sum(1)
    with_own = np.logaddexp(others, own)
    share = np.exp(others - with_own)  # of the other components: their error enters with this weight
    worst_with_own = float(np.max(share * error + 2.0**-50 * (np.abs(with_own) + 8)))
    single = rest = None
    if others_single is not None:
        single, rest = np.logaddexp(others_single, own_single) - log_count, others_single - log_rest
    return MixtureDensity(
        with_own - log_count, others - log_rest, single, rest, method, worst_with_own, worst
    )
