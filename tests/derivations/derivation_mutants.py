"""Systematic mutants of a sympy formula: sign, factor ½, a dropped term, a missing logarithm or square."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy as sp


def _raw(expr: sp.Expr) -> Iterator[tuple[str, sp.Expr]]:
    yield "sign of the whole", -expr
    yield "half of the whole", expr / 2
    yield "plus one", expr + 1
    for term in sp.Add.make_args(expr) if expr.is_Add else ():
        yield f"sign of {term}", expr - 2 * term
        yield f"half of {term}", expr - term / 2
        yield f"without {term}", expr - term
    for log in sorted(expr.atoms(sp.log), key=str):
        yield f"missing log in {log}", expr.xreplace({log: log.args[0]})
    for power in sorted((p for p in expr.atoms(sp.Pow) if p.exp == 2), key=str):
        yield f"missing square in {power}", expr.xreplace({power: power.base})


def value(expr: sp.Expr, seed: int = 0) -> np.ndarray:
    """Values at seeded points, complex so that logarithms are defined."""
    symbols = sorted(expr.free_symbols, key=str)
    rng = np.random.default_rng(seed)
    points = {s: rng.uniform(0.15, 0.45, 5) for s in sorted({str(s) for s in symbols})}
    function = sp.lambdify(symbols, expr, modules=["scipy", "numpy"])
    with np.errstate(all="ignore"):
        return np.broadcast_to(np.asarray(function(*(points[str(s)] for s in symbols))), (5,))


def mutants(expr: sp.Expr) -> list[tuple[str, sp.Expr]]:
    """Mutants that differ in value from the formula."""
    here = value(expr)
    found = []
    for label, changed in _raw(sp.sympify(expr)):
        there = value(changed)
        if not np.allclose(here, there, rtol=1e-6, atol=1e-9, equal_nan=True):
            found.append((label, changed))
    return found
