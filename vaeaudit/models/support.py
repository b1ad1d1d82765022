"""Where a likelihood is a density, and data that lie elsewhere."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from vaeaudit.core.errors import NonFiniteError, SupportError

Support = Literal["binary", "unit interval", "real", "one-hot"]


def check_support(likelihood: str, support: Support, x: Any) -> None:
    """Check that data lie in the support of a likelihood.

    Parameters
    ----------
    likelihood
        Its name, for the message.
    support
        ``"binary"``: 0 and 1; ``"unit interval"``: [0, 1]; ``"one-hot"``: 0 and 1 with one 1 along the
        last axis; ``"real"``: any finite number.
    x
        Data (batch, *event).

    Raises
    ------
    NonFiniteError
        If a value is NaN or infinite.
    SupportError
        If a value lies outside.
    """
    values = np.asarray(x)
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise NonFiniteError(
            f"`x` must be finite; {count} of {values.size} values are NaN or infinite. Remove or impute them."
        )
    if support == "real" or values.size == 0:
        return
    low, high = float(values.min()), float(values.max())
    if low < 0.0 or high > 1.0:
        remedy = "divide pixels in 0…255 by 255" if low >= 0.0 else "rescale the data"
        raise SupportError(
            f"likelihood {likelihood!r} is defined on [0, 1]; the data lie in [{low:g}, {high:g}]. "
            f"For this likelihood {remedy}, or use 'gaussian' for real numbers."
        )
    if support == "unit interval":
        return
    between = (values != 0) & (values != 1)
    if between.any():
        _refuse_grey(likelihood, between)
    if support == "one-hot" and not (values.sum(axis=-1) == 1).all():
        raise SupportError(
            f"likelihood {likelihood!r} needs exactly one 1 along the last axis of each datum; got sums "
            f"from {values.sum(axis=-1).min():g} to {values.sum(axis=-1).max():g}. Use one-hot classes."
        )


def _refuse_grey(likelihood: str, between: np.ndarray) -> None:
    pixels = int(np.prod(between.shape[1:], dtype=int))
    raise SupportError(
        f"likelihood {likelihood!r} is a probability of the values 0 and 1 only; {between.mean():.1%} of the "
        "values lie between, and for those it is not a density: its integral over [0, 1] is not one. The "
        f"normalised one, the continuous Bernoulli, differs by at least log 2 per pixel, {pixels} · log 2 = "
        f"{pixels * math.log(2):.1f} nats per datum here. Use likelihood 'continuous_bernoulli_logits' or "
        "'gaussian' for grey values, or binarise them (form='binary')."
    )
