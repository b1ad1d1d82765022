"""What the columns of the tables mean: unit, description, format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from vaeaudit.core.errors import ArgumentError


@dataclass(frozen=True)
class Column:
    """One column: its name in code, unit, meaning and number format (a Python format spec)."""

    name: str
    unit: str = ""
    description: str = ""
    format: str = ""


def _columns(*rows: tuple[str, str, str, str]) -> dict[str, Column]:
    return {row[0]: Column(*row) for row in rows}


KNOWN: dict[str, Column] = _columns(
    # settings
    ("objective", "", "objective that was trained", ""),
    ("trained_under", "", "objective that was trained", ""),
    ("scored_under", "", "objective by which the trained model is scored", ""),
    ("seed", "", "random seed of the run", "d"),
    ("epoch", "", "passes over the training set", "d"),
    ("data", "", "data set and form", ""),
    ("split", "", "part of the data set", ""),
    ("threshold", "", "variance of E[z|x] above which a latent counts as active", ".2g"),
    ("weight", "", "weight of a term of the objective", "g"),
    ("latent", "", "index of the latent dimension", "d"),
    ("datum", "", "index of the datum", "d"),
    # estimates
    ("quantity", "", "name of the quantity", ""),
    ("value", "", "point estimate", ""),
    ("se", "", "standard error", ""),
    ("lower", "", "lower end of the 95 % interval", ""),
    ("upper", "", "upper end of the 95 % interval", ""),
    ("unit", "", "unit of value, se, lower and upper", ""),
    ("num_data", "", "data averaged over", ",d"),
    ("num_samples", "", "Monte-Carlo draws", ",d"),
    ("num_seeds", "", "runs averaged over", "d"),
    ("verdict", "", "whether the number can be trusted", ""),
    ("note", "", "what limits the number", ""),
    ("difference", "", "value minus the baseline's value", "+.3f"),
    ("baseline", "", "what the value is compared with", ""),
    # quantities
    ("elbo", "nats", "evidence lower bound per datum", ""),
    ("iwelbo", "nats", "importance-weighted bound per datum", ""),
    ("objective_value", "nats", "value of the trained objective per datum", ""),
    ("rate", "nats", "E KL(q(z|x) ‖ p(z))", ""),
    ("distortion", "nats", "−E log p(x|z)", ""),
    ("log_evidence", "nats", "log p(x) per datum", ""),
    ("inference_gap", "nats", "log p(x) − ELBO = KL(q(z|x) ‖ p(z|x))", ""),
    ("approximation_gap", "nats", "log p(x) − ELBO of the best q in the family", ""),
    ("amortization_gap", "nats", "ELBO of the best q − ELBO of the encoder's q", ""),
    ("mutual_information", "nats", "I_q(x; z)", ""),
    ("marginal_kl", "nats", "KL(q(z) ‖ p(z))", ""),
    ("total_correlation", "nats", "KL(q(z) ‖ Π q(z_j))", ""),
    ("dimwise_kl", "nats", "Σ_j KL(q(z_j) ‖ p(z_j))", ""),
    ("active_units", "", "latents whose posterior mean varies over the data", ""),
    ("wasserstein_penalty", "", "Σ_j μ_j² + (σ_j − 1)² = W₂²(q(z|x), N(0, I))", ""),
    ("half_quadratic", "", "Σ_j ½ μ_j² + (σ_j − 1)²", ""),
    ("loc", "", "mean μ of q(z|x)", ""),
    ("scale", "", "standard deviation σ of q(z|x)", ""),
    ("pareto_k", "", "shape of the importance weights' tail", ".2f"),
    ("ess", "", "effective sample size", ",.0f"),
    ("reliable", "", "whether the per-datum estimate passes its diagnostic", ""),
)

ESTIMATE_COLUMNS = (
    "quantity",
    "value",
    "se",
    "lower",
    "upper",
    "unit",
    "num_data",
    "num_samples",
    "verdict",
    "note",
)

_SUFFIXES = (
    ("_bits_per_dim", "bits/dim", "{} in bits per dimension"),
    ("_se", None, "standard error of {}"),
    ("_lower", None, "lower end of the 95 % interval of {}"),
    ("_upper", None, "upper end of the 95 % interval of {}"),
)


def column(name: str) -> Column:
    """Look a column up by name; an unknown one has no unit and no description.

    Examples
    --------
    >>> column("rate").unit
    'nats'
    >>> column("elbo_bits_per_dim").unit
    'bits/dim'
    >>> column("rate_lower").description
    'lower end of the 95 % interval of rate'
    """
    if name in KNOWN:
        return KNOWN[name]
    for suffix, unit, description in _SUFFIXES:
        stem = name.removesuffix(suffix)
        if stem != name and (stem in KNOWN or unit):
            base = KNOWN.get(stem, Column(stem))
            return Column(name, base.unit if unit is None else unit, description.format(stem), base.format)
    return Column(name)


def describe(names: Iterable[str]) -> pd.DataFrame:
    """Columns as a table of their own: name, unit, description."""
    found = [column(name) for name in names]
    return pd.DataFrame(
        {
            "column": [c.name for c in found],
            "unit": [c.unit for c in found],
            "description": [c.description for c in found],
        }
    )


def require(frame: pd.DataFrame, columns: Sequence[str], *, what: str) -> None:
    """Check that a frame holds the columns that ``what`` reads.

    Raises
    ------
    ArgumentError
        If ``frame`` is no DataFrame, is empty, or lacks a column; names those it has.
    """
    if not isinstance(frame, pd.DataFrame):
        raise ArgumentError(f"{what} reads a pandas DataFrame; got {type(frame).__name__}.")
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ArgumentError(
            f"{what} needs the column{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}; "
            f"the frame has {', '.join(map(repr, map(str, frame.columns)))}. "
            "Pass a tidy frame: one row per observation, one column per variable."
        )
    if frame.empty:
        raise ArgumentError(f"{what} needs at least one row; the frame is empty.")
