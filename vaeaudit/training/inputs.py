"""Checks on what training is given, before anything is compiled."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vaeaudit.core.arrays import as_float_array, check_count
from vaeaudit.core.errors import ArgumentError, ShapeError, SupportError
from vaeaudit.models.vae import AbstractVAE
from vaeaudit.objectives.base import Objective

Schedule = Literal["constant", "cosine"] | Callable[[int, int], float]


@dataclass(frozen=True)
class TrainingData:
    """Training data and, where there are some, validation data; float32, (N, *event)."""

    train: np.ndarray
    validation: np.ndarray | None

    @property
    def num_train(self) -> int:
        """Number of training data N."""
        return self.train.shape[0]


def training_data(data: Any) -> TrainingData:
    """Take a data set (``train`` and ``validation``) or a plain array (no validation)."""
    if hasattr(data, "train"):
        train, validation = data.train, getattr(data, "validation", None)
    else:
        train, validation = data, None
    x = np.asarray(as_float_array("data", train), dtype=np.float32)
    if x.ndim < 2:
        raise ShapeError(f"training data must be (N, *event); got shape {x.shape}.")
    if validation is None or len(validation) == 0:
        return TrainingData(x, None)
    held = np.asarray(as_float_array("validation data", validation), dtype=np.float32)
    if held.shape[1:] != x.shape[1:]:
        raise ShapeError(
            f"validation data must have the training data's event shape {x.shape[1:]}; got {held.shape[1:]}."
        )
    return TrainingData(x, held)


def check_support(model: AbstractVAE, data: TrainingData, *, dynamic: bool) -> None:
    """Refuse data outside the support of the model's likelihood.

    Raises
    ------
    SupportError
        E.g. for grey pixels under a Bernoulli likelihood, where the value is no log density.
    """
    support = getattr(getattr(model, "likelihood", None), "support", None)
    arrays = [data.train, *([] if data.validation is None else [data.validation])]
    low, high = min(float(a.min()) for a in arrays), max(float(a.max()) for a in arrays)
    if (support in ("binary", "unit interval") or dynamic) and (low < 0.0 or high > 1.0):
        raise SupportError(
            f"the likelihood's support is {support or 'binary'}; the data range over [{low:g}, {high:g}]. "
            "Rescale them to [0, 1] or choose likelihood='gaussian'."
        )
    if support == "binary" and not dynamic and any(np.any((a != 0) & (a != 1)) for a in arrays):
        raise SupportError(
            "a Bernoulli likelihood needs data in {0, 1}; these hold values between. Its value on grey "
            "pixels is no log density. Choose likelihood='continuous_bernoulli_logits' or 'gaussian', "
            "a binary form of the data, or binarise='dynamic'."
        )


def check_objective(model: AbstractVAE, objective: Objective) -> None:
    """Refuse an objective that trains or reads a part this model lacks."""
    if objective.learns_scale and getattr(getattr(model, "likelihood", None), "log_scale", None) is None:
        raise ArgumentError(
            f"{objective.name} trains the likelihood's scale; this model's likelihood has none. "
            "Build it with likelihood='gaussian'."
        )
    if "head_l2" in objective.name:
        model.head_weight_sq()  # raises where the model has no such heads
    if "regularized_autoencoder" in objective.name:
        model.decoder_weight_sq()


def check_numbers(epochs: int, batch_size: int, learning_rates: list[float]) -> None:
    """Validate counts and step sizes."""
    check_count("epochs", epochs)
    check_count("batch_size", batch_size)
    for rate in learning_rates:
        if not (math.isfinite(rate) and rate > 0):
            raise ArgumentError(f"`learning_rate` must be positive and finite; got {rate!r}.")


def schedule_function(schedule: Schedule) -> Callable[[int, int], float]:
    """Learning-rate factor by (epoch, epochs), epochs counted from 0."""
    if callable(schedule):
        return schedule
    if schedule == "constant":
        return lambda epoch, epochs: 1.0
    if schedule == "cosine":
        return lambda epoch, epochs: 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))
    raise ArgumentError(
        f"`schedule` must be 'constant', 'cosine' or a function (epoch, epochs) -> factor; got {schedule!r}."
    )
