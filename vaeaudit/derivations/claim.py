"""A claim: what is said, its formulas, the checks that settle it, and the verdict they reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from vaeaudit.core.errors import ArgumentError
from vaeaudit.derivations.study_results import study_results

Verdict = Literal["identity", "bound", "holds under conditions", "false", "measured", "unsettled"]
Kind = Literal["algebra", "numerics", "search"]
Formulas = Mapping[str, Any]  # name → sympy expression, or a function of named numbers


@dataclass(frozen=True)
class Outcome:
    """What one check found.

    ``verdict`` is the check's own conclusion. ``"sound"`` means that it supports the claim's formulas
    without judging the claim (a formula equals the quantity it stands for); ``"unsettled"`` means that
    a formula is not what it is said to be, so that nothing follows.
    """

    verdict: Verdict | Literal["sound"]
    evidence: str
    counterexample: str = ""


@dataclass(frozen=True)
class Check:
    """One way to test a claim; ``run`` reads the claim's formulas and nothing else about the claim."""

    kind: Kind
    run: Callable[[Formulas], Outcome]


@dataclass(frozen=True)
class Judgement:
    """The verdict that all checks of a claim reach together."""

    verdict: Verdict
    evidence: str
    counterexample: str
    kinds: tuple[str, ...]
    measured: str = ""  # what the study's table says, where there is one


@dataclass(frozen=True, eq=False)
class Claim:
    """A statement about an objective, with everything needed to judge it.

    Parameters
    ----------
    id
        Row of the question list (``A3``; parts as ``C3a``) or point of the mathematics (``M3``).
    name
        Readable identifier, unique in the register.
    statement
        The claim in plain words.
    latex
        The claim as a formula, faults included.
    met_in
        Where one meets it in practice.
    source
        The discussion, paper or textbook it comes from.
    registered
        The verdict on record. The checks never see it: `judge` computes its own.
    formulas
        The formulas under test, by name. Checks look them up here, so that a changed formula reaches
        every check (`with_formula`).
    checks
        At least two, of different kinds, unless the claim is left to measurement.
    conditions
        For ``holds under conditions``: which.
    correction
        For a formula that is wrong as printed: the right one, in LaTeX.
    measured_by
        For ``measured``: the study whose table decides.
    measured
        The verdict of that table on record (``supported``, ``contradicted``, ``undecided`` or ``holds
        under conditions``); empty while the study has not been run.
    also
        Other ids under which the same claim is found.
    family
        Heading under which the register lists it.
    """

    id: str
    name: str
    statement: str
    latex: str
    met_in: str
    source: str
    registered: Verdict
    formulas: Formulas = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    conditions: str = ""
    correction: str = ""
    measured_by: str = ""
    measured: str = ""
    also: tuple[str, ...] = ()
    family: str = ""

    def __post_init__(self) -> None:
        if self.registered not in get_args(Verdict) or self.registered == "unsettled":
            raise ArgumentError(f"claim {self.name!r}: {self.registered!r} is not a verdict to register.")
        if (self.registered == "measured") != bool(self.measured_by):
            raise ArgumentError(f"claim {self.name!r}: `measured` and `measured_by` go together.")
        if self.registered == "holds under conditions" and not self.conditions:
            raise ArgumentError(f"claim {self.name!r} holds under conditions; say which in `conditions`.")
        if self.registered != "measured" and len({c.kind for c in self.checks}) < 2:
            raise ArgumentError(f"claim {self.name!r} needs checks of two kinds; got {len(self.checks)}.")

    def described(self, verdict: str, measured: str) -> str:
        """A verdict in words; a measured one names its study and what the study found."""
        if verdict != "measured" or not self.measured_by:
            return verdict
        return f"measured by {self.measured_by}" + (f": {measured}" if measured else " (not run here)")

    def with_formula(self, name: str, formula: Any) -> Claim:
        """The same claim with one formula replaced, to see whether its verdict depends on it."""
        if name not in self.formulas:
            raise ArgumentError(f"claim {self.name!r} has no formula {name!r}; it has {list(self.formulas)}.")
        return replace(self, formulas={**self.formulas, name: formula})

    def judge(self, *, stop_early: bool = False) -> Judgement:
        """Run the checks and combine what they find.

        Parameters
        ----------
        stop_early
            Stop at the first check that finds a formula not to be what it stands for.

        Returns
        -------
        Judgement
            ``unsettled`` if a formula is not what it stands for, if checks contradict each other, or if
            no check reaches a conclusion; otherwise the one conclusion they share.
        """
        if self.measured_by and not self.checks:
            found = study_results(self.measured_by).get(self.id)
            if found is None:
                text = f"left to measurement: the table of `vaeaudit run {self.measured_by}` decides"
                return Judgement("measured", text, "", ())
            text = f"{found.evidence} (`{found.command}`)"
            return Judgement("measured", text, "", ("measurement",), found.verdict)
        outcomes: list[tuple[Kind, Outcome]] = []
        for check in self.checks:
            outcomes.append((check.kind, check.run(self.formulas)))
            if stop_early and outcomes[-1][1].verdict == "unsettled":
                break
        reached = [outcome for _, outcome in outcomes]
        verdict = _combine(reached)
        if self.measured_by and verdict == "unsettled" and all(o.verdict == "sound" for o in reached):
            verdict = "measured"
        return Judgement(
            verdict=verdict,
            evidence="; ".join(f"{kind}: {outcome.evidence}" for kind, outcome in outcomes),
            counterexample=next((o.counterexample for o in reached if o.counterexample), ""),
            kinds=tuple(dict.fromkeys(kind for kind, _ in outcomes)),
        )


def _combine(outcomes: list[Outcome]) -> Verdict:
    """The one conclusion all checks share; ``unsettled`` where there is none or more than one."""
    conclusions: set[Verdict] = {o.verdict for o in outcomes if o.verdict != "sound"}
    return conclusions.pop() if len(conclusions) == 1 else "unsettled"
