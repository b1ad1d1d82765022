"""Ways to check a claim: against an independent number, by algebra, by search over parameters."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import sympy as sp

from vaeaudit.derivations.claim import Check, Formulas, Outcome

Point = Mapping[str, float]
Ranges = Mapping[str, tuple[float, float]]
Condition = Callable[[Formulas, dict[str, np.ndarray]], np.ndarray]


@lru_cache(maxsize=4096)
def _compiled(expr: sp.Basic) -> tuple[tuple[str, ...], Callable[..., Any]]:
    symbols = sorted(expr.free_symbols, key=str)
    return tuple(map(str, symbols)), sp.lambdify(symbols, expr, modules=["scipy", "numpy"])


def evaluate(formula: Any, point: Mapping[str, Any]) -> Any:
    """Value of a formula (sympy expression or function of named numbers) at a point, in float64."""
    if isinstance(formula, sp.Basic):
        names, function = _compiled(formula)
        with np.errstate(all="ignore"):
            return np.asarray(function(*(point[n] for n in names)), dtype=float)
    with np.errstate(all="ignore"):
        return np.asarray(formula(**point), dtype=float)


def show(point: Mapping[str, Any]) -> str:
    """A point in words: ``mu = 0, sigma = 0.1``."""
    return ", ".join(f"{name} = {float(value):.4g}" for name, value in point.items())


def anchored(
    name: str, oracle: Callable[..., float], points: Sequence[Point], *, rtol: float = 1e-7, against: str = ""
) -> Check:
    """Check that a formula equals an independent numerical evaluation of what it stands for."""
    remembered = lru_cache(maxsize=None)(lambda items: float(oracle(**dict(items))))

    def run(formulas: Formulas) -> Outcome:
        worst = 0.0
        for point in points:
            want = remembered(tuple(point.items()))
            got = float(evaluate(formulas[name], point))
            error = abs(got - want) / (1.0 + abs(want))
            if not error <= rtol:
                at, by = show(point), against or "its definition"
                return Outcome("unsettled", f"`{name}` is {got:.8g} at {at} where {by} gives {want:.8g}", at)
            worst = max(worst, error)
        by = against or "its definition"
        return Outcome(
            "sound", f"`{name}` agrees with {by} at {len(points)} points (worst error {worst:.0e})"
        )

    return Check("numerics", run)


def reduced(expr: sp.Expr) -> sp.Expr:
    """Expand logarithms and products; simplify only what is then left."""
    expr = sp.expand(sp.expand_log(sp.sympify(expr), force=True))
    return expr if expr == 0 else sp.simplify(expr)


def vanishes(expr: sp.Expr) -> bool:
    """Whether an expression is identically zero: probed at seeded points, then proved by algebra."""
    expr = sp.sympify(expr)
    names = sorted(map(str, expr.free_symbols))
    draws = np.random.default_rng(7).uniform(0.15, 0.45, (4, max(len(names), 1)))
    for row in draws:
        value = complex(evaluate_complex(expr, dict(zip(names, row, strict=False))))
        if abs(value) > 1e-8:
            return False
    return bool(reduced(expr) == 0)


def evaluate_complex(expr: sp.Basic, point: Mapping[str, float]) -> complex:
    """Value of an expression where logarithms may leave the reals."""
    names, function = _compiled(expr)
    with np.errstate(all="ignore"):
        return complex(function(*(complex(point[n]) for n in names)))


def equality_by_algebra(
    lhs: str, rhs: str, *, given: Mapping[Any, Any] | None = None, note: str = ""
) -> Check:
    """Check lhs = rhs in sympy; ``given`` are substitutions under which it may hold though not at large."""

    def run(formulas: Formulas) -> Outcome:
        difference = sp.sympify(formulas[lhs]) - sp.sympify(formulas[rhs])
        if vanishes(difference):
            return Outcome("identity", f"`{lhs}` − `{rhs}` reduces to 0{note}")
        if given and vanishes(difference.subs(given)):
            where = ", ".join(f"{k} = {v}" for k, v in given.items())
            return Outcome(
                "holds under conditions", f"`{lhs}` − `{rhs}` reduces to 0 given {where}, not at large"
            )
        return Outcome("false", f"`{lhs}` − `{rhs}` is not zero")

    return Check("algebra", run)


def candidates(ranges: Ranges, *, num: int = 2000, seed: int = 0) -> dict[str, np.ndarray]:
    """Points of a box, the plainest first: round numbers by complexity, then seeded uniform draws."""
    round_numbers = (0.0, 1.0, 2.0, 0.5, -1.0, 0.1, 3.0, -2.0, 0.25, 1.5, 0.01)
    kept = [[v for v in round_numbers if low <= v <= high][:6] for low, high in ranges.values()]
    grid = sorted(
        itertools.islice(itertools.product(*kept), 4096),
        key=lambda row: sum(round_numbers.index(v) for v in row),
    )
    rng = np.random.default_rng(seed)
    low, high = (np.array(side) for side in zip(*ranges.values(), strict=True))
    drawn = rng.uniform(low, high, (num, len(ranges)))
    rows = np.concatenate([np.array(grid, dtype=float).reshape(-1, len(ranges)), drawn])
    return {name: rows[:, i] for i, name in enumerate(ranges)}


def _search(
    gap: np.ndarray, scale: np.ndarray, inside: np.ndarray | None, exact: bool, tol: float
) -> tuple[str, np.ndarray]:
    """Verdict from gaps that must not be positive: "all", "conditional" or "none", and the offenders."""
    wrong = ~(gap <= tol * (1.0 + scale))  # NaN counts as wrong
    if not wrong.any():
        return "all", wrong
    if inside is None or (wrong & inside).any() or not inside.any():
        return "none", wrong
    clearly_out = ~inside & ~(np.abs(gap) <= 10 * tol * (1.0 + scale))
    return ("none" if exact and (~wrong & clearly_out).any() else "conditional"), wrong


def _by_search(
    lhs: str, rhs: str, ranges: Ranges, relation: str, condition: Condition | None, exact: bool, tol: float
) -> Check:
    def run(formulas: Formulas) -> Outcome:
        points = candidates(ranges)
        left, right = (
            np.broadcast_to(evaluate(formulas[n], points), next(iter(points.values())).shape)
            for n in (lhs, rhs)
        )
        gap = np.abs(left - right) if relation == "=" else left - right
        scale = np.maximum(np.abs(left), np.abs(right))
        inside = None if condition is None else np.asarray(condition(formulas, points), dtype=bool)
        held, wrong = _search(gap, scale, inside, exact, tol)
        count = wrong.size
        if held == "all":
            equal = relation == "=" or bool((np.abs(gap) <= tol * (1.0 + scale)).all())
            return Outcome(
                "identity" if equal else "bound", f"`{lhs}` {relation} `{rhs}` at all {count} points"
            )
        first = int(np.argmax(wrong))
        at = show({name: values[first] for name, values in points.items()})
        example = f"{at}: {lhs} = {left[first]:.6g}, {rhs} = {right[first]:.6g}"
        share = f"`{lhs}` {relation} `{rhs}` fails at {int(wrong.sum())} of {count} points"
        if held == "conditional":
            return Outcome("holds under conditions", f"{share}, all outside the stated condition", example)
        return Outcome("false", share, example)

    return Check("search", run)


def equality_by_search(
    lhs: str,
    rhs: str,
    ranges: Ranges,
    *,
    condition: Condition | None = None,
    exact: bool = False,
    tol: float = 1e-8,
) -> Check:
    """Look for parameters at which lhs ≠ rhs, plainest first.

    With a ``condition`` the claim may fail outside it and must hold inside; ``exact`` demands that it
    fail everywhere outside.
    """
    return _by_search(lhs, rhs, ranges, "=", condition, exact, tol)


def bound_by_search(
    lower: str,
    upper: str,
    ranges: Ranges,
    *,
    condition: Condition | None = None,
    exact: bool = False,
    tol: float = 1e-9,
) -> Check:
    """Look for parameters at which lower > upper, plainest first (see `equality_by_search`)."""
    return _by_search(lower, upper, ranges, "≤", condition, exact, tol)
