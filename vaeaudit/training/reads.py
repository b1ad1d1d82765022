"""Which terms an objective reads: what nobody reads need not be differentiated."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp

from vaeaudit.objectives.base import Terms

_S, _B, _J = 2, 3, 2  # samples, data, latents of the trial terms; any would do


@lru_cache(maxsize=256)
def terms_read(kind: Any) -> frozenset[str]:
    """Fields of `Terms` that objectives of a tree structure use.

    Read off the traced program of the objective, so that a new objective declares nothing. A field that
    is handed to an inner function counts as read.
    """
    shapes = {
        **dict.fromkeys(("log_likelihood", "log_prior", "log_q"), (_S, _B)),
        "z": (_S, _B, _J),
        **dict.fromkeys(("loc", "scale", "prior_z"), (_B, _J)),
        **dict.fromkeys(("head_weight_sq", "decoder_weight_sq", "progress", "num_data"), ()),
    }

    def value(numbers: list[Any], fields: dict[str, Any]) -> Any:
        return jax.tree.unflatten(kind, numbers)(Terms(**fields))

    numbers = [jax.ShapeDtypeStruct((), jnp.float32)] * kind.num_leaves
    fields = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    program = jax.make_jaxpr(value)(numbers, fields).jaxpr
    used = {id(v) for equation in program.eqns for v in equation.invars} | {id(v) for v in program.outvars}
    variables = program.invars[kind.num_leaves :]
    return frozenset(name for name, v in zip(sorted(fields), variables, strict=True) if id(v) in used)
