"""Names of objectives: the registry and a parser for ``"elbo + head_l2(0.001)"``."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from vaeaudit.core.errors import ArgumentError, unknown_name
from vaeaudit.objectives.aggregate import MMD, TotalCorrelation
from vaeaudit.objectives.autoencoders import Autoencoder, RegularizedAutoencoder
from vaeaudit.objectives.base import Objective
from vaeaudit.objectives.importance import IWAE
from vaeaudit.objectives.kl_family import ELBO, AnnealedBeta, Beta, Capacity, FreeBits, LearnedScale
from vaeaudit.objectives.penalties import HalfQuadratic, HeadL2, MomentPenalty, WassersteinPenalty

REGISTRY: dict[str, Callable[..., Objective]] = {
    "elbo": ELBO,
    "beta": Beta,
    "annealed_beta": AnnealedBeta,
    "free_bits": FreeBits,
    "capacity": Capacity,
    "wasserstein_penalty": WassersteinPenalty,
    "half_quadratic": HalfQuadratic,
    "moment_penalty": MomentPenalty,
    "head_l2": HeadL2,
    "iwae": IWAE,
    "total_correlation": TotalCorrelation,
    "autoencoder": Autoencoder,
    "regularized_autoencoder": RegularizedAutoencoder,
    "learned_scale": LearnedScale,
    "mmd": MMD,
}


def parse(expression: str | Objective) -> Objective:
    """Build an objective from its name.

    Parameters
    ----------
    expression
        ``"elbo"``, ``"beta(0.1)"``, ``"elbo + head_l2(0.001)"``; numbers and quoted words only. An
        objective passes through.

    Returns
    -------
    Objective

    Raises
    ------
    UnknownNameError
        For a name that is not registered, with the closest ones.
    ArgumentError
        For anything but names, numbers and ``+``.

    Examples
    --------
    >>> from vaeaudit.objectives import parse
    >>> parse("elbo + head_l2(0.001)").name
    'elbo + head_l2(0.001)'
    """
    if isinstance(expression, Objective):
        return expression
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, AttributeError, ValueError) as error:
        raise ArgumentError(
            f"an objective is written like 'beta(0.1)' or 'elbo + head_l2(0.001)'; got {expression!r}."
        ) from error
    return _build(tree, expression)


def _build(node: ast.expr, expression: str) -> Objective:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _build(node.left, expression) + _build(node.right, expression)
    if isinstance(node, ast.Name):
        name, positional, named = node.id, [], {}
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        name = node.func.id
        positional = [_constant(a, expression) for a in node.args]
        named = {k.arg: _constant(k.value, expression) for k in node.keywords if k.arg is not None}
    else:
        raise ArgumentError(f"{expression!r} holds more than names, numbers and '+'.")
    if name not in REGISTRY:
        raise unknown_name("objective", name, list(REGISTRY))
    try:
        return REGISTRY[name](*positional, **named)
    except TypeError as error:
        raise ArgumentError(f"objective {name!r} does not take these settings: {error}.") from error


def _constant(node: ast.expr, expression: str) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise ArgumentError(f"{expression!r}: settings must be numbers or quoted words.") from error
