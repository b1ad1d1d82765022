"""What an estimator returns: a value that carries its own uncertainty and verdict."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from vaeaudit.core.errors import ArgumentError

Verdict = Literal[
    "exact", "ok", "lower bound only", "upper bound only", "saturated", "unreliable", "undefined"
]
NO_INTERVAL: frozenset[str] = frozenset(
    {"lower bound only", "upper bound only", "saturated", "unreliable", "undefined"}
)
Z95 = 1.959963984540054  # Φ⁻¹(0.975)
NAN = math.nan


def _number(x: float) -> str:
    return "–" if math.isnan(x) else f"{x:.4g}" if abs(x) < 1 else f"{x:.3f}"


@dataclass(frozen=True)
class Estimate:
    """One estimated quantity.

    ``lower`` and ``upper`` are the ends of a 95 % interval; both are NaN when ``verdict`` says that
    no interval can be vouched for (`NO_INTERVAL`). ``bias_bound`` bounds |bias| where one is known.
    ``num_samples`` counts Monte-Carlo draws, ``num_data`` the data averaged over.
    """

    value: float
    se: float = NAN
    lower: float = NAN
    upper: float = NAN
    num_samples: int | None = None
    unit: str = "nats"
    verdict: Verdict = "ok"
    note: str = ""
    bias_bound: float = NAN
    num_data: int | None = None

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Verdict):
            raise ArgumentError(f"`verdict` must be one of {get_args(Verdict)}; got {self.verdict!r}.")
        if self.verdict in NO_INTERVAL and not (math.isnan(self.lower) and math.isnan(self.upper)):
            raise ArgumentError(
                f"an Estimate with verdict {self.verdict!r} must not carry an interval; "
                f"got [{self.lower}, {self.upper}]."
            )

    @classmethod
    def normal(cls, value: float, se: float, *, bias_bound: float = NAN, **fields: Any) -> Estimate:
        """Value ± 1.96 se, widened on both sides by ``bias_bound`` where one is given."""
        half = Z95 * se + (0.0 if math.isnan(bias_bound) else bias_bound)
        return cls(
            value=value, se=se, lower=value - half, upper=value + half, bias_bound=bias_bound, **fields
        )

    @classmethod
    def exact(cls, value: float, **fields: Any) -> Estimate:
        """A quantity known without error."""
        return cls(value=value, se=0.0, lower=value, upper=value, verdict="exact", **fields)

    @classmethod
    def refused(cls, verdict: Verdict, note: str, value: float = NAN, **fields: Any) -> Estimate:
        """A quantity for which no interval can be vouched; ``note`` says why and what to do."""
        return cls(value=value, verdict=verdict, note=note, **fields)

    @property
    def has_interval(self) -> bool:
        """Whether a 95 % interval is given."""
        return not (math.isnan(self.lower) or math.isnan(self.upper))

    def with_note(self, note: str) -> Estimate:
        """The same estimate with another note."""
        return replace(self, note=note)

    def row(self) -> dict[str, Any]:
        """The fields as a flat dictionary, one row of a tidy table."""
        return asdict(self)

    def __str__(self) -> str:
        text = f"{_number(self.value)} {self.unit}".strip()
        if self.verdict == "exact":
            text += " (exact)"
        elif self.has_interval:
            text += f" [{_number(self.lower)}, {_number(self.upper)}] 95 %"
        if self.verdict in NO_INTERVAL:
            text += f" ({self.verdict})"
        counts = [f"{self.num_data} data"] if self.num_data else []
        counts += [f"{self.num_samples} samples"] if self.num_samples else []
        text += f", {', '.join(counts)}" if counts else ""
        return text + (f" — {self.note}" if self.note else "")

    __repr__ = __str__


@dataclass(frozen=True)
class Bracket:
    """A quantity held between two estimates: a lower bound and an upper bound."""

    lower: Estimate
    upper: Estimate
    note: str = ""

    @property
    def interval(self) -> tuple[float, float]:
        """Outer 95 % bounds: the lower end of ``lower`` and the upper end of ``upper``.

        An end without an interval of its own falls back to −∞ or +∞: nothing is claimed there.
        """
        low = self.lower.lower if self.lower.has_interval else -math.inf
        high = self.upper.upper if self.upper.has_interval else math.inf
        return low, high

    @property
    def width(self) -> float:
        """Length of `interval`."""
        low, high = self.interval
        return high - low

    @property
    def unit(self) -> str:
        """Unit of both ends."""
        return self.lower.unit

    def __str__(self) -> str:
        low, high = self.interval
        text = f"between {_number(low)} and {_number(high)} {self.unit} (95 %)"
        return text + (f" — {self.note}" if self.note else "")

    __repr__ = __str__
