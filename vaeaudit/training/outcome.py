"""What training takes per run and gives back per run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from vaeaudit.core.arrays import KeyLike
from vaeaudit.models.vae import AbstractVAE
from vaeaudit.objectives.base import Objective
from vaeaudit.training.program import METRICS

# progress(epoch, num_epochs, info): info["event"] is "compiling", "training" or "done"
Progress = Callable[[int, int, Mapping[str, Any]], None]

COLUMNS = (*METRICS, *(f"validation_{name}" for name in METRICS))


@dataclass(frozen=True)
class Run:
    """One model to train: where it starts, what it maximises, its random streams and its step size."""

    model: AbstractVAE
    objective: Objective
    rng_key: KeyLike
    learning_rate: float
    labels: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """A finished run: the model, one row of metrics per epoch, and whether its numbers broke down."""

    model: AbstractVAE
    metrics: np.ndarray  # (epoch, COLUMNS), float32
    diverged: bool

    def history(self, objective: Objective) -> pd.DataFrame:
        """Tidy table, one row per epoch.

        ``elbo`` and ``rate`` are NaN for a deterministic objective: it has no posterior whose scale
        means anything.
        """
        frame = pd.DataFrame(self.metrics.astype(np.float64), columns=list(COLUMNS))
        if objective.deterministic:
            for name in ("elbo", "rate", "validation_elbo", "validation_rate"):
                frame[name] = np.nan
        frame.insert(0, "epoch", np.arange(1, len(frame) + 1))
        return frame
