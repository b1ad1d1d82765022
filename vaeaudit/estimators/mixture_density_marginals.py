"""The one-dimensional mixtures of every latent: a linear-time series, or the compiled kernel."""

from __future__ import annotations

from typing import Literal

import jax
import numpy as np

from vaeaudit.core.gaussian import LOG_2PI
from vaeaudit.estimators.mixture_kernel_devices import cores, run_in_threads
from vaeaudit.estimators.mixture_kernel_evaluate import Kind, Problem, error_bound, evaluate
from vaeaudit.estimators.mixture_kernel_series import applies, gaussian_sums

ROW_TOLERANCE = 1e-4  # nats of error, over all latents of a point, that the series may leave
PAIRS = 2_000_000  # pairs of point and component per latent below which the kernel is as fast
FEW = 4_096  # points that are computed again in float64 rather than float32
Form = Literal["series", "kernel"]


def choose_form(problem: Problem, kind: str) -> Form:
    """The series where `auto` runs on a CPU with many pairs; a device computes pairs faster than they arrive."""
    pairs = problem.z.shape[0] * problem.loc.shape[0]
    if kind != "auto" or pairs < PAIRS or jax.default_backend() != "cpu":
        return "kernel"
    return "series"


def log_sums_by_latent(problem: Problem, kind: Kind, form: Form) -> tuple[np.ndarray, np.ndarray]:
    r"""Log Σ_{n≠own} N(z_j; μₙⱼ, σₙⱼ²) per latent, (M, J), and a bound on its error, (M, J).

    Parameters
    ----------
    problem
        Points and components.
    kind
        How the kernel computes.
    form
        ``"series"``: `gaussian_sums`, less the own component; ``"kernel"``: all pairs.

    Notes
    -----
    The series' error is relative to the peaks around a point. Where it exceeds its share of `ROW_TOLERANCE`,
    as it may between tight clusters or where the own component is nearly all there is, the point is computed
    again over all pairs: M · N operations if that is so at every point.
    """
    kind = "direct" if kind == "product" else kind
    latent = problem.z.shape[1]
    if form == "kernel":
        columns = [_all_pairs(problem.latent(j), kind) for j in range(latent)]
    else:
        tolerance = ROW_TOLERANCE / latent
        columns = run_in_threads(lambda j: _by_series(problem.latent(j)), latent, cores())
        for j, (value, error) in enumerate(columns):
            if (rows := np.flatnonzero(~(error <= tolerance))).size:
                again: Kind = "float64" if rows.size <= FEW else "direct"
                value[rows], error[rows] = _all_pairs(problem.latent(j).at(rows), again)
    return np.stack([c[0] for c in columns], axis=1), np.stack([c[1] for c in columns], axis=1)


def marginal_error(others: np.ndarray, error: np.ndarray, own_single: np.ndarray | None) -> float:
    """Bound on the error of a row's sum over latents, the own component included."""
    if own_single is not None:  # the others' error enters with their share
        error = error * np.exp(others - np.logaddexp(others, own_single))
    return float(error.sum(axis=1).max())


def _all_pairs(one: Problem, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    value = evaluate(one, kind)
    return value, error_bound(one, value, kind)


def _by_series(one: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Log of the others' sum by the series, and its error; infinite where the series says nothing."""
    z, loc, scale = one.z[:, 0], one.loc[:, 0], one.scale[:, 0]
    if not applies(z, loc, scale):
        return np.full(z.size, -np.inf), np.full(z.size, np.inf)
    total, error = gaussian_sums(z, loc, scale)
    has_own = one.own >= 0
    if has_own.any():
        at = one.own[has_own]
        u = (z[has_own] - loc[at]) / scale[at]
        own = np.exp(-0.5 * u * u - 0.5 * LOG_2PI) / scale[at]
        total[has_own] -= own
        error[has_own] += 2.0**-50 * own
    known = total > 2.0 * error
    safe = np.where(known, total, 1.0)
    relative = np.where(known, -np.log1p(-np.where(known, error, 0.0) / safe), np.inf)
    return np.where(known, np.log(safe), -np.inf), relative
