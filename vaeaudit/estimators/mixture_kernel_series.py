r"""Sums of many one-dimensional Gaussians at many points, in time linear in both, with a certified error.

Components are grouped by octave of σ. Within an octave [s, 2s) their sum is analytic and varies over lengths of
s: on panels of width 4s a Chebyshev interpolant of degree 25 repeats it to 13 digits of the peaks around. A
component reaches the nodes of nine panels, whatever the number of points, and a point costs one Clenshaw
recurrence per octave, whatever the number of components.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from vaeaudit.core.gaussian import LOG_2PI

Floats = np.ndarray
PANEL = 4.0  # width of a panel in units of s, the lower end of an octave of σ
DEGREE = 25
CUT = 8.0  # distance in σ beyond which a component is dropped: e^(−CUT²/2) = 1.3e-14 of its peak
REACH = math.ceil(2.0 * CUT / PANEL)  # panels on either side that hold everything within CUT · 2s
ROWS = 2048  # components per step: the array (ROWS, nodes) stays small
POINTS = 65_536  # points per Clenshaw recurrence
UNIT = 2.0**-53
EXPONENT = (
    64 * UNIT
)  # of a peak: what rounding of (z − μ)/σ within reach does to exp(−u²/2), maxᵤ 2u δu e^(−u²)
RANGE = (
    2.0**45
)  # panels between the ends of the line; more would leave too few digits for the place in a panel


class Series(NamedTuple):
    """Σₙ N(z; μₙ, σₙ²) at each point, (M,), and a bound on its absolute error, (M,)."""

    total: Floats
    error: Floats


@functools.lru_cache(maxsize=1)
def interpolation_error() -> float:
    r"""Error of the interpolant of one component, relative to its peak 1/(σ√2π).

    min_ρ 4 exp(b²/2) ρ^(−n)/(ρ − 1),   b = (PANEL/4)(ρ − 1/ρ)

    Notes
    -----
    On the Bernstein ellipse of a panel with half-width PANEL · s/2 the imaginary part is at most b · s, and
    |N(x + iy; μ, σ²)| ≤ peak · exp(y²/2σ²) with σ ≥ s.

    References
    ----------
    Trefethen (2013), Approximation Theory and Approximation Practice, theorem 8.2.
    """
    rho = np.linspace(1.5, 20.0, 2000)
    b = 0.25 * PANEL * (rho - 1.0 / rho)
    return float(np.exp(np.min(math.log(4.0) + 0.5 * b * b - DEGREE * np.log(rho) - np.log(rho - 1.0))))


@functools.lru_cache(maxsize=1)
def _nodes() -> tuple[Floats, Floats]:
    """Chebyshev nodes on [−1, 1] and the matrix from values there to coefficients."""
    order = np.arange(DEGREE + 1)
    angle = np.pi * (order + 0.5) / (DEGREE + 1)
    to_coefficients = 2.0 / (DEGREE + 1) * np.cos(np.outer(order, angle))
    to_coefficients[0] *= 0.5
    return np.cos(angle), to_coefficients


def applies(z: Floats, loc: Floats, scale: Floats) -> bool:
    """Whether the panels of the smallest octave can be told apart in float64."""
    ends = max(float(np.abs(z).max()), float(np.abs(loc).max()))
    return ends < RANGE * PANEL * 0.5 * float(scale.min())


def gaussian_sums(z: Floats, loc: Floats, scale: Floats) -> Series:
    r"""Sum N(z; μₙ, σₙ²) over n at every point.

    Parameters
    ----------
    z
        Points (M,), float64.
    loc, scale
        Components (N,), float64, for which `applies`.

    Returns
    -------
    Series

    Notes
    -----
    The bound counts, per octave, `interpolation_error` and rounding relative to the peaks of the components
    within reach of the point's panel, and e^(−CUT²/2) of the peaks of all others; it is relative to peaks and
    not to the sum, so that a caller has to compare the two. Rounding to first order in the unit roundoff.
    Cost: (2 REACH + 1)(DEGREE + 1) = 234 exponentials per component, 50 multiply-adds per point and octave;
    memory: O(M + N) for one octave at a time.

    References
    ----------
    Greengard & Strain (1991), The fast Gauss transform, for the idea of one expansion per box.
    """
    order = np.argsort(z)
    points = z[order]
    total, error = np.zeros(z.size), np.zeros(z.size)
    octave = np.floor(np.log2(scale)).astype(np.int64)
    for power in np.unique(octave):
        here = np.flatnonzero(octave == power)
        _add_octave(points, loc[here], scale[here], PANEL * 2.0 ** float(power), total, error)
    found, bound = np.empty(z.size), np.empty(z.size)
    found[order], bound[order] = total, error
    return Series(found, bound)


def _add_octave(
    points: Floats, loc: Floats, scale: Floats, width: float, total: Floats, error: Floats
) -> None:
    """Add one octave's components to ``total`` and ``error`` at the sorted points."""
    source = np.floor(loc / width).astype(np.int64)
    order = np.argsort(source, kind="stable")
    loc, scale, source = loc[order], scale[order], source[order]
    panel_of = np.floor(points / width).astype(np.int64)
    panels = np.unique(panel_of)
    sources = np.unique(source)
    near = np.searchsorted(sources, panels + REACH, "right") > np.searchsorted(sources, panels - REACH)
    panels = panels[near]
    peak = math.exp(-0.5 * LOG_2PI) / scale
    error += math.exp(-0.5 * CUT**2) * float(peak.sum())
    if panels.size == 0:
        return
    values, peaks = _at_nodes(panels, loc, scale, peak, source, width)
    _, to_coefficients = _nodes()
    coefficients = values @ to_coefficients.T
    steps = min(ROWS, loc.size) + loc.size // ROWS + 2 * (DEGREE + 1) ** 2  # of the sum; of Clenshaw
    rounding = 2.0 * steps * UNIT * values.max(axis=1)
    at = np.searchsorted(panels, panel_of)
    at = np.minimum(at, panels.size - 1)
    rows = np.flatnonzero(panels[at] == panel_of)
    for start in range(0, rows.size, POINTS):
        row = rows[start : start + POINTS]
        t = (points[row] - panel_of[row] * width) * (2.0 / width) - 1.0
        total[row] += np.maximum(_clenshaw(coefficients[at[row]], t), 0.0)
        error[row] += (interpolation_error() + EXPONENT) * peaks[at[row]] + rounding[at[row]]


def _at_nodes(
    panels: Floats, loc: Floats, scale: Floats, peak: Floats, source: Floats, width: float
) -> tuple[Floats, Floats]:
    """Sum at the nodes of each panel, (panels, nodes), and the sum of the peaks within reach, (panels,)."""
    node, _ = _nodes()
    offsets = np.arange(-REACH, REACH + 1)
    places = (offsets[:, None] * width + 0.5 * width * (node + 1.0)).ravel()  # from a panel's left edge
    values, peaks = np.zeros((panels.size, node.size)), np.zeros(panels.size)
    for start in range(0, loc.size, ROWS):
        rows = slice(start, start + ROWS)
        u = (places - (loc[rows] - source[rows] * width)[:, None]) * (math.sqrt(0.5) / scale[rows])[:, None]
        np.multiply(u, u, out=u)
        np.exp(np.negative(u, out=u), out=u)
        u *= peak[rows, None]
        boxes, first = np.unique(source[rows], return_index=True)
        by_box = np.add.reduceat(u, first, axis=0).reshape(boxes.size, offsets.size, node.size)
        peak_by_box = np.add.reduceat(peak[rows], first)
        for k, offset in enumerate(offsets):
            at = np.minimum(np.searchsorted(panels, boxes + offset), panels.size - 1)
            hit = panels[at] == boxes + offset
            values[at[hit]] += by_box[hit, k]
            peaks[at[hit]] += peak_by_box[hit]
    return values, peaks


def _clenshaw(coefficients: Floats, t: Floats) -> Floats:
    """Σ_k c_k T_k(t) for rows of coefficients, (points,)."""
    last, before = np.zeros_like(t), np.zeros_like(t)
    for k in range(coefficients.shape[1] - 1, 0, -1):
        last, before = coefficients[:, k] + 2.0 * t * last - before, last
    return coefficients[:, 0] + t * last - before
