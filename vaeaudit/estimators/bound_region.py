"""Where in (μ, σ) a stand-in for the KL is smaller than the KL: the only place where its bound can break."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vaeaudit.core.errors import ArgumentError, ScaleError, unknown_name

# regulariser → (a, b): λ(a μ² + b (σ − 1)²) stands in for the KL; "kl" is λ KL itself (β = λ)
QUADRATIC = {
    "wasserstein": (1.0, 1.0),
    "half_quadratic": (0.5, 1.0),
    "moment": (1.0, 0.0),
    "none": (0.0, 0.0),
}


class LocRange(NamedTuple):
    """The values of |μ| at which the stand-in is below the KL: lower < |μ| < upper; NaN for none."""

    lower: np.ndarray
    upper: np.ndarray


def _positive(scale: Any) -> np.ndarray:
    array = np.asarray(scale, dtype=np.float64)
    if not (array > 0).all():
        raise ScaleError(f"`scale` must be positive; its smallest element is {np.min(array):.6g}.")
    return array


def _quadratic(regulariser: str) -> tuple[float, float]:
    if regulariser not in QUADRATIC:
        raise unknown_name("regulariser", regulariser, [*QUADRATIC, "kl"])
    return QUADRATIC[regulariser]


def _kl_spread(scale: np.ndarray) -> np.ndarray:
    """½(σ² − 1) − log σ, the KL at μ = 0: from log σ, without cancellation near σ = 1."""
    t = np.log(scale)
    return 0.5 * np.expm1(2 * t) - t


def kl_excess(regulariser: str, loc: Any, scale: Any, *, weight: float = 1.0) -> np.ndarray:
    r"""KL(N(μ, σ²) ‖ N(0, 1)) − λ R(μ, σ) per latent: what the objective's value gains on the ELBO's.

    Σ_j (KL_j − λR_j) = objective − ELBO;  the objective exceeds log p(x) exactly where this sum
    exceeds the inference gap KL(q(z|x) ‖ p(z|x))

    Parameters
    ----------
    regulariser
        "wasserstein" (μ² + (σ−1)²), "half_quadratic" (½μ² + (σ−1)²), "moment" (μ²), "none" or "kl" (β).
    loc, scale
        μ and σ, broadcast against each other; σ > 0.
    weight
        λ (or β), ≥ 0.

    Returns
    -------
    numpy.ndarray
        Nats per latent, float64.

    Raises
    ------
    ScaleError
        If a scale is not positive.
    UnknownNameError
        For another regulariser.

    Notes
    -----
    Exact. At λ = 1 the Wasserstein penalty gives −(½μ² + f(σ)), f(σ) = ½σ² − 2σ + 3/2 + log σ.

    Examples
    --------
    >>> bool(kl_excess("wasserstein", 0.0, 0.1) > 0), bool(kl_excess("wasserstein", 0.0, 1.5) > 0)
    (True, False)
    """
    scale = _positive(scale)
    loc = np.asarray(loc, dtype=np.float64)
    kl = 0.5 * loc**2 + _kl_spread(scale)
    if regulariser == "kl":
        return (1.0 - weight) * kl
    a, b = _quadratic(regulariser)
    return kl - weight * (a * loc**2 + b * (scale - 1.0) ** 2)


def loc_range_below_kl(regulariser: str, scale: Any, *, weight: float = 1.0) -> LocRange:
    r"""The range of |μ|, for each σ, in which λR is smaller than the KL: there the bound can break.

    λ(aμ² + b(σ−1)²) < ½μ² + h(σ)  ⇔  (λa − ½) μ² < h(σ) − λb(σ−1)²,   h(σ) = ½(σ² − 1) − log σ

    Parameters
    ----------
    regulariser
        As in `kl_excess`.
    scale
        σ > 0, any shape.
    weight
        λ (or β), ≥ 0.

    Returns
    -------
    LocRange
        ``lower`` and ``upper`` of |μ|, shaped as ``scale``; (0, ∞) where every μ, NaN where none.

    Raises
    ------
    ScaleError, UnknownNameError, ArgumentError

    Notes
    -----
    Exact. For the penalty at λ = 1: σ < 1 and μ² < −2f(σ). For ½μ² + (σ−1)²: every μ once σ < 1.
    For μ² alone: μ² < 2h(σ), so at every σ ≠ 1. For β < 1: everywhere but at (0, 1).
    Beside a λ < ½ the penalty on μ is weaker than the KL's, so that far means suffice at every σ.

    Examples
    --------
    >>> float(loc_range_below_kl("wasserstein", 0.1).upper.round(4))
    1.4125
    >>> bool(np.isnan(loc_range_below_kl("wasserstein", 1.2).upper))
    True
    """
    if weight < 0:
        raise ArgumentError(f"`weight` must be ≥ 0; got {weight!r}.")
    scale = _positive(scale)
    h = _kl_spread(scale)
    if regulariser == "kl":
        everywhere = np.full(scale.shape, weight < 1.0)
        return LocRange(np.where(everywhere, 0.0, np.nan), np.where(everywhere, np.inf, np.nan))
    a, b = _quadratic(regulariser)
    slope = weight * a - 0.5
    room = h - weight * b * (scale - 1.0) ** 2  # λ = 1, b = 1: −f(σ)
    if slope > 0:
        some = room > 0
        upper = np.sqrt(np.where(some, room, np.nan) / slope)
        return LocRange(np.where(some, 0.0, np.nan), upper)
    if slope == 0:
        some = room > 0
        return LocRange(np.where(some, 0.0, np.nan), np.where(some, np.inf, np.nan))
    lower = np.sqrt(np.maximum(room / slope, 0.0))  # slope < 0: far means always suffice
    return LocRange(lower, np.full(scale.shape, np.inf))
